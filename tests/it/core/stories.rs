//! What a run does, case by case: one line of events for each command, with all that follows from the state alone.

use ollmcp::domain::plan::{OnError, Retry, Step, Tolerate};

use super::story::{Plans, check, judged_at_end, on, quarantine, tells, with_validator};

#[test]
fn a_chain_runs_to_its_end() {
    let plan = Plans::of(vec![Plans::step("a"), Plans::after(Plans::step("b"), &["a"])]);
    tells(
        &plan,
        "open a; start a; output a; accept a; open b; start b; output b; accept b",
        "a opens
         a #1 starts
         a gives output
         a is accepted by checks; a done; a DONE
         b opens
         b #1 starts
         b gives output
         b is accepted by checks; b done; b DONE; run Complete",
    );
}

#[test]
fn an_empty_list_is_done_at_once() {
    tells(&Plans::of(vec![Plans::each("a", 0)]), "open a", "a opens x0; a DONE; run Complete");
}

#[test]
fn a_false_condition_skips_the_step_and_all_that_needs_it_and_the_run_is_complete() {
    let plan = Plans::of(vec![
        Plans::step("a"),
        Plans::after(Plans::step("b"), &["a"]),
        Plans::after(Plans::step("c"), &["b"]),
        Plans::step("d"),
    ]);
    tells(
        &plan,
        "skip a; open d; start d; output d; accept d",
        "a SKIPPED: the condition says no; b SKIPPED: needs `a`, which was skipped; c SKIPPED: needs `b`, which was skipped
         d opens
         d #1 starts
         d gives output
         d is accepted by checks; d done; d DONE; run Complete",
    );
}

#[test]
fn a_failed_step_skips_what_needs_it_and_leaves_the_others_alone() {
    let plan = Plans::of(vec![
        Plans::step("a"),
        Plans::after(Plans::step("b"), &["a"]),
        Plans::after(Plans::step("c"), &["b"]),
        Plans::step("d"),
    ]);
    tells(
        &plan,
        "open d; start d; fault a; output d; accept d",
        "d opens
         d #1 starts
         a FAILED: it was bad_input; b SKIPPED for a failure: needs `a`, which failed; c SKIPPED for a failure: needs `b`, which was skipped
         d gives output
         d is accepted by checks; d done; d DONE; run Failed",
    );
}

#[test]
fn on_error_stop_fails_the_step_at_the_first_failed_item_and_lets_the_others_end() {
    let plan = Plans::of(vec![Plans::each("a", 4), Plans::after(Plans::step("b"), &["a"])]);
    let story = tells(
        &plan,
        "open a; start a.0; start a.1; start a.2; fail a.1 missing; fail a.2 check; output a.0; accept a.0",
        "a opens x4
         a.0 #1 starts
         a.1 #1 starts
         a.2 #1 starts
         a.1 #1 fails (missing); a.1 failed (missing); a stops: it was missing
         a.2 #1 fails (check); a.2 failed (check)
         a.0 gives output
         a.0 is accepted by checks; a.0 done; a FAILED: it was missing; b SKIPPED for a failure: needs `a`, which failed; run Failed",
    );
    assert_eq!(story.state.tasks.len(), 3, "item 3 never came into being");
    assert_eq!(story.state.steps[0].counts.done, 1, "what was done stays done");
}

#[test]
fn on_error_stop_leaves_out_what_could_still_have_been_tried() {
    let plan = Plans::of(vec![Plans::each("a", 3)]);
    tells(
        &plan,
        "open a; start a.0; start a.1; start a.2; fail a.0 busy; lost a.1; fail a.2 missing",
        "a opens x3
         a.0 #1 starts
         a.1 #1 starts
         a.2 #1 starts
         a.0 #1 fails (busy); a.0 waits until +1000
         a.1 #1 is cut off
         a.2 #1 fails (missing); a.2 failed (missing); a stops: it was missing; a.0 left out; a.1 left out; a FAILED: it was missing; run Failed",
    );
}

#[test]
fn on_error_continue_fails_the_step_at_its_end() {
    let plan = Plans::of(vec![on(Plans::each("a", 3), OnError::Continue)]);
    tells(
        &plan,
        "open a; start a.0; fail a.0 check; start a.1; output a.1; accept a.1; start a.2; fail a.2 missing",
        "a opens x3
         a.0 #1 starts
         a.0 #1 fails (check); a.0 failed (check)
         a.1 #1 starts
         a.1 gives output
         a.1 is accepted by checks; a.1 done
         a.2 #1 starts
         a.2 #1 fails (missing); a.2 failed (missing); a FAILED: 2 of 3 items failed; the first, `k0`: it was check; run Failed",
    );
}

#[test]
fn on_error_quarantine_sets_items_aside_and_the_step_is_done() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 2), None), Plans::after(Plans::step("b"), &["a"])]);
    tells(
        &plan,
        "open a; start a.0; fail a.0 check; start a.1; fail a.1 check; open b; start b; output b; accept b",
        "a opens x2
         a.0 #1 starts
         a.0 #1 fails (check); a.0 set aside (check)
         a.1 #1 starts
         a.1 #1 fails (check); a.1 set aside (check); a DONE
         b opens
         b #1 starts
         b gives output
         b is accepted by checks; b done; b DONE; run Partial",
    );
}

#[test]
fn a_single_step_is_set_aside_too() {
    let plan = Plans::of(vec![quarantine(Plans::step("a"), None)]);
    tells(
        &plan,
        "open a; start a; fail a missing",
        "a opens\na #1 starts\na #1 fails (missing); a set aside (missing); a DONE; run Partial",
    );
}

#[test]
fn tolerate_fails_the_step_at_the_moment_at_which_it_is_passed() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 4), Some(Tolerate::Count(1)))]);
    tells(
        &plan,
        "open a; start a.0; start a.1; start a.2; fail a.0 check; fail a.1 missing; output a.2; accept a.2",
        "a opens x4
         a.0 #1 starts
         a.1 #1 starts
         a.2 #1 starts
         a.0 #1 fails (check); a.0 set aside (check)
         a.1 #1 fails (missing); a.1 set aside (missing); a stops: 2 items are set aside, 1 are tolerated; the last: it was missing
         a.2 gives output
         a.2 is accepted by checks; a.2 done; a FAILED: 2 items are set aside, 1 are tolerated; the last: it was missing; run Failed",
    );
}

#[test]
fn tolerate_nothing_stops_at_the_first() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 4), Some(Tolerate::Count(0)))]);
    check(
        &plan,
        "open a; start a.0",
        "fail a.0 check",
        "a.0 #1 fails (check); a.0 set aside (check); a stops: 1 items are set aside, 0 are tolerated; the last: it was check",
    );
}

#[test]
fn a_share_is_of_the_whole_list_rounded_up_and_at_least_one() {
    // Share in hundredths of a per cent, length of the list, how many may be set aside.
    let cases = [
        (1_000, 10, 1),
        (1_000, 11, 2),
        (1_000, 1, 1),
        (1, 5, 1),
        (0, 5, 1),
        (5_000, 5, 3),
        (3_333, 9, 3),
        (10_000, 4, 4),
    ];
    for (points, len, tolerated) in cases {
        assert_eq!(Tolerate::BasisPoints(points).limit(len), tolerated, "{points} of {len}");
        let len = u32::try_from(len).unwrap();
        let plan = Plans::of(vec![quarantine(Plans::each("a", len), Some(Tolerate::BasisPoints(points)))]);
        let mut story = super::Story::new(&plan);
        story.run("open a");
        let mut told = String::new();
        for item in 0..len {
            assert_eq!(story.state.steps[0].stopped, None, "{points} of {len}: stopped before item {item}: {told}");
            told = story.run(&format!("start a.{item}; fail a.{item} check"));
            if u64::from(item) == tolerated {
                assert!(told.contains("a stops"), "{points} of {len}: not stopped after item {item}");
                break;
            }
        }
    }
}

#[test]
fn items_that_cannot_be_worked_on_do_not_count_against_tolerate() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 5), Some(Tolerate::Count(1)))]);
    let story = tells(
        &plan,
        "open a; start a.0; fail a.0 unworkable; start a.1; fail a.1 unworkable; start a.2; fail a.2 check; start a.3; fail a.3 unworkable; start a.4; output a.4; accept a.4",
        "a opens x5
         a.0 #1 starts
         a.0 #1 fails (unworkable); a.0 set aside (unworkable)
         a.1 #1 starts
         a.1 #1 fails (unworkable); a.1 set aside (unworkable)
         a.2 #1 starts
         a.2 #1 fails (check); a.2 set aside (check)
         a.3 #1 starts
         a.3 #1 fails (unworkable); a.3 set aside (unworkable)
         a.4 #1 starts
         a.4 gives output
         a.4 is accepted by checks; a.4 done; a DONE; run Partial",
    );
    assert_eq!((story.state.steps[0].counts.quarantined, story.state.steps[0].counts.unworkable), (4, 3));
}

#[test]
fn a_flow_step_takes_items_as_they_are_done_and_ends_after_its_source() {
    let plan = Plans::of(vec![Plans::each("a", 2), Plans::flow("b", "a")]);
    tells(
        &plan,
        "open a; open b; start a.0; start a.1; output a.1; accept a.1; start b.1; output b.1; accept b.1
         output a.0; accept a.0; start b.0; output b.0; accept b.0",
        "a opens x2
         b follows a
         a.0 #1 starts
         a.1 #1 starts
         a.1 gives output
         a.1 is accepted by checks; a.1 done
         b.1 #1 starts
         b.1 gives output
         b.1 is accepted by checks; b.1 done
         a.0 gives output
         a.0 is accepted by checks; a.0 done; a DONE
         b.0 #1 starts
         b.0 gives output
         b.0 is accepted by checks; b.0 done; b DONE; run Complete",
    );
}

#[test]
fn a_flow_step_that_opens_late_finds_what_is_done() {
    let plan =
        Plans::of(vec![Plans::each("a", 2), Plans::step("gate"), Plans::after(Plans::flow("b", "a"), &["gate"])]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a.1; output a.1; accept a.1; open gate; start gate; output gate; accept gate; open b");
    assert_eq!(story.due_text(), "start a.0; start b.1");
    story.run("start a.0; output a.0; accept a.0");
    assert_eq!(story.due_text(), "start b.0; start b.1");
}

#[test]
fn set_aside_items_do_not_flow_on() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 2), None), Plans::flow("b", "a")]);
    tells(
        &plan,
        "open a; open b; start a.0; fail a.0 unworkable; start a.1; output a.1; accept a.1; start b.1; output b.1; accept b.1",
        "a opens x2
         b follows a
         a.0 #1 starts
         a.0 #1 fails (unworkable); a.0 set aside (unworkable)
         a.1 #1 starts
         a.1 gives output
         a.1 is accepted by checks; a.1 done; a DONE
         b.1 #1 starts
         b.1 gives output
         b.1 is accepted by checks; b.1 done; b DONE; run Partial",
    );
}

#[test]
fn a_source_that_fails_midway_stops_its_flow_and_keeps_what_was_done() {
    let plan = Plans::of(vec![Plans::each("a", 3), Plans::flow("b", "a"), Plans::flow("c", "b")]);
    let story = tells(
        &plan,
        "open a; open b; open c; start a.0; output a.0; accept a.0; start b.0; output b.0; accept b.0; start c.0
         start a.1; output a.1; accept a.1; start b.1; start a.2; fail a.2 missing; output b.1; accept b.1; output c.0; accept c.0",
        "a opens x3
         b follows a
         c follows b
         a.0 #1 starts
         a.0 gives output
         a.0 is accepted by checks; a.0 done
         b.0 #1 starts
         b.0 gives output
         b.0 is accepted by checks; b.0 done
         c.0 #1 starts
         a.1 #1 starts
         a.1 gives output
         a.1 is accepted by checks; a.1 done
         b.1 #1 starts
         a.2 #1 starts
         a.2 #1 fails (missing); a.2 failed (missing); a stops: it was missing; a FAILED: it was missing
         b.1 gives output
         b.1 is accepted by checks; b.1 done; b SKIPPED for a failure: needs `a`, which failed
         c.0 gives output
         c.0 is accepted by checks; c.0 done; c SKIPPED for a failure: needs `b`, which was skipped; run Failed",
    );
    let done: Vec<u32> = story.state.steps.iter().map(|step| step.counts.done).collect();
    assert_eq!(done, [2, 2, 1], "what was done stays done");
}

#[test]
fn transient_failures_wait_longer_each_time_and_never_count() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let story = tells(
        &plan,
        "open a; start a; fail a busy; +1000; start a; fail a server_died; +2000; start a; fail a unreachable",
        "a opens
         a #1 starts
         a #1 fails (busy); a waits until +1000
         a #2 starts
         a #2 fails (server_died); a waits until +3000
         a #3 starts
         a #3 fails (unreachable); a failed (unreachable); a stops: it was unreachable; a FAILED: it was unreachable; run Failed",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!((task.standing.failures, task.attempts), (0, 3));
}

#[test]
fn the_backoff_doubles_up_to_its_limit() {
    let retry = Retry { transient_max: 9, backoff_first_ms: 1_000, backoff_max_ms: 60_000 };
    let waits: Vec<u64> = (1..=9).map(|n| ollmcp::domain::ladder::backoff_ms(&retry, n)).collect();
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    assert_eq!(ollmcp::domain::ladder::backoff_ms(&Retry { backoff_first_ms: u64::MAX, ..retry }, u32::MAX), 60_000);
}

#[test]
fn the_soonest_retry_is_not_kept_waiting_by_a_later_one() {
    let plan = Plans::of(vec![Step { max_parallel: 1, ..Plans::each("a", 2) }]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a.0; fail a.0 busy; +1000; start a.0; fail a.0 busy; start a.1; fail a.1 busy");
    assert_eq!(story.due_text(), "start a.1 at +2000");
    story.run("+1000; start a.1; output a.1; accept a.1");
    assert_eq!(story.due_text(), "start a.0 at +3000");
}

#[test]
fn an_attempt_lost_with_its_process_counts_for_nothing() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let story = tells(
        &plan,
        "open a; start a idempotent; resume unclean; lost a; start a",
        "a opens
         a #1 starts
         resumed unclean
         a #1 is cut off
         a #2 starts",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!((task.standing.failures, task.standing.transient_in_row, task.interruptions), (0, 0, 1));
    assert_eq!(story.state.head.resumed, 1);
}

#[test]
fn a_call_that_may_be_repeated_counts_when_it_was_cut_off_by_its_own_fault() {
    let plan = Plans::of(vec![Plans::step("a")]);
    check(&plan, "open a ladder L|; start a idempotent", "lost a timeout", "a #1 fails (timeout); a goes on L");
    check(&plan, "open a; start a", "lost a server_died", "a #1 fails (server_died); a waits until +1000");
}

// The rows of the table in `domain::ladder`.

#[test]
fn two_local_rungs_and_claude_with_threshold_two() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A,B|claude x2; start a; fail a schema; start a; fail a check; start a; fail a limit",
        "a opens
         a #1 starts on A
         a #1 fails (schema); a goes on B
         a #2 starts on B
         a #2 fails (check); a goes on claude (paid)
         a #3 starts on claude (paid)
         a #3 fails (limit); a failed (limit); a stops: it was limit; a FAILED: it was limit; run Failed",
    );
}

#[test]
fn a_critical_task_escalates_after_one_failure() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A,B|claude x1; start a; output a; reject a; start a; output a; accept a",
        "a opens
         a #1 starts on A
         a gives output
         a is rejected by checks; a goes on claude (paid)
         a #2 starts on claude (paid)
         a gives output
         a is accepted by checks; a done; a DONE; run Complete",
    );
}

#[test]
fn one_local_model_is_asked_twice_before_claude() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A|claude x2; start a; fail a check; start a; fail a check; start a",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on A
         a #2 starts on A
         a #2 fails (check); a goes on claude (paid)
         a #3 starts on claude (paid)",
    );
}

#[test]
fn each_paid_rung_has_one_attempt() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A|haiku,opus x1; start a; fail a check; start a; fail a check; start a; fail a check",
        "a opens
         a #1 starts on A
         a #1 fails (check); a goes on haiku (paid)
         a #2 starts on haiku (paid)
         a #2 fails (check); a goes on opus (paid)
         a #3 starts on opus (paid)
         a #3 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn without_a_local_rung_the_paid_ones_are_asked_once_each() {
    tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder |haiku,opus x2; start a; fail a check; start a; fail a check",
        "a opens
         a #1 starts on haiku (paid)
         a #1 fails (check); a goes on opus (paid)
         a #2 starts on opus (paid)
         a #2 fails (check); a failed (check); a stops: it was check; a FAILED: it was check; run Failed",
    );
}

#[test]
fn without_a_paid_rung_a_task_ends_at_the_larger_of_threshold_and_rungs() {
    // Ladder, rungs that are tried.
    let cases = [
        ("A,B,C| x2", "A B C"),
        ("A,B| x2", "A B"),
        ("A| x2", "A A"),
        ("A| x1", "A"),
        ("A,B| x4", "A B B B"),
        ("A,B| x1", "A B"),
    ];
    for (ladder, rungs) in cases {
        let mut story = super::Story::new(&Plans::of(vec![Plans::step("a")]));
        story.run(&format!("open a ladder {ladder}"));
        let mut tried = Vec::new();
        while story.state.head.end.is_none() {
            let started = story.run("start a");
            tried.push(started.split_whitespace().last().unwrap().to_owned());
            story.run("fail a check");
        }
        assert_eq!(tried.join(" "), rungs, "{ladder}");
    }
}

#[test]
fn transient_tries_used_up_lead_to_another_local_rung_uncounted_and_never_to_claude() {
    let plan = Plans::of(vec![Step {
        retry: Retry { transient_max: 1, backoff_first_ms: 10, backoff_max_ms: 10 },
        ..Plans::step("a")
    }]);
    let story = tells(
        &plan,
        "open a ladder A,B|claude x2; start a; fail a busy; +10; start a; fail a busy; start a; fail a busy; +10; start a; fail a busy",
        "a opens
         a #1 starts on A
         a #1 fails (busy); a waits until +10
         a #2 starts on A
         a #2 fails (busy); a goes on B uncounted
         a #3 starts on B
         a #3 fails (busy); a waits until +20
         a #4 starts on B
         a #4 fails (busy); a failed (busy); a stops: it was busy; a FAILED: it was busy; run Failed",
    );
    assert_eq!(story.state.tasks.values().next().unwrap().standing.failures, 0);
}

#[test]
fn a_counted_failure_between_transient_ones_starts_their_count_anew() {
    let story = tells(
        &Plans::of(vec![Plans::step("a")]),
        "open a ladder A| x9; start a; fail a busy; +1000; start a; fail a busy; +2000; start a; fail a check; start a; fail a busy",
        "a opens
         a #1 starts on A
         a #1 fails (busy); a waits until +1000
         a #2 starts on A
         a #2 fails (busy); a waits until +3000
         a #3 starts on A
         a #3 fails (check); a goes on A
         a #4 starts on A
         a #4 fails (busy); a waits until +4000",
    );
    assert_eq!(story.state.tasks.values().next().unwrap().standing.failures, 1);
}

#[test]
fn permanent_and_refused_failures_spend_nothing_more() {
    let plan = Plans::of(vec![Plans::step("a")]);
    for kind in ["missing", "bad_input", "unknown_tool", "denied", "unworkable", "refused"] {
        let expect = format!("a #1 fails ({kind}); a failed ({kind}); a stops: it was {kind}");
        check(&plan, "open a ladder A,B|claude x2; start a", &format!("fail a {kind}"), &expect);
    }
}

#[test]
fn a_task_that_needs_no_model_climbs_nowhere() {
    let plan = Plans::of(vec![Plans::step("a")]);
    for kind in [
        "timeout",
        "tool_error",
        "too_large",
        "schema",
        "check",
        "rejected",
        "panic",
        "empty_reply",
        "malformed_call",
        "limit",
    ] {
        let expect = format!("a #1 fails ({kind}); a failed ({kind}); a stops: it was {kind}");
        check(&plan, "open a; start a", &format!("fail a {kind}"), &expect);
        let expect = format!("a #1 fails ({kind}); a goes on B");
        check(&plan, "open a ladder A,B|claude x2; start a", &format!("fail a {kind}"), &expect);
    }
}

#[test]
fn each_item_starts_low_again() {
    let mut story = super::Story::new(&Plans::of(vec![Plans::each("a", 2)]));
    story.run("open a ladder A|claude x1; start a.0; fail a.0 check");
    assert_eq!(story.run("start a.0; start a.1"), "a.0 #2 starts on claude (paid)\na.1 #1 starts on A");
}

#[test]
fn the_next_attempt_is_told_the_last_five_complaints() {
    let mut story = super::Story::new(&Plans::of(vec![Plans::step("a")]));
    story.run("open a ladder A| x9");
    for kind in ["schema", "check", "limit", "panic", "timeout", "empty_reply"] {
        story.run(&format!("start a; fail a {kind}"));
    }
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!(
        task.complaints,
        ["it was check", "it was limit", "it was panic", "it was timeout", "it was empty_reply"]
    );
    let counted = task.complaints.len();
    story.run("start a; fail a busy");
    assert_eq!(story.state.tasks.values().next().unwrap().complaints.len(), counted, "transient ones tell nothing");
}

// The slot of the validator.

#[test]
fn a_validator_accepts_and_the_task_is_done() {
    let plan = Plans::of(vec![with_validator(Plans::step("a"))]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a; output a");
    assert_eq!(story.due_text(), "judge a.0 by Checks");
    assert_eq!(story.run("accept a"), "a is accepted by checks");
    assert_eq!(story.due_text(), r#"judge a.0 by Validator("VALIDATOR")"#);
    assert_eq!(story.run("accept a VALIDATOR"), "a is accepted by VALIDATOR; a done; a DONE; run Complete");
}

#[test]
fn a_validator_may_speak_first() {
    let plan = Plans::of(vec![with_validator(Plans::step("a"))]);
    tells(
        &plan,
        "open a; start a; output a; accept a VALIDATOR; accept a",
        "a opens
         a #1 starts
         a gives output
         a is accepted by VALIDATOR
         a is accepted by checks; a done; a DONE; run Complete",
    );
}

#[test]
fn a_validator_that_rejects_is_a_counted_failure_that_climbs() {
    let plan = Plans::of(vec![with_validator(Plans::step("a"))]);
    let story = tells(
        &plan,
        "open a ladder A,B|claude x2; start a; output a; accept a; reject a VALIDATOR; start a; output a; reject a VALIDATOR; start a",
        "a opens
         a #1 starts on A
         a gives output
         a is accepted by checks
         a is rejected by VALIDATOR; a goes on B
         a #2 starts on B
         a gives output
         a is rejected by VALIDATOR; a goes on claude (paid)
         a #3 starts on claude (paid)",
    );
    let task = story.state.tasks.values().next().unwrap();
    assert_eq!(
        (task.standing.failures, task.complaints.as_slice()),
        (2, &["not good".to_owned(), "not good".to_owned()][..])
    );
}

#[test]
fn a_validator_that_rejects_the_last_attempt_fails_the_task() {
    let plan = Plans::of(vec![with_validator(Plans::step("a"))]);
    check(
        &plan,
        "open a; start a; output a; accept a",
        "reject a VALIDATOR",
        "a is rejected by VALIDATOR; a failed (rejected); a stops: not good",
    );
}

// Calls in doubt.

const DOUBT: &str = "open a; start a unsafe; lost a";

#[test]
fn an_unsafe_call_whose_outcome_is_unknown_waits_for_a_person() {
    let plan = Plans::of(vec![Plans::step("a")]);
    for lost in ["lost a", "lost a panic", "lost a server_died", "lost a timeout"] {
        let story = tells(&plan, &format!("open a; start a unsafe; {lost}"), "a opens\na #1 starts\na is in doubt");
        assert!(story.state.awaits_person());
        assert_eq!(story.due_text(), "");
    }
}

#[test]
fn it_happened_with_this_output_and_the_checks_run_on_it() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let mut story = super::Story::new(&plan);
    story.run(DOUBT);
    assert_eq!(story.run("answer 1 happened"), "a: happened");
    assert_eq!(story.due_text(), "judge a.0 by Checks");
    assert_eq!(story.run("accept a"), "a is accepted by checks; a done; a DONE; run Complete");
    check(
        &plan,
        &format!("{DOUBT}; answer 1 happened"),
        "reject a",
        "a is rejected by checks; a failed (check); a stops: not good",
    );
}

#[test]
fn the_other_answers_repeat_leave_out_and_fail() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let story = tells(
        &plan,
        &format!("{DOUBT}; answer 1 again; start a unsafe"),
        "a opens\na #1 starts\na is in doubt\na: again\na #2 starts",
    );
    assert!(!story.state.awaits_person());
    let mut story = super::Story::new(&plan);
    story.run(DOUBT);
    assert_eq!(story.run("answer 1 skip"), "a: skip; a left out; a DONE; run Complete");
    let mut story = super::Story::new(&plan);
    story.run(DOUBT);
    let message = "ann counted the call in doubt as failed";
    assert_eq!(
        story.run("answer 1 fail"),
        format!("a: fail; a failed (refused); a stops: {message}; a FAILED: {message}; run Failed")
    );
}

#[test]
fn the_others_go_on_beside_a_call_in_doubt_and_the_step_waits_for_the_answer() {
    let plan = Plans::of(vec![quarantine(Plans::each("a", 2), None)]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a.0 unsafe; lost a.0");
    assert_eq!(story.due_text(), "start a.1");
    assert_eq!(
        story.run("start a.1; output a.1; accept a.1").lines().last(),
        Some("a.1 is accepted by checks; a.1 done")
    );
    assert_eq!(story.run("answer 1 fail"), "a.0: fail; a.0 set aside (refused); a DONE; run Partial");
}

// Approvals.

#[test]
fn an_approval_holds_the_task_until_a_person_says_yes() {
    let plan = Plans::of(vec![Plans::each("a", 2)]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a.0; lost a.0; ask a.0");
    assert_eq!(story.due_text(), "start a.1");
    assert!(story.state.awaits_person());
    assert_eq!(story.run("approve 1"), "a.0: yes");
    assert_eq!(story.due_text(), "start a.0; start a.1");
}

#[test]
fn a_denied_task_fails_as_refused() {
    let plan = Plans::of(vec![Plans::step("a")]);
    check(
        &plan,
        "open a ladder A|claude; start a; lost a; ask a",
        "deny 1",
        "a: no; a failed (refused); a stops: a person said no",
    );
    let plan = Plans::of(vec![quarantine(Plans::step("a"), None)]);
    check(&plan, "open a; start a; lost a; ask a", "deny 1", "a: no; a set aside (refused)");
}

// Reuse.

#[test]
fn a_stored_output_is_taken_over_without_an_attempt() {
    let plan = Plans::of(vec![Plans::each("a", 2), Plans::flow("b", "a")]);
    let story = tells(
        &plan,
        "open a; open b; reuse a.0; start b.0; start a.1; output a.1; accept a.1; output b.0; accept b.0; reuse b.1",
        "a opens x2
         b follows a
         a.0 reused
         b.0 #1 starts
         a.1 #1 starts
         a.1 gives output
         a.1 is accepted by checks; a.1 done; a DONE
         b.0 gives output
         b.0 is accepted by checks; b.0 done
         b.1 reused; b DONE; run Complete",
    );
    assert_eq!((story.state.steps[0].counts.done, story.state.steps[0].counts.reused), (2, 1));
}

// `all_done_when`.

#[test]
fn a_step_is_judged_at_its_end_only_where_it_would_be_done() {
    let plan = Plans::of(vec![judged_at_end(Plans::each("a", 1)), judged_at_end(Plans::each("b", 1))]);
    let mut story = super::Story::new(&plan);
    story.run("open a; start a.0; output a.0; accept a.0");
    assert_eq!(story.due_text(), "judge a; open b");
    assert_eq!(story.run("judge a badly"), "a is rejected; a FAILED: not good");
    assert_eq!(
        story.run("open b; start b.0; fail b.0 check").lines().last(),
        Some("b.0 #1 fails (check); b.0 failed (check); b stops: it was check; b FAILED: it was check; run Failed")
    );
    let mut story = super::Story::new(&Plans::of(vec![judged_at_end(Plans::each("a", 0))]));
    story.run("open a");
    assert_eq!(story.run("judge a well"), "a is accepted; a DONE; run Complete");
}

// Cancelling.

#[test]
fn cancelling_ends_the_run_from_every_phase() {
    // Given, what cancelling causes.
    let cases = [
        ("", "ann cancels; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a", "ann cancels; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0", "ann cancels; b CANCELLED"),
        ("open a; start a.0; lost a.0", "ann cancels; a.0 cancelled; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0; fail a.0 busy", "ann cancels; a.0 cancelled; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0; output a.0", "ann cancels; a.0 cancelled; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0 unsafe; lost a.0", "ann cancels; a.0 cancelled; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0; lost a.0; ask a.0", "ann cancels; a.0 cancelled; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0; output a.0; accept a.0", "ann cancels; a CANCELLED; b CANCELLED; run Cancelled"),
        ("open a; start a.0; start a.1; fail a.0 missing", "ann cancels; b CANCELLED"),
        ("open a; start a.0; output a.0; accept a.0; reuse a.1; open b", "ann cancels; b CANCELLED; run Cancelled"),
    ];
    for (given, expect) in cases {
        let plan = Plans::of(vec![with_validator_on_first(), Plans::after(Plans::step("b"), &["a"])]);
        let mut story = super::Story::new(&plan);
        story.run(given);
        assert_eq!(story.run("cancel"), expect, "after `{given}`");
        assert!(story.state.head.asks.is_empty(), "after `{given}`");
        assert_eq!(story.due_text(), "", "after `{given}`");
    }
}

fn with_validator_on_first() -> Step {
    Plans::each("a", 2)
}

#[test]
fn what_runs_at_a_cancel_still_tells_how_it_went() {
    let plan = Plans::of(vec![Plans::each("a", 4)]);
    tells(
        &plan,
        "open a; start a.0; start a.1; start a.2; start a.3 unsafe; cancel; cancel; output a.0; accept a.0; fail a.1 check; lost a.2; lost a.3",
        "a opens x4
         a.0 #1 starts
         a.1 #1 starts
         a.2 #1 starts
         a.3 #1 starts
         ann cancels
         nothing
         a.0 gives output
         a.0 is accepted by checks; a.0 done
         a.1 #1 fails (check)
         a.2 #1 is cut off
         a.3 is in doubt; a.1 cancelled; a.2 cancelled; a.3 cancelled; a CANCELLED; run Cancelled",
    );
}

#[test]
fn usage_adds_up() {
    let plan = Plans::of(vec![Plans::step("a")]);
    let story =
        tells(&plan, "open a; start a; usage a; usage a", "a opens\na #1 starts\na used 5 tokens\na used 5 tokens");
    let usage = &story.state.head.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cost_microdollars), (10, 4, 18));
}
