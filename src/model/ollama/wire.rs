//! What goes over Ollama's wire, in both directions. Every figure may be missing, which means zero.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::fault::{Asked, Told};
use crate::model::{
    Loaded, Message, ModelError, ModelInfo, NativeCall, Request, Speaker, Stop, Think, reading, schema,
};

/// How long a model stays in memory after its last request: longer than a step that runs tools between two of them.
const KEEP_ALIVE: &str = "30m";

/// The body of `/api/chat`.
pub(super) fn request(request: &Request) -> Value {
    let mut options = Map::new();
    options.insert("num_ctx".to_owned(), json!(request.context_tokens));
    options.insert("num_predict".to_owned(), json!(request.reply_tokens_max));
    // Names are Ollama's own. What the request says itself goes over it.
    if let Ok(Value::Object(set)) = serde_json::to_value(&request.sampling) {
        options.extend(set);
    }
    if let Some(temperature) = request.temperature {
        options.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(seed) = reading::seed_of(request) {
        options.insert("seed".to_owned(), seed);
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(request.model));
    body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
    body.insert("stream".to_owned(), json!(true));
    // The same pair on every request: `shift` is part of how a model is loaded, so a change of it loads anew.
    body.insert("truncate".to_owned(), json!(false));
    body.insert("shift".to_owned(), json!(false));
    body.insert("keep_alive".to_owned(), json!(KEEP_ALIVE));
    match request.think {
        Think::Unset => {}
        Think::Off => drop(body.insert("think".to_owned(), json!(false))),
        Think::On => drop(body.insert("think".to_owned(), json!(true))),
    }
    if let Some(wanted) = &request.schema {
        // What runs the model refuses `true` for a schema.
        body.insert("format".to_owned(), schema::without_booleans(wanted, 0));
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({ "type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": schema::narrow(&tool.parameters),
            }})
        });
        body.insert("tools".to_owned(), tools.collect());
    }
    body.insert("options".to_owned(), Value::Object(options));
    Value::Object(body)
}

fn message(message: &Message) -> Value {
    let role = match message.speaker {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
        Speaker::Tool => "tool",
    };
    let mut out = Map::new();
    out.insert("role".to_owned(), json!(role));
    out.insert("content".to_owned(), json!(message.text));
    if !message.calls.is_empty() {
        let calls = message.calls.iter().enumerate().map(|(index, call)| {
            let function =
                json!({ "index": index, "name": call.name, "arguments": reading::history_arguments(&call.arguments) });
            match &call.id {
                Some(id) => json!({ "id": id, "function": function }),
                None => json!({ "function": function }),
            }
        });
        out.insert("tool_calls".to_owned(), calls.collect());
    }
    if let Some(result_of) = &message.result_of {
        out.insert("tool_name".to_owned(), json!(result_of.name));
        if let Some(id) = &result_of.id {
            out.insert("tool_call_id".to_owned(), json!(id));
        }
    }
    Value::Object(out)
}

/// One line of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    message: Option<Said>,
    done: Option<bool>,
    done_reason: Option<String>,
    pub(super) error: Option<Value>,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) load_duration: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) prompt_eval_count: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) eval_count: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) eval_duration: u64,
}

impl Line {
    /// Whether it is a line of a chat at all.
    pub(super) fn is_of_a_chat(&self) -> bool {
        self.message.is_some() || self.done.is_some()
    }

    /// Whether the answer is complete with it.
    pub(super) fn is_last(&self) -> bool {
        self.done == Some(true)
    }

    pub(super) fn stop(&self) -> Stop {
        if self.done_reason.as_deref() == Some("length") { Stop::Length } else { Stop::End }
    }

    pub(super) fn thinking(&self) -> &str {
        self.message.as_ref().and_then(|message| message.thinking.as_deref()).unwrap_or_default()
    }

    pub(super) fn text(&self) -> &str {
        self.message.as_ref().and_then(|message| message.content.as_deref()).unwrap_or_default()
    }

    /// Calls stand on any line: before the last one, or on it.
    pub(super) fn calls(&self) -> impl Iterator<Item = NativeCall> {
        self.message.iter().flat_map(|message| message.tool_calls.iter().flatten()).map(|call| NativeCall {
            id: call.id.clone().filter(|id| !id.is_empty()),
            name: call.function.name.clone(),
            arguments: reading::arguments(call.function.arguments.clone()),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// The answer of `/api/tags`.
#[derive(Debug, Deserialize)]
pub(super) struct Tags {
    /// `null` where there is none.
    models: Option<Vec<Tag>>,
}

impl Tags {
    pub(super) fn infos(self) -> Vec<ModelInfo> {
        self.models.unwrap_or_default().into_iter().map(Tag::info).collect()
    }
}

#[derive(Debug, Deserialize)]
struct Tag {
    name: Option<String>,
    model: Option<String>,
    #[serde(default, deserialize_with = "reading::figure")]
    size: u64,
    digest: Option<String>,
    details: Option<Details>,
    capabilities: Option<Vec<String>>,
    remote_host: Option<String>,
    remote_model: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    family: Option<String>,
    parameter_size: Option<String>,
    quantization_level: Option<String>,
    #[serde(default, deserialize_with = "reading::figure")]
    context_length: u64,
}

impl Tag {
    fn info(self) -> ModelInfo {
        let name = self.name.filter(|name| !name.is_empty()).or(self.model).unwrap_or_default();
        let is_remote = is_remote_name(&name) || is_set(&self.remote_host) || is_set(&self.remote_model);
        let mut info = ModelInfo {
            name,
            bytes: self.size,
            digest: self.digest.unwrap_or_default(),
            chat: true,
            is_remote,
            ..ModelInfo::default()
        };
        self.details.unwrap_or_default().add_to(&mut info);
        add_capabilities(&mut info, self.capabilities.as_deref());
        info
    }
}

impl Details {
    fn add_to(self, info: &mut ModelInfo) {
        if let Some(family) = self.family.filter(|family| !family.is_empty()) {
            info.family = family;
        }
        if let Some(size) = self.parameter_size.filter(|size| !size.is_empty()) {
            info.parameter_size = size;
        }
        if let Some(level) = self.quantization_level.filter(|level| !level.is_empty()) {
            info.quantisation = level;
        }
        info.context_tokens_max = reading::window(self.context_length).or(info.context_tokens_max);
        // The architectures that only embed; where a server lists capabilities, those decide.
        info.chat = info.chat && !info.family.contains("bert");
    }
}

/// The answer of `/api/show`.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    details: Option<Details>,
    capabilities: Option<Vec<String>>,
    model_info: Option<Map<String, Value>>,
    remote_host: Option<String>,
    remote_model: Option<String>,
}

impl Shown {
    /// Adds what a list does not tell.
    pub(super) fn add_to(self, info: &mut ModelInfo) {
        self.details.unwrap_or_default().add_to(info);
        info.is_remote = info.is_remote || is_set(&self.remote_host) || is_set(&self.remote_model);
        let facts = self.model_info.unwrap_or_default();
        let architecture = facts.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
        let window = facts.get(&format!("{architecture}.context_length")).and_then(Value::as_u64);
        info.context_tokens_max = window.and_then(reading::window).or(info.context_tokens_max);
        if info.family.is_empty() {
            architecture.clone_into(&mut info.family);
        }
        add_capabilities(info, self.capabilities.as_deref());
    }
}

fn add_capabilities(info: &mut ModelInfo, capabilities: Option<&[String]>) {
    // Older servers list none at all, which says nothing about the model.
    let Some(list) = capabilities.filter(|list| !list.is_empty()) else { return };
    let has = |word: &str| list.iter().any(|found| found == word);
    info.tools = Some(has("tools"));
    info.thinking = Some(has("thinking"));
    info.chat = has("completion");
}

fn is_set(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// Whether the name alone sends requests to the vendor's machines: the tag is `cloud` or ends in `-cloud`.
#[must_use]
pub fn is_remote_name(name: &str) -> bool {
    let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag).to_ascii_lowercase();
    tag == "cloud" || tag.ends_with("-cloud")
}

/// Whether two names mean one model: no tag means `latest`.
pub(super) fn is_same_model(one: &str, other: &str) -> bool {
    let full = |name: &str| {
        let after_host = name.rfind('/').map_or(0, |at| at + 1);
        if name[after_host..].contains(':') { name.to_owned() } else { format!("{name}:latest") }
    };
    full(one).eq_ignore_ascii_case(&full(other))
}

/// The answer of `/api/ps`.
#[derive(Debug, Deserialize)]
pub(super) struct Running {
    models: Option<Vec<Runs>>,
}

#[derive(Debug, Deserialize)]
struct Runs {
    name: Option<String>,
    model: Option<String>,
    #[serde(default, deserialize_with = "reading::figure")]
    size: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    size_vram: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    context_length: u64,
    expires_at: Option<String>,
}

/// A moment as the server writes it; the year 1 and the like stand for nothing.
fn moment_ms(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

impl Running {
    pub(super) fn loaded(self) -> Vec<Loaded> {
        let loaded = |runs: Runs| Loaded {
            name: runs.name.filter(|name| !name.is_empty()).or(runs.model).unwrap_or_default(),
            context_tokens: reading::window(runs.context_length),
            bytes: runs.size,
            vram_bytes: runs.size_vram,
            until_ms: runs.expires_at.as_deref().and_then(moment_ms),
        };
        self.models.unwrap_or_default().into_iter().map(loaded).collect()
    }
}

/// The answer of `/api/version`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: Option<String>,
}

/// One line of a download.
#[derive(Debug, Deserialize)]
pub(super) struct Pull {
    #[serde(default)]
    pub(super) status: String,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) completed: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    pub(super) total: u64,
    pub(super) error: Option<Value>,
}

/// What the error line of a download means.
pub(super) fn pull_error(asked: &Asked<'_>, error: &Value) -> ModelError {
    let told = Told::of_value(error);
    // The registry's words for a model that it does not have.
    if told.has(&["file does not exist", "manifest unknown", "not found"]) {
        return ModelError::NoSuchModel { server: asked.server.to_owned(), model: asked.model.to_owned() };
    }
    asked.refusal(500, &told, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_machine_are_told_by_their_tag() {
        for name in ["x:cloud", "gpt-oss:120b-cloud", "a/b:CLOUD"] {
            assert!(is_remote_name(name), "{name}");
        }
        for name in ["cloud", "cloudy:7b", "x-cloud:7b", "x:cloudy", "x:local"] {
            assert!(!is_remote_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        assert!(is_same_model("qwen3", "qwen3:latest"));
        assert!(is_same_model("host:5000/a/b", "host:5000/a/b:latest"));
        assert!(!is_same_model("qwen3", "qwen3:8b"));
    }

    #[test]
    fn a_list_entry_tells_what_it_holds_and_no_more() {
        let tags: Tags = serde_json::from_value(json!({ "models": [
            { "name": "a:1b", "size": 5, "digest": "d", "details": { "family": "qwen3", "parameter_size": "1B", "context_length": 4096 },
              "capabilities": ["completion", "tools"] },
            { "model": "b:1b", "details": null, "remote_host": "https://ollama.com" },
            { "name": "e:1b", "details": { "family": "nomic-bert", "families": null } },
        ]}))
        .unwrap();
        let infos = tags.infos();
        assert_eq!((infos[0].tools, infos[0].thinking, infos[0].chat), (Some(true), Some(false), true));
        assert_eq!((infos[0].context_tokens_max, infos[0].bytes, infos[0].is_remote), (Some(4096), 5, false));
        assert_eq!((infos[1].name.as_str(), infos[1].tools, infos[1].is_remote), ("b:1b", None, true));
        assert!(!infos[2].chat);
        let none: Tags = serde_json::from_value(json!({ "models": null })).unwrap();
        assert!(none.infos().is_empty());
    }

    #[test]
    fn the_window_of_a_model_stands_under_its_architecture() {
        let shown: Shown = serde_json::from_value(json!({
            "details": { "family": "qwen3" }, "capabilities": ["completion", "thinking"],
            "model_info": { "general.architecture": "qwen3", "qwen3.context_length": 40960, "x.context_length": 1 },
        }))
        .unwrap();
        let mut info = ModelInfo { chat: true, ..ModelInfo::default() };
        shown.add_to(&mut info);
        assert_eq!((info.context_tokens_max, info.tools, info.thinking), (Some(40_960), Some(false), Some(true)));
    }
}
