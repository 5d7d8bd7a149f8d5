//! What the configuration sets for all models: the text before an agent's own, and what holds where the agent is silent.

use serde_json::json;

use crate::agent::AgentSpec;
use crate::agent::turns::Defaults;
use crate::config::{Settings, consent};

/// What holds where an agent says nothing.
#[must_use]
pub fn defaults(settings: &Settings) -> Defaults {
    let models = &settings.models;
    Defaults {
        context_tokens: models.context_tokens,
        reply_tokens_max: models.reply_tokens_max,
        turns_max: models.turns_max,
        thinks: models.thinks,
        sampling: models.sampling.clone(),
    }
}

/// An agent with the configured text before its own.
#[must_use]
pub fn told(settings: &Settings, agent: &AgentSpec) -> AgentSpec {
    let mut agent = agent.clone();
    if let Some(before) = settings.models.system_prompt.as_ref().filter(|_| !agent.prompt.is_empty()) {
        agent.prompt = format!("{before}\n\n{}", agent.prompt);
    }
    agent
}

/// What an agent's results depend on: its file, and whatever is set that changes what a model answers. Outputs that were
/// made with other settings are not taken over.
#[must_use]
pub fn identity(settings: &Settings, agent: &AgentSpec) -> String {
    let models = &settings.models;
    if models.system_prompt.is_none() && models.sampling.is_empty() && models.thinks.is_none() {
        return agent.digest.to_string();
    }
    let set = json!({ "system": models.system_prompt, "sampling": models.sampling, "thinks": models.thinks });
    format!("{} {}", agent.digest, consent::digest(&set))
}
