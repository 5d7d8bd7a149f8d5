//! JSON into minijinja without copying it, and results back into JSON with a limit.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Engine, ValueKind};
use serde_json::{Map, Number, Value};

use super::error::ExprError;
use super::path::index;

/// Largest result of one expression or template, as the length of its JSON text (about).
pub const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// Deepest nesting of a result.
const DEPTH_MAX: usize = 128;

/// A list or object inside a shared JSON value. Elements come into being as they are looked at.
pub(super) struct Part {
    root: Arc<Value>,
    way: Vec<Way>,
}

#[derive(Clone)]
enum Way {
    Key(Arc<str>),
    At(usize),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(kind_of(self.get()))
    }
}

impl Part {
    fn get(&self) -> &Value {
        let mut at = &*self.root;
        for way in &self.way {
            at = match way {
                Way::Key(key) => &at[&**key],
                Way::At(index) => &at[*index],
            };
        }
        at
    }

    fn child(&self, value: &Value, way: Way) -> Engine {
        scalar(value).unwrap_or_else(|| {
            let mut longer = self.way.clone();
            longer.push(way);
            Engine::from_object(Self { root: Arc::clone(&self.root), way: longer })
        })
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.get().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Engine) -> Option<Engine> {
        match self.get() {
            Value::Object(map) => {
                let key = key.as_str()?;
                map.get(key).map(|value| self.child(value, Way::Key(Arc::from(key))))
            }
            Value::Array(list) => {
                let at = index(list.len(), key.as_i64()?)?;
                list.get(at).map(|value| self.child(value, Way::At(at)))
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.get() {
            Value::Object(map) => Enumerator::Values(map.keys().map(|key| Engine::from(key.as_str())).collect()),
            Value::Array(list) => Enumerator::Seq(list.len()),
            _ => Enumerator::NonEnumerable,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.get() {
            Value::Object(map) => Some(map.len()),
            Value::Array(list) => Some(list.len()),
            _ => None,
        }
    }
}

fn scalar(value: &Value) -> Option<Engine> {
    match value {
        Value::Null => Some(Engine::from(())),
        Value::Bool(flag) => Some(Engine::from(*flag)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Engine::from(whole),
            (None, Some(whole)) => Engine::from(whole),
            (None, None) => Engine::from(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Some(Engine::from(text.as_str())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A shared JSON value as the engine sees it.
pub(super) fn to_engine(value: &Arc<Value>) -> Engine {
    scalar(value).unwrap_or_else(|| Engine::from_object(Part { root: Arc::clone(value), way: Vec::new() }))
}

/// What is left of the output limit.
pub(super) struct Budget {
    bytes_left: usize,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self { bytes_left: OUTPUT_BYTES_MAX }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), ExprError> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(ExprError::TooLarge)?;
        Ok(())
    }

    /// A copy of `value` that counts.
    pub(super) fn copy(&mut self, value: &Value) -> Result<Value, ExprError> {
        self.measure(value)?;
        Ok(value.clone())
    }

    fn measure(&mut self, value: &Value) -> Result<(), ExprError> {
        match value {
            Value::String(text) => self.take(text.len() + 2),
            Value::Array(list) => {
                self.take(list.len() + 2)?;
                list.iter().try_for_each(|value| self.measure(value))
            }
            Value::Object(map) => map.iter().try_for_each(|(key, value)| {
                self.take(key.len() + 4)?;
                self.measure(value)
            }),
            _ => self.take(5),
        }
    }
}

/// A result of the engine as JSON.
pub(super) fn from_engine(value: &Engine, budget: &mut Budget, depth: usize) -> Result<Value, ExprError> {
    if depth > DEPTH_MAX {
        return Err(failed("the result is nested too deeply"));
    }
    if let Some(part) = value.downcast_object_ref::<Part>() {
        return budget.copy(part.get());
    }
    budget.take(5)?;
    match value.kind() {
        ValueKind::Undefined => Err(failed("a part of the result is undefined")),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            budget.take(text.len())?;
            Ok(Value::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for entry in value.try_iter().map_err(|error| failed(error.to_string()))?.checked() {
                let entry = entry.map_err(|error| super::evaluate::from_minijinja(&error))?;
                list.push(from_engine(&entry, budget, depth + 1)?);
            }
            Ok(Value::Array(list))
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| failed(error.to_string()))?.checked() {
                let key = key.map_err(|error| super::evaluate::from_minijinja(&error))?;
                let entry = value.get_item(&key).map_err(|error| failed(error.to_string()))?;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                budget.take(name.len())?;
                map.insert(name, from_engine(&entry, budget, depth + 1)?);
            }
            Ok(Value::Object(map))
        }
        other => Err(failed(format!("the result is no JSON value: {other}"))),
    }
}

fn number(value: &Engine) -> Result<Value, ExprError> {
    if value.is_integer() {
        if let Some(whole) = value.as_i64() {
            return Ok(Value::from(whole));
        }
        return u64::try_from(value.clone()).map(Value::from).map_err(|_| failed("a whole number is too large"));
    }
    let float = f64::try_from(value.clone()).map_err(|error| failed(error.to_string()))?;
    Number::from_f64(float).map(Value::Number).ok_or_else(|| failed("the result is not a finite number"))
}

fn failed(message: impl Into<String>) -> ExprError {
    ExprError::Failed { message: message.into() }
}

/// A value's type in words, with its article.
pub(in crate::plan_file) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// About how many nodes a value has; a long list is judged by its first entries, so that large outputs cost nothing.
pub(super) fn estimate(value: &Value) -> u64 {
    match value {
        Value::Array(list) => {
            let largest = list.iter().take(8).map(estimate).max().unwrap_or(0);
            (list.len() as u64).saturating_mul(largest.max(1)).saturating_add(1)
        }
        Value::Object(map) => map.values().take(64).map(estimate).sum::<u64>().saturating_add(map.len() as u64 + 1),
        Value::String(text) => 1 + text.len() as u64 / 64,
        _ => 1,
    }
}

/// A value on one line for people: JSON, cut at `chars_max` characters; long lists and objects as their size.
#[must_use]
pub fn one_line(value: &Value, chars_max: usize) -> String {
    match value {
        Value::Array(list) if list.len() > 20 => return format!("a list of {} entries", list.len()),
        Value::Object(map) if map.len() > 20 => return format!("an object with {} keys", map.len()),
        Value::String(text) if text.len() > 4 * chars_max => {
            let cut: String = text.chars().take(chars_max).collect();
            return format!("{}…", Value::String(cut));
        }
        _ => {}
    }
    if estimate(value) > 1_000 {
        return kind_of(value).to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
