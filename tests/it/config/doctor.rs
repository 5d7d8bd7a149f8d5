//! `doctor` on Claude: each way in which it cannot be used is told apart, with the command that mends it, and without
//! buying anything.

use serde_json::{Value, json};

use crate::anthropic_server::{Answer, AnthropicServer};
use crate::crash::place::Place;

const KEY: &str = "sk-ant-zzsecretzz-0123456789";

/// A place with this section, and nothing else that could be odd.
fn place(section: &Value) -> Place {
    let place = Place::new();
    place.config(&json!({ "find_model_servers": false, "claude_integration": section }));
    place
}

fn on(claude: &AnthropicServer) -> Value {
    json!({ "enabled": true, "api_key": KEY, "base_url": claude.url(), "model": "claude-sonnet-5-5" })
}

fn with(mut section: Value, more: Value) -> Value {
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    section
}

/// The findings about Claude: mark, what, found, hint. Each hint names the file that was named (`--config`).
#[track_caller]
fn findings(place: &Place) -> Vec<(String, String, String, String)> {
    let said = place.run(&["doctor", "--json"]);
    let text = format!("{}{}", said.out, said.err);
    assert!(!text.contains("zzsecretzz"), "the key is nowhere: {text}");
    let shown = place.run(&["doctor"]);
    assert!(!format!("{shown:?}").contains("zzsecretzz"), "{shown:?}");
    let json = said.json();
    let all = json["findings"].as_array().unwrap().clone();
    let of_claude = all.into_iter().filter(|one| {
        let what = one["what"].as_str().unwrap();
        what.starts_with("Claude") || what == "limits of paid calls" || what == "configuration"
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mark = |one: &Value| match (one["ok"] == true, one["odd"] == true) {
        (false, _) => "BAD",
        (true, true) => "odd",
        (true, false) => "ok",
    };
    let named =
        format!("ollmcp --config {} config set ", place.project().parent().unwrap().join("config.json").display());
    let hint = |one: &Value| {
        let hint = text(&one["hint"]);
        assert!(!hint.contains("config set --user"), "the user's file is not read: {hint}");
        hint.replace(&named, "ollmcp config set --user ")
    };
    of_claude.map(|one| (mark(&one).to_owned(), text(&one["what"]), text(&one["found"]), hint(&one))).collect()
}

#[track_caller]
fn finds(place: &Place, mark: &str, what: &str, found: &str, hint: &str) {
    let all = findings(place);
    let holds = all.iter().any(|one| one.0 == mark && one.1 == what && one.2.contains(found) && one.3.contains(hint));
    assert!(holds, "no ({mark} {what}: {found} / {hint}) in {all:#?}");
}

#[test]
fn a_good_key_is_found_good_and_nothing_is_bought() {
    let claude = AnthropicServer::setup().key(KEY).start();
    let place = place(&on(&claude));
    finds(&place, "ok", "Claude", "takes the key from", "");
    finds(&place, "ok", "Claude", "nothing was bought", "");
    finds(&place, "ok", "Claude's model", "claude-sonnet-5-5, and the account has it", "");
    finds(&place, "ok", "limits of paid calls", "50 of 50 calls left in this hour, $10.00 of $10.00 left today", "");
    assert_eq!(claude.chats().len(), 0);
    assert!(claude.requests().iter().all(|asked| asked.method == "GET" && asked.path.starts_with("/v1/models")));
    let home = place.project().parent().unwrap().join("home/.ollmcp");
    assert!(!home.join("claude_usage.json").exists(), "looking makes no account");
}

#[test]
fn off_and_without_a_key_are_told_apart_and_nobody_is_asked() {
    let claude = AnthropicServer::start();
    let off = place(&with(on(&claude), json!({ "enabled": false })));
    finds(&off, "ok", "Claude", "switched off", "ollmcp config set --user claude_integration.enabled true");
    let keyless = place(&with(on(&claude), json!({ "api_key": "" })));
    finds(&keyless, "BAD", "Claude", "switched on, and there is no key", "export ANTHROPIC_API_KEY=");
    assert_eq!(keyless.run(&["doctor"]).code(), Some(1));
    let odd_key = place(&with(on(&claude), json!({ "api_key": "zzsecretzz\nsecond line" })));
    finds(&odd_key, "BAD", "Claude", "cannot be sent", "export ANTHROPIC_API_KEY=");
    assert_eq!(claude.requests().len(), 0);
}

#[test]
fn each_refusal_has_its_own_finding_and_its_own_command() {
    let claude = AnthropicServer::start();
    let place = place(&on(&claude));
    let spend = Answer::refused(400, "You have reached your specified API usage limits.");
    for (answer, mark, found, hint) in [
        (Answer::refused(401, "invalid x-api-key"), "BAD", "is not taken", "ANTHROPIC_API_KEY"),
        (Answer::refused(403, "no permission to use this"), "BAD", "has no permission", "Anthropic's console"),
        (Answer::refused(402, "no credit"), "BAD", "wants to be paid first", "Billing"),
        (Answer::spend_cap(), "BAD", "spend limit", "claude_integration.enabled false"),
        (spend, "BAD", "spend limit", "Billing"),
        (Answer::too_many(Some(7)), "odd", "its rate is limited right now", "look again in 7"),
        (Answer::overloaded(), "odd", "whether the key is good is not known", "look again"),
        (Answer::refused(500, "oops"), "odd", "whether the key is good is not known", "look again"),
        (
            Answer::raw(404, "<html>nothing here</html>"),
            "BAD",
            "does not list models as Anthropic's interface does",
            "claude_integration.base_url",
        ),
        (Answer::raw(200, "<html>a page</html>"), "BAD", "does not list models", "claude_integration.base_url"),
        (Answer::refused(401, format!("the key {KEY} is not known")), "BAD", "the key (secret) is not known", ""),
    ] {
        claude.list_with(answer);
        finds(&place, mark, "Claude", found, hint);
    }
    assert_eq!(claude.chats().len(), 0);
}

#[test]
fn an_address_that_cannot_be_reached_is_told_with_where_it_was_set() {
    let nobody = json!({ "enabled": true, "api_key": KEY, "base_url": "http://127.0.0.1:9" });
    let place = place(&nobody);
    finds(
        &place,
        "BAD",
        "Claude",
        "http://127.0.0.1:9 cannot be reached",
        "config set --user claude_integration.base_url",
    );
    let mut command = place.command(&["doctor"]);
    command.env("ANTHROPIC_BASE_URL", "http://127.0.0.1:10").env("ANTHROPIC_API_KEY", KEY);
    let said = place.spawn(command).wait().exits(1);
    assert!(
        said.out.contains("http://127.0.0.1:10 cannot be reached") && said.out.contains("unset ANTHROPIC_BASE_URL"),
        "{said:?}"
    );
    assert!(!format!("{said:?}").contains("zzsecretzz"));
}

#[test]
fn the_variable_that_a_bad_key_came_from_is_named() {
    let claude = AnthropicServer::setup().key("sk-ant-another").start();
    let place = place(&on(&claude));
    let mut command = place.command(&["doctor"]);
    command.env("ANTHROPIC_API_KEY", "sk-ant-zzsecretzz-of-the-shell");
    let said = place.spawn(command).wait().exits(1);
    assert!(said.out.contains("the key from $ANTHROPIC_API_KEY is not taken"), "{said:?}");
    assert!(!format!("{said:?}").contains("zzsecretzz"));
}

#[test]
fn a_model_that_is_retired_unknown_or_not_there_is_told() {
    let claude = AnthropicServer::start();
    let model = |id: &str| place(&with(on(&claude), json!({ "model": id })));
    finds(
        &model("claude-3-5-sonnet-20241022"),
        "odd",
        "Claude's model",
        "`claude-3-5-sonnet-20241022` is retired since 2025-10-28; `claude-sonnet-5-5` is sent in its place",
        "ollmcp config set --user claude_integration.model claude-sonnet-5-5",
    );
    finds(&model("claude-opus-4-5-20250514"), "odd", "Claude's model", "there never was a model", "claude-opus-5-5");
    finds(
        &model("claude-opus-9"),
        "BAD",
        "Claude's model",
        "the account has no model `claude-opus-9`",
        "ollmcp models claude",
    );
    claude.lose_model("claude-sonnet-5-5");
    let gone = model("claude-3-5-sonnet-20241022");
    let found = "the account has no model `claude-sonnet-5-5`, which is sent for `claude-3-5-sonnet-20241022`";
    finds(&gone, "BAD", "Claude's model", found, "ollmcp models claude");
}

#[test]
fn limits_that_are_reached_are_told() {
    let claude = AnthropicServer::start();
    let none = place(&with(on(&claude), json!({ "max_calls_per_hour": 0 })));
    finds(&none, "odd", "limits of paid calls", "Claude is never asked", "claude_integration.max_calls_per_hour 50");
    let place = Place::new();
    place.config(
        &json!({ "find_model_servers": false, "claude_integration": on(&claude), "budget": { "usd_per_day_max": 0 } }),
    );
    finds(&place, "odd", "limits of paid calls", "$0.00 of $0.00 left today", "budget.usd_per_day_max");
}

#[test]
fn what_is_switched_on_and_not_in_this_version_is_a_finding() {
    let claude = AnthropicServer::start();
    let place = place(&with(
        on(&claude),
        json!({ "validation": { "enabled": true }, "planning": { "enabled": true }, "remote_access": { "enabled": true } }),
    ));
    for (phase, key) in [
        ("validation by Claude", "claude_integration.validation.enabled"),
        ("planning by Claude", "claude_integration.planning.enabled"),
        ("remote access", "claude_integration.remote_access.enabled"),
    ] {
        finds(
            &place,
            "odd",
            "configuration",
            &format!("not in this version: {phase}"),
            &format!("ollmcp config set --user {key} null"),
        );
    }
}
