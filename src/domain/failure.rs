//! Why an attempt gave no accepted result. Plain data that later versions can still read.

use serde::{Deserialize, Serialize};

/// What a failure means for the task; the rule that follows from it is in [`super::ladder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// May pass by itself: retried with back-off, never counted.
    Transient,
    /// The attempt did its work badly: counted.
    Wrong,
    /// No attempt can mend it: fail now, say what to do.
    Permanent,
    /// A policy or a person said no.
    Refused,
}

/// What went wrong, by kind. Each kind has one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A server refused the connection or reset it, or could not be started.
    Unreachable,
    /// A server died during the call (a `read` or `idempotent` one).
    ServerDied,
    /// A server or database was busy (locked, 429, 503).
    Busy,
    /// A `read` or `idempotent` tool, or the whole attempt, was out of time.
    Timeout,
    /// The tool ran and reported an error.
    ToolError,
    /// The result was larger than the limit.
    TooLarge,
    /// The output does not fit `output.schema`.
    Schema,
    /// A check of `done_when` does not hold.
    Check,
    /// A judge (agreement, validator) rejected the output.
    Rejected,
    /// The attempt panicked.
    Panic,
    /// A reply without text and call.
    EmptyReply,
    /// A reply of reasoning only.
    ReasoningOnly,
    /// A reply that was cut off at its limit.
    CutReply,
    /// A call that could not be read.
    MalformedCall,
    /// A call that was told instead of made.
    Described,
    /// A call of a tool that was not offered.
    NotOffered,
    /// The turn, loop or length limit of an attempt.
    Limit,
    /// The item cannot be worked on by its nature (a scan without text, an encrypted file): not counted by `tolerate`.
    Unworkable,
    /// A file or folder that is not there or may not be read.
    Missing,
    /// Arguments, an expression or an address that can never work.
    BadInput,
    /// The tool or server is not known.
    UnknownTool,
    /// Bad credentials or a permission of the system.
    Denied,
    /// A policy or a person said no.
    Refused,
}

impl FailureKind {
    /// The class of the kind: the one table.
    #[must_use]
    pub const fn class(self) -> FailureClass {
        match self {
            Self::Unreachable | Self::ServerDied | Self::Busy => FailureClass::Transient,
            Self::Timeout
            | Self::ToolError
            | Self::TooLarge
            | Self::Schema
            | Self::Check
            | Self::Rejected
            | Self::Panic
            | Self::EmptyReply
            | Self::ReasoningOnly
            | Self::CutReply
            | Self::MalformedCall
            | Self::Described
            | Self::NotOffered
            | Self::Limit => FailureClass::Wrong,
            Self::Unworkable | Self::Missing | Self::BadInput | Self::UnknownTool | Self::Denied => {
                FailureClass::Permanent
            }
            Self::Refused => FailureClass::Refused,
        }
    }
}

/// Why an attempt, a task or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// By kind.
    pub kind: FailureKind,
    /// What happened, for people and for the next attempt; at most [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// What to try, when there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Longest message kept in an event.
pub const MESSAGE_BYTES_MAX: usize = 2_000;

impl Failure {
    /// A failure with a bounded message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: bounded(message.into()), hint: None }
    }

    /// What somebody told, with the hint that stands behind `; hint: ` or on a line of its own.
    #[must_use]
    pub fn told(kind: FailureKind, text: &str) -> Self {
        match text.split_once("; hint: ").or_else(|| text.split_once("\nhint: ")) {
            Some((what, hint)) => Self::new(kind, what).hint(hint),
            None => Self::new(kind, text),
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(bounded(hint.into()));
        self
    }

    /// The class of its kind.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        self.kind.class()
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let mut cut = MESSAGE_BYTES_MAX - 4;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        text.push_str(" …");
    }
    text
}
