//! The one writer: an OS thread that takes all appends that wait, writes them as one frame, syncs once, answers all.
//!
//! One frame for a group, not one for each append: a power cut writes the sectors of an unsynced write in any order, and
//! with several frames a later one could survive an earlier one, which no reader could tell from damage.
//! Nothing here is retried: after a failed write or sync nobody knows what is on the disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{self, HEADER_BYTES, Header};
use super::filler::Filler;
use super::frame::Encoder;
use super::{AppendError, Frame, Head, Heads, JournalError, Link, Observer, Position, Record};
use crate::domain::ids::RunId;

/// How many appends may wait for the writer.
pub(super) const QUEUE_APPENDS_MAX: usize = 4096;
/// How many appends share one sync.
const GROUP_APPENDS_MAX: usize = 1024;
/// How many bytes share one sync, if more than one append has them.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// One append on its way to the writer.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) run: RunId,
    pub(super) first_seq: u64,
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) answer: oneshot::Sender<Result<Position, AppendError>>,
}

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    Append(Append),
    /// Write what waits, take nothing more, end.
    Close,
}

/// Where the writer goes on, and how.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) dir: PathBuf,
    pub(super) file: File,
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) file_bytes: u64,
    pub(super) last: Position,
    pub(super) last_link: Link,
    pub(super) heads: Heads,
    pub(super) segment_bytes: u64,
    pub(super) free_bytes_min: u64,
    pub(super) observer: Option<Observer>,
}

/// The ways to a running writer.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) requests: mpsc::Sender<Request>,
    /// Set before a `Close`, for the case that the queue is full.
    pub(super) is_stopping: Arc<AtomicBool>,
    /// `None` while it runs, then how it ended.
    pub(super) end: watch::Receiver<Option<Result<(), String>>>,
    pub(super) thread: JoinHandle<()>,
}

impl Lines {
    /// Has the writer end after what waits, and waits for it.
    pub(super) fn stop(self) {
        self.is_stopping.store(true, Ordering::Release);
        // With a full queue the writer is busy and sees the flag; without receiver it has ended.
        let _ = self.requests.try_send(Request::Close);
        // Its panic was told through `end`.
        let _ = self.thread.join();
    }
}

/// Starts the thread.
pub(super) fn start(start: Start) -> Result<Lines, JournalError> {
    let dir = start.dir.clone();
    let failed = |error| JournalError::io("start the writer of", &dir, error);
    let filler = Filler::start(&start.dir, start.segment_bytes, start.free_bytes_min).map_err(failed)?;
    let (requests, receiver) = mpsc::channel(QUEUE_APPENDS_MAX);
    let (end_sender, end) = watch::channel(None);
    let is_stopping = Arc::new(AtomicBool::new(false));
    let group_bytes_max =
        usize::try_from(start.segment_bytes - HEADER_BYTES as u64).unwrap_or(usize::MAX).min(GROUP_BYTES_MAX);
    let mut writer = Writer {
        pending_link: start.last_link,
        place: start,
        filler,
        encoder: Encoder::default(),
        records: Vec::new(),
        group_bytes_max,
        is_stopping: is_stopping.clone(),
    };
    let thread = thread::Builder::new()
        .name("journal-writer".to_owned())
        .spawn(move || {
            let result = writer.serve(receiver);
            writer.filler.stop();
            drop(writer);
            // If nobody listens any more there is nobody to tell.
            let _ = end_sender.send(Some(result));
        })
        .map_err(failed)?;
    Ok(Lines { requests, is_stopping, end, thread })
}

struct Writer {
    place: Start,
    filler: Filler,
    encoder: Encoder,
    /// Link of the last record in the encoder: `place.last_link` once it is written.
    pending_link: Link,
    /// The records in the encoder, for the observer.
    records: Vec<Record>,
    group_bytes_max: usize,
    is_stopping: Arc<AtomicBool>,
}

type Waiting = Vec<oneshot::Sender<Result<Position, AppendError>>>;

impl Writer {
    fn serve(&mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), String> {
        self.fill_ahead();
        let mut held = None;
        loop {
            let Some(first) = held.take().or_else(|| requests.blocking_recv()) else { return Ok(()) };
            let (waiting, left_over) = self.gather(first, &mut requests);
            held = left_over;
            if self.is_stopping.load(Ordering::Acquire) {
                requests.close();
            }
            let written = if self.encoder.count() == 0 { Ok(()) } else { self.write_frame() };
            match written {
                Ok(()) => {
                    self.tell_observer();
                    answer(waiting, &Ok(self.place.last));
                }
                Err(error) => {
                    let reason = chain_text(&error);
                    tracing::error!(%reason, "journal writer stopped");
                    // Closed before the first is told: whoever comes after hears `Closed`, not a second report.
                    requests.close();
                    answer(waiting, &Err(AppendError::Broken(reason.clone())));
                    refuse_rest(held, requests, &reason);
                    return Err(reason);
                }
            }
            self.fill_ahead();
        }
    }

    /// Puts what waits into one frame. The second value did not fit any more.
    fn gather(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) -> (Waiting, Option<Request>) {
        self.encoder.begin(self.place.last.frame + 1);
        let mut waiting = Waiting::new();
        let mut request = Some(first);
        for taken in 0..GROUP_APPENDS_MAX {
            match request.or_else(|| requests.try_recv().ok()) {
                None => break,
                Some(Request::Close) => requests.close(),
                Some(Request::Append(append)) => {
                    if taken > 0 && self.encoder.len_with(&append.payloads) > self.group_bytes_max {
                        return (waiting, Some(Request::Append(append)));
                    }
                    self.admit(append, &mut waiting);
                }
            }
            request = None;
        }
        (waiting, None)
    }

    /// Adds an append to the frame if it follows the head of its run; the head moves at once, for others of this group.
    fn admit(&mut self, append: Append, waiting: &mut Waiting) {
        let Append { run, first_seq, payloads, answer } = append;
        if payloads.is_empty() {
            waiting.push(answer);
            return;
        }
        let mut head = self.place.heads.get(&run).copied().unwrap_or_default();
        if let Err(refusal) = check_follows(run, head, first_seq) {
            // A caller that has gone needs no answer.
            let _ = answer.send(Err(refusal));
            return;
        }
        for payload in payloads {
            let seq = head.seq + 1;
            let link = self.encoder.push(run, seq, head.link, &payload);
            head = Head { seq, link };
            if self.place.observer.is_some() {
                self.records.push(Record { run, seq, link, payload });
            }
        }
        self.place.heads.insert(run, head);
        self.pending_link = head.link;
        waiting.push(answer);
    }

    /// The observer sees each frame before anyone is answered: what is answered is never missing from what it saw.
    fn tell_observer(&mut self) {
        if let Some(observer) = &self.place.observer
            && !self.records.is_empty()
        {
            observer.see(Frame { position: self.place.last, records: std::mem::take(&mut self.records) });
        }
    }

    fn write_frame(&mut self) -> Result<(), JournalError> {
        let crc = self.encoder.finish();
        let length = self.encoder.bytes().len() as u64;
        if self.place.at + length > self.place.file_bytes {
            self.write_into_new_segment(length)?;
        } else {
            let path = disk::segment_path(&self.place.dir, self.place.segment);
            let file = &self.place.file;
            file.write_all_at(self.encoder.bytes(), self.place.at)
                .map_err(|error| JournalError::io("write", &path, error))?;
            file.sync_data().map_err(|error| JournalError::io("sync", &path, error))?;
            self.place.at += length;
        }
        self.place.last = Position { frame: self.place.last.frame + 1, crc };
        self.place.last_link = self.pending_link;
        Ok(())
    }

    /// Head and first frame are on disk before the segment gets its name: a named segment is never without a frame.
    fn write_into_new_segment(&mut self, length: u64) -> Result<(), JournalError> {
        let (file, name, file_bytes) = self.filler.take(HEADER_BYTES as u64 + length)?;
        let dir = &self.place.dir;
        let segment = self.place.segment + 1;
        let header = Header {
            segment,
            first_frame: self.place.last.frame + 1,
            file_bytes,
            crc_before: self.place.last.crc,
            link_before: self.place.last_link,
        };
        let (spare, path) = (dir.join(name), disk::segment_path(dir, segment));
        file.write_all_at(&header.encode(), 0)
            .and_then(|()| file.write_all_at(self.encoder.bytes(), HEADER_BYTES as u64))
            .and_then(|()| file.sync_data())
            .map_err(|error| JournalError::io("write", &spare, error))?;
        fs::rename(&spare, &path).map_err(|error| JournalError::io("rename", &spare, error))?;
        disk::sync_dir(dir)?;
        self.place.file = file;
        self.place.segment = segment;
        self.place.file_bytes = file_bytes;
        self.place.at = HEADER_BYTES as u64 + length;
        Ok(())
    }

    /// Has the next segment made while the second half of this one is used.
    fn fill_ahead(&mut self) {
        if self.place.at > self.place.file_bytes / 2 {
            self.filler.ask();
        }
    }
}

/// Whether a record `seq` may follow `head`.
pub(super) fn check_follows(run: RunId, head: Head, seq: u64) -> Result<(), AppendError> {
    let next = head.seq + 1;
    match seq.cmp(&next) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(AppendError::SequenceTaken { run, seq }),
        std::cmp::Ordering::Greater => Err(AppendError::SequenceSkipped { run, seq, next }),
    }
}

fn answer(waiting: Waiting, result: &Result<Position, AppendError>) {
    for one in waiting {
        // A caller that has gone needs no answer.
        let _ = one.send(result.clone());
    }
}

fn refuse_rest(held: Option<Request>, mut requests: mpsc::Receiver<Request>, reason: &str) {
    let mut rest = Waiting::new();
    let mut request = held;
    while let Some(one) = request.take().or_else(|| requests.blocking_recv()) {
        if let Request::Append(append) = one {
            rest.push(append.answer);
        }
    }
    answer(rest, &Err(AppendError::Broken(reason.to_owned())));
}

/// An error with its causes, for a message that leaves this room as text.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
