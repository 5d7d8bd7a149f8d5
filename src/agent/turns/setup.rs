//! What an attempt is begun with.

use std::path::Path;

use serde_json::Value;

use super::world::Tool;
use crate::agent::AgentSpec;
use crate::agent::prompt::{self, PromptError};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::sampling::Sampling;
use crate::model::{Message, ModelError, ModelInfo, Offer, Think, TimeLimits};

/// Window that is asked for where nobody knows how long the model's may be.
pub const CONTEXT_TOKENS_DEFAULT: u32 = 8_192;
/// Largest window that is ever asked for: memory grows with it.
pub const CONTEXT_TOKENS_MAX: u32 = 32_768;

/// Bounds of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Replies of the model.
    pub turns_max: u32,
    /// Calls in all.
    pub calls_max: u32,
    /// Tokens of one reply.
    pub reply_tokens_max: u32,
    /// Tokens of all replies.
    pub tokens_max: u32,
    /// Time limits of one request.
    pub time: TimeLimits,
}

/// What a person has set for all models, below what an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// The window to ask for, where the model's own is no smaller.
    pub context_tokens: Option<u32>,
    /// Tokens of one reply.
    pub reply_tokens_max: Option<u32>,
    /// Replies of one attempt.
    pub turns_max: Option<u32>,
    /// Whether models that can reason do so; `None`: after a failure.
    pub thinks: Option<bool>,
    /// Options of the sampling.
    pub sampling: Sampling,
}

impl Defaults {
    /// What of it holds for a paid model: windows and options are words of local servers.
    #[must_use]
    pub fn for_paid(&self) -> Self {
        Self { turns_max: self.turns_max, ..Self::default() }
    }
}

/// One attempt of a task on a model.
pub struct Setup<'a> {
    /// The agent.
    pub spec: &'a AgentSpec,
    /// The model, as its server calls it.
    pub model: &'a str,
    /// What its server knows of it.
    pub info: &'a ModelInfo,
    /// The project folder.
    pub workspace: &'a Path,
    /// Whether a path below it is there, as the attempt sees it.
    pub is_taken: &'a (dyn Fn(&str) -> bool + Sync),
    /// The rendered prompt of the step.
    pub task: &'a str,
    /// Inputs by name, as text.
    pub inputs: Vec<(String, String)>,
    /// Results of other steps by name, as text.
    pub results: Vec<(String, String)>,
    /// Values that names may be taken from.
    pub grounds: &'a [Value],
    /// Tools that are offered.
    pub tools: &'a [Tool],
    /// JSON Schema of the output.
    pub schema: Option<&'a Value>,
    /// Whether a value fits it.
    pub fits: &'a (dyn Fn(&Value) -> Result<(), String> + Send + Sync),
    /// The server is asked to bind its answer to the schema.
    pub binds_schema: bool,
    /// What will be checked, in the words of the plan.
    pub checks: Vec<String>,
    /// What earlier attempts were told.
    pub complaints: &'a [String],
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// What holds where the agent says nothing.
    pub defaults: &'a Defaults,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("agent", &self.spec.name).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Setup<'_> {
    pub(super) fn context_tokens_max(&self) -> u32 {
        match self.defaults.context_tokens {
            Some(chosen) => self.info.context_tokens_max.map_or(chosen, |own| own.min(chosen)),
            None => self.info.context_tokens_max.unwrap_or(CONTEXT_TOKENS_DEFAULT).min(CONTEXT_TOKENS_MAX),
        }
    }

    /// At most half of the window.
    pub(super) fn reply_tokens_max(&self) -> u32 {
        self.limits.reply_tokens_max.min(self.context_tokens_max() / 2)
    }

    /// A fifth of the window, in characters of the densest text.
    pub(super) fn view_chars_max(&self) -> usize {
        (self.context_tokens_max() as usize / 5 * 3).clamp(600, 12_000)
    }

    /// Reasoning costs time and is not needed for a first try; after a failure it is what changes.
    pub(super) const fn think(&self) -> Think {
        match self.info.thinking {
            Some(true) => match self.defaults.thinks {
                Some(true) => Think::On,
                Some(false) => Think::Off,
                None if self.complaints.is_empty() => Think::Off,
                None => Think::On,
            },
            _ => Think::Unset,
        }
    }

    /// The failure of a conversation that fits into no window of the model.
    pub(super) fn too_long(&self, why: &str) -> Failure {
        let more = if self.defaults.context_tokens.is_some() { ", or raise `modelConfig.num_ctx`" } else { "" };
        Failure::new(FailureKind::ContextTooSmall, why)
            .hint(format!("shorten the step's prompt and inputs, or take a model with a larger window{more}"))
    }

    /// The first messages, in at most so many characters.
    pub(super) fn prompt(&self, native: bool, chars_max: usize) -> Result<Vec<Message>, Failure> {
        let offers: Vec<Offer> = self.tools.iter().map(|tool| tool.offer.clone()).collect();
        let task = prompt::TaskPrompt {
            spec: self.spec,
            workspace: self.workspace,
            today: None,
            task: self.task,
            inputs: &self.inputs,
            results: &self.results,
            offers: &offers,
            schema: self.schema,
            checks: &self.checks,
            complaints: self.complaints,
            native_tools: native,
        };
        let built = prompt::build_within(&task, chars_max).map_err(|error| {
            let kind = match error {
                PromptError::TaskTooLong { .. } => FailureKind::BadInput,
                PromptError::NoRoom { .. } => FailureKind::ContextTooSmall,
            };
            let hint = match (kind, self.defaults.context_tokens) {
                (FailureKind::ContextTooSmall, Some(_)) => format!("{}, or raise `modelConfig.num_ctx`", error.hint()),
                _ => error.hint().to_owned(),
            };
            Failure::new(kind, error.to_string()).hint(hint)
        })?;
        Ok(built.messages)
    }
}

/// The failure that a model error is: the one table.
#[must_use]
pub fn model_failure(error: &ModelError) -> Failure {
    let kind = match error {
        ModelError::Unreachable { .. } => FailureKind::Unreachable,
        ModelError::Busy { .. } | ModelError::RateLimited { .. } | ModelError::Overloaded { .. } => FailureKind::Busy,
        ModelError::SpendLimit { .. } | ModelError::Unpaid { .. } => FailureKind::SpendLimit,
        ModelError::BadRequest { .. } => FailureKind::BadInput,
        ModelError::OutOfMemory { .. } => FailureKind::OutOfMemory,
        ModelError::NoFirstToken { .. } | ModelError::Silent { .. } | ModelError::BrokenStream { .. } => {
            FailureKind::Silent
        }
        ModelError::TooSlow { .. } => FailureKind::SlowReply,
        ModelError::UnreadableCall { .. } => FailureKind::MalformedCall,
        ModelError::PromptTooLong { .. } => FailureKind::ContextTooSmall,
        ModelError::NoSuchModel { .. } | ModelError::Unsupported { .. } => FailureKind::ModelMissing,
        ModelError::Denied { .. } | ModelError::BadKey { .. } | ModelError::Forbidden { .. } => FailureKind::Denied,
        ModelError::ServerError { .. } => FailureKind::ServerDied,
        ModelError::Protocol { .. } => FailureKind::Unreachable,
    };
    let failure = Failure::new(kind, error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
