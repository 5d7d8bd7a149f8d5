//! Whole answers, whatever they are made of and however the network cuts them.

use std::sync::Mutex;

use ollmcp::model::bill::Spent;
use ollmcp::model::{Notices, Stop, Tokens};
use serde_json::json;

use super::*;
use crate::anthropic_server::Answer;

/// Keeps what a screen would have been told.
#[derive(Debug, Default)]
struct Heard(Mutex<String>);

impl Notices for Heard {
    fn part(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

#[tokio::test]
async fn text_reasoning_calls_and_figures_come_whole_wherever_the_network_cuts() {
    let server = AnthropicServer::start();
    let answer = Answer::text("It is cold in Tromsø. ❄")
        .thinking("Which city? The north.")
        .call("get_weather", json!({ "city": "Tromsø", "days": [1, 2] }))
        .call("now", json!({}))
        .tokens(900, 70)
        .cached(300, 20, 4_000);
    for answer in
        [answer.clone(), answer.clone().pieces_of(1), answer.clone().pieces_of(7), answer.parts_of(0).with_news()]
    {
        server.always(answer);
        let heard = Heard::default();
        let request = Request { tools: vec![offer("get_weather"), offer("now")], ..request() };
        let billed = client(&server.url()).chat_billed(&request, &heard).await;
        let reply = billed.outcome.unwrap();
        assert_eq!(reply.text, "It is cold in Tromsø. ❄");
        assert_eq!(reply.thinking, "Which city? The north.");
        let calls: Vec<_> = reply.calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect();
        assert_eq!(calls, [("get_weather", &json!({ "city": "Tromsø", "days": [1, 2] })), ("now", &json!({}))]);
        assert!(reply.calls.iter().all(|call| call.id.as_ref().unwrap().starts_with("toolu_")));
        assert_eq!(reply.stop, Stop::End);
        let tokens = Tokens {
            prompt: 900 + 300 + 20 + 4_000,
            reply: 70,
            cache_write_5m: 300,
            cache_write_1h: 20,
            cache_read: 4_000,
        };
        assert_eq!((reply.tokens, reply.tokens.uncached()), (tokens, 900));
        assert_eq!(billed.bill.spent, Spent::Exactly(tokens));
        assert_eq!((billed.bill.sent.as_str(), billed.bill.answered.as_deref()), (MODEL, Some(MODEL)));
        assert!(billed.bill.request_id.unwrap().starts_with("req_"));
        assert_eq!(*heard.0.lock().unwrap(), "Which city? The north.It is cold in Tromsø. ❄");
        let kinds: Vec<_> = reply.echo.iter().map(|block| block["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
        assert!(reply.timing.whole_ms >= reply.timing.first_token_ms);
    }
}

#[tokio::test]
async fn each_way_to_stop_comes_back() {
    let server = AnthropicServer::start();
    for (answer, stop, note) in [
        (Answer::text("yes"), Stop::End, ""),
        (Answer::text("yes").stops("stop_sequence"), Stop::End, ""),
        (Answer::text("ye").stop_length(), Stop::Length, ""),
        (Answer::text("ye").stops("model_context_window_exceeded"), Stop::Window, ""),
        (Answer::text("ye").stops("pause_turn"), Stop::Paused, ""),
        (Answer::text("I ").then_declines("bio", "This could harm."), Stop::Declined, "bio: This could harm."),
        (Answer::empty().stops("refusal"), Stop::Declined, ""),
        (Answer::empty(), Stop::End, ""),
    ] {
        server.always(answer);
        let billed = buy(&server, &request()).await;
        let reply = billed.outcome.unwrap();
        assert_eq!((reply.stop, reply.note.as_str()), (stop, note));
        assert_eq!(billed.bill.spent, Spent::Exactly(reply.tokens), "it is paid for, whatever it is worth");
    }
}

#[tokio::test]
async fn a_call_that_was_cut_stays_text() {
    let server = AnthropicServer::start();
    server.always(Answer::tool("get_weather", json!("{\"city\":\"Os")).stops("max_tokens"));
    let reply = ask(&server, &Request { tools: vec![offer("get_weather")], ..request() }).await.unwrap();
    assert_eq!((&reply.calls[0].arguments, reply.stop), (&json!("{\"city\":\"Os"), Stop::Length));
}

#[tokio::test]
async fn a_gateway_that_does_not_stream_is_understood() {
    let server = AnthropicServer::start();
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-of-a-gateway",
        "content": [{ "type": "text", "text": "It is " }, { "type": "new" }, { "type": "text", "text": "cold." },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } }],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": { "input_tokens": 7, "output_tokens": 3 },
    });
    server.always(Answer::raw(200, body.to_string()));
    let heard = Heard::default();
    let billed = client(&server.url()).chat_billed(&request(), &heard).await;
    let reply = billed.outcome.unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.calls[0].name.as_str(), reply.tokens),
        ("It is cold.", "f", Tokens::new(7, 3))
    );
    assert_eq!(billed.bill.answered.as_deref(), Some("claude-of-a-gateway"));
    assert_eq!(*heard.0.lock().unwrap(), "It is cold.");
}

#[tokio::test]
async fn what_is_repeated_is_read_from_the_cache_at_the_second_turn() {
    let server = AnthropicServer::start();
    let long = "Rules that are repeated in every request. ".repeat(100);
    let first = Request {
        messages: vec![Message::new(Speaker::System, long), Message::new(Speaker::User, "How is the weather?")],
        tools: vec![offer("get_weather")],
        ..request()
    };
    server.script([
        Answer::tool("get_weather", json!({ "city": "Oslo" })).thinking("hm"),
        Answer::text("cold"),
        Answer::text("x"),
    ]);
    let reply = ask(&server, &first).await.unwrap();
    assert!(reply.tokens.cache_write_5m > 1_000 && reply.tokens.cache_read == 0, "{:?}", reply.tokens);
    let written = reply.tokens.cache_write_5m;

    let mut second = first.clone();
    second.messages.push(Message {
        calls: reply.calls.clone(),
        echo: reply.echo.clone(),
        ..Message::new(Speaker::Assistant, reply.text.clone())
    });
    let id = reply.calls[0].id.clone();
    second.messages.push(Message {
        result_of: Some(ollmcp::model::ResultOf { name: "get_weather".into(), id }),
        ..Message::new(Speaker::Tool, "11 degrees")
    });
    let reply = ask(&server, &second).await.unwrap();
    assert_eq!(reply.tokens.cache_read, written, "all of the first request");
    let catalogue = catalogue();
    let uncached = Tokens::new(reply.tokens.prompt, reply.tokens.reply);
    assert!(catalogue.cost(MODEL, &reply.tokens).microdollars * 2 < catalogue.cost(MODEL, &uncached).microdollars);

    // Another task with the same rules and tools reads these.
    let other =
        Request { messages: vec![first.messages[0].clone(), Message::new(Speaker::User, "And in Rome?")], ..first };
    assert!(ask(&server, &other).await.unwrap().tokens.cache_read > 1_000);
}

#[tokio::test]
async fn models_are_listed_and_tokens_counted_without_buying_anything() {
    let server = AnthropicServer::start();
    let client = client(&server.url());
    let models = client.models().await.unwrap();
    let haiku = models.iter().find(|model| model.name == "claude-haiku-4-5").unwrap();
    assert_eq!((haiku.context_tokens_max, haiku.is_remote, haiku.family.as_str()), (Some(200_000), true, "haiku"));
    assert_eq!(client.model("claude-3-5-haiku-20241022").await.unwrap().name, "claude-haiku-5-5", "what would be sent");
    let missing = client.model("claude-opus-9").await.unwrap_err();
    assert!(matches!(&missing, ModelError::NoSuchModel { model, .. } if model == "claude-opus-9"), "{missing:?}");
    assert!(client.loaded().await.unwrap().is_none());
    assert!(matches!(client.pull("x", &|_| ()).await, Err(ModelError::Unsupported { .. })));
    let short = client.count_tokens(&request()).await.unwrap();
    let long = Request { messages: vec![Message::new(Speaker::User, "x".repeat(40_000))], ..request() };
    assert!(short > 0 && client.count_tokens(&long).await.unwrap() > 10_000);
    assert_eq!(server.chats().len(), 0);
}
