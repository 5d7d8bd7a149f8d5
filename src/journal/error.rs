//! What opening and reading a journal can find, each with the file and the byte where it was found.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::ids::RunId;

/// What the fold of a reader may fail with.
pub type FoldError = Box<dyn std::error::Error + Send + Sync>;

/// Why a journal was not opened or not read to its end. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no journal, and none was to be made.
    #[error("there is no journal in `{}`", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too little room for another segment.
    #[error("`{}` has {free_bytes} bytes free, the journal needs {needed_bytes}", dir.display())]
    NoSpace {
        /// The folder.
        dir: PathBuf,
        /// Free for us.
        free_bytes: u64,
        /// For the segment and the reserve.
        needed_bytes: u64,
    },
    /// A segment between others, or the first one, is not there.
    #[error("segment `{}` of the journal is missing", file.display())]
    MissingSegment {
        /// Where it should be.
        file: PathBuf,
    },
    /// The head of a segment is not what it should be.
    #[error("`{}` at byte 0: {reason}", file.display())]
    Header {
        /// The segment.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A segment was cut or has grown.
    #[error("`{}` at byte {found_bytes}: the file should have {expected_bytes} bytes", file.display())]
    Length {
        /// The segment.
        file: PathBuf,
        /// What its head says.
        expected_bytes: u64,
        /// What it has.
        found_bytes: u64,
    },
    /// Bytes that are neither a frame nor a torn last append.
    #[error("`{}` at byte {offset}: {reason}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Frames are missing between two others.
    #[error("`{}` at byte {offset}: frame {expected} should follow, frame {found} does", file.display())]
    Gap {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// Number that was due.
        expected: u64,
        /// Number that stands there.
        found: u64,
    },
    /// Something was written behind the end.
    #[error("`{}` at byte {offset}: bytes stand behind the last frame", file.display())]
    Trailing {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A record does not follow the one before it in its run.
    #[error("`{}` at byte {offset}: record {seq} of run {run} does not follow record {head} by number and hash", file.display())]
    Chain {
        /// The segment.
        file: PathBuf,
        /// Where its frame starts.
        offset: u64,
        /// The run.
        run: RunId,
        /// Number of the record.
        seq: u64,
        /// Number of the last record known before it.
        head: u64,
    },
    /// The journal ends before a position that was once durable.
    #[error("the journal in `{}` ends at frame {last}, but frame {known} was acknowledged: records are lost", dir.display())]
    Lost {
        /// The folder.
        dir: PathBuf,
        /// Last frame that is there.
        last: u64,
        /// The frame that was known.
        known: u64,
    },
    /// Another frame stands at a known position: another journal, or another history of this one.
    #[error("`{}` at byte {offset}: frame {frame} is not the one that was known", file.display())]
    Foreign {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// Its number.
        frame: u64,
    },
    /// What was read could not be taken up.
    #[error("frame {frame} of the journal cannot be folded")]
    Fold {
        /// The frame.
        frame: u64,
        /// Why.
        source: FoldError,
    },
}

impl JournalError {
    /// Wraps what the system said.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// Whether the journal on disk is not what was written: nothing may run on it.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Missing { .. } | Self::Io { .. } | Self::NoSpace { .. } | Self::Fold { .. })
    }

    /// What to try.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSpace { .. } => Some("free some space on that disk; nothing that was acknowledged is lost"),
            Self::Lost { .. } | Self::Foreign { .. } => {
                Some("put the journal folder back from where it was moved, or from a backup that is newer")
            }
            Self::Missing { .. } | Self::Io { .. } | Self::Fold { .. } => None,
            _ => Some("keep a copy of the folder as it is; `ollmcp state check` says what can be done"),
        }
    }
}
