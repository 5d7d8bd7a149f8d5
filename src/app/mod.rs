//! Wiring: the only room that names concrete adapters together.

pub mod claude;
pub mod databases;
pub mod fake;
pub mod models;
pub mod money;
pub mod notify;
pub mod place;
pub mod probe;
pub mod running;
pub mod servers;
pub mod store;
pub mod verify;

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::engine::{Clock, Ids};

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

/// Ids from time and randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn uuid(&self) -> Uuid {
        new_uuid()
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A new UUIDv7.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the ids adapter")]
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}
