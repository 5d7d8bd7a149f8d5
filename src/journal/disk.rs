//! Segments as files: their names, their heads, making them full of zeros, syncing folders, free space.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::frame::{FRAME_BYTES_MAX, u32_at, u64_at};
use super::{JournalError, Link};

/// Bytes of a segment before its first frame.
pub(super) const HEADER_BYTES: usize = 64;

/// Largest segment file: one that was made for one frame alone.
pub(super) const SEGMENT_BYTES_MAX: u64 = (HEADER_BYTES + FRAME_BYTES_MAX) as u64;

/// What a file that is no segment yet is called.
pub(super) const SPARE_NAME: &str = "spare.tmp";
/// The same for the file that one frame larger than a segment gets.
pub(super) const LARGE_NAME: &str = "large.tmp";

const MAGIC: [u8; 8] = *b"ollmcpjn";
const FORMAT: u32 = 1;
const EXTENSION: &str = ".journal";
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// The first [`HEADER_BYTES`] of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of the segment, as in its name.
    pub(super) segment: u64,
    /// Number of its first frame.
    pub(super) first_frame: u64,
    /// Length of the file.
    pub(super) file_bytes: u64,
    /// Checksum of the last frame of the segment before; 0 in the first.
    pub(super) crc_before: u32,
    /// Link of the last record of the segment before; zeros in the first.
    pub(super) link_before: Link,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc_before.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_frame.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.link_before.0);
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; the error is a sentence.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err("this is no segment of a journal".to_owned());
        }
        let number = |at| u64_at(bytes, at).expect("a header was just measured");
        let short = |at| u32_at(bytes, at).expect("a header was just measured");
        if short(60) != crc32fast::hash(&bytes[..60]) {
            return Err("the head of the segment is damaged".to_owned());
        }
        if short(8) != FORMAT {
            return Err(format!("the segment has format {}, this version reads format {FORMAT}", short(8)));
        }
        let link_before = Link(bytes[40..56].try_into().expect("a header was just measured"));
        Ok(Self {
            segment: number(16),
            first_frame: number(24),
            file_bytes: number(32),
            crc_before: short(12),
            link_before,
        })
    }
}

/// Path of segment `number`.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{EXTENSION}"))
}

/// The numbers of the segments in `dir`, ascending; other files are not ours.
pub(super) fn segment_numbers(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(JournalError::Missing { dir: dir.to_owned() });
        }
        Err(error) => return Err(JournalError::io("list", dir, error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| JournalError::io("list", dir, error))?.file_name();
        if let Some(number) = name.to_str().and_then(parse_name) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Only the one spelling that [`segment_path`] makes, so that no two files have one number.
fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let number: u64 = digits.parse().ok()?;
    (format!("{number:08}") == digits).then_some(number)
}

/// Reads and checks the head of segment `number`.
pub(super) fn read_header(dir: &Path, number: u64) -> Result<(File, Header), JournalError> {
    let path = segment_path(dir, number);
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => JournalError::MissingSegment { file: path.clone() },
        _ => JournalError::io("open", &path, error),
    })?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    (&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| JournalError::io("read", &path, error))?;
    let refuse = |reason| JournalError::Header { file: path.clone(), reason };
    let header = Header::decode(&bytes).map_err(refuse)?;
    if header.segment != number {
        return Err(refuse(format!("the head says segment {}", header.segment)));
    }
    let found_bytes = file.metadata().map_err(|error| JournalError::io("measure", &path, error))?.len();
    if header.file_bytes != found_bytes {
        return Err(JournalError::Length { file: path, expected_bytes: header.file_bytes, found_bytes });
    }
    if found_bytes > SEGMENT_BYTES_MAX {
        return Err(refuse(format!("a segment of {found_bytes} bytes is larger than any that was ever written")));
    }
    Ok((file, header))
}

/// Reads a whole segment, at most [`SEGMENT_BYTES_MAX`].
pub(super) fn read_segment(dir: &Path, number: u64) -> Result<(Header, Vec<u8>), JournalError> {
    use std::os::unix::fs::FileExt as _;
    let (file, header) = read_header(dir, number)?;
    let length = usize::try_from(header.file_bytes).expect("a segment is far smaller than the address space");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).map_err(|error| JournalError::io("read", &segment_path(dir, number), error))?;
    Ok((header, bytes))
}

/// Makes an empty segment file under a temporary name: `file_bytes` of real zeros, on disk.
///
/// Zeros are written, not only allocated: the first write into an allocated block changes metadata again, which is
/// what an append must not pay for.
pub(super) fn make_spare(dir: &Path, name: &str, file_bytes: u64, free_bytes_min: u64) -> Result<File, JournalError> {
    let free_bytes = free_bytes(dir)?;
    let needed_bytes = file_bytes.saturating_add(free_bytes_min);
    if free_bytes < needed_bytes {
        return Err(JournalError::NoSpace { dir: dir.to_owned(), free_bytes, needed_bytes });
    }
    let path = dir.join(name);
    fill(&path, file_bytes).map_err(|error| {
        // What cannot be finished must not take the last space; that the removal fails too changes nothing.
        let _ = fs::remove_file(&path);
        JournalError::io("fill a new segment", &path, error)
    })
}

fn fill(path: &Path, file_bytes: u64) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut left = file_bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..usize::try_from(piece).expect("a piece is not longer than the zeros")])?;
        left -= piece;
    }
    file.sync_all()?;
    Ok(file)
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|error| JournalError::io("sync", dir, error))
}

fn free_bytes(dir: &Path) -> Result<u64, JournalError> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| JournalError::io("measure", dir, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_every_changed_bit_is_noticed() {
        let header = Header {
            segment: 3,
            first_frame: 900,
            file_bytes: 1 << 24,
            crc_before: 0xdead_beef,
            link_before: Link([5; 16]),
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn only_one_spelling_names_a_segment() {
        assert_eq!(parse_name("00000012.journal"), Some(12));
        assert_eq!(parse_name("123456789.journal"), Some(123_456_789));
        for other in ["12.journal", "000000012.journal", "+0000012.journal", "00000012.journal.bak", "spare.tmp"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
