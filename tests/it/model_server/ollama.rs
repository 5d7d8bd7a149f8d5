//! Ollama's own protocol: what a request means, and how answers look on the wire.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::go::{self, Refusal};
use super::model::Model;
use super::runners::LoadOptions;
use crate::scripted::answer::{Answer, Call, tokens_of};
use crate::scripted::asked::{Asked, Said};
use crate::scripted::steps::{Dialect, Part, writing_ms};

/// What a request asks for beside its conversation.
#[derive(Debug)]
pub(super) struct Wishes {
    pub(super) load: LoadOptions,
    /// How long the model stays afterwards; `None`: for ever.
    pub(super) keep: Option<Duration>,
    /// Nothing to answer: load (or unload) only.
    pub(super) is_load_only: bool,
    truncate: bool,
    format: Option<Value>,
}

/// Reads the body of `/api/chat` or `/api/generate`, types first: the model is not known yet.
pub(super) fn read(asked: &mut Asked, body: &[u8]) -> Result<Wishes, Refusal> {
    let is_generate = asked.path == "/api/generate";
    let place = if is_generate { "GenerateRequest" } else { "ChatRequest" };
    let body = go::object(body)?;
    asked.body = Value::Object(body.clone());
    go::string(&body, "model", place)?.unwrap_or_default().clone_into(&mut asked.model);
    asked.is_streamed = go::boolean(&body, "stream", place)?.unwrap_or(true);
    asked.messages = if is_generate { prompt(&body)? } else { messages(&body)? };
    asked.tools = if is_generate { Vec::new() } else { go::array(&body, "tools", place)?.cloned().unwrap_or_default() };
    go::tools(&asked.tools)?;
    asked.options = go::map(&body, "options", place)?.cloned().unwrap_or_default();
    asked.think = body.get("think").filter(|think| !think.is_null()).cloned();
    if let Some(think) = &asked.think {
        think_value(think)?;
    }
    let format = body.get("format").filter(|format| !format.is_null() && **format != json!("")).cloned();
    asked.schema = format.clone().filter(Value::is_object);
    let truncate = go::boolean(&body, "truncate", place)?.unwrap_or(true);
    let shift = go::boolean(&body, "shift", place)?.unwrap_or(true);
    go::boolean(&body, "logprobs", place)?;
    let keep = go::keep_alive(&body)?.unwrap_or(Some(Duration::from_secs(300)));
    let other = ["num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"];
    let other = other.iter().filter_map(|key| Some(((*key).to_owned(), asked.options.get(*key)?.clone()))).collect();
    let load = LoadOptions { context_tokens: 0, shift, other };
    let is_load_only = asked.messages.is_empty();
    Ok(Wishes { load, keep, is_load_only, truncate, format })
}

fn think_value(think: &Value) -> Result<(), Refusal> {
    match think {
        Value::Bool(_) => Ok(()),
        Value::String(level) if matches!(level.as_str(), "low" | "medium" | "high" | "max") => Ok(()),
        other => Err(Refusal::new(
            400,
            format!("invalid think value: {other} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"),
        )),
    }
}

fn prompt(body: &Map<String, Value>) -> Result<Vec<Said>, Refusal> {
    let place = "GenerateRequest";
    let said = |role: &str, text: &str| Said { role: role.into(), text: text.into(), ..Said::default() };
    let prompt = go::string(body, "prompt", place)?.unwrap_or_default();
    let system = go::string(body, "system", place)?.unwrap_or_default();
    if prompt.is_empty() {
        return Ok(Vec::new());
    }
    let system = (!system.is_empty()).then(|| said("system", system));
    Ok(system.into_iter().chain([said("user", prompt)]).collect())
}

fn messages(body: &Map<String, Value>) -> Result<Vec<Said>, Refusal> {
    let given = go::array(body, "messages", "ChatRequest")?;
    given.into_iter().flatten().map(message).collect()
}

fn message(given: &Value) -> Result<Said, Refusal> {
    let given = go::entry(given, "ChatRequest.messages", "api.Message")?;
    let place = "Message.messages";
    let text = |key: &str| go::string(given, key, place).map(|text| text.map(str::to_owned));
    let mut calls = Vec::new();
    for call in go::array(given, "tool_calls", place)?.into_iter().flatten() {
        let call = go::entry(call, "Message.messages.tool_calls", "api.ToolCall")?;
        let empty = Map::new();
        let function = go::map(call, "function", "ToolCall.messages.tool_calls")?.unwrap_or(&empty);
        let name = go::string(function, "name", "ToolCallFunction.messages.tool_calls.function")?.unwrap_or_default();
        calls.push((name.to_owned(), go::arguments(function)?));
    }
    for image in go::array(given, "images", place)?.into_iter().flatten() {
        if !image.is_string() {
            return Err(Refusal::new(
                400,
                "json: cannot unmarshal into Go struct field Message.messages.images of type string",
            ));
        }
    }
    Ok(Said {
        role: text("role")?.unwrap_or_default().to_lowercase(),
        text: text("content")?.unwrap_or_default(),
        thinking: text("thinking")?.unwrap_or_default(),
        calls,
        tool_name: text("tool_name")?,
        call_id: text("tool_call_id")?,
    })
}

/// Refuses what the model cannot do.
pub(super) fn check(asked: &Asked, wishes: &Wishes, model: &Model) -> Result<(), Refusal> {
    if !model.has("completion") {
        return Err(Refusal::new(400, format!("\"{}\" does not support chat", asked.model)));
    }
    if !asked.tools.is_empty() && !model.has("tools") {
        let full = format!("registry.ollama.ai/library/{} does not support tools", model.name);
        return Err(Refusal::new(400, full));
    }
    let thinks = asked.think.as_ref().is_some_and(|think| *think != json!(false));
    if thinks && !model.has("thinking") {
        return Err(Refusal::new(400, format!("\"{}\" does not support thinking", asked.model)));
    }
    go::options(&asked.options)?;
    match &wishes.format {
        None | Some(Value::Object(_)) => Ok(()),
        Some(format) if *format == json!("json") => Ok(()),
        Some(format) => {
            Err(Refusal::new(500, format!("invalid format: {format}; expected \"json\" or a valid JSON Schema object")))
        }
    }
}

/// Cuts the conversation to the window, silently, from the front; refuses it where the request forbids both ways to cut.
pub(super) fn fit(asked: &mut Asked, wishes: &Wishes) -> Result<(), Refusal> {
    let window = u64::from(asked.context_tokens);
    let tools = asked.tool_tokens();
    let tokens = |kept: &[Said]| tools + kept.iter().map(Said::tokens).sum::<u64>();
    asked.kept = asked.messages.clone();
    asked.prompt_tokens = tokens(&asked.kept);
    if asked.prompt_tokens <= window {
        return Ok(());
    }
    if wishes.truncate {
        while asked.prompt_tokens > window {
            let last = asked.kept.len() - 1;
            let Some(oldest) = asked.kept[..last].iter().position(|message| message.role != "system") else { break };
            asked.kept.remove(oldest);
            asked.prompt_tokens = tokens(&asked.kept);
        }
        if asked.prompt_tokens <= window {
            return Ok(());
        }
    }
    if !wishes.load.shift {
        return Err(Refusal::new(
            400,
            "the prompt is longer than the context length currently available to the model; increase the context length \
             or shorten the prompt",
        ));
    }
    cut_the_middle(asked, window);
    Ok(())
}

/// Keeps the first tokens and the tail, and leaves about half of the window free.
fn cut_the_middle(asked: &mut Asked, window: u64) {
    let keep =
        go::integer(&asked.options, "num_keep").map_or(4, |keep| u64::try_from(keep).unwrap_or(0)).min(window / 2);
    let free = (window - keep) / 2;
    asked.prompt_tokens = keep + free;
    let mut text = asked.kept.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n");
    let (head, tail) = (keep as usize * 4, free as usize * 4);
    if text.len() > head + tail {
        let start = text.floor_char_boundary(head);
        let end = text.ceil_char_boundary(text.len() - tail);
        text.replace_range(start..end, "");
    }
    let role = asked.kept.last().map(|message| message.role.clone()).unwrap_or_default();
    asked.kept = vec![Said { role, text, ..Said::default() }];
}

/// Writes answers to one request.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub(super) asked: &'a Asked,
    /// From the arrival until the model was ready.
    pub(super) load: Duration,
    pub(super) remote_host: Option<String>,
}

impl Wire<'_> {
    fn line(&self, text: &str, done: bool) -> Value {
        let mut line = json!({ "model": self.asked.model, "created_at": jiff::Timestamp::now().to_string() });
        if let Some(host) = &self.remote_host {
            line["remote_model"] = json!(self.asked.model);
            line["remote_host"] = json!(host);
        }
        if self.asked.path == "/api/generate" {
            line["response"] = json!(text);
        } else {
            line["message"] = json!({ "role": "assistant", "content": text });
        }
        line["done"] = json!(done);
        line
    }

    fn think(&self, line: &mut Value, thinking: &str) {
        let place = if self.asked.path == "/api/generate" { line } else { &mut line["message"] };
        place["thinking"] = json!(thinking);
    }

    fn calls(&self, line: &mut Value, answer: &Answer, calls: &[Call]) {
        if calls.is_empty() || self.asked.path == "/api/generate" {
            return;
        }
        let call = |(index, call): (usize, &Call)| {
            let mut written = json!({ "function": { "index": index, "name": call.name, "arguments": call.arguments } });
            if !answer.is_without_ids {
                written["id"] = json!(format!("call_{:04}{index:04}", self.asked.number));
            }
            written
        };
        line["message"]["tool_calls"] = calls.iter().enumerate().map(call).collect();
    }

    /// The last line's reason and metrics. Durations are those of the script, not measured; a zero is left out.
    fn finish(&self, line: &mut Value, answer: &Answer) {
        line["done_reason"] = json!(if answer.is_length { "length" } else { "stop" });
        if answer.is_without_counts {
            return;
        }
        let prompt = answer.prompt_tokens.unwrap_or(self.asked.prompt_tokens);
        let reply = answer.reply_tokens.unwrap_or_else(|| answer.tokens_written());
        let reading = (answer.first_ms * 1_000_000).max(prompt * 1_000);
        let writing = (writing_ms(answer) * 1_000_000).max(reply * 10_000);
        let load = u64::try_from(self.load.as_nanos()).unwrap_or(u64::MAX);
        let metrics = [
            ("total_duration", load + reading + writing),
            ("load_duration", load),
            ("prompt_eval_count", prompt),
            ("prompt_eval_duration", reading),
            ("eval_count", reply),
            ("eval_duration", writing),
        ];
        for (name, value) in metrics.into_iter().filter(|(_, value)| *value > 0) {
            line[name] = json!(value);
        }
    }

    /// The reply to a request that only loads or unloads.
    pub(super) fn loaded(&self, is_unload: bool) -> Value {
        let mut line = self.line("", true);
        line["done_reason"] = json!(if is_unload { "unload" } else { "load" });
        line
    }
}

impl Dialect for Wire<'_> {
    const STREAM: &'static str = "application/x-ndjson";

    fn opening(&self) -> Option<String> {
        None
    }

    fn frames(&self, answer: &Answer, part: Part<'_>) -> Vec<String> {
        let line = match part {
            Part::Text(text) => self.line(text, false),
            Part::Thinking(thinking) => {
                let mut line = self.line("", false);
                self.think(&mut line, thinking);
                line
            }
            Part::Calls(calls) => {
                let mut line = self.line("", false);
                self.calls(&mut line, answer, calls);
                line
            }
            Part::End(calls) => {
                let mut line = self.line("", true);
                self.calls(&mut line, answer, calls);
                self.finish(&mut line, answer);
                line
            }
            Part::Error(message) => self.error(500, message),
        };
        vec![format!("{line}\n")]
    }

    fn whole(&self, answer: &Answer, is_done: bool) -> Value {
        let mut line = self.line(&answer.text, is_done);
        if !answer.thinking.is_empty() {
            self.think(&mut line, &answer.thinking);
        }
        self.calls(&mut line, answer, &answer.calls);
        if is_done {
            self.finish(&mut line, answer);
        }
        line
    }

    fn error(&self, _status: u16, message: &str) -> Value {
        error(message)
    }
}

/// An error in Ollama's shape.
pub(super) fn error(message: &str) -> Value {
    json!({ "error": message })
}

/// The answer as the window and the request's limit leave it.
pub(super) fn bounded(asked: &Asked, wishes: &Wishes, answer: Answer) -> Answer {
    let asked_max = asked.reply_tokens_max();
    let window_max =
        (!wishes.load.shift).then(|| u64::from(asked.context_tokens).saturating_sub(asked.prompt_tokens).max(1));
    let tokens_max = [asked_max, window_max].into_iter().flatten().min();
    let is_quiet = asked.think == Some(json!(false));
    let answer = if is_quiet { answer.thinking("") } else { answer };
    answer.within(tokens_max)
}

/// Lines of a pull.
pub(super) fn pull(model: &Model) -> Vec<Value> {
    let layer = |completed: u64| {
        let digest = format!("sha256:{}", model.digest);
        let mut line = json!({
            "status": format!("pulling {}", &model.digest[..model.digest.len().min(12)]),
            "digest": digest, "total": model.bytes,
        });
        // Zero is left out, as everywhere in this protocol.
        if completed > 0 {
            line["completed"] = json!(completed);
        }
        line
    };
    let status = |text: &str| json!({ "status": text });
    let half = model.pulled + (model.bytes - model.pulled) / 2;
    let mut lines = vec![status("pulling manifest"), layer(model.pulled), layer(half)];
    match &model.pull_error {
        Some(message) => lines.push(error(message)),
        None => lines.extend([
            layer(model.bytes),
            status("verifying sha256 digest"),
            status("writing manifest"),
            status("success"),
        ]),
    }
    lines
}
