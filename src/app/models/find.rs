//! Model servers at the addresses where they usually stand on this machine: for a start without configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use super::{client, specs};
use crate::config::Settings;
use crate::domain::plan::{ModelServerKind, ModelServerSpec, Plan, Step};

/// How long a server on this machine may take to say what it has.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Where servers with OpenAI's protocol stand by themselves: name for the configuration, program, port.
pub const USUAL: &[(&str, &str, u16)] =
    &[("llama_cpp", "llama.cpp", 8080), ("lm_studio", "LM Studio", 1234), ("vllm", "vLLM", 8000)];

/// What a server at a port of this machine would be.
#[must_use]
pub fn spec_at(port: u16) -> ModelServerSpec {
    ModelServerSpec {
        kind: ModelServerKind::Openai,
        url: format!("http://127.0.0.1:{port}"),
        key_env: None,
        slots: None,
        schema_bound: None,
    }
}

/// The usual places, where nothing is configured. Ollama is not among them: it is there by itself.
#[must_use]
pub fn usual(settings: &Settings) -> BTreeMap<String, ModelServerSpec> {
    if !settings.find_model_servers || !settings.model_servers.is_empty() {
        return BTreeMap::new();
    }
    USUAL.iter().map(|(name, _, port)| ((*name).to_owned(), spec_at(*port))).collect()
}

/// Those of some servers that answer with at least one model. Something else behind the same port is none.
pub async fn answering(specs: BTreeMap<String, ModelServerSpec>) -> BTreeMap<String, ModelServerSpec> {
    let asks = specs.into_iter().map(|(name, spec)| async {
        let (server, _) = client(&spec, None).ok()?;
        let models = tokio::time::timeout(ANSWER_LIMIT, server.models()).await.ok()?.ok()?;
        (!models.is_empty()).then_some((name, spec))
    });
    join_all(asks).await.into_iter().flatten().collect()
}

/// The servers that a plan may ask: those that are declared; where none is, and no ladder either, also those that are found.
pub async fn for_plan(settings: &Settings, plan: &Plan) -> BTreeMap<String, ModelServerSpec> {
    let mut all = specs(settings, Some(plan));
    let asks = |step: &Step| step.kind.asks_a_model();
    let is_declared = settings.ladders.contains_key("default") || !plan.raw().model_servers.is_empty();
    if !is_declared && plan.steps().iter().any(asks) {
        for (name, spec) in answering(usual(settings)).await {
            all.entry(name).or_insert(spec);
        }
    }
    all
}
