//! `answer`: settles a question of the inbox, such as a call in doubt.

use super::access::{Looking, find_ask, look};
use super::args::AnswerArgs;
use super::cancel::TERMINAL;
use super::context::{Access, Context};
use super::error::CliError;
use super::exit::Exit;
use super::{offline, output};
use crate::api::Answer;
use crate::api::server::answer_command;
use crate::domain::ids::{AskId, RunId};
use crate::report::detail::AskLine;

pub(super) fn answer(context: &Context, args: &AnswerArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let output = match &args.output {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            CliError::usage(format!("--output is not JSON: {error}")).hint("text stands in quotes: --output '\"done\"'")
        })?),
    };
    let answer = Answer { answer: args.answer.clone(), output, by: TERMINAL.to_owned() };
    let (ask, next) = look(context, &standing, |looking| answered(context, looking, &args.id, &answer))?;
    if context.is_json {
        let told = serde_json::json!({ "ask": ask.id, "run": ask.run, "answer": args.answer });
        output::json_with_version(told);
    }
    output::err(&format!("{}: {}\n", crate::report::text::task_name(&ask.step, &ask.item), args.answer));
    next.iter().for_each(|line| output::err(&format!("{line}\n")));
    Ok(Exit::Complete)
}

/// Gives the answer; what was answered, and what to do next where no process is at work.
fn answered(
    context: &Context,
    looking: &Looking,
    id: &str,
    answer: &Answer,
) -> Result<(AskLine, Option<String>), CliError> {
    if let Access::StateOnly(_) = looking.access {
        return Err(looking.nothing_runs("answered"));
    }
    let ask = find_ask(&looking.asks()?, id)?;
    let run = RunId(ask.run.parse().map_err(|_| CliError::failed("the run has no id"))?);
    match &looking.access {
        Access::Other(client) => {
            looking.runtime().block_on(client.post(&format!("/v1/asks/{}", ask.id), answer))?;
            Ok((ask, None))
        }
        Access::Own(own) => {
            let id = AskId(ask.id.parse().map_err(|_| CliError::failed("the question has no id"))?);
            let command =
                answer_command(&own.store.blobs, id, &ask, answer, TERMINAL.to_owned()).map_err(CliError::usage)?;
            offline::command(own, looking.runtime(), run, command)?;
            let heads = own.store.state.reader().heads()?;
            let next = match heads.iter().find(|head| head.run == run).and_then(|head| head.end) {
                Some(end) => {
                    let word = crate::report::line::end_word(end);
                    let show = context.command(&format!("show {}", run.short()));
                    format!("with this answer run {} has ended: {word}; see it with: {show}", run.short())
                }
                None => format!("go on: {}", context.resume(run)),
            };
            Ok((ask, Some(next)))
        }
        Access::StateOnly(_) => Err(looking.nothing_runs("answered")),
    }
}
