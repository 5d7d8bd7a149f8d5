//! What stands where no valid frame does: the clean end, a torn append that may be cut, or damage. Pure.
//!
//! Only the last write can be torn, for each is synced before the next; and it is exactly one frame. So where a valid
//! frame follows, it is damage. A power cut leaves each sector of the torn frame either written or as it was, that is
//! zero: the frame may miss its start, its middle or its end.

use super::frame::{self, ALIGN, FRAME_HEAD_BYTES, Fault, RECORD_HEAD_BYTES, u32_at, u64_at};

/// Smallest piece that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

/// How often the bytes of a segment may be summed up in the search for a later frame: random bytes need far less
/// than one round, only bytes made for the purpose need more.
const SEARCH_ROUNDS_MAX: usize = 4;

/// What stands behind the last valid frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros to the end.
    Clean,
    /// A torn frame, up to this offset; behind it are zeros.
    Torn {
        /// Offset behind its last byte that is not zero.
        end: usize,
    },
    /// A valid frame follows.
    BeforeFrame,
    /// Bytes that no torn frame explains.
    Trailing {
        /// Offset of the first of them.
        offset: usize,
    },
    /// No valid frame, and not torn either.
    Unreadable,
}

/// Judges `segment` from `at` on, where frame `next` was expected and `fault` was found instead.
pub(super) fn judge(segment: &[u8], at: usize, next: u64, fault: Fault) -> Tail {
    let Some(first) = first_written(segment, at) else { return Tail::Clean };
    let last = segment.iter().rposition(|byte| *byte != 0).expect("a byte that is not zero was seen");
    if has_frame_behind(segment, at, next) {
        return Tail::BeforeFrame;
    }
    match fault {
        Fault::Checksum { length } if last >= at + length => {
            Tail::Trailing { offset: first_written(segment, at + length).expect("`last` is behind the frame") }
        }
        Fault::Checksum { .. } => Tail::Torn { end: last + 1 },
        Fault::Unwritten if is_frame_without_start(segment, at, last) => Tail::Torn { end: last + 1 },
        Fault::Unwritten => Tail::Trailing { offset: first },
        Fault::Length { .. } | Fault::Layout(_) => Tail::Unreadable,
    }
}

fn first_written(segment: &[u8], at: usize) -> Option<usize> {
    segment.get(at..)?.iter().position(|byte| *byte != 0).map(|distance| at + distance)
}

/// Whether the sectors behind that of `at` look like the rest of a frame whose first sector never arrived: each is
/// either untouched or well filled, the last one from its start.
fn is_frame_without_start(segment: &[u8], at: usize, last: usize) -> bool {
    let border = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
    if segment[at..border.min(segment.len())].iter().any(|byte| *byte != 0) {
        return false;
    }
    segment[border..=last].chunks(SECTOR_BYTES).all(|sector| {
        let written = sector.iter().filter(|byte| **byte != 0).count();
        written == 0 || written * 2 >= sector.len()
    })
}

/// Looks for a valid frame behind `at`. Where the search would take too long the answer is yes: such bytes are
/// nothing that may be cut.
fn has_frame_behind(segment: &[u8], at: usize, next: u64) -> bool {
    let mut budget = segment.len() * SEARCH_ROUNDS_MAX;
    let numbers = next..=next.saturating_add((segment.len() / (FRAME_HEAD_BYTES + RECORD_HEAD_BYTES)) as u64);
    for start in (at + ALIGN..segment.len().saturating_sub(FRAME_HEAD_BYTES)).step_by(ALIGN) {
        let bytes = &segment[start..];
        let is_plausible = u32_at(bytes, 20) == Some(0) && u64_at(bytes, 8).is_some_and(|n| numbers.contains(&n));
        if !is_plausible {
            continue;
        }
        match frame::decode(bytes) {
            Ok(_) | Err(Fault::Layout(_)) => return true,
            Err(Fault::Checksum { length }) => match budget.checked_sub(length) {
                Some(left) => budget = left,
                None => return true,
            },
            Err(Fault::Unwritten | Fault::Length { .. }) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::RunId;
    use crate::journal::Link;

    const AT: usize = 1000;

    fn frame_bytes(number: u64, payload: usize) -> Vec<u8> {
        let mut encoder = frame::Encoder::default();
        encoder.begin(number);
        encoder.push(RunId(Uuid::from_u128(77)), 1, Link([9; 16]), &vec![b'x'; payload]);
        encoder.finish();
        encoder.bytes().to_vec()
    }

    fn segment_with(frames: &[&[u8]]) -> Vec<u8> {
        let mut segment = vec![0; 16 * 1024];
        let mut at = AT;
        for bytes in frames {
            segment[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        segment
    }

    #[track_caller]
    fn check(segment: &[u8], expected: Tail) {
        let fault = frame::decode(&segment[AT..]).expect_err("the frame is damaged");
        assert_eq!(judge(segment, AT, 5, fault), expected);
    }

    #[test]
    fn zeros_are_the_end() {
        check(&segment_with(&[]), Tail::Clean);
    }

    #[test]
    fn a_frame_may_miss_any_of_its_sectors() {
        let bytes = frame_bytes(5, 4000);
        let sectors: Vec<usize> = (0..).map(|n| n * SECTOR_BYTES).take_while(|s| *s < AT + bytes.len()).collect();
        for pattern in 1_u32..1 << sectors.len() {
            let mut segment = segment_with(&[&bytes]);
            let whole = segment.clone();
            for (nth, sector) in sectors.iter().enumerate() {
                if pattern >> nth & 1 == 1 {
                    segment[*sector.max(&AT)..(sector + SECTOR_BYTES).max(AT)].fill(0);
                }
            }
            if segment == whole {
                continue;
            }
            let fault = frame::decode(&segment[AT..]).unwrap_err();
            let tail = judge(&segment, AT, 5, fault);
            assert!(matches!(tail, Tail::Torn { .. } | Tail::Clean), "{pattern:b}: {tail:?}");
        }
    }

    #[test]
    fn damage_before_a_valid_frame_is_no_torn_append() {
        let mut segment = segment_with(&[&frame_bytes(5, 300), &frame_bytes(6, 10)]);
        segment[AT + 100] ^= 1;
        check(&segment, Tail::BeforeFrame);
        segment[AT..AT + 100].fill(0);
        check(&segment, Tail::BeforeFrame);
    }

    #[test]
    fn a_stray_byte_behind_the_end_is_no_torn_append() {
        for offset in [AT, AT + 9, AT + 700, 16 * 1024 - 1] {
            let mut segment = segment_with(&[]);
            segment[offset] = 4;
            let fault = frame::decode(&segment[AT..]).unwrap_err();
            assert!(!matches!(judge(&segment, AT, 5, fault), Tail::Torn { .. } | Tail::Clean), "{offset}");
        }
    }

    #[test]
    fn bytes_behind_a_damaged_last_frame_are_no_torn_append() {
        let bytes = frame_bytes(5, 300);
        let mut segment = segment_with(&[&bytes]);
        segment[AT + 100] ^= 1;
        check(&segment, Tail::Torn { end: AT + bytes.iter().rposition(|b| *b != 0).unwrap() + 1 });
        segment[AT + bytes.len() + 50] = 1;
        check(&segment, Tail::Trailing { offset: AT + bytes.len() + 50 });
    }

    #[test]
    fn bytes_made_to_be_slow_are_refused_soon() {
        let mut segment = vec![0; 4 << 20];
        for start in (AT..segment.len() - 2 * FRAME_HEAD_BYTES).step_by(FRAME_HEAD_BYTES) {
            let length = u32::try_from((segment.len() - start) / ALIGN * ALIGN).unwrap();
            segment[start..start + 4].copy_from_slice(&length.to_le_bytes());
            segment[start + 8] = 7;
        }
        check(&segment, Tail::BeforeFrame);
    }
}
