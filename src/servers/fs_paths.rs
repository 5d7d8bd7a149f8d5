//! Where the `fs` server may go: everything in the workspace, and for reading also the granted paths. A path is
//! resolved by the kernel beneath the folder that permits it (`openat2`), so no link and no race leads outside.
//!
//! Not covered: another process of the same user that moves folders about may make a listing show names of a folder
//! that was just moved away; contents are never read outside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::host::Refusal;
use crate::domain::failure::FailureKind;

/// Folders of ours: state and, in it, settings with keys. Neither read nor written nor listed.
const OURS: &str = ".ollmcp";

/// Not written or listed: what is in it runs as code.
const GIT: &str = ".git";

const PATH_BYTES_MAX: usize = 4_096;

/// What a call wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The folders and files that may be touched.
#[derive(Debug)]
pub(super) struct Territory {
    /// Without links.
    workspace: PathBuf,
    /// As it was named.
    workspace_alias: PathBuf,
    granted: Vec<PathBuf>,
}

/// A path inside the territory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The folder (or single file) that permits it.
    pub(super) root: PathBuf,
    /// The way from there.
    pub(super) rest: PathBuf,
    /// As it is given back: relative inside the workspace, else absolute.
    pub(super) shown: String,
    pub(super) access: Access,
    /// The root is no part of the workspace: a person named it.
    pub(super) is_granted: bool,
}

impl Territory {
    pub(super) fn new(workspace: &Path, granted: &[PathBuf]) -> io::Result<Self> {
        let workspace_alias = std::path::absolute(workspace)?;
        let workspace = fs::canonicalize(workspace)?;
        let granted = granted.iter().map(|path| normal(&workspace.join(path))).collect();
        Ok(Self { workspace, workspace_alias, granted })
    }

    pub(super) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Finds the place of a path as it was given.
    pub(super) fn locate(&self, given: &str, access: Access) -> Result<Place, Refusal> {
        if given.is_empty() || given.contains('\0') || given.len() > PATH_BYTES_MAX {
            return Err(Refusal::new(FailureKind::BadInput, "a path is empty, too long, or holds a zero byte"));
        }
        let absolute = normal(&self.workspace.join(given));
        let place = self.place(&absolute, access);
        // The path may reach the territory through links outside of it.
        let place = place.or_else(|| self.place(&resolved(&absolute)?, access));
        let place = place.ok_or_else(|| self.outside(given, access))?;
        place.check_ours(&place.rest)?;
        Ok(place)
    }

    fn place(&self, absolute: &Path, access: Access) -> Option<Place> {
        let shown = self.shown(absolute);
        let granted = self.granted.iter().filter(|_| access == Access::Read).map(|root| (root, root));
        let workspace = [(&self.workspace, &self.workspace), (&self.workspace_alias, &self.workspace)];
        let roots = workspace.into_iter().chain(granted);
        // The longest permission decides: a granted folder inside the workspace may be a link to outside.
        let fitting = roots.filter_map(|(name, root)| Some((name, root, absolute.strip_prefix(name).ok()?)));
        let (_, root, rest) = fitting.max_by_key(|(name, _, _)| name.as_os_str().len())?;
        let is_granted = *root != self.workspace;
        Some(Place { root: root.clone(), rest: rest.to_owned(), shown, access, is_granted })
    }

    /// A path as it is given back: it works as it stands in the next call.
    fn shown(&self, absolute: &Path) -> String {
        let inside = absolute.strip_prefix(&self.workspace).or_else(|_| absolute.strip_prefix(&self.workspace_alias));
        let shown = inside.map_or_else(|_| absolute.to_string_lossy(), |rest| rest.to_string_lossy());
        if shown.is_empty() { ".".to_owned() } else { shown.into_owned() }
    }

    pub(super) fn outside(&self, given: &str, access: Access) -> Refusal {
        let refusal = Refusal::new(FailureKind::Refused, format!("`{given}` is outside of the workspace"));
        match access {
            Access::Read => refusal.hint(format!(
                "only `{}` and paths that were granted may be read; name the path as an input of the plan",
                self.workspace.display()
            )),
            Access::Write => refusal.hint(format!("only inside `{}` may be written", self.workspace.display())),
        }
    }

    /// Opens what stands at a place, for reading.
    pub(super) fn open(&self, place: &Place) -> Result<File, Refusal> {
        self.open_as(place, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from)
    }

    /// The real path of a folder or file at a place, checked to be inside.
    pub(super) fn real(&self, place: &Place) -> Result<PathBuf, Refusal> {
        let opened = self.open_as(place, OFlags::PATH)?;
        real_path(&opened).map_err(|error| place.refusal("look up", &error))
    }

    fn open_as(&self, place: &Place, flags: OFlags) -> Result<OwnedFd, Refusal> {
        match place.open_beneath(flags) {
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                // A link leads out of this root; it may lead into another one.
                let target = resolved(&place.root.join(&place.rest));
                let other = target.and_then(|target| self.place(&target, place.access));
                let other = other.filter(|other| (&other.root, &other.rest) != (&place.root, &place.rest));
                let other = other.ok_or_else(|| self.outside(&place.shown, place.access))?;
                let opened = other.open_beneath(flags).map_err(|error| place.refusal("open", &error))?;
                other.checked(opened)
            }
            Err(error) => Err(place.refusal("open", &error)),
            Ok(opened) => place.checked(opened),
        }
    }

    /// The folder that holds a place, for writing, and the name in it.
    pub(super) fn parent(&self, place: &Place) -> Result<(OwnedFd, OsString), Refusal> {
        let name = place
            .rest
            .file_name()
            .ok_or_else(|| Refusal::new(FailureKind::Refused, format!("`{}` is the workspace itself", place.shown)))?;
        let parent = place.parent();
        let opened = self.open_as(&parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((opened, name.to_owned()))
    }

    /// The same, with missing folders on the way made.
    pub(super) fn parent_made(&self, place: &Place) -> Result<(OwnedFd, OsString), Refusal> {
        let steps: Vec<Component<'_>> = place.rest.parent().map(|rest| rest.components().collect()).unwrap_or_default();
        for count in 1..=steps.len() {
            let rest: PathBuf = steps[..count].iter().collect();
            let step = Place { rest, ..place.clone() };
            let (folder, name) = self.parent(&step)?;
            match rustix::fs::mkdirat(&folder, name.as_os_str(), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(place.refusal("make the folder of", &error.into())),
            }
        }
        self.parent(place)
    }

    /// A place as a path from the workspace; `None`: it lies outside.
    pub(super) fn inside(&self, place: &Place) -> Option<PathBuf> {
        // A granted folder may lie in the workspace by its name.
        Some(place.root.strip_prefix(&self.workspace).ok()?.join(&place.rest))
    }

    /// Whether a link inside a listing leads to a file that may be read.
    pub(super) fn may_read_target(&self, link: &Path) -> Option<fs::Metadata> {
        let target = fs::canonicalize(link).ok()?;
        let place = self.place(&target, Access::Read)?;
        place.check_ours(&place.rest).ok()?;
        fs::metadata(target).ok()
    }
}

impl Place {
    fn parent(&self) -> Self {
        Self { rest: self.rest.parent().map(Path::to_owned).unwrap_or_default(), ..self.clone() }
    }

    fn open_beneath(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let root = fs::canonicalize(&self.root)?;
        if !root.is_dir() {
            // A single granted file: exactly this one.
            if self.rest.as_os_str().is_empty() {
                return Ok(rustix::fs::open(&root, flags | OFlags::NOFOLLOW, Mode::empty())?);
            }
            return Err(Errno::NOTDIR.into());
        }
        let folder = rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let rest = if self.rest.as_os_str().is_empty() { Path::new(".") } else { &self.rest };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&folder, rest, flags, Mode::empty(), resolve) {
            // EAGAIN: something was renamed while the kernel looked.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => walk_beneath(folder, rest, flags),
            other => other.map_err(io::Error::from),
        }
    }

    /// Links inside may lead to our own folders: what was opened decides, not how it was named.
    fn checked(&self, opened: OwnedFd) -> Result<OwnedFd, Refusal> {
        let real = real_path(&opened).map_err(|error| self.refusal("look up", &error))?;
        let root = fs::canonicalize(&self.root).map_err(|error| self.refusal("look up", &error))?;
        self.check_ours(real.strip_prefix(&root).unwrap_or(&real))?;
        // A granted root may itself lie in a folder of ours: the person's settings hold keys.
        if self.is_granted && root.components().any(|part| part.as_os_str() == OURS) {
            self.check_ours(&root)?;
        }
        Ok(opened)
    }

    /// Whether a way, links followed, leads into folders that are nobody's business.
    pub(super) fn check_ours(&self, rest: &Path) -> Result<(), Refusal> {
        let has = |name: &str| rest.components().any(|part| part.as_os_str() == name);
        // The other place where a project may keep settings with keys in them.
        let is_settings = rest == Path::new(".config/config.json");
        if has(OURS) || is_settings {
            let message = format!("`{}` belongs to ollmcp itself and is not touched by tools", self.shown);
            return Err(Refusal::new(FailureKind::Refused, message));
        }
        if self.access == Access::Write && has(GIT) {
            let message = format!("`{}` is inside a `{GIT}` folder, whose files run as code", self.shown);
            return Err(Refusal::new(FailureKind::Refused, message).hint("use git itself"));
        }
        Ok(())
    }

    /// What an error of the system means for the task.
    pub(super) fn refusal(&self, what: &str, error: &io::Error) -> Refusal {
        let shown = &self.shown;
        match error.kind() {
            io::ErrorKind::NotFound => Refusal::new(FailureKind::Missing, format!("`{shown}` does not exist")),
            io::ErrorKind::NotADirectory => Refusal::new(FailureKind::Missing, format!("`{shown}` is not a folder")),
            io::ErrorKind::PermissionDenied => {
                Refusal::new(FailureKind::Denied, format!("the system does not let us {what} `{shown}`"))
            }
            io::ErrorKind::IsADirectory => Refusal::new(FailureKind::BadInput, format!("`{shown}` is a folder")),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Refusal::new(FailureKind::Busy, format!("cannot {what} `{shown}`: no space is left"))
            }
            _ => Refusal::new(FailureKind::ToolError, format!("cannot {what} `{shown}`: {error}")),
        }
    }
}

/// Whether a folder of this name is skipped by listings and searches.
pub(super) fn is_skipped(name: &std::ffi::OsStr) -> bool {
    name == GIT || name.as_encoded_bytes().starts_with(OURS.as_bytes())
}

/// Where the kernel has no `openat2`: step by step, and no link at all.
fn walk_beneath(mut folder: OwnedFd, rest: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let parts: Vec<Component<'_>> = rest.components().collect();
    let (last, way) = parts.split_last().ok_or(Errno::INVAL)?;
    for part in way {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, plain(part)?, step, Mode::empty())?;
    }
    Ok(rustix::fs::openat(&folder, plain(last)?, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

fn plain<'a>(part: &'a Component<'_>) -> io::Result<&'a std::ffi::OsStr> {
    match part {
        Component::Normal(_) | Component::CurDir => Ok(part.as_os_str()),
        Component::Prefix(_) | Component::RootDir | Component::ParentDir => Err(Errno::XDEV.into()),
    }
}

fn real_path(opened: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

/// Takes `.` and `..` out by name.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|ancestor| {
        let real = fs::canonicalize(ancestor).ok()?;
        let rest = path.strip_prefix(ancestor).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    })
}
