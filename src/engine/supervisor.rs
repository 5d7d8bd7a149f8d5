//! The run supervisor: owns one run. Everything that happens to the run arrives here as a message and becomes a command.
//!
//! It never waits for a tool or a disk inside a handler. While an append is on its way to the disk new commands
//! collect; nothing outside happens before the append that allows it has returned.

mod book;
mod outcome;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::Semaphore;

use super::Ports;
use super::attempt::{Attempt, AttemptArguments, AttemptMessage, Purpose};
use super::jobs::Jobs;
use super::registry::RegistryMessage;
use super::roles::Role;
use super::tree::{TreeNode, row};
use super::work::{Done, Opened, Prepared};
use crate::domain::command::{AttemptEnd, Command, Refusal};
use crate::domain::event::{Event, RunEnd, Stamped, encode};
use crate::domain::failure::Failure;
use crate::domain::ids::{AskId, RunId, StepIndex, TaskId};
use crate::domain::plan::RepeatClass;
use crate::domain::run::{Due, RunState, TaskPhase, apply, decide, due, fold};
use crate::domain::verdict::{Judge, Verdict};
use crate::journal::AppendError;
use crate::telemetry;

use book::{Book, Entry, Loss};
use outcome::lost_with_the_process;
use turn::Turns;

/// How often deadlines and retry times are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Limit of working out arguments and identities, or of opening a step.
const PREPARE_LIMIT_MS: u64 = 600_000;
/// What an act may take beyond its own limit before its actor is killed.
const DEADLINE_GRACE_MS: u64 = 10_000;

/// A place in the supervisor's book: what an actor was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkKey {
    /// Opening a step.
    Open(StepIndex),
    /// A task.
    Task(TaskId),
    /// Judging a stored output.
    Judge(TaskId),
    /// Judging a step.
    JudgeStep(StepIndex),
}

/// How a run leaves its supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunExit {
    /// It has ended.
    Ended(RunEnd),
    /// Only a person can free it.
    Waiting,
    /// It was stopped and can be resumed.
    Interrupted,
    /// The engine cannot go on; nothing that was said is lost.
    Fault(String),
}

/// What a run supervisor is told.
#[derive(Debug)]
pub enum RunMessage {
    /// Start working.
    Begin,
    /// A step's condition and items are known.
    Opened {
        /// The place in the book.
        key: WorkKey,
        /// What was found.
        opened: Opened,
    },
    /// A task is ready to act.
    Prepared {
        /// The place in the book.
        key: WorkKey,
        /// What was found.
        prepared: Prepared,
    },
    /// A task has acted.
    Acted {
        /// The place in the book.
        key: WorkKey,
        /// How it went.
        done: Done,
    },
    /// A stored output was judged.
    Judged {
        /// The place in the book.
        key: WorkKey,
        /// The attempt that made it.
        attempt: u32,
        /// The verdict.
        verdict: Verdict,
    },
    /// A step was judged.
    StepJudged {
        /// The place in the book.
        key: WorkKey,
        /// The verdict.
        verdict: Verdict,
    },
    /// The append on its way has returned.
    Appended(Result<(), AppendError>),
    /// Look at deadlines and retry times.
    Tick,
    /// The line for permits has brought one.
    Turn(tokio::sync::OwnedSemaphorePermit),
    /// An actor has ended; counted as a loss if its outcome has not arrived by now.
    CheckLost {
        /// The actor.
        actor: ActorId,
        /// How it ended.
        loss: Loss,
    },
    /// What no task can help, as a full disk: the run leaves as it stands.
    Broken(String),
    /// Someone from outside asks for something.
    Request(Command, RpcReplyPort<Result<(), Refusal>>),
    /// Start nothing new; leave when what runs has ended.
    Drain,
    /// Stop what runs, and leave.
    Stop,
    /// What is going on.
    Status(RpcReplyPort<TreeNode>),
}

/// How a supervisor begins.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// With the first event of a new run.
    New(Box<Event>),
    /// With the state of a run that has not ended.
    Existing(Box<RunState>),
}

/// What a run supervisor needs.
#[derive(Debug)]
pub struct RunArguments {
    /// New or existing.
    pub beginning: Beginning,
    /// The outside.
    pub ports: Ports,
    /// Who is told when the run leaves.
    pub registry: ActorRef<RegistryMessage>,
    /// Attempts at once over all runs.
    pub permits: Arc<Semaphore>,
    /// Leave when only a person can free the run.
    pub leaves_when_waiting: bool,
}

/// The run supervisor.
#[derive(Debug)]
pub struct RunSupervisor;

/// Its memory.
#[derive(Debug)]
pub struct SupervisorState {
    ports: Ports,
    registry: ActorRef<RegistryMessage>,
    turns: Turns,
    leaves_when_waiting: bool,
    run: RunState,
    inbox: VecDeque<Input>,
    /// Events that are decided and not yet durable.
    batch: Vec<Stamped>,
    appending: bool,
    /// Who is answered when the batch is durable.
    replies: Vec<RpcReplyPort<Result<(), Refusal>>>,
    /// Attempts whose intent is in the batch.
    released: Vec<WorkKey>,
    book: Book,
    jobs: Jobs,
    spans: HashMap<StepIndex, tracing::Span>,
    span: tracing::Span,
    draining: bool,
    stopping: bool,
    has_left: bool,
    spawned: u64,
}

/// What waits to be decided.
#[derive(Debug)]
enum Input {
    Command(Command),
    Request(Command, RpcReplyPort<Result<(), Refusal>>),
    /// A task that could not even be prepared: an attempt that failed at once.
    Fault {
        task: TaskId,
        key: String,
        failure: Failure,
    },
}

impl Actor for RunSupervisor {
    type Msg = RunMessage;
    type State = SupervisorState;
    type Arguments = RunArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let now_ms = arguments.ports.clock.now_ms();
        let mut batch = Vec::new();
        let mut inbox = VecDeque::new();
        let run = match arguments.beginning {
            Beginning::New(first) => {
                let stamped = Stamped::new(now_ms, *first);
                let run = fold(None, &stamped)?;
                batch.push(stamped);
                run
            }
            Beginning::Existing(run) => {
                inbox.push_back(Input::Command(Command::Resume { unclean: run.open_attempts().next().is_some() }));
                inbox.extend(lost_with_the_process(&run, &arguments.ports).into_iter().map(Input::Command));
                *run
            }
        };
        let jobs = Jobs::new(arguments.ports.blobs.clone());
        let span = telemetry::run_span(&run.head.run, run.plan.name());
        myself.cast(RunMessage::Begin)?;
        Ok(SupervisorState {
            ports: arguments.ports,
            registry: arguments.registry,
            turns: Turns::new(arguments.permits),
            leaves_when_waiting: arguments.leaves_when_waiting,
            run,
            inbox,
            batch,
            appending: false,
            replies: Vec::new(),
            released: Vec::new(),
            book: Book::default(),
            jobs,
            spans: HashMap::new(),
            span,
            draining: false,
            stopping: false,
            has_left: false,
            spawned: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunMessage::Begin => {
                myself.send_after(TICK, || RunMessage::Tick);
            }
            RunMessage::Opened { key, opened } => state.opened(key, opened),
            RunMessage::Prepared { key, prepared } => state.prepared(key, prepared),
            RunMessage::Acted { key, done } => state.acted(key, done),
            RunMessage::Judged { key, attempt, verdict } => {
                if let (Some(_), WorkKey::Judge(task)) = (state.book.close(key), key) {
                    state.inbox.push_back(Input::Command(Command::Judge { task, attempt, verdict }));
                }
            }
            RunMessage::StepJudged { key, verdict } => {
                if let (Some(_), WorkKey::JudgeStep(step)) = (state.book.close(key), key) {
                    state.inbox.push_back(Input::Command(Command::JudgeStep { step, verdict }));
                }
            }
            RunMessage::Appended(result) => state.appended(result)?,
            RunMessage::Tick => {
                state.book.kill_overdue(state.ports.clock.now_ms());
                myself.send_after(TICK, || RunMessage::Tick);
            }
            RunMessage::Turn(permit) => state.turns.bring(permit),
            RunMessage::CheckLost { actor, loss } => state.lost(actor, loss),
            RunMessage::Broken(reason) => {
                state.book.kill_all();
                state.leave(RunExit::Fault(reason))?;
            }
            RunMessage::Request(command, reply) => state.inbox.push_back(Input::Request(command, reply)),
            RunMessage::Drain => state.draining = true,
            RunMessage::Stop => {
                state.draining = true;
                state.stopping = true;
                state.book.kill_all();
            }
            RunMessage::Status(reply) => {
                // An asker that has gone away needs no answer.
                let _ = reply.send(state.node());
            }
        }
        state.advance(&myself).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // Notices of death overtake messages: the outcome may already lie in the mailbox behind this one.
        match event {
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                myself.cast(RunMessage::CheckLost { actor: cell.get_id(), loss: Loss::Ended })?;
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                myself.cast(RunMessage::CheckLost { actor: cell.get_id(), loss: Loss::Panicked(error.to_string()) })?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl SupervisorState {
    /// The only place where a run changes. Commands that wait are taken together, with all that follows from them.
    async fn advance(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        if self.appending || self.has_left {
            return Ok(());
        }
        while let Some(input) = self.inbox.pop_front() {
            match input {
                Input::Command(command) => {
                    if let Err(refusal) = self.decide(command.clone()) {
                        self.refused(&command, &refusal);
                    }
                }
                Input::Request(command, reply) => match self.decide(command) {
                    Ok(()) => self.replies.push(reply),
                    Err(refusal) => {
                        // An asker that has gone away needs no answer.
                        let _ = reply.send(Err(refusal));
                    }
                },
                Input::Fault { task, key, failure } => self.fault(task, key, failure),
            }
        }
        self.consequences()?;
        if self.batch.is_empty() {
            self.answer_replies();
            self.start_due(myself).await?;
            return self.leave_if_done();
        }
        self.append(myself);
        Ok(())
    }

    fn consequences(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let follows: Vec<Command> = due(&self.run)
                .into_iter()
                .filter_map(|due| match due {
                    Due::Consequence(command) => Some(command),
                    _ => None,
                })
                .collect();
            if follows.is_empty() {
                return Ok(());
            }
            for command in follows {
                // A refusal here would repeat for ever: `due` and `decide` disagree, which is a bug of the core.
                self.decide(command)?;
            }
        }
    }

    fn decide(&mut self, command: Command) -> Result<(), Refusal> {
        let now_ms = self.ports.clock.now_ms();
        for event in decide(&self.run, command, now_ms)? {
            let stamped = Stamped::new(now_ms, event);
            apply(&mut self.run, &stamped).expect("every decided event applies: a property test says so");
            match &stamped.event {
                Event::AttemptStarted { task, attempt, .. } => {
                    let key = WorkKey::Task(*task);
                    if self.book.record_attempt(key, *attempt) {
                        self.released.push(key);
                    }
                }
                Event::StepEnded { step, .. } => self.forget(*step),
                _ => {}
            }
            self.batch.push(stamped);
        }
        Ok(())
    }

    fn fault(&mut self, task: TaskId, key: String, failure: Failure) {
        let attempt = self.run.tasks.get(&task).map_or(0, |task| task.attempts) + 1;
        let start = Command::StartAttempt { task, key, identity: None, repeat: RepeatClass::Read };
        let ask = AskId(self.ports.ids.uuid());
        let end = Command::EndAttempt { task, attempt, end: AttemptEnd::Failed(failure), ask };
        for command in [start, end] {
            if let Err(refusal) = self.decide(command.clone()) {
                self.refused(&command, &refusal);
                return;
            }
        }
    }

    /// An attempt that may not start is let go; anything else that is refused came too late and changes nothing.
    fn refused(&mut self, command: &Command, refusal: &Refusal) {
        tracing::debug!(parent: &self.span, ?command, %refusal, "refused");
        if let Command::StartAttempt { task, .. } = command {
            self.book.close(WorkKey::Task(*task));
        }
    }

    /// What was kept for a step that has ended.
    fn forget(&mut self, step: StepIndex) {
        self.jobs.forget(step);
        self.spans.remove(&step);
    }

    fn append(&mut self, myself: &ActorRef<RunMessage>) {
        self.appending = true;
        let payloads: Vec<Vec<u8>> = self.batch.iter().map(encode).collect();
        let first_seq = self.run.head.seq + 1 - payloads.len() as u64;
        let append = self.ports.journal.append(self.run.head.run, first_seq, payloads);
        let supervisor = myself.clone();
        let waits = async move {
            let result = append.await.map(|_| ());
            // A supervisor that is gone learns from the journal what became durable.
            let _ = supervisor.cast(RunMessage::Appended(result));
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the append, which ends with the journal")]
        tokio::spawn(waits);
    }

    fn appended(&mut self, result: Result<(), AppendError>) -> Result<(), ActorProcessingErr> {
        result?;
        self.appending = false;
        let events = std::mem::take(&mut self.batch);
        for reader in &self.ports.readers {
            reader.durable(&self.run, &events);
        }
        self.answer_replies();
        let now_ms = self.ports.clock.now_ms();
        for key in std::mem::take(&mut self.released) {
            let limit_ms = match key {
                WorkKey::Task(task) => self.run.step(task.step).timeout_ms,
                _ => PREPARE_LIMIT_MS,
            };
            self.book.act(key, now_ms.saturating_add(limit_ms).saturating_add(DEADLINE_GRACE_MS));
        }
        if events.iter().any(|stamped| matches!(stamped.event, Event::CancelAsked { .. })) {
            self.book.kill_all();
        }
        Ok(())
    }

    fn answer_replies(&mut self) {
        for reply in self.replies.drain(..) {
            // An asker that has gone away needs no answer.
            let _ = reply.send(Ok(()));
        }
    }

    /// Starts what became due and is not in flight; later steps first, so that what is begun is finished.
    async fn start_due(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        let started = self.start_within_permits(myself).await;
        self.turns.give_back();
        started
    }

    async fn start_within_permits(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        if self.draining || self.run.head.end.is_some() || self.run.head.cancelled_by.is_some() {
            return Ok(());
        }
        let now_ms = self.ports.clock.now_ms();
        let mut work = due(&self.run);
        work.sort_by_key(|due| std::cmp::Reverse(due.step()));
        for due in work {
            let (key, purpose) = match due {
                Due::Open { step } => (WorkKey::Open(step), Purpose::Open),
                Due::Start { task } => (WorkKey::Task(task), Purpose::Task),
                Due::StartAt { task, at_ms } if at_ms <= now_ms => (WorkKey::Task(task), Purpose::Task),
                Due::Judge { task, attempt, by: Judge::Checks } => match &self.run.tasks[&task].phase {
                    TaskPhase::Judging { output, .. } => {
                        (WorkKey::Judge(task), Purpose::Judge { attempt, output: output.clone() })
                    }
                    _ => continue,
                },
                Due::JudgeStep { step } => (WorkKey::JudgeStep(step), Purpose::JudgeStep),
                // Consequences were taken before; the other judges speak by themselves.
                Due::Consequence(_) | Due::StartAt { .. } | Due::Judge { .. } => continue,
            };
            if self.book.get(key).is_some() {
                continue;
            }
            let Some(permit) = self.turns.take(myself) else { break };
            self.spawn(myself, key, purpose, now_ms, permit).await?;
        }
        Ok(())
    }

    async fn spawn(
        &mut self,
        myself: &ActorRef<RunMessage>,
        key: WorkKey,
        purpose: Purpose,
        now_ms: u64,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> Result<(), ActorProcessingErr> {
        let job = match key {
            WorkKey::Open(step) => self.jobs.opening(&self.run, step),
            WorkKey::JudgeStep(step) => self.jobs.judging_step(&self.run, step),
            WorkKey::Task(task) | WorkKey::Judge(task) => self.jobs.task(&self.run, task),
        };
        let role = Role::of(self.run.step(job.step));
        self.spawned += 1;
        let name = format!(
            "{}/{}[{}]/{}#{}",
            self.run.head.run.short(),
            self.run.step(job.step).id,
            job.item,
            role.name(),
            self.spawned
        );
        let step_span = self.span_of(job.step);
        let span = telemetry::attempt_span(&step_span, role.name(), job.item);
        let arguments =
            AttemptArguments { key, purpose, job, ports: self.ports.clone(), supervisor: myself.clone(), span };
        let spawned = Attempt::spawn_linked(Some(name.clone()), Attempt, arguments, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|error| format!("cannot start an attempt: {error}"))?;
        actor.cast(AttemptMessage::Prepare)?;
        let entry = Entry {
            actor,
            name,
            role: role.name(),
            attempt: None,
            is_acting: false,
            is_overdue: false,
            since_ms: now_ms,
            deadline_ms: now_ms + PREPARE_LIMIT_MS,
            _permit: permit,
        };
        self.book.open(key, entry);
        Ok(())
    }

    fn span_of(&mut self, step: StepIndex) -> tracing::Span {
        let name = self.run.step(step).id.to_string();
        let run = &self.span;
        self.spans.entry(step).or_insert_with(|| telemetry::step_span(run, &name)).clone()
    }

    fn leave_if_done(&mut self) -> Result<(), ActorProcessingErr> {
        let exit = if let Some(end) = self.run.head.end {
            RunExit::Ended(end)
        } else if !self.book.is_empty() {
            return Ok(());
        } else if self.draining {
            RunExit::Interrupted
        } else if self.leaves_when_waiting && self.run.awaits_person() && due(&self.run).is_empty() {
            RunExit::Waiting
        } else {
            return Ok(());
        };
        self.leave(exit)
    }

    fn leave(&mut self, exit: RunExit) -> Result<(), ActorProcessingErr> {
        self.has_left = true;
        Ok(self.registry.cast(RegistryMessage::Left { run: self.run.head.run, exit })?)
    }

    fn node(&self) -> TreeNode {
        let now_ms = self.ports.clock.now_ms();
        let state = if self.run.head.cancelled_by.is_some() {
            "being cancelled"
        } else if self.stopping {
            "stopping"
        } else if self.draining {
            "taking nothing new"
        } else if self.book.is_empty() && self.run.awaits_person() {
            "waiting for a person"
        } else {
            "running"
        };
        TreeNode {
            name: format!("run {} {}", self.run.head.run.short(), self.run.plan.name()),
            kind: row("run").restart.word().to_owned(),
            restarts: 0,
            state: state.to_owned(),
            children: self.book.nodes(&self.run, now_ms),
        }
    }
}

/// The run of a supervisor, for its name.
#[must_use]
pub fn actor_name(run: RunId) -> String {
    format!("run/{run}")
}
