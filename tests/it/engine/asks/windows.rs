//! The window of a model: what is sent fits it, and what does not fit is made to: S18, S19, S27.

use ollmcp::domain::event::RunEnd;
use ollmcp::engine::supervisor::RunExit;
use serde_json::json;

use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{Reply, echo};
use crate::model_server::{Answer, Asked, Model, ModelServer};

/// Long, and different everywhere: a cut in the middle would be seen.
fn three_megabytes() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for line in 0..60_000 {
        writeln!(text, "entry {line}: nothing of note was found in drawer {}", line * 7).unwrap();
    }
    assert!(text.len() > 3_000_000);
    text
}

fn has_result(asked: &Asked) -> bool {
    asked.messages.iter().any(|said| said.role == "tool")
}

/// S18: a result of 3 MB leaves task, inputs and room for the answer, and says what was cut.
#[tokio::test]
async fn s18_large_results_leave_the_task_and_the_inputs_in_the_window() {
    let server = ModelServer::start([Model::new("m:8b").context(8_192)]);
    server.respond("m:8b", |asked| match asked.nth {
        0..=3 => Answer::tool("box_look", json!({ "x": asked.nth })),
        _ => Answer::text("Nothing of note."),
    });
    let text = three_megabytes();
    let world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
    let prompt = "Look into the drawers 0, 1, 2 and 3 of the MAHOGANY cabinet.";
    let (exit, state) = world.run(&asks(prompt, "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{:?}", failures(first(&state)));
    let chats = server.chats();
    assert_eq!(chats.len(), 5);
    for asked in &chats {
        assert!(!asked.is_cut(), "the server had to cut request {}", asked.nth);
        assert!(asked.seen().contains("MAHOGANY cabinet"), "the task is there in request {}", asked.nth);
        assert!(asked.prompt_tokens + asked.reply_tokens_max().unwrap() <= u64::from(asked.context_tokens));
        assert!(asked.options["num_ctx"].as_u64().unwrap() <= 8_192);
        assert_eq!(asked.body["truncate"], json!(false));
        assert_eq!(asked.body["shift"], json!(false));
    }
    let last = chats.last().unwrap();
    let results: Vec<&str> =
        last.messages.iter().filter(|said| said.role == "tool").map(|said| said.text.as_str()).collect();
    assert!(!results.is_empty());
    let seen = last.seen();
    assert!(
        seen.contains("characters") && seen.contains("read_result"),
        "what was cut is said, and how to page: {seen}"
    );
    let windows: std::collections::BTreeSet<u64> =
        chats.iter().map(|asked| asked.options["num_ctx"].as_u64().unwrap()).collect();
    assert!(windows.len() <= 2, "the window is kept stable, so that the model is not loaded anew: {windows:?}");
}

/// S18: the handle of a cut result pages through it, without calling the tool again.
#[tokio::test]
async fn s18_what_was_cut_can_be_paged_without_calling_again() {
    let server = ModelServer::start([Model::new("m:8b").context(8_192)]);
    server.respond("m:8b", |asked| match asked.nth {
        0 => Answer::tool("box_look", json!({ "x": 1 })),
        1 => {
            let said = asked.last().split("handle ").nth(1).expect("it says how to page");
            let handle: String = said.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
            Answer::tool("read_result", json!({ "handle": handle, "offset": 2_000_000 }))
        }
        _ => Answer::text("Seen."),
    });
    let text = three_megabytes();
    let world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
    let (exit, state) = world.run(&asks("Look into 1.", "")).await;
    assert_eq!(
        exit,
        RunExit::Ended(RunEnd::Complete),
        "{:?}\n{}",
        failures(first(&state)),
        server.chats().last().unwrap().seen()
    );
    assert_eq!(world.calls().len(), 1);
    let page = server.chats()[2].last().to_owned();
    assert!(page.contains("entry 4") || page.contains("entry 3"), "a part from the middle: {page}");
}

/// S19: a prompt that is too long for the server is made smaller and asked again; nothing is counted.
#[tokio::test]
async fn s19_a_prompt_that_does_not_fit_is_fitted_and_not_counted() {
    for refusal in [Answer::too_long(), Answer::no_user_query()] {
        let shown = format!("{refusal:?}");
        let plan = asks("Look into 1.", "");
        let make = || {
            let refusal = refusal.clone();
            let server = ModelServer::start([Model::new("m:8b").context(16_384)]);
            let mut refused = false;
            server.respond("m:8b", move |asked| match has_result(asked) {
                false => Answer::tool("box_look", json!({ "x": 1 })),
                true if !refused => {
                    refused = true;
                    refusal.clone()
                }
                true => Answer::text("Seen."),
            });
            let text = "a drawer with a very long list of things in it. ".repeat(1_000);
            let world = world(&server, &["m:8b"], "box.look", move |_, _| Reply::Value(json!(text)));
            (server, world)
        };
        with_kills(make, &plan, |server, world, state| {
            let task = first(state);
            assert_eq!(output(world, task), json!("Seen."), "{shown}");
            assert_eq!((task.standing.failures, failures(task)), (0, vec!["-".to_owned()]), "{shown}");
            let chats = server.chats();
            let refused = chats.iter().position(|asked| asked.status.is_some_and(|status| status >= 400)).unwrap();
            let again = &chats[refused + 1];
            let (before, after) = (chats[refused].prompt_tokens, again.prompt_tokens);
            let window = |asked: &Asked| asked.options["num_ctx"].as_u64().unwrap();
            assert!(after < before || window(again) > window(&chats[refused]), "{shown}: {before} then {after}");
            assert!(again.seen().contains("Look into 1."), "the task never leaves: {shown}");
        })
        .await;
    }
}

/// S27: an answer that was cut is no answer, even where it parses.
#[tokio::test]
async fn s27_a_reply_that_was_cut_is_never_done() {
    for text in ["The list holds 4 things, namely", r#"{"n": 4}"#, ""] {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", Answer::text(text).stop_length());
        let world = world(&server, &["m:8b"], "", |call, _| echo(call));
        let (exit, state) = world.run(&asks("Count the things.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Failed), "{text}");
        assert_eq!(failures(first(&state)), ["cut reply", "cut reply"], "{text}");
        assert_eq!(first(&state).standing.failures, 2);
    }
}

/// S27: calls of a cut reply are not made, for the last may be half of one.
#[tokio::test]
async fn s27_calls_of_a_cut_reply_are_not_made() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::tool("box_keep", json!({ "rates": 5 })).stop_length());
    let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
    let (exit, state) = world.run(&asks("Keep the rates 5.", "")).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert_eq!(failures(first(&state)), ["cut reply", "cut reply"]);
    assert_eq!(world.calls().len(), 0);
}
