//! What the `fs` server sees: the workspace as it is, or as one attempt sees it, with its own files that wait for
//! acceptance over it. Which paths may be touched is the same for both.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::fs_paths::{Access, Place, Territory};
use super::fs_text::{digest, not_ordinary, ordinary};
use super::host::Refusal;
use crate::domain::failure::FailureKind;
use crate::os::staging::{Node, Overlay, OverlayError, Stand, Walked};

/// Larger files are not remembered from reading: no tool of ours can change their text.
const REMEMBERED_BYTES_MAX: u64 = 64 << 20;

/// Links that lead out of the workspace and back into it.
const DETOURS_MAX: usize = 8;

/// One call's view.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) territory: &'a Territory,
    overlay: Option<RefCell<Overlay>>,
    seen: RefCell<Vec<(String, Stand)>>,
}

/// Where a place leads.
#[derive(Debug)]
pub(super) enum At {
    /// To what stands there, without a view of an attempt.
    Direct(Place),
    /// Into the workspace as the attempt sees it.
    Here { rest: PathBuf, node: Node },
}

/// What stands somewhere: the word for it, and its length.
pub(super) type Standing = (&'static str, u64);

/// Where a link in a listing leads.
#[derive(Debug)]
pub(super) enum Linked {
    File(u64),
    Folder,
    FolderOutside,
    Nothing,
}

impl<'a> View<'a> {
    pub(super) fn new(territory: &'a Territory, overlay: Option<Overlay>) -> Self {
        Self { territory, overlay: overlay.map(RefCell::new), seen: RefCell::default() }
    }

    /// Follows a place to its end; `follows`: a link at its end too.
    pub(super) fn at(&self, place: &Place, follows: bool) -> Result<At, Refusal> {
        let Some(overlay) = &self.overlay else { return Ok(At::Direct(place.clone())) };
        let mut now = place.clone();
        for _ in 0..DETOURS_MAX {
            let Some(inside) = self.territory.inside(&now) else { return Ok(At::Direct(now)) };
            let walked = overlay.borrow().walk(&inside, follows);
            match walked.map_err(|error| place.refusal("open", &error))? {
                Walked::Inside { rest, node } => {
                    // A folder may be what the attempt changes; what lies in ours is nobody's business.
                    place.check_ours(&rest)?;
                    return Ok(At::Here { rest, node });
                }
                Walked::Outside(target) => {
                    let outside = || self.territory.outside(&place.shown, place.access);
                    let target = target.to_str().ok_or_else(outside)?;
                    let next = self.territory.locate(target, place.access).map_err(|_| outside())?;
                    now = Place { shown: place.shown.clone(), ..next };
                }
            }
        }
        Err(place.refusal("open", &Errno::LOOP.into()))
    }

    /// Opens an ordinary file for reading, and remembers what it is; its place, its length.
    pub(super) fn open_file(&self, path: &str) -> Result<(Place, File, u64), Refusal> {
        self.opened(path, true)
    }

    /// The same for a look that may come to nothing.
    pub(super) fn glance(&self, path: &str) -> Result<(Place, File, u64), Refusal> {
        self.opened(path, false)
    }

    /// Remembers what a file is, after a glance that found something.
    pub(super) fn remember(&self, path: &str) {
        if self.overlay.is_some() {
            // A file that went away since is remembered as that.
            let _ = self.opened(path, true);
        }
    }

    fn opened(&self, path: &str, remembers: bool) -> Result<(Place, File, u64), Refusal> {
        let place = self.territory.locate(path, Access::Read)?;
        match self.at(&place, true)? {
            At::Direct(direct) => {
                let file = self.territory.open(&direct)?;
                ordinary(place, file)
            }
            At::Here { rest, node } => match &node {
                Node::File { content, .. } => {
                    let failed = |error: io::Error| place.refusal("open", &error);
                    let file = self.overlay().borrow().open_file(&rest, &node).map_err(failed)?;
                    let (place, mut file, bytes) = ordinary(place, file)?;
                    if content.is_none() && remembers {
                        self.saw_file(&rest, &mut file).map_err(|error| place.refusal("read", &error))?;
                    }
                    Ok((place, file, bytes))
                }
                Node::Folder { .. } => Err(not_ordinary(&place, true)),
                Node::Absent => {
                    self.saw(&rest, Stand::Absent);
                    Err(place.refusal("open", &Errno::NOENT.into()))
                }
                Node::Link { .. } | Node::Other => Err(not_ordinary(&place, false)),
            },
        }
    }

    /// What stands at a path, and its length; `None`: nothing.
    pub(super) fn stat(&self, path: &str) -> Result<(Place, Option<Standing>), Refusal> {
        let place = self.territory.locate(path, Access::Read)?;
        let at = match self.at(&place, true) {
            Err(refusal) if refusal.kind == FailureKind::Missing => return Ok((place, None)),
            other => other?,
        };
        let found = match at {
            At::Direct(direct) => match self.territory.real(&direct) {
                Ok(real) => {
                    let metadata = fs::symlink_metadata(&real).map_err(|error| place.refusal("look up", &error))?;
                    let kind = match metadata.file_type() {
                        kind if kind.is_file() => "file",
                        kind if kind.is_dir() => "folder",
                        _ => "other",
                    };
                    Some((kind, metadata.len()))
                }
                Err(refusal) if refusal.kind == FailureKind::Missing => None,
                Err(refusal) => return Err(refusal),
            },
            At::Here { rest, node } => match node {
                Node::Absent => {
                    self.saw(&rest, Stand::Absent);
                    None
                }
                Node::File { bytes, .. } => Some(("file", bytes)),
                Node::Folder { .. } => {
                    let real = fs::symlink_metadata(self.territory.workspace().join(&rest));
                    Some(("folder", real.map_or(4_096, |metadata| metadata.len())))
                }
                Node::Link { .. } | Node::Other => Some(("other", 0)),
            },
        };
        Ok((place, found))
    }

    /// The attempt's view; only where [`View::at`] led there.
    pub(super) fn overlay(&self) -> &RefCell<Overlay> {
        self.overlay.as_ref().expect("only a view of an attempt leads here")
    }

    pub(super) fn look(&self, rest: &Path) -> io::Result<Node> {
        self.overlay().borrow().look(rest)
    }

    pub(super) fn names(&self, rest: &Path) -> io::Result<BTreeSet<OsString>> {
        self.overlay().borrow().names(rest)
    }

    /// Where a link of the workspace leads.
    pub(super) fn linked(&self, rest: &Path) -> Linked {
        let Some(path) = rest.to_str() else { return Linked::Nothing };
        let Ok(place) = self.territory.locate(path, Access::Read) else { return Linked::Nothing };
        match self.at(&place, true) {
            Ok(At::Here { node: Node::File { bytes, .. }, .. }) => Linked::File(bytes),
            Ok(At::Here { node: Node::Folder { .. }, .. }) => Linked::Folder,
            Ok(At::Here { .. }) => Linked::Nothing,
            Ok(At::Direct(direct)) => match self.territory.real(&direct).map(fs::metadata) {
                Ok(Ok(metadata)) if metadata.is_file() => Linked::File(metadata.len()),
                Ok(Ok(metadata)) if metadata.is_dir() => Linked::Folder,
                _ => Linked::Nothing,
            },
            Err(_) => {
                let outside = self.overlay().borrow().walk(rest, true);
                let Ok(Walked::Outside(target)) = outside else { return Linked::Nothing };
                if fs::metadata(target).is_ok_and(|target| target.is_dir()) {
                    Linked::FolderOutside
                } else {
                    Linked::Nothing
                }
            }
        }
    }

    // ── what was read ───────────────────────────────────────────────────────────────────────────────────────────────

    fn saw(&self, rest: &Path, stand: Stand) {
        if let Some(path) = rest.to_str() {
            self.seen.borrow_mut().push((path.to_owned(), stand));
        }
    }

    fn saw_file(&self, rest: &Path, file: &mut File) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = file.metadata()?;
        if metadata.len() > REMEMBERED_BYTES_MAX {
            return Ok(());
        }
        let (sha256, bytes) = digest(file)?;
        file.rewind()?;
        self.saw(rest, Stand::File { sha256, bytes, mode: metadata.permissions().mode() & 0o7777 });
        Ok(())
    }

    /// Keeps what the call has read: what the attempt changes later rests on it.
    pub(super) fn keep_seen(&self) -> Result<(), Refusal> {
        let seen = self.seen.take();
        match &self.overlay {
            Some(overlay) if !seen.is_empty() => overlay.borrow_mut().saw(seen).map_err(|error| not_kept(&error)),
            _ => Ok(()),
        }
    }
}

/// The list of changes cannot be written.
pub(super) fn not_kept(error: &OverlayError) -> Refusal {
    let kind = match error {
        OverlayError::System(source) if source.kind() == io::ErrorKind::StorageFull => FailureKind::Busy,
        OverlayError::TooLarge | OverlayError::TooMany => FailureKind::TooLarge,
        _ => FailureKind::ToolError,
    };
    Refusal::new(kind, error.to_string())
}
