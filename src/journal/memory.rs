//! The journal's twin in memory, for tests: the same answers, the same positions, nothing on a disk.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use super::frame::Encoder;
use super::{AppendError, Frame, Head, Heads, Journal, Position, Record, segments, writer};
use crate::domain::ids::RunId;

/// Frames in memory, one for each append.
#[derive(Debug, Default)]
pub struct Memory {
    inner: std::sync::Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: Vec<Frame>,
    heads: Heads,
    encoder: Encoder,
    appends: u64,
    fails_at: Option<u64>,
    is_closed: bool,
}

impl Memory {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal whose `nth` append from now on, from 1, fails as a broken disk does.
    #[must_use]
    pub fn failing_at(nth: u64) -> Self {
        let memory = Self::new();
        memory.fail_at(nth);
        memory
    }

    /// A journal that holds these frames, as after a restart.
    #[must_use]
    pub fn from_frames(frames: Vec<Frame>) -> Self {
        let mut inner = Inner::default();
        for record in frames.iter().flat_map(|frame| &frame.records) {
            inner.heads.insert(record.run, Head { seq: record.seq, link: record.link });
        }
        inner.frames = frames;
        Self { inner: std::sync::Arc::new(Mutex::new(inner)) }
    }

    /// Makes the `nth` append from now on, from 1, fail.
    pub fn fail_at(&self, nth: u64) {
        let mut inner = lock(&self.inner);
        inner.fails_at = Some(inner.appends + nth);
    }

    /// Takes no more appends.
    pub fn close(&self) {
        lock(&self.inner).is_closed = true;
    }

    /// All frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        lock(&self.inner).frames.clone()
    }

    /// All records of one run so far.
    #[must_use]
    pub fn records(&self, run: RunId) -> Vec<Record> {
        let inner = lock(&self.inner);
        inner.frames.iter().flat_map(|frame| &frame.records).filter(|record| record.run == run).cloned().collect()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal for Memory {
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> BoxFuture<'static, Result<Position, AppendError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            segments::check_size(&payloads)?;
            lock(&inner).append(run, first_seq, payloads)
        })
    }
}

impl Inner {
    fn append(&mut self, run: RunId, first_seq: u64, payloads: Vec<Vec<u8>>) -> Result<Position, AppendError> {
        if self.is_closed {
            return Err(AppendError::Closed);
        }
        self.appends += 1;
        if self.fails_at == Some(self.appends) {
            self.is_closed = true;
            return Err(AppendError::Broken("the test said so".to_owned()));
        }
        let last = self.frames.last().map(|frame| frame.position).unwrap_or_default();
        if payloads.is_empty() {
            return Ok(last);
        }
        let mut head = self.heads.get(&run).copied().unwrap_or_default();
        writer::check_follows(run, head, first_seq)?;
        self.encoder.begin(last.frame + 1);
        let mut records = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let seq = head.seq + 1;
            let link = self.encoder.push(run, seq, head.link, &payload);
            head = Head { seq, link };
            records.push(Record { run, seq, link, payload });
        }
        let position = Position { frame: last.frame + 1, crc: self.encoder.finish() };
        self.heads.insert(run, head);
        self.frames.push(Frame { position, records });
        Ok(position)
    }
}
