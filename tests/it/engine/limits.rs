//! Limits, retries, stopping: nothing waits for ever, and who asks is answered while attempts hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ollmcp::domain::command::Command;
use ollmcp::domain::event::{Event, RunEnd, TaskEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::run::TaskPhase;
use ollmcp::engine::supervisor::RunExit;
use ollmcp::engine::tree::TreeNode;
use serde_json::json;

use super::world::{Cut, Reply, World, echo, plan, run_id, task};

fn hanging() -> World {
    World::new(
        |call, _| if call.arguments.get("hangs") == Some(&json!(true)) { Reply::Hang } else { echo(call) },
        |_, _| Reply::Value(json!(1)),
    )
}

fn names(node: &TreeNode, out: &mut Vec<String>) {
    out.push(format!("{}: {}", node.name, node.state));
    node.children.iter().for_each(|child| names(child, out));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_stopped_at_its_limit_and_counted() {
    let world = hanging();
    let plan = plan(
        r#"
name: p
steps:
  - { id: a, for_each: { range: 3 }, on_error: quarantine, timeout: 5s, tool: box.keep, with: { hangs: "${{ item == 1 }}" } }
"#,
    );
    let before = world.now_ms();
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Partial));
    let TaskPhase::Ended(TaskEnd::Quarantined(failure)) = &task(&state, "a", 1).phase else { panic!("not set aside") };
    assert_eq!(failure.kind, FailureKind::Timeout);
    let took = world.now_ms() - before;
    assert!((5_000..30_000).contains(&took), "{took} ms");
    assert_eq!(world.in_flight(), 0, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_call_that_hangs_is_in_doubt_at_its_limit() {
    let world = hanging();
    let plan = plan("name: p\nsteps:\n  - { id: a, timeout: 5s, tool: box.send, with: { hangs: true } }\n");
    let booted = world.boot(Vec::new(), Cut::Never).await;
    assert_eq!(booted.start_as(run_id(), &plan, true).await.unwrap(), RunExit::Waiting);
    assert!(matches!(task(&booted.state(), "a", 0).phase, TaskPhase::InDoubt { .. }));
}

#[tokio::test(start_paused = true)]
async fn status_and_cancel_answer_while_attempts_hang() {
    let world = hanging();
    let plan = plan(
        "name: p\nsteps:\n  - { id: a, for_each: { range: 4 }, tool: box.keep, with: { hangs: \"${{ item > 0 }}\" } }\n  - { id: b, needs: [a], value: 1 }\n",
    );
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &plan, false);
    booted.event(|event| matches!(event, Event::TaskDone { .. }).then_some(())).await;
    while world.in_flight() < 3 {
        tokio::task::yield_now().await;
    }
    let tree = tokio::time::timeout(Duration::from_millis(100), booted.engine.tree()).await.unwrap().unwrap();
    let mut lines = Vec::new();
    names(&tree, &mut lines);
    let acting = lines.iter().filter(|line| line.starts_with("FILE_EXECUTOR a[") && line.contains("acting")).count();
    assert_eq!(acting, 3, "{lines:#?}");
    let cancel = booted.request(run, Command::Cancel { by: "ann".to_owned() });
    tokio::time::timeout(Duration::from_millis(100), cancel).await.unwrap().unwrap();
    assert_eq!(exit.await.unwrap(), RunExit::Ended(RunEnd::Cancelled));
    assert_eq!(world.in_flight(), 0);
    let state = booted.state();
    assert_eq!((state.steps[0].counts.done, state.steps[0].counts.cancelled), (1, 3));
    assert!(state.tasks.values().all(|task| task.standing.failures == 0), "a cancel counts for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_does_not_wait_for_a_judge_that_never_speaks() {
    let world = World::new(
        |call, _| echo(call),
        |op, _| if op.starts_with("query") { Reply::Hang } else { Reply::Value(json!(1)) },
    );
    let plan = plan(
        r#"
name: p
steps:
  - id: a
    tool: box.send
    with: { x: 1 }
    done_when: [ { sql: { database: "sqlite:x.db", query: "select 1", equals: 1 } } ]
"#,
    );
    // The call answers, its check hangs, the process dies: in doubt. A person says that it happened; the check hangs again.
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let _left = booted.start_as(run, &plan, false);
    while world.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let frames = booted.gone().await;
    let mut booted = world.boot(frames, Cut::Never).await;
    let exit = booted.resume(run);
    let ask = booted.event(|event| if let Event::CallInDoubt { ask, .. } = event { Some(*ask) } else { None }).await;
    let output = ollmcp::domain::payload::Payload::Inline(json!({ "x": 1 }));
    let answer = ollmcp::domain::event::DoubtAnswer::Happened { output };
    booted.request(run, Command::Answer { ask, answer, by: "ann".to_owned() }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    booted.request(run, Command::Cancel { by: "ann".to_owned() }).await.unwrap();
    let exit = tokio::time::timeout(Duration::from_secs(5), exit).await.expect("the run ends").unwrap();
    assert_eq!(exit, RunExit::Ended(RunEnd::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn draining_lets_what_runs_end_and_takes_nothing_new() {
    let world = World::new(
        |call, _| Reply::Later(Duration::from_secs(2), serde_json::Value::Object(call.arguments.clone())),
        |_, _| Reply::Value(json!(1)),
    );
    let plan = plan(
        "name: p\nsteps:\n  - { id: a, for_each: { range: 6 }, max_parallel: 2, tool: box.send, with: { item: \"${{ item }}\" } }\n",
    );
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &plan, false);
    while world.in_flight() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    booted.engine.drain();
    assert_eq!(exit.await.unwrap(), RunExit::Interrupted);
    let state = booted.state();
    assert_eq!((state.steps[0].counts.done, state.tasks.len()), (2, 2), "what ran has ended, nothing new began");
    let frames = booted.gone().await;
    let booted = world.boot(frames, Cut::Never).await;
    assert_eq!(booted.resume(run).await.unwrap(), RunExit::Ended(RunEnd::Complete));
    assert_eq!(world.calls().len(), 6, "each item was called once");
}

#[tokio::test(start_paused = true)]
async fn stopping_leaves_the_run_resumable_and_counts_nothing() {
    let hangs = Arc::new(AtomicBool::new(true));
    let script = hangs.clone();
    let world = World::new(
        move |call, _| if script.load(Ordering::SeqCst) { Reply::Hang } else { echo(call) },
        |_, _| Reply::Value(json!(1)),
    );
    let plan = plan(
        "name: p\nsteps:\n  - { id: a, for_each: { range: 3 }, tool: box.keep, with: { item: \"${{ item }}\" } }\n  - { id: s, tool: box.send, with: { item: 9 } }\n",
    );
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let run = run_id();
    let exit = booted.start_as(run, &plan, false);
    while world.in_flight() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    booted.engine.stop_runs();
    assert_eq!(exit.await.unwrap(), RunExit::Interrupted);
    assert_eq!(world.in_flight(), 0);
    let state = booted.state();
    assert!(state.tasks.values().all(|task| task.standing.failures == 0 && task.complaints.is_empty()));
    assert_eq!(state.open_attempts().count(), 0);
    assert!(matches!(task(&state, "s", 0).phase, TaskPhase::InDoubt { .. }), "a call that was under way is in doubt");
    hangs.store(false, Ordering::SeqCst);
    let frames = booted.gone().await;
    let mut booted = world.boot(frames, Cut::Never).await;
    let exit = booted.resume(run);
    let exit = booted.answering(run, exit, |_, _| ollmcp::domain::event::DoubtAnswer::Skip).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(booted.state().steps[0].counts.done, 3);
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_after_growing_waits() {
    let world = World::new(
        |_, number| if number <= 4 { Reply::Transient } else { Reply::Value(json!(1)) },
        |_, _| Reply::Value(json!(1)),
    );
    let plan =
        plan("name: p\nsteps:\n  - { id: a, tool: box.look, with: {}, retry: { transient: 5, backoff: 1s..3s } }\n");
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let at: Vec<u64> = world.calls().iter().map(|call| call.at_ms).collect();
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, least) in waits.iter().zip([1_000, 2_000, 3_000, 3_000]) {
        assert!((least..least + 500).contains(wait), "{waits:?}");
    }
    assert_eq!((task(&state, "a", 0).attempts, task(&state, "a", 0).standing.failures), (5, 0));
    let keys: std::collections::BTreeSet<String> = world.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.len(), 1, "a repeated call has the same key");
}

#[tokio::test(start_paused = true)]
async fn transient_tries_are_bounded() {
    let world = World::new(|_, _| Reply::Transient, |_, _| Reply::Value(json!(1)));
    let plan =
        plan("name: p\nsteps:\n  - { id: a, tool: box.look, with: {}, retry: { transient: 3, backoff: 1s..1m } }\n");
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(world.calls().len(), 4);
    assert_eq!(task(&state, "a", 0).standing.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_run_does_not_keep_a_short_one_waiting() {
    let mut world = World::new(
        |call, _| Reply::Later(Duration::from_millis(50), serde_json::Value::Object(call.arguments.clone())),
        |_, _| Reply::Value(json!(1)),
    );
    world.attempts_max = 2;
    let long = plan(
        "name: long\nsteps:\n  - { id: a, for_each: { range: 200 }, max_parallel: 8, tool: box.keep, with: { item: \"${{ item }}\" } }\n",
    );
    let short = plan("name: short\nsteps:\n  - { id: a, tool: box.keep, with: { item: 1 } }\n");
    let booted = world.boot(Vec::new(), Cut::Never).await;
    let long = booted.start(&long);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = world.calls().len();
    let short = booted.start(&short);
    let exit = tokio::time::timeout(Duration::from_secs(2), short).await.expect("the short run gets its turn").unwrap();
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert!(world.calls().len() < before + 60, "it waited for {} calls", world.calls().len() - before);
    drop(long);
}
