//! Killed at every sync of the journal, and at random times: the rows are those of an undisturbed run, every time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::dump::dump;
use super::place::{At, Chance, PROGRAM, Place, Said, calls, is_full, root, seed};

const PLAN: &str = r#"
name: tables
inputs:
  database: { type: string, default: "sqlite:tables.db" }
steps:
  - id: find
    tool: fs.list
    with: { root: six, pattern: "**/*.pdf" }
    done_when: [ "output.count == 6" ]
  - id: extract
    for_each: "${{ steps.find.output.files }}"
    key: "${{ item.path }}"
    max_parallel: 3
    on_error: quarantine
    tool: pdf_logged.extract_tables
    with: { path: "${{ item.path }}" }
    files: [ path ]
    output: { schema: { type: object, required: [tables] } }
  - id: save
    for_each: "${{ steps.extract.items }}"
    agent: DATABASE_WRITER
    with: { database: "${{ inputs.database }}", rows: "${{ item.output.tables }}", table: auto }
"#;
/// The step `extract`.
const EXTRACT: u32 = 1;
const FILES: &[&str] = &[
    "january/invoice_0101.pdf",
    "january/invoice_0102.pdf",
    "january/invoice_0104.pdf",
    "january/statement_0103.pdf",
    "february/invoice_0221.pdf",
    "february/invoice_0222.pdf",
];

fn project() -> Place {
    let place = Place::new();
    fs::create_dir(place.project().join("six")).unwrap();
    for file in FILES {
        let name = Path::new(file).file_name().unwrap();
        fs::copy(root().join("plans/samples").join(file), place.project().join("six").join(name)).unwrap();
    }
    let proxy = root().join("tests/tools/logging_proxy.py");
    place.config(&json!({ "mcpServers": { "pdf_logged": {
        "command": "python3", "args": [proxy, place.call_log(), PROGRAM, "tool-server", "pdf_extract"]
    } } }));
    place.write("plan.yaml", PLAN);
    place
}

/// What must be the same however often a run was killed.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    rows: String,
}

fn outcome(place: &Place, said: &Said) -> Outcome {
    Outcome { code: said.code(), rows: dump(&place.project().join("tables.db")) }
}

fn undisturbed() -> Outcome {
    let place = project();
    let said = place.run(&["run", "plan.yaml"]);
    let found = outcome(&place, &said);
    assert_eq!(found.code, Some(3), "{said:#?}");
    assert_eq!(found.rows.lines().filter(|line| line.starts_with(char::is_numeric)).count(), 5 + 9 + 16 + 89);
    found
}

/// What is true at a kill and must hold after it.
struct Mark {
    done: BTreeSet<String>,
    calls: usize,
}

fn mark(place: &Place) -> Mark {
    Mark { done: place.history().done_keys(EXTRACT), calls: calls(&place.call_log()).len() }
}

impl Mark {
    /// No file whose tables were reported was read again.
    #[track_caller]
    fn holds(&self, place: &Place) {
        for call in calls(&place.call_log()).split_off(self.calls) {
            let path = call.arguments["path"].as_str().unwrap();
            assert!(!self.done.contains(path), "{path} was read again");
        }
    }
}

/// Goes on without kills to the end; or begins, when nothing had been accepted yet.
#[track_caller]
fn resumed(place: &Place) -> Said {
    let before = mark(place);
    let said = match place.history().last.frame {
        0 => place.run(&["run", "plan.yaml"]),
        _ => place.run(&["resume", "last"]),
    };
    before.holds(place);
    place.history().holds();
    said
}

/// Killed there, then resumed; false when the run ended before.
#[track_caller]
fn survives(at: At, expected: &Outcome) -> bool {
    let place = project();
    let killed = place.killed_at_sync(&["run", "plan.yaml"], at);
    if !killed.is_killed() {
        assert_eq!(&outcome(&place, &killed), expected, "{at:?} is after the end: {killed:#?}");
        return false;
    }
    let said = resumed(&place);
    assert_eq!(&outcome(&place, &said), expected, "{at:?}: {said:#?}");
    place.run(&["verify", "last"]).exits(0);
    true
}

#[test]
fn a_run_killed_after_any_sync_goes_on_to_the_same_rows() {
    let expected = undisturbed();
    let kills = (1..).take_while(|number| survives(At::After(*number), &expected)).count();
    println!("killed after each of {kills} syncs");
    assert!(kills >= 10, "only {kills} syncs were seen: is the library preloaded?");
}

#[test]
fn a_run_killed_before_a_sync_goes_on_to_the_same_rows() {
    let expected = undisturbed();
    let mut chance = Chance(seed());
    let kills = if is_full() {
        (1..).take_while(|number| survives(At::Before(*number), &expected)).count()
    } else {
        (0..4).filter(|round| survives(At::Before(1 + round * 5 + chance.below(5)), &expected)).count()
    };
    assert!(kills >= 2, "{kills}");
}

#[test]
fn a_run_killed_several_times_at_any_moment_goes_on_to_the_same_rows() {
    let expected = undisturbed();
    let mut chance = Chance(seed());
    let rounds = if is_full() { 1_000 } else { 5 };
    for round in 0..rounds {
        let place = project();
        let mut kills = 0;
        let said = loop {
            let words: &[&str] =
                if place.history().last.frame == 0 { &["run", "plan.yaml"] } else { &["resume", "last"] };
            if kills == 4 {
                break resumed(&place);
            }
            let before = mark(&place);
            let mut running = place.start(words);
            let until = std::time::Instant::now() + std::time::Duration::from_millis(chance.below(400));
            while std::time::Instant::now() < until && !running.has_ended() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if running.has_ended() {
                break running.wait();
            }
            running.kill();
            kills += 1;
            before.holds(&place);
            place.history().holds();
        };
        assert_eq!(outcome(&place, &said), expected, "round {round} after {kills} kills: {said:#?}");
        place.run(&["verify", "last"]).exits(0);
    }
}
