//! Reads the body of a request as Ollama's own decoder does: wrong types are refused with its words.

use std::time::Duration;

use serde_json::{Map, Value};

/// A refusal with its status: the protocol gives it its shape.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// For a prompt that is too long: its tokens and the window.
    pub(super) overflow: Option<(u64, u32)>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), overflow: None }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mismatch(value: &Value, place: &str, wanted: &str) -> Refusal {
    Refusal::new(400, format!("json: cannot unmarshal {} into Go struct field {place} of type {wanted}", kind(value)))
}

/// The body as an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Err(Refusal::new(400, "missing request body"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Refusal::new(
            400,
            format!("json: cannot unmarshal {} into Go value of type api.ChatRequest", kind(&other)),
        )),
        Err(fault) if fault.is_eof() => Err(Refusal::new(400, "unexpected EOF")),
        Err(fault) => Err(Refusal::new(400, format!("invalid character: {fault}"))),
    }
}

/// A field that is absent or null, or else has its type.
fn typed<'a, T>(
    map: &'a Map<String, Value>,
    (place, key, wanted): (&str, &str, &str),
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| mismatch(value, &format!("{place}.{key}"), wanted)),
    }
}

pub(super) fn string<'a>(map: &'a Map<String, Value>, key: &str, place: &str) -> Result<Option<&'a str>, Refusal> {
    typed(map, (place, key, "string"), Value::as_str)
}

pub(super) fn boolean(map: &Map<String, Value>, key: &str, place: &str) -> Result<Option<bool>, Refusal> {
    typed(map, (place, key, "bool"), Value::as_bool)
}

pub(super) fn array<'a>(
    map: &'a Map<String, Value>,
    key: &str,
    place: &str,
) -> Result<Option<&'a Vec<Value>>, Refusal> {
    typed(map, (place, key, "[]interface {}"), Value::as_array)
}

pub(super) fn map<'a>(
    map: &'a Map<String, Value>,
    key: &str,
    place: &str,
) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    typed(map, (place, key, "map[string]interface {}"), Value::as_object)
}

/// An entry of an array, which has to be an object.
pub(super) fn entry<'a>(value: &'a Value, place: &str, wanted: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| mismatch(value, place, wanted))
}

/// A field that has to be an object where it is there.
pub(super) fn arguments(function: &Map<String, Value>) -> Result<Value, Refusal> {
    match function.get("arguments") {
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(value @ Value::Object(_)) => Ok(value.clone()),
        Some(value) => Err(mismatch(
            value,
            "ToolCallFunction.messages.tool_calls.function.arguments",
            "api.ToolCallFunctionArguments",
        )),
    }
}

/// How long a model stays: `Some(None)`: for ever.
pub(super) fn keep_alive(map: &Map<String, Value>) -> Result<Option<Option<Duration>>, Refusal> {
    match map.get("keep_alive") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = number.as_f64().unwrap_or(0.0);
            Ok(Some((seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4))))
        }
        Some(Value::String(text)) => {
            let seconds = go_duration(text)?;
            Ok(Some((seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4))))
        }
        Some(other) => Err(Refusal::new(400, format!("Unsupported type: '{}'", kind(other)))),
    }
}

/// Seconds of a duration as Go writes it: `300ms`, `-1.5h`, `2h45m`, `0`.
fn go_duration(text: &str) -> Result<f64, Refusal> {
    let invalid = || Refusal::new(400, format!("time: invalid duration \"{text}\""));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "" => return Err(Refusal::new(400, format!("time: missing unit in duration \"{text}\""))),
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            other => {
                return Err(Refusal::new(400, format!("time: unknown unit \"{other}\" in duration \"{text}\"")));
            }
        };
        seconds += number * factor;
        rest = &rest[unit..];
    }
    Ok(sign * seconds)
}

const INTEGERS: &[&str] = &[
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "draft_num_predict",
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
];
const FLOATS: &[&str] =
    &["top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"];

/// Checks the types of known options; unknown ones are nobody's business.
pub(super) fn options(given: &Map<String, Value>) -> Result<(), Refusal> {
    for (key, value) in given {
        let name = key.as_str();
        let (is_right, wanted) = match value {
            Value::Null => continue,
            _ if INTEGERS.contains(&name) => (value.is_number(), "integer"),
            _ if FLOATS.contains(&name) => (value.is_number(), "float32"),
            _ if name == "use_mmap" => (value.is_boolean(), "boolean"),
            _ if name == "stop" => (value.as_array().is_some_and(|all| all.iter().all(Value::is_string)), "array"),
            _ => continue,
        };
        if !is_right {
            return Err(Refusal::new(400, format!("option \"{key}\" must be of type {wanted}")));
        }
    }
    Ok(())
}

/// An integer option; floats are cut off, as the server does.
pub(super) fn integer(options: &Map<String, Value>, key: &str) -> Option<i64> {
    options.get(key).and_then(Value::as_f64).map(|number| number as i64)
}

/// Checks tools as far as the server's narrow struct does.
pub(super) fn tools(tools: &[Value]) -> Result<(), Refusal> {
    for tool in tools {
        let tool = entry(tool, "ChatRequest.tools", "api.Tool")?;
        let Some(function) = map(tool, "function", "Tool.tools")? else { continue };
        string(function, "name", "ToolFunction.tools.function")?;
        string(function, "description", "ToolFunction.tools.function")?;
        let place = "ToolFunctionParameters.tools.function.parameters";
        let Some(parameters) = map(function, "parameters", "ToolFunction.tools.function")? else { continue };
        string(parameters, "type", place)?;
        array(parameters, "required", place)?;
        for property in map(parameters, "properties", place)?.into_iter().flat_map(Map::values) {
            property_schema(property)?;
        }
    }
    Ok(())
}

fn property_schema(schema: &Value) -> Result<(), Refusal> {
    let schema = entry(schema, "ToolFunctionParameters.properties", "api.ToolProperty")?;
    for property in map(schema, "properties", "ToolProperty")?.into_iter().flat_map(Map::values) {
        property_schema(property)?;
    }
    for choice in array(schema, "anyOf", "ToolProperty")?.into_iter().flatten() {
        property_schema(choice)?;
    }
    Ok(())
}
