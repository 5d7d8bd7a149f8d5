//! State as it is asked for, in sled, folded from the journal: runs, steps, tasks, questions, identities.
//!
//! The journal is the truth. The store carries the journal position that it was folded to; it is written behind,
//! by its own thread, and never stands in the way of a step. What it lacks is folded again from the journal.
//!
//! | key | value |
//! | --- | --- |
//! | `01` | meta: format and journal position |
//! | `02 run` | the run's [`Head`](crate::domain::run::Head) |
//! | `03 run step item` | a task |
//! | `04 identity` | the done output with this identity: [`Reusable`] |
//! | `05 run` | the plan |
//! | `06 run step` | a step |
//! | `07 place` | the last identity of an item at a place (project, plan, step, key): [`Seen`] |
//! | `08 run` | the run's chain head: number and hash of its last record |
//!
//! Every value is checked by CRC-32 and cut into parts of at most 4 KiB: larger ones would go to files that sled does
//! not sync.

mod folder;
mod keys;
mod load;
mod parts;
mod thread;

pub use folder::{Fault, open, start_anew};
pub use keys::Place;
pub use load::Reader;
pub use thread::StateHandle;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Digest, RunId, TaskId};
use crate::domain::payload::Payload;
use crate::domain::verdict::Verdict;
use crate::journal::Position;

/// Version of the store's format; another one is rebuilt from the journal.
pub const FORMAT: u32 = 1;

/// A done output that a later run may take over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reusable {
    /// The run that made it.
    pub run: RunId,
    /// Its task.
    pub task: TaskId,
    /// The output.
    pub output: Payload,
    /// What was said of it then.
    pub verdicts: Vec<Verdict>,
    /// The files that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Payload>,
}

/// What stood at a place of a plan last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The run.
    pub run: RunId,
    /// The identity.
    pub identity: Digest,
}

/// Where a run's chain of records stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Number of the run's last record.
    pub seq: u64,
    /// Its link, as the journal has it.
    pub link: [u8; 16],
}

/// How the store can fail.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// sled says no.
    #[error("cannot read or write the state store: {0}")]
    Sled(#[from] sled::Error),
    /// A value does not have its checksum or its shape.
    #[error("the state store is damaged at key {key}: {what}")]
    Damaged {
        /// The key in hexadecimal.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// The journal holds an event that does not follow.
    #[error("run {run} does not fold: {source}")]
    Corrupt {
        /// The run.
        run: RunId,
        /// Why.
        source: crate::domain::run::Corrupt,
    },
    /// The journal holds bytes that are no event.
    #[error("record {seq} of run {run}: {source}")]
    Decode {
        /// The run.
        run: RunId,
        /// The record.
        seq: u64,
        /// Why.
        source: crate::domain::event::DecodeError,
    },
    /// The store could not be opened and not be set aside.
    #[error("cannot open the state store: {0}")]
    Open(String),
}

/// Where the store stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    format: u32,
    frame: u64,
    crc: u32,
}

impl Meta {
    const fn at(position: Position) -> Self {
        Self { format: FORMAT, frame: position.frame, crc: position.crc }
    }

    const fn position(&self) -> Position {
        Position { frame: self.frame, crc: self.crc }
    }
}
