//! What actors come back with, turned into commands: an opened step, a prepared task, an end, a loss.

use ractor::ActorId;

use super::book::Loss;
use super::{Input, RunState, SupervisorState, WorkKey};
use crate::domain::command::{AttemptEnd, Command};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::{AskId, TaskId};
use crate::domain::ladder::Ladder;
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::engine::work::{Done, Opened, Prepared};

/// Attempts that were open when the process before this one ended.
pub(super) fn lost_with_the_process(run: &RunState, ports: &Ports) -> Vec<Command> {
    run.open_attempts()
        .map(|(task, record)| Command::EndAttempt {
            task,
            attempt: record.attempts,
            end: AttemptEnd::Unknown { what: doubt(run, task, "the process ended during it"), failure: None },
            ask: AskId(ports.ids.uuid()),
        })
        .collect()
}

/// What is in doubt, for people.
pub(super) fn doubt(run: &RunState, task: TaskId, why: &str) -> String {
    use crate::domain::plan::StepKind;
    let step = run.step(task.step);
    let act = match &step.kind {
        StepKind::Tool { name, .. } => format!("the call of {name}"),
        StepKind::Agent { name, .. } => format!("the work of {name}"),
        StepKind::Value { .. } => "the evaluation".to_owned(),
    };
    let key = run.tasks.get(&task).map_or("", |task| task.key.as_str());
    let of = if step.for_each.is_some() { format!("{}[{key}]", step.id) } else { step.id.to_string() };
    format!("{act} in {of} may or may not have happened: {why}")
}

impl SupervisorState {
    pub(super) fn opened(&mut self, key: WorkKey, opened: Opened) {
        let (Some(_), WorkKey::Open(step)) = (self.book.close(key), key) else { return };
        let command = match opened {
            // Steps of this version need no model, so their ladder is empty.
            Opened::Items(items) => Command::OpenStep { step, items, ladder: Ladder::default() },
            Opened::Skip(reason) => Command::SkipStep { step, reason, for_failure: false },
            Opened::Fault(failure) => Command::FailStep { step, failure },
        };
        self.inbox.push_back(Input::Command(command));
    }

    pub(super) fn prepared(&mut self, key: WorkKey, prepared: Prepared) {
        let WorkKey::Task(task) = key else { return };
        if self.book.get(key).is_none() {
            return;
        }
        let input = match prepared {
            Prepared::Attempt(ready) => Input::Command(Command::StartAttempt {
                task,
                key: ready.key,
                identity: ready.identity,
                repeat: ready.repeat,
            }),
            Prepared::Reuse { key: name, identity, output, from, verdict } => {
                self.book.close(key);
                Input::Command(Command::ReuseOutput { task, key: name, identity, output, from, verdict })
            }
            Prepared::Fault { key: name, failure } => {
                self.book.close(key);
                Input::Fault { task, key: name, failure }
            }
        };
        self.inbox.push_back(input);
    }

    pub(super) fn acted(&mut self, key: WorkKey, done: Done) {
        let (Some(entry), WorkKey::Task(task)) = (self.book.close(key), key) else { return };
        let Some(attempt) = entry.attempt else { return };
        let ask = AskId(self.ports.ids.uuid());
        let is_output = matches!(done.end, AttemptEnd::Output(_));
        self.inbox.push_back(Input::Command(Command::EndAttempt { task, attempt, end: done.end, ask }));
        if let (true, Some(verdict)) = (is_output, done.verdict) {
            self.inbox.push_back(Input::Command(Command::Judge { task, attempt, verdict }));
        }
    }

    /// An actor has ended and its outcome has not arrived.
    pub(super) fn lost(&mut self, actor: ActorId, loss: Loss) {
        let Some((key, entry)) = self.book.close_actor(actor) else { return };
        if self.stopping || self.run.head.cancelled_by.is_some() {
            if let (WorkKey::Task(task), Some(attempt)) = (key, entry.attempt) {
                let what = doubt(&self.run, task, "it was stopped");
                self.end_unknown(task, attempt, what, None);
            }
            return;
        }
        let failure = match (&loss, entry.is_overdue) {
            (_, true) => Failure::new(FailureKind::Timeout, "the attempt did not end within its limit and was stopped"),
            (Loss::Panicked(message), false) => {
                Failure::new(FailureKind::Panic, format!("the attempt panicked: {message}"))
            }
            (Loss::Ended, false) => Failure::new(FailureKind::Panic, "the attempt ended without an outcome"),
        };
        tracing::warn!(parent: &self.span, actor = %entry.name, reason = %failure.message, "an attempt was lost");
        let rejected =
            |by| Verdict { by, accepted: false, evidence: Vec::new(), complaint: Some(failure.message.clone()) };
        match key {
            WorkKey::Open(step) => self.inbox.push_back(Input::Command(Command::FailStep { step, failure })),
            WorkKey::Task(task) => match entry.attempt {
                Some(attempt) => {
                    let what = doubt(&self.run, task, &failure.message);
                    self.end_unknown(task, attempt, what, Some(failure));
                }
                None => self.inbox.push_back(Input::Fault { task, key: format!("item {}", task.item + 1), failure }),
            },
            WorkKey::Judge(task) => {
                let attempt = self.run.tasks.get(&task).map_or(0, |task| task.attempts);
                let verdict = rejected(Judge::Checks);
                self.inbox.push_back(Input::Command(Command::Judge { task, attempt, verdict }));
            }
            WorkKey::JudgeStep(step) => {
                let verdict = rejected(Judge::Checks);
                self.inbox.push_back(Input::Command(Command::JudgeStep { step, verdict }));
            }
        }
    }

    pub(super) fn end_unknown(&mut self, task: TaskId, attempt: u32, what: String, failure: Option<Failure>) {
        let ask = AskId(self.ports.ids.uuid());
        let end = AttemptEnd::Unknown { what, failure };
        self.inbox.push_back(Input::Command(Command::EndAttempt { task, attempt, end, ask }));
    }
}
