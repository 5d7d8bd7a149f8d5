//! Frames as bytes: what one write puts on disk, checked as a whole. Pure, and bounded on any input.
//!
//! Little-endian, each frame padded with zeros to a multiple of [`ALIGN`], so that its length and checksum never
//! straddle a disk sector and a search for frames can go in steps:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the whole frame |
//! | 4 | CRC-32 of everything but itself |
//! | 8 | number of the frame |
//! | 4 | count of records, at least 1 |
//! | 4 | zero |
//! | … | records: 4 length of the payload, 1 kind, 3 zero, 8 seq, 16 run, 16 link of the run's record before, payload |
//!
//! The link of a record is the SHA-256 of exactly these bytes of the record, cut to 16: see [`Link`].

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Link, Record};
use crate::domain::ids::RunId;

/// Largest frame, and so the largest single append. Events are small (large values are blobs); this only bounds
/// what a reader may have to hold.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Frames start and end on multiples of this.
pub const ALIGN: usize = 8;

/// Bytes of a frame before its first record.
pub const FRAME_HEAD_BYTES: usize = 24;

/// Bytes of a record before its payload.
pub const RECORD_HEAD_BYTES: usize = 48;

/// Smallest frame: one record without payload.
const FRAME_BYTES_MIN: usize = FRAME_HEAD_BYTES + RECORD_HEAD_BYTES;

/// The one kind of record that there is: an encoded event, format 1.
const KIND_EVENT: u8 = 1;

/// Builds one frame after another in the same buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// Starts frame `number`; what was there before is gone.
    pub fn begin(&mut self, number: u64) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEAD_BYTES, 0);
        self.bytes[8..16].copy_from_slice(&number.to_le_bytes());
        self.count = 0;
    }

    /// Adds a record and returns its link.
    ///
    /// # Panics
    /// When the payload is larger than [`FRAME_BYTES_MAX`]: the caller asks [`Encoder::len_with`] first.
    pub fn push(&mut self, run: RunId, seq: u64, before: Link, payload: &[u8]) -> Link {
        let start = self.bytes.len();
        let length = u32::try_from(payload.len()).expect("a payload fits into a frame");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&[KIND_EVENT, 0, 0, 0]);
        self.bytes.extend_from_slice(&seq.to_le_bytes());
        self.bytes.extend_from_slice(run.0.as_bytes());
        self.bytes.extend_from_slice(&before.0);
        self.bytes.extend_from_slice(payload);
        self.count += 1;
        link_of(&self.bytes[start..])
    }

    /// Length of the finished frame if payloads of these sizes were added now.
    #[must_use]
    pub fn len_with(&self, payloads: &[Vec<u8>]) -> usize {
        payloads
            .iter()
            .fold(self.bytes.len().max(FRAME_HEAD_BYTES), |sum, payload| {
                sum.saturating_add(RECORD_HEAD_BYTES).saturating_add(payload.len())
            })
            .saturating_add(ALIGN - 1)
            & !(ALIGN - 1)
    }

    /// How many records the frame has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Pads and seals the frame; returns its checksum. The bytes are then in [`Encoder::bytes`].
    ///
    /// # Panics
    /// When the frame is larger than [`FRAME_BYTES_MAX`].
    pub fn finish(&mut self) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        assert!(self.bytes.len() <= FRAME_BYTES_MAX, "a frame is at most {FRAME_BYTES_MAX} bytes");
        let length = u32::try_from(self.bytes.len()).expect("the limit of a frame fits into 32 bits");
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        let crc = checksum(&self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// The frame as it is written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The length is zero: nothing was written here, or its first sector never arrived.
    Unwritten,
    /// The length cannot be one.
    Length {
        /// What stands there.
        length: u32,
    },
    /// The checksum does not fit the bytes.
    Checksum {
        /// The length that the frame claims.
        length: usize,
    },
    /// The checksum fits, but the content is not of this format.
    Layout(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unwritten => f.write_str("a frame is missing"),
            Self::Length { length } => write!(f, "a frame claims the impossible length {length}"),
            Self::Checksum { .. } => f.write_str("the checksum of a frame does not fit its bytes"),
            Self::Layout(what) => f.write_str(what),
        }
    }
}

/// A checked frame, still in its buffer.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    /// Number of the frame.
    pub number: u64,
    /// Its checksum.
    pub crc: u32,
    bytes: &'a [u8],
}

/// Reads the frame at the start of `bytes`, which may go on behind it.
///
/// # Errors
/// [`Fault`] for everything that no [`Encoder`] has made.
pub fn decode(bytes: &[u8]) -> Result<FrameView<'_>, Fault> {
    let Some(claimed) = u32_at(bytes, 0) else { return Err(Fault::Unwritten) };
    if claimed == 0 {
        return Err(Fault::Unwritten);
    }
    let length = claimed as usize;
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) || !length.is_multiple_of(ALIGN) || length > bytes.len() {
        return Err(Fault::Length { length: claimed });
    }
    let frame = &bytes[..length];
    let crc = u32_at(frame, 4).expect("a frame is longer than its head");
    if checksum(frame) != crc {
        return Err(Fault::Checksum { length });
    }
    check_layout(frame)?;
    let number = u64_at(frame, 8).expect("a frame is longer than its head");
    Ok(FrameView { number, crc, bytes: frame })
}

/// Walks over all records once, so that reading them later cannot fail.
fn check_layout(frame: &[u8]) -> Result<(), Fault> {
    let count = u32_at(frame, 16).expect("a frame is longer than its head");
    if count == 0 || u32_at(frame, 20) != Some(0) {
        return Err(Fault::Layout("a frame has no records or an unknown flag"));
    }
    let mut rest = &frame[FRAME_HEAD_BYTES..];
    for _ in 0..count {
        let (record, behind) = split_record(rest).ok_or(Fault::Layout("a record is longer than its frame"))?;
        if record[4] != KIND_EVENT || record[5..8] != [0; 3] {
            return Err(Fault::Layout("a record is of a kind that this version does not know"));
        }
        rest = behind;
    }
    if rest.len() >= ALIGN || rest.iter().any(|byte| *byte != 0) {
        return Err(Fault::Layout("a frame has bytes behind its records"));
    }
    Ok(())
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let payload = u32_at(bytes, 0)? as usize;
    bytes.split_at_checked(RECORD_HEAD_BYTES.checked_add(payload)?)
}

impl<'a> FrameView<'a> {
    /// Length of the frame in bytes, padding included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a frame has at least its head")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        let count = u32_at(self.bytes, 16).expect("`decode` checked the head");
        Records { rest: &self.bytes[FRAME_HEAD_BYTES..], left: count }
    }
}

/// Iterator over the records of a frame.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordView<'a>;

    fn next(&mut self) -> Option<RecordView<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (bytes, rest) = split_record(self.rest).expect("`decode` walked over all records");
        self.rest = rest;
        Some(RecordView { bytes })
    }
}

/// A record, still in its buffer.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Whose event it is.
    #[must_use]
    pub fn run(&self) -> RunId {
        RunId(Uuid::from_bytes(self.array(16)))
    }

    /// Number of the record in its run.
    #[must_use]
    pub fn seq(&self) -> u64 {
        u64::from_le_bytes(self.array(8))
    }

    /// Link of the run's record before.
    #[must_use]
    pub fn before(&self) -> Link {
        Link(self.array(32))
    }

    /// Link of this record; hashes it.
    #[must_use]
    pub fn link(&self) -> Link {
        link_of(self.bytes)
    }

    /// The encoded event.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[RECORD_HEAD_BYTES..]
    }

    /// A copy with a life of its own.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record { run: self.run(), seq: self.seq(), link: self.link(), payload: self.payload().to_vec() }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..at + N].try_into().expect("a record is longer than its head")
    }
}

fn link_of(record: &[u8]) -> Link {
    let hash = Sha256::digest(record);
    Link(hash[..Link::BYTES].try_into().expect("SHA-256 is longer than a link"))
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

/// The 32-bit number at `at`, when the bytes reach so far.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The 64-bit number at `at`, when the bytes reach so far.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Entry = (u128, u64, [u8; 16], Vec<u8>);

    fn encode(number: u64, entries: &[Entry]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.begin(number);
        for (run, seq, before, payload) in entries {
            encoder.push(RunId(Uuid::from_u128(*run)), *seq, Link(*before), payload);
        }
        encoder.finish();
        encoder.bytes().to_vec()
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_it_was_written(
            number in 1..u64::MAX,
            entries in prop::collection::vec(
                (any::<u128>(), any::<u64>(), any::<[u8; 16]>(), prop::collection::vec(any::<u8>(), 0..100)), 1..8),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = encode(number, &entries);
            let length = bytes.len();
            bytes.extend(behind);
            let frame = decode(&bytes).unwrap();
            prop_assert_eq!(frame.number, number);
            prop_assert_eq!(frame.len(), length);
            let back: Vec<Entry> = frame
                .records()
                .map(|r| (r.run().0.as_u128(), r.seq(), r.before().0, r.payload().to_vec()))
                .collect();
            prop_assert_eq!(back, entries);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn bytes_with_a_right_checksum_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 72..300)) {
            bytes.truncate(bytes.len() / ALIGN * ALIGN);
            let length = u32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[16..24].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
            bytes[26..28].copy_from_slice(&[0, 0]);
            let crc = checksum(&bytes);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            if let Ok(frame) = decode(&bytes) {
                prop_assert_eq!(frame.records().count(), 1);
            }
        }
    }

    #[test]
    fn every_changed_bit_of_a_frame_is_noticed() {
        let bytes = encode(3, &[(1, 1, [0; 16], b"first".to_vec()), (2, 9, [7; 16], b"second".to_vec())]);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn the_link_changes_with_everything_in_the_record() {
        let run = RunId(Uuid::from_u128(1));
        let mut encoder = Encoder::default();
        encoder.begin(1);
        let links = [
            encoder.push(run, 1, Link::default(), b"a"),
            encoder.push(run, 2, Link::default(), b"a"),
            encoder.push(run, 1, Link([1; 16]), b"a"),
            encoder.push(run, 1, Link::default(), b"b"),
            encoder.push(RunId(Uuid::from_u128(2)), 1, Link::default(), b"a"),
        ];
        let different: std::collections::BTreeSet<_> = links.iter().collect();
        assert_eq!(different.len(), links.len());
    }

    #[test]
    fn the_length_is_known_before_a_record_is_added() {
        let payloads = vec![vec![1; 3], vec![], vec![2; 77]];
        let mut encoder = Encoder::default();
        encoder.begin(1);
        let expected = encoder.len_with(&payloads);
        for payload in &payloads {
            encoder.push(RunId(Uuid::from_u128(1)), 1, Link::default(), payload);
        }
        encoder.finish();
        assert_eq!(encoder.bytes().len(), expected);
    }
}
