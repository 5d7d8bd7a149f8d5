//! The specification's own four tests, line by line, as somebody types them; and the words by which a person asks for
//! Claude, forbids it, and bounds its cost.

use serde_json::{Value, json};

use super::place::{Place, Said};
use crate::anthropic_server::AnthropicServer;
use ollmcp::report::text::thousands;

use crate::model_server::{Answer, ModelServer};

const KEY: &str = "sk-ant-of-a-test-0123456789";
const MODEL: &str = "claude-sonnet-4-6";
const ENABLED: &str = "✓ Claude fallback enabled (model: claude-sonnet-4-6, threshold: 2 failures)";

/// Two local models that never answer in the asked form, and a Claude that does.
struct Scene {
    local: ModelServer,
    claude: AnthropicServer,
    place: Place,
}

impl Scene {
    fn new(section: &Value) -> Self {
        let local = ModelServer::start(["qwen3:8b", "qwen3:30b-a3b"]);
        local.respond_all(|_| Answer::text("I think so."));
        let claude = AnthropicServer::start();
        claude.always(
            Answer::text(json!({ "answer": "It was Ines.", "sources": ["log.txt"] }).to_string()).tokens(2_154, 892),
        );
        let place = Place::new();
        let mut integration = json!({
            "enabled": true, "api_key": KEY, "base_url": claude.url(), "model": MODEL, "escalation_threshold": 2,
        });
        integration.as_object_mut().unwrap().extend(section.as_object().unwrap().clone());
        let config = json!({
            "ollama": { "url": local.url() },
            "ladders": { "default": ["ollama:qwen3:8b", "ollama:qwen3:30b-a3b"] },
            "claude_integration": integration,
        });
        place.write("config.json", &config.to_string());
        place.write("log.txt", "sent by Ines");
        Self { local, claude, place }
    }

    /// `ollmcp --config config.json WORDS`.
    fn run(&self, words: &[&str]) -> Said {
        let mut all = vec!["--config", "config.json"];
        all.extend(words);
        self.place.run(&all)
    }

    fn records(&self) -> Vec<Value> {
        let path = self.place.project().parent().unwrap().join("home/.ollmcp/claude_usage.json");
        let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
        serde_json::from_str(&text).unwrap()
    }

    fn cost(&self) -> f64 {
        self.records().iter().map(|record| record["cost_estimate"].as_f64().unwrap()).sum()
    }
}

/// The documented lines of a screen, in order.
fn documented(said: &Said) -> Vec<&str> {
    let signs = ["✓ ", "⚠️  ", "🤖 ", "✗ ", "Claude API call failed"];
    said.err.lines().filter(|line| signs.iter().any(|sign| line.starts_with(sign))).collect()
}

#[test]
fn test_1_the_start_names_model_and_threshold_and_ends_with_0_without_a_terminal() {
    let scene = Scene::new(&json!({}));
    let said = scene.run(&[]).exits(0);
    assert_eq!(said.err, format!("{ENABLED}\n"));
    assert_eq!(said.out, "");
    assert!(scene.claude.requests().is_empty() && scene.local.chats().is_empty(), "nothing is asked by a start");

    let retired = Scene::new(&json!({ "model": "claude-3-5-sonnet-20241022", "escalation_threshold": 1 }));
    let said = retired.run(&[]).exits(0);
    let mut lines = said.err.lines();
    let first = "✓ Claude fallback enabled (model: claude-3-5-sonnet-20241022, threshold: 1 failures)";
    assert_eq!(lines.next(), Some(first), "as it is configured");
    let second = lines.next().unwrap_or_default();
    assert!(second.contains("retired") && second.contains("is sent in its place"), "{second}");

    let off = Scene::new(&json!({ "enabled": false }));
    assert_eq!(off.run(&[]).exits(0).err, "");
    let keyless = Scene::new(&json!({ "api_key": "" }));
    let said = keyless.run(&[]).exits(0);
    assert!(said.err.contains("no key") && said.err.contains("ANTHROPIC_API_KEY"), "{}", said.err);
    assert!(documented(&said).is_empty(), "{}", said.err);
}

#[test]
fn the_variables_of_the_specification_switch_claude_on() {
    let scene = Scene::new(&json!({ "enabled": false, "api_key": "" }));
    let mut command = scene.place.command(&["--config", "config.json"]);
    command.env("OLLMCP_CLAUDE_ENABLED", "true").env("ANTHROPIC_API_KEY", KEY);
    command.env("OLLMCP_CLAUDE_MODEL", "claude-haiku-4-5").env("OLLMCP_CLAUDE_ESCALATION_THRESHOLD", "3");
    let said = scene.place.spawn(command).wait().exits(0);
    assert_eq!(said.err, "✓ Claude fallback enabled (model: claude-haiku-4-5, threshold: 3 failures)\n");
}

#[test]
fn tests_2_and_3_a_forced_escalation_is_told_line_by_line_and_stands_in_the_usage() {
    let scene = Scene::new(&json!({}));
    let said = scene.run(&["Who sent the parcel?"]).exits(0);
    assert_eq!(said.out, "It was Ines.\n");
    let (cost, record) = (scene.cost(), &scene.records()[0]);
    assert!(cost > 0.0);
    let completed = format!("✓ Claude completed task. Today's usage: 1 calls, ~${cost:.4}");
    assert_eq!(
        documented(&said),
        [
            ENABLED,
            "⚠️  qwen3:8b failed, trying fallback...",
            "⚠️  qwen3:30b-a3b failed, trying fallback...",
            "🤖 Escalating to Claude Code (fallback)...",
            &completed,
        ]
    );
    let usage = scene.run(&["claude-usage"]).exits(0).out;
    assert_eq!(
        usage,
        format!(
            "Claude Usage Today:\n  Total Calls: 1\n  Input Tokens: {}\n  Output Tokens: 892\n  Estimated Cost: \
             ${cost:.4}\n\n  Breakdown by Reason:\n    fallback: 1 calls (${cost:.4})\n",
            thousands(record["input_tokens"].as_u64().unwrap())
        )
    );

    // A critical task and a wish are two further reasons, in the order of their first call.
    scene.place.write(
        "critical.yaml",
        "name: critical\nsteps:\n  - { id: a, agent: FILE_EXECUTOR, critical: true, prompt: Who?, output: { schema: \
         { type: object, required: [answer], properties: { answer: { type: string } } } } }\n",
    );
    let said = scene.run(&["run", "critical.yaml"]).exits(0);
    assert!(said.err.contains("\n🤖 Escalating to Claude Code (critical)...\n"), "{}", said.err);
    let asked_before = scene.local.chats().len();
    let said = scene.run(&["claude: Who sent the other parcel?"]).exits(0);
    assert_eq!(scene.local.chats().len(), asked_before, "nobody else is asked");
    assert!(said.err.contains("\n🤖 Escalating to Claude Code (user_requested)...\n"), "{}", said.err);
    assert!(!scene.claude.chats().last().unwrap().body.to_string().contains("claude:"), "the word is no part of it");
    let usage = scene.run(&["claude-usage"]).exits(0).out;
    let reasons: Vec<&str> = usage.lines().skip_while(|line| !line.contains("Breakdown")).skip(1).collect();
    let words: Vec<&str> = reasons.iter().filter_map(|line| line.trim().split(':').next()).collect();
    assert_eq!(words, ["fallback", "critical", "user_requested"], "{usage}");
}

#[test]
fn test_4_at_two_calls_an_hour_the_third_task_fails_with_the_limit_lines() {
    let scene = Scene::new(&json!({ "max_calls_per_hour": 2 }));
    for question in ["Who sent the first parcel?", "Who sent the second parcel?"] {
        scene.run(&[question]).exits(0);
    }
    let said = scene.run(&["Who sent the third parcel?"]).exits(1);
    assert_eq!(
        documented(&said),
        [
            ENABLED,
            "⚠️  qwen3:8b failed, trying fallback...",
            "⚠️  qwen3:30b-a3b failed, trying fallback...",
            "🤖 Escalating to Claude Code (fallback)...",
            "⚠️  Claude usage limit reached (2/hour)",
            "⚠️  Task will fail if all Ollama models are exhausted",
        ]
    );
    assert!(said.err.contains("the next call is possible at "), "{}", said.err);
    assert!(said.err.contains("Claude was not asked: a limit of paid calls was reached"), "{}", said.err);
    assert_eq!((scene.claude.chats().len(), scene.records().len()), (2, 2));
    assert!(scene.run(&["claude-usage"]).exits(0).out.contains("  Total Calls: 2\n"));
}

#[test]
fn an_api_error_is_told_with_its_reason_and_a_wrong_paid_answer_as_one() {
    let scene = Scene::new(&json!({}));
    scene.claude.script([Answer::refused(401, "invalid x-api-key")]);
    let said = scene.run(&["Who sent the parcel?"]).exits(1);
    let told = documented(&said);
    assert!(told.last().unwrap().starts_with("Claude API call failed: "), "{told:?}");
    assert!(told.last().unwrap().contains("x-api-key"), "{told:?}");
    assert!(!said.err.contains(KEY) && !said.out.contains(KEY));

    let scene = Scene::new(&json!({}));
    scene.claude.always(Answer::text("no form at all"));
    let said = scene.run(&["Who sent the parcel?"]).exits(1);
    let told = documented(&said);
    assert!(told.last().unwrap().starts_with("✗ Claude escalation also failed: "), "{told:?}");
}

/// Claude answers what is asked, in whatever form; the local models never do.
const SUMS: &str = "
name: sums
defaults: { on_error: quarantine }
steps:
  - id: easy
    agent: FILE_EXECUTOR
    for_each: { range: 12 }
    max_parallel: 1
    prompt: \"What is ${{ item }} and 1?\"
    claude: true
    output: { schema: { type: object, required: [answer], properties: { answer: { type: string } } } }
";

#[test]
fn in_a_batch_five_tasks_are_told_and_the_others_are_counted() {
    let scene = Scene::new(&json!({}));
    scene.place.write("sums.yaml", SUMS);
    let said = scene.run(&["run", "sums.yaml", "--budget", "5"]).exits(0);
    let told = documented(&said);
    let escalations = told.iter().filter(|line| line.starts_with("🤖")).count();
    let completions = told.iter().filter(|line| line.starts_with("✓ Claude completed")).count();
    assert_eq!((escalations, completions), (5, 5), "{}", said.err);
    assert_eq!(said.err.matches("counted in the progress line").count(), 1, "{}", said.err);
    let last = said.err.lines().rfind(|line| line.starts_with("easy ")).unwrap();
    assert!(last.contains("12/12 done") && last.contains(" · Claude 12, $"), "{last}");
    assert!(said.err.contains("step `easy` asks claude first, as you asked for it"), "{}", said.err);
    assert!(said.err.contains(", $5.00 this run"), "{}", said.err);
    let cost = scene.cost();
    let shown = (cost * 1e6).round() / 1e6;
    let line = said.out.lines().find(|line| line.contains("paid calls")).unwrap();
    assert!(line.starts_with("  local 0 · Claude 12 · set aside 0 · failed 0 · $"), "{line}");
    assert!(line.contains(&format!("${shown} for 12 paid calls (100.0 per 100 tasks, 100.0 % of tokens)")), "{line}");
    // All was Claude's work, so on Claude alone it would have been the same.
    let alone = said.out.lines().find(|line| line.contains("on Claude alone")).unwrap();
    assert!(alone.contains(&format!("about ${} ({MODEL}, prices of ", (shown * 1e4).ceil() / 1e4)), "{alone}\n{line}");
    assert_eq!(scene.records().len(), 12);
}

#[test]
fn a_budget_of_a_run_is_kept_and_only_an_amount_of_dollars() {
    let scene = Scene::new(&json!({ "when_limited": "park" }));
    scene.place.write("sums.yaml", SUMS);
    // What two calls cost, and a reservation fits, and no more.
    let said = scene.run(&["run", "sums.yaml", "--budget", "0.000001"]);
    assert!(said.err.contains("⚠️  Claude usage limit reached ($0.000001/run)"), "{}", said.err);
    assert!(scene.claude.chats().is_empty());
    let refused = scene.run(&["run", "sums.yaml", "--budget", "ten"]).exits(2);
    assert!(refused.err.contains("no amount of dollars"), "{}", refused.err);
    let refused = scene.run(&["--budget", "1", "ls"]).exits(2);
    assert!(refused.err.contains("belong to"), "{}", refused.err);
}

#[test]
fn what_is_local_only_never_reaches_claude_whoever_asks_for_it() {
    let scene = Scene::new(&json!({}));
    scene.place.write(
        "private.yaml",
        "
name: private
inputs:
  letter: { default: my salary, local_only: true }
  other: { default: the weather }
steps:
  - id: read
    value: \"${{ inputs.letter }}\"
  - id: sum_up
    agent: FILE_EXECUTOR
    prompt: \"Sum up: ${{ steps.read.output }}\"
    output: { schema: { type: object, required: [answer], properties: { answer: { type: string } } } }
",
    );
    let said = scene.run(&["run", "private.yaml"]).exits(1);
    assert!(scene.claude.requests().is_empty());
    assert!(said.err.contains("no paid rung stands above (local only: it uses what `read` makes)"), "{}", said.err);
    assert!(said.out.contains("Claude was not asked: local only: it uses what `read` makes"), "{}", said.out);
    let story = scene.run(&["show", "last", "--item", "sum_up"]).exits(0).out;
    assert!(story.contains("Claude was not asked: local only"), "{story}");
    // A wish does not go over it.
    scene.run(&["run", "private.yaml", "--claude", "--fresh"]).exits(1);
    assert!(scene.claude.requests().is_empty());
}

#[test]
fn whoever_asks_for_claude_is_told_when_it_cannot_be_asked() {
    let scene = Scene::new(&json!({ "enabled": false }));
    scene.place.write("sums.yaml", SUMS);
    let said = scene.run(&["run", "sums.yaml", "--claude"]).exits(2);
    assert!(said.err.contains("Claude is off") && said.err.contains("config set"), "{}", said.err);
    let said = scene.run(&["--claude", "Who sent the parcel?"]).exits(2);
    assert!(said.err.contains("Claude is off"), "{}", said.err);
    // The plan's own wish is left to the local models, and that is said.
    let said = scene.run(&["run", "sums.yaml"]);
    assert!(
        said.err.contains("step `easy` asks for Claude, and is left to local models (Claude is off)"),
        "{}",
        said.err
    );
    // What an item says asks for nothing.
    let scene = Scene::new(&json!({}));
    scene.place.write(
        "items.yaml",
        &SUMS.replace("{ range: 12 }", "[\"claude: one\"]").replace("claude: true", "critical: false"),
    );
    scene.run(&["run", "items.yaml"]).exits(0);
    assert_eq!(scene.records()[0]["reason"], "fallback");
}
