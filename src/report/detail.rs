//! One run in full: its steps, items and questions. What `show` prints.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SHAPE_VERSION;
use super::line::RunLine;
use crate::domain::event::{StepEnd, TaskEnd};
use crate::domain::ids::StepIndex;
use crate::domain::plan::StepKind;
use crate::domain::run::{AskKind, RunState, StepPhase, Task, TaskPhase};

/// Most items that are listed with their reasons; the rest is counted.
pub const LISTED_MAX: usize = 200;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    /// [`SHAPE_VERSION`].
    pub v: u32,
    /// The run in one line.
    #[serde(flatten)]
    pub line: RunLine,
    /// File or name of its plan.
    pub plan_source: String,
    /// Values of its inputs.
    pub inputs: Map<String, Value>,
    /// Its steps, in the order written.
    pub steps: Vec<StepLine>,
    /// Items that failed or were set aside.
    pub not_done: Vec<NotDone>,
    /// How many more there are.
    pub not_done_untold: usize,
    /// Open questions.
    pub asks: Vec<AskLine>,
    /// How often a process took it up again.
    pub resumed: u32,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Its id.
    pub step: String,
    /// `tool fs.list`, `agent DATABASE_WRITER`, `value`.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// Length of its list, once known.
    pub items: Option<u32>,
    /// Tasks done, those reused among them.
    pub done: u32,
    /// Taken over from earlier runs.
    pub reused: u32,
    /// Running now.
    pub running: u32,
    /// Waiting for a person.
    pub waiting: u32,
    /// Failed.
    pub failed: u32,
    /// Set aside.
    pub quarantined: u32,
    /// Nothing checks its outputs.
    pub unchecked: bool,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Why Claude was not asked, of a step without `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
    /// What the checks of a step without `for_each` saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// An item that failed or was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotDone {
    /// Its step.
    pub step: String,
    /// Its key.
    pub item: String,
    /// `failed` or `quarantined`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Why Claude was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
}

/// A question that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskLine {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run: String,
    /// Its step.
    pub step: String,
    /// Its item.
    pub item: String,
    /// What is asked.
    pub what: String,
    /// Answers that fit.
    pub answers: Vec<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// The name of a step's kind with its target.
#[must_use]
pub fn kind_text(kind: &StepKind) -> String {
    match kind {
        StepKind::Tool { name, .. } => format!("tool {name}"),
        StepKind::Agent { name, .. } => format!("agent {name}"),
        StepKind::Value { .. } => "value".to_owned(),
    }
}

impl RunDetail {
    /// What there is to say of a run.
    #[must_use]
    pub fn new(state: &RunState, is_live: bool) -> Self {
        let all = not_done(state);
        let untold = all.len().saturating_sub(LISTED_MAX);
        Self {
            v: SHAPE_VERSION,
            line: RunLine::new(&state.head, &state.steps, is_live),
            plan_source: state.head.origin.plan_source.clone(),
            inputs: state.head.inputs.clone(),
            steps: (0..state.steps.len()).map(|step| step_line(state, step as StepIndex, is_live)).collect(),
            not_done: all.into_iter().take(LISTED_MAX).collect(),
            not_done_untold: untold,
            asks: ask_lines(state),
            resumed: state.head.resumed,
        }
    }
}

/// Items that failed or were set aside, with reasons.
#[must_use]
pub fn not_done(state: &RunState) -> Vec<NotDone> {
    let mut all = Vec::new();
    for (id, task) in &state.tasks {
        if let TaskPhase::Ended(TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) = &task.phase {
            all.push(NotDone {
                step: state.step(id.step).id.to_string(),
                item: task.key.clone(),
                state: task.phase.word().to_owned(),
                reason: failure.message.clone(),
                hint: failure.hint.clone(),
                unasked: failure.unasked.clone(),
            });
        }
    }
    all
}

/// Open questions of a run.
#[must_use]
pub fn ask_lines(state: &RunState) -> Vec<AskLine> {
    let asks = state.head.asks.iter();
    asks.map(|(id, ask)| AskLine {
        id: id.to_string(),
        run: state.head.run.to_string(),
        step: state.step(ask.task.step).id.to_string(),
        item: ask.key.clone(),
        what: ask.what.clone(),
        answers: match ask.kind {
            AskKind::InDoubt => ["happened", "again", "skip", "fail"].map(str::to_owned).to_vec(),
            AskKind::Approval => ["approve", "deny"].map(str::to_owned).to_vec(),
            AskKind::Hold => ["go", "stop"].map(str::to_owned).to_vec(),
        },
        since_ms: ask.since_ms,
    })
    .collect()
}

fn step_line(state: &RunState, step: StepIndex, is_live: bool) -> StepLine {
    let definition = state.step(step);
    let found = &state.steps[step as usize];
    let counts = found.counts;
    let (reason, hint, unasked) = match &found.phase {
        StepPhase::Ended { end: StepEnd::Failed(failure), .. } => {
            (Some(failure.message.clone()), failure.hint.clone(), failure.unasked.clone())
        }
        StepPhase::Ended { end: StepEnd::Skipped { reason, .. }, .. } => (Some(reason.clone()), None, None),
        _ => (found.stopped.as_ref().map(|failure| format!("stopping: {}", failure.message)), None, None),
    };
    // Of a list each item that failed says so.
    let unasked = unasked.filter(|_| definition.for_each.is_none());
    let evidence = match state.tasks_of(step).next() {
        Some((_, Task { phase: TaskPhase::Done { verdicts, .. }, .. })) if definition.for_each.is_none() => {
            verdicts.iter().flat_map(|verdict| verdict.evidence.clone()).collect()
        }
        _ => Vec::new(),
    };
    StepLine {
        step: definition.id.to_string(),
        kind: kind_text(&definition.kind),
        state: match &found.phase {
            // It waits for a person, whatever a process left open.
            StepPhase::Open { .. } if state.is_held(step) && (!is_live || counts.running == 0) => "held",
            // Nothing runs where no process is at work.
            StepPhase::Open { .. } if !is_live && counts.running > 0 => "interrupted",
            StepPhase::Open { .. } if !is_live && counts.waiting > 0 => "waiting",
            StepPhase::Open { .. } if !is_live => "interrupted",
            phase => phase.word(),
        }
        .to_owned(),
        items: definition.for_each.as_ref().and_then(|_| state.list_len(step)),
        done: counts.done,
        reused: counts.reused,
        running: counts.running,
        waiting: counts.waiting,
        failed: counts.failed,
        quarantined: counts.quarantined,
        unchecked: definition.done_when.is_empty()
            && definition.all_done_when.is_empty()
            && definition.output_schema.is_none(),
        reason,
        hint,
        unasked,
        evidence,
    }
}
