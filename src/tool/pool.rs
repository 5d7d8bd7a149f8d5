//! All declared servers: each is started when it is first needed and started again, with back-off, when it has died.
//!
//! No call is ever repeated here: after [`ToolError::Died`] and [`ToolError::Timeout`] its effect is unknown, and only
//! the engine knows what may be done about that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::connection::{CallEnd, Connection};
use super::spec::ServerSpec;
use super::{ToolBox, ToolCall, ToolError, ToolResult, ToolSpec};

/// So many deaths within [`DEATHS_WINDOW`] give a server up, until the oldest of them is older than that.
pub const DEATHS_MAX: usize = 5;

/// See [`DEATHS_MAX`].
pub const DEATHS_WINDOW: Duration = Duration::from_secs(60);

/// Wait before the second start in a row that failed; doubled for each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How long a server that left a call unanswered has to give a sign of life before the next one.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerState {
    /// Not needed so far.
    Idle,
    /// On its way up, or waiting to be started again.
    Starting,
    /// Answers calls.
    Running,
    /// Dead; the next call starts it again.
    Dead,
    /// Died too often; no start for a while.
    GivenUp,
    /// Cannot be started as it is declared.
    Refused,
    /// Closed for good.
    Closed,
}

/// One line of a listing of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The number of its process, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Calls without an answer so far.
    pub in_flight: usize,
    /// What it is doing.
    pub state: ServerState,
    /// Why it is dead, given up or refused.
    pub note: Option<String>,
}

/// The declared servers. Cheap to share behind an [`Arc`].
#[derive(Debug)]
pub struct Servers {
    slots: BTreeMap<String, Slot>,
    refused: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Slot {
    spec: ServerSpec,
    /// Held while the server is started, so that it is started once.
    life: tokio::sync::Mutex<Life>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Life {
    connection: Option<Arc<Connection>>,
    deaths: VecDeque<Instant>,
    is_closed: bool,
    has_started: bool,
}

/// What [`Servers::status`] shows, readable at any time.
#[derive(Debug)]
struct Seen {
    state: ServerState,
    restarts: u32,
    connection: Option<Arc<Connection>>,
    note: Option<String>,
}

impl Servers {
    /// The given servers; nothing is started. Of two with one name the later counts.
    #[must_use]
    pub fn new(specs: impl IntoIterator<Item = ServerSpec>) -> Self {
        let slot = |spec: ServerSpec| (spec.name.clone(), Slot::new(spec));
        Self { slots: specs.into_iter().map(slot).collect(), refused: BTreeMap::new() }
    }

    /// Adds servers that are declared but cannot be started, each with the reason.
    #[must_use]
    pub fn with_refused(mut self, refused: impl IntoIterator<Item = (String, String)>) -> Self {
        self.refused.extend(refused.into_iter().filter(|(name, _)| !self.slots.contains_key(name)));
        self
    }

    /// Splits `server.tool` at the longest declared server name.
    #[must_use]
    pub fn split<'a>(&self, qualified: &'a str) -> Option<(&'a str, &'a str)> {
        let is_known = |server: &str| self.slots.contains_key(server) || self.refused.contains_key(server);
        let dots = qualified.rmatch_indices('.').map(|(at, _)| at);
        dots.map(|at| (&qualified[..at], &qualified[at + 1..]))
            .find(|(server, tool)| is_known(server) && !tool.is_empty())
    }

    /// What each server is doing.
    #[must_use]
    pub fn status(&self) -> Vec<ServerStatus> {
        let mut all: Vec<ServerStatus> = self.slots.values().map(Slot::status).collect();
        all.extend(self.refused.iter().map(|(name, reason)| ServerStatus {
            name: name.clone(),
            pid: None,
            restarts: 0,
            in_flight: 0,
            state: ServerState::Refused,
            note: Some(reason.clone()),
        }));
        all
    }

    /// Closes all servers, in parallel, and starts none any more. Takes at most about 3 s beyond starts under way.
    pub async fn close_all(&self) {
        join_all(self.slots.values().map(Slot::close)).await;
    }

    fn slot(&self, server: &str) -> Result<&Slot, ToolError> {
        if let Some(reason) = self.refused.get(server) {
            return Err(ToolError::NotStarted { server: server.to_owned(), message: reason.clone() });
        }
        self.slots
            .get(server)
            .ok_or_else(|| ToolError::UnknownServer { server: server.to_owned(), known: self.servers() })
    }
}

impl ToolBox for Servers {
    fn servers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.slots.keys().chain(self.refused.keys()).cloned().collect();
        names.sort();
        names
    }

    fn tools<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Arc<Vec<ToolSpec>>, ToolError>> {
        async move { self.slot(server)?.connection().await?.tools().await }.boxed()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolResult, ToolError>> {
        async move { self.slot(&call.server)?.call(call).await }.boxed()
    }
}

impl Slot {
    fn new(spec: ServerSpec) -> Self {
        let seen = Seen { state: ServerState::Idle, restarts: 0, connection: None, note: None };
        Self { spec, life: tokio::sync::Mutex::default(), seen: Mutex::new(seen) }
    }

    async fn call(&self, call: &ToolCall) -> Result<ToolResult, ToolError> {
        // A server that was gone before anything was sent is started again; each round waits and counts as a death.
        for _ in 0..=DEATHS_MAX {
            let connection = self.connection().await?;
            let outcome = connection.try_call(call).await;
            match outcome {
                Ok(result) => return Ok(result),
                Err(CallEnd::NotSent) => {}
                Err(CallEnd::Failed(error)) => {
                    if let ToolError::Died { message, .. } = &error {
                        self.bury(&connection, message).await;
                    }
                    return Err(error);
                }
            }
        }
        Err(self.not_started("it dies before it takes a call"))
    }

    /// The running connection; starts or restarts the server if needed.
    async fn connection(&self) -> Result<Arc<Connection>, ToolError> {
        let mut life = self.life.lock().await;
        if life.is_closed {
            return Err(self.not_started("it was closed"));
        }
        if let Some(connection) = life.connection.clone() {
            if connection.has_ended() {
                let message = connection.obituary().await;
                self.lose(&mut life, &message);
            } else if connection.is_suspect()
                && connection.in_flight() == 0
                && !connection.answers_within(PING_TIMEOUT).await
            {
                self.lose(&mut life, "it gave no sign of life after a call without an answer, and was killed");
            } else {
                return Ok(connection);
            }
        }
        self.start(&mut life).await
    }

    async fn start(&self, life: &mut Life) -> Result<Arc<Connection>, ToolError> {
        let now = Instant::now();
        while life.deaths.front().is_some_and(|&death| now.duration_since(death) >= DEATHS_WINDOW) {
            life.deaths.pop_front();
        }
        if life.deaths.len() >= DEATHS_MAX {
            let left = DEATHS_WINDOW.saturating_sub(now.duration_since(life.deaths[0])).as_secs() + 1;
            let last = self.seen().note.clone().unwrap_or_default();
            self.show(|seen| seen.state = ServerState::GivenUp);
            let window = DEATHS_WINDOW.as_secs();
            return Err(self.not_started(&format!(
                "given up after {DEATHS_MAX} deaths in {window} s, tried again in {left} s; the last: {last}"
            )));
        }
        let restarted = u32::from(life.has_started);
        self.show(|seen| {
            seen.state = ServerState::Starting;
            seen.restarts += restarted;
        });
        let mut unfinished = Unfinished { slot: self, is_over: false };
        if let Some(rounds) = u32::try_from(life.deaths.len()).ok().and_then(|deaths| deaths.checked_sub(1)) {
            tokio::time::sleep(BACKOFF_MAX.min(BACKOFF_FIRST * 2_u32.pow(rounds))).await;
        }
        life.has_started = true;
        let started = Connection::start(self.spec.clone()).await;
        unfinished.is_over = true;
        match started {
            Ok(connection) => {
                let connection = Arc::new(connection);
                life.connection = Some(Arc::clone(&connection));
                self.show(|seen| {
                    seen.state = ServerState::Running;
                    seen.connection = Some(Arc::clone(&connection));
                });
                Ok(connection)
            }
            Err(error) => {
                let message = match &error {
                    ToolError::NotStarted { message, .. } => message.clone(),
                    other => other.to_string(),
                };
                self.lose(life, &message);
                Err(error)
            }
        }
    }

    /// Counts a death of the connection that a call saw, once, however many calls saw it.
    async fn bury(&self, dead: &Arc<Connection>, message: &str) {
        let mut life = self.life.lock().await;
        if life.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, dead)) {
            self.lose(&mut life, message);
        }
    }

    fn lose(&self, life: &mut Life, message: &str) {
        if let Some(connection) = life.connection.take() {
            connection.kill();
        }
        life.deaths.push_back(Instant::now());
        tracing::warn!(server = self.spec.name, message, "a tool server died");
        self.show(|seen| {
            seen.state = ServerState::Dead;
            seen.connection = None;
            seen.note = Some(message.to_owned());
        });
    }

    async fn close(&self) {
        // Calls in flight do not hold the lock, a start under way does: it has a limit of its own.
        let mut life = self.life.lock().await;
        life.is_closed = true;
        let connection = life.connection.take();
        self.show(|seen| {
            seen.state = ServerState::Closed;
            seen.connection = None;
        });
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    fn status(&self) -> ServerStatus {
        let seen = self.seen();
        let has_ended = seen.connection.as_ref().is_some_and(|connection| connection.has_ended());
        let running = seen.connection.as_ref().filter(|_| !has_ended);
        ServerStatus {
            name: self.spec.name.clone(),
            pid: running.map(|connection| connection.pid()),
            restarts: seen.restarts,
            in_flight: running.map_or(0, |connection| connection.in_flight()),
            state: if has_ended { ServerState::Dead } else { seen.state },
            note: seen.note.clone(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
    }

    fn not_started(&self, message: &str) -> ToolError {
        ToolError::NotStarted { server: self.spec.name.clone(), message: message.to_owned() }
    }
}

/// Takes `Starting` back when the caller that started the server went away in the middle.
struct Unfinished<'a> {
    slot: &'a Slot,
    is_over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.slot.show(|seen| seen.state = ServerState::Dead);
        }
    }
}
