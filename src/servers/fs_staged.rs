//! Changes files as an attempt sees them: what `fs_write` does to the workspace is done to the attempt's own view, with
//! the same answers and the same refusals. The workspace changes when the attempt is accepted, and not by this server.

use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use serde_json::{Value, json};

use super::fs_paths::{Access, Place};
use super::fs_view::{At, View, not_kept};
use super::fs_write::{
    DeleteArguments, MoveArguments, PatchArguments, WriteArguments, content, exists_already, is_a_link, is_not_empty,
    judged, patched_bytes,
};
use super::host::Refusal;
use crate::domain::failure::FailureKind;
use crate::os::staging::{Node, OverlayError, Stand, open_beneath, sha256_of};

/// A name in a folder that is there.
struct Spot {
    path: PathBuf,
    node: Node,
}

impl Spot {
    fn text(&self, place: &Place) -> Result<&str, Refusal> {
        let is_odd = || Refusal::new(FailureKind::BadInput, format!("`{}` is not UTF-8", place.shown));
        self.path.to_str().ok_or_else(is_odd)
    }
}

pub(super) fn write(view: &View<'_>, said: &WriteArguments) -> Result<Value, Refusal> {
    let place = view.territory.locate(&said.path, Access::Write)?;
    let spot = spot(view, &place, true)?;
    let old = read(view, &place, &spot)?;
    put(view, &place, &spot, old.as_deref(), said.text.as_bytes(), said.expect_sha256.as_deref())
}

pub(super) fn patch(view: &View<'_>, said: &PatchArguments) -> Result<Value, Refusal> {
    let place = view.territory.locate(&said.path, Access::Write)?;
    let spot = spot(view, &place, false)?;
    let missing = || Refusal::new(FailureKind::Missing, format!("`{}` does not exist", place.shown));
    let old = read(view, &place, &spot)?.ok_or_else(missing)?;
    let new = patched_bytes(&place, &old, said)?;
    put(view, &place, &spot, Some(&old), new.as_bytes(), said.expect_sha256.as_deref())
}

pub(super) fn move_path(view: &View<'_>, said: &MoveArguments) -> Result<Value, Refusal> {
    let from = view.territory.locate(&said.from, Access::Write)?;
    let to = view.territory.locate(&said.to, Access::Write)?;
    let out = |unchanged: bool| json!({ "from": from.shown, "to": to.shown, "unchanged": unchanged });
    let source = match spot(view, &from, false) {
        Ok(source) if source.node != Node::Absent => source,
        Ok(_) => return already_moved(view, &from, &to).map(|()| out(true)),
        Err(refusal) if refusal.kind == FailureKind::Missing => {
            return already_moved(view, &from, &to).map(|()| out(true));
        }
        Err(refusal) => return Err(refusal),
    };
    let target = spot(view, &to, true)?;
    if !said.overwrite && target.node != Node::Absent {
        return Err(exists_already(&to));
    }
    let refused = |errno: Errno| from.refusal("move", &errno.into());
    if target.path.starts_with(&source.path) {
        return if target.path == source.path { Ok(out(false)) } else { Err(refused(Errno::INVAL)) };
    }
    match (&source.node, &target.node) {
        (_, Node::Absent) => {}
        (Node::Folder { .. }, Node::Folder { .. }) if is_empty(view, &to, &target)? => {}
        (_, Node::Folder { .. }) if source.path.starts_with(&target.path) => return Err(refused(Errno::NOTEMPTY)),
        (Node::Folder { .. }, Node::Folder { .. }) => return Err(refused(Errno::NOTEMPTY)),
        (Node::Folder { .. }, _) => return Err(refused(Errno::NOTDIR)),
        (_, Node::Folder { .. }) => return Err(refused(Errno::ISDIR)),
        _ => {}
    }
    writable(view, &from, &source.path)?;
    writable(view, &to, &target.path)?;
    let moved = view.overlay().borrow_mut().rename(source.text(&from)?, target.text(&to)?);
    moved.map_err(|error| refusal(&from, "move", error)).map(|()| out(false))
}

fn already_moved(view: &View<'_>, from: &Place, to: &Place) -> Result<(), Refusal> {
    match spot(view, to, false) {
        Ok(spot) if spot.node != Node::Absent => Ok(()),
        _ => Err(Refusal::new(FailureKind::Missing, format!("`{}` does not exist", from.shown))),
    }
}

pub(super) fn delete(view: &View<'_>, said: &DeleteArguments) -> Result<Value, Refusal> {
    let place = view.territory.locate(&said.path, Access::Write)?;
    let out = |unchanged: bool| json!({ "path": place.shown, "unchanged": unchanged });
    let spot = match spot(view, &place, false) {
        Ok(spot) => spot,
        Err(refusal) if refusal.kind == FailureKind::Missing => return Ok(out(true)),
        Err(refusal) => return Err(refusal),
    };
    match spot.node {
        Node::Absent => return Ok(out(true)),
        Node::Folder { .. } if !is_empty(view, &place, &spot)? => return Err(is_not_empty(&place)),
        _ => {}
    }
    writable(view, &place, &spot.path)?;
    let removed = view.overlay().borrow_mut().remove(spot.text(&place)?);
    removed.map_err(|error| refusal(&place, "delete", error)).map(|()| out(false))
}

/// The name at the end of a place, in its folder with all links on the way followed; `makes`: folders on the way that
/// are missing are made.
fn spot(view: &View<'_>, place: &Place, makes: bool) -> Result<Spot, Refusal> {
    let name = place
        .rest
        .file_name()
        .ok_or_else(|| Refusal::new(FailureKind::Refused, format!("`{}` is the workspace itself", place.shown)))?;
    let parent = place.rest.parent().unwrap_or(Path::new(""));
    let mut folder = PathBuf::new();
    for part in parent.components() {
        let step = Place { rest: folder.join(part), ..place.clone() };
        folder = match enter(view, place, &step, false)? {
            (path, Node::Folder { .. }) => path,
            (path, Node::Absent) if makes => {
                let Some(text) = path.to_str() else {
                    return Err(Refusal::new(FailureKind::BadInput, format!("`{}` is not UTF-8", place.shown)));
                };
                writable(view, place, &path)?;
                let made = view.overlay().borrow_mut().make_folder(text);
                made.map_err(|error| refusal(place, "make the folder of", error))?;
                path
            }
            (_, Node::Absent) => return Err(place.refusal("open", &Errno::NOENT.into())),
            (_, Node::Link { .. }) => match enter(view, place, &step, true)? {
                (path, Node::Folder { .. }) => path,
                (_, Node::Absent) => return Err(place.refusal("open", &Errno::NOENT.into())),
                _ => return Err(place.refusal("open", &Errno::NOTDIR.into())),
            },
            _ => return Err(place.refusal("open", &Errno::NOTDIR.into())),
        };
    }
    let path = folder.join(name);
    place.check_ours(&path)?;
    let node = view.look(&path).map_err(|error| place.refusal("look up", &error))?;
    Ok(Spot { path, node })
}

/// One step into a folder; a way out of the workspace is refused, as nothing is written there.
fn enter(view: &View<'_>, place: &Place, step: &Place, follows: bool) -> Result<(PathBuf, Node), Refusal> {
    match view.at(step, follows)? {
        At::Here { rest, node } => Ok((rest, node)),
        At::Direct(_) => Err(view.territory.outside(&place.shown, Access::Write)),
    }
}

fn is_empty(view: &View<'_>, place: &Place, spot: &Spot) -> Result<bool, Refusal> {
    view.names(&spot.path).map(|names| names.is_empty()).map_err(|error| place.refusal("look up", &error))
}

/// What stands at a spot, if it is a file.
fn read(view: &View<'_>, place: &Place, spot: &Spot) -> Result<Option<Vec<u8>>, Refusal> {
    match &spot.node {
        Node::Absent => Ok(None),
        Node::Link { .. } => Err(is_a_link(place)),
        Node::Folder { .. } | Node::Other => {
            Err(Refusal::new(FailureKind::BadInput, format!("`{}` is not an ordinary file", place.shown)))
        }
        Node::File { content: staged, mode, .. } => {
            let file = view.overlay().borrow().open_file(&spot.path, &spot.node);
            let bytes = content(place, file.map_err(|error| place.refusal("read", &error))?)?;
            if staged.is_none() {
                let hashed = sha256_of(&mut bytes.as_slice()).map_err(|error| place.refusal("read", &error))?;
                let stand = Stand::File { sha256: hashed.0, bytes: hashed.1, mode: *mode };
                view.overlay().borrow_mut().rests_on(spot.text(place)?, stand);
            }
            Ok(Some(bytes))
        }
    }
}

fn put(
    view: &View<'_>,
    place: &Place,
    spot: &Spot,
    old: Option<&[u8]>,
    new: &[u8],
    expected: Option<&str>,
) -> Result<Value, Refusal> {
    let (is_same, answer) = judged(place, old, new, expected)?;
    if !is_same {
        writable(view, place, &spot.path)?;
        let mode = if let Node::File { mode, .. } = spot.node { Some(mode) } else { None };
        let made = view.overlay().borrow_mut().put_file(spot.text(place)?, new, mode);
        made.map_err(|error| refusal(place, "write", error))?;
    }
    Ok(answer)
}

/// What the system would say to a change in the folder of a path: it is said now, not when the change is accepted.
fn writable(view: &View<'_>, place: &Place, path: &Path) -> Result<(), Refusal> {
    let there = path.ancestors().skip(1).find_map(|above| {
        open_beneath(view.territory.workspace(), above, rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY).ok()
    });
    let Some(folder) = there else { return Ok(()) };
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(&folder, ".", wanted, AtFlags::empty()).map_err(|error| place.refusal("write", &error.into()))
}

fn refusal(place: &Place, what: &str, error: OverlayError) -> Refusal {
    match error {
        OverlayError::System(source) => place.refusal(what, &source),
        other => not_kept(&other),
    }
}
