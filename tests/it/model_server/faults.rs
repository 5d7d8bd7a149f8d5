//! Proves every fault with a plain client: what it sees is what a test asked for.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use super::wire::{chat, client, get, lines, post};
use super::{Answer, Asked, End, Gate, ModelServer};

/// A server whose only model `m` always answers so.
fn always(answer: Answer) -> ModelServer {
    let server = ModelServer::start(["m"]);
    server.always("m", answer);
    server
}

async fn send(server: &ModelServer, body: &Value) -> Result<reqwest::Response, reqwest::Error> {
    client().post(server.url() + "/api/chat").json(body).send().await
}

/// All causes of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

fn streamed() -> Value {
    chat("m", json!({}))
}

fn whole() -> Value {
    chat("m", json!({ "stream": false }))
}

fn last(server: &ModelServer) -> Asked {
    server.chats().pop().unwrap()
}

#[tokio::test]
async fn refusals_have_their_status_and_their_words_in_both_protocols() {
    let cases: [(Answer, u16, &str); 8] = [
        (Answer::busy(), 503, "maximum pending requests exceeded"),
        (Answer::too_many(Some(7)), 429, "too many requests"),
        (Answer::out_of_memory(), 500, "more system memory"),
        (Answer::crashed(), 500, "runner has unexpectedly stopped"),
        (Answer::gone("m"), 404, "model 'm' not found"),
        (Answer::unreadable_call(), 500, "error parsing tool call"),
        (Answer::too_long(), 400, "exceeds the context length"),
        (Answer::no_user_query(), 500, "no user query found in messages"),
    ];
    for (answer, wanted, words) in cases {
        let server = always(answer);
        let (status, text) = post(&server, "/api/chat", &streamed()).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error["error"].as_str().unwrap().contains(words)), (wanted, true), "{text}");
        let (status, text) = post(&server, "/v1/chat/completions", &whole()).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error["error"]["message"].as_str().unwrap().contains(words)), (wanted, true), "{text}");
        assert_eq!(server.loads(), [], "a refusal loads nothing");
        assert_eq!((last(&server).status, last(&server).end), (Some(wanted), End::Whole));
    }
}

#[tokio::test]
async fn headers_and_raw_bodies_go_out_as_given() {
    let server = ModelServer::start(["m"]);
    let proxy = Answer::raw(502, "<html>bad gateway</html>").header("x-proxy", "1");
    server.script("m", [Answer::too_many(Some(7)), Answer::too_many(None), proxy]);
    let reply = send(&server, &streamed()).await.unwrap();
    assert_eq!(reply.headers()["retry-after"], "7");
    assert!(send(&server, &streamed()).await.unwrap().headers().get("retry-after").is_none());
    let reply = send(&server, &streamed()).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers()["x-proxy"].to_str().unwrap()), (502, "1"));
    assert_eq!(reply.text().await.unwrap(), "<html>bad gateway</html>");
}

#[tokio::test]
async fn an_error_in_mid_stream_is_the_last_line_under_status_200() {
    let server = always(Answer::text("so far, so good").then_error("unexpected EOF"));
    let (status, text) = post(&server, "/api/chat", &streamed()).await;
    let lines = lines(&text);
    assert_eq!((status, lines.last().unwrap()), (200, &json!({ "error": "unexpected EOF" })));
    assert!(lines.len() > 1 && lines.iter().all(|line| line["done"] != true));
    let (status, text) = post(&server, "/api/chat", &whole()).await;
    assert_eq!((status, text.as_str()), (500, "{\"error\":\"unexpected EOF\"}"));
    let (status, text) = post(&server, "/v1/chat/completions", &chat("m", json!({ "stream": true }))).await;
    let event = text.trim_end().rsplit("\n\n").next().unwrap().strip_prefix("data: ").unwrap();
    assert_eq!(
        (status, &serde_json::from_str::<Value>(event).unwrap()["error"]["message"]),
        (200, &json!("unexpected EOF"))
    );
    assert!(!text.contains("[DONE]"));
}

#[tokio::test]
async fn a_stream_may_end_cleanly_without_its_last_line() {
    let server = always(Answer::text("again again").call("f", json!({})).then_ends());
    let lines = lines(&post(&server, "/api/chat", &streamed()).await.1);
    assert!(lines.iter().all(|line| line["done"] == false));
    let (status, text) = post(&server, "/api/chat", &whole()).await;
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &reply["done"], reply.get("done_reason")), (200, &json!(false), None));
    let (_, text) = post(&server, "/v1/chat/completions", &chat("m", json!({ "stream": true }))).await;
    assert!(text.contains("again") && !text.contains("[DONE]") && !text.contains("\"stop\""));
}

#[tokio::test]
async fn a_connection_is_cut_or_reset_in_the_middle_after_what_came_before() {
    for (answer, words) in
        [(Answer::text("one two three").then_cut(), ""), (Answer::text("one two three").then_reset(), "reset by peer")]
    {
        let server = always(answer);
        let mut stream = send(&server, &streamed()).await.unwrap().bytes_stream();
        let mut seen = String::new();
        let error = loop {
            match stream.next().await {
                Some(Ok(bytes)) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Err(error)) => break error,
                None => panic!("a clean end after {seen}"),
            }
        };
        assert!(seen.contains("one two") && !seen.contains("\"done\":true"), "{seen}");
        assert!(chain(&error).contains(words), "{}", chain(&error));
        assert!(send(&server, &whole()).await.unwrap().bytes().await.is_err());
        assert!(server.chats().iter().all(|asked| asked.end == End::Broken && asked.status == Some(200)));
    }
}

#[tokio::test]
async fn a_connection_is_cut_or_reset_without_a_byte() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::cut(), Answer::reset(), Answer::text("well again")]);
    let cut = chain(&send(&server, &streamed()).await.unwrap_err());
    assert!(cut.contains("before message completed"), "{cut}");
    let reset = chain(&send(&server, &streamed()).await.unwrap_err());
    assert!(reset.contains("reset by peer"), "{reset}");
    assert!(send(&server, &streamed()).await.is_ok());
    let ends: Vec<_> = server.chats().into_iter().take(2).map(|asked| (asked.status, asked.end)).collect();
    assert_eq!(ends, [(None, End::Broken), (None, End::Broken)]);
}

#[tokio::test]
async fn garbage_comes_as_a_body_in_a_body_and_in_place_of_http() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::garbage(), Answer::text("fine so far").then_garbage(), Answer::not_http()]);
    let body = send(&server, &streamed()).await.unwrap().bytes().await.unwrap();
    assert!(std::str::from_utf8(&body).is_err());
    let body = send(&server, &streamed()).await.unwrap().bytes().await.unwrap();
    assert!(body.starts_with(b"{\"model\"") && std::str::from_utf8(&body).is_err());
    let error = chain(&send(&server, &streamed()).await.unwrap_err());
    assert!(error.contains("invalid HTTP"), "{error}");
}

#[tokio::test]
async fn who_leaves_a_hanging_answer_is_noticed_and_frees_the_slot() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::hang(), Answer::text("half of").then_hangs(), Answer::hang(), Answer::text("last")]);
    let short = Duration::from_millis(30);
    for (body, left) in [(streamed(), 1), (whole(), 3)] {
        let mut asking = Box::pin(send(&server, &body));
        tokio::select! {
            _ = &mut asking => panic!("it is to hang"),
            () = server.wait_until("it has arrived", |server| server.open() == 1) => {}
        }
        assert!(tokio::time::timeout(short, &mut asking).await.is_err(), "not even a status");
        drop(asking);
        server.wait_until("it has left", |server| server.left() == left).await;
        if left == 1 {
            let mut stream = send(&server, &streamed()).await.unwrap().bytes_stream();
            assert!(String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()).contains("half of"));
            assert!(tokio::time::timeout(short, stream.next()).await.is_err(), "a part, then nothing");
            drop(stream);
            server.wait_until("the second has left", |server| server.left() == 2).await;
        }
    }
    let (status, _) = post(&server, "/api/chat", &whole()).await;
    assert_eq!((status, server.left(), server.open()), (200, 3, 0));
}

#[tokio::test]
async fn what_never_ends_goes_on_until_the_client_leaves() {
    for answer in [Answer::endless(), Answer::endless_line().drip_ms(1)] {
        let server = always(answer);
        let mut stream = send(&server, &streamed()).await.unwrap().bytes_stream();
        for _ in 0..10 {
            stream.next().await.unwrap().unwrap();
        }
        assert_eq!(server.open(), 1);
        drop(stream);
        server.wait_until("it has left", |server| server.left() == 1).await;
    }
}

#[tokio::test]
async fn delays_come_where_they_are_asked_for() {
    let start = Instant::now();
    let server = always(Answer::text("a").after_ms(40));
    send(&server, &streamed()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40), "before the status");
    let server = always(Answer::text("aabbccdd").parts_of(2).drip_ms(15).pause_ms(2, 30));
    let start = Instant::now();
    let mut stream = send(&server, &streamed()).await.unwrap().bytes_stream();
    let mut came = Vec::new();
    while let Some(part) = stream.next().await {
        came.push((start.elapsed(), part.unwrap()));
    }
    assert!(came.len() >= 4, "parts come on their own: {came:?}");
    assert!(came.last().unwrap().0 >= Duration::from_millis(75), "three drips and a pause");
    let start = Instant::now();
    send(&server, &whole()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(75), "all of it before the status where nothing is streamed");
}

#[tokio::test]
async fn a_line_may_be_very_long_or_come_in_pieces_of_three_bytes() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::long_line(3_000_000), Answer::text("übermäßig große Öfen").parts_of(0).pieces_of(3)]);
    let text = post(&server, "/api/chat", &streamed()).await.1;
    assert!(text.lines().next().unwrap().len() > 3_000_000);
    let mut stream = send(&server, &streamed()).await.unwrap().bytes_stream();
    let (mut count, mut all) = (0, Vec::new());
    while let Some(part) = stream.next().await {
        count += 1;
        all.extend_from_slice(&part.unwrap());
    }
    assert!(count > 3, "{count} parts");
    assert_eq!(lines(std::str::from_utf8(&all).unwrap())[0]["message"]["content"], "übermäßig große Öfen");
}

#[tokio::test]
async fn a_server_that_refuses_cuts_what_runs_and_comes_back_on_its_port() {
    let server = ModelServer::start(["m"]);
    server.script("m", [Answer::hang(), Answer::text("back")]);
    let (port, body) = (server.port(), streamed());
    let (asked, ()) = tokio::join!(send(&server, &body), async {
        server.wait_until("the request is there", |server| server.open() == 1).await;
        server.refuse();
    });
    assert!(asked.is_err());
    assert_eq!((last(&server).end, server.left(), server.loaded().len()), (End::Broken, 0, 0));
    let refused = chain(&send(&server, &streamed()).await.unwrap_err());
    assert!(refused.contains("refused"), "{refused}");
    server.refuse();
    server.back();
    server.back();
    assert_eq!((server.port(), send(&server, &whole()).await.unwrap().status().as_u16()), (port, 200));
    let url = server.url();
    drop(server);
    assert!(chain(&client().get(url).send().await.unwrap_err()).contains("refused"));
}

#[tokio::test]
async fn a_lost_model_is_not_found_any_more() {
    let server = ModelServer::start(["m", "n"]);
    assert_eq!(post(&server, "/api/chat", &streamed()).await.0, 200);
    server.lose_model("m");
    assert_eq!(post(&server, "/api/chat", &streamed()).await.0, 404);
    assert_eq!(post(&server, "/v1/chat/completions", &streamed()).await.0, 404);
    assert_eq!(get(&server, "/api/tags").await["models"].as_array().unwrap().len(), 1);
    assert_eq!(get(&server, "/api/ps").await["models"], json!([]));
    server.add_model("m");
    assert_eq!(post(&server, "/api/chat", &streamed()).await.0, 200);
}

#[tokio::test]
async fn a_gate_holds_requests_so_that_all_of_them_are_open_at_once() {
    let server = ModelServer::setup(["m"]).parallel(3).start();
    let gate = Gate::new();
    server.always("m", Answer::text("through").behind(&gate));
    let ask = async || post(&server, "/api/chat", &whole()).await;
    let open = async {
        server.wait_until("all are there", |server| server.open() == 3).await;
        gate.open();
    };
    let (a, b, c, ()) = tokio::join!(ask(), ask(), ask(), open);
    assert!([a, b, c].iter().all(|(status, text)| *status == 200 && text.contains("through")));
    assert_eq!((server.most_at_once(), server.most_at_once_of("m"), server.open()), (3, 3, 0));
}

#[tokio::test]
async fn a_claim_that_fails_inside_a_script_fails_the_test() {
    let server = ModelServer::start(["m"]);
    server.respond("m", |asked| {
        assert_eq!(asked.last(), "something else");
        Answer::empty()
    });
    let (status, text) = post(&server, "/api/chat", &whole()).await;
    assert_eq!((status, text.contains("something else")), (500, true));
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(server)));
    assert!(dropped.unwrap_err().downcast_ref::<String>().unwrap().contains("something else"));
}

#[test]
fn a_test_without_a_runtime_may_block_on_it() {
    let server = always(Answer::text("hello").after_ms(5));
    let body = whole().to_string();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let head =
        format!("POST /api/chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("hello"), "{text}");
    server.block_until("it was answered", |server| last(server).end == End::Whole);
}
