//! The tool client on real servers: every way a call can end, what a server gets to see, and that nothing stays behind.
//!
//! `tests/tools/call_log_server.py` plays the faults and keeps the call log, the judge of what really ran.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, as the tests themselves do")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ollmcp::domain::plan::RepeatClass;
use ollmcp::os::process_group;
use ollmcp::tool::connection::Connection;
use ollmcp::tool::pool::{ServerState, Servers};
use ollmcp::tool::spec::ServerSpec;
use ollmcp::tool::{ToolBox, ToolCall, ToolError};
use serde_json::{Value, json};

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of foreign servers, installed on first use.
pub(crate) fn test_tools() -> PathBuf {
    static ONCE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| {
        let folder = std::env::var_os("OLLMCP_TEST_TOOLS").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| repository().join("target/test-tools"));
        let done = std::process::Command::new(repository().join("tests/setup.sh")).arg(&folder).output().unwrap();
        assert!(done.status.success(), "tests/setup.sh: {}", String::from_utf8_lossy(&done.stderr));
        folder.canonicalize().unwrap()
    })
    .clone()
}

/// A call-log server and the folder with its log.
struct Fixture {
    folder: tempfile::TempDir,
    spec: ServerSpec,
}

impl Fixture {
    fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = repository().join("tests/tools/call_log_server.py").display().to_string();
        let mut args = vec![script.as_str()];
        args.extend(options);
        let mut spec = ServerSpec::new("log", "python3", &args);
        spec.env.insert("CALL_LOG".into(), folder.path().join("calls").display().to_string());
        Self { folder, spec }
    }

    async fn start(&self) -> Connection {
        Connection::start(self.spec.clone()).await.unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Tools that really ran, in order.
    fn ran(&self) -> Vec<String> {
        self.lines("calls").iter().map(|line| line["tool"].as_str().unwrap().to_owned()).collect()
    }
}

fn call(tool: &str, arguments: Value) -> ToolCall {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let (server, tool) = ("log".to_owned(), tool.to_owned());
    ToolCall { server, tool, arguments, call_key: "run-1/step/0".into(), timeout_ms: 20_000, staging: None }
}

fn within(call: ToolCall, timeout_ms: u64) -> ToolCall {
    ToolCall { timeout_ms, ..call }
}

/// Waits until something holds; the limit only bounds a failing test.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_alive(pid: u32) -> bool {
    !process_group::family(pid, "").is_empty()
}

#[tokio::test]
async fn a_call_gives_the_structured_result_and_carries_its_key() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let arguments = json!({ "row": { "a": [1, null, "ü"] } });
    let result = connection.call(&call("add_row", arguments.clone())).await.unwrap();
    assert_eq!(result.value, json!({ "done": "add_row" }));
    let log = fixture.lines("calls");
    assert_eq!(log.len(), 1);
    assert_eq!(log[0]["key"], "run-1/step/0");
    assert_eq!(log[0]["arguments"], arguments);
    connection.close().await;
}

#[tokio::test]
async fn repeat_classes_come_from_annotations_and_missing_ones_mean_unsafe() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let tools = connection.tools().await.unwrap();
    let class = |name: &str| tools.iter().find(|tool| tool.name == name).unwrap().repeat;
    assert_eq!(class("echo"), RepeatClass::Read);
    assert_eq!(class("add_row"), RepeatClass::Idempotent);
    assert_eq!(class("send"), RepeatClass::Unsafe);
}

#[tokio::test]
async fn an_unknown_tool_and_wrong_arguments_are_refused_before_anything_is_sent() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let unknown = connection.call(&call("ecko", json!({}))).await.unwrap_err();
    assert!(matches!(&unknown, ToolError::UnknownTool { tool, known, .. } if tool == "ecko" && known.len() > 10));
    let wrong = connection.call(&call("slow", json!({ "seconds": "2", "other": 1 }))).await.unwrap_err();
    let ToolError::BadArguments { tool, message } = wrong else { panic!("{wrong}") };
    assert_eq!(tool, "log.slow");
    assert!(message.contains("`seconds`") && message.contains("other"), "{message}");
    assert_eq!(fixture.ran(), [""; 0]);
}

#[tokio::test]
async fn all_shapes_of_reported_failure_become_one() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let arguments = json!({ "message": "no table on page 3", "reason": "unworkable" });
    assert_eq!(
        connection.call(&call("fail", arguments)).await,
        Err(ToolError::Reported { message: "no table on page 3".into(), reason: Some("unworkable".into()) })
    );
    for (tool, words) in [("protocol_error", "internal trouble"), ("soft_error", "it did not work")] {
        let error = connection.call(&call(tool, json!({}))).await.unwrap_err();
        assert!(matches!(&error, ToolError::Reported { message, reason: None } if message.contains(words)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_call_is_reported_with_its_exit_code_and_last_words() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let error = connection.call(&call("die", json!({}))).await.unwrap_err();
    let ToolError::Died { server, message } = error else { panic!("{error}") };
    assert_eq!(server, "log");
    assert!(message.contains("exit code 7") && message.contains("was told to die"), "{message}");
    assert_eq!(fixture.ran(), ["die"]);
    let after = connection.call(&call("echo", json!({}))).await.unwrap_err();
    assert!(matches!(after, ToolError::NotStarted { .. }), "{after}");
    assert_eq!(fixture.ran(), ["die"], "nothing was sent to the dead server");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    for (command, options, words) in [
        ("python3", &["--die-at-start"][..], &["exit code 3", "SETTINGS is not set"][..]),
        ("no-such-program-at-all", &[], &["no-such-program-at-all", "not found"]),
        ("python3", &["--silent"], &["no answer within 3000 ms", "I do not speak"]),
        ("python3", &["--many-tools", "1500"], &["more than 1000 tools"]),
    ] {
        let mut spec = Fixture::new(options).spec;
        spec.command = command.into();
        if options == ["--silent"] {
            spec.start_timeout_ms = 3_000;
        }
        let error = Connection::start(spec).await.unwrap_err();
        let ToolError::NotStarted { message, .. } = &error else { panic!("{error}") };
        assert!(words.iter().all(|word| message.contains(word)), "{options:?}: {message}");
    }
    let mut spec = Fixture::new(&[]).spec;
    spec.cwd = Some("/no/such/folder".into());
    let error = Connection::start(spec).await.unwrap_err();
    assert!(error.to_string().contains("`/no/such/folder` does not exist"), "{error}");
}

#[tokio::test]
async fn a_start_that_runs_out_of_time_leaves_no_process_behind() {
    let mut fixture = Fixture::new(&["--silent"]);
    fixture.spec.start_timeout_ms = 500;
    fixture.spec.env.insert("MARK".into(), fixture.path().display().to_string());
    let mark = format!("MARK={}", fixture.path().display());
    Connection::start(fixture.spec.clone()).await.unwrap_err();
    eventually("the end of the silent server", || count_processes_with(&mark) == 0).await;
}

/// Processes of ours that have this text in their environment.
fn count_processes_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|all| all.split(|&byte| byte == 0).any(|one| one == text.as_bytes())).count()
}

#[tokio::test]
async fn a_call_out_of_time_ends_and_the_server_is_told() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let error = connection.call(&within(call("hang", json!({})), 300)).await.unwrap_err();
    assert_eq!(error, ToolError::Timeout { server: "log".into(), tool: "hang".into(), limit_ms: 300 });
    eventually("the cancel notice", || fixture.lines("calls.cancelled").len() == 1).await;
    let result = connection.call(&call("echo", json!({ "still": "there" }))).await.unwrap();
    assert_eq!(result.value, json!({ "still": "there" }));
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let hang = call("hang", json!({}));
    let dropped = tokio::time::timeout(Duration::from_millis(200), connection.call(&hang)).await;
    assert!(dropped.is_err());
    eventually("the cancel notice", || fixture.lines("calls.cancelled").len() == 1).await;
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn progress_restarts_the_idle_limit_but_not_the_limit_of_the_call() {
    let mut fixture = Fixture::new(&[]);
    fixture.spec.idle_timeout_ms = Some(800);
    let connection = fixture.start().await;
    let slow = |progress: bool| call("slow", json!({ "seconds": 1.6, "progress": progress }));
    let timed_out = |outcome: Result<_, ToolError>| matches!(outcome, Err(ToolError::Timeout { .. }));
    assert!(connection.call(&slow(true)).await.is_ok(), "progress keeps the call alive");
    assert!(timed_out(connection.call(&slow(false)).await), "silence does not");
    assert!(timed_out(connection.call(&within(slow(true), 1_200)).await), "the whole call has a limit all the same");
}

#[tokio::test]
async fn sixty_four_calls_run_on_one_connection() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let calls: Vec<ToolCall> = (0..64).map(|at| call("echo", json!({ "at": at }))).collect();
    let results = futures::future::join_all(calls.iter().map(|one| connection.call(one))).await;
    for (at, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap().value, json!({ "at": at }));
    }
    assert_eq!(fixture.ran().len(), 64);
}

/// The variables are set in a parent of its own, so that no other test sees them.
#[test]
fn a_server_gets_a_small_environment_and_no_key_of_its_parent() {
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tool::child_prints_what_a_server_sees", "--nocapture"])
        .env("ANTHROPIC_API_KEY", "sk-ant-of-the-parent")
        .env("PASSED_BY_NAME", "yes")
        .env("OLLMCP_CHILD_TEST", "environment")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    let seen = text.lines().find_map(|line| line.split_once("seen by a server: "));
    let seen: Value = serde_json::from_str(seen.expect(&text).1).unwrap();
    let names: Vec<&str> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(names.contains(&"PATH") && names.contains(&"CALL_LOG"), "{names:?}");
    assert_eq!(seen["PASSED_BY_NAME"], "yes");
    for name in ["ANTHROPIC_API_KEY", "OLLMCP_CHILD_TEST", "OLLMCP_SPILL_DIR"] {
        assert!(!names.contains(&name), "{names:?}");
    }
    assert!(!text.contains("sk-ant-of-the-parent"), "{text}");
}

#[tokio::test]
async fn child_prints_what_a_server_sees() {
    if std::env::var_os("OLLMCP_CHILD_TEST").is_none_or(|said| said != "environment") {
        return;
    }
    let mut fixture = Fixture::new(&[]);
    fixture.spec.env_passed = vec!["PASSED_BY_NAME".into()];
    let connection = fixture.start().await;
    println!("\nseen by a server: {}", connection.call(&call("environment", json!({}))).await.unwrap().value);
    connection.close().await;
}

#[tokio::test]
async fn secrets_given_to_a_server_do_not_come_back() {
    let mut fixture = Fixture::new(&[]);
    fixture.spec.env.insert("SERVICE_TOKEN".into(), "tok-0123456789".into());
    let connection = fixture.start().await;
    let seen = connection.call(&call("environment", json!({}))).await.unwrap().value;
    assert_eq!(seen["SERVICE_TOKEN"], "***");
    let error = connection.call(&call("fail", json!({ "message": "bad tok-0123456789" }))).await.unwrap_err();
    assert_eq!(error.to_string(), "bad ***");
}

#[tokio::test]
async fn grandchildren_are_dead_after_close_even_of_a_server_that_ignores_everything() {
    for options in [&[][..], &["--ignore-term", "--ignore-eof"]] {
        let fixture = Fixture::new(options);
        let connection = fixture.start().await;
        let mut pids = vec![connection.pid()];
        for detach in [false, true] {
            let made = connection.call(&call("spawn_child", json!({ "detach": detach }))).await.unwrap();
            pids.push(u32::try_from(made.value["pid"].as_u64().unwrap()).unwrap());
        }
        assert!(pids.iter().all(|&pid| is_alive(pid)), "{pids:?}");
        let began = Instant::now();
        connection.close().await;
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        eventually("the end of all processes", || !pids.iter().any(|&pid| is_alive(pid))).await;
    }
}

#[tokio::test]
async fn a_dropped_connection_leaves_no_process_behind() {
    let fixture = Fixture::new(&["--ignore-term", "--ignore-eof"]);
    let connection = fixture.start().await;
    let made = connection.call(&call("spawn_child", json!({ "detach": true }))).await.unwrap();
    let pids = [connection.pid(), u32::try_from(made.value["pid"].as_u64().unwrap()).unwrap()];
    drop(connection);
    eventually("the end of all processes", || !pids.iter().any(|&pid| is_alive(pid))).await;
}

#[tokio::test]
async fn a_server_dies_with_a_parent_that_was_killed() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tool::child_starts_a_server_and_is_killed", "--nocapture"])
        .env("OLLMCP_CHILD_TEST", "kill")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let pid = text.split("server pid ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a pid");
    let pid: u32 = pid.parse().unwrap();
    eventually("the end of the server", || !is_alive(pid)).await;
}

#[tokio::test]
async fn child_starts_a_server_and_is_killed() {
    if std::env::var_os("OLLMCP_CHILD_TEST").is_none_or(|said| said != "kill") {
        return;
    }
    // The harness's own pipe must not keep the parent waiting, so the server's end is what ends the output.
    let fixture = Fixture::new(&["--ignore-term", "--ignore-eof"]);
    let connection = fixture.start().await;
    println!("server pid {} ", connection.pid());
    std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_flood_on_standard_error_blocks_nobody() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let result = connection.call(&call("chatter", json!({ "bytes": 3_000_000 }))).await.unwrap();
    assert_eq!(result.value, json!({ "written": 3_000_000 }));
    eventually("the tail", || connection.stderr_tail().len() == 64 * 1024).await;
}

#[tokio::test]
async fn a_result_over_the_limit_of_a_line_fails_at_once_and_the_next_call_works() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let large = connection.call(&call("flood", json!({ "bytes": 15_000_000 }))).await.unwrap();
    assert_eq!(large.value["text"].as_str().unwrap().len(), 15_000_000);
    let began = Instant::now();
    let error = connection.call(&call("flood", json!({ "bytes": 18_000_000 }))).await.unwrap_err();
    assert!(matches!(&error, ToolError::Reported { reason: Some(reason), .. } if reason == "too_large"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "it must not wait for the timeout");
    assert!(connection.call(&call("echo", json!({}))).await.is_ok());
}

#[tokio::test]
async fn a_spilled_result_is_taken_from_its_folder_and_from_nowhere_else() {
    let mut fixture = Fixture::new(&[]);
    let folder = fixture.path().join("spill");
    fixture.spec.spill_dir = Some(folder.clone());
    let connection = fixture.start().await;
    let value = json!({ "files": vec!["a"; 100_000] });
    let spill = |name: &str, value: Value| call("spill", json!({ "name": name, "value": value }));
    assert_eq!(connection.call(&spill("r.json", value.clone())).await.unwrap().value, value);
    std::fs::write(fixture.path().join("secret.json"), "{}").unwrap();
    let outside = call("spill", json!({ "name": "../../secret.json" }));
    let error = connection.call(&outside).await.unwrap_err();
    assert!(error.to_string().contains("outside its folder"), "{error}");
    connection.close().await;
    drop(connection);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "the folder of the connection is removed");
}

#[tokio::test]
async fn a_foreign_server_cannot_name_files() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let result = connection.call(&call("spill", json!({ "name": "../etc/passwd" }))).await.unwrap();
    assert_eq!(result.value, json!({ "spilled": true }));
}

#[tokio::test]
async fn servers_of_both_eras_and_talkative_ones_are_greeted() {
    for options in [&["--modern-only"][..], &["--garbage"]] {
        let fixture = Fixture::new(options);
        let connection = fixture.start().await;
        let result = connection.call(&call("echo", json!({ "a": 1 }))).await.unwrap();
        assert_eq!(result.value, json!({ "a": 1 }), "{options:?}");
    }
}

#[tokio::test]
async fn a_changed_list_of_tools_is_read_again() {
    let fixture = Fixture::new(&[]);
    let connection = fixture.start().await;
    let late = call("late", json!({}));
    assert!(matches!(connection.call(&late).await, Err(ToolError::UnknownTool { .. })));
    connection.call(&call("new_tool", json!({}))).await.unwrap();
    assert!(connection.call(&late).await.is_ok());
}

#[tokio::test]
async fn the_pool_starts_a_dead_server_again_and_repeats_no_call() {
    let fixture = Fixture::new(&[]);
    let servers = Servers::new([fixture.spec.clone()]);
    assert_eq!(servers.status()[0].state, ServerState::Idle);
    assert!(servers.call(&call("echo", json!({}))).await.is_ok());
    let first = servers.status()[0].pid.unwrap();
    assert!(matches!(servers.call(&call("die", json!({}))).await, Err(ToolError::Died { .. })));
    assert_eq!(servers.status()[0].state, ServerState::Dead);
    assert!(servers.call(&call("echo", json!({}))).await.is_ok());
    let status = servers.status().remove(0);
    assert_eq!((status.state, status.restarts, status.in_flight), (ServerState::Running, 1, 0));
    assert_ne!(status.pid, Some(first));
    assert_eq!(fixture.ran(), ["echo", "die", "echo"], "the call in which it died was not made again");
    servers.close_all().await;
    assert!(matches!(servers.call(&call("echo", json!({}))).await, Err(ToolError::NotStarted { .. })));
}

#[tokio::test]
async fn a_server_that_was_killed_between_calls_is_started_again_without_an_error() {
    let fixture = Fixture::new(&[]);
    let servers = Servers::new([fixture.spec.clone()]);
    servers.tools("log").await.unwrap();
    let pid = servers.status()[0].pid.unwrap();
    process_group::signal_group(pid, process_group::Signal::Kill);
    eventually("its end", || servers.status()[0].state == ServerState::Dead).await;
    assert!(servers.call(&call("send", json!({ "to": "a" }))).await.is_ok());
    assert_eq!(fixture.ran(), ["send"]);
}

#[tokio::test]
async fn a_server_that_dies_too_often_is_given_up_for_a_while() {
    let fixture = Fixture::new(&["--die-at-start"]);
    let servers = Servers::new([fixture.spec.clone()]);
    let mut last = String::new();
    for _ in 0..6 {
        let error = servers.tools("log").await.unwrap_err();
        let ToolError::NotStarted { message, .. } = error else { panic!("{error}") };
        last = message;
    }
    assert!(last.contains("given up after 5 deaths in 60 s") && last.contains("SETTINGS is not set"), "{last}");
    assert_eq!(servers.status()[0].state, ServerState::GivenUp);
}

#[tokio::test]
async fn a_frozen_server_is_replaced_before_the_next_call() {
    let fixture = Fixture::new(&[]);
    let servers = Servers::new([fixture.spec.clone()]);
    let frozen = servers.call(&within(call("freeze", json!({})), 300)).await;
    assert!(matches!(frozen, Err(ToolError::Timeout { .. })));
    assert!(servers.call(&call("send", json!({ "to": "a" }))).await.is_ok());
    assert_eq!(fixture.ran(), ["freeze", "send"]);
    assert_eq!(servers.status()[0].restarts, 1);
}

#[tokio::test]
async fn many_first_calls_start_one_server() {
    let fixture = Fixture::new(&[]);
    let servers = Arc::new(Servers::new([fixture.spec.clone()]));
    let calls: Vec<ToolCall> = (0..64).map(|at| call("echo", json!({ "at": at }))).collect();
    let results = futures::future::join_all(calls.iter().map(|one| servers.call(one))).await;
    assert!(results.iter().all(Result::is_ok));
    let pids: std::collections::BTreeSet<u64> =
        fixture.lines("calls").iter().map(|line| line["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 1);
    servers.close_all().await;
}

#[tokio::test]
async fn unknown_and_refused_servers_are_told_apart() {
    let servers = Servers::new([Fixture::new(&[]).spec]).with_refused([("web".to_owned(), "no http yet".to_owned())]);
    let ask = async |name: &str| servers.tools(name).await.unwrap_err();
    assert_eq!(
        ask("nope").await,
        ToolError::UnknownServer { server: "nope".into(), known: vec!["log".into(), "web".into()] }
    );
    assert_eq!(ask("web").await, ToolError::NotStarted { server: "web".into(), message: "no http yet".into() });
    assert_eq!(servers.split("log.a.b"), Some(("log", "a.b")));
    assert_eq!(servers.split("other.a"), None);
}

#[tokio::test]
async fn the_proxy_counts_calls_and_changes_nothing() {
    let fixture = Fixture::new(&[]);
    let log = fixture.path().join("proxy");
    let mut spec = fixture.spec.clone();
    let proxy = repository().join("tests/tools/logging_proxy.py").display().to_string();
    let behind = std::mem::take(&mut spec.args);
    spec.args = vec![proxy, log.display().to_string(), "python3".into()].into_iter().chain(behind).collect();
    let connection = Connection::start(spec).await.unwrap();
    for at in 0..3 {
        connection.call(&call("echo", json!({ "at": at }))).await.unwrap();
    }
    let fail = connection.call(&call("fail", json!({ "message": "m", "reason": "unworkable" }))).await;
    assert_eq!(fail, Err(ToolError::Reported { message: "m".into(), reason: Some("unworkable".into()) }));
    let lines = fixture.lines("proxy");
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2], json!({ "tool": "echo", "key": "run-1/step/0", "arguments": { "at": 2 } }));
    assert_eq!(fixture.ran().len(), 4);
    connection.close().await;
}

#[tokio::test]
async fn a_server_from_pypi_works() {
    let program = test_tools().join("venv/bin/mcp-server-time");
    let connection =
        Connection::start(ServerSpec::new("time", program.to_str().unwrap(), &["--local-timezone", "UTC"]))
            .await
            .unwrap();
    let arguments = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let result = connection.call(&call("convert_time", arguments)).await.unwrap();
    assert_eq!(result.value["time_difference"], "+9.0h", "{}", result.value);
    let bad = json!({ "source_timezone": "Nowhere/Land", "time": "12:00", "target_timezone": "UTC" });
    let error = connection.call(&call("convert_time", bad)).await.unwrap_err();
    assert!(matches!(error, ToolError::Reported { .. }), "{error}");
    connection.close().await;
}

#[tokio::test]
async fn a_server_from_npm_works() {
    let program = test_tools().join("npm/node_modules/.bin/mcp-server-filesystem");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::write(folder.join("a.txt"), "hello from a file").unwrap();
    let spec = ServerSpec::new("files", program.to_str().unwrap(), &[folder.to_str().unwrap()]);
    let connection = Connection::start(spec).await.unwrap();
    let read = |path: &str| call("read_text_file", json!({ "path": path }));
    let result = connection.call(&read(folder.join("a.txt").to_str().unwrap())).await.unwrap();
    assert!(result.value.to_string().contains("hello from a file"), "{}", result.value);
    assert!(matches!(connection.call(&read("/etc/passwd")).await, Err(ToolError::Reported { .. })));
    connection.close().await;
}

#[tokio::test]
async fn a_server_made_with_the_official_sdk_works() {
    let python = test_tools().join("venv/bin/python");
    let script = repository().join("tests/tools/sdk_server.py");
    let spec = ServerSpec::new("sdk", python.to_str().unwrap(), &[script.to_str().unwrap()]);
    let connection = Connection::start(spec).await.unwrap();
    let result = connection.call(&call("add", json!({ "left": 2, "right": 3 }))).await.unwrap();
    assert_eq!(result.value, json!({ "result": 5 }));
    let error = connection.call(&call("fail", json!({ "message": "x" }))).await.unwrap_err();
    assert!(matches!(error, ToolError::Reported { .. }), "{error}");
    connection.close().await;
}
