//! `answer`: settles a question of the inbox, such as a call in doubt.

use super::access::{Looking, find_ask};
use super::args::AnswerArgs;
use super::cancel::TERMINAL;
use super::context::{Access, Context};
use super::error::CliError;
use super::exit::Exit;
use super::{offline, output};
use crate::api::Answer;
use crate::api::server::answer_command;
use crate::domain::ids::{AskId, RunId};

pub(super) fn answer(context: &Context, args: &AnswerArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let looking = Looking::open(context, &standing)?;
    if let Access::StateOnly(_) = looking.access {
        return Err(looking.nothing_runs("answered"));
    }
    let output = match &args.output {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            CliError::usage(format!("--output is not JSON: {error}")).hint("text stands in quotes: --output '\"done\"'")
        })?),
    };
    let ask = find_ask(&looking.asks()?, &args.id)?;
    let answer = Answer { answer: args.answer.clone(), output, by: TERMINAL.to_owned() };
    let run = RunId(ask.run.parse().map_err(|_| CliError::failed("the run has no id"))?);
    match &looking.access {
        Access::Other(client) => looking.runtime().block_on(client.post(&format!("/v1/asks/{}", ask.id), &answer))?,
        Access::Own(own) => {
            let id = AskId(ask.id.parse().map_err(|_| CliError::failed("the question has no id"))?);
            let by = TERMINAL.to_owned();
            let command = answer_command(&own.store.blobs, id, &answer, by).map_err(CliError::usage)?;
            offline::command(own, looking.runtime(), run, command)?;
            let heads = own.store.state.reader().heads()?;
            let next = if heads.iter().any(|head| head.run == run && head.end.is_some()) {
                "ollmcp show"
            } else {
                "go on: ollmcp resume"
            };
            output::err(&format!("{next} {}\n", run.short()));
        }
        Access::StateOnly(_) => return Err(looking.nothing_runs("answered")),
    }
    if context.is_json {
        let told = serde_json::json!({ "ask": ask.id, "run": ask.run, "answer": args.answer });
        output::json_with_version(told);
    }
    output::err(&format!("{}: {}\n", crate::report::text::task_name(&ask.step, &ask.item), args.answer));
    Ok(Exit::Complete)
}
