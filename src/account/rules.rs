//! The rules for money, pure: what counts, what fits, what waits, and when a limit frees again.
//!
//! Time comes in as values. How much was spent comes in as sums; where it is kept is the store's business.
//!
//! | settled alone, with this call | settled and held, with this call | verdict |
//! | --- | --- | --- |
//! | over a limit | | reached |
//! | within all | over a limit | waits until others have settled |
//! | within all | within all | granted |
//!
//! *Held* are reservations that are open, and asks that wait and came before this one: a later ask never takes what an
//! earlier one waits for. So whoever waits is refused only if it would not have fitted either had nobody come after it.

use std::fmt;

use crate::domain::money::dollars;

/// The window of the hourly limit.
pub const HOUR_MS: i64 = 60 * 60 * 1000;

/// Longest time for which a record counts towards a day's budget only because its clock was ahead of today's.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Longest local day: one at the end of summer time, and then some.
pub const DAY_MS_MAX: i64 = 26 * HOUR_MS;

/// Most that one call may be taken to cost: a million dollars. More is a fault of the price table.
pub const CALL_MICRODOLLARS_MAX: u64 = 1_000_000_000_000;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the boot, sleep included; negative for what happened before it.
    pub boot_ms: i64,
    /// Since the Unix epoch, as the wall clock says.
    pub wall_ms: i64,
}

impl Moment {
    /// How long ago `self` was, by the boot clock. Both moments are of one boot, or were [`Self::anchored`] in it.
    #[must_use]
    pub fn age_ms(&self, now: &Self) -> i64 {
        now.boot_ms.saturating_sub(self.boot_ms).max(0)
    }

    /// The moment of an earlier boot as the boot clock of `now` would have told it: after a reboot the wall clock is
    /// believed, once, when the record is first seen. What it says of the future counts as having just happened.
    #[must_use]
    pub fn anchored(&self, now: &Self) -> Self {
        let age_ms = now.wall_ms.saturating_sub(self.wall_ms).max(0);
        Self { boot_ms: now.boot_ms.saturating_sub(age_ms), wall_ms: self.wall_ms }
    }

    /// Whether a call of that moment counts towards the hourly limit now.
    #[must_use]
    pub fn is_within_hour(&self, now: &Self) -> bool {
        self.age_ms(now) < HOUR_MS
    }

    /// Whether it counts towards the budget of the day that began at `day_start_ms` by the wall clock of now: it
    /// happened since then by the boot clock, or its own clock says so and it is younger than a day. A clock that is
    /// set therefore frees nothing.
    #[must_use]
    pub fn is_within_day(&self, now: &Self, day_start_ms: i64) -> bool {
        let age_ms = self.age_ms(now);
        now.wall_ms.saturating_sub(age_ms) >= day_start_ms || (self.wall_ms >= day_start_ms && age_ms < DAY_MS)
    }
}

/// What an ask must fit into. Money in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in any 60 minutes.
    pub calls_per_hour_max: u64,
    /// What one run may cost; `None`: as much as the day allows.
    pub run_microdollars_max: Option<u64>,
    /// What one local day may cost.
    pub day_microdollars_max: Option<u64>,
    /// Of a day's cost: passing it is said once.
    pub warn_at_microdollars: Option<u64>,
}

impl Default for Limits {
    /// 50 calls an hour and 10 dollars a day.
    fn default() -> Self {
        Self {
            calls_per_hour_max: 50,
            run_microdollars_max: None,
            day_microdollars_max: Some(10_000_000),
            warn_at_microdollars: None,
        }
    }
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Calls in any 60 minutes.
    CallsPerHour,
    /// Dollars in one local day.
    DayBudget,
    /// Dollars in one run.
    RunBudget,
}

impl Limit {
    /// The key or flag that sets it.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::CallsPerHour => "claude_integration.max_calls_per_hour",
            Self::DayBudget => "budget.usd_per_day_max",
            Self::RunBudget => "--budget",
        }
    }

    /// What to do to go on before it frees, for people.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::CallsPerHour => "wait for the window, or `ollmcp config set claude_integration.max_calls_per_hour N`",
            Self::DayBudget => "wait for tomorrow, or `ollmcp config set budget.usd_per_day_max DOLLARS`",
            Self::RunBudget => "give the run more with `--budget DOLLARS`, or set `budget.usd_per_run_max`",
        }
    }
}

/// Calls and money that count towards the three limits of one ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls of the last 60 minutes.
    pub hour_calls: u64,
    /// Money of this day.
    pub day_microdollars: u64,
    /// Money of the run that asks.
    pub run_microdollars: u64,
}

impl Sums {
    /// Adds one call.
    pub fn add(&mut self, is_of_hour: bool, is_of_run: bool, microdollars: u64) {
        self.hour_calls += u64::from(is_of_hour);
        self.day_microdollars = self.day_microdollars.saturating_add(microdollars);
        if is_of_run {
            self.run_microdollars = self.run_microdollars.saturating_add(microdollars);
        }
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            hour_calls: self.hour_calls.saturating_add(other.hour_calls),
            day_microdollars: self.day_microdollars.saturating_add(other.day_microdollars),
            run_microdollars: self.run_microdollars.saturating_add(other.run_microdollars),
        }
    }
}

/// What becomes of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits whatever the others come to.
    Granted,
    /// It may fit once others have settled.
    Wait,
    /// It does not fit even with none open.
    Reached(Limit),
}

/// Decides one ask of at most `microdollars` from what is settled and what is held. Where several limits stand, the one
/// is named that frees last.
#[must_use]
pub fn decide(microdollars: u64, limits: &Limits, settled: &Sums, held: &Sums) -> Verdict {
    if let Some(limit) = over(microdollars, limits, settled) {
        Verdict::Reached(limit)
    } else if over(microdollars, limits, &settled.with(held)).is_some() {
        Verdict::Wait
    } else {
        Verdict::Granted
    }
}

fn over(microdollars: u64, limits: &Limits, sums: &Sums) -> Option<Limit> {
    let is_over = |spent: u64, max: Option<u64>| max.is_some_and(|max| spent.saturating_add(microdollars) > max);
    if is_over(sums.run_microdollars, limits.run_microdollars_max) {
        Some(Limit::RunBudget)
    } else if is_over(sums.day_microdollars, limits.day_microdollars_max) {
        Some(Limit::DayBudget)
    } else if sums.hour_calls >= limits.calls_per_hour_max {
        Some(Limit::CallsPerHour)
    } else {
        None
    }
}

/// Which call, from the oldest of the window counted from 0, must leave it before another fits; `None`: none helps.
#[must_use]
pub const fn call_that_must_leave(hour_calls: u64, calls_per_hour_max: u64) -> Option<u64> {
    if calls_per_hour_max == 0 || hour_calls < calls_per_hour_max {
        return None;
    }
    Some(hour_calls - calls_per_hour_max)
}

/// A limit that stands with none open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which one.
    pub limit: Limit,
    /// What counts towards it now: calls, or microdollars.
    pub used: u64,
    /// Its bound, in the same unit.
    pub max: u64,
    /// What the ask needed, in the same unit.
    pub asked: u64,
    /// After how long this ask may fit; `None`: time alone does not help.
    pub frees_in_ms: Option<u64>,
    /// The same by the wall clock, since the Unix epoch.
    pub frees_at_ms: Option<u64>,
}

impl Reached {
    /// What to set, or how long to wait.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        self.limit.hint()
    }

    /// The documented name of the limit, as in `50/hour`.
    #[must_use]
    pub fn bound(&self) -> String {
        match self.limit {
            Limit::CallsPerHour => format!("{}/hour", self.max),
            Limit::DayBudget => format!("${}/day", dollars(self.max)),
            Limit::RunBudget => format!("${}/run", dollars(self.max)),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, max, asked) = (dollars(self.used), dollars(self.max), dollars(self.asked));
        match self.limit {
            Limit::CallsPerHour => {
                write!(f, "the hourly limit of {} paid calls is reached ({} in the last hour)", self.max, self.used)
            }
            Limit::DayBudget => {
                write!(f, "the day's budget of ${max} is reached (${used} spent, up to ${asked} needed)")
            }
            Limit::RunBudget => {
                write!(f, "the run's budget of ${max} is reached (${used} spent, up to ${asked} needed)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limits(calls: u64, run: u64, day: u64) -> Limits {
        Limits {
            calls_per_hour_max: calls,
            run_microdollars_max: Some(run),
            day_microdollars_max: Some(day),
            warn_at_microdollars: None,
        }
    }

    const fn sums(hour_calls: u64, day_microdollars: u64, run_microdollars: u64) -> Sums {
        Sums { hour_calls, day_microdollars, run_microdollars }
    }

    #[test]
    fn the_table_of_verdicts() {
        let none = Sums::default();
        for (asked, settled, held, verdict) in [
            (10, sums(0, 0, 0), none, Verdict::Granted),
            (10, sums(1, 90, 40), none, Verdict::Granted),
            (11, sums(1, 90, 39), none, Verdict::Reached(Limit::DayBudget)),
            (11, sums(1, 90, 40), none, Verdict::Reached(Limit::RunBudget)),
            (10, sums(2, 0, 0), none, Verdict::Reached(Limit::CallsPerHour)),
            // Of several the one that frees last.
            (10, sums(2, 95, 0), none, Verdict::Reached(Limit::DayBudget)),
            (10, sums(2, 95, 45), none, Verdict::Reached(Limit::RunBudget)),
            // What is held makes it wait, never refused.
            (10, sums(1, 0, 0), sums(1, 0, 0), Verdict::Wait),
            (10, sums(0, 50, 0), sums(1, 41, 0), Verdict::Wait),
            (10, sums(0, 0, 20), sums(1, 21, 21), Verdict::Wait),
            (10, sums(2, 0, 0), sums(5, 0, 0), Verdict::Reached(Limit::CallsPerHour)),
            (51, sums(0, 0, 0), none, Verdict::Reached(Limit::RunBudget)),
            // No sum overflows.
            (u64::MAX, sums(0, u64::MAX, 0), sums(1, u64::MAX, 0), Verdict::Reached(Limit::RunBudget)),
        ] {
            assert_eq!(decide(asked, &limits(2, 50, 100), &settled, &held), verdict, "{asked} {settled:?} {held:?}");
        }
        let open = Limits { run_microdollars_max: None, day_microdollars_max: None, ..limits(1, 0, 0) };
        assert_eq!(decide(u64::MAX, &open, &none, &none), Verdict::Granted);
        assert_eq!(decide(0, &limits(1, 0, 0), &none, &none), Verdict::Granted, "what costs nothing fits into nothing");
        assert_eq!(decide(0, &limits(0, 9, 9), &none, &none), Verdict::Reached(Limit::CallsPerHour));
    }

    #[test]
    fn a_call_leaves_the_window_after_an_hour_by_the_boot_clock_alone() {
        let call = Moment { boot_ms: 1_000, wall_ms: 5_000_000_000 };
        let later = |boot_ms, wall_ms| Moment { boot_ms, wall_ms };
        assert!(call.is_within_hour(&later(1_000 + HOUR_MS - 1, 0)));
        assert!(call.is_within_hour(&later(1_001, i64::MAX)), "a clock that was set forward frees nothing");
        assert!(!call.is_within_hour(&later(1_000 + HOUR_MS, 0)), "and one that was set back holds nothing");
    }

    #[test]
    fn after_a_reboot_the_wall_clock_is_believed_and_the_future_has_just_happened() {
        let call = Moment { boot_ms: 9_000_000, wall_ms: 10 * HOUR_MS };
        let boot = |boot_ms, wall_ms| Moment { boot_ms, wall_ms };
        let seen = boot(20_000, 10 * HOUR_MS + 30 * 60_000);
        assert_eq!(call.anchored(&seen).age_ms(&seen), 30 * 60_000);
        let ahead = boot(20_000, 0);
        let anchored = call.anchored(&ahead);
        assert!(anchored.is_within_hour(&ahead));
        assert!(anchored.is_within_hour(&boot(20_000 + HOUR_MS - 1, 1)));
        assert!(!anchored.is_within_hour(&boot(20_000 + HOUR_MS, 1)), "it does not count for ever");
    }

    #[test]
    fn setting_the_clock_frees_no_budget_of_the_day() {
        let noon = 100 * DAY_MS + 12 * HOUR_MS;
        let call = Moment { boot_ms: 0, wall_ms: noon };
        let now = |boot_ms, wall_ms| Moment { boot_ms, wall_ms };
        let day = |wall_ms: i64| wall_ms - wall_ms % DAY_MS;
        let counts = |at: Moment| call.is_within_day(&at, day(at.wall_ms));
        assert!(counts(now(HOUR_MS, noon + HOUR_MS)));
        assert!(!counts(now(13 * HOUR_MS, noon + 13 * HOUR_MS)), "the next day is another");
        assert!(counts(now(HOUR_MS, noon + 25 * HOUR_MS)), "the clock was set to tomorrow");
        assert!(counts(now(2 * HOUR_MS, noon - 11 * HOUR_MS)), "the clock was set to just after midnight");
        assert!(!counts(now(DAY_MS, noon - 11 * HOUR_MS)), "a day later it is over");
    }

    #[test]
    fn the_call_that_must_leave_is_named() {
        assert_eq!(call_that_must_leave(1, 2), None);
        assert_eq!(call_that_must_leave(2, 2), Some(0));
        assert_eq!(call_that_must_leave(5, 2), Some(3), "the limit was lowered");
        assert_eq!(call_that_must_leave(5, 0), None);
    }

    #[test]
    fn money_is_written_with_the_decimals_that_it_needs() {
        for (microdollars, text) in [(0, "0.00"), (10_000_000, "10.00"), (23_400, "0.0234"), (1, "0.000001")] {
            assert_eq!(dollars(microdollars), text);
        }
    }
}
