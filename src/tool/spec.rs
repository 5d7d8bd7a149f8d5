//! What is needed to start one tool server, already checked and expanded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::domain::plan::RepeatClass;

/// How long a server may take from its start to its list of tools.
pub const START_TIMEOUT_MS: u64 = 20_000;

/// Where one of our own servers finds the paths outside of the workspace that it may read: a JSON list of absolute
/// paths.
pub const GRANTED_PATHS_VARIABLE: &str = "OLLMCP_GRANTED_PATHS";

/// Where our `fs` server is told the folder in which attempts keep their files; only beneath it does it stage.
pub const STAGING_DIR_VARIABLE: &str = "OLLMCP_STAGING_DIR";

/// One declared tool server.
#[derive(Clone, PartialEq)]
pub struct ServerSpec {
    /// Name in the configuration; the part before the dot in `server.tool`.
    pub name: String,
    /// The program, looked up in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables set for it, already expanded.
    pub env: BTreeMap<String, String>,
    /// Folder it runs in; none: ours.
    pub cwd: Option<PathBuf>,
    /// Limit of the whole start, listing of tools included.
    pub start_timeout_ms: u64,
    /// A call without answer and without progress for so long has failed; none: only the call's own limit counts.
    pub idle_timeout_ms: Option<u64>,
    /// Names of our own variables that are passed on beside the usual ones.
    pub env_passed: Vec<String>,
    /// Where it may leave large results; for our own servers only.
    pub spill_dir: Option<PathBuf>,
    /// Corrections of what its tools say about themselves, by tool name.
    pub overrides: BTreeMap<String, ToolOverride>,
    /// Tools that are not offered.
    pub disabled_tools: BTreeSet<String>,
    /// Texts that must not appear in messages.
    pub secrets: Vec<String>,
}

/// A correction of what a tool says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolOverride {
    /// Replaces the class from its annotations.
    pub repeat: Option<RepeatClass>,
    /// Arguments that are files.
    pub files: Vec<String>,
}

impl ServerSpec {
    /// A server with nothing but a command line.
    #[must_use]
    pub fn new(name: impl Into<String>, command: impl Into<String>, args: &[&str]) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: None,
            start_timeout_ms: START_TIMEOUT_MS,
            idle_timeout_ms: None,
            env_passed: Vec::new(),
            spill_dir: None,
            overrides: BTreeMap::new(),
            disabled_tools: BTreeSet::new(),
            secrets: Vec::new(),
        }
    }
}

impl ServerSpec {
    /// One of our own servers: `program tool-server name`, working in `workspace`, leaving large results in `spill_dir`.
    #[must_use]
    pub fn built_in(name: &str, program: &Path, workspace: &Path, spill_dir: &Path) -> Self {
        let mut spec = Self::new(name, program.to_string_lossy(), &["tool-server", name]);
        spec.cwd = Some(workspace.to_owned());
        spec.spill_dir = Some(spill_dir.to_owned());
        spec
    }

    /// Names the paths outside of the workspace that one of our own servers may read.
    #[must_use]
    pub fn granting(mut self, paths: &[PathBuf]) -> Self {
        // A path that is not UTF-8 cannot be named in a call, so it cannot be granted either.
        let list: serde_json::Value = paths.iter().filter_map(|path| path.to_str()).collect();
        self.env.insert(GRANTED_PATHS_VARIABLE.to_owned(), list.to_string());
        self
    }

    /// Names the folder in which attempts keep their files until they are accepted.
    #[must_use]
    pub fn staging_in(mut self, folder: &Path) -> Self {
        self.env.insert(STAGING_DIR_VARIABLE.to_owned(), folder.to_string_lossy().into_owned());
        self
    }
}

/// Values of variables and secrets stay out.
impl fmt::Debug for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSpec")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}
