//! `ls`: the runs of this project, the newest first.

use super::access::{Looking, look};
use super::args::LsArgs;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::report::{SHAPE_VERSION, text};

pub(super) fn ls(context: &Context, args: &LsArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let mut runs = look(context, &standing, Looking::runs)?;
    runs.reverse();
    let untold = runs.len().saturating_sub(args.limit);
    runs.truncate(args.limit);
    if context.is_json {
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "runs": runs, "untold": untold }));
    } else if runs.is_empty() && untold == 0 {
        output::err("no runs in this project yet\n");
    } else {
        output::out(&text::runs(&runs));
        if untold > 0 {
            output::err(&format!("and {untold} more: --limit {}\n", runs.len() + untold));
        }
    }
    Ok(Exit::Complete)
}
