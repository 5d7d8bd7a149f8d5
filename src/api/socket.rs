//! The path of the control socket as the system takes it: a socket's address has room for about a hundred bytes, and a
//! project folder may lie deeper than that.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// A path to the same socket that fits into an address. It leads there as long as this value is held.
#[derive(Debug)]
pub struct ShortPath {
    path: PathBuf,
    /// The folder that a short path goes through.
    _folder: Option<OwnedFd>,
}

impl ShortPath {
    /// The path itself where it fits, else one through the opened folder.
    ///
    /// # Errors
    /// What the system says when the folder cannot be opened.
    pub fn of(socket: &Path) -> io::Result<Self> {
        if SocketAddr::from_pathname(socket).is_ok() {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }
}

impl AsRef<Path> for ShortPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_of_any_depth_is_bound_and_found() {
        let root = tempfile::tempdir().unwrap();
        for depth in [0, 1, 10, 40] {
            let folder = root.path().join(vec!["a_folder_of_twenty_"; depth].join("/"));
            std::fs::create_dir_all(&folder).unwrap();
            let socket = folder.join("control.sock");
            let _listener = UnixListener::bind(ShortPath::of(&socket).unwrap()).unwrap();
            assert!(socket.exists());
            UnixStream::connect(ShortPath::of(&socket).unwrap()).unwrap();
        }
        ShortPath::of(&root.path().join("none").join("n".repeat(120))).unwrap_err();
    }
}
