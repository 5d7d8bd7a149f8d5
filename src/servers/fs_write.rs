//! Changes files inside the workspace. Each change is whole or not there, and the same call again changes nothing more.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fs_paths::{Access, Place, Territory};
use super::fs_text::digest;
use super::host::Refusal;
use crate::domain::failure::FailureKind;

/// Largest text that is written or changed.
pub(super) const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteArguments {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) expect_sha256: Option<String>,
}

pub(super) fn write(territory: &Territory, said: &WriteArguments) -> Result<Value, Refusal> {
    let place = territory.locate(&said.path, Access::Write)?;
    let (folder, name) = territory.parent_made(&place)?;
    let target = Target { place: &place, folder: &folder, name: Path::new(&name) };
    let old = target.read()?;
    target.put(old.as_deref(), said.text.as_bytes(), said.expect_sha256.as_deref())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchArguments {
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
    #[serde(default)]
    pub(super) all: bool,
    pub(super) expect_sha256: Option<String>,
}

pub(super) fn patch(territory: &Territory, said: &PatchArguments) -> Result<Value, Refusal> {
    let place = territory.locate(&said.path, Access::Write)?;
    let (folder, name) = territory.parent(&place)?;
    let target = Target { place: &place, folder: &folder, name: Path::new(&name) };
    let missing = || Refusal::new(FailureKind::Missing, format!("`{}` does not exist", place.shown));
    let old = target.read()?.ok_or_else(missing)?;
    let new = patched_bytes(&place, &old, said)?;
    target.put(Some(&old), new.as_bytes(), said.expect_sha256.as_deref())
}

/// A file's content with the patch in it.
pub(super) fn patched_bytes(place: &Place, old: &[u8], said: &PatchArguments) -> Result<String, Refusal> {
    let text = std::str::from_utf8(old)
        .map_err(|_| Refusal::new(FailureKind::BadInput, format!("`{}` is not UTF-8 text", place.shown)))?;
    patched(text, said).map_err(|(kind, message)| Refusal::new(kind, format!("`{}`: {message}", place.shown)))
}

/// Places that already read as the new text count as changed, so that a second call finds nothing to do.
fn patched(text: &str, said: &PatchArguments) -> Result<String, (FailureKind, String)> {
    if said.old.is_empty() || said.old == said.new {
        return Err((FailureKind::BadInput, "`old` is empty or the same as `new`".to_owned()));
    }
    let parts: Vec<&str> = if said.new.is_empty() { vec![text] } else { text.split(said.new.as_str()).collect() };
    let places: usize = parts.iter().map(|part| part.matches(said.old.as_str()).count()).sum();
    match places {
        0 if parts.len() > 1 => Ok(text.to_owned()),
        0 => Err((FailureKind::ToolError, "the old text was not found; read the file and copy it exactly".to_owned())),
        2.. if !said.all => Err((
            FailureKind::ToolError,
            format!("the old text stands there {places} times; give more of its surroundings, or `all: true`"),
        )),
        _ => {
            let changed: Vec<String> = parts.iter().map(|part| part.replace(said.old.as_str(), &said.new)).collect();
            Ok(changed.join(&said.new))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveArguments {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(default)]
    pub(super) overwrite: bool,
}

pub(super) fn move_file(territory: &Territory, said: &MoveArguments) -> Result<Value, Refusal> {
    let from = territory.locate(&said.from, Access::Write)?;
    let to = territory.locate(&said.to, Access::Write)?;
    let out = |unchanged: bool| json!({ "from": from.shown, "to": to.shown, "unchanged": unchanged });
    let source = match territory.parent(&from) {
        Ok(source) if exists(&source.0, &source.1, &from)? => source,
        Ok(_) => return already_moved(territory, &from, &to).map(|()| out(true)),
        Err(refusal) if refusal.kind == FailureKind::Missing => {
            return already_moved(territory, &from, &to).map(|()| out(true));
        }
        Err(refusal) => return Err(refusal),
    };
    let (folder, name) = territory.parent_made(&to)?;
    let flags = if said.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match rustix::fs::renameat_with(&source.0, &source.1, &folder, &name, flags) {
        Ok(()) => {
            sync(&folder);
            sync(&source.0);
            Ok(out(false))
        }
        Err(Errno::EXIST) => Err(exists_already(&to)),
        Err(error) => Err(from.refusal("move", &error.into())),
    }
}

fn already_moved(territory: &Territory, from: &Place, to: &Place) -> Result<(), Refusal> {
    let is_there = territory.parent(to).and_then(|(folder, name)| exists(&folder, &name, to)).unwrap_or(false);
    match is_there {
        true => Ok(()),
        false => Err(Refusal::new(FailureKind::Missing, format!("`{}` does not exist", from.shown))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteArguments {
    pub(super) path: String,
}

pub(super) fn delete(territory: &Territory, said: &DeleteArguments) -> Result<Value, Refusal> {
    let place = territory.locate(&said.path, Access::Write)?;
    let out = |unchanged: bool| json!({ "path": place.shown, "unchanged": unchanged });
    let (folder, name) = match territory.parent(&place) {
        Ok(parent) => parent,
        Err(refusal) if refusal.kind == FailureKind::Missing => return Ok(out(true)),
        Err(refusal) => return Err(refusal),
    };
    let flags = match kind(&folder, &name, &place)? {
        None => return Ok(out(true)),
        Some(FileType::Directory) => AtFlags::REMOVEDIR,
        Some(_) => AtFlags::empty(),
    };
    match rustix::fs::unlinkat(&folder, &name, flags) {
        Ok(()) => {
            sync(&folder);
            Ok(out(false))
        }
        Err(Errno::NOENT) => Ok(out(true)),
        Err(Errno::NOTEMPTY) => Err(is_not_empty(&place)),
        Err(error) => Err(place.refusal("delete", &error.into())),
    }
}

fn kind(folder: &OwnedFd, name: &std::ffi::OsStr, place: &Place) -> Result<Option<FileType>, Refusal> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(place.refusal("look up", &error.into())),
    }
}

fn exists(folder: &OwnedFd, name: &std::ffi::OsStr, place: &Place) -> Result<bool, Refusal> {
    Ok(kind(folder, name, place)?.is_some())
}

/// One file to be replaced as a whole.
struct Target<'a> {
    place: &'a Place,
    folder: &'a OwnedFd,
    name: &'a Path,
}

impl Target<'_> {
    /// What stands there now. A link is not followed: replacing it would hit something that was not named.
    fn read(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(self.folder, self.name, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(is_a_link(self.place)),
            Err(error) => return Err(self.place.refusal("read", &error.into())),
        };
        content(self.place, file).map(Some)
    }

    /// Replaces the file unless it already reads so.
    fn put(&self, old: Option<&[u8]>, new: &[u8], expected: Option<&str>) -> Result<Value, Refusal> {
        let (is_same, answer) = judged(self.place, old, new, expected)?;
        if !is_same {
            self.replace(new).map_err(|error| self.place.refusal("write", &error))?;
        }
        Ok(answer)
    }

    fn replace(&self, new: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Listings skip names that begin like this, should a kill leave one behind.
        let name = format!(".ollmcp-new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = (|| {
            let mode = Mode::from_raw_mode(0o666);
            let mut file = File::from(rustix::fs::openat(self.folder, name.as_str(), flags, mode)?);
            if let Ok(old) = rustix::fs::statat(self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
                file.set_permissions(Permissions::from_mode(old.st_mode & 0o777))?;
            }
            file.write_all(new)?;
            file.sync_all()?;
            rustix::fs::renameat(self.folder, name.as_str(), self.folder, self.name)?;
            Ok(())
        })();
        match written {
            Ok(()) => sync(self.folder),
            // Nothing else can be done about a leftover.
            Err(_) => drop(rustix::fs::unlinkat(self.folder, name.as_str(), AtFlags::empty())),
        }
        written
    }
}

/// Whether a file reads as it should already, and what a write answers; it is refused where the text is too long or the
/// file is not the expected one.
pub(super) fn judged(
    place: &Place,
    old: Option<&[u8]>,
    new: &[u8],
    expected: Option<&str>,
) -> Result<(bool, Value), Refusal> {
    if new.len() > TEXT_BYTES_MAX {
        let message = format!("the text has {} bytes, over the limit of {TEXT_BYTES_MAX}", new.len());
        return Err(Refusal::new(FailureKind::TooLarge, message));
    }
    let hash = |bytes: &[u8]| digest(&mut &*bytes).map(|(sha256, _)| sha256).unwrap_or_default();
    let sha256 = hash(new);
    let is_same = old == Some(new);
    if let Some(expected) = expected
        && !is_same
        && !old.is_some_and(|old| hash(old).eq_ignore_ascii_case(expected))
    {
        let message = format!("`{}` is not as expected: somebody changed it", place.shown);
        return Err(Refusal::new(FailureKind::ToolError, message).hint("read it again"));
    }
    let answer = json!({ "path": place.shown, "bytes": new.len(), "sha256": sha256, "created": old.is_none(),
        "unchanged": is_same });
    Ok((is_same, answer))
}

/// The content of a file that is to be changed, if it is small enough.
pub(super) fn content(place: &Place, file: File) -> Result<Vec<u8>, Refusal> {
    let failed = |error: io::Error| place.refusal("read", &error);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Refusal::new(FailureKind::BadInput, format!("`{}` is not an ordinary file", place.shown)));
    }
    if metadata.len() > TEXT_BYTES_MAX as u64 {
        let message = format!("`{}` has {} bytes, over the limit of {TEXT_BYTES_MAX}", place.shown, metadata.len());
        return Err(Refusal::new(FailureKind::TooLarge, message));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

pub(super) fn is_a_link(place: &Place) -> Refusal {
    Refusal::new(FailureKind::BadInput, format!("`{}` is a link; write to the file itself", place.shown))
}

pub(super) fn exists_already(place: &Place) -> Refusal {
    let refusal = Refusal::new(FailureKind::ToolError, format!("`{}` exists already", place.shown));
    refusal.hint("say `overwrite: true`, or choose another name")
}

pub(super) fn is_not_empty(place: &Place) -> Refusal {
    let refusal = Refusal::new(FailureKind::ToolError, format!("the folder `{}` is not empty", place.shown));
    refusal.hint("delete what is in it first")
}

/// Makes a change of a folder durable. The change itself has happened, so an error here cannot take it back.
fn sync(folder: &OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(opened) = rustix::fs::openat(folder, ".", flags, Mode::empty()) {
        let _ = rustix::fs::fsync(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, old: &str, new: &str, all: bool, expect: Result<&str, FailureKind>) {
        let said = PatchArguments { path: "p".into(), old: old.into(), new: new.into(), all, expect_sha256: None };
        let got = patched(text, &said);
        assert_eq!(got.as_deref().map_err(|(kind, _)| *kind), expect);
        if let Ok(once) = got
            && !new.is_empty()
        {
            assert_eq!(patched(&once, &said).unwrap(), once, "the same call again changes nothing");
        }
    }

    #[test]
    fn a_patch_changes_once_however_often_it_is_made() {
        check("a b c", "b", "x", false, Ok("a x c"));
        check("a b c", "b", "b b2", false, Ok("a b b2 c"));
        check("a b b", "b", "x", false, Err(FailureKind::ToolError));
        check("a b b", "b", "x", true, Ok("a x x"));
        check("a b c", "b", "", false, Ok("a  c"));
        check("a", "b", "x", false, Err(FailureKind::ToolError));
        check("a x c", "b", "x", false, Ok("a x c"));
        check("a", "", "x", false, Err(FailureKind::BadInput));
    }
}
