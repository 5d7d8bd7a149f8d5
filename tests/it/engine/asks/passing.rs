//! What passes by itself, and calls that go in circles: S26, S28.

use std::time::Duration;

use ollmcp::domain::event::RunEnd;
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::scenes::hasten;
use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{Reply, World, echo};
use crate::model_server::{Answer, ModelServer};

const RETRY: &str = ", retry: { transient: 5, backoff: 5ms..20ms }";

/// S26: a stream that drops, one 500, garbage: asked again, and nothing is counted against the model.
#[tokio::test]
async fn s26_faults_on_the_way_are_tried_again_and_not_counted() {
    let long = "The list holds four things, and each of them is where it was.";
    for fault in [
        Answer::text(long).pieces_of(8).then_cut(),
        Answer::text(long).pieces_of(8).then_reset(),
        Answer::text(long).pieces_of(8).then_ends(),
        Answer::text(long).pieces_of(8).then_error("llama runner process has terminated"),
        Answer::refused(500, "unexpected EOF"),
    ] {
        let shown = format!("{fault:?}");
        let plan = asks("Count.", RETRY);
        let make = || {
            let fault = fault.clone();
            let server = ModelServer::start(["m:8b"]);
            let mut is_first = true;
            server.respond(
                "m:8b",
                move |_| if std::mem::take(&mut is_first) { fault.clone() } else { Answer::text(long) },
            );
            let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
            hasten(&mut world, 50);
            (server, world)
        };
        with_kills(make, &plan, |server, world, state| {
            let task = first(state);
            assert_eq!(output(world, task), json!(long), "{shown}");
            assert_eq!(task.standing.failures, 0, "{shown}: {:?}", failures(task));
            assert_eq!(failures(task).last().unwrap(), "-");
            assert!((2..=4).contains(&server.count("m:8b")), "{shown}: {}", server.count("m:8b"));
        })
        .await;
    }
}

/// S26: a server that is not there for two seconds is waited for.
#[tokio::test]
async fn s26_a_server_that_is_away_for_a_while_is_waited_for() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::text("Four."));
    server.refuse();
    let mut world = world(&server, &["m:8b"], "", |call, _| echo(call));
    hasten(&mut world, 20);
    let comes_back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.back();
    };
    let plan = asks("Count.", RETRY);
    let ((exit, state), ()) = tokio::join!(world.run(&plan), comes_back);
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    let task = first(&state);
    assert_eq!((output(&world, task), task.standing.failures), (json!("Four."), 0));
    assert_eq!(server.count("m:8b"), 1);
}

/// Makes this call again and again, whatever it is told.
fn circling(tool: &'static str, script: fn() -> Reply) -> (ModelServer, World) {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::tool(tool, json!({ "x": 1 })));
    let world = world(&server, &["m:8b"], "box.look, box.keep", move |_, _| script());
    (server, world)
}

/// S28: the second equal call is answered from the record, the third ends the attempt.
#[tokio::test]
async fn s28_the_same_call_three_times_ends_the_attempt() {
    for tool in ["box_look", "box_keep"] {
        let plan = asks("Look at 1.", "");
        with_kills(
            || circling(tool, || Reply::Value(json!("a red ball"))),
            &plan,
            |server, world, state| {
                let task = first(state);
                assert_eq!(failures(task), ["loop", "loop"], "{tool}");
                assert_eq!(task.standing.failures, 2);
                // One real execution for each attempt; of one that changes something one in all. A kill adds one.
                let most = if tool == "box_look" { 2 + 1 } else { 1 + 1 };
                let keys: std::collections::BTreeSet<String> = world.calls().into_iter().map(|call| call.key).collect();
                assert!(world.calls().len() <= most, "{tool}: {:?}", world.calls());
                assert_eq!(keys.len(), 1, "{tool}");
                assert!(
                    server.count("m:8b") <= 6 + 1,
                    "three replies in each of two attempts: {}",
                    server.count("m:8b")
                );
            },
        )
        .await;
    }
}

/// S28: the second time is told to the model, with the result that it has already.
#[tokio::test]
async fn s28_an_answer_from_the_record_says_so() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.nth {
        0 | 1 => Answer::tool("box_look", json!({ "x": 1 })),
        _ => Answer::text("A red ball."),
    });
    let world = world(&server, &["m:8b"], "box.look", |_, _| Reply::Value(json!("a red ball")));
    let (_, state) = world.run(&asks("Look at 1.", "")).await;
    assert_eq!(failures(first(&state)), ["-"]);
    assert_eq!(world.calls().len(), 1, "the second was answered from the record");
    let told = server.chats()[2].last().to_owned();
    assert!(told.contains("a red ball") && told.contains("already"), "{told}");
}
