//! `agents import`: definitions of the prior program as agent files, written only where nothing else stands.

use std::path::{Path, PathBuf};

use super::super::args::ImportArgs;
use super::super::context::Context;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::output;
use crate::agent::import as pure;
use crate::agent::spec::AGENT_BYTES_MAX;
use crate::os::files;
use crate::report::{SHAPE_VERSION, text};

/// Definitions of one folder that are read.
const FILES_MAX: usize = 1_000;
/// Rights of a new agent file: it is the person's own text, to be shared with the project.
const FILE_MODE: u32 = 0o644;

/// What became of one definition.
#[derive(Debug)]
struct Done {
    from: PathBuf,
    imported: pure::Imported,
    to: PathBuf,
    state: &'static str,
}

pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let to = match &args.to {
        Some(folder) => standing.cwd.join(folder),
        None => standing.folder().join("agents"),
    };
    let mut done = Vec::new();
    let mut faults: Vec<(String, Option<&'static str>)> = Vec::new();
    for from in definitions(&args.from)? {
        match one(&from, &to, args.force, &done) {
            Ok(one) => done.push(one),
            Err(fault) => faults.push(fault),
        }
    }
    if context.is_json {
        let imported: Vec<_> = done
            .iter()
            .map(|done| {
                serde_json::json!({ "name": done.imported.name, "from": done.from.display().to_string(),
                    "file": done.to.display().to_string(), "state": done.state, "notes": done.imported.notes })
            })
            .collect();
        let faults: Vec<_> = faults.iter().map(|(message, _)| message).collect();
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "imported": imported, "faults": faults }));
    } else {
        for done in &done {
            output::out(&format!("{} {}: {}\n", done.imported.name, done.state, done.to.display()));
            for note in &done.imported.notes {
                output::out(&format!("  note: {}\n", text::clean(note)));
            }
        }
    }
    for (message, hint) in &faults {
        output::err(&format!("error: {}\n", text::clean(message)));
        if let Some(hint) = hint {
            output::err(&format!("hint: {hint}\n"));
        }
    }
    Ok(if faults.is_empty() { Exit::Complete } else { Exit::Usage })
}

/// The file itself, or every `*.json` of a folder, sorted.
fn definitions(from: &Path) -> Result<Vec<PathBuf>, CliError> {
    let cannot = |error: std::io::Error| CliError::usage(format!("cannot read `{}`: {error}", from.display()));
    if !std::fs::metadata(from).map_err(cannot)?.is_dir() {
        return Ok(vec![from.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(from).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(CliError::usage(format!("no `*.json` is in `{}`", from.display())));
    }
    if found.len() > FILES_MAX {
        return Err(CliError::usage(format!("`{}` holds more than {FILES_MAX} JSON files", from.display())));
    }
    Ok(found)
}

type Fault = (String, Option<&'static str>);

fn one(from: &Path, to: &Path, force: bool, done: &[Done]) -> Result<Done, Fault> {
    let label = from.display();
    // One byte more, so that the reader of definitions says that it is too large.
    let text = match files::read_text(from, AGENT_BYTES_MAX as u64 + 1) {
        Ok(Some(text)) => text,
        Ok(None) => return Err((format!("{label}: is gone"), None)),
        Err(error) => return Err((format!("{label}: cannot be read: {error}"), None)),
    };
    let imported = pure::import(&text).map_err(|error| {
        let place = error.place().map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
        (format!("{label}{place}: {error}"), error.hint())
    })?;
    let file = to.join(&imported.file_name);
    if let Some(twin) = done.iter().find(|done| done.to == file) {
        let message = format!("{label}: `{}` has the name `{}` too", twin.from.display(), imported.name);
        return Err((message, Some("change `agent_type` of one of them")));
    }
    let failed = |error: std::io::Error| (format!("cannot write `{}`: {error}", file.display()), None);
    let there = files::read_text(&file, AGENT_BYTES_MAX as u64).map_err(failed)?;
    let state = match there {
        Some(there) if there == imported.text => "stands there already",
        Some(_) if force => {
            files::write_atomically(&file, imported.text.as_bytes(), FILE_MODE).map_err(failed)?;
            "replaced"
        }
        Some(_) => {
            let message = format!("{label}: `{}` is there already and says something else", file.display());
            return Err((message, Some("--force replaces it; --to FOLDER writes elsewhere")));
        }
        None => {
            std::fs::create_dir_all(to).map_err(failed)?;
            if !files::create_atomically(&file, imported.text.as_bytes(), FILE_MODE).map_err(failed)? {
                return Err((format!("{label}: somebody else just wrote `{}`", file.display()), None));
            }
            "imported"
        }
    };
    Ok(Done { from: from.to_owned(), imported, to: file, state })
}
