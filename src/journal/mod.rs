//! Where events live. The port is [`Journal`]; `segments` is the real one, `memory` its twin for tests.
//! Payloads too large for an event stand in content-addressed files: `blobs`, and `lines` for lists.
//!
//! The journal knows nothing of what events mean: a record is bytes of one run with a sequence number.

pub mod blobs;
mod disk;
mod error;
mod filler;
mod floor;
pub mod frame;
pub mod lines;
pub mod memory;
mod reader;
pub mod segments;
mod tail;
mod writer;

pub use error::{FoldError, JournalError};
pub use floor::retire;
pub use reader::{Fold, Summary, read_all, read_from, read_run};
pub use segments::{Opened, Options, Segments};

use futures::future::BoxFuture;

use crate::domain::ids::RunId;

/// Place of a frame in the journal: frames are numbered from 1 without a gap over all segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the frame; 0 stands before the first.
    pub frame: u64,
    /// CRC-32 of that frame, so that another journal with the same length is noticed.
    pub crc: u32,
}

/// SHA-256 of a record, cut to 16 bytes: the link from each record of a run to the one before it.
///
/// The chain finds what was swapped, lost or edited by accident or by hand; for that 128 bits are as good as 256,
/// and the other half would be a tenth of a usual record. It is no signature: whoever rewrites a whole chain is
/// only found beside a copy of its head, with any length of hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub [u8; Self::BYTES]);

impl Link {
    /// Length of a link.
    pub const BYTES: usize = 16;
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The last record of a run: what the next one must follow. The default stands before the first record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the record; 0 when the run has none.
    pub seq: u64,
    /// Link of that record; zeros when the run has none.
    pub link: Link,
}

/// The heads of runs by id: a state store keeps them beside its position, so that a start need not read all.
pub type Heads = std::collections::BTreeMap<RunId, Head>;

/// One record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose event it is.
    pub run: RunId,
    /// Number of the record in its run, from 1.
    pub seq: u64,
    /// Hash of this record: what the next record of its run names as the one before.
    pub link: Link,
    /// The encoded event.
    pub payload: Vec<u8>,
}

/// Records that became durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the frame stands.
    pub position: Position,
    /// Its records, in order.
    pub records: Vec<Record>,
}

/// Sees frames on the writer's thread: it must be quick, and slows all appends when it is not.
#[derive(Clone)]
pub struct Observer(std::sync::Arc<dyn Fn(Frame) + Send + Sync>);

impl Observer {
    /// An observer that hands each frame to `see`.
    pub fn new(see: impl Fn(Frame) + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(see))
    }

    fn see(&self, frame: Frame) {
        (self.0)(frame);
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// How an append can fail.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer has already written this sequence number: a late twin of a run supervisor.
    #[error("run {run} already has a record {seq} in the journal")]
    SequenceTaken {
        /// The run.
        run: RunId,
        /// The number that was offered.
        seq: u64,
    },
    /// The number leaves a gap behind the last record of the run: a fault of the caller.
    #[error("run {run} has no record before {seq} yet: the next one is {next}")]
    SequenceSkipped {
        /// The run.
        run: RunId,
        /// The number that was offered.
        seq: u64,
        /// The number that follows.
        next: u64,
    },
    /// More than one frame can hold; nothing was written, the writer goes on.
    #[error("an append of {bytes} bytes is larger than the journal takes (at most {bytes_max})")]
    TooLarge {
        /// Size of the append.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk failed or is full. Final: the writer accepts nothing more.
    #[error("cannot write the journal: {0}")]
    Broken(String),
    /// The writer has ended.
    #[error("the journal writer has ended")]
    Closed,
}

/// The append-only truth.
pub trait Journal: Send + Sync + std::fmt::Debug + 'static {
    /// Appends records of one run, the first with number `first_seq`; resolves when they are durable.
    ///
    /// All of them become durable or none. The append is queued when the future is first polled; dropped after
    /// that, it may or may not happen. No payloads: nothing is written, and the last position is the answer.
    ///
    /// # Errors
    /// [`AppendError`]; after `Broken` nothing is accepted any more.
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> BoxFuture<'static, Result<Position, AppendError>>;
}
