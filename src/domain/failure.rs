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
    /// A model's server is out of memory, or the model's runner died.
    OutOfMemory,
    /// A model gave no first or no next part of its answer in time, or its answer broke off.
    Silent,
    /// The server has no such model, or the model cannot do what the step needs: another rung may.
    ModelMissing,
    /// The task does not fit into the model's window: another rung may have a larger one.
    ContextTooSmall,
    /// A limit on paid calls: nothing was asked.
    Limited,
    /// A reply without text and call.
    EmptyReply,
    /// A reply with reasoning and nothing else.
    ReasoningOnly,
    /// A reply that was cut off at the limit of its length.
    CutReply,
    /// A reply that was still being written at the limit of its time.
    SlowReply,
    /// A call that could not be read.
    MalformedCall,
    /// A model that declined to answer.
    Declined,
    /// A reply that describes a call or its work instead of doing it.
    Described,
    /// A call of a tool that is not offered.
    NotOffered,
    /// A path, name or identifier in a call that occurs in nothing the task was given.
    Ungrounded,
    /// The same call again and again.
    Loop,
    /// The limit of turns, calls or tokens of an attempt.
    Limit,
    /// Two models that were asked the same gave different answers.
    Disagreement,
    /// A file that the attempt would change was changed by somebody else since it was read.
    Conflict,
    /// The item cannot be worked on by its nature (a scan without text, an encrypted file): not counted by `tolerate`.
    Unworkable,
    /// A file or folder that is not there or may not be read.
    Missing,
    /// Arguments, an expression or an address that can never work.
    BadInput,
    /// The tool or server is not known.
    UnknownTool,
    /// A tool server died in the call, was started again, and died in it again.
    DiesInIt,
    /// Bad credentials or a permission of the system.
    Denied,
    /// A paid provider takes nothing more from the account: its spend limit, or an open bill.
    SpendLimit,
    /// A policy or a person said no.
    Refused,
}

impl FailureKind {
    /// The class of the kind: the one table.
    #[must_use]
    pub const fn class(self) -> FailureClass {
        match self {
            Self::Unreachable
            | Self::ServerDied
            | Self::Busy
            | Self::OutOfMemory
            | Self::Silent
            | Self::ModelMissing
            | Self::ContextTooSmall
            | Self::Limited => FailureClass::Transient,
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
            | Self::SlowReply
            | Self::MalformedCall
            | Self::Declined
            | Self::Described
            | Self::NotOffered
            | Self::Ungrounded
            | Self::Loop
            | Self::Limit
            | Self::Disagreement
            | Self::Conflict => FailureClass::Wrong,
            Self::Unworkable
            | Self::Missing
            | Self::BadInput
            | Self::UnknownTool
            | Self::DiesInIt
            | Self::Denied
            | Self::SpendLimit => FailureClass::Permanent,
            Self::Refused => FailureClass::Refused,
        }
    }

    /// The rung itself cannot do the task: asking it again changes nothing, another one may.
    #[must_use]
    pub const fn is_of_the_rung(self) -> bool {
        matches!(self, Self::ModelMissing | Self::ContextTooSmall)
    }

    /// What people read for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ServerDied => "server died",
            Self::Busy => "busy",
            Self::Timeout => "out of time",
            Self::ToolError => "tool error",
            Self::TooLarge => "too large",
            Self::Schema => "schema",
            Self::Check => "check",
            Self::Rejected => "rejected",
            Self::Panic => "panic",
            Self::OutOfMemory => "out of memory",
            Self::Silent => "silent",
            Self::ModelMissing => "model missing",
            Self::ContextTooSmall => "window too small",
            Self::Limited => "limit of paid calls",
            Self::EmptyReply => "empty reply",
            Self::ReasoningOnly => "reasoning only",
            Self::CutReply => "cut reply",
            Self::SlowReply => "slow reply",
            Self::MalformedCall => "malformed call",
            Self::Declined => "declined by the model",
            Self::Described => "described, not called",
            Self::NotOffered => "tool not offered",
            Self::Ungrounded => "ungrounded",
            Self::Loop => "loop",
            Self::Limit => "limit",
            Self::Disagreement => "disagreement",
            Self::Conflict => "conflict",
            Self::Unworkable => "unworkable",
            Self::Missing => "missing",
            Self::BadInput => "bad input",
            Self::UnknownTool => "unknown tool",
            Self::DiesInIt => "server dies in it",
            Self::Denied => "denied",
            Self::SpendLimit => "spend limit",
            Self::Refused => "refused",
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
    /// Which check it was, in the words of the plan: failures with the same kind and check are alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// A tool is the cause: no other model mends it, and no model server is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_tool: bool,
    /// When the cause passes by itself, in milliseconds since the Unix epoch, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What a model said last, in one line, at most [`SAID_CHARS_MAX`]; for people, and never evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Why Claude was not asked for the task that ended so; `None`: it was, or no model was to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
}

/// Longest quote of a model that a failure keeps.
pub const SAID_CHARS_MAX: usize = 300;

/// Longest message kept in an event.
pub const MESSAGE_BYTES_MAX: usize = 2_000;

impl Failure {
    /// A failure with a bounded message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: bounded(message.into()),
            hint: None,
            check: None,
            of_tool: false,
            until_ms: None,
            said: None,
            unasked: None,
        }
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

    /// The same with the check that it failed.
    #[must_use]
    pub fn of_check(mut self, check: Option<String>) -> Self {
        self.check = check.map(bounded);
        self
    }

    /// The same with a tool as its cause.
    #[must_use]
    pub fn of_tool(self) -> Self {
        Self { of_tool: true, ..self }
    }

    /// The same with the time at which its cause passes.
    #[must_use]
    pub fn until(mut self, at_ms: Option<u64>) -> Self {
        self.until_ms = at_ms;
        self
    }

    /// The same with what a model said last; nothing where it said nothing.
    #[must_use]
    pub fn said(mut self, text: &str) -> Self {
        // Bounded before it is laid into one line: a reply may be long.
        let head: String = text.trim_start().chars().take(4 * SAID_CHARS_MAX).collect();
        let line = head.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_cut = line.chars().count() > SAID_CHARS_MAX || head.len() < text.trim_start().len();
        let mut line: String = line.chars().take(if is_cut { SAID_CHARS_MAX - 2 } else { SAID_CHARS_MAX }).collect();
        if is_cut {
            line.push_str(" …");
        }
        self.said = (!line.is_empty()).then_some(line);
        self
    }

    /// Whether two failures have the same cause as far as one can tell: the same kind and the same check.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.check == other.check
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
