//! Checks of files: whether one is there, parses, or was changed by the attempt. What an attempt wrote and what waits for
//! its acceptance is looked at first.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Facts, Seen, csv};
use crate::os::paths::lies_within;
use crate::os::staging::{Node, Walked};

/// Largest file that a `parses` check reads.
const PARSED_BYTES_MAX: u64 = 256 << 20;

/// What a check asks of a file.
pub(super) struct Wanted<'a> {
    pub(super) exists: Option<bool>,
    pub(super) parses: Option<&'a str>,
    pub(super) changed: Option<bool>,
}

pub(super) fn look(facts: &Facts<'_>, path: &str, wanted: &Wanted<'_>) -> Seen {
    let no = |line: String| Seen { holds: false, line };
    let Some(found) = found(facts, path) else {
        return no(format!("file `{path}` lies outside the project folder and was not named: it is not looked at"));
    };
    let is_there = found.content.is_some();
    let mut seen = Vec::new();
    match wanted.exists {
        Some(false) if is_there => return no(format!("file `{path}` exists")),
        Some(false) => seen.push("does not exist".to_owned()),
        _ if !is_there && (wanted.exists == Some(true) || wanted.parses.is_some()) => {
            return no(format!("file `{path}` does not exist"));
        }
        Some(true) if wanted.parses.is_none() => seen.push("exists".to_owned()),
        _ => {}
    }
    if let (Some(format), Some(content)) = (wanted.parses, &found.content) {
        match parse(content, format) {
            Ok(()) => seen.push(format!("is {format}")),
            Err(why) => return no(format!("file `{path}` is not {format}: {why}")),
        }
    }
    if let Some(changed) = wanted.changed {
        let is_changed = facts.changes.is_some_and(|changes| changes.changes_path(&found.rest));
        let words = if is_changed { "was changed by the attempt" } else { "was not changed by the attempt" };
        if is_changed != changed {
            return no(format!("file `{path}` {words}"));
        }
        seen.push(words.to_owned());
    }
    Seen { holds: true, line: format!("file `{path}` {}", seen.join(" and ")) }
}

struct Found {
    /// From the workspace, as far as it lies in it.
    rest: String,
    /// Where its content is; `None`: nothing stands there.
    content: Option<PathBuf>,
}

/// Where a path leads; `None`: to where nothing is looked at.
fn found(facts: &Facts<'_>, path: &str) -> Option<Found> {
    let real = facts.workspace.canonicalize().unwrap_or_else(|_| facts.workspace.to_owned());
    let inside = Path::new(path);
    let inside = match inside.is_absolute() {
        true => inside.strip_prefix(facts.workspace).or_else(|_| inside.strip_prefix(&real)).ok(),
        false => Some(inside),
    };
    if let (Some(overlay), Some(inside)) = (facts.overlay, inside) {
        match overlay.walk(inside, true) {
            Ok(Walked::Inside { rest, node }) => {
                let there = match node {
                    Node::Absent => None,
                    Node::File { content: Some(content), .. } => Some(content),
                    _ => Some(overlay.root().join(&rest)),
                };
                return Some(Found { rest: rest.to_string_lossy().into_owned(), content: there });
            }
            // What lies in a folder that is gone, or in a file.
            Err(_) => return Some(Found { rest: plain(inside), content: None }),
            Ok(Walked::Outside(_)) => {}
        }
    }
    let roots = std::iter::once(facts.workspace).chain(facts.granted.iter().map(PathBuf::as_path));
    if !lies_within(facts.workspace, path, roots) {
        return None;
    }
    let full = facts.workspace.join(path);
    let rest = crate::os::paths::resolved(facts.workspace, path);
    let rest = rest.strip_prefix(&real).map(|rest| rest.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Found { rest, content: full.exists().then_some(full) })
}

/// A path without `.` and `..`, by name.
fn plain(path: &Path) -> String {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out.to_string_lossy().into_owned()
}

fn parse(path: &Path, format: &str) -> Result<(), String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > PARSED_BYTES_MAX {
        return Err(format!("{bytes} bytes are more than the {PARSED_BYTES_MAX} that a check reads"));
    }
    let content = std::fs::read(path).map_err(|error| error.to_string())?;
    match format {
        "json" => {
            serde_json::from_slice::<serde::de::IgnoredAny>(&content).map(|_| ()).map_err(|error| error.to_string())
        }
        "yaml" => {
            let text = std::str::from_utf8(&content).map_err(|error| error.to_string())?;
            serde_saphyr::from_str::<Value>(text).map(|_| ()).map_err(|error| error.without_snippet().to_string())
        }
        "csv" => csv::parse(&content),
        "text" => std::str::from_utf8(&content).map(|_| ()).map_err(|error| error.to_string()),
        "pdf" => {
            let head = &content[..content.len().min(1024)];
            let is_pdf = head.windows(5).any(|window| window == b"%PDF-");
            if is_pdf { Ok(()) } else { Err("no `%PDF-` in its first 1,024 bytes".to_owned()) }
        }
        other => Err(format!("`{other}` is no format that this version parses")),
    }
}
