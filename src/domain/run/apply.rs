//! Folds one event into the state. It checks and copies; it never chooses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ask, AskKind, COMPLAINTS_MAX, Head, Live, Plan, RunState, StepPhase, StepState, Task, TaskPhase};
use crate::domain::event::{DoubtAnswer, Event, Stamped, Usage};
use crate::domain::failure::{Failure, FailureClass};
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
            Event::RunResumed { .. } => {
                self.state.head.resumed += 1;
                Ok(())
            }
            Event::StepOpened { step, items, ladder } => {
                let StepPhase::Pending = self.step(*step)?.phase else {
                    return Err(self.corrupt("the step was not pending"));
                };
                if !self.state.fits(*step, items) {
                    return Err(self.corrupt("the items are not the step's"));
                }
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
                self.change_step(*step, StepPhase::Ended { end: end.clone(), items });
                Ok(())
            }
            Event::AttemptStarted { task, attempt, rung, repeat, key, identity } => {
                self.start(*task, *attempt, rung, key, |task, at_ms| {
                    task.identity = *identity;
                    task.phase = TaskPhase::Running { repeat: *repeat, since_ms: at_ms };
                })
            }
            Event::AttemptSucceeded { task, attempt, output } => {
                self.running(*task, *attempt)?;
                self.judging(*task, output.clone())
            }
            Event::AttemptFailed { task, attempt, failure } => {
                self.running(*task, *attempt)?;
                self.failed(*task, failure)
            }
            Event::AttemptInterrupted { task, attempt } => {
                self.running(*task, *attempt)?;
                self.task_mut(*task)?.interruptions += 1;
                self.change_task(*task, TaskPhase::Pending)
            }
            Event::CallInDoubt { task, attempt, ask, what } => {
                self.running(*task, *attempt)?;
                self.ask(*task, *ask, what, AskKind::InDoubt)?;
                self.change_task(*task, TaskPhase::InDoubt { ask: *ask })
            }
            Event::DoubtAnswered { task, ask, answer, by: _ } => {
                self.answered(*task, *ask, AskKind::InDoubt)?;
                match answer {
                    DoubtAnswer::Happened { output } => self.judging(*task, output.clone()),
                    DoubtAnswer::Again | DoubtAnswer::Skip | DoubtAnswer::Fail => {
                        self.change_task(*task, TaskPhase::Pending)
                    }
                }
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
                        self.failed(*task, &failure)
                    }
                    _ => Err(self.corrupt("the task was not being judged")),
                }
            }
            Event::TaskClimbed { task, from, to } => {
                self.pending(*task)?;
                let current = self.task_mut(*task)?;
                if current.rung != *from {
                    return Err(self.corrupt("the task stood on another rung"));
                }
                current.rung = to.clone();
                current.standing.transient_in_row = 0;
                match to {
                    Rung::Local(_) => current.standing.local += 1,
                    Rung::Paid(_) => current.standing.paid += 1,
                    Rung::None => {}
                }
                Ok(())
            }
            Event::TaskRetryAt { task, retry_at_ms } => {
                self.pending(*task)?;
                self.change_task(*task, TaskPhase::RetryAt { at_ms: *retry_at_ms })
            }
            Event::TaskDone { task } => {
                let TaskPhase::Judging { output, verdicts } = &mut self.task_mut(*task)?.phase else {
                    return Err(self.corrupt("the task was not being judged"));
                };
                let output = std::mem::replace(output, Payload::Inline(serde_json::Value::Null));
                let verdicts = std::mem::take(verdicts);
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
                match self.task_mut(*task)?.phase {
                    TaskPhase::InDoubt { ask } | TaskPhase::AwaitsApproval { ask } => {
                        self.state.head.asks.remove(&ask);
                    }
                    TaskPhase::Pending | TaskPhase::RetryAt { .. } | TaskPhase::Judging { .. } => {}
                    TaskPhase::Running { .. } | TaskPhase::Done { .. } | TaskPhase::Ended(_) => {
                        return Err(self.corrupt("the task was not pending, waiting or being judged"));
                    }
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
                let total = &mut self.state.head.usage;
                total.input_tokens = total.input_tokens.saturating_add(usage.input_tokens);
                total.output_tokens = total.output_tokens.saturating_add(usage.output_tokens);
                total.cost_microdollars = total.cost_microdollars.saturating_add(usage.cost_microdollars);
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
                standing: Standing { paid: u32::from(matches!(rung, Rung::Paid(_))), ..Standing::default() },
                rung: rung.clone(),
                interruptions: 0,
                complaints: Vec::new(),
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

    fn judging(&mut self, task: TaskId, output: Payload) -> Result<(), Corrupt> {
        self.task_mut(task)?.interruptions = 0;
        self.change_task(task, TaskPhase::Judging { output, verdicts: Vec::new() })
    }

    fn failed(&mut self, task: TaskId, failure: &Failure) -> Result<(), Corrupt> {
        let current = self.task_mut(task)?;
        current.interruptions = 0;
        current.standing = count(current.standing, failure);
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
        FailureClass::Transient => standing.transient_in_row += 1,
        FailureClass::Wrong => {
            standing.failures += 1;
            standing.transient_in_row = 0;
        }
        FailureClass::Permanent | FailureClass::Refused => {}
    }
    standing
}

/// The failure that a rejecting verdict is.
pub(super) fn rejection(verdict: &crate::domain::verdict::Verdict) -> Failure {
    use crate::domain::failure::FailureKind;
    use crate::domain::verdict::Judge;
    let kind = match verdict.by {
        Judge::Checks => FailureKind::Check,
        Judge::Agreement | Judge::Validator(_) => FailureKind::Rejected,
    };
    let complaint = verdict.complaint.clone();
    Failure::new(kind, complaint.unwrap_or_else(|| "the output was rejected without a complaint".to_owned()))
}
