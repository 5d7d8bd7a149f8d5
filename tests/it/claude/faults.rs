//! Every way in which there is no answer: the variant, its hint, the wait that was asked for, and what was bought.

use std::time::{Duration, Instant};

use ollmcp::agent::turns::setup::model_failure as failure_of;
use ollmcp::domain::failure::{FailureClass, FailureKind};
use ollmcp::model::bill::Spent;

use super::*;
use crate::anthropic_server::{Answer, Gate};

/// The name of the variant.
fn variant(error: &ModelError) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// What was bought, in one word.
fn bought(spent: Spent) -> &'static str {
    match spent {
        Spent::Nothing => "nothing",
        Spent::TurnedAway => "turned away",
        Spent::Unknown => "unknown",
        Spent::AtLeast(_) => "at least",
        Spent::Exactly(_) => "exactly",
    }
}

async fn fail(answer: Answer) -> (ModelError, Spent) {
    fail_with(answer, &request()).await
}

async fn fail_with(answer: Answer, request: &Request) -> (ModelError, Spent) {
    let server = AnthropicServer::start();
    server.always(answer);
    let billed = buy(&server, request).await;
    let error = billed.outcome.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains(['\n', '\r']) && text.chars().count() < 500, "{text}");
    assert_eq!(billed.bill.sent, MODEL);
    (error, billed.bill.spent)
}

#[tokio::test]
async fn every_kind_of_error_has_its_variant_and_buys_nothing() {
    let refused = Answer::refused;
    for (answer, expect, kind, has_hint) in [
        (refused(400, "messages: is wrong"), "BadRequest", FailureKind::BadInput, true),
        (
            refused(400, "prompt is too long: 210000 tokens > 200000 maximum"),
            "PromptTooLong",
            FailureKind::ContextTooSmall,
            true,
        ),
        (
            refused(400, "You have reached your specified API usage limits."),
            "SpendLimit",
            FailureKind::SpendLimit,
            true,
        ),
        (refused(401, "invalid x-api-key"), "BadKey", FailureKind::Denied, true),
        (refused(402, "no credit"), "Unpaid", FailureKind::SpendLimit, true),
        (refused(403, "not for this workspace"), "Forbidden", FailureKind::Denied, true),
        (refused(404, "model: claude-sonnet-5-5"), "NoSuchModel", FailureKind::ModelMissing, true),
        (refused(409, "conflict"), "Busy", FailureKind::Busy, false),
        (refused(413, "Request exceeds the maximum size"), "PromptTooLong", FailureKind::ContextTooSmall, true),
        (refused(429, "slow down"), "RateLimited", FailureKind::Busy, true),
        (Answer::spend_cap(), "SpendLimit", FailureKind::SpendLimit, true),
        (refused(500, "oops"), "ServerError", FailureKind::ServerDied, false),
        (refused(503, "busy"), "ServerError", FailureKind::ServerDied, false),
        (Answer::overloaded(), "Overloaded", FailureKind::Busy, true),
        (Answer::raw(302, "").header("location", "http://127.0.0.1:9/x"), "Protocol", FailureKind::Unreachable, false),
        (Answer::raw(429, "slow"), "RateLimited", FailureKind::Busy, true),
        (Answer::raw(500, vec![b'x'; 1 << 20]), "ServerError", FailureKind::ServerDied, false),
        (Answer::raw(418, "<html><body>teapot</body></html>"), "Protocol", FailureKind::Unreachable, false),
    ] {
        let (error, spent) = fail(answer).await;
        assert_eq!(variant(&error), expect, "{error}");
        assert_eq!(bought(spent), "turned away", "{error}");
        let failure = failure_of(&error);
        assert_eq!((failure.kind, failure.hint.is_some()), (kind, has_hint), "{error}");
    }
}

#[tokio::test]
async fn the_wait_is_carried_and_the_cap_of_the_month_has_none() {
    let (error, _) = fail(Answer::too_many(Some(7))).await;
    assert_eq!(error.retry_after_ms(), Some(7_000));
    let (error, _) = fail(Answer::overloaded().header("retry-after", "3")).await;
    assert_eq!(error.retry_after_ms(), Some(3_000));
    let limited = Answer::refused(429, "slow down")
        .header("anthropic-ratelimit-output-tokens-remaining", "0")
        .header("anthropic-ratelimit-output-tokens-limit", "400000")
        .header("anthropic-ratelimit-output-tokens-reset", "2099-01-01T00:00:00Z");
    let (error, _) = fail(limited).await;
    assert!(error.retry_after_ms().unwrap() > 1_000_000, "until the limit is open again");
    assert!(error.to_string().contains("0 of 400000 output tokens left"), "{error}");
    let (error, _) = fail(Answer::spend_cap()).await;
    assert_eq!((variant(&error).as_str(), error.retry_after_ms()), ("SpendLimit", None));
    assert_eq!(failure_of(&error).class(), FailureClass::Permanent);
}

#[tokio::test]
async fn an_error_in_the_middle_is_named_and_what_was_told_is_on_the_bill() {
    let begun = || Answer::text("This is only the beg").tokens(900, 70);
    for (answer, expect) in [
        (begun().then_error("Overloaded"), "Overloaded"),
        (begun().then_error("slow down").kind("rate_limit_error"), "RateLimited"),
        (begun().then_error("oops").kind("api_error"), "ServerError"),
        (begun().then_error("new").kind("error_of_tomorrow"), "BrokenStream"),
        (begun().then_cut(), "BrokenStream"),
        (begun().pieces_of(7).then_cut(), "BrokenStream"),
        (begun().then_reset(), "BrokenStream"),
        (begun().then_ends(), "BrokenStream"),
        (begun().then_garbage(), "BrokenStream"),
        (Answer::tool("f", json!({})).then_ends(), "BrokenStream"),
    ] {
        let (error, spent) = fail(answer).await;
        assert_eq!(variant(&error), expect, "{error}");
        assert!(matches!(spent, Spent::AtLeast(tokens) if tokens.prompt > 0), "{error}: {spent:?}");
        assert!(spent.is_open());
        assert_eq!(failure_of(&error).class(), FailureClass::Transient);
    }
}

#[tokio::test]
async fn an_outcome_that_nobody_knows_is_told_as_unknown() {
    for (answer, expect) in [
        (Answer::cut(), "Unreachable"),
        (Answer::reset(), "Unreachable"),
        (Answer::refused(502, "bad gateway"), "ServerError"),
        (Answer::raw(502, "<html>bad gateway</html>"), "Unreachable"),
        (Answer::raw(504, "<html>timeout</html>"), "Unreachable"),
        (Answer::refused(504, "timeout"), "ServerError"),
        (Answer::not_http(), "Protocol"),
        (Answer::garbage(), "Protocol"),
        (Answer::raw(200, "{\"hello\":\"world\"}"), "Protocol"),
        (Answer::raw(200, ""), "BrokenStream"),
    ] {
        let (error, spent) = fail(answer).await;
        assert_eq!((variant(&error).as_str(), bought(spent)), (expect, "unknown"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_never_was_buys_nothing() {
    let server = AnthropicServer::start();
    server.refuse();
    let billed = buy(&server, &request()).await;
    let error = billed.outcome.unwrap_err();
    assert_eq!((variant(&error).as_str(), bought(billed.bill.spent)), ("Unreachable", "nothing"), "{error}");
    server.back();
    assert!(ask(&server, &request()).await.is_ok());
    let client = client("http://no-such-host.invalid");
    let billed = client.chat_billed(&request(), &NoNotices).await;
    assert_eq!((variant(&billed.outcome.unwrap_err()).as_str(), bought(billed.bill.spent)), ("Unreachable", "nothing"));
}

#[tokio::test]
async fn each_limit_of_time_has_its_variant() {
    let started = Instant::now();
    let (error, spent) = fail_with(Answer::hang(), &limited(200, 20_000, 60_000)).await;
    assert_eq!((variant(&error).as_str(), bought(spent)), ("NoFirstToken", "unknown"), "{error}");
    let (error, spent) = fail_with(Answer::empty().then_hangs(), &limited(300, 20_000, 60_000)).await;
    assert_eq!((variant(&error).as_str(), bought(spent)), ("NoFirstToken", "at least"), "a start is no token: {error}");
    let (error, spent) = fail_with(Answer::text("so far").then_hangs(), &limited(20_000, 300, 60_000)).await;
    assert_eq!((variant(&error).as_str(), bought(spent)), ("Silent", "at least"), "{error}");
    let (error, spent) = fail_with(Answer::endless(), &limited(20_000, 20_000, 400)).await;
    assert_eq!((variant(&error).as_str(), bought(spent)), ("TooSlow", "at least"), "{error}");
    let (error, _) = fail_with(Answer::endless_line(), &limited(500, 500, 1_000)).await;
    assert!(matches!(variant(&error).as_str(), "BrokenStream" | "TooSlow" | "NoFirstToken"), "{error}");
    let gate = Gate::new();
    let (error, spent) = fail_with(Answer::text("late").behind(&gate), &limited(200, 200, 200)).await;
    assert_eq!((variant(&error).as_str(), bought(spent)), ("NoFirstToken", "unknown"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn no_fault_tells_the_key() {
    for answer in [
        Answer::refused(401, format!("invalid key {KEY}")),
        Answer::raw(500, format!("{KEY} and more")),
        Answer::text("x").then_error(&format!("bad {KEY}")),
        Answer::raw(200, format!("{{\"key\":\"{KEY}\"}}")),
    ] {
        let (error, _) = fail(answer).await;
        let failure = failure_of(&error);
        assert!(!format!("{error} {error:?} {failure:?}").contains("sk-ant"), "{error}");
    }
}
