//! The model broker: shares out the model servers among all runs, with one child for each server.
//!
//! Attempts hold the [`Door`]. A call goes through it to the actor of its server, waits there for its turn, and is
//! answered when the server has answered. Nothing is retried and no other model is chosen here: which model is next is
//! the ladder's. `queue` and `breaker` decide, `residence` remembers what is loaded; they are values without time or
//! tasks of their own.

pub mod board;
pub mod breaker;
pub mod door;
pub mod measure;
pub mod queue;
pub mod residence;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Clock;
use super::tree::{Intensity, row};
use crate::model::ModelServers;

pub use door::Door;
pub use measure::{Measured, Samples};
pub use queue::Policy;

use server::{Server, ServerArguments, ServerMessage};

/// What the broker is told: nothing so far. Calls go to its children directly.
#[derive(Debug)]
pub enum BrokerMessage {}

/// The broker.
#[derive(Debug)]
pub struct Broker;

/// What it needs.
#[derive(Debug)]
pub struct BrokerArguments {
    /// The way to it.
    pub door: Door,
    /// The servers.
    pub servers: ModelServers,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Its memory.
#[derive(Debug)]
pub struct BrokerState {
    arguments: BrokerArguments,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    name: String,
    actor: ActorRef<ServerMessage>,
    intensity: Intensity,
}

impl Actor for Broker {
    type Msg = BrokerMessage;
    type State = BrokerState;
    type Arguments = BrokerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        arguments.door.open(&arguments.servers, arguments.clock.clone());
        let mut state = BrokerState { arguments, children: Vec::new() };
        let names: Vec<String> = state.arguments.servers.0.keys().cloned().collect();
        for name in names {
            let actor = state.spawn(&myself, &name).await?;
            state.children.push(Child { name, actor, intensity: Intensity::default() });
        }
        Ok(state)
    }

    async fn post_stop(&self, _myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        // What they have in flight ends with them: its askers are gone already, or are told that it is lost.
        for child in &state.children {
            child.actor.stop(None);
        }
        let limit = Duration::from_millis(row("model-server").shutdown_ms);
        let ends = state.children.iter().map(|child| child.actor.wait(Some(limit)));
        for (child, ended) in state.children.iter().zip(futures::future::join_all(ends).await) {
            if ended.is_err() {
                child.actor.kill();
            }
        }
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {}
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                state.restart(&myself, cell.get_id(), &error.to_string()).await
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                state.restart(&myself, cell.get_id(), reason.as_deref().unwrap_or("it was stopped")).await
            }
            _ => Ok(()),
        }
    }
}

impl BrokerState {
    async fn spawn(
        &self,
        myself: &ActorRef<BrokerMessage>,
        name: &str,
    ) -> Result<ActorRef<ServerMessage>, ActorProcessingErr> {
        let BrokerArguments { door, servers, clock } = &self.arguments;
        let arguments = ServerArguments {
            server: servers.0[name].clone(),
            name: name.to_owned(),
            address: door.address(name),
            board: door.board(name),
            policy: door.policy(),
            clock: clock.clone(),
        };
        let (actor, _) = Server::spawn_linked(None, Server, arguments, myself.get_cell()).await?;
        door.set(name, actor.clone());
        Ok(actor)
    }

    async fn restart(
        &mut self,
        myself: &ActorRef<BrokerMessage>,
        actor: ActorId,
        why: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(at) = self.children.iter().position(|child| child.actor.get_id() == actor) else { return Ok(()) };
        let now_ms = self.arguments.clock.now_ms();
        let child = &mut self.children[at];
        tracing::error!(server = child.name, why, "the actor of a model server died");
        if !child.intensity.allows(now_ms, row("model-server").restarts_max) {
            return Err(format!("the actor of the model server `{}` dies again and again: {why}", child.name).into());
        }
        let name = child.name.clone();
        self.arguments.door.board(&name).restarted();
        self.children[at].actor = self.spawn(myself, &name).await?;
        Ok(())
    }
}
