//! `models`: model servers and their models, what use has shown of them, the ladders; fetching and probing models.

mod claude;
mod probe;
mod pull;
pub(super) mod words;

use super::args::{ModelsAction, ModelsArgs};
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use super::watch::runtime;
use crate::app::models::survey::{Survey, survey};
use crate::app::place::Standing;

pub(super) fn models(context: &Context, args: &ModelsArgs) -> Result<Exit, CliError> {
    match &args.action {
        None => list(context),
        Some(ModelsAction::Claude) => claude::claude(context),
        Some(ModelsAction::Pull { model }) => pull::pull(context, model),
        Some(ModelsAction::Probe { models }) => probe::probe(context, models),
    }
}

/// Looks at all servers.
pub(super) fn look(standing: &Standing, runtime: &tokio::runtime::Runtime) -> Result<Survey, CliError> {
    let survey = runtime.block_on(survey(standing, true)).map_err(|faults| no_client(&faults))?;
    survey.notes.iter().for_each(|text| output::note(text));
    Ok(survey)
}

/// Servers that no client can be made for.
fn no_client(faults: &[String]) -> CliError {
    let mut error = CliError::usage("a model server cannot be asked");
    error.hints.extend_from_slice(faults);
    error
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let runtime = runtime()?;
    let survey = look(&standing, &runtime)?;
    if context.is_json {
        output::json_with_version(serde_json::json!({
            "servers": survey.servers,
            "ladders": survey.ladders,
            "proposal": words::proposal_json(&survey.proposal),
        }));
        return Ok(Exit::Complete);
    }
    for server in &survey.servers {
        output::out(&words::server(server));
        for model in &server.models {
            output::out(&words::model(server, model, crate::app::now_ms()));
        }
        output::out("\n");
    }
    output::out(&words::ladders(&survey));
    for server in survey.found() {
        let value = serde_json::json!({ "kind": server.kind, "url": server.address });
        output::err(&format!(
            "found and not declared; plans can name it after: ollmcp config set --user model_servers.{} '{value}'\n",
            server.name
        ));
    }
    Ok(Exit::Complete)
}
