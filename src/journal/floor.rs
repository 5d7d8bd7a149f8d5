//! The lower end of a journal whose first segments are no longer needed.
//!
//! The file `floor` says which segment is the first, and where the chains of runs stand at its start, so that what is left
//! is checked as strictly as a whole journal. It is on disk before the first segment goes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use uuid::Uuid;

use super::disk;
use super::frame::{u32_at, u64_at};
use super::{Head, Heads, JournalError, Link, reader};
use crate::domain::ids::RunId;

const NAME: &str = "floor";
const TEMP_NAME: &str = "floor.tmp";
const MAGIC: [u8; 8] = *b"ollmcpfl";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 24;
const ENTRY_BYTES: usize = 40;

/// Where a journal starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// The first segment that is needed.
    pub(super) segment: u64,
    /// The last records before it, of the runs that go on.
    pub(super) heads: Heads,
}

/// Whether there is a floor: a journal was here.
pub(super) fn exists(dir: &Path) -> bool {
    dir.join(NAME).exists()
}

impl Floor {
    /// Without a floor the journal starts at segment 1.
    pub(super) fn read(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { segment: 1, heads: Heads::new() });
            }
            Err(error) => return Err(JournalError::io("read", &path, error)),
        };
        Self::decode(&bytes).ok_or_else(|| JournalError::Header {
            file: path,
            reason: "the note of the first segment is damaged or of a later format".to_owned(),
        })
    }

    fn write(&self, dir: &Path) -> Result<(), JournalError> {
        let (temp, path) = (dir.join(TEMP_NAME), dir.join(NAME));
        let write = || {
            let mut file = File::create(&temp)?;
            file.write_all(&self.encode())?;
            file.sync_all()?;
            fs::rename(&temp, &path)
        };
        write().map_err(|error| JournalError::io("write", &path, error))?;
        disk::sync_dir(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.heads.len() * ENTRY_BYTES + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        for (run, head) in &self.heads {
            bytes.extend_from_slice(run.0.as_bytes());
            bytes.extend_from_slice(&head.seq.to_le_bytes());
            bytes.extend_from_slice(&head.link.0);
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let entries = content.get(HEAD_BYTES..)?;
        let is_ours = content.starts_with(&MAGIC) && u32_at(content, 8) == Some(FORMAT);
        if !is_ours || u32_at(crc, 0) != Some(crc32fast::hash(content)) || !entries.len().is_multiple_of(ENTRY_BYTES) {
            return None;
        }
        let entry = |entry: &[u8]| {
            let run = RunId(Uuid::from_slice(&entry[..16]).ok()?);
            Some((run, Head { seq: u64_at(entry, 16)?, link: Link(entry[24..].try_into().ok()?) }))
        };
        let heads = entries.chunks_exact(ENTRY_BYTES).map(entry).collect::<Option<Heads>>()?;
        Some(Self { segment: u64_at(content, 16)?, heads })
    }
}

/// Removes the segments that hold only frames before `first_needed`, and says how many. A writer may be at work, but
/// no other reader: it could miss a segment. Reads the whole journal before: what goes is checked a last time.
///
/// `is_live` names the runs that may still append: they keep the ends of their chains. Nothing that a live run or a
/// state store still has to read may stand before `first_needed`.
///
/// # Errors
/// [`JournalError`]; nothing was removed then, or the removal goes on with the next call.
pub fn retire(dir: &Path, first_needed: u64, is_live: &dyn Fn(RunId) -> bool) -> Result<u64, JournalError> {
    let numbers = disk::segment_numbers(dir)?;
    let floor = Floor::read(dir)?.segment;
    let (mut segment, mut first_frame) = (floor, 0);
    for number in numbers.iter().copied().filter(|number| *number > floor) {
        let starts_at = disk::read_header(dir, number)?.1.first_frame;
        if starts_at > first_needed {
            break;
        }
        (segment, first_frame) = (number, starts_at);
    }
    if first_frame > 0 {
        Floor { segment, heads: heads_before(dir, first_frame, is_live)? }.write(dir)?;
    }
    // From below, so that what is left never has a gap; also what an interrupted removal left.
    let mut removed = 0;
    for number in numbers.into_iter().take_while(|number| *number < segment) {
        let path = disk::segment_path(dir, number);
        fs::remove_file(&path).map_err(|error| JournalError::io("remove", &path, error))?;
        removed += 1;
    }
    if removed > 0 {
        disk::sync_dir(dir)?;
    }
    Ok(removed)
}

/// The heads before frame `first`, of the runs that are live or have later records.
fn heads_before(dir: &Path, first: u64, is_live: &dyn Fn(RunId) -> bool) -> Result<Heads, JournalError> {
    let mut heads = Floor::read(dir)?.heads;
    let mut goes_on = BTreeSet::new();
    reader::read_all(dir, &mut |frame| {
        for record in frame.records {
            if frame.position.frame < first {
                heads.insert(record.run, Head { seq: record.seq, link: record.link });
            } else {
                goes_on.insert(record.run);
            }
        }
        Ok(())
    })?;
    heads.retain(|run, _| goes_on.contains(run) || is_live(*run));
    Ok(heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_reads_back_and_every_changed_bit_is_noticed() {
        let heads = (1..4_u8)
            .map(|n| (RunId(Uuid::from_u128(n.into())), Head { seq: n.into(), link: Link([n; 16]) }))
            .collect();
        let floor = Floor { segment: 7, heads };
        let bytes = floor.encode();
        assert_eq!(Floor::decode(&bytes), Some(floor));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Floor::decode(&changed), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Floor::decode(&bytes[..length]), None, "cut at {length}");
        }
    }
}
