//! What every verb needs: where the person stands, the store, and the way to a process that owns the state folder.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::output;
use crate::api::client::Client;
use crate::app::place::Standing;
use crate::app::store::{self, Store};
use crate::config::Flags;
use crate::config::project::Project;
use crate::os::lock::{LockError, Owner, StateLock};

/// What a command that only reads, or gives one answer, notes in the lock.
const LOOK: &str = "look";
/// How long a command waits for one that looks, and for a process in charge to answer: beginning and ending take time.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The command line's common part.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) config: Option<PathBuf>,
    pub(super) trust_project_config: bool,
    pub(super) is_json: bool,
}

/// How the state folder can be looked into.
#[derive(Debug)]
pub(super) enum Access {
    /// Nobody else owns it: opened here.
    Own(Box<OwnStore>),
    /// Another process owns it and answers over its socket.
    Other(Client),
    /// The journal cannot be used: the state store alone, for reading.
    StateOnly(crate::state::Reader),
}

/// The store with the lock that makes it ours.
#[derive(Debug)]
pub(super) struct OwnStore {
    pub(super) store: Store,
    /// Held until the store is dropped.
    _lock: StateLock,
}

/// Whether the lock is held by a command that only looks, or by one that has not said yet what it does.
fn is_looking(owner: Option<&Owner>) -> bool {
    owner.is_none_or(|owner| owner.verb == LOOK)
}

impl Context {
    /// Where the person stands; `make` makes a project where there is none.
    pub(super) fn standing(&self, make: bool) -> Result<Standing, CliError> {
        let flags = Flags {
            config: self.config.clone(),
            trust_project_config: self.trust_project_config,
            values: Vec::new(),
        };
        let standing = Standing::find(self.environment.clone(), &flags, make)?;
        for text in &standing.notes {
            output::note(text);
        }
        if let Some(consent) = &standing.settings.needs_consent {
            output::note(&format!(
                "`{}` declares things that count only after your consent; --trust-project-config lets them count",
                consent.file.display()
            ));
        }
        Ok(standing)
    }

    /// Takes the state folder for `verb`. Who only looks has it for a moment: that moment is waited for.
    fn lock_patiently(&self, project: &Project, verb: &str) -> Result<StateLock, LockError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lock(project, verb) {
                Err(LockError::Held { owner, .. }) if is_looking(owner.as_ref()) && Instant::now() < deadline => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                result => return result,
            }
        }
    }

    /// Takes the state folder for `verb`.
    pub(super) fn lock(&self, project: &Project, verb: &str) -> Result<StateLock, LockError> {
        let command: Vec<String> = std::env::args().collect();
        let owner = Owner {
            pid: std::process::id(),
            verb: verb.to_owned(),
            command: command.join(" "),
            since: crate::report::text::moment(crate::app::now_ms()),
        };
        StateLock::take(&project.state.join("lock"), &owner)
    }

    /// The store for work.
    pub(super) fn own_store(&self, project: &Project, verb: &str) -> Result<OwnStore, CliError> {
        let lock = self.lock_patiently(project, verb).map_err(|error| held(&error))?;
        let store = open_noted(&project.state)?;
        Ok(OwnStore { store, _lock: lock })
    }

    /// The store for reading and answering: here, or over the socket of the process that owns it.
    pub(super) fn access(&self, standing: &Standing) -> Result<Access, CliError> {
        let project = project_of(standing)?;
        let deadline = Instant::now() + PATIENCE;
        let lock = loop {
            match self.lock(project, LOOK) {
                // A process in charge that has just begun, or is about to end, has no socket.
                Err(LockError::Held { .. })
                    if UnixStream::connect(socket(&project.state)).is_err() && Instant::now() < deadline =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                result => break result,
            }
        };
        match lock {
            Ok(lock) => match store::open(&project.state) {
                Ok(store) => {
                    store.notes.iter().for_each(|text| output::note(text));
                    Ok(Access::Own(Box::new(OwnStore { store, _lock: lock })))
                }
                Err(error) => self.state_only(&project.state, error),
            },
            Err(error @ LockError::Held { .. }) if matches!(&error, LockError::Held { owner, .. } if is_looking(owner.as_ref())) => {
                Err(held(&error))
            }
            Err(LockError::Held { .. }) => Ok(Access::Other(Client::new(socket(&project.state)))),
            Err(error) => Err(held(&error)),
        }
    }

    fn state_only(&self, state: &Path, error: crate::app::store::StoreError) -> Result<Access, CliError> {
        let error = CliError::from(error);
        let Ok((reader, None)) = store::open_reader(state) else { return Err(error) };
        output::err(&format!("warning: {}\n", error.message));
        for hint in &error.hints {
            output::err(&format!("hint: {hint}\n"));
        }
        Ok(Access::StateOnly(reader))
    }
}

/// The project, or what to do without one.
pub(super) fn project_of(standing: &Standing) -> Result<&Project, CliError> {
    standing.project.as_ref().ok_or_else(|| {
        CliError::usage(format!("no project here or above `{}`", standing.cwd.display()))
            .hint("`ollmcp run PLAN` makes one in the folder that you stand in; so does `ollmcp init`")
    })
}

fn open_noted(state: &Path) -> Result<Store, CliError> {
    let store = store::open(state)?;
    store.notes.iter().for_each(|text| output::note(text));
    Ok(store)
}

/// The control socket of a state folder.
pub(super) fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Another process is at work here.
pub(super) fn held(error: &LockError) -> CliError {
    match error {
        LockError::Held { .. } => CliError::usage(error.to_string())
            .hint("`ollmcp ls`, `show`, `inbox`, `answer` and `cancel` work beside it; wait for its end, or cancel its run"),
        LockError::File { source, .. } => CliError::failed(format!("{error}: {source}")),
    }
}
