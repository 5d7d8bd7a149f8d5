//! Files and folders that only their owner may see, and writes that are whole or not there at all.
//!
//! Nothing here knows what a file means.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rights of files that only their owner reads.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

/// Rights of folders that only their owner enters.
pub const PRIVATE_FOLDER_MODE: u32 = 0o700;

/// Makes a folder that only its owner enters, and its parents; one that is there keeps its rights.
///
/// # Errors
/// What the system says; also when something else than a folder stands there.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER_MODE).create(path)
}

/// Takes everybody else's rights to a folder of ours away; one of another user stays as it is.
///
/// # Errors
/// What the system says.
pub fn keep_private(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 || found.uid() != own_user_id()? {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !0o077))
}

/// Reads a whole file as text, or `None` when it is not there. Pipes, devices and folders are refused before they
/// are opened, so that reading never waits.
///
/// # Errors
/// What the system says; `FileTooLarge` above `bytes_max`; `InvalidData` when it is no UTF-8 or no regular file.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {bytes_max} bytes")));
    }
    Ok(Some(text))
}

/// Replaces a file as a whole: a temporary file beside it, written and synced, then renamed over it, then the folder
/// synced. A link is followed, so that the file it points to is replaced; rights of an existing file are kept, a new
/// one gets `mode`.
///
/// # Errors
/// What the system says; the old file stands untouched then.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = followed(path)?;
    let before = fs::metadata(&path).ok();
    let mode = before.as_ref().map_or(mode, |found| found.permissions().mode() & 0o7777);
    let folder = folder_of(&path);
    let mut draft = draft_in(folder, bytes)?;
    if let Some(before) = before {
        // Where a superuser writes, the file stays its owner's; nobody else may give a file away.
        let _ = std::os::unix::fs::fchown(draft.as_file(), Some(before.uid()), Some(before.gid()));
    }
    draft.as_file_mut().set_permissions(Permissions::from_mode(mode))?;
    draft.as_file().sync_all()?;
    draft.persist(&path).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

/// Waits until nobody else changes a file in the way that this function is for: read it, work out the new text, replace
/// it. It is free again when the value is dropped. A folder that cannot be locked, as on some network disks, is not
/// waited for.
///
/// # Errors
/// What the system says of the folder; `WouldBlock` when somebody else is not done after ten seconds.
pub fn alone_with(path: &Path) -> io::Result<File> {
    const WAIT: Duration = Duration::from_secs(10);
    const POLL: Duration = Duration::from_millis(20);
    let folder = File::open(folder_of(&followed(path)?))?;
    let begun = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(folder),
            Err(TryLockError::WouldBlock) if begun.elapsed() > WAIT => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
        }
    }
}

/// Makes a file as a whole if there is none; says whether it did.
///
/// # Errors
/// What the system says, except that the file is there.
pub fn create_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let folder = folder_of(path);
    let mut draft = draft_in(folder, bytes)?;
    draft.as_file_mut().set_permissions(Permissions::from_mode(mode))?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(path) {
        Ok(_) => File::open(folder)?.sync_all().map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused.error),
    }
}

fn draft_in(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut draft = tempfile::Builder::new().prefix(".ollmcp-").suffix(".tmp").tempfile_in(folder)?;
    draft.write_all(bytes)?;
    Ok(draft)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Where a chain of links ends, also when nothing stands there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    const LINKS_MAX: usize = 40;
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&at) {
            Ok(target) => at = folder_of(&at).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::other(format!("more than {LINKS_MAX} links in a row")))
}

/// The user id that this process acts as, read from its own entry in `/proc` (no unsafe call needed).
///
/// # Errors
/// When `/proc` is not mounted.
pub fn own_user_id() -> io::Result<u32> {
    fs::metadata("/proc/self").map(|found| found.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_rights_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.json");
        let link = folder.path().join("link.json");
        write_atomically(&real, b"one", PRIVATE_FILE_MODE).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&real, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        write_atomically(&link, b"two", PRIVATE_FILE_MODE).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"two");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn a_folder_that_others_could_enter_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        keep_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(keep_private(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_is_there_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("once");
        assert!(create_atomically(&path, b"first", PRIVATE_FILE_MODE).unwrap());
        assert!(!create_atomically(&path, b"second", PRIVATE_FILE_MODE).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn what_is_no_bounded_text_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_text(&folder.path().join("none"), 10).unwrap(), None);
        assert!(read_text(folder.path(), 10).is_err());
        let path = folder.path().join("text");
        fs::write(&path, "12345678901").unwrap();
        assert_eq!(read_text(&path, 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_text(&path, 11).unwrap().as_deref(), Some("12345678901"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read_text(&path, 10).is_err());
    }
}
