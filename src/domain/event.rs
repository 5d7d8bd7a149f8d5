//! Everything that may happen to a run: past tense, never refused, journalled. A run is the list of its events.
//!
//! The encoding is JSON with a version and a time; a version that this program does not know is refused by
//! name, never skipped. New happenings are new variants; the meaning of an old one never changes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::ids::{AskId, Digest, RunId, StepIndex, TaskId};
use super::ladder::{Ladder, Rung};
use super::payload::{Items, Payload};
use super::plan::{RawPlan, RepeatClass};
use super::verdict::Verdict;

/// Version of the encoding.
pub const EVENT_VERSION: u32 = 1;

/// An event with the time at which it was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// [`EVENT_VERSION`] of the writer.
    pub v: u32,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Stamped {
    /// An event of this version.
    #[must_use]
    pub const fn new(at_ms: u64, event: Event) -> Self {
        Self { v: EVENT_VERSION, at_ms, event }
    }
}

/// Where a run comes from and how it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Id of the project.
    pub project: String,
    /// File or name that the plan was read from, for people.
    pub plan_source: String,
    /// Nothing of earlier runs is taken over (`--fresh`).
    #[serde(default)]
    pub fresh: bool,
    /// A name that a person gave to the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Paths outside the project folder that the person typed: what the run may touch beside the project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<String>,
    /// The person asked for Claude (`--claude`, or a goal that begins with `claude:`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claude: bool,
    /// What its paid calls may cost in millionths of a dollar (`--budget`); `None`: what is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_microdollars: Option<u64>,
    /// Paid calls are answered by the scripted Claude inside the program (`--fake`): nothing is sent, nothing is paid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fake: bool,
}

impl Origin {
    /// [`Origin::granted`] as paths.
    #[must_use]
    pub fn granted_paths(&self) -> Vec<PathBuf> {
        self.granted.iter().map(PathBuf::from).collect()
    }
}

/// How a person settled a call in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubtAnswer {
    /// It happened; this is its output, and the checks run on it.
    Happened {
        /// `null` when the person gave none.
        output: Payload,
    },
    /// It did not happen, or may be done again.
    Again,
    /// Leave the task out.
    Skip,
    /// Count the task as failed.
    Fail,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// All that was asked holds.
    Done,
    /// It does not.
    Failed(Failure),
    /// Its condition was false, or a step that it needs did not end well.
    Skipped {
        /// Which of the two, for people.
        reason: String,
        /// True when a need failed, false when a condition said no.
        for_failure: bool,
    },
    /// A person cancelled the run.
    Cancelled,
}

/// How a task ended, when it did not end done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// No rung is left, or the failure is permanent.
    Failed(Failure),
    /// The same on a step that sets failed items aside.
    Quarantined(Failure),
    /// A person left it out.
    Skipped,
    /// A person cancelled the run.
    Cancelled,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// Every step is done, or skipped by its own condition.
    Complete,
    /// The same, with items set aside.
    Partial,
    /// A step failed.
    Failed,
    /// A person cancelled it.
    Cancelled,
}

/// Tokens and money of one paid or free model call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Model id as sent.
    pub model: String,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Millionths of a dollar; 0 for a local model.
    pub cost_microdollars: u64,
}

/// What happened. The comment says which state moves to which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Run: nothing → running. Always the first event.
    RunAccepted {
        /// The run.
        run: RunId,
        /// The plan, whole: a run never looks at the plan file again.
        plan: Box<RawPlan>,
        /// Values of all inputs.
        inputs: Map<String, Value>,
        /// Where it comes from.
        origin: Origin,
    },
    /// Run: stays running; a process took it up again.
    RunResumed {
        /// The process before ended without saying so.
        unclean: bool,
        /// The budget that the person set anew, in millionths of a dollar.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget_microdollars: Option<u64>,
    },
    /// Step: pending → open.
    StepOpened {
        /// The step.
        step: StepIndex,
        /// Its items, by reference.
        items: Items,
        /// The ladder of its tasks.
        #[serde(default)]
        ladder: Ladder,
    },
    /// Step: open → open, nothing new of it starts; it will fail.
    StepStopped {
        /// The step.
        step: StepIndex,
        /// Why.
        failure: Failure,
    },
    /// Step: open → open, with the verdict of `all_done_when`.
    StepJudged {
        /// The step.
        step: StepIndex,
        /// What the checks say.
        verdict: Verdict,
    },
    /// Step: pending or open → ended.
    StepEnded {
        /// The step.
        step: StepIndex,
        /// How.
        end: StepEnd,
    },
    /// Task: nothing, pending or waiting for a retry → running. Durable before the attempt acts: it is the intent.
    AttemptStarted {
        /// The task.
        task: TaskId,
        /// Number of the attempt, from 1 over all rungs.
        attempt: u32,
        /// Who tries.
        rung: Rung,
        /// What follows if the outcome stays unknown.
        repeat: RepeatClass,
        /// Name of the item for people.
        key: String,
        /// Digest of what can change the output; `None` where it could not be worked out.
        identity: Option<Digest>,
    },
    /// Task: running or judging → the same. A model's reply; durable before anything in it is used, so that it is never
    /// asked for again.
    TurnTaken {
        /// The task.
        task: TaskId,
        /// The attempt that asked, or whose output a second model was asked about.
        attempt: u32,
        /// Digest of the whole request, the model's name included.
        request: Digest,
        /// The reply.
        reply: Payload,
        /// Tokens.
        usage: Usage,
    },
    /// Task: running → running. A call that changes something outside is about to be made.
    CallStarted {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Key of the call: the same for each repetition.
        call: String,
        /// `server.tool`.
        tool: String,
        /// What follows if its outcome stays unknown.
        repeat: RepeatClass,
    },
    /// Task: running → running. The call has answered.
    CallEnded {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Key of the call.
        call: String,
        /// Whether it succeeded; one that failed may be made again.
        succeeded: bool,
        /// Its result.
        result: Payload,
    },
    /// Task: running → judging.
    AttemptSucceeded {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// What it made.
        output: Payload,
        /// What the model says that it did; never evidence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claimed: Option<String>,
        /// Files that it wrote and that wait for acceptance.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        staged: Option<Payload>,
        /// Keys of its calls that changed something, those answered from the record too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        effects: Vec<String>,
    },
    /// Task: running → pending, and what follows is in the next event.
    AttemptFailed {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// Task: running → pending, uncounted: the process died or was stopped.
    AttemptInterrupted {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
    },
    /// Task: running → waiting for a person: an unsafe call whose outcome is unknown.
    CallInDoubt {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Id of the question.
        ask: AskId,
        /// What is in doubt, for people.
        what: String,
    },
    /// Task: waiting for a person → judging (`happened`) or pending (`again`; `skip` and `fail` are followed by the end).
    DoubtAnswered {
        /// The task.
        task: TaskId,
        /// The question.
        ask: AskId,
        /// What the person said.
        answer: DoubtAnswer,
        /// Who.
        by: String,
    },
    /// Task: judging → judging (accepted) or pending (rejected, counted).
    VerdictGiven {
        /// The task.
        task: TaskId,
        /// The attempt whose output was judged.
        attempt: u32,
        /// The verdict.
        verdict: Verdict,
    },
    /// Task: pending → pending on another rung (or the last one again).
    TaskClimbed {
        /// The task.
        task: TaskId,
        /// Rung before.
        from: Rung,
        /// Rung of the next attempt.
        to: Rung,
        /// Because the rung before does not answer or cannot do the task, not because an attempt was wrong.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_server: bool,
    },
    /// Task: pending → held: it used up its local attempts, and whether its step is wrong is not decided.
    TaskHeld {
        /// The task.
        task: TaskId,
        /// The paid rung that it would climb to.
        to: Rung,
        /// Its last failure.
        failure: Failure,
    },
    /// Step: open → held: its items fail alike, so a person is asked before more is done.
    StepHeld {
        /// The step.
        step: StepIndex,
        /// Id of the question.
        ask: AskId,
        /// What the items have in common, for people.
        what: String,
    },
    /// Step: held → open (`go`; a `stop` is followed by the end of what is held and of the step).
    HoldAnswered {
        /// The step.
        step: StepIndex,
        /// The question.
        ask: AskId,
        /// Go on.
        go: bool,
        /// Who.
        by: String,
    },
    /// Task: pending → waiting for a time.
    TaskRetryAt {
        /// The task.
        task: TaskId,
        /// Not before this time. No event has a field `at_ms` or `v`: they are [`Stamped`]'s, on the same level.
        retry_at_ms: u64,
        /// Because no model server answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_server: bool,
    },
    /// Task: judging → placing: accepted, and the files that it wrote are moved into place until that is done.
    TaskAccepted {
        /// The task.
        task: TaskId,
    },
    /// Task: judging or placing → done.
    TaskDone {
        /// The task.
        task: TaskId,
    },
    /// Task: nothing or pending → done with the stored output of an earlier run.
    TaskReused {
        /// The task.
        task: TaskId,
        /// Name of the item for people.
        key: String,
        /// The identity that was found.
        identity: Digest,
        /// The stored output.
        output: Payload,
        /// The run that made it.
        from: RunId,
        /// What today's checks say of it.
        verdict: Verdict,
    },
    /// Task: pending or waiting → ended without an output.
    TaskEnded {
        /// The task.
        task: TaskId,
        /// How.
        end: TaskEnd,
    },
    /// Task: pending → waiting for a person's yes.
    ApprovalAsked {
        /// The task.
        task: TaskId,
        /// Id of the question.
        ask: AskId,
        /// What is asked, for people.
        what: String,
    },
    /// Task: waiting for a person's yes → pending (granted; a refusal is followed by the end).
    ApprovalGiven {
        /// The task.
        task: TaskId,
        /// The question.
        ask: AskId,
        /// Yes or no.
        granted: bool,
        /// Who.
        by: String,
    },
    /// Run: adds to its usage.
    UsageRecorded {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Tokens and money.
        usage: Usage,
    },
    /// Run: running → being cancelled.
    CancelAsked {
        /// Who.
        by: String,
    },
    /// Run: running → ended.
    RunEnded {
        /// How.
        end: RunEnd,
    },
}

impl Event {
    /// The task that the event touches.
    #[must_use]
    pub const fn task(&self) -> Option<TaskId> {
        match self {
            Self::AttemptStarted { task, .. }
            | Self::TurnTaken { task, .. }
            | Self::CallStarted { task, .. }
            | Self::CallEnded { task, .. }
            | Self::TaskHeld { task, .. }
            | Self::TaskAccepted { task }
            | Self::AttemptSucceeded { task, .. }
            | Self::AttemptFailed { task, .. }
            | Self::AttemptInterrupted { task, .. }
            | Self::CallInDoubt { task, .. }
            | Self::DoubtAnswered { task, .. }
            | Self::VerdictGiven { task, .. }
            | Self::TaskClimbed { task, .. }
            | Self::TaskRetryAt { task, .. }
            | Self::TaskDone { task }
            | Self::TaskReused { task, .. }
            | Self::TaskEnded { task, .. }
            | Self::ApprovalAsked { task, .. }
            | Self::ApprovalGiven { task, .. }
            | Self::UsageRecorded { task, .. } => Some(*task),
            Self::RunAccepted { .. }
            | Self::RunResumed { .. }
            | Self::StepOpened { .. }
            | Self::StepStopped { .. }
            | Self::StepJudged { .. }
            | Self::StepHeld { .. }
            | Self::HoldAnswered { .. }
            | Self::StepEnded { .. }
            | Self::CancelAsked { .. }
            | Self::RunEnded { .. } => None,
        }
    }

    /// The step that the event touches, directly or through its task.
    #[must_use]
    pub fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepOpened { step, .. }
            | Self::StepStopped { step, .. }
            | Self::StepJudged { step, .. }
            | Self::StepHeld { step, .. }
            | Self::HoldAnswered { step, .. }
            | Self::StepEnded { step, .. } => Some(*step),
            other => other.task().map(|task| task.step),
        }
    }
}

/// Why bytes of the journal are no event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A later version wrote it.
    #[error("an event of version {found} was written by a newer ollmcp (this one reads up to {EVENT_VERSION})")]
    Newer {
        /// Version found.
        found: u64,
    },
    /// Not an event.
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The journal's encoding of an event.
#[must_use]
pub fn encode(stamped: &Stamped) -> Vec<u8> {
    serde_json::to_vec(stamped).expect("events hold only strings, numbers, lists and objects with string keys")
}

/// Reads [`encode`]'s bytes back.
///
/// # Errors
/// [`DecodeError::Newer`] for a later version, [`DecodeError::Malformed`] for anything else.
pub fn decode(bytes: &[u8]) -> Result<Stamped, DecodeError> {
    match serde_json::from_slice::<Stamped>(bytes) {
        Ok(stamped) if stamped.v <= EVENT_VERSION => Ok(stamped),
        Ok(stamped) => Err(DecodeError::Newer { found: u64::from(stamped.v) }),
        Err(error) => {
            #[derive(Deserialize)]
            struct Version {
                v: u64,
            }
            match serde_json::from_slice::<Version>(bytes) {
                Ok(version) if version.v > u64::from(EVENT_VERSION) => Err(DecodeError::Newer { found: version.v }),
                _ => Err(DecodeError::Malformed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_survives_the_journal() {
        let event = Event::TaskRetryAt { task: TaskId::new(1, 2), retry_at_ms: 99, for_server: false };
        let stamped = Stamped::new(7, event);
        assert_eq!(decode(&encode(&stamped)).expect("what was encoded is an event"), stamped);
    }
}
