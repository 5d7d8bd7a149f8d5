//! Actors only: the supervision tree, run supervisors, attempt actors, and what they need from outside.
//!
//! The engine sees ports, never Ollama, sled or a file: [`Ports`] is all that it has.

pub mod attempt;
pub mod broker;
pub mod jobs;
pub mod ladders;
pub mod paid;
pub mod registry;
pub mod roles;
pub mod root;
pub mod staging;
pub mod supervisor;
pub mod tree;
pub mod values;
pub mod work;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use uuid::Uuid;

use crate::agent::AgentSpec;
use crate::agent::turns::Defaults;
use crate::database::Databases;
use crate::domain::event::Stamped;
use crate::domain::ids::{Digest, RunId};
use crate::domain::run::RunState;
use crate::journal::Journal;
use crate::journal::blobs::Blobs;
use crate::model::{ModelError, ModelInfo, ModelServers, Reply, Request, split_rung};
use crate::state::{Place, Reusable, Seen};
use crate::tool::ToolBox;

pub use ladders::Ladders;
pub use staging::Staging;

/// Tells the time. The only way for the engine to know it.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// Makes ids.
pub trait Ids: Send + Sync + Debug + 'static {
    /// A new UUIDv7.
    fn uuid(&self) -> Uuid;
}

/// What earlier runs have done.
pub trait Memory: Send + Sync + Debug + 'static {
    /// The done output with this identity.
    fn reusable(&self, identity: &Digest) -> Option<Reusable>;
    /// What stood at this place last.
    fn seen(&self, place: &Place) -> Option<Seen>;
    /// The durable state of a run. Blocking.
    fn run(&self, run: RunId) -> Option<RunState>;
}

/// Watches over the tool servers.
pub trait ServerControl: Send + Sync + Debug + 'static {
    /// One node for each server that was started.
    fn nodes(&self) -> Vec<tree::TreeNode>;
    /// Closes all, to the last grandchild.
    fn close_all(&self) -> BoxFuture<'_, ()>;
}

/// Shares out model servers.
pub trait Models: Send + Sync + Debug + 'static {
    /// Waits for a slot of the rung's server and asks; `request.model` is the model part of `rung` (`SERVER:MODEL`).
    ///
    /// # Errors
    /// Every variant of [`ModelError`]; a server behind an open breaker is unreachable at once.
    fn ask<'a>(&'a self, rung: &'a str, request: Request) -> BoxFuture<'a, Result<Reply, ModelError>>;
    /// As [`Models::ask`], with a name for who asks (a run): askers take turns, and none waits behind another's batch for
    /// longer than the bound.
    ///
    /// # Errors
    /// Those of [`Models::ask`].
    fn ask_for<'a>(
        &'a self,
        _asker: &'a str,
        rung: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.ask(rung, request)
    }
    /// What the server knows of a rung's model; kept for a while.
    ///
    /// # Errors
    /// As [`ModelServer::model`](crate::model::ModelServer::model).
    fn info<'a>(&'a self, rung: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>>;
    /// What does not answer now: servers by name, and models of servers that do answer as rungs (`SERVER:MODEL`).
    fn away(&self) -> Vec<String>;
    /// Whether a rung would be refused now.
    fn is_away(&self, rung: &str) -> bool {
        let server = split_rung(rung).map(|(server, _)| server);
        let latest = rung.strip_suffix(":latest");
        self.away().iter().any(|away| away == rung || Some(away.as_str()) == server || Some(away.as_str()) == latest)
    }
    /// How fast the models were in the calls made here.
    fn measured(&self) -> Vec<broker::Measured> {
        Vec::new()
    }
    /// Every value that was measured in them, for those who keep them.
    fn samples(&self) -> Vec<broker::Samples> {
        Vec::new()
    }
    /// One node for each server.
    fn nodes(&self) -> Vec<tree::TreeNode>;
    /// The door behind which the tree starts its broker; `None`: this is no broker of the tree.
    fn door(&self) -> Option<broker::Door> {
        None
    }
}

/// A reader of durable events: screens, logs, counters. It must not block and cannot fail a run.
pub trait EventReader: Send + Sync + Debug + 'static {
    /// Events that have become durable, with the state after them.
    fn durable(&self, state: &RunState, events: &[Stamped]);
}

/// An agent as the engine sees it.
#[derive(Clone, Debug)]
pub struct AgentCard {
    /// Its text, for the identity.
    pub text: String,
    /// Its output version, for the identity.
    pub output_version: String,
    /// The agent itself, for attempts that ask models.
    pub spec: Arc<AgentSpec>,
}

/// Everything that the engine needs from outside.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The truth.
    pub journal: Arc<dyn Journal>,
    /// Large payloads.
    pub blobs: Arc<Blobs>,
    /// What earlier runs have done.
    pub memory: Arc<dyn Memory>,
    /// Which models a step's tasks climb.
    pub ladders: Arc<Ladders>,
    /// Tools.
    pub tools: Arc<dyn ToolBox>,
    /// The servers behind them.
    pub servers: Arc<dyn ServerControl>,
    /// The model servers, for the broker.
    pub model_servers: ModelServers,
    /// The broker, for attempts.
    pub models: Arc<dyn Models>,
    /// Who sells answers; `None`: nobody, so no task climbs a paid rung.
    pub paid: Option<Arc<dyn paid::PaidModels>>,
    /// Databases.
    pub databases: Arc<dyn Databases>,
    /// The agents by name.
    pub agents: Arc<std::collections::BTreeMap<String, AgentCard>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Who is told of durable events.
    pub readers: Vec<Arc<dyn EventReader>>,
    /// The project folder: paths inside it count relative to it.
    pub workspace: PathBuf,
    /// Id of the project.
    pub project: String,
    /// Paths outside the workspace that the person named for this process.
    pub granted_paths: Vec<PathBuf>,
    /// Where attempts keep their files until they are accepted.
    pub staging: Arc<Staging>,
    /// Attempts at once over all runs.
    pub attempts_max: usize,
    /// What holds for all models where an agent says nothing.
    pub defaults: Arc<Defaults>,
    /// How long a run that leaves when it waits stays for what time alone frees.
    pub park_wait_ms: u64,
}
