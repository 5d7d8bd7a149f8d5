//! Lists as JSON Lines in a blob: written item by item, read by position, 8 bytes of memory an item.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::blobs::{BlobError, BlobWriter, Blobs};
use crate::domain::payload::{BlobRef, Items};

/// Largest item of a list, as JSON text.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// Writes a list.
#[derive(Debug)]
pub struct LinesWriter {
    blob: BlobWriter,
    len: u32,
}

impl LinesWriter {
    /// Starts a list.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn new(blobs: &Blobs) -> Result<Self, BlobError> {
        Ok(Self { blob: blobs.put_stream()?, len: 0 })
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn push(&mut self, item: &Value) -> Result<(), BlobError> {
        let full = || io::Error::other("a list has at most 4294967295 items");
        self.len = self.len.checked_add(1).ok_or_else(|| self.blob.failed(full()))?;
        serde_json::to_writer(&mut self.blob, item)
            .map_err(io::Error::from)
            .and_then(|()| self.blob.write_all(b"\n"))
            .map_err(|error| self.blob.failed(error))
    }

    /// Stores the list; durable when it returns.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn finish(self) -> Result<Items, BlobError> {
        Ok(Items::List { len: self.len, blob: self.blob.finish()? })
    }
}

/// A list that is read by position. Cheap to keep open; many threads may read.
#[derive(Debug)]
pub struct Lines {
    file: File,
    path: PathBuf,
    /// Where each item ends: the offset of its line break, or the end of the file.
    ends: Vec<u64>,
}

impl Lines {
    /// Opens the list in `blob`: one pass checks the hash and finds the items.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn open(blobs: &Blobs, blob: &BlobRef) -> Result<Self, BlobError> {
        let path = blobs.path(blob);
        let mut file = blobs.open_file(blob)?;
        let (mut hash, mut ends, mut at) = (Sha256::new(), Vec::new(), 0_u64);
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BlobError::io("read", &path, error)),
            };
            let piece = &buffer[..count];
            hash.update(piece);
            let breaks = piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.extend(breaks.map(|(distance, _)| at + distance as u64));
            at += count as u64;
        }
        if at != blob.bytes || hash.finalize()[..] != blob.sha256.0 {
            return Err(BlobError::damaged(&path, "its hash is not its name"));
        }
        if at > ends.last().map_or(0, |end| end + 1) {
            ends.push(at);
        }
        ends.shrink_to_fit();
        Ok(Self { file, path, ends })
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The JSON text of item `index`; `None` behind the end.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn text(&self, index: usize) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(end) = self.ends.get(index).copied() else { return Ok(None) };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        if end - start > LINE_BYTES_MAX {
            let reason = format!("item {index} has {} bytes, at most {LINE_BYTES_MAX} are read", end - start);
            return Err(BlobError::damaged(&self.path, reason));
        }
        let mut text = vec![0; usize::try_from(end - start).expect("a line has at most 64 MiB")];
        self.file.read_exact_at(&mut text, start).map_err(|error| BlobError::io("read", &self.path, error))?;
        Ok(Some(text))
    }

    /// Item `index`; `None` behind the end.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn get(&self, index: usize) -> Result<Option<Value>, BlobError> {
        let Some(text) = self.text(index)? else { return Ok(None) };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| BlobError::damaged(&self.path, format!("item {index}: {error}")))
    }
}
