//! Folds one event into the state. It checks and copies; it never chooses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Ask, AskKind, COMPLAINTS_MAX, CallRecord, Head, Hold, HoldEnd, Live, Plan, RunState, StepPhase, StepState, Task,
    TaskPhase, TurnRecord,
};
use crate::domain::event::{DoubtAnswer, Event, Stamped, TaskEnd, Usage};
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::domain::ids::{AskId, StepIndex, TaskId};
use crate::domain::ladder::{Rung, Standing};
use crate::domain::payload::{Items, Payload};
use crate::domain::plan::PlanFault;

/// An event that does not follow from the state: the journal is not this run's, or was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The first event must accept a plan, no later one may.
    #[error("a run begins with its acceptance, once")]
    Beginning,
    /// The plan in the journal is no DAG.
    #[error("the plan in the journal does not hold: {0:?}")]
    Plan(Vec<PlanFault>),
    /// The event names a step, task or question that is not there, or one in another state.
    #[error("event {seq} does not follow: {what}")]
    DoesNotFollow {
        /// Number of the event in its run.
        seq: u64,
        /// What is wrong.
        what: String,
    },
}

/// Folds a run's event onto what came before it; `None` before the first.
///
/// # Errors
/// [`Corrupt`]; the state is lost then.
pub fn fold(state: Option<RunState>, stamped: &Stamped) -> Result<RunState, Corrupt> {
    match (state, &stamped.event) {
        (None, Event::RunAccepted { run, plan, inputs, origin }) => {
            let plan = Plan::try_from((**plan).clone()).map_err(Corrupt::Plan)?;
            let head = Head {
                run: *run,
                plan: plan.name().to_owned(),
                origin: origin.clone(),
                inputs: inputs.clone(),
                started_ms: stamped.at_ms,
                last_ms: stamped.at_ms,
                end: None,
                cancelled_by: None,
                seq: 1,
                resumed: 0,
                asks: BTreeMap::new(),
                usage: Usage::default(),
            };
            let steps = vec![StepState::default(); plan.steps().len()];
            Ok(RunState::assemble(head, Arc::new(plan), steps, BTreeMap::new()))
        }
        (None, _) | (Some(_), Event::RunAccepted { .. }) => Err(Corrupt::Beginning),
        (Some(mut state), _) => {
            apply(&mut state, stamped)?;
            Ok(state)
        }
    }
}

/// Folds one later event into the state.
///
/// # Errors
/// [`Corrupt`] when the event does not follow; the state must not be used any more then.
pub fn apply(state: &mut RunState, stamped: &Stamped) -> Result<(), Corrupt> {
    let mut folding = Folding { state, at_ms: stamped.at_ms };
    folding.event(&stamped.event)?;
    state.head.seq += 1;
    state.head.last_ms = stamped.at_ms;
    Ok(())
}

struct Folding<'a> {
    state: &'a mut RunState,
    at_ms: u64,
}

impl Folding<'_> {
    fn event(&mut self, event: &Event) -> Result<(), Corrupt> {
        if self.state.head.end.is_some() {
            return Err(self.corrupt("the run has ended"));
        }
        match event {
            Event::RunAccepted { .. } => Err(Corrupt::Beginning),
            Event::RunResumed { unclean: _, budget_microdollars } => {
                self.state.head.resumed += 1;
                if budget_microdollars.is_some() {
                    self.state.head.origin.budget_microdollars = *budget_microdollars;
                }
                Ok(())
            }
            Event::StepOpened { step, items, ladder } => {
                let StepPhase::Pending = self.step(*step)?.phase else {
                    return Err(self.corrupt("the step was not pending"));
                };
                if !self.state.fits(*step, items) {
                    return Err(self.corrupt("the items are not the step's"));
                }
                let is_watched = ladder.asks_models() && self.state.step(*step).for_each.is_some();
                self.state.steps[*step as usize].hold = is_watched.then(Hold::default);
                self.change_step(*step, StepPhase::Open { items: items.clone(), ladder: ladder.clone() });
                Ok(())
            }
            Event::StepStopped { step, failure } => {
                self.open_step(*step)?.stopped = Some(failure.clone());
                Ok(())
            }
            Event::StepJudged { step, verdict } => {
                self.open_step(*step)?.judged = Some(verdict.clone());
                Ok(())
            }
            Event::StepEnded { step, end } => {
                let items = match &self.step(*step)?.phase {
                    StepPhase::Ended { .. } => return Err(self.corrupt("the step had ended")),
                    other => other.items().cloned(),
                };
                if let Some(ask) = self.state.steps[*step as usize].hold.as_mut().and_then(|hold| hold.ask.take()) {
                    self.state.head.asks.remove(&ask);
                }
                self.change_step(*step, StepPhase::Ended { end: end.clone(), items });
                Ok(())
            }
            Event::AttemptStarted { task, attempt, rung, repeat, key, identity } => {
                self.start(*task, *attempt, rung, key, |task, at_ms| {
                    task.identity = *identity;
                    task.phase = TaskPhase::Running { repeat: *repeat, since_ms: at_ms };
                    task.begins(rung, at_ms);
                })
            }
            Event::TurnTaken { task, attempt, request, reply, usage } => {
                let current = self.task_mut(*task)?;
                let is_its = current.attempts == *attempt;
                match current.phase {
                    TaskPhase::Running { .. } | TaskPhase::Judging { .. } if is_its => {
                        current.turns.push(TurnRecord { request: *request, reply: reply.clone() });
                        current.takes_turn(usage);
                        self.add_usage(usage);
                        Ok(())
                    }
                    _ => Err(self.corrupt("the attempt was not open")),
                }
            }
            Event::CallStarted { task, attempt, call, tool, repeat } => {
                self.running(*task, *attempt)?;
                let (call, tool) = (call.clone(), tool.clone());
                self.task_mut(*task)?.calls.push(CallRecord { call, tool, repeat: *repeat, result: None });
                Ok(())
            }
            Event::CallEnded { task, attempt, call, succeeded, result } => {
                self.running(*task, *attempt)?;
                let current = self.task_mut(*task)?;
                let open = current.calls.iter().position(|known| known.call == *call && known.result.is_none());
                match open {
                    Some(at) if *succeeded => current.calls[at].result = Some(result.clone()),
                    Some(at) => {
                        current.calls.remove(at);
                    }
                    None => return Err(self.corrupt("the call was not open")),
                }
                Ok(())
            }
            Event::AttemptSucceeded { task, attempt, output, claimed, staged, effects } => {
                self.running(*task, *attempt)?;
                self.task_mut(*task)?.claims(claimed.as_deref(), staged.as_ref(), effects);
                self.judging(*task, output.clone(), staged.clone())
            }
            Event::AttemptFailed { task, attempt, failure } => {
                self.running(*task, *attempt)?;
                self.failed(*task, failure)
            }
            Event::AttemptInterrupted { task, attempt } => {
                self.running(*task, *attempt)?;
                let at_ms = self.at_ms;
                let current = self.task_mut(*task)?;
                current.interruptions += 1;
                current.ends_attempt(None, true, at_ms);
                // Calls that may be made again are made again, with the same key.
                current.calls.retain(|call| call.result.is_some());
                self.change_task(*task, TaskPhase::Pending)
            }
            Event::CallInDoubt { task, attempt, ask, what } => {
                self.running(*task, *attempt)?;
                self.ask(*task, *ask, what, AskKind::InDoubt)?;
                self.change_task(*task, TaskPhase::InDoubt { ask: *ask })
            }
            Event::DoubtAnswered { task, ask, answer, by: _ } => {
                self.answered(*task, *ask, AskKind::InDoubt)?;
                let at_ms = self.at_ms;
                let current = self.task_mut(*task)?;
                let open = current.calls.iter().position(|call| call.result.is_none());
                match (answer, open) {
                    // A call inside an attempt: the attempt goes on from what the person said.
                    (DoubtAnswer::Happened { output }, Some(at)) => current.calls[at].result = Some(output.clone()),
                    (DoubtAnswer::Happened { output }, None) => return self.judging(*task, output.clone(), None),
                    (DoubtAnswer::Again | DoubtAnswer::Skip | DoubtAnswer::Fail, Some(at)) => {
                        current.calls.remove(at);
                    }
                    (DoubtAnswer::Again | DoubtAnswer::Skip | DoubtAnswer::Fail, None) => {}
                }
                self.task_mut(*task)?.ends_attempt(None, true, at_ms);
                self.change_task(*task, TaskPhase::Pending)
            }
            Event::VerdictGiven { task, attempt, verdict } => {
                let current = self.task_mut(*task)?;
                let open = current.attempts == *attempt;
                match &mut current.phase {
                    TaskPhase::Judging { verdicts, .. } if open && verdict.accepted => {
                        verdicts.push(verdict.clone());
                        Ok(())
                    }
                    TaskPhase::Judging { .. } if open => {
                        let failure = rejection(verdict);
                        if let Some(last) = current.tried.last_mut() {
                            last.answers.clone_from(&verdict.answers);
                        }
                        self.failed(*task, &failure)
                    }
                    _ => Err(self.corrupt("the task was not being judged")),
                }
            }
            Event::TaskClimbed { task, from, to, for_server } => {
                let is_held = matches!(self.task_mut(*task)?.phase, TaskPhase::Held { .. });
                if !is_held {
                    self.pending(*task)?;
                }
                let ladder = self.state.ladder(task.step).cloned().unwrap_or_default();
                let at_ms = self.at_ms;
                let current = self.task_mut(*task)?;
                if current.rung != *from {
                    return Err(self.corrupt("the task stood on another rung"));
                }
                current.rung = to.clone();
                let standing = &mut current.standing;
                standing.transient_in_row = 0;
                match to {
                    Rung::Local(_) if standing.local_untried => standing.local_untried = false,
                    Rung::Local(name) => standing.local = ladder.position(standing.local, name),
                    Rung::Paid(_) => standing.paid += 1,
                    Rung::None => {}
                }
                if *for_server && standing.away_since_ms == 0 {
                    standing.away_since_ms = at_ms;
                }
                if is_held { self.change_task(*task, TaskPhase::Pending) } else { Ok(()) }
            }
            Event::TaskHeld { task, to, failure } => {
                self.pending(*task)?;
                let end = HoldEnd::Failed(task.item, failure.clone());
                self.notes_end(task.step, end);
                self.change_task(*task, TaskPhase::Held { to: to.clone(), failure: failure.clone() })
            }
            Event::StepHeld { step, ask, what } => {
                self.open_step(*step)?;
                let Some(hold) = &mut self.state.steps[*step as usize].hold else {
                    return Err(self.corrupt("the step is never held"));
                };
                if hold.ask.replace(*ask).is_some() || hold.over {
                    return Err(self.corrupt("the step was held already"));
                }
                let task = TaskId::new(*step, 0);
                let question =
                    Ask { task, key: String::new(), what: what.clone(), kind: AskKind::Hold, since_ms: self.at_ms };
                match self.state.head.asks.insert(*ask, question) {
                    None => Ok(()),
                    Some(_) => Err(self.corrupt("the question was already asked")),
                }
            }
            Event::HoldAnswered { step, ask, go: _, by: _ } => {
                self.answered(TaskId::new(*step, 0), *ask, AskKind::Hold)?;
                let Some(hold) = &mut self.state.steps[*step as usize].hold else {
                    return Err(self.corrupt("the step is never held"));
                };
                hold.ask = None;
                hold.over = true;
                Ok(())
            }
            Event::TaskRetryAt { task, retry_at_ms, for_server } => {
                self.pending(*task)?;
                let at_ms = self.at_ms;
                let standing = &mut self.task_mut(*task)?.standing;
                if *for_server && standing.away_since_ms == 0 {
                    standing.away_since_ms = at_ms;
                }
                self.change_task(*task, TaskPhase::RetryAt { at_ms: *retry_at_ms })
            }
            Event::TaskAccepted { task } => {
                let TaskPhase::Judging { output, verdicts, staged: Some(staged) } = &mut self.task_mut(*task)?.phase
                else {
                    return Err(self.corrupt("the task was not being judged, or wrote nothing"));
                };
                let (output, verdicts, staged) = (output.clone(), std::mem::take(verdicts), staged.clone());
                self.change_task(*task, TaskPhase::Placing { output, verdicts, staged })
            }
            Event::TaskDone { task } => {
                let at_ms = self.at_ms;
                let current = self.task_mut(*task)?;
                let (TaskPhase::Judging { output, verdicts, staged: None }
                | TaskPhase::Placing { output, verdicts, .. }) = &mut current.phase
                else {
                    return Err(self.corrupt("the task was not being judged"));
                };
                let output = std::mem::replace(output, Payload::Inline(serde_json::Value::Null));
                let verdicts = std::mem::take(verdicts);
                current.ends_attempt(None, false, at_ms);
                current.turns = Vec::new();
                self.notes_end(task.step, HoldEnd::Done);
                self.change_task(*task, TaskPhase::Done { output, verdicts, reused: None })
            }
            Event::TaskReused { task, key, identity, output, from, verdict } => {
                self.start(*task, 0, &Rung::None, key, |task, _| {
                    task.identity = Some(*identity);
                    task.phase = TaskPhase::Done {
                        output: output.clone(),
                        verdicts: vec![verdict.clone()],
                        reused: Some(*from),
                    };
                })
            }
            Event::TaskEnded { task, end } => {
                if let TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure) = end
                    && failure.class() == FailureClass::Wrong
                    && self.task_mut(*task)?.phase == TaskPhase::Pending
                {
                    self.notes_end(task.step, HoldEnd::Failed(task.item, failure.clone()));
                }
                match self.task_mut(*task)?.phase {
                    TaskPhase::InDoubt { ask } | TaskPhase::AwaitsApproval { ask } => {
                        self.state.head.asks.remove(&ask);
                    }
                    TaskPhase::Pending
                    | TaskPhase::RetryAt { .. }
                    | TaskPhase::Held { .. }
                    | TaskPhase::Placing { .. }
                    | TaskPhase::Judging { .. } => {}
                    TaskPhase::Running { .. } | TaskPhase::Done { .. } | TaskPhase::Ended(_) => {
                        return Err(self.corrupt("the task was not pending, waiting or being judged"));
                    }
                }
                let at_ms = self.at_ms;
                let current = self.task_mut(*task)?;
                current.turns = Vec::new();
                if let (TaskPhase::Placing { .. }, TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) =
                    (&current.phase, end)
                {
                    current.ends_attempt(Some(failure), false, at_ms);
                }
                self.change_task(*task, TaskPhase::Ended(end.clone()))
            }
            Event::ApprovalAsked { task, ask, what } => {
                self.pending(*task)?;
                self.ask(*task, *ask, what, AskKind::Approval)?;
                self.change_task(*task, TaskPhase::AwaitsApproval { ask: *ask })
            }
            Event::ApprovalGiven { task, ask, granted: _, by: _ } => {
                self.answered(*task, *ask, AskKind::Approval)?;
                self.change_task(*task, TaskPhase::Pending)
            }
            Event::UsageRecorded { usage, .. } => {
                self.add_usage(usage);
                Ok(())
            }
            Event::CancelAsked { by } => {
                self.state.head.cancelled_by.get_or_insert_with(|| by.clone());
                for step in 0..self.state.steps.len() as StepIndex {
                    self.state.refresh_active(step);
                }
                Ok(())
            }
            Event::RunEnded { end } => {
                if self.state.unended > 0 {
                    return Err(self.corrupt("steps had not ended"));
                }
                self.state.head.end = Some(*end);
                Ok(())
            }
        }
    }

    fn corrupt(&self, what: &str) -> Corrupt {
        Corrupt::DoesNotFollow { seq: self.state.head.seq + 1, what: what.to_owned() }
    }

    fn step(&self, step: StepIndex) -> Result<&StepState, Corrupt> {
        self.state.steps.get(step as usize).ok_or_else(|| self.corrupt("no such step"))
    }

    fn open_step(&mut self, step: StepIndex) -> Result<&mut StepState, Corrupt> {
        let StepPhase::Open { .. } = self.step(step)?.phase else {
            return Err(self.corrupt("the step was not open"));
        };
        Ok(&mut self.state.steps[step as usize])
    }

    /// Moves a step and everything that hangs on it.
    fn change_step(&mut self, step: StepIndex, phase: StepPhase) {
        let state = &mut *self.state;
        let before = std::mem::replace(&mut state.steps[step as usize].phase, phase);
        let after = state.steps[step as usize].phase.clone();
        match &after {
            StepPhase::Pending => {}
            StepPhase::Open { items, .. } => {
                state.steps[step as usize].opened_ms = self.at_ms;
                if let Items::Flow { from } = items {
                    let arrived = state.arrived(*from, step);
                    state.live[step as usize].ready.extend(arrived);
                }
            }
            StepPhase::Ended { .. } => {
                state.steps[step as usize].ended_ms = self.at_ms;
                state.unended -= 1;
                let live = &mut state.live[step as usize];
                *live = Live { blockers: live.blockers, ..Live::default() };
            }
        }
        let dependents: Vec<_> = state.plan.needed_by(step).collect();
        for (dependent, part) in dependents {
            if !RunState::lets_open(&before, part) && RunState::lets_open(&after, part) {
                state.live[dependent as usize].blockers -= 1;
            }
            state.refresh_active(dependent);
        }
        state.refresh_active(step);
    }

    fn task_mut(&mut self, task: TaskId) -> Result<&mut Task, Corrupt> {
        if !self.state.tasks.contains_key(&task) {
            return Err(self.corrupt("no such task"));
        }
        Ok(self.state.tasks.get_mut(&task).expect("it was found above"))
    }

    fn pending(&mut self, task: TaskId) -> Result<(), Corrupt> {
        match self.task_mut(task)?.phase {
            TaskPhase::Pending => Ok(()),
            _ => Err(self.corrupt("the task was not pending")),
        }
    }

    fn running(&mut self, task: TaskId, attempt: u32) -> Result<(), Corrupt> {
        let current = self.task_mut(task)?;
        match current.phase {
            TaskPhase::Running { .. } if current.attempts == attempt => Ok(()),
            _ => Err(self.corrupt("the attempt was not open")),
        }
    }

    /// A task begins an attempt (`attempt` > 0) or is taken over (0).
    fn start(
        &mut self,
        id: TaskId,
        attempt: u32,
        rung: &Rung,
        key: &str,
        set: impl FnOnce(&mut Task, u64),
    ) -> Result<(), Corrupt> {
        self.open_step(id.step)?;
        let at_ms = self.at_ms;
        let known = self.state.tasks.remove(&id);
        let counts = &mut self.state.steps[id.step as usize].counts;
        let mut task = match known {
            None => Task {
                key: key.to_owned(),
                identity: None,
                phase: TaskPhase::Pending,
                attempts: 0,
                standing: Standing {
                    paid: u32::from(matches!(rung, Rung::Paid(_))),
                    local_untried: matches!(rung, Rung::Paid(_)),
                    ..Standing::default()
                },
                rung: rung.clone(),
                interruptions: 0,
                complaints: Vec::new(),
                turns: Vec::new(),
                calls: Vec::new(),
                tried: Vec::new(),
            },
            Some(task) if matches!(task.phase, TaskPhase::Pending | TaskPhase::RetryAt { .. }) => {
                counts.shift(&task.phase, false);
                task
            }
            Some(_) => return Err(self.corrupt("the task was not pending")),
        };
        if attempt > 0 {
            if task.attempts + 1 != attempt {
                return Err(self.corrupt("the attempt has the wrong number"));
            }
            task.attempts = attempt;
        }
        set(&mut task, at_ms);
        self.state.tasks.insert(id, task);
        self.settle(id);
        Ok(())
    }

    fn judging(&mut self, task: TaskId, output: Payload, staged: Option<Payload>) -> Result<(), Corrupt> {
        let current = self.task_mut(task)?;
        current.interruptions = 0;
        current.standing.away_since_ms = 0;
        self.change_task(task, TaskPhase::Judging { output, verdicts: Vec::new(), staged })
    }

    fn add_usage(&mut self, usage: &Usage) {
        let total = &mut self.state.head.usage;
        total.input_tokens = total.input_tokens.saturating_add(usage.input_tokens);
        total.output_tokens = total.output_tokens.saturating_add(usage.output_tokens);
        total.cost_microdollars = total.cost_microdollars.saturating_add(usage.cost_microdollars);
    }

    /// One of the first ends of a step that may be held.
    fn notes_end(&mut self, step: StepIndex, end: HoldEnd) {
        if let Some(hold) = &mut self.state.steps[step as usize].hold {
            hold.push(end);
        }
    }

    fn failed(&mut self, task: TaskId, failure: &Failure) -> Result<(), Corrupt> {
        let at_ms = self.at_ms;
        let current = self.task_mut(task)?;
        current.interruptions = 0;
        current.standing = count(current.standing, failure);
        current.ends_attempt(Some(failure), false, at_ms);
        if failure.class() != FailureClass::Transient {
            // What passes by itself is gone on from, what was wrong is asked anew.
            current.turns = Vec::new();
        }
        current.calls.retain(|call| call.result.is_some());
        if failure.class() == FailureClass::Wrong {
            current.complaints.push(failure.message.clone());
            if current.complaints.len() > COMPLAINTS_MAX {
                current.complaints.remove(0);
            }
        }
        self.change_task(task, TaskPhase::Pending)
    }

    fn ask(&mut self, task: TaskId, ask: AskId, what: &str, kind: AskKind) -> Result<(), Corrupt> {
        let key = self.task_mut(task)?.key.clone();
        let question = Ask { task, key, what: what.to_owned(), kind, since_ms: self.at_ms };
        match self.state.head.asks.insert(ask, question) {
            None => Ok(()),
            Some(_) => Err(self.corrupt("the question was already asked")),
        }
    }

    fn answered(&mut self, task: TaskId, ask: AskId, kind: AskKind) -> Result<(), Corrupt> {
        match self.state.head.asks.remove(&ask) {
            Some(question) if question.task == task && question.kind == kind => Ok(()),
            _ => Err(self.corrupt("no such question")),
        }
    }

    fn change_task(&mut self, id: TaskId, phase: TaskPhase) -> Result<(), Corrupt> {
        let before = std::mem::replace(&mut self.task_mut(id)?.phase, phase);
        self.state.steps[id.step as usize].counts.shift(&before, false);
        self.settle(id);
        Ok(())
    }

    /// Keeps counts and what is due in step with a task whose phase is new.
    fn settle(&mut self, id: TaskId) {
        let state = &mut *self.state;
        let phase = &state.tasks[&id].phase;
        let live = &mut state.live[id.step as usize];
        live.place(id.item, phase);
        state.steps[id.step as usize].counts.shift(phase, true);
        let is_done = matches!(phase, TaskPhase::Done { .. });
        if !matches!(state.steps[id.step as usize].phase.items(), Some(Items::Flow { .. }) | None) {
            while state.tasks.contains_key(&TaskId::new(id.step, live.next)) {
                live.next += 1;
            }
        }
        if is_done {
            for (dependent, _) in state.plan.needed_by(id.step) {
                let flows = matches!(
                    &state.steps[dependent as usize].phase,
                    StepPhase::Open { items: Items::Flow { from }, .. } if *from == id.step
                );
                if flows && !state.tasks.contains_key(&TaskId::new(dependent, id.item)) {
                    state.live[dependent as usize].ready.insert(id.item);
                }
            }
        }
    }
}

/// The standing after one more failure.
pub(super) fn count(mut standing: Standing, failure: &Failure) -> Standing {
    match failure.class() {
        // Nothing was asked, so nothing was tried in vain.
        _ if failure.kind == FailureKind::Limited => standing.limited = true,
        FailureClass::Transient => standing.transient_in_row += 1,
        FailureClass::Wrong => {
            standing.failures += 1;
            standing.transient_in_row = 0;
            standing.away_since_ms = 0;
        }
        FailureClass::Permanent | FailureClass::Refused => {}
    }
    standing
}

/// The failure that a rejecting verdict is.
pub(super) fn rejection(verdict: &crate::domain::verdict::Verdict) -> Failure {
    use crate::domain::verdict::Judge;
    let kind = verdict.kind.unwrap_or(match verdict.by {
        Judge::Checks => FailureKind::Check,
        Judge::Agreement => FailureKind::Disagreement,
        Judge::Validator(_) => FailureKind::Rejected,
    });
    let complaint = verdict.complaint.clone();
    Failure::new(kind, complaint.unwrap_or_else(|| "the output was rejected without a complaint".to_owned()))
        .of_check(verdict.check.clone())
}
