//! Proves both protocols on answers that work: what stands on the wire, and what the record says of the request.

use serde_json::{Value, json};

use super::{Answer, End, Model, ModelServer, Protocol, Setup};
pub(super) use crate::scripted::client;

pub(super) async fn post(server: &ModelServer, path: &str, body: &Value) -> (u16, String) {
    let reply = client().post(server.url() + path).json(body).send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

pub(super) async fn get(server: &ModelServer, path: &str) -> Value {
    client().get(server.url() + path).send().await.unwrap().json().await.unwrap()
}

/// A chat request with one message; fields of `more` are added.
pub(super) fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub(super) fn lines(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of a stream before `[DONE]`.
fn events(text: &str) -> Vec<Value> {
    let mut events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    events.into_iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

fn joined(values: &[Value], place: &str) -> String {
    values.iter().filter_map(|value| value.pointer(place).and_then(Value::as_str)).collect()
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "d", "parameters": { "type": "object", "properties": {} } } })
}

#[tokio::test]
async fn a_chat_streams_increments_and_ends_with_counts() {
    let server = ModelServer::start([Model::new("m").thinks()]);
    server.script("m", [Answer::text("grüß Gott, ihr alle zusammen").thinking("hm, what to say to them").parts_of(5)]);
    let (status, text) = post(&server, "/api/chat", &chat("m", json!({}))).await;
    let lines = lines(&text);
    assert_eq!(status, 200);
    assert!(lines.len() > 6);
    assert_eq!(joined(&lines, "/message/content"), "grüß Gott, ihr alle zusammen");
    assert_eq!(joined(&lines, "/message/thinking"), "hm, what to say to them");
    assert!(lines[..lines.len() - 1].iter().all(|line| line["done"] == false && line.get("done_reason").is_none()));
    let last = lines.last().unwrap();
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
    assert_eq!(last["prompt_eval_count"], 1);
    assert_eq!(last["eval_count"], 6 + 8);
}

#[tokio::test]
async fn thinking_is_left_out_where_the_request_says_so() {
    let server = ModelServer::start([Model::new("m").thinks()]);
    server.always("m", Answer::text("4").thinking("2 and 2"));
    let (_, text) = post(&server, "/api/chat", &chat("m", json!({ "think": false, "stream": false }))).await;
    assert!(!text.contains("2 and 2"));
    let (_, text) = post(&server, "/api/chat", &chat("m", json!({ "stream": false }))).await;
    assert!(text.contains("2 and 2"));
}

#[tokio::test]
async fn calls_come_before_the_last_line_or_on_it() {
    let server = ModelServer::start(["m"]);
    let call = || Answer::tool("f", json!({ "a": [1] })).call("g", json!({}));
    server.script("m", [call(), call().calls_last(), call().without_ids()]);
    let body = chat("m", json!({ "tools": [tool("f"), tool("g")] }));
    let early = lines(&post(&server, "/api/chat", &body).await.1);
    assert_eq!(
        early[0]["message"]["tool_calls"][0]["function"],
        json!({ "index": 0, "name": "f", "arguments": { "a": [1] } })
    );
    assert_eq!(early[0]["message"]["tool_calls"][1]["function"]["index"], 1);
    assert_eq!((early.len(), &early[1]["done_reason"]), (2, &json!("stop")));
    assert!(early[1]["message"].get("tool_calls").is_none());
    let late = lines(&post(&server, "/api/chat", &body).await.1);
    assert_eq!(late.len(), 1);
    assert!(late[0]["message"]["tool_calls"][0]["id"].is_string());
    let bare = lines(&post(&server, "/api/chat", &body).await.1);
    assert!(bare[0]["message"]["tool_calls"][0].get("id").is_none());
    assert_eq!(server.chats()[0].tool_names(), ["f", "g"]);
}

#[tokio::test]
async fn openai_streams_deltas_with_arguments_as_text() {
    let server = ModelServer::start(["m"]);
    let answer = Answer::text("one moment").thinking("tools").call("f", json!({ "city": "Tromsø" })).parts_of(4);
    server.always("m", answer);
    let body = chat("m", json!({ "stream": true, "stream_options": { "include_usage": true }, "tools": [tool("f")] }));
    let (status, text) = post(&server, "/v1/chat/completions", &body).await;
    assert_eq!(status, 200);
    let events = events(&text);
    assert_eq!(events[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": null }));
    assert_eq!(joined(&events, "/choices/0/delta/content"), "one moment");
    assert_eq!(joined(&events, "/choices/0/delta/reasoning"), "tools");
    let arguments = joined(&events, "/choices/0/delta/tool_calls/0/function/arguments");
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({ "city": "Tromsø" }));
    let finish: Vec<_> = events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(finish, ["tool_calls"]);
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], server.chats()[0].prompt_tokens);
}

#[tokio::test]
async fn openai_answers_whole_and_without_usage_unless_asked() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::text("yes").stop_length(), Answer::tool("f", json!("{\"a\": ")), Answer::text("no")]);
    let (_, text) = post(&server, "/v1/chat/completions", &chat("m", json!({}))).await;
    let whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "yes");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let (_, text) = post(&server, "/v1/chat/completions", &chat("m", json!({ "tools": [tool("f")] }))).await;
    let whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": ");
    let (_, text) = post(&server, "/v1/chat/completions", &chat("m", json!({ "stream": true }))).await;
    assert!(events(&text).iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn a_prompt_over_the_window_is_refused_with_both_figures_on_openais_protocol() {
    let server = Setup::llama_cpp(ModelServer::setup([Model::new("m").window(512)])).start();
    let long = json!({ "messages": [{ "role": "user", "content": "x".repeat(4000) }] });
    let (status, text) = post(&server, "/v1/chat/completions", &long).await;
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 400);
    assert_eq!(error["error"]["type"], "exceed_context_size_error");
    assert_eq!((&error["error"]["n_prompt_tokens"], &error["error"]["n_ctx"]), (&json!(1000), &json!(512)));
    assert_eq!(server.chats().len(), 0);
}

#[tokio::test]
async fn llama_cpp_has_nothing_under_api_and_takes_every_name() {
    let server = ModelServer::setup([Model::new("m").can(&["completion"])]).llama_cpp().start();
    let (status, text) = post(&server, "/api/chat", &chat("m", json!({}))).await;
    assert_eq!((status, text.contains("\"code\":404")), (404, true));
    let body = chat("whatever", json!({ "tools": [tool("f")] }));
    let (status, text) = post(&server, "/v1/chat/completions", &body).await;
    assert_eq!((status, text.contains("\"model\":\"m:latest\"")), (200, true));
    assert!(server.chats()[0].tools.is_empty(), "tools are dropped without a word");
    assert_eq!(get(&server, "/health").await["status"], "ok");
    assert_eq!(get(&server, "/v1/models").await["data"][0]["meta"]["n_ctx_train"], 40_960);
}

#[tokio::test]
async fn openai_knows_its_models_and_refuses_in_its_own_shape() {
    let server = ModelServer::setup(["m"]).key("secret").start();
    let (status, text) = post(&server, "/v1/chat/completions", &chat("m", json!({}))).await;
    assert_eq!(status, 401);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["type"], "authentication_error");
    let reply = client().post(server.url() + "/v1/chat/completions").bearer_auth("secret");
    let reply = reply.json(&chat("other", json!({}))).send().await.unwrap();
    assert_eq!(reply.status(), 404);
    assert_eq!(reply.json::<Value>().await.unwrap()["error"]["message"], "model 'other' not found");
}

#[tokio::test]
async fn the_record_keeps_requests_as_they_were_understood() {
    let server = ModelServer::start([Model::new("m:8b").thinks()]);
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let body = json!({
        "model": "m:8b", "stream": false, "think": "low", "format": schema, "options": { "num_ctx": 8192, "mirostat": 2 },
        "messages": [
            { "role": "system", "content": "rules" },
            { "role": "assistant", "content": null, "tool_calls": [{ "function": { "name": "f", "arguments": { "a": 1 } } }] },
            { "role": "tool", "tool_name": "f", "content": "11 degrees" },
        ],
    });
    let (status, text) = post(&server, "/api/chat", &body).await;
    assert_eq!(status, 200, "{text}");
    let content = serde_json::from_str::<Value>(&text).unwrap()["message"]["content"].as_str().unwrap().to_owned();
    assert!(serde_json::from_str::<Value>(&content).unwrap()["n"].is_i64(), "bound to the schema: {content}");
    let asked = &server.chats()[0];
    assert_eq!((asked.protocol, asked.context_tokens, asked.end), (Protocol::Ollama, 8192, End::Whole));
    assert_eq!(asked.messages[1].calls, [("f".to_owned(), json!({ "a": 1 }))]);
    assert_eq!((asked.last_role(), asked.messages[2].tool_name.as_deref()), ("tool", Some("f")));
    assert_eq!((asked.schema.as_ref(), &asked.body), (Some(&schema), &body));
    let openai = json!({
        "model": "m:8b", "max_tokens": 7, "response_format": { "type": "json_schema", "json_schema": { "name": "r", "schema": schema } },
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "11" },
        ],
    });
    post(&server, "/v1/chat/completions", &openai).await;
    let asked = &server.chats()[1];
    assert_eq!((asked.messages[0].text.as_str(), asked.nth, asked.number), ("ab", 1, 1));
    assert_eq!(asked.messages[1].calls, [("f".to_owned(), json!({ "a": 1 }))]);
    assert_eq!((asked.schema.as_ref(), asked.reply_tokens_max()), (Some(&schema), Some(7)));
    assert_eq!(asked.messages[2].call_id.as_deref(), Some("c1"));
}

#[tokio::test]
async fn a_script_is_played_per_model_and_says_when_it_is_at_its_end() {
    let server = ModelServer::start(["a", "b"]);
    server.script("a", [Answer::text("first"), Answer::text("second")]);
    server.respond_all(|asked| Answer::text(format!("{} asks {}", asked.model, asked.last())));
    let ask = async |model: &str| post(&server, "/api/chat", &chat(model, json!({ "stream": false }))).await;
    assert!(ask("a").await.1.contains("first"));
    assert!(ask("b").await.1.contains("b asks hi"));
    assert!(ask("a:latest").await.1.contains("second"));
    let (status, text) = ask("a").await;
    assert_eq!(status, 500);
    assert!(text.contains("no answer left"));
    assert_eq!((server.unscripted(), server.count("a"), server.count("b")), (1, 2, 1));
}

#[tokio::test]
async fn an_answer_is_cut_at_the_limit_of_the_request_and_a_call_is_swallowed_there() {
    let server = ModelServer::start(["m"]);
    server.always("m", Answer::text("0123456789").call("f", json!({ "city": "Oslo" })));
    let body = chat("m", json!({ "options": { "num_predict": 2 }, "tools": [tool("f")], "stream": false }));
    let reply: Value = serde_json::from_str(&post(&server, "/api/chat", &body).await.1).unwrap();
    assert_eq!((&reply["message"]["content"], &reply["done_reason"]), (&json!("01234567"), &json!("length")));
    assert!(reply["message"].get("tool_calls").is_none());
    let body = chat("m", json!({ "max_tokens": 2, "tools": [tool("f")] }));
    let reply: Value = serde_json::from_str(&post(&server, "/v1/chat/completions", &body).await.1).unwrap();
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
}
