//! Frames from segments, in order and checked; never changes a file.
//!
//! Checked are: the segments (none missing, each following the one before), the frames (checksum, numbers without a
//! gap, zeros behind the last), and the chain of each run. Holds one segment in memory at a time.

use std::path::Path;

use super::disk::{self, HEADER_BYTES, Header};
use super::floor::Floor;
use super::frame::{self, Fault, FrameView, RecordView};
use super::tail::{self, Tail};
use super::{FoldError, Frame, Head, Heads, JournalError, Link, Position, Record};
use crate::domain::ids::RunId;

/// Takes up each frame, in order.
pub type Fold<'a> = dyn FnMut(Frame) -> Result<(), FoldError> + 'a;

/// How often a reader looks again at a segment that is being written while it reads.
const LOOKS_MAX: u32 = 8;

/// What a reader learned besides the frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last frame.
    pub last: Position,
    /// The last record of each run.
    pub heads: Heads,
    /// What people should be told: a torn append.
    pub notes: Vec<String>,
}

/// Reads all frames of the journal in `dir` without changing anything, also while a writer is at work.
///
/// # Errors
/// [`JournalError`] for any damage but a torn last append, which is noted.
pub fn read_all(dir: &Path, fold: &mut Fold<'_>) -> Result<Summary, JournalError> {
    read_from(dir, Position::default(), Heads::new(), fold)
}

/// The same for the frames behind `from`, at which the heads of the runs that go on are `heads`.
///
/// # Errors
/// [`JournalError`] for any damage but a torn last append, which is noted.
pub fn read_from(dir: &Path, from: Position, heads: Heads, fold: &mut Fold<'_>) -> Result<Summary, JournalError> {
    let scan = scan(dir, from, heads, fold)?;
    Ok(Summary { last: scan.last, heads: scan.heads, notes: scan.notes })
}

/// Reads the records of one run, in order; none is an empty list. Reads the whole journal for it.
///
/// # Errors
/// [`JournalError`] for any damage but a torn last append.
pub fn read_run(dir: &Path, run: RunId) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    read_all(dir, &mut |frame| {
        records.extend(frame.records.into_iter().filter(|record| record.run == run));
        Ok(())
    })?;
    Ok(records)
}

/// What a writer has to know to go on.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) last: Position,
    /// Link of the last record of the last frame.
    pub(super) last_link: Link,
    pub(super) heads: Heads,
    pub(super) notes: Vec<String>,
    pub(super) end: End,
}

/// Where the journal ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    pub(super) segment: u64,
    /// Offset behind the last frame.
    pub(super) at: usize,
    pub(super) file_bytes: u64,
    /// Offset behind the torn append, when there is one.
    pub(super) torn: Option<usize>,
}

/// Reads the frames behind `from`, or all; `heads` are those at `from`.
pub(super) fn scan(dir: &Path, from: Position, heads: Heads, fold: &mut Fold<'_>) -> Result<Scan, JournalError> {
    let numbers = disk::segment_numbers(dir)?;
    let floor = Floor::read(dir)?;
    let start = find_start(dir, &numbers, from.frame, floor.segment)?;
    let heads = if from.frame == 0 { floor.heads } else { heads };
    let scan =
        Scan { last: Position::default(), last_link: Link::default(), heads, notes: Vec::new(), end: End::default() };
    let mut reader = Reader { dir, from, scan, fold };
    let last_segment = *numbers.last().expect("`find_start` refuses an empty folder");
    for number in start..=last_segment {
        reader.read_segment(number, number == last_segment)?;
    }
    let scan = reader.scan;
    if scan.last.frame < from.frame {
        return Err(JournalError::Lost { dir: dir.to_owned(), last: scan.last.frame, known: from.frame });
    }
    Ok(scan)
}

/// The segment in which frame `known` stands, or the first that is needed; refuses gaps between segments.
fn find_start(dir: &Path, numbers: &[u64], known: u64, floor: u64) -> Result<u64, JournalError> {
    let missing = |number| JournalError::MissingSegment { file: disk::segment_path(dir, number) };
    let first = *numbers.first().ok_or_else(|| JournalError::Missing { dir: dir.to_owned() })?;
    if let Some(pair) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        return Err(missing(pair[0] + 1));
    }
    if known == 0 {
        return if numbers.contains(&floor) { Ok(floor) } else { Err(missing(floor)) };
    }
    for number in numbers.iter().rev() {
        if disk::read_header(dir, *number)?.1.first_frame <= known {
            return Ok(*number);
        }
    }
    Err(missing(first.saturating_sub(1)))
}

struct Reader<'a, 'f> {
    dir: &'a Path,
    from: Position,
    scan: Scan,
    fold: &'a mut Fold<'f>,
}

impl Reader<'_, '_> {
    fn read_segment(&mut self, number: u64, is_last: bool) -> Result<(), JournalError> {
        let (header, mut bytes) = disk::read_segment(self.dir, number)?;
        self.check_header(&header)?;
        let (mut at, mut looks) = (HEADER_BYTES, 0);
        loop {
            self.scan.end = End { segment: number, at, file_bytes: header.file_bytes, torn: None };
            let fault = match frame::decode(&bytes[at..]) {
                Ok(view) => {
                    self.take(&view)?;
                    at += view.len();
                    continue;
                }
                Err(fault) => fault,
            };
            let tail = tail::judge(&bytes, at, self.scan.last.frame + 1, fault);
            if is_last && tail != Tail::Clean && looks < LOOKS_MAX {
                // A writer of this process may be in the middle of this very frame.
                looks += 1;
                let again = disk::read_segment(self.dir, number)?.1;
                if again != bytes {
                    bytes = again;
                    continue;
                }
            }
            return self.end_segment(is_last, fault, tail);
        }
    }

    /// A segment follows the one before by frame number and by hash; the first of all follows nothing.
    fn check_header(&mut self, header: &Header) -> Result<(), JournalError> {
        let Header { segment, first_frame, crc_before, link_before, .. } = *header;
        let refuse = |reason: &str| {
            Err(JournalError::Header { file: disk::segment_path(self.dir, segment), reason: reason.to_owned() })
        };
        if first_frame == 0 || first_frame > u64::MAX / 2 || (segment == 1 && first_frame != 1) {
            return refuse("the head names an impossible first frame");
        }
        if segment == 1 && (crc_before, link_before) != (0, Link::default()) {
            return refuse("the head of the first segment names a segment before it");
        }
        let before = self.scan.end;
        if before.segment == 0 {
            self.scan.last = Position { frame: first_frame - 1, crc: crc_before };
            self.scan.last_link = link_before;
            return Ok(());
        }
        let expected = self.scan.last.frame + 1;
        if first_frame != expected {
            let file = disk::segment_path(self.dir, before.segment);
            return Err(JournalError::Gap { file, offset: before.at as u64, expected, found: first_frame });
        }
        if (crc_before, link_before) != (self.scan.last.crc, self.scan.last_link) {
            return refuse("the segment does not follow the one before it");
        }
        Ok(())
    }

    fn take(&mut self, view: &FrameView<'_>) -> Result<(), JournalError> {
        let expected = self.scan.last.frame + 1;
        let place = || (disk::segment_path(self.dir, self.scan.end.segment), self.scan.end.at as u64);
        if view.number != expected {
            let (file, offset) = place();
            return Err(JournalError::Gap { file, offset, expected, found: view.number });
        }
        if view.number == self.from.frame && view.crc != self.from.crc {
            let (file, offset) = place();
            return Err(JournalError::Foreign { file, offset, frame: view.number });
        }
        self.scan.last = Position { frame: view.number, crc: view.crc };
        if view.number <= self.from.frame {
            // The heads that were given stand behind these frames: only the link to the next segment is needed.
            self.scan.last_link = view.records().last().expect("a frame has a record").link();
            return Ok(());
        }
        let records = view.records().map(|record| self.follow(&record)).collect::<Result<_, _>>()?;
        let frame = Frame { position: self.scan.last, records };
        (self.fold)(frame).map_err(|source| JournalError::Fold { frame: view.number, source })
    }

    /// Checks a record against the head of its run and moves the head on.
    fn follow(&mut self, record: &RecordView<'_>) -> Result<Record, JournalError> {
        let record_before = record.before();
        let record = record.to_record();
        let head = self.scan.heads.entry(record.run).or_default();
        if head.seq.checked_add(1) != Some(record.seq) || head.link != record_before {
            return Err(JournalError::Chain {
                file: disk::segment_path(self.dir, self.scan.end.segment),
                offset: self.scan.end.at as u64,
                run: record.run,
                seq: record.seq,
                head: head.seq,
            });
        }
        *head = Head { seq: record.seq, link: record.link };
        self.scan.last_link = record.link;
        Ok(record)
    }

    fn end_segment(&mut self, is_last: bool, fault: Fault, tail: Tail) -> Result<(), JournalError> {
        let End { segment, at, .. } = self.scan.end;
        let file = disk::segment_path(self.dir, segment);
        // The first frame of a later segment was on disk before the segment got its name.
        let may_be_torn = is_last && (segment == 1 || at > HEADER_BYTES);
        let reason = match tail {
            Tail::Clean => return Ok(()),
            Tail::Torn { end } if may_be_torn => {
                self.scan.end.torn = Some(end);
                self.scan.notes.push(format!(
                    "`{}` at byte {at}: an append was torn by a crash; it was never acknowledged and is left out",
                    file.display()
                ));
                return Ok(());
            }
            Tail::Trailing { offset } if is_last => {
                return Err(JournalError::Trailing { file, offset: offset as u64 });
            }
            Tail::BeforeFrame => format!("{fault}, and valid frames follow"),
            Tail::Torn { .. } | Tail::Trailing { .. } | Tail::Unreadable => fault.to_string(),
        };
        Err(JournalError::Damaged { file, offset: at as u64, reason })
    }
}
