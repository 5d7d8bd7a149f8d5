//! What is sent: the same conversation in the words of each protocol.

use ollmcp::model::{Message, NativeCall, NoNotices, Request, ResultOf, Speaker, Think};
use serde_json::{Value, json};

use super::{KINDS, Kind, MODEL, offer, request};
use crate::model_server::Answer;

/// A conversation with everything in it.
fn full() -> Request {
    let call = |id: Option<&str>, arguments: Value| NativeCall {
        id: id.map(str::to_owned),
        name: "get_weather".into(),
        arguments,
    };
    let result = |id: Option<&str>, text: &str| Message {
        result_of: Some(ResultOf { name: "get_weather".into(), id: id.map(str::to_owned) }),
        ..Message::new(Speaker::Tool, text)
    };
    Request {
        messages: vec![
            Message::new(Speaker::System, "Be brief."),
            Message::new(Speaker::User, "Weather?"),
            Message {
                calls: vec![call(Some("a1"), json!({ "city": "Oslo" })), call(None, json!("{\"city\":\"Rome\"}"))],
                ..Message::new(Speaker::Assistant, "I look.")
            },
            result(Some("a1"), "rain"),
            result(None, "sun"),
        ],
        tools: vec![offer()],
        schema: Some(json!({ "type": "object", "properties": { "any": true } })),
        think: Think::Off,
        temperature: Some(0.0),
        seed: Some(7),
        reply_tokens_max: 512,
        context_tokens: 8_192,
        ..request()
    }
}

async fn sent(kind: Kind, request: &Request) -> Value {
    let server = kind.start();
    server.always(MODEL, Answer::text("ok"));
    kind.client(&server.url()).chat(request, &NoNotices).await.unwrap();
    let asked = server.requests().remove(0);
    assert_eq!(asked.method, "POST");
    assert_eq!(asked.path, if kind.is_ollama() { "/api/chat" } else { "/v1/chat/completions" });
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(asked.headers["user-agent"].starts_with("ollmcp/"));
    asked.body
}

#[tokio::test]
async fn ollama_gets_its_window_its_switches_and_tools_in_its_narrow_form() {
    let body = sent(Kind::Ollama, &full()).await;
    let expect = json!({
        "model": MODEL,
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": "I look.", "tool_calls": [
                { "id": "a1", "function": { "index": 0, "name": "get_weather", "arguments": { "city": "Oslo" } } },
                { "function": { "index": 1, "name": "get_weather", "arguments": { "city": "Rome" } } },
            ]},
            { "role": "tool", "content": "rain", "tool_name": "get_weather", "tool_call_id": "a1" },
            { "role": "tool", "content": "sun", "tool_name": "get_weather" },
        ],
        "stream": true, "truncate": false, "shift": false, "keep_alive": "30m", "think": false,
        "format": { "type": "object", "properties": { "any": {} } },
        "tools": [{ "type": "function", "function": {
            "name": "get_weather", "description": "Tells the weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": { "type": "string", "description": "shortest length 1" },
                    "days": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                },
                "required": ["city"],
            },
        }}],
        "options": { "num_ctx": 8192, "num_predict": 512, "temperature": 0.0, "seed": 7 },
    });
    assert_eq!(body, expect);
}

#[tokio::test]
async fn other_servers_get_whole_schemas_and_arguments_as_text() {
    for kind in [Kind::OllamaV1, Kind::LlamaCpp] {
        let body = sent(kind, &full()).await;
        let mut parameters = offer().parameters;
        parameters["type"] = json!("object");
        let expect = json!({
            "model": MODEL,
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Weather?" },
                { "role": "assistant", "content": "I look.", "tool_calls": [
                    { "id": "a1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" } },
                    { "id": "call_2_1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Rome\"}" } },
                ]},
                { "role": "tool", "content": "rain", "tool_call_id": "a1" },
                { "role": "tool", "content": "sun", "tool_call_id": "call_2_1" },
            ],
            "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 512, "temperature": 0.0, "seed": 7,
            "chat_template_kwargs": { "enable_thinking": false },
            "response_format": { "type": "json_schema", "json_schema": {
                "name": "answer", "strict": true, "schema": { "type": "object", "properties": { "any": {} } },
            }},
            "tools": [{ "type": "function", "function": {
                "name": "get_weather", "description": "Tells the weather", "parameters": parameters,
            }}],
        });
        assert_eq!(body, expect, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_sent() {
    for kind in KINDS {
        let body = sent(kind, &request()).await;
        for key in ["tools", "format", "response_format", "think", "chat_template_kwargs", "temperature", "seed"] {
            assert!(body.get(key).is_none() && body["options"].get(key).is_none(), "{kind:?}: {key} in {body}");
        }
    }
}

#[tokio::test]
async fn a_call_that_could_not_be_read_is_still_an_object_in_the_history() {
    for kind in KINDS {
        let call = NativeCall { id: None, name: "get_weather".into(), arguments: json!("{\"city\":\"Os") };
        let history = Message { calls: vec![call], ..Message::new(Speaker::Assistant, "") };
        let body = sent(kind, &Request { messages: vec![history], ..request() }).await;
        let arguments = &body["messages"][0]["tool_calls"][0]["function"]["arguments"];
        let object = if kind.is_ollama() {
            arguments.clone()
        } else {
            serde_json::from_str(arguments.as_str().unwrap()).unwrap()
        };
        assert_eq!(object, json!({ "unreadable": "{\"city\":\"Os" }), "{kind:?}");
    }
}

#[tokio::test]
async fn a_request_of_megabytes_is_sent() {
    for kind in KINDS {
        let server = kind.start_with([crate::model_server::Model::new(MODEL).context(u32::MAX).window(u32::MAX)]);
        let long = Message::new(Speaker::User, "é".repeat(3 << 20));
        let wanted = Request { messages: vec![long.clone()], ..request() };
        kind.client(&server.url()).chat(&wanted, &NoNotices).await.unwrap();
        assert_eq!(server.chats()[0].last().len(), long.text.len(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_prefix_of_the_address_stands_before_every_path() {
    let server = Kind::Ollama.start();
    let client = Kind::Ollama.client(&format!("{}/proxy/", server.url()));
    // The scripted server has no such path, which is how the path is seen.
    assert!(client.models().await.is_err() && client.chat(&request(), &NoNotices).await.is_err());
    let paths: Vec<String> = server.requests().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/proxy/api/tags", "/proxy/api/chat"]);
    let client = Kind::LlamaCpp.client(&format!("{}/v1/", server.url()));
    assert!(client.chat(&request(), &NoNotices).await.is_ok());
}
