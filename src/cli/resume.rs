//! `resume`: goes on with a run that has not ended.

use super::access::find_run;
use super::args::ResumeArgs;
use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::plan_source::servers_are_there;
use super::wish::Wish;
use super::{output, watch};
use crate::engine::supervisor::Beginning;

pub(super) fn resume(context: &Context, args: &ResumeArgs, before: Wish) -> Result<Exit, CliError> {
    if before.claude {
        return Err(CliError::usage(
            "`--claude` belongs to `run` and to questions: a run keeps what it was begun with",
        ));
    }
    let own = Wish::of(false, args.budget.as_deref())?;
    let budget_microdollars = own.budget_microdollars.or(before.budget_microdollars);
    let standing = context.standing_to_start(false)?;
    let project = project_of(&standing)?;
    let own = context.own_store(project, "resume")?;
    let reader = own.store.state.reader();
    let heads = reader.heads().map_err(|error| CliError::failed(error.to_string()))?;
    let run = find_run(&heads, &args.run)?;
    let state = reader.run(run).map_err(|error| CliError::failed(error.to_string()))?;
    let state = state.ok_or_else(|| CliError::failed(format!("the state store has no run {run}")))?;
    if let Some(exit) = watch::retell(context, &standing, &own, &state)? {
        output::err(&format!("run {} has ended (exit code {})\n", run.short(), exit.code()));
        return Ok(exit);
    }
    if let Some(end) = state.head.end {
        let exit = Exit::of_end(end);
        let word = crate::report::line::end_word(end);
        if context.is_json {
            let run = run.to_string();
            output::json_with_version(serde_json::json!({ "run": run, "state": word, "exit": exit.code() }));
        }
        output::err(&format!("run {} has ended: {word} (exit code {})\n", run.short(), exit.code()));
        return Ok(exit);
    }
    servers_are_there(&standing, &state)?;
    let granted = state.head.origin.granted_paths();
    output::err(&format!("run {} · {} goes on\n", run.short(), state.plan.name()));
    let beginning = Beginning::Existing { run: Box::new(state), budget_microdollars };
    watch::watch(context, &standing, own, run, beginning, &granted)
}
