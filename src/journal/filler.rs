//! The helper that makes the next segment while the writer still fills this one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::JournalError;
use super::disk::{self, LARGE_NAME, SPARE_NAME};

/// A thread that fills one file with zeros when it is asked to.
#[derive(Debug)]
pub(super) struct Filler {
    dir: PathBuf,
    segment_bytes: u64,
    free_bytes_min: u64,
    /// At most one ask is open at a time: `is_asked`.
    asks: Option<Sender<()>>,
    spares: Receiver<Result<File, JournalError>>,
    is_asked: bool,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    pub(super) fn start(dir: &Path, segment_bytes: u64, free_bytes_min: u64) -> io::Result<Self> {
        let (asks, asked) = channel::<()>();
        let (give, spares) = channel();
        let folder = dir.to_owned();
        let thread = thread::Builder::new().name("journal-filler".to_owned()).spawn(move || {
            for () in asked {
                if give.send(disk::make_spare(&folder, SPARE_NAME, segment_bytes, free_bytes_min)).is_err() {
                    break;
                }
            }
        })?;
        let dir = dir.to_owned();
        Ok(Self { dir, segment_bytes, free_bytes_min, asks: Some(asks), spares, is_asked: false, thread: Some(thread) })
    }

    /// Has a segment made, unless one is on its way.
    pub(super) fn ask(&mut self) {
        if !self.is_asked {
            self.is_asked = self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok());
        }
    }

    /// Gives an empty file of at least `needed_bytes`, its temporary name and its length.
    ///
    /// # Errors
    /// When it cannot be made now either; an earlier fault of the helper may have passed.
    pub(super) fn take(&mut self, needed_bytes: u64) -> Result<(File, &'static str, u64), JournalError> {
        if needed_bytes > self.segment_bytes {
            let file = disk::make_spare(&self.dir, LARGE_NAME, needed_bytes, self.free_bytes_min)?;
            return Ok((file, LARGE_NAME, needed_bytes));
        }
        if std::mem::take(&mut self.is_asked)
            && let Ok(Ok(file)) = self.spares.recv()
        {
            return Ok((file, SPARE_NAME, self.segment_bytes));
        }
        let file = disk::make_spare(&self.dir, SPARE_NAME, self.segment_bytes, self.free_bytes_min)?;
        Ok((file, SPARE_NAME, self.segment_bytes))
    }

    /// Ends the thread and takes back what nobody needs any more.
    pub(super) fn stop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            // Its panic would have been seen as a missing spare; there is nothing left to do about it here.
            let _ = thread.join();
        }
        if std::mem::take(&mut self.is_asked) {
            // A leftover is removed at the next start as well.
            let _ = fs::remove_file(self.dir.join(SPARE_NAME));
        }
    }
}
