//! OpenAI's protocol, as Ollama and llama.cpp's own server speak it.

use serde_json::{Map, Value, json};

use super::go::Refusal;
use crate::scripted::answer::{Answer, Call};
use crate::scripted::asked::{Asked, Said};
use crate::scripted::steps::{Dialect, Part};

/// Whose habits the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Ollama: both protocols, unknown models are refused.
    #[default]
    Ollama,
    /// llama.cpp: nothing under `/api`, one model that answers to every name.
    LlamaCpp,
}

/// Reads the body of `/v1/chat/completions`.
pub(super) fn read(asked: &mut Asked, body: &[u8]) -> Result<(), Refusal> {
    let body: Value =
        serde_json::from_slice(body).map_err(|fault| Refusal::new(400, format!("failed to parse JSON: {fault}")))?;
    asked.body = body.clone();
    let Value::Object(body) = body else { return Err(Refusal::new(400, "the body must be an object")) };
    let wrong = |key: &str, wanted: &str| Refusal::new(400, format!("`{key}` must be {wanted}"));
    match body.get("model") {
        None | Some(Value::Null) => {}
        Some(Value::String(model)) => asked.model.clone_from(model),
        Some(_) => return Err(wrong("model", "a string")),
    }
    let given = body.get("messages").and_then(Value::as_array).ok_or_else(|| wrong("messages", "an array"))?;
    asked.messages = given.iter().map(message).collect::<Result<_, _>>()?;
    asked.is_streamed = match body.get("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_streamed)) => *is_streamed,
        Some(_) => return Err(wrong("stream", "a boolean")),
    };
    asked.tools = match body.get("tools") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) => tools.clone(),
        Some(_) => return Err(wrong("tools", "an array")),
    };
    let format = body.get("response_format").unwrap_or(&Value::Null);
    asked.schema = match format["type"].as_str() {
        Some("json_schema") => Some(format["json_schema"]["schema"].clone()).filter(Value::is_object),
        Some("json_object") => format.get("schema").filter(|schema| schema.is_object()).cloned(),
        Some("text") | None => None,
        Some(other) => {
            return Err(Refusal::new(
                400,
                format!(
                    "response_format type must be one of \"text\", \"json_object\" and \"json_schema\", but got: {other}"
                ),
            ));
        }
    };
    let structure = ["model", "messages", "stream", "tools", "response_format"];
    asked.options = body.into_iter().filter(|(key, _)| !structure.contains(&key.as_str())).collect();
    for key in ["temperature", "top_p", "max_tokens", "max_completion_tokens", "seed"] {
        if asked.options.get(key).is_some_and(|value| !value.is_null() && !value.is_number()) {
            return Err(wrong(key, "a number"));
        }
    }
    Ok(())
}

fn message(given: &Value) -> Result<Said, Refusal> {
    let given = given.as_object().ok_or_else(|| Refusal::new(400, "a message must be an object"))?;
    let text = |key: &str| given.get(key).and_then(Value::as_str).map(str::to_owned);
    let content = match given.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Some(_) => return Err(Refusal::new(400, "`content` must be a string, null or an array of parts")),
    };
    let mut calls = Vec::new();
    for call in given.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let name = call["function"]["name"].as_str().unwrap_or_default().to_owned();
        let Some(arguments) = call["function"]["arguments"].as_str() else {
            return Err(Refusal::new(400, "`tool_calls[].function.arguments` must be a string"));
        };
        let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments));
        calls.push((name, arguments));
    }
    Ok(Said {
        role: text("role").unwrap_or_default(),
        text: content,
        thinking: text("reasoning_content").or_else(|| text("reasoning")).unwrap_or_default(),
        calls,
        tool_name: text("name"),
        call_id: text("tool_call_id"),
    })
}

/// Counts the prompt, and refuses one that fills the window: nothing is ever cut here.
pub(super) fn fit(asked: &mut Asked) -> Result<(), Refusal> {
    asked.kept = asked.messages.clone();
    asked.prompt_tokens = asked.tool_tokens() + asked.kept.iter().map(Said::tokens).sum::<u64>();
    let (tokens, window) = (asked.prompt_tokens, asked.context_tokens);
    if tokens < u64::from(window) {
        return Ok(());
    }
    let message =
        format!("request ({tokens} tokens) exceeds the available context size ({window} tokens), try increasing it");
    Err(Refusal { overflow: Some((tokens, window)), ..Refusal::new(400, message) })
}

/// The answer as the window and the request's limit leave it.
pub(super) fn bounded(asked: &Asked, answer: Answer) -> Answer {
    let window_max = u64::from(asked.context_tokens).saturating_sub(asked.prompt_tokens).max(1);
    answer.within(Some(asked.reply_tokens_max().map_or(window_max, |max| max.clamp(1, window_max))))
}

/// An error in OpenAI's shape.
pub(super) fn error(flavour: Flavour, refusal: &Refusal) -> Value {
    let kind = match refusal.status {
        _ if refusal.overflow.is_some() => "exceed_context_size_error",
        400 => "invalid_request_error",
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        503 => "unavailable_error",
        _ if flavour == Flavour::LlamaCpp => "server_error",
        _ => "api_error",
    };
    let mut error = match flavour {
        Flavour::LlamaCpp => json!({ "code": refusal.status, "message": refusal.message, "type": kind }),
        Flavour::Ollama => json!({ "message": refusal.message, "type": kind, "param": null, "code": null }),
    };
    if let Some((tokens, window)) = refusal.overflow {
        error["code"] = json!(refusal.status);
        error["n_prompt_tokens"] = json!(tokens);
        error["n_ctx"] = json!(window);
    }
    json!({ "error": error })
}

/// Writes answers to one request.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    pub(super) asked: &'a Asked,
    pub(super) flavour: Flavour,
    /// Name that the server answers with.
    pub(super) model: String,
}

impl Wire<'_> {
    fn head(&self, object: &str) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.asked.number),
            "object": object,
            "created": jiff::Timestamp::now().as_second(),
            "model": self.model,
            "system_fingerprint": "fp_scripted",
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.head("chat.completion.chunk");
        chunk["choices"] = choices;
        chunk
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> String {
        let choices = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
        format!("data: {}\n\n", self.chunk(choices))
    }

    fn reasoning(&self) -> &'static str {
        if self.flavour == Flavour::LlamaCpp { "reasoning_content" } else { "reasoning" }
    }

    fn finish(answer: &Answer) -> &'static str {
        match (answer.is_length, answer.calls.is_empty()) {
            (true, _) => "length",
            (false, false) => "tool_calls",
            (false, true) => "stop",
        }
    }

    fn usage(&self, answer: &Answer) -> Value {
        let prompt = answer.prompt_tokens.unwrap_or(self.asked.prompt_tokens);
        let reply = answer.reply_tokens.unwrap_or_else(|| answer.tokens_written());
        json!({ "prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply })
    }

    fn call(&self, answer: &Answer, index: usize, call: &Call) -> Map<String, Value> {
        let arguments = match &call.arguments {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let mut written = Map::new();
        if !answer.is_without_ids {
            written.insert("id".into(), json!(format!("call_{:04}{index:04}", self.asked.number)));
        }
        written.insert("type".into(), json!("function"));
        written.insert("function".into(), json!({ "name": call.name, "arguments": arguments }));
        written
    }

    /// Calls as deltas: whole ones, or name first and arguments in parts where the answer is to come in parts.
    fn call_frames(&self, answer: &Answer, calls: &[Call]) -> Vec<String> {
        let mut frames = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let mut written = self.call(answer, index, call);
            written.insert("index".into(), json!(index));
            let arguments = written["function"]["arguments"].as_str().unwrap_or_default().to_owned();
            let parts = match answer.part_bytes {
                Some(bytes) if bytes > 0 => answer.parts(&arguments),
                _ => Vec::new(),
            };
            if !parts.is_empty() {
                written["function"]["arguments"] = json!("");
            }
            frames.push(self.delta(&json!({ "tool_calls": [written] }), None));
            for part in parts {
                let delta = json!({ "tool_calls": [{ "index": index, "function": { "arguments": part } }] });
                frames.push(self.delta(&delta, None));
            }
        }
        frames
    }
}

impl Dialect for Wire<'_> {
    const STREAM: &'static str = "text/event-stream";

    fn opening(&self) -> Option<String> {
        Some(self.delta(&json!({ "role": "assistant", "content": null }), None))
    }

    fn frames(&self, answer: &Answer, part: Part<'_>) -> Vec<String> {
        match part {
            Part::Text(text) => vec![self.delta(&json!({ "content": text }), None)],
            Part::Thinking(thinking) => vec![self.delta(&json!({ self.reasoning(): thinking }), None)],
            Part::Calls(calls) => self.call_frames(answer, calls),
            Part::End(calls) => {
                let mut frames = self.call_frames(answer, calls);
                frames.push(self.delta(&json!({}), Some(Self::finish(answer))));
                let wants_usage =
                    self.asked.options.get("stream_options").is_some_and(|o| o["include_usage"] == json!(true));
                if wants_usage && !answer.is_without_counts {
                    let mut chunk = self.chunk(json!([]));
                    chunk["usage"] = self.usage(answer);
                    frames.push(format!("data: {chunk}\n\n"));
                }
                frames.push("data: [DONE]\n\n".into());
                frames
            }
            Part::Error(message) => vec![format!("data: {}\n\n", self.error(500, message))],
        }
    }

    fn whole(&self, answer: &Answer, is_done: bool) -> Value {
        let mut message = json!({ "role": "assistant", "content": answer.text });
        if !answer.thinking.is_empty() {
            message[self.reasoning()] = json!(answer.thinking);
        }
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().enumerate().map(|(index, call)| self.call(answer, index, call));
            message["tool_calls"] = calls.map(Value::Object).collect();
            if answer.text.is_empty() {
                message["content"] = Value::Null;
            }
        }
        let finish = is_done.then(|| Self::finish(answer));
        let mut whole = self.head("chat.completion");
        whole["choices"] = json!([{ "index": 0, "message": message, "finish_reason": finish }]);
        if !answer.is_without_counts {
            whole["usage"] = self.usage(answer);
        }
        whole
    }

    fn error(&self, status: u16, message: &str) -> Value {
        error(self.flavour, &Refusal::new(status, message))
    }
}
