//! Why an expression has no value.

use std::ops::Range;

use super::scan::{EXPRESSION_BYTES_MAX, OPERATORS_MAX};
use super::value::OUTPUT_BYTES_MAX;

/// Why an expression cannot be read or has no value. Ranges are bytes of the expression's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// Longer than the limit.
    #[error("the expression is longer than {EXPRESSION_BYTES_MAX} bytes")]
    TooLong,
    /// More operators, dots and pipes than the limit.
    #[error("the expression has more than {OPERATORS_MAX} operators, dots and pipes")]
    TooManyOperators,
    /// It cannot be read.
    #[error("{message}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where, in bytes of the expression.
        range: Range<usize>,
        /// What to write instead.
        hint: Option<String>,
        /// The nearest known word.
        nearest: Option<String>,
    },
    /// A path that leads nowhere.
    #[error("`{path}` is not there")]
    Missing {
        /// As much of the path as was followed, with the part that is missing.
        path: String,
        /// What is there instead.
        hint: Option<String>,
    },
    /// Something that exists has no value now (a skipped step, a lost blob).
    #[error("`{what}` has no value: {why}")]
    Unavailable {
        /// The path that was asked for.
        what: String,
        /// The reason.
        why: String,
    },
    /// A value of the wrong type.
    #[error("{message}")]
    Type {
        /// What was expected and found.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A filter or operator refused its values.
    #[error("{message}")]
    Failed {
        /// In the words of the engine.
        message: String,
    },
    /// More work than its inputs can ask for.
    #[error("the expression does too much work for the size of its values")]
    OutOfFuel,
    /// The result is larger than the limit.
    #[error("the result is larger than {} MiB", OUTPUT_BYTES_MAX >> 20)]
    TooLarge,
}

impl ExprError {
    /// What to try, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Syntax { hint, .. } | Self::Missing { hint, .. } | Self::Type { hint, .. } => hint.as_deref(),
            Self::TooLong | Self::TooManyOperators => Some("work it out in a `value` step, in smaller pieces"),
            Self::Unavailable { .. } | Self::Failed { .. } | Self::OutOfFuel | Self::TooLarge => None,
        }
    }

    pub(super) fn syntax(message: impl Into<String>, range: Range<usize>) -> Self {
        Self::Syntax { message: message.into(), range, hint: None, nearest: None }
    }

    pub(super) fn syntax_hint(message: impl Into<String>, range: Range<usize>, hint: impl Into<String>) -> Self {
        Self::Syntax { message: message.into(), range, hint: Some(hint.into()), nearest: None }
    }
}
