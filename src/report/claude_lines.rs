//! The documented lines about escalation: pure, from durable events. In a batch the first tasks are told, the others are
//! counted in the progress line.

use std::collections::BTreeSet;

use super::text::{bounded, clean, clock};
use crate::domain::event::Event;
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::domain::ids::TaskId;
use crate::domain::ladder::{Rung, WhenLimited};
use crate::domain::money::Today;
use crate::domain::run::RunState;

/// Tasks that are told line by line.
pub const TASKS_TOLD_MAX: usize = 5;

/// Longest reason in a line, in characters.
const REASON_CHARS_MAX: usize = 300;

/// The documented first line.
#[must_use]
pub fn enabled(model: &str, threshold: u32) -> String {
    format!("✓ Claude fallback enabled (model: {}, threshold: {threshold} failures)", clean(model))
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct ClaudeLines {
    told: BTreeSet<TaskId>,
    /// Rungs of tasks that were told to have failed, or to be climbed.
    rungs: BTreeSet<(TaskId, Rung)>,
    is_folded: bool,
}

impl ClaudeLines {
    /// The lines of one durable event. `today` is asked where a line says it.
    pub fn take_up(&mut self, state: &RunState, event: &Event, today: &dyn Fn() -> Option<Today>) -> Vec<String> {
        let Some(task) = event.task() else { return Vec::new() };
        let lines = self.lines(state, task, event, today);
        if lines.is_empty() || self.told.contains(&task) {
            return lines;
        }
        if self.told.len() < TASKS_TOLD_MAX {
            self.told.insert(task);
            return lines;
        }
        if std::mem::replace(&mut self.is_folded, true) {
            return Vec::new();
        }
        vec!["  further tasks that climb are counted in the progress line; `ollmcp show` tells each".to_owned()]
    }

    fn lines(
        &mut self,
        state: &RunState,
        task: TaskId,
        event: &Event,
        today: &dyn Fn() -> Option<Today>,
    ) -> Vec<String> {
        let ladder = state.ladder(task.step);
        match event {
            Event::TaskClimbed { from: from @ Rung::Local(name), to, .. } if from != to => {
                match self.rungs.insert((task, from.clone())) {
                    true => vec![format!("⚠️  {} failed, trying fallback...", clean(model(name)))],
                    false => Vec::new(),
                }
            }
            Event::AttemptStarted { rung: rung @ Rung::Paid(_), .. } => {
                let reason = ladder.map_or("fallback", |ladder| ladder.reason.word());
                match self.rungs.insert((task, rung.clone())) {
                    true => vec![format!("🤖 Escalating to Claude Code ({reason})...")],
                    false => Vec::new(),
                }
            }
            Event::AttemptFailed { attempt, failure, .. } if is_paid(state, task, *attempt) => match failure.kind {
                FailureKind::Limited => {
                    let parks = ladder.is_some_and(|ladder| ladder.when_limited == WhenLimited::Park);
                    limit_lines(failure, parks)
                }
                _ if failure.class() != FailureClass::Wrong && !failure.of_tool => {
                    vec![format!("Claude API call failed: {}", reason(failure))]
                }
                _ => vec![format!("✗ Claude escalation also failed: {}", reason(failure))],
            },
            Event::VerdictGiven { attempt, verdict, .. } if !verdict.accepted && is_paid(state, task, *attempt) => {
                let why = verdict.complaint.as_deref().unwrap_or("its answer was rejected");
                vec![format!("✗ Claude escalation also failed: {}", short(why))]
            }
            Event::TaskDone { .. } if matches!(state.tasks.get(&task).map(|task| &task.rung), Some(Rung::Paid(_))) => {
                let Today { calls, microdollars } = today().unwrap_or_default();
                let cost = microdollars as f64 / 1e6;
                vec![format!("✓ Claude completed task. Today's usage: {calls} calls, ~${cost:.4}")]
            }
            _ => Vec::new(),
        }
    }
}

fn limit_lines(failure: &Failure, parks: bool) -> Vec<String> {
    let bound = failure.check.as_deref().unwrap_or("see the hint");
    let mut lines = vec![format!("⚠️  Claude usage limit reached ({bound})")];
    let when = failure.until_ms.map(clock);
    match (parks, when) {
        (true, Some(when)) => lines.push(format!("   the task waits: the next call is possible at {when}")),
        (_, when) => {
            lines.push("⚠️  Task will fail if all Ollama models are exhausted".to_owned());
            lines.push(match when {
                Some(when) => format!("   the next call is possible at {when}"),
                None => format!(
                    "   no call is possible before that is changed: {}",
                    failure.hint.as_deref().unwrap_or("see `ollmcp budget`")
                ),
            });
        }
    }
    lines
}

fn is_paid(state: &RunState, task: TaskId, attempt: u32) -> bool {
    let tried = state.tasks.get(&task).and_then(|task| task.tried.iter().rev().find(|tried| tried.attempt == attempt));
    tried.is_some_and(|tried| matches!(tried.rung, Rung::Paid(_)))
}

/// The model's name without its server.
fn model(rung: &str) -> &str {
    rung.split_once(':').map_or(rung, |(_, model)| model)
}

fn reason(failure: &Failure) -> String {
    short(&failure.message)
}

fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    clean(&bounded(line, REASON_CHARS_MAX))
}
