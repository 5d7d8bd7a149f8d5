//! The server itself: what the official client does not look at.

use serde_json::{Value, json};

use super::{Answer, AnthropicServer, Model};
use crate::scripted::client;

async fn post(server: &AnthropicServer, path: &str, body: &Value) -> (u16, Value) {
    post_as(server, path, body, "2023-06-01").await
}

async fn post_as(server: &AnthropicServer, path: &str, body: &Value, version: &str) -> (u16, Value) {
    let request = client().post(server.url() + path).header("x-api-key", "k").header("anthropic-version", version);
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn body(more: Value) -> Value {
    let mut body =
        json!({ "model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_the_interface_refuses_is_refused() {
    let server =
        AnthropicServer::setup().models([Model::new("claude-sonnet-5-5"), Model::new("small").sized(100, 50)]).start();
    let user = |content: Value| json!({ "role": "user", "content": content });
    let call =
        json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "f", "input": {} }] });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "x" });
    let text = json!({ "type": "text", "text": "x" });
    for (more, words) in [
        (json!({ "seed": 1 }), "Extra inputs"),
        (json!({ "temperature": 0.5 }), "not supported"),
        (json!({ "max_tokens": 200_000 }), "maximum allowed"),
        (json!({ "thinking": { "type": "enabled", "budget_tokens": 2_000 } }), "not supported"),
        (json!({ "tools": [{ "name": "a.b", "input_schema": { "type": "object" } }] }), "pattern"),
        (json!({ "tools": [{ "name": "a", "input_schema": { "type": "object", "anyOf": [] } }] }), "top level"),
        (
            json!({ "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } } }),
            "additionalProperties",
        ),
        (json!({ "messages": [] }), "at least one"),
        (json!({ "messages": [call] }), "first message"),
        (json!({ "messages": [user(json!("hi")), call] }), "prefill"),
        (json!({ "messages": [user(json!("hi")), call, user(json!("no"))] }), "without `tool_result`"),
        (json!({ "messages": [user(json!("hi")), call, user(json!([text, result("t1")]))] }), "before text"),
        (json!({ "messages": [user(json!([result("t9")]))] }), "unexpected `tool_use_id`"),
        (json!({ "messages": [user(json!([{ "type": "text", "text": " " }]))] }), "non-whitespace"),
        (
            json!({ "model": "small", "max_tokens": 9, "messages": [user(json!("x".repeat(900)))] }),
            "prompt is too long",
        ),
    ] {
        let (status, told) = post(&server, "/v1/messages", &body(more.clone())).await;
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(words), "{more}: {status} {told}");
    }
    assert_eq!(server.chats().len(), 0, "what is refused asks no model");
    let good = json!({ "messages": [user(json!("hi")), call, user(json!([result("t1"), text]))] });
    assert_eq!(post(&server, "/v1/messages", &body(good)).await.0, 200);
    assert_eq!(post(&server, "/v1/messages/count_tokens", &body(json!({}))).await.0, 200);
    assert_eq!(post_as(&server, "/v1/messages", &body(json!({})), "1999-01-01").await.0, 400);
    server.lose_model("claude-sonnet-5-5");
    assert_eq!(post(&server, "/v1/messages", &body(json!({}))).await.0, 404);
}

#[tokio::test]
async fn what_is_marked_is_kept_and_found_again_up_to_the_last_mark_that_is_alike() {
    let server = AnthropicServer::setup().cache_tokens_min(20).start();
    let block = |text: &str, is_marked: bool| {
        let mut block = json!({ "type": "text", "text": text });
        if is_marked {
            block["cache_control"] = json!({ "type": "ephemeral" });
        }
        block
    };
    let usage = async |more: Value| post(&server, "/v1/messages", &body(more)).await.1["usage"].clone();
    let rules = "Rules. ".repeat(40);
    let one = usage(json!({ "system": [block(&rules, true)] })).await;
    assert_eq!(one["cache_read_input_tokens"], 0);
    let written = one["cache_creation_input_tokens"].as_u64().unwrap();
    assert!(written > 60 && one["cache_creation"]["ephemeral_5m_input_tokens"] == written);
    let two =
        usage(json!({ "system": [block(&rules, true)], "messages": [{ "role": "user", "content": "other" }] })).await;
    assert_eq!((&two["cache_read_input_tokens"], &two["cache_creation_input_tokens"]), (&json!(written), &json!(0)));
    let more =
        json!({ "system": [block(&rules, false)], "messages": [{ "role": "user", "content": [block("long", true)] }] });
    let three = usage(more).await;
    assert_eq!(three["cache_read_input_tokens"], written, "found within the blocks before the mark");
    assert!(three["cache_creation_input_tokens"].as_u64().unwrap() > 0);
    let other = usage(json!({ "system": [block("Other. ", false), block(&rules, true)] })).await;
    assert_eq!(other["cache_read_input_tokens"], 0);
    let short = usage(json!({ "system": [block("Short.", true)] })).await;
    assert_eq!((&short["cache_read_input_tokens"], &short["cache_creation_input_tokens"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_script_is_played_in_order_and_an_answer_is_cut_at_its_limit() {
    let server = AnthropicServer::start();
    server.script([Answer::text("0123456789").call("f", json!({})), Answer::text("second")]);
    server.script_for("claude-haiku-5-5", [Answer::text("small")]);
    let text = |told: &Value| told["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let (_, told) = post(&server, "/v1/messages", &body(json!({ "max_tokens": 2 }))).await;
    assert_eq!((text(&told).as_str(), &told["stop_reason"]), ("01234567", &json!("max_tokens")));
    assert_eq!(text(&post(&server, "/v1/messages", &body(json!({ "model": "claude-haiku-5-5" }))).await.1), "small");
    assert_eq!(text(&post(&server, "/v1/messages", &body(json!({}))).await.1), "second");
    let (status, told) = post(&server, "/v1/messages", &body(json!({}))).await;
    assert!(status == 500 && told["error"]["message"].as_str().unwrap().contains("no answer left"));
    assert_eq!((server.unscripted(), server.count("claude-haiku-5-5"), server.chats().len()), (1, 1, 4));
}
