//! The way to the model broker: what attempts hold. Cheap to clone; it outlives every actor behind it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::{ActorRef, MessagingErr};
use tokio::sync::{oneshot, watch};

use super::board::Board;
use super::measure::{Measured, Samples};
use super::queue::{Policy, Ticket};
use super::server::{Call, ServerMessage};
use crate::engine::tree::TreeNode;
use crate::engine::{Clock, Models};
use crate::model::{ModelError, ModelInfo, ModelServers, Reply, Request, split_rung};

/// How long an asker waits for the actor of a server that is being started again.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// The door.
#[derive(Clone, Debug, Default)]
pub struct Door(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    policy: Policy,
    tickets: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    clock: Option<Arc<dyn Clock>>,
    servers: BTreeMap<String, Entry>,
}

/// One server, from outside.
#[derive(Clone, Debug)]
struct Entry {
    address: String,
    board: Arc<Board>,
    actor: watch::Sender<Option<ActorRef<ServerMessage>>>,
}

impl Door {
    /// A door with these bounds.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(Inner { policy, ..Inner::default() }))
    }

    /// The bounds of its queues.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.policy
    }

    /// Makes the servers known before their actors start.
    pub(super) fn open(&self, servers: &ModelServers, clock: Arc<dyn Clock>) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock = Some(clock);
        open.servers.retain(|name, _| servers.0.contains_key(name));
        for (name, server) in &servers.0 {
            open.servers.entry(name.clone()).or_insert_with(|| Entry {
                address: server.address().to_owned(),
                board: Arc::default(),
                actor: watch::Sender::new(None),
            });
        }
    }

    /// The board of a server.
    pub(super) fn board(&self, server: &str) -> Arc<Board> {
        self.entry(server).map(|entry| entry.board).unwrap_or_default()
    }

    /// The address of a server, for people.
    pub(super) fn address(&self, server: &str) -> String {
        self.entry(server).map(|entry| entry.address).unwrap_or_default()
    }

    /// Puts the actor of a server behind the door.
    pub(super) fn set(&self, server: &str, actor: ActorRef<ServerMessage>) {
        if let Some(entry) = self.entry(server) {
            entry.actor.send_replace(Some(actor));
        }
    }

    fn entry(&self, server: &str) -> Option<Entry> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).servers.get(server).cloned()
    }

    /// All servers by name, and the time.
    fn entries(&self) -> (Vec<(String, Entry)>, u64) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = open.servers.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect();
        (entries, open.clock.as_ref().map_or(0, |clock| clock.now_ms()))
    }

    fn entry_of<'a>(&self, rung: &'a str) -> Result<(Entry, &'a str), ModelError> {
        let named = split_rung(rung).and_then(|(server, model)| Some((self.entry(server)?, model)));
        named.ok_or_else(|| {
            let server = split_rung(rung).map_or(rung, |(server, _)| server).to_owned();
            ModelError::Protocol { server, message: "no model server of this name is declared".to_owned() }
        })
    }
}

impl Entry {
    fn gone(&self) -> ModelError {
        let message = "the part of this program that asks it has died and is started again".to_owned();
        ModelError::ServerError { server: self.address.clone(), message }
    }

    /// Gives a message to the server's actor; while it is being started again this waits for the next one.
    async fn tell(&self, mut message: ServerMessage) -> Result<ActorRef<ServerMessage>, ModelError> {
        let mut actors = self.actor.subscribe();
        let tells = async {
            loop {
                let actor = actors.borrow_and_update().clone();
                if let Some(actor) = actor {
                    match actor.cast(message) {
                        Ok(()) => return Some(actor),
                        Err(MessagingErr::SendErr(returned)) => message = returned,
                        Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => return None,
                    }
                }
                actors.changed().await.ok()?;
            }
        };
        tokio::time::timeout(RESTART_WAIT, tells).await.ok().flatten().ok_or_else(|| self.gone())
    }
}

/// Tells the actor when the asker has gone away before the answer.
struct Waits {
    ticket: Ticket,
    actor: Option<ActorRef<ServerMessage>>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(actor) = self.actor.take() {
            // An actor that is gone has forgotten it.
            let _ = actor.cast(ServerMessage::Forget(self.ticket));
        }
    }
}

impl Models for Door {
    fn ask<'a>(&'a self, rung: &'a str, request: Request) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.ask_for("", rung, request)
    }

    fn ask_for<'a>(
        &'a self,
        asker: &'a str,
        rung: &'a str,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            let (entry, _) = self.entry_of(rung)?;
            let ticket = self.0.tickets.fetch_add(1, Ordering::Relaxed);
            let (answer, answered) = oneshot::channel();
            let call = Call { ticket, asker: asker.to_owned(), request, answer };
            let actor = entry.tell(ServerMessage::Ask(Box::new(call))).await?;
            let mut waits = Waits { ticket, actor: Some(actor) };
            let result = answered.await;
            waits.actor = None;
            result.unwrap_or_else(|_| Err(entry.gone()))
        })
    }

    fn info<'a>(&'a self, rung: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        Box::pin(async move {
            let (entry, model) = self.entry_of(rung)?;
            let (answer, answered) = oneshot::channel();
            entry.tell(ServerMessage::Info { model: model.to_owned(), answer }).await?;
            answered.await.unwrap_or_else(|_| Err(entry.gone()))
        })
    }

    fn away(&self) -> Vec<String> {
        let (entries, now_ms) = self.entries();
        entries.iter().flat_map(|(name, entry)| entry.board.away(name, now_ms)).collect()
    }

    fn measured(&self) -> Vec<Measured> {
        self.entries().0.iter().flat_map(|(name, entry)| entry.board.measured(name)).collect()
    }

    fn samples(&self) -> Vec<Samples> {
        self.entries().0.iter().flat_map(|(name, entry)| entry.board.samples(name)).collect()
    }

    fn nodes(&self) -> Vec<TreeNode> {
        let (entries, now_ms) = self.entries();
        entries.iter().map(|(name, entry)| entry.board.node(name, now_ms)).collect()
    }

    fn door(&self) -> Option<Door> {
        Some(self.clone())
    }
}
