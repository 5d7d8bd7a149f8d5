//! Prices of a person's own, from a file of configuration to the record of what was paid, through the real program.

use serde_json::{Value, json};

use super::place::Place;
use crate::anthropic_server::AnthropicServer;
use crate::model_server::{Answer, ModelServer};

/// What the specification of the prior program takes for its four models, and what one escalation costs then.
const OF_THE_SPECIFICATION: [(&str, f64, f64, f64); 4] = [
    ("claude-3-5-haiku-20241022", 1.0, 5.0, 0.007),
    ("claude-3-5-sonnet-20241022", 3.0, 15.0, 0.021),
    ("claude-opus-4-20250514", 5.0, 25.0, 0.035),
    ("claude-opus-4-5-20250514", 15.0, 75.0, 0.105),
];

const SUM: &str = r#"
name: sum
steps:
  - id: add
    agent: FILE_EXECUTOR
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum], properties: { sum: { type: integer } } } }
    done_when: [ "output.sum == 42" ]
"#;

fn usage(place: &Place) -> Vec<Value> {
    let path = place.project().parent().unwrap().join("home/.ollmcp/claude_usage.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A task that fails locally and is done by Claude, for 2,000 tokens read and 1,000 written.
fn place(local: &ModelServer, claude: &AnthropicServer, section: Value) -> Place {
    let place = Place::new();
    let mut integration = json!({ "enabled": true, "api_key": "sk-ant-of-a-test", "base_url": claude.url() });
    integration.as_object_mut().unwrap().extend(section.as_object().unwrap().clone());
    place.config(&json!({
        "ollama": { "url": local.url() },
        "ladders": { "default": ["ollama:m:8b"] },
        "claude_integration": integration,
    }));
    place.write("sum.yaml", SUM);
    place
}

fn servers() -> (ModelServer, AnthropicServer) {
    let local = ModelServer::start(["m:8b"]);
    local.always_all(Answer::text(r#"{"sum": 41}"#));
    let claude = AnthropicServer::start();
    claude.always(Answer::text(r#"{"sum": 42}"#).tokens(2_000, 1_000).cached(0, 0, 0));
    (local, claude)
}

#[test]
fn the_specifications_prices_in_the_file_give_its_example_costs_on_record() {
    let (local, claude) = servers();
    let prices: serde_json::Map<String, Value> = OF_THE_SPECIFICATION
        .iter()
        .map(|(id, input, output, _)| ((*id).to_owned(), json!({ "input": input, "output": output })))
        .collect();
    for (id, _, _, costs) in OF_THE_SPECIFICATION {
        let place = place(&local, &claude, json!({ "model": id, "prices": prices }));
        place.run(&["run", "sum.yaml"]).exits(0);
        let records = usage(&place);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!((&records[0]["input_tokens"], &records[0]["output_tokens"]), (&json!(2_000), &json!(1_000)), "{id}");
        assert_eq!(records[0]["cost_estimate"], json!(costs), "{id}: {records:?}");
        let told = place.run(&["claude-usage", "--json"]).exits(0).json();
        assert!(told.to_string().contains(&costs.to_string()), "{told}");
    }
}

#[test]
fn ten_escalations_cost_ten_times_as_much() {
    let (local, claude) = servers();
    let prices = json!({ "claude-3-5-sonnet-20241022": { "input": 3, "output": 15 } });
    let place = place(&local, &claude, json!({ "model": "claude-3-5-sonnet-20241022", "prices": prices }));
    place.write("ten.yaml", &SUM.replace("  - id: add\n", "  - id: add\n    for_each: { range: 4 }\n"));
    // Four items are below the number at which failing alike asks a person first.
    for _ in 0..2 {
        place.run(&["run", "ten.yaml", "--fresh", "--new"]).exits(0);
    }
    for _ in 0..2 {
        place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(0);
    }
    let records = usage(&place);
    assert_eq!(records.len(), 10);
    let sum: f64 = records.iter().map(|record| record["cost_estimate"].as_f64().unwrap()).sum();
    assert!((sum - 0.21).abs() < 1e-9, "{sum}");
    let told = place.run(&["claude-usage"]).exits(0);
    assert!(told.out.contains("Estimated Cost: $0.2100"), "{told:?}");
}

/// Budgets count with a person's own prices too: what is reserved is reserved at them.
#[test]
fn what_is_reserved_is_reserved_at_the_prices_of_the_file() {
    let (local, claude) = servers();
    let dear = json!({ "claude-sonnet-4-6": { "input": 1000, "output": 100_000 } });
    let place = place(&local, &claude, json!({ "model": "claude-sonnet-4-6", "prices": dear }));
    let said = place.run(&["run", "sum.yaml"]).exits(1);
    assert_eq!(claude.chats().len(), 0, "ten dollars a day do not cover one call at such a price");
    assert!(said.out.contains("budget") || said.err.contains("budget"), "{said:#?}");
}
