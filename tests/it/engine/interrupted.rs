//! A run supervisor that dies is started again from what is durable, within limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ollmcp::domain::event::RunEnd;
use ollmcp::engine::supervisor::{RunExit, actor_name};
use serde_json::json;

use super::world::{Cut, Reply, World, echo, plan, run_id};

const PLAN: &str = "name: p\nsteps:\n  - { id: a, for_each: { range: 6 }, max_parallel: 2, tool: box.keep, with: { item: \"${{ item }}\" } }\n  - { id: b, needs: [a], value: \"${{ steps.a.count }}\" }\n";

fn hanging_while(hangs: &Arc<AtomicBool>) -> World {
    let hangs = hangs.clone();
    World::new(
        move |call, _| {
            if hangs.load(Ordering::SeqCst) && call.arguments["item"] != json!(0) { Reply::Hang } else { echo(call) }
        },
        |_, _| Reply::Value(json!(1)),
    )
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came about");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_dies_is_started_again_and_its_attempts_die_with_it() {
    let hangs = Arc::new(AtomicBool::new(true));
    let world = hanging_while(&hangs);
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let mut exit = booted.start_as(run, &plan(PLAN), false);
    for death in 0..3 {
        until(|| world.calls().len() == 3 + 2 * death && world.in_flight() == 2).await;
        ractor::registry::where_is(actor_name(run)).expect("the supervisor is there").kill();
        assert!(exit.try_recv().is_err(), "death {death}");
    }
    until(|| world.calls().len() == 9 && world.in_flight() == 2).await;
    hangs.store(false, Ordering::SeqCst);
    // What hangs still does: the next death, after the window, lets it go.
    tokio::time::sleep(Duration::from_secs(61)).await;
    if let Some(supervisor) = ractor::registry::where_is(actor_name(run)) {
        supervisor.kill();
    }
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Complete));
    let state = booted.state();
    assert_eq!(state.head.resumed, 4);
    assert!(state.tasks.values().all(|task| task.standing.failures == 0));
    assert_eq!(world.in_flight(), 0, "no attempt outlives its supervisor");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_dies_too_often_is_given_up_and_the_run_can_be_resumed() {
    let hangs = Arc::new(AtomicBool::new(true));
    let world = hanging_while(&hangs);
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &plan(PLAN), false);
    for death in 0..4 {
        until(|| world.calls().len() == 3 + 2 * death).await;
        ractor::registry::where_is(actor_name(run)).expect("the supervisor is there").kill();
    }
    let exit = tokio::time::timeout(Duration::from_secs(5), exit).await.expect("it is given up").unwrap();
    assert!(matches!(exit, RunExit::Fault(_)), "{exit:?}");
    hangs.store(false, Ordering::SeqCst);
    let frames = booted.gone().await;
    let booted = world.boot(frames, Cut::Never).await;
    assert_eq!(booted.resume(run).await.unwrap(), RunExit::Ended(RunEnd::Complete));
}
