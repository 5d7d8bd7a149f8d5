//! `init`: makes a project in this folder, with a configuration to begin with.

use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::config::edit::default_config_text;

pub(super) fn init(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(true)?;
    let project = project_of(&standing)?;
    let file = project.state.join("config.json");
    let is_new = crate::os::files::create_atomically(&file, default_config_text().as_bytes(), 0o600)
        .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", file.display())))?;
    if context.is_json {
        let folder = project.folder.display().to_string();
        let config = file.display().to_string();
        output::json_with_version(serde_json::json!({ "project": folder, "config": config, "is_new": is_new }));
        return Ok(Exit::Complete);
    }
    if is_new {
        output::out(&format!("{}\n", file.display()));
    } else {
        output::err(&format!("`{}` is there already and stays as it is\n", file.display()));
    }
    output::err("next: ollmcp doctor, then ollmcp run pdf_tables -i folder=FOLDER_WITH_PDFS\n");
    Ok(Exit::Complete)
}
