//! `debug`: parts of the program laid open, for tests and for reports of faults. `parse-calls` shows which calls the
//! reader of replies finds; it asks no model and runs nothing.

use std::io::BufRead as _;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::args::{DebugAction, DebugArgs};
use super::exit::Exit;
use super::output;
use crate::agent::calls::{Offered, Read, TEXT_BYTES_MAX, read};
use crate::model::Reply;

pub(super) fn debug(args: &DebugArgs) -> Exit {
    match args.action {
        DebugAction::ParseCalls => parse_calls(),
    }
}

/// One line of the input. What else it holds is not looked at.
#[derive(Debug, Deserialize)]
struct Case {
    id: Value,
    raw_text: String,
    #[serde(default)]
    available_tools: Vec<Tool>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    /// By argument: the name of its type, or its JSON Schema.
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    required: Vec<String>,
}

impl Tool {
    fn offered(self) -> Offered {
        let properties: Map<String, Value> = self
            .parameters
            .into_iter()
            .map(|(name, kind)| {
                let schema = match kind {
                    Value::String(kind) if kind == "any" => json!({}),
                    Value::String(kind) => json!({ "type": kind }),
                    Value::Array(kinds) => json!({ "type": kinds }),
                    Value::Object(schema) => Value::Object(schema),
                    Value::Null | Value::Bool(_) | Value::Number(_) => json!({}),
                };
                (name, schema)
            })
            .collect();
        let parameters = json!({ "type": "object", "properties": properties, "required": self.required });
        Offered { name: self.name, parameters }
    }
}

/// Longest line: a reply with every byte escaped, and room for its tools.
const LINE_BYTES_MAX: usize = 8 * TEXT_BYTES_MAX;

fn parse_calls() -> Exit {
    let mut exit = Exit::Complete;
    for (nth, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let answer = line.map_err(|error| error.to_string()).and_then(|line| answer(&line));
        match answer {
            Ok(Some(answer)) => output::json(&answer),
            Ok(None) => {}
            Err(message) => {
                output::err(&format!("error: line {}: {message}\n", nth + 1));
                exit = Exit::Usage;
            }
        }
    }
    exit
}

/// The answer to one line; none for an empty one.
fn answer(line: &[u8]) -> Result<Option<Value>, String> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("is longer than {LINE_BYTES_MAX} bytes"));
    }
    let case: Case = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let offered: Vec<Offered> = case.available_tools.into_iter().map(Tool::offered).collect();
    let reply = Reply { text: case.raw_text, ..Reply::default() };
    Ok(Some(match read(&reply, &offered) {
        Read::Calls { calls, .. } => {
            let calls: Vec<Value> =
                calls.into_iter().map(|call| json!({ "name": call.name, "args": call.arguments })).collect();
            json!({ "id": case.id, "calls": calls })
        }
        Read::Text(_) | Read::Failed(_) => json!({ "id": case.id, "unparseable": true }),
    }))
}
