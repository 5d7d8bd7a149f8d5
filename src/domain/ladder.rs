//! Rungs and the rule for the next one. Pure: the same failures always lead the same way.
//!
//! | after | with | next |
//! | --- | --- | --- |
//! | transient | tries left, and the rung can do the task | the same rung again after a back-off, uncounted |
//! | transient | tries used up | another local rung whose server answers, uncounted |
//! | transient | no such rung | wait for a model server, then the task fails as transient |
//! | transient, of a tool | tries used up | the task fails |
//! | transient, of the rung (no such model, window too small) | a rung behind | that one, uncounted; without one the task fails |
//! | transient | no such rung, `escalate_when_unreachable`, a paid rung left | the next paid rung |
//! | limit of paid calls | `park`, and it frees by itself | the same rung again then, uncounted |
//! | limit of paid calls | else, a local rung left | that one, uncounted; without one the task fails |
//! | wrong | count below the threshold | one local rung on; the last local rung repeats |
//! | wrong | count at the threshold, or Claude was asked for, a paid rung left | the next paid rung |
//! | wrong | the same, no paid rung left, but a limit was met and a local rung is left | that one |
//! | wrong | no paid rung, count at the larger of threshold and local rungs | the task fails |
//! | wrong | no rung at all (the task needs no model) | the task fails |
//! | permanent, refused | | the task fails |
//!
//! So by default **two failures go to a paid rung, one failure of a critical task does**, and where a person asked for
//! Claude a task begins there.

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureClass, FailureKind};
use super::plan::Retry;

/// One model that may try. Tasks that need no model stand on [`Rung::None`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// No model is asked.
    #[default]
    None,
    /// `SERVER:MODEL`, free.
    Local(String),
    /// `claude` or `claude:MODEL`, paid.
    Paid(String),
}

impl Rung {
    /// The name of a free rung.
    #[must_use]
    pub fn local(&self) -> Option<&str> {
        match self {
            Self::Local(rung) => Some(rung),
            Self::None | Self::Paid(_) => None,
        }
    }
}

/// What a task does at a limit of paid calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLimited {
    /// It tries the local rungs that are left, then fails with that reason.
    #[default]
    Fail,
    /// It waits until the limit frees.
    Park,
}

/// Why a paid rung is climbed, as the record of each call says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaidReason {
    /// The counted failures of other rungs.
    #[default]
    Fallback,
    /// The task is critical: one counted failure is enough.
    Critical,
    /// A person asked for it: it is the first rung.
    UserRequested,
}

impl PaidReason {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_fallback(&self) -> bool {
        matches!(self, Self::Fallback)
    }

    /// The word in records and lines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Critical => "critical",
            Self::UserRequested => "user_requested",
        }
    }
}

/// Why a ladder has no paid rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpaid {
    /// Claude is switched off.
    Off,
    /// It is on and has no key.
    NoKey,
    /// The step says `claude: false`.
    ByStep,
    /// The step, or something that it uses, stays with local models; why, for people.
    LocalOnly(String),
}

impl std::fmt::Display for Unpaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("Claude is off"),
            Self::NoKey => f.write_str("Claude has no key"),
            Self::ByStep => f.write_str("the step says `claude: false`"),
            Self::LocalOnly(why) => write!(f, "local only: {why}"),
        }
    }
}

impl Unpaid {
    /// What to do where Claude is wanted.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Off => Some("ollmcp config set --user claude_integration.enabled true"),
            Self::NoKey => Some("set ANTHROPIC_API_KEY; `ollmcp doctor` checks it"),
            Self::ByStep | Self::LocalOnly(_) => None,
        }
    }
}

impl WhenLimited {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    const fn is_fail(&self) -> bool {
        matches!(self, Self::Fail)
    }
}

/// The ladder as one task sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Free rungs, cheapest first.
    pub local: Vec<String>,
    /// Paid rungs, in order.
    pub paid: Vec<String>,
    /// Counted failures, over all rungs, at which the task escalates. At least 1.
    pub threshold: u32,
    /// Who is asked for a second answer, best first; empty: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seconds: Vec<String>,
    /// How long a task waits for a model server that is away, before it fails as transient; 0: not at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub server_wait_ms: u64,
    /// What its tasks do at a limit of paid calls.
    #[serde(default, skip_serializing_if = "WhenLimited::is_fail")]
    pub when_limited: WhenLimited,
    /// Why a paid rung is climbed. [`PaidReason::UserRequested`]: a task begins there.
    #[serde(default, skip_serializing_if = "PaidReason::is_fallback")]
    pub reason: PaidReason,
    /// Why it has no paid rung; `None`: it has one, or it was begun before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpaid: Option<Unpaid>,
    /// A paid rung is climbed where no local model's server answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalates_when_away: bool,
}

/// Where a task stands on its ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Counted failures over all rungs.
    pub failures: u32,
    /// Transient failures in a row.
    pub transient_in_row: u32,
    /// Position in [`Ladder::local`].
    pub local: u32,
    /// Paid rungs used so far.
    pub paid: u32,
    /// Since when model servers have not answered, retries used up; 0: they do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub away_since_ms: u64,
    /// It began on a paid rung, and no local one has tried yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local_untried: bool,
    /// A limit of paid calls was met.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the rule knows beside the ladder and the task.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a> {
    /// How the step retries transient failures.
    pub retry: &'a Retry,
    /// Local rungs that do not answer now.
    pub away: &'a [String],
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same rung again, not before this wait.
    RetryAfter {
        /// Wait in milliseconds, without jitter.
        wait_ms: u64,
    },
    /// An attempt on this rung; it may be the same one.
    Try(Rung),
    /// No rung's server answers: the same rung again after this wait.
    AwaitServer {
        /// Wait in milliseconds, without jitter.
        wait_ms: u64,
    },
    /// No rung is left.
    Fail,
}

impl Ladder {
    /// The rung of the first attempt.
    #[must_use]
    pub fn first(&self) -> Rung {
        match (self.local.first(), self.paid.first()) {
            (_, Some(model)) if self.is_wished() => Rung::Paid(model.clone()),
            (Some(model), _) => Rung::Local(model.clone()),
            (None, Some(model)) => Rung::Paid(model.clone()),
            (None, None) => Rung::None,
        }
    }

    /// The ladder has a rung, so a model is asked.
    #[must_use]
    pub const fn asks_models(&self) -> bool {
        !self.local.is_empty() || !self.paid.is_empty()
    }

    /// A person asked for Claude.
    #[must_use]
    pub const fn is_wished(&self) -> bool {
        matches!(self.reason, PaidReason::UserRequested)
    }

    /// The local rung that was not tried yet, in order.
    fn next_local(&self, standing: Standing) -> Option<Rung> {
        let at = if standing.local_untried { 0 } else { standing.local as usize + 1 };
        self.local.get(at).cloned().map(Rung::Local)
    }

    fn next_paid(&self, standing: Standing) -> Option<Rung> {
        self.paid.get(standing.paid as usize).cloned().map(Rung::Paid)
    }

    /// Where a climb to `to` leads from position `at` of the local rungs: the next one of that name, else the first.
    #[must_use]
    pub fn position(&self, at: u32, to: &str) -> u32 {
        let is_it = |(_, rung): &(usize, &String)| rung.as_str() == to;
        let behind = self.local.iter().enumerate().skip(at as usize + 1).find(is_it);
        let found = behind.or_else(|| self.local.iter().enumerate().find(is_it));
        found.map_or(at, |(position, _)| u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// What follows `failure` of an attempt on `rung`. `standing` already counts this failure.
    #[must_use]
    pub fn next(&self, rung: &Rung, standing: Standing, failure: &Failure, outside: &Outside<'_>) -> Next {
        let retry = outside.retry;
        match failure.class() {
            _ if failure.kind == FailureKind::Limited => self.after_limit(standing, failure, outside),
            FailureClass::Permanent | FailureClass::Refused => Next::Fail,
            FailureClass::Transient
                if !failure.kind.is_of_the_rung() && standing.transient_in_row <= retry.transient_max =>
            {
                Next::RetryAfter { wait_ms: backoff_ms(retry, standing.transient_in_row) }
            }
            FailureClass::Transient if failure.of_tool => Next::Fail,
            FailureClass::Transient => self.after_transient(rung, standing, failure, outside),
            FailureClass::Wrong => self.after_counted(standing),
        }
    }

    fn after_limit(&self, standing: Standing, failure: &Failure, outside: &Outside<'_>) -> Next {
        if let (WhenLimited::Park, Some(until_ms)) = (self.when_limited, failure.until_ms) {
            return Next::RetryAfter { wait_ms: until_ms.saturating_sub(outside.now_ms).max(1) };
        }
        self.next_local(standing).map_or(Next::Fail, Next::Try)
    }

    fn after_transient(&self, rung: &Rung, standing: Standing, failure: &Failure, outside: &Outside<'_>) -> Next {
        let Rung::Local(now) = rung else { return Next::Fail };
        let (before, behind) = self.local.split_at((standing.local as usize + 1).min(self.local.len()));
        if failure.kind.is_of_the_rung() {
            // It would be so again on every rung that was tried: only those behind are worth one.
            return match behind.iter().find(|name| *name != now) {
                Some(name) => Next::Try(Rung::Local(name.clone())),
                None => Next::Fail,
            };
        }
        let waits = self.server_wait_ms > 0;
        let is_away = |name: &String| *name == *now || outside.away.contains(name);
        if self.escalates_when_away
            && self.local.iter().all(is_away)
            && let Some(paid) = self.next_paid(standing)
        {
            return Next::Try(paid);
        }
        let waited_ms = outside.now_ms.saturating_sub(standing.away_since_ms);
        if waits && standing.away_since_ms > 0 && waited_ms >= self.server_wait_ms {
            return Next::Fail;
        }
        // Without a wait nothing would bound going round, so only what stands behind is tried.
        let others = behind.iter().chain(before.iter().filter(|_| waits));
        match others.into_iter().find(|name| *name != now && !outside.away.contains(name)) {
            Some(name) => Next::Try(Rung::Local(name.clone())),
            None if !waits => Next::Fail,
            None => Next::AwaitServer { wait_ms: outside.retry.backoff_max_ms },
        }
    }

    fn after_counted(&self, standing: Standing) -> Next {
        if self.local.is_empty() && self.paid.is_empty() {
            return Next::Fail;
        }
        let escalates = standing.failures >= self.threshold.max(1) || self.local.is_empty() || self.is_wished();
        if escalates && !self.paid.is_empty() {
            let left = || if standing.limited { self.next_local(standing) } else { None };
            return self.next_paid(standing).or_else(left).map_or(Next::Fail, Next::Try);
        }
        let local_rungs = u32::try_from(self.local.len()).unwrap_or(u32::MAX);
        if self.paid.is_empty() && standing.failures >= self.threshold.max(1).max(local_rungs) {
            return Next::Fail;
        }
        let at = (standing.local as usize + 1).min(self.local.len() - 1);
        Next::Try(Rung::Local(self.local[at].clone()))
    }
}

/// The wait before retry number `try_number` (from 1): doubled each time, bounded.
#[must_use]
pub fn backoff_ms(retry: &Retry, try_number: u32) -> u64 {
    let doublings = try_number.saturating_sub(1).min(32);
    retry.backoff_first_ms.saturating_mul(1 << doublings).min(retry.backoff_max_ms)
}
