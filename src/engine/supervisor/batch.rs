//! Decided events on their way to the disk, and what waits until they are there.

use ractor::RpcReplyPort;

use super::WorkKey;
use crate::domain::command::Refusal;
use crate::domain::event::{Event, Stamped, encode};
use crate::domain::plan::RepeatClass;

/// Bytes that may wait behind an append before nothing more is decided.
const BYTES_MAX: usize = 1 << 20;

/// Events of one append.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Stamped>,
    pub(super) payloads: Vec<Vec<u8>>,
    bytes: usize,
    /// Who is answered when it is durable.
    pub(super) replies: Vec<RpcReplyPort<Result<(), Refusal>>>,
    /// Attempts whose intent is in it: they act when it is durable.
    pub(super) released: Vec<WorkKey>,
    is_urgent: bool,
}

impl Batch {
    pub(super) fn push(&mut self, stamped: Stamped) {
        let payload = encode(&stamped);
        self.bytes += payload.len();
        self.is_urgent |= !rides_along(&stamped.event);
        self.payloads.push(payload);
        self.events.push(stamped);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes > BYTES_MAX
    }

    /// It has waited long enough for company.
    pub(super) fn hurry(&mut self) {
        self.is_urgent |= !self.is_empty();
    }

    /// Something in it waits for the disk.
    pub(super) fn must_go(&self) -> bool {
        !self.is_empty() && (self.is_urgent || !self.replies.is_empty())
    }

    /// Tells those who asked that their events are durable.
    pub(super) fn answer(&mut self) {
        for reply in self.replies.drain(..) {
            // An asker that has gone away needs no answer.
            let _ = reply.send(Ok(()));
        }
    }
}

/// Beginnings of what changes nothing outside: they share the append of what comes next, so that the end of one task
/// and the start of the next are one append. Lost, they are simply begun again.
const fn rides_along(event: &Event) -> bool {
    matches!(event, Event::StepOpened { .. } | Event::AttemptStarted { repeat: RepeatClass::Read, .. })
}
