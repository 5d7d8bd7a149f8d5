//! Results too large for one line: left as a file in the folder that the client named, with the file's name sent in
//! place of the result. The client reads and removes it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::tool::{LINE_BYTES_MAX, SPILL_DIR_VARIABLE};

/// A folder for large results.
#[derive(Debug)]
pub struct Spill {
    folder: PathBuf,
    next: AtomicU64,
}

impl Spill {
    /// Uses `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), next: AtomicU64::new(1) }
    }

    /// The folder that the client named in [`SPILL_DIR_VARIABLE`], if it named one that exists.
    #[must_use]
    pub fn from_process() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os(SPILL_DIR_VARIABLE)?);
        folder.is_dir().then(|| Self::new(folder))
    }

    /// Whether a result of so many bytes must not be sent as one line.
    #[must_use]
    pub const fn is_too_long(bytes: usize) -> bool {
        bytes > LINE_BYTES_MAX
    }

    /// Writes a result and returns the name of its file.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is left then.
    pub fn put(&self, value: &impl Serialize) -> io::Result<String> {
        let name = format!("result-{}-{}.json", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.join(&name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut writer = BufWriter::new(file);
        let written = serde_json::to_writer(&mut writer, value).map_err(io::Error::from).and_then(|()| writer.flush());
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(name)
    }
}
