//! Moves an attempt's changes into place. It may be cut off before or after any of its steps and begun again, however
//! often: the end is the same, nothing is half there, and nothing is put in place twice.
//!
//! New contents stand beside their target under a name of ours, whole and synced, before they are renamed over it; what
//! is taken away goes last, so that a file that is moved is never nowhere. What is in place is noted in the staging
//! folder: should a person change it before the rest has followed, it is theirs and is left alone.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::manifest::{Change, Manifest};
use super::stand::{Stand, leads_nowhere, open_beneath};

const PLACED: &str = "placed";

/// Beginning of the names of contents beside their target; listings skip it.
const DRAFT: &str = ".ollmcp-new-";

/// One step of the mover, before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// A folder is made.
    MakeFolder(String),
    /// A content is put beside its target.
    Draft(String),
    /// It is renamed over the target.
    Rename(String),
    /// A file, link or empty folder is taken away.
    Remove(String),
    /// A folder's entries are made durable.
    Sync(String),
    /// What is in place is noted.
    Note(String),
}

/// Why not all is in place.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Somebody else changed the path since it was read. Nothing more is moved.
    #[error("`{path}` was changed by somebody else since it was read")]
    Changed {
        /// The path.
        path: String,
    },
    /// The content that belongs there is gone.
    #[error("the new content of `{path}` is gone from the folder where it waited")]
    Lost {
        /// The path.
        path: String,
    },
    /// The system refused something; the same again may go further.
    #[error("cannot put `{path}` in place: {source}")]
    System {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Paths that stand otherwise than the changes rest on.
///
/// # Errors
/// What the system says.
pub fn conflicts(root: &Path, manifest: &Manifest) -> io::Result<Vec<String>> {
    let mut out = Vec::new();
    for (path, change) in &manifest.changes {
        let stands = Stand::of(root, Path::new(path))?;
        let is_shared_folder = change.now.is_folder() && stands.is_folder();
        if !(stands.is_like(&change.base) || is_shared_folder) || has_strangers(root, manifest, path, change)? {
            out.push(path.clone());
        }
    }
    Ok(out)
}

/// Whether a folder that is to go holds something that the attempt did not take away.
fn has_strangers(root: &Path, manifest: &Manifest, path: &str, change: &Change) -> io::Result<bool> {
    if !change.base.is_folder() || change.now.is_folder() {
        return Ok(false);
    }
    let folder = match open_beneath(root, Path::new(path), OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(folder) => folder,
        Err(error) if leads_nowhere(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in rustix::fs::Dir::read_from(&folder)? {
        use std::os::unix::ffi::OsStrExt as _;
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || name.as_bytes().starts_with(DRAFT.as_bytes()) {
            continue;
        }
        let is_gone = name.to_str().and_then(|name| manifest.changes.get(&format!("{path}/{name}")));
        if is_gone.is_none_or(|change| change.now != Stand::Absent) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Moves the changes in `folder` into the tree at `root`.
///
/// # Errors
/// [`MoveError`]; called again it goes on.
pub fn place(root: &Path, folder: &Path, manifest: &Manifest) -> Result<(), MoveError> {
    place_pacing(root, folder, manifest, &mut |_| Ok(()))
}

/// The same, asking before each step.
///
/// # Errors
/// [`MoveError`], also with what `pace` answered.
pub fn place_pacing(
    root: &Path,
    folder: &Path,
    manifest: &Manifest,
    pace: &mut dyn FnMut(&Move) -> io::Result<()>,
) -> Result<(), MoveError> {
    let mut mover = Mover { root, folder, manifest, placed: placed(folder), pace };
    let left = mover.left()?;
    mover.make_room(&left)?;
    let by_depth = |paths: &mut Vec<&str>| paths.sort_by_key(|path| path.matches('/').count());
    let now = |path: &str| &manifest.changes[path].now;
    let mut folders: Vec<&str> = left.iter().copied().filter(|path| now(path).is_folder()).collect();
    by_depth(&mut folders);
    folders.iter().try_for_each(|path| mover.put(path))?;
    left.iter()
        .filter(|path| !now(path).is_folder() && *now(path) != Stand::Absent)
        .try_for_each(|path| mover.put(path))?;
    let mut gone: Vec<&str> = left.iter().copied().filter(|path| *now(path) == Stand::Absent).collect();
    by_depth(&mut gone);
    gone.iter().rev().try_for_each(|path| mover.put(path))
}

/// What is noted as being in place; a last line that was cut off is none.
fn placed(folder: &Path) -> BTreeSet<String> {
    let Ok(file) = File::open(folder.join(PLACED)) else { return BTreeSet::new() };
    let lines = io::BufReader::new(file).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

struct Mover<'a> {
    root: &'a Path,
    folder: &'a Path,
    manifest: &'a Manifest,
    placed: BTreeSet<String>,
    pace: &'a mut dyn FnMut(&Move) -> io::Result<()>,
}

impl<'a> Mover<'a> {
    /// What is not in place yet, all of it looked at before the first is moved.
    fn left(&self) -> Result<Vec<&'a str>, MoveError> {
        let mut left = Vec::new();
        for (path, change) in &self.manifest.changes {
            if self.placed.contains(path) {
                continue;
            }
            let system = |source| MoveError::System { path: path.clone(), source };
            let stands = Stand::of(self.root, Path::new(path)).map_err(system)?;
            if stands.is_like(&change.now) {
                continue;
            }
            // A file in place of a folder, or the other way, is put there in two steps.
            let is_on_the_way = stands == Stand::Absent && change.base.is_folder() != change.now.is_folder();
            let has_strangers = has_strangers(self.root, self.manifest, path, change).map_err(system)?;
            if !(stands.is_like(&change.base) || is_on_the_way) || has_strangers {
                return Err(MoveError::Changed { path: path.clone() });
            }
            if let Some(content) = &change.content
                && !self.folder.join(content).is_file()
            {
                return Err(MoveError::Lost { path: path.clone() });
            }
            left.push(path.as_str());
        }
        Ok(left)
    }

    /// Takes away what stands where something of another kind belongs: files before folders come, and folders, with what
    /// was in them, before files do.
    fn make_room(&mut self, left: &[&'a str]) -> Result<(), MoveError> {
        for path in left {
            let change = &self.manifest.changes[*path];
            let is_other_kind = change.base.is_folder() != change.now.is_folder();
            if !is_other_kind || change.now == Stand::Absent || change.base == Stand::Absent {
                continue;
            }
            let inside = format!("{path}/");
            let mut inner: Vec<&str> = left.iter().copied().filter(|other| other.starts_with(&inside)).collect();
            inner.retain(|other| self.manifest.changes[*other].now == Stand::Absent);
            inner.sort_by_key(|other| std::cmp::Reverse(other.matches('/').count()));
            for other in inner {
                self.remove(other)?;
            }
            self.remove(path)?;
        }
        Ok(())
    }

    fn put(&mut self, path: &str) -> Result<(), MoveError> {
        let change = &self.manifest.changes[path];
        match &change.now {
            Stand::Absent => self.remove(path)?,
            Stand::Folder { mode } => {
                let mode = *mode;
                self.step(Move::MakeFolder(path.to_owned()), path, |mover| {
                    let (parent, name) = mover.parent(path)?;
                    match rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(mode & 0o777)) {
                        Ok(()) | Err(Errno::EXIST) => Ok(()),
                        Err(error) => Err(error.into()),
                    }
                })?;
                self.sync(path)?;
            }
            Stand::File { .. } | Stand::Link { .. } | Stand::Other => {
                self.step(Move::Draft(path.to_owned()), path, |mover| mover.draft(path, change))?;
                self.step(Move::Rename(path.to_owned()), path, |mover| {
                    let (parent, name) = mover.parent(path)?;
                    let draft = mover.draft_name(path);
                    // The last look: what was changed a moment ago is not covered up.
                    let stands = Stand::in_folder(&parent, &name)?;
                    let is_gone = stands == Stand::Absent;
                    if !(stands.is_like(&change.base) || stands.is_like(&change.now) || is_gone) {
                        let _ = rustix::fs::unlinkat(&parent, draft.as_str(), AtFlags::empty());
                        return Err(io::Error::other(ChangedNow));
                    }
                    Ok(rustix::fs::renameat(&parent, draft.as_str(), &parent, name.as_os_str())?)
                })?;
                self.sync(path)?;
            }
        }
        self.note(path)
    }

    /// Takes away what stands at a path, if it is still what the attempt took away.
    fn remove(&mut self, path: &str) -> Result<(), MoveError> {
        let change = &self.manifest.changes[path];
        self.step(Move::Remove(path.to_owned()), path, |mover| {
            let (parent, name) = match mover.parent(path) {
                Ok(found) => found,
                Err(error) if leads_nowhere(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let stands = Stand::in_folder(&parent, &name)?;
            if stands == Stand::Absent {
                return Ok(());
            }
            if !stands.is_like(&change.base) {
                return Err(io::Error::other(ChangedNow));
            }
            let flags = if stands.is_folder() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(&parent, name.as_os_str(), flags) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => Err(io::Error::other(ChangedNow)),
                Err(error) => Err(error.into()),
            }
        })?;
        self.sync(path)
    }

    /// Puts a content beside its target: linked where that can be done, else copied.
    fn draft(&self, path: &str, change: &Change) -> io::Result<()> {
        let (parent, _) = self.parent(path)?;
        let draft = self.draft_name(path);
        match rustix::fs::unlinkat(&parent, draft.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        if let Stand::Link { target } = &change.now {
            return Ok(rustix::fs::symlinkat(target.as_str(), &parent, draft.as_str())?);
        }
        let content = self.folder.join(change.content.as_deref().ok_or(Errno::INVAL)?);
        if rustix::fs::linkat(rustix::fs::CWD, &content, &parent, draft.as_str(), AtFlags::empty()).is_ok() {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut to = File::from(rustix::fs::openat(&parent, draft.as_str(), flags, Mode::from_raw_mode(0o600))?);
        let mut from = File::open(content)?;
        io::copy(&mut from, &mut to)?;
        if let Stand::File { mode, .. } = change.now {
            to.set_permissions(Permissions::from_mode(mode & 0o777))?;
        }
        to.sync_all()
    }

    /// The same for each repetition, so that one that was cut off leaves nothing behind.
    fn draft_name(&self, path: &str) -> String {
        let attempt = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let (digest, _) = super::sha256_of(&mut format!("{attempt} {path}").as_bytes()).unwrap_or_default();
        format!("{DRAFT}{}", &digest[..16.min(digest.len())])
    }

    fn parent(&self, path: &str) -> io::Result<(OwnedFd, OsString)> {
        let path = PathBuf::from(path);
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((open_beneath(self.root, parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Makes the entries of a path's folder durable.
    fn sync(&mut self, path: &str) -> Result<(), MoveError> {
        self.step(Move::Sync(path.to_owned()), path, |mover| {
            let parent = Path::new(path).parent().unwrap_or(Path::new(""));
            match open_beneath(mover.root, parent, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(folder) => Ok(rustix::fs::fsync(folder)?),
                Err(error) if leads_nowhere(&error) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn note(&mut self, path: &str) -> Result<(), MoveError> {
        self.step(Move::Note(path.to_owned()), path, |mover| {
            let mut file = OpenOptions::new().append(true).create(true).open(mover.folder.join(PLACED))?;
            // Behind a line that was cut off a new one begins.
            file.write_all(format!("\n{}\n", serde_json::Value::from(path)).as_bytes())?;
            file.sync_data()
        })?;
        self.placed.insert(path.to_owned());
        Ok(())
    }

    fn step(&mut self, step: Move, path: &str, act: impl FnOnce(&Self) -> io::Result<()>) -> Result<(), MoveError> {
        let made = (self.pace)(&step).and_then(|()| act(self));
        made.map_err(|source| {
            if source.get_ref().is_some_and(|inner| inner.is::<ChangedNow>()) {
                MoveError::Changed { path: path.to_owned() }
            } else {
                MoveError::System { path: path.to_owned(), source }
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it was changed just now")]
struct ChangedNow;

/// Removes a staging folder, if it is there.
///
/// # Errors
/// What the system says.
pub fn discard(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
