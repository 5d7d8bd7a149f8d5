//! Who owns a state folder: one process at a time, by a lock on a file in it.
//!
//! The lock is the system's (`flock`), so it ends with its process however that ends; the text in the file only tells
//! others who holds it and is never believed about whether it is held. The file is never removed: a second process
//! could hold a lock on the removed one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest text about an owner that is read or written.
const OWNER_BYTES_MAX: usize = 4 * 1024;

/// Tries when the noted owner is gone or unknown: a child that it was just starting may hold the lock for a moment
/// more, and so may someone who only looks ([`StateLock::holder`]).
const TRIES_MAX: u32 = 10;

/// Wait between these tries.
const TRY_WAIT: Duration = Duration::from_millis(50);

/// What others are told about the owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// What it does, one verb: `run`, `resume`, `serve`.
    pub verb: String,
    /// The command as typed.
    pub command: String,
    /// When it took the lock, as text for people.
    pub since: String,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; its details where they could be read.
    #[error("`{file}` is held by {}", describe(.owner))]
    Held {
        /// The lock file.
        file: PathBuf,
        /// Who holds it.
        owner: Option<Owner>,
    },
    /// The file could not be opened, locked or written.
    #[error("cannot lock `{file}`")]
    File {
        /// The lock file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn describe(owner: &Option<Owner>) -> String {
    match owner {
        Some(owner) => format!("process {} (`{}`, since {})", owner.pid, owner.command, owner.since),
        None => "another process".to_owned(),
    }
}

/// The lock, held until this value is dropped or the process ends.
#[derive(Debug)]
pub struct StateLock {
    /// The open file carries the lock; closing it gives it back.
    file: File,
    path: PathBuf,
}

impl StateLock {
    /// Takes the lock at once or says who holds it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process (or another value in this one) holds it.
    pub fn take(path: &Path, owner: &Owner) -> Result<Self, LockError> {
        let failed = |source| LockError::File { file: path.to_owned(), source };
        let mut file = open(path).map_err(failed)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {
                    tries += 1;
                    let holder = read_owner(&mut file);
                    let alive = holder.as_ref().is_some_and(|holder| is_alive(holder.pid));
                    if alive || tries >= TRIES_MAX {
                        return Err(LockError::Held { file: path.to_owned(), owner: holder });
                    }
                    thread::sleep(TRY_WAIT);
                }
            }
        }
        let mut lock = Self { file, path: path.to_owned() };
        lock.note(owner).map_err(failed)?;
        Ok(lock)
    }

    /// Who holds the lock now; `None` when nobody does. Takes nothing.
    ///
    /// # Errors
    /// [`LockError::File`].
    pub fn holder(path: &Path) -> Result<Option<Owner>, LockError> {
        let failed = |source| LockError::File { file: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        // Shared, so that two that only look never see each other as the owner.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_owner(&mut file).unwrap_or_default())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn note(&mut self, owner: &Owner) -> io::Result<()> {
        let mut owner = owner.clone();
        while owner.command.len() > OWNER_BYTES_MAX / 8 {
            owner.command.pop();
        }
        let text = serde_json::to_vec(&owner)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(OWNER_BYTES_MAX as u64).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(verb: &str) -> Owner {
        Owner {
            pid: std::process::id(),
            verb: verb.into(),
            command: format!("ollmcp {verb} plan.yaml"),
            since: "2026-01-02 03:04".into(),
        }
    }

    #[test]
    fn the_second_is_told_who_the_first_is_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(StateLock::holder(&path).unwrap(), None);
        let first = StateLock::take(&path, &owner("run")).unwrap();
        assert_eq!(StateLock::holder(&path).unwrap(), Some(owner("run")));
        let LockError::Held { owner: Some(told), .. } = StateLock::take(&path, &owner("resume")).unwrap_err() else {
            panic!("the second must be told");
        };
        assert_eq!(told, owner("run"));
        drop(first);
        assert!(path.exists());
        assert_eq!(StateLock::holder(&path).unwrap(), None);
        drop(StateLock::take(&path, &owner("resume")).unwrap());
    }

    #[test]
    fn a_held_lock_with_an_unreadable_note_is_still_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _first = StateLock::take(&path, &owner("run")).unwrap();
        std::fs::write(&path, "{half").unwrap();
        let refused = StateLock::take(&path, &owner("run")).unwrap_err();
        assert!(matches!(&refused, LockError::Held { owner: None, .. }));
        assert!(refused.to_string().contains("another process"), "{refused}");
    }

    #[test]
    fn a_very_long_command_still_leaves_a_readable_note() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut long = owner("run");
        long.command = "é\u{1}".repeat(100_000);
        let _first = StateLock::take(&path, &long).unwrap();
        assert_eq!(StateLock::holder(&path).unwrap().unwrap().pid, std::process::id());
    }
}
