//! `models claude`: the dated table, prices of one's own over it, what is configured and what is sent for it.

use super::*;

#[test]
fn the_table_is_printed_without_asking_anybody() {
    let desk = Desk::at(NOBODY);
    let told = desk.ollmcp(&["models", "claude"]).exits(0);
    let told = told
        .says("prices of 2026-11-25")
        .says("claude-haiku-5-5         0.10     0.50    0.125     0.20     0.01  many small");
    let told = told
        .says("  over 100,000           0.50")
        .says("claude-sonnet-4-5")
        .says("claude-opus-4-5-20250514 → claude-opus-5-5");
    let told = told.says("claude_integration.model: claude-3-5-sonnet-20241022\n");
    let told =
        told.says("`claude-3-5-sonnet-20241022` is retired since 2025-10-28; `claude-sonnet-5-5` is sent in its place");
    let told = told.says("Claude is switched off");
    let row = told.out.lines().skip_while(|line| !line.starts_with("claude-sonnet-5-5 ")).nth(1).unwrap();
    assert_eq!(row, "  ← claude_integration.model", "what is sent for it is marked: {}", told.out);
    let list = desk.ollmcp(&["models", "claude", "--json"]).exits(0).json();
    assert_eq!((&list["v"], &list["as_of"]), (&json!(1), &json!("2026-11-25")));
    let models = list["models"].as_array().unwrap();
    let haiku = models.iter().find(|model| model["id"] == "claude-haiku-5-5").unwrap();
    assert_eq!(
        haiku["prices"][0],
        json!({ "prompt_tokens_max": 100_000, "input": "0.10", "output": "0.50",
        "cache_write_5m": "0.125", "cache_write_1h": "0.20", "cache_read": "0.01" })
    );
    assert_eq!((&haiku["prices"][1]["prompt_tokens_max"], &haiku["own_prices"]), (&Value::Null, &Value::Null));
    let old = models.iter().find(|model| model["id"] == "claude-3-5-haiku").unwrap();
    assert_eq!((&old["sent"], &old["retired"]), (&json!("claude-haiku-5-5"), &json!("2026-02-19")));
    assert_eq!(
        list["configured"],
        json!([{ "id": "claude-3-5-sonnet-20241022", "key": "claude_integration.model", "sent": "claude-sonnet-5-5", "why": "retired" }])
    );
}

#[test]
fn prices_of_ones_own_stand_in_place_of_the_tables_and_are_said_to_be_ones_own() {
    let desk = Desk::at(NOBODY);
    desk.config(&json!({
        "claude_integration": {
            "enabled": true,
            "model": "claude-sonnet-4-6",
            "prices": {
                "comment": "of our contract",
                "claude-sonnet-4-6": { "input": 2.4, "output": 12, "cache_read": 0.2 },
                "claude-3-5-sonnet-20241022": { "input": 3, "output": 15.0 },
                "house-model": { "input": 0.1, "output": 0.25, "cache_write_5m": null },
            },
        },
        "ladders": { "default": ["ollama:a", "claude", "claude:claude-opus-9"] },
    }));
    let told = desk.ollmcp(&["models", "claude"]).exits(0);
    assert_eq!(
        told.err,
        "note: Claude is switched on but there is no key; set `ANTHROPIC_API_KEY`, or \
        `claude_integration.api_key` in a file that only you can read\n"
    );
    let told = told.says("claude-sonnet-4-6        2.40       12        3     4.80     0.20  what was tuned");
    let told = told.says("  yours; the table:  3       15     3.75        6     0.30");
    let told = told.says("your prices for ids that are not in this table\nclaude-3-5-sonnet-20241022");
    let told = told.says("house-model              0.10     0.25    0.125     0.20     0.01");
    told.says("ladders.default: claude-opus-9\n  `claude-opus-9` is not known; it is sent as it is")
        .says("there is no key");
    let list = desk.ollmcp(&["models", "claude", "--json"]).exits(0).json();
    assert_eq!(list["own_prices"]["house-model"]["cache_write_5m"], "0.125");
    let sonnet = list["models"].as_array().unwrap().iter().find(|model| model["id"] == "claude-sonnet-4-6").unwrap();
    assert_eq!(
        (&sonnet["own_prices"][0]["input"], &sonnet["configured"]),
        (&json!("2.40"), &json!(["claude_integration.model"]))
    );
}

#[test]
fn a_price_that_is_none_is_refused_with_its_path() {
    let desk = Desk::at(NOBODY);
    desk.config(&json!({ "claude_integration": { "prices": {
        "a": { "input": "3", "output": 15 }, "b": { "input": -1, "output": 15 }, "c": { "input": 3 }, "d": 7,
    } } }));
    let told = desk.ollmcp(&["models", "claude"]).exits(2);
    let told =
        told.notes("`claude_integration.prices.a.input` must be a number from 0 to 100000, and is the text \"3\"");
    let told = told.notes("write 3 without quotes").notes("`claude_integration.prices.b.input` must be");
    told.notes("`claude_integration.prices.c.output` is missing: prices of your own need both")
        .notes("`claude_integration.prices.d` must be an object");
    desk.config(&json!({ "claude_integration": { "prices": { "a": { "input": 3, "output": 15, "cash": 1 } } } }));
    desk.ollmcp(&["models", "claude"])
        .exits(0)
        .notes("unknown key `claude_integration.prices.a.cash` is kept without effect");
}

#[test]
fn a_price_is_set_by_one_command_and_never_half() {
    let desk = Desk::at(NOBODY);
    let told =
        desk.ollmcp(&["config", "set", "--user", "claude_integration.prices.claude-opus-5-5.input", "3"]).exits(2);
    told.notes("`claude_integration.prices.claude-opus-5-5.output` is missing").notes("set both at once");
    let both = r#"{"input": 3, "output": 15}"#;
    desk.ollmcp(&["config", "set", "--user", "claude_integration.prices.claude-opus-5-5", both]).exits(0);
    desk.ollmcp(&["config", "set", "--user", "claude_integration.prices.claude-opus-5-5.cache_read", "0.5"]).exits(0);
    let told = desk.ollmcp(&["models", "claude"]).exits(0);
    told.says("claude-opus-5-5             3       15     3.75        6     0.50");
}
