//! Where events live. The port is [`Journal`]; `segments` is the real one, `memory` its twin for tests.
//!
//! The journal knows nothing of what events mean: a record is bytes of one run with a sequence number.

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

/// One record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose event it is.
    pub run: RunId,
    /// Number of the record in its run, from 1.
    pub seq: u64,
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
    /// # Errors
    /// [`AppendError`]; after `Broken` nothing is accepted any more.
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> BoxFuture<'static, Result<Position, AppendError>>;
}
