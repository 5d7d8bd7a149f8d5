//! What stands at a path of a tree. No link is followed on the way, so nothing outside the tree is ever looked at.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const HASH_BUFFER_BYTES: usize = 256 * 1024;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Stand {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// SHA-256 of its content, in hexadecimal digits.
        sha256: String,
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
        /// Where it leads, as it is written in it.
        target: String,
    },
    /// A pipe, socket or device, or a link whose target is no UTF-8: never changed.
    Other,
}

impl Stand {
    /// Looks at `rest` beneath `root`. A way that leads through a link or a file leads to nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(root: &Path, rest: &Path) -> io::Result<Self> {
        let Some(name) = rest.file_name() else { return Ok(Self::Folder { mode: 0o777 }) };
        let parent = match open_beneath(root, rest.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)
        {
            Ok(parent) => parent,
            Err(error) if leads_nowhere(&error) => return Ok(Self::Absent),
            Err(error) => return Err(error),
        };
        Self::in_folder(&parent, name)
    }

    /// Looks at one name in an open folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn in_folder(folder: impl AsFd, name: &std::ffi::OsStr) -> io::Result<Self> {
        let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Self::Absent),
            Err(error) => return Err(error.into()),
        };
        let mode = stat.st_mode & 0o7777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
                let (sha256, bytes) = sha256_of(&mut file)?;
                Ok(Self::File { sha256, bytes, mode })
            }
            FileType::Directory => Ok(Self::Folder { mode }),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
                Ok(target.into_string().map_or(Self::Other, |target| Self::Link { target }))
            }
            _ => Ok(Self::Other),
        }
    }

    /// Whether both are the same thing with the same content; rights do not count.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { sha256, .. }, Self::File { sha256: other, .. }) => sha256 == other,
            (Self::Folder { .. }, Self::Folder { .. }) | (Self::Absent, Self::Absent) => true,
            (Self::Link { target }, Self::Link { target: other }) => target == other,
            _ => false,
        }
    }

    /// A folder.
    #[must_use]
    pub const fn is_folder(&self) -> bool {
        matches!(self, Self::Folder { .. })
    }

    /// How many bytes a file has; 0 for anything else.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        if let Self::File { bytes, .. } = self { *bytes } else { 0 }
    }
}

/// The way ends at something that is no folder, or at nothing.
pub(super) fn leads_nowhere(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether a path is made of plain names only: nothing absolute, no `.` and no `..`.
#[must_use]
pub fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Opens `rest` beneath `root`, through folders alone: the kernel refuses every link on the way and at the end.
///
/// # Errors
/// What the system says; `ELOOP` for a link.
pub fn open_beneath(root: &Path, rest: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    if !is_plain(rest) {
        return Err(Errno::INVAL.into());
    }
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&folder, rest, flags, Mode::empty(), resolve) {
        // EAGAIN: something was renamed while the kernel looked. The others: no `openat2` here.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => step_by_step(folder, rest, flags),
        other => other.map_err(io::Error::from),
    }
}

fn step_by_step(mut folder: OwnedFd, rest: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let parts: Vec<Component<'_>> = rest.components().collect();
    let (last, way) = parts.split_last().ok_or(Errno::INVAL)?;
    for part in way {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, part.as_os_str(), step, Mode::empty())?;
    }
    Ok(rustix::fs::openat(&folder, last.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// SHA-256 of all that is left to read, in hexadecimal digits, and how many bytes that were.
///
/// # Errors
/// What the system says.
pub fn sha256_of(file: &mut impl Read) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}
