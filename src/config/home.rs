//! The user-wide folder: `~/.ollmcp`, or what `OLLMCP_HOME` names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Where user-wide things live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The person's home folder; `None` when only `OLLMCP_HOME` is known.
    pub folder: Option<PathBuf>,
    /// The user-wide folder of this program; need not be there.
    pub ollmcp: PathBuf,
}

impl Home {
    /// Finds both in the environment.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] when neither `HOME` nor `OLLMCP_HOME` is an absolute path.
    pub fn find(environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let path = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = path("HOME");
        let ollmcp = path("OLLMCP_HOME").or_else(|| folder.as_ref().map(|folder| folder.join(".ollmcp")));
        ollmcp.map(|ollmcp| Self { folder, ollmcp }).ok_or(ConfigError::NoHome)
    }

    /// The user's configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.ollmcp.join("config.json")
    }

    /// What the user consented to.
    #[must_use]
    pub fn consents_file(&self) -> PathBuf {
        self.ollmcp.join("consents.json")
    }

    /// The user's agents.
    #[must_use]
    pub fn agents_folder(&self) -> PathBuf {
        self.ollmcp.join("agents")
    }

    /// The user's saved plans.
    #[must_use]
    pub fn plans_folder(&self) -> PathBuf {
        self.ollmcp.join("plans")
    }

    /// Whether `folder` is the home folder, or holds the user-wide folder as its `.ollmcp`: no project either way.
    #[must_use]
    pub fn is_no_project(&self, folder: &Path) -> bool {
        let same = |left: &Path, right: &Path| match (left.canonicalize(), right.canonicalize()) {
            (Ok(left), Ok(right)) => left == right,
            _ => left == right,
        };
        self.folder.as_deref().is_some_and(|home| same(home, folder)) || same(&folder.join(".ollmcp"), &self.ollmcp)
    }
}
