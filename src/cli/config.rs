//! `config`: shows, checks and sets the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::{ConfigAction, ConfigArgs};
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::config::check::known_key;
use crate::config::project::{self, ProjectError};
use crate::config::{Home, KeyPath, Origin, Settings, edit, settings};
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
    let place = Place::find(&context.environment)?;
    let file = match (&context.config, in_user_file) {
        (Some(file), _) => file.clone(),
        (None, true) => place.home.config_file(),
        (None, false) => place.config_file()?,
    };
    // A configuration with faults is what this verb may be there to mend.
    let before = context.standing_unsaid();
    let value = edit::typed(key, value);
    edit::set_key(&file, key, &value).map_err(|error| {
        let hint = error.hint();
        CliError::usage(crate::app::store::chain(&error)).hint_opt(hint)
    })?;
    let path = KeyPath::parse(key);
    let shown = path.as_ref().map_or_else(|| value.clone(), |path| settings::shown(path, &value));
    if context.is_json {
        let file = file.display().to_string();
        output::json_with_version(serde_json::json!({ "key": key, "value": shown, "file": file }));
    }
    output::err(&format!("{key} = {shown} in {}\n", file.display()));
    let is_project_file = context.config.is_none() && !in_user_file;
    // Who types it agrees to it, unless something of somebody else would be agreed to with it.
    if let Ok(before) = before.as_ref().map_err(|_| ())
        && is_project_file
        && before.settings.needs_consent.is_none()
    {
        context.agree_to_new(before)?;
    }
    match (context.standing_unsaid(), path) {
        (Ok(now), Some(path)) => tell_effect(&now.settings, &path, &file),
        (Err(error), _) => output::note(&format!("the configuration as a whole cannot be used yet: {}", error.message)),
        (Ok(_), None) => {}
    }
    Ok(Exit::Complete)
}

/// What keeps the new value from counting, if anything does.
fn tell_effect(settings: &Settings, path: &KeyPath, file: &Path) {
    let key = path.to_string();
    if let Some(consent) = &settings.needs_consent
        && consent.file.canonicalize().ok() == file.canonicalize().ok()
        && settings.origin(path).is_none_or(|origin| !matches!(origin, Origin::File(from) if from == &consent.file))
        && is_consent_key(path)
    {
        output::note(&format!(
            "`{key}` counts only after your consent: --trust-project-config, or yes at the next start"
        ));
        return;
    }
    match settings.origin(path) {
        Some(origin @ (Origin::Variable(_) | Origin::Flag(_))) => {
            output::note(&format!("`{key}` does not count now: {origin} goes over it"));
        }
        Some(Origin::File(from)) if from.canonicalize().ok() != file.canonicalize().ok() => {
            output::note(&format!("`{key}` does not count here: `{}` goes over it", from.display()));
        }
        _ => {}
    }
    for note in settings.notes.iter().filter(|note| note.contains(&format!("`{key}`"))) {
        output::note(note);
    }
    if let Some((_, why)) = settings.idle.iter().find(|(idle, _)| idle == path) {
        output::note(&format!("`{key}` is kept without effect: {why}"));
    }
}

fn is_consent_key(path: &KeyPath) -> bool {
    let all = (1..=path.0.len()).map(|length| KeyPath(path.0[..length].to_vec()));
    all.into_iter().any(|path| known_key(&path).is_some_and(|key| key.consent))
}

/// Where files of configuration are, without reading any.
struct Place {
    home: Home,
    cwd: PathBuf,
}

impl Place {
    fn find(environment: &BTreeMap<String, String>) -> Result<Self, CliError> {
        let home =
            Home::find(environment).map_err(|error| CliError::usage(error.to_string()).hint_opt(error.hint()))?;
        Ok(Self { home, cwd: std::env::current_dir()? })
    }

    /// The file of the project that counts.
    fn config_file(&self) -> Result<PathBuf, CliError> {
        let failed = |error: ProjectError| {
            let hint = error.hint();
            CliError::usage(error.to_string()).hint_opt(hint)
        };
        let found = project::find_folder(&self.cwd, &self.home).map_err(failed)?;
        let folder = found.as_deref().unwrap_or(&self.cwd);
        let file = project::config_file(folder);
        if found.is_none() && (!file.exists() || self.home.is_no_project(folder)) {
            return Err(CliError::usage(format!("no project here or above `{}`", self.cwd.display()))
                .hint("`--user` sets it for all your projects; `ollmcp init` makes a project here"));
        }
        Ok(file)
    }
}
