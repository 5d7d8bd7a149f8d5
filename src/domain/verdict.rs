//! Accepted or rejected, by whom, on what evidence. Checks, agreement of two models and a validator give the
//! same event; a task is done when every judge that its step names has accepted.

use serde::{Deserialize, Serialize};

use super::failure::FailureKind;
use super::payload::Payload;

/// Who judges an output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// The checks of the plan, evaluated by the engine.
    Checks,
    /// A second model that was asked the same.
    Agreement,
    /// An agent in the role of validator, by name.
    Validator(String),
}

/// What one judge says of one output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who says so.
    pub by: Judge,
    /// Whether the output is accepted.
    pub accepted: bool,
    /// What each check saw, one line each. Empty: nothing was checked (shown as *unchecked*).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// Which check rejected, in the words of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// What the rejection is, where it is not what this judge's rejections are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// What the next attempt is told; present when rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
    /// Of a disagreement: what each model answered, by its rung.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<(String, Payload)>,
}

impl Verdict {
    /// Accepted, with what was seen.
    #[must_use]
    pub const fn accepting(by: Judge, evidence: Vec<String>) -> Self {
        Self { by, accepted: true, evidence, check: None, kind: None, complaint: None, answers: Vec::new() }
    }

    /// Rejected, with what the next attempt is told.
    #[must_use]
    pub fn rejecting(by: Judge, complaint: impl Into<String>) -> Self {
        let complaint = Some(complaint.into());
        Self { by, accepted: false, evidence: Vec::new(), check: None, kind: None, complaint, answers: Vec::new() }
    }
}
