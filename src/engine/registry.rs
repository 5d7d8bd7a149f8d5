//! The run registry: starts run supervisors, passes requests on to them, and knows how each run left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::{Semaphore, oneshot};

use super::Ports;
use super::supervisor::{Beginning, RunArguments, RunExit, RunMessage, RunSupervisor, actor_name};
use super::tree::{Intensity, TreeNode, row};
use crate::domain::command::{Command, Refusal};
use crate::domain::ids::RunId;

/// How long a run supervisor may take to tell what it is doing.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// What the registry is told.
#[derive(Debug)]
pub enum RegistryMessage {
    /// Start a run.
    Start {
        /// The run.
        run: RunId,
        /// New or existing.
        beginning: Beginning,
        /// Who is told how it left.
        exit: oneshot::Sender<RunExit>,
        /// Leave when only a person can free it.
        leaves_when_waiting: bool,
    },
    /// A run has left its supervisor.
    Left {
        /// The run.
        run: RunId,
        /// How.
        exit: RunExit,
    },
    /// Pass a command on.
    Request {
        /// The run.
        run: RunId,
        /// What is asked.
        command: Box<Command>,
        /// Answered when durable; `None` when the run is not here.
        reply: RpcReplyPort<Option<Result<(), Refusal>>>,
    },
    /// Start nothing new.
    Drain,
    /// Stop all runs.
    Stop,
    /// The runs here.
    Runs(RpcReplyPort<Vec<RunId>>),
    /// What is going on.
    Status(RpcReplyPort<TreeNode>),
}

/// The registry.
#[derive(Debug)]
pub struct Registry;

/// Its memory.
#[derive(Debug)]
pub struct RegistryState {
    ports: Ports,
    permits: Arc<Semaphore>,
    runs: HashMap<RunId, Running>,
}

#[derive(Debug)]
struct Running {
    supervisor: ActorRef<RunMessage>,
    exit: Option<oneshot::Sender<RunExit>>,
    leaves_when_waiting: bool,
    intensity: Intensity,
    restarts: u32,
}

impl Actor for Registry {
    type Msg = RegistryMessage;
    type State = RegistryState;
    type Arguments = Ports;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        ports: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let permits = Arc::new(Semaphore::new(ports.attempts_max));
        Ok(RegistryState { ports, permits, runs: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegistryMessage::Start { run, beginning, exit, leaves_when_waiting } => {
                let supervisor = state.spawn(&myself, run, beginning, leaves_when_waiting).await?;
                let running = Running {
                    supervisor,
                    exit: Some(exit),
                    leaves_when_waiting,
                    intensity: Intensity::default(),
                    restarts: 0,
                };
                state.runs.insert(run, running);
            }
            RegistryMessage::Left { run, exit } => state.left(run, exit),
            RegistryMessage::Request { run, command, reply } => state.request(run, command, reply),
            RegistryMessage::Drain => state.tell_all(|| RunMessage::Drain),
            RegistryMessage::Stop => state.tell_all(|| RunMessage::Stop),
            RegistryMessage::Runs(reply) => {
                // An asker that has gone away needs no answer.
                let _ = reply.send(state.runs.keys().copied().collect());
            }
            RegistryMessage::Status(reply) => {
                let node = state.node().await;
                let _ = reply.send(node);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                state.restart(&myself, cell.get_id(), &error.to_string()).await?;
            }
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                state.restart(&myself, cell.get_id(), "its supervisor was stopped").await?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl RegistryState {
    async fn spawn(
        &self,
        myself: &ActorRef<RegistryMessage>,
        run: RunId,
        beginning: Beginning,
        leaves_when_waiting: bool,
    ) -> Result<ActorRef<RunMessage>, ActorProcessingErr> {
        let arguments = RunArguments {
            beginning,
            ports: self.ports.clone(),
            registry: myself.clone(),
            permits: self.permits.clone(),
            leaves_when_waiting,
        };
        let spawned =
            RunSupervisor::spawn_linked(Some(actor_name(run)), RunSupervisor, arguments, myself.get_cell()).await;
        Ok(spawned.map_err(|error| format!("cannot start the supervisor of run {run}: {error}"))?.0)
    }

    fn left(&mut self, run: RunId, exit: RunExit) {
        if let Some(mut running) = self.runs.remove(&run) {
            running.supervisor.stop(None);
            if let Some(sender) = running.exit.take() {
                // Nobody waits for a run whose starter is gone.
                let _ = sender.send(exit);
            }
        }
    }

    fn request(&self, run: RunId, command: Box<Command>, reply: RpcReplyPort<Option<Result<(), Refusal>>>) {
        let Some(running) = self.runs.get(&run) else {
            let _ = reply.send(None);
            return;
        };
        let supervisor = running.supervisor.clone();
        let passes_on = async move {
            let answer = supervisor.call(|port| RunMessage::Request(*command, port), None).await;
            let _ = reply.send(match answer {
                Ok(CallResult::Success(answer)) => Some(answer),
                Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
            });
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the run's answer, or with the run")]
        tokio::spawn(passes_on);
    }

    fn tell_all(&self, message: impl Fn() -> RunMessage) {
        for running in self.runs.values() {
            // A run that has just ended needs no telling.
            let _ = running.supervisor.cast(message());
        }
    }

    /// A supervisor that died before its run left is started again from the durable state, within limits.
    async fn restart(
        &mut self,
        myself: &ActorRef<RegistryMessage>,
        actor: ActorId,
        why: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(run) = self.runs.iter().find(|(_, running)| running.supervisor.get_id() == actor).map(|(run, _)| *run)
        else {
            return Ok(());
        };
        let now_ms = self.ports.clock.now_ms();
        let memory = self.ports.memory.clone();
        let running = self.runs.get_mut(&run).expect("it was found above");
        let is_allowed = running.intensity.allows(now_ms, row("run").restarts_max);
        let leaves_when_waiting = running.leaves_when_waiting;
        tracing::error!(%run, why, is_allowed, "a run supervisor died");
        let state = match is_allowed {
            true => tokio::task::spawn_blocking(move || memory.run(run)).await.ok().flatten(),
            false => None,
        };
        match state {
            Some(state) if state.head.end.is_none() => {
                let beginning = Beginning::Existing { run: Box::new(state), budget_microdollars: None };
                let supervisor = self.spawn(myself, run, beginning, leaves_when_waiting).await?;
                let running = self.runs.get_mut(&run).expect("it was found above");
                running.supervisor = supervisor;
                running.restarts += 1;
            }
            Some(state) => {
                let end = state.head.end.expect("it was not `None` above");
                self.left(run, RunExit::Ended(end));
            }
            None => self.left(run, RunExit::Fault(why.to_owned())),
        }
        Ok(())
    }

    async fn node(&self) -> TreeNode {
        let mut children = Vec::new();
        for running in self.runs.values() {
            if let Ok(CallResult::Success(mut node)) =
                running.supervisor.call(RunMessage::Status, Some(STATUS_LIMIT)).await
            {
                node.restarts = running.restarts;
                children.push(node);
            }
        }
        children.sort_by(|left, right| left.name.cmp(&right.name));
        let registry = row("run-registry");
        TreeNode {
            name: registry.name.to_owned(),
            kind: registry.restart.word().to_owned(),
            restarts: 0,
            state: format!("at work on {} run{}", children.len(), if children.len() == 1 { "" } else { "s" }),
            children,
        }
    }
}
