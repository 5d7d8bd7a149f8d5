//! Batches: the engine owns the loop, so a model is asked for one item at a time and none is left out or done twice.

use std::collections::BTreeMap;

use ollmcp::domain::event::{DoubtAnswer, Event, RunEnd, StepEnd};
use ollmcp::domain::payload::Payload;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, StepPhase, TaskPhase};
use ollmcp::engine::supervisor::RunExit;
use ollmcp::tool::ToolCall;
use serde_json::{Value, json};

use super::scenes::killed_after;
use super::world;
use crate::engine::world::{Cut, Reply, World, echo, plan};
use crate::model_server::{Answer, Asked, ModelServer};

const FILES: usize = 67;

fn file(number: usize) -> String {
    format!("January/ratecon {number}.pdf")
}

/// A list of 67 files, and a step that has a model process each.
fn all(more: &str) -> Plan {
    plan(&format!(
        "name: p\nsteps:\n  - {{ id: list, tool: box.look }}\n  - {{ id: process, for_each: \"${{{{ steps.list.output.files }}}}\", \
         key: \"${{{{ item }}}}\", agent: WORKER, prompt: \"Process `${{{{ item }}}}`.\"{more} }}\n"
    ))
}

/// The file that a request is about.
fn file_of(asked: &Asked) -> String {
    let text = asked.messages.iter().find_map(|said| said.text.split_once("Process `")).expect("it names its file").1;
    text.split('`').next().unwrap().to_owned()
}

/// A model that calls the tool for its file, and says that it is done.
fn scene(fails: &'static [usize]) -> (ModelServer, World) {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.last_role() {
        "tool" => Answer::text("Processed."),
        _ => Answer::tool("box_send", json!({ "path": file_of(asked) })),
    });
    let script = move |call: &ToolCall, _| match call.tool.as_str() {
        "look" => Reply::Value(json!({ "files": (1..=FILES).map(file).collect::<Vec<_>>() })),
        _ if fails.iter().any(|number| call.arguments["path"] == file(*number)) => Reply::Wrong,
        _ => echo(call),
    };
    let world = world(&server, &["m:8b"], "box.send", script);
    (server, world)
}

/// How often each file was processed.
fn processed(world: &World) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for call in world.calls().iter().filter(|call| call.tool == "box.send") {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        *times.entry(arguments["path"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    times
}

fn each_once() -> BTreeMap<String, usize> {
    (1..=FILES).map(|number| (file(number), 1)).collect()
}

/// S07: 67 files, 67 calls, each once.
#[tokio::test]
async fn s07_each_file_of_a_list_is_processed_once() {
    let (server, world) = scene(&[]);
    let (exit, state) = world.run(&all("")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(processed(&world), each_once());
    assert_eq!(server.count("m:8b"), 2 * FILES);
    let counts = state.steps[1].counts;
    assert_eq!((counts.done, counts.ended()), (67, 67));
    // Items are worked on side by side, so any of them may be the first that arrives.
    for asked in server.chats() {
        let seen = asked.seen();
        let shown: Vec<String> = (1..=FILES).map(file).filter(|file| seen.contains(file)).collect();
        assert_eq!(shown, [file_of(&asked)], "a model is shown its own file and no other");
    }
}

/// S07: three items fail always: 64 are done, three failed and named, and the run has failed.
#[tokio::test]
async fn s07_items_that_fail_are_named_and_the_others_are_done() {
    let fails = &[10, 30, 50];
    let (server, world) = scene(fails);
    let (exit, state) = world.run(&all(", on_error: continue")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let counts = state.steps[1].counts;
    assert_eq!((counts.done, counts.failed), (64, 3));
    let mut wanted = each_once();
    wanted.extend(fails.iter().map(|number| (file(*number), 2)));
    assert_eq!(processed(&world), wanted, "a call that failed is made again by the next attempt");
    assert_eq!(server.count("m:8b"), 2 * FILES + 3 * 2);
    let report =
        ollmcp::report::end::EndReport::new(&state, "", None, &ollmcp::report::money::Paid::nothing(), &|payload| {
            world.blobs().read_value(payload).ok()
        });
    let mut named: Vec<&str> = report.not_done.iter().map(|item| item.item.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, fails.map(file));
    assert!(report.not_done.iter().all(|item| item.reason.contains("it went wrong")), "{:?}", report.not_done);
    let StepPhase::Ended { end: StepEnd::Failed(failure), .. } = &state.steps[1].phase else { panic!("it failed") };
    assert!(failure.message.starts_with("3 of 67 items failed"), "{failure:?}");
    // Set aside, the same three leave the step done and the run partial.
    let (_server, world) = scene(fails);
    let (exit, state) = world.run(&all(", on_error: quarantine")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Partial));
    assert_eq!((state.steps[1].counts.done, state.steps[1].counts.quarantined), (64, 3));
}

/// Goes on with a run to its end; a call in doubt happened if the tool has it.
async fn to_its_end(world: &World, mut booted: crate::engine::world::Booted) -> RunState {
    let run = booted.run_here();
    let exit = booted.resume(run);
    let made = processed(world);
    let exit = booted
        .answering(run, exit, |state, task| match made.get(&state.tasks[&task].key) {
            None => DoubtAnswer::Again,
            Some(_) => DoubtAnswer::Happened { output: Payload::Inline(json!("sent")) },
        })
        .await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    booted.state()
}

/// S08: killed after item 30 and gone on with: what was done is not called again.
#[tokio::test]
async fn s08_what_was_done_before_a_kill_is_not_called_again() {
    let (server, world) = scene(&[]);
    let plan = all("");
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let _exit = booted.start(&plan);
    let mut done = 0;
    while done < 30 {
        done += booted.event(|event| matches!(event, Event::TaskDone { task } if task.step == 1).then_some(1)).await;
    }
    let frames = booted.gone().await;
    let booted = world.boot(frames, Cut::Never).await;
    let before = booted.state();
    let is_done = |phase: &TaskPhase| matches!(phase, TaskPhase::Done { .. });
    let done: Vec<&str> =
        before.tasks_of(1).filter(|(_, task)| is_done(&task.phase)).map(|(_, task)| task.key.as_str()).collect();
    assert!((30..67).contains(&done.len()), "{}", done.len());
    let asked_before = server.count("m:8b");
    let state = to_its_end(&world, booted).await;
    assert_eq!(processed(&world), each_once(), "no file twice, none left out");
    assert_eq!(state.steps[1].counts.done, 67);
    let again: Vec<String> = server.chats()[asked_before..].iter().map(file_of).collect();
    assert!(done.iter().all(|key| !again.contains(&(*key).to_owned())), "nobody is asked about what was done");
    assert!(server.count("m:8b") <= 2 * FILES + 4, "at most one reply of each open attempt was lost");
}

/// S08 at many places, before and after the append.
#[tokio::test]
async fn s08_wherever_the_process_dies_each_file_is_processed_once() {
    let plan = all("");
    for nth in [4, 7, 12, 25, 60, 100, 140] {
        for cut in [Cut::Before(nth), Cut::After(nth)] {
            let (server, world) = scene(&[]);
            let booted = world.boot(Vec::new(), cut).await;
            let exit = booted.start(&plan);
            let is_over = tokio::select! { _ = exit => true, () = booted.dies() => false };
            assert!(!is_over, "the run has fewer appends than {nth}");
            let booted = world.boot(booted.gone().await, Cut::Never).await;
            let state = to_its_end(&world, booted).await;
            assert_eq!(processed(&world), each_once(), "{cut:?}");
            assert_eq!(state.steps[1].counts.done, 67, "{cut:?}");
            assert!(server.count("m:8b") <= 2 * FILES + 4, "{cut:?}: {}", server.count("m:8b"));
        }
    }
}

/// A batch that is killed again and again loses nothing and asks for no recorded reply twice.
#[tokio::test]
async fn a_batch_that_is_killed_again_and_again_ends() {
    let (server, world) = scene(&[]);
    let plan = all(", max_parallel: 8");
    let is_reply = |event: &Event| matches!(event, Event::TurnTaken { .. });
    let (mut booted, _) = killed_after(&world, &plan, 20, is_reply).await;
    for _ in 0..4 {
        let run = booted.run_here();
        for _ in 0..20 {
            let ask = booted
                .event(|event| match event {
                    Event::CallInDoubt { ask, .. } => Some(Some(*ask)),
                    event => is_reply(event).then_some(None),
                })
                .await;
            let Some(ask) = ask else { continue };
            let state = booted.state();
            let Some(question) = state.head.asks.get(&ask) else { continue };
            let answer = match processed(&world).get(&question.key) {
                None => DoubtAnswer::Again,
                Some(_) => DoubtAnswer::Happened { output: Payload::Inline(json!("sent")) },
            };
            booted
                .request(run, ollmcp::domain::command::Command::Answer { ask, answer, by: "ann".to_owned() })
                .await
                .unwrap();
        }
        let frames = booted.gone().await;
        booted = world.boot(frames, Cut::Never).await;
        let run = booted.run_here();
        drop(booted.resume(run));
    }
    let frames = booted.gone().await;
    let booted = world.boot(frames, Cut::Never).await;
    let state = to_its_end(&world, booted).await;
    assert_eq!(processed(&world), each_once());
    assert_eq!(state.steps[1].counts.done, 67);
    assert!(server.count("m:8b") <= 2 * FILES + 6 * 8, "{}", server.count("m:8b"));
}
