//! What follows where a server says when to come again, and what follows on a paid rung that is not there.

use ollmcp::domain::failure::{Failure, FailureKind};
use ollmcp::domain::ladder::{Ladder, Next, Outside, Rung, Standing, TOLD_WAIT_MS_MAX};
use ollmcp::domain::plan::Retry;

const NOW_MS: u64 = 1_800_000_000_000;
const RETRY: Retry = Retry { transient_max: 5, backoff_first_ms: 1_000, backoff_max_ms: 60_000 };

fn ladder() -> Ladder {
    Ladder {
        local: vec!["A".to_owned()],
        paid: vec!["claude:x".to_owned(), "claude:y".to_owned()],
        threshold: 2,
        server_wait_ms: 1_800_000,
        ..Ladder::default()
    }
}

/// What follows the failure number `in_row` in a row on this rung.
fn next(rung: &Rung, in_row: u32, away_since_ms: u64, failure: &Failure) -> Next {
    let standing = Standing { failures: 2, transient_in_row: in_row, paid: 1, away_since_ms, ..Standing::default() };
    ladder().next(rung, standing, failure, &Outside { retry: &RETRY, away: &[], now_ms: NOW_MS })
}

fn busy(until_ms: Option<u64>) -> Failure {
    Failure::new(FailureKind::Busy, "busy").until(until_ms)
}

#[test]
fn the_longer_of_backoff_and_told_wait_is_waited_for_up_to_a_bound() {
    for rung in [Rung::Local("A".to_owned()), Rung::Paid("claude:x".to_owned())] {
        for (in_row, told_ms, wait_ms) in [
            (1, None, 1_000),
            (1, Some(0), 1_000),
            (1, Some(7_000), 7_000),
            (4, Some(7_000), 8_000),
            (1, Some(TOLD_WAIT_MS_MAX), TOLD_WAIT_MS_MAX),
            (1, Some(u64::MAX - NOW_MS), TOLD_WAIT_MS_MAX),
        ] {
            let failure = busy(told_ms.map(|told_ms| NOW_MS + told_ms));
            assert_eq!(next(&rung, in_row, 0, &failure), Next::RetryAfter { wait_ms }, "{in_row} {told_ms:?}");
        }
        let past = busy(Some(NOW_MS - 1));
        assert_eq!(next(&rung, 1, 0, &past), Next::RetryAfter { wait_ms: 1_000 });
    }
}

#[test]
fn a_paid_rung_that_is_away_is_waited_for_where_waiting_buys_nothing() {
    let rung = Rung::Paid("claude:x".to_owned());
    let waits = |wait_ms| Next::AwaitServer { wait_ms };
    for kind in [FailureKind::Busy, FailureKind::Unreachable] {
        let failure = Failure::new(kind, "away");
        assert_eq!(next(&rung, 6, 0, &failure), waits(60_000));
        assert_eq!(next(&rung, 9, NOW_MS - 1_799_999, &failure), waits(60_000));
        assert_eq!(next(&rung, 9, NOW_MS - 1_800_000, &failure), Next::Fail);
    }
    assert_eq!(next(&rung, 6, 0, &busy(Some(NOW_MS + 90_000))), waits(90_000));
    // A request that may have been answered is paid for each time.
    for kind in [FailureKind::Silent, FailureKind::ServerDied] {
        assert_eq!(next(&rung, 6, 0, &Failure::new(kind, "cut")), Next::Fail);
    }
}

#[test]
fn a_paid_model_that_is_not_there_leads_to_the_next_paid_one_uncounted() {
    let rung = Rung::Paid("claude:x".to_owned());
    let missing = Failure::new(FailureKind::ModelMissing, "no such model");
    assert_eq!(next(&rung, 1, 0, &missing), Next::Try(Rung::Paid("claude:y".to_owned())));
    let standing = Standing { failures: 2, transient_in_row: 1, paid: 2, ..Standing::default() };
    let outside = Outside { retry: &RETRY, away: &[], now_ms: NOW_MS };
    assert_eq!(ladder().next(&rung, standing, &missing, &outside), Next::Fail);
}
