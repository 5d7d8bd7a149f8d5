//! Lists files: complete, in the order of their bytes, the same each time. What cannot be listed is named, not lost.
//!
//! Hidden files are listed like others; `.git` folders and names that begin with `.ollmcp` never are. Links to files
//! inside the territory are listed under their own name; links to folders are not entered, so that nothing comes twice.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fs_paths::{Access, Territory, is_skipped};
use super::fs_view::{At, Linked, View};
use super::host::Refusal;
use crate::domain::failure::FailureKind;
use crate::os::staging::Node;

/// How many entries are looked at.
const ENTRIES_MAX: usize = 2_000_000;

/// How many files are listed where the client cannot take a large result.
pub(super) const PAGE_FILES_MAX: usize = 10_000;

/// How many unreadable entries are named.
const UNREADABLE_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListArguments {
    root: String,
    pattern: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    folders: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_folder: bool,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<Listed>,
    unreadable: Vec<Value>,
    unreadable_count: usize,
}

pub(super) fn list(view: &View<'_>, said: &ListArguments, page: Option<usize>) -> Result<Value, Refusal> {
    let matcher = said.pattern.as_deref().map(|pattern| matcher(pattern, said.ignore_case)).transpose()?;
    let (root, mut found) = walk(view, &said.root, matcher.as_ref(), said.folders)?;
    let total = found.files.len();
    if let Some(after) = &said.after {
        let from = found.files.partition_point(|file| file.path.as_bytes() <= after.as_bytes());
        found.files.drain(..from);
    }
    let limit = said.limit.unwrap_or(usize::MAX).min(page.unwrap_or(usize::MAX)).max(1);
    let is_truncated = found.files.len() > limit;
    found.files.truncate(limit);
    let mut out = json!({ "root": root, "count": found.files.len(), "truncated": is_truncated });
    if is_truncated {
        out["next"] = found.files.last().map_or(Value::Null, |file| file.path.clone().into());
        out["total"] = total.into();
    }
    // There also when it is empty, so that a plan can ask for it.
    out["unreadable"] = found.unreadable.into();
    out["unreadable_count"] = found.unreadable_count.into();
    out["files"] = serde_json::to_value(&found.files).expect("entries are plain texts and numbers");
    Ok(out)
}

/// `*` stays inside one folder, `**` does not.
pub(super) fn matcher(pattern: &str, ignore_case: bool) -> Result<GlobMatcher, Refusal> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
        let refusal = Refusal::new(FailureKind::BadInput, format!("the pattern `{pattern}` leaves the folder"));
        return Err(refusal.hint("a pattern is relative to `root`, such as `**/*.pdf`"));
    }
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .case_insensitive(ignore_case)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Refusal::new(FailureKind::BadInput, format!("the pattern `{pattern}` is wrong: {error}")))
}

/// All files below `root` that fit, sorted by the bytes of their paths.
pub(super) fn walk(
    view: &View<'_>,
    root: &str,
    matcher: Option<&GlobMatcher>,
    with_folders: bool,
) -> Result<(String, Found), Refusal> {
    let territory = view.territory;
    let place = territory.locate(root, Access::Read)?;
    let missing_hint = |refusal: Refusal| match refusal.kind {
        FailureKind::Missing => {
            let hint = format!("relative paths start at `{}`", territory.workspace().display());
            refusal.hint(hint)
        }
        _ => refusal,
    };
    let shown = place.shown.clone();
    let place = match view.at(&place, true).map_err(missing_hint)? {
        At::Direct(direct) => direct,
        At::Here { node: Node::File { bytes, .. }, .. } => return single(shown, Some(bytes), matcher),
        At::Here { node: Node::Absent, .. } => {
            let error = std::io::Error::from(rustix::io::Errno::NOENT);
            return Err(missing_hint(place.refusal("look up", &error)));
        }
        At::Here { rest, node: Node::Folder { .. } } => {
            let mut found = Found::default();
            let prefix = if shown == "." { String::new() } else { format!("{}/", shown.trim_end_matches('/')) };
            let listing = Listing { view, root: &rest, prefix: &prefix, matcher, with_folders };
            let mut seen = 0;
            view.names(&rest).map_err(|error| place.refusal("list", &error))?;
            listing.folder(&mut found, Path::new(""), &mut seen).map_err(|()| too_many(&shown))?;
            found.sort();
            return Ok((shown, found));
        }
        At::Here { .. } => return single(shown, None, matcher),
    };
    let real = territory.real(&place).map_err(missing_hint)?;
    let mut found = Found::default();
    let metadata = fs::metadata(&real).map_err(|error| place.refusal("look up", &error))?;
    if !metadata.is_dir() {
        return single(shown, metadata.is_file().then_some(metadata.len()), matcher);
    }
    // A folder that cannot be opened would otherwise look like an empty one.
    fs::read_dir(&real).map_err(|error| place.refusal("list", &error))?;
    let prefix = if shown == "." { String::new() } else { format!("{}/", shown.trim_end_matches('/')) };
    let walk = ignore::WalkBuilder::new(&real)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(|entry| entry.depth() == 0 || !is_skipped(entry.file_name()))
        .build();
    for (seen, entry) in walk.enumerate() {
        if seen > ENTRIES_MAX {
            return Err(too_many(&shown));
        }
        match entry {
            Ok(entry) if entry.depth() == 0 => {}
            Ok(entry) => found.take(territory, &entry, &real, &prefix, matcher, with_folders),
            Err(error) => found.miss(error_path(&error, &real, &prefix), &reason(&error)),
        }
    }
    found.sort();
    Ok((shown, found))
}

/// A listing of one file; `bytes`: its length, if it is one.
fn single(shown: String, bytes: Option<u64>, matcher: Option<&GlobMatcher>) -> Result<(String, Found), Refusal> {
    let name = Path::new(&shown).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(bytes) = bytes.filter(|_| matcher.is_none_or(|matcher| matcher.is_match(&name))) else {
        // An empty list would look like an empty folder.
        let message = format!("`{shown}` is not a folder, and does not fit the pattern itself");
        return Err(Refusal::new(FailureKind::BadInput, message).hint("name the folder that the files are in"));
    };
    let mut found = Found::default();
    found.files.push(Listed { path: shown.clone(), name, bytes, is_folder: false });
    Ok((shown, found))
}

fn too_many(shown: &str) -> Refusal {
    let message = format!("`{shown}` has more than {ENTRIES_MAX} entries");
    Refusal::new(FailureKind::TooLarge, message).hint("list its folders one by one")
}

/// A listing of a folder as an attempt sees it.
struct Listing<'a> {
    view: &'a View<'a>,
    root: &'a Path,
    prefix: &'a str,
    matcher: Option<&'a GlobMatcher>,
    with_folders: bool,
}

impl Listing<'_> {
    /// `Err`: too many entries.
    fn folder(&self, found: &mut Found, rest: &Path, seen: &mut usize) -> Result<(), ()> {
        let names = match self.view.names(&self.root.join(rest)) {
            Ok(names) => names,
            Err(error) => {
                found.miss(format!("{}{}", self.prefix, escaped(rest)), &io_reason(&error));
                return Ok(());
            }
        };
        for name in names.iter().filter(|name| !is_skipped(name)) {
            *seen += 1;
            if *seen > ENTRIES_MAX {
                return Err(());
            }
            let rest = rest.join(name);
            match self.view.look(&self.root.join(&rest)) {
                Ok(node) => {
                    self.entry(found, &rest, &node);
                    if matches!(node, Node::Folder { .. }) {
                        self.folder(found, &rest, seen)?;
                    }
                }
                Err(error) => found.miss(format!("{}{}", self.prefix, escaped(&rest)), &io_reason(&error)),
            }
        }
        Ok(())
    }

    fn entry(&self, found: &mut Found, rest: &Path, node: &Node) {
        let is_folder = matches!(node, Node::Folder { .. });
        let is_listed = matches!(node, Node::File { .. } | Node::Link { .. }) || (self.with_folders && is_folder);
        if !is_listed || !self.matcher.is_none_or(|matcher| matcher.is_match(rest)) {
            return;
        }
        let shown = || format!("{}{}", self.prefix, escaped(rest));
        let Some(text) = rest.to_str() else {
            return found.miss(shown(), "its name is not UTF-8; rename it");
        };
        let bytes = match node {
            Node::File { bytes, .. } => *bytes,
            Node::Link { .. } => match self.view.linked(&self.root.join(rest)) {
                Linked::File(bytes) => bytes,
                Linked::Folder => return,
                Linked::FolderOutside => {
                    return found.miss(shown(), "a link to a folder outside, which is not entered");
                }
                Linked::Nothing => return found.miss(shown(), "a link that leads outside or nowhere"),
            },
            _ => 0,
        };
        let name = rest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        found.files.push(Listed { path: format!("{}{text}", self.prefix), name, bytes, is_folder });
    }
}

fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "the system does not let us read it".to_owned(),
        std::io::ErrorKind::NotFound => "it went away while the folder was listed".to_owned(),
        _ => error.to_string(),
    }
}

impl Found {
    fn take(
        &mut self,
        territory: &Territory,
        entry: &ignore::DirEntry,
        real: &Path,
        prefix: &str,
        matcher: Option<&GlobMatcher>,
        with_folders: bool,
    ) {
        let rest = entry.path().strip_prefix(real).unwrap_or_else(|_| entry.path());
        let Some(kind) = entry.file_type() else { return };
        let is_wanted = matcher.is_none_or(|matcher| matcher.is_match(rest));
        if !is_wanted || !(kind.is_file() || kind.is_symlink() || (with_folders && kind.is_dir())) {
            return;
        }
        let shown = || format!("{prefix}{}", escaped(rest));
        let Some(text) = rest.to_str() else {
            return self.miss(shown(), "its name is not UTF-8; rename it");
        };
        let metadata = match kind.is_symlink() {
            true => match territory.may_read_target(entry.path()) {
                Some(target) if target.is_file() => target,
                // Its files are listed where they are, or not at all.
                Some(_) => return,
                None if fs::metadata(entry.path()).is_ok_and(|target| target.is_dir()) => {
                    return self.miss(shown(), "a link to a folder outside, which is not entered");
                }
                None => return self.miss(shown(), "a link that leads outside or nowhere"),
            },
            false => match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => return self.miss(shown(), &reason(&error)),
            },
        };
        let name = rest.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = if kind.is_dir() { 0 } else { metadata.len() };
        self.files.push(Listed { path: format!("{prefix}{text}"), name, bytes, is_folder: kind.is_dir() });
    }

    fn sort(&mut self) {
        self.files.sort_unstable_by(|left, right| left.path.as_bytes().cmp(right.path.as_bytes()));
        self.unreadable.sort_by(|left, right| left["path"].as_str().cmp(&right["path"].as_str()));
    }

    fn miss(&mut self, path: String, reason: &str) {
        self.unreadable_count += 1;
        if self.unreadable.len() < UNREADABLE_MAX {
            self.unreadable.push(json!({ "path": path, "reason": reason }));
        }
    }
}

/// A path with each byte that is no UTF-8 as `\xE9`: two such names stay two, and `ls` shows the same.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    out
}

fn reason(error: &ignore::Error) -> String {
    error.io_error().map_or_else(
        || error.to_string(),
        |io| match io.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound => io_reason(io),
            _ => error.to_string(),
        },
    )
}

fn error_path(error: &ignore::Error, real: &Path, prefix: &str) -> String {
    match error {
        ignore::Error::WithPath { path, .. } => {
            let rest = path.strip_prefix(real).unwrap_or(path);
            format!("{prefix}{}", escaped(rest))
        }
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            error_path(err, real, prefix)
        }
        _ => prefix.to_owned(),
    }
}
