//! The command of `notify`: told when a run ends, waits for a person, or the day's cost passes `budget.warn_at_usd`.
//!
//! It hangs on the durable events as a screen does. It never blocks a run and cannot fail one: notices go to a thread of
//! its own, which starts the command with limits and says once that it failed.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::time::Duration;

use tokio::sync::mpsc;

use self::process::{Program, work};
use super::now_ms;
use super::place::Standing;
use crate::domain::event::{Event, Stamped};
use crate::domain::failure::NEVER_MS;
use crate::domain::ids::{AskId, RunId};
use crate::domain::run::RunState;
use crate::engine::EventReader;
use crate::engine::supervisor::RunExit;
use crate::report::notice::{Notice, passed_text};

/// Notices on their way. More than that means that the command hangs: they are dropped, and it is said.
const WAITING_MAX: usize = 32;
/// Between two notices about questions of one run.
const ASKS_EVERY_MS: u64 = 60_000;
/// For starting and ending the command, beyond its own limit.
const GRACE: Duration = Duration::from_secs(2);

/// Says a line to whoever watches.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Tells the command of `notify`, where there is one.
pub struct Notifier {
    desk: Mutex<Option<Desk>>,
    told: Mutex<BTreeMap<RunId, Told>>,
    say: Say,
    project: String,
}

/// The thread that starts the command.
struct Desk {
    notices: mpsc::Sender<Notice>,
    ended: blocking::Receiver<()>,
    limit: Duration,
    has_dropped: bool,
}

/// What was told of one run.
#[derive(Debug, Default)]
struct Told {
    asks: BTreeSet<AskId>,
    at_ms: u64,
}

impl Notifier {
    /// From the configuration. Without `notify` nothing is started, and only the person who watches is told of money.
    #[must_use]
    pub fn new(standing: &Standing, say: Say) -> Self {
        let desk = Program::of(standing).and_then(|program| Desk::open(program, say.clone()));
        Self { desk: Mutex::new(desk), told: Mutex::default(), say, project: standing.folder().display().to_string() }
    }

    /// The day's cost has passed the amount at which it is said; both in millionths of a dollar.
    pub fn budget_passed(&self, run: RunId, today: u64, warn_at: u64) {
        (self.say)(&passed_text(today, warn_at));
        self.tell(Notice::budget_passed(&run.to_string(), today, warn_at, now_ms(), &self.project));
    }

    /// A run has left the engine, and `state` is what it left.
    pub fn left(&self, state: &RunState, exit: &RunExit) {
        let is_untold = || {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let asks = told.get(&state.head.run).map(|told| &told.asks);
            state.head.asks.keys().any(|ask| asks.is_none_or(|asks| !asks.contains(ask)))
        };
        if *exit == RunExit::Waiting && is_untold() {
            self.tell(Notice::run_waits(state, now_ms(), &self.project));
        }
    }

    /// A run has left, and only a limit keeps it from going on.
    pub fn parked(&self, state: &RunState, why: &str, until_ms: u64) {
        let until_ms = Some(until_ms).filter(|until_ms| *until_ms != NEVER_MS);
        self.tell(Notice::run_parked(state, why, until_ms, now_ms(), &self.project));
    }

    /// The engine stopped in the middle of a run.
    pub fn stopped(&self, run: RunId, reason: &str) {
        self.tell(Notice::run_stopped(&run.to_string(), reason, now_ms(), &self.project));
    }

    /// Waits for what is on its way, no longer than the command's own limit. What is told later is not sent.
    pub fn finish(&self) {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Desk { notices, ended, limit, .. }) = desk else { return };
        drop(notices);
        // Either way it is over: a command that is still there ends with this process.
        let _ = ended.recv_timeout(limit + GRACE);
    }

    fn tell(&self, notice: Notice) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(desk) = desk.as_mut() else { return };
        if desk.notices.try_send(notice).is_err() && !std::mem::replace(&mut desk.has_dropped, true) {
            (self.say)("`notify` is too slow: notices are left out from here on");
        }
    }

    /// Whether open questions are to be told now; they count as told then.
    fn takes_asks(&self, state: &RunState, at_ms: u64) -> bool {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.entry(state.head.run).or_default();
        let is_new = state.head.asks.keys().any(|ask| !told.asks.contains(ask));
        let is_time = told.asks.is_empty() || at_ms.saturating_sub(told.at_ms) >= ASKS_EVERY_MS;
        if is_new && is_time {
            told.asks.extend(state.head.asks.keys().copied());
            told.at_ms = at_ms;
        }
        is_new && is_time
    }
}

impl EventReader for Notifier {
    fn durable(&self, state: &RunState, events: &[Stamped]) {
        if !state.head.asks.is_empty() && state.head.end.is_none() && self.takes_asks(state, state.head.last_ms) {
            self.tell(Notice::run_waits(state, now_ms(), &self.project));
        }
        if events.iter().any(|stamped| matches!(stamped.event, Event::RunEnded { .. })) {
            self.tell(Notice::run_ended(state, now_ms(), &self.project));
        }
    }
}

impl Desk {
    /// `None` where no thread can be had: it is said, and nobody is told of anything.
    fn open(program: Program, say: Say) -> Option<Self> {
        let (notices, queue) = mpsc::channel(WAITING_MAX);
        let (end, ended) = blocking::channel();
        let limit = program.limit;
        let said = say.clone();
        let run = move || {
            work(&program, queue, &said);
            drop(end);
        };
        match std::thread::Builder::new().name("notify".to_owned()).spawn(run) {
            Ok(_) => Some(Self { notices, ended, limit, has_dropped: false }),
            Err(error) => {
                say(&format!("`notify` cannot be used: {error}"));
                None
            }
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("project", &self.project).finish_non_exhaustive()
    }
}
