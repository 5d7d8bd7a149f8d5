//! The usage account on real files: limits, waiting, lost reservations, the usage file, several processes.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use ollmcp::account::rules::HOUR_MS;
use ollmcp::account::{
    Account, AccountError, Ask, Clock, Decision, Limit, Limits, Options, Reached, Reading, Reason, Reservation,
    Settled, Spent,
};
use ollmcp::domain::ids::RunId;
use uuid::Uuid;

mod book;
mod file;
mod money;
mod processes;
mod properties;
mod trouble;
mod verbs;

/// A clock that stands until it is set.
#[derive(Clone, Debug)]
struct TestClock(Arc<Mutex<Reading>>);

impl Clock for TestClock {
    fn read(&self) -> Reading {
        self.0.lock().unwrap().clone()
    }
}

impl TestClock {
    /// Noon of 27 January 2026, UTC.
    fn new() -> Self {
        let wall_us = "2026-01-27T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
        Self(Arc::new(Mutex::new(Reading { boot_id: "one".into(), boot_ms: 1_000_000, wall_us })))
    }

    /// Noon, UTC, some days before now: for what the program itself looks at.
    fn days_ago(days: i64) -> Self {
        let clock = Self::new();
        let now = jiff::Timestamp::now().as_second();
        clock.0.lock().unwrap().wall_us = (now - now.rem_euclid(86_400) - days * 86_400 + 43_200) * 1_000_000;
        clock
    }

    fn date(&self) -> String {
        jiff::Timestamp::from_microsecond(self.read().wall_us).unwrap().strftime("%Y-%m-%d").to_string()
    }

    fn passes(&self, ms: i64) {
        let mut reading = self.0.lock().unwrap();
        reading.boot_ms += ms;
        reading.wall_us += ms * 1000;
    }

    fn set_wall(&self, ms: i64) {
        self.0.lock().unwrap().wall_us += ms * 1000;
    }

    fn reboots(&self, boot_id: &str) {
        let mut reading = self.0.lock().unwrap();
        reading.boot_id = boot_id.into();
        reading.boot_ms = 10_000;
    }
}

async fn open(folder: &Path, clock: &TestClock) -> Account {
    try_open(folder, clock).await.unwrap()
}

async fn try_open(folder: &Path, clock: &TestClock) -> Result<Account, AccountError> {
    let options = Options { clock: Box::new(clock.clone()), zone: TimeZone::UTC };
    Account::open_with(folder, options).await
}

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

fn limits(calls_per_hour_max: u64, day_microdollars_max: u64) -> Limits {
    Limits {
        calls_per_hour_max,
        day_microdollars_max: Some(day_microdollars_max),
        run_microdollars_max: None,
        warn_at_microdollars: None,
    }
}

fn ask(number: u128, microdollars: u64, limits: Limits) -> Ask {
    Ask {
        run: Some(run(number)),
        task: "extract[a.pdf]".into(),
        project: "/home/anna/invoices".into(),
        agent: "CODER".into(),
        model: "claude-sonnet-5-5".into(),
        reason: Reason::Fallback,
        microdollars,
        limits,
    }
}

fn spent(microdollars: u64) -> Spent {
    Spent {
        input_tokens: 1000,
        cache_write_5m_tokens: 200,
        cache_write_1h_tokens: 30,
        cache_read_tokens: 4,
        output_tokens: 500,
        microdollars,
        request_id: Some("req_1".into()),
        is_answered: true,
    }
}

#[track_caller]
fn granted(decision: Result<Decision, AccountError>) -> Reservation {
    match decision.unwrap() {
        Decision::Granted(reservation) => reservation,
        Decision::Reached(reached) => panic!("{reached}"),
    }
}

#[track_caller]
fn reached(decision: Result<Decision, AccountError>) -> Reached {
    match decision.unwrap() {
        Decision::Reached(reached) => reached,
        Decision::Granted(_) => panic!("it was granted"),
    }
}

async fn bought(account: &Account, ask: &Ask, microdollars: u64) -> Settled {
    let reservation = granted(account.reserve(ask).await);
    account.settle(reservation, &spent(microdollars)).await.unwrap()
}
