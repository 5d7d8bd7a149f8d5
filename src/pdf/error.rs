//! Why a PDF could not be read, in words for people and as a failure kind for the engine.

use serde::{Deserialize, Serialize};

use crate::domain::failure::FailureKind;

/// How the message of a crash begins that is not the file's.
pub(super) const KILLED_FROM_OUTSIDE: &str = "the worker was killed from outside";

/// How reading a PDF can end without a result. Crosses the border between a worker and its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PdfError {
    /// The file is not there, or may not be read.
    #[error("cannot read the file: {message}")]
    Missing {
        /// The system's words.
        message: String,
    },
    /// `%PDF-` does not stand in the first 1,024 bytes.
    #[error("not a PDF: `%PDF-` is not among its first 1,024 bytes")]
    NotAPdf,
    /// A password is needed, or the one given does not open it.
    #[error("{}", if *password_given { "the file is encrypted and the password does not open it" } else { "the file is encrypted and needs a password" })]
    Encrypted {
        /// A password was given.
        password_given: bool,
    },
    /// Pages without any text: pictures of pages, most likely.
    #[error("no text layer on {pages} page{}: a scan, it needs OCR", if *pages == 1 { "" } else { "s" })]
    NoText {
        /// Pages looked at.
        pages: u32,
    },
    /// More than a fifth of the glyphs have no Unicode.
    #[error("text not readable: {percent} % of the glyphs have no Unicode, it needs OCR")]
    UnreadableText {
        /// Share of unmapped glyphs.
        percent: u32,
    },
    /// Neither reader understands the structure.
    #[error("damaged file: {message}")]
    Damaged {
        /// What the readers say.
        message: String,
    },
    /// The file is over the size limit; it was not opened.
    #[error("the file has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The page selection cannot be read, or names no page of the file.
    #[error("pages `{pages}`: {message}")]
    BadPages {
        /// As given.
        pages: String,
        /// What is wrong with it.
        message: String,
    },
    /// The worker was out of memory.
    #[error("out of memory while reading: more than {mib} MiB were needed")]
    Memory {
        /// The limit.
        mib: u64,
    },
    /// The worker was out of time.
    #[error("out of time while reading: more than {milliseconds} ms of {clock} time")]
    Time {
        /// The limit that was passed.
        milliseconds: u64,
        /// `CPU` or `wall`.
        clock: String,
    },
    /// The worker died of something else.
    #[error("the reader crashed: {message}")]
    Crash {
        /// How it ended, with the tail of its standard error.
        message: String,
    },
    /// The worker could not be started or talked to.
    #[error("cannot run a PDF worker: {message}")]
    NoWorker {
        /// The system's words.
        message: String,
    },
}

impl PdfError {
    /// The failure kind that the engine acts on.
    ///
    /// Scans, encrypted files and unreadable text cannot be worked on by their nature; a damaged file is an
    /// ordinary failure that counts.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Encrypted { .. } | Self::NoText { .. } | Self::UnreadableText { .. } => FailureKind::Unworkable,
            Self::Missing { .. } => FailureKind::Missing,
            Self::BadPages { .. } => FailureKind::BadInput,
            Self::TooLarge { .. } => FailureKind::TooLarge,
            Self::Time { .. } => FailureKind::Timeout,
            Self::NotAPdf | Self::Damaged { .. } | Self::Memory { .. } | Self::Crash { .. } => FailureKind::ToolError,
            Self::NoWorker { .. } => FailureKind::ServerDied,
        }
    }

    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("check the path; relative paths count from the folder the server runs in"),
            Self::NotAPdf => Some("check what the file is; only PDF files are read here"),
            Self::Encrypted { password_given: false } => Some("pass its user password as `password`"),
            Self::Encrypted { password_given: true } => {
                Some("pass the user password; an owner password may not open it")
            }
            Self::NoText { .. } | Self::UnreadableText { .. } => {
                Some("run it through an OCR program that adds a text layer, then try again")
            }
            Self::Damaged { .. } => {
                Some("fetch the file again, or repair it (for example with `qpdf`), then try again")
            }
            Self::TooLarge { .. } => Some("split the file"),
            Self::BadPages { .. } => Some("write pages like `1,3-5`, counted from 1"),
            Self::Memory { .. } | Self::Time { .. } => Some("name fewer `pages`, or split the file"),
            Self::Crash { message } if message.starts_with(KILLED_FROM_OUTSIDE) => {
                Some("nothing is known against the file: see that there is memory enough, then try again")
            }
            Self::Crash { .. } => Some("the file is broken or hostile; repair it or leave it out"),
            Self::NoWorker { .. } => None,
        }
    }
}
