//! Where a command stands: the project, the home folder, settings, agents, and what the person typed them with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::{AgentFault, Agents, Source};
use crate::config::project::{Project, ProjectError};
use crate::config::{self, Flags, Given, Home, Settings, project, shipped};

/// Everything that is known before a plan is read.
#[derive(Debug)]
pub struct Standing {
    /// The folder that the person stands in.
    pub cwd: PathBuf,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// User-wide things.
    pub home: Home,
    /// The project, if the folder is in one.
    pub project: Option<Project>,
    /// The configuration.
    pub settings: Settings,
    /// The one file that it came from (`--config`), for servers of ours that are started with it.
    pub config_file: Option<PathBuf>,
    /// Agents by name.
    pub agents: Agents,
    /// What is wrong with agent files; each is among the notes too.
    pub agent_faults: Vec<AgentFault>,
    /// What people should be told.
    pub notes: Vec<String>,
}

/// Why a command does not know where it stands.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The project cannot be used.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The system refused something.
    #[error("cannot find out where this is: {0}")]
    System(#[from] std::io::Error),
}

impl StandingError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Project(error) => error.hint(),
            Self::System(_) => None,
        }
    }
}

impl Standing {
    /// Finds the project and resolves settings and agents; `make` makes a project where there is none.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn find(environment: BTreeMap<String, String>, flags: &Flags, make: bool) -> Result<Self, StandingError> {
        let cwd = std::env::current_dir()?;
        let home = Home::find(&environment)?;
        let mut notes = Vec::new();
        let project = if make {
            let (found, is_new) = project::find_or_make_project(&cwd, &home, super::new_uuid())?;
            if is_new {
                notes.push(format!("made a project in `{}` (its state is in `.ollmcp/`)", found.folder.display()));
            }
            Some(found)
        } else {
            project::find_project(&cwd, &home)?
        };
        let folder = project.as_ref().map_or(cwd.as_path(), |project| project.folder.as_path());
        let given = Given { flags, environment: &environment, home: &home, project: Some(folder) };
        let settings = config::resolve(&given)?;
        notes.extend(settings.notes.iter().map(ToString::to_string));
        notes.extend(settings.warnings.iter().map(ToString::to_string));
        let (user, own) = (home.agents_folder(), folder.join("agents"));
        let mut sources: Vec<Source<'_>> =
            shipped::AGENTS.iter().map(|agent| Source::Shipped(agent.name, agent.text)).collect();
        sources.extend([Source::Folder(&user), Source::Folder(&own)]);
        let (agents, faults) = Agents::load(&sources);
        notes.extend(faults.iter().map(ToString::to_string));
        let config_file = flags.config.as_ref().map(|file| cwd.join(file));
        Ok(Self { cwd, environment, home, project, settings, config_file, agents, agent_faults: faults, notes })
    }

    /// The project folder, or the folder that the person stands in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.project.as_ref().map_or(&self.cwd, |project| &project.folder)
    }

    /// Folders with plans, the strongest first.
    #[must_use]
    pub fn plan_folders(&self) -> Vec<PathBuf> {
        vec![self.folder().join("plans"), self.home.plans_folder()]
    }
}
