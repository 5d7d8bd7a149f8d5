//! The table of keys as a JSON Schema for editors and as a reference page. Both are files in `docs/`; a test fails
//! when one is stale.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::keys::{CLAUDE, KeyDoc, NEED_PROMPT, Place, STAND_IN, Shape, keys_of};

/// The JSON Schema of plan files, draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut defs = Map::new();
    for place in Place::ALL {
        if place != Place::Plan {
            defs.insert(name_of(place).to_owned(), object(place));
        }
    }
    defs.insert(
        "template".to_owned(),
        json!({ "type": "string", "pattern": "\\$\\{\\{", "description": "One expression: `${{ … }}`." }),
    );
    let mut out = Map::new();
    out.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    out.insert("title".to_owned(), json!("ollmcp plan"));
    if let Value::Object(plan) = object(Place::Plan) {
        out.extend(plan);
    }
    out.insert("$defs".to_owned(), Value::Object(defs));
    Value::Object(out)
}

const fn name_of(place: Place) -> &'static str {
    match place {
        Place::Plan => "plan",
        Place::Step => "step",
        Place::Defaults => "defaults",
        Place::Input => "input",
        Place::ForEach => "for_each",
        Place::Retry => "retry",
        Place::Output => "output",
        Place::Check => "check",
        Place::FileCheck => "file_check",
        Place::SqlCheck => "sql_check",
        Place::Agree => "agree",
        Place::ModelServer => "model_server",
    }
}

fn object(place: Place) -> Value {
    let mut properties = Map::new();
    for key in keys_of(place) {
        let mut shape = if key.is_built { shape(key.shape) } else { json!({ "not": {} }) };
        if let Value::Object(map) = &mut shape {
            let doc = if key.is_built { key.doc.to_owned() } else { format!("Not in this version. {}", key.doc) };
            map.insert("description".to_owned(), json!(doc));
        }
        properties.insert(key.name.to_owned(), shape);
    }
    let mut out = Map::new();
    out.insert("type".to_owned(), json!("object"));
    out.insert("properties".to_owned(), Value::Object(properties));
    out.insert("additionalProperties".to_owned(), json!(false));
    match place {
        Place::Plan => _ = out.insert("required".to_owned(), json!(["name", "steps"])),
        Place::Step => {
            out.insert("required".to_owned(), json!(["id"]));
            let kinds: Vec<Value> =
                ["tool", "value", "agent"].iter().map(|kind| json!({ "required": [kind] })).collect();
            out.insert("oneOf".to_owned(), json!(kinds));
            let mut with_prompt: Map<String, Value> =
                NEED_PROMPT.iter().map(|word| ((*word).to_owned(), json!(["prompt"]))).collect();
            with_prompt.insert("prompt".to_owned(), json!(["agent"]));
            out.insert("dependentRequired".to_owned(), Value::Object(with_prompt));
        }
        Place::Input => {
            _ = out.insert("anyOf".to_owned(), json!([{ "required": ["type"] }, { "required": ["default"] }]))
        }
        Place::FileCheck => _ = out.insert("required".to_owned(), json!(["path"])),
        Place::SqlCheck => _ = out.insert("required".to_owned(), json!(["database", "query", "equals"])),
        Place::Check | Place::ForEach => {
            out.insert("minProperties".to_owned(), json!(1));
            out.insert("maxProperties".to_owned(), json!(1));
        }
        Place::ModelServer => {
            out.insert("required".to_owned(), json!(["kind"]));
            let stand_in = json!({ "properties": { "kind": { "const": STAND_IN } }, "maxProperties": 1 });
            out.insert("anyOf".to_owned(), json!([{ "required": ["url"] }, stand_in]));
        }
        Place::Agree => _ = out.insert("required".to_owned(), json!(["with"])),
        Place::Defaults | Place::Retry | Place::Output => {}
    }
    Value::Object(out)
}

fn shape(shape: Shape) -> Value {
    const DURATION: &str = "[0-9]+(ms|s|m|h|d)";
    match shape {
        Shape::Text | Shape::Template => json!({ "type": "string" }),
        Shape::Expression => json!({ "type": ["string", "boolean"] }),
        Shape::AnyTemplate | Shape::Any => json!({}),
        Shape::MapTemplate => json!({ "type": ["object", "null"] }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Tolerance => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,2})? *%$" },
            ]
        }),
        Shape::Duration => json!({ "type": "string", "pattern": format!("^({DURATION})+$") }),
        Shape::DurationRange => {
            json!({ "type": "string", "pattern": format!("^({DURATION})+( *\\.\\. *({DURATION})+)?$") })
        }
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Words(words) => json!({ "anyOf": [{ "enum": words }, { "type": "array", "items": { "enum": words } }] }),
        Shape::Names => json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
        Shape::NamedLists => json!({
            "type": "object",
            "additionalProperties": { "type": "array", "minItems": 1, "items": { "type": "string" } },
        }),
        Shape::Schema => json!({ "type": ["object", "boolean"] }),
        Shape::Inputs => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" },
            "additionalProperties": {
                "anyOf": [{ "$ref": "#/$defs/input" }, { "type": ["string", "number", "boolean", "array"] }]
            },
        }),
        Shape::ModelServers => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$", "not": { "const": CLAUDE } },
            "additionalProperties": { "$ref": "#/$defs/model_server" },
        }),
        Shape::Agree => json!({ "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/agree" }] }),
        Shape::Steps => json!({ "type": "array", "items": { "$ref": "#/$defs/step" } }),
        Shape::Checks => {
            let one = json!({ "anyOf": [{ "type": ["string", "boolean"] }, { "$ref": "#/$defs/check" }] });
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Map(Place::FileCheck) => json!({ "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/file_check" }] }),
        Shape::Map(place) => json!({ "$ref": format!("#/$defs/{}", name_of(place)) }),
        Shape::ForEach => {
            json!({ "anyOf": [{ "$ref": "#/$defs/template" }, { "type": "array" }, { "$ref": "#/$defs/for_each" }] })
        }
        Shape::Count => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "$ref": "#/$defs/template" }] }),
    }
}

/// The reference page of all keys.
#[must_use]
pub fn keys_markdown() -> String {
    let mut out = String::from(
        "# Keys of a plan file\n\nMade from the table that the reader itself uses; do not edit. \
         Words marked *not yet* are refused with \"not in this version\", never ignored.\n",
    );
    for place in Place::ALL {
        let title = match place {
            Place::Plan => "At the top",
            Place::Step => "In a step",
            Place::Defaults => "In `defaults`",
            Place::Input => "In an input",
            Place::ForEach => "In `for_each`",
            Place::Retry => "In `retry`",
            Place::Output => "In `output`",
            Place::Check => "In a check of `done_when` or `all_done_when`",
            Place::FileCheck => "In a `file` check",
            Place::SqlCheck => "In an `sql` check",
            Place::Agree => "In `agree`",
            Place::ModelServer => "In an entry of `model_servers`",
        };
        _ = write!(out, "\n## {title}\n\n| key | holds | meaning |\n| --- | --- | --- |\n");
        for key in keys_of(place) {
            _ = writeln!(out, "| `{}` | {} | {} |", key.name, holds(key), key.doc.replace('|', "\\|"));
        }
    }
    out
}

fn holds(key: &KeyDoc) -> String {
    if !key.is_built {
        return "*not yet*".to_owned();
    }
    match key.shape {
        Shape::Text => "text".to_owned(),
        Shape::Expression => "an expression".to_owned(),
        Shape::Template => "text with `${{ }}`".to_owned(),
        Shape::AnyTemplate => "any value with `${{ }}`".to_owned(),
        Shape::MapTemplate => "a map with `${{ }}`".to_owned(),
        Shape::Any => "any plain value".to_owned(),
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Whole(min, max) if min == max => format!("{min}"),
        Shape::Whole(min, max) => format!("{min} to {max}"),
        Shape::Tolerance => "a number or `10%`".to_owned(),
        Shape::Duration => "`500ms`, `30s`, `5m`, `1h`".to_owned(),
        Shape::DurationRange => "`1s..1m`".to_owned(),
        Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Words(words) => {
            format!("a list of {}", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
        Shape::Names => "a list of names".to_owned(),
        Shape::NamedLists => "a map of lists".to_owned(),
        Shape::Schema => "a JSON Schema".to_owned(),
        Shape::Inputs => "a map of inputs".to_owned(),
        Shape::ModelServers => "a map of model servers".to_owned(),
        Shape::Agree => "`true`, `false`, or a map".to_owned(),
        Shape::Steps => "a list of steps".to_owned(),
        Shape::Checks => "a list of checks".to_owned(),
        Shape::Map(Place::FileCheck) => "a map, or the path alone".to_owned(),
        Shape::Map(_) => "a map".to_owned(),
        Shape::ForEach => "an expression, a list or a map".to_owned(),
        Shape::Count => "a number or an expression".to_owned(),
    }
}
