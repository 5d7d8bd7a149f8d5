//! What the actor of a server shows to those who may not wait for it: its state in words, who is away, measurements.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::breaker::Away;
use super::measure::{History, Measured, Samples};
use super::residence::Resident;
use crate::engine::tree::{TreeNode, row};
use crate::model::Reply;

/// The state of one server, as of its last message.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Calls that may run at once.
    pub slots: usize,
    /// Calls that run.
    pub running: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// What is in memory.
    pub residents: Vec<Resident>,
    /// Loads of a model in place of another, since its actor was started.
    pub swaps: u64,
    /// The breaker of the server.
    pub away: Option<Away>,
    /// The breakers of its models that are not closed.
    pub models_away: BTreeMap<String, Away>,
}

/// One server's board. It outlives the actor.
#[derive(Debug, Default)]
pub struct Board {
    shown: Mutex<Shown>,
    history: Mutex<History>,
    restarts: Mutex<u32>,
}

impl Board {
    /// Puts up a new state.
    pub fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// The state.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The actor was started again: nothing runs or waits, and nothing is known of the server.
    pub fn restarted(&self) {
        *self.restarts.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.show(Shown::default());
    }

    /// Adds an answer to the measurements; gives what loading the model costs.
    pub fn measure(&self, model: &str, reply: &Reply, loads: bool) -> Option<u64> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.add(model, reply, loads);
        history.load_ms(model)
    }

    /// The measurements.
    #[must_use]
    pub fn measured(&self, server: &str) -> Vec<Measured> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).measured(server)
    }

    /// Every value that was measured.
    #[must_use]
    pub fn samples(&self, server: &str) -> Vec<Samples> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).samples(server)
    }

    /// The server and its models that do not answer now, as rungs name them.
    #[must_use]
    pub fn away(&self, server: &str, now_ms: u64) -> Vec<String> {
        let shown = self.shown();
        let own = shown.away.filter(|away| away.holds(now_ms)).map(|_| server.to_owned());
        let models = shown.models_away.iter().filter(|(_, away)| away.holds(now_ms));
        own.into_iter().chain(models.map(|(model, _)| format!("{server}:{model}"))).collect()
    }

    /// Its line in `show --tree`.
    #[must_use]
    pub fn node(&self, server: &str, now_ms: u64) -> TreeNode {
        TreeNode {
            name: server.to_owned(),
            kind: row("model-server").restart.word().to_owned(),
            restarts: *self.restarts.lock().unwrap_or_else(PoisonError::into_inner),
            state: self.state(server, now_ms),
            children: Vec::new(),
        }
    }

    fn state(&self, server: &str, now_ms: u64) -> String {
        let shown = self.shown();
        let mut parts = Vec::new();
        if let Some(away) = shown.away.filter(|away| away.holds(now_ms)) {
            parts.push(format!("breaker open {}", until(away, now_ms)));
        }
        parts.push(match (shown.running, shown.waiting) {
            (0, 0) => "idle".to_owned(),
            (running, 0) => format!("{running} of {} slots", shown.slots),
            (running, waiting) => format!("{running} of {} slots, {waiting} wait", shown.slots),
        });
        for resident in &shown.residents {
            parts.push(match resident.context_tokens() {
                Some(tokens) => format!("{} loaded for {tokens} tokens", resident.model),
                None => format!("{} loaded", resident.model),
            });
        }
        if shown.swaps > 0 {
            parts.push(format!("{} swap{}", shown.swaps, if shown.swaps == 1 { "" } else { "s" }));
        }
        for (model, away) in shown.models_away.iter().filter(|(_, away)| away.holds(now_ms)) {
            parts.push(format!("{model}: breaker open {}", until(*away, now_ms)));
        }
        for measured in self.measured(server) {
            let mut speed = Vec::new();
            speed.extend(measured.first_token_ms.map(|ms| format!("first token {ms} ms")));
            speed.extend(measured.tokens_per_second.map(|speed| format!("{speed:.1} tokens/s")));
            speed.extend(measured.load_ms.map(|ms| format!("load {ms} ms")));
            if !speed.is_empty() {
                parts.push(format!("{}: {}", measured.model, speed.join(", ")));
            }
        }
        parts.join(" · ")
    }
}

/// Until when something is not asked, in words that follow "not asked" or "open".
#[must_use]
pub fn until(away: Away, now_ms: u64) -> String {
    match away {
        Away::Until(until_ms) => {
            let seconds = until_ms.saturating_sub(now_ms).div_ceil(1_000);
            let at = i64::try_from(until_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            match at {
                Some(at) => format!("until {} UTC (for {seconds} s)", at.strftime("%H:%M:%S")),
                None => format!("for {seconds} s"),
            }
        }
        Away::Probed => "until the call that tries it has ended".to_owned(),
    }
}
