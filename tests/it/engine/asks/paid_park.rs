//! A task that meets a limit between its turns waits for it, and goes on from its answers: under time that stands still
//! until all wait, with answers that are sold by the same clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use ollmcp::domain::event::{Event, RunEnd};
use ollmcp::domain::ladder::WhenLimited;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, TaskPhase};
use ollmcp::engine::paid::{Bought, PaidRequest};
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::super::world::{Cut, Reply, World, echo, outputs, plan, run_id};
use super::paid::{Scripted, calls, only_paid, says, sum};
use super::{failures, first, output};

const HOUR_MS: u64 = 3_600_000;

/// Looks, keeps, answers.
fn turns(asked: &PaidRequest, _: usize) -> Bought {
    match asked.request.messages.iter().filter(|said| said.result_of.is_some()).count() {
        0 => calls("box_look", json!({ "x": 19 })),
        1 => calls("box_keep", json!({ "x": 23 })),
        _ => says(r#"{"n": 42}"#),
    }
}

fn scene(per_hour: usize, when: Option<WhenLimited>) -> (World, Arc<Scripted>) {
    let mut seller = None;
    let mut world = only_paid("box.look, box.keep", |clock| {
        let made = Scripted::new(clock, per_hour, 5_000, turns);
        seller = Some(made.clone());
        made
    });
    world.ladders.when_limited = when;
    (world, seller.unwrap())
}

/// Each of the three requests was bought, none of them twice but where a kill came between answer and record.
fn bought(seller: &Scripted) -> (usize, usize) {
    let sold = seller.sold.lock().unwrap();
    let distinct: BTreeSet<String> =
        sold.iter().map(|(_, request)| serde_json::to_string(&request.messages).unwrap()).collect();
    (sold.len(), distinct.len())
}

#[tokio::test(start_paused = true)]
async fn a_task_that_meets_the_limit_at_its_third_turn_ends_right_an_hour_later() {
    let (world, seller) = scene(2, Some(WhenLimited::Park));
    let (exit, state) = world.run(&sum("")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let task = first(&state);
    assert_eq!((output(&world, task), task.standing.failures), (json!({ "n": 42 }), 0));
    assert_eq!(failures(task), ["limit of paid calls", "-"]);
    assert_eq!(bought(&seller), (3, 3), "three requests, each bought once");
    let times = seller.times();
    assert!(times[1] - times[0] < 60_000 && (HOUR_MS..HOUR_MS + 60_000).contains(&(times[2] - times[0])), "{times:?}");
    let tools: Vec<String> = world.calls().into_iter().map(|call| call.tool).collect();
    assert_eq!(tools.iter().filter(|tool| *tool == "box.keep").count(), 1, "{tools:?}");
}

/// Killed while it waits, and gone on with before or after the limit has freed.
#[tokio::test(start_paused = true)]
async fn a_task_that_was_killed_while_it_waited_goes_on_from_its_answers() {
    for waits_ms in [0, HOUR_MS / 2, 3 * HOUR_MS] {
        let (world, seller) = scene(2, Some(WhenLimited::Park));
        let mut booted = world.boot(Vec::new(), Cut::Never).await;
        let _exit = booted.start(&sum(""));
        booted.event(|event| matches!(event, Event::TaskRetryAt { .. }).then_some(())).await;
        let frames = booted.gone().await;
        tokio::time::sleep(std::time::Duration::from_millis(waits_ms)).await;
        let booted = world.boot(frames, Cut::Never).await;
        assert_eq!(booted.resume(booted.run_here()).await.unwrap(), RunExit::Ended(RunEnd::Complete));
        let state = booted.state();
        assert_eq!((output(&world, first(&state)), bought(&seller)), (json!({ "n": 42 }), (3, 3)), "{waits_ms}");
        let times = seller.times();
        assert!(times[2] - times[0] >= HOUR_MS, "{times:?}");
    }
}

/// Killed before and after each append: the same output, and of the three answers at most the one that was on its way
/// into the journal is bought again.
#[tokio::test(start_paused = true)]
async fn wherever_the_process_dies_no_answer_on_record_is_bought_again() {
    let plan = sum("");
    let (world, _) = scene(2, Some(WhenLimited::Park));
    let (_, calm) = world.run(&plan).await;
    let wanted = outputs(&calm);
    for nth in 1..60 {
        for cut in [Cut::Before(nth), Cut::After(nth)] {
            let (world, seller) = scene(2, Some(WhenLimited::Park));
            let booted = world.boot(Vec::new(), cut).await;
            let exit = booted.start(&plan);
            let is_over = tokio::select! {
                _ = exit => true,
                () = booted.dies() => false,
            };
            if is_over {
                assert!(nth > 5, "the run has more appends than {nth}");
                return;
            }
            let frames = booted.gone().await;
            let booted = world.boot(frames, Cut::Never).await;
            let exit = match booted.frames().is_empty() {
                true => booted.start(&plan).await.unwrap(),
                false => booted.resume(booted.run_here()).await.unwrap(),
            };
            assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{cut:?}");
            assert_eq!(outputs(&booted.state()), wanted, "{cut:?}");
            let (sold, distinct) = bought(&seller);
            assert!(distinct == 3 && sold <= 4, "{cut:?}: {sold}");
            let kept: BTreeSet<String> =
                world.calls().into_iter().filter(|call| call.tool == "box.keep").map(|call| call.key).collect();
            assert_eq!(kept.len(), 1, "{cut:?}");
        }
    }
    panic!("a run of more than 60 appends");
}

/// A single task fails at the limit unless it is told to wait; items wait by themselves, and others go on meanwhile.
#[tokio::test(start_paused = true)]
async fn by_default_a_single_task_fails_at_a_limit_and_items_wait() {
    let (world, seller) = scene(2, None);
    let (_, state) = world.run(&sum("")).await;
    assert_eq!((failures(first(&state)), bought(&seller).0), (vec!["limit of paid calls".to_owned()], 2));

    let seller = std::cell::OnceCell::new();
    let mut world = World::new(|call, _| echo(call), |_, _| Reply::Value(json!(1)));
    let paid = only_paid("", |_| {
        let made = Scripted::new(world.clock.clone(), 2, 1_000, |_, _| says(r#"{"n": 1}"#));
        seller.get_or_init(|| made.clone());
        made
    });
    world.paid = paid.paid.clone();
    world.ladders = paid.ladders.clone();
    world.agents = paid.agents.clone();
    let plan = items(5);
    let begun_ms = world.now_ms();
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(seller.get().unwrap().times().len(), 5);
    assert!(world.now_ms() - begun_ms >= 2 * HOUR_MS, "two an hour");
    assert!(state.tasks.values().all(|task| matches!(task.phase, TaskPhase::Done { .. })));
}

fn items(count: u32) -> Plan {
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, for_each: {{ range: {count} }}, max_parallel: 2, agent: WORKER, prompt: \"What is ${{{{ item }}}}?\" }}\n"
    ))
}

/// A batch that waits for a limit looks again with as many items as run at once, not with all of them.
#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_looks_again_with_a_few_items_each_time() {
    let mut seller = None;
    let world = only_paid("", |clock| {
        let made = Scripted::new(clock, 5, 1_000, |_, _| says(r#"{"n": 1}"#));
        seller = Some(made.clone());
        made
    });
    let (exit, state) = world.run(&items(40)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(seller.unwrap().times().len(), 40);
    let attempts: u32 = state.tasks.values().map(|task| task.attempts).sum();
    // Each of the 40 is begun once, and seven hours have several calls free at different times.
    assert!(attempts <= 40 + 40 + 7 * 2 * 5, "{attempts} attempts for 40 answers");
}

/// A limit that was raised is found out at once by the process that goes on, also where the time is far away.
#[tokio::test(start_paused = true)]
async fn what_waits_looks_again_when_the_run_is_taken_up() {
    let (mut world, seller) = scene(2, Some(WhenLimited::Park));
    world.park_wait_ms = 60_000;
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &sum(""), true).await.unwrap();
    let RunExit::Parked { until_ms } = exit else { panic!("{exit:?}") };
    let booted = world.boot(booted.gone().await, Cut::Never).await;
    let still = booted.resume_as(run, true).await.unwrap();
    assert_eq!(still, RunExit::Parked { until_ms }, "the limit stands");
    assert_eq!(bought(&seller), (2, 2));
    let frames = booted.gone().await;
    world.paid = Some(Scripted::new(world.clock.clone(), 9, 5_000, turns));
    let booted = world.boot(frames, Cut::Never).await;
    assert_eq!(booted.resume_as(run, true).await.unwrap(), RunExit::Ended(RunEnd::Complete));
    assert!(world.now_ms() < until_ms);
}

/// The process in the foreground stays as long as it is told, else it leaves and says until when nothing can go on.
#[tokio::test(start_paused = true)]
async fn a_run_that_only_time_frees_leaves_where_that_is_too_far_away() {
    let stays = [(HOUR_MS, true), (HOUR_MS - 60_000, false), (0, false)];
    for (park_wait_ms, is_waited_for) in stays {
        let (mut world, seller) = scene(2, Some(WhenLimited::Park));
        world.park_wait_ms = park_wait_ms;
        let booted = world.boot(Vec::new(), Cut::Never).await;
        let run = run_id();
        let exit = booted.start_as(run, &sum(""), true).await.unwrap();
        if is_waited_for {
            assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{park_wait_ms}");
            continue;
        }
        let RunExit::Parked { until_ms } = exit else { panic!("{park_wait_ms}: {exit:?}") };
        assert_eq!(until_ms, seller.times()[0] + HOUR_MS);
        assert!(parked_at(&booted.state()) == until_ms && world.now_ms() < until_ms);
        let frames = booted.gone().await;
        world.park_wait_ms = u64::MAX;
        let booted = world.boot(frames, Cut::Never).await;
        assert_eq!(booted.resume(run).await.unwrap(), RunExit::Ended(RunEnd::Complete));
        assert_eq!(bought(&seller), (3, 3));
    }
}

fn parked_at(state: &RunState) -> u64 {
    match first(state).phase {
        TaskPhase::RetryAt { at_ms } => at_ms,
        ref other => panic!("{other:?}"),
    }
}
