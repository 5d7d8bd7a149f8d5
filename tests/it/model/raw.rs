//! What only bytes can show: streams as other servers write them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use ollmcp::model::{NoNotices, Stop, Tokens};
use serde_json::json;

use super::{Kind, limited, request};

/// A server that reads one request per connection and writes the same pieces each time.
pub(super) struct Raw {
    port: u16,
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const LINES: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n";

impl Raw {
    /// Waits between the pieces; after the last one it closes, or keeps the connection where the head promises more.
    pub(super) fn serve(pieces: &[&str], wait_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        let keeps = pieces[0].contains("content-length") || pieces.iter().any(|piece| piece == HOLD);
        // Ends with the process of the test: it holds nothing.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let pieces = pieces.clone();
                std::thread::spawn(move || {
                    let mut head = [0; 65_536];
                    let _ = stream.read(&mut head);
                    for piece in pieces.iter().filter(|piece| *piece != HOLD) {
                        if stream.write_all(piece.as_bytes()).is_err() {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(wait_ms));
                    }
                    // Until the client goes.
                    while keeps && stream.read(&mut head).is_ok_and(|count| count > 0) {}
                });
            }
        });
        Self { port }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// In the place of a piece: the connection stays open.
const HOLD: &str = "(hold)";

fn event(delta: serde_json::Value, finish: Option<&str>) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }))
}

#[tokio::test]
async fn a_stream_without_its_done_mark_is_whole_once_it_said_why_it_stopped() {
    let end = event(json!({}), Some("stop"));
    let text = event(json!({ "content": "hello" }), None);
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
    for pieces in [
        vec![EVENTS, &text, &end, usage],
        vec![EVENTS, &text, &end, usage, HOLD],
        vec![EVENTS, &text, usage, end.trim_end()],
    ] {
        let server = Raw::serve(&pieces, 1);
        let reply = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.stop), ("hello", Stop::End));
        assert_eq!(reply.tokens, Tokens::new(3, 1), "figures behind the end are read");
    }
    let server = Raw::serve(&[EVENTS, &text, "data: [DONE]\n\n"], 1);
    let error = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap_err();
    assert!(error.to_string().contains("without saying why"), "{error}");
}

#[tokio::test]
async fn signs_of_life_are_no_token() {
    let opening = event(json!({ "role": "assistant", "content": null }), None);
    let mut pieces = vec![EVENTS, &opening];
    pieces.extend([": still waiting\n\n"; 100]);
    let server = Raw::serve(&pieces, 20);
    let error = Kind::LlamaCpp.client(&server.url()).chat(&limited(300, 20_000, 20_000), &NoNotices).await.unwrap_err();
    assert!(error.to_string().starts_with("no answer from"), "{error}");

    let text = event(json!({ "content": "hello" }), None);
    let mut pieces = vec![EVENTS, &text];
    pieces.extend([": still waiting\n\n"; 100]);
    let server = Raw::serve(&pieces, 20);
    let error = Kind::LlamaCpp.client(&server.url()).chat(&limited(20_000, 300, 20_000), &NoNotices).await.unwrap_err();
    assert!(error.to_string().contains("fell silent"), "{error}");
}

#[tokio::test]
async fn the_first_line_may_take_longer_than_its_first_byte() {
    let line = "{\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"done\":true,\"done_reason\":\"stop\"}\n";
    let mut pieces = vec![LINES.to_owned()];
    pieces.extend(line.chars().map(String::from));
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let server = Raw::serve(&pieces, 8);
    // The first byte comes in time; the whole line takes some 700 ms.
    let reply = Kind::Ollama.client(&server.url()).chat(&limited(400, 300, 20_000), &NoNotices).await.unwrap();
    assert_eq!(reply.text, "hello");
    assert!(reply.timing.first_token_ms < 400, "{:?}", reply.timing);

    let server = Raw::serve(&[LINES, &line[..30], HOLD], 1);
    let error = Kind::Ollama.client(&server.url()).chat(&limited(20_000, 200, 20_000), &NoNotices).await.unwrap_err();
    assert!(error.to_string().contains("fell silent"), "{error}");
}

#[tokio::test]
async fn a_last_line_without_its_end_of_line_counts_where_it_is_whole() {
    let text = "{\"message\":{\"content\":\"hello\"},\"done\":false}\n";
    let last = "{\"message\":{\"content\":\"!\"},\"done\":true,\"eval_count\":2.0,\"eval_duration\":5000000}";
    let server = Raw::serve(&[LINES, text, last], 1);
    let reply = Kind::Ollama.client(&server.url()).chat(&request(), &NoNotices).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.tokens.reply, reply.timing.writing_ms), ("hello!", 2, 5));
    for cut in [1, 20, last.len() - 1] {
        for pieces in [vec![LINES, text, &last[..cut]], vec![LINES, &last[..cut]]] {
            let server = Raw::serve(&pieces, 1);
            let error = Kind::Ollama.client(&server.url()).chat(&request(), &NoNotices).await.unwrap_err();
            assert!(error.to_string().contains("broke off"), "{cut}: {error}");
        }
    }
}

#[tokio::test]
async fn a_server_without_streams_answers_with_one_document() {
    let document = json!({
        "object": "chat.completion",
        "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "I look.", "reasoning_content": "hm",
            "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\":1}" } }],
        }}],
        "usage": { "prompt_tokens": 5, "completion_tokens": 7 },
    });
    let body = serde_json::to_string_pretty(&document).unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n\r\n";
    let server = Raw::serve(&[head, &body[..40], &body[40..]], 5);
    let reply = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.thinking.as_str(), reply.stop), ("I look.", "hm", Stop::End));
    assert_eq!((reply.calls[0].name.as_str(), &reply.calls[0].arguments), ("f", &json!({ "x": 1 })));
    assert_eq!(reply.tokens, Tokens::new(5, 7));
    let server = Raw::serve(&[head, &body[..80]], 5);
    let error = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn faults_in_a_stream_are_found_in_every_form() {
    let text = event(json!({ "content": "hello" }), None);
    for fault in [
        "data: {\"error\":{\"code\":500,\"message\":\"CUDA error: out of memory\",\"type\":\"server_error\"}}\n\n",
        "data: {\"error\":\"CUDA error: out of memory\"}\n\n",
        "error: {\"code\":500,\"message\":\"CUDA error: out of memory\"}\n\n",
        "event: error\ndata: {\"object\":\"error\",\"message\":\"CUDA error: out of memory\",\"code\":500}\n\n",
        "{\"error\":{\"message\":\"CUDA error: out of memory\"}}\n",
    ] {
        let server = Raw::serve(&[EVENTS, &text, fault], 1);
        let error = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap_err();
        assert!(error.to_string().contains("ran out of memory"), "{fault}: {error}");
    }
    for reason in ["content_filter", "error", "abort"] {
        let server = Raw::serve(&[EVENTS, &text, &event(json!({}), Some(reason)), "data: [DONE]\n\n"], 1);
        let error = Kind::LlamaCpp.client(&server.url()).chat(&request(), &NoNotices).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn an_encrypted_address_of_a_plain_server_is_named() {
    let server = Raw::serve(&[LINES, "{}\n"], 1);
    let url = server.url().replace("http://", "https://");
    for kind in super::KINDS {
        let error = kind.client(&url).chat(&request(), &NoNotices).await.unwrap_err();
        assert!(error.to_string().contains("no encrypted connection"), "{kind:?}: {error}");
    }
}
