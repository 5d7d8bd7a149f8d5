//! The judge from outside: the official Python client and raw requests against this server, all 25 checks.

use std::process::Command;

use serde_json::json;

use super::{Answer, Model, ModelServer};
use crate::tool::{repository, test_tools};

#[test]
fn the_official_client_finds_nothing_that_the_real_server_would_not_say() {
    let server = ModelServer::start([
        Model::new("m1"),
        Model::new("notools").can(&["completion"]),
        Model::new("busy"),
        Model::new("crash"),
        Model::new("mid"),
        Model::new("m2").not_installed(),
    ]);
    server.respond("m1", |asked| match (asked.tool_names().as_slice(), asked.last_role(), asked.nth % 2) {
        (["get_weather"], "user", even) => {
            let answer = Answer::tool("get_weather", json!({ "city": "Oslo" }));
            // Both moments at which the real server sends calls.
            if even == 0 { answer } else { answer.calls_last() }
        }
        _ if asked.schema.is_some() => Answer::text(r#"{"verdict": "right", "score": 10}"#),
        _ => Answer::text("Hello. It is cold in Oslo."),
    });
    server.always("busy", Answer::busy());
    server.always("crash", Answer::crashed());
    server.always(
        "mid",
        Answer::text("so far, so").then_error("an error was encountered while running the model: unexpected EOF"),
    );

    let done = Command::new(test_tools().join("ollama/bin/python"))
        .arg(repository().join("tests/conformance/ollama/ollama_check.py"))
        .args(["--base-url", &server.url(), "--model", "m1", "--no-tools-model", "notools", "--busy-model", "busy"])
        .args(["--crash-model", "crash", "--midstream-model", "mid", "--pull-model", "m2"])
        .args(["--tool-prompt", "weather in Oslo?", "--schema", "--timeout", "20"])
        .env_remove("OLLAMA_API_KEY")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    let count = |word: &str| told.lines().filter(|line| line.starts_with(word)).count();
    let figures = (count("PASS "), count("FAIL "), count("SKIP "));
    assert_eq!(figures, (25, 0, 0), "{told}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success());
}
