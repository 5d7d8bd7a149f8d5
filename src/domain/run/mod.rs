//! The state of a run and the three functions on it: `decide`, `apply`, `due`.
//!
//! States of a task (people see the words of [`TaskPhase::word`]):
//!
//! | from | to | event |
//! | --- | --- | --- |
//! | (none), pending, waiting for a time | running | `AttemptStarted` |
//! | (none), pending, waiting for a time | done | `TaskReused` |
//! | running | judging | `AttemptSucceeded` |
//! | running | pending | `AttemptFailed`, `AttemptInterrupted` |
//! | running | in doubt | `CallInDoubt` |
//! | in doubt | judging, pending | `DoubtAnswered` |
//! | judging | judging, pending | `VerdictGiven` accepted, rejected |
//! | judging | done | `TaskDone` |
//! | running, judging | the same | `TurnTaken` |
//! | running | running | `CallStarted`, `CallEnded` |
//! | judging | placing | `TaskAccepted` |
//! | placing | done | `TaskDone` |
//! | pending | held | `TaskHeld` |
//! | held | pending on a paid rung | `TaskClimbed` |
//! | pending | waiting for a time | `TaskRetryAt` |
//! | pending | pending on another rung | `TaskClimbed` |
//! | pending | waiting for approval | `ApprovalAsked` |
//! | waiting for approval | pending | `ApprovalGiven` |
//! | pending, waiting, held, judging, placing | failed, quarantined, skipped, cancelled | `TaskEnded` |
//!
//! A test holds this table against `apply`. Once a task is done, failed, quarantined, skipped or cancelled, nothing moves it.

mod apply;
mod decide;
mod due;
mod hold;
mod tried;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use apply::{Corrupt, apply, fold};
pub use decide::{accept, decide};
pub use due::{Due, consequences, due};
pub use hold::{Hold, HoldEnd};
pub use tried::{CallRecord, Tried, TurnRecord};

use super::event::{Origin, RunEnd, StepEnd, TaskEnd, Usage};
use super::failure::{Failure, FailureKind};
use super::ids::{AskId, Digest, ItemIndex, RunId, StepIndex, TaskId};
use super::ladder::{Ladder, Rung, Standing};
use super::payload::{Items, Payload};
use super::plan::{ForEach, Part, Plan, RepeatClass, Step};
use super::verdict::{Judge, Verdict};

/// Complaints that a task keeps for its next attempt.
pub const COMPLAINTS_MAX: usize = 5;

/// What belongs to the run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The run.
    pub run: RunId,
    /// Name of its plan.
    pub plan: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Values of all inputs.
    pub inputs: Map<String, Value>,
    /// When it was accepted.
    pub started_ms: u64,
    /// Time of its last event.
    pub last_ms: u64,
    /// How it ended, when it has.
    pub end: Option<RunEnd>,
    /// Who asked to cancel it.
    pub cancelled_by: Option<String>,
    /// Events folded so far: the number of the last record.
    pub seq: u64,
    /// How often a process took it up again.
    pub resumed: u32,
    /// Open questions.
    pub asks: BTreeMap<AskId, Ask>,
    /// Tokens and money so far.
    pub usage: Usage,
    /// When the limit of paid calls frees at which a task stopped last; 0: none did since a process took the run up. Tasks
    /// that wait for a limit look again then, and not each at the time that it was told itself: or all of them would, each
    /// time that one call is free.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limited_until_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A question that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The task that waits.
    pub task: TaskId,
    /// Name of its item.
    pub key: String,
    /// What is asked.
    pub what: String,
    /// Which answers fit.
    pub kind: AskKind,
    /// Since when.
    pub since_ms: u64,
}

/// Kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    /// `happened`, `again`, `skip` or `fail`.
    InDoubt,
    /// Yes or no.
    Approval,
    /// `go` or `stop`: the items of a step fail alike.
    Hold,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Where it stands.
    pub phase: StepPhase,
    /// How its tasks stand.
    pub counts: Counts,
    /// Nothing new of it starts; why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Failure>,
    /// The verdict of `all_done_when`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Verdict>,
    /// Whether its items fail alike; `None`: it has no ladder or no items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// When it was opened.
    #[serde(default)]
    pub opened_ms: u64,
    /// When it ended.
    #[serde(default)]
    pub ended_ms: u64,
}

/// Where a step stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// It waits for what it needs.
    #[default]
    Pending,
    /// Its tasks run.
    Open {
        /// Its items.
        items: Items,
        /// The ladder of its tasks.
        ladder: Ladder,
    },
    /// It has ended.
    Ended {
        /// How.
        end: StepEnd,
        /// Its items, if it was ever opened.
        items: Option<Items>,
    },
}

impl StepPhase {
    /// The word that people see.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open { .. } => "running",
            Self::Ended { end, .. } => match end {
                StepEnd::Done => "done",
                StepEnd::Failed(_) => "failed",
                StepEnd::Skipped { .. } => "skipped",
                StepEnd::Cancelled => "cancelled",
            },
        }
    }

    /// The items of an open or ended step.
    #[must_use]
    pub const fn items(&self) -> Option<&Items> {
        match self {
            Self::Pending => None,
            Self::Open { items, .. } => Some(items),
            Self::Ended { items, .. } => items.as_ref(),
        }
    }
}

/// Tasks of a step by state. Tasks without a record are the rest of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Pending tasks that have a record (failed or interrupted before, or waiting for a time).
    pub pending: u32,
    /// Running or being judged.
    pub running: u32,
    /// Waiting for a person.
    pub waiting: u32,
    /// Done, reused ones included.
    pub done: u32,
    /// Done with the stored output of an earlier run.
    pub reused: u32,
    /// Failed.
    pub failed: u32,
    /// Set aside.
    pub quarantined: u32,
    /// Those of them that cannot be worked on by their nature.
    pub unworkable: u32,
    /// Left out by a person.
    pub skipped: u32,
    /// Cancelled.
    pub cancelled: u32,
}

impl Counts {
    /// Tasks that have ended.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.done + self.failed + self.quarantined + self.skipped + self.cancelled
    }

    /// Tasks that have a record.
    #[must_use]
    pub const fn known(&self) -> u32 {
        self.ended() + self.pending + self.running + self.waiting
    }

    fn slot(&mut self, phase: &TaskPhase) -> &mut u32 {
        match phase {
            TaskPhase::Pending | TaskPhase::RetryAt { .. } => &mut self.pending,
            TaskPhase::Running { .. } | TaskPhase::Judging { .. } | TaskPhase::Placing { .. } => &mut self.running,
            TaskPhase::InDoubt { .. } | TaskPhase::AwaitsApproval { .. } | TaskPhase::Held { .. } => &mut self.waiting,
            TaskPhase::Done { .. } => &mut self.done,
            TaskPhase::Ended(TaskEnd::Failed(_)) => &mut self.failed,
            TaskPhase::Ended(TaskEnd::Quarantined(_)) => &mut self.quarantined,
            TaskPhase::Ended(TaskEnd::Skipped) => &mut self.skipped,
            TaskPhase::Ended(TaskEnd::Cancelled) => &mut self.cancelled,
        }
    }

    fn shift(&mut self, phase: &TaskPhase, up: bool) {
        let by = |slot: &mut u32| if up { *slot += 1 } else { *slot -= 1 };
        by(self.slot(phase));
        if matches!(phase, TaskPhase::Done { reused: Some(_), .. }) {
            by(&mut self.reused);
        }
        if let TaskPhase::Ended(TaskEnd::Quarantined(failure)) = phase
            && failure.kind == FailureKind::Unworkable
        {
            by(&mut self.unworkable);
        }
    }
}

/// One task that has come into being.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Name of its item for people.
    pub key: String,
    /// Digest of what can change its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Digest>,
    /// Where it stands.
    pub phase: TaskPhase,
    /// Attempts so far.
    #[serde(default)]
    pub attempts: u32,
    /// Failures and rungs so far.
    #[serde(default)]
    pub standing: Standing,
    /// The rung of the running or next attempt.
    #[serde(default)]
    pub rung: Rung,
    /// Attempts lost with their process, in a row.
    #[serde(default)]
    pub interruptions: u32,
    /// What the next attempt is told, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<String>,
    /// Replies that the attempt has so far, kept until it has ended: a resumed one goes on from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<TurnRecord>,
    /// Calls that changed something outside, of all its attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallRecord>,
    /// Its story: one entry an attempt on a rung, and one a failed attempt without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskPhase {
    /// An attempt may start.
    Pending,
    /// An attempt may start from this time on.
    RetryAt {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// An attempt is open.
    Running {
        /// What follows if its outcome stays unknown.
        repeat: RepeatClass,
        /// When it started.
        since_ms: u64,
    },
    /// An output is there, verdicts are not all.
    Judging {
        /// The output.
        output: Payload,
        /// Verdicts so far, all accepting.
        verdicts: Vec<Verdict>,
        /// Files that wait for acceptance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        staged: Option<Payload>,
    },
    /// Accepted; the files that it wrote are on their way into place.
    Placing {
        /// The output.
        output: Payload,
        /// Who accepted it, on what evidence.
        verdicts: Vec<Verdict>,
        /// The files.
        staged: Payload,
    },
    /// It used up its local attempts, and whether its step is wrong is not decided.
    Held {
        /// The paid rung that it would climb to.
        to: Rung,
        /// Its last failure.
        failure: Failure,
    },
    /// An unsafe call's outcome is unknown.
    InDoubt {
        /// The open question.
        ask: AskId,
    },
    /// A person must say yes first.
    AwaitsApproval {
        /// The open question.
        ask: AskId,
    },
    /// Accepted.
    Done {
        /// The output.
        output: Payload,
        /// Who accepted it, on what evidence.
        verdicts: Vec<Verdict>,
        /// The earlier run that made the output.
        reused: Option<RunId>,
    },
    /// Ended without an output.
    Ended(TaskEnd),
}

impl TaskPhase {
    /// The word that people see.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { .. } | Self::Judging { .. } | Self::Placing { .. } => "running",
            Self::RetryAt { .. } | Self::InDoubt { .. } | Self::AwaitsApproval { .. } | Self::Held { .. } => "waiting",
            Self::Done { .. } => "done",
            Self::Ended(end) => match end {
                TaskEnd::Failed(_) => "failed",
                TaskEnd::Quarantined(_) => "quarantined",
                TaskEnd::Skipped => "skipped",
                TaskEnd::Cancelled => "cancelled",
            },
        }
    }

    /// Nothing moves the task any more.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Ended(_))
    }
}

/// What follows from the records of a step's tasks; never stored, kept by `apply` so that `due` costs the same in a
/// run of ten and of a million.
#[derive(Clone, Debug, Default, PartialEq)]
struct Live {
    /// Steps that must still end (or open, where items flow) before this one opens.
    blockers: u32,
    /// Lowest item of a list or range without a record.
    next: ItemIndex,
    /// Items that may start now and are not found by counting from `next`.
    ready: BTreeSet<ItemIndex>,
    /// Items that may start at a time, soonest first.
    retrying: BTreeSet<(u64, ItemIndex)>,
    /// The same by item.
    retry_at: BTreeMap<ItemIndex, u64>,
    /// Items that wait for a limit of paid calls.
    limited: BTreeSet<ItemIndex>,
    /// Items with an open attempt.
    running: BTreeSet<ItemIndex>,
    /// Items whose output waits for verdicts, or whose files are on their way into place.
    judging: BTreeSet<ItemIndex>,
    /// Items that wait for the decision about their step.
    held: BTreeSet<ItemIndex>,
}

impl Live {
    /// Puts an item where its phase belongs, and nowhere else.
    fn place(&mut self, item: ItemIndex, task: &Task) {
        self.ready.remove(&item);
        self.limited.remove(&item);
        self.running.remove(&item);
        self.judging.remove(&item);
        self.held.remove(&item);
        if let Some(at_ms) = self.retry_at.remove(&item) {
            self.retrying.remove(&(at_ms, item));
        }
        match &task.phase {
            TaskPhase::Pending => {
                self.ready.insert(item);
            }
            TaskPhase::RetryAt { .. } if task.waits_for_limit() => {
                self.limited.insert(item);
            }
            TaskPhase::RetryAt { at_ms } => {
                self.retrying.insert((*at_ms, item));
                self.retry_at.insert(item, *at_ms);
            }
            TaskPhase::Running { .. } => {
                self.running.insert(item);
            }
            TaskPhase::Judging { .. } | TaskPhase::Placing { .. } => {
                self.judging.insert(item);
            }
            TaskPhase::Held { .. } => {
                self.held.insert(item);
            }
            TaskPhase::InDoubt { .. }
            | TaskPhase::AwaitsApproval { .. }
            | TaskPhase::Done { .. }
            | TaskPhase::Ended(_) => {}
        }
    }
}

/// The state of one run.
#[derive(Clone, Debug)]
pub struct RunState {
    /// What belongs to the run as a whole.
    pub head: Head,
    /// The plan.
    pub plan: Arc<Plan>,
    /// Steps, by index.
    pub steps: Vec<StepState>,
    /// Tasks that have come into being.
    pub tasks: BTreeMap<TaskId, Task>,
    live: Vec<Live>,
    /// Steps that may have something due.
    active: BTreeSet<StepIndex>,
    unended: u32,
}

impl PartialEq for RunState {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head
            && self.plan.raw() == other.plan.raw()
            && self.steps == other.steps
            && self.tasks == other.tasks
            && self.live == other.live
            && self.active == other.active
            && self.unended == other.unended
    }
}

impl RunState {
    /// Puts a state together from its stored parts and works out the rest.
    #[must_use]
    pub fn assemble(head: Head, plan: Arc<Plan>, steps: Vec<StepState>, tasks: BTreeMap<TaskId, Task>) -> Self {
        let count = plan.steps().len();
        let mut state =
            Self { head, plan, steps, tasks, live: vec![Live::default(); count], active: BTreeSet::new(), unended: 0 };
        state.derive();
        state
    }

    /// The step's definition.
    #[must_use]
    pub fn step(&self, step: StepIndex) -> &Step {
        self.plan.step(step)
    }

    /// Tasks of one step that have come into being.
    pub fn tasks_of(&self, step: StepIndex) -> impl DoubleEndedIterator<Item = (ItemIndex, &Task)> {
        self.tasks.range(TaskId::new(step, 0)..=TaskId::new(step, ItemIndex::MAX)).map(|(id, task)| (id.item, task))
    }

    /// Length of a step's list; for a flow, of the list that it flows from. `None` before it is known.
    #[must_use]
    pub fn list_len(&self, step: StepIndex) -> Option<u32> {
        match self.steps[step as usize].phase.items()? {
            Items::One => Some(1),
            Items::Range { len } | Items::List { len, .. } => Some(*len),
            Items::Flow { from } => self.list_len(*from),
        }
    }

    /// Attempts that are open, over all steps.
    pub fn open_attempts(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.live.iter().enumerate().flat_map(move |(step, live)| {
            live.running.iter().map(move |item| {
                let id = TaskId::new(step as StepIndex, *item);
                (id, &self.tasks[&id])
            })
        })
    }

    /// Whether something waits for a person.
    #[must_use]
    pub fn awaits_person(&self) -> bool {
        !self.head.asks.is_empty()
    }

    /// The judges whose acceptance a task of `step` needs.
    #[must_use]
    pub fn judges(&self, step: StepIndex) -> Vec<Judge> {
        let mut judges = vec![Judge::Checks];
        if self.ladder(step).is_some_and(|ladder| !ladder.seconds.is_empty()) {
            judges.push(Judge::Agreement);
        }
        judges.extend(self.step(step).judge.clone().map(Judge::Validator));
        judges
    }

    /// The ladder of an open step.
    #[must_use]
    pub fn ladder(&self, step: StepIndex) -> Option<&Ladder> {
        match &self.steps[step as usize].phase {
            StepPhase::Open { ladder, .. } => Some(ladder),
            StepPhase::Pending | StepPhase::Ended { .. } => None,
        }
    }

    /// A whole-step need of `step` that ended, but not well.
    fn bad_need(&self, step: StepIndex) -> Option<StepIndex> {
        self.plan.needs(step).map(|(need, _)| need).filter(|need| self.ended_badly(*need)).min()
    }

    /// Whether `items` are of the kind that the step's definition asks for.
    fn fits(&self, step: StepIndex, items: &Items) -> bool {
        match (&self.step(step).for_each, items) {
            (None, Items::One)
            | (Some(ForEach::Range(_)), Items::Range { .. })
            | (Some(ForEach::List(_)), Items::List { .. }) => true,
            (Some(ForEach::Items(source)), Items::Flow { from }) => self.plan.index_of(source) == Some(*from),
            _ => false,
        }
    }

    fn ended_badly(&self, step: StepIndex) -> bool {
        matches!(
            self.steps[step as usize].phase,
            StepPhase::Ended { end: StepEnd::Failed(_) | StepEnd::Skipped { .. } | StepEnd::Cancelled, .. }
        )
    }

    const fn is_ended(phase: &StepPhase) -> bool {
        matches!(phase, StepPhase::Ended { .. })
    }

    /// The need no longer keeps a step from opening.
    fn lets_open(phase: &StepPhase, part: Part) -> bool {
        match part {
            Part::Whole => Self::is_ended(phase),
            Part::Flow => !matches!(phase, StepPhase::Pending),
        }
    }

    fn derive(&mut self) {
        self.unended = 0;
        for at in 0..self.steps.len() {
            let step = at as StepIndex;
            if !Self::is_ended(&self.steps[at].phase) {
                self.unended += 1;
            }
            let blockers = self
                .plan
                .needs(step)
                .filter(|(need, part)| !Self::lets_open(&self.steps[*need as usize].phase, *part))
                .count();
            let mut live = Live { blockers: u32::try_from(blockers).expect("edges fit 32 bits"), ..Live::default() };
            for (item, task) in self.tasks_of(step) {
                live.place(item, task);
            }
            if let StepPhase::Open { items, .. } = &self.steps[at].phase {
                match items {
                    Items::Flow { from } => {
                        let arrived: Vec<ItemIndex> = self.arrived(*from, step);
                        live.ready.extend(arrived);
                    }
                    Items::One | Items::Range { .. } | Items::List { .. } => {
                        while self.tasks.contains_key(&TaskId::new(step, live.next)) {
                            live.next += 1;
                        }
                    }
                }
            }
            self.live[at] = live;
        }
        self.active = (0..self.steps.len() as StepIndex).filter(|step| self.may_be_active(*step)).collect();
    }

    /// Done items of `from` that `step` has no record of.
    fn arrived(&self, from: StepIndex, step: StepIndex) -> Vec<ItemIndex> {
        self.tasks_of(from)
            .filter(|(item, task)| {
                matches!(task.phase, TaskPhase::Done { .. }) && !self.tasks.contains_key(&TaskId::new(step, *item))
            })
            .map(|(item, _)| item)
            .collect()
    }

    fn may_be_active(&self, step: StepIndex) -> bool {
        match self.steps[step as usize].phase {
            StepPhase::Pending => {
                self.live[step as usize].blockers == 0
                    || self.bad_need(step).is_some()
                    || self.head.cancelled_by.is_some()
            }
            StepPhase::Open { .. } => true,
            StepPhase::Ended { .. } => false,
        }
    }

    fn refresh_active(&mut self, step: StepIndex) {
        if self.may_be_active(step) {
            self.active.insert(step);
        } else {
            self.active.remove(&step);
        }
    }
}
