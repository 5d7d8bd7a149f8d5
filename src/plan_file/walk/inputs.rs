//! The plan's `inputs`.

use serde_json::Value;

use crate::domain::plan::{Input, InputKind};

use super::super::expr::{has_expression, is_name};
use super::super::keys::{INPUT_TYPES, Place};
use super::super::node::{Data, Name, Node};
use super::place::At;
use super::{Fields, NAME_CHARS_MAX, Walker};

impl<'a> Walker<'a> {
    pub(super) fn read_inputs(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Vec<Input> {
        let Some(node) = fields.get("inputs") else { return Vec::new() };
        let at = at.key("inputs");
        let entries = match &node.data {
            Data::Map(entries) => entries,
            _ => {
                self.expected("a map of inputs", node, &at).hint =
                    Some("write `NAME: { type: path }` or `NAME: DEFAULT`".to_owned());
                return Vec::new();
            }
        };
        self.duplicates(entries, &at);
        entries.iter().filter_map(|(name, node)| self.input(name, node, &at.key(&name.text))).collect()
    }

    fn input(&mut self, name: &'a Name, node: &'a Node, at: &At<'_>) -> Option<Input> {
        if !is_name(&name.text) || name.text.len() > NAME_CHARS_MAX {
            self.fault(name.span(), at, "an input's name is a letter or `_`, then letters, digits, `_` and `-`");
        }
        match &node.data {
            Data::Map(entries) => {
                let fields = self.fields(entries, node.span(), Place::Input, at);
                let kind = match fields.get("type") {
                    Some(node) => self.word(node, INPUT_TYPES, &at.key("type")).map(kind_of_word),
                    None => None,
                };
                let default = fields.get("default").and_then(|node| self.default(node, &at.key("default")));
                let kind = match (kind, &default) {
                    (Some(kind), _) => kind,
                    (None, Some(value)) if fields.get("type").is_none() => kind_of_value(value),
                    (None, _) => {
                        if fields.get("type").is_none() && !self.has_fault_near("type") {
                            let span = name.span();
                            self.fault(span, at, "an input needs a `type` or a `default`");
                        }
                        return None;
                    }
                };
                if let (Some(value), Some(node)) = (&default, fields.get("default"))
                    && !fits(value, kind)
                {
                    let wanted = wanted(kind);
                    self.expected(wanted, node, &at.key("default"));
                }
                let description = self.optional_text(&fields, "description", at).unwrap_or_default();
                let flag = fields.get("local_only").and_then(|node| self.flag(node, &at.key("local_only")));
                let local_only = flag.unwrap_or_default();
                Some(Input { name: name.text.clone(), kind, default, description, local_only })
            }
            Data::Null => {
                self.fault(name.span(), at, "an input needs a `type` or a `default`").hint =
                    Some("write `NAME: { type: path }` or `NAME: DEFAULT`".to_owned());
                None
            }
            Data::Str(word) if INPUT_TYPES.contains(&word.as_str()) => {
                self.fault(node.span(), at, format!("is `{word}` the type or the default?")).hint =
                    Some(format!("write `{{ type: {word} }}` or `{{ default: {word} }}`"));
                None
            }
            _ => {
                let default = self.default(node, at)?;
                let kind = kind_of_value(&default);
                let (name, description) = (name.text.clone(), String::new());
                Some(Input { name, kind, default: Some(default), description, local_only: false })
            }
        }
    }

    /// A default is a plain value; null is none.
    fn default(&mut self, node: &Node, at: &At<'_>) -> Option<Value> {
        self.plain_value(node, at);
        if let Data::Null = node.data {
            self.fault(node.span(), at, "a default cannot be null").hint =
                Some("leave `default` out: the input must then be given".to_owned());
            return None;
        }
        if holds_expression(node) {
            self.fault(node.span(), at, "a default is a plain value; expressions are not evaluated here");
        }
        Some(node.to_json())
    }
}

fn holds_expression(node: &Node) -> bool {
    match &node.data {
        Data::Str(text) => has_expression(text),
        Data::List(list) => list.iter().any(holds_expression),
        Data::Map(entries) => entries.iter().any(|(_, node)| holds_expression(node)),
        _ => false,
    }
}

fn kind_of_word(word: &str) -> InputKind {
    match word {
        "path" => InputKind::Path,
        "integer" => InputKind::Integer,
        "number" => InputKind::Number,
        "boolean" => InputKind::Boolean,
        "list" => InputKind::List,
        "object" => InputKind::Object,
        _ => InputKind::String,
    }
}

fn kind_of_value(value: &Value) -> InputKind {
    match value {
        Value::Bool(_) => InputKind::Boolean,
        Value::Number(number) if number.is_f64() => InputKind::Number,
        Value::Number(_) => InputKind::Integer,
        Value::Array(_) => InputKind::List,
        Value::Object(_) => InputKind::Object,
        Value::Null | Value::String(_) => InputKind::String,
    }
}

/// Whether a value fits an input's type.
pub(in crate::plan_file) fn fits(value: &Value, kind: InputKind) -> bool {
    match kind {
        InputKind::String | InputKind::Path => value.is_string(),
        InputKind::Integer => value.is_i64() || value.is_u64(),
        InputKind::Number => value.is_number(),
        InputKind::Boolean => value.is_boolean(),
        InputKind::List => value.is_array(),
        InputKind::Object => value.is_object(),
    }
}

/// What a type wants, with its article.
pub(in crate::plan_file) const fn wanted(kind: InputKind) -> &'static str {
    match kind {
        InputKind::String => "a string",
        InputKind::Path => "a path as a string",
        InputKind::Integer => "a whole number",
        InputKind::Number => "a number",
        InputKind::Boolean => "`true` or `false`",
        InputKind::List => "a list",
        InputKind::Object => "a map",
    }
}
