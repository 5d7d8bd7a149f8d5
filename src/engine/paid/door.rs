//! The way to the Claude actor: what attempts hold. Cheap to clone; it outlives the actor behind it, and what was heard
//! of the account with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{ActorRef, MessagingErr};
use tokio::sync::{oneshot, watch};

use super::actor::{Call, ClaudeMessage};
use super::gate::Gate;
use super::{Bought, PaidModels, PaidRequest};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::money::Today;
use crate::engine::broker::queue::Ticket;
use crate::model::ModelInfo;

/// How long an asker waits for the actor while it is being started again.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// The door.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seller: Arc<dyn PaidModels>,
    tickets: AtomicU64,
    gate: Mutex<Gate>,
    /// Calls that are open, and calls that wait: for `show --tree`.
    counts: Mutex<(usize, usize)>,
    actor: watch::Sender<Option<ActorRef<ClaudeMessage>>>,
}

impl Door {
    /// A door to who sells answers.
    #[must_use]
    pub fn new(seller: Arc<dyn PaidModels>) -> Self {
        Self(Arc::new(Inner {
            seller,
            tickets: AtomicU64::new(1),
            gate: Mutex::default(),
            counts: Mutex::default(),
            actor: watch::Sender::new(None),
        }))
    }

    /// Who sells.
    pub(super) fn seller(&self) -> &Arc<dyn PaidModels> {
        &self.0.seller
    }

    /// What is known of the account.
    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the actor behind the door.
    pub(super) fn set(&self, actor: ActorRef<ClaudeMessage>) {
        self.0.actor.send_replace(Some(actor));
    }

    /// Takes the actor away.
    pub(super) fn shut(&self) {
        self.0.actor.send_replace(None);
        self.counts(0, 0);
    }

    pub(super) fn counts(&self, open: usize, waiting: usize) {
        *self.0.counts.lock().unwrap_or_else(PoisonError::into_inner) = (open, waiting);
    }

    /// Its line in `show --tree`.
    #[must_use]
    pub fn state(&self) -> String {
        if let Some(failure) = self.gate().closed() {
            return failure.message.clone();
        }
        let (open, waiting) = *self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match (open, waiting) {
            (0, 0) => "asks nothing now".to_owned(),
            (open, 0) => format!("{open} open"),
            (open, waiting) => format!("{open} open · {waiting} waiting"),
        }
    }

    /// Gives a call to the actor; while it is being started again this waits for the next one.
    async fn tell(&self, call: Box<Call>) -> Result<(), Failure> {
        let mut message = ClaudeMessage::Buy(call);
        let mut actors = self.0.actor.subscribe();
        let tells = async {
            loop {
                let actor = actors.borrow_and_update().clone();
                if let Some(actor) = actor {
                    match actor.cast(message) {
                        Ok(()) => return Some(()),
                        Err(MessagingErr::SendErr(returned)) => message = returned,
                        Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => return None,
                    }
                }
                actors.changed().await.ok()?;
            }
        };
        tokio::time::timeout(RESTART_WAIT, tells).await.ok().flatten().ok_or_else(gone)
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::ServerDied, "the part of this program that asks Claude has died and is started again")
}

impl PaidModels for Door {
    fn info(&self, rung: &str) -> ModelInfo {
        self.0.seller.info(rung)
    }

    fn today(&self) -> Option<Today> {
        self.0.seller.today()
    }

    fn buy(&self, request: PaidRequest) -> BoxFuture<'_, Bought> {
        async move {
            let ticket: Ticket = self.0.tickets.fetch_add(1, Ordering::Relaxed);
            let (answer, answered) = oneshot::channel();
            let model = self.info(&request.rung).name;
            let call = Box::new(Call { ticket, model, request, answer });
            match self.tell(call).await {
                // An asker that goes away drops `answered`, and the call with it.
                Ok(()) => answered.await.unwrap_or_else(|_| Bought::Refused(gone())),
                Err(failure) => Bought::Refused(failure),
            }
        }
        .boxed()
    }
}
