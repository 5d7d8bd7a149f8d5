//! Reasoning without an answer, wherever the process dies and whatever protocol it comes by: S03, S04.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ollmcp::domain::event::RunEnd;
use ollmcp::domain::run::RunState;
use ollmcp::engine::supervisor::RunExit;
use ollmcp::model::address::Address;
use ollmcp::model::openai::OpenAi;
use ollmcp::model::{ModelServer as Port, ModelServers};
use serde_json::{Value, json};

use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{World, echo};
use crate::model_server::{Answer, Asked, Model, ModelServer};

/// The world's models by OpenAI's protocol in place of Ollama's.
pub(crate) fn by_openai(server: &ModelServer, world: &mut World) {
    let client: Arc<dyn Port> = Arc::new(OpenAi::new(Address::url(&server.url()).unwrap(), None).unwrap());
    world.model_servers = ModelServers(BTreeMap::from([("box".to_owned(), client)]));
}

/// What a run cost: a kill must not change it, for a reply that was lost is counted when it is given again.
pub(crate) fn tokens(state: &RunState) -> (u64, u64) {
    (state.head.usage.input_tokens, state.head.usage.output_tokens)
}

/// Remembers what the undisturbed run cost, and holds every other one against it.
#[derive(Default)]
pub(crate) struct Cost(Cell<Option<(u64, u64)>>);

impl Cost {
    #[track_caller]
    pub(crate) fn is_as_before(&self, state: &RunState) {
        let found = tokens(state);
        assert!(found.0 > 0, "tokens are counted");
        let wanted = self.0.get().unwrap_or(found);
        self.0.set(Some(wanted));
        assert_eq!(found, wanted, "each reply is counted once");
        let per_task = state.tasks.values().flat_map(|task| &task.tried);
        let sum = per_task.fold((0, 0), |sum, tried| (sum.0 + tried.input_tokens, sum.1 + tried.output_tokens));
        assert_eq!(found, sum, "the run costs what its attempts cost");
    }
}

fn has_result(asked: &Asked) -> bool {
    asked.messages.iter().any(|said| said.role == "tool" || said.text.contains("Result of"))
}

/// S03: the words of the end are the output as they stand, whatever was done before them.
#[tokio::test]
async fn s03_the_last_words_are_the_output_as_they_stand() {
    for (last, wanted) in [
        ("✅ Done.", json!("✅ Done.")),
        ("已完成。文件已保存。", json!("已完成。文件已保存。")),
        ("\u{feff}✅", json!("✅")),
        ("```json\n{\"kept\": 5}\n```", json!({ "kept": 5 })),
        ("مكتمل", json!("مكتمل")),
    ] {
        for is_openai in [false, true] {
            let server = ModelServer::start(["m:8b"]);
            server.respond("m:8b", move |asked| match has_result(asked) {
                false => Answer::tool("box_keep", json!({ "rates": 5 })),
                true => Answer::text(last),
            });
            let mut world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
            if is_openai {
                by_openai(&server, &mut world);
            }
            let (exit, state) = world.run(&asks("Keep the rates 5.", "")).await;
            assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{last}");
            assert_eq!(output(&world, first(&state)), wanted);
            assert_eq!((world.calls().len(), server.count("m:8b")), (1, 2), "{last}");
            assert_eq!(failures(first(&state)), ["-"], "{last}");
        }
    }
}

/// Every form of reasoning alone, and whether the model is known to think.
fn alone() -> Vec<(Answer, bool)> {
    let long = format!("<think>{}", "I should look at the list first. ".repeat(100));
    vec![
        (Answer::text("<think>"), false),
        (Answer::text("<think>I look at the list.</think>"), false),
        (Answer::text("<think>I look at the list.</think>\n\n"), false),
        (Answer::text("I look at the list.</think>"), false),
        (Answer::text(long), false),
        (Answer::text("").thinking("I look at the list."), false),
        (Answer::text("").thinking("I look at the list."), true),
        (Answer::text(" \n").thinking("I look at the list."), false),
    ]
}

/// S04: counted under its own name, told to the model and to the next attempt, and paid for once, wherever it dies.
#[tokio::test]
async fn s04_reasoning_alone_is_told_and_counted_once_wherever_the_process_dies() {
    for (answer, thinks) in alone() {
        let shown = format!("{answer:?}");
        let cost = Cost::default();
        let make = || {
            let model = if thinks { Model::new("m:8b").thinks() } else { Model::new("m:8b") };
            let server = ModelServer::start([model]);
            server.always("m:8b", answer.clone());
            let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &asks("Look.", ""), |server, world, state| {
            let task = first(state);
            let first_kind = if thinks { "empty reply" } else { "reasoning only" };
            assert_eq!(failures(task), [first_kind, "reasoning only"], "{shown}");
            assert_eq!((task.standing.failures, task.phase.word()), (2, "failed"), "{shown}");
            assert_eq!(world.calls().len(), 0, "{shown}");
            let chats = server.chats();
            assert!((4..=5).contains(&chats.len()), "twice in each of two attempts: {} {shown}", chats.len());
            let asked_again = chats.iter().filter(|asked| asked.last().contains("Call one of the tools")).count();
            assert!((2..=3).contains(&asked_again), "once in each attempt: {asked_again} {shown}");
            let last = chats.last().unwrap();
            let complaint = if thinks { "the reply is empty" } else { "the reply is reasoning only" };
            assert!(last.seen().contains(complaint), "the next attempt is told: {}", last.seen());
            assert!(chats.iter().all(|asked| !asked.seen().contains("I look at the list")), "thoughts are not kept");
            cost.is_as_before(state);
        })
        .await;
    }
}

/// S04: a model that thinks where nobody asked it to, by a protocol that has its own field for it.
#[tokio::test]
async fn s04_reasoning_alone_has_its_name_on_the_protocol_of_openai_too() {
    for (answer, _) in alone() {
        let shown = format!("{answer:?}");
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", answer);
        let mut world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        by_openai(&server, &mut world);
        let (exit, state) = world.run(&asks("Look.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Failed), "{shown}");
        assert_eq!(failures(first(&state)), ["reasoning only", "reasoning only"], "{shown}");
        assert_eq!((first(&state).standing.failures, server.count("m:8b")), (2, 4), "{shown}");
    }
}

/// S04: it is asked again once; with an answer then, nothing is counted, and the thoughts are no part of it.
#[tokio::test]
async fn s04_reasoning_alone_that_is_followed_by_an_answer_is_no_failure() {
    for (answer, thinks) in alone() {
        let shown = format!("{answer:?}");
        let cost = Cost::default();
        let make = || {
            let model = if thinks { Model::new("m:8b").thinks() } else { Model::new("m:8b") };
            let server = ModelServer::start([model]);
            let answer = answer.clone();
            server.respond("m:8b", move |asked| match asked.messages.len() {
                2 => answer.clone(),
                _ => Answer::text("<think>so it is four</think>Four."),
            });
            let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &asks("Count.", ""), |server, world, state| {
            assert_eq!(failures(first(state)), ["-"], "{shown}");
            assert_eq!(output(world, first(state)), json!("Four."), "{shown}");
            assert!((2..=3).contains(&server.count("m:8b")), "{shown}");
            cost.is_as_before(state);
        })
        .await;
    }
}

/// S04: a call beside reasoning is made once by name, wherever the process dies; what was only thought of never is.
#[tokio::test]
async fn s04_a_call_beside_reasoning_runs_once_wherever_the_process_dies() {
    let written = |x: u32| json!({ "name": "box_keep", "arguments": { "x": x } }).to_string();
    for (answer, thinks) in [
        (Answer::text("<think>I keep.</think>").call("box_keep", json!({ "x": 1 })), false),
        (Answer::text("<think>I keep 1, not 7, and").call("box_keep", json!({ "x": 1 })), false),
        (Answer::tool("box_keep", json!({ "x": 1 })).thinking("I keep."), true),
        (Answer::tool("box_keep", json!({ "x": 1 })).thinking(written(7)), false),
        (Answer::text(format!("<think>Maybe {}.</think>\n{}", written(7), written(1))), false),
        (Answer::text(format!("Maybe {}.</think>\n{}", written(7), written(1))), false),
    ] {
        let shown = format!("{answer:?}");
        let cost = Cost::default();
        let make = || {
            let model = if thinks { Model::new("m:8b").thinks() } else { Model::new("m:8b") };
            let server = ModelServer::start([model]);
            let answer = answer.clone();
            server.respond("m:8b", move |asked| match has_result(asked) {
                false => answer.clone(),
                true => Answer::text("Kept."),
            });
            let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &asks("Keep 1.", ""), |server, world, state| {
            assert_eq!(failures(first(state)), ["-"], "{shown}");
            let calls = world.calls();
            assert!((1..=2).contains(&calls.len()), "a kill in the call adds one: {calls:?}");
            assert!(calls.iter().all(|call| call.key == calls[0].key), "{calls:?}");
            assert_eq!(serde_json::from_str::<Value>(&calls[0].arguments).unwrap(), json!({ "x": 1 }), "{shown}");
            assert!((2..=3).contains(&server.count("m:8b")), "{shown}");
            cost.is_as_before(state);
        })
        .await;
    }
}
