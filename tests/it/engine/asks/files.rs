//! Files that an attempt writes: nothing is in place before its acceptance, all of it is afterwards, once, and an attempt
//! that came to nothing leaves nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ollmcp::domain::event::RunEnd;
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::plan::Plan;
use ollmcp::domain::run::{RunState, TaskPhase};
use ollmcp::engine::supervisor::RunExit;
use ollmcp::os::staging::{Manifest, place_pacing};
use serde_json::{Value, json};

use super::{failures, first, output, with_kills, world};
use crate::engine::world::{Cut, World, echo, plan};
use crate::model_server::{Answer, Asked, Gate, ModelServer};

const TOOLS: &str = "fs.list, fs.read, fs.search, fs.stat, fs.write, fs.patch, fs.move, fs.delete";

/// The project folder, known to a script before the world is.
type Place = Arc<OnceLock<PathBuf>>;

/// A world with files, and its server; `script` answers for the model and may look at the folder.
fn files(
    tools: &str,
    planted: &[(&str, &str)],
    script: impl Fn(&Asked, &Path) -> Answer + Send + Sync + 'static,
) -> (ModelServer, World) {
    let server = ModelServer::start(["m:8b"]);
    let place = Place::default();
    let known = place.clone();
    server.respond("m:8b", move |asked| script(asked, known.get().unwrap()));
    let world = world(&server, &["m:8b"], tools, |call, _| echo(call)).with_files();
    place.set(world.workspace()).unwrap();
    for (path, text) in planted {
        fs::write(world.workspace().join(path), text).unwrap();
    }
    (server, world)
}

fn read(folder: &Path, path: &str) -> Option<String> {
    fs::read_to_string(folder.join(path)).ok()
}

/// A plan of one step that asks WORKER.
fn asks(prompt: &str, more: &str) -> Plan {
    plan(&format!("name: p\nsteps:\n  - {{ id: a, agent: WORKER, prompt: \"{prompt}\"{more} }}\n"))
}

/// How many results of calls a request holds.
fn turn(asked: &Asked) -> usize {
    asked.messages.iter().filter(|said| said.role == "tool").count()
}

/// Which attempt asks: the prompt holds a complaint for each that failed.
fn is_first(asked: &Asked) -> bool {
    !asked.seen().contains("earlier attempt") && !asked.seen().contains("Earlier attempt")
}

/// No attempt has left a folder.
#[track_caller]
fn nothing_waits(world: &World) {
    let left: Vec<_> = fs::read_dir(world.staging()).map(|all| all.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
    for entry in fs::read_dir(world.workspace()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.starts_with(".ollmcp-new"), "{name}");
    }
}

#[tokio::test]
async fn an_accepted_file_is_there_once_wherever_the_process_dies() {
    let make = || {
        files(TOOLS, &[("old.txt", "old\n"), ("gone.txt", "gone\n")], |asked, folder| {
            assert_eq!(read(folder, "gone.txt").as_deref(), Some("gone\n"), "nothing takes effect before acceptance");
            assert_eq!((read(folder, "n/new.txt"), read(folder, "moved.txt")), (None, None));
            match turn(asked) {
                0 => Answer::tool("fs_write", json!({ "path": "n/new.txt", "text": "new\n" })),
                1 => Answer::tool("fs_move", json!({ "from": "old.txt", "to": "moved.txt" })),
                2 => Answer::tool("fs_delete", json!({ "path": "gone.txt" })),
                3 => Answer::tool("fs_list", json!({ "root": "." })),
                _ => {
                    assert!(
                        asked.last().contains("moved.txt") && !asked.last().contains("gone.txt"),
                        "{}",
                        asked.last()
                    );
                    Answer::text("done")
                }
            }
        })
    };
    let plan = asks("Write n/new.txt, move old.txt to moved.txt, delete gone.txt.", "");
    with_kills(make, &plan, |_, world, state| {
        let folder = world.workspace();
        assert_eq!(read(&folder, "n/new.txt").as_deref(), Some("new\n"));
        assert_eq!(read(&folder, "moved.txt").as_deref(), Some("old\n"));
        assert_eq!((read(&folder, "old.txt"), read(&folder, "gone.txt")), (None, None));
        assert_eq!(failures(first(state)), ["-"]);
        nothing_waits(world);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_is_rejected_leaves_nothing() {
    let make = || {
        files(TOOLS, &[("a.txt", "a\n")], |asked, _| match (is_first(asked), turn(asked)) {
            (true, 0) => Answer::tool("fs_write", json!({ "path": "wrong.txt", "text": "wrong\n" })),
            (true, 1) => Answer::tool("fs_patch", json!({ "path": "a.txt", "old": "a", "new": "wrong" })),
            (true, _) => Answer::text("bad"),
            (false, 0) => Answer::tool("fs_read", json!({ "path": "a.txt" })),
            (false, 1) => {
                assert!(asked.last().contains("a\\n") && !asked.last().contains("wrong"), "{}", asked.last());
                Answer::tool("fs_write", json!({ "path": "right.txt", "text": "right\n" }))
            }
            (false, _) => Answer::text("good"),
        })
    };
    let plan = asks("Work on a.txt; write right.txt or wrong.txt.", ", done_when: [ \"output == 'good'\" ]");
    with_kills(make, &plan, |_, world, state| {
        let folder = world.workspace();
        assert_eq!(read(&folder, "right.txt").as_deref(), Some("right\n"));
        assert_eq!((read(&folder, "wrong.txt"), read(&folder, "a.txt").as_deref()), (None, Some("a\n")));
        assert_eq!(failures(first(state)), ["check", "-"]);
        nothing_waits(world);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_fails_leaves_nothing() {
    let (_server, world) = files(TOOLS, &[], |asked, _| match turn(asked) {
        0 => Answer::tool("fs_write", json!({ "path": "a.txt", "text": "a\n" })),
        _ => Answer::empty(),
    });
    let (exit, state) = world.run(&asks("Write a.txt.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(failures(first(&state)), ["empty reply", "empty reply"]);
    assert_eq!(read(&world.workspace(), "a.txt"), None);
    nothing_waits(&world);
}

#[tokio::test]
async fn a_target_that_somebody_changed_is_a_counted_failure_that_names_it() {
    let (_server, world) =
        files(TOOLS, &[("a.txt", "one\n"), ("b.txt", "one\n")], |asked, folder| match (is_first(asked), turn(asked)) {
            (_, 0) => Answer::tool("fs_read", json!({ "path": "a.txt" })),
            (true, 1) => {
                fs::write(folder.join("a.txt"), "two\n").unwrap();
                Answer::tool("fs_write", json!({ "path": "a.txt", "text": "one and mine\n" }))
                    .call("fs_write", json!({ "path": "b.txt", "text": "mine\n" }))
            }
            (false, 1) => {
                assert_eq!(read(folder, "b.txt").as_deref(), Some("one\n"), "nothing was put in place");
                assert!(asked.last().contains("two"), "it begins with what is there now: {}", asked.last());
                Answer::tool("fs_write", json!({ "path": "a.txt", "text": "two and mine\n" }))
            }
            _ => Answer::text("done"),
        });
    let (exit, state) = world.run(&asks("Add a line to a.txt and b.txt.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let task = first(&state);
    assert_eq!(failures(task), ["conflict", "-"]);
    assert_eq!(task.standing.failures, 1, "it counts");
    let failure = task.tried[0].failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains("`a.txt`") && !failure.message.contains("b.txt"), "{}", failure.message);
    assert_eq!(read(&world.workspace(), "a.txt").as_deref(), Some("two and mine\n"));
    nothing_waits(&world);
}

#[tokio::test]
async fn of_two_attempts_on_one_file_the_second_begins_again_on_the_new_content() {
    let gate = Gate::new();
    let gated = gate.clone();
    let (_server, world) = files(TOOLS, &[("log.txt", "start\n")], move |asked, _| {
        let line = if asked.seen().contains("Add line-0") { "line-0" } else { "line-1" };
        match turn(asked) {
            0 => Answer::tool("fs_read", json!({ "path": "log.txt" })),
            1 => {
                if line == "line-1" {
                    gated.open();
                }
                let told: Value = serde_json::from_str(asked.last()).unwrap();
                let text = format!("{}{line}\n", told["text"].as_str().unwrap());
                Answer::tool("fs_write", json!({ "path": "log.txt", "text": text }))
            }
            // The first ends only when the second has read what it is about to change.
            _ if line == "line-0" => Answer::text("done").behind(&gated),
            _ => Answer::text("done").after_ms(if is_first(asked) { 300 } else { 0 }),
        }
    });
    let (exit, state) =
        world.run(&asks("Add line-${{ item }} to log.txt.", ", for_each: { range: 2 }, max_parallel: 2")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let mut told: Vec<_> = state.tasks.values().map(failures).collect();
    told.sort();
    assert_eq!(told, [vec!["-"], vec!["conflict", "-"]]);
    let text = read(&world.workspace(), "log.txt").unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "start");
    lines.sort_unstable();
    assert_eq!(lines, ["line-0", "line-1", "start"], "{text}");
    nothing_waits(&world);
    drop(gate);
}

#[tokio::test]
async fn checks_look_at_what_waits_and_know_what_was_changed() {
    let script = |asked: &Asked, folder: &Path| {
        assert!(read(folder, "out.json").is_none());
        match (is_first(asked), turn(asked)) {
            (true, 0) => Answer::tool("fs_write", json!({ "path": "out.json", "text": "no json" })),
            (false, 0) => Answer::tool("fs_write", json!({ "path": "out.json", "text": "{}" })),
            (false, 1) => Answer::tool("fs_delete", json!({ "path": "old.txt" })),
            _ => Answer::text("done"),
        }
    };
    let (_server, world) = files(TOOLS, &[("old.txt", "x"), ("same.txt", "x")], script);
    let plan = asks(
        "Write out.json, delete old.txt.",
        ", done_when: [ { file: { path: out.json, parses: json, changed: true } }, { file: { path: old.txt, exists: false, \
         changed: true } }, { file: { path: same.txt, exists: true, changed: false } } ]",
    );
    let (_, state) = world.run(&plan).await;
    let task = first(&state);
    assert_eq!(failures(task), ["check", "-"]);
    assert!(task.tried[0].failure.as_ref().unwrap().message.contains("is not json"));
    let TaskPhase::Done { verdicts, .. } = &task.phase else { panic!("{:?}", task.phase) };
    let evidence = verdicts[0].evidence.join("\n");
    for line in [
        "file `out.json` is json and was changed by the attempt",
        "file `old.txt` does not exist and was changed by the attempt",
        "file `same.txt` exists and was not changed by the attempt",
    ] {
        assert!(evidence.contains(line), "{evidence}");
    }
    assert_eq!(read(&world.workspace(), "out.json").as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_file_that_was_not_changed_is_not_taken_for_changed() {
    let (_server, world) = files(TOOLS, &[("a.txt", "x")], |asked, _| match turn(asked) {
        0 => Answer::tool("fs_write", json!({ "path": "a.txt", "text": "x" })),
        _ => Answer::text("I changed a.txt."),
    });
    let plan = asks("Change a.txt.", ", done_when: [ { file: { path: a.txt, changed: true } } ]");
    let (_, state) = world.run(&plan).await;
    assert_eq!(failures(first(&state)), ["check", "check"]);
    let failure = first(&state).tried[0].failure.as_ref().unwrap();
    assert!(failure.message.contains("`a.txt` was not changed by the attempt"), "{}", failure.message);
}

/// The state of a run whose process died when its task's acceptance had just become durable.
async fn accepted(world: &World, plan: &Plan) -> (Vec<ollmcp::journal::Frame>, RunState) {
    for nth in 1.. {
        let booted = world.boot(Vec::new(), Cut::After(nth)).await;
        let exit = booted.start(plan);
        tokio::select! {
            _ = exit => panic!("no append accepted the task"),
            () = booted.dies() => {}
        }
        let state = booted.state();
        let frames = booted.gone().await;
        if matches!(state.tasks.values().next().map(|task| &task.phase), Some(TaskPhase::Placing { .. })) {
            return (frames, state);
        }
        let _ = fs::remove_dir_all(world.staging());
    }
    unreachable!()
}

#[tokio::test]
async fn moves_that_were_cut_off_anywhere_are_finished_by_the_resumed_run() {
    let make = || {
        files(TOOLS, &[("a.txt", "a\n"), ("b.txt", "b\n")], |asked, _| match turn(asked) {
            0 => Answer::tool("fs_patch", json!({ "path": "a.txt", "old": "a", "new": "changed" })),
            1 => Answer::tool("fs_move", json!({ "from": "b.txt", "to": "n/b.txt" })),
            _ => Answer::text("done"),
        })
    };
    let plan = asks("Change a.txt and move b.txt to n/b.txt.", "");
    for cut in 0.. {
        let (_server, world) = make();
        let (frames, state) = accepted(&world, &plan).await;
        let folder = world.workspace();
        assert_eq!(read(&folder, "a.txt").as_deref(), Some("a\n"), "nothing moves before the acceptance is durable");
        let TaskPhase::Placing { staged, .. } = &first(&state).phase else { unreachable!() };
        let manifest = Manifest::from_value(world.blobs().read_value(staged).unwrap()).unwrap();
        let waits = world.staging().join(state.head.run.to_string()).join("0-0-1");
        let mut made = 0;
        let moved = place_pacing(&folder, &waits, &manifest, &mut |_| {
            made += 1;
            if made > cut { Err(io::Error::other("cut off")) } else { Ok(()) }
        });
        let booted = world.boot(frames, Cut::Never).await;
        let exit = booted.resume(state.head.run).await.unwrap();
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "cut at {cut}");
        assert_eq!(read(&folder, "a.txt").as_deref(), Some("changed\n"), "cut at {cut}");
        assert_eq!((read(&folder, "b.txt"), read(&folder, "n/b.txt").as_deref()), (None, Some("b\n")), "cut at {cut}");
        nothing_waits(&world);
        if moved.is_ok() {
            assert!(cut > 5, "{cut} steps");
            return;
        }
    }
}

#[tokio::test]
async fn a_person_who_changes_a_file_between_acceptance_and_move_loses_nothing() {
    let (_server, world) = files(TOOLS, &[("a.txt", "a\n")], |asked, _| match turn(asked) {
        0 => Answer::tool("fs_patch", json!({ "path": "a.txt", "old": "a", "new": "changed" })),
        _ => Answer::text("done"),
    });
    let plan = asks("Change a.txt.", "");
    let (frames, state) = accepted(&world, &plan).await;
    fs::write(world.workspace().join("a.txt"), "by hand\n").unwrap();
    let booted = world.boot(frames, Cut::Never).await;
    let exit = booted.resume(state.head.run).await.unwrap();
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(read(&world.workspace(), "a.txt").as_deref(), Some("by hand\n"));
    nothing_waits(&world);
}

#[tokio::test]
async fn what_dead_attempts_left_is_swept_when_the_run_goes_on() {
    let (_server, world) = files(TOOLS, &[], |asked, _| match turn(asked) {
        0 => Answer::tool("fs_write", json!({ "path": "a.txt", "text": "a\n" })),
        _ => Answer::text("done"),
    });
    let plan = asks("Write a.txt.", "");
    let (frames, state) = accepted(&world, &plan).await;
    let of_run = world.staging().join(state.head.run.to_string());
    fs::create_dir_all(of_run.join("0-7-3")).unwrap();
    fs::write(of_run.join("0-7-3/content"), "x").unwrap();
    let booted = world.boot(frames, Cut::Never).await;
    booted.resume(state.head.run).await.unwrap();
    nothing_waits(&world);
}

#[tokio::test]
async fn a_tool_that_writes_needs_the_grant() {
    let (_server, mut world) = files(TOOLS, &[], |_, _| Answer::text("done"));
    world.agents = vec![super::agent("fs.read, fs.write").replace("[read, write]", "[read]")];
    let (exit, state) = world.run(&asks("Write a.txt.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let failure = first(&state).tried[0].failure.as_ref().unwrap();
    assert!(failure.message.contains("`fs.write` needs the grant `write`"), "{}", failure.message);
}

/// Two models whose writes are compared: `second` is what the other one writes.
fn pair(second: &'static str) -> (ModelServer, World) {
    let server = ModelServer::setup(["alpha:8b", "beta:9b"]).fits(2).start();
    for (model, text) in [("alpha:8b", "one\n"), ("beta:9b", second)] {
        server.respond(model, move |asked| match turn(asked) {
            0 => Answer::tool("fs_write", json!({ "path": "a.txt", "text": text })),
            _ => Answer::text("done"),
        });
    }
    let world = world(&server, &["alpha:8b", "beta:9b"], TOOLS, |call, _| echo(call)).with_files();
    (server, world)
}

#[tokio::test]
async fn files_of_two_models_that_agree_are_put_in_place_once() {
    with_kills(
        || pair("one\n"),
        &asks("Write a.txt.", ", agree: true"),
        |_, world, state| {
            assert_eq!(failures(first(state)), ["-"]);
            assert_eq!(read(&world.workspace(), "a.txt").as_deref(), Some("one\n"));
            nothing_waits(world);
        },
    )
    .await;
}

#[tokio::test]
async fn files_in_which_two_models_differ_are_put_in_place_by_neither() {
    let (_server, world) = pair("two\n");
    let (exit, state) = world.run(&asks("Write a.txt.", ", agree: true")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let task = first(&state);
    assert_eq!(failures(task), ["disagreement", "disagreement"]);
    assert!(task.tried[0].failure.as_ref().unwrap().message.contains("`a.txt`"));
    assert_eq!(read(&world.workspace(), "a.txt"), None);
    nothing_waits(&world);
}

#[tokio::test]
async fn a_tool_step_writes_at_once_and_an_agent_behind_it_sees_it() {
    let (server, world) = files("fs.read, fs.write", &[], |asked, _| match turn(asked) {
        0 => Answer::tool("fs_read", json!({ "path": "a.txt" })),
        _ => Answer::text(asked.last().to_owned()),
    });
    let plan = plan(
        "name: p\nsteps:\n  - { id: w, tool: fs.write, with: { path: a.txt, text: by the plan } }\n  - { id: a, needs: [w], \
         agent: WORKER, prompt: Read a.txt. }\n",
    );
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{:?}", server.chats());
    let told = output(&world, state.tasks.values().last().unwrap());
    assert!(told.to_string().contains("by the plan"), "{told}");
}
