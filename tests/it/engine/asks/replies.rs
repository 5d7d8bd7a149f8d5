//! What a reply can be, and what is made of it.

use serde_json::json;

use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::echo;
use crate::model_server::{Answer, ModelServer};

/// S01: calls with empty text are work, not silence.
#[tokio::test]
async fn s01_native_calls_with_empty_text_all_run() {
    let plan = asks("Look at 1, 2, 3 and 4.", "");
    let make = || {
        let server = ModelServer::start(["m:8b"]);
        server.respond("m:8b", |asked| match asked.body["messages"].as_array().unwrap().len() {
            length @ (2 | 4 | 6 | 8) => Answer::tool("box_look", json!({ "x": length / 2 })),
            _ => Answer::text("I looked at all four."),
        });
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        (server, world)
    };
    with_kills(make, &plan, |server, world, state| {
        assert_eq!(output(world, first(state)), json!("I looked at all four."));
        assert!(server.count("m:8b") <= 6, "no reply that was recorded is asked for again");
        for x in 1..=4 {
            let looked = world.calls().iter().filter(|call| call.arguments == format!("{{\"x\":{x}}}")).count();
            assert!((1..=2).contains(&looked), "{x}: {looked}");
        }
    })
    .await;
}

/// S02: nothing at all is asked for once more, then counted.
#[tokio::test]
async fn s02_an_empty_reply_is_asked_again_once_and_then_counted() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::text(""));
    let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
    let (_, state) = world.run(&asks("Look.", "")).await;
    assert_eq!(failures(first(&state)), ["empty reply", "empty reply"]);
    assert_eq!(server.count("m:8b"), 4, "twice in each of two attempts");
}
