//! All agents: those inside the binary, the user's over them, the project's over both, by name.
//!
//! A file with faults is never passed over in silence: its name is broken until it is mended, so that a person who
//! changed CODER does not run the shipped one without knowing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::spec::{AGENT_BYTES_MAX, AgentFault, AgentSpec};
use crate::domain::nearest::nearest;

/// Files of one folder that are read.
const FILES_MAX: usize = 10_000;

/// Where agents come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file inside the binary: its name without the ending, and its text.
    Shipped(&'a str, &'a str),
    /// Every `*.md` of a folder; one that is not there has none.
    Folder(&'a Path),
}

/// Why there is no agent of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentMiss {
    /// Nobody has this name.
    #[error("no agent is called `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest one.
        nearest: Option<String>,
    },
    /// The file that has it is faulty.
    #[error("the file of agent `{name}` has faults: `{file}`")]
    Broken {
        /// The name asked for.
        name: String,
        /// The faulty file.
        file: String,
    },
}

impl AgentMiss {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_ref().map(|known| format!("did you mean `{known}`?")),
            Self::Broken { .. } => Some("`ollmcp agents` names the faults".into()),
        }
    }
}

/// All agents by name.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    by_name: BTreeMap<String, AgentSpec>,
    broken: BTreeMap<String, String>,
}

impl Agents {
    /// Reads all sources, the weakest first; every fault of every file is given, and the rest still loads.
    #[must_use]
    pub fn load(sources: &[Source<'_>]) -> (Self, Vec<AgentFault>) {
        let mut agents = Self::default();
        let mut faults = Vec::new();
        for source in sources {
            match source {
                Source::Shipped(name, text) => {
                    let read = AgentSpec::parse(text, &format!("{name}.md (shipped)"), None);
                    agents.take(&claimed_name(text, name), read, &mut BTreeSet::new(), &mut faults);
                }
                Source::Folder(folder) => agents.folder(folder, &mut faults),
            }
        }
        (agents, faults)
    }

    fn folder(&mut self, folder: &Path, faults: &mut Vec<AgentFault>) {
        let mut files = match files_of(folder) {
            Ok(files) => files,
            Err(error) => {
                faults.push(whole_file(folder, format!("cannot be looked into: {error}")));
                return;
            }
        };
        if files.len() > FILES_MAX {
            faults.push(whole_file(folder, format!("holds more than {FILES_MAX} agent files; the rest is not read")));
            files.truncate(FILES_MAX);
        }
        let mut names = BTreeSet::new();
        for file in files {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let label = file.display().to_string();
            let (name, read) = match text_of(&file) {
                Ok(text) => (claimed_name(&text, &stem), AgentSpec::parse(&text, &label, Some(file))),
                Err(message) => (stem, Err(vec![whole_file(&file, message)])),
            };
            self.take(&name, read, &mut names, faults);
        }
    }

    /// `claimed` is the name that a faulty file breaks; `names` are those that this folder has given so far.
    fn take(
        &mut self,
        claimed: &str,
        read: Result<AgentSpec, Vec<AgentFault>>,
        names: &mut BTreeSet<String>,
        faults: &mut Vec<AgentFault>,
    ) {
        match read {
            Ok(spec) if names.contains(&spec.name) => {
                let file = spec.file.as_deref().unwrap_or(Path::new(claimed));
                faults.push(whole_file(file, format!("a second agent is called `{}` in this folder", spec.name)));
            }
            Ok(spec) => {
                names.insert(spec.name.clone());
                self.broken.remove(&spec.name);
                self.by_name.insert(spec.name.clone(), spec);
            }
            Err(new) => {
                if let Some(fault) = new.first() {
                    self.by_name.remove(claimed);
                    self.broken.insert(claimed.to_owned(), fault.file.clone());
                }
                faults.extend(new);
            }
        }
    }

    /// The agent of a name.
    ///
    /// # Errors
    /// [`AgentMiss`].
    pub fn get(&self, name: &str) -> Result<&AgentSpec, AgentMiss> {
        if let Some(spec) = self.by_name.get(name) {
            return Ok(spec);
        }
        let name = name.to_owned();
        match self.broken.get(&name) {
            Some(file) => Err(AgentMiss::Broken { name, file: file.clone() }),
            None => {
                let nearest = nearest(&name, self.by_name.keys().map(String::as_str)).map(str::to_owned);
                Err(AgentMiss::Unknown { name, nearest })
            }
        }
    }

    /// All agents that load, by name.
    pub fn iter(&self) -> impl Iterator<Item = &AgentSpec> {
        self.by_name.values()
    }
}

/// The name that a text gives itself, also when it cannot be read as a whole; else the name of its file.
fn claimed_name(text: &str, stem: &str) -> String {
    let head = text.lines().skip(1).take_while(|line| line.trim_end() != "---");
    let name = head.filter_map(|line| line.strip_prefix("name:")).map(|name| name.trim().trim_matches(['"', '\'']));
    name.filter(|name| !name.is_empty()).last().unwrap_or(stem).to_owned()
}

fn whole_file(file: &Path, message: String) -> AgentFault {
    AgentFault { file: file.display().to_string(), line: 1, column: 1, message, hint: None }
}

/// The agent files of a folder, sorted: not hidden ones, and not a `README.md`.
fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_agent = name.ends_with(".md") && !name.starts_with('.') && !name.eq_ignore_ascii_case("readme.md");
        if is_agent && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text_of(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let bytes_max = AGENT_BYTES_MAX as u64 + 1;
    let read = fs::File::open(file).and_then(|opened| opened.take(bytes_max).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| format!("cannot be read: {error}"))
}
