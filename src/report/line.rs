//! One run in one line: what `ls` shows.

use serde::{Deserialize, Serialize};

use crate::domain::event::RunEnd;
use crate::domain::run::{Counts, Head, StepState};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Full id.
    pub run: String,
    /// The name that a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of its plan.
    pub plan: String,
    /// `running`, `waiting`, `interrupted`, `complete`, `partial`, `failed` or `cancelled`.
    pub state: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Time of its last event.
    pub last_ms: u64,
    /// Tasks done.
    pub done: u64,
    /// Tasks failed or set aside.
    pub not_done_count: u64,
    /// Questions that wait for a person.
    pub open_asks: usize,
    /// Its paid calls are answered by the scripted Claude.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fake: bool,
}

impl RunLine {
    /// The line of a run; `is_live`: a process is at work on it.
    #[must_use]
    pub fn new(head: &Head, steps: &[StepState], is_live: bool) -> Self {
        let sum = |count: fn(&Counts) -> u32| steps.iter().map(|step| u64::from(count(&step.counts))).sum();
        Self {
            run: head.run.to_string(),
            name: head.origin.name.clone(),
            plan: head.plan.clone(),
            state: state_word(head, is_live).to_owned(),
            started_ms: head.started_ms,
            last_ms: head.last_ms,
            done: sum(|counts| counts.done),
            not_done_count: sum(|counts| counts.failed + counts.quarantined),
            open_asks: head.asks.len(),
            fake: head.origin.fake,
        }
    }
}

impl RunLine {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !matches!(self.state.as_str(), "waiting" | "running" | "interrupted")
    }
}

/// The word for a run's state.
#[must_use]
pub fn state_word(head: &Head, is_live: bool) -> &'static str {
    match head.end {
        Some(end) => end_word(end),
        None if !head.asks.is_empty() => "waiting",
        None if is_live => "running",
        None => "interrupted",
    }
}

/// The word for a run's end.
#[must_use]
pub const fn end_word(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Complete => "complete",
        RunEnd::Partial => "partial",
        RunEnd::Failed => "failed",
        RunEnd::Cancelled => "cancelled",
    }
}
