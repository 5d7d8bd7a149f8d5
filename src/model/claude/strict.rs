//! A schema in the form that binds an answer: a small part of JSON Schema. What does not fit is not sent.
//!
//! The answer is checked against the whole schema in any case; this only helps the model to fit it at once.

use serde_json::{Map, Value, json};

use crate::model::schema;

/// Most properties of one request that may be missing.
const OPTIONAL_MAX: usize = 24;
/// Most properties of one request with several types.
const UNIONS_MAX: usize = 16;

/// The schema as `output_config.format` takes it; `None` where it says something that cannot be said there.
pub(super) fn strict(wanted: &Value) -> Option<Value> {
    if !is_object(wanted) || has_open_keys(wanted) {
        return None;
    }
    let mut counts = Counts::default();
    let bound = counts.node(&schema::narrow(wanted))?;
    (counts.optional <= OPTIONAL_MAX && counts.unions <= UNIONS_MAX).then_some(bound)
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").map_or_else(|| schema.get("properties").is_some(), |kind| kind == "object")
}

/// Whether keys that are not named may stand somewhere, with values of a certain form.
fn has_open_keys(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            let is_open =
                |key: &str| map.get(key).is_some_and(|value| value.as_object().is_some_and(|map| !map.is_empty()));
            is_open("patternProperties") || is_open("additionalProperties") || map.values().any(has_open_keys)
        }
        Value::Array(list) => list.iter().any(has_open_keys),
        _ => false,
    }
}

#[derive(Debug, Default)]
struct Counts {
    optional: usize,
    unions: usize,
}

impl Counts {
    fn node(&mut self, schema: &Value) -> Option<Value> {
        let source = schema.as_object()?;
        let mut out = Map::new();
        for (key, value) in source {
            let value = match key.as_str() {
                "properties" => {
                    let named = value.as_object()?;
                    let required = source.get("required").and_then(Value::as_array).map_or(0, Vec::len);
                    self.optional += named.len().saturating_sub(required);
                    let nodes = named.iter().map(|(name, one)| Some((name.clone(), self.node(one)?)));
                    Value::Object(nodes.collect::<Option<_>>()?)
                }
                "anyOf" => {
                    self.unions += 1;
                    value.as_array()?.iter().map(|one| self.node(one)).collect::<Option<_>>()?
                }
                "items" => self.node(value)?,
                "enum"
                    if value
                        .as_array()
                        .is_some_and(|list| list.iter().any(|one| one.is_object() || one.is_array())) =>
                {
                    return None;
                }
                "type" => {
                    self.unions += usize::from(value.is_array());
                    value.clone()
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        let has_type = |kind: &str| match out.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(list)) => list.iter().any(|one| one == kind),
            _ => false,
        };
        let is_free = !out.contains_key("type") && !out.contains_key("enum") && !out.contains_key("anyOf");
        let is_map = has_type("object") && !out.contains_key("properties");
        let is_list_of_anything = has_type("array") && !out.contains_key("items");
        if is_free || is_map || is_list_of_anything {
            return None;
        }
        if has_type("object") {
            out.insert("additionalProperties".to_owned(), json!(false));
        }
        Some(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_closed_and_its_limits_become_words() {
        let wanted = json!({
            "$defs": { "row": { "type": "object", "properties": { "sum": { "type": "number", "minimum": 0 } }, "required": ["sum"] } },
            "type": "object",
            "properties": { "rows": { "type": "array", "items": { "$ref": "#/$defs/row" }, "minItems": 3 }, "note": { "type": ["string", "null"] } },
            "required": ["rows"],
        });
        let bound = strict(&wanted).unwrap();
        assert_eq!(bound["additionalProperties"], json!(false));
        let row = &bound["properties"]["rows"]["items"];
        assert_eq!((&row["additionalProperties"], &row["required"]), (&json!(false), &json!(["sum"])));
        assert!(row["properties"]["sum"].get("minimum").is_none());
        assert!(row["properties"]["sum"]["description"].as_str().unwrap().contains('0'));
        assert!(!bound.to_string().contains("$ref") && !bound.to_string().contains("minItems"));
    }

    #[test]
    fn what_cannot_be_said_is_not_sent() {
        let property = |schema: Value| json!({ "type": "object", "properties": { "a": schema } });
        let many = |count: usize, schema: Value| {
            let named: Map<String, Value> = (0..count).map(|n| (format!("p{n}"), schema.clone())).collect();
            json!({ "type": "object", "properties": named })
        };
        for schema in [
            json!({ "type": "array", "items": { "type": "string" } }),
            json!({ "type": "string" }),
            json!(true),
            json!({ "type": "object", "additionalProperties": { "type": "number" } }),
            json!({ "type": "object" , "properties": {}, "patternProperties": { "^a": { "type": "string" } } }),
            property(json!({})),
            property(json!({ "type": "array" })),
            property(json!({ "type": "object" })),
            property(json!({ "enum": [{ "b": 1 }] })),
            property(json!({ "$ref": "#" })),
            many(25, json!({ "type": "string" })),
            many(17, json!({ "type": ["string", "null"] })),
        ] {
            assert_eq!(strict(&schema), None, "{schema}");
        }
        assert!(strict(&many(24, json!({ "type": "string" }))).is_some());
    }
}
