//! A second terminal beside a run: everything answers, nothing gets in the way.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use ollmcp::os::lock::{Owner, StateLock};
use serde_json::Value;

use super::place::{Place, Said, until};

const SLOW: &str = r#"
name: slow
steps:
  - id: work
    for_each: { range: 2000 }
    max_parallel: 8
    tool: log.slow
    with: { seconds: 0.05 }
  - id: after
    for_each: "${{ steps.work.items }}"
    value: "${{ item.output }}"
  - id: sum
    value: "${{ steps.work.count }}"
"#;

/// Longest that a person waits for an answer beside a run.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

#[track_caller]
fn quickly(place: &Place, words: &[&str]) -> Said {
    let start = Instant::now();
    let said = place.run(words);
    assert!(start.elapsed() < ANSWER_LIMIT, "{words:?} took {:?}", start.elapsed());
    said
}

fn done(shown: &Said) -> u64 {
    shown.json()["steps"][0]["done"].as_u64().unwrap()
}

#[test]
fn a_second_terminal_sees_a_run_grow_and_ends_it() {
    let place = Place::with_calls(SLOW);
    let mut running = place.start(&["run", "plan.yaml", "--name", "nightly"]);
    place.until_socket(&mut running);
    let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    place.until_calls(8);

    let listed = quickly(&place, &["ls", "--json"]).exits(0);
    assert_eq!(listed.json()["runs"][0]["state"], "running");
    assert!(quickly(&place, &["ls"]).exits(0).out.contains("running"));
    let first = done(&quickly(&place, &["show", "--json"]).exits(0));
    until("more items", || (done(&quickly(&place, &["show", "nightly", "--json"]).exits(0)) > first).then_some(()));
    quickly(&place, &["inbox"]).exits(0);

    let tree = quickly(&place, &["show", "--tree"]).exits(0).out;
    for word in ["root", "run-registry", "journal-writer", "tool-host", "doors", "FILE_EXECUTOR", "work[", "permanent"]
    {
        assert!(tree.contains(word), "no {word} in:\n{tree}");
    }
    let tree: Value = quickly(&place, &["show", "--tree", "--json"]).exits(0).json();
    assert!(names_restarts(&tree["tree"]), "{tree}");

    let second = quickly(&place, &["run", "plan.yaml", "--new"]).exits(2);
    assert!(second.err.contains("held by process") && second.err.contains("hint: "), "{second:#?}");
    quickly(&place, &["resume"]).exits(2);
    for verb in ["rows", "verify"] {
        let said = quickly(&place, &[verb]).exits(2);
        assert!(said.err.contains("another process is at work") && said.err.contains("hint: "), "{said:#?}");
    }

    quickly(&place, &["cancel", "nightly"]).exits(0);
    let said = running.wait().exits(1);
    assert!(said.out.contains("cancelled"), "{said:#?}");
    place.until_alone();
    let calls = place.calls().len();
    assert!(calls < 2000);
    assert_eq!(quickly(&place, &["ls", "--json"]).json()["runs"][0]["state"], "cancelled");
    let said = quickly(&place, &["resume"]).exits(1);
    assert!(said.err.contains("has ended: cancelled"), "{said:#?}");
    assert_eq!(place.calls().len(), calls, "something started after the cancel");
    let said = quickly(&place, &["cancel"]).exits(2);
    assert!(said.err.contains("has ended"), "{said:#?}");
}

fn names_restarts(node: &Value) -> bool {
    let children = node["children"].as_array().unwrap();
    node["restarts"].is_u64() && node["state"].is_string() && children.iter().all(names_restarts)
}

#[test]
fn a_stale_socket_of_a_killed_owner_does_no_harm() {
    let place = Place::with_calls(SLOW);
    let mut running = place.start(&["run", "plan.yaml"]);
    place.until_socket(&mut running);
    place.until_calls(1);
    running.kill();
    assert!(place.socket().exists());
    let listed = quickly(&place, &["ls", "--json"]).exits(0);
    assert_eq!(listed.json()["runs"][0]["state"], "interrupted");
    quickly(&place, &["show", "--tree"]).exits(0);
    let mut running = place.start(&["resume"]);
    place.until_socket(&mut running);
    until("the run", || (quickly(&place, &["ls", "--json"]).json()["runs"][0]["state"] == "running").then_some(()));
    quickly(&place, &["cancel"]).exits(0);
    running.wait().exits(1);
    assert!(!place.socket().exists());
}

#[test]
fn nothing_is_called_running_where_no_process_is_at_work_and_a_resumed_run_shows_its_progress() {
    let place = Place::with_calls(&SLOW.replace("2000", "40"));
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(24);
    running.kill();
    let shown = quickly(&place, &["show"]).exits(0).out;
    assert!(!shown.contains("running"), "{shown}");
    assert!(shown.contains("interrupted") && shown.contains("cut off"), "{shown}");
    let steps = quickly(&place, &["show", "--json"]).exits(0).json()["steps"].clone();
    assert_eq!(steps[0]["state"], "interrupted", "{steps}");
    let said = place.run(&["resume"]).exits(0);
    let before = format!("work: tool log.slow, 40 items, {} ended before", steps[0]["done"]);
    assert!(said.err.contains(&before), "no {before:?} in:\n{}", said.err);
    assert!(!said.err.contains("work 40/40 done · done after 0.0 s"), "{}", said.err);
}

#[test]
fn a_run_of_a_killed_process_can_be_cancelled() {
    let place = Place::with_calls(SLOW);
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(1);
    running.kill();
    quickly(&place, &["cancel"]).exits(0);
    assert_eq!(quickly(&place, &["ls", "--json"]).json()["runs"][0]["state"], "cancelled");
    quickly(&place, &["resume"]).exits(1);
}

#[test]
fn commands_that_only_look_never_get_in_each_others_way_or_in_that_of_a_run() {
    let place = Place::with_calls("name: p\nsteps:\n  - { id: one, tool: log.slow, with: { seconds: 0.2 } }\n");
    place.run(&["run", "plan.yaml"]).exits(0);
    let mut looks: Vec<_> = (0..6).map(|_| place.start(&["ls", "--json"])).collect();
    let run = place.start(&["run", "plan.yaml"]);
    looks.extend((0..6).map(|_| place.start(&["show", "--json"])));
    run.wait().exits(0);
    for look in looks {
        look.wait().exits(0);
    }
}

#[test]
fn an_owner_that_leaves_while_it_is_asked_costs_nobody_an_answer() {
    let place = Place::with_calls("name: p\nsteps:\n  - { id: one, value: 1 }\n");
    place.run(&["run", "plan.yaml"]).exits(0);
    for words in [["ls"].as_slice(), &["show"], &["show", "--item", "one"], &["show", "--tree"], &["inbox"]] {
        let owner = Owner { pid: std::process::id(), verb: "run".to_owned(), ..Owner::default() };
        let lock = StateLock::take(&place.state().join("lock"), &owner).unwrap();
        let listener = UnixListener::bind(place.socket()).unwrap();
        let look = place.start(words);
        drop(listener.accept().unwrap());
        // The door was there; this is the question.
        let asked = listener.accept().unwrap();
        std::fs::remove_file(place.socket()).unwrap();
        drop((lock, listener, asked));
        look.wait().exits(0);
    }
    // An owner that always leaves is said after some tries.
    let owner = Owner { pid: std::process::id(), verb: "run".to_owned(), ..Owner::default() };
    let _lock = StateLock::take(&place.state().join("lock"), &owner).unwrap();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let mut look = place.start(&["ls"]);
    listener.set_nonblocking(true).unwrap();
    until("the end of the tries", || {
        drop(listener.accept());
        look.has_ended().then_some(())
    });
    let said = look.wait().exits(1);
    assert!(said.err.contains("left without an answer"), "{said:#?}");
}
