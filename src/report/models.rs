//! What models did in a run: claimed beside shown, who did the work, and what it took. Numbers come from records.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::{plural, thousands};
use crate::domain::event::TaskEnd;
use crate::domain::failure::FailureClass;
use crate::domain::ids::StepIndex;
use crate::domain::ladder::Rung;
use crate::domain::run::{RunState, TaskPhase};

/// Model work of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelWork {
    /// The step.
    pub step: String,
    /// Tasks that were begun in this run, reused ones left out.
    pub tasks: u64,
    /// Tasks that a local model did and that were accepted.
    pub local: u64,
    /// Tasks that Claude did and that were accepted.
    pub claude: u64,
    /// Accepted tasks by rung.
    pub by_rung: BTreeMap<String, u64>,
    /// Tasks that were set aside or failed.
    pub not_done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that were set aside.
    pub set_aside: u64,
    /// Attempts in which a model said that it was done.
    pub claimed: u64,
    /// Attempts that were accepted.
    pub shown: u64,
    /// Nothing but the form of the answers was checked, or not even that.
    pub unchecked: bool,
    /// Counted failures.
    pub failures: u64,
    /// Replies of models.
    pub calls: u64,
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// Of all these tokens, those of Claude.
    pub claude_tokens: u64,
    /// Each task's last attempt: what one model that is right at once would have taken.
    #[serde(skip)]
    pub last_attempts: Vec<LastAttempt>,
    /// Why Claude was not asked for what is not done, where it is the same for the whole step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_only: Option<String>,
}

/// What a task's last attempt took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastAttempt {
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// What it cost; 0 where it was local.
    pub microdollars: u64,
}

impl ModelWork {
    /// The work in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let rungs: Vec<String> =
            self.by_rung.iter().map(|(rung, count)| format!("{rung} {}", thousands(*count))).collect();
        let rungs = if rungs.is_empty() { String::new() } else { format!(" ({})", rungs.join(", ")) };
        let shown = if self.unchecked { "unchecked" } else { "shown" };
        format!(
            "{}: local {}, Claude {} of {}{rungs} · failed {} · set aside {} · claimed {}, {shown} {} · {}, {} + {} tokens",
            self.step,
            thousands(self.local),
            thousands(self.claude),
            thousands(self.tasks),
            thousands(self.failed),
            thousands(self.set_aside),
            thousands(self.claimed),
            thousands(self.shown),
            plural(self.calls, "model call"),
            thousands(self.input_tokens),
            thousands(self.output_tokens)
        )
    }
}

/// Model work of all steps that asked models.
pub(super) fn work(state: &RunState) -> Vec<ModelWork> {
    let mut all = Vec::new();
    for (at, step) in state.plan.steps().iter().enumerate() {
        if !step.kind.asks_a_model() {
            continue;
        }
        let unchecked = step.done_when.is_empty() && step.all_done_when.is_empty() && step.output_schema.is_none();
        let local_only = state.plan.local_only(at as StepIndex);
        let mut work = ModelWork { local_only, step: step.id.to_string(), unchecked, ..ModelWork::default() };
        for (_, task) in state.tasks_of(at as StepIndex) {
            if matches!(task.phase, TaskPhase::Done { reused: Some(_), .. }) {
                continue;
            }
            work.tasks += 1;
            for tried in &task.tried {
                work.claimed += u64::from(tried.claimed.is_some());
                work.calls += u64::from(tried.turns);
                work.input_tokens += tried.input_tokens;
                work.output_tokens += tried.output_tokens;
                if matches!(tried.rung, Rung::Paid(_)) {
                    work.claude_tokens += tried.input_tokens + tried.output_tokens;
                }
                let counted = tried.failure.as_ref().is_some_and(|failure| failure.class() == FailureClass::Wrong);
                work.failures += u64::from(counted);
            }
            if let Some(last) = task.tried.iter().rev().find(|tried| tried.turns > 0) {
                work.last_attempts.push(LastAttempt {
                    input_tokens: last.input_tokens,
                    output_tokens: last.output_tokens,
                    microdollars: last.cost_microdollars,
                });
            }
            match &task.phase {
                TaskPhase::Done { .. } => {
                    work.shown += 1;
                    let (done, rung) = match &task.rung {
                        Rung::Local(rung) => (&mut work.local, rung),
                        Rung::Paid(rung) => (&mut work.claude, rung),
                        Rung::None => continue,
                    };
                    *done += 1;
                    *work.by_rung.entry(rung.clone()).or_default() += 1;
                }
                TaskPhase::Ended(TaskEnd::Failed(_)) => work.failed += 1,
                TaskPhase::Ended(TaskEnd::Quarantined(_)) => work.set_aside += 1,
                _ => {}
            }
            work.not_done = work.failed + work.set_aside;
        }
        if work.tasks > 0 {
            all.push(work);
        }
    }
    all
}
