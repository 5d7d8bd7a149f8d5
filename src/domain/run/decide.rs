//! Turns a command into the events that it causes, or refuses it. All rules of a run are here and in `ladder`.

use super::apply::{count, rejection};
use super::due::{closes, starts_tasks};
use super::hold::Outlook;
use super::{AskKind, RunState, StepPhase, Task, TaskPhase};
use crate::domain::command::{AttemptEnd, Command, Refusal};
use crate::domain::event::{DoubtAnswer, Event, Origin, RunEnd, StepEnd, TaskEnd};
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::domain::ids::{AskId, RunId, StepIndex, TaskId};
use crate::domain::ladder::{Ladder, Next, Outside, Rung};
use crate::domain::payload::Items;
use crate::domain::plan::{OnError, Plan, RepeatClass};
use crate::domain::verdict::Verdict;

/// The first event of a run.
#[must_use]
pub fn accept(run: RunId, plan: &Plan, inputs: serde_json::Map<String, serde_json::Value>, origin: Origin) -> Event {
    Event::RunAccepted { run, plan: Box::new(plan.raw().clone()), inputs, origin }
}

/// Decides what a command causes. Looks at nothing but its arguments; `now_ms` is the time of the command.
///
/// # Errors
/// [`Refusal`]: nothing changes, the caller is told.
pub fn decide(state: &RunState, command: Command, now_ms: u64) -> Result<Vec<Event>, Refusal> {
    if state.head.end.is_some() {
        return Err(Refusal::RunEnded);
    }
    match command {
        Command::Resume { unclean, budget_microdollars } => {
            Ok(vec![Event::RunResumed { unclean, budget_microdollars }])
        }
        Command::OpenStep { step, items, ladder } => {
            pending_step(state, step)?;
            not_cancelled(state)?;
            if state.live[step as usize].blockers > 0 {
                return Err(Refusal::StepState { step, state: "waiting for other steps" });
            }
            if state.bad_need(step).is_some() {
                return Err(Refusal::StepState { step, state: "without what it needs" });
            }
            if !state.fits(step, &items) {
                return Err(Refusal::Items(step));
            }
            Ok(vec![Event::StepOpened { step, items, ladder }])
        }
        Command::SkipStep { step, reason, for_failure } => {
            pending_step(state, step)?;
            Ok(vec![Event::StepEnded { step, end: StepEnd::Skipped { reason, for_failure } }])
        }
        Command::FailStep { step, failure } => {
            pending_step(state, step)?;
            Ok(vec![Event::StepEnded { step, end: StepEnd::Failed(failure) }])
        }
        Command::CloseStep { step } => close_step(state, step),
        Command::JudgeStep { step, verdict } => {
            let items = open_step(state, step)?.0;
            if !closes(state, step, items) {
                return Err(Refusal::StillWorking(step));
            }
            if state.steps[step as usize].judged.is_some() {
                return Err(Refusal::Verdict("the step was judged already"));
            }
            Ok(vec![Event::StepJudged { step, verdict }])
        }
        Command::StartAttempt { task, key, identity, repeat } => {
            let (record, ladder) = startable(state, task, now_ms)?;
            let rung = record.map_or_else(|| ladder.first(), |known| known.rung.clone());
            let attempt = record.map_or(0, |known| known.attempts) + 1;
            Ok(vec![Event::AttemptStarted { task, attempt, rung, repeat, key, identity }])
        }
        Command::ReuseOutput { task, key, identity, output, from, verdict } => {
            startable(state, task, now_ms)?;
            if !verdict.accepted {
                return Err(Refusal::Verdict("a rejected output is not reused"));
            }
            Ok(vec![Event::TaskReused { task, key, identity, output, from, verdict }])
        }
        Command::EndAttempt { task, attempt, end, ask, away } => {
            end_attempt(state, task, attempt, end, ask, &Moment { now_ms, away: &away })
        }
        Command::TakeTurn { task, attempt, request, reply, usage } => {
            let record = task_of(state, task)?;
            match record.phase {
                TaskPhase::Running { .. } | TaskPhase::Judging { .. } if record.attempts == attempt => {
                    Ok(vec![Event::TurnTaken { task, attempt, request, reply, usage }])
                }
                _ => Err(Refusal::NotOpen { task, attempt }),
            }
        }
        Command::StartCall { task, attempt, call, tool, repeat } => {
            let record = running(state, task, attempt)?;
            if record.open_call().is_some() {
                return Err(Refusal::TaskState { task, state: "in the middle of a call" });
            }
            Ok(vec![Event::CallStarted { task, attempt, call, tool, repeat }])
        }
        Command::EndCall { task, attempt, call, succeeded, result } => {
            let record = running(state, task, attempt)?;
            if record.open_call().is_none_or(|open| open.call != call) {
                return Err(Refusal::TaskState { task, state: "in no such call" });
            }
            Ok(vec![Event::CallEnded { task, attempt, call, succeeded, result }])
        }
        Command::Judge { task, attempt, verdict, away } => {
            judge(state, task, attempt, verdict, &Moment { now_ms, away: &away })
        }
        Command::EndPlacing { task, failure } => {
            let record = task_of(state, task)?;
            if !matches!(record.phase, TaskPhase::Placing { .. }) {
                return Err(Refusal::TaskState { task, state: record.phase.word() });
            }
            Ok(match failure {
                None => vec![Event::TaskDone { task }],
                Some(failure) => ends(state, task, failure),
            })
        }
        Command::HoldStep { step, ask } => {
            open_step(state, step)?;
            new_ask(state, ask)?;
            if state.outlook(step) != Outlook::Alike {
                return Err(Refusal::StepState { step, state: "not to be held" });
            }
            Ok(vec![Event::StepHeld { step, ask, what: state.hold_question(step) }])
        }
        Command::ReleaseHeld { step } => {
            open_step(state, step)?;
            if state.outlook(step) != Outlook::Never {
                return Err(Refusal::StepState { step, state: "not decided" });
            }
            Ok(released(state, step))
        }
        Command::AnswerHold { ask, go, by } => {
            let step = asked(state, ask, AskKind::Hold)?.step;
            let mut events = vec![Event::HoldAnswered { step, ask, go, by: by.clone() }];
            if go {
                events.extend(released(state, step));
            } else {
                let failures = state.held(step);
                let failure =
                    Failure::new(FailureKind::Refused, format!("{by} stopped the step: its items fail alike"));
                events.push(Event::StepStopped { step, failure });
                for (item, _, failure) in failures {
                    let end = task_end(state, step, failure);
                    events.push(Event::TaskEnded { task: TaskId::new(step, item), end });
                }
            }
            Ok(events)
        }
        Command::Answer { ask, answer, by } => answer_doubt(state, ask, answer, by),
        Command::AskApproval { task, ask, what } => {
            let record = task_of(state, task)?;
            if record.phase != TaskPhase::Pending {
                return Err(Refusal::TaskState { task, state: record.phase.word() });
            }
            new_ask(state, ask)?;
            Ok(vec![Event::ApprovalAsked { task, ask, what }])
        }
        Command::Approve { ask, granted, by } => {
            let task = asked(state, ask, AskKind::Approval)?;
            let mut events = vec![Event::ApprovalGiven { task, ask, granted, by }];
            if !granted {
                events.extend(ends(state, task, Failure::new(FailureKind::Refused, "a person said no")));
            }
            Ok(events)
        }
        Command::RecordUsage { task, attempt, usage } => {
            task_of(state, task)?;
            Ok(vec![Event::UsageRecorded { task, attempt, usage }])
        }
        Command::Cancel { by } => match state.head.cancelled_by {
            Some(_) => Ok(Vec::new()),
            None => Ok(vec![Event::CancelAsked { by }]),
        },
        Command::EndRun => end_run(state),
    }
}

fn pending_step(state: &RunState, step: StepIndex) -> Result<(), Refusal> {
    let found = state.steps.get(step as usize).ok_or(Refusal::UnknownStep(step))?;
    match found.phase {
        StepPhase::Pending => Ok(()),
        _ => Err(Refusal::StepState { step, state: found.phase.word() }),
    }
}

fn open_step(state: &RunState, step: StepIndex) -> Result<(&Items, &Ladder), Refusal> {
    let found = state.steps.get(step as usize).ok_or(Refusal::UnknownStep(step))?;
    match &found.phase {
        StepPhase::Open { items, ladder } => Ok((items, ladder)),
        other => Err(Refusal::StepState { step, state: other.word() }),
    }
}

const fn not_cancelled(state: &RunState) -> Result<(), Refusal> {
    if state.head.cancelled_by.is_some() { Err(Refusal::BeingCancelled) } else { Ok(()) }
}

/// What `decide` is told of the world beside the command.
#[derive(Clone, Copy)]
struct Moment<'a> {
    now_ms: u64,
    /// Local rungs that do not answer now.
    away: &'a [String],
}

/// What was held goes on to the rungs that it would have climbed to.
fn released(state: &RunState, step: StepIndex) -> Vec<Event> {
    let climb = |(item, to, _)| {
        let task = TaskId::new(step, item);
        Event::TaskClimbed { task, from: state.tasks[&task].rung.clone(), to, for_server: false }
    };
    state.held(step).into_iter().map(climb).collect()
}

/// A task with this attempt open.
fn running(state: &RunState, task: TaskId, attempt: u32) -> Result<&Task, Refusal> {
    let record = task_of(state, task)?;
    match record.phase {
        TaskPhase::Running { .. } if record.attempts == attempt => Ok(record),
        _ => Err(Refusal::NotOpen { task, attempt }),
    }
}

fn task_of(state: &RunState, task: TaskId) -> Result<&Task, Refusal> {
    state.tasks.get(&task).ok_or(Refusal::TaskState { task, state: "not there" })
}

/// Whether the limit that a task waits for may have freed, whatever the task itself was told.
fn looks_again(state: &RunState, record: Option<&Task>, now_ms: u64) -> bool {
    state.head.limited_until_ms <= now_ms && record.is_some_and(Task::waits_for_limit)
}

/// The task may begin an attempt now; gives its record, if it has one, and its ladder.
fn startable(state: &RunState, task: TaskId, now_ms: u64) -> Result<(Option<&Task>, &Ladder), Refusal> {
    let (items, ladder) = open_step(state, task.step)?;
    not_cancelled(state)?;
    if !starts_tasks(state, task.step, items) {
        return Err(Refusal::StepState { step: task.step, state: "stopped" });
    }
    if state.is_held(task.step) {
        return Err(Refusal::StepState { step: task.step, state: "held" });
    }
    let record = state.tasks.get(&task);
    match record.map(|known| &known.phase) {
        Some(TaskPhase::Pending) => {}
        Some(TaskPhase::RetryAt { at_ms }) if *at_ms <= now_ms => {}
        Some(TaskPhase::RetryAt { .. }) if looks_again(state, record, now_ms) => {}
        Some(phase) => return Err(Refusal::TaskState { task, state: phase.word() }),
        None => {
            let exists = match items {
                Items::Flow { from } => state
                    .tasks
                    .get(&TaskId::new(*from, task.item))
                    .is_some_and(|source| matches!(source.phase, TaskPhase::Done { .. })),
                Items::One | Items::Range { .. } | Items::List { .. } => Some(task.item) < state.list_len(task.step),
            };
            if !exists {
                return Err(Refusal::TaskState { task, state: "not there" });
            }
            if state.hold_room(task.step) == 0 {
                return Err(Refusal::StepState { step: task.step, state: "not to begin more items for now" });
            }
        }
    }
    let limit = state.step(task.step).max_parallel;
    let live = &state.live[task.step as usize];
    if live.running.len() + live.judging.len() >= limit as usize {
        return Err(Refusal::NoRoom { step: task.step, limit });
    }
    Ok((record, ladder))
}

fn end_attempt(
    state: &RunState,
    task: TaskId,
    attempt: u32,
    end: AttemptEnd,
    ask: AskId,
    moment: &Moment<'_>,
) -> Result<Vec<Event>, Refusal> {
    let not_open = Refusal::NotOpen { task, attempt };
    let record = state.tasks.get(&task).ok_or_else(|| not_open.clone())?;
    let TaskPhase::Running { repeat, .. } = record.phase else { return Err(not_open) };
    if record.attempts != attempt {
        return Err(not_open);
    }
    match end {
        AttemptEnd::Output(output) => Ok(vec![Event::AttemptSucceeded {
            task,
            attempt,
            output,
            claimed: None,
            staged: None,
            effects: Vec::new(),
        }]),
        AttemptEnd::Made { output, claimed, staged, effects } => {
            Ok(vec![Event::AttemptSucceeded { task, attempt, output, claimed, staged, effects }])
        }
        AttemptEnd::Failed(failure) => Ok(failed(state, task, attempt, failure, moment)),
        // An attempt that asks models is in doubt only about the call that it was making.
        AttemptEnd::Unknown { what, failure } => match (record.open_call().map_or(repeat, |call| call.repeat), failure)
        {
            (RepeatClass::Unsafe, _) => {
                new_ask(state, ask)?;
                Ok(vec![Event::CallInDoubt { task, attempt, ask, what }])
            }
            (_, Some(failure)) => Ok(failed(state, task, attempt, failure, moment)),
            (_, None) => Ok(vec![Event::AttemptInterrupted { task, attempt }]),
        },
    }
}

fn failed(state: &RunState, task: TaskId, attempt: u32, failure: Failure, moment: &Moment<'_>) -> Vec<Event> {
    let mut events = vec![Event::AttemptFailed { task, attempt, failure: failure.clone() }];
    events.extend(after_failure(state, task, failure, moment));
    events
}

/// What follows a failure that the task's record does not count yet.
fn after_failure(state: &RunState, task: TaskId, failure: Failure, moment: &Moment<'_>) -> Vec<Event> {
    let record = &state.tasks[&task];
    let StepPhase::Open { ladder, .. } = &state.steps[task.step as usize].phase else {
        return ends(state, task, failure);
    };
    let standing = count(record.standing, &failure);
    let retry_at = |wait_ms, for_server| Event::TaskRetryAt {
        task,
        retry_at_ms: moment.now_ms.saturating_add(wait_ms),
        for_server,
    };
    let outside = Outside { retry: &state.step(task.step).retry, away: moment.away, now_ms: moment.now_ms };
    match ladder.next(&record.rung, standing, &failure, &outside) {
        _ if state.head.cancelled_by.is_some() => Vec::new(),
        Next::RetryAfter { wait_ms } => vec![retry_at(wait_ms, false)],
        Next::AwaitServer { wait_ms } => vec![retry_at(wait_ms, true)],
        Next::Try(to @ Rung::Paid(_)) if may_be_held(state, task.step) => vec![Event::TaskHeld { task, to, failure }],
        Next::Try(to) => {
            let for_server = failure.class() == FailureClass::Transient;
            vec![Event::TaskClimbed { task, from: record.rung.clone(), to, for_server }]
        }
        Next::Fail => ends(state, task, failure),
    }
}

/// Whether its step is wrong is not decided, and nobody said to go on all the same.
fn may_be_held(state: &RunState, step: StepIndex) -> bool {
    state.outlook(step) != Outlook::Never
}

fn task_end(state: &RunState, step: StepIndex, failure: Failure) -> TaskEnd {
    match state.step(step).on_error {
        OnError::Quarantine => TaskEnd::Quarantined(failure),
        OnError::Stop | OnError::Continue => TaskEnd::Failed(failure),
    }
}

/// The end of a failed task, and of its step's beginning of new tasks where that follows.
fn ends(state: &RunState, task: TaskId, failure: Failure) -> Vec<Event> {
    let step = state.step(task.step);
    let failure = Failure { unasked: unasked(state, task, &failure), ..failure };
    let end = task_end(state, task.step, failure.clone());
    let mut events = vec![Event::TaskEnded { task, end }];
    if state.steps[task.step as usize].stopped.is_some() {
        return events;
    }
    match step.on_error {
        OnError::Stop => events.push(Event::StepStopped { step: task.step, failure }),
        OnError::Continue => {}
        OnError::Quarantine => {
            let counts = state.steps[task.step as usize].counts;
            let counted = counts.quarantined - counts.unworkable + u32::from(failure.kind != FailureKind::Unworkable);
            if let Some(limit) = tolerated(state, task.step)
                && u64::from(counted) > limit
            {
                let message =
                    format!("{counted} items are set aside, {limit} are tolerated; the last: {}", failure.message);
                events.push(Event::StepStopped { step: task.step, failure: Failure::new(failure.kind, message) });
            }
        }
    }
    events
}

/// Why no paid model was asked for a task that ends now; `None`: one was, or none was to be asked.
fn unasked(state: &RunState, task: TaskId, failure: &Failure) -> Option<String> {
    let ladder = state.ladder(task.step).filter(|ladder| ladder.asks_models())?;
    let record = state.tasks.get(&task)?;
    let has_asked = record.tried.iter().any(|tried| {
        // The latest attempt has not ended for the record yet.
        let why = tried.failure.as_ref().or_else(|| (tried.attempt == record.attempts).then_some(failure));
        let is_limited = why.is_some_and(|failure| failure.kind == FailureKind::Limited);
        matches!(tried.rung, Rung::Paid(_)) && (tried.turns > 0 || !is_limited)
    });
    if has_asked {
        return None;
    }
    Some(match (&ladder.unpaid, failure.class()) {
        (Some(why), _) => why.to_string(),
        (None, _) if ladder.paid.is_empty() => return None,
        (None, _) if failure.kind == FailureKind::Limited || record.standing.limited => {
            "a limit of paid calls was reached".to_owned()
        }
        (None, FailureClass::Permanent) => "no model can mend this".to_owned(),
        (None, FailureClass::Refused) => "it was refused".to_owned(),
        (None, FailureClass::Transient) => "what is away or missing sends nothing to Claude".to_owned(),
        (None, FailureClass::Wrong) => return None,
    })
}

/// How many items may be set aside; `None`: any number.
fn tolerated(state: &RunState, step: StepIndex) -> Option<u64> {
    let tolerate = state.step(step).tolerate?;
    Some(tolerate.limit(u64::from(state.list_len(step)?)))
}

fn judge(
    state: &RunState,
    task: TaskId,
    attempt: u32,
    verdict: Verdict,
    moment: &Moment<'_>,
) -> Result<Vec<Event>, Refusal> {
    let record = task_of(state, task)?;
    let TaskPhase::Judging { verdicts, staged, .. } = &record.phase else {
        return Err(Refusal::TaskState { task, state: record.phase.word() });
    };
    if record.attempts != attempt {
        return Err(Refusal::NotOpen { task, attempt });
    }
    let judges = state.judges(task.step);
    if !judges.contains(&verdict.by) {
        return Err(Refusal::Verdict("the step names no such judge"));
    }
    if verdicts.iter().any(|given| given.by == verdict.by) {
        return Err(Refusal::Verdict("this judge has spoken"));
    }
    let mut events = vec![Event::VerdictGiven { task, attempt, verdict: verdict.clone() }];
    if !verdict.accepted {
        events.extend(after_failure(state, task, rejection(&verdict), moment));
    } else if verdicts.len() + 1 == judges.len() {
        events.push(if staged.is_some() { Event::TaskAccepted { task } } else { Event::TaskDone { task } });
    }
    Ok(events)
}

fn new_ask(state: &RunState, ask: AskId) -> Result<(), Refusal> {
    if state.head.asks.contains_key(&ask) { Err(Refusal::AskTaken(ask)) } else { Ok(()) }
}

fn asked(state: &RunState, ask: AskId, kind: AskKind) -> Result<TaskId, Refusal> {
    match state.head.asks.get(&ask) {
        Some(question) if question.kind == kind => Ok(question.task),
        _ => Err(Refusal::NoSuchAsk(ask)),
    }
}

fn answer_doubt(state: &RunState, ask: AskId, answer: DoubtAnswer, by: String) -> Result<Vec<Event>, Refusal> {
    let task = asked(state, ask, AskKind::InDoubt)?;
    let follows = match &answer {
        DoubtAnswer::Happened { .. } | DoubtAnswer::Again => Vec::new(),
        DoubtAnswer::Skip => vec![Event::TaskEnded { task, end: TaskEnd::Skipped }],
        DoubtAnswer::Fail => {
            ends(state, task, Failure::new(FailureKind::Refused, format!("{by} counted the call in doubt as failed")))
        }
    };
    let mut events = vec![Event::DoubtAnswered { task, ask, answer, by }];
    events.extend(follows);
    Ok(events)
}

fn close_step(state: &RunState, step: StepIndex) -> Result<Vec<Event>, Refusal> {
    let found = state.steps.get(step as usize).ok_or(Refusal::UnknownStep(step))?;
    match &found.phase {
        StepPhase::Ended { .. } => Err(Refusal::StepState { step, state: found.phase.word() }),
        StepPhase::Pending if state.head.cancelled_by.is_some() => {
            Ok(vec![Event::StepEnded { step, end: StepEnd::Cancelled }])
        }
        StepPhase::Pending => Err(Refusal::StepState { step, state: "pending" }),
        StepPhase::Open { items, .. } if !closes(state, step, items) => Err(Refusal::StillWorking(step)),
        StepPhase::Open { .. } => {
            let mut events = Vec::new();
            // Tasks that could still have been tried go with the step, so that every known task has an end.
            for (item, task) in state.tasks_of(step).filter(|(_, task)| !task.phase.is_terminal()) {
                let end = match (&found.stopped, &task.phase) {
                    (Some(_), TaskPhase::Held { failure, .. }) if state.head.cancelled_by.is_none() => {
                        task_end(state, step, failure.clone())
                    }
                    (Some(_), _) if state.head.cancelled_by.is_none() => TaskEnd::Skipped,
                    _ => TaskEnd::Cancelled,
                };
                debug_assert!(!matches!(task.phase, TaskPhase::Running { .. }), "a step with open attempts closes");
                events.push(Event::TaskEnded { task: TaskId::new(step, item), end });
            }
            events.push(Event::StepEnded { step, end: would_end(state, step) });
            Ok(events)
        }
    }
}

/// How an open step with nothing left to do ends.
pub(super) fn would_end(state: &RunState, step: StepIndex) -> StepEnd {
    let found = &state.steps[step as usize];
    if state.head.cancelled_by.is_some() {
        return StepEnd::Cancelled;
    }
    if let Some(failure) = &found.stopped {
        return StepEnd::Failed(failure.clone());
    }
    if let StepPhase::Open { items: Items::Flow { from }, .. } = &found.phase
        && state.ended_badly(*from)
    {
        let reason = super::due::needs(state, *from);
        return StepEnd::Skipped { reason, for_failure: true };
    }
    if found.counts.failed > 0 {
        let of = state.list_len(step).unwrap_or(0);
        let first = state.tasks_of(step).find_map(|(_, task)| match &task.phase {
            TaskPhase::Ended(TaskEnd::Failed(failure)) => Some((task.key.clone(), failure.clone())),
            _ => None,
        });
        let (key, failure) = first.expect("a failed task is counted");
        let message = if of <= 1 {
            failure.message.clone()
        } else {
            format!("{} of {of} items failed; the first, `{key}`: {}", found.counts.failed, failure.message)
        };
        return StepEnd::Failed(Failure { hint: failure.hint.clone(), ..Failure::new(failure.kind, message) });
    }
    match &found.judged {
        Some(verdict) if !verdict.accepted => StepEnd::Failed(rejection(verdict)),
        _ => StepEnd::Done,
    }
}

fn end_run(state: &RunState) -> Result<Vec<Event>, Refusal> {
    let unended = state.steps.iter().position(|step| !RunState::is_ended(&step.phase));
    if let Some(step) = unended {
        return Err(Refusal::StillWorking(step as StepIndex));
    }
    let failed = state.steps.iter().any(|step| matches!(step.phase, StepPhase::Ended { end: StepEnd::Failed(_), .. }));
    let set_aside = state.steps.iter().any(|step| step.counts.quarantined > 0);
    let end = if state.head.cancelled_by.is_some() {
        RunEnd::Cancelled
    } else if failed {
        RunEnd::Failed
    } else if set_aside {
        RunEnd::Partial
    } else {
        RunEnd::Complete
    };
    Ok(vec![Event::RunEnded { end }])
}
