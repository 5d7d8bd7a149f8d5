//! Everything that may be asked of a run: imperative, may be refused.

use super::event::{DoubtAnswer, Usage};
use super::failure::Failure;
use super::ids::{AskId, Digest, RunId, StepIndex, TaskId};
use super::ladder::Ladder;
use super::payload::{Items, Payload};
use super::plan::RepeatClass;
use super::verdict::Verdict;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A process takes the run up again.
    Resume {
        /// The process before ended without saying so.
        unclean: bool,
        /// The budget that the person sets anew, in millionths of a dollar.
        budget_microdollars: Option<u64>,
    },
    /// The condition holds and the list is known.
    OpenStep {
        /// The step.
        step: StepIndex,
        /// Its items.
        items: Items,
        /// The ladder of its tasks; empty for steps that need no model.
        ladder: Ladder,
    },
    /// The condition is false, or a need did not end well.
    SkipStep {
        /// The step.
        step: StepIndex,
        /// Why, for people.
        reason: String,
        /// A need failed.
        for_failure: bool,
    },
    /// The condition or the list could not be worked out.
    FailStep {
        /// The step.
        step: StepIndex,
        /// Why.
        failure: Failure,
    },
    /// Nothing of the step is left to do.
    CloseStep {
        /// The step.
        step: StepIndex,
    },
    /// `all_done_when` was evaluated.
    JudgeStep {
        /// The step.
        step: StepIndex,
        /// What it says.
        verdict: Verdict,
    },
    /// An attempt is prepared and wants to act.
    StartAttempt {
        /// The task.
        task: TaskId,
        /// Name of the item for people.
        key: String,
        /// Digest of what can change the output.
        identity: Option<Digest>,
        /// What follows if the outcome stays unknown.
        repeat: RepeatClass,
    },
    /// An earlier run has this output already.
    ReuseOutput {
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
        /// What today's checks say; must accept.
        verdict: Verdict,
    },
    /// An attempt ended.
    EndAttempt {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// How.
        end: AttemptEnd,
        /// Id for the question, should one follow.
        ask: AskId,
        /// Local rungs that do not answer now.
        away: Vec<String>,
    },
    /// A model has replied.
    TakeTurn {
        /// The task.
        task: TaskId,
        /// The attempt that asked, or whose output a second model was asked about.
        attempt: u32,
        /// Digest of the whole request.
        request: Digest,
        /// The reply.
        reply: Payload,
        /// Tokens.
        usage: Usage,
    },
    /// An attempt is about to make a call that changes something outside.
    StartCall {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Key of the call.
        call: String,
        /// `server.tool`.
        tool: String,
        /// What follows if its outcome stays unknown.
        repeat: RepeatClass,
    },
    /// The call has answered.
    EndCall {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Key of the call.
        call: String,
        /// Whether it succeeded.
        succeeded: bool,
        /// Its result.
        result: Payload,
    },
    /// A judge has looked at an output.
    Judge {
        /// The task.
        task: TaskId,
        /// The attempt whose output it is.
        attempt: u32,
        /// The verdict.
        verdict: Verdict,
        /// Local rungs that do not answer now.
        away: Vec<String>,
    },
    /// The files of an accepted task are in place.
    EndPlacing {
        /// The task.
        task: TaskId,
        /// What stood in the way; `None`: nothing.
        failure: Option<Failure>,
    },
    /// The items of a step fail alike.
    HoldStep {
        /// The step.
        step: StepIndex,
        /// Id for the question.
        ask: AskId,
    },
    /// It can no longer come about that a step is held: what waits for that goes on.
    ReleaseHeld {
        /// The step.
        step: StepIndex,
    },
    /// A person says whether a held step goes on.
    AnswerHold {
        /// The question.
        ask: AskId,
        /// Go on.
        go: bool,
        /// Who.
        by: String,
    },
    /// A person settles a call in doubt.
    Answer {
        /// The question.
        ask: AskId,
        /// What the person says.
        answer: DoubtAnswer,
        /// Who.
        by: String,
    },
    /// A task may only act after a person's yes.
    AskApproval {
        /// The task.
        task: TaskId,
        /// Id for the question.
        ask: AskId,
        /// What is asked, for people.
        what: String,
    },
    /// A person says yes or no.
    Approve {
        /// The question.
        ask: AskId,
        /// Yes or no.
        granted: bool,
        /// Who.
        by: String,
    },
    /// A model call was paid for or counted.
    RecordUsage {
        /// The task.
        task: TaskId,
        /// Its attempt.
        attempt: u32,
        /// Tokens and money.
        usage: Usage,
    },
    /// A person stops the run for good.
    Cancel {
        /// Who.
        by: String,
    },
    /// Every step has ended.
    EndRun,
}

/// How an attempt can end.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEnd {
    /// With an output, still to be judged.
    Output(Payload),
    /// The same by a model, with what it says that it did and the files that wait for acceptance.
    Made {
        /// The output.
        output: Payload,
        /// What the model says that it did; bounded.
        claimed: Option<String>,
        /// What it wrote, by reference.
        staged: Option<Payload>,
        /// Keys of its calls that changed something.
        effects: Vec<String>,
    },
    /// Without one.
    Failed(Failure),
    /// Nobody knows: it was cut off, or its server died. The repeat class decides what follows.
    Unknown {
        /// What was under way, for people.
        what: String,
        /// Counts as this failure when the call may be repeated; `None`: the process died or was stopped, uncounted.
        failure: Option<Failure>,
    },
}

/// Why a command was refused. Refusing changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run has ended.
    #[error("the run has ended")]
    RunEnded,
    /// The run is being cancelled and starts nothing new.
    #[error("the run is being cancelled")]
    BeingCancelled,
    /// The plan has no such step.
    #[error("no step number {0} in this run")]
    UnknownStep(StepIndex),
    /// The step is not in the state that the command needs.
    #[error("step {step} is {state}")]
    StepState {
        /// The step.
        step: StepIndex,
        /// Its state, in words.
        state: &'static str,
    },
    /// The task is not in the state that the command needs.
    #[error("task {}[{}] is {state}", .task.step, .task.item)]
    TaskState {
        /// The task.
        task: TaskId,
        /// Its state, in words.
        state: &'static str,
    },
    /// The attempt is not the open one: a late answer.
    #[error("attempt {attempt} of task {}[{}] is not open", .task.step, .task.item)]
    NotOpen {
        /// The task.
        task: TaskId,
        /// The attempt named.
        attempt: u32,
    },
    /// The step already has as many attempts as it may.
    #[error("step {step} already has {limit} attempts open")]
    NoRoom {
        /// The step.
        step: StepIndex,
        /// Its `max_parallel`.
        limit: u32,
    },
    /// Something of the step is still to do.
    #[error("step {0} still has work")]
    StillWorking(StepIndex),
    /// The verdict must be by another judge, or must accept.
    #[error("this verdict does not fit: {0}")]
    Verdict(&'static str),
    /// The items are not of the kind that the step's definition asks for.
    #[error("these are not the items of step {0}")]
    Items(StepIndex),
    /// A question with this id is open already.
    #[error("question {0} is asked already")]
    AskTaken(AskId),
    /// No question with this id is open.
    #[error("no open question {0}")]
    NoSuchAsk(AskId),
}
