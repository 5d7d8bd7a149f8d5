//! `config`: shows, checks and sets the configuration.

use super::args::{ConfigAction, ConfigArgs};
use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::config::{edit, settings};
use crate::report::SHAPE_VERSION;

pub(super) fn config(context: &Context, args: &ConfigArgs) -> Result<Exit, CliError> {
    match &args.action {
        ConfigAction::Show { origin } => show(context, *origin),
        ConfigAction::Check => check(context),
        ConfigAction::Set { key, value, user } => set(context, key, value, *user),
    }
}

fn show(context: &Context, with_origin: bool) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let entries = standing.settings.entries();
    if context.is_json {
        let shape = |entry: &crate::config::Entry| serde_json::json!({ "key": entry.key.to_string(), "value": entry.value, "origin": entry.origin.to_string() });
        let entries: Vec<_> = entries.iter().map(shape).collect();
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "entries": entries }));
        return Ok(Exit::Complete);
    }
    for entry in &entries {
        let origin = if with_origin { format!("  ({})", entry.origin) } else { String::new() };
        output::out(&format!("{} = {}{origin}\n", entry.key, entry.value));
    }
    Ok(Exit::Complete)
}

/// Reading it is the check: faults end the command before, warnings were printed as notes.
fn check(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    crate::app::servers::notes(&standing).iter().for_each(|note| output::note(note));
    for (key, why) in &standing.settings.idle {
        output::note(&format!("`{key}` is kept without effect: {why}"));
    }
    let files: Vec<String> = standing.settings.files.iter().map(|file| file.display().to_string()).collect();
    if context.is_json {
        output::json_with_version(serde_json::json!({ "holds": true, "files": files }));
        return Ok(Exit::Complete);
    }
    let from = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    output::out(&format!("the configuration holds ({from})\n"));
    Ok(Exit::Complete)
}

fn set(context: &Context, key: &str, value: &str, in_user_file: bool) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let file = match (&context.config, in_user_file) {
        (Some(file), _) => file.clone(),
        (None, true) => standing.home.config_file(),
        (None, false) => project_of(&standing)?.state.join("config.json"),
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    edit::set_key(&file, key, &value).map_err(|error| {
        let hint = error.hint();
        CliError::usage(crate::app::store::chain(&error)).hint_opt(hint)
    })?;
    let value = crate::config::KeyPath::parse(key).map_or(value.clone(), |path| settings::shown(&path, &value));
    if context.is_json {
        let file = file.display().to_string();
        output::json_with_version(serde_json::json!({ "key": key, "value": value, "file": file }));
    }
    output::err(&format!("{key} = {value} in {}\n", file.display()));
    Ok(Exit::Complete)
}
