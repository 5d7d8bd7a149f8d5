//! A conversation in the form that the interface takes. Whatever comes in, what goes out keeps its rules:
//!
//! - user and assistant take turns, a user begins and ends, and no text is empty;
//! - every call has an id of its own and is answered in the very next turn: all results first, in the order of the calls;
//! - what was said once is written the same way in every later request, so that caches of it hold.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names::{wire_id, wire_name};
use crate::model::{Message, Speaker, reading};

/// What stands where the rules want a turn that nobody said.
const GO_ON: &str = "Go on.";
/// Stands for the result of a call that was not run.
const NOT_RUN: &str = "This call was not run.";
/// Stands for a result without a text.
const NO_OUTPUT: &str = "(no output)";

/// The two parts of a conversation.
#[derive(Debug, PartialEq)]
pub(super) struct Conversation {
    /// Blocks of the rules.
    pub(super) system: Vec<Value>,
    /// Turns.
    pub(super) messages: Vec<Value>,
}

impl Conversation {
    /// Writes a conversation.
    pub(super) fn of(messages: &[Message]) -> Self {
        let leading = messages.iter().take_while(|message| message.speaker == Speaker::System).count();
        let (rules, rest) = messages.split_at(leading);
        let system = rules.iter().filter_map(|message| text_block(&message.text)).collect();
        let mut writer = Writer::default();
        for (place, message) in (leading..).zip(rest) {
            match message.speaker {
                Speaker::Assistant => writer.assistant(place, message),
                Speaker::Tool => writer.result(message),
                // Rules in the middle would change the prefix: they are said where they stand.
                Speaker::User | Speaker::System => writer.user(&message.text),
            }
        }
        writer.close();
        if writer.turns.last().is_none_or(|(role, _)| *role == "assistant") {
            writer.push("user", vec![json!({ "type": "text", "text": GO_ON })]);
        }
        let turn = |(role, content): (&str, Vec<Value>)| json!({ "role": role, "content": content });
        Self { system, messages: writer.turns.into_iter().map(turn).collect() }
    }

    /// Marks what later requests repeat: the rules, and in a conversation that goes on its last turns of the user.
    pub(super) fn keep(&mut self, is_going_on: bool) {
        if let Some(last) = self.system.last_mut() {
            mark(last);
        }
        if !is_going_on {
            return;
        }
        // Two of them: the last is read by the next request, the one before was written by the previous one and may lie
        // more than 20 blocks back, beyond what is looked for from a single mark.
        let users = self.messages.iter_mut().rev().filter(|turn| turn["role"] == "user").take(2);
        for turn in users {
            if let Some(last) = turn["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
                mark(last);
            }
        }
    }

    /// Whether a model has spoken in it.
    pub(super) fn has_answer(&self) -> bool {
        self.messages.iter().any(|turn| turn["role"] == "assistant")
    }
}

/// Keeps everything up to and with this block for five minutes.
pub(super) fn mark(block: &mut Value) {
    block["cache_control"] = json!({ "type": "ephemeral" });
}

fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

/// A call that waits for its result.
#[derive(Debug)]
struct Open {
    /// As the conversation has them.
    id: Option<String>,
    name: String,
    /// As they are sent.
    wire_id: String,
    result: Option<Value>,
}

#[derive(Debug, Default)]
struct Writer {
    turns: Vec<(&'static str, Vec<Value>)>,
    ids: BTreeSet<String>,
    open: Vec<Open>,
    /// What the user says behind the results.
    said: Vec<Value>,
}

impl Writer {
    fn assistant(&mut self, place: usize, message: &Message) {
        self.close();
        if self.turns.is_empty() {
            self.push("user", vec![json!({ "type": "text", "text": GO_ON })]);
        }
        if self.echo(message) {
            return;
        }
        let mut blocks: Vec<Value> = text_block(&message.text).into_iter().collect();
        for (number, call) in message.calls.iter().enumerate() {
            let given = call.id.as_deref().and_then(wire_id).filter(|id| !self.ids.contains(*id));
            let wire_id = given.map_or_else(|| self.fresh_id(place, number), str::to_owned);
            self.ids.insert(wire_id.clone());
            let input = reading::history_arguments(&call.arguments);
            blocks.push(json!({ "type": "tool_use", "id": wire_id, "name": wire_name(&call.name), "input": input }));
            self.open.push(Open { id: call.id.clone(), name: call.name.clone(), wire_id, result: None });
        }
        // A turn that said nothing is not sent.
        if !blocks.is_empty() {
            self.push("assistant", blocks);
        }
    }

    /// Sends the turn as it came; `false` where there is none, or where its calls are not those of the message.
    fn echo(&mut self, message: &Message) -> bool {
        if message.echo.is_empty() {
            return false;
        }
        let calls: Vec<&Value> = message.echo.iter().filter(|block| block["type"] == "tool_use").collect();
        let ids: Vec<&str> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
        let has_own =
            |(at, id): (usize, &&str)| wire_id(id).is_some() && !self.ids.contains(*id) && !ids[..at].contains(id);
        let are_sendable = ids.len() == calls.len() && calls.iter().all(|call| call["input"].is_object());
        if !are_sendable || !ids.iter().enumerate().all(has_own) {
            return false;
        }
        for (id, call) in ids.iter().zip(&calls) {
            let named = message.calls.iter().find(|one| one.id.as_deref() == Some(*id));
            let name = named.map_or_else(|| call["name"].as_str().unwrap_or_default(), |one| &one.name).to_owned();
            self.ids.insert((*id).to_owned());
            self.open.push(Open { id: Some((*id).to_owned()), name, wire_id: (*id).to_owned(), result: None });
        }
        self.push("assistant", message.echo.clone());
        true
    }

    fn result(&mut self, message: &Message) {
        let of = message.result_of.as_ref();
        let is_meant = |open: &Open| {
            open.result.is_none()
                && of.is_some_and(|of| match &of.id {
                    Some(id) => open.id.as_ref() == Some(id),
                    None => open.name == of.name,
                })
        };
        let text = if message.text.trim().is_empty() { NO_OUTPUT } else { &message.text };
        match self.open.iter_mut().find(|open| is_meant(open)) {
            Some(open) => {
                open.result = Some(json!({ "type": "tool_result", "tool_use_id": open.wire_id, "content": text }));
            }
            None => {
                let name = of.map_or("a call", |of| of.name.as_str());
                self.user(&format!("Result of {name}:\n{text}"));
            }
        }
    }

    fn user(&mut self, text: &str) {
        self.said.extend(text_block(text));
    }

    /// Ends the turn of the user: results in the order of their calls, then what was said.
    fn close(&mut self) {
        let mut blocks: Vec<Value> = Vec::new();
        for open in self.open.drain(..) {
            let not_run =
                || json!({ "type": "tool_result", "tool_use_id": open.wire_id, "content": NOT_RUN, "is_error": true });
            blocks.push(open.result.unwrap_or_else(not_run));
        }
        blocks.append(&mut self.said);
        if !blocks.is_empty() {
            self.push("user", blocks);
        }
    }

    fn push(&mut self, role: &'static str, mut blocks: Vec<Value>) {
        match self.turns.last_mut() {
            // Two turns of one speaker are one.
            Some((last, there)) if *last == role => there.append(&mut blocks),
            _ => self.turns.push((role, blocks)),
        }
    }

    fn fresh_id(&self, place: usize, number: usize) -> String {
        let mut id = format!("call_{place}_{number}");
        while self.ids.contains(&id) {
            id.push('x');
        }
        id
    }
}

#[cfg(test)]
mod tests;
