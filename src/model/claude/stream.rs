//! One answer out of its events. Pure: events of any kind and order come in, and no order makes it panic.
//!
//! | event | what it does |
//! |---|---|
//! | `message_start` | begins the answer; the input is counted from here on |
//! | `content_block_start`, `content_block_delta`, `content_block_stop` | a block and its parts; kinds that are not known are skipped |
//! | `message_delta` | why it stopped, and the figures so far |
//! | `message_stop` | the answer is whole |
//! | `error` | there is no answer |
//! | anything else (`ping` …) | nothing |

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::names::Names;
use super::usage::Usage;
use crate::model::{NativeCall, Stop, Tokens, reading};

/// Most blocks of one answer.
const BLOCKS_MAX: usize = 10_000;

/// What one event brought.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// Nothing of the answer itself.
    Nothing,
    /// The answer has begun: from here on tokens are counted.
    Begun,
    /// A part of the text.
    Text(String),
    /// A part of the reasoning.
    Thinking(String),
    /// So many bytes of something that is kept until it is whole.
    Kept(usize),
    /// The answer is whole.
    End,
    /// The `error` of an error event.
    Error(Value),
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    blocks: BTreeMap<u64, Block>,
    usage: Usage,
    model: Option<String>,
    stop_reason: Option<String>,
    stop_details: Value,
    has_begun: bool,
    has_ended: bool,
}

#[derive(Debug)]
enum Block {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(Value),
    Call { id: Option<String>, name: String, start: Value, json: String },
    Other,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<NativeCall>,
    pub(super) echo: Vec<Value>,
    pub(super) stop: Stop,
    pub(super) note: String,
}

impl Assembly {
    /// Takes one event, or a whole answer where the server does not stream. An error is what is wrong with it.
    pub(super) fn take(&mut self, event: &Value) -> Result<Heard, String> {
        let kind = event.get("type").and_then(Value::as_str).ok_or("no `type`")?;
        match kind {
            "message_start" => {
                let message = event.get("message").filter(|message| message.is_object()).ok_or("no `message`")?;
                self.begin(message);
                Ok(Heard::Begun)
            }
            "message" => Ok(self.take_whole(event)),
            "content_block_start" => {
                let index = event.get("index").and_then(Value::as_u64).ok_or("a block without `index`")?;
                let block = event.get("content_block").ok_or("no `content_block`")?;
                self.start_block(index, block)
            }
            "content_block_delta" => {
                let index = event.get("index").and_then(Value::as_u64).ok_or("a part without `index`")?;
                let delta = event.get("delta").ok_or("no `delta`")?;
                Ok(self.add(index, delta))
            }
            "message_delta" => {
                self.end_with(event.get("delta").unwrap_or(&Value::Null));
                self.usage.take(event.get("usage").unwrap_or(&Value::Null));
                Ok(Heard::Nothing)
            }
            "message_stop" => {
                self.has_ended = true;
                Ok(Heard::End)
            }
            "error" => Ok(Heard::Error(event.get("error").cloned().unwrap_or(Value::Null))),
            _ => Ok(Heard::Nothing),
        }
    }

    /// Tokens so far; `None` before the answer has begun.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.has_begun.then(|| self.usage.tokens())
    }

    /// The model that answers, as it says.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The whole answer; an error is what is missing.
    pub(super) fn whole(self, names: &Names) -> Result<Whole, &'static str> {
        if !self.has_begun {
            return Err("the stream ended before the answer began");
        }
        if !self.has_ended {
            return Err("the stream ended before the answer did");
        }
        let reason = self.stop_reason.ok_or("the server does not say why the model stopped")?;
        let stop = stop(&reason);
        let mut whole = Whole {
            text: String::new(),
            thinking: String::new(),
            calls: Vec::new(),
            echo: Vec::new(),
            stop,
            note: note(stop, &self.stop_details),
        };
        let mut must_echo = false;
        let mut is_readable = true;
        for block in self.blocks.into_values() {
            match block {
                Block::Text(text) => {
                    whole.text.push_str(&text);
                    if !text.trim().is_empty() {
                        whole.echo.push(json!({ "type": "text", "text": text }));
                    }
                }
                Block::Thinking { text, signature } => {
                    must_echo = true;
                    whole.thinking.push_str(&text);
                    whole.echo.push(json!({ "type": "thinking", "thinking": text, "signature": signature }));
                }
                Block::Redacted(block) => {
                    must_echo = true;
                    whole.echo.push(block);
                }
                Block::Call { id, name, start, json } => {
                    let input = if json.trim().is_empty() { start } else { Value::String(json) };
                    let arguments = reading::arguments(input);
                    is_readable &= arguments.is_object() && id.is_some();
                    whole.echo.push(json!({ "type": "tool_use", "id": id, "name": name, "input": arguments }));
                    whole.calls.push(NativeCall { id, name: names.offered(&name), arguments });
                }
                Block::Other => {}
            }
        }
        // Only signed reasoning has to go back as it came; a cut turn does not go back at all.
        if !must_echo || !is_readable || stop != Stop::End {
            whole.echo.clear();
        }
        Ok(whole)
    }

    fn begin(&mut self, message: &Value) {
        self.has_begun = true;
        self.model = message.get("model").and_then(Value::as_str).map(str::to_owned).or_else(|| self.model.take());
        self.usage.take(message.get("usage").unwrap_or(&Value::Null));
    }

    fn take_whole(&mut self, message: &Value) -> Heard {
        self.begin(message);
        let blocks = message.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, block) in (0..).zip(blocks.iter().take(BLOCKS_MAX)) {
            // Cannot fail: there are no more than are allowed.
            let _ = self.start_block(index, block);
        }
        self.end_with(message);
        self.has_ended = true;
        Heard::End
    }

    fn start_block(&mut self, index: u64, block: &Value) -> Result<Heard, String> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(format!("more than {BLOCKS_MAX} blocks"));
        }
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (block, heard) = match block.get("type").and_then(Value::as_str) {
            Some("text") => (Block::Text(text("text")), Heard::Text(text("text"))),
            Some("thinking") => {
                let (thinking, signature) = (text("thinking"), text("signature"));
                (Block::Thinking { text: thinking.clone(), signature }, Heard::Thinking(thinking))
            }
            Some("redacted_thinking") => (Block::Redacted(block.clone()), Heard::Kept(block.to_string().len())),
            Some("tool_use") => {
                let start = block.get("input").cloned().unwrap_or_else(|| Value::Object(Map::new()));
                let bytes = text("id").len() + text("name").len() + start.to_string().len();
                let id = Some(text("id")).filter(|id| !id.is_empty());
                (Block::Call { id, name: text("name"), start, json: String::new() }, Heard::Kept(bytes))
            }
            _ => (Block::Other, Heard::Nothing),
        };
        self.blocks.insert(index, block);
        Ok(heard)
    }

    fn add(&mut self, index: u64, delta: &Value) -> Heard {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        match (self.blocks.get_mut(&index), delta.get("type").and_then(Value::as_str)) {
            (Some(Block::Text(whole)), Some("text_delta")) => {
                whole.push_str(text("text"));
                Heard::Text(text("text").to_owned())
            }
            (Some(Block::Thinking { text: whole, .. }), Some("thinking_delta")) => {
                whole.push_str(text("thinking"));
                Heard::Thinking(text("thinking").to_owned())
            }
            (Some(Block::Thinking { signature, .. }), Some("signature_delta")) => {
                signature.push_str(text("signature"));
                Heard::Kept(text("signature").len())
            }
            (Some(Block::Call { json, .. }), Some("input_json_delta")) => {
                json.push_str(text("partial_json"));
                Heard::Kept(text("partial_json").len())
            }
            _ => Heard::Nothing,
        }
    }

    fn end_with(&mut self, told: &Value) {
        if let Some(reason) = told.get("stop_reason").and_then(Value::as_str) {
            self.stop_reason = Some(reason.to_owned());
        }
        if let Some(details) = told.get("stop_details").filter(|details| details.is_object()) {
            self.stop_details = details.clone();
        }
    }
}

/// What a `stop_reason` means. One that is not known is a whole turn: its text is checked like any other.
fn stop(reason: &str) -> Stop {
    match reason {
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Window,
        "pause_turn" => Stop::Paused,
        "refusal" => Stop::Declined,
        _ => Stop::End,
    }
}

fn note(stop: Stop, details: &Value) -> String {
    let words = |key: &str| details.get(key).and_then(Value::as_str).filter(|words| !words.trim().is_empty());
    match (stop, words("category"), words("explanation")) {
        (Stop::Declined, Some(category), Some(why)) => format!("{category}: {why}"),
        (Stop::Declined, Some(one), None) | (Stop::Declined, None, Some(one)) => one.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
