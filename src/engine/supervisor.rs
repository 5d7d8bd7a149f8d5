//! The run supervisor: owns one run. Everything that happens to the run arrives here as a message and becomes a command.
//!
//! It never waits for a tool or a disk inside a handler. While an append is on its way to the disk the run goes on as far
//! as nothing outside is touched: steps open, tasks are prepared, what only reads acts. Nothing is changed outside, and
//! nobody is told anything, before the append that allows it has returned.

mod batch;
mod book;
mod outcome;
mod turn;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Ports;
use super::attempt::{Attempt, AttemptArguments, AttemptMessage, Purpose};
use super::jobs::Jobs;
use super::registry::RegistryMessage;
use super::roles::Role;
use super::tree::{TreeNode, row};
use super::work::{Done, Intent, Opened, Prepared};
use crate::domain::command::{Command, Refusal};
use crate::domain::event::{Event, RunEnd, Stamped};
use crate::domain::failure::Failure;
use crate::domain::ids::{AskId, RunId, StepIndex, TaskId};
use crate::domain::plan::RepeatClass;
use crate::domain::run::{Due, RunState, TaskPhase, apply, consequences, decide, due, fold};
use crate::domain::verdict::{Judge, Verdict};
use crate::journal::AppendError;
use crate::telemetry;

use batch::Batch;
use book::{Book, Entry, Loss};
use outcome::lost_with_the_process;
use turn::Turns;

/// How often deadlines and retry times are looked at, and the longest time that a beginning waits for company.
const TICK: Duration = Duration::from_millis(200);
/// How long durable events may be kept from their readers because later ones are decided already.
const UNREAD_LIMIT: Duration = Duration::from_millis(100);
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
    /// Judging a stored output, by checks or by a second model.
    Judge(TaskId),
    /// Moving the files of an accepted task into place.
    Place(TaskId),
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
    /// An actor has something to tell.
    News {
        /// The actor.
        actor: ActorId,
        /// Its place in the book.
        key: WorkKey,
        /// What it tells.
        news: News,
    },
    /// The append on its way has returned.
    Appended(Result<(), AppendError>),
    /// Decide what has come in, and start what is due.
    Advance,
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
    /// Folders that nobody needs any more are gone.
    Swept,
}

/// What an attempt actor tells.
#[derive(Debug)]
pub enum News {
    /// A step's condition and items are known.
    Opened(Opened),
    /// A task is ready to act; if it only reads, it acts already.
    Intends(Intent),
    /// A task needs no attempt, or cannot have one.
    Prepared(Prepared),
    /// A task has acted.
    Acted(Done),
    /// A stored output was judged.
    Judged {
        /// The attempt that made it.
        attempt: u32,
        /// The verdict.
        verdict: Verdict,
    },
    /// The files of a task are in place, or something stands in the way.
    Placed(Option<Failure>),
    /// A step was judged.
    StepJudged(Verdict),
}

/// How a supervisor begins.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// With the first event of a new run.
    New(Box<Event>),
    /// With the state of a run that has not ended.
    Existing {
        /// The run.
        run: Box<RunState>,
        /// What its paid calls may cost from now on, where the person says so.
        budget_microdollars: Option<u64>,
    },
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
    ports: Arc<Ports>,
    registry: ActorRef<RegistryMessage>,
    turns: Turns,
    leaves_when_waiting: bool,
    /// The state with all that is decided, durable or not.
    run: RunState,
    inbox: VecDeque<Input>,
    /// What is decided and not on its way to the disk.
    batch: Batch,
    /// What is on its way.
    flight: Option<Batch>,
    /// What is durable and was not shown to the readers: they see no state that holds more than is durable.
    unread: Vec<Stamped>,
    unread_since: Instant,
    /// `Advance` is on its way.
    is_gathering: bool,
    book: Book,
    jobs: Jobs,
    spans: HashMap<StepIndex, tracing::Span>,
    span: tracing::Span,
    draining: bool,
    stopping: bool,
    has_left: bool,
    spawned: u64,
    /// Accepted tasks whose acceptance is durable: their files may be moved.
    placeable: BTreeSet<TaskId>,
    /// Removals of folders under way.
    sweeps: usize,
}

/// What waits to be decided. News are looked at only then: what an attempt may do is known when all before is decided.
#[derive(Debug)]
enum Input {
    Command(Command),
    Request(Command, RpcReplyPort<Result<(), Refusal>>),
    News(ActorId, WorkKey, News),
    CheckLost(ActorId, Loss),
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
        let mut batch = Batch::default();
        let mut inbox = VecDeque::new();
        let mut placeable = BTreeSet::new();
        let run = match arguments.beginning {
            Beginning::New(first) => {
                let stamped = Stamped::new(now_ms, *first);
                let run = fold(None, &stamped)?;
                batch.push(stamped);
                run
            }
            Beginning::Existing { run, budget_microdollars } => {
                placeable = outcome::take_up(&run, &arguments.ports).await;
                let unclean = run.open_attempts().next().is_some();
                inbox.push_back(Input::Command(Command::Resume { unclean, budget_microdollars }));
                inbox.extend(lost_with_the_process(&run, &arguments.ports).into_iter().map(Input::Command));
                *run
            }
        };
        let jobs = Jobs::new(arguments.ports.blobs.clone());
        let span = telemetry::run_span(&run.head.run, run.plan.name());
        myself.cast(RunMessage::Begin)?;
        Ok(SupervisorState {
            ports: Arc::new(arguments.ports),
            registry: arguments.registry,
            turns: Turns::new(arguments.permits),
            leaves_when_waiting: arguments.leaves_when_waiting,
            run,
            inbox,
            batch,
            flight: None,
            unread: Vec::new(),
            unread_since: Instant::now(),
            is_gathering: false,
            book: Book::default(),
            jobs,
            spans: HashMap::new(),
            span,
            draining: false,
            stopping: false,
            has_left: false,
            spawned: 0,
            placeable,
            sweeps: 0,
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
            RunMessage::News { actor, key, news } => state.inbox.push_back(Input::News(actor, key, news)),
            RunMessage::Appended(result) => state.appended(&myself, result)?,
            RunMessage::Swept => state.sweeps -= 1,
            RunMessage::Tick => {
                state.book.kill_overdue(state.ports.clock.now_ms());
                state.batch.hurry();
                myself.send_after(TICK, || RunMessage::Tick);
            }
            RunMessage::Turn(permit) => state.turns.bring(permit),
            RunMessage::CheckLost { actor, loss } => state.inbox.push_back(Input::CheckLost(actor, loss)),
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
            RunMessage::Advance => {
                state.is_gathering = false;
                return state.advance(&myself).await;
            }
        }
        // Behind all that lies in the mailbox by now: what came together is taken together.
        if !state.is_gathering {
            state.is_gathering = true;
            myself.cast(RunMessage::Advance)?;
        }
        Ok(())
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
    /// The only place where a run changes. What waits is taken together, with all that follows from it.
    async fn advance(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        if self.has_left {
            return Ok(());
        }
        while self.may_decide()
            && let Some(input) = self.inbox.pop_front()
        {
            match input {
                Input::Command(command) => {
                    self.command(command);
                }
                Input::Request(command, reply) => match self.decide(command) {
                    Ok(()) => self.batch.replies.push(reply),
                    Err(refusal) => {
                        // An asker that has gone away needs no answer.
                        let _ = reply.send(Err(refusal));
                    }
                },
                Input::News(actor, key, news) => self.news(actor, key, news),
                Input::CheckLost(actor, loss) => self.lost(actor, loss),
            }
        }
        self.consequences()?;
        if self.batch.must_go() || self.is_late() {
            self.append(myself);
        }
        self.start_due(myself).await?;
        if self.book.is_empty() && self.inbox.is_empty() {
            // Nobody is there whose news the rest could wait for.
            self.append(myself);
        }
        if self.flight.is_none() && self.batch.is_empty() {
            self.batch.answer();
            return self.leave_if_done();
        }
        Ok(())
    }

    /// Events collect behind the append that is on its way, up to a limit.
    fn may_decide(&self) -> bool {
        (self.flight.is_none() || !self.batch.is_full()) && !self.is_late()
    }

    /// Readers have waited long enough: nothing new is decided until all that is decided is durable.
    fn is_late(&self) -> bool {
        !self.unread.is_empty() && self.unread_since.elapsed() > UNREAD_LIMIT
    }

    fn consequences(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let follows = consequences(&self.run);
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
                Event::AttemptStarted { task, attempt, repeat, .. } => {
                    let key = WorkKey::Task(*task);
                    if self.book.record_attempt(key, *attempt) {
                        match repeat {
                            RepeatClass::Read => self.book.reads(key, self.deadline_ms(key, now_ms)),
                            RepeatClass::Idempotent | RepeatClass::Unsafe => self.batch.released.push(key),
                        }
                    }
                }
                Event::StepEnded { step, .. } => self.forget(*step),
                _ => {}
            }
            self.release_claim(&stamped.event);
            self.batch.push(stamped);
        }
        Ok(())
    }

    /// Decides what nobody waits for. An attempt that may not start is let go; anything else that is refused came too
    /// late and changes nothing. False when it was refused.
    fn command(&mut self, command: Command) -> bool {
        let started = if let Command::StartAttempt { task, .. } = &command { Some(*task) } else { None };
        let Err(refusal) = self.decide(command) else { return true };
        tracing::debug!(parent: &self.span, %refusal, ?started, "refused");
        if let Some(task) = started {
            self.book.close(WorkKey::Task(task));
        }
        false
    }

    /// What was kept for a step that has ended.
    fn forget(&mut self, step: StepIndex) {
        self.jobs.forget(step);
        self.spans.remove(&step);
    }

    /// Sends what is decided to the disk, unless something is on its way already.
    fn append(&mut self, myself: &ActorRef<RunMessage>) {
        if self.flight.is_some() || self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let payloads = std::mem::take(&mut batch.payloads);
        let first_seq = self.run.head.seq + 1 - payloads.len() as u64;
        self.flight = Some(batch);
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

    fn appended(
        &mut self,
        myself: &ActorRef<RunMessage>,
        result: Result<(), AppendError>,
    ) -> Result<(), ActorProcessingErr> {
        result?;
        let mut batch = self.flight.take().expect("one append is on its way at a time");
        let is_cancelled = batch.events.iter().any(|stamped| matches!(stamped.event, Event::CancelAsked { .. }));
        self.placeable.extend(batch.events.iter().filter_map(|stamped| match &stamped.event {
            Event::TaskAccepted { task } => Some(*task),
            _ => None,
        }));
        self.sweep(myself, &batch.events);
        self.show(std::mem::take(&mut batch.events));
        batch.answer();
        let now_ms = self.ports.clock.now_ms();
        for key in batch.released {
            self.book.act(key, self.deadline_ms(key, now_ms));
        }
        if is_cancelled {
            self.book.kill_attempts();
        }
        Ok(())
    }

    /// Shows durable events to the readers, at the latest when nothing more is decided than is durable.
    fn show(&mut self, events: Vec<Stamped>) {
        if self.ports.readers.is_empty() {
            return;
        }
        if self.unread.is_empty() {
            self.unread_since = Instant::now();
        }
        self.unread.extend(events);
        if self.batch.is_empty() {
            for reader in &self.ports.readers {
                reader.durable(&self.run, &self.unread);
            }
            self.unread.clear();
        }
    }

    fn deadline_ms(&self, key: WorkKey, now_ms: u64) -> u64 {
        let limit_ms = match key {
            WorkKey::Task(task) | WorkKey::Judge(task) => self.run.step(task.step).timeout_ms,
            _ => PREPARE_LIMIT_MS,
        };
        now_ms.saturating_add(limit_ms).saturating_add(DEADLINE_GRACE_MS)
    }

    /// Starts what became due and is not in flight; later steps first, so that what is begun is finished.
    async fn start_due(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        let started = self.start_within_permits(myself).await;
        self.turns.give_back();
        started
    }

    async fn start_within_permits(&mut self, myself: &ActorRef<RunMessage>) -> Result<(), ActorProcessingErr> {
        if self.stopping || self.run.head.end.is_some() {
            return Ok(());
        }
        let is_over = self.draining || self.run.head.cancelled_by.is_some();
        let now_ms = self.ports.clock.now_ms();
        let mut work = due(&self.run);
        work.sort_by_key(|due| std::cmp::Reverse(due.step()));
        // What is accepted is put in place, whatever becomes of the rest.
        work.retain(|due| !is_over || matches!(due, Due::Place { .. }));
        for due in work {
            let (key, purpose) = match due {
                Due::Open { step } => (WorkKey::Open(step), Purpose::Open),
                Due::Start { task } => (WorkKey::Task(task), Purpose::Task),
                Due::StartAt { task, at_ms } if at_ms <= now_ms => (WorkKey::Task(task), Purpose::Task),
                Due::Judge { task, attempt, by: by @ (Judge::Checks | Judge::Agreement) } => {
                    let TaskPhase::Judging { output, staged, .. } = &self.run.tasks[&task].phase else { continue };
                    let (output, staged) = (output.clone(), staged.clone());
                    let purpose = match by {
                        Judge::Agreement => Purpose::Second { attempt, output, staged },
                        _ => Purpose::Judge { attempt, output, staged },
                    };
                    (WorkKey::Judge(task), purpose)
                }
                Due::Place { task } if !self.placeable.contains(&task) => continue,
                Due::Place { task } => {
                    let TaskPhase::Placing { staged, .. } = &self.run.tasks[&task].phase else { continue };
                    (WorkKey::Place(task), Purpose::Place { staged: staged.clone() })
                }
                Due::JudgeStep { step } => (WorkKey::JudgeStep(step), Purpose::JudgeStep),
                Due::Hold { step } => {
                    let ask = AskId(self.ports.ids.uuid());
                    self.command(Command::HoldStep { step, ask });
                    continue;
                }
                // Consequences were taken before; a validator speaks by itself.
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
        permit: OwnedSemaphorePermit,
    ) -> Result<(), ActorProcessingErr> {
        let job = match key {
            WorkKey::Open(step) => self.jobs.opening(&self.run, step),
            WorkKey::JudgeStep(step) => self.jobs.judging_step(&self.run, step),
            WorkKey::Task(task) | WorkKey::Judge(task) | WorkKey::Place(task) => self.jobs.task(&self.run, task),
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
            deadline_ms: now_ms + PREPARE_LIMIT_MS.max(self.deadline_ms(key, 0)),
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
        let exit = if let Some(end) = self.run.head.end.filter(|_| self.sweeps == 0) {
            RunExit::Ended(end)
        } else if !self.book.is_empty() || self.sweeps > 0 {
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
        self.ports.staging.leave(&self.run);
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
