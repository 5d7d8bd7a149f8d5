//! An engine on an opened store: what `run`, `resume` and the offline verbs have in common.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::databases::OpenDatabases;
use super::models::asking;
use super::place::Standing;
use super::servers::{Pool, gather};
use super::store::{Store, StoreMemory};
use super::{SystemClock, SystemIds};
use crate::engine::broker::Door;
use crate::engine::root::{Engine, EngineError, RegistryDoor, Service};
use crate::engine::tree::TreeNode;
use crate::engine::{AgentCard, EventReader, Ladders, Ports, ServerControl, Staging};
use crate::journal::segments::Segments;
use crate::model::ModelServers;

/// Folder of large results on their way from our own servers.
#[must_use]
pub fn spill_dir(state_folder: &Path) -> PathBuf {
    state_folder.join("spill")
}

/// Folder of files that attempts wrote and that wait for acceptance.
#[must_use]
pub fn staging_dir(state_folder: &Path) -> PathBuf {
    state_folder.join("staging")
}

/// The staging folders, without those of runs that are over.
fn swept_staging(state_folder: &Path, store: &Store) -> Staging {
    let staging = Staging::new(staging_dir(state_folder));
    if staging_dir(state_folder).is_dir() {
        match store.state.reader().heads() {
            Ok(heads) => {
                staging.sweep(|run| heads.iter().any(|head| head.run == run && head.end.is_none()));
            }
            Err(error) => tracing::warn!(%error, "staging folders were not swept"),
        }
    }
    staging
}

/// Puts the ports together. Nothing is started.
///
/// # Errors
/// This program cannot be found.
pub fn ports(
    standing: &Standing,
    store: &Store,
    granted: &[PathBuf],
    readers: Vec<Arc<dyn EventReader>>,
) -> Result<(Ports, Vec<String>), Vec<String>> {
    let project = standing.project.as_ref().expect("a store belongs to a project");
    let program = std::env::current_exe().map_err(|error| vec![format!("cannot find this program: {error}")])?;
    let tools = gather(standing, &program, granted, &spill_dir(&project.state));
    let ports = Ports {
        journal: store.journal.clone(),
        blobs: store.blobs.clone(),
        memory: Arc::new(StoreMemory(store.state.clone())),
        ladders: Arc::new(Ladders::default()),
        tools: tools.servers.clone(),
        servers: Arc::new(Pool(tools.servers)),
        model_servers: ModelServers::default(),
        paid: None,
        models: Arc::new(Door::default()),
        databases: Arc::new(OpenDatabases::new(project.folder.clone(), granted.to_vec())),
        agents: Arc::new(cards(standing)),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        readers,
        workspace: project.folder.clone(),
        project: project.id.to_string(),
        granted_paths: granted.to_vec(),
        staging: Arc::new(swept_staging(&project.state, store)),
        attempts_max: standing.settings.limits.attempts_max as usize,
        defaults: Arc::new(asking::defaults(&standing.settings)),
        park_wait_ms: standing.settings.limits.park_wait_s.saturating_mul(1_000),
    };
    Ok((ports, tools.notes))
}

/// Agents by name, as the engine has them.
#[must_use]
pub fn cards(standing: &Standing) -> BTreeMap<String, AgentCard> {
    let card = |agent: &crate::agent::AgentSpec| {
        let agent = asking::told(&standing.settings, agent);
        let card = AgentCard {
            text: asking::identity(&standing.settings, &agent),
            output_version: agent.output_version.clone(),
            spec: Arc::new(agent),
        };
        (card.spec.name.clone(), card)
    };
    standing.agents.iter().map(card).collect()
}

/// Starts the engine with its services.
///
/// # Errors
/// [`EngineError`].
pub async fn start(
    ports: Ports,
    journal: Arc<Segments>,
    door: RegistryDoor,
    doors: Option<Arc<dyn Service>>,
) -> Result<Engine, EngineError> {
    let mut services: BTreeMap<&'static str, Arc<dyn Service>> = BTreeMap::new();
    services.insert("journal-writer", Arc::new(JournalWatch(journal)));
    services.insert("tool-host", Arc::new(ToolHost(ports.servers.clone())));
    if let Some(doors) = doors {
        services.insert("doors", doors);
    }
    Engine::start(ports, services, door).await
}

/// Ends the tree when the journal's writer ends.
#[derive(Debug)]
struct JournalWatch(Arc<Segments>);

impl Service for JournalWatch {
    fn run(&self, stop: CancellationToken) -> BoxFuture<'static, Result<(), String>> {
        let ended = self.0.ended();
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                end = ended => end.and_then(|()| Err("the journal was closed".to_owned())),
            }
        })
    }

    fn node(&self) -> (String, Vec<TreeNode>) {
        ("writing".to_owned(), Vec::new())
    }
}

/// Closes the tool servers at the end.
#[derive(Debug)]
struct ToolHost(Arc<dyn ServerControl>);

impl Service for ToolHost {
    fn run(&self, stop: CancellationToken) -> BoxFuture<'static, Result<(), String>> {
        let servers = self.0.clone();
        Box::pin(async move {
            stop.cancelled().await;
            servers.close_all().await;
            Ok(())
        })
    }

    fn node(&self) -> (String, Vec<TreeNode>) {
        let nodes = self.0.nodes();
        (format!("{} started", crate::report::text::plural(nodes.len() as u64, "server")), nodes)
    }
}
