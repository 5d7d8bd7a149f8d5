//! The state folder, opened: journal, state store and blobs, in step with each other.
//!
//! The journal is the truth. A state store that is missing, damaged or another journal's is made anew from it, said
//! aloud. A journal that ends before the state store has lost acknowledged records: nothing runs on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::event::decode;
use crate::domain::ids::{Digest, RunId};
use crate::domain::run::{RunState, fold};
use crate::engine::Memory;
use crate::journal::blobs::Blobs;
use crate::journal::segments::{self, Opened, Options, Segments};
use crate::journal::{FoldError, JournalError, Observer, Position, read_run};
use crate::os::files;
use crate::state::{self, Fault, Place, Reader, Reusable, Seen, StateError, StateHandle};

/// Everything in the state folder that a run needs.
#[derive(Debug)]
pub struct Store {
    /// The truth.
    pub journal: Arc<Segments>,
    /// The state as it is asked for.
    pub state: StateHandle,
    /// Large payloads.
    pub blobs: Arc<Blobs>,
    /// What people should be told.
    pub notes: Vec<String>,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal is damaged, or is not all there.
    #[error("{0}")]
    Journal(#[source] JournalError),
    /// The state store cannot be opened or made.
    #[error("{0}")]
    State(#[from] StateError),
    /// The blobs cannot be used.
    #[error("cannot use the payload files: {0}")]
    Blobs(#[from] crate::journal::blobs::BlobError),
    /// The system refused something.
    #[error("cannot use `{}`: {source}", .path.display())]
    System {
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StoreError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Journal(
                JournalError::Lost { .. } | JournalError::Missing { .. } | JournalError::MissingSegment { .. },
            ) => Some(
                "records that were acknowledged are gone: put the journal folder back from where it went; \
                     `ollmcp ls` and `ollmcp show` still answer from the state store, nothing runs"
                    .to_owned(),
            ),
            Self::Journal(error) if error.is_damage() => Some(
                "nothing was changed; put the file back from a copy. `ollmcp ls` and `ollmcp show` answer while the state store is there"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Folders inside the state folder.
fn journal_dir(state_folder: &Path) -> PathBuf {
    state_folder.join("journal")
}

fn sled_dir(state_folder: &Path) -> PathBuf {
    state_folder.join("sled")
}

/// Where payload files are.
#[must_use]
pub fn blobs_dir(state_folder: &Path) -> PathBuf {
    state_folder.join("blobs")
}

/// Opens journal, state store and blobs of a project for work. The caller holds the lock of the state folder. Blocks.
///
/// # Errors
/// [`StoreError`]; nothing was lost.
pub fn open(state_folder: &Path, project: &str) -> Result<Store, StoreError> {
    // A folder that a person made by hand, for a `config.json`, may be open to everybody; what a run leaves is not.
    files::keep_private(state_folder).map_err(|source| StoreError::System { path: state_folder.to_owned(), source })?;
    begin(state_folder).map_err(StoreError::Journal)?;
    let (reader, fault) = open_reader(state_folder)?;
    let mut notes = Vec::new();
    let known = reader.position()?;
    if let Some(Fault::SetAside { why, moved_to }) = &fault {
        notes.push(format!(
            "the state store could not be used ({why}); it was moved to `{}` and is made anew from the journal",
            moved_to.display()
        ));
    }
    let (opened, state) = match open_journal(state_folder, &reader, known) {
        Ok(opened) => opened,
        Err(error) if known.frame > 0 && is_of_another(&error, &reader, project)? => {
            let why = crate::app::store::chain(&error);
            drop(reader);
            let (reader, moved_to) = state::start_anew(&sled_dir(state_folder))?;
            notes.push(format!(
                "the state store does not belong to this journal ({why}); it was moved to `{}` and is made anew",
                moved_to.display()
            ));
            open_journal(state_folder, &reader, Position::default()).map_err(StoreError::Journal)?
        }
        Err(error) => {
            if fault.is_some() {
                // Half of a state made anew must not be read as the state.
                reader.clear()?;
            }
            return Err(StoreError::Journal(error));
        }
    };
    if fault == Some(Fault::Missing) && opened.last.frame > 0 {
        notes.push("the state store was missing or empty and is made anew from the journal".to_owned());
    }
    notes.extend(opened.notes);
    let blobs = Arc::new(Blobs::open(&blobs_dir(state_folder))?);
    Ok(Store { journal: Arc::new(opened.journal), state, blobs, notes })
}

/// Whether the state store, not the journal, is the one that does not belong here. A journal that ends too early has
/// lost records, unless every run that the store knows is another project's.
fn is_of_another(error: &JournalError, reader: &Reader, project: &str) -> Result<bool, StateError> {
    match error {
        JournalError::Foreign { .. } | JournalError::Fold { .. } => Ok(true),
        JournalError::Lost { .. } => {
            let heads = reader.heads()?;
            Ok(!heads.is_empty() && heads.iter().all(|head| head.origin.project != project))
        }
        _ => Ok(false),
    }
}

/// Begins the journal of a new state folder before anything else is in it: from then on a journal that is not there
/// is one that was lost, also where the first start was killed half-way.
fn begin(state_folder: &Path) -> Result<(), JournalError> {
    let journal = journal_dir(state_folder);
    if sled_dir(state_folder).exists() || segments::is_begun(&journal)? {
        return Ok(());
    }
    segments::begin(&journal)
}

/// Opens the state store alone, for reading when the journal cannot be used.
///
/// # Errors
/// [`StateError`].
pub fn open_reader(state_folder: &Path) -> Result<(Reader, Option<Fault>), StateError> {
    let free = rustix::fs::statvfs(state_folder).map_or(u64::MAX, |stat| stat.f_bavail * stat.f_frsize);
    state::open(&sled_dir(state_folder), free)
}

/// The state of a run, folded from the journal alone: for when the state store could not be written.
///
/// # Errors
/// [`StoreError::Journal`].
pub fn run_of_journal(state_folder: &Path, run: RunId) -> Result<Option<RunState>, StoreError> {
    let mut state = None;
    let fold_record = |state: Option<RunState>, payload: &[u8]| -> Result<Option<RunState>, FoldError> {
        Ok(Some(fold(state, &decode(payload)?)?))
    };
    for record in read_run(&journal_dir(state_folder), run).map_err(StoreError::Journal)? {
        let folded = fold_record(state.take(), &record.payload);
        state = folded.map_err(|source| StoreError::Journal(JournalError::Fold { frame: 0, source }))?;
    }
    Ok(state)
}

fn open_journal(state_folder: &Path, reader: &Reader, from: Position) -> Result<(Opened, StateHandle), JournalError> {
    let fold_error = |error: StateError| JournalError::Fold { frame: from.frame, source: Box::new(error) };
    let heads = reader.chains().map_err(fold_error)?;
    let state = StateHandle::start(reader.clone()).map_err(fold_error)?;
    let mut fold = StateHandle::catch_up(reader);
    let publishes = state.clone();
    let options = Options {
        from,
        heads,
        observer: Some(Observer::new(move |frame| publishes.publish(frame))),
        ..Options::default()
    };
    let opened = Segments::open(&journal_dir(state_folder), options, &mut |frame| Ok(fold(frame)?))?;
    Ok((opened, state))
}

/// An error with all that caused it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The state store as the engine asks it.
#[derive(Debug)]
pub struct StoreMemory(pub StateHandle);

impl Memory for StoreMemory {
    fn reusable(&self, identity: &Digest) -> Option<Reusable> {
        told(self.0.reader().reusable(identity))
    }

    fn seen(&self, place: &Place) -> Option<Seen> {
        told(self.0.reader().seen(place))
    }

    fn run(&self, run: RunId) -> Option<RunState> {
        self.0.settle();
        told(self.0.reader().run(run))
    }
}

/// A store that cannot be read costs a repetition, never a wrong answer.
fn told<T>(result: Result<Option<T>, StateError>) -> Option<T> {
    result.unwrap_or_else(|error| {
        tracing::warn!(%error, "the state store could not be asked");
        None
    })
}
