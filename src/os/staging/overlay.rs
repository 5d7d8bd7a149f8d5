//! A tree as one attempt sees it: its own changes over what is there. Looking never changes the tree, and a change lands
//! in the staging folder alone.
//!
//! Contents in the staging folder are never changed in place: each has a file of its own, and the list of changes names
//! it only when it is whole. A file that is moved is linked there, not copied, where the file system can do that.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::manifest::{CHANGES_MAX, Change, Manifest, ManifestError};
use super::stand::{Stand, leads_nowhere, open_beneath, sha256_of};

/// Bytes that one attempt may write; what it only moves does not count.
const WRITTEN_BYTES_MAX: u64 = 256 << 20;

/// Links that are followed on the way to one path; the kernel has the same limit.
const LINKS_MAX: u32 = 40;

/// Why something cannot be looked up or changed.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The list of changes cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The system refused something, or would.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The attempt changes too many paths.
    #[error("one attempt changes at most {CHANGES_MAX} paths")]
    TooMany,
    /// The attempt writes too much.
    #[error("one attempt writes at most {WRITTEN_BYTES_MAX} bytes")]
    TooLarge,
    /// Something in a folder that is to be moved cannot be.
    #[error("`{path}` cannot be moved: {why}")]
    Immovable {
        /// What.
        path: String,
        /// Why.
        why: &'static str,
    },
}

/// What stands at a path for the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Where its content lies, if the attempt put it there; else it is the tree's own.
        content: Option<PathBuf>,
        /// Its length.
        bytes: u64,
        /// Its rights.
        mode: u32,
    },
    /// A folder.
    Folder {
        /// Its rights.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// A pipe, socket or device.
    Other,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walked {
    /// To a place in the tree.
    Inside {
        /// Its path from the root, with every link on the way followed.
        rest: PathBuf,
        /// What stands there.
        node: Node,
    },
    /// Through a link out of the tree.
    Outside(PathBuf),
}

/// The view of one attempt.
#[derive(Debug)]
pub struct Overlay {
    root: PathBuf,
    folder: PathBuf,
    manifest: Manifest,
}

impl Overlay {
    /// The tree at `root` under the changes that lie in `folder`.
    ///
    /// # Errors
    /// [`OverlayError`], also when `folder` is not there.
    pub fn open(root: &Path, folder: &Path) -> Result<Self, OverlayError> {
        if !fs::symlink_metadata(folder)?.is_dir() {
            return Err(io::Error::from(Errno::NOTDIR).into());
        }
        Ok(Self { root: root.canonicalize()?, folder: folder.to_owned(), manifest: Manifest::load(folder)? })
    }

    /// The root of the tree, without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The changes.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    // ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    /// What stands at a path whose folders are no links.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(&self, rest: &Path) -> io::Result<Node> {
        if rest.as_os_str().is_empty() {
            return Ok(Node::Folder { mode: 0o755 });
        }
        if let Some(change) = rest.to_str().and_then(|rest| self.manifest.changes.get(rest)) {
            return Ok(self.node_of(change));
        }
        // What lies in a folder that is gone is gone.
        let nearest = rest.ancestors().skip(1).find_map(|above| self.manifest.changes.get(above.to_str()?));
        if nearest.is_some_and(|change| !change.now.is_folder()) {
            return Ok(Node::Absent);
        }
        self.look_below(rest)
    }

    fn node_of(&self, change: &Change) -> Node {
        match &change.now {
            Stand::Absent => Node::Absent,
            Stand::File { bytes, mode, .. } => Node::File {
                content: change.content.as_ref().map(|name| self.folder.join(name)),
                bytes: *bytes,
                mode: *mode,
            },
            Stand::Folder { mode } => Node::Folder { mode: *mode },
            Stand::Link { target } => Node::Link { target: PathBuf::from(target) },
            Stand::Other => Node::Other,
        }
    }

    /// What the tree itself has there.
    fn look_below(&self, rest: &Path) -> io::Result<Node> {
        let name = rest.file_name().ok_or(Errno::INVAL)?;
        let folder = match self.folder_below(rest.parent().unwrap_or(Path::new(""))) {
            Ok(folder) => folder,
            Err(error) if leads_nowhere(&error) => return Ok(Node::Absent),
            Err(error) => return Err(error),
        };
        let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Node::Absent),
            Err(error) => return Err(error.into()),
        };
        let mode = stat.st_mode & 0o7777;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                Node::File { content: None, bytes: u64::try_from(stat.st_size).unwrap_or(0), mode }
            }
            FileType::Directory => Node::Folder { mode },
            FileType::Symlink => {
                use std::os::unix::ffi::OsStringExt as _;
                let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
                Node::Link { target: PathBuf::from(OsString::from_vec(target.into_bytes())) }
            }
            _ => Node::Other,
        })
    }

    fn folder_below(&self, rest: &Path) -> io::Result<OwnedFd> {
        open_beneath(&self.root, rest, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Follows a path from the root; `follows`: a link at its end too.
    ///
    /// # Errors
    /// `NotFound` and `NotADirectory` for the folders on the way, `ELOOP` for too many links.
    pub fn walk(&self, given: &Path, follows: bool) -> io::Result<Walked> {
        let (mut real, mut links) = (PathBuf::new(), 0);
        let mut left = reversed(given);
        while let Some(part) = left.pop() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => {
                    let next = real.join(name);
                    let is_last = left.is_empty();
                    match self.look(&next)? {
                        Node::Link { target } if !is_last || follows => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(Errno::LOOP.into());
                            }
                            let Some(target) = self.inside(&target) else {
                                let rest: PathBuf = left.iter().rev().collect();
                                return Ok(Walked::Outside(self.root.join(&real).join(target).join(rest)));
                            };
                            if target.is_absolute() {
                                real = PathBuf::new();
                            }
                            left.extend(reversed(target.strip_prefix("/").unwrap_or(&target)));
                        }
                        node if is_last => return Ok(Walked::Inside { rest: next, node }),
                        Node::Folder { .. } => real = next,
                        Node::Absent => return Err(Errno::NOENT.into()),
                        Node::File { .. } | Node::Link { .. } | Node::Other => return Err(Errno::NOTDIR.into()),
                    }
                }
                Some(Component::ParentDir) => {
                    if !real.pop() {
                        let rest: PathBuf = left.iter().rev().collect();
                        return Ok(Walked::Outside(self.root.join("..").join(rest)));
                    }
                }
                Some(Component::CurDir | Component::RootDir | Component::Prefix(_)) | None => {}
            }
        }
        let node = self.look(&real)?;
        Ok(Walked::Inside { rest: real, node })
    }

    /// A link's target as it goes on: relative as it is, absolute ones of the tree from its root (`/a` is the tree's
    /// `a`); `None`: it leads out.
    fn inside(&self, target: &Path) -> Option<PathBuf> {
        if !target.is_absolute() {
            return Some(target.to_owned());
        }
        let rest = target.strip_prefix(&self.root).ok()?;
        Some(Path::new("/").join(rest))
    }

    /// Names in a folder, in the order of their bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self, rest: &Path) -> io::Result<BTreeSet<OsString>> {
        // Without a slash at its end, as the changes have it.
        let rest: &Path = &rest.components().collect::<PathBuf>();
        let mut names = BTreeSet::new();
        match open_beneath(&self.root, rest, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => {
                for entry in rustix::fs::Dir::read_from(&folder)? {
                    use std::os::unix::ffi::OsStrExt as _;
                    let entry = entry?;
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    if name != "." && name != ".." && self.look(&rest.join(name))? != Node::Absent {
                        names.insert(name.to_owned());
                    }
                }
            }
            Err(error) if leads_nowhere(&error) => {}
            Err(error) => return Err(error),
        }
        for (path, change) in self.manifest.within(rest.to_str().unwrap_or_default()) {
            let path = Path::new(path);
            if path.parent() == Some(rest) && change.now != Stand::Absent {
                names.extend(path.file_name().map(OsStr::to_owned));
            }
        }
        Ok(names)
    }

    /// Opens a file's content for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_file(&self, rest: &Path, node: &Node) -> io::Result<File> {
        match node {
            Node::File { content: Some(content), .. } => File::open(content),
            _ => open_beneath(&self.root, rest, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from),
        }
    }

    // ── changing ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Remembers what was read of a path: what is changed later rests on it.
    ///
    /// # Errors
    /// [`OverlayError::Manifest`].
    pub fn saw(&mut self, seen: impl IntoIterator<Item = (String, Stand)>) -> Result<(), OverlayError> {
        let before = self.manifest.clone();
        for (path, stand) in seen {
            self.manifest.saw(&path, stand);
        }
        if self.manifest != before {
            self.manifest.save(&self.folder)?;
        }
        Ok(())
    }

    /// Rests the next change of a path on what was read for it, unless something was read of it before.
    pub fn rests_on(&mut self, path: &str, stand: Stand) {
        self.manifest.rests_on(path, stand);
    }

    /// Puts a file at a path; `mode` is that of the file that it replaces.
    ///
    /// # Errors
    /// [`OverlayError`]; nothing is changed then.
    pub fn put_file(&mut self, path: &str, content: &[u8], mode: Option<u32>) -> Result<(), OverlayError> {
        let written =
            self.manifest.changes.iter().filter(|(other, change)| *other != path && change.moved_from.is_none());
        let written: u64 = written.map(|(_, change)| change.now.bytes()).sum();
        if written + content.len() as u64 > WRITTEN_BYTES_MAX {
            return Err(OverlayError::TooLarge);
        }
        let (name, mut file) = self.new_content()?;
        file.write_all(content)?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode & 0o777))?;
        }
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let (sha256, bytes) = sha256_of(&mut &*content)?;
        let before = self.manifest.changes.get(path);
        let moved_from = before.filter(|change| matches!(change.now, Stand::File { .. }));
        let moved_from = moved_from.and_then(|change| change.moved_from.clone());
        let now = Stand::File { sha256, bytes, mode };
        let change = Change { base: self.base(path)?, now, content: Some(name), moved_from };
        self.change([(path.to_owned(), change)])
    }

    /// Makes a folder at a path where nothing stands.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn make_folder(&mut self, path: &str) -> Result<(), OverlayError> {
        let base = self.base(path)?;
        let now = if base.is_folder() { base.clone() } else { Stand::Folder { mode: self.new_folder_mode()? } };
        self.change([(path.to_owned(), Change { base, now, content: None, moved_from: None })])
    }

    /// Takes away what stands at a path; a folder must be empty.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn remove(&mut self, path: &str) -> Result<(), OverlayError> {
        let change = Change { base: self.base(path)?, now: Stand::Absent, content: None, moved_from: None };
        self.change([(path.to_owned(), change)])
    }

    /// Moves what stands at `from`, with all that is in it, to `to`, where nothing or something that it may replace
    /// stands.
    ///
    /// # Errors
    /// [`OverlayError`]; nothing is changed then.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), OverlayError> {
        let mut all = Vec::new();
        self.gather(Path::new(from), &mut all)?;
        if all.len() + self.manifest.changes.len() > CHANGES_MAX {
            return Err(OverlayError::TooMany);
        }
        let mut changes = Vec::new();
        for (path, node) in &all {
            let target = if path == from { to.to_owned() } else { format!("{to}{}", &path[from.len()..]) };
            let known = self.manifest.changes.get(path).cloned();
            let base = self.base(path)?;
            let origin = match &known {
                Some(change) if change.moved_from.is_some() => change.moved_from.clone(),
                _ if base == Stand::Absent => None,
                _ => Some(path.clone()),
            };
            let (now, content) = match (node, known) {
                (_, Some(change)) => (change.now, change.content),
                (Node::File { .. }, None) => {
                    let (stand, content) = self.take_content(Path::new(path))?;
                    (stand, Some(content))
                }
                (_, None) => (Stand::of(&self.root, Path::new(path))?, None),
            };
            let target_base = self.base(&target)?;
            changes.push((target, Change { base: target_base, now, content, moved_from: origin }));
            changes.push((path.clone(), Change { base, now: Stand::Absent, content: None, moved_from: None }));
        }
        // A target may be a source of the same move only if one lies in the other, which is no move.
        self.change(changes)
    }

    /// A path with all that is in it, folders before what they hold.
    fn gather(&self, rest: &Path, out: &mut Vec<(String, Node)>) -> Result<(), OverlayError> {
        let immovable = |why| OverlayError::Immovable { path: rest.display().to_string(), why };
        let path = rest.to_str().ok_or_else(|| immovable("its name is not UTF-8"))?.to_owned();
        let node = self.look(rest)?;
        if out.len() > CHANGES_MAX {
            return Err(OverlayError::TooMany);
        }
        match &node {
            Node::Other => return Err(immovable("it is no file, folder or link")),
            Node::Folder { .. } => {
                out.push((path, node));
                for name in self.names(rest)? {
                    self.gather(&rest.join(name), out)?;
                }
            }
            Node::Absent | Node::File { .. } | Node::Link { .. } => out.push((path, node)),
        }
        Ok(())
    }

    /// What stands at a path as far as the attempt rests on it.
    fn base(&self, path: &str) -> io::Result<Stand> {
        if let Some(change) = self.manifest.changes.get(path) {
            return Ok(change.base.clone());
        }
        match self.manifest.seen(path) {
            Some(stand) => Ok(stand.clone()),
            None => Stand::of(&self.root, Path::new(path)),
        }
    }

    fn change(&mut self, changes: impl IntoIterator<Item = (String, Change)>) -> Result<(), OverlayError> {
        let mut after = self.manifest.clone();
        for (path, change) in changes {
            after.set(&path, change);
        }
        if after.changes.len() > CHANGES_MAX {
            return Err(OverlayError::TooMany);
        }
        after.save(&self.folder)?;
        let before = std::mem::replace(&mut self.manifest, after);
        let kept = self.manifest.contents();
        for name in before.contents().difference(&kept) {
            // A content that nobody names any more goes with its folder at the latest.
            let _ = fs::remove_file(self.folder.join(name));
        }
        Ok(())
    }

    fn new_name() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        format!("content-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn new_content(&self) -> io::Result<(String, File)> {
        loop {
            let name = Self::new_name();
            // The rights that any new file of this process gets: it is moved into place as it is.
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o666).open(self.folder.join(&name));
            match opened {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The rights that a new folder of this process gets.
    fn new_folder_mode(&self) -> io::Result<u32> {
        let probe = self.folder.join(Self::new_name());
        fs::DirBuilder::new().create(&probe)?;
        let mode = fs::metadata(&probe)?.permissions().mode() & 0o7777;
        fs::remove_dir(&probe)?;
        Ok(mode)
    }

    /// Links a file of the tree into the staging folder, or copies it.
    fn take_content(&self, rest: &Path) -> Result<(Stand, String), OverlayError> {
        let name = rest.file_name().ok_or(Errno::INVAL).map_err(io::Error::from)?;
        let parent = self.folder_below(rest.parent().unwrap_or(Path::new("")))?;
        let content = loop {
            let content = Self::new_name();
            let staged = self.folder.join(&content);
            match rustix::fs::linkat(&parent, name, rustix::fs::CWD, &staged, AtFlags::empty()) {
                Ok(()) => break content,
                Err(Errno::EXIST) => {}
                Err(_) => {
                    let mut from = open_beneath(&self.root, rest, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)?;
                    let (content, mut to) = self.new_content()?;
                    io::copy(&mut from, &mut to)?;
                    to.set_permissions(from.metadata()?.permissions())?;
                    break content;
                }
            }
        };
        let stand = Stand::of(&self.folder, Path::new(&content))?;
        if !matches!(stand, Stand::File { .. }) {
            return Err(OverlayError::Immovable { path: rest.display().to_string(), why: "it is no file any more" });
        }
        Ok((stand, content))
    }
}

fn reversed(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}
