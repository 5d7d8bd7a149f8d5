//! Every step fails once and every step runs twice, by injection over the whole plan.

use std::collections::{BTreeMap, BTreeSet};

use ollmcp::domain::event::{DoubtAnswer, Event, RunEnd, decode};
use ollmcp::domain::ids::TaskId;
use ollmcp::domain::payload::Payload;
use ollmcp::domain::plan::{Plan, RepeatClass, StepKind};
use ollmcp::domain::run::RunState;
use ollmcp::engine::supervisor::RunExit;
use ollmcp::journal::Frame;
use ollmcp::journal::memory::Memory;
use serde_json::{Value, json};

use super::world::{Booted, Called, Cut, Reply, World, class_of, echo, outputs, plan, run_id, task};

/// A chain, a list, a flow, a database, every repeat class.
const ALL: &str = r#"
name: all
steps:
  - { id: list, value: [0, 1, 2] }
  - { id: look, for_each: "${{ steps.list.output }}", max_parallel: 2, tool: box.look, with: { step: look, item: "${{ item }}" } }
  - { id: keep, for_each: "${{ steps.look.items }}", tool: box.keep, with: { step: keep, item: "${{ item.output.item }}" } }
  - { id: send, for_each: "${{ steps.keep.items }}", tool: box.send, with: { step: send, item: "${{ item.output.item }}" } }
  - id: rows
    for_each: "${{ steps.keep.items }}"
    agent: DATABASE_WRITER
    with: { database: "sqlite:x.db", rows: [ { n: "${{ item.output.item }}" } ], table: t }
  - { id: last, needs: [send, rows], tool: shell.x, with: { step: last, item: 0, n: "${{ steps.send.count }}" } }
  - { id: sum, value: "${{ steps.last.output.n }}" }
"#;

fn transient_at(nth: usize) -> World {
    World::new(
        move |call, number| if number == nth { Reply::Transient } else { echo(call) },
        |_, _| Reply::Value(json!(1)),
    )
}

fn complete(exit: &RunExit, state: &RunState) {
    assert_eq!(*exit, RunExit::Ended(RunEnd::Complete), "{:#?}", state.steps);
}

#[tokio::test(start_paused = true)]
async fn every_call_fails_once_in_passing_and_the_run_is_the_same() {
    let plan = plan(ALL);
    let calm = World::calm();
    let (exit, expected) = calm.run(&plan).await;
    complete(&exit, &expected);
    let calls = calm.calls().len();
    assert_eq!(calls, 3 * 3 + 1);
    for nth in 1..=calls {
        let world = transient_at(nth);
        let (exit, state) = world.run(&plan).await;
        complete(&exit, &state);
        assert_eq!(outputs(&state), outputs(&expected), "call {nth}");
        assert_eq!(world.calls().len(), calls + 1, "call {nth}: one call was repeated");
        assert!(state.tasks.values().all(|task| task.standing.failures == 0), "call {nth}");
    }
    for nth in 1..=calm.writes().len() {
        let world = World::new(
            |call, _| echo(call),
            move |_, number| if number == nth { Reply::Transient } else { Reply::Value(json!(1)) },
        );
        let (exit, state) = world.run(&plan).await;
        complete(&exit, &state);
        assert_eq!(outputs(&state), outputs(&expected), "write {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_fails_once_for_good_and_only_what_hangs_on_it_is_lost() {
    let plan = plan(&ALL.replace("name: all", "name: all\ndefaults: { on_error: quarantine }"));
    let calls = 10;
    for nth in 1..=calls {
        let world = World::new(
            move |call, number| if number == nth { Reply::Wrong } else { echo(call) },
            |_, _| Reply::Value(json!(1)),
        );
        let (exit, state) = world.run(&plan).await;
        let failed: Vec<TaskId> =
            state.tasks.iter().filter(|(_, task)| task.standing.failures > 0).map(|(id, _)| *id).collect();
        assert_eq!(failed.len(), 1, "call {nth}");
        let name = state.step(failed[0].step).id.to_string();
        // What needs the output of a task that was set aside cannot be worked out.
        let expected = if name == "last" { RunEnd::Failed } else { RunEnd::Partial };
        let expected =
            if name == "last" && state.steps[6].counts.quarantined == 1 { RunEnd::Partial } else { expected };
        assert_eq!(exit, RunExit::Ended(expected), "call {nth} in {name}");
        let done: u32 = state.steps.iter().map(|step| step.counts.done).sum();
        let lost = match name.as_str() {
            "look" => 4,
            "keep" => 3,
            "send" => 1,
            _ => 2,
        };
        assert_eq!(done, 1 + 3 * 4 + 2 - lost, "call {nth} in {name}");
    }
}

/// What the call of a task would have given.
fn output_of(state: &RunState, task: TaskId) -> Payload {
    let StepKind::Tool { .. } = &state.step(task.step).kind else { panic!("only calls are in doubt") };
    let step = state.step(task.step).id.to_string();
    let mut value = json!({ "step": step, "item": task.item });
    if step == "last" {
        value["n"] = json!(3);
    }
    Payload::Inline(value)
}

fn by_key(calls: Vec<Called>) -> BTreeMap<String, Vec<Called>> {
    let mut all: BTreeMap<String, Vec<Called>> = BTreeMap::new();
    for call in calls {
        // One task, one set of arguments.
        all.entry(format!("{} {}", call.tool, call.arguments)).or_default().push(call);
    }
    all
}

/// Everything that happened outside without a person's word: unsafe calls once, others under one key.
fn nothing_twice(world: &World, what: &str) {
    for (name, calls) in by_key(world.calls()) {
        let tool = calls[0].tool.split_once('.').unwrap().1;
        if class_of(tool) == RepeatClass::Unsafe {
            assert_eq!(calls.len(), 1, "{what}: {name} was called {} times", calls.len());
        }
        let keys: BTreeSet<&str> = calls.iter().map(|call| call.key.as_str()).collect();
        assert_eq!(keys.len(), 1, "{what}: {name} was called under {} keys", keys.len());
    }
    for (name, writes) in by_key(world.writes()) {
        let identities: BTreeSet<&str> = writes.iter().map(|call| call.key.as_str()).collect();
        assert_eq!(identities.len(), 1, "{what}: {name}");
    }
}

async fn finish(booted: &mut Booted, run: ollmcp::domain::ids::RunId) -> RunExit {
    let exit = booted.resume(run);
    booted.answering(run, exit, |state, task| DoubtAnswer::Happened { output: output_of(state, task) }).await
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_append_repeats_nothing_that_must_not_be_repeated() {
    let plan = plan(ALL);
    let world = World::calm();
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    complete(&booted.start(&plan).await.unwrap(), &booted.state());
    let (expected, appends) = (booted.state(), booted.appends());
    booted.event(|event| matches!(event, Event::RunEnded { .. }).then_some(())).await;
    assert!(appends > 5);
    for nth in 1..=appends {
        for cut in [Cut::Before(nth), Cut::After(nth)] {
            let world = World::calm();
            let run = run_id();
            let booted = world.boot(Vec::new(), cut).await;
            let left = booted.start_as(run, &plan, false);
            // How many appends a run takes depends on what comes together: it may end before this one.
            tokio::select! {
                () = booted.dies() => {}
                exit = left => complete(&exit.unwrap(), &booted.state()),
            }
            // What was allowed before may still come about.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let frames = booted.gone().await;
            if frames.is_empty() {
                assert_eq!(cut, Cut::Before(1));
                assert!(effects(&world).is_empty(), "nothing happens before the run is durable");
                continue;
            }
            only_what_was_durable(&world, &frames, &plan);
            let mut booted = world.boot(frames, Cut::Never).await;
            if booted.state().head.end.is_some() {
                nothing_twice(&world, &format!("{cut:?}"));
                continue;
            }
            let exit = finish(&mut booted, run).await;
            let state = booted.state();
            complete(&exit, &state);
            assert_eq!(outputs(&state), outputs(&expected), "{cut:?}");
            nothing_twice(&world, &format!("{cut:?}"));
            assert!(
                state.tasks.values().all(|task| task.standing.failures == 0),
                "{cut:?}: a death counts for nothing"
            );
        }
    }
}

/// Calls that are no reads, by task.
fn effects(world: &World) -> Vec<(String, u32)> {
    let calls =
        world.calls().into_iter().filter(|call| class_of(call.tool.split_once('.').unwrap().1) != RepeatClass::Read);
    let calls = calls.map(|call| {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        (arguments["step"].as_str().unwrap().to_owned(), u32::try_from(arguments["item"].as_u64().unwrap()).unwrap())
    });
    // An item of `rows` is named after its item of the list.
    let writes = world.writes().into_iter().map(|call| {
        let (step, key) = call.arguments.split_once('.').map(|(s, k)| (s.to_owned(), k.to_owned())).unwrap();
        (step, key.parse().unwrap())
    });
    calls.chain(writes).collect()
}

/// No effect without its intent in the journal.
fn only_what_was_durable(world: &World, frames: &[Frame], plan: &Plan) {
    let events = frames.iter().flat_map(|frame| &frame.records).map(|record| decode(&record.payload).unwrap().event);
    let intents: BTreeSet<(String, u32)> = events
        .filter_map(|event| match event {
            Event::AttemptStarted { task, .. } => Some((plan.step(task.step).id.to_string(), task.item)),
            _ => None,
        })
        .collect();
    for effect in effects(world) {
        assert!(intents.contains(&effect), "{effect:?} happened before its intent was durable");
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_ends_the_run_and_nothing_happens_that_it_does_not_hold() {
    let plan = plan(ALL);
    let calm = World::calm();
    let booted = calm.boot(Vec::new(), Cut::Never).await;
    complete(&booted.start(&plan).await.unwrap(), &booted.state());
    for nth in 1..=booted.appends() {
        let world = World::calm();
        let booted = world.boot_on(Memory::failing_at(nth), Cut::Never).await;
        let exit = booted.start(&plan).await.unwrap();
        let was_enough = matches!(exit, RunExit::Ended(RunEnd::Complete)) && booted.appends() < nth;
        assert!(was_enough || matches!(&exit, RunExit::Fault(_)), "append {nth}: {exit:?}");
        only_what_was_durable(&world, &booted.frames(), &plan);
        nothing_twice(&world, &format!("append {nth} fails"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_server_died_is_repeated_by_its_class_alone() {
    let plan = plan(
        r#"
name: p
defaults: { on_error: quarantine }
steps:
  - { id: look, tool: box.look, with: { step: look, item: 0 } }
  - { id: keep, tool: box.keep, with: { step: keep, item: 0 } }
  - { id: send, tool: box.send, with: { step: send, item: 0 } }
"#,
    );
    let seen: std::sync::Mutex<BTreeSet<String>> = std::sync::Mutex::default();
    let world = World::new(
        move |call, _| if seen.lock().unwrap().insert(call.tool.clone()) { Reply::Died } else { echo(call) },
        |_, _| Reply::Value(json!(1)),
    );
    let booted = world.boot(Vec::new(), Cut::Never).await;
    assert_eq!(booted.start_as(run_id(), &plan, true).await.unwrap(), RunExit::Waiting);
    let state = booted.state();
    assert_eq!(
        [task(&state, "look", 0).attempts, task(&state, "keep", 0).attempts, task(&state, "send", 0).attempts],
        [2, 2, 1]
    );
    nothing_twice(&world, "died");
}
