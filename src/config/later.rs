//! Keys that are set and do nothing in this version: those of later phases, and those of the prior program that have
//! nothing to act on here. None of them is a silent no-op.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{Key, Kind, Use};
use super::settings::Origin;
use super::{KeyPath, check};

/// What is switched on and not built yet, one sentence for each phase.
pub(super) fn notes(document: &Map<String, Value>, origins: &BTreeMap<KeyPath, Origin>) -> Vec<String> {
    let mut phases: Vec<(&str, Vec<String>)> = Vec::new();
    for (path, origin) in origins {
        let Some(key) = check::known_key(path) else { continue };
        let Use::Later(phase) = key.used else { continue };
        if !is_set(key, path, document, origin) {
            continue;
        }
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, keys)) => keys.push(path.to_string()),
            None => phases.push((phase, vec![path.to_string()])),
        }
    }
    let mut notes: Vec<String> =
        phases.into_iter().map(|(phase, keys)| told(&format!("not in this version: {phase}"), &keys, "")).collect();
    let on = idle(document, origins).into_iter().filter(|(_, key)| key.kind == Kind::Bool);
    let on: Vec<String> = on.map(|(path, _)| path.to_string()).collect();
    if !on.is_empty() {
        notes.push(told("without effect here", &on, "; `ollmcp config check` says why"));
    }
    notes
}

/// Keys that are set and have nothing to act on here.
pub(super) fn idle(document: &Map<String, Value>, origins: &BTreeMap<KeyPath, Origin>) -> Vec<(KeyPath, &'static Key)> {
    let all = origins.iter().filter_map(|(path, origin)| {
        let key = check::known_key(path).filter(|key| key.used == Use::Kept)?;
        is_set(key, path, document, origin).then(|| (path.clone(), key))
    });
    all.collect()
}

/// Somebody wants something: it is neither off nor what holds anyway.
fn is_set(key: &Key, path: &KeyPath, document: &Map<String, Value>, origin: &Origin) -> bool {
    let value = path.0.iter().skip(1).try_fold(&document[&path.0[0]], |at, name| at.get(name));
    let default: Option<Value> = serde_json::from_str(key.default).ok();
    let is_default = default.is_some() && value == default.as_ref();
    let is_off = value == Some(&Value::Bool(false));
    // A variable of another program (`OLLAMA_HOST`) is no wish that was made of this one.
    let is_foreign = matches!(origin, Origin::Variable(name) if !name.starts_with("OLLMCP_"));
    *origin != Origin::Default && !is_default && !is_off && !is_foreign
}

fn told(what: &str, keys: &[String], end: &str) -> String {
    const KEYS_SHOWN_MAX: usize = 4;
    let shown: Vec<String> = keys.iter().take(KEYS_SHOWN_MAX).map(|key| format!("`{key}`")).collect();
    let more = keys.len().saturating_sub(KEYS_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{what} ({}{more}){end}", shown.join(", "))
}
