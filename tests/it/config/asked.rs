//! What the configuration sets for models, as their servers are asked: the real program, real sockets, scripted servers.

use serde_json::{Value, json};

use crate::anthropic_server::AnthropicServer;
use crate::crash::place::{Place, Said};
use crate::model_server::{Answer, Asked, Model, ModelServer};

const PLAN: &str = r#"
name: sum
steps:
  - id: add
    agent: READER
    tools: []
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum], properties: { sum: { type: integer } } } }
    done_when: [ "output.sum == 42" ]
"#;

const READER: &str = "---\nname: READER\ndescription: reads\ngrants: [read]\n---\nYou are a reader.\n";

fn place(config: &Value) -> Place {
    let place = Place::new();
    place.config(config);
    place.write("plan.yaml", PLAN);
    place.write("agents/READER.md", READER);
    place
}

/// Asks once, with these settings beside the address of a server of each kind.
fn asked(server: &ModelServer, rung: &str, more: Value) -> (Asked, Said) {
    server.always_all(Answer::text(r#"{"sum": 42}"#));
    let mut config = json!({
        "ollama": { "url": server.url() },
        "model_servers": { "box": { "kind": "openai", "url": format!("{}/v1", server.url()) } },
        "ladders": { "default": [rung] },
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let said = place(&config).run(&["run", "plan.yaml"]).exits(0);
    (server.chats()[0].clone(), said)
}

/// All options of the prior program.
fn every_option() -> Value {
    json!({ "modelConfig": {
        "num_keep": 5, "seed": 42, "num_predict": 300, "top_k": 20, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.7,
        "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2, "presence_penalty": 1.5, "frequency_penalty": 1.0,
        "stop": ["END", "STOP"], "num_ctx": 4096, "num_batch": 64,
    } })
}

#[test]
fn every_option_reaches_ollama_under_its_own_name_and_null_is_not_sent() {
    let server = ModelServer::start(["m:8b"]);
    let (asked, said) = asked(&server, "ollama:m:8b", every_option());
    assert_eq!(asked.body["options"], every_option()["modelConfig"], "{}", asked.body);
    assert!(!said.err.contains("not in this version") && !said.err.contains("unknown key"), "{said:?}");

    let server = ModelServer::start(["m:8b"]);
    let names = every_option()["modelConfig"].as_object().unwrap().clone();
    let nulls: serde_json::Map<String, Value> = names.keys().map(|name| (name.clone(), Value::Null)).collect();
    let (asked, _) = self::asked(&server, "ollama:m:8b", json!({ "modelConfig": nulls }));
    let options = asked.body["options"].as_object().unwrap();
    let sent: Vec<&str> = options.keys().map(String::as_str).collect();
    assert_eq!(sent, ["num_ctx", "num_predict", "seed"], "what the program bounds by itself, and no more: {options:?}");
}

#[test]
fn other_servers_are_sent_what_their_protocol_has() {
    let server = ModelServer::start(["m:8b"]);
    let (asked, _) = asked(&server, "box:m:8b", every_option());
    for (name, value) in [
        ("temperature", json!(0.8)),
        ("top_p", json!(0.9)),
        ("presence_penalty", json!(1.5)),
        ("frequency_penalty", json!(1.0)),
        ("stop", json!(["END", "STOP"])),
        ("seed", json!(42)),
        ("max_tokens", json!(300)),
    ] {
        assert_eq!(asked.body[name], value, "{name}: {}", asked.body);
    }
    for name in [
        "top_k",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "repeat_last_n",
        "num_ctx",
        "num_keep",
        "num_batch",
        "options",
    ] {
        assert_eq!(asked.body[name], Value::Null, "{name} is no word of the protocol: {}", asked.body);
    }
}

#[test]
fn what_an_agent_says_of_itself_goes_over_the_configuration() {
    let server = ModelServer::start(["m:8b"]);
    server.always_all(Answer::text(r#"{"sum": 42}"#));
    let mut config = every_option();
    config["ollama"] = json!({ "url": server.url() });
    config["ladders"] = json!({ "default": ["ollama:m:8b"] });
    let place = place(&config);
    place.write("agents/READER.md", &READER.replace("grants:", "temperature: 0.1\ntokens_max: 200\ngrants:"));
    place.run(&["run", "plan.yaml"]).exits(0);
    let options = &server.chats()[0].body["options"];
    assert_eq!(
        (&options["temperature"], &options["num_predict"], &options["top_k"]),
        (&json!(0.1), &json!(200), &json!(20))
    );
}

/// A retry always changes something, and with a seed it can be had again.
#[test]
fn each_failed_attempt_moves_the_seed_on() {
    let server = ModelServer::start(["m:8b"]);
    server.always_all(Answer::text(r#"{"sum": 41}"#));
    let place = place(&json!({ "ollama": { "url": server.url() }, "ladders": { "default": ["ollama:m:8b"] },
        "modelConfig": { "seed": 7 } }));
    place.run(&["run", "plan.yaml"]).exits(1);
    let seeds: Vec<Value> = server.chats().iter().map(|asked| asked.body["options"]["seed"].clone()).collect();
    assert_eq!(seeds, [json!(7), json!(8)]);
}

#[test]
fn the_window_is_the_chosen_one_and_never_larger_than_the_models_own() {
    let window = |own: u32, chosen: Value| {
        let server = ModelServer::start([Model::new("m:8b").context(own)]);
        let (asked, _) = asked(&server, "ollama:m:8b", json!({ "modelConfig": { "num_ctx": chosen } }));
        asked.body["options"]["num_ctx"].as_u64().unwrap()
    };
    assert_eq!(window(40_960, json!(6_000)), 6_000);
    assert_eq!(window(131_072, json!(65_536)), 65_536, "also above what is asked for by itself");
    assert_eq!(window(8_192, json!(65_536)), 8_192);
    let by_itself = window(40_960, Value::Null);
    assert!(by_itself == 4_096 || by_itself == 2_048, "as the prompt needs it: {by_itself}");
}

#[test]
fn a_window_that_is_chosen_too_small_fails_with_the_key_to_change() {
    let server = ModelServer::start(["m:8b"]);
    let place = place(&json!({ "ollama": { "url": server.url() }, "ladders": { "default": ["ollama:m:8b"] },
        "modelConfig": { "num_ctx": 64 } }));
    let said = place.run(&["run", "plan.yaml"]).exits(1);
    assert_eq!(server.chats().len(), 0, "what cannot fit is not sent");
    assert!(said.out.contains("raise `modelConfig.num_ctx`"), "{said:#?}");
}

#[test]
fn thinking_is_as_it_is_set_for_models_that_can() {
    let think = |model: Model, set: Value| {
        let server = ModelServer::start([model]);
        let (asked, _) = asked(&server, "ollama:m:8b", json!({ "modelSettings": { "thinkingMode": set } }));
        asked.body["think"].clone()
    };
    assert_eq!(think(Model::new("m:8b").thinks(), json!(true)), json!(true));
    assert_eq!(think(Model::new("m:8b").thinks(), json!(false)), json!(false));
    assert_eq!(think(Model::new("m:8b").thinks(), Value::Null), json!(false), "a first try without");
    assert_eq!(think(Model::new("m:8b"), json!(true)), Value::Null, "no such switch");
}

#[test]
fn the_loop_limit_counts_where_the_agent_names_none() {
    let turns = |agent: &str, set: Value| {
        let server = ModelServer::start(["m:8b"]);
        let mut count = 0;
        server.respond_all(move |_| {
            count += 1;
            Answer::tool("fs_list", json!({ "root": ".", "pattern": format!("*{count}") }))
        });
        let place = place(&json!({ "ollama": { "url": server.url() }, "ladders": { "default": ["ollama:m:8b"] },
            "agentSettings": { "loopLimit": set }, "claude_integration": { "escalation_threshold": 1 } }));
        place.write("agents/READER.md", agent);
        place.write(
            "plan.yaml",
            &PLAN.replace("tools: []", "tools: [fs.list]").replace("output:", "threshold: 1\n    output:"),
        );
        place.run(&["run", "plan.yaml"]).exits(1);
        server.chats().len()
    };
    assert_eq!(turns(READER, json!(2)), 2);
    assert_eq!(turns(&READER.replace("grants:", "turns_max: 3\ngrants:"), json!(2)), 3);
    assert!(turns(READER, Value::Null) > 3);
}

#[test]
fn the_system_prompt_stands_before_the_agents_own_for_every_model() {
    let (server, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    server.always_all(Answer::text(r#"{"sum": 41}"#));
    claude.always(Answer::text(r#"{"sum": 42}"#));
    let mut config = every_option();
    config["ollama"] = json!({ "url": server.url() });
    config["ladders"] = json!({ "default": ["ollama:m:8b"] });
    config["systemPrompt"] = json!("Be kind to numbers.");
    config["claude_integration"] = json!({ "enabled": true, "api_key": "sk-ant-of-a-test", "base_url": claude.url(), "model": "claude-sonnet-4-6" });
    let place = place(&config);
    place.run(&["run", "plan.yaml"]).exits(0);
    let system = server.chats()[0].body["messages"][0]["content"].as_str().unwrap().to_owned();
    let (before, own) = (system.find("Be kind to numbers."), system.find("You are a reader."));
    assert!(before.is_some() && before < own, "{system}");
    let paid = &claude.chats()[0].body;
    assert!(paid["system"].to_string().contains("Be kind to numbers."), "{paid}");
    for name in ["top_p", "top_k", "stop_sequences", "options", "seed", "temperature"] {
        assert_eq!(paid[name], Value::Null, "options of local models: {paid}");
    }
    assert!(paid["max_tokens"].as_u64().unwrap() > 300, "{paid}");
    let shown = place.run(&["agents", "show", "READER", "--prompt"]).exits(0);
    assert!(shown.out.contains("Be kind to numbers."), "{shown:?}");
}

#[test]
fn two_spellings_of_the_system_prompt_that_differ_are_said() {
    let server = ModelServer::start(["m:8b"]);
    let both = json!({ "systemPrompt": "One.", "modelConfig": { "system_prompt": "Two." } });
    let (asked, said) = asked(&server, "ollama:m:8b", both);
    let system = asked.body["messages"][0]["content"].as_str().unwrap();
    assert!(system.contains("One.") && !system.contains("Two."), "{system}");
    assert!(said.err.contains("`systemPrompt` counts; `modelConfig.system_prompt` says something else"), "{said:?}");
    let server = ModelServer::start(["m:8b"]);
    let (asked, _) = self::asked(&server, "ollama:m:8b", json!({ "modelConfig": { "system_prompt": "Two." } }));
    assert!(asked.body["messages"][0]["content"].as_str().unwrap().contains("Two."));
}

#[test]
fn the_model_of_the_configuration_stands_first_on_the_ladder_that_is_built() {
    let server = ModelServer::start(["a:1b", "b:8b", "c:30b"]);
    server.always_all(Answer::text(r#"{"sum": 42}"#));
    let config = |model: &str, more: Value| {
        let mut config = json!({ "ollama": { "url": server.url() }, "find_model_servers": false, "model": model });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let place = place(&config("c:30b", json!({})));
    let said = place.run(&["run", "plan.yaml"]).exits(0);
    assert!(said.err.contains("ladder (built from the models that are there): ollama:c:30b → ollama:a:1b"), "{said:?}");
    assert_eq!(server.chats()[0].model, "c:30b");
    let listed = place.run(&["models"]).exits(0);
    assert!(listed.out.contains("ladder default: ollama:c:30b → "), "the same rule for the list: {listed:?}");
    place.config(&config("gone:7b", json!({})));
    let said = place.run(&["run", "plan.yaml", "--fresh", "--new"]).exits(0);
    assert!(said.err.contains("`model` names `gone:7b`, and no server has it"), "{said:?}");
    assert_eq!(server.chats()[1].model, "a:1b");
    place.config(&config("c:30b", json!({ "ladders": { "default": ["ollama:b:8b"] } })));
    let said = place.run(&["run", "plan.yaml", "--fresh", "--new"]).exits(0);
    assert!(said.err.contains("`model` has no effect: `ladders.default` says which models are asked"), "{said:?}");
    assert_eq!(server.chats()[2].model, "b:8b");
}

/// What was answered under other settings is no answer to take over.
#[test]
fn other_settings_make_other_results() {
    let server = ModelServer::start(["m:8b"]);
    server.always_all(Answer::text(r#"{"sum": 42}"#));
    let config = |more: Value| {
        let mut config = json!({ "ollama": { "url": server.url() }, "ladders": { "default": ["ollama:m:8b"] } });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let place = place(&config(json!({})));
    place.write("plan.yaml", &PLAN.replace("  - id: add\n", "  - id: add\n    for_each: { range: 2 }\n"));
    for (more, asked) in [
        (json!({}), 2),
        (json!({}), 2),
        (json!({ "agentSettings": { "loopLimit": 5 } }), 2),
        (json!({ "modelConfig": { "temperature": 0.5 } }), 4),
        (json!({ "modelConfig": { "temperature": 0.5 } }), 4),
        (json!({ "systemPrompt": "Be brief." }), 6),
    ] {
        place.config(&config(more.clone()));
        place.run(&["run", "plan.yaml"]).exits(0);
        assert_eq!(server.chats().len(), asked, "{more}");
    }
}
