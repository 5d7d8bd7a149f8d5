//! `claude_usage.json`: one record a call, records of the prior program kept and counted, broken files set aside.

use std::fs;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::*;
use ollmcp::account::{By, Span};

fn usage_file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("claude_usage.json")
}

fn records(folder: &TempDir) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(usage_file(folder)).unwrap()).unwrap()
}

/// A record as the prior program writes it.
fn prior(timestamp: &str, reason: &str, cost: f64, success: bool) -> Value {
    json!({ "timestamp": timestamp, "task_type": "SHELL_EXECUTOR", "reason": reason, "input_tokens": 2154,
        "output_tokens": 892, "cost_estimate": cost, "success": success })
}

fn write(folder: &TempDir, records: &[Value]) {
    fs::write(usage_file(folder), serde_json::to_string_pretty(records).unwrap()).unwrap();
}

#[tokio::test]
async fn every_call_that_may_have_cost_is_one_record_in_the_documented_form() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    assert!(!usage_file(&folder).exists(), "nothing was bought yet");
    bought(&account, &ask(1, 50_000, Limits::default()), 19_900).await;
    let reservation = granted(account.reserve(&ask(1, 50_000, Limits::default())).await);
    account.release(reservation).await.unwrap();
    clock.passes(1_500);
    let reservation = granted(account.reserve(&ask(1, 7_000, Limits::default())).await);
    account.unknown(reservation).await.unwrap();
    let expected = r#"[
  {
    "timestamp": "2026-01-27T12:00:00",
    "task_type": "CODER",
    "reason": "fallback",
    "input_tokens": 1234,
    "output_tokens": 500,
    "cost_estimate": 0.0199,
    "success": true
  },
  {
    "timestamp": "2026-01-27T12:00:01.500000",
    "task_type": "CODER",
    "reason": "fallback",
    "input_tokens": 0,
    "output_tokens": 0,
    "cost_estimate": 0.007,
    "success": false
  }
]"#;
    assert_eq!(fs::read_to_string(usage_file(&folder)).unwrap(), expected);
}

#[tokio::test]
async fn records_of_the_prior_program_are_kept_and_count() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let old = prior("2026-01-20T08:00:00.5", "critical", 0.0102, true);
    let fresh = prior("2026-01-27T11:30:00.123456", "fallback", 0.0199, false);
    write(&folder, &[old.clone(), fresh.clone()]);
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 100, limits(2, 50_000));
    let told = bought(&account, &asked, 100).await;
    assert_eq!((told.today_calls, told.today_microdollars), (2, 20_000));
    assert_eq!(records(&folder)[..2], [old.clone(), fresh.clone()], "to the letter");
    let refused = reached(account.reserve(&asked).await);
    assert_eq!((refused.limit, refused.used), (Limit::CallsPerHour, 2));
    assert_eq!(refused.frees_in_ms, Some(30 * 60_000 + 123));
    // It goes on writing, from what it read before ours was there.
    let newest = prior("2026-01-27T12:00:05", "validation", 0.5, true);
    clock.passes(10_000);
    write(&folder, &[old.clone(), fresh.clone(), newest.clone()]);
    let refused = reached(account.reserve(&ask(1, 100, limits(50, 50_000))).await);
    assert_eq!((refused.limit, refused.used), (Limit::DayBudget, 520_000));
    account.flush().await.unwrap();
    assert_eq!(records(&folder).len(), 4, "ours is back, its is kept");
    assert_eq!(records(&folder)[3], newest);
    drop(account);
    let account = open(folder.path(), &clock).await;
    let groups = account.usage(Span::Today, By::Reason).await.unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.calls, group.microdollars)).collect();
    assert_eq!(told, [("fallback", 2, 20_000), ("validation", 1, 500_000)], "counted once, by their first call");
    let all = account.usage(Span::Since("2026-01-20".parse().unwrap()), By::Day).await.unwrap();
    assert_eq!(all.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["2026-01-20", "2026-01-27"]);
    assert!(account.take_notices().is_empty());
}

#[tokio::test]
async fn a_broken_file_is_set_aside_and_what_it_holds_whole_counts() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let one = prior("2026-01-27T11:30:00", "fallback", 0.01, true).to_string();
    for (nth, broken) in
        [format!("[{one},{}", &one[..50]), format!("[{}]", one.replace("}", ",\"run\":1}"))].into_iter().enumerate()
    {
        fs::write(usage_file(&folder), &broken).unwrap();
        let account = open(folder.path(), &clock).await;
        let notices = account.take_notices();
        assert!(notices.len() == 1 && notices[0].contains("broken"), "{notices:?}");
        let aside = folder.path().join(format!("claude_usage.json.broken-{}", nth + 1));
        assert_eq!(fs::read_to_string(aside).unwrap(), broken);
        assert_eq!(records(&folder).len(), 1);
        assert_eq!(account.standing(None).await.unwrap().hour_calls, 1);
        drop(account);
    }
}

#[tokio::test]
async fn a_usage_file_that_cannot_be_written_stops_no_call_and_is_said_once() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    fs::create_dir(usage_file(&folder)).unwrap();
    let account = open(folder.path(), &clock).await;
    bought(&account, &ask(1, 10, Limits::default()), 10).await;
    bought(&account, &ask(1, 10, Limits::default()), 10).await;
    let notices = account.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("claude_usage.json"));
}

#[tokio::test]
async fn a_removed_file_comes_back_and_a_lost_account_is_made_from_it() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 40, limits(50, 100));
    bought(&account, &asked, 40).await;
    fs::remove_file(usage_file(&folder)).unwrap();
    bought(&account, &asked, 40).await;
    assert_eq!(records(&folder).len(), 2);
    // The account is taken away while a call is open: it is on record in the new one.
    let reservation = granted(account.reserve(&ask(1, 20, limits(50, 100))).await);
    fs::remove_file(folder.path().join("claude_account.db")).unwrap();
    assert_eq!(reached(account.reserve(&asked).await).used, 80);
    let told = account.settle(reservation, &spent(15)).await.unwrap();
    assert_eq!(told.today_microdollars, 95);
    assert_eq!(records(&folder).len(), 3);
}
