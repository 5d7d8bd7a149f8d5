//! Loading as Ollama does it: one load at a time, a bound on models in memory, a busy one is waited for, and the same
//! model with other load options is loaded again.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::model::Model;
use crate::scripted::record::Record;

/// Options that a model is loaded with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LoadOptions {
    pub(super) context_tokens: u32,
    pub(super) shift: bool,
    pub(super) other: Vec<(String, Value)>,
}

/// More requests wait for a load than the server allows.
#[derive(Debug)]
pub(super) struct QueueFull;

#[derive(Debug)]
struct Runner {
    model: Model,
    options: LoadOptions,
    users: usize,
    /// When it leaves the memory while nobody uses it; `None`: never.
    expires: Option<Instant>,
    /// It was told to leave while somebody used it.
    is_leaving: bool,
    slots: Arc<Semaphore>,
}

/// All models in memory.
#[derive(Debug)]
pub(super) struct Runners {
    record: Arc<Record>,
    loaded: Mutex<Vec<Runner>>,
    freed: Notify,
    loading: tokio::sync::Mutex<()>,
    waiting: Mutex<usize>,
    pub(super) fit_max: usize,
    pub(super) queue_max: usize,
    pub(super) parallel: usize,
}

impl Runners {
    pub(super) fn new(record: Arc<Record>) -> Self {
        Self {
            record,
            loaded: Mutex::default(),
            freed: Notify::new(),
            loading: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            fit_max: 1,
            queue_max: 512,
            parallel: 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Runner>> {
        let mut loaded = self.loaded.lock().unwrap();
        let now = Instant::now();
        loaded.retain(|runner| runner.users > 0 || runner.expires.is_none_or(|end| end > now));
        loaded
    }

    /// A slot on a loaded model; loads it first where needed. `keep`: how long it stays afterwards; `None`: for ever.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        model: &Model,
        options: &LoadOptions,
        keep: Option<Duration>,
    ) -> Result<Hold, QueueFull> {
        let (mut hold, slots) = match self.join(model, options, keep) {
            Some(found) => found,
            None => self.load(model, options, keep).await?,
        };
        hold.slot = Some(slots.acquire_owned().await.expect("slots are never closed"));
        Ok(hold)
    }

    /// Uses a model that is in memory with these options.
    fn join(
        self: &Arc<Self>,
        model: &Model,
        options: &LoadOptions,
        keep: Option<Duration>,
    ) -> Option<(Hold, Arc<Semaphore>)> {
        let mut loaded = self.lock();
        let runner = loaded.iter_mut().find(|runner| runner.model.name == model.name && runner.options == *options)?;
        runner.users += 1;
        runner.is_leaving = false;
        let hold = Hold { runners: self.clone(), model: model.name.clone(), keep, slot: None };
        Some((hold, runner.slots.clone()))
    }

    async fn load(
        self: &Arc<Self>,
        model: &Model,
        options: &LoadOptions,
        keep: Option<Duration>,
    ) -> Result<(Hold, Arc<Semaphore>), QueueFull> {
        let _waits = Waits::new(self)?;
        let _turn = self.loading.lock().await;
        let evicted = loop {
            // Another one may have loaded it meanwhile.
            if let Some(found) = self.join(model, options, keep) {
                return Ok(found);
            }
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(evicted) = self.make_room(&model.name) {
                break evicted;
            }
            freed.await;
        };
        self.record.load(&model.name, options.context_tokens, evicted);
        if model.load_ms > 0 {
            tokio::time::sleep(Duration::from_millis(model.load_ms)).await;
        }
        let slots = Arc::new(Semaphore::new(self.parallel));
        self.lock().push(Runner {
            model: model.clone(),
            options: options.clone(),
            users: 1,
            expires: None,
            is_leaving: false,
            slots: slots.clone(),
        });
        self.record.changed();
        Ok((Hold { runners: self.clone(), model: model.name.clone(), keep, slot: None }, slots))
    }

    /// What has to leave for this model, taken out of memory; `None` while one of them is busy.
    fn make_room(&self, model: &str) -> Option<Vec<String>> {
        let mut loaded = self.lock();
        let mut evicted = Vec::new();
        if let Some(at) = loaded.iter().position(|runner| runner.model.name == model) {
            if loaded[at].users > 0 {
                return None;
            }
            evicted.push(loaded.remove(at).model.name);
        }
        while loaded.len() >= self.fit_max {
            let at = loaded.iter().position(|runner| runner.users == 0)?;
            evicted.push(loaded.remove(at).model.name);
        }
        Some(evicted)
    }

    /// Takes a model out of memory, or lets it leave when its last request ends.
    pub(super) fn unload(&self, model: &str) {
        for runner in self.lock().iter_mut().filter(|runner| runner.model.name == model) {
            runner.expires = Some(Instant::now());
            runner.is_leaving = true;
        }
        self.freed.notify_waiters();
        self.record.changed();
    }

    /// Takes all out of memory, as the end of the server's process does.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// Models in memory, with their windows and the time until they leave.
    pub(super) fn loaded(&self) -> Vec<(Model, u32, Option<Duration>)> {
        let now = Instant::now();
        let left = |runner: &Runner| runner.expires.map(|end| end.saturating_duration_since(now));
        self.lock().iter().map(|runner| (runner.model.clone(), runner.options.context_tokens, left(runner))).collect()
    }
}

/// One request in the queue for a load.
struct Waits<'a>(&'a Runners);

impl<'a> Waits<'a> {
    fn new(runners: &'a Runners) -> Result<Self, QueueFull> {
        let mut waiting = runners.waiting.lock().unwrap();
        if *waiting > runners.queue_max {
            return Err(QueueFull);
        }
        *waiting += 1;
        Ok(Self(runners))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        *self.0.waiting.lock().unwrap() -= 1;
    }
}

/// The use of one slot of a loaded model.
#[derive(Debug)]
pub(super) struct Hold {
    runners: Arc<Runners>,
    model: String,
    keep: Option<Duration>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.slot.take();
        {
            // Not `Runners::lock`: nothing may be dropped between the count and the new end.
            let mut loaded = self.runners.loaded.lock().unwrap();
            if let Some(runner) = loaded.iter_mut().find(|runner| runner.model.name == self.model) {
                runner.users = runner.users.saturating_sub(1);
                let keep = if runner.is_leaving { Some(Duration::ZERO) } else { self.keep };
                runner.expires = keep.and_then(|keep| Instant::now().checked_add(keep));
            }
        }
        self.runners.freed.notify_waiters();
        self.runners.record.changed();
    }
}
