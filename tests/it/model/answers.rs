//! Answers that work, however they come.

use ollmcp::model::{NativeCall, NoNotices, Request, Stop, Think, Tokens};
use serde_json::{Value, json};

use super::{Heard, KINDS, Kind, MODEL, offer, request};
use crate::model_server::{Answer, Model};

#[tokio::test]
async fn a_whole_answer_comes_with_its_reasoning_its_counts_and_its_times() {
    for kind in KINDS {
        let server = kind.start();
        let (text, thinking) = ("Grüße, Welt: 你好 🦀 and some more words", "Hm… Grüße, I think");
        server.always(MODEL, Answer::text(text).thinking(thinking).tokens(26, 9).after_ms(30).drip_ms(2));
        let heard = Heard::default();
        let reply = kind.client(&server.url()).chat(&request(), &heard).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.thinking.as_str()), (text, thinking), "{kind:?}");
        assert_eq!((reply.stop, reply.tokens), (Stop::End, Tokens::new(26, 9)), "{kind:?}");
        assert!(reply.calls.is_empty());
        let timing = reply.timing;
        assert!(timing.first_token_ms >= 30 && timing.whole_ms >= timing.first_token_ms, "{kind:?}: {timing:?}");
        assert!(heard.parts().len() > 2, "a screen hears of each part");
        assert_eq!(heard.parts().concat(), format!("{thinking}{text}"), "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_the_same_answer() {
    for kind in KINDS {
        let server = kind.start();
        let answer =
            Answer::text("Grüße 你好 🦀\n\r\n\"}{\n").thinking("…").call("get_weather", json!({ "city": "Tromsø\n" }));
        server.always(MODEL, answer.pieces_of(1).parts_of(5));
        let reply =
            kind.client(&server.url()).chat(&Request { tools: vec![offer()], ..request() }, &NoNotices).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.thinking.as_str()), ("Grüße 你好 🦀\n\r\n\"}{\n", "…"), "{kind:?}");
        assert_eq!(reply.calls[0].arguments, json!({ "city": "Tromsø\n" }), "{kind:?}");
    }
}

#[tokio::test]
async fn missing_figures_are_zero() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::text("hi").without_counts());
        assert_eq!(kind.ask(&server).await.unwrap().tokens, Tokens::default(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::empty());
        let reply = kind.ask(&server).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.calls.len(), reply.stop), ("", 0, Stop::End), "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_at_the_limit_of_tokens_says_so() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::text("a ".repeat(400)));
        let reply =
            kind.client(&server.url()).chat(&Request { reply_tokens_max: 10, ..request() }, &NoNotices).await.unwrap();
        assert_eq!((reply.text.len(), reply.stop), (40, Stop::Length), "{kind:?}");
        server.always(MODEL, Answer::empty().stop_length());
        assert_eq!(kind.ask(&server).await.unwrap().stop, Stop::Length, "{kind:?}");
    }
}

fn calls(calls: &[NativeCall]) -> Vec<(&str, &Value)> {
    calls.iter().map(|call| (call.name.as_str(), &call.arguments)).collect()
}

#[tokio::test]
async fn calls_are_found_before_the_last_line_and_on_it() {
    for kind in KINDS {
        let server = kind.start();
        let answer = Answer::text("I look. ")
            .call("get_weather", json!({ "city": "Oslo", "deep": { "a": [1, null, "x"] } }))
            .call("get_weather", json!({}));
        for answer in [answer.clone(), answer.clone().calls_last(), answer.clone().parts_of(3), answer.without_ids()] {
            server.always(MODEL, answer);
            let client = kind.client(&server.url());
            let reply = client.chat(&Request { tools: vec![offer()], ..request() }, &NoNotices).await.unwrap();
            let expect = [
                ("get_weather", &json!({ "city": "Oslo", "deep": { "a": [1, null, "x"] } })),
                ("get_weather", &json!({})),
            ];
            assert_eq!(calls(&reply.calls), expect, "{kind:?}");
            assert_eq!((reply.text.as_str(), reply.stop), ("I look. ", Stop::End), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn ids_of_calls_are_kept_where_there_are_any() {
    for kind in KINDS {
        let server = kind.start();
        server.script(
            MODEL,
            [Answer::tool("f", json!({})).call("f", json!({})), Answer::tool("f", json!({})).without_ids()],
        );
        let with = kind.ask(&server).await.unwrap().calls;
        assert!(with[0].id.is_some() && with[1].id.is_some() && with[0].id != with[1].id, "{kind:?}: {with:?}");
        assert_eq!(kind.ask(&server).await.unwrap().calls[0].id, None, "{kind:?}");
    }
}

#[tokio::test]
async fn names_and_arguments_come_as_the_model_wrote_them() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::tool("no such tool!", json!({ "city": 7 })));
        assert_eq!(
            calls(&kind.ask(&server).await.unwrap().calls),
            [("no such tool!", &json!({ "city": 7 }))],
            "{kind:?}"
        );
        server.always(MODEL, Answer::tool("f", json!("{\"city\":\"Os")));
        let reply = kind.ask(&server).await.unwrap();
        assert_eq!(
            calls(&reply.calls),
            [("f", &json!("{\"city\":\"Os"))],
            "text that does not parse stays text: {kind:?}"
        );
        server.always(MODEL, Answer::tool("f", json!("{\"city\":\"Oslo\"}")));
        assert_eq!(calls(&kind.ask(&server).await.unwrap().calls), [("f", &json!({ "city": "Oslo" }))], "{kind:?}");
    }
}

#[tokio::test]
async fn a_line_of_megabytes_is_read() {
    for kind in KINDS {
        let server = kind.start_with([Model::new(MODEL).context(u32::MAX).window(u32::MAX)]);
        server.always(MODEL, Answer::long_line(9 << 20));
        assert_eq!(kind.ask(&server).await.unwrap().text.len(), 9 << 20, "{kind:?}");
    }
}

#[tokio::test]
async fn a_script_may_look_at_the_request_and_a_schema_binds_the_answer() {
    for kind in KINDS {
        let server = kind.start();
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let client = kind.client(&server.url());
        let reply = client.chat(&Request { schema: Some(schema.clone()), ..request() }, &NoNotices).await.unwrap();
        let value: Value = serde_json::from_str(&reply.text).unwrap();
        assert!(value["n"].is_i64(), "{kind:?}: {value}");
        assert_eq!(server.chats()[0].schema, Some(schema), "{kind:?}");
    }
}

#[tokio::test]
async fn reasoning_is_switched_off_where_the_request_says_so() {
    let server = Kind::Ollama.start();
    server.always(MODEL, Answer::text("hi").thinking("hm"));
    let client = Kind::Ollama.client(&server.url());
    for (think, expect, sent) in
        [(Think::Unset, "hm", None), (Think::Off, "", Some(json!(false))), (Think::On, "hm", Some(json!(true)))]
    {
        let reply = client.chat(&Request { think, ..request() }, &NoNotices).await.unwrap();
        assert_eq!(reply.thinking, expect, "{think:?}");
        assert_eq!(server.chats().last().unwrap().think, sent);
    }
}
