//! What is local only is not read by a paid attempt either, whatever it calls.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Job, OWN_SERVERS};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::plan::InputKind;
use crate::engine::Ports;
use crate::os::paths::{lies_within, resolved};
use crate::plan_file::expr::Lookup as _;

/// Refuses a call of a paid attempt whose arguments lead to a file or folder that an input keeps local, or to a folder
/// around one.
///
/// # Errors
/// Which argument leads there.
pub(super) fn kept_local(
    ports: &Ports,
    job: &Job,
    server: &str,
    arguments: &Map<String, Value>,
    files: &[String],
) -> Result<(), Failure> {
    let private = private_paths(ports, job);
    if private.is_empty() {
        return Ok(());
    }
    let is_own = OWN_SERVERS.contains(&server);
    // A tool of ours that is given no folder looks at the whole project.
    let unsaid = files.iter().filter(|name| is_own && !arguments.contains_key(*name)).map(|_| "");
    let mut said = Vec::new();
    arguments.values().for_each(|value| texts(value, &mut said));
    for (name, path) in &private {
        let leads = |text: &str| {
            let text = text.strip_prefix("sqlite:").or_else(|| text.strip_prefix("file://")).unwrap_or(text);
            let to = ports.workspace.join(text);
            let is_around = is_own && lies_within(&ports.workspace, path, [to.as_path()]);
            is_around || lies_within(&ports.workspace, &to, [path.as_path()])
        };
        if let Some(text) = unsaid.clone().chain(said.iter().copied()).find(|text| leads(text)) {
            let shown = if text.is_empty() { "." } else { text };
            let message = format!("`{shown}` leads to what the input `{name}` keeps local: no paid model reads it");
            return Err(Failure::new(FailureKind::Denied, message).hint("name another file or folder"));
        }
    }
    Ok(())
}

/// Paths of inputs that are local only, by the input's name.
fn private_paths(ports: &Ports, job: &Job) -> Vec<(String, PathBuf)> {
    let inputs = job.plan.raw().inputs.iter().filter(|input| input.local_only && input.kind == InputKind::Path);
    let names: Vec<&String> = inputs.map(|input| &input.name).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let Some(values) = job.scope.root("inputs") else { return Vec::new() };
    let path = |name: &String| {
        let text = values.get(name)?.as_str()?.to_owned();
        Some((name.clone(), resolved(&ports.workspace, Path::new(&text))))
    };
    names.into_iter().filter_map(path).collect()
}

/// Every text in a value.
fn texts<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(list) => list.iter().for_each(|value| texts(value, out)),
        Value::Object(map) => map.values().for_each(|value| texts(value, out)),
        _ => {}
    }
}
