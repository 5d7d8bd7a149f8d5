//! Servers of others, one from PyPI and one from npm, declared as people paste them.

use super::*;

/// The two foreign servers; the second may touch the project folder.
fn servers(bench: &Bench) -> Value {
    json!({
        "time": {
            "command": test_tools().join("venv/bin/mcp-server-time"),
            "args": ["--local-timezone", "Europe/Berlin"]
        },
        "files": {
            "command": test_tools().join("npm/node_modules/.bin/mcp-server-filesystem"),
            "args": [bench.base.join("project")]
        },
    })
}

#[test]
fn servers_from_pypi_and_npm_work_in_a_plan() {
    let bench = Bench::new();
    bench.servers(&servers(&bench));
    let path = bench.project("out.txt").display().to_string();
    // Two zones without summer time, so that the difference is the same all year.
    bench.steps(&format!(
        r#"
  - id: time
    tool: time.convert_time
    with: {{ source_timezone: Asia/Kolkata, time: "12:00", target_timezone: Asia/Tokyo }}
    done_when: [ "output.time_difference == '+3.5h'", "output.target.timezone == 'Asia/Tokyo'", {{ called: time.convert_time }} ]
  - id: write
    tool: files.write_file
    with: {{ path: {path}, content: "${{{{ steps.time.output.target.datetime }}}}" }}
    done_when: [ {{ file: {{ path: out.txt, exists: true }} }} ]
  - id: read
    needs: [write]
    tool: files.read_text_file
    with: {{ path: {path} }}
    done_when: [ "output.content == steps.time.output.target.datetime" ]
  - id: zones
    for_each: [ UTC, Asia/Tokyo, America/Bogota ]
    tool: time.get_current_time
    with: {{ timezone: "${{{{ item }}}}" }}
    done_when: [ "output.timezone == item" ]
"#
    ));
    let report = bench.run(&[]).exits(0).json();
    assert_eq!(step(&report, "zones")["done"], 3, "{report}");
    assert!(fs::read_to_string(bench.project("out.txt")).unwrap().contains("T15:30:00+09:00"));
}

#[test]
fn a_foreign_tool_that_reports_an_error_fails_its_step_with_the_tools_words() {
    let bench = Bench::new();
    bench.servers(&servers(&bench));
    bench.steps(
        "
  - { id: zone, tool: time.get_current_time, with: { timezone: Nowhere/Land } }
  - { id: away, tool: files.read_text_file, with: { path: /etc/passwd } }
  - { id: none, tool: files.read_txt_file, with: { path: a } }
  - { id: bad, tool: time.get_current_time, with: { zone: UTC } }
",
    );
    bench
        .run(&[])
        .exits(1)
        .says("No time zone found")
        .says("outside allowed directories")
        .says("has no tool `read_txt_file`")
        .says("\\\"timezone\\\" is a required property");
}

#[test]
fn foreign_tools_are_listed_and_called_one_by_one() {
    let bench = Bench::new();
    bench.servers(&servers(&bench));
    bench.file("note.txt", "hello\n");
    let with = |args: &[&str]| bench.ollmcp(["--config", "servers.json"].iter().chain(args));
    let listed = with(&["tools", "--json"]).exits(0).json();
    let tools: Vec<(&str, &str)> = listed["servers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|server| server["tools"].as_array().unwrap())
        .map(|tool| (tool["name"].as_str().unwrap(), tool["repeat"].as_str().unwrap()))
        .collect();
    for wanted in [
        ("time.convert_time", "read"),
        ("files.read_text_file", "read"),
        ("files.write_file", "idempotent"),
        ("files.move_file", "unsafe"),
        ("pdf_extract.extract_tables", "read"),
    ] {
        assert!(tools.contains(&wanted), "{wanted:?} in {tools:?}");
    }
    with(&["tools", "time"]).exits(0).says("time.convert_time      read ").hides("files.");
    with(&["tools", "tine"]).exits(2).says("no tool server is called `tine`");
    let told = with(&["call", "time.get_current_time", "timezone=Asia/Tokyo", "--json"]).exits(0).json();
    assert_eq!(told["timezone"], "Asia/Tokyo");
    let told = with(&["call", "files.read_text_file", "path=note.txt", "--json"]).exits(0).json();
    assert_eq!(told["content"], "hello\n");
    with(&["call", "time.get_current_time"]).exits(2).says("\"timezone\" is a required property");
    with(&["call", "time.now"]).exits(2).says("has no tool `now`").says("get_current_time");
    with(&["call", "tine.now"]).exits(2).says("names no tool of a known server").says("time");
    with(&["call", "time.get_current_time", "timezone"]).exits(2).says("has no `=`").says("NAME=VALUE");
    let told = with(&["call", "files.read_text_file", "path=/etc/passwd"]).exits(1);
    told.says("outside allowed directories").hides("root:");
    // A file that was named with `--config` makes no project by itself.
    assert!(!bench.project(".ollmcp").exists());
}

#[test]
fn servers_of_the_official_sdk_work_in_both_shapes_of_failure() {
    let bench = Bench::new();
    let script = repository().join("tests/tools/sdk_server.py");
    bench.servers(&json!({ "sdk": { "command": test_tools().join("venv/bin/python"), "args": [script] } }));
    let listed = bench.ollmcp(["--config", "servers.json", "tools", "sdk", "--json"]).exits(0).json();
    let tools = listed["servers"][0]["tools"].as_array().unwrap();
    assert!(!tools.is_empty(), "{listed}");
    bench.steps(
        "
  - { id: add, tool: sdk.add, with: { left: 2, right: 40 }, done_when: [ \"output.result == 42\" ] }
  - { id: fail, tool: sdk.fail, with: { message: no ink } }
  - { id: none, tool: sdk.nothing }
  - { id: typed, tool: sdk.add, with: { left: two, right: 40 } }
",
    );
    let told = bench.run(&[]).exits(1).says("Error executing tool fail").says("has no tool `nothing`").says("`left`");
    assert_eq!(step(&told.json(), "add")["done"], 1);
}
