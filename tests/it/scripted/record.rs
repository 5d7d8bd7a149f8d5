//! Everything that was asked, in order, and a way to wait for it that needs no sleeping.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::asked::{Asked, End, Load};

/// Longest wait of [`Record::wait_until`]: it only bounds a failing test.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The record of one server.
#[derive(Debug)]
pub(crate) struct Record {
    started: Instant,
    inner: Mutex<Inner>,
    /// Grows with every change.
    pub(crate) changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: Vec<Asked>,
    loads: Vec<Load>,
    at_once: usize,
    most_at_once: usize,
    model_at_once: HashMap<String, (usize, usize)>,
    unscripted: usize,
    panics: Vec<String>,
    is_closing: bool,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), inner: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Wakes who waits for something of the record or of the loaded models.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes a request up. The ticket closes it.
    pub(crate) fn arrive(self: &Arc<Self>, mut asked: Asked) -> (Asked, Ticket) {
        let mut inner = self.lock();
        asked.number = inner.asked.len();
        asked.at = self.started.elapsed();
        if asked.is_chat {
            asked.nth = inner.asked.iter().filter(|other| other.is_chat && other.model == asked.model).count();
            inner.at_once += 1;
            inner.most_at_once = inner.most_at_once.max(inner.at_once);
            let (now, most) = inner.model_at_once.entry(asked.model.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        inner.asked.push(asked.clone());
        drop(inner);
        self.changed();
        let ticket = Ticket { record: self.clone(), number: asked.number, is_open: true };
        (asked, ticket)
    }

    pub(crate) fn load(&self, model: &str, context_tokens: u32, evicted: Vec<String>) {
        let at = self.started.elapsed();
        self.lock().loads.push(Load { model: model.into(), context_tokens, at, evicted });
        self.changed();
    }

    pub(crate) fn unscripted(&self) {
        self.lock().unscripted += 1;
    }

    pub(crate) fn panicked(&self, message: String) {
        self.lock().panics.push(message);
    }

    /// From now on (or until `false`) requests that end early were ended by the server, not by clients.
    pub(crate) fn closing(&self, is_closing: bool) {
        self.lock().is_closing = is_closing;
    }

    pub(crate) fn all(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    pub(crate) fn loads(&self) -> Vec<Load> {
        self.lock().loads.clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.lock().most_at_once
    }

    pub(crate) fn most_at_once_of(&self, model: &str) -> usize {
        self.lock().model_at_once.get(model).map_or(0, |(_, most)| *most)
    }

    pub(crate) fn unscripted_count(&self) -> usize {
        self.lock().unscripted
    }

    /// Waits until something holds; fails the test where it never does.
    pub(crate) async fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let mut changes = self.changes.subscribe();
        let end = Instant::now() + WAIT_MAX;
        while !holds() {
            let left = end.saturating_duration_since(Instant::now());
            let changed = tokio::time::timeout(left, changes.changed()).await;
            assert!(changed.is_ok(), "{what}: did not come about; requests: {:#?}", self.all());
        }
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        self.lock().panics.clone()
    }
}

/// One request that is not answered yet. Dropped before its end, the client has left.
#[derive(Debug)]
pub(crate) struct Ticket {
    record: Arc<Record>,
    number: usize,
    is_open: bool,
}

impl Ticket {
    pub(crate) fn status(&self, status: u16) {
        self.record.lock().asked[self.number].status = Some(status);
        self.record.changed();
    }

    pub(crate) fn end(&mut self, end: End) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let mut inner = self.record.lock();
        let end = if end == End::Left && inner.is_closing { End::Broken } else { end };
        let asked = &mut inner.asked[self.number];
        asked.end = end;
        if asked.is_chat {
            let model = asked.model.clone();
            inner.at_once -= 1;
            if let Some((now, _)) = inner.model_at_once.get_mut(&model) {
                *now -= 1;
            }
        }
        drop(inner);
        self.record.changed();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(End::Left);
    }
}
