//! No damage goes unnoticed: refused with file and byte, or the torn last append alone is cut, with a note.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ollmcp::journal::{Frame, Journal as _, JournalError, Options};
use tempfile::{TempDir, tempdir};

use super::{Dice, append_some, open, read, run, segment_files, short};

/// A journal of several short segments, the last one half full.
async fn sample() -> (TempDir, Vec<Frame>) {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    append_some(&opened.journal, 23, 300).await;
    opened.journal.close().await.unwrap();
    let (frames, _) = read(dir.path()).unwrap();
    assert_eq!(segment_files(dir.path()).len(), 3);
    (dir, frames)
}

/// Reads a changed journal: refused with a place, or all but what the last append wrote, with a note.
#[track_caller]
fn check_not_silent(dir: &Path, original: &[Frame], what: &str) -> bool {
    match read(dir) {
        Err(error) => {
            assert!(error.is_damage(), "{what}: {error}");
            let text = error.to_string();
            assert!(text.contains(".journal"), "{what}: {text}");
            assert!(error.hint().is_some());
            true
        }
        Ok((frames, notes)) => {
            assert_eq!(notes.len(), 1, "{what}: silent");
            assert!(notes[0].contains("at byte"), "{}", notes[0]);
            let kept = frames.len();
            assert!(kept + 1 >= original.len(), "{what}: {kept} frames");
            assert_eq!(frames, original[..kept], "{what}");
            false
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_is_noticed() {
    let (dir, original) = sample().await;
    let files = segment_files(dir.path());
    let (mut refused, mut torn) = (0, 0);
    for (nth, path) in files.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            for mask in [1 << (at % 8), 0xff] {
                file.write_all_at(&[byte ^ mask], at as u64).unwrap();
                let was_refused = check_not_silent(dir.path(), &original, &format!("{path:?} byte {at} ^ {mask:x}"));
                assert!(was_refused || nth + 1 == files.len(), "only the last segment can be torn: {path:?} {at}");
                if was_refused { refused += 1 } else { torn += 1 }
            }
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
    }
    println!("{refused} refused, {torn} cut as torn");
    assert!(refused > 10 * torn && torn > 0);
    assert_eq!(read(dir.path()).unwrap().0, original);
}

#[tokio::test]
async fn every_cut_file_is_refused() {
    let (dir, original) = sample().await;
    for path in segment_files(dir.path()) {
        let bytes = fs::read(&path).unwrap();
        for length in (0..bytes.len()).rev() {
            fs::File::options().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            assert!(check_not_silent(dir.path(), &original, &format!("{path:?} cut at {length}")));
        }
        fs::write(&path, &bytes).unwrap();
        fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
        assert!(check_not_silent(dir.path(), &original, "one byte longer"));
        fs::write(&path, &bytes).unwrap();
    }
}

/// Zeros from some byte on are what a disk leaves that never wrote the rest. Whole frames at the end can vanish so;
/// then only someone who knows the position can tell, and does.
#[tokio::test]
async fn zeros_over_the_end_are_refused_beside_a_known_position() {
    let (dir, original) = sample().await;
    let path = segment_files(dir.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let known = original.last().unwrap().position;
    let file = fs::File::options().write(true).open(&path).unwrap();
    for at in (0..used).rev() {
        file.write_all_at(&[0], at as u64).unwrap();
        if bytes[at] == 0 {
            continue;
        }
        let error = open(dir.path(), Options { from: known, ..short() }).unwrap_err();
        assert!(error.is_damage(), "{at}: {error}");
        if let Ok((frames, _)) = read(dir.path()) {
            assert_eq!(frames, original[..frames.len()]);
            assert!(
                matches!(error, JournalError::Lost { known, .. } if known == original.len() as u64),
                "{at}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_torn_append_is_cut_with_a_note_and_its_number_is_free_again() {
    let mut dice = Dice::new();
    for _ in 0..40 {
        let (dir, original) = sample().await;
        let path = segment_files(dir.path()).pop().unwrap();
        let (opened, _) = open(dir.path(), short()).unwrap();
        opened.journal.append(run(0), 13, vec![vec![b'y'; 1500]]).await.unwrap();
        opened.journal.close().await.unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let start = bytes.windows(8).position(|eight| eight == b"yyyyyyyy").unwrap();
        let sectors: Vec<usize> = (start / 512 + 1..(start + 1500) / 512).collect();
        let lost = sectors[usize::try_from(dice.below(sectors.len() as u64)).unwrap()];
        bytes[lost * 512..(lost + 1) * 512].fill(0);
        if dice.below(2) == 0 {
            let gone = dice.below(1400);
            let from = start + usize::try_from(gone).unwrap();
            bytes[from..].fill(0);
        }
        fs::write(&path, &bytes).unwrap();
        let (opened, frames) = open(dir.path(), short()).unwrap();
        assert_eq!(frames, original);
        assert_eq!(opened.notes.len(), 1);
        opened.journal.append(run(0), 13, vec![b"again".to_vec()]).await.unwrap();
        opened.journal.close().await.unwrap();
        let (frames, notes) = read(dir.path()).unwrap();
        assert_eq!((frames.len(), notes.len()), (original.len() + 1, 0));
    }
}

/// The first frame of a later segment was synced before the segment got its name: it cannot be torn.
#[tokio::test]
async fn damage_in_the_only_frame_of_a_later_segment_is_no_torn_append() {
    let (dir, _) = sample().await;
    let (opened, _) = open(dir.path(), short()).unwrap();
    opened.journal.append(run(5), 1, vec![vec![b'y'; 9000]]).await.unwrap();
    opened.journal.close().await.unwrap();
    let path = segment_files(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] = 0;
    fs::write(&path, bytes).unwrap();
    let error = open(dir.path(), short()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { file, offset: 64, .. } if *file == path), "{error}");
}

#[tokio::test]
async fn a_refused_journal_is_left_as_it_is() {
    let (dir, _) = sample().await;
    let files = segment_files(dir.path());
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[200] ^= 4;
    fs::write(&files[1], &bytes).unwrap();
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let error = open(dir.path(), short()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { file, offset: 64, .. } if *file == files[1]), "{error}");
    let after: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after);
}

#[tokio::test]
async fn missing_swapped_and_foreign_segments_are_refused() {
    let (dir, _) = sample().await;
    let (other, _) = sample_of_other_payloads().await;
    let files = segment_files(dir.path());
    let aside = dir.path().join("aside");

    for missing in [0, 1] {
        fs::rename(&files[missing], &aside).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(matches!(&error, JournalError::MissingSegment { file } if *file == files[missing]), "{error}");
        fs::rename(&aside, &files[missing]).unwrap();
    }

    fs::rename(&files[1], &aside).unwrap();
    fs::rename(&files[2], &files[1]).unwrap();
    fs::rename(&aside, &files[2]).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Header { file, .. } if *file == files[1]), "{error}");
    fs::rename(&files[1], &aside).unwrap();
    fs::rename(&files[2], &files[1]).unwrap();
    fs::rename(&aside, &files[2]).unwrap();
    read(dir.path()).unwrap();

    fs::copy(&segment_files(other.path())[1], &files[1]).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Header { file, .. } if *file == files[1]), "{error}");
}

async fn sample_of_other_payloads() -> (TempDir, Vec<Frame>) {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    append_some(&opened.journal, 23, 301).await;
    opened.journal.close().await.unwrap();
    let (frames, _) = read(dir.path()).unwrap();
    (dir, frames)
}

#[tokio::test]
async fn a_frame_of_another_history_at_the_known_position_is_refused() {
    let (dir, frames) = sample().await;
    let mut known = frames[20].position;
    known.crc ^= 1;
    let error = open(dir.path(), Options { from: known, ..short() }).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { frame: 21, .. }), "{error}");
}

/// The offsets of the frames of a segment, by their lengths.
fn frame_offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![64];
    loop {
        let at = *offsets.last().unwrap();
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            return offsets;
        }
        offsets.push(at + length);
    }
}

#[tokio::test]
async fn frames_taken_out_swapped_or_edited_with_right_checksums_are_refused() {
    let (dir, _) = sample().await;
    let path = segment_files(dir.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let offsets = frame_offsets(&bytes);
    let (first, second, third) = (offsets[0], offsets[1], offsets[2]);

    let mut taken_out = bytes.clone();
    taken_out.drain(second..third);
    taken_out.resize(bytes.len(), 0);
    fs::write(&path, taken_out).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::Gap { offset, .. } if offset == second as u64), "{error}");

    let mut swapped = bytes.clone();
    swapped[first..third].rotate_left(second - first);
    fs::write(&path, swapped).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::Gap { offset, .. } if offset == first as u64), "{error}");

    let mut edited = bytes.clone();
    edited[second - 20] ^= 1;
    let crc = {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&edited[first..first + 4]);
        hasher.update(&edited[first + 8..second]);
        hasher.finalize()
    };
    edited[first + 4..first + 8].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, edited).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::Chain { .. }), "{error}");
}

#[tokio::test]
async fn a_run_that_goes_on_without_a_known_head_is_refused() {
    let (dir, frames) = sample().await;
    let error = open(dir.path(), Options { from: frames[10].position, ..short() }).unwrap_err();
    assert!(matches!(error, JournalError::Chain { head: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_segment_of_a_later_format_is_named_as_such() {
    let (dir, _) = sample().await;
    let path = segment_files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");
}
