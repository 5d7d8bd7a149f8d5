//! What a person is told when a command cannot be done: what, where, and what to try.

use super::exit::Exit;
use super::output;
use crate::app::place::StandingError;
use crate::app::store::{StoreError, chain};

/// A command that ends badly.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) message: String,
    pub(super) hints: Vec<String>,
    pub(super) exit: Exit,
    /// The process that was asked went away and has done nothing: asking again finds out who answers now.
    pub(super) is_gone: bool,
    /// An object with what else `--json` tells.
    pub(super) more: Option<Box<serde_json::Value>>,
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), exit: Exit::Usage, is_gone: false, more: None }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, ..Self::usage(message) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(super) fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }

    pub(super) fn print(&self, is_json: bool) {
        if is_json {
            self.print_json();
        }
        output::err(&format!("error: {}\n", self.message));
        for hint in &self.hints {
            output::err(&format!("hint: {hint}\n"));
        }
    }

    /// The error as an object on standard output.
    pub(super) fn print_json(&self) {
        let mut value = serde_json::json!({
            "v": crate::report::SHAPE_VERSION,
            "error": self.message,
            "hints": self.hints,
            "exit": self.exit.code(),
        });
        if let (Some(all), Some(more)) =
            (value.as_object_mut(), self.more.as_deref().and_then(serde_json::Value::as_object))
        {
            all.extend(more.clone());
        }
        output::out(&format!("{value}\n"));
    }
}

impl From<StandingError> for CliError {
    fn from(error: StandingError) -> Self {
        let hint = error.hint();
        Self::usage(chain(&error)).hint_opt(hint)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        Self::failed(error_text(&error)).hint_opt(hint)
    }
}

/// `StoreError` shows its source itself.
fn error_text(error: &StoreError) -> String {
    match error {
        StoreError::Journal(source) => chain(source),
        StoreError::State(source) => chain(source),
        other => other.to_string(),
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
