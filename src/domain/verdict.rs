//! Accepted or rejected, by whom, on what evidence. Checks, agreement of two models and a validator give the
//! same event; a task is done when every judge that its step names has accepted.

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who says so.
    pub by: Judge,
    /// Whether the output is accepted.
    pub accepted: bool,
    /// What each check saw, one line each. Empty: nothing was checked (shown as *unchecked*).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What the next attempt is told; present when rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
}
