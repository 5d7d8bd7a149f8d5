//! Addresses of databases: text as people type it to an opened [`Database`].
//!
//! Opening touches no file: only a write makes one. Two opens of one file in this process give the same writer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::sqlite::{Limits, Sqlite};
use super::{Database, DatabaseError};
use crate::os::paths::lies_within;

/// Longest address that is read.
pub const ADDRESS_BYTES_MAX: usize = 4096;

/// Folder inside a project that holds its state.
const STATE_FOLDER: &str = ".ollmcp";

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// One SQLite file, absolute.
    Sqlite(PathBuf),
}

impl Address {
    /// Reads `sqlite:PATH`; a relative path counts from `base`.
    ///
    /// `sqlite:///ABSOLUTE` and `sqlite://RELATIVE` are read as other programs write them.
    ///
    /// # Errors
    /// [`DatabaseError::Address`] with what to write instead.
    pub fn parse(text: &str, base: &Path) -> Result<Self, DatabaseError> {
        let refuse = |message: String| Err(DatabaseError::Address(message));
        let shown: String = text.chars().take(120).filter(|c| !c.is_control()).collect();
        if text.trim().is_empty() {
            return refuse(
                "the database address is empty; hint: write `sqlite:FILE`, for example `sqlite:tables.db`".into(),
            );
        }
        if text.len() > ADDRESS_BYTES_MAX || text.contains('\0') {
            return refuse(format!("`{shown}` is no database address; hint: write `sqlite:FILE`"));
        }
        let Some((scheme, rest)) = text.trim().split_once(':') else {
            return refuse(format!(
                "`{shown}` is no database address: it names no kind of database; hint: for a file write `sqlite:{shown}`"
            ));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => {}
            "postgres" | "postgresql" => {
                return refuse(
                    "not in this version: databases of kind `postgres:`; hint: write `sqlite:FILE`, and load the file \
                     into PostgreSQL afterwards"
                        .into(),
                );
            }
            kind => {
                let kind: String = kind.chars().take(40).filter(|c| !c.is_control()).collect();
                return refuse(format!(
                    "not in this version: databases of kind `{kind}:`; hint: write `sqlite:FILE`, for example \
                     `sqlite:tables.db`"
                ));
            }
        }
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(after) => after,
        };
        if path.is_empty() {
            return refuse(format!(
                "`{shown}` names no file; hint: write `sqlite:FILE`, for example `sqlite:tables.db`"
            ));
        }
        if path.eq_ignore_ascii_case(":memory:") || path.starts_with(":memory:") || path.contains("mode=memory") {
            return refuse(format!(
                "`{shown}` would be gone at the end of the run, and nothing could be proved on it; hint: name a file, \
                 `sqlite:tables.db`"
            ));
        }
        if let Some((file, _)) = path.split_once('?').filter(|(_, query)| query.contains('=')) {
            return refuse(format!("options in `{shown}` are not taken; hint: write `sqlite:{file}`"));
        }
        if path.ends_with('/') || path == "." || path == ".." || path.ends_with("/.") || path.ends_with("/..") {
            return refuse(format!("`{shown}` names a folder; hint: name a file in it, `sqlite:{path}/tables.db`"));
        }
        Ok(Self::Sqlite(resolve(&base.join(path))))
    }
}

impl Address {
    /// As [`Address::parse`], and a bare path is read as an SQLite file: for places where nothing else can be meant.
    ///
    /// # Errors
    /// [`DatabaseError::Address`]; `C:x` and other schemes stay refused.
    pub fn parse_or_path(text: &str, base: &Path) -> Result<Self, DatabaseError> {
        Self::parse(text, base)
            .or_else(|error| if text.contains(':') { Err(error) } else { Self::parse(&format!("sqlite:{text}"), base) })
    }
}

/// Whether a database file lies in the workspace, or is (or lies beneath) one of the paths that a person named. The
/// state folder is nobody's to write.
///
/// # Errors
/// [`DatabaseError::Denied`] with the way out.
pub fn may_touch(file: &Path, workspace: &Path, granted: &[PathBuf]) -> Result<(), DatabaseError> {
    let shown = file.display();
    if lies_within(workspace, file, [Path::new(STATE_FOLDER)]) {
        return Err(DatabaseError::Denied(format!(
            "`{shown}` lies in the state folder; hint: name a file beside it, for example `sqlite:tables.db`"
        )));
    }
    let roots = std::iter::once(workspace).chain(granted.iter().map(PathBuf::as_path));
    if lies_within(workspace, file, roots) {
        return Ok(());
    }
    Err(DatabaseError::Denied(format!(
        "the database `{shown}` lies outside the project folder and was not named; hint: let the step take its address \
         from an input and type it: `-i database=sqlite:{shown}`"
    )))
}

/// The one name of a file: links followed as far as it exists, so that two spellings share one writer.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(whole) = std::fs::canonicalize(path) {
        return whole;
    }
    // The file is not there yet (or is a link into nowhere): its folder may be.
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => match std::fs::canonicalize(folder) {
            Ok(folder) => folder.join(name),
            Err(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        },
        _ => path.to_owned(),
    }
}

/// Writers of this process by file, so that a file has one. Weak: the last user closes it.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Sqlite>>>> = LazyLock::new(Mutex::default);

/// Opens a database by its address; a relative path counts from `base`. No file is made or read yet.
///
/// # Errors
/// [`DatabaseError::Address`] when this version does not know the address.
pub fn open(address: &str, base: &Path) -> Result<Arc<dyn Database>, DatabaseError> {
    let Address::Sqlite(path) = Address::parse(address, base)?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = open.get(&path).and_then(Weak::upgrade) {
        return Ok(known);
    }
    open.retain(|_, known| known.strong_count() > 0);
    let opened = Arc::new(Sqlite::new(path.clone(), Limits::default()));
    open.insert(path, Arc::downgrade(&opened));
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let Err(DatabaseError::Address(message)) = Address::parse(text, Path::new("/base")) else {
            panic!("`{text}` was taken");
        };
        assert!(message.contains(part) && message.contains("hint: "), "{message}");
    }

    #[test]
    fn sqlite_addresses_are_read_as_people_write_them() {
        let read = |text: &str| Address::parse(text, Path::new("/nowhere/base")).unwrap();
        let is = |path: &str| Address::Sqlite(PathBuf::from(path));
        assert_eq!(read("sqlite:jan.db"), is("/nowhere/base/jan.db"));
        assert_eq!(read("sqlite://jan.db"), is("/nowhere/base/jan.db"));
        assert_eq!(read("sqlite:out/ä b.db"), is("/nowhere/base/out/ä b.db"));
        assert_eq!(read("sqlite:/nowhere/x.db"), is("/nowhere/x.db"));
        assert_eq!(read("sqlite:///nowhere/x.db"), is("/nowhere/x.db"));
        assert_eq!(read("SQLite:what?.db"), is("/nowhere/base/what?.db"));
    }

    #[test]
    fn other_addresses_are_refused_with_a_way_out() {
        refused("postgres://host/db", "not in this version: ");
        refused("mysql:x", "not in this version: databases of kind `mysql:`");
        refused("tables.db", "`sqlite:tables.db`");
        refused("tables.db", "is no database address");
        refused("sqlite:", "names no file");
        refused("sqlite://", "names no file");
        refused("sqlite::memory:", "gone at the end");
        refused("sqlite://:memory:", "gone at the end");
        refused("sqlite:file.db?mode=ro", "options");
        refused("sqlite:out/", "folder");
        refused("  ", "empty");
    }

    #[test]
    fn only_the_workspace_and_named_files_may_be_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("x.db"));
        std::fs::create_dir_all(inside.join(".ollmcp")).unwrap();
        std::os::unix::fs::symlink("../y.db", inside.join("link.db")).unwrap();
        let touch = |text: &str, granted: &[PathBuf]| {
            let Address::Sqlite(path) = Address::parse_or_path(text, &inside).unwrap();
            may_touch(&path, &inside, granted)
        };
        assert_eq!(touch("sqlite:new.db", &[]), Ok(()));
        assert_eq!(touch("new/er.db", &[]), Ok(()));
        for text in ["sqlite:../x.db", "sqlite:link.db", "/etc/x.db", "sqlite:.ollmcp/x.db", "new/../.ollmcp/sub/x"] {
            let Err(DatabaseError::Denied(message)) = touch(text, &[]) else { panic!("`{text}` was let through") };
            assert!(message.contains("; hint: "), "{message}");
        }
        assert_eq!(touch("sqlite:../x.db", std::slice::from_ref(&outside)), Ok(()));
        assert!(touch("sqlite:../y.db", std::slice::from_ref(&outside)).is_err(), "exactly the file that was named");
        assert!(touch("sqlite:.ollmcp/x.db", &[inside.join(".ollmcp")]).is_err());
    }

    #[test]
    fn two_opens_of_one_file_share_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let one = open("sqlite:a.db", folder.path()).unwrap();
        let two = open("sqlite:./a.db", folder.path()).unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        assert!(!folder.path().join("a.db").exists());
    }
}
