//! `validate`: everything that is wrong with a plan file, at once.

use super::args::PlanName;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use super::plan_source::find_and_read;
use crate::report::text::plural;

pub(super) fn validate(context: &Context, args: &PlanName) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let found = find_and_read(&standing, &args.plan, context.is_json)?;
    if context.is_json {
        output::json(&serde_json::json!({ "v": crate::report::SHAPE_VERSION, "file": found.source, "faults": [] }));
    } else {
        let steps = plural(found.plan.steps().len() as u64, "step");
        output::out(&format!("{}: plan `{}` with {steps} holds\n", found.source, found.plan.name()));
    }
    Ok(Exit::Complete)
}
