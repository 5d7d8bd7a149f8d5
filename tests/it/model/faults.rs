//! Every way in which there is no answer, and the variant that says which.

use std::time::{Duration, Instant};

use ollmcp::model::key::Key;
use ollmcp::model::{ModelError, NoNotices, Request, Think};
use serde_json::json;

use super::{Heard, KINDS, Kind, MODEL, limited, offer, request};
use crate::model_server::{Answer, Gate, Model, ModelServer};

/// The name of the variant.
fn variant(error: &ModelError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// Asks each kind of server, which gives one answer, and compares the variant.
#[track_caller]
fn check(answer: &Answer, expect: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, answer.clone());
        let error = runtime.block_on(kind.ask(&server)).unwrap_err();
        assert_eq!(variant(&error), expect, "{kind:?}: {error}");
        let text = error.to_string();
        assert!(!text.contains(['\n', '\r']) && text.chars().count() < 450, "{kind:?}: {text}");
    }
}

#[test]
fn a_stream_that_breaks_is_never_an_answer() {
    let begun = Answer::text("This is only the beg");
    check(&begun.clone().then_cut(), "BrokenStream");
    check(&begun.clone().then_reset(), "BrokenStream");
    check(&begun.clone().then_ends(), "BrokenStream");
    check(&begun.clone().then_garbage(), "BrokenStream");
    check(&begun.clone().pieces_of(7).then_cut(), "BrokenStream");
    check(&Answer::empty().then_ends(), "BrokenStream");
    check(&Answer::tool("f", json!({})).then_ends(), "BrokenStream");
}

#[test]
fn an_error_in_the_stream_is_read_by_its_words() {
    let begun = Answer::text("This is only the beg");
    for (words, expect) in [
        ("an error was encountered while running the model: unexpected EOF", "BrokenStream"),
        ("CUDA error: out of memory", "OutOfMemory"),
        ("llama-server process has terminated: signal: killed", "OutOfMemory"),
        ("failed to parse JSON: unexpected end of JSON input", "UnreadableCall"),
        ("error parsing tool call: raw='{\"city\":\"Os', err=unexpected end of JSON input", "UnreadableCall"),
        ("llama-server returned invalid tool call arguments for \"f\": x", "UnreadableCall"),
    ] {
        check(&begun.clone().then_error(words), expect);
        check(&Answer::empty().then_error(words), expect);
    }
}

#[test]
fn refusals_are_told_apart() {
    check(&Answer::gone(MODEL), "NoSuchModel");
    check(&Answer::busy(), "Busy");
    check(&Answer::too_many(None), "Busy");
    check(&Answer::out_of_memory(), "OutOfMemory");
    check(&Answer::crashed(), "OutOfMemory");
    check(&Answer::unreadable_call(), "UnreadableCall");
    check(&Answer::refused(500, "failed to parse JSON: x"), "UnreadableCall");
    check(&Answer::too_long(), "PromptTooLong");
    check(&Answer::no_user_query(), "PromptTooLong");
    check(&Answer::refused(400, "registry.ollama.ai/library/x does not support tools"), "Unsupported");
    check(&Answer::refused(400, "\"x\" does not support thinking"), "Unsupported");
    check(&Answer::refused(400, "\"x\" does not support chat"), "Unsupported");
    check(&Answer::refused(400, "json: cannot unmarshal"), "Protocol");
    check(&Answer::refused(500, "something is wrong"), "ServerError");
    check(&Answer::refused(502, "x"), "Unreachable");
    check(&Answer::refused(504, "x"), "Unreachable");
    check(&Answer::refused(401, "unauthorized"), "Denied");
    check(&Answer::raw(403, ""), "Denied");
    check(&Answer::raw(418, "<html><body>teapot</body></html>"), "Protocol");
    check(&Answer::raw(500, vec![b'x'; 1 << 20]), "ServerError");
    check(&Answer::raw(500, b"\xff\xfe\n\x1b[2J".as_slice()), "ServerError");
    check(&Answer::raw(302, "").header("location", "http://127.0.0.1:9/stolen?key=1"), "Protocol");
}

#[test]
fn what_is_no_model_server_is_named_so() {
    check(&Answer::garbage(), "Protocol");
    check(&Answer::not_http(), "Protocol");
    check(&Answer::raw(200, "[1, 2]"), "Protocol");
    check(&Answer::raw(200, "{\"hello\":\"world\"}"), "Protocol");
    check(&Answer::raw(200, "Ollama is running"), "Protocol");
    check(&Answer::raw(200, ""), "BrokenStream");
}

#[test]
fn a_server_that_goes_away_before_it_answers_is_unreachable() {
    check(&Answer::cut(), "Unreachable");
    check(&Answer::reset(), "Unreachable");
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_until_the_server_is_back() {
    for kind in KINDS {
        let server = kind.start();
        let client = kind.client(&server.url());
        assert!(client.chat(&request(), &NoNotices).await.is_ok());
        server.refuse();
        let error = client.chat(&request(), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "Unreachable", "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert_eq!(variant(&client.models().await.unwrap_err()), "Unreachable");
        server.back();
        assert!(client.chat(&request(), &NoNotices).await.is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_host_that_has_no_address_is_unreachable() {
    for kind in KINDS {
        let error = kind.client("http://no-such-host.invalid").chat(&request(), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "Unreachable", "{error}");
    }
}

#[tokio::test]
async fn the_wait_that_a_server_asks_for_is_told() {
    for kind in KINDS {
        let server = kind.start();
        for (answer, expect) in [
            (Answer::too_many(Some(7)), Some(7_000)),
            (Answer::too_many(None), None),
            (Answer::busy().header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(0)),
        ] {
            server.always(MODEL, answer);
            let error = kind.ask(&server).await.unwrap_err();
            assert!(matches!(error, ModelError::Busy { retry_after_ms, .. } if retry_after_ms == expect), "{error:?}");
        }
    }
}

#[tokio::test]
async fn nothing_in_time_is_told_apart_from_silence_and_from_slowness() {
    for kind in KINDS {
        let server = kind.start();
        let client = kind.client(&server.url());
        server.always(MODEL, Answer::hang());
        let error = client.chat(&limited(150, 20_000, 20_000), &NoNotices).await.unwrap_err();
        assert_eq!(error, ModelError::NoFirstToken { model: MODEL.into(), limit_ms: 150 }, "{kind:?}");

        server.always(MODEL, Answer::text("late").after_ms(30_000));
        let error = client.chat(&limited(150, 20_000, 20_000), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "NoFirstToken", "{kind:?}");

        // Headers and an opening without content, then nothing: still no token.
        server.always(MODEL, Answer::empty().then_hangs());
        let error = client.chat(&limited(300, 100, 20_000), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "NoFirstToken", "{kind:?}: {error}");

        for answer in
            [Answer::text("some words").then_hangs(), Answer::text("a long text in parts").pause_ms(1, 30_000)]
        {
            server.always(MODEL, answer);
            let error = client.chat(&limited(20_000, 150, 20_000), &NoNotices).await.unwrap_err();
            assert_eq!(error, ModelError::Silent { model: MODEL.into(), limit_ms: 150 }, "{kind:?}");
        }

        server.always(MODEL, Answer::endless());
        let error = client.chat(&limited(20_000, 20_000, 250), &NoNotices).await.unwrap_err();
        assert_eq!(error, ModelError::TooSlow { model: MODEL.into(), limit_ms: 250 }, "{kind:?}");
    }
}

#[tokio::test]
async fn a_long_wait_for_the_first_token_does_not_count_against_the_other_limits() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::text("slow to load, quick to write").after_ms(700));
        let reply = kind.client(&server.url()).chat(&limited(20_000, 400, 500), &NoNotices).await.unwrap();
        assert!(reply.timing.first_token_ms >= 700, "{kind:?}: {:?}", reply.timing);
    }
}

#[tokio::test]
async fn a_steady_drip_is_no_silence() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::text("one two three four five six seven eight nine").drip_ms(150));
        assert!(kind.client(&server.url()).chat(&limited(20_000, 600, 20_000), &NoNotices).await.is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn lines_and_answers_have_a_longest_length() {
    for kind in KINDS {
        let server = kind.start_with([Model::new(MODEL).context(u32::MAX).window(u32::MAX)]);
        for (answer, words) in [
            (Answer::long_line(17 << 20), "a line of more than 16 MiB"),
            (Answer::text("x".repeat(33 << 20)).parts_of(1 << 20), "more than 32 MiB"),
            (Answer::endless_line(), "a line of more than 16 MiB"),
        ] {
            server.always(MODEL, answer);
            let error = kind.ask(&server).await.unwrap_err();
            assert_eq!(variant(&error), "BrokenStream", "{kind:?}: {error}");
            assert!(error.to_string().contains(words), "{kind:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection_wherever_it_stands() {
    for kind in KINDS {
        let server = kind.start();
        let client = kind.client(&server.url());
        let (wanted, heard) = (request(), Heard::default());

        server.always(MODEL, Answer::hang());
        let waiting = client.chat(&wanted, &heard);
        tokio::select! {
            _ = waiting => panic!("it cannot be answered"),
            () = server.wait_until("the request arrives", |server| server.open() == 1) => {}
        }
        server.wait_until("the server sees that nobody waits", |server| server.left() == 1).await;

        server.always(MODEL, Answer::text("some words").then_hangs());
        let mut writing = client.chat(&wanted, &heard);
        // Parts come only while the future is polled.
        while heard.parts().concat() != "some words" {
            let polled = tokio::time::timeout(Duration::from_millis(5), &mut writing).await;
            assert!(polled.is_err(), "it cannot be answered");
        }
        assert_eq!(server.left(), 1);
        drop(writing);
        server.wait_until("the server sees that nobody reads", |server| server.left() == 2).await;
    }
}

#[tokio::test]
async fn a_limit_that_passes_closes_the_connection_too() {
    for kind in KINDS {
        let server = kind.start();
        server.always(MODEL, Answer::text("some words").then_hangs());
        let error = kind.client(&server.url()).chat(&limited(20_000, 100, 20_000), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "Silent");
        server.wait_until("the server sees that nobody reads", |server| server.left() == 1).await;
    }
}

#[tokio::test]
async fn requests_side_by_side_have_their_own_connections() {
    for kind in KINDS {
        let server = kind.start_with([Model::new(MODEL)]);
        let gate = Gate::new();
        server.always(MODEL, Answer::text("hi").behind(&gate));
        let client = kind.client(&server.url());
        let requests: Vec<Request> = (0..8).map(|seed| Request { seed: Some(seed), ..request() }).collect();
        let all = futures::future::join_all(requests.iter().map(|request| client.chat(request, &NoNotices)));
        let open = async {
            server.wait_until("all eight have arrived", |server| server.open() == 8).await;
            gate.open();
        };
        let (replies, ()) = tokio::join!(all, open);
        assert!(replies.iter().all(Result::is_ok), "{kind:?}");
    }
}

#[tokio::test]
async fn a_prompt_over_the_window_is_named_with_the_window() {
    let long = Request {
        messages: vec![ollmcp::model::Message::new(ollmcp::model::Speaker::User, "word ".repeat(5_000))],
        context_tokens: 2_048,
        ..request()
    };
    for kind in KINDS {
        let server = kind.start_with([Model::new(MODEL).window(2_048)]);
        let error = kind.client(&server.url()).chat(&long, &NoNotices).await.unwrap_err();
        let expect = if kind.is_ollama() { None } else { Some(2_048) };
        assert!(
            matches!(error, ModelError::PromptTooLong { context_tokens, .. } if context_tokens == expect),
            "{kind:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_a_model_cannot_do_is_named() {
    let server =
        ModelServer::start([Model::new("plain:1b").can(&["completion"]), Model::new("embed:1b").can(&["embedding"])]);
    let client = Kind::Ollama.client(&server.url());
    let ask = |model: &str| Request { model: model.to_owned(), ..request() };
    for (asked, expect) in [
        (Request { tools: vec![offer()], ..ask("plain:1b") }, "tools"),
        (Request { think: Think::On, ..ask("plain:1b") }, "thinking"),
        (ask("embed:1b"), "chat"),
    ] {
        let error = client.chat(&asked, &NoNotices).await.unwrap_err();
        assert!(matches!(error, ModelError::Unsupported { what, .. } if what == expect), "{error:?}");
    }
    let error = client.chat(&ask("none:1b"), &NoNotices).await.unwrap_err();
    assert_eq!(error, ModelError::NoSuchModel { server: server.url(), model: "none:1b".to_owned() });
}

#[tokio::test]
async fn a_key_is_sent_and_never_shown() {
    for kind in KINDS {
        let setup = ModelServer::setup([MODEL]).key("sk-right");
        let server = if kind == Kind::LlamaCpp { setup.llama_cpp().start() } else { setup.start() };
        let right = kind.client_with(&server.url(), Key::bearer("sk-right"));
        assert!(right.chat(&request(), &NoNotices).await.is_ok(), "{kind:?}");
        assert!(right.models().await.is_ok(), "{kind:?}");
        assert!(!format!("{right:?}").contains("sk-right"), "{right:?}");

        let wrong = kind.client_with(&server.url(), Key::bearer("sk-wrong"));
        for error in [wrong.chat(&request(), &NoNotices).await.unwrap_err(), wrong.models().await.unwrap_err()] {
            assert_eq!(variant(&error), "Denied", "{kind:?}: {error}");
        }
        let server = kind.start();
        server.always(MODEL, Answer::refused(401, "Incorrect API key provided: sk-wrong"));
        let wrong = kind.client_with(&server.url(), Key::bearer("sk-wrong"));
        let error = wrong.chat(&request(), &NoNotices).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sk-wrong"), "{error:?}");
        assert_eq!(server.requests()[0].headers["authorization"], "Bearer sk-wrong");
    }
}

#[tokio::test]
async fn user_and_password_of_the_address_are_a_header() {
    for kind in KINDS {
        let server = kind.start();
        let client = kind.client(&server.url().replace("http://", "http://me:hidden@"));
        assert!(client.chat(&request(), &NoNotices).await.is_ok());
        assert_eq!(server.requests()[0].headers["authorization"], "Basic bWU6aGlkZGVu", "{kind:?}");
        assert_eq!(client.address(), server.url());
        server.refuse();
        let error = client.chat(&request(), &NoNotices).await.unwrap_err();
        assert!(!format!("{error:?} {client:?}").contains("hidden"), "{error:?}");
    }
}

#[tokio::test]
async fn a_refusal_whose_words_do_not_come_is_not_waited_for() {
    // Status and headers at once, a body that never ends.
    let server = super::raw::Raw::serve(&["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100\r\n\r\n{\"err"], 0);
    for kind in KINDS {
        let started = Instant::now();
        let error = kind.client(&server.url()).chat(&limited(300, 20_000, 20_000), &NoNotices).await.unwrap_err();
        assert_eq!(variant(&error), "Busy", "{kind:?}: {error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
