//! The judge from outside: the official Python client and raw requests against this server, all 24 checks.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Answer, AnthropicServer};
use crate::tool::{repository, test_tools};

/// A 429 as the interface sends it.
fn limited() -> Answer {
    Answer::refused(429, "This request would exceed your organization's rate limit")
        .header("retry-after", "1")
        .header("anthropic-ratelimit-requests-limit", "1000")
        .header("anthropic-ratelimit-requests-remaining", "0")
        .header("anthropic-ratelimit-requests-reset", "2026-11-26T10:00:30Z")
}

#[test]
fn the_official_client_finds_nothing_that_the_real_server_would_not_say() {
    let server = AnthropicServer::setup().key("sk-ant-test").start();
    let (was_limited, was_overloaded) = (AtomicBool::new(false), AtomicBool::new(false));
    server.respond(move |asked| match asked.last() {
        "USE_TOOL" if asked.last_role() == "user" => {
            Answer::text("I look. ").thinking("Which city?").call("get_weather", json!({ "city": "Oslo" }))
        }
        "ALWAYS_429" => limited(),
        "ONE_429" if !was_limited.swap(true, Ordering::SeqCst) => limited(),
        "SPEND_CAP" => Answer::spend_cap(),
        "ALWAYS_529" => Answer::overloaded(),
        "ONE_529" if !was_overloaded.swap(true, Ordering::SeqCst) => Answer::overloaded(),
        "ALWAYS_500" => Answer::refused(500, "Internal server error"),
        "TOO_LARGE" => Answer::refused(413, "Request exceeds the maximum size"),
        "MIDSTREAM" => Answer::text("so far, so good").then_error("Overloaded"),
        "REFUSE" => Answer::text("I ").then_declines("cyber", "This could be misused."),
        _ if asked.schema.is_some() => Answer::text(r#"{"verdict": "right", "feedback": "none"}"#),
        _ => Answer::text("Hello. It is cold in Oslo.").thinking("A greeting."),
    });

    let done = Command::new(test_tools().join("anthropic/bin/python"))
        .arg(repository().join("tests/conformance/anthropic/anthropic_check.py"))
        .args(["--base-url", &server.url(), "--model", "claude-sonnet-5-5", "--api-key", "sk-ant-test"])
        .args(["--bad-key", "sk-ant-bad", "--tool-prompt", "USE_TOOL", "--refusal-prompt", "REFUSE"])
        .args(["--once-429-prompt", "ONE_429", "--always-429-prompt", "ALWAYS_429", "--spend-cap-prompt", "SPEND_CAP"])
        .args(["--once-529-prompt", "ONE_529", "--always-529-prompt", "ALWAYS_529"])
        .args(["--always-500-prompt", "ALWAYS_500", "--too-large-prompt", "TOO_LARGE"])
        .args(["--midstream-prompt", "MIDSTREAM", "--schema", "--timeout", "20"])
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("ANTHROPIC_AUTH_TOKEN")
        .env_remove("ANTHROPIC_BASE_URL")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let count = |word: &str| told.lines().filter(|line| line.starts_with(word)).count();
    let figures = (count("PASS "), count("FAIL "), count("SKIP "));
    assert_eq!(figures, (24, 0, 0), "{told}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success());
}
