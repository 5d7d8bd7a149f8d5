//! Answers for requests that no script speaks of.

use serde_json::{Value, json};

use super::answer::{Answer, tokens_of};
use super::asked::Asked;

/// An answer for requests that no script speaks of: fits the schema where there is one.
pub(crate) fn plain(asked: &Asked) -> Answer {
    match &asked.schema {
        Some(schema) => Answer::text(sample(schema, schema, 0).to_string()),
        None => {
            Answer::text(format!("Hello, this is {}. I have read {} tokens.", asked.model, tokens_of(&asked.seen())))
        }
    }
}

/// Some value that fits a schema made of the usual words.
fn sample(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > 32 {
        return Value::Null;
    }
    let inside = |schema: &Value| sample(schema, root, depth + 1);
    if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        return root.pointer(place).map_or(Value::Null, inside);
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    if let Some(choice) = schema["anyOf"].get(0).or_else(|| schema["oneOf"].get(0)) {
        return inside(choice);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str));
    match kind.unwrap_or(if schema.get("properties").is_some() { "object" } else { "null" }) {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            Value::Object(properties.map(|(name, schema)| (name.clone(), inside(schema))).collect())
        }
        "array" => {
            let count = schema["minItems"].as_u64().unwrap_or(1);
            (0..count).map(|_| inside(&schema["items"])).collect()
        }
        "string" => json!("x".repeat(schema["minLength"].as_u64().unwrap_or(1).max(1) as usize)),
        "integer" => json!(schema["minimum"].as_i64().unwrap_or(1)),
        "number" => json!(schema["minimum"].as_f64().unwrap_or(1.5)),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}
