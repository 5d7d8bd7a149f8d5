//! What actors come back with, turned into commands: an opened step, a prepared task, an end, a loss.

use std::collections::BTreeSet;

use ractor::{ActorId, ActorRef};

use super::book::Loss;
use super::{News, RunMessage, RunState, SupervisorState, WorkKey};
use crate::domain::command::{AttemptEnd, Command};
use crate::domain::event::{Event, Stamped};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::{AskId, StepIndex, TaskId};
use crate::domain::plan::RepeatClass;
use crate::domain::run::TaskPhase;
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::engine::staging::swept;
use crate::engine::work::{Done, Intent, Opened, Prepared};
use crate::os::staging::Manifest;

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

/// Takes up what attempts before this process left in their staging folders: what waits for its verdict or its place
/// stays, and the paths of what is accepted are claimed again. Gives the tasks whose files are still to be moved.
pub(super) async fn take_up(run: &RunState, ports: &Ports) -> BTreeSet<TaskId> {
    let placing = run.tasks.iter().filter_map(|(id, task)| match &task.phase {
        TaskPhase::Placing { staged, .. } => Some((*id, staged.clone())),
        _ => None,
    });
    let placing: Vec<_> = placing.collect();
    let tasks = placing.iter().map(|(task, _)| *task).collect();
    let (staging, blobs, state) = (ports.staging.clone(), ports.blobs.clone(), run.clone());
    let taken_up = tokio::task::spawn_blocking(move || {
        staging.take_up(&state);
        for (task, staged) in placing {
            // What cannot be read is told when it is to be moved.
            if let Ok(value) = blobs.read_value(&staged)
                && let Ok(manifest) = Manifest::from_value(value)
            {
                staging.claims.keep((state.head.run, task), &manifest);
            }
        }
    });
    if let Err(error) = taken_up.await {
        tracing::warn!(%error, "staging folders could not be taken up");
    }
    tasks
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
    /// Gives back the paths of a task that is in place, or whose files never will be.
    pub(super) fn release_claim(&mut self, event: &Event) {
        let task = match event {
            Event::TaskDone { task } | Event::TaskEnded { task, .. } => {
                self.placeable.remove(task);
                task
            }
            Event::AttemptFailed { task, .. } | Event::AttemptInterrupted { task, .. } => task,
            Event::VerdictGiven { task, verdict, .. } if !verdict.accepted => task,
            _ => return,
        };
        self.ports.staging.claims.release(&(self.run.head.run, *task));
    }

    /// Removes the folders that durable events leave without use.
    pub(super) fn sweep(&mut self, myself: &ActorRef<RunMessage>, events: &[Stamped]) {
        if !self.ports.staging.has(self.run.head.run) {
            return;
        }
        let over = events.iter().flat_map(|stamped| self.ports.staging.over(&self.run, &stamped.event));
        let over: Vec<_> = over.collect();
        if over.is_empty() {
            return;
        }
        self.sweeps += 1;
        let supervisor = myself.clone();
        let _ended = tokio::task::spawn_blocking(move || {
            over.iter().for_each(|folder| swept(folder));
            // A supervisor that is gone waits for nothing.
            let _ = supervisor.cast(RunMessage::Swept);
        });
    }

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
