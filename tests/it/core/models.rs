//! Attempts that ask models: recorded replies and calls, staged files, servers that are away, and the hold.

use ollmcp::domain::plan::{Plan, Step};
use ollmcp::domain::run::TaskPhase;

use super::story::{Plans, Story, quarantine, tells};

fn one() -> Plan {
    Plans::of(vec![Plans::step("a")])
}

fn many(len: u32) -> Plan {
    Plans::of(vec![quarantine(Plans::each("a", len), None)])
}

// Replies.

#[test]
fn a_reply_outlives_the_process_and_an_uncounted_failure_and_no_counted_one() {
    let mut story = Story::new(&one());
    story.run("open a ladder A,B x2; start a; turn a r1; turn a r2; lost a");
    let replies = |story: &Story| story.state.tasks.values().next().unwrap().turns.len();
    assert_eq!(replies(&story), 2, "the next attempt goes on from them");
    story.run("start a; turn a r3; fail a busy");
    assert_eq!(replies(&story), 3);
    story.run("+2000; start a; fail a schema");
    assert_eq!(replies(&story), 0, "the next one is asked anew");
    assert_eq!(story.state.head.usage.input_tokens, 300);
    let tried = &story.state.tasks.values().next().unwrap().tried;
    assert_eq!(
        tried.iter().map(|one| (one.turns, one.interrupted)).collect::<Vec<_>>(),
        [(2, true), (1, false), (0, false)]
    );
}

#[test]
fn a_second_opinion_is_recorded_with_the_attempt_that_it_is_about() {
    let mut story = Story::new(&one());
    story.run("open a ladder A,B x2 agree:B; start a; turn a r1; output a; accept a");
    assert_eq!(story.due_text(), "judge a.0 by Agreement");
    assert_eq!(story.run("turn a r2"), "a has a reply");
    assert_eq!(story.run("accept a agreement"), "a is accepted by agreement; a done; a DONE; run Complete");
}

#[test]
fn a_disagreement_is_a_counted_failure_that_climbs() {
    tells(
        &one(),
        "open a ladder A,B x2 agree:B; start a; output a; accept a; reject a agreement; start a; output a; accept a; reject a agreement",
        "a opens
         a #1 starts on A
         a gives output
         a is accepted by checks
         a is rejected by agreement; a goes on B
         a #2 starts on B
         a gives output
         a is accepted by checks
         a is rejected by agreement; a failed (disagreement); a stops: not good; a FAILED: not good; run Failed",
    );
}

#[test]
fn what_fails_its_checks_is_not_asked_for_again() {
    let mut story = Story::new(&one());
    story.run("open a ladder A,B x2 agree:B; start a; output a; reject a");
    assert_eq!(story.due_text(), "start a.0");
}

// Calls.

#[test]
fn a_call_in_doubt_waits_for_a_person_and_the_attempt_goes_on_from_the_answer() {
    let story = tells(
        &one(),
        "open a ladder A x2; start a; turn a r1; call a k1 unsafe; lost a; answer 1 happened; start a",
        "a opens
         a #1 starts on A
         a has a reply
         a calls k1
         a is in doubt
         a: happened
         a #2 starts on A",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert!(task.calls[0].result.is_some(), "it is not made again");
    assert_eq!(task.turns.len(), 1, "nor is the reply asked for again");
}

#[test]
fn a_call_that_may_be_repeated_or_was_answered_leaves_no_doubt() {
    let mut story = Story::new(&one());
    story.run("open a ladder A x2; start a; call a k1; lost a");
    assert_eq!(story.due_text(), "start a.0");
    story.run("start a; call a k2 unsafe; called a k2; lost a");
    assert_eq!(story.due_text(), "start a.0");
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!(task.calls.iter().map(|call| call.call.as_str()).collect::<Vec<_>>(), ["k2"]);
}

#[test]
fn what_a_failed_attempt_did_outside_stays_known() {
    let mut story = Story::new(&one());
    story.run(
        "open a ladder A,B x2; start a; call a k1 unsafe; called a k1; call a k2; called a k2 badly; fail a schema",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!(task.calls.iter().map(|call| call.call.as_str()).collect::<Vec<_>>(), ["k1"]);
}

#[test]
fn again_drops_the_call_so_that_it_is_made_once_more() {
    let mut story = Story::new(&one());
    story.run("open a ladder A x2; start a; call a k1 unsafe; lost a; answer 1 again");
    assert_eq!(story.state.tasks.values().next().unwrap().calls, []);
    assert_eq!(story.due_text(), "start a.0");
}

// Files.

#[test]
fn an_accepted_task_is_done_when_its_files_are_in_place() {
    let story = tells(
        &one(),
        "open a ladder A x2; start a; made a files; accept a",
        "a opens
         a #1 starts on A
         a gives output
         a is accepted by checks; a accepted",
    );
    assert_eq!(story.due_text(), "place a.0");
    let mut story = story;
    assert_eq!(story.run("placed a"), "a done; a DONE; run Complete");
}

#[test]
fn files_that_cannot_be_placed_fail_the_task() {
    let mut story = Story::new(&one());
    story.run("open a ladder A x2; start a; made a files; accept a");
    assert!(story.run("placed a conflict").starts_with("a failed (conflict)"));
}

#[test]
fn what_is_accepted_is_put_in_place_before_a_cancelled_run_ends() {
    let mut story = Story::new(&one());
    story.run("open a ladder A x2; start a; made a files; accept a");
    assert!(!story.run("cancel").contains("Cancelled"));
    assert_eq!(story.due_text(), "place a.0");
    assert!(story.run("placed a").ends_with("run Cancelled"));
    assert!(matches!(story.state.tasks.values().next().unwrap().phase, TaskPhase::Done { .. }));
}

// Servers that are away.

#[test]
fn without_a_server_that_answers_a_task_waits_and_then_fails_uncounted() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let mut story = Story::new(&plan);
    let told = story.run(
        "open a ladder A,B x2 wait:10000; start a; fail a busy; +1000; start a; fail a busy; +2000; start a; fail a busy away:A,B",
    );
    assert!(told.ends_with("a waits for a server until +6000"), "{told}");
    assert_eq!(
        story.run("+3000; start a; fail a busy away:A,B").lines().last(),
        Some("a #4 fails (busy); a waits for a server until +9000")
    );
    assert_eq!(
        story.run("+3000; start a; fail a busy away:A,B").lines().last(),
        Some("a #5 fails (busy); a waits for a server until +12000")
    );
    story.run("+3000; start a; fail a busy away:A,B");
    let told = story.run("+3000; start a; fail a busy away:A,B");
    assert!(told.contains("a failed (busy)"), "{told}");
    assert_eq!(story.state.tasks.values().next().unwrap().standing.failures, 0);
}

#[test]
fn another_rung_whose_server_answers_takes_over_uncounted() {
    let mut story = Story::new(&one());
    let told = story.run(
        "open a ladder A,B,C x2 wait:10000; start a; fail a busy; +1000; start a; fail a busy; +2000; start a; fail a busy away:A,B; start a",
    );
    assert!(told.ends_with("a #3 fails (busy); a goes on C uncounted\na #4 starts on C"), "{told}");
    assert_eq!(story.run("fail a schema"), "a #4 fails (schema); a goes on C", "a counted failure goes on from there");
}

#[test]
fn two_flapping_servers_do_not_keep_a_task_for_ever() {
    let mut story = Story::new(&one());
    story.run("open a ladder A,B x2 wait:10000");
    for _ in 0..200 {
        if story.state.head.end.is_some() {
            return;
        }
        story.run("+3000; start a; fail a busy");
    }
    panic!("no end: {:?}", story.state.tasks);
}

#[test]
fn a_rung_that_cannot_do_the_task_is_not_asked_again() {
    for kind in ["model_missing", "context_too_small"] {
        let mut story = Story::new(&one());
        let told =
            story.run(&format!("open a ladder A,B x2 wait:10000; start a; fail a {kind}; start a; fail a {kind}"));
        assert!(told.contains(&format!("a #1 fails ({kind}); a goes on B uncounted")), "{told}");
        assert!(told.contains(&format!("a #2 fails ({kind}); a failed ({kind})")), "{told}");
    }
}

// The hold.

/// One item that uses up its two local attempts and fails alike.
fn fails(item: u32) -> String {
    format!("start a.{item}; fail a.{item} schema; start a.{item}; fail a.{item} schema; ")
}

fn fulfils(item: u32) -> String {
    format!("start a.{item}; output a.{item}; accept a.{item}; ")
}

#[test]
fn five_of_the_first_five_that_fail_alike_hold_the_step() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B x2");
    story.run(&(0..4).map(fails).collect::<String>());
    assert!(!story.state.is_held(0));
    let told = story.run(&fails(4));
    assert!(
        told.ends_with(
            "a HELD: 5 of the first 5 items of `a` failed alike, with all their local attempts (schema): \
             `k0`, `k1`, `k2` and 2 more; the last one, `k4`: it was schema"
        ),
        "{told}"
    );
    assert_eq!(story.due_text(), "", "nothing is begun");
    assert!(story.state.awaits_person());
    for is_live in [false, true] {
        let told = ollmcp::report::detail::RunDetail::new(&story.state, is_live);
        assert_eq!(told.steps[0].state, "held");
        let asked = ollmcp::report::text::asks(&told.asks);
        assert!(asked.contains("\n  a: 5 of the first 5 items of `a` failed alike"), "{asked}");
    }
    assert_eq!(story.run("go 1"), "a: go");
    assert_eq!(story.due_text().matches("start").count(), 100);
    story.run(&(5..20).map(fails).collect::<String>());
    assert!(!story.state.is_held(0), "a step is held once");
}

#[test]
fn eight_of_the_first_ten_hold_the_step_too() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B x2");
    story.run(&(fulfils(0) + &fulfils(1) + &(2..9).map(fails).collect::<String>()));
    assert!(!story.state.is_held(0));
    story.run(&fails(9));
    assert!(story.state.is_held(0));
    let told = story.run("stop 1");
    assert!(told.starts_with("a: stop; a stops: ann stopped the step: its items fail alike"), "{told}");
}

#[test]
fn failures_that_are_not_alike_hold_nothing() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B x2");
    for item in 0..30 {
        let kind = ["schema", "check of:one", "check of:two"][item % 3];
        story.run(&format!("start a.{item}; fail a.{item} {kind}; start a.{item}; fail a.{item} {kind}"));
    }
    assert!(!story.state.is_held(0));
}

#[test]
fn no_more_than_ten_items_are_begun_before_it_is_decided() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B x2");
    assert_eq!(story.due_text().matches("start").count(), 10);
    for item in 0..10 {
        story.run(&format!("start a.{item}"));
    }
    assert!(story.command("start a.10").clone() != story.command("end"));
    let refused = story.command("start a.10");
    assert!(story.tell(refused).is_err());
    story.run("output a.0; accept a.0; output a.1; accept a.1; output a.2; accept a.2");
    assert_eq!(story.due_text().matches("start").count(), 93, "three that were done decide it: all permits are used");
}

#[test]
fn until_it_is_decided_no_item_escalates() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B|claude x2");
    let told = story.run(&fails(0));
    assert!(told.ends_with("a.0 #2 fails (schema); a.0 held before on claude (paid)"), "{told}");
    story.run(&(1..4).map(fails).collect::<String>());
    assert_eq!(story.state.steps[0].counts.waiting, 4, "they hold no slot");
    let told = story.run(&(fulfils(4) + &fulfils(5) + &fulfils(6)));
    assert!(
        told.ends_with(
            "a.0 goes on claude (paid); a.1 goes on claude (paid); a.2 goes on claude (paid); a.3 goes on claude (paid)"
        ),
        "{told}"
    );
}

#[test]
fn what_was_held_climbs_at_go_and_ends_at_stop() {
    for (answer, tells) in [
        (
            "go 1",
            "a: go; a.0 goes on claude (paid); a.1 goes on claude (paid); a.2 goes on claude (paid); a.3 goes on claude (paid); a.4 goes on claude (paid)",
        ),
        (
            "stop 1",
            "a: stop; a stops: ann stopped the step: its items fail alike; a.0 set aside (schema); a.1 set aside (schema); \
             a.2 set aside (schema); a.3 set aside (schema); a.4 set aside (schema); a FAILED: ann stopped the step: its items \
             fail alike; run Failed",
        ),
    ] {
        let mut story = Story::new(&many(500));
        story.run("open a ladder A,B|claude x2");
        story.run(&(0..5).map(fails).collect::<String>());
        assert_eq!(story.run(answer), tells);
    }
}

#[test]
fn a_short_list_is_decided_by_its_end() {
    let mut story = Story::new(&many(4));
    story.run("open a ladder A,B|claude x2");
    assert!(story.run(&fails(0)).ends_with("a.0 goes on claude (paid)"), "four items can never be five");
    let mut story = Story::new(&many(5));
    story.run("open a ladder A,B x2");
    assert!(story.run(&(0..5).map(fails).collect::<String>()).ends_with("run Partial"), "nothing is left to hold");
}

#[test]
fn steps_without_a_ladder_or_without_items_are_never_held() {
    let mut story = Story::new(&many(500));
    story.run("open a");
    for item in 0..20 {
        story.run(&format!("start a.{item}; fail a.{item} schema"));
    }
    assert!(!story.state.is_held(0));
    let plan = Plans::of(vec![Step { threshold: Some(1), ..Plans::step("a") }]);
    let mut story = Story::new(&plan);
    assert!(story.run("open a ladder A|claude x1; start a; fail a schema").ends_with("a goes on claude (paid)"));
}

#[test]
fn what_nobody_could_have_done_better_holds_nothing() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B x2");
    for item in 0..20 {
        story.run(&format!("start a.{item}; fail a.{item} unworkable"));
    }
    assert!(!story.state.is_held(0));
    assert_eq!(story.due_text().matches("start").count(), 10);
}

#[test]
fn a_held_step_survives_a_cancel_and_a_stop_for_another_reason() {
    let mut story = Story::new(&many(500));
    story.run("open a ladder A,B|claude x2");
    story.run(&(0..5).map(fails).collect::<String>());
    assert!(story.run("cancel").ends_with("run Cancelled"));
    let plan = Plans::of(vec![quarantine(Plans::each("a", 500), Some(ollmcp::domain::plan::Tolerate::Count(0)))]);
    let mut story = Story::new(&plan);
    story.run("open a ladder A,B|claude x2");
    story.run(&(0..3).map(fails).collect::<String>());
    let told = story.run("start a.3; fail a.3 missing");
    assert!(told.ends_with("run Failed"), "{told}");
}
