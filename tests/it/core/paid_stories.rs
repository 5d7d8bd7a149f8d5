//! Paid rungs: a person's wish for Claude, limits, rungs in a row, and why none was asked.

use ollmcp::domain::event::TaskEnd;
use ollmcp::domain::ladder::Unpaid;
use ollmcp::domain::plan::{Plan, Step, StepKind};
use ollmcp::domain::run::TaskPhase;
use ollmcp::report::progress::forecast_text;

use super::story::{Plans, Story, tells};

#[test]
fn at_a_limit_of_paid_calls_a_task_tries_the_local_rungs_that_are_left_and_then_fails() {
    let plan = Plans::of(vec![Plans::step("a")]);
    tells(
        &plan,
        "open a ladder A,B|claude x1; start a; fail a check; start a; fail a limited@5000; start a; fail a check",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on claude (paid)
         a #2 starts on claude (paid)
         a #2 fails (limited); a goes on B uncounted
         a #3 starts on B
         a #3 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
    tells(
        &plan,
        "open a ladder A|claude x1; start a; fail a check; start a; fail a limited@5000",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on claude (paid)
         a #2 starts on claude (paid)
         a #2 fails (limited); a failed (limited); a stops: it was limited; a FAILED: it was limited; run Failed",
    );
}

#[test]
fn at_a_limit_a_parked_task_waits_until_it_frees_and_keeps_its_replies_and_its_count() {
    let story = tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A|claude x1 parks; start a; fail a check; start a; turn a r1; fail a limited@5000; +5000; start a; turn a r2",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on claude (paid)
         a #2 starts on claude (paid)
         a has a reply
         a #2 fails (limited); a waits until +5000
         a #3 starts on claude (paid)
         a has a reply",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!((task.standing.failures, task.standing.transient_in_row), (1, 0));
    assert_eq!(task.turns.len(), 2, "what was bought is kept");
}

#[test]
fn at_a_limit_all_local_rungs_that_are_left_are_tried_in_order() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A,B,C|claude x1; start a; fail a check; start a; fail a limited@5000; start a; fail a check; start a; fail a check",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on claude (paid)
         a #2 starts on claude (paid)
         a #2 fails (limited); a goes on B uncounted
         a #3 starts on B
         a #3 fails (check); a goes on C
         a #4 starts on C
         a #4 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn whoever_asks_for_claude_gets_it_first_and_nothing_else_is_asked() {
    let plan = Plans::of(vec![Plans::step("a")]);
    tells(
        &plan,
        "open a ladder A,B|claude x2 wished; start a; output a; accept a",
        "a opens
         a #1 starts on claude (paid)
         a gives output
         a is accepted by checks; a done; a DONE; run Complete",
    );
    tells(
        &plan,
        "open a ladder A,B|claude x2 wished; start a; fail a check",
        "a opens
         a #1 starts on claude (paid)
         a #1 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn where_claude_was_asked_for_a_limit_leads_to_all_local_rungs() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A,B|claude x2 wished; start a; fail a limited; start a; fail a check; start a; fail a check",
        "a opens
         a #1 starts on claude (paid)
         a #1 fails (limited); a goes on A uncounted
         a #2 starts on A
         a #2 fails (check); a goes on B
         a #3 starts on B
         a #3 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn several_paid_rungs_have_one_attempt_each() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A|claude:small,claude:large x1; start a; fail a check; start a; fail a check; start a; fail a check",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on claude:small (paid)
         a #2 starts on claude:small (paid)
         a #2 fails (check); a goes on claude:large (paid)
         a #3 starts on claude:large (paid)
         a #3 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn a_server_that_is_away_sends_work_to_claude_only_where_that_is_switched_on() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let used_up = "start a; fail a busy; +1000; start a; fail a busy; +2000; start a; fail a busy away:A,B";
    let last = |open: &str| {
        let mut story = Story::new(&plan);
        let told = story.run(&format!("{open}; {used_up}"));
        told.lines().last().unwrap().to_owned()
    };
    assert_eq!(last("open a ladder A,B|claude x2 wait:10000"), "a #3 fails (busy); a waits for a server until +6000");
    assert_eq!(
        last("open a ladder A,B|claude x2 wait:10000 away-pays"),
        "a #3 fails (busy); a goes on claude (paid) uncounted"
    );
}

/// What a failed task says of Claude.
fn unasked(commands: &str) -> Option<String> {
    let mut story = Story::new(&Plans::of(vec![Plans::step("a")]));
    story.run(commands);
    match &story.state.tasks.values().next().unwrap().phase {
        TaskPhase::Ended(TaskEnd::Failed(failure)) => failure.unasked.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_task_says_why_claude_was_not_asked() {
    let twice = "start a; fail a check; start a; fail a check";
    for (commands, why) in [
        (format!("open a ladder A|; {twice}"), None),
        (format!("open a ladder A| unpaid:off; {twice}"), Some(Unpaid::Off.to_string())),
        (format!("open a ladder A| unpaid:no_key; {twice}"), Some(Unpaid::NoKey.to_string())),
        (format!("open a ladder A|claude x2; {twice}; start a; turn a r1; fail a check"), None),
        (
            format!("open a ladder A|claude x2; {twice}; start a; fail a limited"),
            Some("a limit of paid calls was reached".into()),
        ),
        ("open a ladder A|claude x2; start a; fail a missing".into(), Some("no model can mend this".into())),
        ("open a ladder A|claude x2; start a; fail a refused".into(), Some("it was refused".into())),
        (
            "open a ladder A|claude x2; start a; fail a model_missing".into(),
            Some("what is away or missing sends nothing to Claude".into()),
        ),
        ("open a; start a; fail a missing".into(), None),
    ] {
        assert_eq!(unasked(&commands), why, "{commands}");
    }
}

#[test]
fn after_twenty_items_of_a_batch_that_asks_models_its_end_and_its_cost_are_told() {
    let kind = StepKind::Agent { name: "A".into(), prompt: Some("do".into()), with: serde_json::Map::new() };
    let asking = Plans::of(vec![Step { kind, ..Plans::each("a", 120) }]);
    let after = |plan: &Plan, items: u32, elapsed_ms, before, microdollars| {
        let mut story = Story::new(plan);
        story.run_quietly("open a ladder A|claude");
        for item in 0..items {
            story.run_quietly(&format!("start a.{item}; output a.{item}; accept a.{item}"));
        }
        forecast_text(&story.state, 0, elapsed_ms, before, microdollars)
    };
    assert_eq!(after(&asking, 19, 60_000, 0, 5_000), None, "too early");
    let told = after(&asking, 20, 60_000, 0, 5_000).unwrap();
    assert!(told.starts_with("a after 20 items: at this rate it ends about "), "{told}");
    assert!(told.ends_with(" (in 5 m 00 s), and it will cost about $0.03 ($0.005 so far)"), "{told}");
    let free = after(&asking, 20, 60_000, 0, 0).unwrap();
    assert!(free.ends_with(", and it has cost nothing"), "{free}");
    assert_eq!(after(&asking, 30, 60_000, 11, 0), None, "what had ended before says nothing of the rate");
    assert_eq!(after(&asking, 120, 60_000, 0, 0), None, "nothing is left");
    assert_eq!(after(&Plans::of(vec![Plans::each("a", 120)]), 40, 60_000, 0, 0), None, "no model is asked");
}
