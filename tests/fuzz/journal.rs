//! Bytes as segments of a journal.

use std::path::Path;
use std::time::{Duration, Instant};

use bolero::check;
use ollmcp::domain::ids::RunId;
use ollmcp::journal::{Frame, Journal as _, JournalError, Options, Segments, read_all};
use tempfile::tempdir;

/// Far above what any input of these sizes needs, far below what bytes made to be slow could take.
const LIMIT: Duration = Duration::from_secs(5);

fn read(dir: &Path) -> Result<(Vec<Frame>, Vec<String>), JournalError> {
    let started = Instant::now();
    let mut frames = Vec::new();
    let summary = read_all(dir, &mut |frame| {
        frames.push(frame);
        Ok(())
    });
    assert!(started.elapsed() < LIMIT, "reading took {:?}", started.elapsed());
    summary.map(|summary| (frames, summary.notes))
}

/// A head that fits, so that the bytes behind it are looked at.
fn header(file_bytes: u64) -> [u8; 64] {
    let mut head = [0; 64];
    head[..8].copy_from_slice(b"ollmcpjn");
    head[8] = 1;
    head[16] = 1;
    head[24] = 1;
    head[32..40].copy_from_slice(&file_bytes.to_le_bytes());
    let crc = crc32fast::hash(&head[..60]);
    head[60..].copy_from_slice(&crc.to_le_bytes());
    head
}

#[test]
fn any_bytes_as_a_segment_are_read_or_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("00000001.journal");
    check!().for_each(|bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        assert!(read(dir.path()).is_err() || bytes.len() >= 64);
    });
}

#[test]
fn any_bytes_behind_a_right_head_are_read_or_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("00000001.journal");
    check!().for_each(|bytes: &[u8]| {
        let mut segment = header(64 + bytes.len() as u64).to_vec();
        segment.extend_from_slice(bytes);
        std::fs::write(&path, segment).unwrap();
        if let Ok((frames, notes)) = read(dir.path()) {
            let is_empty = bytes.iter().all(|byte| *byte == 0);
            assert!(is_empty || !frames.is_empty() || !notes.is_empty(), "bytes vanished without a note");
        }
    });
}

#[test]
fn any_change_of_a_good_journal_is_refused_or_costs_the_last_append_with_a_note() {
    let dir = tempdir().unwrap();
    let original = good_journal(dir.path());
    let paths: Vec<_> = (1..=2).map(|number| dir.path().join(format!("{number:08}.journal"))).collect();
    let good: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    check!().with_type::<(bool, u16, Vec<u8>)>().for_each(|(in_last, at, patch)| {
        let which = usize::from(*in_last);
        let mut changed = good[which].clone();
        let at = usize::from(*at) % changed.len();
        for (old, new) in changed[at..].iter_mut().zip(patch) {
            *old = *new;
        }
        let is_changed = changed != good[which];
        std::fs::write(&paths[which], changed).unwrap();
        match read(dir.path()) {
            Err(error) => assert!(is_changed && error.is_damage(), "{error}"),
            Ok((frames, notes)) if is_changed => {
                assert!(notes.len() == 1 && *in_last, "a silent change at {at}");
                assert!(frames.len() + 1 >= original.len() && frames == original[..frames.len()]);
            }
            Ok((frames, _)) => assert_eq!(frames, original),
        }
        std::fs::write(&paths[which], &good[which]).unwrap();
    });
}

fn good_journal(dir: &Path) -> Vec<Frame> {
    let options = Options { create: true, segment_bytes: 4096, free_bytes_min: 0, ..Options::default() };
    let journal = Segments::open(dir, options, &mut |_| Ok(())).unwrap().journal;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let run = RunId(uuid::Uuid::from_u128(1));
        for seq in 1..=16 {
            journal
                .append(run, seq, vec![format!("{{\"seq\":{seq},{}}}", "x".repeat(300)).into_bytes()])
                .await
                .unwrap();
        }
        journal.close().await.unwrap();
    });
    read(dir).unwrap().0
}
