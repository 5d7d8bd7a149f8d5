//! What an attempt has put down before it goes on: replies and calls, durable in the run's journal.

use std::time::Duration;

use ractor::ActorRef;

use super::Job;
use crate::domain::command::Command;
use crate::domain::event::Usage;
use crate::domain::ids::{Digest, TaskId};
use crate::domain::payload::Payload;
use crate::domain::plan::RepeatClass;
use crate::engine::supervisor::RunMessage;

/// How long an attempt waits until something is durable.
const DURABLE_LIMIT: Duration = Duration::from_secs(600);

/// Why nothing was put down: the attempt is not open any more, or its supervisor is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotRecorded;

/// Puts things down for one attempt.
#[derive(Clone, Debug)]
pub struct Recorder {
    supervisor: ActorRef<RunMessage>,
    task: TaskId,
    attempt: u32,
}

impl Recorder {
    /// For the attempt that a job is.
    #[must_use]
    pub fn new(supervisor: ActorRef<RunMessage>, job: &Job) -> Self {
        let attempt = job.trial.as_ref().map_or(0, |trial| trial.attempt);
        Self { supervisor, task: TaskId::new(job.step, job.item), attempt }
    }

    /// A model's reply.
    pub(super) async fn turn(&self, request: Digest, reply: Payload, usage: Usage) -> Result<(), NotRecorded> {
        self.record(Command::TakeTurn { task: self.task, attempt: self.attempt, request, reply, usage }).await
    }

    /// A call that is about to be made.
    pub(super) async fn call_started(&self, call: &str, tool: &str, repeat: RepeatClass) -> Result<(), NotRecorded> {
        let (call, tool) = (call.to_owned(), tool.to_owned());
        self.record(Command::StartCall { task: self.task, attempt: self.attempt, call, tool, repeat }).await
    }

    /// What the call answered.
    pub(super) async fn call_ended(&self, call: &str, succeeded: bool, result: Payload) -> Result<(), NotRecorded> {
        let call = call.to_owned();
        self.record(Command::EndCall { task: self.task, attempt: self.attempt, call, succeeded, result }).await
    }

    async fn record(&self, command: Command) -> Result<(), NotRecorded> {
        let asked = self.supervisor.call(|reply| RunMessage::Request(command, reply), Some(DURABLE_LIMIT)).await;
        match asked {
            Ok(ractor::rpc::CallResult::Success(Ok(()))) => Ok(()),
            other => {
                tracing::debug!(?other, "not recorded");
                Err(NotRecorded)
            }
        }
    }
}
