//! Calls as models spell them in text, for models with and without a form of their own, and those that nobody offered:
//! S15, S16, S17.

use std::collections::BTreeSet;

use ollmcp::domain::event::RunEnd;
use ollmcp::domain::run::RunState;
use ollmcp::engine::supervisor::RunExit;
use serde_json::{Value, json};

use super::reasoning::{Cost, by_openai};
use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{World, echo};
use crate::model_server::{Answer, Asked, Model, ModelServer};

fn has_result(asked: &Asked) -> bool {
    asked.messages.iter().any(|said| said.role == "tool" || said.text.contains("Result of"))
}

/// Arguments of all calls that reached a tool, in order, each key once.
fn ran(world: &World) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let calls = world.calls();
    let fresh = calls.iter().filter(|call| seen.insert(call.key.clone()));
    fresh.map(|call| serde_json::from_str(&call.arguments).unwrap()).collect()
}

/// Each spelling with the calls that it means.
fn spellings() -> Vec<(String, Vec<Value>)> {
    let keep = |x: u32| json!({ "x": x });
    let one = |text: &str| (text.to_owned(), vec![keep(1)]);
    let call = |x: u32| json!({ "name": "box_keep", "arguments": { "x": x } }).to_string();
    let row = |between: &str| (1..=8).map(call).collect::<Vec<_>>().join(between);
    let all: Vec<Value> = (1..=8).map(keep).collect();
    vec![
        one(&call(1)),
        (row("\n"), all.clone()),
        (row(" "), all.clone()),
        (row(""), all),
        (format!("Both:\n```json\n[{}, {}]\n```\n", call(1), call(2)), vec![keep(1), keep(2)]),
        one(&format!(r#"{{"thoughts": "first the list", "tool_request": {}}}"#, call(1))),
        one(&format!("<tool_call>\n{}\n</tool_call>", call(1))),
        one(&format!("<tool_call>\n{}", call(1))),
        one("<tool_name>box_keep</tool_name>\n<arguments>{\"x\": 1}</arguments>"),
        one("<box.keep>{\"x\": 1}</box.keep>"),
        // Between tags all is text, where no type is declared.
        ("<box.keep>\n<x>1</x>\n</box.keep>".to_owned(), vec![json!({ "x": "1" })]),
        one(r#"{"function": "box_keep", "parameters": {"x": 1}}"#),
        one(r#"{"type": "function", "function": {"name": "box_keep", "parameters": {"x": 1}}}"#),
        one(r#"{"name": "box_keep", "arguments": "{\"x\": 1}"}"#),
        one(r#"{"name": "box.keep", "arguments": {"x": 1}}"#),
    ]
}

/// S15: each spelling gives exactly its calls, in order, each under one key, wherever the process dies; for models that
/// take tools natively and for those that read of them in the prompt.
#[tokio::test]
async fn s15_each_spelling_runs_its_calls_once_wherever_the_process_dies() {
    for (text, meant) in spellings() {
        for is_native in [true, false] {
            let cost = Cost::default();
            let make = || {
                let model = Model::new("m:8b");
                let model = if is_native { model } else { model.can(&["completion"]) };
                let server = ModelServer::start([model]);
                let text = text.clone();
                server.respond("m:8b", move |asked| match has_result(asked) {
                    false => Answer::text(text.clone()),
                    true => Answer::text("Kept."),
                });
                let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
                (server, world)
            };
            let check = |server: &ModelServer, world: &World, state: &RunState| {
                assert_eq!(failures(first(state)), ["-"], "{text}");
                assert_eq!(output(world, first(state)), json!("Kept."), "{text}");
                assert_eq!(ran(world), meant, "{text}");
                assert!(world.calls().len() <= meant.len() + 1, "a kill repeats one call: {:?}", world.calls());
                assert!((2..=3).contains(&server.count("m:8b")), "{text}");
                let chats = server.chats();
                assert!(chats.iter().all(|asked| asked.tools.is_empty() != is_native), "{text}");
                let told = chats.last().unwrap().seen();
                for arguments in &meant {
                    assert!(told.contains(&arguments.to_string()), "each result is told: {told}");
                }
                cost.is_as_before(state);
            };
            let plan = asks("Keep 1 to 8.", "");
            // A kill meets calls that were read, however they were spelled: one long row of them is enough.
            if is_native && (meant.len() < 8 || text.contains('\n')) {
                with_kills(make, &plan, check).await;
            } else {
                let (server, world) = make();
                let (_, state) = world.run(&plan).await;
                check(&server, &world, &state);
            }
        }
    }
}

/// S15: an answer that looks like a call, and code, are the answer as they stand; no tool hears of them.
#[tokio::test]
async fn s15_what_is_no_call_is_the_answer() {
    let code = "```python\nimport os\nprint(len(os.listdir('.')))\n```";
    let speech = json!({ "name": "Ada", "arguments": ["for", "against"] });
    let example = "Call it so, for example:\n```json\n{\"name\": \"box_keep\", \"arguments\": {\"x\": 1}}\n```";
    for (text, wanted) in [
        (format!("```json\n{speech}\n```"), speech.clone()),
        (code.to_owned(), json!(code)),
        (example.to_owned(), json!(example)),
    ] {
        for is_native in [true, false] {
            let model = Model::new("m:8b");
            let server = ModelServer::start([if is_native { model } else { model.can(&["completion"]) }]);
            server.always("m:8b", Answer::text(text.clone()));
            let world = world(&server, &["m:8b"], "box.keep, box.look", |call, _| echo(call));
            let (exit, state) = world.run(&asks("Who spoke?", "")).await;
            assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{text}: {:?}", failures(first(&state)));
            assert_eq!(output(&world, first(&state)), wanted);
            assert_eq!((world.calls().len(), server.count("m:8b")), (0, 1), "{text}");
        }
    }
}

/// Calls that are emitted to an agent without tools, in every form.
fn uncalled_for() -> Vec<Answer> {
    let call = r#"{"name": "box_send", "arguments": {"x": 1}}"#;
    vec![
        Answer::tool("box_send", json!({ "x": 1 })),
        Answer::text("I send it.").call("box_send", json!({ "x": 1 })),
        Answer::text(call),
        Answer::text(format!("```json\n{call}\n```")),
        Answer::text(format!("<tool_call>{call}</tool_call>")),
        Answer::text("<tool_call>{\"name\": \"box_send\", \"argum"),
        Answer::text(r#"{"tool": "shell.x", "arguments": {"command": "rm -rf /"}}"#),
        Answer::text(format!("[{call}, {call}]")),
        Answer::text(format!("{call}\n{call}")),
    ]
}

/// S16: what an agent without tools calls is refused, said once and counted, and nobody takes the call for an answer,
/// with a schema and without.
#[tokio::test]
async fn s16_a_call_of_an_agent_without_tools_is_refused_and_is_no_answer() {
    for answer in uncalled_for() {
        let shown = format!("{answer:?}");
        let cost = Cost::default();
        let make = || {
            let server = ModelServer::start(["m:8b"]);
            server.always("m:8b", answer.clone());
            let world = world(&server, &["m:8b"], "", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &asks("Count to 3.", ""), |server, world, state| {
            let task = first(state);
            assert_eq!(failures(task), ["tool not offered", "tool not offered"], "{shown}");
            assert_eq!(task.standing.failures, 2, "{shown}");
            assert_eq!(world.calls().len(), 0, "{shown}");
            let chats = server.chats();
            assert!((4..=5).contains(&chats.len()), "{shown}: {}", chats.len());
            assert!(chats.iter().all(|asked| asked.tools.is_empty()), "nothing was offered: {shown}");
            assert!(chats[1..].iter().any(|asked| asked.last().contains("no tools are offered here")), "{shown}");
            cost.is_as_before(state);
        })
        .await;
    }
}

/// S16: refused once, it may still answer.
#[tokio::test]
async fn s16_an_agent_without_tools_may_answer_after_a_refusal() {
    for answer in uncalled_for() {
        let shown = format!("{answer:?}");
        let server = ModelServer::start(["m:8b"]);
        server.script("m:8b", [answer, Answer::text("One, two, three.")]);
        let world = world(&server, &["m:8b"], "", |call, _| echo(call));
        let (exit, state) = world.run(&asks("Count to 3.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{shown}: {:?}", failures(first(&state)));
        assert_eq!(output(&world, first(&state)), json!("One, two, three."), "{shown}");
        assert_eq!((world.calls().len(), server.count("m:8b")), (0, 2), "{shown}");
    }
}

/// S16 for an agent that has tools: another one that is there, but not offered, is refused with those that are, and all
/// of its reply with it.
#[tokio::test]
async fn s16_a_tool_that_is_there_and_not_offered_is_refused_with_those_that_are() {
    for answer in [
        Answer::tool("box_look", json!({ "x": 1 })).call("box_send", json!({ "x": 1 })),
        Answer::text(r#"{"name": "box_send", "arguments": {"x": 1}}"#),
    ] {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", answer);
        let world = world(&server, &["m:8b"], "box.look, box.find", |call, _| echo(call));
        let (exit, state) = world.run(&asks("Look at 1.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
        assert_eq!(failures(first(&state)), ["tool not offered", "tool not offered"]);
        assert_eq!((world.calls().len(), server.count("m:8b")), (0, 4));
        let told = server.chats()[1].last().to_owned();
        assert!(told.contains("box_send") && told.contains("box_look") && told.contains("box_find"), "{told}");
    }
}

/// S17: whatever protocol or spelling the wrong types come by, the server of the tool sees the right ones, once.
#[tokio::test]
async fn s17_types_are_coerced_in_every_spelling() {
    let loose = json!({ "count": "2", "endings": "['.pdf']" });
    let right = json!({ "count": 2, "endings": [".pdf"] });
    for (answer, is_openai) in [
        (Answer::tool("box_find", loose.clone()), false),
        (Answer::tool("box_find", loose.clone()), true),
        (Answer::tool("box_find", json!(loose.to_string())), true),
        (Answer::tool("box_find", json!({ "count": 2.0, "endings": [".pdf"] })), false),
        (Answer::tool("box_find", json!({ "count": " 2 ", "endings": "[\".pdf\"]" })), false),
        (Answer::text(json!({ "name": "box_find", "arguments": loose }).to_string()), false),
        (Answer::text("<box_find>\n<count>2</count>\n<endings>['.pdf']</endings>\n</box_find>"), false),
        (Answer::text("```\nbox_find(count=\"2\", endings=['.pdf'])\n```"), false),
    ] {
        let shown = format!("{answer:?} {is_openai}");
        let server = ModelServer::start(["m:8b"]);
        server.respond("m:8b", move |asked| match has_result(asked) {
            false => answer.clone(),
            true => Answer::text("Two."),
        });
        let mut world = world(&server, &["m:8b"], "box.find", |call, _| echo(call));
        if is_openai {
            by_openai(&server, &mut world);
        }
        let (_, state) = world.run(&asks("Find 2 files that end in .pdf.", "")).await;
        assert_eq!(failures(first(&state)), ["-"], "{shown}");
        assert_eq!(world.calls().len(), 1, "{shown}");
        assert_eq!(ran(&world), std::slice::from_ref(&right), "{shown}");
    }
}

/// S17: what would need a guess never reaches the tool; the attempt fails when it is written twice.
#[tokio::test]
async fn s17_a_value_of_no_fitting_type_never_reaches_the_tool() {
    for count in [json!("a few"), json!(2.5), json!([2]), json!({ "n": 2 }), json!(null), json!(""), json!("2 or 3")] {
        let shown = count.to_string();
        let cost = Cost::default();
        let make = || {
            let server = ModelServer::start(["m:8b"]);
            server.always("m:8b", Answer::tool("box_find", json!({ "count": count })));
            let world = world(&server, &["m:8b"], "box.find", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &asks("Find 2 files.", ""), |server, world, state| {
            assert_eq!(failures(first(state)), ["malformed call", "malformed call"], "{shown}");
            assert_eq!(world.calls().len(), 0, "{shown}");
            assert!((4..=5).contains(&server.count("m:8b")), "{shown}");
            let chats = server.chats();
            assert!(chats[1..].iter().any(|asked| asked.last().contains("count")), "it is told which: {shown}");
            assert!(chats.last().unwrap().seen().contains("count"), "so is the next attempt: {shown}");
            cost.is_as_before(state);
        })
        .await;
    }
}
