//! A run's turn at the permits that all runs share. A run that finds none stands in line once, so that a run with much
//! to do cannot take every permit back that it has just returned.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::RunMessage;

#[derive(Debug)]
pub(super) struct Turns {
    permits: Arc<Semaphore>,
    /// The permit that the line has brought, until it is used or given back.
    brought: Option<OwnedSemaphorePermit>,
    is_in_line: bool,
    /// Stands in line; leaves it when this is dropped.
    line: JoinSet<()>,
}

impl Turns {
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self { permits, brought: None, is_in_line: false, line: JoinSet::new() }
    }

    /// A permit, or a place in line: [`RunMessage::Turn`] brings the permit then.
    pub(super) fn take(&mut self, myself: &ActorRef<RunMessage>) -> Option<OwnedSemaphorePermit> {
        // The semaphore serves its line first, so this takes nothing away from those who wait.
        let permit = self.brought.take().or_else(|| self.permits.clone().try_acquire_owned().ok());
        if permit.is_none() && !self.is_in_line {
            self.is_in_line = true;
            while self.line.try_join_next().is_some() {}
            let (permits, myself) = (self.permits.clone(), myself.clone());
            self.line.spawn(async move {
                if let Ok(permit) = permits.acquire_owned().await {
                    // With a run that is gone the permit goes back.
                    let _ = myself.cast(RunMessage::Turn(permit));
                }
            });
        }
        permit
    }

    /// Keeps what the line has brought for the next [`Turns::take`].
    pub(super) fn bring(&mut self, permit: OwnedSemaphorePermit) {
        self.is_in_line = false;
        self.brought = Some(permit);
    }

    /// Gives back what nobody needed.
    pub(super) fn give_back(&mut self) {
        self.brought = None;
    }
}
