//! One paid call from the side of whoever makes it: what is asked for, what it came to, and what is told.

use super::door::Reservation;
use super::rules::{Limits, Reached};
use crate::domain::ids::RunId;

/// Why Claude is asked; the words of the usage file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Counted failures reached the threshold.
    Fallback,
    /// The task is critical.
    Critical,
    /// A person asked for Claude.
    UserRequested,
    /// An output is judged.
    Validation,
    /// A plan is written.
    Planning,
}

impl Reason {
    /// As it stands on record.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::Critical => "critical",
            Self::UserRequested => "user_requested",
            Self::Validation => "validation",
            Self::Planning => "planning",
        }
    }
}

/// What a call may cost, for whom, and the limits that it must fit into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The run that pays; `None` for a call outside of any.
    pub run: Option<RunId>,
    /// The task, as reports name it: `extract[a.pdf]`.
    pub task: String,
    /// The project, as a path.
    pub project: String,
    /// The role that asks, as `task_type` of the usage file: `CODER`.
    pub agent: String,
    /// Model id as sent.
    pub model: String,
    /// Why Claude.
    pub reason: Reason,
    /// Most that this one request can cost, in millionths of a dollar.
    pub microdollars: u64,
    /// The limits of whoever asks.
    pub limits: Limits,
}

impl Ask {
    /// The run as it is kept; empty for none.
    pub(super) fn run_text(&self) -> String {
        self.run.map(|run| run.to_string()).unwrap_or_default()
    }
}

/// What a call came to, by what the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens in that no cache held.
    pub input_tokens: u64,
    /// Tokens written to the cache for 5 minutes.
    pub cache_write_5m_tokens: u64,
    /// Tokens written to the cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens out, thinking included.
    pub output_tokens: u64,
    /// The price of all of them, in millionths of a dollar.
    pub microdollars: u64,
    /// The server's id of the request.
    pub request_id: Option<String>,
    /// An answer came, whole; `false` for one that was cut or is an error, and cost something.
    pub is_answered: bool,
}

/// What becomes of an ask, once nobody it waits for is left.
#[derive(Debug)]
pub enum Decision {
    /// The call may be made. Settle it, release it, or say that its outcome is unknown; dropped, it is unknown.
    Granted(Reservation),
    /// A limit stands, with no reservation open that could still free it.
    Reached(Reached),
}

/// Where the account stands after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Calls on record for today, by the local calendar.
    pub today_calls: u64,
    /// What they cost.
    pub today_microdollars: u64,
    /// What the run has cost so far.
    pub run_microdollars: u64,
    /// This call took the day's cost past the amount at which it is said.
    pub warns_at_microdollars: Option<u64>,
}
