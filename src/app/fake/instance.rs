//! The smallest value that fits a JSON Schema, as far as one can be worked out without a search.
//!
//! Each choice (`anyOf`, `enum`, a list of types) takes its first branch; where the whole does not fit then, the next
//! ones are tried, some times. What still does not fit is given as it is: the checks of the step say what is wrong.

use serde_json::{Map, Number, Value, json};

use super::pattern;

/// How deep values stand in each other.
const DEPTH_MAX: usize = 24;
/// How many schemas are read for one value.
const NODES_MAX: usize = 20_000;
/// Longest list or text that a bound can ask for.
const LENGTH_MAX: u64 = 10_000;
/// Ways through the choices that are tried.
const WAYS_MAX: usize = 24;
/// A text where nothing more is asked: nobody takes it for an answer.
const TEXT: &str = "fake";

/// A value that fits, where one is found.
#[must_use]
pub fn instance(schema: &Value) -> Value {
    let validator = jsonschema::options().should_validate_formats(true).offline().build(schema);
    let mut first = None;
    for way in 0..WAYS_MAX {
        let made = Maker { root: schema, way, nodes: 0 }.value(schema, 0);
        match &validator {
            Ok(validator) if !validator.is_valid(&made) => _ = first.get_or_insert(made),
            _ => return made,
        }
    }
    first.unwrap_or(Value::Null)
}

struct Maker<'a> {
    root: &'a Value,
    /// Which branch of each choice is taken.
    way: usize,
    nodes: usize,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Value::Null;
        }
        let Value::Object(_) = schema else { return json!(TEXT) };
        let schema = self.merged(schema, depth);
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return self.chosen(values).cloned().unwrap_or(Value::Null);
        }
        match self.kind(&schema) {
            "object" => self.object(&schema, depth),
            "array" => self.array(&schema, depth),
            "integer" => number(&schema, true),
            "number" => number(&schema, false),
            "boolean" => json!(false),
            "null" => Value::Null,
            _ => json!(text(&schema)),
        }
    }

    fn chosen<'v>(&self, values: &'v [Value]) -> Option<&'v Value> {
        values.get(self.way % values.len().max(1))
    }

    /// The schema with its references, its parts and the branch that is taken written into one.
    fn merged(&mut self, schema: &Value, depth: usize) -> Map<String, Value> {
        self.nodes += 1;
        let Value::Object(own) = schema else { return Map::new() };
        let mut own = own.clone();
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return own;
        }
        let mut parts = Vec::new();
        if let Some(Value::String(reference)) = own.remove("$ref")
            && let Some(target) = reference.strip_prefix('#').and_then(|path| self.root.pointer(path)).cloned()
        {
            parts.push(target);
        }
        if let Some(Value::Array(all)) = own.remove("allOf") {
            parts.extend(all);
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = own.remove(word)
                && let Some(branch) = self.chosen(&branches)
            {
                parts.push(branch.clone());
            }
        }
        for part in parts {
            let part = self.merged(&part, depth + 1);
            join(&mut own, part);
        }
        own
    }

    fn kind(&self, schema: &Map<String, Value>) -> &'static str {
        let known = |word: &str| {
            ["object", "array", "string", "integer", "number", "boolean", "null"]
                .into_iter()
                .find(|known| *known == word)
        };
        match schema.get("type") {
            Some(Value::String(word)) => known(word).unwrap_or("string"),
            Some(Value::Array(words)) => self.chosen(words).and_then(Value::as_str).and_then(known).unwrap_or("string"),
            _ => {
                let implied = [
                    ("object", &["properties", "required", "additionalProperties", "minProperties"][..]),
                    ("array", &["items", "prefixItems", "minItems", "contains"]),
                    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
                ];
                let has = |words: &[&str]| words.iter().any(|word| schema.contains_key(*word));
                implied.into_iter().find(|(_, words)| has(words)).map_or("string", |(kind, _)| kind)
            }
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let empty = Map::new();
        let named = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let needed = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut names: Vec<&str> = needed.collect();
        let more = schema.get("dependentRequired").and_then(Value::as_object);
        let mut at = 0;
        while let (Some(name), Some(more)) = (names.get(at), more) {
            let follow = more.get(*name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let follow: Vec<&str> = follow.filter(|name| !names.contains(name)).collect();
            names.extend(follow);
            at += 1;
        }
        let fewest = length(schema, "minProperties");
        for name in named.keys() {
            if (names.len() as u64) < fewest && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let other = schema.get("additionalProperties").cloned().unwrap_or(json!({}));
        let mut out = Map::new();
        // In the order of the form, as a model writes.
        let in_order = named.keys().map(String::as_str).filter(|name| names.contains(name));
        let rest = names.iter().copied().filter(|name| !named.contains_key(*name));
        for name in in_order.chain(rest) {
            let value = self.value(named.get(name).unwrap_or(&other), depth + 1);
            out.insert(name.to_owned(), value);
        }
        for number in 1..=fewest.saturating_sub(out.len() as u64) {
            let value = self.value(&other, depth + 1);
            out.insert(format!("{TEXT}_{number}"), value);
        }
        Value::Object(out)
    }

    fn array(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let listed = |word: &str| schema.get(word).and_then(Value::as_array);
        let places = listed("prefixItems").or_else(|| listed("items")).cloned().unwrap_or_default();
        let mut out: Vec<Value> = places.iter().map(|place| self.value(place, depth + 1)).collect();
        if let Some(contained) = schema.get("contains") {
            let one = self.value(contained, depth + 1);
            out.extend(std::iter::repeat_n(one, length(schema, "minContains").max(1) as usize));
        }
        let items = schema.get("items").filter(|items| !items.is_array()).cloned().unwrap_or(json!({}));
        let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let way = self.way;
        while (out.len() as u64) < length(schema, "minItems") && self.nodes <= NODES_MAX {
            let mut value = self.value(&items, depth + 1);
            if is_unique && out.contains(&value) {
                // Another branch of a choice first; then another text or number.
                self.way += 1;
                value = self.value(&items, depth + 1);
                if out.contains(&value) {
                    value = varied(value, out.len());
                }
            }
            out.push(value);
        }
        self.way = way;
        Value::Array(out)
    }
}

/// Adds a part: what stands there already stays, keys of objects and lists of names come together, bounds narrow.
fn join(own: &mut Map<String, Value>, part: Map<String, Value>) {
    for (key, value) in part {
        match (key.as_str(), own.get_mut(&key), value) {
            ("properties" | "dependentRequired", Some(Value::Object(there)), Value::Object(more)) => {
                for (name, schema) in more {
                    match there.get_mut(&name) {
                        Some(Value::Object(mine)) => {
                            if let Value::Object(other) = schema {
                                join(mine, other);
                            }
                        }
                        Some(_) => {}
                        None => _ = there.insert(name, schema),
                    }
                }
            }
            ("required", Some(Value::Array(there)), Value::Array(more)) => {
                let fresh: Vec<Value> = more.into_iter().filter(|name| !there.contains(name)).collect();
                there.extend(fresh);
            }
            ("minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties", Some(there), more) => {
                if more.as_f64() > there.as_f64() {
                    *there = more;
                }
            }
            ("maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties", Some(there), more) => {
                if more.as_f64() < there.as_f64() {
                    *there = more;
                }
            }
            (_, Some(_), _) => {}
            (_, None, value) => _ = own.insert(key, value),
        }
    }
}

fn length(schema: &Map<String, Value>, word: &str) -> u64 {
    schema.get(word).and_then(Value::as_f64).map_or(0, |length| (length.max(0.0) as u64).min(LENGTH_MAX))
}

/// The same value, told apart from `nth` others.
fn varied(value: Value, nth: usize) -> Value {
    match value {
        Value::String(text) => json!(format!("{text}{nth}")),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!(whole.saturating_add(nth as i64)),
            None => json!(number.as_f64().unwrap_or(0.0) + nth as f64),
        },
        Value::Object(mut map) => {
            if let Some((_, first)) = map.iter_mut().next() {
                *first = varied(first.take(), nth);
            }
            Value::Object(map)
        }
        other => other,
    }
}

/// The number within its bounds that is nearest to zero.
fn number(schema: &Map<String, Value>, is_whole: bool) -> Value {
    let bound = |word: &str| schema.get(word).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if is_whole { 1.0 } else { 0.5 });
    let step = if is_whole { step.ceil().max(1.0) } else { step };
    let mut value = 0.0_f64;
    if let Some(least) = bound("minimum").filter(|least| *least > value) {
        value = (least / step).ceil() * step;
    }
    if let Some(over) = bound("exclusiveMinimum").filter(|over| *over >= value) {
        value = ((over / step).floor() + 1.0) * step;
    }
    if let Some(most) = bound("maximum").filter(|most| *most < value) {
        value = (most / step).floor() * step;
        if bound("minimum").is_some_and(|least| least > value) {
            // Nothing of the step's size lies between.
            value = bound("minimum").unwrap_or(most);
        }
    }
    if let Some(under) = bound("exclusiveMaximum").filter(|under| *under <= value) {
        value = ((under / step).ceil() - 1.0) * step;
        let over = bound("exclusiveMinimum").or_else(|| bound("minimum")).filter(|over| *over >= value);
        value = over.map_or(value, |over| if is_whole { value } else { f64::midpoint(over, under) });
    }
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return json!(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A text with the format, the pattern and the length that are asked for.
fn text(schema: &Map<String, Value>) -> String {
    let of_format = match schema.get("format").and_then(Value::as_str) {
        Some("date") => Some("2000-01-01"),
        Some("date-time") => Some("2000-01-01T00:00:00Z"),
        Some("time") => Some("00:00:00Z"),
        Some("duration") => Some("P1D"),
        Some("email" | "idn-email") => Some("fake@example.org"),
        Some("hostname" | "idn-hostname") => Some("example.org"),
        Some("ipv4") => Some("192.0.2.1"),
        Some("ipv6") => Some("2001:db8::1"),
        Some("uri" | "iri" | "uri-reference" | "iri-reference") => Some("https://example.org/fake"),
        Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
        Some("json-pointer") => Some("/fake"),
        Some("regex") => Some("fake"),
        _ => None,
    };
    if let Some(text) = of_format {
        return text.to_owned();
    }
    let of_pattern = schema.get("pattern").and_then(Value::as_str).and_then(pattern::text);
    let mut text = of_pattern.unwrap_or_else(|| TEXT.to_owned());
    let fewest = length(schema, "minLength") as usize;
    let chars = text.chars().count();
    if chars < fewest {
        let last = text.chars().last().unwrap_or('x');
        text.extend(std::iter::repeat_n(last, fewest - chars));
    }
    if schema.contains_key("maxLength") {
        text = text.chars().take(length(schema, "maxLength") as usize).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_fits() {
        let long = "x".repeat(20);
        for schema in [
            json!({}),
            json!(true),
            json!({ "type": "object", "required": ["a", "b"], "additionalProperties": false, "properties": {
                "a": { "const": "BACKSTOP" }, "b": { "enum": [3, 4] }, "c": { "type": "string" } } }),
            json!({ "type": "object", "required": ["x"], "properties": { "x": { "type": "object", "required": ["y"],
                "properties": { "y": { "type": "array", "minItems": 2, "items": { "type": "integer", "minimum": 7 } } } } } }),
            json!({ "type": "string", "minLength": 30 }),
            json!({ "type": "string", "maxLength": 2 }),
            json!({ "type": "string", "minLength": 3, "pattern": "^[A-Z]+$" }),
            json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$" }),
            json!({ "type": "string", "format": "date" }),
            json!({ "type": "string", "format": "date-time" }),
            json!({ "type": "string", "format": "email" }),
            json!({ "type": "string", "format": "uuid" }),
            json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }),
            json!({ "type": "number", "minimum": 0.1, "maximum": 0.2 }),
            json!({ "type": "integer", "minimum": -9, "maximum": -3 }),
            json!({ "type": "integer", "exclusiveMinimum": 4, "multipleOf": 3 }),
            json!({ "minimum": 12 }),
            json!({ "type": ["null", "string"] }),
            json!({ "anyOf": [{ "type": "string", "minLength": 2, "maxLength": 1 }, { "type": "integer" }] }),
            json!({ "oneOf": [{ "required": ["a"] }, { "type": "object", "required": ["b"], "properties": { "b": { "const": 1 } } }],
                "required": ["b"] }),
            json!({ "allOf": [{ "type": "object", "required": ["a"] }, { "properties": { "a": { "minLength": 9 } } }] }),
            json!({ "$defs": { "row": { "type": "object", "required": ["n"], "properties": { "n": { "type": "number" } } } },
                "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/row" } }),
            json!({ "$defs": { "tree": { "type": "object", "required": ["kids"], "properties": { "kids": { "type": "array",
                "items": { "$ref": "#/$defs/tree" } } } } }, "$ref": "#/$defs/tree" }),
            json!({ "type": "array", "minItems": 3, "uniqueItems": true, "items": { "type": "string" } }),
            json!({ "type": "array", "minItems": 3, "uniqueItems": true, "items": { "enum": ["a", "b", "c"] } }),
            json!({ "type": "array", "prefixItems": [{ "type": "boolean" }, { "type": "null" }], "minItems": 2 }),
            json!({ "type": "array", "contains": { "const": 5 }, "minContains": 2 }),
            json!({ "type": "object", "minProperties": 2, "properties": { "a": { "type": "integer" } } }),
            json!({ "type": "object", "minProperties": 1, "additionalProperties": { "type": "number", "minimum": 3 } }),
            json!({ "type": "object", "required": ["a"], "dependentRequired": { "a": ["b"], "b": ["c"] } }),
            json!({ "enum": [long] }),
            json!({ "not": { "type": "string" }, "type": ["string", "integer"] }),
        ] {
            let made = instance(&schema);
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            assert!(validator.is_valid(&made), "{made} for {schema}");
        }
    }

    #[test]
    fn nothing_makes_it_run_on() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "$ref": "#/none" }),
            json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
            json!({ "type": "object", "required": ["a"], "properties": { "a": { "$ref": "#" } } }),
            json!({ "type": "array", "minItems": 1_000_000_000, "items": { "type": "array", "minItems": 1_000_000 } }),
            json!({ "type": "string", "minLength": 1e300 }),
            json!({ "type": "nonsense", "enum": [] }),
            json!({ "anyOf": [] }),
            json!(false),
        ] {
            let made = instance(&schema).to_string();
            assert!(made.len() < 10_000_000);
        }
    }
}
