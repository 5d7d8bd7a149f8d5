//! What tools answer, and what is made of calls that name what nobody gave.

use ollmcp::domain::event::{DoubtAnswer, RunEnd, TaskEnd};
use ollmcp::domain::failure::FailureKind;
use ollmcp::domain::payload::Payload;
use ollmcp::domain::run::{RunState, Task, TaskPhase};
use ollmcp::engine::supervisor::RunExit;
use ollmcp::tool::ToolCall;
use serde_json::{Value, json};

use super::scenes::story;
use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{Cut, Reply, World, echo, plan, task};
use crate::model_server::{Answer, Asked, ModelServer};

/// Results of calls that a request holds.
fn results(asked: &Asked) -> Vec<&str> {
    asked.messages.iter().filter(|said| said.role == "tool").map(|said| said.text.as_str()).collect()
}

/// The first failure of a task's last attempt.
fn last_failure(task: &Task) -> &ollmcp::domain::failure::Failure {
    task.tried.last().and_then(|tried| tried.failure.as_ref()).expect("its last attempt failed")
}

/// S06: what the tool says counts, not what the model says of it.
#[tokio::test]
async fn s06_an_error_of_the_tool_is_a_failure_whatever_the_model_claims() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.last_role() {
        "tool" => Answer::text("✅ I saved the rates."),
        _ => Answer::tool("box_keep", json!({ "rates": 5 })),
    });
    let world = world(&server, &["m:8b"], "box.keep", |_, _| Reply::Wrong);
    let (exit, state) = world.run(&asks("Save the rates.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    let task = first(&state);
    assert_eq!(failures(task), ["tool error", "tool error"]);
    let message = &last_failure(task).message;
    assert!(message.contains("box.keep") && message.contains("it went wrong"), "the fact: {message}");
    assert!(message.contains("I saved the rates"), "and the claim beside it: {message}");
    assert!(results(&server.chats()[1])[0].contains("error: it went wrong"), "the model was told");
    assert!(server.chats()[2].seen().contains("the last call of box.keep failed"), "the next attempt is told");
    assert_eq!(server.count("m:8b"), 4);
}

/// S06 the other way: a call that failed and was made again in another way is no failure.
#[tokio::test]
async fn s06_a_tool_that_works_in_the_end_has_worked() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match results(asked).len() {
        0 => Answer::tool("box_keep", json!({ "rates": "five" })),
        1 => Answer::tool("box_keep", json!({ "rates": 5 })),
        _ => Answer::text("saved"),
    });
    let script = |call: &ToolCall, _| if call.arguments["rates"] == 5 { echo(call) } else { Reply::Wrong };
    let world = world(&server, &["m:8b"], "box.keep", script);
    let (_, state) = world
        .run(&plan(
            "name: p\nsteps:\n  - { id: a, agent: WORKER, prompt: Save., done_when: [ { called: box.keep } ] }\n",
        ))
        .await;
    assert_eq!((failures(first(&state)), world.calls().len()), (vec!["-".to_owned()], 2));
}

/// S10: a path that occurs nowhere is refused with the right one quoted; a second one ends the attempt, and nothing that
/// stood behind it in the same reply is carried out.
#[tokio::test]
async fn s10_an_invented_path_is_refused_twice_and_ends_the_attempt() {
    let server = ModelServer::start(["m:8b"]);
    server.script(
        "m:8b",
        [
            Answer::tool("box_look", json!({ "path": "January/raten.pdf" }))
                .call("box_keep", json!({ "path": "January/rates.pdf", "nth": 1 })),
            Answer::tool("box_look", json!({ "path": "/path/to/rates.pdf" }))
                .call("box_keep", json!({ "path": "January/rates.pdf", "nth": 2 })),
            Answer::tool("box_look", json!({ "path": "January/rates.pdf" })),
            Answer::text("I looked."),
        ],
    );
    let world = world(&server, &["m:8b"], "box.look, box.keep", |call, _| echo(call));
    let (_, state) = world.run(&asks("Read January/rates.pdf and keep it.", "")).await;
    let task = first(&state);
    assert_eq!(failures(task), ["ungrounded", "-"]);
    assert_eq!(task.standing.failures, 1, "it counts");
    let calls = world.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((calls[0].tool.as_str(), calls[0].arguments.as_str()), ("box.look", "{\"path\":\"January/rates.pdf\"}"));
    let told = results(&server.chats()[1]).join("\n");
    assert!(told.contains("`January/raten.pdf`") && told.contains("There are: `January/rates.pdf`"), "{told}");
    assert!(told.contains("not called, because the call before it was refused"), "{told}");
    let next = server.chats()[2].seen();
    assert!(next.contains("/path/to/rates.pdf"), "the next attempt is told what was wrong: {next}");
}

/// S10 for arguments inside objects and lists, and for a tool that takes its path under another name.
#[tokio::test]
async fn s10_invented_paths_are_found_wherever_they_stand() {
    for arguments in [
        json!({ "files": ["January/rates.pdf", "January/more.pdf"] }),
        json!({ "options": { "path": "January/more.pdf" } }),
        json!({ "jobs": [{ "input": { "file": "January/more.pdf" } }] }),
        json!({ "x": "January/more.pdf" }),
    ] {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", Answer::tool("box_look", arguments.clone()));
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        let (_, state) = world.run(&asks("Read January/rates.pdf.", "")).await;
        assert_eq!(failures(first(&state)), ["ungrounded", "ungrounded"], "{arguments}");
        assert_eq!(world.calls(), [], "{arguments}");
    }
}

/// S11: nothing is deleted that is not in the list, whatever the model makes up.
#[tokio::test]
async fn s11_a_tool_that_deletes_takes_no_invented_names() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match results(asked).len() {
        0 => Answer::tool("box_look", json!({})),
        1 => (1..=3).fold(Answer::default(), |answer, number| {
            answer.call("box_drop", json!({ "path": format!("ratecon{number}.pdf") }))
        }),
        _ => Answer::tool("box_drop", json!({ "path": "ratecon4.pdf" })),
    });
    let script = |call: &ToolCall, _| match call.tool.as_str() {
        "look" => Reply::Value(json!({ "files": ["January/carrier a.pdf", "January/broker-7.pdf"] })),
        _ => echo(call),
    };
    let world = world(&server, &["m:8b"], "box.look, box.drop", script);
    let (_, state) = world.run(&asks("Delete all rate confirmations.", "")).await;
    let task = first(&state);
    assert_eq!(failures(task), ["ungrounded", "ungrounded"]);
    assert_eq!(world.calls().iter().filter(|call| call.tool != "box.look").count(), 0, "{:?}", world.calls());
    let told = results(&server.chats()[2]).join("\n");
    assert!(
        told.contains("`January/carrier a.pdf`") && told.contains("`January/broker-7.pdf`"),
        "the real list: {told}"
    );
    assert_eq!(told.matches("not called, because the call before it was refused").count(), 2, "{told}");
    assert!(last_failure(task).message.contains("January/broker-7.pdf"), "{}", last_failure(task).message);
}

/// S11: what is there may be deleted, and a tool that makes files may name new ones.
#[tokio::test]
async fn s11_what_is_listed_may_be_deleted_and_what_is_made_may_be_new() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match results(asked).len() {
        0 => Answer::tool("box_look", json!({})),
        1 => Answer::tool("box_drop", json!({ "path": "January/a.pdf" })),
        2 => Answer::tool("box_save_file", json!({ "path": "out/report.md", "text": "gone" })),
        _ => Answer::text("done"),
    });
    let script = |call: &ToolCall, _| match call.tool.as_str() {
        "look" => Reply::Value(json!({ "files": ["January/a.pdf"] })),
        _ => echo(call),
    };
    let world = world(&server, &["m:8b"], "box.look, box.drop, box.save_file", script);
    let (_, state) = world.run(&asks("Delete all and report.", "")).await;
    assert_eq!(failures(first(&state)), ["-"], "{:?}", first(&state).tried);
    assert_eq!(world.calls().len(), 3);
}

/// S25: one of two steps fails, and both are told.
#[tokio::test]
async fn s25_one_of_two_steps_fails_and_both_are_told() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| {
        if asked.seen().contains("first") { Answer::text("") } else { Answer::text("The answer is 42.") }
    });
    let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
    let two = "name: p\nsteps:\n  - { id: one, agent: WORKER, prompt: first }\n  - { id: two, agent: WORKER, prompt: second }\n  - { id: three, needs: [one], value: 1 }\n";
    let (exit, state) = world.run(&plan(two)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(failures(task(&state, "one", 0)), ["empty reply", "empty reply"]);
    assert_eq!(output(&world, task(&state, "two", 0)), json!("The answer is 42."));
    let words: Vec<&str> = state.steps.iter().map(|step| step.phase.word()).collect();
    assert_eq!(words, ["failed", "done", "skipped"]);
    let report =
        ollmcp::report::end::EndReport::new(&state, "", None, &ollmcp::report::money::Paid::nothing(), &|payload| {
            world.blobs().read_value(payload).ok()
        });
    let told: Vec<(&str, &str)> = report.steps.iter().map(|step| (step.step.as_str(), step.state.as_str())).collect();
    assert_eq!(told, [("one", "failed"), ("two", "done"), ("three", "skipped")]);
}

/// A model that makes one call and then tells of it.
fn one_call(tool: &'static str) -> ModelServer {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", move |asked| match asked.last_role() {
        "tool" => Answer::text(format!("it says {}", asked.last())),
        _ => Answer::tool(tool, json!({ "x": 7 })),
    });
    server
}

/// S30: a server that dies in a call is connected to again; what may be repeated is repeated once, with the same key.
#[tokio::test]
async fn s30_a_call_that_may_be_repeated_is_made_again_once_with_the_same_key() {
    for (tool, name) in [("box.look", "box_look"), ("box.keep", "box_keep")] {
        let make = || {
            let server = one_call(name);
            let died = std::sync::atomic::AtomicBool::new(false);
            let script = move |call: &ToolCall, _| {
                if died.swap(true, std::sync::atomic::Ordering::SeqCst) { echo(call) } else { Reply::Died }
            };
            let world = world(&server, &["m:8b"], tool, script);
            (server, world)
        };
        with_kills(make, &asks("Do it.", ""), |server, world, state| {
            let task = first(state);
            assert_eq!(failures(task), ["-"], "{tool}");
            assert_eq!(task.standing.failures, 0);
            let calls = world.calls();
            assert!((2..=3).contains(&calls.len()), "{tool}: {calls:?}");
            assert!(calls.iter().all(|call| call.key == calls[0].key), "{tool}: {calls:?}");
            assert!(server.count("m:8b") <= 3, "{tool}");
        })
        .await;
    }
}

/// S30: a second death fails the task, and nothing but the task.
#[tokio::test]
async fn s30_a_second_death_fails_the_task_only() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.last_role() {
        "tool" => Answer::text("done"),
        _ => Answer::tool("box_keep", json!({ "n": super::scenes::item_of(asked) })),
    });
    let script = |call: &ToolCall, _| if call.arguments["n"] == 3 { Reply::Died } else { echo(call) };
    // A task that waits for a model server would wait for half an hour.
    let world = world(&server, &["m:8b", "n:8b"], "box.keep", script);
    let (exit, state) = world.run(&super::scenes::batch(6, ", on_error: continue")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(super::scenes::ends(&state), super::scenes::counts([("done", 5), ("failed", 1)]));
    let task = task(&state, "a", 3);
    assert_eq!(task.attempts, 1, "{:?}", task.tried);
    assert_eq!(task.standing.failures, 0, "it is not the model's fault");
    let failure = last_failure(task);
    assert_eq!(failure.kind, FailureKind::DiesInIt);
    assert!(failure.message.contains("box") && failure.message.contains("twice"), "{failure:?}");
    let calls: Vec<_> = world.calls().into_iter().filter(|call| call.arguments == "{\"n\":3}").collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[0].key, calls[1].key);
    assert_eq!(server.count("n:8b"), 0, "no other model mends a tool server");
}

/// A tool server that is busy for too long fails the task; no other model is asked, and no model server is waited for.
#[tokio::test]
async fn a_tool_that_stays_busy_is_retried_and_then_fails_the_task() {
    let server = one_call("box_keep");
    let world = world(&server, &["m:8b", "n:8b"], "box.keep", |_, _| Reply::Transient);
    let plan = plan(
        "name: p\nsteps:\n  - { id: a, agent: WORKER, prompt: Do it., retry: { transient: 2, backoff: 5ms..10ms } }\n",
    );
    let (exit, state) = world.run(&plan).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(story(first(&state)), ["box:m:8b busy"; 3]);
    assert_eq!((world.calls().len(), server.count("m:8b"), server.count("n:8b")), (3, 1, 0), "the reply is kept");
}

/// One unsafe call whose server dies in it; `answer` settles it, and the run goes on to its end.
async fn in_doubt(deaths: usize, answer: impl Fn(usize) -> DoubtAnswer) -> (ModelServer, World, RunExit, RunState) {
    let server = one_call("box_send");
    let script = move |call: &ToolCall, number| if number <= deaths { Reply::Died } else { echo(call) };
    let world = world(&server, &["m:8b"], "box.send", script);
    let mut booted = world.boot(Vec::new(), Cut::Never).await;
    let run = crate::engine::world::run_id();
    let exit = booted.start_as(run, &asks("Send it.", ""), false);
    let asked = std::cell::Cell::new(0);
    let exit = booted
        .answering(run, exit, |state, task| {
            let ask = state.head.asks.values().next().unwrap();
            assert!(ask.what.contains("box.send") && ask.what.contains("{\"x\":7}"), "{}", ask.what);
            assert_eq!(ask.task, task);
            asked.set(asked.get() + 1);
            answer(asked.get())
        })
        .await;
    let state = booted.state();
    (server, world, exit, state)
}

/// S30: nobody knows whether an unsafe call happened: a person says, and the attempt goes on from there.
#[tokio::test]
async fn s30_an_unsafe_call_is_in_doubt_and_each_answer_does_what_it_says() {
    let happened = |_| DoubtAnswer::Happened { output: Payload::Inline(json!({ "sent": true })) };
    let (server, world, exit, state) = in_doubt(9, happened).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(output(&world, first(&state)), json!("it says {\"sent\":true}"), "the model goes on from the answer");
    assert_eq!((world.calls().len(), server.count("m:8b")), (1, 2), "nothing is done or asked a second time");

    let (server, world, exit, state) = in_doubt(1, |_| DoubtAnswer::Again).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(output(&world, first(&state)), json!("it says {\"x\":7}"));
    let calls = world.calls();
    assert_eq!((calls.len(), server.count("m:8b")), (2, 2));
    assert_eq!(calls[0].key, calls[1].key);

    let (server, world, exit, state) = in_doubt(9, |_| DoubtAnswer::Skip).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert!(matches!(first(&state).phase, TaskPhase::Ended(TaskEnd::Skipped)));
    assert_eq!((world.calls().len(), server.count("m:8b")), (1, 1));

    let (server, world, exit, state) = in_doubt(9, |_| DoubtAnswer::Fail).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert!(matches!(&first(&state).phase, TaskPhase::Ended(TaskEnd::Failed(_))));
    assert_eq!((world.calls().len(), server.count("m:8b")), (1, 1));
}

/// S30: a call that dies again after `again` is in doubt again.
#[tokio::test]
async fn s30_a_call_in_doubt_that_dies_again_is_asked_about_again() {
    let answer =
        |nth| if nth < 3 { DoubtAnswer::Again } else { DoubtAnswer::Happened { output: Payload::Inline(Value::Null) } };
    let (server, world, exit, state) = in_doubt(9, answer).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(
        story(first(&state)),
        ["box:m:8b interrupted", "box:m:8b interrupted", "box:m:8b interrupted", "box:m:8b -"]
    );
    assert_eq!((world.calls().len(), server.count("m:8b")), (3, 2));
    assert_eq!(first(&state).standing.failures, 0);
}

/// S30: killed anywhere, an unsafe call is made once unless a person says so.
#[tokio::test]
async fn s30_an_unsafe_call_is_made_once_wherever_the_process_dies() {
    let plan = asks("Send it.", "");
    for nth in 1..20 {
        for cut in [Cut::Before(nth), Cut::After(nth)] {
            let server = one_call("box_send");
            let world = world(&server, &["m:8b"], "box.send", |call, _| echo(call));
            let booted = world.boot(Vec::new(), cut).await;
            let exit = booted.start(&plan);
            let is_over = tokio::select! { _ = exit => true, () = booted.dies() => false };
            if is_over {
                assert!(nth > 4, "the run has more appends than {nth}");
                return;
            }
            let mut booted = world.boot(booted.gone().await, Cut::Never).await;
            if booted.frames().is_empty() {
                continue;
            }
            let run = booted.run_here();
            let exit = booted.resume(run);
            let made = world.calls().len();
            let exit = booted
                .answering(run, exit, |_, _| match made {
                    0 => DoubtAnswer::Again,
                    _ => DoubtAnswer::Happened { output: Payload::Inline(json!({ "x": 7 })) },
                })
                .await;
            assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{cut:?}");
            assert_eq!(output(&world, first(&booted.state())), json!("it says {\"x\":7}"), "{cut:?}");
            assert_eq!(world.calls().len(), 1, "{cut:?}");
            assert!(server.count("m:8b") <= 3, "{cut:?}: {}", server.count("m:8b"));
        }
    }
    panic!("a run of more than 20 appends");
}
