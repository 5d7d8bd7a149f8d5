//! Schemas of tools in the form that a server keeps. Pure.
//!
//! Ollama decodes them into a narrow struct and drops every other word without notice, so a reference becomes `{}` and
//! a limit vanishes. [`narrow`] says the same with the words that survive, and what cannot be said so in the description.

use serde_json::{Map, Value, json};

/// How many references may lead to the next inside each other.
const REFERENCE_DEPTH_MAX: usize = 6;
/// How deep schemas may stand in each other.
const DEPTH_MAX: usize = 24;
/// How many schemas one tool may have after its references were written out.
const NODES_MAX: usize = 1_000;
/// Longest sentence about one word that the server does not keep, in characters.
const NOTE_CHARS_MAX: usize = 160;
/// Longest description in characters, notes included.
const DESCRIPTION_CHARS_MAX: usize = 1_200;

/// Words whose meaning is a limit, and how they are told.
const LIMITS: &[(&str, &str)] = &[
    ("format", "format"),
    ("pattern", "pattern"),
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
    ("multipleOf", "multiple of"),
    ("minLength", "shortest length"),
    ("maxLength", "longest length"),
    ("minItems", "fewest items"),
    ("maxItems", "most items"),
    ("minProperties", "fewest keys"),
    ("maxProperties", "most keys"),
    ("contentEncoding", "encoded as"),
    ("contentMediaType", "media type"),
    ("propertyNames", "names of keys"),
    ("patternProperties", "keys by pattern"),
    ("dependentRequired", "keys that need others"),
    ("contains", "contains"),
    ("not", "not"),
    ("if", "if"),
    ("then", "then"),
    ("else", "else"),
    ("default", "default"),
    ("examples", "examples"),
];

/// A tool's parameters in the words that Ollama keeps: `type`, `description`, `properties`, `required`, `items`, `enum`, `anyOf`.
pub(super) fn narrow(parameters: &Value) -> Value {
    let mut writer = Writer { root: parameters, nodes: 0 };
    let mut node = match parameters.is_object().then(|| writer.node(parameters, 0, 0)).flatten() {
        Some(Value::Object(node)) => node,
        _ => Map::new(),
    };
    // At the top there is no choice: its branches become one object that allows each of them.
    if let Some(Value::Array(branches)) = node.remove("anyOf") {
        unite(&mut node, &branches);
    }
    let mut out = Map::new();
    out.insert("type".to_owned(), json!("object"));
    let properties = node.remove("properties").filter(Value::is_object).unwrap_or_else(|| json!({}));
    for (key, value) in [
        ("description", node.remove("description")),
        ("properties", Some(properties)),
        ("required", node.remove("required")),
    ] {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    }
    Value::Object(out)
}

/// A tool's parameters for servers that read whole schemas: an object with `properties`, and no `true` or `false` for a schema.
pub(super) fn whole(parameters: &Value) -> Value {
    let mut out = match without_booleans(parameters, 0) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    out.insert("type".to_owned(), json!("object"));
    if !out.get("properties").is_some_and(Value::is_object) {
        out.insert("properties".to_owned(), json!({}));
    }
    Value::Object(out)
}

/// The same schema with `true` written as `{}` and `false` as `{"not": {}}`, where servers refuse the short forms.
pub(super) fn without_booleans(schema: &Value, depth: usize) -> Value {
    let inner = |value: &Value| match value {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => json!({ "not": {} }),
        other => without_booleans(other, depth + 1),
    };
    let Value::Object(map) = schema else { return schema.clone() };
    if depth > DEPTH_MAX {
        return schema.clone();
    }
    let rewrite = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                Value::Object(named.iter().map(|(name, value)| (name.clone(), inner(value))).collect())
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(list)) => {
                list.iter().map(inner).collect()
            }
            ("items" | "not", value) => inner(value),
            (_, value) => value.clone(),
        };
        (key.clone(), value)
    };
    Value::Object(map.iter().map(rewrite).collect())
}

struct Writer<'a> {
    root: &'a Value,
    nodes: usize,
}

impl Writer<'_> {
    /// One schema; `None` for one that allows nothing.
    fn node(&mut self, schema: &Value, depth: usize, references: usize) -> Option<Value> {
        self.nodes += 1;
        let source = match schema {
            Value::Bool(false) => return None,
            Value::Object(map) => map,
            _ => return Some(any()),
        };
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Some(deeper(source));
        }
        let (mut merged, references) = match self.merged(source, references, 0) {
            Ok(merged) => merged,
            Err(cut) => return Some(cut),
        };
        let mut out = Map::new();
        let mut notes = Vec::new();
        let enumeration = merged.remove("const").map(|value| json!([value])).or_else(|| merged.remove("enum"));
        if let Some(kind) = kind(&merged, enumeration.as_ref()) {
            out.insert("type".to_owned(), kind);
        }
        if let Some(values) = enumeration.filter(Value::is_array) {
            out.insert("enum".to_owned(), values);
        }
        self.add_properties(&merged, &mut out, &mut notes, depth, references);
        self.add_items(&merged, &mut out, &mut notes, depth, references);
        let branches = ["anyOf", "oneOf"].iter().filter_map(|key| merged.get(*key).and_then(Value::as_array)).flatten();
        let branches: Vec<Value> = branches.filter_map(|branch| self.node(branch, depth + 1, references)).collect();
        if !branches.is_empty() {
            out.insert("anyOf".to_owned(), Value::Array(branches));
        }
        notes.extend(LIMITS.iter().filter_map(|(key, words)| limit(&merged, key, words)));
        if merged.get("uniqueItems") == Some(&Value::Bool(true)) {
            notes.push("each item once".to_owned());
        }
        if let Some(text) = description(&merged, &notes) {
            out.insert("description".to_owned(), json!(text));
        }
        Some(Value::Object(out))
    }

    /// References and `allOf` written into one schema; an error is what stands for a schema that leads on for ever.
    fn merged(
        &mut self,
        source: &Map<String, Value>,
        references: usize,
        level: usize,
    ) -> Result<(Map<String, Value>, usize), Value> {
        self.nodes += 1;
        if references > REFERENCE_DEPTH_MAX || level > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(deeper(source));
        }
        let mut own = source.clone();
        let mut deepest = references;
        let mut out = Map::new();
        if let Some(Value::String(reference)) = own.remove("$ref").or_else(|| own.remove("$dynamicRef")) {
            match resolve(self.root, &reference).cloned() {
                Some(Value::Object(target)) => {
                    let (target, depth) = self.merged(&target, references + 1, level + 1)?;
                    deepest = depth;
                    out = target;
                }
                Some(_) => {}
                None => {
                    own.entry("description").or_insert_with(|| json!(format!("see `{}`", short(&reference))));
                }
            }
        }
        let all = own.remove("allOf");
        join(&mut out, own);
        for part in all.as_ref().and_then(Value::as_array).into_iter().flatten() {
            if let Value::Object(part) = part {
                let (part, depth) = self.merged(part, references, level + 1)?;
                deepest = deepest.max(depth);
                join_beneath(&mut out, part);
            }
        }
        Ok((out, deepest))
    }

    fn add_properties(
        &mut self,
        merged: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
        references: usize,
    ) {
        let mut forbidden = Vec::new();
        if let Some(Value::Object(named)) = merged.get("properties") {
            let mut properties = Map::new();
            for (name, schema) in named {
                match self.node(schema, depth + 1, references) {
                    Some(node) => drop(properties.insert(name.clone(), node)),
                    None => forbidden.push(name.clone()),
                }
            }
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if let Some(Value::Array(required)) = merged.get("required") {
            let names =
                required.iter().filter_map(Value::as_str).filter(|name| !forbidden.iter().any(|gone| gone == name));
            let names: Vec<&str> = names.collect();
            if !names.is_empty() {
                out.insert("required".to_owned(), json!(names));
            }
        }
        match merged.get("additionalProperties") {
            Some(Value::Bool(false)) => notes.push("no other keys".to_owned()),
            Some(Value::Object(schema)) if !schema.is_empty() => {
                notes.push(format!("values of other keys: {}", brief(merged.get("additionalProperties"))));
            }
            _ => {}
        }
    }

    fn add_items(
        &mut self,
        merged: &Map<String, Value>,
        out: &mut Map<String, Value>,
        notes: &mut Vec<String>,
        depth: usize,
        references: usize,
    ) {
        // A list of schemas is one for each place, written in either of two ways.
        let places = merged.get("prefixItems").or_else(|| merged.get("items")).and_then(Value::as_array);
        if let Some(places) = places {
            let nodes: Vec<Value> = places.iter().filter_map(|place| self.node(place, depth + 1, references)).collect();
            notes.push(format!("{} places in this order", nodes.len()));
            out.insert("items".to_owned(), if nodes.is_empty() { any() } else { json!({ "anyOf": nodes }) });
        } else if let Some(items) = merged.get("items") {
            match self.node(items, depth + 1, references) {
                Some(node) => drop(out.insert("items".to_owned(), node)),
                None => notes.push("always empty".to_owned()),
            }
        }
    }
}

/// Adds what stands beside a reference: the nearer word wins, keys of objects come together.
fn join(out: &mut Map<String, Value>, own: Map<String, Value>) {
    for (key, value) in own {
        match (key.as_str(), out.get_mut(&key), value) {
            ("properties", Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            ("required", Some(Value::Array(there)), Value::Array(more)) => there.extend(more),
            (_, _, value) => drop(out.insert(key, value)),
        }
    }
}

/// Adds a part of `allOf`: what stands there already stays, keys of objects come together.
fn join_beneath(out: &mut Map<String, Value>, part: Map<String, Value>) {
    for (key, value) in part {
        match (key.as_str(), out.get_mut(&key), value) {
            ("properties", Some(Value::Object(there)), Value::Object(more)) => {
                for (name, schema) in more {
                    there.entry(name).or_insert(schema);
                }
            }
            ("required", Some(Value::Array(there)), Value::Array(more)) => {
                let fresh: Vec<Value> = more.into_iter().filter(|name| !there.contains(name)).collect();
                there.extend(fresh);
            }
            (_, Some(_), _) => {}
            (_, None, value) => drop(out.insert(key, value)),
        }
    }
}

/// Makes one object of branches: it has the keys of all and requires what all require.
fn unite(node: &mut Map<String, Value>, branches: &[Value]) {
    let mut properties = Map::new();
    let mut common: Option<Vec<Value>> = None;
    let mut ways = Vec::new();
    for branch in branches.iter().filter_map(Value::as_object) {
        let required = branch.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(Value::Object(named)) = branch.get("properties") {
            ways.push(brief(Some(&json!(if required.is_empty() {
                named.keys().map(|key| json!(key)).collect()
            } else {
                required.clone()
            }))));
            for (name, schema) in named {
                properties.entry(name.clone()).or_insert_with(|| schema.clone());
            }
        }
        common = Some(match common {
            None => required,
            Some(before) => before.into_iter().filter(|name| required.contains(name)).collect(),
        });
    }
    let mut part = Map::from_iter([("properties".to_owned(), Value::Object(properties))]);
    if let Some(names) = common.filter(|names| !names.is_empty()) {
        part.insert("required".to_owned(), Value::Array(names));
    }
    join_beneath(node, part);
    if ways.len() > 1 {
        let text = node.get("description").and_then(Value::as_str).unwrap_or_default();
        let note = bounded(&format!("one of these sets of keys: {}", ways.join(" or ")), NOTE_CHARS_MAX * 2);
        let text = if text.is_empty() { note } else { format!("{text} ({note})") };
        node.insert("description".to_owned(), json!(text));
    }
}

/// The type, as it stands or as the other words imply it.
fn kind(schema: &Map<String, Value>, enumeration: Option<&Value>) -> Option<Value> {
    let implied = || {
        if schema.contains_key("properties") || schema.contains_key("additionalProperties") {
            return Some("object");
        }
        if schema.contains_key("items") || schema.contains_key("prefixItems") {
            return Some("array");
        }
        let values = enumeration?.as_array()?;
        let first = type_of(values.first()?);
        values.iter().all(|value| type_of(value) == first).then_some(first)
    };
    let stated = schema.get("type").filter(|value| value.is_string() || value.is_array()).cloned();
    let found = stated.or_else(|| implied().map(|word| json!(word)))?;
    if schema.get("nullable") != Some(&Value::Bool(true)) {
        return Some(found);
    }
    let mut types = match found {
        Value::Array(types) => types,
        one => vec![one],
    };
    if !types.contains(&json!("null")) {
        types.push(json!("null"));
    }
    Some(Value::Array(types))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn limit(schema: &Map<String, Value>, key: &str, words: &str) -> Option<String> {
    let value = schema.get(key)?;
    // In older drafts these two say how `minimum` and `maximum` are meant.
    if let ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(is_exclusive)) = (key, value) {
        return is_exclusive
            .then(|| format!("not the {} itself", if key == "exclusiveMinimum" { "minimum" } else { "maximum" }));
    }
    Some(format!("{words} {}", brief(Some(value))))
}

fn description(schema: &Map<String, Value>, notes: &[String]) -> Option<String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let own = text("description").or_else(|| text("title"));
    let notes = notes.join("; ");
    let all = match (own, notes.is_empty()) {
        (None, true) => return None,
        (Some(own), true) => own.to_owned(),
        (None, false) => notes,
        (Some(own), false) => format!("{own} ({notes})"),
    };
    Some(bounded(&all, DESCRIPTION_CHARS_MAX))
}

/// A JSON value on a short line; text without its quotes.
fn brief(value: Option<&Value>) -> String {
    let text = match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    bounded(&text, NOTE_CHARS_MAX)
}

fn short(reference: &str) -> String {
    bounded(reference, 80)
}

fn bounded(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// What stands for a schema that allows everything.
fn any() -> Value {
    json!({ "description": "any value" })
}

/// What stands for a schema that is too deep to be written out.
fn deeper(source: &Map<String, Value>) -> Value {
    let mut out = Map::new();
    if let Some(kind) = source.get("type").filter(|value| value.is_string()) {
        out.insert("type".to_owned(), kind.clone());
    }
    let words = source.get("description").and_then(Value::as_str).unwrap_or("nested further");
    out.insert("description".to_owned(), json!(bounded(words, DESCRIPTION_CHARS_MAX)));
    Value::Object(out)
}

/// Follows a reference inside the same schema: `#`, `#/a/b`, or the name of an anchor.
fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.is_empty() || pointer.starts_with('/') {
        return root.pointer(&super::address::percent_decoded(pointer));
    }
    let named = ["$defs", "definitions"].iter().filter_map(|key| root.get(key).and_then(Value::as_object)).flatten();
    let is_meant = |schema: &Value| {
        ["$anchor", "$dynamicAnchor"].iter().any(|key| schema.get(key).and_then(Value::as_str) == Some(pointer))
    };
    named.map(|(_, schema)| schema).find(|schema| is_meant(schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(property: Value, expect: Value) {
        let tool = json!({ "type": "object", "properties": { "p": property } });
        assert_eq!(narrow(&tool)["properties"]["p"], expect);
    }

    #[test]
    fn there_is_always_an_object_with_properties() {
        let empty = json!({ "type": "object", "properties": {} });
        for odd in [
            json!(null),
            json!(true),
            json!(false),
            json!({}),
            json!({ "type": ["object", "null"] }),
            json!({ "properties": null }),
            json!([]),
        ] {
            assert_eq!(narrow(&odd), empty, "{odd}");
            assert_eq!(whole(&odd)["properties"], json!({}), "{odd}");
            assert_eq!(whole(&odd)["type"], json!("object"), "{odd}");
        }
    }

    #[test]
    fn what_the_server_keeps_stays_as_it_is() {
        let tool = json!({
            "type": "object",
            "properties": {
                "city": { "type": "string", "description": "Where", "enum": ["Oslo", "Rome"] },
                "days": { "type": ["integer", "null"] },
                "tags": { "type": "array", "items": { "type": "string" } },
                "at": { "type": "object", "properties": { "x": { "type": "number" } }, "required": ["x"] },
                "either": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            },
            "required": ["city"],
        });
        assert_eq!(narrow(&tool), tool);
    }

    #[test]
    fn limits_move_into_the_description() {
        check(
            json!({ "type": "integer", "description": "How many", "minimum": 1, "maximum": 9, "default": 3 }),
            json!({ "type": "integer", "description": "How many (at least 1; at most 9; default 3)" }),
        );
        check(
            json!({ "type": "string", "title": "Day", "format": "date", "maxLength": 10 }),
            json!({ "type": "string", "description": "Day (format date; longest length 10)" }),
        );
        check(
            json!({ "type": "object", "properties": {}, "additionalProperties": false }),
            json!({ "type": "object", "properties": {}, "description": "no other keys" }),
        );
        check(
            json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true, "exclusiveMaximum": false }),
            json!({ "type": "number", "description": "at least 0; not the minimum itself" }),
        );
        check(json!({ "const": "x" }), json!({ "type": "string", "enum": ["x"] }));
        check(json!({ "type": "string", "nullable": true }), json!({ "type": ["string", "null"] }));
        check(
            json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true, "minItems": 1 }),
            json!({ "type": "array", "items": { "type": "string" }, "description": "fewest items 1; each item once" }),
        );
        check(
            json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "integer" }] }),
            json!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] }, "description": "2 places in this order" }),
        );
    }

    #[test]
    fn one_of_becomes_any_of_and_all_of_becomes_one_schema() {
        check(
            json!({ "oneOf": [{ "type": "string" }, { "type": "integer", "minimum": 1 }, false] }),
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "description": "at least 1" }] }),
        );
        check(
            json!({ "allOf": [
                { "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] },
                { "properties": { "b": { "type": "string" } }, "required": ["b", "a"] },
            ]}),
            json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "required": ["a", "b"] }),
        );
    }

    #[test]
    fn schemas_that_are_true_or_false_are_replaced() {
        let tool = json!({ "properties": { "any": true, "none": false, "list": { "type": "array", "items": true } }, "required": ["any", "none"] });
        assert_eq!(
            narrow(&tool),
            json!({ "type": "object", "properties": {
                "any": { "description": "any value" },
                "list": { "type": "array", "items": { "description": "any value" } },
            }, "required": ["any"] })
        );
        assert_eq!(
            whole(&tool)["properties"],
            json!({ "any": {}, "none": { "not": {} }, "list": { "type": "array", "items": {} } })
        );
    }

    #[test]
    fn references_are_written_out_with_what_stands_beside_them() {
        let tool = json!({
            "$defs": { "Point": { "type": "object", "description": "A point", "properties": { "x": { "$ref": "#/definitions/a~1b" } } } },
            "definitions": { "a/b": { "type": "number", "minimum": 0 }, "n": { "$anchor": "named", "type": "string" } },
            "type": "object",
            "properties": {
                "from": { "$ref": "#/$defs/Point" },
                "to": { "$ref": "#/%24defs/Point", "description": "Where to" },
                "name": { "$ref": "#named" },
                "lost": { "$ref": "https://example.com/x.json" },
            },
        });
        let x = json!({ "type": "number", "description": "at least 0" });
        assert_eq!(
            narrow(&tool)["properties"],
            json!({
                "from": { "type": "object", "properties": { "x": x }, "description": "A point" },
                "to": { "type": "object", "properties": { "x": x }, "description": "Where to" },
                "name": { "type": "string" },
                "lost": { "description": "see `https://example.com/x.json`" },
            })
        );
    }

    #[test]
    fn a_schema_that_holds_itself_ends() {
        let tree = json!({
            "$defs": {
                "Node": { "type": "object", "properties": { "next": { "$ref": "#/$defs/Node" }, "name": { "type": "string" } } },
                "Loop": { "$ref": "#/$defs/Loop" },
            },
            "properties": { "root": { "$ref": "#/$defs/Node" }, "self": { "$ref": "#" }, "loop": { "$ref": "#/$defs/Loop" } },
        });
        let text = narrow(&tree).to_string();
        assert!(text.contains("nested further") && text.len() < 100_000, "{} bytes", text.len());
        assert!(!text.contains("$ref"));
        let wide: Map<String, Value> = (0..20).map(|i| (format!("p{i}"), json!({ "$ref": "#/$defs/Wide" }))).collect();
        let bomb = json!({ "$defs": { "Wide": { "type": "object", "properties": wide } }, "properties": { "a": { "$ref": "#/$defs/Wide" } } });
        assert!(narrow(&bomb).to_string().len() < 200_000, "a wide schema has a bound as well");
    }

    #[test]
    fn a_choice_at_the_top_becomes_one_object() {
        let tool = json!({ "oneOf": [
            { "properties": { "path": { "type": "string" }, "line": { "type": "integer" } }, "required": ["path", "line"] },
            { "properties": { "path": { "type": "string" }, "text": { "type": "string" } }, "required": ["path", "text"] },
        ]});
        let narrowed = narrow(&tool);
        assert_eq!(narrowed["required"], json!(["path"]));
        assert_eq!(narrowed["properties"].as_object().unwrap().len(), 3);
        assert_eq!(
            narrowed["description"],
            json!("one of these sets of keys: [\"path\",\"line\"] or [\"path\",\"text\"]")
        );
    }

    /// Any JSON that may stand where a schema should.
    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(true)),
            Just(json!(false)),
            Just(json!(null)),
            Just(json!({ "$ref": "#" })),
            Just(json!({ "$ref": "#/properties/a" })),
            Just(json!({ "type": "string", "pattern": "^a", "enum": ["a", 1] })),
            Just(json!({ "const": 1.5, "default": {} })),
        ];
        leaf.prop_recursive(4, 60, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({ "oneOf": list })),
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!({ "allOf": list })),
                proptest::collection::vec(inner.clone(), 0..3).prop_map(|list| json!({ "items": list })),
                proptest::collection::btree_map("[abc]", inner.clone(), 0..3).prop_map(
                    |map| json!({ "type": "object", "properties": map, "required": map.keys().collect::<Vec<_>>() })
                ),
                inner.prop_map(|schema| json!({ "type": "array", "items": schema, "minItems": 2 })),
            ]
        })
    }

    fn assert_narrow(schema: &Value) {
        let map = schema.as_object().expect("every schema is an object");
        for (key, value) in map {
            match key.as_str() {
                "properties" => value.as_object().unwrap().values().for_each(assert_narrow),
                "anyOf" => value.as_array().unwrap().iter().for_each(assert_narrow),
                "items" => assert_narrow(value),
                "type" | "description" | "enum" | "required" => {}
                other => panic!("`{other}` does not survive"),
            }
        }
    }

    proptest! {
        #[test]
        fn only_words_that_survive_are_written(schema in any_schema()) {
            let narrowed = narrow(&schema);
            assert_narrow(&narrowed);
            prop_assert!(narrowed["properties"].is_object());
            prop_assert_eq!(&narrowed["type"], &json!("object"));
            prop_assert!(narrowed.to_string().len() < 2_000_000);
        }
    }
}
