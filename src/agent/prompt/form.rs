//! A JSON Schema in the short form that small models follow: `{"name": string, "size"?: integer | null}`. A schema
//! that says more than this form can is given as it is, without its remarks where it is long.

use serde_json::{Map, Value};

use super::cap;

/// Depth at which a schema is no longer put into words.
const DEPTH_MAX: usize = 12;

/// Keywords that the short form shows, or that say nothing about the form. Any other keeps the schema as it is.
const SHOWN: &[&str] = &[
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "$ref",
    "$defs",
    "definitions",
    "description",
    "title",
    "format",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "additionalProperties",
    "$schema",
    "$id",
    "$comment",
    "examples",
    "default",
    "nullable",
];

/// Remarks that can be left out of a schema without changing what it allows.
const REMARKS: &[&str] = &["description", "title", "examples", "$comment", "$schema", "$id", "default"];

/// The form in at most `chars_max` characters, and whether something was left out.
#[must_use]
pub fn schema_in_words(schema: &Value, chars_max: usize) -> (String, bool) {
    if let Some(words) = words(schema, schema, 0, true).filter(|words| words.chars().count() <= chars_max) {
        return (words, false);
    }
    let as_it_is = schema.to_string();
    if as_it_is.chars().count() <= chars_max {
        return (format_schema(&as_it_is, chars_max), false);
    }
    if let Some(words) = words(schema, schema, 0, false).filter(|words| words.chars().count() <= chars_max) {
        return (words, true);
    }
    let (text, was_cut) = cap::cut(&without_remarks(schema).to_string(), chars_max);
    (text, was_cut)
}

/// Says that what follows is a schema and no answer, where there is room for it.
fn format_schema(text: &str, chars_max: usize) -> String {
    const SAID: &str = "(as a JSON Schema) ";
    if text.chars().count() + SAID.len() <= chars_max { format!("{SAID}{text}") } else { text.to_owned() }
}

/// Bounds of values: a call that passes one is told so, and a list of tools is read with every request.
const BOUNDS: &[&str] =
    &["minLength", "maxLength", "pattern", "format", "minimum", "maximum", "minItems", "maxItems", "uniqueItems"];

/// The type of one argument, without its bounds.
pub(super) fn type_in_words(schema: &Value, root: &Value) -> String {
    words(&without(schema, BOUNDS), root, 0, false).unwrap_or_else(|| {
        let (text, _) = cap::cut(&without_remarks(schema).to_string(), 400);
        text
    })
}

fn without_remarks(schema: &Value) -> Value {
    without(schema, REMARKS)
}

/// Keywords left out; a property that has such a name is an object and stays.
fn without(schema: &Value, keys: &[&str]) -> Value {
    match schema {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !keys.contains(&key.as_str()) || value.is_object())
                .map(|(key, value)| (key.clone(), without(value, keys)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(|entry| without(entry, keys)).collect()),
        plain => plain.clone(),
    }
}

/// `None`: this form cannot say what the schema says.
fn words(schema: &Value, root: &Value, depth: usize, remarks: bool) -> Option<String> {
    if depth > DEPTH_MAX {
        return None;
    }
    let map = match schema {
        Value::Bool(true) => return Some("any JSON value".into()),
        Value::Object(map) if map.is_empty() => return Some("any JSON value".into()),
        Value::Object(map) => map,
        _ => return None,
    };
    if map.keys().any(|key| !SHOWN.contains(&key.as_str())) {
        return None;
    }
    if let Some(reference) = map.get("$ref") {
        let target = root.pointer(reference.as_str()?.strip_prefix('#')?)?;
        return words(target, root, depth + 1, remarks);
    }
    if let Some(value) = map.get("const") {
        return Some(value.to_string());
    }
    if let Some(values) = map.get("enum") {
        return Some(values.as_array()?.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "));
    }
    if let Some(choices) = map.get("anyOf").or_else(|| map.get("oneOf")) {
        if ["type", "properties", "items"].iter().any(|key| map.contains_key(*key)) {
            return None;
        }
        let choices: Option<Vec<String>> =
            choices.as_array()?.iter().map(|choice| words(choice, root, depth + 1, remarks)).collect();
        return Some(choices?.join(" | "));
    }
    let types: Vec<&str> = match map.get("type") {
        None if map.contains_key("properties") => vec!["object"],
        None if map.contains_key("items") => vec!["array"],
        None => return Some("any JSON value".into()),
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) => return None,
    };
    let mut said: Vec<String> = Vec::new();
    for word in types {
        said.push(match word {
            "object" => object(map, root, depth, remarks)?,
            "array" => array(map, root, depth, remarks)?,
            "string" => limited("string", map, "minLength", "maxLength", " characters"),
            "number" | "integer" => limited(word, map, "minimum", "maximum", ""),
            "boolean" => "true | false".into(),
            "null" => "null".into(),
            _ => return None,
        });
    }
    if map.get("nullable") == Some(&Value::Bool(true)) {
        said.push("null".into());
    }
    Some(said.join(" | "))
}

fn object(map: &Map<String, Value>, root: &Value, depth: usize, remarks: bool) -> Option<String> {
    let required: Vec<&str> =
        map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = map.get("properties").and_then(Value::as_object).filter(|map| !map.is_empty()) else {
        return match map.get("additionalProperties") {
            Some(Value::Object(_)) => {
                let value = words(map.get("additionalProperties")?, root, depth + 1, remarks)?;
                Some(format!("{{any key: {value}}}"))
            }
            _ => Some("object".into()),
        };
    };
    // A key that is needed and not described cannot be shown.
    if required.iter().any(|name| !properties.contains_key(*name))
        || map.get("additionalProperties").is_some_and(Value::is_object)
    {
        return None;
    }
    let mut parts = Vec::new();
    for (name, schema) in properties {
        let mark = if required.contains(&name.as_str()) { "" } else { "?" };
        let value = words(schema, root, depth + 1, remarks)?;
        let about = schema.get("description").and_then(Value::as_str).filter(|_| remarks).map(cap::one_line);
        let about = about.filter(|about| !about.is_empty()).map_or(String::new(), |about| format!(" ({about})"));
        parts.push(format!("{}{mark}: {value}{about}", Value::from(name.as_str())));
    }
    Some(format!("{{{}}}", parts.join(", ")))
}

fn array(map: &Map<String, Value>, root: &Value, depth: usize, remarks: bool) -> Option<String> {
    let inner = match map.get("items") {
        None => "any JSON value".into(),
        Some(items) => words(items, root, depth + 1, remarks)?,
    };
    let limits = limited("", map, "minItems", "maxItems", " of them");
    Some(format!("[{inner}, …]{limits}"))
}

/// A type with its bounds, its format and its pattern.
fn limited(word: &str, map: &Map<String, Value>, least: &str, most: &str, unit: &str) -> String {
    let mut notes = Vec::new();
    match (map.get(least), map.get(most)) {
        (Some(least), Some(most)) => notes.push(format!("{least} to {most}{unit}")),
        (Some(least), None) => notes.push(format!("at least {least}{unit}")),
        (None, Some(most)) => notes.push(format!("at most {most}{unit}")),
        (None, None) => {}
    }
    if word == "string" {
        notes.extend(map.get("format").and_then(Value::as_str).map(str::to_owned));
        notes.extend(map.get("pattern").and_then(Value::as_str).map(|pattern| format!("pattern {pattern}")));
    }
    if notes.is_empty() { word.to_owned() } else { format!("{word} ({})", notes.join(", ")) }
}
