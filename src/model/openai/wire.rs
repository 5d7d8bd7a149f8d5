//! What goes over the wire of OpenAI's protocol, in both directions, with what its servers add to it.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::{About, Message, ModelInfo, Request, Speaker, Stop, Think, reading, schema};

/// The body of `/chat/completions`.
pub(super) fn request(request: &Request) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(request.model));
    body.insert("messages".to_owned(), messages(&request.messages));
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    body.insert("max_tokens".to_owned(), json!(request.reply_tokens_max));
    if let Some(seed) = reading::seed_of(request) {
        body.insert("seed".to_owned(), seed);
    }
    // The protocol's own words only: a strict server refuses any other.
    let set = &request.sampling;
    for (name, value) in [
        ("temperature", request.temperature.or(set.temperature)),
        ("top_p", set.top_p),
        ("presence_penalty", set.presence_penalty),
        ("frequency_penalty", set.frequency_penalty),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if !set.stop.is_empty() {
        body.insert("stop".to_owned(), json!(set.stop));
    }
    // The protocol has no switch of its own for this; local servers hand these words to the model's template.
    match request.think {
        Think::Unset => {}
        Think::Off => drop(body.insert("chat_template_kwargs".to_owned(), json!({ "enable_thinking": false }))),
        Think::On => drop(body.insert("chat_template_kwargs".to_owned(), json!({ "enable_thinking": true }))),
    }
    if let Some(wanted) = &request.schema {
        let wanted = schema::without_booleans(wanted, 0);
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "strict": true, "schema": wanted } });
        body.insert("response_format".to_owned(), format);
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({ "type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": schema::whole(&tool.parameters),
            }})
        });
        body.insert("tools".to_owned(), tools.collect());
    }
    Value::Object(body)
}

/// The conversation. Every call needs an id here and every result names one, so calls without one get one.
fn messages(messages: &[Message]) -> Value {
    let mut unanswered: VecDeque<(String, String)> = VecDeque::new();
    let mut out = Vec::with_capacity(messages.len());
    for (place, message) in messages.iter().enumerate() {
        let role = match message.speaker {
            Speaker::System => "system",
            Speaker::User => "user",
            Speaker::Assistant => "assistant",
            Speaker::Tool => "tool",
        };
        let mut turn = Map::new();
        turn.insert("role".to_owned(), json!(role));
        turn.insert("content".to_owned(), json!(message.text));
        if !message.calls.is_empty() {
            unanswered.clear();
            let calls = message.calls.iter().enumerate().map(|(number, call)| {
                let id = call.id.clone().unwrap_or_else(|| format!("call_{place}_{number}"));
                unanswered.push_back((call.name.clone(), id.clone()));
                let arguments = reading::history_arguments(&call.arguments).to_string();
                json!({ "id": id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
            });
            turn.insert("tool_calls".to_owned(), calls.collect());
        }
        if message.speaker == Speaker::Tool {
            let id = message.result_of.as_ref().and_then(|result_of| {
                let is_meant = |(name, id): &(String, String)| match &result_of.id {
                    Some(wanted) => wanted == id,
                    None => *name == result_of.name,
                };
                let found = unanswered.iter().position(is_meant).and_then(|at| unanswered.remove(at));
                result_of.id.clone().or_else(|| found.map(|(_, id)| id))
            });
            turn.insert("tool_call_id".to_owned(), json!(id.unwrap_or_else(|| format!("call_{place}"))));
        }
        out.push(Value::Object(turn));
    }
    Value::Array(out)
}

/// One event of an answer, or a whole one.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    error: Option<Value>,
    object: Option<Value>,
    message: Option<Value>,
    code: Option<Value>,
}

impl Chunk {
    /// An error in the place of a part, in either of two forms.
    pub(super) fn error(&self) -> Option<Value> {
        let is_bare = self.object.as_ref().and_then(Value::as_str) == Some("error");
        self.error.clone().or_else(|| is_bare.then(|| json!({ "message": self.message, "code": self.code })))
    }

    /// Whether it is a part of a chat at all.
    pub(super) fn is_of_a_chat(&self) -> bool {
        self.choices.is_some() || self.usage.is_some() || self.timings.is_some()
    }

    /// Only one answer is asked for.
    pub(super) fn first_choice(&self) -> Option<&Choice> {
        self.choices.as_ref()?.iter().find(|choice| choice.index == 0)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default, deserialize_with = "reading::figure")]
    index: u64,
    delta: Option<Delta>,
    /// In the place of `delta` where the answer did not stream.
    message: Option<Delta>,
    pub(super) finish_reason: Option<String>,
}

impl Choice {
    pub(super) fn delta(&self) -> Option<&Delta> {
        self.delta.as_ref().or(self.message.as_ref())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    content: Value,
    #[serde(default)]
    reasoning_content: Value,
    #[serde(default)]
    reasoning: Value,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

impl Delta {
    pub(super) fn text(&self) -> Cow<'_, str> {
        let text = text_of(&self.content);
        if text.is_empty() { Cow::Borrowed(self.refusal.as_deref().unwrap_or_default()) } else { text }
    }

    /// Servers that use both names send the same twice.
    pub(super) fn thinking(&self) -> Cow<'_, str> {
        let text = text_of(&self.reasoning_content);
        if text.is_empty() { text_of(&self.reasoning) } else { text }
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &CallPiece> {
        self.tool_calls.iter().flatten()
    }
}

/// A text, or a list of parts of which some are text.
fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            Cow::Owned(parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect())
        }
        _ => Cow::Borrowed(""),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CallPiece {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionPiece>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionPiece {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Value,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default, deserialize_with = "reading::figure")]
    prompt_tokens: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    completion_tokens: u64,
}

/// llama.cpp's own figures.
#[derive(Debug, Deserialize)]
struct Timings {
    #[serde(default, deserialize_with = "reading::figure")]
    cache_n: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    prompt_n: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    predicted_n: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    predicted_ms: u64,
}

/// The figures of one answer, wherever they stood.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) prompt_tokens: u64,
    pub(super) reply_tokens: u64,
    pub(super) writing_ms: Option<u64>,
}

impl Figures {
    pub(super) fn add(&mut self, chunk: &Chunk) {
        if let Some(timings) = &chunk.timings {
            self.writing_ms = Some(timings.predicted_ms);
            self.prompt_tokens = timings.cache_n + timings.prompt_n;
            self.reply_tokens = timings.predicted_n;
        }
        if let Some(usage) = &chunk.usage {
            self.prompt_tokens = usage.prompt_tokens;
            self.reply_tokens = usage.completion_tokens;
        }
    }
}

/// Why it stopped; `None` where the server cut the answer for reasons of its own.
pub(super) fn stop(reason: &str) -> Option<Stop> {
    match reason {
        "length" | "max_tokens" | "model_length" => Some(Stop::Length),
        "content_filter" | "error" | "abort" | "aborted" | "cancelled" | "timeout" => None,
        _ => Some(Stop::End),
    }
}

/// The answer of `/models`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    data: Vec<Entry>,
    /// What llama.cpp tells beside the protocol.
    models: Option<Vec<Card>>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    owned_by: Option<String>,
    meta: Option<Meta>,
    #[serde(default, deserialize_with = "reading::figure")]
    max_model_len: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    max_context_length: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    context_length: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    context_window: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Meta {
    #[serde(default, deserialize_with = "reading::figure")]
    n_ctx: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    n_ctx_train: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    n_params: u64,
    #[serde(default, deserialize_with = "reading::figure")]
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Card {
    name: Option<String>,
    capabilities: Option<Vec<String>>,
}

impl List {
    pub(super) fn is_of_llama_cpp(&self) -> bool {
        self.data.iter().any(|entry| entry.owned_by.as_deref() == Some("llamacpp"))
    }

    pub(super) fn infos(self, is_remote: bool) -> Vec<ModelInfo> {
        let cards = self.models.unwrap_or_default();
        let info = |entry: Entry| {
            let meta = entry.meta.unwrap_or_default();
            // The window that the server has comes before the one that the model was trained for.
            let windows = [
                meta.n_ctx,
                entry.max_model_len,
                entry.context_length,
                entry.context_window,
                entry.max_context_length,
                meta.n_ctx_train,
            ];
            let card = cards.iter().find(|card| card.name.as_deref() == Some(entry.id.as_str()));
            let capabilities = card.and_then(|card| card.capabilities.as_deref()).unwrap_or_default();
            ModelInfo {
                chat: capabilities.is_empty() || capabilities.iter().any(|word| word == "completion"),
                name: entry.id,
                parameter_size: parameter_size(meta.n_params),
                bytes: meta.size,
                context_tokens_max: windows.into_iter().find_map(reading::window),
                is_remote,
                ..ModelInfo::default()
            }
        };
        self.data.into_iter().map(info).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn parameter_size(count: u64) -> String {
    match count {
        0 => String::new(),
        1_000_000_000.. => format!("{:.1}B", count as f64 / 1e9),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

/// llama.cpp's page about itself.
#[derive(Debug, Deserialize)]
pub(super) struct Props {
    default_generation_settings: Option<Settings>,
    chat_template_caps: Option<Caps>,
    chat_template: Option<String>,
    #[serde(default, deserialize_with = "reading::figure")]
    total_slots: u64,
    build_info: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    #[serde(default, deserialize_with = "reading::figure")]
    n_ctx: u64,
}

#[derive(Debug, Deserialize)]
struct Caps {
    supports_tools: Option<bool>,
}

impl Props {
    /// What the page says of the server as a whole.
    pub(super) fn about(self) -> About {
        let slots = u32::try_from(self.total_slots).ok().filter(|slots| *slots > 0);
        let is_llama = slots.is_some() || self.build_info.is_some();
        let program = if is_llama { "llama.cpp".to_owned() } else { String::new() };
        About { program, version: self.build_info, slots }
    }

    /// Adds the window of one slot and what the template can do: one that knows no tools drops them without a word.
    pub(super) fn add_to(self, info: &mut ModelInfo) {
        let window = self.default_generation_settings.and_then(|settings| reading::window(settings.n_ctx));
        info.context_tokens_max = window.or(info.context_tokens_max);
        info.tools = self.chat_template_caps.and_then(|caps| caps.supports_tools).or(info.tools);
        if let Some(template) = self.chat_template.filter(|template| !template.is_empty()) {
            let has_switch = template.contains("enable_thinking");
            // A template that speaks of thinking without the switch reasons as it likes.
            info.thinking = if has_switch { Some(true) } else { (!template.contains("think")).then_some(false) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NativeCall, ResultOf};

    #[test]
    fn calls_without_ids_and_their_results_find_each_other() {
        let call = |id: Option<&str>, name: &str| NativeCall {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments: json!({ "x": 1 }),
        };
        let result = |id: Option<&str>, name: &str| Message {
            result_of: Some(ResultOf { name: name.to_owned(), id: id.map(str::to_owned) }),
            ..Message::new(Speaker::Tool, "done")
        };
        let history = [
            Message {
                calls: vec![call(None, "f"), call(None, "f"), call(Some("own"), "g")],
                ..Message::new(Speaker::Assistant, "")
            },
            result(Some("own"), "g"),
            result(None, "f"),
            result(None, "f"),
            result(None, "lost"),
        ];
        let sent = messages(&history);
        let ids: Vec<&str> =
            sent[0]["tool_calls"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["call_0_0", "call_0_1", "own"]);
        assert_eq!(sent[0]["tool_calls"][0]["function"]["arguments"], json!("{\"x\":1}"));
        let answers: Vec<&str> = (1..5).map(|at| sent[at]["tool_call_id"].as_str().unwrap()).collect();
        assert_eq!(answers, ["own", "call_0_0", "call_0_1", "call_4"]);
    }

    #[test]
    fn llama_cpp_tells_its_window_and_what_its_template_can_do() {
        let list: List = serde_json::from_value(json!({
            "models": [{ "name": "a", "capabilities": ["completion"] }, { "name": "e", "capabilities": ["embedding"] }],
            "data": [
                { "id": "a", "owned_by": "llamacpp", "meta": { "n_ctx": 4096, "n_ctx_train": 8192, "n_params": 134_515_008, "size": 9 } },
                { "id": "e", "meta": null },
                { "id": "v", "max_model_len": 32768 },
            ],
        }))
        .unwrap();
        assert!(list.is_of_llama_cpp());
        let mut infos = list.infos(false);
        assert_eq!(
            (infos[0].context_tokens_max, infos[0].parameter_size.as_str(), infos[0].chat),
            (Some(4_096), "134.5M", true)
        );
        assert!(!infos[1].chat);
        assert_eq!(infos[2].context_tokens_max, Some(32_768));
        let props: Props = serde_json::from_value(json!({
            "default_generation_settings": { "n_ctx": 2048 }, "chat_template_caps": { "supports_tools": false }, "chat_template": "{{x}}",
        }))
        .unwrap();
        props.add_to(&mut infos[0]);
        assert_eq!(
            (infos[0].context_tokens_max, infos[0].tools, infos[0].thinking),
            (Some(2_048), Some(false), Some(false))
        );
    }

    #[test]
    fn the_page_about_itself_tells_how_many_requests_it_takes() {
        let page: Props = serde_json::from_value(json!({ "total_slots": 4, "build_info": "b11549" })).unwrap();
        let expected = About { program: "llama.cpp".into(), version: Some("b11549".into()), slots: Some(4) };
        assert_eq!(page.about(), expected);
        assert_eq!(serde_json::from_value::<Props>(json!({})).unwrap().about(), About::default());
    }
}
