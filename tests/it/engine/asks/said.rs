//! What a reply says, and which calls it holds: S03, S04, S15, S16, S17.

use ollmcp::domain::event::RunEnd;
use ollmcp::engine::supervisor::RunExit;
use serde_json::{Value, json};

use super::{asks, failures, first, output, with_kills, world};
use crate::engine::world::{World, echo, plan};
use crate::model_server::{Answer, Asked, Model, ModelServer};

fn has_result(asked: &Asked) -> bool {
    asked.messages.iter().any(|said| said.role == "tool" || said.text.contains("Result of"))
}

/// Calls of a tool that really ran, their arguments as JSON.
fn ran(world: &World, tool: &str) -> Vec<Value> {
    let calls = world.calls();
    calls.iter().filter(|call| call.tool == tool).map(|call| serde_json::from_str(&call.arguments).unwrap()).collect()
}

/// S03: words after work end it, in any language and with any sign.
#[tokio::test]
async fn s03_a_short_word_after_a_call_that_worked_is_the_end() {
    for last in ["✅ Done.", "已完成。文件已保存。", "Fertig!", "{\"status\": \"ok\"}"] {
        let plan = asks("Keep the rates 5.", "");
        let make = || {
            let server = ModelServer::start(["m:8b"]);
            server.respond("m:8b", move |asked| match has_result(asked) {
                false => Answer::tool("box_keep", json!({ "rates": 5 })),
                true => Answer::text(last),
            });
            let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
            (server, world)
        };
        with_kills(make, &plan, |server, world, state| {
            assert_eq!(failures(first(state)), ["-"], "{last}");
            let keys: std::collections::BTreeSet<String> = world.calls().into_iter().map(|call| call.key).collect();
            assert_eq!(keys.len(), 1, "one call, whenever the process died: {last}");
            assert!(server.count("m:8b") <= 3, "{last}");
        })
        .await;
    }
}

/// S03 the other way: words without work are no end where the step asks for a deed.
#[tokio::test]
async fn s03_the_same_words_without_a_call_are_a_failure() {
    let server = ModelServer::start(["m:8b"]);
    server.always("m:8b", Answer::text("✅ Done."));
    let world = world(&server, &["m:8b"], "box.keep", |call, _| echo(call));
    let text = "name: p\nsteps:\n  - { id: a, agent: WORKER, prompt: Keep 5., done_when: [ { called: box.keep } ] }\n";
    let (exit, state) = world.run(&plan(text)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Failed));
    assert!(failures(first(&state)).iter().all(|kind| kind != "-"), "{:?}", failures(first(&state)));
    assert_eq!(ran(&world, "box.keep").len(), 0);
}

/// S04: reasoning is never an answer, however it is written.
#[tokio::test]
async fn s04_reasoning_alone_is_a_counted_failure_of_that_name() {
    let long = format!("<think>{}", "I should look at the list first. ".repeat(100));
    for (answer, thinks) in [
        (Answer::text("<think>"), false),
        (Answer::text("<think>I look at the list.</think>"), false),
        (Answer::text("<think>I look at the list.</think>\n\n"), false),
        (Answer::text("<thinking>I look.</thinking>"), false),
        (Answer::text(long), false),
        (Answer::text("I look at the list.</think>"), false),
        (Answer::text("").thinking("I look at the list."), true),
    ] {
        let shown = format!("{answer:?}");
        let model = if thinks { Model::new("m:8b").thinks() } else { Model::new("m:8b") };
        let server = ModelServer::start([model]);
        server.always("m:8b", answer);
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        let (exit, state) = world.run(&asks("Look.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Failed), "{shown}");
        // A first attempt is asked not to think, and a server that obeys leaves nothing then.
        let first_kind = if thinks { "empty reply" } else { "reasoning only" };
        assert_eq!(failures(first(&state)), [first_kind, "reasoning only"], "{shown}");
        assert_eq!(first(&state).standing.failures, 2, "{shown}");
        assert_eq!(world.calls().len(), 0, "{shown}");
    }
}

/// S04: a call beside reasoning runs, and the reasoning is no part of the answer.
#[tokio::test]
async fn s04_a_call_beside_reasoning_runs() {
    let call = r#"{"name": "box_look", "arguments": {"x": 1}}"#;
    for (first_reply, thinks) in [
        (Answer::text("<think>I look.</think>").call("box_look", json!({ "x": 1 })), false),
        (Answer::tool("box_look", json!({ "x": 1 })).thinking("I look."), true),
        (
            Answer::text(format!(
                "<think>I look, maybe at {{\"name\": \"box_look\", \"arguments\": {{\"x\": 7}}}}.</think>\n{call}"
            )),
            false,
        ),
    ] {
        let model = if thinks { Model::new("m:8b").thinks() } else { Model::new("m:8b") };
        let server = ModelServer::start([model]);
        server.respond("m:8b", move |asked| match has_result(asked) {
            false => first_reply.clone(),
            true => Answer::text("<think>So it is 1.</think>It is 1."),
        });
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        let (_, state) = world.run(&asks("Look.", "")).await;
        assert_eq!(failures(first(&state)), ["-"]);
        assert_eq!(output(&world, first(&state)), json!("It is 1."));
        assert_eq!(ran(&world, "box.look"), [json!({ "x": 1 })], "what was only thought of did not run");
    }
}

/// S15: calls written as text give exactly the calls that are meant, each once.
#[tokio::test]
async fn s15_calls_in_text_run_exactly_as_meant() {
    let one = |x: u32| json!({ "x": x });
    let eight: String =
        (1..=8).map(|x| json!({ "name": "box_look", "arguments": { "x": x } }).to_string() + "\n").collect();
    let fenced = "I look at both:\n```json\n[{\"name\": \"box_look\", \"arguments\": {\"x\": 1}}, {\"name\": \"box_look\", \
                  \"arguments\": {\"x\": 2}}]\n```\n";
    for (text, meant) in [
        (r#"{"name": "box_look", "arguments": {"x": 1}}"#.to_owned(), vec![one(1)]),
        (eight, (1..=8).map(one).collect()),
        (fenced.to_owned(), vec![one(1), one(2)]),
        (
            r#"{"thoughts": "first the list", "tool_request": {"name": "box_look", "arguments": {"x": 1}}}"#.to_owned(),
            vec![one(1)],
        ),
        ("<tool_call>\n{\"name\": \"box_look\", \"arguments\": {\"x\": 1}}\n</tool_call>".to_owned(), vec![one(1)]),
        ("<tool_name>box_look</tool_name>\n<arguments>{\"x\": 1}</arguments>".to_owned(), vec![one(1)]),
        ("<box.look>{\"x\": 1}</box.look>".to_owned(), vec![one(1)]),
        (r#"{"function": "box_look", "parameters": {"x": 1}}"#.to_owned(), vec![one(1)]),
        (r#"{"name": "box_look", "arguments": "{\"x\": 1}"}"#.to_owned(), vec![one(1)]),
    ] {
        let server = ModelServer::start(["m:8b"]);
        let reply = text.clone();
        server.respond("m:8b", move |asked| match asked.nth {
            0 => Answer::text(reply.clone()),
            _ => Answer::text("Seen."),
        });
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        let (exit, state) = world.run(&asks("Look at 1 to 8.", "")).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Complete), "{text}");
        assert_eq!(ran(&world, "box.look"), meant, "{text}");
        assert_eq!(output(&world, first(&state)), json!("Seen."), "{text}");
    }
}

/// S15: what only looks like a call is an answer.
#[tokio::test]
async fn s15_an_answer_in_json_and_code_are_no_calls() {
    for text in [
        "```json\n{\"name\": \"Ada\", \"arguments\": [\"for\", \"against\"]}\n```",
        "```python\nimport os\nprint(len(os.listdir('.')))\n```",
    ] {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", Answer::text(text));
        let world = world(&server, &["m:8b"], "box.look", |call, _| echo(call));
        let (_, _) = world.run(&asks("Who spoke?", "")).await;
        assert_eq!(world.calls().len(), 0, "{text}");
    }
}

/// S16: who is offered nothing calls nothing.
#[tokio::test]
async fn s16_an_agent_without_tools_calls_nothing_whatever_it_emits() {
    for answer in [
        Answer::tool("box_look", json!({ "x": 1 })),
        Answer::tool("shell_x", json!({ "command": "rm -rf /" })),
        Answer::text(r#"{"name": "shell_x", "arguments": {"command": "rm -rf /"}}"#),
        Answer::text("<tool_call>{\"name\": \"box_send\", \"arguments\": {}}</tool_call>"),
        Answer::text("```python\nimport os\nos.remove('a')\n```"),
    ] {
        let shown = format!("{answer:?}");
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", answer);
        let world = world(&server, &["m:8b"], "", |call, _| echo(call));
        let schema = ", output: { schema: { type: object, required: [n], properties: { n: { type: integer } } } }";
        let (exit, state) = world.run(&asks("Count to 3.", schema)).await;
        assert_eq!(exit, RunExit::Ended(RunEnd::Failed), "{shown}");
        assert_eq!(world.calls().len(), 0, "{shown}");
        assert!(failures(first(&state)).iter().all(|kind| kind != "-"), "{shown}");
        assert!(server.chats().iter().all(|asked| asked.tools.is_empty()), "nothing was offered: {shown}");
    }
}

/// S17: arguments reach the server in the types of its schema.
#[tokio::test]
async fn s17_arguments_are_coerced_by_the_schema_of_the_tool() {
    let plan = asks("Find 2 files that end in .pdf.", "");
    let make = || {
        let server = ModelServer::start(["m:8b"]);
        server.respond("m:8b", |asked| match has_result(asked) {
            false => Answer::tool("box_find", json!({ "count": "2", "endings": "['.pdf']" })),
            true => Answer::text("Two."),
        });
        let world = world(&server, &["m:8b"], "box.find", |call, _| echo(call));
        (server, world)
    };
    with_kills(make, &plan, |_, world, state| {
        assert_eq!(failures(first(state)), ["-"]);
        let ran = ran(world, "box.find");
        assert!(
            !ran.is_empty() && ran.iter().all(|arguments| *arguments == json!({ "count": 2, "endings": [".pdf"] })),
            "{ran:?}"
        );
    })
    .await;
}

/// S17: what cannot be coerced without a guess is refused, and the reason says what is wanted.
#[tokio::test]
async fn s17_an_argument_that_fits_no_type_is_refused_with_what_is_wanted() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.nth {
        0 => Answer::tool("box_find", json!({ "count": "a few", "endings": [".pdf"] })),
        1 => Answer::tool("box_find", json!({ "count": 2, "endings": [".pdf"] })),
        _ => Answer::text("Two."),
    });
    let world = world(&server, &["m:8b"], "box.find", |call, _| echo(call));
    let (_, state) = world.run(&asks("Find 2 files that end in .pdf.", "")).await;
    assert_eq!(failures(first(&state)), ["-"]);
    assert_eq!(ran(&world, "box.find"), [json!({ "count": 2, "endings": [".pdf"] })]);
    let told = server.chats()[1].seen();
    assert!(told.contains("`count` must be a whole number"), "{told}");
}

/// The words of the form in place of values are a failure, however well they fit it.
#[tokio::test]
async fn an_answer_that_echoes_the_form_is_a_counted_failure() {
    let server = ModelServer::start(["m:8b"]);
    server.respond("m:8b", |asked| match asked.nth {
        0 | 1 => Answer::text(r#"{"path": "the path of the newest file"}"#),
        _ => Answer::text(r#"{"path": "b.txt"}"#),
    });
    let world = world(&server, &["m:8b"], "", |call, _| echo(call));
    let schema = ", output: { schema: { type: object, required: [path], properties: { path: { type: string, \
                  description: The path of the newest file } } } }";
    let (exit, state) = world.run(&asks("Which of a.txt and b.txt is newer? b.txt is.", schema)).await;
    assert_eq!(exit, RunExit::Ended(RunEnd::Complete));
    assert_eq!(failures(first(&state)), ["schema", "-"]);
    assert!(server.chats()[1].seen().contains("repeats the words of the form"), "{}", server.chats()[1].seen());
}

/// The story of an attempt whose answer counts for nothing shows what was said, in one bounded line.
#[tokio::test]
async fn a_story_shows_what_was_said_where_it_counts_for_nothing() {
    let schema = ", output: { schema: { type: object, required: [n] } }";
    let long = format!("I would rather\n\ntell you a story. {}", "la ".repeat(500));
    let cases = [
        (long, schema, "schema", "said \"I would rather tell you a story. la la"),
        (
            "<tool_call>{\"name\": \"shell_run\", \"arguments\": {}}</tool_call>".to_owned(),
            schema,
            "tool not offered",
            "shell_run",
        ),
    ];
    for (said, more, kind, told) in cases {
        let server = ModelServer::start(["m:8b"]);
        server.always("m:8b", Answer::text(said));
        let world = world(&server, &["m:8b"], "", |call, _| echo(call));
        let (_, state) = world.run(&asks("Count.", more)).await;
        assert_eq!(failures(first(&state))[0], kind);
        let key = &first(&state).key;
        let stories =
            ollmcp::report::item::ItemStory::of(&state, key, &|payload| world.blobs().read_value(payload).ok());
        let text = ollmcp::report::item::text(&stories);
        let line = text.lines().find(|line| line.contains("#1")).unwrap();
        assert!(line.contains(told) && line.chars().count() < 600, "{text}");
        let report = ollmcp::report::end::EndReport::new(
            &state,
            "",
            None,
            &ollmcp::report::money::Paid::nothing(),
            &|payload| world.blobs().read_value(payload).ok(),
        );
        let work = &report.models[0];
        assert_eq!((work.failed, work.set_aside, work.not_done), (1, 0, 1));
        assert!(work.text().contains("failed 1 · set aside 0"), "{}", work.text());
    }
}
