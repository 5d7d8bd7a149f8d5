//! The models of the server, and what each refuses.

use serde_json::{Value, json};

/// One model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(super) context_tokens: u64,
    pub(super) reply_tokens_max: u64,
    /// It takes `temperature` under the old version of the interface.
    pub(super) takes_sampling: bool,
    /// `type`s of `thinking` that it takes.
    pub(super) thinking: &'static [&'static str],
    pub(super) takes_format: bool,
}

impl Model {
    /// A model of today: no sampling, adaptive reasoning with a switch, structured output.
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            context_tokens: 1_000_000,
            reply_tokens_max: 128_000,
            takes_sampling: false,
            thinking: &["adaptive", "disabled"],
            takes_format: true,
        }
    }

    /// Sets the window and the longest answer.
    pub(crate) fn sized(self, context_tokens: u64, reply_tokens_max: u64) -> Self {
        Self { context_tokens, reply_tokens_max, ..self }
    }

    fn thinks(self, thinking: &'static [&'static str]) -> Self {
        Self { thinking, ..self }
    }

    fn sampled(self) -> Self {
        Self { takes_sampling: true, ..self }
    }

    /// Models that can be called in November 2026.
    pub(crate) fn of_today() -> Vec<Self> {
        let always: &[&str] = &["adaptive"];
        let budgeted: &[&str] = &["enabled", "disabled"];
        vec![
            Self::new("claude-sonnet-5-5").thinks(&["adaptive", "between_tools"]),
            Self::new("claude-haiku-5-5"),
            Self::new("claude-opus-5-5").thinks(always),
            Self::new("claude-fable-5-2").thinks(always),
            Self::new("claude-opus-5"),
            Self::new("claude-opus-4-8"),
            Self::new("claude-sonnet-4-6")
                .sized(1_000_000, 64_000)
                .sampled()
                .thinks(&["adaptive", "enabled", "disabled"]),
            Self::new("claude-haiku-4-5").sized(200_000, 64_000).sampled().thinks(budgeted),
            Self::new("claude-haiku-4-5-20251001").sized(200_000, 64_000).sampled().thinks(budgeted),
        ]
    }

    pub(super) fn card(&self) -> Value {
        let line = self.id.split('-').nth(1).unwrap_or_default();
        json!({
            "type": "model", "id": self.id, "display_name": self.id, "created_at": "2026-09-28T00:00:00Z",
            "lifecycle": "active", "line": line, "max_input_tokens": self.context_tokens,
            "max_tokens": self.reply_tokens_max, "deprecated_at": null, "retires_at": null, "capabilities": null,
        })
    }
}
