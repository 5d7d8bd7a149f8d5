//! What a task keeps of its attempts: replies to go on from, calls that were made, and its story.

use serde::{Deserialize, Serialize};

use crate::domain::event::Usage;
use crate::domain::failure::Failure;
use crate::domain::ids::Digest;
use crate::domain::ladder::Rung;
use crate::domain::payload::Payload;
use crate::domain::plan::RepeatClass;

/// Entries of a story that a task keeps, oldest dropped first.
const TRIED_MAX: usize = 32;

/// A model's reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Digest of the whole request.
    pub request: Digest,
    /// The reply.
    pub reply: Payload,
}

/// A call that changed something outside, or may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its key.
    pub call: String,
    /// `server.tool`.
    pub tool: String,
    /// What follows if its outcome stays unknown.
    pub repeat: RepeatClass,
    /// What it answered; `None`: nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
}

/// One attempt as a person reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Its number.
    pub attempt: u32,
    /// Who tried.
    #[serde(default)]
    pub rung: Rung,
    /// When it started.
    pub started_ms: u64,
    /// When it ended or its output was judged; 0: it has not.
    #[serde(default)]
    pub ended_ms: u64,
    /// Why it failed; `None`: it did not, or is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the model said that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// The files that it wrote and that waited for its acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Payload>,
    /// It was cut off and counts for nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Replies of models.
    #[serde(default)]
    pub turns: u32,
    /// Tokens read by models.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens written by models.
    #[serde(default)]
    pub output_tokens: u64,
    /// What its answers cost, in millionths of a dollar.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_microdollars: u64,
    /// Keys of its calls that changed something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// What it and a second model answered, by rung, where they did not agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<(String, Payload)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl super::Task {
    /// A call whose outcome nobody knows.
    #[must_use]
    pub fn open_call(&self) -> Option<&CallRecord> {
        self.calls.iter().find(|call| call.result.is_none())
    }

    pub(super) fn begins(&mut self, rung: &Rung, at_ms: u64) {
        if *rung != Rung::None {
            let tried = Tried { attempt: self.attempts, rung: rung.clone(), started_ms: at_ms, ..Tried::default() };
            self.keep(tried);
        }
    }

    pub(super) fn takes_turn(&mut self, usage: &Usage) {
        if let Some(last) = self.tried.last_mut() {
            last.turns += 1;
            last.input_tokens = last.input_tokens.saturating_add(usage.input_tokens);
            last.output_tokens = last.output_tokens.saturating_add(usage.output_tokens);
            last.cost_microdollars = last.cost_microdollars.saturating_add(usage.cost_microdollars);
        }
    }

    pub(super) fn claims(&mut self, claimed: Option<&str>, staged: Option<&Payload>, effects: &[String]) {
        if let Some(last) = self.tried.last_mut() {
            last.claimed = claimed.map(str::to_owned);
            last.staged = staged.cloned();
            last.effects = effects.to_vec();
        }
    }

    /// The latest attempt has ended; without a rung only failures are worth a line.
    pub(super) fn ends_attempt(&mut self, failure: Option<&Failure>, interrupted: bool, at_ms: u64) {
        let attempt = self.attempts;
        if self.tried.last().is_none_or(|last| last.attempt != attempt) {
            if failure.is_none() {
                return;
            }
            self.keep(Tried { attempt, rung: self.rung.clone(), started_ms: at_ms, ..Tried::default() });
        }
        let last = self.tried.last_mut().expect("it is there or was put there");
        last.ended_ms = at_ms;
        last.failure = failure.cloned();
        last.interrupted = interrupted;
    }

    fn keep(&mut self, tried: Tried) {
        if self.tried.len() == TRIED_MAX {
            self.tried.remove(0);
        }
        self.tried.push(tried);
    }
}
