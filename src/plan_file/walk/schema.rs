//! JSON Schemas inside a plan: keywords must be known (a validator passes over `typ: string`), and it must compile.

use serde_json::Value;

use super::super::fault::Fault;
use super::super::node::{Data, Node};
use super::Walker;
use super::place::At;
use crate::domain::nearest::nearest;

/// Keywords that hold one schema.
const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords that hold a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords that hold schemas by name.
const NAMED: &[&str] = &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// What `type` may name.
const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// All other keywords of draft 2020-12.
const PLAIN: &[&str] = &[
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

impl Walker<'_> {
    pub(super) fn schema(&mut self, node: &Node, at: &At<'_>) {
        let before = self.faults.len();
        self.plain_value(node, at);
        self.keywords(node, at);
        if self.faults.len() > before {
            return;
        }
        let value = node.to_json();
        let text = value.to_string();
        let verdict = self.schemas.entry(text).or_insert_with(|| compile(&value)).clone();
        if let Some(Broken { pointer, message }) = verdict {
            let place = follow(node, &pointer);
            let dotted = pointer.replace('/', ".");
            let fault = Fault::at(place.span(), message).path(format_args!("{at}{dotted}"));
            self.faults.push(fault);
        }
    }

    fn schema_types(&mut self, node: &Node, at: &At<'_>) {
        match &node.data {
            Data::Str(word) if !TYPES.contains(&word.as_str()) => {
                let near = nearest(word, TYPES.iter().copied()).map(str::to_owned);
                self.fault(node.span(), at, format!("`{word}` is no type of JSON Schema")).nearest = near;
            }
            Data::Str(_) => {}
            Data::List(list) => {
                for (index, node) in list.iter().enumerate() {
                    if matches!(node.data, Data::Null) {
                        self.fault(node.span(), &at.index(index), "the type null is written as text").hint =
                            Some("quote it: `\"null\"`".to_owned());
                    } else {
                        self.schema_types(node, &at.index(index));
                    }
                }
            }
            _ => _ = self.expected("a type of JSON Schema", node, at),
        }
    }

    fn keywords(&mut self, node: &Node, at: &At<'_>) {
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Bool(_) => return,
            _ => {
                self.expected("a JSON Schema", node, at);
                return;
            }
        };
        for (name, node) in entries {
            let word = name.text.as_str();
            let at = at.key(word);
            if ONE.contains(&word) {
                self.keywords(node, &at);
            } else if LIST.contains(&word) {
                if let Data::List(list) = &node.data {
                    for (index, node) in list.iter().enumerate() {
                        self.keywords(node, &at.index(index));
                    }
                }
            } else if NAMED.contains(&word) {
                if let Data::Map(entries) = &node.data {
                    for (name, node) in entries {
                        self.keywords(node, &at.key(&name.text));
                    }
                }
            } else if word == "type" {
                self.schema_types(node, &at);
            } else if word == "$ref" || word == "$dynamicRef" {
                if matches!(&node.data, Data::Str(target) if !target.starts_with('#')) {
                    self.fault(node.span(), &at, format!("`{word}` may only point into the schema itself")).hint =
                        Some("write `#/$defs/NAME`; nothing is fetched".to_owned());
                }
            } else if !PLAIN.contains(&word) && !word.starts_with("x-") {
                let all = ONE.iter().chain(LIST).chain(NAMED).chain(PLAIN).copied();
                let near = nearest(word, all).map(str::to_owned);
                let fault = self.fault(name.span(), &at, format!("`{word}` is no keyword of JSON Schema"));
                fault.hint = (word == "nullable").then(|| "write `type: [string, \"null\"]`".to_owned());
                fault.nearest = near;
            }
        }
    }
}

/// What is wrong with a schema.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// JSON pointer into the schema.
    pointer: String,
    message: String,
}

fn compile(schema: &Value) -> Option<Broken> {
    let error = jsonschema::options().offline().build(schema).err()?;
    let mut words = error.masked().to_string();
    if let Some((at, _)) = words.char_indices().nth(200) {
        words.truncate(at);
        words.push('…');
    }
    let pointer = error.instance_path().to_string();
    let keyword = pointer.rsplit('/').next().filter(|word| !word.is_empty());
    let keyword = keyword.map(|word| format!("`{word}`: ")).unwrap_or_default();
    Some(Broken { message: format!("this JSON Schema is not valid: {keyword}{words}"), pointer })
}

fn follow<'n>(node: &'n Node, pointer: &str) -> &'n Node {
    let mut at = node;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &at.data {
            Data::Map(entries) => entries.iter().find(|(name, _)| name.text == part).map(|(_, node)| node),
            Data::List(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return at,
        }
    }
    at
}
