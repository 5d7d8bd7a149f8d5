//! Hostile and broken servers under a plan: each costs its own step, says why, and leaves nothing behind.

use super::*;
use ollmcp::os::process_group;

const RETRY: &str = "retry: { transient: 3, backoff: 10ms..20ms }";

fn is_alive(pid: u64) -> bool {
    !process_group::family(u32::try_from(pid).unwrap(), "").is_empty()
}

#[test]
fn a_hanging_call_is_out_of_time_and_the_server_is_told() {
    let bench = Bench::with_log(&[]);
    bench.steps(
        "
  - { id: hangs, timeout: 500ms, tool: log.hang }
  - { id: after, tool: log.echo, with: { x: 1 }, done_when: [ \"output.x == 1\" ] }
",
    );
    let told = bench.run(&[]).exits(1).says("no answer from `log.hang` within");
    assert_eq!(step(&told.json(), "after")["done"], 1);
    eventually("a cancel notice", || !lines(&bench.project("calls.cancelled")).is_empty());
}

#[test]
fn a_server_that_froze_is_replaced_for_the_next_call() {
    let bench = Bench::with_log(&[]);
    bench.steps(
        "
  - { id: freezes, timeout: 500ms, tool: log.freeze }
  - { id: after, if: \"steps.freezes.failed > 0\", tool: log.echo, with: { x: 1 } }
",
    );
    let begun = Instant::now();
    bench.run(&[]).exits(1).says("no answer from `log.freeze` within");
    bench.steps("  - { id: after, tool: log.echo, with: { x: 1 } }\n");
    bench.run(&[]).exits(0);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn stopping_a_run_tells_the_server_and_leaves_no_process() {
    let bench = Bench::with_log(&[]);
    bench.steps("  - { id: hangs, tool: log.hang }\n");
    let mut command = bench.command(["--config", "servers.json", "run", "p.yaml"]);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the call", || bench.calls().len() == 1);
    let server = bench.calls()[0]["pid"].as_u64().unwrap();
    let stopped = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(lines(&bench.project("calls.cancelled")).len(), 1);
    assert!(!is_alive(server), "the server outlived the run");
    bench.ollmcp(["show"]).exits(0).says("interrupted");
}

#[test]
fn a_flood_is_too_large_and_harms_nobody_else() {
    let bench = Bench::with_log(&[]);
    bench.steps(
        "
  - { id: large, tool: log.flood, with: { bytes: 8000000 }, done_when: [ \"output.text | length == 8000000\" ] }
  - { id: flood, tool: log.flood, with: { bytes: 20000000 } }
  - { id: chatter, tool: log.chatter, with: { bytes: 20000000 }, done_when: [ \"output.written == 20000000\" ] }
  - { id: other, tool: log.echo, with: { x: 1 } }
",
    );
    let told = bench.run(&[]).exits(1);
    let report = told.json();
    for id in ["large", "chatter", "other"] {
        assert_eq!(step(&report, id)["done"], 1, "{id}: {report}");
    }
    told.says("16777216").says("too_large");
}

#[test]
fn garbage_on_standard_output_does_no_harm() {
    let bench = Bench::with_log(&["--garbage", "--ignore-term", "--ignore-eof"]);
    bench.steps("  - { id: a, tool: log.echo, with: { x: 1 }, done_when: [ \"output.x == 1\" ] }\n");
    bench.run(&[]).exits(0);
    let server = bench.calls()[0]["pid"].as_u64().unwrap();
    assert!(!is_alive(server), "it did not want to leave, and had to");
}

#[test]
fn all_that_a_server_has_started_is_gone_after_the_run() {
    let bench = Bench::with_log(&[]);
    bench.steps(
        "
  - { id: near, tool: log.spawn_child, with: {} }
  - { id: far, tool: log.spawn_child, with: { detach: true } }
  - { id: pids, value: { near: \"${{ steps.near.output.pid }}\", far: \"${{ steps.far.output.pid }}\" } }
  - { id: seen, needs: [ pids ], tool: log.echo, with: { near: \"${{ steps.near.output.pid }}\", far: \"${{ steps.far.output.pid }}\" } }
",
    );
    bench.run(&[]).exits(0);
    let seen = bench.calls().into_iter().find(|call| call["tool"] == "echo").unwrap();
    for who in ["near", "far"] {
        let pid = seen["arguments"][who].as_u64().unwrap();
        assert!(!is_alive(pid), "{who} is still there as {pid}");
    }
}

#[test]
fn a_server_that_comes_up_at_its_fourth_start_costs_only_time() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    let server = log["args"][0].as_str().unwrap();
    let script = format!(
        "n=$(cat starts 2>/dev/null || echo 0); n=$((n + 1)); echo $n > starts; \
         if [ $n -le 3 ]; then echo 'not yet, I am tired' >&2; exit 4; fi; exec python3 {server}"
    );
    bench.servers(&json!({ "log": { "command": "sh", "args": ["-c", script], "env": log["env"] } }));
    bench.steps(&format!("  - {{ id: a, {RETRY}, tool: log.echo, with: {{ x: 1 }} }}\n"));
    bench.run(&[]).exits(0);
    assert_eq!(fs::read_to_string(bench.project("starts")).unwrap().trim(), "4");
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn a_server_that_cannot_start_is_told_with_its_last_words() {
    let bench = Bench::with_log(&["--die-at-start"]);
    bench.steps(&format!("  - {{ id: a, {RETRY}, tool: log.echo, with: {{ x: 1 }} }}\n"));
    bench.run(&[]).exits(1).says("cannot start tool server `log`").says("SETTINGS is not set").says("exit code 3");
    bench.ollmcp(["show"]).exits(0).says("SETTINGS is not set");
    bench.ollmcp(["--config", "servers.json", "call", "log.echo"]).exits(1).says("SETTINGS is not set");
    bench.ollmcp(["--config", "servers.json", "tools"]).exits(1).says("SETTINGS is not set").says("fs.list");
    bench.ollmcp(["--config", "servers.json", "doctor"]).exits(1).says("SETTINGS is not set");
    bench.servers(&json!({ "log": bench.log_server(&["--silent"]), }));
    let mut silent = bench.log_server(&["--silent"]);
    silent["start_timeout_ms"] = 700.into();
    bench.servers(&json!({ "log": silent }));
    bench
        .ollmcp(["--config", "servers.json", "call", "log.echo"])
        .exits(1)
        .says("no answer within 700 ms")
        .says("I do not speak");
}

#[test]
fn sixty_four_calls_at_once_are_each_made_once() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    bench.config(&json!({ "mcpServers": { "log": log }, "limits": { "attempts_max": 64 } }));
    bench.steps(
        "
  - id: a
    for_each: { range: 64 }
    max_parallel: 64
    tool: log.slow
    with: { seconds: 1 }
",
    );
    let begun = Instant::now();
    let report = bench.run(&[]).exits(0).json();
    assert_eq!(step(&report, "a")["done"], 64);
    // One after the other would take 64 s.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let calls = bench.calls();
    let keys: std::collections::BTreeSet<_> = calls.iter().map(|call| call["key"].to_string()).collect();
    assert_eq!((calls.len(), keys.len()), (64, 64));
}
