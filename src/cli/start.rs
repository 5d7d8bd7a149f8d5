//! `ollmcp` without a verb: the lines that a start prints, and what there is to do.

use std::io::IsTerminal as _;

use clap::CommandFactory as _;

use super::args::Args;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::claude;

/// `has_config`: a configuration was named, so whoever starts wants to know what it does.
pub(super) fn start(context: &Context, has_config: bool) -> Result<Exit, CliError> {
    if context.is_json {
        return Err(CliError::usage("no verb is given").hint("`ollmcp --help` lists the verbs"));
    }
    if !has_config {
        output::err(&Args::command().render_help().to_string());
        return Ok(Exit::Usage);
    }
    let standing = context.standing(false)?;
    claude::look(&standing).lines.iter().for_each(|line| output::err(&format!("{line}\n")));
    // The interactive session is a later part; until then the help says what there is.
    if std::io::stdin().is_terminal() {
        output::err(&Args::command().render_help().to_string());
    }
    Ok(Exit::Complete)
}
