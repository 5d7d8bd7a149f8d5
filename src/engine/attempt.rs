//! The attempt actor: one role, one rung, one try. It prepares, waits for its intent to be durable, acts, tells how it
//! went. What only reads changes nothing outside and does not wait. Its death is an outcome like any other; its
//! supervisor counts it.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Ports;
use super::supervisor::{News, RunMessage, WorkKey};
use super::work::{self, Job, Prepared, Ready, Recorder};
use crate::domain::payload::Payload;
use crate::domain::plan::RepeatClass;

/// What an attempt actor is told.
#[derive(Debug)]
pub enum AttemptMessage {
    /// Work out arguments and identity.
    Prepare,
    /// The intent is durable: act.
    Act,
}

/// What an attempt actor is made for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Open a step.
    Open,
    /// Carry out a task.
    Task,
    /// Judge the stored output of a task again.
    Judge {
        /// The attempt that made it.
        attempt: u32,
        /// The output.
        output: Payload,
        /// The files that wait with it.
        staged: Option<Payload>,
    },
    /// Ask a second model for the output of a task.
    Second {
        /// The attempt that made the first.
        attempt: u32,
        /// The first.
        output: Payload,
        /// The files that wait with it.
        staged: Option<Payload>,
    },
    /// Move the files of an accepted task into place.
    Place {
        /// The files.
        staged: Payload,
    },
    /// Evaluate `all_done_when`.
    JudgeStep,
}

/// One attempt.
#[derive(Debug)]
pub struct Attempt;

/// What it needs.
#[derive(Debug)]
pub struct AttemptArguments {
    /// Its place in the supervisor's book.
    pub key: WorkKey,
    /// Why it was made.
    pub purpose: Purpose,
    /// The work.
    pub job: Job,
    /// The outside.
    pub ports: Arc<Ports>,
    /// Who is told.
    pub supervisor: ActorRef<RunMessage>,
    /// Around everything that it does.
    pub span: tracing::Span,
}

/// Its memory.
#[derive(Debug)]
pub struct AttemptState {
    arguments: AttemptArguments,
    ready: Option<Box<Ready>>,
}

impl Actor for Attempt {
    type Msg = AttemptMessage;
    type State = AttemptState;
    type Arguments = AttemptArguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(AttemptState { arguments, ready: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        use tracing::Instrument as _;
        let span = state.arguments.span.clone();
        let AttemptState { arguments, ready } = state;
        let AttemptArguments { key, purpose, job, ports, supervisor, .. } = &*arguments;
        let actor = myself.get_id();
        // A supervisor that is gone needs no answer: the journal knows that the attempt was open.
        let tell = |news| drop(supervisor.cast(RunMessage::News { actor, key: *key, news }));
        let broken = |reason| drop(supervisor.cast(RunMessage::Broken(reason)));
        let recorder = Recorder::new(supervisor.clone(), job);
        match (message, purpose) {
            (AttemptMessage::Prepare, Purpose::Open) => match work::open_step(ports, job).instrument(span).await {
                Ok(opened) => tell(News::Opened(opened)),
                Err(reason) => broken(reason),
            },
            (AttemptMessage::Prepare, Purpose::Task) => {
                match work::prepare(ports, job).instrument(span.clone()).await {
                    Prepared::Attempt(found) => {
                        tell(News::Intends(found.intent()));
                        if found.repeat == RepeatClass::Read {
                            match work::execute(ports, job, &found, &recorder).instrument(span).await {
                                Ok(done) => tell(News::Acted(done)),
                                Err(reason) => broken(reason),
                            }
                        } else {
                            *ready = Some(found);
                        }
                    }
                    other => tell(News::Prepared(other)),
                }
            }
            (AttemptMessage::Prepare, Purpose::Judge { attempt, output, staged }) => {
                let verdict = work::judge(ports, job, output, staged.as_ref()).instrument(span).await;
                tell(News::Judged { attempt: *attempt, verdict });
            }
            (AttemptMessage::Prepare, Purpose::Second { attempt, output, staged }) => {
                match work::second(ports, job, output, staged.as_ref(), &recorder).instrument(span).await {
                    Ok(verdict) => tell(News::Judged { attempt: *attempt, verdict }),
                    Err(reason) => broken(reason),
                }
            }
            (AttemptMessage::Prepare, Purpose::Place { staged }) => {
                match work::place(ports, job, staged).instrument(span).await {
                    Ok(failure) => tell(News::Placed(failure)),
                    Err(reason) => broken(reason),
                }
            }
            (AttemptMessage::Prepare, Purpose::JudgeStep) => {
                tell(News::StepJudged(work::judge_step(ports, job).instrument(span).await));
            }
            (AttemptMessage::Act, _) => {
                let ready = ready.as_ref().expect("an attempt acts only after it was prepared");
                match work::execute(ports, job, ready, &recorder).instrument(span).await {
                    Ok(done) => tell(News::Acted(done)),
                    Err(reason) => broken(reason),
                }
            }
        }
        Ok(())
    }
}
