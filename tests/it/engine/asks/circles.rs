//! Attempts that go in circles, and streams that break: S26, S27, S28.

use std::collections::BTreeSet;

use ollmcp::domain::event::RunEnd;
use ollmcp::engine::supervisor::RunExit;
use serde_json::{Value, json};

use super::reasoning::{Cost, by_openai};
use super::scenes::hasten;
use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{Reply, World, echo};
use crate::model_server::{Answer, Asked, Model, ModelServer};

const RETRY: &str = ", retry: { transient: 5, backoff: 5ms..20ms }";

fn keys(world: &World) -> BTreeSet<String> {
    world.calls().into_iter().map(|call| call.key).collect()
}

fn has_result(asked: &Asked) -> bool {
    asked.messages.iter().any(|said| said.role == "tool" || said.text.contains("Result of"))
}

/// S26: a call in a stream that broke is not made; the one of the whole reply is, once, wherever the process dies. What
/// came before the break is nowhere in what is asked next.
#[tokio::test]
async fn s26_a_call_in_a_broken_stream_is_made_once_and_what_came_is_thrown_away() {
    let half = || Answer::text("I KEEP IT NOW, then").call("box_keep", json!({ "x": 7 }));
    for fault in [half().then_cut(), half().then_reset(), half().then_ends(), half().then_garbage()] {
        for is_openai in [false, true] {
            let shown = format!("{fault:?} {is_openai}");
            let cost = Cost::default();
            let make = || {
                let fault = fault.clone();
                let server = ModelServer::start(["m:8b"]);
                let mut is_first = true;
                server.respond("m:8b", move |asked| match has_result(asked) {
                    true => Answer::text("Kept."),
                    false if std::mem::take(&mut is_first) => fault.clone(),
                    false => Answer::tool("box_keep", json!({ "x": 1 })),
                });
                let mut world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
                hasten(&mut world, 50);
                if is_openai {
                    by_openai(&server, &mut world);
                }
                (server, world)
            };
            with_kills(make, &asks("Keep 1.", RETRY), |server, world, state| {
                let task = first(state);
                assert_eq!(output(world, task), json!("Kept."), "{shown}");
                assert_eq!(task.standing.failures, 0, "{shown}: {:?}", failures(task));
                assert_eq!(keys(world).len(), 1, "{shown}");
                assert!(
                    world.calls().iter().all(|call| call.arguments == r#"{"x":1}"#),
                    "{shown}: {:?}",
                    world.calls()
                );
                let chats = server.chats();
                assert!((3..=4).contains(&chats.len()), "{shown}: {}", chats.len());
                assert_eq!(chats[0].messages, chats[1].messages, "the same is asked again: {shown}");
                assert!(chats.iter().all(|asked| !asked.seen().contains("I KEEP IT NOW")), "{shown}");
                cost.is_as_before(state);
            })
            .await;
        }
    }
}

/// S27: what was cut is counted under its name, wherever the process dies; the next attempt is told to be shorter.
#[tokio::test]
async fn s27_a_cut_reply_is_counted_and_the_next_attempt_is_told_wherever_the_process_dies() {
    let schema = ", output: { schema: { type: object, required: [n], properties: { n: { type: integer } } } }";
    for text in ["The list holds 4 things, namely", r#"{"n": 4}"#, r#"{"name": "box_keep", "arguments": {"x": 1}}"#] {
        for (more, is_openai) in [("", false), (schema, false), ("", true), (schema, true)] {
            let shown = format!("{text} {more} {is_openai}");
            let cost = Cost::default();
            let make = || {
                let server = ModelServer::start(["m:8b"]);
                server.respond("m:8b", move |asked| match asked.seen().contains("answer shorter") {
                    true => Answer::text(r#"{"n": 4}"#),
                    false => Answer::text(text).stop_length(),
                });
                let mut world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
                if is_openai {
                    by_openai(&server, &mut world);
                }
                (server, world)
            };
            with_kills(make, &asks("Count the things.", more), |server, world, state| {
                let task = first(state);
                assert_eq!(failures(task), ["cut reply", "-"], "{shown}");
                assert_eq!((task.standing.failures, output(world, task)), (1, json!({ "n": 4 })), "{shown}");
                assert_eq!(world.calls().len(), 0, "nothing of a cut reply runs: {shown}");
                assert!((2..=3).contains(&server.count("m:8b")), "{shown}: {}", server.count("m:8b"));
                cost.is_as_before(state);
            })
            .await;
        }
    }
}

/// S27: the window's own end cuts as the limit of a reply does.
#[tokio::test]
async fn s27_a_reply_that_is_longer_than_it_may_be_is_never_done() {
    let server = ModelServer::start([Model::new("m:8b").context(2_048)]);
    server.respond("m:8b", |asked| Answer::text("so it goes on ".repeat(asked.reply_tokens_max().unwrap() as usize)));
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let (exit, state) = world.run(&asks("Count the things.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(failures(first(&state)), ["cut reply", "cut reply"]);
}

/// S28: equal is equal by what it means: the order of arguments, a type that is coerced and another spelling do not make
/// it another call. Wherever the process dies.
#[tokio::test]
async fn s28_the_same_call_is_known_in_every_spelling() {
    let spelled = [
        Answer::tool("box_find", json!({ "count": 2, "endings": [".pdf"] })),
        Answer::tool("box_find", json!({ "endings": "['.pdf']", "count": "2" })),
        Answer::text(r#"{"name": "box.find", "arguments": {"endings": [".pdf"], "count": 2.0}}"#),
    ];
    let make = || {
        let server = ModelServer::start(["m:8b"]);
        let spelled = spelled.clone();
        server.respond("m:8b", move |asked| {
            let results = asked.messages.iter().filter(|said| said.role == "tool").count();
            spelled[results.min(2)].clone()
        });
        let world = world(&server, &["m:8b"], "box.find", |_, _| Reply::Value(json!(["a.pdf", "b.pdf"])));
        (server, world)
    };
    let cost = Cost::default();
    with_kills(make, &asks("Find 2 files that end in .pdf.", ""), |server, world, state| {
        assert_eq!(failures(first(state)), ["loop", "loop"]);
        assert_eq!(keys(world).len(), 1, "{:?}", world.calls());
        assert!(world.calls().len() <= 3, "once in each attempt, and once more for a kill");
        assert!((6..=7).contains(&server.count("m:8b")));
        let repeated =
            server.chats().into_iter().filter(|asked| asked.last().contains("you have this already")).count();
        assert!((2..=3).contains(&repeated), "told once in each attempt: {repeated}");
        cost.is_as_before(state);
    })
    .await;
}

/// S28 for a call that fails: the same error a third time ends the attempt, and a tool is not troubled twice.
#[tokio::test]
async fn s28_a_call_that_fails_the_same_way_is_not_made_again() {
    let make = || {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", Answer::tool("box_look", json!({ "x": 1 })));
        let world = world(&server, &["m:8b"], "box.look", |_, _| Reply::Wrong);
        (server, world)
    };
    with_kills(make, &asks("Look at 1.", ""), |server, world, state| {
        assert_eq!(failures(first(state)), ["loop", "loop"]);
        assert!((2..=3).contains(&world.calls().len()), "once in each attempt: {:?}", world.calls());
        assert!((6..=7).contains(&server.count("m:8b")));
    })
    .await;
}

/// S28: reading the same part of a cut result again and again is a circle too.
#[tokio::test]
async fn s28_reading_the_same_part_of_a_result_again_and_again_ends_the_attempt() {
    let server = ModelServer::start([Model::new("m:8b").context(8_192)]);
    server.respond("m:8b", |asked| match has_result(asked) {
        false => Answer::tool("box_look", json!({ "x": 1 })),
        true => Answer::tool("read_result", json!({ "handle": "r1", "offset": 5_000 })),
    });
    let text: String = (0..20_000).map(|line| format!("entry {line}\n")).collect();
    let world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
    let (exit, state) = world.run(&asks("Look at 1.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(failures(first(&state)), ["loop", "loop"]);
    assert_eq!(server.count("m:8b"), 8, "a look and three times the same part, in each of two attempts");
    assert_eq!(world.calls().len(), 2);
    let told = server.chats()[3].last().to_owned();
    assert!(told.contains("already") && told.contains("entry"), "{told}");
}

/// S28: a stutter in one reply is not a circle: the model has not seen a result yet that it could have gone on from.
#[tokio::test]
async fn s28_the_same_call_several_times_in_one_reply_runs_once() {
    let call = json!({ "name": "box_keep", "arguments": { "x": 1 } }).to_string();
    for answer in [
        Answer::text([call.as_str(); 4].join("\n")),
        (0..4).fold(Answer::default(), |answer, _| answer.call("box_keep", json!({ "x": 1 }))),
    ] {
        let server = ModelServer::start(["m:8b"]);
        server.respond("m:8b", move |asked| match has_result(asked) {
            false => answer.clone(),
            true => Answer::text("Kept."),
        });
        let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
        let (_, state) = world.run(&asks("Keep 1.", "")).await;
        assert_eq!(failures(first(&state)), ["-"]);
        assert_eq!(output(&world, first(&state)), json!("Kept."));
        assert_eq!((world.calls().len(), server.count("m:8b")), (1, 2));
    }
}

/// S28: the same look with another result is no circle.
#[tokio::test]
async fn s28_a_look_that_sees_something_new_after_each_change_goes_on() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.messages.iter().filter(|said| said.role == "tool").count() {
        results @ (0 | 2 | 4 | 6) => Answer::tool("box_keep", json!({ "x": results })),
        1 | 3 | 5 | 7 => Answer::tool("box_look", json!({})),
        _ => Answer::text("Four."),
    });
    let world = world(&server, &["m:8b"], "box.keep, box.look", |_, number| Reply::Value(json!(number)));
    let (_, state) = world.run(&asks("Keep and look four times.", "")).await;
    assert_eq!(failures(first(&state)), ["-"]);
    assert_eq!(world.calls().len(), 8);
    let looks: Vec<Value> = server
        .chats()
        .last()
        .unwrap()
        .messages
        .iter()
        .filter(|said| said.role == "tool")
        .skip(1)
        .step_by(2)
        .map(|said| serde_json::from_str(&said.text).unwrap())
        .collect();
    assert_eq!(looks, [json!(2), json!(4), json!(6), json!(8)], "each look is a real one");
}
