//! The thread that writes behind: it folds what became durable, in the order in which it became so.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::StateError;
use super::load::{Folder, Reader};
use crate::journal::Frame;

/// Frames that may wait to be folded; a writer that is further behind slows the runs down instead of growing.
const BACKLOG_MAX: usize = 8_192;
/// Frames between two flushes to disk. What is lost by a crash is folded again.
const FLUSH_EVERY: u32 = 2_048;

enum Work {
    Frame(Frame),
    Settle(SyncSender<()>),
}

/// The store with its writing thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateHandle {
    reader: Reader,
    work: SyncSender<Work>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl StateHandle {
    /// Starts the writing thread on an opened store.
    ///
    /// # Errors
    /// [`StateError::Open`] when the system has no thread to give.
    pub fn start(reader: Reader) -> Result<Self, StateError> {
        let (work, receiver) = sync_channel(BACKLOG_MAX);
        let shared = Arc::new(Shared::default());
        let folder = Folder::new(reader.clone());
        let (of_thread, for_flush) = (shared.clone(), reader.clone());
        let thread = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || write_behind(folder, &for_flush, &receiver, &of_thread))
            .map_err(|error| StateError::Open(error.to_string()))?;
        *shared.thread.lock().expect("nothing panics under this lock") = Some(thread);
        Ok(Self { reader, work, shared })
    }

    /// Folds journal frames into a store before its thread starts.
    ///
    /// # Errors
    /// [`StateError`] when an event does not follow, or sled fails.
    pub fn catch_up(reader: &Reader) -> impl FnMut(Frame) -> Result<(), StateError> + use<> {
        let mut folder = Folder::new(reader.clone());
        move |frame| folder.frame(&frame)
    }

    /// What can be read.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Hands over a frame that has become durable. Called by the journal's writer, in order.
    pub fn publish(&self, frame: Frame) {
        // The receiver ends only when its fault is on record; the journal still has everything.
        let _ = self.work.send(Work::Frame(frame));
    }

    /// Waits until all that was handed over is folded and flushed. Blocking.
    pub fn settle(&self) {
        let (done, wait) = sync_channel(1);
        if self.work.send(Work::Settle(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Why nothing is folded any more, if that is so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.shared.fault.lock().expect("nothing panics under this lock").clone()
    }
}

fn write_behind(mut folder: Folder, reader: &Reader, work: &Receiver<Work>, shared: &Shared) {
    let mut unflushed = 0;
    let mut failed = false;
    while let Ok(next) = work.recv() {
        let result = match next {
            // After a fault the store must not pass over what it could not fold: it stays where it is, behind.
            Work::Frame(_) if failed => Ok(()),
            Work::Frame(frame) => {
                unflushed += 1;
                folder.frame(&frame)
            }
            Work::Settle(done) => {
                let result = reader.flush();
                unflushed = 0;
                let _ = done.send(());
                result
            }
        };
        let result = if unflushed >= FLUSH_EVERY {
            unflushed = 0;
            result.and_then(|()| reader.flush())
        } else {
            result
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the state store is no longer written; the journal keeps everything");
            failed = true;
            *shared.fault.lock().expect("nothing panics under this lock") = Some(error.to_string());
        }
    }
}
