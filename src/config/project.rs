//! The project folder: the nearest folder upwards that holds `.ollmcp/`, the state folder with an id of its own.
//!
//! The search stops before the home folder and at file-system borders, and `~/.ollmcp` is never a state folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Home;
use crate::os::files;

/// Name of the state folder.
pub const STATE_FOLDER: &str = ".ollmcp";

const PROJECT_BYTES_MAX: u64 = 64 * 1024;

/// Keeps the whole state folder out of a repository.
const GITIGNORE: &str = "*\n";

const FORMAT: u32 = 1;

/// A folder with a state folder and an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The project folder.
    pub folder: PathBuf,
    /// Its state folder.
    pub state: PathBuf,
    /// Its id, kept for as long as the state folder is.
    pub id: Uuid,
}

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The home folder cannot be a project.
    #[error("`{}` cannot be a project: `{STATE_FOLDER}` of the home folder holds user-wide things", .0.display())]
    HomeFolder(PathBuf),
    /// A state folder of somebody else.
    #[error("`{}` belongs to another user", .0.display())]
    ForeignOwner(PathBuf),
    /// Something else stands where the state folder should.
    #[error("`{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    /// The project's file is damaged or of a newer version.
    #[error("`{}` cannot be used: {message}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The system refused.
    #[error("cannot use `{}`", .path.display())]
    System {
        /// What was read or made.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl ProjectError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HomeFolder(_) => {
                Some("make a folder for the work (`mkdir work && cd work`) and start again there".into())
            }
            Self::ForeignOwner(_) => Some("work in a folder of your own, or change its owner".into()),
            Self::NoFolder(path) => Some(format!("move `{}` away", path.display())),
            Self::Damaged { file, .. } => {
                Some(format!("put `{}` back from a copy; without it, finished work is not recognised", file.display()))
            }
            Self::System { .. } => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ProjectFile {
    format: u32,
    project_id: Uuid,
}

/// The nearest folder from `from` upwards that holds a state folder; `None` when there is none. Changes nothing.
///
/// # Errors
/// [`ProjectError::ForeignOwner`] and [`ProjectError::System`].
pub fn find_folder(from: &Path, home: &Home) -> Result<Option<PathBuf>, ProjectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ProjectError::System { path, source }
    };
    let from = from.canonicalize().map_err(failed(from))?;
    let border = fs::metadata(&from).map_err(failed(&from))?.dev();
    for folder in from.ancestors() {
        if fs::metadata(folder).map_err(failed(folder))?.dev() != border || home.is_no_project(folder) {
            return Ok(None);
        }
        let state = folder.join(STATE_FOLDER);
        match fs::metadata(&state) {
            Ok(found) if found.is_dir() => {
                check_owner(&state, &found)?;
                return Ok(Some(folder.to_owned()));
            }
            Ok(_) => return Err(ProjectError::NoFolder(state)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(source) => return Err(ProjectError::System { path: state, source }),
        }
    }
    Ok(None)
}

/// The project that a folder belongs to; `None` when there is none, or its state folder holds no id yet (a
/// `config.json` that came with a repository makes no project by itself).
///
/// # Errors
/// [`ProjectError`].
pub fn find_project(from: &Path, home: &Home) -> Result<Option<Project>, ProjectError> {
    match find_folder(from, home)? {
        Some(folder) => read_id(&folder).map(|id| id.map(|id| project(folder, id))),
        None => Ok(None),
    }
}

/// The project that a folder belongs to, made there if there is none: the second value says whether it was made.
/// `new_id` comes in with the command and is used only then.
///
/// # Errors
/// [`ProjectError`]; [`ProjectError::HomeFolder`] in the home folder.
pub fn find_or_make_project(from: &Path, home: &Home, new_id: Uuid) -> Result<(Project, bool), ProjectError> {
    let folder = find_folder(from, home)?.unwrap_or_else(|| from.to_owned());
    match read_id(&folder)? {
        Some(id) if !home.is_no_project(&folder) => Ok((project(folder, id), false)),
        _ => make_project(&folder, home, new_id).map(|made| (made, true)),
    }
}

/// Makes a state folder in `folder`, or completes one. An id that is there already is kept: two processes that make
/// the same project at once get the same one.
///
/// # Errors
/// [`ProjectError`]; [`ProjectError::HomeFolder`] in the home folder.
pub fn make_project(folder: &Path, home: &Home, new_id: Uuid) -> Result<Project, ProjectError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ProjectError::System { path, source }
    };
    let folder = folder.canonicalize().map_err(failed(folder))?;
    if home.is_no_project(&folder) {
        return Err(ProjectError::HomeFolder(folder));
    }
    let state = folder.join(STATE_FOLDER);
    files::make_private_folder(&state).map_err(failed(&state))?;
    check_owner(&state, &fs::metadata(&state).map_err(failed(&state))?)?;
    let ignore = state.join(".gitignore");
    files::create_atomically(&ignore, GITIGNORE.as_bytes(), 0o644).map_err(failed(&ignore))?;
    let file = state.join("project.json");
    let text = serde_json::to_string_pretty(&ProjectFile { format: FORMAT, project_id: new_id })
        .expect("two plain fields are always JSON");
    files::create_atomically(&file, format!("{text}\n").as_bytes(), files::PRIVATE_FILE_MODE).map_err(failed(&file))?;
    let id = read_id(&folder)?.expect("the file was made or stood there");
    Ok(project(folder, id))
}

/// The configuration file of a project folder that counts: `.ollmcp/config.json`, or `.config/config.json` where only
/// that is there. Writing the first beside the second would take the second out of use.
#[must_use]
pub fn config_file(folder: &Path) -> PathBuf {
    let first = folder.join(STATE_FOLDER).join("config.json");
    let second = folder.join(".config").join("config.json");
    if !first.exists() && second.exists() { second } else { first }
}

fn project(folder: PathBuf, id: Uuid) -> Project {
    Project { state: folder.join(STATE_FOLDER), folder, id }
}

fn read_id(folder: &Path) -> Result<Option<Uuid>, ProjectError> {
    let file = folder.join(STATE_FOLDER).join("project.json");
    let text = files::read_text(&file, PROJECT_BYTES_MAX)
        .map_err(|source| ProjectError::System { path: file.clone(), source })?;
    let Some(text) = text else { return Ok(None) };
    let damaged = |message: String| ProjectError::Damaged { file: file.clone(), message };
    let read: ProjectFile = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if read.format != FORMAT {
        return Err(damaged(format!("its format {} is not the {FORMAT} of this version", read.format)));
    }
    Ok(Some(read.project_id))
}

/// A state folder that somebody else put in the way (`/tmp/.ollmcp`) would hand them the person's work.
fn check_owner(state: &Path, found: &fs::Metadata) -> Result<(), ProjectError> {
    let own = files::own_user_id().map_err(|source| ProjectError::System { path: "/proc/self".into(), source })?;
    // The superuser works in other people's folders on purpose (containers, mounted folders).
    if own == 0 || found.uid() == own { Ok(()) } else { Err(ProjectError::ForeignOwner(state.to_owned())) }
}
