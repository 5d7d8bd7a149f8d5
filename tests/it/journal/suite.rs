//! What every journal must do, run on both; then what only files can do.

use std::sync::Arc;

use ollmcp::journal::frame;
use ollmcp::journal::memory::Memory;
use ollmcp::journal::{
    AppendError, Frame, Heads, Journal, JournalError, Options, Position, Segments, read_run, retire,
};
use proptest::prelude::*;
use tempfile::tempdir;

use super::{append_some, open, read, run, segment_files, short};

/// One append: run, first sequence number, payloads.
type Call = (u128, u64, Vec<Vec<u8>>);

/// A journal under test, and a way to see what it holds.
trait Subject: Journal {
    fn held(&self) -> Vec<Frame>;
}

impl Subject for Memory {
    fn held(&self) -> Vec<Frame> {
        self.frames()
    }
}

#[derive(Debug)]
struct OnDisk(Segments, tempfile::TempDir);

impl Journal for OnDisk {
    fn append(
        &self,
        run: ollmcp::domain::ids::RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> futures::future::BoxFuture<'static, Result<Position, AppendError>> {
        self.0.append(run, first_seq, payloads)
    }
}

impl Subject for OnDisk {
    fn held(&self) -> Vec<Frame> {
        read(self.1.path()).unwrap().0
    }
}

fn on_disk(options: Options) -> OnDisk {
    let dir = tempdir().unwrap();
    let journal = open(dir.path(), options).unwrap().0.journal;
    OnDisk(journal, dir)
}

fn subjects() -> Vec<Arc<dyn Subject>> {
    vec![
        Arc::new(Memory::new()),
        Arc::new(on_disk(short())),
        Arc::new(on_disk(Options { create: true, ..Options::default() })),
    ]
}

#[tokio::test]
async fn records_read_back_in_the_order_of_their_appends() {
    for journal in subjects() {
        let first = journal.append(run(1), 1, vec![b"a".to_vec(), b"b".to_vec()]).await.unwrap();
        let second = journal.append(run(2), 1, vec![b"c".to_vec()]).await.unwrap();
        let third = journal.append(run(1), 3, vec![vec![]]).await.unwrap();
        let frames = journal.held();
        assert_eq!(frames.iter().map(|frame| frame.position).collect::<Vec<_>>(), [first, second, third]);
        assert_eq!((first.frame, second.frame, third.frame), (1, 2, 3));
        let records: Vec<_> =
            frames.iter().flat_map(|f| &f.records).map(|r| (r.run, r.seq, r.payload.as_slice())).collect();
        let expected: [(_, _, &[u8]); 4] = [(run(1), 1, b"a"), (run(1), 2, b"b"), (run(2), 1, b"c"), (run(1), 3, b"")];
        assert_eq!(records, expected);
    }
}

#[tokio::test]
async fn a_late_twin_is_told_that_its_number_is_taken() {
    for journal in subjects() {
        journal.append(run(1), 1, vec![b"a".to_vec(), b"b".to_vec()]).await.unwrap();
        for taken in [0, 1, 2] {
            let refusal = journal.append(run(1), taken, vec![b"x".to_vec()]).await.unwrap_err();
            assert!(matches!(refusal, AppendError::SequenceTaken { seq, .. } if seq == taken), "{refusal}");
        }
        let refusal = journal.append(run(1), 4, vec![b"x".to_vec()]).await.unwrap_err();
        assert!(matches!(refusal, AppendError::SequenceSkipped { seq: 4, next: 3, .. }), "{refusal}");
        journal.append(run(1), 3, vec![b"c".to_vec()]).await.unwrap();
        assert_eq!(journal.held().len(), 2);
    }
}

#[tokio::test]
async fn of_two_writers_of_one_number_one_wins() {
    for journal in subjects() {
        let twins = (0..8_u8).map(|twin| journal.append(run(1), 1, vec![vec![twin]]));
        let results = futures::future::join_all(twins).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!(journal.held().iter().map(|frame| frame.records.len()).sum::<usize>(), 1);
    }
}

#[tokio::test]
async fn an_append_of_nothing_answers_with_the_last_position() {
    for journal in subjects() {
        assert_eq!(journal.append(run(1), 1, vec![]).await.unwrap(), Position::default());
        let last = journal.append(run(1), 1, vec![b"a".to_vec()]).await.unwrap();
        assert_eq!(journal.append(run(2), 9, vec![]).await.unwrap(), last);
    }
}

#[tokio::test]
async fn an_append_that_no_frame_can_hold_is_refused_and_the_writer_goes_on() {
    for journal in subjects() {
        let refusal = journal.append(run(1), 1, vec![vec![0; 33 << 20]; 2]).await.unwrap_err();
        assert!(matches!(refusal, AppendError::TooLarge { .. }), "{refusal}");
        journal.append(run(1), 1, vec![b"a".to_vec()]).await.unwrap();
        let largest = frame::FRAME_BYTES_MAX - frame::FRAME_HEAD_BYTES - frame::RECORD_HEAD_BYTES;
        journal.append(run(1), 2, vec![vec![7; largest]]).await.unwrap();
        assert_eq!(journal.held()[1].records[0].payload.len(), largest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_many_tasks_are_durable_in_order_and_share_frames() {
    const TASKS: u64 = 64;
    const EACH: u64 = 40;
    for journal in subjects() {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let journal = journal.clone();
            tasks.spawn(async move {
                for seq in 1..=EACH {
                    journal.append(run(task.into()), seq, vec![format!("{task}/{seq}").into_bytes()]).await.unwrap();
                }
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap();
        }
        let mut heads = std::collections::BTreeMap::new();
        for record in journal.held().iter().flat_map(|frame| &frame.records) {
            let head = heads.entry(record.run).or_insert(0);
            *head += 1;
            assert_eq!(record.seq, *head);
            let expected = format!("{}/{}", record.run.0.as_u128(), record.seq);
            assert_eq!(record.payload, expected.as_bytes());
        }
        assert_eq!(heads.len() as u64, TASKS);
        assert!(heads.values().all(|head| *head == EACH));
    }
}

#[tokio::test]
async fn appends_that_wait_share_one_frame() {
    let journal = on_disk(short());
    let waiting = (0..2000_u128).map(|n| journal.append(run(n), 1, vec![b"a".to_vec()]));
    futures::future::join_all(waiting).await.into_iter().for_each(|result| {
        result.unwrap();
    });
    let frames = journal.held();
    assert_eq!(frames.iter().map(|frame| frame.records.len()).sum::<usize>(), 2000);
    assert!(frames.len() < 1000, "{} frames", frames.len());
}

#[tokio::test]
async fn the_memory_twin_fails_where_it_is_told_to() {
    let journal = Memory::failing_at(2);
    journal.append(run(1), 1, vec![b"a".to_vec()]).await.unwrap();
    assert!(matches!(journal.append(run(1), 2, vec![b"b".to_vec()]).await, Err(AppendError::Broken(_))));
    assert!(matches!(journal.append(run(1), 2, vec![b"b".to_vec()]).await, Err(AppendError::Closed)));
    assert_eq!(journal.records(run(1)).len(), 1);
    let again = Memory::from_frames(journal.frames());
    again.append(run(1), 2, vec![b"b".to_vec()]).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn disk_and_memory_give_the_same_answers_and_frames_over_restarts(
        calls in prop::collection::vec(
            (0..4_u128, 0..6_u64, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..4)), 1..30),
        reopen_at in prop::collection::vec(0..30_usize, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(same_on_both(calls, reopen_at));
    }
}

async fn same_on_both(calls: Vec<Call>, reopen_at: Vec<usize>) {
    let dir = tempdir().unwrap();
    let memory = Memory::new();
    let mut opened = open(dir.path(), short()).unwrap().0;
    let (mut known, mut heads) = (Position::default(), Heads::new());
    for (nth, (id, seq, payloads)) in calls.into_iter().enumerate() {
        // Mostly the right number, so that runs grow.
        let next = memory.records(run(id)).len() as u64 + 1;
        let seq = if seq < 5 { next } else { seq };
        let one = memory.append(run(id), seq, payloads.clone()).await;
        let other = opened.journal.append(run(id), seq, payloads).await;
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        if reopen_at.contains(&nth) {
            opened.journal.close().await.unwrap();
            let from = Options { from: known, heads: heads.clone(), ..short() };
            let (again, new) = open(dir.path(), from).unwrap();
            let all = memory.frames();
            assert_eq!(new, all[usize::try_from(known.frame).unwrap()..]);
            assert!(again.notes.is_empty());
            opened = again;
            (known, heads) = (opened.last, opened.heads.clone());
        }
    }
    opened.journal.close().await.unwrap();
    assert_eq!(read(dir.path()).unwrap().0, memory.frames());
    for id in 0..4 {
        assert_eq!(read_run(dir.path(), run(id)).unwrap(), memory.records(run(id)));
    }
}

#[tokio::test]
async fn segments_follow_each_other_and_a_large_append_gets_its_own() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    append_some(&opened.journal, 50, 300).await;
    let large = vec![7; 100_000];
    opened.journal.append(run(9), 1, vec![large.clone()]).await.unwrap();
    opened.journal.append(run(9), 2, vec![b"behind".to_vec()]).await.unwrap();
    opened.journal.close().await.unwrap();
    let files = segment_files(dir.path());
    assert!(files.len() > 4, "{files:?}");
    let lengths: Vec<u64> = files.iter().map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(lengths.iter().filter(|length| **length != 4096).count(), 1, "{lengths:?}");
    assert!(!dir.path().join("spare.tmp").exists());
    let (frames, notes) = read(dir.path()).unwrap();
    assert_eq!((frames.len(), notes.len()), (52, 0));
    assert_eq!(frames[50].records[0].payload, large);
}

#[tokio::test]
async fn a_start_from_a_position_reads_only_what_is_behind_it() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    let positions = append_some(&opened.journal, 40, 300).await;
    opened.journal.close().await.unwrap();
    let (all, _) = read(dir.path()).unwrap();
    for known in positions {
        let mut heads = Heads::new();
        for record in all[..usize::try_from(known.frame).unwrap()].iter().flat_map(|frame| &frame.records) {
            heads.insert(record.run, ollmcp::journal::Head { seq: record.seq, link: record.link });
        }
        let (opened, frames) = open(dir.path(), Options { from: known, heads, ..short() }).unwrap();
        assert_eq!(frames, all[usize::try_from(known.frame).unwrap()..]);
        assert_eq!(opened.heads[&run(0)].seq, 20);
        let taken = opened.journal.append(run(0), 20, vec![b"x".to_vec()]).await;
        assert!(matches!(taken, Err(AppendError::SequenceTaken { .. })));
        opened.journal.close().await.unwrap();
    }
}

#[tokio::test]
async fn segments_that_nobody_needs_go_and_the_rest_stays_checked() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    append_some(&opened.journal, 40, 300).await;
    // A live run, silent since the first segment, and one that has ended there.
    let (all, _) = read(dir.path()).unwrap();
    drop(opened);
    let (opened, _) = open(dir.path(), short()).unwrap();
    let files = segment_files(dir.path()).len() as u64;
    assert!(files >= 4);
    assert_eq!(retire(dir.path(), 1, &|_| false).unwrap(), 0);
    assert_eq!(retire(dir.path(), 25, &|_| false).unwrap(), 2);
    assert_eq!(retire(dir.path(), 25, &|_| false).unwrap(), 0);
    opened.journal.append(run(0), 21, vec![b"x".to_vec()]).await.unwrap();
    opened.journal.append(run(7), 1, vec![b"short".to_vec()]).await.unwrap();
    for seq in 22..60 {
        opened.journal.append(run(0), seq, vec![vec![b'x'; 300]]).await.unwrap();
    }
    opened.journal.close().await.unwrap();
    let (rest, _) = read(dir.path()).unwrap();
    let gone = all.iter().position(|frame| *frame == rest[0]).unwrap();
    assert!((1..25).contains(&gone));
    assert_eq!(rest[..all.len() - gone], all[gone..]);

    let last = rest.last().unwrap().position;
    let removed = retire(dir.path(), u64::MAX, &|run| run == super::run(7)).unwrap();
    assert_eq!(segment_files(dir.path()).len(), 1, "{removed} removed");
    let (opened, _) = open(dir.path(), short()).unwrap();
    assert_eq!(opened.last, last);
    assert_eq!(opened.heads.keys().copied().collect::<Vec<_>>(), [run(0), run(7)], "run 1 has nothing left to follow");
    opened.journal.append(run(7), 2, vec![b"awake".to_vec()]).await.unwrap();
    opened.journal.close().await.unwrap();
    read(dir.path()).unwrap();

    let floor = dir.path().join("floor");
    let bytes = std::fs::read(&floor).unwrap();
    std::fs::write(&floor, &bytes[1..]).unwrap();
    assert!(matches!(read(dir.path()), Err(JournalError::Header { file, .. }) if file == floor));
    std::fs::remove_file(&floor).unwrap();
    assert!(matches!(read(dir.path()), Err(JournalError::MissingSegment { .. })));
}

#[tokio::test]
async fn older_segments_may_be_gone_when_the_position_is_behind_them() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    let last = *append_some(&opened.journal, 40, 300).await.last().unwrap();
    opened.journal.close().await.unwrap();
    let (all, _) = open(dir.path(), short()).unwrap();
    all.journal.close().await.unwrap();
    std::fs::remove_file(&segment_files(dir.path())[0]).unwrap();
    let (opened, frames) = open(dir.path(), Options { from: last, heads: all.heads, ..short() }).unwrap();
    assert!(frames.is_empty());
    opened.journal.append(run(0), 21, vec![b"x".to_vec()]).await.unwrap();
    opened.journal.close().await.unwrap();
    let refusal = open(dir.path(), short()).unwrap_err();
    assert!(matches!(refusal, JournalError::MissingSegment { .. }), "{refusal}");
}

#[tokio::test]
async fn a_missing_journal_is_made_only_when_asked_and_never_when_one_was_known() {
    let dir = tempdir().unwrap();
    for folder in [dir.path().join("deep").join("new"), dir.path().to_owned()] {
        let not_asked = Options { create: false, ..short() };
        assert!(matches!(open(&folder, not_asked), Err(JournalError::Missing { .. })));
        let known = Options { from: Position { frame: 3, crc: 1 }, ..short() };
        assert!(matches!(open(&folder, known), Err(JournalError::Missing { .. })));
        assert!(segment_files_if_any(&folder).is_empty());
        let (opened, frames) = open(&folder, short()).unwrap();
        assert!(frames.is_empty());
        opened.journal.close().await.unwrap();
        assert_eq!(read(&folder).unwrap().0, []);
    }
}

fn segment_files_if_any(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    if dir.exists() { segment_files(dir) } else { Vec::new() }
}

#[tokio::test]
async fn a_closed_journal_takes_nothing_and_has_lost_nothing() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    let journal = opened.journal;
    let ended = journal.ended();
    let waiting: Vec<_> = (0..100_u128).map(|n| journal.append(run(n), 1, vec![b"a".to_vec()])).collect();
    let (results, closed) = futures::join!(futures::future::join_all(waiting), journal.close());
    closed.unwrap();
    ended.await.unwrap();
    let accepted = results.iter().filter(|result| result.is_ok()).count();
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(AppendError::Closed))));
    assert!(matches!(journal.append(run(1), 2, vec![b"b".to_vec()]).await, Err(AppendError::Closed)));
    let held: usize = read(dir.path()).unwrap().0.iter().map(|frame| frame.records.len()).sum();
    assert_eq!(held, accepted);
}

#[tokio::test]
async fn a_dropped_journal_can_be_opened_at_once() {
    let dir = tempdir().unwrap();
    for round in 1..20 {
        let (opened, frames) = open(dir.path(), short()).unwrap();
        assert_eq!(frames.len(), round - 1);
        opened.journal.append(run(1), round as u64, vec![vec![1; 500]]).await.unwrap();
    }
}

#[tokio::test]
async fn a_fold_that_fails_ends_the_opening_with_its_cause() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), short()).unwrap();
    append_some(&opened.journal, 5, 10).await;
    drop(opened);
    let error = Segments::open(dir.path(), short(), &mut |frame| match frame.position.frame {
        3 => Err("no".into()),
        _ => Ok(()),
    })
    .unwrap_err();
    assert!(matches!(error, JournalError::Fold { frame: 3, .. }), "{error}");
}

#[tokio::test]
async fn too_little_space_for_a_segment_is_said_before_it_is_made() {
    let dir = tempdir().unwrap();
    let full = Options { free_bytes_min: u64::MAX / 2, ..short() };
    let error = open(dir.path(), full.clone()).unwrap_err();
    assert!(matches!(error, JournalError::NoSpace { .. }), "{error}");
    drop(open(dir.path(), short()).unwrap());
    let (opened, _) = open(dir.path(), full).unwrap();
    let ended = opened.journal.ended();
    let mut acknowledged = 0;
    let error = loop {
        match opened.journal.append(run(1), acknowledged + 1, vec![vec![1; 500]]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 3);
    assert!(matches!(&error, AppendError::Broken(reason) if reason.contains("bytes free")), "{error}");
    assert!(matches!(opened.journal.append(run(2), 1, vec![vec![1]]).await, Err(AppendError::Closed)));
    assert!(ended.await.unwrap_err().contains("bytes free"));
    assert!(matches!(opened.journal.close().await, Err(AppendError::Broken(_))));
    drop(opened.journal);
    let (opened, frames) = open(dir.path(), short()).unwrap();
    assert_eq!(frames.len() as u64, acknowledged);
    opened.journal.append(run(1), acknowledged + 1, vec![vec![1; 500]]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_can_be_read_while_it_is_written() {
    let dir = tempdir().unwrap();
    let (opened, _) = open(dir.path(), Options { segment_bytes: 64 << 10, ..short() }).unwrap();
    let journal = Arc::new(opened.journal);
    let writer = journal.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        append_some(&*writer, 400, 5000).await;
    });
    let mut last = 0;
    while tasks.try_join_next().is_none() {
        let (frames, _) = read(dir.path()).unwrap();
        assert!(frames.len() >= last);
        last = frames.len();
        tokio::task::yield_now().await;
    }
    assert_eq!(read(dir.path()).unwrap().0.len(), 400);
}
