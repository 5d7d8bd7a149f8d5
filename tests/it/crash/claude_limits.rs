//! S21 in the real program: the hourly limit over two processes in two projects, over kills, and a run that waits for it.

use std::process::Command;

use serde_json::{Value, json};

use super::claude::{Shop, local, usage};
use super::place::{Place, Running, until};
use crate::anthropic_server::{Answer, AnthropicServer, Asked, Gate};
use crate::model_server::ModelServer;

/// Exit code of a run that waits.
const WAITS: i32 = 4;
/// Exit code of a run that set items aside.
const SET_ASIDE: i32 = 3;

/// A step over so many items, of which the local model gets the first five right.
fn many(items: u32) -> String {
    format!(
        "name: many\nsteps:\n  - id: number\n    for_each: {{ range: {items} }}\n    max_parallel: 50\n    threshold: 1\n    \
         on_error: quarantine\n    agent: FILE_EXECUTOR\n    prompt: \"What is item-${{{{ item }}}}?\"\n    \
         output: {{ schema: {{ type: object, required: [n], properties: {{ n: {{ type: integer }} }} }} }}\n    \
         done_when: [ \"output.n == item\" ]\n"
    )
}

fn item_of(asked: &Asked) -> u32 {
    let text = asked.body["messages"].to_string();
    let digits = text.split_once("item-").expect("it names its item").1;
    digits.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn weak() -> ModelServer {
    let server = ModelServer::start(["m:8b", "n:8b"]);
    server.respond_all(|asked| match item_of(asked) {
        item @ 0..5 => Answer::text(json!({ "n": item }).to_string()),
        // Of the ten that are begun first: behind the right ones, or five wrong ones are the first to end and the step is held.
        5..10 => Answer::text(r#"{"n": -1}"#).after_ms(200),
        _ => Answer::text(r#"{"n": -1}"#),
    });
    server
}

fn right(asked: &Asked) -> Answer {
    Answer::text(json!({ "n": item_of(asked) }).to_string())
}

fn shop<'a>(local: &'a ModelServer, claude: &'a AnthropicServer, more: Value) -> Place {
    Shop { more, ..Shop::new(local, claude) }.place()
}

/// The program in one project with the home folder of another.
fn at_home_of(home: &Place, place: &Place, words: &[&str]) -> Running {
    let mut command: Command = place.command(words);
    command.env("HOME", home.project().parent().unwrap().join("home"));
    place.spawn(command)
}

fn good(records: &[Value]) -> usize {
    records.iter().filter(|record| record["success"] == true).count()
}

#[test]
fn s21_two_processes_in_two_projects_buy_together_what_the_hour_allows() {
    let (local, claude) = (weak(), AnthropicServer::start());
    claude.respond(right);
    let more = || json!({ "max_calls_per_hour": 33, "when_limited": "fail" });
    let (one, two) = (shop(&local, &claude, more()), shop(&local, &claude, more()));
    for place in [&one, &two] {
        place.write("many.yaml", &many(55));
    }
    let runs = [one.start(&["run", "many.yaml"]), at_home_of(&one, &two, &["run", "many.yaml"])];
    let limit = std::time::Duration::from_secs(120);
    let said: Vec<_> = runs.map(|run| run.wait_within(limit).exits(SET_ASIDE)).into_iter().collect();
    assert_eq!(claude.chats().len(), 33);
    let records = usage(&one);
    assert_eq!((records.len(), good(&records)), (33, 33));
    let shown = one.run(&["show", "last", "--item", "54"]).out + &two.run(&["show", "last", "--item", "54"]).out;
    assert!(shown.contains("the hourly limit of 33 paid calls is reached"), "{shown} {said:#?}");
    // Nothing more in this hour, by whichever.
    at_home_of(&one, &two, &["run", "many.yaml", "--fresh"]).wait_within(limit).exits(SET_ASIDE);
    assert_eq!(claude.chats().len(), 33);
}

/// Killed with requests open: they count as spent, and the process that goes on buys the rest of the hour and no more.
#[test]
fn s21_a_kill_in_the_middle_frees_nothing_of_the_hour() {
    let (local, claude, gate) = (weak(), AnthropicServer::start(), Gate::new());
    let behind = gate.clone();
    claude.respond(move |asked| if item_of(asked) < 15 { right(asked) } else { right(asked).behind(&behind) });
    let place = shop(&local, &claude, json!({ "max_calls_per_hour": 30, "when_limited": "fail" }));
    place.write("many.yaml", &many(55));
    let running = place.start(&["run", "many.yaml"]);
    until("open paid requests", || (claude.open() >= 5).then_some(()));
    assert!(running.kill().is_killed());
    gate.open();
    let said = place.start(&["resume", "last"]).wait_within(std::time::Duration::from_secs(120));
    said.exits(SET_ASIDE);
    let records = usage(&place);
    assert_eq!(records.len(), 30, "each is on record, and none is one too many");
    // A kill may come between a reservation and its request.
    assert!((25..=30).contains(&claude.chats().len()), "{}", claude.chats().len());
    let cut = records.len() - good(&records);
    assert!(cut >= 5, "what was open at the kill counts as spent: {cut}");
}

/// S21 `park`: what local models can do is done; then the run leaves, says until when, and another process goes on.
#[test]
fn s21_a_run_that_only_the_hour_frees_leaves_with_4_and_says_until_when() {
    let (local, claude) = (weak(), AnthropicServer::start());
    claude.respond(right);
    let place = shop(&local, &claude, json!({ "max_calls_per_hour": 3 }));
    let config = place.project().parent().unwrap().join("config.json");
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    value["limits"] = json!({ "park_wait_s": 60 });
    place.config(&value);
    place.write("many.yaml", &many(10));
    for words in [["run", "many.yaml"], ["resume", "last"]] {
        let said = place.run(&words).exits(WAITS);
        assert!(said.err.contains("nothing can go on before 2"), "{said:#?}");
        assert!(said.err.contains("the hourly limit of 3 paid calls is reached"), "{said:#?}");
        assert!(said.err.contains("go on: ollmcp"), "{said:#?}");
        assert!(said.out.contains("waiting"), "{said:#?}");
        assert_eq!(claude.chats().len(), 3, "what was bought is not bought again, and nothing is bought beyond");
    }
    // With a higher limit it goes on at once: what waits looks again when the run is taken up.
    value["claude_integration"]["max_calls_per_hour"] = json!(50);
    place.config(&value);
    place.run(&["resume", "last"]).exits(0);
    assert_eq!(claude.chats().len(), 5);
}

/// A single task with `when_limited: park` in the configuration waits in the foreground, until it is told to leave.
#[test]
fn s21_a_task_that_parks_is_waited_for_and_is_stopped_like_any_other() {
    let (local, claude) = (self::local(r#"{"sum": 41}"#), AnthropicServer::start());
    claude.always(Answer::text(r#"{"sum": 42}"#));
    let place = shop(&local, &claude, json!({ "max_calls_per_hour": 1, "when_limited": "park" }));
    place.write("sum.yaml", super::claude::SUM);
    place.run(&["run", "sum.yaml"]).exits(0);
    let running = place.start(&["run", "sum.yaml", "--fresh"]);
    until("a task that waits", || {
        place.run(&["show", "last", "--item", "add"]).out.contains("hourly limit").then_some(())
    });
    running.signal(libc::SIGINT);
    running.wait().exits(130);
    assert_eq!(claude.chats().len(), 1);
}
