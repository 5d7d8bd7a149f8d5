//! What `init` writes of models: servers that were found, and the ladder that their models make, with the reason.

use serde_json::{Value, json};

use super::ladder::RULE;
use super::survey::Survey;
use crate::config::KeyPath;
use crate::config::edit::with_key;

/// A configuration with the first ladder in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstConfig {
    /// The whole text.
    pub text: String,
    /// What was put into it, one line each.
    pub lines: Vec<String>,
}

/// Puts servers that were found and the ladder of what there is into a configuration's text.
///
/// # Panics
/// The text is no JSON with an object at its top.
#[must_use]
pub fn with_models(text: &str, survey: &Survey) -> FirstConfig {
    let mut config = FirstConfig { text: text.to_owned(), lines: Vec::new() };
    let rungs = &survey.proposal.default;
    if rungs.is_empty() {
        return config;
    }
    let mut set = |key: &str, value: &Value| {
        let path = KeyPath(key.split('/').map(str::to_owned).collect());
        config.text = with_key(&config.text, &path, value).expect("the text of a new configuration is an object");
    };
    let all: Vec<&String> = rungs.iter().chain(&survey.proposal.text).collect();
    let is_named = |name: &str| all.iter().any(|rung| rung.split(':').next() == Some(name));
    let mut lines = Vec::new();
    for server in survey.found().into_iter().filter(|server| is_named(&server.name)) {
        let mut spec = json!({ "kind": server.kind, "url": server.address });
        if let Some(slots) = server.slots_told {
            spec["slots"] = json!(slots.clamp(1, 64));
        }
        set(&format!("model_servers/{}", server.name), &spec);
        lines.push(format!("model server {}: {}", server.name, server.address));
    }
    let comment = format!(
        "Built by `ollmcp init` from the models that were there: {RULE}. `ollmcp models probe` finds out how good they are."
    );
    set("comment_ladders", &json!(comment));
    set("ladders/default", &json!(rungs));
    lines.push(format!("ladder default: {}", rungs.join(" → ")));
    if !survey.proposal.text.is_empty() {
        set("ladders/text", &json!(survey.proposal.text));
        lines.push(format!("ladder text, for steps without tools: {}", survey.proposal.text.join(" → ")));
    }
    config.lines = lines;
    config
}
