//! From a call as it was written to one that may run: the tool it names, arguments of the declared types, all that are
//! required. What does not fit beyond doubt is refused with a complaint that says what would.

use serde_json::{Map, Value};

use super::names::{Offers, folded};
use super::reader::{DEPTH_MAX, Node, Words, literal};
use super::scalars::number_of;
use super::shape::{Arguments, Raw};
use super::{Call, Offered, Unread};
use crate::domain::failure::FailureKind;

/// A call that may run.
///
/// # Errors
/// [`FailureKind::NotOffered`] and [`FailureKind::MalformedCall`], with a complaint.
pub(super) fn settle(raw: Raw, offers: Offers<'_>) -> Result<Call, Unread> {
    let Some((tool, is_folded)) = offers.find(&raw.name) else {
        return Err(Unread::not_offered(&raw.name, offers));
    };
    let mut notes = raw.notes;
    if is_folded {
        notes.push(format!("`{}` was taken as `{}`", short(&raw.name), tool.name));
    }
    let given = given(raw.arguments, tool, &mut notes).map_err(|what| malformed(tool, &what))?;
    let arguments = fit(given, tool, &mut notes).map_err(|what| malformed(tool, &what))?;
    notes.dedup();
    Ok(Call { name: tool.name.clone(), arguments, notes, id: raw.id })
}

fn malformed(tool: &Offered, what: &str) -> Unread {
    Unread::new(FailureKind::MalformedCall, format!("the call of `{}` was not run: {what}", tool.name))
}

fn short(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_some() { format!("{head}…") } else { head }
}

/// One argument as given.
struct Given {
    key: String,
    value: Value,
    /// It stood between tags, where everything is text.
    is_untyped: bool,
}

const CUT: &str = "it is not complete; write the whole call again";
const NOT_PLAIN: &str = "an argument is no plain value, and nothing is evaluated";

fn given(arguments: Arguments, tool: &Offered, notes: &mut Vec<String>) -> Result<Vec<Given>, String> {
    let members = match arguments {
        Arguments::Members { is_closed: false, .. } => return Err(CUT.to_owned()),
        Arguments::Members { members, is_closed: true } => members,
        Arguments::Json(text) => object_of(&text, notes)?,
        // A tool that takes none can be called so; for any other the arguments were forgotten.
        Arguments::Omitted if tool.declared().is_empty() => Vec::new(),
        Arguments::Omitted => return Err("it has no arguments; write `{}` where none are wanted".to_owned()),
        Arguments::Invoked { positional, named } => placed(positional, named, tool)?,
        Arguments::Fields(fields) => {
            return Ok(fields
                .into_iter()
                .map(|(key, text)| Given { key, value: Value::String(text), is_untyped: true })
                .collect());
        }
        Arguments::Free(text) => {
            let text = text.trim();
            let mut names = tool.declared().into_iter();
            let (Some(only), None) = (names.next(), names.next()) else {
                return Err("its arguments are no JSON object".to_owned());
            };
            notes.push(format!("the words were taken as `{only}`"));
            return Ok(vec![Given { key: only, value: Value::String(text.to_owned()), is_untyped: true }]);
        }
    };
    unwrapped(members, tool, notes)
        .into_iter()
        .map(|(key, node)| {
            let value = node.to_value().ok_or(NOT_PLAIN)?;
            Ok(Given { key, value, is_untyped: false })
        })
        .collect()
}

/// `{"arguments": {…}}` inside of the arguments: the inner object, where it is what the tool declares.
fn unwrapped(members: Vec<(String, Node)>, tool: &Offered, notes: &mut Vec<String>) -> Vec<(String, Node)> {
    if let [(key, Node::Map { members: inner, is_closed: true })] = members.as_slice()
        && matches!(folded(key).as_str(), "arguments" | "parameters" | "args" | "params" | "input" | "kwargs")
        && !tool.is_open()
        && !tool.declares(key)
        && inner.iter().all(|(key, _)| tool.declares(key))
    {
        notes.push(format!("the arguments stood inside of `{}`", short(key)));
        return inner.clone();
    }
    members
}

/// The object that a text is.
fn object_of(text: &str, notes: &mut Vec<String>) -> Result<Vec<(String, Node)>, String> {
    let not_object = || "its arguments are no JSON object".to_owned();
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let read = literal(text, 0, Words::Refused).map_err(|_| not_object())?;
    if !text[read.end..].trim().is_empty() {
        return Err(not_object());
    }
    notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
    match read.node {
        Node::Map { members, is_closed: true } => Ok(members),
        Node::Map { .. } => Err(CUT.to_owned()),
        // Twice encoded.
        Node::Text(inner) if inner.trim_start().starts_with('{') => match literal(inner.trim(), 0, Words::Refused) {
            Ok(read) if inner.trim()[read.end..].is_empty() => match read.node {
                Node::Map { members, is_closed: true } => Ok(members),
                _ => Err(not_object()),
            },
            _ => Err(not_object()),
        },
        _ => Err(not_object()),
    }
}

/// Arguments by place take the names in the order of the declaration.
fn placed(positional: Vec<Node>, named: Vec<(String, Node)>, tool: &Offered) -> Result<Vec<(String, Node)>, String> {
    if positional.is_empty() {
        return Ok(named);
    }
    if let [Node::Map { members, is_closed: true }] = positional.as_slice()
        && named.is_empty()
        && (tool.is_open() || members.iter().any(|(key, _)| tool.declares(key)))
    {
        return Ok(members.clone());
    }
    let declared = tool.declared();
    if positional.len() > declared.len() {
        return Err(format!("it has {} arguments by place, the tool takes {}", positional.len(), declared.len()));
    }
    let mut all: Vec<(String, Node)> = declared.into_iter().zip(positional).collect();
    if let Some((twice, _)) = named.iter().find(|(key, _)| all.iter().any(|(placed, _)| placed == key)) {
        return Err(format!("`{twice}` is given twice"));
    }
    all.extend(named);
    Ok(all)
}

/// Arguments under their declared names and in their declared types.
fn fit(given: Vec<Given>, tool: &Offered, notes: &mut Vec<String>) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    let had_any = !given.is_empty();
    let mut unknown = Vec::new();
    let exact: Vec<String> = given.iter().map(|one| one.key.clone()).collect();
    for one in given {
        let Some(name) = tool.declared_as(&one.key, &exact) else {
            if tool.is_open() {
                out.insert(one.key, one.value);
            } else {
                unknown.push(one.key);
            }
            continue;
        };
        if name != one.key {
            notes.push(format!("`{}` was taken as `{name}`", short(&one.key)));
        }
        let schema = tool.schema_of(&name);
        let mut path = Path { name: &name, notes: &mut *notes };
        match coerced(one.value, schema, one.is_untyped, 0, &mut path)? {
            Value::Null if !kinds(schema).contains(&Kind::Null) => {
                notes.push(format!("`{name}` was null: left out"));
                out.shift_remove(&name);
            }
            value => {
                out.insert(name, value);
            }
        }
    }
    let missing: Vec<String> =
        tool.required().into_iter().filter(|name| !out.contains_key(name)).map(|name| format!("`{name}`")).collect();
    if !missing.is_empty() {
        return Err(format!("required and missing: {}", missing.join(", ")));
    }
    if had_any && out.is_empty() && !unknown.is_empty() {
        let names: Vec<String> = tool.declared().into_iter().map(|name| format!("`{name}`")).collect();
        return Err(format!("it has no argument `{}`; its arguments are {}", short(&unknown[0]), names.join(", ")));
    }
    notes.extend(unknown.iter().map(|key| format!("`{}` is no argument of this tool: left out", short(key))));
    Ok(out)
}

/// Types that a schema may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Bool,
    List,
    Object,
    Null,
}

/// Types that `schema` allows; empty: any.
fn kinds(schema: &Value) -> Vec<Kind> {
    kinds_within(schema, 0)
}

fn kinds_within(schema: &Value, depth: usize) -> Vec<Kind> {
    let mut found = Vec::new();
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for name in names {
        let kind = match name.to_ascii_lowercase().as_str() {
            "string" | "str" => Kind::Text,
            "integer" | "int" => Kind::Integer,
            "number" | "float" | "double" => Kind::Number,
            "boolean" | "bool" => Kind::Bool,
            "array" | "list" | "tuple" => Kind::List,
            "object" | "dict" | "map" => Kind::Object,
            "null" => Kind::Null,
            _ => return Vec::new(),
        };
        found.push(kind);
    }
    for word in ["anyOf", "oneOf"] {
        let Some(Value::Array(branches)) = schema.get(word) else { continue };
        for branch in branches {
            let inner = if depth < 8 { kinds_within(branch, depth + 1) } else { Vec::new() };
            if inner.is_empty() {
                return Vec::new();
            }
            found.extend(inner);
        }
    }
    if found.is_empty() && schema.get("properties").is_some() {
        found.push(Kind::Object);
    }
    if found.is_empty() && schema.get("items").is_some() {
        found.push(Kind::List);
    }
    found
}

fn is_kind(value: &Value, kind: Kind) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::Integer => value.is_i64() || value.is_u64(),
        Kind::Number => value.is_number(),
        Kind::Bool => value.is_boolean(),
        Kind::List => value.is_array(),
        Kind::Object => value.is_object(),
        Kind::Null => value.is_null(),
    }
}

/// Where a value stands, and what was done to it.
struct Path<'p> {
    name: &'p str,
    notes: &'p mut Vec<String>,
}

fn coerced(value: Value, schema: &Value, is_untyped: bool, depth: usize, path: &mut Path<'_>) -> Result<Value, String> {
    let kinds = kinds(schema);
    if depth > DEPTH_MAX {
        return Ok(value);
    }
    let value = if kinds.is_empty() {
        untyped(value, is_untyped)
    } else if is_untyped && kinds.len() > 1 {
        // Between tags a text is a text only if nothing else that is allowed is written there.
        let text = value.as_str().unwrap_or_default().to_owned();
        let mut others = kinds.iter().filter(|kind| **kind != Kind::Text).filter_map(|kind| read_as(&text, *kind));
        match others.next() {
            Some(other) => other,
            None if kinds.contains(&Kind::Text) => value,
            None => return Err(wrong(path.name, &kinds, &value)),
        }
    } else if kinds.iter().any(|kind| is_kind(&value, *kind)) || value.is_null() {
        value
    } else {
        let converted = converted(&value, &kinds, schema).ok_or_else(|| wrong(path.name, &kinds, &value))?;
        if !is_untyped {
            path.notes.push(format!("`{}`: {} was taken as {}", path.name, shown(&value), shown(&converted)));
        }
        converted
    };
    let value = match value {
        Value::Array(items) if schema.get("items").is_some_and(Value::is_object) => {
            let items_schema = &schema["items"];
            Value::Array(
                items
                    .into_iter()
                    .map(|item| coerced(item, items_schema, false, depth + 1, path))
                    .collect::<Result<_, _>>()?,
            )
        }
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                let inner = schema.get("properties").and_then(|all| all.get(&key)).unwrap_or(&Value::Null);
                let member = if inner.is_object() { coerced(member, inner, false, depth + 1, path)? } else { member };
                out.insert(key, member);
            }
            Value::Object(out)
        }
        other => other,
    };
    one_of(value, schema, path)
}

/// Where no type is declared, only lists and objects between tags are read as such.
fn untyped(value: Value, is_untyped: bool) -> Value {
    match &value {
        Value::String(text) if is_untyped && text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or(value)
        }
        _ => value,
    }
}

fn one_of(value: Value, schema: &Value, path: &mut Path<'_>) -> Result<Value, String> {
    let Some(Value::Array(allowed)) = schema.get("enum") else { return Ok(value) };
    if allowed.is_empty() || value.is_null() || allowed.contains(&value) {
        return Ok(value);
    }
    let same_number = |one: &&Value| one.as_f64().is_some() && one.as_f64() == value.as_f64();
    if let Some(found) = allowed.iter().find(same_number) {
        return Ok(found.clone());
    }
    if let Some(text) = value.as_str() {
        let mut fitting = allowed
            .iter()
            .filter(|one| one.as_str().is_some_and(|one| one.to_lowercase() == text.trim().to_lowercase()));
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            path.notes.push(format!("`{}`: {} was taken as {}", path.name, shown(&value), shown(only)));
            return Ok(only.clone());
        }
    }
    let names: Vec<String> = allowed.iter().take(20).map(shown).collect();
    Err(format!("`{}` is {}, allowed are {}", path.name, shown(&value), names.join(", ")))
}

fn converted(value: &Value, kinds: &[Kind], schema: &Value) -> Option<Value> {
    let mut found: Vec<Value> = kinds
        .iter()
        .filter_map(|kind| match (value, kind) {
            (Value::String(text), kind) => read_as(text, *kind),
            (Value::Number(number), Kind::Integer) => whole(number.as_f64()?),
            // Whole numbers only: 1.10 is not 1.1 as a text.
            (Value::Number(number), Kind::Text) if !number.is_f64() => Some(Value::String(number.to_string())),
            (Value::Object(_), Kind::List) => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                let takes_objects = kinds_within(items, 0).contains(&Kind::Object)
                    || !items.is_object()
                    || kinds_within(items, 0).is_empty();
                takes_objects.then(|| Value::Array(vec![value.clone()]))
            }
            _ => None,
        })
        .collect();
    found.dedup();
    // 5 as text for "integer or number" is one thing; anything that could be two is not settled here.
    if found.len() > 1 && !found.iter().all(Value::is_number) {
        return None;
    }
    found.into_iter().next()
}

fn whole(number: f64) -> Option<Value> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then(|| Value::from(number as i64))
}

/// The value that the text is exactly, in that type; null where it says so.
fn read_as(text: &str, kind: Kind) -> Option<Value> {
    let trimmed = text.trim();
    if kind != Kind::Text && matches!(trimmed, "null" | "None") {
        return Some(Value::Null);
    }
    match kind {
        Kind::Text | Kind::Null => None,
        Kind::Integer => {
            let number = number_of(trimmed)?;
            if number.is_f64() { whole(number.as_f64()?) } else { Some(Value::Number(number)) }
        }
        Kind::Number => number_of(trimmed).map(Value::Number),
        Kind::Bool => match trimmed {
            "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::List | Kind::Object => {
            let open = if kind == Kind::List { ['[', '('] } else { ['{', '{'] };
            if !trimmed.starts_with(open) {
                return None;
            }
            let read = literal(trimmed, 0, Words::Refused).ok()?;
            let value = read.node.to_value().filter(|_| trimmed[read.end..].is_empty())?;
            is_kind(&value, kind).then_some(value)
        }
    }
}

fn shown(value: &Value) -> String {
    format!("`{}`", short(&value.to_string()))
}

fn wrong(name: &str, kinds: &[Kind], value: &Value) -> String {
    let names: Vec<&str> = kinds
        .iter()
        .map(|kind| match kind {
            Kind::Text => "text",
            Kind::Integer => "a whole number",
            Kind::Number => "a number",
            Kind::Bool => "true or false",
            Kind::List => "a list",
            Kind::Object => "an object",
            Kind::Null => "null",
        })
        .collect();
    format!("`{name}` must be {}, it is {}", names.join(" or "), shown(value))
}

impl Offered {
    fn properties(&self) -> Option<&Map<String, Value>> {
        self.parameters.get("properties").and_then(Value::as_object)
    }

    /// Declared argument names in their order.
    pub(super) fn declared(&self) -> Vec<String> {
        self.properties().map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }

    /// The declared name that is meant by `key`: exactly, else folded where one fits that is not given itself.
    fn declared_as(&self, key: &str, given: &[String]) -> Option<String> {
        let all = self.properties()?;
        if all.contains_key(key) {
            return Some(key.to_owned());
        }
        let fold = folded(key);
        let mut fitting = all.keys().filter(|name| folded(name) == fold && !given.contains(name));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) if !fold.is_empty() => Some(only.clone()),
            _ => None,
        }
    }

    pub(super) fn declares(&self, key: &str) -> bool {
        self.declared_as(key, &[]).is_some()
    }

    /// Nothing is declared, or more than what is declared is allowed in so many words.
    pub(super) fn is_open(&self) -> bool {
        let allows_more = match self.parameters.get("additionalProperties") {
            Some(Value::Bool(allows)) => Some(*allows),
            Some(Value::Object(_)) => Some(true),
            _ => None,
        };
        allows_more.unwrap_or_else(|| self.properties().is_none_or(Map::is_empty))
    }

    fn schema_of(&self, name: &str) -> &Value {
        self.properties().and_then(|all| all.get(name)).unwrap_or(&Value::Null)
    }

    pub(super) fn required(&self) -> Vec<String> {
        match self.parameters.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}
