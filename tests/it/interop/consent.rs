//! Which servers count: those of the person's own files, and those of a project's file only after a yes.

use super::*;

/// A project whose own file declares the test server.
fn with_project_file() -> Bench {
    let bench = Bench::new();
    let server = bench.log_server(&[]);
    bench.file(".ollmcp/config.json", json!({ "mcpServers": { "log": server } }).to_string());
    bench.steps("  - { id: a, tool: log.echo, with: { x: 1 } }\n");
    bench
}

#[test]
fn a_server_of_the_project_counts_only_after_consent_and_all_verbs_say_so() {
    let bench = with_project_file();
    let why = "tool server `log` is declared in `";
    for args in [&["run", "p.yaml"][..], &["call", "log.echo", "x=1"], &["validate", "p.yaml"], &["tools", "log"]] {
        bench.ollmcp(args).exits(2).says(why).says("counts only after your consent").says("--trust-project-config");
    }
    bench.ollmcp(["tools"]).exits(0).hides("log.echo").says("starts tool server `log`: `python3 ");
    assert!(bench.calls().is_empty());
    bench.ollmcp(["--trust-project-config", "run", "p.yaml"]).exits(0);
    bench.ollmcp(["call", "log.echo", "x=1", "--trust-project-config"]).exits(0);
    assert_eq!(bench.calls().len(), 2);
    // Trust was for that time only.
    bench.ollmcp(["run", "p.yaml", "--new"]).exits(2).says(why);
}

#[test]
fn a_yes_on_a_terminal_is_kept_until_the_file_declares_something_else() {
    let bench = with_project_file();
    // The standard library of Python opens the terminal that the question needs.
    let script = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b""
while b"[y/N]" not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, sys.argv[1].encode() + b"\n")
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    seen += more
sys.stdout.write(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    let asked = |answer: &str| -> Told {
        let args = ["-c", script, answer, OLLMCP, "call", "log.echo", "x=1"];
        bench.foreign("python3", args).output().unwrap().into()
    };
    asked("n").exits(2).says("starts tool server `log`").says("counts only after your consent");
    asked("y").exits(0);
    bench.ollmcp(["call", "log.echo", "x=2"]).exits(0).hides("consent");
    bench.ollmcp(["run", "p.yaml"]).exits(0);
    assert_eq!(bench.calls().len(), 3);
    let text = fs::read_to_string(bench.project(".ollmcp/config.json")).unwrap();
    bench.file(".ollmcp/config.json", text.replace("call_log_server.py\"", "call_log_server.py\", \"--ignore-term\""));
    bench.ollmcp(["call", "log.echo", "x=3"]).exits(2).says("counts only after your consent");
    assert_eq!(bench.calls().len(), 3);
}

#[test]
fn servers_that_cannot_be_used_say_why_and_stop_nobody_else() {
    let bench = Bench::new();
    let log = bench.log_server(&[]);
    bench.servers(&json!({
        "log": log,
        "off": { "command": "x", "disabled": true },
        "web": { "url": "https://example.com/mcp?token=sk-in-the-url-0123" },
        "old": { "type": "sse", "url": "https://example.com/sse" },
        "socket": { "type": "ws", "url": "wss://example.com" },
        "empty": {},
        "gone": { "command": "/no/such/program" },
    }));
    let with = |args: &[&str]| bench.ollmcp(["--config", "servers.json"].iter().chain(args)).hides("sk-in-the-url");
    with(&["call", "log.echo", "x=1"]).exits(0);
    let cases = [
        ("off", "is switched off in the configuration", "`disabled`"),
        ("web", "is reached over http, which is not in this version", "mcp-remote"),
        ("old", "the old HTTP+SSE transport, which is not supported", "sse-only"),
        ("socket", "over a web socket, which is not supported", "bridge"),
        ("empty", "has no `command`", "needs `command`"),
    ];
    for (server, why, way) in cases {
        with(&["call", &format!("{server}.x")]).exits(2).says(why).says(way);
        bench.steps(&format!("  - {{ id: a, tool: {server}.x }}\n"));
        with(&["run", "p.yaml"]).exits(2).says(&format!("tool server `{server}` ")).says(why).says(way);
    }
    with(&["call", "gone.x"]).exits(1).says("`/no/such/program` was not found").says("hint: install it");
    bench.steps("  - { id: a, tool: log.echo, with: { x: 1 } }\n");
    bench.run(&[]).exits(0);
    // The listing names each one that cannot be used, shows the others, and fails.
    let listed = with(&["tools", "--json"]).exits(1).json();
    let found = |name: &str| listed["servers"].as_array().unwrap().iter().find(|one| one["server"] == name).cloned();
    assert!(found("log").unwrap()["tools"].as_array().unwrap().len() > 5);
    for name in ["web", "old", "socket", "empty", "gone"] {
        assert!(found(name).unwrap()["error"].is_string(), "{name}: {listed}");
    }
    assert_eq!(found("off"), None);
}

#[test]
fn a_server_gets_only_what_it_was_given_by_name() {
    let bench = Bench::new();
    let mut log = bench.log_server(&[]);
    log["env"]["GREETING"] = "hi ${USERLIKE:-nobody}, ${NOT_SET:-default}".into();
    log["env"]["LITERAL"] = "${NOT_SET_AT_ALL}".into();
    log["env_passed"] = json!(["PASSED"]);
    bench.servers(&json!({ "log": log }));
    let mut command = bench.command(["--config", "servers.json", "call", "log.environment", "--json"]);
    command.env("USERLIKE", "bob").env("PASSED", "on").env("NOT_PASSED", "no").env("LC_ALL", "C.UTF-8");
    command.env("ANTHROPIC_API_KEY", "sk-canary-0123456789").env("MY_TOKEN", "t-canary");
    let told = Told::from(command.output().unwrap()).exits(0);
    let told =
        told.says("mcpServers.log.env.LITERAL: names the variable `NOT_SET_AT_ALL`, which is not set").hides("canary");
    let environment = told.json();
    assert_eq!(environment["GREETING"], "hi bob, default");
    assert_eq!(environment["LITERAL"], "${NOT_SET_AT_ALL}");
    assert_eq!(environment["PASSED"], "on");
    assert_eq!(environment["LC_ALL"], "C.UTF-8");
    for name in ["NOT_PASSED", "ANTHROPIC_API_KEY", "MY_TOKEN", "USERLIKE"] {
        assert_eq!(environment.get(name), None, "{name}");
    }
    let folder = bench.base.join("project").display().to_string();
    assert_eq!(environment["PWD"], folder, "it works in the folder that the person stands in");
}
