//! Proves loading, swapping, cutting and the refusals of Ollama's protocol.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::wire::{chat, get, lines, post};
use super::{Answer, Gate, Model, ModelServer};

async fn quiet(server: &ModelServer, model: &str, more: Value) -> (u16, Value) {
    let mut body = chat(model, json!({ "stream": false }));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, text) = post(server, "/api/chat", &body).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// Loads so far: model, window, what had to leave.
fn loads(server: &ModelServer) -> Vec<(String, u32, usize)> {
    server.loads().into_iter().map(|load| (load.model, load.context_tokens, load.evicted.len())).collect()
}

#[tokio::test]
async fn a_model_is_loaded_once_and_again_where_its_load_options_change() {
    let server = ModelServer::start([Model::new("a").load_ms(20), Model::new("b")]);
    let start = Instant::now();
    let (_, reply) = quiet(&server, "a", json!({ "options": { "num_ctx": 8192 } })).await;
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(reply["load_duration"].as_u64().unwrap() >= 20_000_000, "{reply}");
    let (_, reply) = quiet(&server, "a", json!({ "options": { "num_ctx": 8192, "temperature": 0.1 } })).await;
    assert!(reply["load_duration"].as_u64().unwrap() < 20_000_000, "{reply}");
    assert_eq!(get(&server, "/api/ps").await["models"][0]["context_length"], 8192);
    quiet(&server, "a", json!({ "options": { "num_ctx": 4096 } })).await;
    quiet(&server, "a", json!({ "options": { "num_ctx": 4096 }, "shift": false })).await;
    quiet(&server, "b", json!({})).await;
    let (a, b) = ("a:latest".to_owned(), "b:latest".to_owned());
    assert_eq!(loads(&server), [(a.clone(), 8192, 0), (a.clone(), 4096, 1), (a, 4096, 1), (b, 4096, 1)]);
    assert_eq!((server.swaps(), server.loaded()), (3, vec!["b:latest".to_owned()]));
}

#[tokio::test]
async fn models_stay_side_by_side_where_they_fit() {
    let server = ModelServer::setup(["a", "b"]).fits(2).start();
    for model in ["a", "b", "a", "b"] {
        quiet(&server, model, json!({})).await;
    }
    assert_eq!((server.loads().len(), server.swaps(), server.loaded().len()), (2, 0, 2));
}

#[tokio::test]
async fn a_busy_model_is_waited_for_before_another_takes_its_place() {
    let server = ModelServer::start(["a", "b"]);
    let gate = Gate::new();
    server.always("a", Answer::text("a").behind(&gate));
    let open = async {
        server.wait_until("both are there", |server| server.open() == 2).await;
        assert_eq!(loads(&server).len(), 1, "b waits for a");
        gate.open();
    };
    let second = async {
        server.wait_until("a is loaded", |server| server.loaded().len() == 1).await;
        quiet(&server, "b", json!({})).await
    };
    let (a, b, ()) = tokio::join!(quiet(&server, "a", json!({})), second, open);
    assert_eq!((a.0, b.0, server.swaps(), server.loaded()), (200, 200, 1, vec!["b:latest".to_owned()]));
}

#[tokio::test]
async fn a_model_that_is_lost_while_it_answers_leaves_the_memory_afterwards() {
    let server = ModelServer::start(["a"]);
    let gate = Gate::new();
    server.always("a", Answer::text("a").behind(&gate));
    let lose = async {
        server.wait_until("it is loaded", |server| server.loaded().len() == 1).await;
        server.lose_model("a");
        assert_eq!(server.loaded().len(), 1, "it still answers");
        gate.open();
    };
    let (answered, ()) = tokio::join!(quiet(&server, "a", json!({})), lose);
    assert_eq!((answered.0, server.loaded().len()), (200, 0));
}

#[tokio::test]
async fn more_requests_than_may_wait_for_a_load_are_told_that_the_server_is_busy() {
    let server = ModelServer::setup(["a", "b", "c"]).queue(0).start();
    let gate = Gate::new();
    server.always("a", Answer::text("a").behind(&gate));
    let rest = async {
        server.wait_until("a is loaded", |server| server.loaded().len() == 1).await;
        let open = async {
            server.wait_until("b waits", |server| server.open() == 2).await;
            let (status, reply) = quiet(&server, "c", json!({})).await;
            assert_eq!(status, 503);
            assert_eq!(reply["error"], "server busy, please try again.  maximum pending requests exceeded");
            gate.open();
        };
        tokio::join!(quiet(&server, "b", json!({})), open).0
    };
    let (a, b) = tokio::join!(quiet(&server, "a", json!({})), rest);
    assert_eq!((a.0, b.0), (200, 200));
}

#[tokio::test]
async fn keep_alive_is_a_number_or_a_duration_with_a_unit() {
    let server = ModelServer::start(["m"]);
    for good in [json!(-1), json!(0), json!(1.5), json!("5m"), json!("1h30m"), json!("-1s"), json!("0"), json!(null)] {
        let (status, reply) = quiet(&server, "m", json!({ "keep_alive": good })).await;
        assert_eq!(status, 200, "{good}: {reply}");
    }
    for (bad, words) in [
        (json!("-1"), "missing unit"),
        (json!("300"), "missing unit"),
        (json!("5x"), "unknown unit"),
        (json!("soon"), "invalid duration"),
        (json!(true), "Unsupported type"),
    ] {
        let (status, reply) = quiet(&server, "m", json!({ "keep_alive": bad })).await;
        assert_eq!((status, reply["error"].as_str().unwrap().contains(words)), (400, true), "{bad}: {reply}");
    }
    quiet(&server, "m", json!({ "keep_alive": "10ms" })).await;
    quiet(&server, "m", json!({ "keep_alive": 0 })).await;
    assert_eq!(server.loaded(), [""; 0], "zero unloads after the answer");
}

#[tokio::test]
async fn empty_messages_load_and_unload_and_count_as_no_chat() {
    let server = ModelServer::start(["m"]);
    let (_, reply) = quiet(&server, "m", json!({ "messages": [], "options": { "num_ctx": 9000 } })).await;
    assert_eq!((&reply["done_reason"], &reply["message"]["content"]), (&json!("load"), &json!("")));
    assert_eq!(get(&server, "/api/ps").await["models"][0]["context_length"], 9000);
    let (_, reply) = quiet(&server, "m", json!({ "messages": [], "keep_alive": 0 })).await;
    assert_eq!(reply["done_reason"], "unload");
    assert_eq!((server.loaded().len(), server.chats().len(), server.count_path("/api/chat")), (0, 0, 2));
}

#[tokio::test]
async fn wrong_types_are_refused_and_unknown_options_are_nobodys_business() {
    let server = ModelServer::start(["m"]);
    let tool = |parameters: Value| json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": parameters } }] });
    for bad in [
        json!({ "messages": "hi" }),
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }] }),
        json!({ "messages": ["hi"] }),
        json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": "{}" } }] }] }),
        json!({ "messages": [{ "role": "user", "content": "x", "images": [1] }] }),
        json!({ "stream": "yes" }),
        json!({ "model": 4 }),
        json!({ "model": "two words" }),
        json!({ "tools": {} }),
        tool(json!({ "type": ["object", "null"] })),
        tool(json!({ "type": "object", "properties": { "a": true } })),
        json!({ "options": [] }),
        json!({ "options": { "num_ctx": "8192" } }),
        json!({ "options": { "stop": "x" } }),
        json!({ "think": "deeply" }),
        json!({ "truncate": 0 }),
        json!({ "shift": "no" }),
    ] {
        let (status, reply) = quiet(&server, "m", bad.clone()).await;
        assert_eq!((status, reply["error"].is_string()), (400, true), "{bad}: {reply}");
    }
    for good in [
        json!({ "options": { "no_such_option": [1], "num_ctx": 2048.7, "stop": ["x"] } }),
        json!({ "messages": [{ "role": "USER", "content": null }] }),
        json!({ "format": "json", "nobody": "knows" }),
        tool(json!({ "type": "object", "properties": { "a": { "type": ["string", "null"] } } })),
    ] {
        assert_eq!(quiet(&server, "m", good.clone()).await.0, 200, "{good}");
    }
    let (status, reply) = quiet(&server, "m", json!({ "format": "yaml" })).await;
    assert_eq!((status, reply["error"].as_str().unwrap().starts_with("invalid format")), (500, true));
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused_and_said_by_show() {
    let models = [
        Model::new("plain").can(&["completion"]),
        Model::new("vectors").can(&["embedding"]),
        Model::new("thinker:4b").thinks(),
    ];
    let server = ModelServer::start(models);
    let tools = json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] });
    let (status, reply) = quiet(&server, "plain", tools).await;
    assert_eq!(
        (status, reply["error"].as_str().unwrap()),
        (400, "registry.ollama.ai/library/plain:latest does not support tools")
    );
    let (status, reply) = quiet(&server, "plain", json!({ "think": true })).await;
    assert_eq!((status, reply["error"].as_str().unwrap()), (400, "\"plain\" does not support thinking"));
    assert_eq!(quiet(&server, "plain", json!({ "think": false })).await.0, 200);
    let (status, reply) = quiet(&server, "vectors", json!({})).await;
    assert_eq!((status, reply["error"].as_str().unwrap()), (400, "\"vectors\" does not support chat"));
    assert_eq!(quiet(&server, "thinker:4b", json!({ "think": "high" })).await.0, 200);
    let (_, text) = post(&server, "/api/show", &json!({ "model": "thinker:4b" })).await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["capabilities"], json!(["completion", "tools", "thinking"]));
    assert_eq!(shown["model_info"]["thinker.context_length"], 40_960);
}

/// A conversation of messages of about 100 tokens each.
fn talk(roles: &[&str]) -> Value {
    let message = |(number, role): (usize, &&str)| json!({ "role": role, "content": format!("{number:>400}") });
    json!({ "messages": roles.iter().enumerate().map(message).collect::<Vec<_>>(), "options": { "num_ctx": 300 } })
}

#[tokio::test]
async fn a_prompt_over_the_window_loses_its_oldest_messages_without_a_word() {
    let server = ModelServer::start(["m"]);
    let (status, reply) = quiet(&server, "m", talk(&["user", "system", "assistant", "user", "user"])).await;
    assert_eq!((status, &reply["prompt_eval_count"]), (200, &json!(300)));
    let asked = &server.chats()[0];
    assert!(asked.is_cut());
    let kept: Vec<&str> = asked.kept.iter().map(|message| message.text.trim()).collect();
    assert_eq!(kept, ["1", "3", "4"], "rules and the last message stay");
}

#[tokio::test]
async fn a_last_message_that_is_too_long_alone_loses_its_middle() {
    let server = ModelServer::start(["m"]);
    let text = format!("START{}END", "x".repeat(4000));
    let body = json!({ "messages": [{ "role": "user", "content": text }], "options": { "num_ctx": 300 } });
    let (status, reply) = quiet(&server, "m", body).await;
    assert_eq!((status, &reply["prompt_eval_count"]), (200, &json!(152)));
    let seen = server.chats()[0].seen();
    assert!(seen.starts_with("START") && seen.ends_with("END") && seen.len() < 700, "{seen}");
}

#[tokio::test]
async fn overflow_is_an_error_where_the_request_forbids_both_ways_to_cut() {
    let server = ModelServer::start([Model::new("m").context(300)]);
    let mut body = talk(&["user", "assistant", "user", "user"]);
    body["truncate"] = json!(false);
    body["shift"] = json!(false);
    let (status, reply) = quiet(&server, "m", body.clone()).await;
    assert_eq!(status, 400);
    assert!(reply["error"].as_str().unwrap().starts_with("the prompt is longer than the context length"));
    // What was trained bounds what is asked for.
    body["options"]["num_ctx"] = json!(100_000);
    assert_eq!(quiet(&server, "m", body).await.0, 400);
    assert_eq!(server.loads(), []);
}

#[tokio::test]
async fn a_pull_tells_how_far_it_is_and_the_model_is_there_afterwards() {
    let server = ModelServer::start([
        Model::new("new").not_installed().bytes(1000),
        Model::new("bad").pull_fails("max retries exceeded"),
    ]);
    assert_eq!(quiet(&server, "new", json!({})).await.0, 404);
    let pulled = lines(&post(&server, "/api/pull", &json!({ "model": "new" })).await.1);
    assert_eq!(
        (&pulled[0]["status"], &pulled.last().unwrap()["status"]),
        (&json!("pulling manifest"), &json!("success"))
    );
    assert!(pulled.iter().any(|line| line["completed"] == 500 && line["total"] == 1000), "{pulled:?}");
    assert_eq!(quiet(&server, "new", json!({})).await.0, 200);
    for (name, words) in [("bad", "max retries exceeded"), ("unknown", "pull model manifest: file does not exist")] {
        let pulled = lines(&post(&server, "/api/pull", &json!({ "model": name })).await.1);
        assert_eq!(pulled.last().unwrap(), &json!({ "error": words }));
        assert_eq!(post(&server, "/api/pull", &json!({ "model": name, "stream": false })).await.0, 500);
    }
}

#[tokio::test]
async fn generate_answers_in_response_and_loads_on_an_empty_prompt() {
    let server = ModelServer::start(["m"]);
    server.always("m", Answer::text("once upon a time"));
    let (_, text) = post(&server, "/api/generate", &json!({ "model": "m", "prompt": "tell", "system": "short" })).await;
    let lines = lines(&text);
    let told: String = lines.iter().filter_map(|line| line["response"].as_str()).collect();
    assert_eq!((told.as_str(), &lines.last().unwrap()["done_reason"]), ("once upon a time", &json!("stop")));
    assert_eq!(server.chats()[0].messages[0].text, "short");
    let (_, text) = post(&server, "/api/generate", &json!({ "model": "m" })).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["done_reason"], "load");
    assert_eq!(post(&server, "/api/generate", &json!({ "prompt": "x" })).await.0, 404);
}
