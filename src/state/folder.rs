//! Opening the store: what sled 0.34 gets wrong at open is kept away from everyone else.
//!
//! Leftovers of a snapshot that was being written are removed first, the open runs on a thread of its own with a time
//! limit and inside `catch_unwind`, and a folder that does not open is set aside under another name, never deleted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::load::Reader;
use super::{FORMAT, Meta, StateError, keys, parts};

/// Free space below which sled is not opened: on a full disk an open can break it.
const FREE_BYTES_MIN: u64 = 64 << 20;
const CACHE_BYTES: u64 = 64 << 20;
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// A lock can outlive its owner for a moment.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why the store found on disk is not used and has to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There was none.
    Missing,
    /// It did not open, or another format wrote it; it was moved to this name.
    SetAside {
        /// Why.
        why: String,
        /// Where it is now.
        moved_to: PathBuf,
    },
}

/// Opens the store in `folder`, making a new one where there is none or the old one cannot be used.
///
/// # Errors
/// [`StateError::Open`] when not even a new one can be made.
pub fn open(folder: &Path, free_bytes: u64) -> Result<(Reader, Option<Fault>), StateError> {
    if free_bytes < FREE_BYTES_MIN {
        return Err(StateError::Open(format!(
            "only {} MiB are free on the disk; sled needs {} MiB to open safely",
            free_bytes >> 20,
            FREE_BYTES_MIN >> 20
        )));
    }
    let existed = folder.join("db").exists() || folder.join("conf").exists();
    remove_leftovers(folder);
    let why = match open_limited(folder) {
        Ok(db) => match parts::get::<Meta>(&db, keys::META) {
            Ok(Some(meta)) if meta.format == FORMAT => return Ok((Reader::new(db), None)),
            // Killed before the first frame was folded, or a cut log that sled opens as an empty one.
            Ok(None) if !existed || db.is_empty() => return Ok((Reader::new(db), Some(Fault::Missing))),
            Ok(None) => {
                drop(db);
                "it holds no position".to_owned()
            }
            Ok(Some(meta)) => {
                drop(db);
                format!("its format is {}, this version reads {FORMAT}", meta.format)
            }
            Err(error) => {
                drop(db);
                error.to_string()
            }
        },
        Err(why) if existed => why,
        Err(why) => return Err(StateError::Open(why)),
    };
    let moved_to = set_aside(folder)?;
    let db = open_limited(folder).map_err(StateError::Open)?;
    Ok((Reader::new(db), Some(Fault::SetAside { why, moved_to })))
}

fn remove_leftovers(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            // A snapshot that was never finished; the log beside it has everything.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn set_aside(folder: &Path) -> Result<PathBuf, StateError> {
    for number in 1..1000 {
        let name = format!("{}.broken-{number}", folder.file_name().unwrap_or_default().to_string_lossy());
        let to = folder.with_file_name(name);
        if !to.exists() {
            std::fs::rename(folder, &to)
                .map_err(|error| StateError::Open(format!("cannot move it to `{}`: {error}", to.display())))?;
            return Ok(to);
        }
    }
    Err(StateError::Open("999 broken stores stand beside it already".to_owned()))
}

fn open_limited(folder: &Path) -> Result<sled::Db, String> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let (send, receive) = std::sync::mpsc::channel();
        let path = folder.to_owned();
        std::thread::Builder::new()
            .name("state-open".to_owned())
            .spawn(move || {
                let opened = std::panic::catch_unwind(|| {
                    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()
                });
                // The receiver is gone when the limit has passed; then nobody needs the store any more.
                let _ = send.send(opened);
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        match receive.recv_timeout(OPEN_LIMIT) {
            Ok(Ok(Ok(db))) => return Ok(db),
            Ok(Ok(Err(error))) => {
                if is_lock(&error) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                return Err(error.to_string());
            }
            Ok(Err(_panic)) => return Err("opening it panicked".to_owned()),
            Err(_) => return Err(format!("opening it took longer than {} s", OPEN_LIMIT.as_secs())),
        }
    }
}

fn is_lock(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Moves a store that does not belong to the journal out of the way and makes a new one; gives its new place, too.
///
/// # Errors
/// [`StateError::Open`].
pub fn start_anew(folder: &Path) -> Result<(Reader, PathBuf), StateError> {
    let moved_to = set_aside(folder)?;
    Ok((Reader::new(open_limited(folder).map_err(StateError::Open)?), moved_to))
}
