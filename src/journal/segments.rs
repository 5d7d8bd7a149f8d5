//! The journal on disk: opens a folder of segments, reads what is new, and appends through its writer thread.
//!
//! It does not lock the folder: one process owns it by the state folder's lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::disk::{self, HEADER_BYTES, Header, LARGE_NAME, SEGMENT_BYTES_MAX, SPARE_NAME};
use super::frame::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, RECORD_HEAD_BYTES};
use super::reader::{self, End, Fold, Scan};
use super::writer::{self, Append, Lines, Request};
use super::{AppendError, Heads, Journal, JournalError, Observer, Position};
use crate::domain::ids::RunId;

/// Usual length of a segment file.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// What stays free on the disk when a segment is made, for the state store and blobs of work in flight.
pub const FREE_BYTES_MIN: u64 = 32 << 20;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Make the journal when there is none.
    pub create: bool,
    /// Read only the frames behind this one; the default reads all.
    pub from: Position,
    /// The last record of each run that may go on behind `from`. Not needed when all is read.
    pub heads: Heads,
    /// Length of new segment files: 4 KiB to 64 MiB, tests take short ones.
    pub segment_bytes: u64,
    /// See [`FREE_BYTES_MIN`].
    pub free_bytes_min: u64,
    /// Who sees each frame once it is durable, in order, before its appends are answered.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: false,
            from: Position::default(),
            heads: Heads::new(),
            segment_bytes: SEGMENT_BYTES,
            free_bytes_min: FREE_BYTES_MIN,
            observer: None,
        }
    }
}

/// An opened journal, and what its reader learned.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to append.
    pub journal: Segments,
    /// The last frame.
    pub last: Position,
    /// The last record of each run seen, and of those that were given.
    pub heads: Heads,
    /// What people should be told.
    pub notes: Vec<String>,
}

/// The journal on disk. Dropping it waits for the write that is under way; [`Segments::close`] says how it ended.
#[derive(Debug)]
pub struct Segments {
    lines: Mutex<Option<Lines>>,
    requests: tokio::sync::mpsc::Sender<Request>,
    end: tokio::sync::watch::Receiver<Option<Result<(), String>>>,
}

impl Segments {
    /// Opens the journal in `dir`, gives each frame behind `options.from` to `fold`, cuts a torn last append with a
    /// note, and starts the writer. Blocks.
    ///
    /// # Errors
    /// [`JournalError`]; nothing was changed then, and `fold` has seen frames only if it was `fold` that failed.
    pub fn open(dir: &Path, options: Options, fold: &mut Fold<'_>) -> Result<Opened, JournalError> {
        let Options { create, from, heads, segment_bytes, free_bytes_min, observer } = options;
        let segment_bytes = segment_bytes.clamp(4096, SEGMENT_BYTES_MAX);
        match disk::segment_numbers(dir) {
            Ok(numbers) if !numbers.is_empty() => {}
            Ok(_) | Err(JournalError::Missing { .. }) if create && from.frame == 0 => {
                make_first_segment(dir, segment_bytes, free_bytes_min)?;
            }
            Ok(_) => return Err(JournalError::Missing { dir: dir.to_owned() }),
            Err(error) => return Err(error),
        }
        // All is checked before anything is taken up: from a journal that is refused nobody learns a half.
        let mut scan = reader::scan(dir, from, heads.clone(), &mut |_| Ok(()))?;
        if scan.last.frame > from.frame {
            scan = reader::scan(dir, from, heads, fold)?;
        }
        let Scan { last, last_link, heads, notes, end } = scan;
        let file = open_end(dir, end)?;
        let lines = writer::start(writer::Start {
            dir: dir.to_owned(),
            file,
            segment: end.segment,
            at: end.at as u64,
            file_bytes: end.file_bytes,
            last,
            last_link,
            heads: heads.clone(),
            segment_bytes,
            free_bytes_min,
            observer,
        })?;
        let journal = Self { requests: lines.requests.clone(), end: lines.end.clone(), lines: Mutex::new(Some(lines)) };
        Ok(Opened { journal, last, heads, notes })
    }

    /// Takes no more appends, waits until those that wait are durable, and ends the writer.
    ///
    /// # Errors
    /// [`AppendError::Broken`] when the writer has failed, now or before.
    pub async fn close(&self) -> Result<(), AppendError> {
        // A writer that has already ended needs no request.
        let _ = self.requests.send(Request::Close).await;
        let end = self.ended().await.map_err(AppendError::Broken);
        self.join();
        end
    }

    /// Resolves when the writer has ended: `Ok` after [`Segments::close`], else why it died.
    pub fn ended(&self) -> BoxFuture<'static, Result<(), String>> {
        let mut end = self.end.clone();
        Box::pin(async move {
            match end.wait_for(Option::is_some).await {
                Ok(result) => result.clone().expect("`wait_for` saw a value"),
                Err(_) => Err("the journal writer panicked".to_owned()),
            }
        })
    }

    fn join(&self) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lines) = lines {
            lines.stop();
        }
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.join();
    }
}

impl Journal for Segments {
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> BoxFuture<'static, Result<Position, AppendError>> {
        let requests = self.requests.clone();
        Box::pin(async move {
            check_size(&payloads)?;
            let (answer, result) = oneshot::channel();
            let append = Append { run, first_seq, payloads, answer };
            requests.send(Request::Append(append)).await.map_err(|_| AppendError::Closed)?;
            result.await.unwrap_or(Err(AppendError::Closed))
        })
    }
}

/// Whether an append fits into a frame of its own.
pub(super) fn check_size(payloads: &[Vec<u8>]) -> Result<(), AppendError> {
    let bytes_max = (FRAME_BYTES_MAX - FRAME_HEAD_BYTES) as u64;
    let bytes = payloads.iter().map(|payload| (RECORD_HEAD_BYTES + payload.len()) as u64).sum();
    if bytes > bytes_max { Err(AppendError::TooLarge { bytes, bytes_max }) } else { Ok(()) }
}

/// Whether a journal was ever begun in `dir`: what a start killed in the middle of its beginning leaves is none.
///
/// # Errors
/// [`JournalError`] when the folder cannot be read.
pub fn is_begun(dir: &Path) -> Result<bool, JournalError> {
    match disk::segment_numbers(dir) {
        Ok(numbers) => Ok(!numbers.is_empty() || super::floor::exists(dir)),
        Err(JournalError::Missing { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Begins a journal in `dir`, durably, where there is none.
///
/// # Errors
/// [`JournalError`].
pub fn begin(dir: &Path) -> Result<(), JournalError> {
    make_first_segment(dir, SEGMENT_BYTES, FREE_BYTES_MIN)
}

fn make_first_segment(dir: &Path, segment_bytes: u64, free_bytes_min: u64) -> Result<(), JournalError> {
    make_dir(dir)?;
    let file = disk::make_spare(dir, SPARE_NAME, segment_bytes, free_bytes_min)?;
    let header = Header {
        segment: 1,
        first_frame: 1,
        file_bytes: segment_bytes,
        crc_before: 0,
        link_before: super::Link::default(),
    };
    let spare = dir.join(SPARE_NAME);
    file.write_all_at(&header.encode(), 0)
        .and_then(|()| file.sync_data())
        .and_then(|()| fs::rename(&spare, disk::segment_path(dir, 1)))
        .map_err(|error| JournalError::io("write", &spare, error))?;
    disk::sync_dir(dir)
}

/// Makes a folder and the folders above it, each with its name on disk.
pub(super) fn make_dir(dir: &Path) -> Result<(), JournalError> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut folder = std::path::absolute(dir).map_err(|error| JournalError::io("find", dir, error))?;
    while !folder.is_dir() {
        missing.push(folder.clone());
        if !folder.pop() {
            break;
        }
    }
    for folder in missing.iter().rev() {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(JournalError::io("make", folder, error));
            }
            _ => disk::sync_dir(folder.parent().expect("a folder that was made is in another"))?,
        }
    }
    Ok(())
}

/// Opens the last segment for writing, without the torn append, and makes durable what was just read: a process that
/// died before its sync may have left it in the cache only, and from now on others act on it.
fn open_end(dir: &Path, end: End) -> Result<File, JournalError> {
    let path = disk::segment_path(dir, end.segment);
    let file =
        File::options().read(true).write(true).open(&path).map_err(|error| JournalError::io("open", &path, error))?;
    if let Some(torn) = end.torn {
        debug_assert!(end.at >= HEADER_BYTES, "the head is never cut");
        file.write_all_at(&vec![0; torn - end.at], end.at as u64)
            .map_err(|error| JournalError::io("cut a torn append of", &path, error))?;
    }
    file.sync_data().map_err(|error| JournalError::io("sync", &path, error))?;
    for name in [SPARE_NAME, LARGE_NAME] {
        let leftover = dir.join(name);
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::io("remove", &leftover, error));
            }
            _ => {}
        }
    }
    disk::sync_dir(dir)?;
    Ok(file)
}
