//! `run escalation_check` in the real program: without a key, a model or money, with one real call, and killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::place::{At, Place, Said, is_full};
use crate::anthropic_server::{Answer, AnthropicServer};
use crate::model_server::ModelServer;

const KEY: &str = "sk-ant-of-a-test-0123456789";
const FAKE: [&str; 3] = ["run", "escalation_check", "--fake"];

fn home(place: &Place) -> PathBuf {
    place.project().parent().unwrap().join("home/.ollmcp")
}

fn usage(folder: &std::path::Path) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(folder.join("claude_usage.json")) else { return Vec::new() };
    serde_json::from_str(&text).unwrap()
}

/// The one account of fake runs that is left.
fn fake_account(place: &Place) -> PathBuf {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(place.state().join("fake")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(all.len(), 1, "those of earlier runs are removed: {all:?}");
    all.remove(0)
}

#[track_caller]
fn says(said: &Said, parts: &[&str]) {
    for part in parts {
        assert!(said.err.contains(part) || said.out.contains(part), "no `{part}`: {said:#?}");
    }
}

#[track_caller]
fn saw_everything(said: &Said) {
    says(
        said,
        &[
            "fake Claude: nothing is sent, nothing is paid",
            "⚠️  declines failed, trying fallback...",
            "🤖 Escalating to Claude Code (fallback)...",
            "✓ Claude completed task. Today's usage: 2 calls, ~$0.00",
            "⚠️  Claude usage limit reached (2/hour)",
            "⚠️  Task will fail if all Ollama models are exhausted",
            "stand_in:declines failed: declined by the model: ",
            "stand_in:guesses failed: schema: ",
            "claude was asked after 2 counted failures (fallback), and its answer passed the checks",
            "claude was not asked: the hourly limit of 2 paid calls is reached",
            "left to the fake Claude: 0 of 2 paid calls this hour, $9.99",
            "  seen: the limit held: 2 of 2 calls an hour were made, and 1 task met it",
            "everything was seen as expected",
        ],
    );
    assert!(!said.out.contains("NOT SEEN"), "{said:#?}");
}

fn claude_section(claude: &AnthropicServer, more: &Value) -> Value {
    let mut section =
        json!({ "enabled": true, "api_key": KEY, "base_url": claude.url(), "model": "claude-sonnet-5-5" });
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "claude_integration": section })
}

/// The whole environment of a fresh machine: no configuration, no model server, no key. Every connection that the
/// process makes is noted by a library that is loaded before it.
#[test]
fn on_an_empty_machine_everything_is_seen_and_nothing_leaves_it() {
    let place = Place::new();
    let log = place.project().with_file_name("connections");
    let mut command = place.command(&FAKE);
    command.env("LD_PRELOAD", super::place::shim("note_connections")).env("CONNECTIONS", &log);
    let said = place.spawn(command).wait().exits(0);
    saw_everything(&said);
    let connections = std::fs::read_to_string(&log).unwrap();
    assert_eq!(connections.lines().count(), 2, "one for each call: {connections}");
    assert!(connections.lines().all(|line| line.starts_with("127.0.0.1:")), "{connections}");
    let left: Vec<_> = std::fs::read_dir(home(&place)).into_iter().flatten().flatten().map(|one| one.path()).collect();
    assert!(left.is_empty(), "nothing of the person's is touched: {left:?}");
    let records = usage(&fake_account(&place));
    assert_eq!(records.len(), 2);
    let keys: Vec<&str> = records[0].as_object().unwrap().keys().map(String::as_str).collect();
    let seven = ["timestamp", "task_type", "reason", "input_tokens", "output_tokens", "cost_estimate", "success"];
    assert_eq!(keys, seven);
    says(&said, &[&records[1].to_string()]);
    place.run(&["claude-usage"]).exits(0).out.contains("No Claude usage today").then_some(()).unwrap();
    // A second time all is seen anew.
    let told = place.run(&["--json", "run", "escalation_check", "--fake"]).exits(0).json();
    assert_eq!((&told["fake"], &told["escalation"]["as_expected"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(told["escalation"]["account"]["records"][0], usage(&fake_account(&place))[0]);
    says(&place.run(&["ls"]).exits(0), &["escalation_check (fake Claude)"]);
    says(&place.run(&["resume", "last"]).exits(0), &["everything was seen as expected", "has ended"]);
}

/// Whatever is configured: the address, the key and the account of the real Claude are not used, also after a kill.
#[test]
fn a_fake_run_that_was_killed_goes_on_as_one() {
    let claude = AnthropicServer::start();
    let local = ModelServer::start(["m:8b"]);
    let some = [At::After(1), At::Before(3), At::After(5), At::Before(8), At::After(10), At::Before(13)];
    let all = || (1..=20).flat_map(|number| [At::Before(number), At::After(number)]).collect();
    for at in if is_full() { all() } else { some.to_vec() } {
        let place = Place::new();
        let mut config = claude_section(&claude, &json!({ "when_limited": "park" }));
        config["ollama"] = json!({ "url": local.url() });
        place.config(&config);
        let killed = place.killed_at_sync(&FAKE, at);
        assert!(killed.is_killed() || is_full(), "{at:?}: {killed:#?}");
        let runs = place.run(&["--json", "ls"]).exits(0).json();
        let said = match runs["runs"].as_array().map_or(0, Vec::len) {
            // Killed before it was accepted.
            0 => place.run(&FAKE),
            _ => place.run(&["resume", "last"]),
        };
        let said = said.exits(0);
        says(&said, &["everything was seen as expected", "fake Claude: nothing is sent, nothing is paid"]);
        assert_eq!((claude.requests().len(), local.requests().len()), (0, 0), "{at:?}");
        assert!(usage(&home(&place)).is_empty() && !home(&place).join("claude_account.db").exists(), "{at:?}");
        assert_eq!(usage(&fake_account(&place)).len(), 2, "{at:?}");
    }
}

#[test]
fn with_a_key_one_call_is_made_and_costs_less_than_a_cent() {
    let claude = AnthropicServer::setup().key(KEY).start();
    claude.always(Answer::text(r#"{"word": "BACKSTOP"}"#));
    let place = Place::new();
    place.config(&claude_section(&claude, &json!({})));
    let said = place.run(&["run", "escalation_check"]).exits(0);
    says(
        &said,
        &[
            "claude was asked after 2 counted failures (fallback), and its answer passed the checks",
            "  left: 49 of 50 paid calls this hour, $9.99",
            "everything was seen as expected",
        ],
    );
    assert!(!said.out.contains("fake Claude") && !said.out.contains("NOT SEEN"), "{said:#?}");
    assert_eq!(claude.requests().len(), 1);
    let asked = &claude.chats()[0].body;
    assert!(asked["max_tokens"].as_u64().unwrap() <= 400, "{asked}");
    let records = usage(&home(&place));
    assert_eq!(records.len(), 1);
    let cost = records[0]["cost_estimate"].as_f64().unwrap();
    assert!(cost > 0.0 && cost < 0.01, "{records:?}");
    // What it can cost at most is reserved, and is no more than that either.
    let most = asked.to_string().len() as f64 / 2.0 * 2e-6 + asked["max_tokens"].as_f64().unwrap() * 10e-6;
    assert!(most < 0.01, "{most}");
    assert!(!place.state().join("fake").exists());
    // It is no answer to be taken over: the next time it is asked again.
    place.run(&["run", "escalation_check"]).exits(0);
    assert_eq!(claude.requests().len(), 2);
}

#[test]
fn what_was_not_seen_is_said_and_ends_with_1() {
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"word": "LADDER"}"#));
    let place = Place::new();
    place.config(&claude_section(&claude, &json!({})));
    let said = place.run(&["run", "escalation_check"]).exits(1);
    says(
        &said,
        &["NOT SEEN: Claude was asked, and its answer passed the same checks (schema: ", "not everything was seen"],
    );
    let place = Place::new();
    place.config(&claude_section(&claude, &json!({ "max_calls_per_hour": 0 })));
    let said = place.run(&["run", "escalation_check"]);
    assert_eq!(said.code(), Some(1), "{said:#?}");
    says(&said, &["NOT SEEN", "no call is on record"]);
}

#[test]
fn without_claude_it_says_what_to_do() {
    let place = Place::new();
    let said = place.run(&["run", "escalation_check"]).exits(2);
    says(&said, &["Claude is off", "without a key and without money: --fake", "claude_integration.enabled"]);
    place.config(&json!({ "claude_integration": { "enabled": true } }));
    says(&place.run(&["run", "escalation_check"]).exits(2), &["Claude has no key", "ANTHROPIC_API_KEY"]);
    let said = place.run(&["run", "escalation_check", "-i", "fake=true"]).exits(2);
    says(&said, &["set by `--fake`", "ollmcp run escalation_check --fake"]);
    assert!(!home(&place).join("claude_usage.json").exists());
}

/// Nobody is alarmed by money that was made up.
#[test]
fn a_fake_run_tells_notify_that_nothing_was_paid() {
    let place = Place::new();
    place.write("tell.sh", "#!/bin/sh\ncat >> notices.jsonl\n");
    std::fs::set_permissions(place.project().join("tell.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.config(&json!({ "notify": ["sh", "./tell.sh"], "budget": { "warn_at_usd": 0.000_001 } }));
    let said = place.run(&FAKE).exits(0);
    saw_everything(&said);
    assert!(!said.err.contains("warn_at_usd"), "{said:#?}");
    let text = std::fs::read_to_string(place.project().join("notices.jsonl")).unwrap();
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["event"], &told[0]["usd"]), (&json!("run_ended"), &json!(0.0)), "{told:?}");
    let words = told[0]["text"].as_str().unwrap();
    assert!(words.contains("(escalation_check, fake Claude)") && words.ends_with("nothing paid"), "{words}");
}

const SUM: &str = r#"
name: sum
steps:
  - id: add
    agent: FILE_EXECUTOR
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum, note], properties: { sum: { type: integer, minimum: 42 }, note: { type: string, pattern: "^[a-z]+-[0-9]{3}$" } } } }
    done_when: [ "output.sum == 42" ]
"#;

/// Any plan can be tried so: its forms are filled in, also beside tools, and nothing of it passes for real later.
#[test]
fn any_plan_runs_with_a_fake_claude_and_nothing_of_it_is_taken_over() {
    let local = ModelServer::start(["m:8b", "n:8b"]);
    local.always_all(crate::model_server::Answer::text(r#"{"sum": 41, "note": "a-001"}"#));
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 42, "note": "b-002"}"#));
    let place = Place::new();
    let mut config = claude_section(&claude, &json!({}));
    config["ollama"] = json!({ "url": local.url() });
    config["ladders"] = json!({ "default": ["ollama:m:8b", "ollama:n:8b"] });
    place.config(&config);
    place.write("sum.yaml", SUM);
    let said = place.run(&["run", "sum.yaml", "--fake"]).exits(0);
    says(&said, &["fake Claude: nothing is sent, nothing is paid"]);
    assert_eq!(claude.requests().len(), 0);
    let real = place.run(&["run", "sum.yaml"]).exits(0);
    assert_eq!(claude.requests().len(), 1, "the fake answer is not taken over: {real:#?}");
    assert!(!real.out.contains("fake") && !real.err.contains("fake"), "{real:#?}");
    place.run(&["run", "sum.yaml", "--fake"]).exits(0);
    place.run(&["run", "sum.yaml"]).exits(0);
    assert_eq!(claude.requests().len(), 1, "the real one is");
    assert_eq!(usage(&home(&place)).len(), 1);
}
