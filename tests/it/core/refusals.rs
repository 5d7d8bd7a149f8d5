//! Every way in which a command is refused. Refusing changes nothing.

use std::collections::BTreeSet;

use ollmcp::domain::command::{Command, Refusal};
use ollmcp::domain::ids::{AskId, StepIndex, TaskId};
use ollmcp::domain::payload::Items;
use ollmcp::domain::plan::{Plan, Step};
use ollmcp::domain::run::decide;
use uuid::Uuid;

use super::story::{Plans, Story, check, judged_at_end, with_validator};

fn plan() -> Plan {
    let one_at_a_time = Step { max_parallel: 1, ..Plans::each("a", 3) };
    Plans::of(vec![
        one_at_a_time,
        Plans::flow("b", "a"),
        Plans::after(Plans::step("c"), &["a"]),
        judged_at_end(Plans::each("d", 1)),
        with_validator(Plans::step("v")),
    ])
}

/// Given, command, refusal. Each row is one way.
const CASES: &[(&str, &str, &str)] = &[
    ("cancel", "open a", "the run has ended"),
    ("cancel", "resume", "the run has ended"),
    ("open a; start a.0; cancel", "open d", "step 3 is cancelled"),
    ("open a; start a.0; cancel", "start a.1", "the run is being cancelled"),
    ("open a; start a.0; cancel", "reuse a.1", "the run is being cancelled"),
    ("", "open s9", "no step number 9 in this run"),
    ("", "close s9", "no step number 9 in this run"),
    ("", "skip s9", "no step number 9 in this run"),
    ("", "judge s9 well", "no step number 9 in this run"),
    ("", "start s9.0", "no step number 9 in this run"),
    ("open a", "open a", "step 0 is running"),
    ("open a", "skip a", "step 0 is running"),
    ("open a", "fault a", "step 0 is running"),
    ("skip a", "open a", "step 0 is skipped"),
    ("skip a", "close a", "step 0 is skipped"),
    ("", "open b", "step 1 is waiting for other steps"),
    ("open a", "open c", "step 2 is waiting for other steps"),
    ("", "close a", "step 0 is pending"),
    ("", "start a.0", "step 0 is pending"),
    ("", "judge a well", "step 0 is pending"),
    ("open a", "close a", "step 0 still has work"),
    ("open a; start a.0", "close a", "step 0 still has work"),
    ("open d", "judge d well", "step 3 still has work"),
    ("", "end", "step 0 still has work"),
    ("open a; start a.0", "start a.1", "step 0 already has 1 attempts open"),
    ("open a; start a.0; output a.0", "start a.1", "step 0 already has 1 attempts open"),
    ("open a; start a.0", "start a.0", "task 0[0] is running"),
    ("open a; start a.0; output a.0", "start a.0", "task 0[0] is running"),
    ("open a; start a.0; output a.0; accept a.0", "start a.0", "task 0[0] is done"),
    ("open a; start a.0; output a.0; accept a.0", "reuse a.0", "task 0[0] is done"),
    ("open a; start a.0; fail a.0 busy", "start a.0", "task 0[0] is waiting"),
    ("open a", "start a.3", "task 0[3] is not there"),
    ("open a; open b", "start b.0", "task 1[0] is not there"),
    ("open a; start a.0; fail a.0 missing", "start a.1", "step 0 is failed"),
    ("open a", "accept a.0", "task 0[0] is not there"),
    ("open a; start a.0", "accept a.0", "task 0[0] is running"),
    ("open a", "ask a.0", "task 0[0] is not there"),
    ("open a; start a.0", "ask a.0", "task 0[0] is running"),
    ("open a", "usage a.0", "task 0[0] is not there"),
    ("open a", "output a.0", "attempt 1 of task 0[0] is not open"),
    ("open a; start a.0", "output a.0 #2", "attempt 2 of task 0[0] is not open"),
    ("open a; start a.0; lost a.0; start a.0", "fail a.0 check #1", "attempt 1 of task 0[0] is not open"),
    ("open a; start a.0; output a.0", "output a.0", "attempt 1 of task 0[0] is not open"),
    ("open a; start a.0; output a.0; accept a.0", "fail a.0 check", "attempt 1 of task 0[0] is not open"),
    ("open a; start a.0; output a.0", "accept a.0 #2", "attempt 2 of task 0[0] is not open"),
    (
        "open a; start a.0; output a.0",
        "accept a.0 VALIDATOR",
        "this verdict does not fit: the step names no such judge",
    ),
    ("open v; start v; output v", "accept v agreement", "this verdict does not fit: the step names no such judge"),
    ("open v; start v; output v; accept v", "accept v", "this verdict does not fit: this judge has spoken"),
    ("open a", "reuse a.0 rejected", "this verdict does not fit: a rejected output is not reused"),
    ("open a", "answer 0 again", "no open question 00000000-0000-0000-0000-000000000000"),
    ("open a", "approve 0", "no open question 00000000-0000-0000-0000-000000000000"),
    ("open a; start a.0 unsafe; lost a.0", "approve 1", "no open question 00000000-0000-0000-0000-0000000003e9"),
    (
        "open a; start a.0 unsafe; lost a.0; answer 1 again",
        "answer 1 again",
        "no open question 00000000-0000-0000-0000-0000000003e9",
    ),
];

#[test]
fn commands_that_do_not_fit_are_refused_with_the_reason() {
    for (given, command, refusal) in CASES {
        check(&plan(), given, command, &format!("refused: {refusal}"));
    }
}

#[test]
fn a_step_is_judged_once() {
    let mut story = Story::new(&plan());
    story.run("open d; start d.0; output d.0; accept d.0");
    let twice = story.command("judge d well");
    story.tell(twice.clone()).unwrap();
    let refusal = story.tell(twice).unwrap_err();
    assert_eq!(refusal.to_string(), "this verdict does not fit: the step was judged already");
}

#[test]
fn a_step_whose_need_did_not_end_well_is_never_opened() {
    let mut story = Story::new(&plan());
    let fault = story.command("fault a");
    story.tell(fault).unwrap();
    for step in ["open b", "open c"] {
        let command = story.command(step);
        let refusal = story.tell(command).unwrap_err();
        assert!(refusal.to_string().ends_with("is without what it needs"), "{refusal}");
    }
}

#[test]
fn items_that_are_not_the_steps_are_refused() {
    let mut story = Story::new(&plan());
    for (step, items) in
        [(0, Items::One), (0, Items::Flow { from: 0 }), (4, Items::Range { len: 2 }), (4, Items::Flow { from: 9 })]
    {
        let command = Command::OpenStep { step: step as StepIndex, items, ladder: Default::default() };
        assert_eq!(story.tell(command).unwrap_err(), Refusal::Items(step));
    }
}

#[test]
fn a_question_is_asked_under_an_id_of_its_own() {
    let mut story = Story::new(&plan());
    story.run("open a; open v; start a.0 unsafe; start v unsafe; lost a.0");
    let taken = story.asks[0];
    let end = ollmcp::domain::command::AttemptEnd::Unknown { what: "w".to_owned(), failure: None };
    let command = Command::EndAttempt { task: TaskId::new(4, 0), attempt: 1, end, ask: taken, away: Vec::new() };
    assert_eq!(story.tell(command).unwrap_err(), Refusal::AskTaken(taken));
    story.run("answer 1 again");
    let command =
        Command::AskApproval { task: TaskId::new(0, 0), ask: AskId(Uuid::from_u128(5)), what: "w".to_owned() };
    story.tell(command).unwrap();
    story.run("output v");
}

/// The rows above name every refusal that there is.
#[test]
fn no_refusal_is_left_out() {
    let name = |refusal: &Refusal| match refusal {
        Refusal::RunEnded => "run ended",
        Refusal::BeingCancelled => "being cancelled",
        Refusal::UnknownStep(_) => "unknown step",
        Refusal::StepState { .. } => "step state",
        Refusal::TaskState { .. } => "task state",
        Refusal::NotOpen { .. } => "not open",
        Refusal::NoRoom { .. } => "no room",
        Refusal::StillWorking(_) => "still working",
        Refusal::Verdict(_) => "verdict",
        // These two have tests of their own: the text of a command cannot say them.
        Refusal::Items(_) => "items",
        Refusal::AskTaken(_) => "ask taken",
        Refusal::NoSuchAsk(_) => "no such ask",
    };
    let mut seen = BTreeSet::new();
    for (given, command, refusal) in CASES {
        let mut story = Story::new(&plan());
        story.run(given);
        let before = story.state.clone();
        let command = story.command(command);
        let found = decide(&story.state, command, story.now_ms).unwrap_err();
        assert_eq!(story.state, before, "{refusal}");
        seen.insert(name(&found));
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
}
