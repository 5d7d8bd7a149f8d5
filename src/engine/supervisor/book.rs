//! The supervisor's book: which actors are in flight, for what, until when.

use std::collections::{BTreeMap, HashMap};

use ractor::{ActorId, ActorRef};

use super::WorkKey;
use crate::domain::run::RunState;
use crate::engine::attempt::AttemptMessage;
use crate::engine::tree::{TreeNode, row};

/// How an actor ended without its outcome.
#[derive(Clone, Debug)]
pub enum Loss {
    /// Stopped or killed.
    Ended,
    /// Panicked or failed.
    Panicked(String),
}

/// One actor in flight.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) actor: ActorRef<AttemptMessage>,
    pub(super) name: String,
    pub(super) role: &'static str,
    /// Number of the attempt, once its intent is recorded.
    pub(super) attempt: Option<u32>,
    pub(super) is_acting: bool,
    pub(super) is_overdue: bool,
    pub(super) since_ms: u64,
    pub(super) deadline_ms: u64,
    /// Given back when the entry is dropped.
    pub(super) _permit: tokio::sync::OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<WorkKey, Entry>,
    by_actor: HashMap<ActorId, WorkKey>,
}

impl Book {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, key: WorkKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn open(&mut self, key: WorkKey, entry: Entry) {
        self.by_actor.insert(entry.actor.get_id(), key);
        self.entries.insert(key, entry);
    }

    /// The actor is still there for what it was made for.
    pub(super) fn is_of(&self, key: WorkKey, actor: ActorId) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.actor.get_id() == actor)
    }

    /// Its outcome is here: the actor may go.
    pub(super) fn close(&mut self, key: WorkKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.by_actor.remove(&entry.actor.get_id());
        entry.actor.stop(None);
        Some(entry)
    }

    /// The actor is gone; gives its entry if its outcome is still missing.
    pub(super) fn close_actor(&mut self, actor: ActorId) -> Option<(WorkKey, Entry)> {
        let key = self.by_actor.remove(&actor)?;
        Some((key, self.entries.remove(&key)?))
    }

    /// The intent of an attempt is decided; false when nobody is there to act on it.
    pub(super) fn record_attempt(&mut self, key: WorkKey, attempt: u32) -> bool {
        match self.entries.get_mut(&key) {
            Some(entry) => {
                entry.attempt = Some(attempt);
                true
            }
            None => false,
        }
    }

    /// It acts by itself, because it only reads.
    pub(super) fn reads(&mut self, key: WorkKey, deadline_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.is_acting = true;
            entry.deadline_ms = deadline_ms;
        }
    }

    /// The intent is durable.
    pub(super) fn act(&mut self, key: WorkKey, deadline_ms: u64) {
        self.reads(key, deadline_ms);
        if let Some(entry) = self.entries.get(&key) {
            // An actor that is gone already is found by its notice of death.
            let _ = entry.actor.cast(AttemptMessage::Act);
        }
    }

    pub(super) fn kill_overdue(&mut self, now_ms: u64) {
        for entry in self.entries.values_mut().filter(|entry| entry.deadline_ms <= now_ms && !entry.is_overdue) {
            entry.is_overdue = true;
            entry.actor.kill();
        }
    }

    pub(super) fn kill_all(&mut self) {
        for entry in self.entries.values() {
            entry.actor.kill();
        }
    }

    /// All but those that move accepted files: they end by themselves.
    pub(super) fn kill_attempts(&mut self) {
        for (_, entry) in self.entries.iter().filter(|(key, _)| !matches!(key, WorkKey::Place(_))) {
            entry.actor.kill();
        }
    }

    pub(super) fn nodes(&self, run: &RunState, now_ms: u64) -> Vec<TreeNode> {
        let node = |(key, entry): (&WorkKey, &Entry)| {
            let seconds = now_ms.saturating_sub(entry.since_ms) / 1000;
            let (what, state) = match key {
                WorkKey::Open(step) => (run.step(*step).id.to_string(), "working out its items"),
                WorkKey::JudgeStep(step) => (run.step(*step).id.to_string(), "checking the whole step"),
                WorkKey::Judge(task) => (format!("{}[{}]", run.step(task.step).id, task.item), "checking an output"),
                WorkKey::Place(task) => {
                    (format!("{}[{}]", run.step(task.step).id, task.item), "moving its files into place")
                }
                WorkKey::Task(task) => {
                    let item = run.tasks.get(task).map_or_else(|| task.item.to_string(), |task| task.key.clone());
                    let state = if entry.is_acting { "acting" } else { "preparing" };
                    (format!("{}[{item}]", run.step(task.step).id), state)
                }
            };
            let attempt = entry.attempt.map_or_else(String::new, |number| format!(" attempt {number}"));
            TreeNode {
                name: format!("{} {what}{attempt}", entry.role),
                kind: row("attempt").restart.word().to_owned(),
                restarts: 0,
                state: format!("{state}, {seconds} s"),
                children: Vec::new(),
            }
        };
        self.entries.iter().map(node).collect()
    }
}
