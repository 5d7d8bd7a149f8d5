//! What every verb needs: where the person stands, the store, and the way to a process that owns the state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::output;
use crate::api::client::Client;
use crate::api::socket::ShortPath;
use crate::app::place::Standing;
use crate::app::store::{self, Store, chain};
use crate::config::project::Project;
use crate::config::{Consents, Flags};
use crate::domain::ids::RunId;
use crate::os::lock::{LockError, Owner, StateLock};
use crate::report::text;

/// How many things that need consent are listed.
const LINES_SHOWN_MAX: usize = 20;

/// What a process that only looks or answers notes in the lock.
const LOOK: &str = "look";
/// How long a command waits for another that only looks, or for a socket that is on its way.
const HELD_WAIT: Duration = Duration::from_secs(10);
const HELD_POLL: Duration = Duration::from_millis(50);

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

impl Context {
    /// Where the person stands; `make` makes a project where there is none.
    pub(super) fn standing(&self, make: bool) -> Result<Standing, CliError> {
        let standing = self.find(make)?;
        if let Some(consent) = &standing.settings.needs_consent {
            output::note(&format!(
                "`{}` declares things that count only after your consent; --trust-project-config lets them count",
                consent.file.display()
            ));
        }
        Ok(standing)
    }

    /// The same, and nothing is made or said.
    pub(super) fn standing_unsaid(&self) -> Result<Standing, CliError> {
        Ok(Standing::find(self.environment.clone(), &self.flags(), false)?)
    }

    /// The same for a verb that starts tool servers: says what a project's file would start, and on a terminal asks.
    /// A yes is kept, bound to exactly what was shown.
    pub(super) fn standing_to_start(&self, make: bool) -> Result<Standing, CliError> {
        let standing = self.find(make)?;
        let Some(consent) = &standing.settings.needs_consent else { return Ok(standing) };
        output::note(&format!("`{}` declares things that count only after your consent:", consent.file.display()));
        for line in consent.what.iter().take(LINES_SHOWN_MAX) {
            output::err(&format!("  {}\n", text::clean(&text::bounded(line, 300))));
        }
        if consent.what.len() > LINES_SHOWN_MAX {
            output::err(&format!("  and {} more\n", consent.what.len() - LINES_SHOWN_MAX));
        }
        if !super::watch::asks_yes("Let them count from now on?") {
            output::err("  they do not count; --trust-project-config lets them count this time\n");
            return Ok(standing);
        }
        let file = standing.home.consents_file();
        let failed = |error: crate::config::ConfigError| CliError::failed(chain(&error)).hint_opt(error.hint());
        let given = Consents::load(&file).map_err(failed)?.with(consent, &text::moment(crate::app::now_ms()));
        given.store(&file).map_err(failed)?;
        self.find(make)
    }

    /// Has what was just written to a new project's file count from now on.
    pub(super) fn agree_to_new(&self, standing: &Standing) -> Result<(), CliError> {
        let now = Standing::find(self.environment.clone(), &self.flags(), false)?;
        let Some(consent) = now.settings.needs_consent.as_ref().or(now.settings.trusted.as_ref()) else {
            return Ok(());
        };
        let file = standing.home.consents_file();
        let failed = |error: crate::config::ConfigError| CliError::failed(chain(&error)).hint_opt(error.hint());
        let given = Consents::load(&file).map_err(failed)?.with(consent, &text::moment(crate::app::now_ms()));
        given.store(&file).map_err(failed)
    }

    /// A command to type next, with the flags without which it would not mean the same.
    pub(super) fn command(&self, words: &str) -> String {
        let config = self.config.as_ref().map(|file| format!(" --config {}", quoted(&file.display().to_string())));
        let trust = if self.trust_project_config { " --trust-project-config" } else { "" };
        format!("ollmcp {words}{}{trust}", config.unwrap_or_default())
    }

    /// The command that goes on with a run.
    pub(super) fn resume(&self, run: RunId) -> String {
        self.command(&format!("resume {}", run.short()))
    }

    fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), trust_project_config: self.trust_project_config, values: Vec::new() }
    }

    fn find(&self, make: bool) -> Result<Standing, CliError> {
        let standing = Standing::find(self.environment.clone(), &self.flags(), make)?;
        for text in &standing.notes {
            output::note(text);
        }
        Ok(standing)
    }

    /// Takes the state folder for `verb`.
    pub(super) fn lock(&self, project: &Project, verb: &str) -> Result<StateLock, LockError> {
        let command: Vec<String> = std::env::args().collect();
        let owner = Owner {
            pid: std::process::id(),
            verb: verb.to_owned(),
            command: command.join(" "),
            since: text::moment(crate::app::now_ms()),
        };
        StateLock::take(&project.state.join("lock"), &owner)
    }

    /// The store for work.
    pub(super) fn own_store(&self, project: &Project, verb: &str) -> Result<OwnStore, CliError> {
        let deadline = Instant::now() + HELD_WAIT;
        let lock = loop {
            match self.lock(project, verb) {
                Ok(lock) => break lock,
                // Someone who only looks is gone in a moment.
                Err(LockError::Held { owner: Some(owner), .. }) if owner.verb == LOOK && Instant::now() < deadline => {
                    std::thread::sleep(HELD_POLL);
                }
                Err(error) => return Err(held(&error)),
            }
        };
        let store = open_noted(project)?;
        Ok(OwnStore { store, _lock: lock })
    }

    /// The store for reading and answering: here, or over the socket of the process that owns it.
    pub(super) fn access(&self, standing: &Standing) -> Result<Access, CliError> {
        let project = project_of(standing)?;
        let socket = socket(&project.state);
        let deadline = Instant::now() + HELD_WAIT;
        loop {
            let error = match self.lock(project, LOOK) {
                Ok(lock) => {
                    return match store::open(&project.state, &project.id.to_string()) {
                        Ok(store) => {
                            store.notes.iter().for_each(|text| output::note(text));
                            Ok(Access::Own(Box::new(OwnStore { store, _lock: lock })))
                        }
                        Err(error) => self.state_only(&project.state, error),
                    };
                }
                Err(error @ LockError::Held { .. }) => error,
                Err(error) => return Err(held(&error)),
            };
            // An owner that only looks, is starting or is about to leave has no socket: wait a moment for either.
            let answers = ShortPath::of(&socket).and_then(std::os::unix::net::UnixStream::connect);
            if answers.is_ok() {
                return Ok(Access::Other(Client::new(socket)));
            }
            if Instant::now() > deadline {
                return Err(held(&error));
            }
            std::thread::sleep(HELD_POLL);
        }
    }

    fn state_only(&self, state: &Path, error: crate::app::store::StoreError) -> Result<Access, CliError> {
        let error = CliError::from(error);
        let Ok((reader, None)) = store::open_reader(state) else { return Err(error) };
        output::err(&format!("warning: {}\n", error.message));
        for hint in &error.hints {
            output::err(&format!("hint: {hint}\n"));
        }
        output::note("what follows is what the state store saw last; what came later is not in it");
        Ok(Access::StateOnly(reader))
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "=_-./:,".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The project, or what to do without one.
pub(super) fn project_of(standing: &Standing) -> Result<&Project, CliError> {
    standing.project.as_ref().ok_or_else(|| {
        CliError::usage(format!("no project here or above `{}`", standing.cwd.display())).hint(how_to_begin(standing))
    })
}

/// How to get a project where there is none.
pub(super) fn how_to_begin(standing: &Standing) -> &'static str {
    if standing.home.is_no_project(&standing.cwd) {
        return "your home folder itself is none: `mkdir work && cd work`, and `ollmcp run PLAN` makes one there";
    }
    "`ollmcp run PLAN` makes one in the folder that you stand in; so does `ollmcp init`"
}

fn open_noted(project: &Project) -> Result<Store, CliError> {
    let store = store::open(&project.state, &project.id.to_string())?;
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
        LockError::Held { .. } => CliError::usage(error.to_string()).hint(
            "`ollmcp ls`, `show`, `inbox`, `answer` and `cancel` work beside it; wait for its end, or cancel its run",
        ),
        LockError::File { source, file } => {
            let folder = file.parent().unwrap_or(file).display();
            CliError::usage(format!("{error}: {source}"))
                .hint(format!("`{folder}` and all in it must be yours to read and write: ls -la {folder}"))
        }
    }
}
