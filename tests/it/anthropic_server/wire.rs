//! The Messages API as it is written: events of a stream, one whole message, errors.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::cache::Classes;
use crate::scripted::answer::{Answer, Call};
use crate::scripted::asked::Asked;
use crate::scripted::steps::{Dialect, Part};

/// Longest piece of the arguments of a call, in bytes.
const PIECE_BYTES: usize = 7;

/// How one answer is written.
pub(super) struct Wire<'a> {
    pub(super) asked: &'a Asked,
    pub(super) classes: Classes,
    pub(super) request_id: String,
    /// The block that is open, and how many there were.
    state: RefCell<(Option<&'static str>, u64)>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(asked: &'a Asked, classes: Classes, request_id: String) -> Self {
        Self { asked, classes, request_id, state: RefCell::new((None, 0)) }
    }

    fn usage(&self, answer: &Answer, output_tokens: u64) -> Value {
        let Classes { input, write_5m, write_1h, read } = self.classes;
        let [write_5m, write_1h, read] = answer.cache.unwrap_or([write_5m, write_1h, read]);
        json!({
            "input_tokens": answer.prompt_tokens.unwrap_or(input), "output_tokens": output_tokens,
            "cache_creation_input_tokens": write_5m + write_1h, "cache_read_input_tokens": read,
            "cache_creation": { "ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h },
            "service_tier": "standard",
        })
    }

    fn message(&self, answer: &Answer, content: Value, stop: Value, details: Value, output_tokens: u64) -> Value {
        json!({
            "id": format!("msg_{}", self.request_id), "type": "message", "role": "assistant", "model": self.asked.model,
            "content": content, "stop_reason": stop, "stop_sequence": null, "stop_details": details,
            "usage": self.usage(answer, output_tokens),
        })
    }

    fn written(answer: &Answer) -> u64 {
        answer.reply_tokens.unwrap_or_else(|| answer.tokens_written().max(1))
    }

    fn stop(answer: &Answer) -> (Value, Value) {
        match &answer.stop {
            Some((reason, details)) => (json!(reason), details.clone()),
            None if answer.is_length => (json!("max_tokens"), Value::Null),
            None if !answer.calls.is_empty() => (json!("tool_use"), Value::Null),
            None => (json!("end_turn"), Value::Null),
        }
    }

    fn id(&self, number: usize) -> String {
        format!("toolu_{}_{number}", self.request_id)
    }

    /// Closes the block that is open.
    fn close(&self, out: &mut Vec<String>) {
        let mut state = self.state.borrow_mut();
        let Some(kind) = state.0.take() else { return };
        if kind == "thinking" {
            let delta = json!({ "type": "signature_delta", "signature": "c2lnbmVk" });
            out.push(event(&json!({ "type": "content_block_delta", "index": state.1, "delta": delta })));
        }
        out.push(event(&json!({ "type": "content_block_stop", "index": state.1 })));
        state.1 += 1;
    }

    /// One block, whole: nothing is open behind it.
    fn block(&self, start: &Value, deltas: &[Value], out: &mut Vec<String>) {
        self.close(out);
        let index = self.state.borrow().1;
        out.push(event(&json!({ "type": "content_block_start", "index": index, "content_block": start })));
        for delta in deltas {
            out.push(event(&json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        }
        out.push(event(&json!({ "type": "content_block_stop", "index": index })));
        self.state.borrow_mut().1 += 1;
    }

    fn part(&self, kind: &'static str, text: &str, out: &mut Vec<String>) {
        if self.state.borrow().0 != Some(kind) {
            self.close(out);
            let start = match kind {
                "thinking" => json!({ "type": "thinking", "thinking": "", "signature": "" }),
                _ => json!({ "type": "text", "text": "", "citations": null }),
            };
            let index = self.state.borrow().1;
            out.push(event(&json!({ "type": "content_block_start", "index": index, "content_block": start })));
            self.state.borrow_mut().0 = Some(kind);
        }
        let mut delta = json!({ "type": format!("{kind}_delta") });
        delta[kind] = json!(text);
        let index = self.state.borrow().1;
        out.push(event(&json!({ "type": "content_block_delta", "index": index, "delta": delta })));
    }

    fn calls(&self, calls: &[Call], out: &mut Vec<String>) {
        for (number, call) in calls.iter().enumerate() {
            let text = match &call.arguments {
                Value::String(text) => text.clone(),
                Value::Object(map) if map.is_empty() => String::new(),
                other => other.to_string(),
            };
            let mut deltas = vec![json!({ "type": "input_json_delta", "partial_json": "" })];
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.ceil_char_boundary(PIECE_BYTES.min(rest.len())));
                deltas.push(json!({ "type": "input_json_delta", "partial_json": piece }));
                rest = behind;
            }
            let start = json!({ "type": "tool_use", "id": self.id(number), "name": call.name, "input": {} });
            self.block(&start, &deltas, out);
        }
    }
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

impl Dialect for Wire<'_> {
    const STREAM: &'static str = "text/event-stream; charset=utf-8";

    fn opening(&self) -> Option<String> {
        // The figures of the input stand here already.
        let message = self.message(&Answer::default(), json!([]), Value::Null, Value::Null, 1);
        Some(event(&json!({ "type": "message_start", "message": message })) + &event(&json!({ "type": "ping" })))
    }

    fn frames(&self, answer: &Answer, part: Part<'_>) -> Vec<String> {
        let mut out = Vec::new();
        if answer.has_news && !matches!(part, Part::Error(_)) {
            out.push(event(&json!({ "type": "weather_report", "index": 0, "text": "not of the answer" })));
            self.block(
                &json!({ "type": "hologram", "text": "no" }),
                &[json!({ "type": "hologram_delta", "text": "no" })],
                &mut out,
            );
        }
        match part {
            Part::Thinking(text) => self.part("thinking", text, &mut out),
            Part::Text(text) => self.part("text", text, &mut out),
            Part::Calls(calls) => self.calls(calls, &mut out),
            Part::End(calls) => {
                self.calls(calls, &mut out);
                self.close(&mut out);
                let (stop, details) = Self::stop(answer);
                let delta = json!({ "stop_reason": stop, "stop_sequence": null, "stop_details": details });
                let usage = if answer.cache.is_some() || answer.prompt_tokens.is_some() {
                    self.usage(answer, Self::written(answer))
                } else {
                    json!({ "output_tokens": Self::written(answer) })
                };
                out.push(event(&json!({ "type": "message_delta", "delta": delta, "usage": usage })));
                out.push(event(&json!({ "type": "message_stop" })));
            }
            Part::Error(message) => {
                let kind = answer.error_kind.as_deref().unwrap_or("overloaded_error");
                out.push(event(
                    &json!({ "type": "error", "error": { "type": kind, "message": message, "details": null } }),
                ));
            }
        }
        out
    }

    fn whole(&self, answer: &Answer, is_done: bool) -> Value {
        let mut content = Vec::new();
        if answer.has_news {
            content.push(json!({ "type": "hologram", "text": "no" }));
        }
        if !answer.thinking.is_empty() {
            content.push(json!({ "type": "thinking", "thinking": answer.thinking, "signature": "c2lnbmVk" }));
        }
        if !answer.text.is_empty() {
            content.push(json!({ "type": "text", "text": answer.text, "citations": null }));
        }
        for (number, call) in answer.calls.iter().enumerate() {
            content
                .push(json!({ "type": "tool_use", "id": self.id(number), "name": call.name, "input": call.arguments }));
        }
        let (stop, details) = if is_done { Self::stop(answer) } else { (Value::Null, Value::Null) };
        self.message(answer, json!(content), stop, details, Self::written(answer))
    }

    fn error(&self, status: u16, message: &str) -> Value {
        error(status, message, None, None, &self.request_id)
    }
}

/// An error in the interface's shape.
pub(super) fn error(status: u16, message: &str, kind: Option<&str>, code: Option<&str>, request_id: &str) -> Value {
    let kind = kind.unwrap_or(match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    });
    let mut error = json!({ "type": kind, "message": message });
    if let Some(code) = code {
        error["details"] = json!({ "error_code": code });
    }
    json!({ "type": "error", "error": error, "request_id": request_id })
}
