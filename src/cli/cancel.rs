//! `cancel`: stops a run for good. What is done stays; nothing is deleted.

use super::access::{Looking, look};
use super::args::RunName;
use super::context::{Access, Context};
use super::error::CliError;
use super::exit::Exit;
use super::{offline, output};
use crate::domain::command::{AttemptEnd, Command};
use crate::domain::ids::{AskId, RunId};

/// Who asks, on record.
pub(super) const TERMINAL: &str = "a person at a terminal";

pub(super) fn cancel(context: &Context, args: &RunName) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let run = look(context, &standing, |looking| cancelled(context, looking, &args.run))?;
    if context.is_json {
        output::json_with_version(serde_json::json!({ "run": run.to_string(), "state": "cancelled" }));
    }
    output::err(&format!("run {} is cancelled; what is done stays\n", run.short()));
    Ok(Exit::Complete)
}

fn cancelled(context: &Context, looking: &Looking, name: &str) -> Result<RunId, CliError> {
    if let Access::StateOnly(_) = looking.access {
        return Err(looking.nothing_runs("cancelled"));
    }
    let run = looking.find(name)?;
    let line = looking.runs()?.into_iter().find(|line| line.run == run.to_string());
    if let Some(line) = line.filter(|line| line.has_ended()) {
        return Err(CliError::usage(format!("run {} has ended: {}", run.short(), line.state)).hint(format!(
            "nothing is left to cancel; see it with: {}",
            context.command(&format!("show {}", run.short()))
        )));
    }
    match &looking.access {
        Access::Other(client) => {
            let body = serde_json::json!({ "by": TERMINAL });
            looking.runtime().block_on(client.post(&format!("/v1/runs/{run}/cancel"), &body))?;
        }
        Access::Own(own) => {
            // Attempts that were open when the last process ended are settled first.
            let state = looking.state(run)?;
            for (task, record) in state.open_attempts() {
                let what = "the process ended during it".to_owned();
                let end = AttemptEnd::Unknown { what, failure: None };
                let ask = AskId(crate::app::new_uuid());
                let settle = Command::EndAttempt { task, attempt: record.attempts, end, ask, away: Vec::new() };
                offline::command(own, looking.runtime(), run, settle)?;
            }
            offline::command(own, looking.runtime(), run, Command::Cancel { by: TERMINAL.to_owned() })?;
        }
        Access::StateOnly(_) => return Err(looking.nothing_runs("cancelled")),
    }
    Ok(run)
}
