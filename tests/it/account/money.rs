//! One process: what is granted, what waits, what is refused and until when.

use super::*;
use futures::FutureExt as _;
use tempfile::tempdir;

#[tokio::test]
async fn a_call_is_reserved_settled_and_told() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let told = bought(&account, &ask(1, 50_000, Limits::default()), 23_400).await;
    assert_eq!(told, Settled { today_calls: 1, today_microdollars: 23_400, run_microdollars: 23_400, ..told });
    let told = bought(&account, &ask(2, 50_000, Limits::default()), 1).await;
    assert_eq!((told.today_calls, told.today_microdollars, told.run_microdollars), (2, 23_401, 1));
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.day_microdollars, standing.open.len()), (2, 23_401, 0));
}

#[tokio::test]
async fn the_hour_slides_and_the_refusal_says_when_it_frees() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 10, limits(2, 1_000));
    bought(&account, &asked, 10).await;
    clock.passes(10 * 60_000);
    bought(&account, &asked, 10).await;
    clock.passes(1);
    let refused = reached(account.reserve(&asked).await);
    assert_eq!((refused.limit, refused.used, refused.max), (Limit::CallsPerHour, 2, 2));
    assert_eq!(refused.frees_in_ms, Some(50 * 60_000 - 1));
    assert_eq!(refused.bound(), "2/hour");
    clock.passes(50 * 60_000 - 2);
    reached(account.reserve(&asked).await);
    clock.passes(1);
    bought(&account, &asked, 10).await;
    let refused = reached(account.reserve(&asked).await);
    assert_eq!(refused.frees_in_ms, Some(10 * 60_000), "the second call leaves ten minutes later");
    // A lower limit needs more of them to leave.
    assert_eq!(reached(account.reserve(&ask(1, 10, limits(1, 1_000))).await).frees_in_ms, Some(60 * 60_000));
    assert_eq!(reached(account.reserve(&ask(1, 10, limits(0, 1_000))).await).frees_in_ms, None);
}

#[tokio::test]
async fn budgets_of_run_and_day_hold_and_are_named() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let of_run = |number, max| Limits { run_microdollars_max: Some(max), ..limits(50, number) };
    bought(&account, &ask(1, 60, of_run(1_000, 100)), 60).await;
    let refused = reached(account.reserve(&ask(1, 41, of_run(1_000, 100))).await);
    assert_eq!((refused.limit, refused.used, refused.asked, refused.frees_at_ms), (Limit::RunBudget, 60, 41, None));
    assert!(refused.hint().contains("--budget"));
    bought(&account, &ask(2, 41, of_run(1_000, 100)), 40).await;
    bought(&account, &ask(1, 40, of_run(1_000, 100)), 40).await;
    let refused = reached(account.reserve(&ask(3, 61, of_run(200, 100))).await);
    assert_eq!((refused.limit, refused.used), (Limit::DayBudget, 140));
    assert_eq!(refused.frees_in_ms, Some(12 * 60 * 60_000), "at midnight");
    let refused = reached(account.reserve(&ask(3, 201, limits(50, 200))).await);
    assert_eq!(refused.frees_in_ms, None, "it never fits into a day");
    clock.passes(12 * HOUR_MS);
    bought(&account, &ask(3, 61, of_run(200, 100)), 61).await;
    let refused = reached(account.reserve(&ask(1, 1, of_run(200, 100))).await);
    assert_eq!(refused.limit, Limit::RunBudget, "a run's budget is not the day's");
}

#[tokio::test]
async fn what_may_fit_waits_and_a_released_call_counts_for_nothing() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 60, limits(1, 100));
    let first = granted(account.reserve(&asked).await);
    let mut second = Box::pin(account.reserve(&asked));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(account.standing(None).await.unwrap().waiting, 1);
    account.release(first).await.unwrap();
    let second = granted(second.await);
    let mut third = Box::pin(account.reserve(&asked));
    assert!((&mut third).now_or_never().is_none());
    account.settle(second, &spent(40)).await.unwrap();
    assert_eq!(reached(third.await).limit, Limit::CallsPerHour);
    assert_eq!(account.standing(None).await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_later_ask_never_takes_what_an_earlier_one_waits_for() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let open_call = granted(account.reserve(&ask(1, 60, limits(50, 100))).await);
    let (of_90, of_20) = (ask(2, 90, limits(50, 100)), ask(3, 20, limits(50, 100)));
    let mut large = Box::pin(account.reserve(&of_90));
    assert!((&mut large).now_or_never().is_none());
    account.flush().await.unwrap();
    let mut small = Box::pin(account.reserve(&of_20));
    assert!((&mut small).now_or_never().is_none());
    account.flush().await.unwrap();
    assert!((&mut small).now_or_never().is_none(), "20 would fit beside 60, but then 90 might not any more");
    account.settle(open_call, &spent(10)).await.unwrap();
    let large = granted(large.await);
    account.settle(large, &spent(30)).await.unwrap();
    account.release(granted(small.await)).await.unwrap();
}

#[tokio::test]
async fn fifty_that_ask_at_once_get_what_fits_and_not_one_more() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    // Each reserves 10 and costs 3: with reservations alone 10 would fit, settled 33.
    let tasks = (0..50).map(|number| {
        let account = account.clone();
        async move {
            match account.reserve(&ask(number, 10, limits(50, 105))).await.unwrap() {
                Decision::Granted(reservation) => {
                    tokio::task::yield_now().await;
                    account.settle(reservation, &spent(3)).await.unwrap();
                    true
                }
                Decision::Reached(reached) => {
                    assert!(reached.used + 10 > 105, "{reached}");
                    false
                }
            }
        }
    });
    let bought = futures::future::join_all(tasks).await.into_iter().filter(|bought| *bought).count();
    assert_eq!(bought, 32, "96 + 10 is over, 93 + 10 is not");
}

#[tokio::test]
async fn a_dropped_reservation_counts_as_spent_and_a_dropped_ask_for_nothing() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 60, limits(50, 100));
    let first = granted(account.reserve(&asked).await);
    let mut waits = Box::pin(account.reserve(&asked));
    assert!((&mut waits).now_or_never().is_none());
    drop(waits);
    // Asked, granted by the account, and never looked at.
    let of_10 = ask(1, 10, limits(50, 100));
    let unseen = loop {
        let mut unseen = Box::pin(account.reserve(&of_10));
        match (&mut unseen).now_or_never() {
            None => break unseen,
            // The account's thread was so fast that it was looked at.
            Some(decision) => _ = account.release(granted(decision)).await.unwrap(),
        }
    };
    account.flush().await.unwrap();
    account.flush().await.unwrap();
    drop(unseen);
    account.flush().await.unwrap();
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.open.len(), standing.waiting), (0, 1, 0));
    drop(first);
    account.flush().await.unwrap();
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.day_microdollars, standing.open.len()), (1, 60, 0));
    assert_eq!(reached(account.reserve(&asked).await).used, 60);
}

#[tokio::test]
async fn an_unknown_outcome_counts_at_its_reservation_and_passing_the_warning_is_said_once() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 60, Limits { warn_at_microdollars: Some(100), ..limits(50, 1_000) });
    let reservation = granted(account.reserve(&asked).await);
    assert_eq!(account.unknown(reservation).await.unwrap().today_microdollars, 60);
    assert_eq!(bought(&account, &asked, 39).await.warns_at_microdollars, None);
    assert_eq!(bought(&account, &asked, 1).await.warns_at_microdollars, Some(100));
    assert_eq!(bought(&account, &asked, 50).await.warns_at_microdollars, None);
}

#[tokio::test]
async fn limits_hold_over_restarts_clock_changes_and_reboots() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let asked = ask(1, 40, limits(2, 100));
    let account = open(folder.path(), &clock).await;
    bought(&account, &asked, 40).await;
    bought(&account, &asked, 40).await;
    drop(account);
    let account = open(folder.path(), &clock).await;
    clock.set_wall(30 * HOUR_MS);
    let refused = reached(account.reserve(&asked).await);
    assert_eq!(refused.limit, Limit::DayBudget, "the clock was set to tomorrow");
    clock.set_wall(-50 * HOUR_MS);
    assert_eq!(reached(account.reserve(&ask(1, 1, limits(2, 1_000))).await).limit, Limit::CallsPerHour);
    clock.set_wall(20 * HOUR_MS);
    drop(account);
    // After a reboot the wall clock is believed: half an hour.
    clock.set_wall(30 * 60_000);
    clock.reboots("two");
    let account = open(folder.path(), &clock).await;
    let one = ask(1, 1, limits(2, 1_000));
    assert_eq!(reached(account.reserve(&one).await).frees_in_ms, Some(30 * 60_000));
    // It was believed once: setting it now changes nothing.
    clock.set_wall(HOUR_MS);
    reached(account.reserve(&one).await);
    clock.set_wall(-HOUR_MS);
    clock.passes(30 * 60_000);
    bought(&account, &one, 1).await;
    bought(&account, &one, 1).await;
    drop(account);
    // Records from the future count, for an hour from when they are seen.
    clock.set_wall(-100 * 24 * HOUR_MS);
    clock.reboots("three");
    let account = open(folder.path(), &clock).await;
    assert_eq!(reached(account.reserve(&one).await).frees_in_ms, Some(60 * 60_000));
    clock.passes(HOUR_MS);
    bought(&account, &one, 1).await;
}

#[tokio::test]
async fn what_was_open_before_a_reboot_counts_as_spent_once() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let before = open(folder.path(), &clock).await;
    let held = granted(before.reserve(&ask(1, 60, limits(50, 100))).await);
    clock.passes(60_000);
    clock.reboots("two");
    for _ in 0..2 {
        let account = open(folder.path(), &clock).await;
        let standing = account.standing(None).await.unwrap();
        assert_eq!((standing.open.len(), standing.hour_calls, standing.day_microdollars), (0, 1, 60));
        assert_eq!(standing.hour_frees_in_ms, Some(59 * 60_000));
        assert_eq!(reached(account.reserve(&ask(1, 41, limits(50, 100))).await).used, 60);
    }
    // No process lives through a reboot; one that is taken for dead by mistake still has the last word.
    before.settle(held, &spent(10)).await.unwrap();
    let account = open(folder.path(), &clock).await;
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.day_microdollars), (1, 10));
}

#[test]
fn an_account_can_be_asked_from_any_task() {
    fn goes_anywhere<T: Send>(_: &T) {}
    fn check(account: &Account, asked: &Ask) {
        goes_anywhere(account);
        goes_anywhere(&account.reserve(asked));
    }
    let _ = check;
}
