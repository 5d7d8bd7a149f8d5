//! Fetching a model: which server it is meant for, and a download that goes on where it was cut.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{OLLAMA, list};
use crate::domain::plan::{ModelServerKind, ModelServerSpec};
use crate::model::ollama::is_remote_name;
use crate::model::{ModelError, ModelServer, ModelServers, PullProgress, split_rung};

/// Times in a row that a download is begun again without having come further.
const TRIES_MAX: u32 = 5;
/// Wait before the first of them; doubled each time.
const WAIT: Duration = Duration::from_secs(1);

/// What is to be fetched from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The server.
    pub server: String,
    /// The model.
    pub model: String,
}

impl Wanted {
    /// `SERVER:MODEL`.
    #[must_use]
    pub fn rung(&self) -> String {
        format!("{}:{}", self.server, self.model)
    }
}

/// Why nothing is fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// Its server speaks a protocol without downloads.
    #[error("`{server}` is an OpenAI-compatible server, and such a server fetches no models")]
    CannotPull {
        /// The server.
        server: String,
    },
    /// The name stands for a model on somebody else's machines.
    #[error("`{model}` runs on its vendor's machines, for money: it is no local model")]
    Remote {
        /// The model.
        model: String,
    },
    /// No name is left.
    #[error("`{text}` names no model")]
    NoName {
        /// What was typed.
        text: String,
    },
    /// Several servers could fetch it.
    #[error("several servers can fetch `{model}`: {}", .servers.join(", "))]
    WhichServer {
        /// The model.
        model: String,
        /// The servers.
        servers: Vec<String>,
    },
}

impl PullError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::CannotPull { .. } => {
                "start that server with the model (llama.cpp: `llama-server -m FILE`), or fetch it with Ollama: \
                 ollmcp models pull ollama:MODEL"
                    .to_owned()
            }
            Self::Remote { .. } => "take a tag without `cloud`".to_owned(),
            Self::NoName { .. } => "write SERVER:MODEL or MODEL, as in `ollmcp models pull qwen3:8b`".to_owned(),
            Self::WhichServer { model, servers } => format!("write {}:{model}", servers[0]),
        }
    }
}

/// What somebody means who types `SERVER:MODEL` or `MODEL`. A first part that is no server is part of the model's name.
///
/// # Errors
/// [`PullError`].
pub async fn wanted(
    text: &str,
    specs: &BTreeMap<String, ModelServerSpec>,
    servers: &ModelServers,
) -> Result<Wanted, PullError> {
    let text = text.trim();
    let named = text.split_once(':').filter(|(server, _)| specs.contains_key(*server));
    if text.is_empty() || named.is_some_and(|(_, model)| model.is_empty()) {
        return Err(PullError::NoName { text: text.to_owned() });
    }
    let wanted = match split_rung(text).filter(|_| named.is_some()) {
        Some((server, model)) => Wanted { server: server.to_owned(), model: model.to_owned() },
        None => Wanted { server: usual(text, specs, servers).await?, model: text.to_owned() },
    };
    if is_remote_name(&wanted.model) {
        return Err(PullError::Remote { model: wanted.model });
    }
    match specs[&wanted.server].kind {
        ModelServerKind::Ollama => Ok(wanted),
        ModelServerKind::Openai | ModelServerKind::StandIn => Err(PullError::CannotPull { server: wanted.server }),
    }
}

/// The server that fetches where none is named: Ollama itself, else the only other one of its kind that answers.
async fn usual(
    model: &str,
    specs: &BTreeMap<String, ModelServerSpec>,
    servers: &ModelServers,
) -> Result<String, PullError> {
    let able = specs.iter().filter(|(_, spec)| spec.kind == ModelServerKind::Ollama);
    let able: Vec<&str> = able.map(|(name, _)| name.as_str()).collect();
    if able.len() < 2 {
        return Ok(OLLAMA.to_owned());
    }
    let lists = list(servers, able).await;
    let there: Vec<String> = lists.iter().filter(|(_, list)| list.is_ok()).map(|(name, _)| name.clone()).collect();
    match there.as_slice() {
        [] => Ok(OLLAMA.to_owned()),
        [only] => Ok(only.clone()),
        _ if there.iter().any(|name| name == OLLAMA) => Ok(OLLAMA.to_owned()),
        _ => Err(PullError::WhichServer { model: model.to_owned(), servers: there }),
    }
}

/// How far a whole download is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is done now, in the server's words.
    pub status: String,
    /// Bytes that are there, over all parts that are known.
    pub completed: u64,
    /// Bytes in all, as far as the parts are known.
    pub total: u64,
    /// Bytes a second, over this download alone; `None` at its beginning.
    pub bytes_per_second: Option<f64>,
}

impl Progress {
    /// In hundredths, once something is known.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        (self.total > 0).then(|| self.completed.min(self.total) * 100 / self.total)
    }
}

/// The parts of a download, each with its own size.
#[derive(Debug)]
struct Parts {
    /// By the server's words for it: bytes there, bytes in all.
    known: BTreeMap<String, (u64, u64)>,
    begun: Instant,
    /// Bytes that were there already when this download began to tell of them.
    before: u64,
}

impl Parts {
    fn new() -> Self {
        Self { known: BTreeMap::new(), begun: Instant::now(), before: 0 }
    }

    fn completed(&self) -> u64 {
        self.known.values().map(|(completed, _)| completed).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn take(&mut self, told: PullProgress) -> Progress {
        if told.total > 0 {
            if !self.known.contains_key(&told.status) {
                self.before += told.completed;
            }
            self.known.insert(told.status.clone(), (told.completed, told.total));
        }
        let completed = self.completed();
        let seconds = self.begun.elapsed().as_secs_f64();
        let fresh = completed.saturating_sub(self.before);
        Progress {
            status: told.status,
            completed,
            total: self.known.values().map(|(_, total)| total).sum(),
            bytes_per_second: (fresh > 0 && seconds > 0.2).then(|| fresh as f64 / seconds),
        }
    }
}

/// Fetches a model. A download that is cut is begun again, and the server goes on from what it has; only one that comes
/// no further several times in a row is given up. Dropped, it ends at the server too.
///
/// # Errors
/// What the server says.
pub async fn pull(
    server: &dyn ModelServer,
    model: &str,
    progress: &(dyn Fn(&Progress) + Send + Sync),
    cut: &(dyn Fn(&ModelError, Duration) + Send + Sync),
) -> Result<(), ModelError> {
    let mut tries = 0;
    let mut best = 0;
    loop {
        let parts = Mutex::new(Parts::new());
        let has_begun = AtomicBool::new(false);
        let told = |line: PullProgress| {
            has_begun.store(true, Ordering::Relaxed);
            progress(&parts.lock().unwrap_or_else(PoisonError::into_inner).take(line));
        };
        let Err(error) = server.pull(model, &told).await else { return Ok(()) };
        let passes = matches!(error, ModelError::BrokenStream { .. } | ModelError::Unreachable { .. });
        let completed = parts.lock().unwrap_or_else(PoisonError::into_inner).completed();
        // A server that was never there is not waited for.
        if !passes || (!has_begun.load(Ordering::Relaxed) && best == 0) {
            return Err(error);
        }
        tries = if completed > best { 1 } else { tries + 1 };
        best = best.max(completed);
        if tries > TRIES_MAX {
            return Err(error);
        }
        let wait = WAIT * 2_u32.pow(tries - 1);
        cut(&error, wait);
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::models::find::spec_at;

    fn spec(kind: ModelServerKind) -> ModelServerSpec {
        ModelServerSpec { kind, ..spec_at(1) }
    }

    #[tokio::test]
    async fn a_first_part_that_is_no_server_belongs_to_the_name() {
        let specs = BTreeMap::from([
            (OLLAMA.to_owned(), spec(ModelServerKind::Ollama)),
            ("box".to_owned(), spec(ModelServerKind::Openai)),
        ]);
        let servers = ModelServers::default();
        let of = async |text: &str| wanted(text, &specs, &servers).await.map(|wanted| wanted.rung());
        assert_eq!(of("qwen3:8b").await.unwrap(), "ollama:qwen3:8b");
        assert_eq!(of("ollama:qwen3:8b").await.unwrap(), "ollama:qwen3:8b");
        assert_eq!(of("hf.co/a/b:Q4_K_M").await.unwrap(), "ollama:hf.co/a/b:Q4_K_M");
        assert!(matches!(of("box:x").await, Err(PullError::CannotPull { .. })));
        assert!(matches!(of("ollama:").await, Err(PullError::NoName { .. })));
        assert!(matches!(of("gpt-oss:120b-cloud").await, Err(PullError::Remote { .. })));
    }

    #[test]
    fn parts_add_up_and_what_was_there_before_is_no_rate() {
        let mut parts = Parts::new();
        let line = |status: &str, completed, total| PullProgress { status: status.to_owned(), completed, total };
        assert_eq!(parts.take(line("pulling manifest", 0, 0)).percent(), None);
        let one = parts.take(line("pulling aa", 500, 1_000));
        assert_eq!((one.percent(), one.bytes_per_second), (Some(50), None));
        let two = parts.take(line("pulling bb", 0, 1_000));
        assert_eq!((two.completed, two.total), (500, 2_000));
        assert_eq!(parts.take(line("success", 0, 0)).percent(), Some(25));
    }
}
