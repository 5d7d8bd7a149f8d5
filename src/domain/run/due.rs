//! What ought to be in flight now. The same answer on a first start and after a crash.

use super::hold::Outlook;
use super::{RunState, StepPhase};
use crate::domain::command::Command;
use crate::domain::ids::{ItemIndex, StepIndex, TaskId};
use crate::domain::payload::Items;
use crate::domain::plan::Part;
use crate::domain::verdict::Judge;

/// One piece of work that the shell around the core has to see to.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a handful live at a time, and never long")]
pub enum Due {
    /// Follows from the state alone: give it to `decide` at once.
    Consequence(Command),
    /// Work out the condition and the items of the step.
    Open {
        /// The step.
        step: StepIndex,
    },
    /// Prepare and start an attempt.
    Start {
        /// The task.
        task: TaskId,
    },
    /// The same, from a time on.
    StartAt {
        /// The task.
        task: TaskId,
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Let this judge look at the output.
    Judge {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Who is missing.
        by: Judge,
    },
    /// Move the files of an accepted task into place.
    Place {
        /// The task.
        task: TaskId,
    },
    /// Ask a person whether the step goes on: its items fail alike.
    Hold {
        /// The step.
        step: StepIndex,
    },
    /// Work out `all_done_when`.
    JudgeStep {
        /// The step.
        step: StepIndex,
    },
}

impl Due {
    /// The step that the work belongs to; `None` for what concerns the run.
    #[must_use]
    pub const fn step(&self) -> Option<StepIndex> {
        match self {
            Self::Consequence(_) => None,
            Self::Open { step } | Self::JudgeStep { step } | Self::Hold { step } => Some(*step),
            Self::Start { task } | Self::StartAt { task, .. } | Self::Judge { task, .. } | Self::Place { task } => {
                Some(task.step)
            }
        }
    }
}

/// What is due, bounded by the steps' `max_parallel`.
#[must_use]
pub fn due(state: &RunState) -> Vec<Due> {
    let mut out = Vec::new();
    if state.head.end.is_some() {
        return out;
    }
    if state.unended == 0 {
        out.push(Due::Consequence(Command::EndRun));
        return out;
    }
    for step in &state.active {
        match &state.steps[*step as usize].phase {
            StepPhase::Pending => pending_step(state, *step, &mut out),
            StepPhase::Open { items, .. } => open_step(state, *step, items, &mut out),
            StepPhase::Ended { .. } => {}
        }
    }
    out
}

/// The commands that follow from the state alone, as [`due`] has them, without a look at what could start.
#[must_use]
pub fn consequences(state: &RunState) -> Vec<Command> {
    if state.head.end.is_some() {
        return Vec::new();
    }
    if state.unended == 0 {
        return vec![Command::EndRun];
    }
    let of_step = |step: &StepIndex| match &state.steps[*step as usize].phase {
        StepPhase::Pending => pending_consequence(state, *step),
        StepPhase::Open { items, .. } => open_consequence(state, *step, items),
        StepPhase::Ended { .. } => None,
    };
    state.active.iter().filter_map(of_step).collect()
}

fn pending_step(state: &RunState, step: StepIndex, out: &mut Vec<Due>) {
    if let Some(command) = pending_consequence(state, step) {
        out.push(Due::Consequence(command));
    } else if state.live[step as usize].blockers == 0 {
        out.push(Due::Open { step });
    }
}

fn pending_consequence(state: &RunState, step: StepIndex) -> Option<Command> {
    if state.head.cancelled_by.is_some() {
        return Some(Command::CloseStep { step });
    }
    let need = state.bad_need(step)?;
    let for_failure = !skipped_by_condition(state, need);
    Some(Command::SkipStep { step, reason: needs(state, need), for_failure })
}

fn open_consequence(state: &RunState, step: StepIndex, items: &Items) -> Option<Command> {
    if releases(state, step) {
        return Some(Command::ReleaseHeld { step });
    }
    (closes(state, step, items) && !awaits_step_verdict(state, step)).then_some(Command::CloseStep { step })
}

/// Items wait for a decision that can no longer come about.
fn releases(state: &RunState, step: StepIndex) -> bool {
    !state.live[step as usize].held.is_empty()
        && state.head.cancelled_by.is_none()
        && state.steps[step as usize].stopped.is_none()
        && state.outlook(step) == Outlook::Never
}

/// `all_done_when` has still to be worked out.
fn awaits_step_verdict(state: &RunState, step: StepIndex) -> bool {
    state.steps[step as usize].judged.is_none() && needs_step_verdict(state, step)
}

/// Why a step cannot run: what it needs did not come about.
pub(super) fn needs(state: &RunState, need: StepIndex) -> String {
    let word = match state.steps[need as usize].phase.word() {
        "failed" => "failed",
        "skipped" => "was skipped",
        "cancelled" => "was cancelled",
        _ => "was set aside",
    };
    format!("needs `{}`, which {word}", state.step(need).id)
}

fn skipped_by_condition(state: &RunState, step: StepIndex) -> bool {
    use crate::domain::event::StepEnd;
    matches!(
        &state.steps[step as usize].phase,
        StepPhase::Ended { end: StepEnd::Skipped { for_failure: false, .. }, .. }
    )
}

fn open_step(state: &RunState, step: StepIndex, items: &Items, out: &mut Vec<Due>) {
    let live = &state.live[step as usize];
    for item in &live.judging {
        let task = TaskId::new(step, *item);
        let record = &state.tasks[&task];
        match &record.phase {
            // One after the other, cheapest first: what fails its checks is not asked for again.
            super::TaskPhase::Judging { verdicts, .. } => {
                let missing = state.judges(step).into_iter().find(|by| !verdicts.iter().any(|given| given.by == *by));
                out.extend(missing.map(|by| Due::Judge { task, attempt: record.attempts, by }));
            }
            super::TaskPhase::Placing { .. } => out.push(Due::Place { task }),
            _ => {}
        }
    }
    if releases(state, step) {
        out.push(Due::Consequence(Command::ReleaseHeld { step }));
        return;
    }
    if state.outlook(step) == Outlook::Alike
        && state.head.cancelled_by.is_none()
        && state.steps[step as usize].stopped.is_none()
    {
        out.push(Due::Hold { step });
    }
    if state.is_held(step) && state.head.cancelled_by.is_none() && state.steps[step as usize].stopped.is_none() {
        return;
    }
    if closes(state, step, items) {
        if awaits_step_verdict(state, step) {
            out.push(Due::JudgeStep { step });
        } else {
            out.push(Due::Consequence(Command::CloseStep { step }));
        }
        return;
    }
    if !starts_tasks(state, step, items) {
        return;
    }
    let open = live.running.len() + live.judging.len();
    let room = (state.step(step).max_parallel as usize).saturating_sub(open);
    let mut begins = state.hold_room(step);
    let startable = startable(state, step, items)
        .filter(|item| {
            let known = state.tasks.contains_key(&TaskId::new(step, *item));
            // Those without a record stand last, or the first of them would be passed over here for good.
            known || {
                let may = begins > 0;
                begins = begins.saturating_sub(1);
                may
            }
        })
        .take(room);
    let before = out.len();
    out.extend(startable.map(|item| Due::Start { task: TaskId::new(step, item) }));
    let room = room - (out.len() - before);
    let limited = live.limited.iter().take(room).map(|item| (state.head.limited_until_ms, *item));
    let mut retries: Vec<(u64, ItemIndex)> = live.retrying.iter().take(room).copied().chain(limited).collect();
    retries.sort_unstable();
    let starts = retries.into_iter().take(room);
    out.extend(starts.map(|(at_ms, item)| Due::StartAt { task: TaskId::new(step, item), at_ms }));
}

/// Items that may start now, lowest first.
fn startable<'a>(state: &'a RunState, step: StepIndex, items: &'a Items) -> Box<dyn Iterator<Item = ItemIndex> + 'a> {
    let live = &state.live[step as usize];
    let ready = live.ready.iter().copied();
    match items {
        Items::Flow { .. } => Box::new(ready),
        Items::One | Items::Range { .. } | Items::List { .. } => {
            let len = state.list_len(step).unwrap_or(0);
            let fresh = (live.next..len).filter(move |item| !state.tasks.contains_key(&TaskId::new(step, *item)));
            Box::new(ready.chain(fresh))
        }
    }
}

/// Whether anything new of an open step may start.
pub(super) fn starts_tasks(state: &RunState, step: StepIndex, items: &Items) -> bool {
    let source_failed = matches!(items, Items::Flow { from } if state.ended_badly(*from));
    state.steps[step as usize].stopped.is_none() && state.head.cancelled_by.is_none() && !source_failed
}

/// Whether nothing of an open step is left to do, now or later.
pub(super) fn closes(state: &RunState, step: StepIndex, items: &Items) -> bool {
    let counts = state.steps[step as usize].counts;
    if state.head.cancelled_by.is_some() {
        // An output whose judges have not spoken is given up: some of them may never speak. What is accepted is put in
        // place to the last file.
        let live = &state.live[step as usize];
        let is_placing =
            |item: &ItemIndex| matches!(state.tasks[&TaskId::new(step, *item)].phase, super::TaskPhase::Placing { .. });
        return live.running.is_empty() && !live.judging.iter().any(is_placing);
    }
    let held = u32::try_from(state.live[step as usize].held.len()).unwrap_or(u32::MAX);
    let is_stopped = state.steps[step as usize].stopped.is_some();
    // Items that wait for the decision about a step that was stopped for another reason wait for nothing.
    if counts.running > 0 || counts.waiting > if is_stopped { held } else { 0 } {
        return false;
    }
    if !starts_tasks(state, step, items) {
        return true;
    }
    match items {
        Items::Flow { from } => {
            RunState::is_ended(&state.steps[*from as usize].phase)
                && state.live[step as usize].ready.is_empty()
                && counts.pending == 0
        }
        Items::One | Items::Range { .. } | Items::List { .. } => Some(counts.ended()) == state.list_len(step),
    }
}

/// `all_done_when` counts only where the step would otherwise be done.
fn needs_step_verdict(state: &RunState, step: StepIndex) -> bool {
    !state.step(step).all_done_when.is_empty()
        && state.head.cancelled_by.is_none()
        && super::decide::would_end(state, step) == crate::domain::event::StepEnd::Done
}

impl RunState {
    /// Whether a part of `step` that is needed is still missing, in words for people.
    #[must_use]
    pub fn waits_for(&self, step: StepIndex) -> Vec<StepIndex> {
        self.plan
            .needs(step)
            .filter(|(need, part)| !Self::lets_open(&self.steps[*need as usize].phase, *part) || *part == Part::Flow)
            .map(|(need, _)| need)
            .collect()
    }
}
