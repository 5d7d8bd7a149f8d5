//! Claude: the permanent actor behind the only door to paid calls. It decides nothing: the gate says whether a call may
//! go, the seller behind the port has the account. Many calls are open at once, each a task of this actor.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::door::Door;
use super::gate::Admission;
use super::{Bought, PaidRequest};
use crate::domain::failure::{Failure, FailureKind};
use crate::engine::Clock;
use crate::engine::broker::queue::Ticket;

/// A call on its way.
#[derive(Debug)]
pub struct Call {
    /// Its number.
    pub ticket: Ticket,
    /// The model that is asked, as the provider names it.
    pub model: String,
    /// What is asked.
    pub request: PaidRequest,
    /// Who is told.
    pub answer: oneshot::Sender<Bought>,
}

/// What the actor is told.
#[derive(Debug)]
pub enum ClaudeMessage {
    /// Buy an answer.
    Buy(Box<Call>),
    /// A call has ended.
    Ended(Ticket),
    /// Look at what waits.
    Look,
}

/// The actor.
#[derive(Debug)]
pub struct Claude;

/// What it needs.
#[derive(Clone, Debug)]
pub struct ClaudeArguments {
    /// The way to it.
    pub door: Door,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Its memory.
#[derive(Debug)]
pub struct ClaudeState {
    arguments: ClaudeArguments,
    waiting: VecDeque<Box<Call>>,
    open: BTreeSet<Ticket>,
    /// Every call that is open. All of them end with the actor; what they may have cost counts as spent.
    tasks: JoinSet<()>,
    looks_at_ms: Option<u64>,
}

impl Actor for Claude {
    type Msg = ClaudeMessage;
    type State = ClaudeState;
    type Arguments = ClaudeArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        arguments.door.set(myself);
        Ok(ClaudeState {
            arguments,
            waiting: VecDeque::new(),
            open: BTreeSet::new(),
            tasks: JoinSet::new(),
            looks_at_ms: None,
        })
    }

    async fn post_stop(&self, _myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        state.arguments.door.shut();
        state.waiting.clear();
        // When this returns, every reservation has been given up, so that the account knows of each.
        state.tasks.shutdown().await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ClaudeMessage::Buy(call) => state.waiting.push_back(call),
            ClaudeMessage::Ended(ticket) => _ = state.open.remove(&ticket),
            ClaudeMessage::Look => state.looks_at_ms = None,
        }
        while state.tasks.try_join_next().is_some() {}
        state.work(&myself);
        state.arguments.door.counts(state.open.len(), state.waiting.len());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        _event: SupervisionEvent,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children.
        Ok(())
    }
}

impl ClaudeState {
    /// Lets go what may go, in the order in which it came.
    fn work(&mut self, myself: &ActorRef<ClaudeMessage>) {
        let now_ms = self.arguments.clock.now_ms();
        let mut left = VecDeque::new();
        let mut looks_at_ms: Option<u64> = None;
        for call in std::mem::take(&mut self.waiting) {
            if call.answer.is_closed() {
                continue;
            }
            let admission = self.arguments.door.gate().admit(call.ticket, &call.model, now_ms);
            match admission {
                Admission::Goes => self.start(myself, *call),
                Admission::Waits { until_ms } => {
                    looks_at_ms = Some(looks_at_ms.map_or(until_ms, |at_ms| at_ms.min(until_ms)));
                    left.push_back(call);
                }
                // An asker that goes away in this moment needs no answer.
                Admission::Refused(failure) => drop(call.answer.send(Bought::Refused(*failure))),
            }
        }
        self.waiting = left;
        if let Some(at_ms) = looks_at_ms
            && self.looks_at_ms.is_none_or(|known_ms| at_ms < known_ms)
        {
            self.looks_at_ms = Some(at_ms);
            let wait = Duration::from_millis(at_ms.saturating_sub(now_ms).max(1));
            myself.send_after(wait, || ClaudeMessage::Look);
        }
    }

    fn start(&mut self, myself: &ActorRef<ClaudeMessage>, call: Call) {
        let Call { ticket, model, request, mut answer } = call;
        let ClaudeArguments { door, clock } = self.arguments.clone();
        let myself = myself.clone();
        self.open.insert(ticket);
        self.tasks.spawn(async move {
            let seller = door.seller().clone();
            let buys = AssertUnwindSafe(async { seller.buy(request).await }).catch_unwind();
            let outcome = tokio::select! {
                biased;
                // Nobody waits for it any more: the request is given up, and counts as spent.
                () = answer.closed() => None,
                bought = buys => Some(bought.unwrap_or_else(|_| Bought::Refused(broken()))),
            };
            // Heard before it is told: who is told may ask again at once.
            door.gate().hear(ticket, &model, outcome.as_ref(), clock.now_ms());
            if let Some(bought) = outcome {
                drop(answer.send(bought));
            }
            // An actor that is gone has forgotten it.
            let _ = myself.cast(ClaudeMessage::Ended(ticket));
        });
    }
}

fn broken() -> Failure {
    Failure::new(FailureKind::Panic, "this program broke in a paid call, and what it may have cost counts as spent")
}
