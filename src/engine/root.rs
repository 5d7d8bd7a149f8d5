//! The root of the supervision tree: starts what `tree` lists, in order, and starts it again when it dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Ports;
use super::broker::{Broker, BrokerArguments};
use super::paid::actor::{Claude, ClaudeArguments};
use super::paid::{self, PaidModels};
use super::registry::{Registry, RegistryMessage};
use super::supervisor::{Beginning, RunExit};
use super::tree::{Intensity, Row, TREE, TreeNode};
use crate::domain::command::{Command, Refusal};
use crate::domain::ids::RunId;

/// Restarts of the root's children, all together, before it gives up.
const RESTARTS_MAX: u32 = 3;
/// How long an answer from the tree may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long a request to a run may take: it is answered when durable.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Something permanent that is no actor by itself: the root keeps it running through an actor of its name.
pub trait Service: Send + Sync + std::fmt::Debug + 'static {
    /// Works until `stop` is cancelled, then puts things in order.
    ///
    /// # Errors
    /// Why it cannot go on; it is started again within the limits of the tree.
    fn run(&self, stop: CancellationToken) -> BoxFuture<'static, Result<(), String>>;

    /// Its line in `show --tree`, and its children.
    fn node(&self) -> (String, Vec<TreeNode>);
}

/// The engine, from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    root: ActorRef<RootMessage>,
    registry: RegistryDoor,
    gave_up: watch::Receiver<Option<String>>,
}

/// The way to the registry, which is another actor after each restart.
#[derive(Clone, Debug, Default)]
pub struct RegistryDoor(Arc<Mutex<Option<ActorRef<RegistryMessage>>>>);

impl RegistryDoor {
    fn get(&self) -> Option<ActorRef<RegistryMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, registry: ActorRef<RegistryMessage>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(registry);
    }

    /// Passes a command to a run and waits until its events are durable; `None` when the run is not here.
    pub async fn request(&self, run: RunId, command: Command) -> Option<Result<(), Refusal>> {
        let registry = self.get()?;
        let command = Box::new(command);
        match registry.call(|reply| RegistryMessage::Request { run, command, reply }, Some(REQUEST_LIMIT)).await {
            Ok(CallResult::Success(answer)) => answer,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
        }
    }

    /// Runs that are here now.
    pub async fn runs(&self) -> Vec<RunId> {
        let Some(registry) = self.get() else { return Vec::new() };
        match registry.call(RegistryMessage::Runs, Some(ANSWER_LIMIT)).await {
            Ok(CallResult::Success(runs)) => runs,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Vec::new(),
        }
    }
}

/// Why the engine cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// An actor of the tree could not be started, or is gone.
    #[error("the engine is not running: {0}")]
    NotRunning(String),
}

impl Engine {
    /// Starts the tree. `services` are named after rows of the tree; `door` is given to them beforehand.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`] when a child does not start.
    pub async fn start(
        ports: Ports,
        services: BTreeMap<&'static str, Arc<dyn Service>>,
        door: RegistryDoor,
    ) -> Result<Self, EngineError> {
        let (tell, gave_up) = watch::channel(None);
        let arguments = RootArguments { ports, services, door: door.clone(), tell };
        let (root, _) =
            Root::spawn(None, Root, arguments).await.map_err(|error| EngineError::NotRunning(error.to_string()))?;
        Ok(Self { root, registry: door, gave_up })
    }

    /// Starts a run; the receiver learns how it left.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub fn start_run(
        &self,
        run: RunId,
        beginning: Beginning,
        leaves_when_waiting: bool,
    ) -> Result<oneshot::Receiver<RunExit>, EngineError> {
        let gone = || EngineError::NotRunning("the run registry is gone".to_owned());
        let (exit, left) = oneshot::channel();
        let registry = self.registry.get().ok_or_else(gone)?;
        let message = RegistryMessage::Start { run, beginning, exit, leaves_when_waiting };
        registry.cast(message).map_err(|_| gone())?;
        Ok(left)
    }

    /// The way to the registry.
    #[must_use]
    pub const fn door(&self) -> &RegistryDoor {
        &self.registry
    }

    /// No run takes anything new; each leaves when what it has in flight has ended.
    pub fn drain(&self) {
        if let Some(registry) = self.registry.get() {
            // A registry that is gone has no runs.
            let _ = registry.cast(RegistryMessage::Drain);
        }
    }

    /// All runs stop what they have in flight and leave.
    pub fn stop_runs(&self) {
        if let Some(registry) = self.registry.get() {
            // A registry that is gone has no runs.
            let _ = registry.cast(RegistryMessage::Stop);
        }
    }

    /// Resolves with the reason when the tree has given up.
    pub async fn gave_up(&self) -> String {
        let mut gave_up = self.gave_up.clone();
        match gave_up.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the root of the tree is gone".to_owned(),
        }
    }

    /// The tree as it is now.
    pub async fn tree(&self) -> Option<TreeNode> {
        tree_of(&self.root).await
    }

    /// A way to ask for the tree that does not keep the engine alive.
    #[must_use]
    pub fn tree_asker(&self) -> Arc<dyn Fn() -> BoxFuture<'static, Option<TreeNode>> + Send + Sync> {
        let root = self.root.clone();
        Arc::new(move || {
            let root = root.clone();
            Box::pin(async move { tree_of(&root).await })
        })
    }

    /// Stops the tree, bottom up.
    pub async fn shut_down(self) {
        let limit: u64 = TREE.iter().map(|row| row.shutdown_ms).sum();
        // After the limit the process ends anyway, and the journal has everything.
        let _ = self.root.stop_and_wait(None, Some(Duration::from_millis(limit))).await;
    }
}

async fn tree_of(root: &ActorRef<RootMessage>) -> Option<TreeNode> {
    match root.call(RootMessage::Tree, Some(ANSWER_LIMIT)).await {
        Ok(CallResult::Success(node)) => Some(node),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}

#[derive(Debug)]
enum RootMessage {
    Tree(RpcReplyPort<TreeNode>),
}

#[derive(Debug)]
struct Root;

struct RootArguments {
    ports: Ports,
    services: BTreeMap<&'static str, Arc<dyn Service>>,
    door: RegistryDoor,
    tell: watch::Sender<Option<String>>,
}

struct RootState {
    arguments: RootArguments,
    /// The way to paid calls, where anybody sells answers.
    paid: Option<paid::Door>,
    children: Vec<Child>,
    intensity: Intensity,
}

struct Child {
    row: &'static Row,
    cell: ActorCell,
    restarts: u32,
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        mut arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // From here on who sells stands behind the tree's own door.
        let paid = arguments.ports.paid.take().map(paid::Door::new);
        arguments.ports.paid = paid.clone().map(|door| Arc::new(door) as Arc<dyn PaidModels>);
        let mut state = RootState { arguments, paid, children: Vec::new(), intensity: Intensity::default() };
        for row in TREE.iter().filter(|row| row.parent.is_empty() && row.is_built) {
            let cell = state.spawn(&myself, row).await?;
            state.children.push(Child { row, cell, restarts: 0 });
        }
        Ok(state)
    }

    async fn post_stop(&self, _myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        for child in state.children.iter().rev() {
            stop(child).await;
        }
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::Tree(reply) => {
                let node = state.node().await;
                // An asker that has gone away needs no answer.
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
        let (id, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell.get_id(), reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        let Some(at) = state.children.iter().position(|child| child.cell.get_id() == id) else { return Ok(()) };
        let row = state.children[at].row;
        tracing::error!(actor = row.name, why, "an actor of the tree died");
        let now_ms = state.arguments.ports.clock.now_ms();
        state.children[at].restarts += 1;
        let is_within = state.intensity.allows(now_ms, RESTARTS_MAX) && state.children[at].restarts <= row.restarts_max;
        if !is_within {
            let reason = format!("{} died: {why}", row.name);
            // The engine's owner ends the process; without one nobody has to know.
            let _ = state.arguments.tell.send(Some(reason.clone()));
            myself.stop(Some(reason));
            return Ok(());
        }
        for child in state.children[at + 1..].iter().rev() {
            stop(child).await;
        }
        for at in at..state.children.len() {
            let cell = state.spawn(&myself, state.children[at].row).await?;
            state.children[at].cell = cell;
        }
        Ok(())
    }
}

async fn stop(child: &Child) {
    let limit = Duration::from_millis(child.row.shutdown_ms);
    if child.cell.stop_and_wait(None, Some(limit)).await.is_err() {
        child.cell.kill();
    }
}

impl RootState {
    async fn spawn(&self, myself: &ActorRef<RootMessage>, row: &'static Row) -> Result<ActorCell, ActorProcessingErr> {
        let parent = myself.get_cell();
        if row.name == "run-registry" {
            let (registry, _) = Registry::spawn_linked(None, Registry, self.arguments.ports.clone(), parent).await?;
            self.arguments.door.set(registry.clone());
            return Ok(registry.get_cell());
        }
        if row.name == "model-broker"
            && let Some(door) = self.arguments.ports.models.door()
        {
            let Ports { model_servers, clock, .. } = &self.arguments.ports;
            let arguments = BrokerArguments { door, servers: model_servers.clone(), clock: clock.clone() };
            let (broker, _) = Broker::spawn_linked(None, Broker, arguments, parent).await?;
            return Ok(broker.get_cell());
        }
        if row.name == "claude"
            && let Some(door) = &self.paid
        {
            let arguments = ClaudeArguments { door: door.clone(), clock: self.arguments.ports.clock.clone() };
            let (claude, _) = Claude::spawn_linked(None, Claude, arguments, parent).await?;
            return Ok(claude.get_cell());
        }
        let service = self.arguments.services.get(row.name).cloned();
        let (actor, _) = Keeper::spawn_linked(None, Keeper, (row, service), parent).await?;
        Ok(actor.get_cell())
    }

    async fn node(&self) -> TreeNode {
        let mut children = Vec::new();
        for child in &self.children {
            let mut node = if child.row.name == "run-registry" {
                match self.arguments.door.get() {
                    Some(registry) => match registry.call(RegistryMessage::Status, Some(ANSWER_LIMIT)).await {
                        Ok(CallResult::Success(node)) => node,
                        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => silent(child.row),
                    },
                    None => silent(child.row),
                }
            } else if child.row.name == "model-broker" {
                let children = self.arguments.ports.models.nodes();
                let count = children.len();
                let state = format!("shares out {count} server{}", if count == 1 { "" } else { "s" });
                TreeNode { state, children, ..silent(child.row) }
            } else if child.row.name == "claude" {
                let state = self.paid.as_ref().map_or_else(|| "off".to_owned(), paid::Door::state);
                TreeNode { state, ..silent(child.row) }
            } else {
                let (state, children) = match self.arguments.services.get(child.row.name) {
                    Some(service) => service.node(),
                    None => ("idle".to_owned(), Vec::new()),
                };
                TreeNode { state, children, ..silent(child.row) }
            };
            node.restarts = child.restarts;
            children.push(node);
        }
        TreeNode {
            name: "root".to_owned(),
            kind: "rest_for_one".to_owned(),
            restarts: 0,
            state: format!("gives up after {RESTARTS_MAX} restarts in 60 s"),
            children,
        }
    }
}

fn silent(row: &Row) -> TreeNode {
    TreeNode {
        name: row.name.to_owned(),
        kind: row.restart.word().to_owned(),
        restarts: 0,
        state: "does not answer".to_owned(),
        children: Vec::new(),
    }
}

/// Keeps a [`Service`] running as an actor of the tree.
#[derive(Debug)]
struct Keeper;

#[derive(Debug)]
enum KeeperMessage {
    Ended(Result<(), String>),
}

struct KeeperState {
    row: &'static Row,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Actor for Keeper {
    type Msg = KeeperMessage;
    type State = KeeperState;
    type Arguments = (&'static Row, Option<Arc<dyn Service>>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (row, service): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let stop = CancellationToken::new();
        let task = service.map(|service| {
            let (stop, keeper) = (stop.clone(), myself.clone());
            let works = async move {
                let result = service.run(stop).await;
                // A keeper that is gone was stopped: it waits for the end of this task, not for its word.
                let _ = keeper.cast(KeeperMessage::Ended(result));
            };
            #[expect(clippy::disallowed_methods, reason = "its handle is kept, and awaited at the stop")]
            tokio::spawn(works)
        });
        Ok(KeeperState { row, stop, task })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let KeeperMessage::Ended(result) = message;
        match result {
            Ok(()) if state.stop.is_cancelled() => Ok(()),
            Ok(()) => Err(format!("{} ended by itself", state.row.name).into()),
            Err(why) => Err(why.into()),
        }
    }

    async fn post_stop(&self, _myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        state.stop.cancel();
        if let Some(task) = state.task.take() {
            let limit = Duration::from_millis(state.row.shutdown_ms);
            // What does not end in time ends with the process.
            let _ = tokio::time::timeout(limit, task).await;
        }
        Ok(())
    }
}
