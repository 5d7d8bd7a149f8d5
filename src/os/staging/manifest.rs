//! The list of an attempt's changes: what shall stand where, and what stood there when the attempt read it.
//!
//! It says an end state, not a way to it: a file that was made and deleted again is no change, and putting the same list
//! into place twice is putting it once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stand::{Stand, is_plain};

/// Version of the format.
const VERSION: u32 = 1;

/// Paths that one attempt may change.
pub const CHANGES_MAX: usize = 10_000;

/// Paths whose content is remembered from reading; beyond it only what is changed is.
const SEEN_MAX: usize = 20_000;

/// Largest file of a list.
const BYTES_MAX: u64 = 64 << 20;

const FILE: &str = "manifest.json";

/// Why a list of changes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The system refused something.
    #[error("cannot use the list of changes in `{}`: {source}", .folder.display())]
    System {
        /// The staging folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no list of changes, or one of a newer version.
    #[error("the list of changes does not hold: {0}")]
    Malformed(String),
}

/// One path that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What stood there when the attempt last read it, or first changed it.
    pub base: Stand,
    /// What shall stand there.
    pub now: Stand,
    /// Name of the content in the staging folder, for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// It was moved here from this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
}

/// All changes of one attempt, by path relative to the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The changes.
    pub changes: BTreeMap<String, Change>,
    /// What was read and not changed, as it was then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seen: BTreeMap<String, Stand>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { version: VERSION, changes: BTreeMap::new(), seen: BTreeMap::new() }
    }
}

/// What a change is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing stood there.
    Created,
    /// Something else stood there.
    Changed,
    /// Nothing stands there any more.
    Deleted,
    /// It stood at another path.
    Moved,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Moved => "moved",
        }
    }
}

/// One line of a list of changes, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The path.
    pub path: String,
    /// What became of it.
    pub kind: Kind,
    /// Where it stood before, if it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Bytes of the file that stands there then.
    pub bytes: u64,
}

impl Manifest {
    /// Reads the list of a staging folder; none: nothing was changed.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn load(folder: &Path) -> Result<Self, ManifestError> {
        let system = |source| ManifestError::System { folder: folder.to_owned(), source };
        match crate::os::files::read_text(&folder.join(FILE), BYTES_MAX).map_err(system)? {
            None => Ok(Self::default()),
            Some(text) => {
                let value = serde_json::from_str(&text).map_err(|error| ManifestError::Malformed(error.to_string()))?;
                Self::from_value(value)
            }
        }
    }

    /// Reads the list from a journalled value.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, ManifestError> {
        let read: Self = serde_json::from_value(value).map_err(|error| ManifestError::Malformed(error.to_string()))?;
        if read.version > VERSION {
            return Err(ManifestError::Malformed(format!("version {} was written by a newer ollmcp", read.version)));
        }
        let is_name = |name: &String| is_plain(Path::new(name)) && Path::new(name).components().count() == 1;
        for (path, change) in &read.changes {
            if path.is_empty() || !is_plain(Path::new(path)) || change.content.as_ref().is_some_and(|c| !is_name(c)) {
                return Err(ManifestError::Malformed(format!("`{path}` is no path inside the tree")));
            }
        }
        Ok(read)
    }

    /// The list as it is journalled: without what was only read.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        let sealed = Self { seen: BTreeMap::new(), ..self.clone() };
        let mut value = serde_json::to_value(sealed).expect("a list of changes is plain data");
        // For readers that know nothing of how it is kept.
        value["files"] = serde_json::to_value(self.listed()).expect("a list of files is plain data");
        value
    }

    /// Writes the list into its folder: whole, or not at all.
    pub(super) fn save(&self, folder: &Path) -> Result<(), ManifestError> {
        let write = || {
            let draft = folder.join("manifest.json.new");
            let mut file = File::create(&draft)?;
            serde_json::to_writer(&mut io::BufWriter::new(&mut file), self)?;
            file.flush()?;
            fs::rename(&draft, folder.join(FILE))
        };
        write().map_err(|source| ManifestError::System { folder: folder.to_owned(), source })
    }

    /// Makes a folder's list and contents durable and gives the list; `None`: nothing is changed.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn seal(folder: &Path) -> Result<Option<Self>, ManifestError> {
        let found = Self::load(folder)?;
        if found.changes.is_empty() {
            return Ok(None);
        }
        let sync = || {
            for name in found.changes.values().filter_map(|change| change.content.as_ref()) {
                File::open(folder.join(name))?.sync_all()?;
            }
            File::open(folder.join(FILE))?.sync_all()?;
            File::open(folder)?.sync_all()?;
            folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        sync().map_err(|source| ManifestError::System { folder: folder.to_owned(), source })?;
        Ok(Some(Self { seen: BTreeMap::new(), ..found }))
    }

    /// Remembers what stood at a path when it was read. What the attempt has changed itself is its own.
    pub fn saw(&mut self, path: &str, stand: Stand) {
        if !self.changes.contains_key(path) && (self.seen.len() < SEEN_MAX || self.seen.contains_key(path)) {
            self.seen.insert(path.to_owned(), stand);
        }
    }

    /// Rests on what stands at a path, unless something that was read before decides.
    pub(super) fn rests_on(&mut self, path: &str, stand: Stand) {
        if !self.changes.contains_key(path) && !self.seen.contains_key(path) {
            self.seen.insert(path.to_owned(), stand);
        }
    }

    /// What stood at a path when it was last read.
    #[must_use]
    pub fn seen(&self, path: &str) -> Option<&Stand> {
        self.seen.get(path)
    }

    /// Puts a change in; one that leads back to what stood there is none.
    pub(super) fn set(&mut self, path: &str, change: Change) {
        if change.base == change.now {
            self.changes.remove(path);
            self.seen.insert(path.to_owned(), change.base);
        } else {
            self.changes.insert(path.to_owned(), change);
        }
    }

    /// Content files that some change needs.
    #[must_use]
    pub fn contents(&self) -> BTreeSet<&str> {
        self.changes.values().filter_map(|change| change.content.as_deref()).collect()
    }

    /// Whether the attempt leaves something else at the path than it found there.
    #[must_use]
    pub fn changes_path(&self, path: &str) -> bool {
        self.changes.get(path).is_some_and(|change| !change.base.is_like(&change.now))
            // A folder is changed by what is changed in it.
            || self.within(path).any(|(_, change)| !change.base.is_like(&change.now))
    }

    /// The changes below a folder; of the root, all.
    pub fn within(&self, folder: &str) -> impl Iterator<Item = (&String, &Change)> {
        // `0` is the byte after `/`.
        let range = if folder.is_empty() {
            self.changes.range::<String, _>(..)
        } else {
            self.changes.range(format!("{folder}/")..format!("{folder}0"))
        };
        range.into_iter()
    }

    /// The changes for people: moves in one line, folders only where nothing else names them.
    #[must_use]
    pub fn listed(&self) -> Vec<Listed> {
        let sources: BTreeSet<&str> = self.changes.values().filter_map(|change| change.moved_from.as_deref()).collect();
        let mut out = Vec::new();
        for (path, change) in &self.changes {
            let is_source = change.now == Stand::Absent && sources.contains(path.as_str());
            let has_more = change.now.is_folder() && self.within(path).next().is_some();
            if is_source || has_more {
                continue;
            }
            let kind = match (&change.base, &change.now) {
                (_, Stand::Absent) => Kind::Deleted,
                _ if change.moved_from.is_some() => Kind::Moved,
                (Stand::Absent, _) => Kind::Created,
                _ => Kind::Changed,
            };
            out.push(Listed { path: path.clone(), kind, from: change.moved_from.clone(), bytes: change.now.bytes() });
        }
        out
    }
}
