//! `tools: {"server.tool": {repeat, files}}` in a configuration: what a server says of itself is corrected.

use super::*;

const RETRY: &str = "retry: { transient: 3, backoff: 10ms..20ms }";

fn dying(corrections: &Value) -> Bench {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    bench.config(&json!({ "mcpServers": { "log": log }, "tools": corrections }));
    let mark = bench.project("mark").display().to_string();
    bench.steps(&format!("  - {{ id: a, {RETRY}, tool: log.die_once, with: {{ mark: {mark} }} }}\n"));
    bench
}

#[test]
fn the_repeat_class_decides_whether_a_killed_call_is_repeated_or_in_doubt() {
    // As the server says: it only reads, so the call is made again.
    let bench = dying(&json!({}));
    bench.run(&[]).exits(0);
    assert_eq!(bench.calls().len(), 2);
    let keys: Vec<_> = bench.calls().iter().map(|call| call["key"].clone()).collect();
    assert_eq!(keys[0], keys[1], "a repeated call has the same key");

    // The person knows better.
    let bench = dying(&json!({ "log.die_once": { "repeat": "unsafe" } }));
    bench.run(&[]).exits(4).says("told to die once");
    assert_eq!(bench.calls().len(), 1);
    let inbox = bench.ollmcp(["inbox", "--json"]).exits(0).json();
    let id = inbox["asks"][0]["id"].as_str().unwrap().to_owned();
    // Still in doubt at the next start, and never called by itself.
    bench.ollmcp(["--config", "servers.json", "resume"]).exits(4);
    assert_eq!(bench.calls().len(), 1);
    bench.ollmcp(["answer", &id, "again"]).exits(0);
    bench.ollmcp(["--config", "servers.json", "resume"]).exits(0);
    assert_eq!(bench.calls().len(), 2);
}

#[test]
fn a_correction_makes_an_unannotated_tool_repeatable() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    bench.config(&json!({ "mcpServers": { "log": log }, "tools": { "log.die": { "repeat": "idempotent" } } }));
    bench.steps(&format!("  - {{ id: a, {RETRY}, tool: log.die }}\n"));
    let told = bench.run(&[]).exits(1);
    told.says("exit code 7").says("the server was told to die");
    assert_eq!(bench.calls().len(), 4, "one call and three repetitions");
    bench.ollmcp(["--config", "servers.json", "tools", "log"]).exits(0).says("idempotent  test tool die");
}

#[test]
fn files_named_in_a_correction_count_by_their_content() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    let config = |tools: Value| bench.config(&json!({ "mcpServers": { "log": log }, "tools": tools }));
    bench.file("data.txt", "one");
    bench.steps("  - { id: a, for_each: [ data.txt ], tool: log.echo, with: { path: \"${{ item }}\" } }\n");
    let ran = || {
        let report = bench.run(&[]).exits(0).json();
        (step(&report, "a")["reused"].as_u64().unwrap(), bench.calls().len())
    };
    config(json!({}));
    assert_eq!(ran(), (0, 1));
    bench.file("data.txt", "two");
    assert_eq!(ran(), (1, 1), "an argument that nobody called a file is a text");

    config(json!({ "log.echo": { "files": ["path"] } }));
    let (_, before) = ran();
    assert_eq!(ran(), (1, before), "the same content");
    bench.file("data.txt", "three");
    assert_eq!(ran(), (0, before + 1), "other content");
    bench.file("data.txt", "two");
    assert_eq!(ran(), (1, before + 1), "content that was seen before");
}

#[test]
fn tools_that_are_switched_off_are_neither_listed_nor_called() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    bench.config(&json!({ "mcpServers": { "log": log }, "disabledTools": ["log.send", "fs.delete"] }));
    let listed = bench.ollmcp(["--config", "servers.json", "tools"]).exits(0);
    listed.says("log.echo").says("fs.list").hides("log.send").hides("fs.delete");
    bench.ollmcp(["--config", "servers.json", "call", "log.send", "to=x"]).exits(2).says("has no tool `send`");
    assert!(bench.calls().is_empty());
}
