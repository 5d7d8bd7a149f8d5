//! The reader of replies on the recorded cases, through the real binary and the scorer that stands beside them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/toolcall_cases")
}

/// `ollmcp debug parse-calls` with this on standard input.
fn parse_calls(input: Vec<u8>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ollmcp"))
        .args(["debug", "parse-calls"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Both pipes may fill up: one thread writes while the other reads.
    let writer = thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn the_recorded_replies_are_read_as_they_were_meant() {
    let folder = cases();
    let input = std::fs::read(folder.join("cases.jsonl")).unwrap();
    let output = parse_calls(input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let dir = tempfile::tempdir().unwrap();
    let predictions = dir.path().join("predictions.jsonl");
    std::fs::write(&predictions, &output.stdout).unwrap();
    let scored = Command::new("python3")
        .arg(folder.join("score.py"))
        .arg(folder.join("cases.jsonl"))
        .arg(&predictions)
        .output()
        .expect("`python3` is one of the programs that the tests need");
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
    let score: Value = serde_json::from_slice(&scored.stdout).unwrap();
    let count = |key: &str| score[key].as_u64().unwrap();
    println!("{score:#}");
    assert_eq!(count("ran_what_was_no_call"), 0, "{score:#}");
    assert_eq!(count("wrong_call"), 0, "{score:#}");
    assert_eq!(count("missing"), 0, "{score:#}");
    assert!(count("right") * 100 >= count("n") * 95, "{score:#}");
}

#[test]
fn a_bad_line_is_named_and_the_others_are_answered() {
    let input = concat!(
        r#"{"id": "a", "raw_text": "{\"name\": \"read\", \"arguments\": {\"path\": \"x\"}}", "#,
        r#""available_tools": [{"name": "read", "parameters": {"path": "string"}, "required": ["path"]}]}"#,
        "\nnot JSON\n\n",
        r#"{"id": 7, "raw_text": "Done."}"#,
        "\n",
        r#"{"raw_text": "no id"}"#,
        "\n",
    );
    let output = parse_calls(input.as_bytes().to_vec());
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            serde_json::json!({"id": "a", "calls": [{"name": "read", "args": {"path": "x"}}]}),
            serde_json::json!({"id": 7, "unparseable": true}),
        ]
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("line 2: ") && told.contains("line 5: "), "{told}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn bytes_that_are_no_text_are_a_bad_line() {
    let output = parse_calls(b"\xff\xfe\n".to_vec());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("line 1: "));
}
