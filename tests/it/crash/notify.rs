//! `notify` with the real program and real scripts: who is told what, what the script is given, and that nothing it does
//! breaks a run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::place::{Place, Said};
use crate::anthropic_server::AnthropicServer;
use crate::model_server::{Answer, ModelServer};

const ONE: &str = "name: one\nsteps:\n  - id: a\n    value: { n: 1 }\n";

const SUM: &str = r#"
name: sum
steps:
  - id: add
    agent: FILE_EXECUTOR
    prompt: What is 19 and 23 together?
    output: { schema: { type: object, required: [sum], properties: { sum: { type: integer } } } }
    done_when: [ "output.sum == 42" ]
"#;

/// A script that keeps what it is told, and what it was started with.
const KEEPS: &str = "#!/bin/sh\ncat >> notices.jsonl\nenv > environment\npwd > folder\n";

/// A project whose notices go to a script.
fn place(script: &str, more: Value) -> Place {
    let place = Place::new();
    place.write("tell.sh", script);
    fs::set_permissions(place.project().join("tell.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = json!({ "notify": ["sh", "./tell.sh"] });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    place.config(&config);
    place.write("one.yaml", ONE);
    place.write("sum.yaml", SUM);
    place
}

fn notices(place: &Place) -> Vec<Value> {
    let text = fs::read_to_string(place.project().join("notices.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Two local models and Claude: a sum that only Claude gets right.
fn with_claude(local: &ModelServer, claude: &AnthropicServer) -> Value {
    local.always_all(Answer::text(r#"{"sum": 41}"#));
    claude.always(Answer::text(r#"{"sum": 42}"#).tokens(2_000, 1_000).cached(0, 0, 0));
    json!({
        "ollama": { "url": local.url() },
        "ladders": { "default": ["ollama:m:8b"] },
        "claude_integration": { "enabled": true, "api_key": "sk-ant-zzsecretzz-0123456789", "base_url": claude.url(),
            "model": "claude-sonnet-4-6" },
    })
}

#[track_caller]
fn says_once(said: &Said, part: &str) {
    assert_eq!(said.err.matches(part).count(), 1, "`{part}` once: {said:#?}");
}

#[test]
fn the_end_of_a_run_is_told_once_with_what_it_came_to() {
    let place = place(KEEPS, json!({}));
    let said = place.run(&["run", "one.yaml", "--name", "nightly"]).exits(0);
    assert!(!said.err.contains("notify"), "{said:?}");
    let told = notices(&place);
    assert_eq!(told.len(), 1, "{told:?}");
    let notice = &told[0];
    let project = place.project().canonicalize().unwrap().display().to_string();
    assert_eq!((&notice["v"], &notice["event"], &notice["project"]), (&json!(1), &json!("run_ended"), &json!(project)));
    assert_eq!(
        (&notice["plan"], &notice["name"], &notice["state"], &notice["done"], &notice["not_done"], &notice["usd"]),
        (&json!("one"), &json!("nightly"), &json!("complete"), &json!(1), &json!(0), &json!(0.0))
    );
    assert!(notice["text"].as_str().unwrap().contains("`nightly` (one) is complete: 1 task done"), "{notice}");
    assert!(notice["at"].as_str().unwrap().ends_with('Z') && notice["run"].as_str().unwrap().len() == 36);
    assert_eq!(fs::read_to_string(place.project().join("folder")).unwrap().trim(), project);
}

#[test]
fn the_command_is_given_no_secret_not_even_by_name() {
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let mut config = with_claude(&local, &claude);
    config["model_servers"] = json!({ "box": { "kind": "openai", "url": local.url(), "key_env": "BOX_ACCESS" } });
    config["notify_env_passed"] = json!(["ANTHROPIC_API_KEY", "BOX_ACCESS", "TALK_ROOM", "COPY"]);
    let place = place(KEEPS, config);
    let mut command = place.command(&["run", "sum.yaml"]);
    command.env("ANTHROPIC_API_KEY", "sk-ant-zzsecretzz-from-env").env("BOX_ACCESS", "zzsecretzz-box");
    command.env("TALK_ROOM", "lobby").env("OTHER", "zzother").env("COPY", "Bearer sk-ant-zzsecretzz-from-env");
    place.spawn(command).wait().exits(0);
    assert_eq!(claude.chats().len(), 1);
    let environment = fs::read_to_string(place.project().join("environment")).unwrap();
    assert!(!environment.contains("zzsecretzz") && !environment.contains("zzother"), "{environment}");
    assert!(environment.contains("TALK_ROOM=lobby") && environment.contains("PATH="), "{environment}");
    let told = fs::read_to_string(place.project().join("notices.jsonl")).unwrap();
    assert!(!told.contains("zzsecretzz") && told.contains("\"usd\":0.021"), "{told}");
}

/// A hold asks a person: told once at the question, not again when the run leaves with 4 over the same one.
#[test]
fn a_run_that_waits_for_a_person_is_told_once_for_each_time_it_is_left_waiting() {
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let place = place(KEEPS, with_claude(&local, &claude));
    let items = "  - id: add\n    for_each: { range: 20 }\n    on_error: quarantine\n";
    place.write("many.yaml", &SUM.replace("  - id: add\n", items));
    place.run(&["run", "many.yaml"]).exits(4);
    let told = notices(&place);
    assert_eq!(told.len(), 1, "{told:?}");
    let notice = &told[0];
    assert_eq!(
        (&notice["event"], &notice["state"], &notice["asks_count"]),
        (&json!("run_waits"), &json!("waiting"), &json!(1))
    );
    let ask = &notice["asks"][0];
    assert_eq!((&ask["step"], &ask["answers"]), (&json!("add"), &json!(["go", "stop"])));
    let inbox = place.run(&["inbox", "--json"]).exits(0).json();
    assert_eq!(inbox["asks"][0]["id"], ask["id"], "what is told can be answered");
    // Nobody has answered: another process that is left waiting says so again.
    place.run(&["resume", "last"]).exits(4);
    assert_eq!(notices(&place).len(), 2);
    place.run(&["answer", ask["id"].as_str().unwrap(), "go"]).exits(0);
    place.run(&["resume", "last"]).exits(0);
    let told = notices(&place);
    assert_eq!((told.len(), &told[2]["event"], &told[2]["done"]), (3, &json!("run_ended"), &json!(20)), "{told:?}");
}

#[test]
fn the_days_cost_is_told_once_when_it_passes_the_amount() {
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let mut config = with_claude(&local, &claude);
    config["budget"] = json!({ "warn_at_usd": 0.03 });
    let place = place(KEEPS, config);
    let passed = |place: &Place| notices(place).into_iter().filter(|told| told["event"] == "budget_passed").count();
    let said = place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(0);
    assert_eq!(passed(&place), 0);
    assert!(!said.err.contains("warn_at_usd"), "{said:?}");
    let said = place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(0);
    says_once(&said, "today's paid calls cost $0.0420 and have passed the $0.0300 of `budget.warn_at_usd`");
    let told = notices(&place);
    let notice = told.iter().find(|told| told["event"] == "budget_passed").unwrap();
    assert_eq!((&notice["usd_today"], &notice["warn_at_usd"]), (&json!(0.042), &json!(0.03)));
    place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(0);
    assert_eq!(passed(&place), 1, "once a day");
}

#[test]
fn a_command_that_hangs_is_ended_and_the_run_is_as_it_was() {
    let place = place(
        "#!/bin/sh\necho x >> started\n(trap '' TERM; sleep 600) &\nsleep 600\n",
        json!({ "limits": { "notify_timeout_s": 1 } }),
    );
    let began = Instant::now();
    let said = place.run(&["run", "one.yaml"]).exits(0);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    says_once(&said, "the command of `notify` failed: it did not end within 1 s (`limits.notify_timeout_s`)");
    assert!(said.out.contains("complete"), "the report stands before the wait: {said:?}");
    place.until_alone();
    assert!(place.project().join("started").exists());
}

#[test]
fn a_command_that_fails_is_said_once_with_its_last_words() {
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let mut config = with_claude(&local, &claude);
    config["budget"] = json!({ "warn_at_usd": 0.001 });
    let place = place("#!/bin/sh\necho first >&2\necho 'no \x1b[31mroom' >&2\nexit 3\n", config);
    let said = place.run(&["run", "sum.yaml"]).exits(0);
    says_once(&said, "the command of `notify` failed: exit status: 3: no ");
    assert!(!said.err.contains('\x1b'), "{said:?}");
}

#[test]
fn a_program_that_is_not_there_is_said_and_one_that_reads_nothing_is_none_of_our_business() {
    let place = place("", json!({ "notify": ["./nowhere", "-x"] }));
    let said = place.run(&["run", "one.yaml"]).exits(0);
    says_once(&said, "the command of `notify` failed: `./nowhere` cannot be started: No such file");
    let quiet = self::place("", json!({ "notify": ["/bin/true"] }));
    let said = quiet.run(&["run", "one.yaml"]).exits(0);
    assert!(!said.err.contains("notify"), "{said:?}");
}

#[test]
fn what_a_command_leaves_running_does_not_hold_the_program() {
    let place = place("#!/bin/sh\nsleep 5 &\ncat >> notices.jsonl\n", json!({}));
    let began = Instant::now();
    place.run(&["run", "one.yaml"]).exits(0);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(notices(&place).len(), 1);
}

/// A limit of paid calls that frees too late to be waited for ends the run with 4, too.
#[test]
fn a_run_that_leaves_at_a_limit_is_told_with_the_limit_and_its_end() {
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let mut config = with_claude(&local, &claude);
    config["claude_integration"]["max_calls_per_hour"] = json!(1);
    config["claude_integration"]["when_limited"] = json!("park");
    config["limits"] = json!({ "park_wait_s": 0 });
    let place = place(KEEPS, config);
    place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(0);
    place.run(&["run", "sum.yaml", "--fresh", "--new"]).exits(4);
    let told = notices(&place);
    let notice = told.last().unwrap();
    assert_eq!(
        (told.len(), &notice["event"], &notice["state"]),
        (2, &json!("run_waits"), &json!("waiting")),
        "{told:?}"
    );
    assert_eq!((&notice["asks"], &notice["asks_count"]), (&json!([]), &json!(0)));
    assert!(notice["reason"].as_str().unwrap().contains("nothing can go on before"), "{notice}");
    assert!(notice["until"].as_str().unwrap().ends_with('Z'), "{notice}");
}

/// A project's file may not name a program to start.
#[test]
fn a_projects_file_tells_nobody_without_consent() {
    let place = place(KEEPS, json!({}));
    fs::remove_file(place.project().parent().unwrap().join("config.json")).unwrap();
    place.write(".ollmcp/config.json", r#"{"notify": "./tell.sh"}"#);
    let said = place.run(&["run", "one.yaml"]).exits(0);
    assert!(said.err.contains("only after your consent") && notices(&place).is_empty(), "{said:?}");
    place.run(&["run", "one.yaml", "--fresh", "--new", "--trust-project-config"]).exits(0);
    assert_eq!(notices(&place).len(), 1);
}

/// What is documented is what is sent.
#[test]
fn every_field_that_is_sent_stands_on_the_page() {
    use ollmcp::report::notice::{FIELDS, NOTICE_VERSION};
    let (local, claude) = (ModelServer::start(["m:8b"]), AnthropicServer::start());
    let mut config = with_claude(&local, &claude);
    config["budget"] = json!({ "warn_at_usd": 0.001 });
    let place = place(KEEPS, config);
    place.run(&["run", "sum.yaml", "--name", "n"]).exits(0);
    let items = "  - id: add\n    for_each: { range: 20 }\n    on_error: quarantine\n";
    place.write("many.yaml", &SUM.replace("  - id: add\n", items).replace("19 and 23", "20 and 22"));
    place.run(&["run", "many.yaml", "--name", "m"]).exits(4);
    let told = notices(&place);
    assert_eq!(told.len(), 3, "{told:?}");
    for notice in &told {
        let event = notice["event"].as_str().unwrap();
        assert_eq!(notice["v"], NOTICE_VERSION);
        let of_event =
            FIELDS.iter().filter(|(_, events, _)| events.is_empty() || events.split(", ").any(|one| one == event));
        let mut documented: Vec<&str> = of_event.map(|(field, _, _)| *field).collect();
        documented.sort_unstable();
        let mut sent: Vec<&str> = notice.as_object().unwrap().keys().map(String::as_str).collect();
        sent.sort_unstable();
        assert!(sent.iter().all(|field| documented.contains(field)), "{notice}");
        // What may be missing says so on the page.
        documented.retain(|field| !sent.contains(field));
        assert!(documented.iter().all(|field| ["reason", "until"].contains(field)), "{documented:?} of {notice}");
    }
}
