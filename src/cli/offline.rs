//! A command to a run that no process is at work on: decided, made durable, folded, here and now.

use super::context::OwnStore;
use super::error::CliError;
use crate::domain::command::Command;
use crate::domain::event::{Stamped, encode};
use crate::domain::ids::RunId;
use crate::domain::run::{Due, apply, decide, due};
use crate::journal::Journal as _;

/// Gives a command to a run of the opened store, with everything that follows from it.
pub(super) fn command(
    own: &OwnStore,
    runtime: &tokio::runtime::Runtime,
    run: RunId,
    command: Command,
) -> Result<(), CliError> {
    let state = own.store.state.reader().run(run)?;
    let mut state = state.ok_or_else(|| CliError::usage(format!("no run {run}")))?;
    let first_seq = state.head.seq + 1;
    let now_ms = crate::app::now_ms();
    let mut commands = std::collections::VecDeque::from([command]);
    let mut payloads = Vec::new();
    while let Some(command) = commands.pop_front() {
        let events = decide(&state, command, now_ms).map_err(|refusal| CliError::usage(refusal.to_string()))?;
        for event in events {
            let stamped = Stamped::new(now_ms, event);
            apply(&mut state, &stamped).map_err(|error| CliError::failed(error.to_string()))?;
            payloads.push(encode(&stamped));
        }
        if commands.is_empty() {
            commands.extend(due(&state).into_iter().filter_map(|due| match due {
                Due::Consequence(command) => Some(command),
                _ => None,
            }));
        }
    }
    if !payloads.is_empty() {
        let append = own.store.journal.append(run, first_seq, payloads);
        runtime.block_on(append).map_err(|error| CliError::failed(error.to_string()))?;
    }
    own.store.state.settle();
    Ok(())
}
