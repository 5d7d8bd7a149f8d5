//! Secrets stay where they were given: never in the journal, the state, a log or on a screen.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

const PAID: &str = "sk-ant-canary-0123456789";
const GIVEN: &str = "given-canary-0123456789";
const NAMED: &str = "named-canary-0123456789";
const KEY: &str = "ghp_canary0123456789";

/// All files below a folder that hold one of the canaries.
fn holding(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if entry.file_type().unwrap().is_file() {
                let bytes = fs::read(&path).unwrap();
                if bytes.windows(b"canary".len()).any(|part| part == b"canary") {
                    found.push(path);
                }
            }
        }
    }
    found
}

#[test]
fn no_secret_reaches_the_state_folder_a_log_or_a_screen() {
    let bench = Bench::new();
    let mut log = bench.log_server(&[]);
    log["env"]["ACCESS_TOKEN"] = GIVEN.into();
    log["env"]["WORD"] = KEY.into();
    log["env_passed"] = json!(["SERVICE_PASSWORD"]);
    let mut dead = bench.log_server(&["--die-at-start"]);
    dead["command"] = "sh".into();
    dead["args"] = json!(["-c", "echo \"starting with $ACCESS_TOKEN\" >&2; exit 5"]);
    dead["env"]["ACCESS_TOKEN"] = GIVEN.into();
    let config = json!({
        "mcpServers": { "log": log, "dead": dead },
        "claude_integration": { "api_key": PAID, "enabled": true },
    });
    fs::write(bench.base.join("home/config.json"), config.to_string()).unwrap();
    bench.steps(
        "
  - { id: all, tool: log.environment }
  - { id: fails, tool: log.fail, with: { message: \"no\" } }
  - { id: dead, retry: { transient: 1, backoff: 10ms..10ms }, tool: dead.echo }
  - { id: dies, repeat: unsafe, tool: log.die }
",
    );
    let config = bench.base.join("home/config.json").display().to_string();
    for filter in [None, Some("trace")] {
        for args in [
            &["run", "p.yaml", "--new"][..],
            &["--json", "show"],
            &["show", "--item", "all"],
            &["inbox"],
            &["tools"],
            &["doctor"],
            &["config", "show", "--origin"],
            &["call", "log.environment"],
            &["call", "dead.echo"],
            &["--json", "resume"],
        ] {
            let mut command = bench.command(args.iter().chain(&["--config", &config]));
            command.env("ANTHROPIC_API_KEY", PAID).env("SERVICE_PASSWORD", NAMED);
            if let Some(filter) = filter {
                command.env("RUST_LOG", filter);
            }
            let told = Told::from(command.output().unwrap());
            assert_ne!(told.code, 101, "{args:?}: {}", told.err);
            let told = told.hides("canary");
            if args[0] == "call" && args[1] == "log.environment" {
                let told = told.says("\"ACCESS_TOKEN\": \"***\"").says("\"SERVICE_PASSWORD\": \"***\"");
                told.says("\"WORD\": \"***\"");
            }
        }
    }
    assert_eq!(holding(&bench.base.join("project")), Vec::<PathBuf>::new());
    let own = bench.base.join("home/config.json");
    assert_eq!(holding(&bench.base.join("home")), [own], "only the file that it was written to");
}

#[test]
fn nobody_else_can_enter_the_state_folder_or_its_socket() {
    let bench = Bench::with_log(&[]);
    // As a person makes it for a `config.json`.
    fs::create_dir(bench.project(".ollmcp")).unwrap();
    fs::set_permissions(bench.project(".ollmcp"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.steps("  - { id: hangs, tool: log.hang }\n");
    let mut command = bench.command(["--config", "servers.json", "run", "p.yaml"]);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the call", || bench.calls().len() == 1);
    let mode = |path: PathBuf| fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(bench.project(".ollmcp")), 0o700);
    assert_eq!(mode(bench.project(".ollmcp/control.sock")), 0o600);
    assert_eq!(mode(bench.project(".ollmcp/lock")), 0o600);
    Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    running.wait().unwrap();
    assert!(!bench.project(".ollmcp/control.sock").exists());
}
