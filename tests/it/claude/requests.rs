//! What goes out, as a strict server sees it: nothing that the interface refuses, whatever was asked for.

use ollmcp::model::{NativeCall, ResultOf};
use serde_json::Value;

use super::*;
use crate::anthropic_server::{Answer, End};

#[tokio::test]
async fn every_model_takes_every_request() {
    let server = AnthropicServer::start();
    let schema = json!({
        "type": "object", "required": ["total"],
        "properties": { "total": { "type": "number", "minimum": 0 }, "lines": { "type": "array", "minItems": 2, "items": { "type": "string", "pattern": "^a" } } },
    });
    let retired = [
        "claude-3-5-sonnet-20241022",
        "claude-3-5-haiku-20241022",
        "claude-opus-4-20250514",
        "claude-opus-4-5-20250514",
    ];
    let current = [
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
        "claude-opus-5-5",
        "claude-fable-5-2",
        "claude-opus-4-8",
        "claude-sonnet-4-6",
        "claude-haiku-4-5-20251001",
    ];
    for model in current.iter().chain(&retired) {
        for think in [Think::Unset, Think::Off, Think::On] {
            for schema in
                [None, Some(schema.clone()), Some(json!({ "type": "array" })), Some(json!({ "type": "object" }))]
            {
                let asked = Request {
                    model: (*model).to_owned(),
                    think,
                    schema,
                    temperature: Some(0.7),
                    seed: Some(3),
                    reply_tokens_max: u32::MAX,
                    tools: vec![
                        offer("fs.read"),
                        offer("a tool with a name that is far too long for what the interface takes, é"),
                    ],
                    ..request()
                };
                let reply = ask(&server, &asked).await;
                assert!(reply.is_ok(), "{model} {think:?} {:?}: {reply:?}", asked.schema);
            }
        }
    }
    let sent = server.chats().pop().unwrap();
    assert_eq!(sent.model, "claude-opus-5-5", "what is sent for the last of the retired ones");
    assert_eq!(sent.headers["anthropic-version"], "2023-06-01");
    assert!(server.chats().iter().all(|asked| asked.is_streamed && asked.end == End::Whole));
}

#[tokio::test]
async fn names_go_out_as_the_interface_takes_them_and_come_back_as_they_were_offered() {
    let server = AnthropicServer::start();
    server.respond(|asked| Answer::tool(asked.tool_names()[0], json!({ "city": "Oslo" })).call("made_up", json!({})));
    let reply = ask(&server, &Request { tools: vec![offer("weather.get/now")], ..request() }).await.unwrap();
    assert_eq!((reply.calls[0].name.as_str(), reply.calls[1].name.as_str()), ("weather.get/now", "made_up"));
    assert!(server.chats()[0].tool_names()[0].starts_with("weather_get_now_"));
}

#[tokio::test]
async fn an_odd_conversation_is_put_in_order() {
    let server = AnthropicServer::start();
    let call = |id: Option<&str>, name: &str, arguments: Value| NativeCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments,
    };
    let result = |id: Option<&str>, name: &str| Message {
        result_of: Some(ResultOf { name: name.into(), id: id.map(str::to_owned) }),
        ..Message::new(Speaker::Tool, "")
    };
    let turn = |calls: Vec<NativeCall>| Message { calls, ..Message::new(Speaker::Assistant, "") };
    let messages = vec![
        turn(vec![call(Some("call 1"), "fs.read", json!({})), call(None, "fs.read", json!("{\"cut"))]),
        result(None, "fs.read"),
        Message::new(Speaker::User, "The second call could not be read."),
        turn(vec![call(Some("a"), "f", json!({})), call(Some("a"), "f", json!(null))]),
        result(Some("a"), "f"),
        result(Some("a"), "f"),
        result(Some("b"), "g"),
        turn(Vec::new()),
        Message::new(Speaker::System, "Rules in the middle."),
        Message::new(Speaker::Assistant, "Done."),
    ];
    let reply = ask(&server, &Request { messages, tools: vec![offer("fs.read"), offer("f")], ..request() }).await;
    assert!(reply.is_ok(), "{reply:?}");
    let said = server.chats()[0].messages.clone();
    assert!(said.iter().any(|one| one.text.contains("Rules in the middle.")));
    assert_eq!(said.iter().filter(|one| one.role == "tool").count(), 4, "one result for each call, run or not");
}

#[tokio::test]
async fn the_key_is_a_header_and_nothing_else() {
    let server = AnthropicServer::setup().key(KEY).start();
    let right = client(&server.url());
    assert!(right.chat(&request(), &NoNotices).await.is_ok());
    let sent = server.chats().pop().unwrap();
    assert_eq!(sent.headers["x-api-key"], KEY);
    assert!(!sent.headers.contains_key("authorization") && !sent.body.to_string().contains(KEY));
    assert!(!format!("{right:?}").contains("sk-ant"));

    let bearer = Claude::new(Address::url(&server.url()).unwrap(), Key::bearer(KEY), Arc::new(catalogue())).unwrap();
    assert!(bearer.chat(&request(), &NoNotices).await.is_ok());
    assert_eq!(server.chats().pop().unwrap().headers["authorization"], format!("Bearer {KEY}"));

    let none = Claude::new(Address::url(&server.url()).unwrap(), None, Arc::new(catalogue())).unwrap();
    assert!(matches!(none.chat(&request(), &NoNotices).await, Err(ModelError::BadKey { .. })));
}

#[tokio::test]
async fn the_base_url_is_honoured_with_a_path_and_a_version() {
    for path in ["", "/", "/v1", "/v1/"] {
        let server = AnthropicServer::start();
        assert!(client(&format!("{}{path}", server.url())).chat(&request(), &NoNotices).await.is_ok(), "{path}");
        assert_eq!(server.count_path("/v1/messages"), 1);
    }
    let server = AnthropicServer::start();
    let error = client(&format!("{}/gateway", server.url())).chat(&request(), &NoNotices).await.unwrap_err();
    assert_eq!(server.count_path("/gateway/v1/messages"), 1);
    assert!(matches!(error, ModelError::NoSuchModel { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_is_asked_twice() {
    let server = AnthropicServer::start();
    for answer in [
        Answer::overloaded(),
        Answer::refused(500, "x"),
        Answer::cut(),
        Answer::text("a").then_cut(),
        Answer::too_many(Some(0)),
    ] {
        server.always(answer);
        let before = server.chats().len();
        assert!(ask(&server, &request()).await.is_err());
        assert_eq!(server.chats().len(), before + 1);
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_closes_its_connection() {
    let server = AnthropicServer::start();
    server.always(Answer::text("so far").then_hangs());
    let client = client(&server.url());
    let asked = request();
    let mut future = client.chat(&asked, &NoNotices);
    tokio::select! {
        _ = &mut future => panic!("it hangs"),
        () = server.wait_until("it is being answered", |server| server.chats().iter().any(|asked| asked.status.is_some())) => {}
    }
    drop(future);
    server.wait_until("the server sees it", |server| server.chats()[0].end == End::Left).await;
}
