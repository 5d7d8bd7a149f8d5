//! The paid rung in the real program: a local server and Claude, both scripted, on real sockets, and the account on disk.

use serde_json::{Value, json};

use super::place::{Place, Said, until};
use crate::anthropic_server::AnthropicServer;
use crate::model_server::{Answer, Asked, Gate, ModelServer};

const KEY: &str = "sk-ant-of-a-test-0123456789";

/// A project with two local models and Claude.
fn place(local: &ModelServer, claude: &AnthropicServer, more: &Value) -> Place {
    let place = Place::new();
    let mut section =
        json!({ "enabled": true, "api_key": KEY, "base_url": claude.url(), "model": "claude-sonnet-4-6" });
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    place.config(&json!({
        "ollama": { "url": local.url() },
        "ladders": { "default": ["ollama:m:8b", "ollama:n:8b"] },
        "claude_integration": section,
    }));
    place.write("sum.yaml", SUM);
    place
}

const SUM: &str = r#"
name: sum
steps:
  - id: add
    agent: FILE_EXECUTOR
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum], properties: { sum: { type: integer } } } }
    done_when: [ "output.sum == 42" ]
"#;

fn local(text: &str) -> ModelServer {
    let server = ModelServer::start(["m:8b", "n:8b"]);
    server.always_all(Answer::text(text));
    server
}

/// Records of the documented usage file.
fn usage(place: &Place) -> Vec<Value> {
    let path = place.project().parent().unwrap().join("home/.ollmcp/claude_usage.json");
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    match serde_json::from_str(&text).unwrap() {
        Value::Array(records) => records,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn says(said: &Said, part: &str) {
    assert!(said.err.contains(part) || said.out.contains(part), "no `{part}`: {said:#?}");
}

/// S20: A fails, B fails, Claude gets exactly one attempt, with both complaints and nothing of a transcript.
#[test]
fn s20_after_two_counted_failures_claude_is_asked_once_and_the_call_is_on_record() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    claude.script([Answer::text(r#"{"sum": 42}"#)]);
    let place = place(&local, &claude, &json!({}));
    let said = place.run(&["run", "sum.yaml"]).exits(0);
    assert_eq!((local.count("m:8b"), local.count("n:8b"), claude.chats().len()), (1, 1, 1));
    let asked = claude.chats()[0].body.to_string();
    assert!(asked.contains("19 and 23"), "{asked}");
    assert!(asked.matches("An earlier attempt failed").count() == 1, "both complaints are the same sentence: {asked}");
    assert!(asked.contains("output.sum = 41"), "{asked}");
    assert_eq!(claude.chats()[0].model, "claude-sonnet-4-6");
    says(&said, "✓ Claude fallback enabled (model: claude-sonnet-4-6, threshold: 2 failures)\n");
    says(&said, "Claude may be asked: what tasks need of the data is then sent to http://127.0.0.1:");
    says(&said, "after 2 counted failures claude");
    let records = usage(&place);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["reason"], "fallback", "{records:?}");
    let everything = place.run(&["show", "last"]).exits(0).out + &said.err + &said.out + &records[0].to_string();
    assert!(!everything.contains(KEY), "the key is nowhere");
    assert!(!local.chats().iter().any(|asked| asked.body.to_string().contains(KEY)));
}

/// A wrong answer is not done because it was paid for.
#[test]
fn a_paid_answer_that_fails_the_checks_is_counted_and_the_task_fails() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 43}"#));
    let place = place(&local, &claude, &json!({}));
    let said = place.run(&["run", "sum.yaml"]).exits(1);
    assert_eq!(claude.chats().len(), 1, "one attempt for each paid rung");
    says(&said, "output.sum = 43");
    assert_eq!(usage(&place).len(), 1);
}

/// S21: at the hourly limit nothing is bought; a single task fails with that reason.
#[test]
fn s21_at_the_hourly_limit_nothing_is_bought_also_by_another_project() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 42}"#));
    let place = place(&local, &claude, &json!({ "max_calls_per_hour": 2 }));
    place.run(&["run", "sum.yaml", "--fresh"]).exits(0);
    place.run(&["run", "sum.yaml", "--fresh"]).exits(0);
    let said = place.run(&["run", "sum.yaml", "--fresh"]).exits(1);
    assert_eq!(claude.chats().len(), 2);
    says(&said, "the hourly limit of 2 paid calls is reached");
    assert_eq!(usage(&place).len(), 2);
}

/// A model server that is down buys nothing, and neither does a batch in which all fail alike.
#[test]
fn a_batch_that_fails_alike_buys_nothing_before_somebody_has_answered() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 42}"#));
    let place = place(&local, &claude, &json!({}));
    place.write(
        "many.yaml",
        &SUM.replace("  - id: add\n", "  - id: add\n    for_each: { range: 100 }\n    on_error: quarantine\n"),
    );
    place.run(&["run", "many.yaml"]).exits(4);
    assert_eq!(claude.chats().len(), 0, "the question comes first");
    let asks = place.run(&["inbox", "--json"]).exits(0).json();
    place.run(&["answer", asks["asks"][0]["id"].as_str().unwrap(), "stop"]).exits(0);
    place.run(&["resume", "last"]);
    assert_eq!(claude.chats().len(), 0);
}

/// Killed between two turns of a paid attempt: what was bought is not bought again.
#[test]
fn a_paid_answer_that_was_stored_is_never_bought_again() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    let gate = Gate::new();
    let behind = gate.clone();
    claude.respond(move |asked: &Asked| match asked.body["messages"].as_array().unwrap().len() {
        1 => Answer::tool("fs_list", json!({ "root": "." })),
        _ => Answer::text(r#"{"sum": 42}"#).behind(&behind),
    });
    let place = place(&local, &claude, &json!({}));
    let running = place.start(&["run", "sum.yaml"]);
    until("the second paid turn", || (claude.chats().len() == 2).then_some(()));
    assert!(running.kill().is_killed());
    gate.open();
    place.run(&["resume", "last"]).exits(0);
    assert_eq!(
        claude.chats().len(),
        3,
        "the first answer was on record; the second was cut and is asked for once more"
    );
    assert_eq!(usage(&place).len(), 3, "what was cut counts as spent");
}

/// Without a key nothing is sent, and the run says why.
#[test]
fn without_a_key_claude_is_left_out_and_that_is_said() {
    let local = local(r#"{"sum": 41}"#);
    let claude = AnthropicServer::start();
    let place = place(&local, &claude, &json!({ "api_key": "" }));
    let said = place.run(&["run", "sum.yaml"]).exits(1);
    assert_eq!(claude.requests().len(), 0);
    says(&said, "no paid rung stands above");
}

/// Two models do not agree: the paid rung is shown what each of them answered, also after a kill.
#[test]
fn claude_is_shown_both_answers_of_a_disagreement() {
    let local = ModelServer::start(["alpha:8b", "beta:9b"]);
    local.respond("alpha:8b", |_| Answer::text(r#"{"sum": 41, "why": "counted on fingers"}"#));
    local.respond("beta:9b", |_| Answer::text(r#"{"sum": 43, "why": "guessed"}"#));
    let claude = AnthropicServer::start();
    let gate = Gate::new();
    claude.always(Answer::text(r#"{"sum": 42, "why": "added"}"#).behind(&gate));
    let place = place(&local, &claude, &json!({}));
    place.write(
        "sum.yaml",
        r#"
name: sum
ladders: { two: ["ollama:alpha:8b", "ollama:beta:9b", claude] }
steps:
  - id: add
    agent: FILE_EXECUTOR
    ladder: two
    agree: true
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum, why], properties: { sum: { type: integer }, why: { type: string, x-agree: ignore } } } }
"#,
    );
    let running = place.start(&["run", "sum.yaml"]);
    until("the paid request", || (claude.chats().len() == 1).then_some(()));
    assert!(running.kill().is_killed());
    gate.open();
    place.run(&["resume", "last"]).exits(0);
    for asked in claude.chats() {
        let asked = asked.body.to_string();
        for part in ["counted on fingers", "guessed", "answer of ollama:alpha:8b", "answer of ollama:beta:9b"] {
            assert!(asked.contains(part), "no `{part}` in {asked}");
        }
    }
    assert!(local.chats().iter().all(|asked| !asked.body.to_string().contains("not agreed")), "no local model is");
}

/// A paid attempt of another step cannot read a file that an input keeps local.
#[test]
fn a_paid_attempt_reads_nothing_that_an_input_keeps_local() {
    let local = local("no form");
    let claude = AnthropicServer::start();
    let calls = [
        ("fs_read", json!({ "path": "private/salary.txt" })),
        ("fs_read", json!({ "path": "./open/../private/salary.txt" })),
        ("fs_search", json!({ "root": ".", "text": "EUR" })),
        ("fs_list", json!({ "root": "private" })),
        ("fs_list", json!({ "root": "open" })),
        ("fs_search", json!({ "root": "open", "text": "EUR" })),
        ("fs_read", json!({ "path": "open/hello.txt" })),
    ];
    let (turns, refused) = (calls.len(), 4);
    claude.respond(move |asked: &Asked| {
        let turn = asked.body["messages"].as_array().unwrap().len() / 2;
        match calls.get(turn) {
            Some((tool, arguments)) => Answer::tool(tool, arguments.clone()),
            None => Answer::text(r#"{"sum": 42}"#),
        }
    });
    let place = place(&local, &claude, &json!({}));
    place.write("private/salary.txt", "9,400 EUR");
    place.write("open/hello.txt", "good morning");
    let prompt = "Look at private, private/salary.txt, ./open/../private/salary.txt, EUR and open/hello.txt.";
    let plan = SUM.replace("steps:", "inputs:\n  folder: { type: path, default: private, local_only: true }\nsteps:");
    place.write("sum.yaml", &plan.replace("What is 19 and 23 together?", prompt));
    place.run(&["run", "sum.yaml"]).exits(0);
    let last = claude.chats().last().unwrap().body.to_string();
    assert_eq!(claude.chats().len(), turns + 1, "{last}");
    assert_eq!(last.matches("keeps local").count(), refused, "{last}");
    assert!(last.contains("good morning"));
    assert!(!last.contains("9,400"), "{last}");
}

/// A server that is away, or that has no model, makes no ladder: nothing goes to Claude for that.
#[test]
fn without_any_local_model_nothing_is_bought_unless_somebody_asks_for_it() {
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 42}"#));
    let place = Place::new();
    place.config(&json!({
        "ollama": { "url": "http://127.0.0.1:9" },
        "find_model_servers": false,
        "claude_integration": { "enabled": true, "api_key": KEY, "base_url": claude.url(), "model": "claude-sonnet-4-6" },
    }));
    place.write("sum.yaml", SUM);
    let said = place.run(&["run", "sum.yaml"]).exits(2);
    assert!(claude.requests().is_empty(), "{said:#?}");
    says(&said, "its ladder has no local one");
    let said = place.run(&["run", "sum.yaml", "--claude"]).exits(0);
    assert_eq!(claude.chats().len(), 1, "{said:#?}");
    place.write("paid.yaml", &SUM.replace("steps:", "ladders: { default: [\"claude:claude-haiku-4-5\"] }\nsteps:"));
    place.run(&["run", "paid.yaml", "--fresh"]).exits(0);
    assert_eq!(claude.chats()[1].model, "claude-haiku-4-5", "a ladder of paid rungs alone is a choice");
}
