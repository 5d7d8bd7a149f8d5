//! `explain`: a plan's steps and what each waits for, as a drawing and as a list.

use super::args::PlanName;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use super::plan_source::find_and_read;

/// Width of the drawing where nothing is known of the terminal.
const COLUMNS: usize = 100;

pub(super) fn explain(context: &Context, args: &PlanName) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let found = find_and_read(&standing, &args.plan, context.is_json)?;
    if context.is_json {
        output::json_with_version(serde_json::to_value(found.plan.raw()).expect("a plan is plain data"));
        return Ok(Exit::Complete);
    }
    let columns = standing.environment.get("COLUMNS").and_then(|columns| columns.parse().ok()).unwrap_or(COLUMNS);
    output::out(&crate::plan_file::explain(&found.plan, columns));
    Ok(Exit::Complete)
}
