//! What actors come back with, turned into commands: an opened step, a prepared task, an end, a loss.

use ractor::ActorId;

use super::book::Loss;
use super::{News, RunState, SupervisorState, WorkKey};
use crate::domain::command::{AttemptEnd, Command};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::{AskId, StepIndex, TaskId};
use crate::domain::plan::RepeatClass;
use crate::domain::run::TaskPhase;
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::engine::work::{Done, Intent, Opened, Prepared};

/// Attempts that were open when the process before this one ended.
pub(super) fn lost_with_the_process(run: &RunState, ports: &Ports) -> Vec<Command> {
    run.open_attempts()
        .map(|(task, record)| Command::EndAttempt {
            task,
            attempt: record.attempts,
            end: AttemptEnd::Unknown { what: doubt(run, task, "the process ended during it"), failure: None },
            ask: AskId(ports.ids.uuid()),
            away: Vec::new(),
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
    /// What an actor tells; from one that is no longer in the book it comes too late.
    pub(super) fn news(&mut self, actor: ActorId, key: WorkKey, news: News) {
        if !self.book.is_of(key, actor) {
            return;
        }
        match (news, key) {
            (News::Opened(opened), WorkKey::Open(step)) => {
                self.book.close(key);
                self.opened(step, opened);
            }
            (News::Intends(intent), WorkKey::Task(task)) => {
                let Intent { key, identity, repeat } = intent;
                self.command(Command::StartAttempt { task, key, identity, repeat });
            }
            (News::Prepared(prepared), WorkKey::Task(task)) => {
                self.book.close(key);
                self.prepared(task, prepared);
            }
            (News::Acted(done), WorkKey::Task(task)) => {
                let attempt = self.book.close(key).and_then(|entry| entry.attempt);
                self.acted(task, attempt, done);
            }
            (News::Judged { attempt, verdict }, WorkKey::Judge(task)) => {
                self.book.close(key);
                self.judge(task, attempt, verdict);
            }
            (News::Placed(failure), WorkKey::Place(task)) => {
                self.book.close(key);
                self.command(Command::EndPlacing { task, failure });
            }
            (News::StepJudged(verdict), WorkKey::JudgeStep(step)) => {
                self.book.close(key);
                self.command(Command::JudgeStep { step, verdict });
            }
            (news, key) => unreachable!("an actor made for {key:?} tells {news:?}"),
        }
    }

    fn opened(&mut self, step: StepIndex, opened: Opened) {
        self.command(match opened {
            Opened::Items(items, ladder) => Command::OpenStep { step, items, ladder: *ladder },
            Opened::Skip(reason) => Command::SkipStep { step, reason, for_failure: false },
            Opened::Fault(failure) => Command::FailStep { step, failure },
        });
    }

    fn prepared(&mut self, task: TaskId, prepared: Prepared) {
        match prepared {
            Prepared::Reuse { key, identity, output, from, verdict } => {
                self.command(Command::ReuseOutput { task, key, identity, output, from, verdict });
            }
            Prepared::Fault { key, failure } => self.fault(task, key, failure),
            Prepared::Attempt(_) => unreachable!("an attempt tells its intent alone"),
        }
    }

    fn acted(&mut self, task: TaskId, attempt: Option<u32>, done: Done) {
        let Some(attempt) = attempt else { return };
        let ask = AskId(self.ports.ids.uuid());
        let is_output = matches!(done.end, AttemptEnd::Output(_) | AttemptEnd::Made { .. });
        let away = self.away(task);
        self.command(Command::EndAttempt { task, attempt, end: done.end, ask, away });
        if let (true, Some(verdict)) = (is_output, done.verdict) {
            self.judge(task, attempt, verdict);
        }
    }

    /// Local rungs of a task that do not answer now.
    fn away(&self, task: TaskId) -> Vec<String> {
        let rungs = self.run.ladder(task.step).map(|ladder| ladder.local.as_slice()).unwrap_or_default();
        rungs.iter().filter(|rung| self.ports.models.is_away(rung)).cloned().collect()
    }

    fn judge(&mut self, task: TaskId, attempt: u32, verdict: Verdict) {
        let away = self.away(task);
        self.command(Command::Judge { task, attempt, verdict, away });
    }

    /// A task that could not even be prepared: an attempt that failed at once.
    fn fault(&mut self, task: TaskId, key: String, failure: Failure) {
        let attempt = self.run.tasks.get(&task).map_or(0, |task| task.attempts) + 1;
        let ask = AskId(self.ports.ids.uuid());
        if self.command(Command::StartAttempt { task, key, identity: None, repeat: RepeatClass::Read }) {
            let end = AttemptEnd::Failed(failure);
            self.command(Command::EndAttempt { task, attempt, end, ask, away: Vec::new() });
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
        let rejected = |by| Verdict::rejecting(by, failure.message.clone());
        match key {
            WorkKey::Open(step) => {
                self.command(Command::FailStep { step, failure });
            }
            WorkKey::Task(task) => match entry.attempt {
                Some(attempt) => {
                    let what = doubt(&self.run, task, &failure.message);
                    self.end_unknown(task, attempt, what, Some(failure));
                }
                None => self.fault(task, format!("item {}", task.item + 1), failure),
            },
            WorkKey::Judge(task) => {
                let attempt = self.run.tasks.get(&task).map_or(0, |task| task.attempts);
                // It was the turn of the first judge that has not spoken.
                let by = match self.run.tasks.get(&task).map(|task| &task.phase) {
                    Some(TaskPhase::Judging { verdicts, .. }) if !verdicts.is_empty() => Judge::Agreement,
                    _ => Judge::Checks,
                };
                self.judge(task, attempt, rejected(by));
            }
            // It is due again: moves are repeated until they are done.
            WorkKey::Place(_) => {}
            WorkKey::JudgeStep(step) => {
                let verdict = rejected(Judge::Checks);
                self.command(Command::JudgeStep { step, verdict });
            }
        }
    }

    fn end_unknown(&mut self, task: TaskId, attempt: u32, what: String, failure: Option<Failure>) {
        let ask = AskId(self.ports.ids.uuid());
        let end = AttemptEnd::Unknown { what, failure };
        self.command(Command::EndAttempt { task, attempt, end, ask, away: Vec::new() });
    }
}
