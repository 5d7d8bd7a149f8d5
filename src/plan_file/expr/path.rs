//! Plain paths on JSON, without an engine.

use serde_json::Value;

use super::error::ExprError;
use super::scan::{Key, Reference};
use crate::domain::nearest::nearest;

/// Keys of an object that a message lists.
const LISTED_KEYS_MAX: usize = 8;

/// Follows `reference.keys[from..]` from `value`.
pub(super) fn follow<'v>(value: &'v Value, reference: &Reference, from: usize) -> Result<&'v Value, ExprError> {
    let mut at = value;
    for (depth, key) in reference.keys.iter().enumerate().skip(from) {
        at = step(at, key).ok_or_else(|| missing(at, reference, depth))?;
    }
    Ok(at)
}

fn step<'v>(value: &'v Value, key: &Key) -> Option<&'v Value> {
    match (value, key) {
        (Value::Object(map), Key::Name(name)) => map.get(name),
        (Value::Array(list), Key::Index(at)) => index(list.len(), *at).and_then(|at| list.get(at)),
        _ => None,
    }
}

/// The position that `at` means in a list of `len`; negative ones count from the end.
pub(super) fn index(len: usize, at: i64) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if at < 0 { len.checked_add(at)? } else { at };
    if (0..len).contains(&at) { usize::try_from(at).ok() } else { None }
}

fn missing(value: &Value, reference: &Reference, depth: usize) -> ExprError {
    let holder = reference.text(depth);
    let hint = match (value, &reference.keys[depth]) {
        (Value::Object(map), Key::Name(name)) => match nearest(name, map.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if map.is_empty() => format!("`{holder}` is an empty object"),
            None => {
                let more = if map.len() > LISTED_KEYS_MAX { ", …" } else { "" };
                let keys: Vec<_> = map.keys().take(LISTED_KEYS_MAX).map(|key| format!("`{key}`")).collect();
                format!("`{holder}` has {}{more}", keys.join(", "))
            }
        },
        (Value::Array(list), Key::Index(_)) => format!("`{holder}` has {} entries", list.len()),
        (other, _) => format!("`{holder}` is {}", super::value::kind_of(other)),
    };
    ExprError::Missing { path: reference.text(depth + 1), hint: Some(hint) }
}
