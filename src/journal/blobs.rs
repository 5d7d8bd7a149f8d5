//! Payload files by content: `blobs/<first 2 hex digits>/<sha256>`, written once, never changed.
//!
//! A blob is on disk, name and all, before its reference is given out; so an event never names a file that a power cut
//! can take away. What no event names is garbage and is collected elsewhere. All calls block.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{disk, segments};
use crate::domain::ids::Digest;
use crate::domain::payload::{BlobRef, INLINE_BYTES_MAX, Payload};

/// Largest blob that is read into memory in one piece; lists beyond it are read item by item.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;

const TEMP_EXTENSION: &str = "tmp";

/// Why a blob was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The file is not there.
    #[error("payload file `{}` is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The content is not what its name says.
    #[error("payload file `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// The system refused something, or the disk is full.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Larger than [`BLOB_BYTES_MAX`].
    #[error("payload file `{}` has {bytes} bytes, at most {BLOB_BYTES_MAX} are read in one piece", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it has.
        bytes: u64,
    },
}

impl BlobError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound && doing == "open" {
            return Self::Missing { path: path.to_owned() };
        }
        Self::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

/// A folder of payload files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    temp_count: AtomicU64,
    /// One turn of folder syncs for each folder, see [`FolderSync`].
    folders: Mutex<BTreeMap<u8, Arc<FolderSync>>>,
}

/// Lets all who wait for the same folder share its next sync.
#[derive(Debug)]
struct FolderSync {
    /// Counts renames into the folder. Starts at 1: a process that died may have renamed without a sync.
    renamed: AtomicU64,
    /// How many of them are durable.
    synced: Mutex<u64>,
}

impl Default for FolderSync {
    fn default() -> Self {
        Self { renamed: AtomicU64::new(1), synced: Mutex::new(0) }
    }
}

impl Blobs {
    /// Opens the folder, makes it when it is missing, and removes what an interrupted write left behind. Only the owner
    /// of the state folder may do this; others take [`Blobs::reader`].
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        segments::make_dir(dir).map_err(|error| BlobError::io("make", dir, io::Error::other(error)))?;
        let list = |error| BlobError::io("list", dir, error);
        for entry in fs::read_dir(dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if path.extension().is_some_and(|extension| extension == TEMP_EXTENSION) {
                fs::remove_file(&path).map_err(|error| BlobError::io("remove", &path, error))?;
            }
        }
        Ok(Self::reader(dir))
    }

    /// The folder as it is: nothing is made or removed.
    #[must_use]
    pub fn reader(dir: &Path) -> Self {
        let inner = Inner { dir: dir.to_owned(), temp_count: AtomicU64::new(0), folders: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Where the blob stands, or would stand.
    #[must_use]
    pub fn path(&self, blob: &BlobRef) -> PathBuf {
        let name = blob.sha256.to_string();
        self.folder(blob.sha256.0[0]).join(name)
    }

    /// Stores `bytes`; durable when it returns. Costs no write when they stand there already.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<BlobRef, BlobError> {
        let blob = BlobRef { sha256: Digest(Sha256::digest(bytes).into()), bytes: bytes.len() as u64 };
        if self.stands(&blob)? {
            return Ok(blob);
        }
        let temp = self.temp_path();
        let write = || {
            let mut file = File::options().write(true).create_new(true).open(&temp.path)?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        write().map_err(|error| BlobError::io("write", &temp.path, error))?;
        self.place(temp, &blob)?;
        Ok(blob)
    }

    /// Starts a blob that is written piece by piece.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn put_stream(&self) -> Result<BlobWriter, BlobError> {
        let temp = self.temp_path();
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&temp.path)
            .map_err(|error| BlobError::io("create", &temp.path, error))?;
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(BlobWriter { blobs: self.clone(), temp, file, hash: Sha256::new(), bytes: 0 })
    }

    /// Opens a blob whose length is right; the content is not looked at.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn open_file(&self, blob: &BlobRef) -> Result<File, BlobError> {
        let path = self.path(blob);
        let file = File::open(&path).map_err(|error| BlobError::io("open", &path, error))?;
        let found = file.metadata().map_err(|error| BlobError::io("measure", &path, error))?.len();
        if found != blob.bytes {
            return Err(BlobError::damaged(&path, format!("it has {found} bytes instead of {}", blob.bytes)));
        }
        Ok(file)
    }

    /// Reads a blob whole and checks it against its name.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn read(&self, blob: &BlobRef) -> Result<Vec<u8>, BlobError> {
        let path = self.path(blob);
        if blob.bytes > BLOB_BYTES_MAX {
            return Err(BlobError::TooLarge { path, bytes: blob.bytes });
        }
        let file = self.open_file(blob)?;
        let mut bytes = Vec::with_capacity(usize::try_from(blob.bytes).unwrap_or(0));
        file.take(blob.bytes).read_to_end(&mut bytes).map_err(|error| BlobError::io("read", &path, error))?;
        if Sha256::digest(&bytes)[..] != blob.sha256.0 {
            return Err(BlobError::damaged(&path, "its hash is not its name"));
        }
        Ok(bytes)
    }

    /// Stores a JSON value: inline when its text is short, else as a blob.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn put_value(&self, value: &Value) -> Result<Payload, BlobError> {
        let text = value.to_string();
        if text.len() <= INLINE_BYTES_MAX {
            return Ok(Payload::Inline(value.clone()));
        }
        self.put(text.as_bytes()).map(Payload::Blob)
    }

    /// The JSON value behind a payload.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn read_value(&self, payload: &Payload) -> Result<Value, BlobError> {
        match payload {
            Payload::Inline(value) => Ok(value.clone()),
            Payload::Blob(blob) => serde_json::from_slice(&self.read(blob)?)
                .map_err(|error| BlobError::damaged(&self.path(blob), error.to_string())),
        }
    }

    fn folder(&self, first: u8) -> PathBuf {
        self.inner.dir.join(format!("{first:02x}"))
    }

    fn temp_path(&self) -> Temp {
        let nth = self.inner.temp_count.fetch_add(1, Ordering::Relaxed);
        Temp { path: self.inner.dir.join(format!("{}-{nth}.{TEMP_EXTENSION}", std::process::id())) }
    }

    /// Whether the blob stands there, durable. One of the wrong length is damage and is written anew.
    fn stands(&self, blob: &BlobRef) -> Result<bool, BlobError> {
        match fs::metadata(self.path(blob)) {
            Ok(found) if found.len() == blob.bytes => {
                // Another thread may have renamed it just now and not yet synced the folder.
                self.sync_folder(blob.sha256.0[0])?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gives a synced file its name.
    fn place(&self, temp: Temp, blob: &BlobRef) -> Result<(), BlobError> {
        let first = blob.sha256.0[0];
        let path = self.path(blob);
        match fs::rename(&temp.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&self.folder(first))?;
                fs::rename(&temp.path, &path).map_err(|error| BlobError::io("rename", &path, error))?;
            }
            other => other.map_err(|error| BlobError::io("rename", &path, error))?,
        }
        self.folder_sync(first).renamed.fetch_add(1, Ordering::AcqRel);
        self.sync_folder(first)
    }

    fn folder_sync(&self, first: u8) -> Arc<FolderSync> {
        self.inner.folders.lock().unwrap_or_else(PoisonError::into_inner).entry(first).or_default().clone()
    }

    /// Returns when everything that was renamed into the folder before is durable. Whoever waited while another synced
    /// finds the work done.
    fn sync_folder(&self, first: u8) -> Result<(), BlobError> {
        let folder = self.folder_sync(first);
        let wanted = folder.renamed.load(Ordering::Acquire);
        let mut synced = folder.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= wanted {
            return Ok(());
        }
        let covered = folder.renamed.load(Ordering::Acquire);
        if *synced == 0 {
            // The folder's own name may be new.
            sync_dir(&self.inner.dir)?;
        }
        sync_dir(&self.folder(first))?;
        *synced = covered;
        Ok(())
    }
}

fn sync_dir(dir: &Path) -> Result<(), BlobError> {
    disk::sync_dir(dir).map_err(|error| BlobError::io("sync", dir, io::Error::other(error)))
}

/// Makes one of the 256 folders; another thread may have been faster.
fn make_folder(dir: &Path) -> Result<(), BlobError> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(BlobError::io("make", dir, error)),
        _ => Ok(()),
    }
}

/// A temporary file that goes away unless it was renamed.
#[derive(Debug)]
struct Temp {
    path: PathBuf,
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; anything else is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// A blob that is being written; dropped unfinished it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    temp: Temp,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for BlobWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.file.write(piece)?;
        self.hash.update(&piece[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter {
    /// Stores what was written; durable when it returns.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn finish(self) -> Result<BlobRef, BlobError> {
        let Self { blobs, temp, file, hash, bytes } = self;
        let blob = BlobRef { sha256: Digest(hash.finalize().into()), bytes };
        if blobs.stands(&blob)? {
            return Ok(blob);
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_data())
            .map_err(|error| BlobError::io("write", &temp.path, error))?;
        blobs.place(temp, &blob)?;
        Ok(blob)
    }

    /// The error of a write into this blob, with its place.
    pub(super) fn failed(&self, error: io::Error) -> BlobError {
        BlobError::io("write", &self.temp.path, error)
    }
}
