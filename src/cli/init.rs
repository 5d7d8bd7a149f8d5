//! `init`: makes a project in this folder, with a configuration to begin with: the defaults, and the ladder of the models
//! that are there.

use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::models::look;
use super::output;
use super::watch::runtime;
use crate::app::models::first::{FirstConfig, with_models};
use crate::app::place::Standing;
use crate::config::edit::default_config_text;

pub(super) fn init(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(true)?;
    let project = project_of(&standing)?;
    // The one that counts: another beside it would take it out of use.
    let file = crate::config::project::config_file(&project.folder);
    let mut is_new = !file.exists();
    let mut config = FirstConfig { text: default_config_text(), lines: Vec::new() };
    if is_new {
        config = first(&standing, config);
        is_new = crate::os::files::create_atomically(&file, config.text.as_bytes(), 0o600)
            .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", file.display())))?;
    }
    if is_new {
        // The person who types `init` agrees to what it writes.
        context.agree_to_new(&standing)?;
    } else {
        config.lines.clear();
    }
    if context.is_json {
        let folder = project.folder.display().to_string();
        let file = file.display().to_string();
        output::json_with_version(
            serde_json::json!({ "project": folder, "config": file, "is_new": is_new, "models": config.lines }),
        );
        return Ok(Exit::Complete);
    }
    if is_new {
        output::out(&format!("{}\n", file.display()));
    } else {
        output::err(&format!("`{}` is there already and stays as it is\n", file.display()));
    }
    for line in &config.lines {
        output::err(&format!("  {}\n", crate::report::text::clean(line)));
    }
    output::err("next: ollmcp doctor, then ollmcp run pdf_tables -i folder=FOLDER_WITH_PDFS\n");
    Ok(Exit::Complete)
}

/// The first configuration with the models that are there. Without any it is the plain one, and that is said.
fn first(standing: &Standing, plain: FirstConfig) -> FirstConfig {
    // A ladder that is configured for the user counts here too.
    if standing.settings.ladders.contains_key("default") {
        return plain;
    }
    let survey = match runtime().and_then(|runtime| look(standing, &runtime)) {
        Ok(survey) => survey,
        Err(error) => {
            output::note(&format!("the models were not looked at: {}", error.message));
            return plain;
        }
    };
    let config = with_models(&plain.text, &survey);
    if config.lines.is_empty() {
        output::note("no model was found: the ladder is built when there is one; `ollmcp doctor` says what is missing");
    }
    config
}
