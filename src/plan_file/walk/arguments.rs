//! Arguments against the input schema of a tool: names, required ones, and the types of literals.
//!
//! What an expression gives is known at run time only; the tool box checks it again before each call.

use std::ops::Range;

use serde_json::Value;

use super::super::expr::{has_expression, sole_expression};
use super::super::fault::Fault;
use super::super::node::{Data, Name, Node};
use super::Walker;
use super::place::At;
use crate::domain::nearest::nearest;

impl Walker<'_> {
    pub(super) fn arguments(
        &mut self,
        entries: &[(Name, Node)],
        span: Range<usize>,
        schema: &Value,
        target: &str,
        at: &At<'_>,
    ) {
        let given: Vec<&str> = entries.iter().map(|(name, _)| name.text.as_str()).collect();
        self.missing_arguments(&given, span, schema, target, at);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let is_open = schema.get("patternProperties").is_some()
            || schema.get("additionalProperties").is_some_and(|extra| extra != &Value::Bool(false));
        for (name, node) in entries {
            let at = at.key(&name.text);
            match properties.get(&name.text) {
                Some(property) => self.argument_type(node, property, &at),
                None if is_open => {}
                None => {
                    let free = properties.keys().map(String::as_str).filter(|known| !given.contains(known));
                    let near = nearest(&name.text, free);
                    let mut fault = Fault::at(name.span(), format!("`{target}` has no argument `{}`", name.text))
                        .nearest(near)
                        .path(&at);
                    if near.is_none() {
                        let known: Vec<_> = properties.keys().take(12).map(|name| format!("`{name}`")).collect();
                        fault.hint = Some(if known.is_empty() {
                            "it takes none".to_owned()
                        } else {
                            format!("it takes {}", known.join(", "))
                        });
                    }
                    // A schema that says nothing about further arguments may accept them.
                    if is_closed || near.is_some() { self.faults.push(fault) } else { self.warnings.push(fault) }
                }
            }
        }
    }

    pub(super) fn missing_arguments(
        &mut self,
        given: &[&str],
        span: Range<usize>,
        schema: &Value,
        target: &str,
        at: &At<'_>,
    ) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing: Vec<_> =
            required.filter_map(Value::as_str).filter(|name| !given.contains(name)).map(|n| format!("`{n}`")).collect();
        match missing.as_slice() {
            [] => {}
            [one] => {
                self.fault(span, at, format!("`{target}` needs the argument {one}"));
            }
            many => {
                self.fault(span, at, format!("`{target}` needs the arguments {}", many.join(", ")));
            }
        }
    }

    fn argument_type(&mut self, node: &Node, property: &Value, at: &At<'_>) {
        if let Data::Str(text) = &node.data
            && sole_expression(text).is_some()
        {
            return;
        }
        let is_template = matches!(&node.data, Data::Str(text) if has_expression(text));
        let types: Vec<&str> = match property.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|kind| is_of(node, kind)) {
            let wanted: Vec<&str> = types.iter().map(|kind| in_words(kind)).collect();
            let fault = self.expected(&wanted.join(" or "), node, at);
            if types == ["string"] && matches!(node.data, Data::Int(_) | Data::Uint(_) | Data::Float(_) | Data::Bool(_))
            {
                fault.hint = Some("quote it".to_owned());
            }
            return;
        }
        let Some(allowed) = property.get("enum").and_then(Value::as_array).filter(|_| !is_template) else { return };
        let value = node.to_json();
        if !allowed.contains(&value) {
            let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            let near = value.as_str().and_then(|text| nearest(text, words.iter().copied())).map(str::to_owned);
            let list: Vec<String> = allowed
                .iter()
                .take(12)
                .map(|v| format!("`{}`", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
                .collect();
            self.expected(&format!("one of {}", list.join(", ")), node, at).nearest = near;
        }
    }
}

fn is_of(node: &Node, kind: &str) -> bool {
    match kind {
        "string" => matches!(node.data, Data::Str(_)),
        "integer" => match node.data {
            Data::Int(_) | Data::Uint(_) => true,
            Data::Float(number) => number.fract() == 0.0,
            _ => false,
        },
        "number" => matches!(node.data, Data::Int(_) | Data::Uint(_) | Data::Float(_)),
        "boolean" => matches!(node.data, Data::Bool(_)),
        "array" => matches!(node.data, Data::List(_)),
        "object" => matches!(node.data, Data::Map(_)),
        "null" => matches!(node.data, Data::Null),
        _ => true,
    }
}

fn in_words(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a map",
        "null" => "null",
        other => other,
    }
}
