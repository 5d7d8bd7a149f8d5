//! The order of calls to one server. Values in, decision out; time is a parameter.
//!
//! Loading a model costs seconds to minutes, so calls are grouped by model and window. What is loaded goes first; its
//! group gives way when it has nothing waiting, or when a call of another group has waited for
//! [`Policy::group_wait_max_ms`]. A group that was overdue when its turn came is a *batch*: all of it, as it stood, is
//! served before a call of the same askers takes the turn back, within [`Policy::turn_max_ms`]. So one run that needs two
//! models for each item swaps a few times and not for each item. An asker who has nothing in the batch is not held back
//! by it for longer than the bound, counted from its last call that was served. Within a group askers take turns, each in
//! its own order.
//!
//! | loaded group waits | another is overdue | and | next |
//! | --- | --- | --- | --- |
//! | yes | no | | the loaded group |
//! | yes | yes | its asker has calls in the batch, or was served within the bound | the loaded group |
//! | yes | yes | otherwise | swap, once nothing runs |
//! | no | | the last call of the loaded group has just ended, and a load is dear | look again in a moment |
//! | no | | otherwise | swap to the oldest, once nothing runs |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::residence::{Ending, Residence, Resident, key_of};
use crate::model::Loaded;

/// One call, for as long as the broker knows it.
pub type Ticket = u64;

/// Bounds of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a call may wait because another group is served.
    pub group_wait_max_ms: u64,
    /// How long a batch is served at most before those of the same asker who are overdue by then take the turn.
    pub turn_max_ms: u64,
    /// How long at most a server stays idle for the next call of the loaded group before another model is loaded.
    pub linger_ms_max: u64,
    /// After this time the server is asked again what is in memory before a model is loaded.
    pub loaded_fresh_ms: u64,
    /// So many calls wait for one server; further ones are told that it is busy.
    pub waiting_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            group_wait_max_ms: 120_000,
            turn_max_ms: 600_000,
            linger_ms_max: 2_000,
            loaded_fresh_ms: 10_000,
            waiting_max: 1_024,
        }
    }
}

/// The linger is this part of what the load costs.
const LINGER_PART: u64 = 5;
/// So many askers are remembered for their turns.
const ASKERS_MAX: usize = 256;

/// A call that waits.
#[derive(Clone, Debug)]
struct Waiting {
    ticket: Ticket,
    asker: String,
    model: String,
    need: u32,
    since_ms: u64,
    arrival: u64,
}

#[derive(Clone, Debug)]
struct Running {
    model: String,
    size: u32,
    /// For a load: what was in memory before.
    before: Option<Vec<Resident>>,
}

/// The model that was loaded last, for its batch.
#[derive(Clone, Debug)]
struct Turn {
    model: String,
    began_ms: u64,
    /// The last arrival that belongs to its batch; `None`: it was not overdue.
    batch_end: Option<u64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this call.
    Start {
        /// The call.
        ticket: Ticket,
        /// The window to ask for.
        context_tokens: u32,
        /// It loads its model.
        loads: bool,
    },
    /// Nothing before this time, if nothing happens until then.
    LookAgain {
        /// In milliseconds since the epoch.
        at_ms: u64,
    },
    /// Nothing until something happens.
    Nothing,
}

/// The calls of one server.
#[derive(Clone, Debug)]
pub struct Queue {
    policy: Policy,
    slots: usize,
    /// By arrival.
    waiting: VecDeque<Waiting>,
    running: BTreeMap<Ticket, Running>,
    memory: Residence,
    turn: Option<Turn>,
    arrivals: u64,
    starts: u64,
    /// The last start of each asker: its number, and when.
    served: BTreeMap<String, (u64, u64)>,
    last_end_ms: Option<u64>,
    load_ms: BTreeMap<String, u64>,
    swaps: u64,
    /// What the last swap is thought to have replaced, until the server says what is in memory.
    replaced: Vec<Resident>,
    /// False: this kind of server does not say what is in memory.
    tells: bool,
    told_at_ms: Option<u64>,
    /// The server is being asked what is in memory. No load begins meanwhile, so its answer is never from before one.
    is_asking: bool,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(policy: Policy, slots: usize) -> Self {
        Self {
            policy,
            slots: slots.max(1),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            memory: Residence::default(),
            turn: None,
            arrivals: 0,
            starts: 0,
            served: BTreeMap::new(),
            last_end_ms: None,
            load_ms: BTreeMap::new(),
            swaps: 0,
            replaced: Vec::new(),
            tells: true,
            told_at_ms: None,
            is_asking: false,
        }
    }

    /// Calls that may run at once.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Calls that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Loads of a model in place of another.
    #[must_use]
    pub const fn swaps(&self) -> u64 {
        self.swaps
    }

    /// What is in memory.
    #[must_use]
    pub fn residents(&self) -> &[Resident] {
        self.memory.residents()
    }

    /// Takes a call; false when too many wait.
    #[must_use]
    pub fn push(&mut self, ticket: Ticket, asker: &str, model: &str, need: u32, now_ms: u64) -> bool {
        if self.waiting.len() >= self.policy.waiting_max {
            return false;
        }
        self.arrivals += 1;
        self.waiting.push_back(Waiting {
            ticket,
            asker: asker.to_owned(),
            model: key_of(model).to_owned(),
            need,
            since_ms: now_ms,
            arrival: self.arrivals,
        });
        true
    }

    /// Forgets a call that waits; false when it does not.
    pub fn remove(&mut self, ticket: Ticket) -> bool {
        let at = self.waiting.iter().position(|waiting| waiting.ticket == ticket);
        at.and_then(|at| self.waiting.remove(at)).is_some()
    }

    /// Takes out all calls that wait, or those for one model.
    pub fn take_waiting(&mut self, model: Option<&str>) -> Vec<Ticket> {
        let is_meant = |waiting: &Waiting| model.is_none_or(|model| waiting.model == key_of(model));
        let taken = self.waiting.iter().filter(|waiting| is_meant(waiting)).map(|waiting| waiting.ticket).collect();
        self.waiting.retain(|waiting| !is_meant(waiting));
        taken
    }

    /// Notes what the loading of a model costs.
    pub fn learn_load(&mut self, model: &str, load_ms: u64) {
        self.load_ms.insert(key_of(model).to_owned(), load_ms);
    }

    /// Notes the longest window that a model was trained for.
    pub fn learn_trained(&mut self, model: &str, context_tokens_max: Option<u32>) {
        self.memory.learn_trained(model, context_tokens_max);
    }

    /// Whether the server should be asked what is in memory: something waits for a load, and what is known is old. Says
    /// so once; the answer goes to [`Queue::learn`].
    pub fn wants_to_know(&mut self, now_ms: u64) -> bool {
        let wants = !self.is_asking && self.is_unsure(now_ms);
        self.is_asking |= wants;
        wants
    }

    fn is_unsure(&self, now_ms: u64) -> bool {
        let is_old = self.told_at_ms.is_none_or(|at_ms| at_ms.saturating_add(self.policy.loaded_fresh_ms) <= now_ms);
        let is_loading = self.running.values().any(|running| running.before.is_some());
        self.tells && is_old && !is_loading && self.waiting.iter().any(|waiting| !self.fits(waiting))
    }

    /// What the server says is in memory: `Err` when it could not be asked, `Ok(None)` when it never says.
    pub fn learn(&mut self, loaded: Result<Option<&[Loaded]>, ()>, now_ms: u64) {
        self.is_asking = false;
        self.told_at_ms = Some(now_ms);
        match loaded {
            Ok(None) => self.tells = false,
            Ok(Some(loaded)) => {
                self.memory.learn(loaded, |model| self.running.values().any(|running| running.model == model));
                let replaced = std::mem::take(&mut self.replaced);
                if !replaced.is_empty() && replaced.iter().all(|one| self.memory.fits(&one.model, 0)) {
                    // All of them fit at once: nothing had to leave.
                    self.swaps -= 1;
                }
            }
            Err(()) => {}
        }
    }

    /// What to do next. Ask again until it is not [`Next::Start`].
    pub fn next(&mut self, now_ms: u64) -> Next {
        if self.running.len() >= self.slots || self.waiting.is_empty() {
            return Next::Nothing;
        }
        let fitting = self.turn_of(|queue, waiting| queue.fits(waiting));
        let swap = match fitting {
            Some(_) => self.due_swap(now_ms),
            None => Some(self.due_swap(now_ms).unwrap_or(0)),
        };
        let Some(at) = swap else {
            let at = fitting.expect("something waits, and all of it fits");
            return self.start(at, now_ms);
        };
        if !self.running.is_empty() || self.is_asking || self.is_unsure(now_ms) {
            return Next::Nothing;
        }
        match self.lingers_until(at, now_ms) {
            Some(at_ms) if fitting.is_none() => Next::LookAgain { at_ms },
            _ => self.start_load(at, now_ms),
        }
    }

    /// A call that was started has ended.
    pub fn end(&mut self, ticket: Ticket, ending: Ending, now_ms: u64) {
        let Some(running) = self.running.remove(&ticket) else { return };
        if running.before.is_some() {
            // What had to leave for it is known to the server alone.
            self.told_at_ms = None;
        }
        self.memory.end(&running.model, running.size, ending, running.before);
        self.last_end_ms = Some(now_ms);
    }

    fn fits(&self, waiting: &Waiting) -> bool {
        self.memory.fits(&waiting.model, waiting.need)
    }

    fn is_overdue(&self, waiting: &Waiting, now_ms: u64) -> bool {
        waiting.since_ms.saturating_add(self.policy.group_wait_max_ms) <= now_ms
    }

    /// Among some that wait: the oldest call of the asker who was served longest ago.
    fn turn_of(&self, is_meant: impl Fn(&Self, &Waiting) -> bool) -> Option<usize> {
        let meant = self.waiting.iter().enumerate().filter(|(_, waiting)| is_meant(self, waiting));
        let turn = |(_, waiting): &(usize, &Waiting)| self.served.get(&waiting.asker).map_or(0, |(start, _)| *start);
        meant.min_by_key(turn).map(|(at, _)| at)
    }

    /// The overdue call that the loaded group has to give way to: of an asker who was not served for the bound, else the
    /// oldest, unless a batch is served.
    fn due_swap(&self, now_ms: u64) -> Option<usize> {
        let is_due = |waiting: &Waiting| self.is_overdue(waiting, now_ms) && !self.fits(waiting);
        let first = self.waiting.iter().position(is_due)?;
        let batch = self.askers_of_batch(now_ms);
        let starves = |waiting: &Waiting| {
            is_due(waiting) && !batch.contains(waiting.asker.as_str()) && !self.was_served(&waiting.asker, now_ms)
        };
        let starving = self.waiting.iter().position(starves);
        starving.or_else(|| batch.is_empty().then_some(first))
    }

    fn was_served(&self, asker: &str, now_ms: u64) -> bool {
        let at_ms = self.served.get(asker).map(|(_, at_ms)| *at_ms);
        at_ms.is_some_and(|at_ms| at_ms.saturating_add(self.policy.group_wait_max_ms) > now_ms)
    }

    /// Who still has calls in the batch that is served.
    fn askers_of_batch(&self, now_ms: u64) -> BTreeSet<&str> {
        let Some(Turn { model, began_ms, batch_end: Some(batch_end) }) = &self.turn else { return BTreeSet::new() };
        if began_ms.saturating_add(self.policy.turn_max_ms) <= now_ms {
            return BTreeSet::new();
        }
        let batch = self.waiting.iter().take_while(|waiting| waiting.arrival <= *batch_end);
        let batch = batch.filter(|waiting| waiting.model == *model && self.fits(waiting));
        batch.map(|waiting| waiting.asker.as_str()).collect()
    }

    /// An attempt asks the same model turn by turn: before a dear load its next call is given a moment to come.
    fn lingers_until(&self, at: usize, now_ms: u64) -> Option<u64> {
        let waiting = &self.waiting[at];
        let load_ms = self.load_ms.get(&waiting.model).copied().unwrap_or(0);
        let linger_ms = (load_ms / LINGER_PART).min(self.policy.linger_ms_max);
        let until_ms = self.last_end_ms?.saturating_add(linger_ms);
        (now_ms < until_ms && !self.is_overdue(waiting, now_ms)).then_some(until_ms)
    }

    fn start(&mut self, at: usize, now_ms: u64) -> Next {
        let waiting = self.waiting.remove(at).expect("its place was found above");
        let size = self.memory.size_in_memory(&waiting.model, waiting.need);
        self.run(waiting, size, None, now_ms)
    }

    fn start_load(&mut self, at: usize, now_ms: u64) -> Next {
        let is_batch = self.is_overdue(&self.waiting[at], now_ms);
        let waiting = self.waiting.remove(at).expect("its place was found above");
        // One load for all that wait for this model: the largest of them decides.
        let others = self.waiting.iter().filter(|other| other.model == waiting.model).map(|other| other.need);
        let need = others.fold(waiting.need, u32::max);
        let size = self.memory.raised(&waiting.model, need);
        let before = self.memory.begin_load(&waiting.model, size);
        self.replaced = before.iter().filter(|resident| resident.model != waiting.model).cloned().collect();
        self.swaps += u64::from(!self.replaced.is_empty());
        let batch_end = is_batch.then_some(self.arrivals);
        self.turn = Some(Turn { model: waiting.model.clone(), began_ms: now_ms, batch_end });
        self.run(waiting, size, Some(before), now_ms)
    }

    fn run(&mut self, waiting: Waiting, size: u32, before: Option<Vec<Resident>>, now_ms: u64) -> Next {
        self.starts += 1;
        if self.served.len() >= ASKERS_MAX {
            let waits: BTreeSet<&str> = self.waiting.iter().map(|waiting| waiting.asker.as_str()).collect();
            self.served.retain(|asker, _| waits.contains(asker.as_str()));
        }
        self.served.insert(waiting.asker, (self.starts, now_ms));
        let loads = before.is_some();
        let context_tokens = size.max(waiting.need);
        self.running.insert(waiting.ticket, Running { model: waiting.model, size: context_tokens, before });
        Next::Start { ticket: waiting.ticket, context_tokens, loads }
    }
}

#[cfg(test)]
mod tests;
