//! What the interface refuses in a request, with its words as far as they are known: a judge of what the adapter sends.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::model::Model;
use crate::scripted::asked::{Asked, Said};

/// A refusal: status and words.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

fn bad<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status: 400, message: message.into() })
}

const FIELDS: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "metadata",
    "stop_sequences",
    "stream",
    "service_tier",
    "speed",
    "inference_geo",
    "container",
    "diagnostics",
    "temperature",
    "top_p",
    "top_k",
];

/// Reads a body of `/v1/messages` (`is_count`: of `count_tokens`) into the record's form, or refuses it.
pub(super) fn read(asked: &mut Asked, models: &[Model], is_count: bool) -> Result<Model, Refusal> {
    let body = asked.body.as_object().cloned().unwrap_or_default();
    if body.is_empty() {
        return bad("The request body is not valid JSON");
    }
    if let Some(extra) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return bad(format!("{extra}: Extra inputs are not permitted"));
    }
    let Some(id) = body.get("model").and_then(Value::as_str) else { return bad("model: Field required") };
    let Some(model) = models.iter().find(|model| model.id == id).cloned() else {
        return Err(Refusal { status: 404, message: format!("model: {id}") });
    };
    let version = asked.headers.get("anthropic-version").cloned().unwrap_or_default();
    let max_tokens = body.get("max_tokens").and_then(Value::as_u64);
    match max_tokens {
        None if !is_count => return bad("max_tokens: Field required"),
        Some(max) if max > model.reply_tokens_max => {
            return bad(format!(
                "max_tokens: {max} > {}, which is the maximum allowed number of output tokens for {id}",
                model.reply_tokens_max
            ));
        }
        _ => {}
    }
    sampling(&body, &model, &version)?;
    thinking(&body, &model, max_tokens)?;
    tools(&body)?;
    format(&body, &model)?;
    asked.messages = system(&body)?;
    asked.messages.extend(conversation(&body)?);
    marks(&asked.body)?;
    asked.tools = body.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
    asked.schema = body.get("output_config").and_then(|config| config["format"].get("schema")).cloned();
    asked.is_streamed = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    asked.think = body.get("thinking").cloned();
    let structure = ["model", "messages", "system", "stream", "tools", "output_config"];
    asked.options = body.into_iter().filter(|(key, _)| !structure.contains(&key.as_str())).collect();
    Ok(model)
}

fn sampling(body: &Map<String, Value>, model: &Model, version: &str) -> Result<(), Refusal> {
    for key in ["temperature", "top_p", "top_k"] {
        let Some(value) = body.get(key) else { continue };
        if version == "2026-10-21" {
            return bad(format!("{key}: Extra inputs are not permitted"));
        }
        if !model.takes_sampling {
            return bad(format!("`{key}` is not supported on {}", model.id));
        }
        if key == "temperature" && !value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)) {
            return bad("temperature: range: 0..1");
        }
        if body.get("thinking").is_some_and(|thinking| thinking["type"] == "enabled" || thinking["type"] == "adaptive")
        {
            return bad(format!("`{key}` may only be set when thinking is not enabled"));
        }
    }
    Ok(())
}

fn thinking(body: &Map<String, Value>, model: &Model, max_tokens: Option<u64>) -> Result<(), Refusal> {
    let Some(thinking) = body.get("thinking") else { return Ok(()) };
    let kind = thinking["type"].as_str().unwrap_or_default();
    if !model.thinking.contains(&kind) {
        return bad(format!("thinking.type: `{kind}` is not supported on {}", model.id));
    }
    if kind == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
        if budget < 1_024 || max_tokens.is_none_or(|max| budget >= max) {
            return bad("thinking.enabled.budget_tokens: must be at least 1024 and less than max_tokens");
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn tools(body: &Map<String, Value>) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    for (at, tool) in body.get("tools").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let name = tool["name"].as_str().unwrap_or_default();
        if !is_name(name) {
            return bad(format!("tools.{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"));
        }
        if !names.insert(name.to_owned()) {
            return bad("tools: Tool names must be unique.");
        }
        let schema = &tool["input_schema"];
        if schema["type"] != "object" {
            return bad(format!("tools.{at}.input_schema.type: Input should be 'object'"));
        }
        if ["anyOf", "oneOf", "allOf"].iter().any(|key| schema.get(key).is_some()) {
            return bad(format!("tools.{at}.input_schema: does not support oneOf, allOf, or anyOf at the top level"));
        }
    }
    Ok(())
}

fn format(body: &Map<String, Value>, model: &Model) -> Result<(), Refusal> {
    let Some(format) = body.get("output_config").and_then(|config| config.get("format")) else { return Ok(()) };
    if !model.takes_format {
        return bad(format!("output_config.format is not supported on {}", model.id));
    }
    if format["type"] != "json_schema" {
        return bad("output_config.format.type: Input should be 'json_schema'");
    }
    strict(&format["schema"], 0)
}

/// Keywords that bind an answer; any other is refused.
const KEYWORDS: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    "description",
    "title",
    "default",
    "format",
    "minItems",
];

fn strict(schema: &Value, depth: usize) -> Result<(), Refusal> {
    let Some(map) = schema.as_object().filter(|_| depth < 50) else {
        return bad("output_config.format.schema: not a schema");
    };
    if let Some(word) = map.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return bad(format!("output_config.format.schema: For this type, property '{word}' is not supported"));
    }
    let is_object = map
        .get("type")
        .is_some_and(|kind| kind == "object" || kind.as_array().is_some_and(|all| all.contains(&"object".into())));
    if is_object && map.get("additionalProperties") != Some(&Value::Bool(false)) {
        return bad(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        );
    }
    let inner = map.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let inner = inner.chain(map.get("items")).chain(map.get("anyOf").and_then(Value::as_array).into_iter().flatten());
    for one in inner {
        strict(one, depth + 1)?;
    }
    Ok(())
}

fn system(body: &Map<String, Value>) -> Result<Vec<Said>, Refusal> {
    let said = |text: &str| Said { role: "system".into(), text: text.into(), ..Said::default() };
    match body.get("system") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![said(text)]),
        Some(Value::Array(blocks)) => blocks
            .iter()
            .map(|block| match block["text"].as_str() {
                Some(text) if !text.trim().is_empty() => Ok(said(text)),
                _ => bad("system: text content blocks must be non-empty"),
            })
            .collect(),
        Some(_) => bad("system: Input should be a string or an array"),
    }
}

/// At most four marks, none on reasoning.
fn marks(body: &Value) -> Result<(), Refusal> {
    let count = body.to_string().matches("\"cache_control\":{").count();
    if count > 4 {
        return bad(format!("A maximum of 4 blocks with cache_control may be provided. Found {count}."));
    }
    let blocks =
        body["messages"].as_array().into_iter().flatten().filter_map(|turn| turn["content"].as_array()).flatten();
    for block in blocks {
        let kind = block["type"].as_str().unwrap_or_default();
        if block.get("cache_control").is_some() && kind.contains("thinking") {
            return bad("thinking: cache_control is not permitted");
        }
    }
    Ok(())
}

fn conversation(body: &Map<String, Value>) -> Result<Vec<Said>, Refusal> {
    let Some(turns) = body.get("messages").and_then(Value::as_array) else { return bad("messages: Field required") };
    if turns.is_empty() {
        return bad("messages: at least one message is required");
    }
    let mut said = Vec::new();
    let mut ids: HashSet<String> = HashSet::new();
    let mut open: Vec<String> = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let role = turn["role"].as_str().unwrap_or_default();
        if !matches!(role, "user" | "assistant") {
            return bad(format!("messages.{at}.role: Input should be 'user' or 'assistant'"));
        }
        if at == 0 && role != "user" {
            return bad("messages: first message must use the \"user\" role");
        }
        let blocks = match &turn["content"] {
            Value::String(text) if !text.is_empty() => vec![serde_json::json!({ "type": "text", "text": text })],
            Value::Array(blocks) if !blocks.is_empty() => blocks.clone(),
            _ => return bad(format!("messages.{at}: all messages must have non-empty content")),
        };
        let mut one = Said { role: role.into(), ..Said::default() };
        let mut answered: Vec<String> = Vec::new();
        let mut has_text = false;
        let mut calls: Vec<String> = Vec::new();
        for block in &blocks {
            match (role, block["type"].as_str().unwrap_or_default()) {
                (_, "text") => {
                    let text = block["text"].as_str().unwrap_or_default();
                    if text.trim().is_empty() {
                        return bad(format!("messages.{at}: text content blocks must contain non-whitespace text"));
                    }
                    has_text = true;
                    one.text.push_str(text);
                }
                ("assistant", "tool_use") => {
                    let id = block["id"].as_str().unwrap_or_default().to_owned();
                    let name = block["name"].as_str().unwrap_or_default();
                    if !is_name(&id) || !is_name(name) || !block["input"].is_object() {
                        return bad(format!("messages.{at}.tool_use: id, name or input is malformed"));
                    }
                    if !ids.insert(id.clone()) {
                        return bad(format!("messages.{at}: `tool_use` ids must be unique"));
                    }
                    calls.push(id);
                    one.calls.push((name.into(), block["input"].clone()));
                }
                ("user", "tool_result") => {
                    let id = block["tool_use_id"].as_str().unwrap_or_default().to_owned();
                    if has_text {
                        return bad(format!("messages.{at}: `tool_result` blocks must come before text"));
                    }
                    if !open.contains(&id) || answered.contains(&id) {
                        return bad(format!(
                            "messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}"
                        ));
                    }
                    said.push(Said {
                        role: "tool".into(),
                        text: block["content"].as_str().unwrap_or_default().into(),
                        call_id: Some(id.clone()),
                        ..Said::default()
                    });
                    answered.push(id);
                }
                ("assistant", "thinking") => {
                    if block["signature"].as_str().is_none_or(str::is_empty) {
                        return bad(format!(
                            "messages.{at}.thinking.signature: Invalid `signature` in `thinking` block"
                        ));
                    }
                    one.thinking.push_str(block["thinking"].as_str().unwrap_or_default());
                }
                ("assistant", "redacted_thinking") | ("user", "image" | "document") => {}
                (_, kind) => return bad(format!("messages.{at}: `{kind}` is not allowed here")),
            }
        }
        if let Some(missing) = open.iter().find(|id| !answered.contains(id)) {
            return bad(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}"
            ));
        }
        open = calls;
        if has_text || !one.calls.is_empty() || !one.thinking.is_empty() {
            said.push(one);
        }
    }
    if turns.last().is_some_and(|turn| turn["role"] == "assistant") {
        return bad(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        );
    }
    Ok(said)
}
