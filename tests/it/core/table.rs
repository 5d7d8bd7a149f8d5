//! The transition table in the documentation of a run's state, held against `apply`: every event on every phase.

use std::collections::BTreeSet;

use ollmcp::domain::event::{DoubtAnswer, Event, Stamped, TaskEnd};
use ollmcp::domain::ids::{AskId, Digest, RunId, TaskId};
use ollmcp::domain::ladder::Rung;
use ollmcp::domain::payload::Payload;
use ollmcp::domain::plan::RepeatClass;
use ollmcp::domain::run::{TaskPhase, apply};
use ollmcp::domain::verdict::{Judge, Verdict};
use serde_json::json;
use uuid::Uuid;

use super::story::{Plans, Story, failure, on, quarantine};

/// From, event, to.
type Row = (String, String, String);

/// Each phase that a task can be in, and how it gets there.
const PHASES: &[(&str, &str)] = &[
    ("(none)", "open a ladder L|P"),
    ("running", "open a ladder L|P; start a.0"),
    ("running", "open a ladder L|P; start a.0; call a.0 open"),
    ("judging", "open a ladder L|P; start a.0; output a.0"),
    ("judging", "open a ladder L|P; start a.0; made a.0 files"),
    ("placing", "open a ladder L|P; start a.0; made a.0 files; accept a.0"),
    ("held", "open a ladder L|P; start a.0; fail a.0 check; start a.0; fail a.0 check"),
    ("pending", "open a ladder L|P; start a.0; lost a.0"),
    ("in doubt", "open a ladder L|P; start a.0 unsafe; lost a.0"),
    ("waiting for a time", "open a ladder L|P; start a.0; fail a.0 busy"),
    ("waiting for approval", "open a ladder L|P; start a.0; lost a.0; ask a.0"),
    ("done", "open a ladder L|P; start a.0; output a.0; accept a.0"),
    ("skipped", "open a ladder L|P; start a.0 unsafe; lost a.0; answer 1 skip"),
    ("failed", "open a ladder L|P; start a.0; fail a.0 missing"),
    ("quarantined", "open a ladder L|P; start a.0; fail a.0 missing"),
    ("cancelled", "open a; start a.0; lost a.0; cancel"),
];

fn word(phase: Option<&TaskPhase>) -> &'static str {
    match phase {
        None => "(none)",
        Some(TaskPhase::Pending) => "pending",
        Some(TaskPhase::RetryAt { .. }) => "waiting for a time",
        Some(TaskPhase::Running { .. }) => "running",
        Some(TaskPhase::Judging { .. }) => "judging",
        Some(TaskPhase::Placing { .. }) => "placing",
        Some(TaskPhase::Held { .. }) => "held",
        Some(TaskPhase::InDoubt { .. }) => "in doubt",
        Some(TaskPhase::AwaitsApproval { .. }) => "waiting for approval",
        Some(TaskPhase::Done { .. }) => "done",
        Some(TaskPhase::Ended(TaskEnd::Failed(_))) => "failed",
        Some(TaskPhase::Ended(TaskEnd::Quarantined(_))) => "quarantined",
        Some(TaskPhase::Ended(TaskEnd::Skipped)) => "skipped",
        Some(TaskPhase::Ended(TaskEnd::Cancelled)) => "cancelled",
    }
}

/// Every event that names a task, as it would have to look to follow the state.
fn events(story: &Story, task: TaskId) -> Vec<Event> {
    let record = story.state.tasks.get(&task);
    let attempt = record.map_or(1, |task| task.attempts);
    let rung = record.map_or(Rung::Local("L".to_owned()), |task| task.rung.clone());
    let open = story.state.head.asks.keys().next().copied();
    let ask = open.unwrap_or(AskId(Uuid::nil()));
    let output = Payload::Inline(json!(1));
    let verdict = |accepted| Verdict { accepted, ..Verdict::accepting(Judge::Checks, Vec::new()) };
    let answers =
        [DoubtAnswer::Happened { output: output.clone() }, DoubtAnswer::Again, DoubtAnswer::Skip, DoubtAnswer::Fail];
    let ends = [
        TaskEnd::Failed(failure("missing")),
        TaskEnd::Quarantined(failure("missing")),
        TaskEnd::Skipped,
        TaskEnd::Cancelled,
    ];
    let next = record.map_or(1, |task| task.attempts + 1);
    let mut events = vec![
        Event::AttemptStarted {
            task,
            attempt: next,
            rung: rung.clone(),
            repeat: RepeatClass::Read,
            key: "k".to_owned(),
            identity: None,
        },
        Event::AttemptSucceeded {
            task,
            attempt,
            output: output.clone(),
            claimed: None,
            staged: None,
            effects: Vec::new(),
        },
        Event::TurnTaken {
            task,
            attempt,
            request: Digest([1; 32]),
            reply: output.clone(),
            usage: ollmcp::domain::event::Usage::default(),
        },
        Event::CallStarted {
            task,
            attempt,
            call: "k".to_owned(),
            tool: "box.send".to_owned(),
            repeat: RepeatClass::Unsafe,
        },
        Event::CallEnded { task, attempt, call: "open".to_owned(), succeeded: true, result: output.clone() },
        Event::TaskHeld { task, to: Rung::Paid("P".to_owned()), failure: failure("check") },
        Event::TaskAccepted { task },
        Event::AttemptFailed { task, attempt, failure: failure("check") },
        Event::AttemptInterrupted { task, attempt },
        Event::CallInDoubt { task, attempt, ask: AskId(Uuid::from_u128(77)), what: "w".to_owned() },
        Event::VerdictGiven { task, attempt, verdict: verdict(true) },
        Event::VerdictGiven { task, attempt, verdict: verdict(false) },
        Event::TaskClimbed { task, from: rung, to: Rung::Paid("P".to_owned()), for_server: false },
        Event::TaskRetryAt { task, retry_at_ms: 5, for_server: false },
        Event::TaskDone { task },
        Event::TaskReused {
            task,
            key: "k".to_owned(),
            identity: Digest([0; 32]),
            output,
            from: RunId(Uuid::nil()),
            verdict: verdict(true),
        },
        Event::ApprovalAsked { task, ask: AskId(Uuid::from_u128(78)), what: "w".to_owned() },
        Event::ApprovalGiven { task, ask, granted: true, by: "b".to_owned() },
        Event::ApprovalGiven { task, ask, granted: false, by: "b".to_owned() },
    ];
    events.extend(answers.map(|answer| Event::DoubtAnswered { task, ask, answer, by: "b".to_owned() }));
    events.extend(ends.map(|end| Event::TaskEnded { task, end }));
    events
}

fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{']).next().unwrap().to_owned()
}

/// What `apply` does, over all phases and events.
fn found() -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for (from, given) in PHASES {
        let step = Plans::each("a", 9);
        let step = match *from {
            "quarantined" => quarantine(step, None),
            "failed" => on(step, ollmcp::domain::plan::OnError::Continue),
            _ => step,
        };
        let plan = Plans::of(vec![step, Plans::after(Plans::step("b"), &["a"])]);
        let mut story = Story::new(&plan);
        story.run(given);
        let task = TaskId::new(0, 0);
        let before = word(story.state.tasks.get(&task).map(|task| &task.phase));
        assert_eq!(before, *from, "the way to the phase leads elsewhere: {given}");
        for event in events(&story, task) {
            let mut after = story.state.clone();
            if apply(&mut after, &Stamped::new(9, event.clone())).is_ok() {
                let to = word(after.tasks.get(&task).map(|task| &task.phase));
                rows.insert((before.to_owned(), name(&event), to.to_owned()));
            }
        }
    }
    rows
}

/// What the table in the documentation says.
fn written() -> BTreeSet<Row> {
    let source = include_str!("../../../src/domain/run/mod.rs");
    let mut rows = BTreeSet::new();
    for line in source.lines().filter(|line| line.starts_with("//! |")).skip(2) {
        let cells: Vec<&str> = line.trim_start_matches("//!").split('|').map(str::trim).collect();
        let [_, from, to, event, _] = cells[..] else { panic!("a row has three cells: {line}") };
        let names = event.split('`').skip(1).step_by(2);
        for event in names {
            for from in from.split(", ").flat_map(phases) {
                for target in to.split(", ").flat_map(phases).filter(|target| to != "the same" || *target == from) {
                    rows.insert((from.clone(), event.to_owned(), target));
                }
            }
        }
    }
    rows
}

/// `waiting` alone stands for all that a task can wait for.
fn phases(cell: &str) -> Vec<String> {
    match cell {
        "waiting" => ["in doubt", "waiting for a time", "waiting for approval"].map(str::to_owned).to_vec(),
        "pending on another rung" | "pending on a paid rung" => vec!["pending".to_owned()],
        "the same" => ["running", "judging"].map(str::to_owned).to_vec(),
        other => vec![other.to_owned()],
    }
}

#[test]
fn the_table_in_the_documentation_is_what_apply_does() {
    let (found, written) = (found(), written());
    let only_done: Vec<_> = found.difference(&written).collect();
    let only_written: Vec<_> = written.difference(&found).collect();
    assert!(
        only_done.is_empty() && only_written.is_empty(),
        "not written: {only_done:#?}\nnot done: {only_written:#?}"
    );
    assert!(found.len() > 25, "the table has {} rows", found.len());
}

#[test]
fn nothing_moves_a_task_that_has_ended() {
    let ended = ["done", "failed", "quarantined", "skipped", "cancelled"];
    let moved: Vec<_> = found().into_iter().filter(|(from, ..)| ended.contains(&from.as_str())).collect();
    assert_eq!(moved, []);
}

#[test]
fn events_that_do_not_follow_are_corruption() {
    let plan = Plans::of(vec![Plans::each("a", 3), Plans::flow("b", "a")]);
    let mut story = Story::new(&plan);
    story.run("open a; open b; start a.0");
    let task = TaskId::new(0, 0);
    let wrong = [
        Event::AttemptSucceeded {
            task,
            attempt: 2,
            output: Payload::Inline(json!(1)),
            claimed: None,
            staged: None,
            effects: Vec::new(),
        },
        Event::AttemptFailed { task: TaskId::new(0, 1), attempt: 1, failure: failure("check") },
        Event::AttemptFailed { task: TaskId::new(9, 0), attempt: 1, failure: failure("check") },
        Event::StepOpened { step: 0, items: ollmcp::domain::payload::Items::One, ladder: Default::default() },
        Event::StepOpened { step: 9, items: ollmcp::domain::payload::Items::One, ladder: Default::default() },
        Event::StepEnded { step: 9, end: ollmcp::domain::event::StepEnd::Done },
        Event::RunEnded { end: ollmcp::domain::event::RunEnd::Complete },
        story.events[0].event.clone(),
    ];
    for event in wrong {
        let mut state = story.state.clone();
        assert!(apply(&mut state, &Stamped::new(9, event.clone())).is_err(), "{event:?}");
    }
    // A step that follows itself, or a stranger, would never come to an end of its list.
    let mut state = Story::new(&plan).state;
    for from in [0, 1, 9] {
        let items = ollmcp::domain::payload::Items::Flow { from };
        let event = Event::StepOpened { step: 0, items, ladder: Default::default() };
        assert!(apply(&mut state, &Stamped::new(9, event)).is_err(), "from {from}");
    }
}
