//! Rungs and the rule for the next one. Pure: the same failures always lead the same way.
//!
//! | after | with | next |
//! | --- | --- | --- |
//! | transient | tries left | the same rung again after a back-off, uncounted |
//! | transient | tries used up | another local rung, uncounted; without one the task fails as transient |
//! | wrong | count below the threshold | one local rung on; the last local rung repeats |
//! | wrong | count at the threshold, a paid rung left | the next paid rung |
//! | wrong | no paid rung, count at the larger of threshold and local rungs | the task fails |
//! | wrong | no rung at all (the task needs no model) | the task fails |
//! | permanent, refused | | the task fails |

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureClass};
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

/// The ladder as one task sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Free rungs, cheapest first.
    pub local: Vec<String>,
    /// Paid rungs, in order.
    pub paid: Vec<String>,
    /// Counted failures, over all rungs, at which the task escalates. At least 1.
    pub threshold: u32,
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
    /// No rung is left.
    Fail,
}

impl Ladder {
    /// The rung of the first attempt.
    #[must_use]
    pub fn first(&self) -> Rung {
        match (self.local.first(), self.paid.first()) {
            (Some(model), _) => Rung::Local(model.clone()),
            (None, Some(model)) => Rung::Paid(model.clone()),
            (None, None) => Rung::None,
        }
    }

    /// What follows `failure` of an attempt on `rung`. `standing` already counts this failure.
    #[must_use]
    pub fn next(&self, rung: &Rung, standing: Standing, failure: &Failure, retry: &Retry) -> Next {
        match failure.class() {
            FailureClass::Permanent | FailureClass::Refused => Next::Fail,
            FailureClass::Transient if standing.transient_in_row <= retry.transient_max => {
                Next::RetryAfter { wait_ms: backoff_ms(retry, standing.transient_in_row) }
            }
            FailureClass::Transient => match self.local.get(standing.local as usize + 1) {
                Some(model) if matches!(rung, Rung::Local(_)) => Next::Try(Rung::Local(model.clone())),
                _ => Next::Fail,
            },
            FailureClass::Wrong => self.after_counted(standing),
        }
    }

    fn after_counted(&self, standing: Standing) -> Next {
        if self.local.is_empty() && self.paid.is_empty() {
            return Next::Fail;
        }
        let escalates = standing.failures >= self.threshold.max(1) || self.local.is_empty();
        if escalates && !self.paid.is_empty() {
            return match self.paid.get(standing.paid as usize) {
                Some(model) => Next::Try(Rung::Paid(model.clone())),
                None => Next::Fail,
            };
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
