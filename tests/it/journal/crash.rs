//! A process that appends is killed, or cannot write any more; what it was told to be durable is there.
//!
//! The child is this test binary, started with the one test `child_that_appends`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ollmcp::domain::ids::RunId;
use ollmcp::journal::{AppendError, Frame, Heads, Journal as _, Options, Position};
use tempfile::tempdir;

use super::{Dice, open, read, run};

const CHILD: &str = "journal::crash::child_that_appends";
const FOLDER: &str = "OLLMCP_TEST_JOURNAL";
const RUNS: u128 = 8;
const KILLS: u32 = 20;

fn options() -> Options {
    Options { create: true, segment_bytes: 64 << 10, free_bytes_min: 0, ..Options::default() }
}

fn payload(run: RunId, seq: u64) -> Vec<u8> {
    let text = format!("{run}/{seq}/");
    let length = usize::try_from(seq * 37 % 900).unwrap();
    format!("{text}{}", "z".repeat(length)).into_bytes()
}

/// Appends to all runs at once until it is killed or the journal breaks; says on stderr what was acknowledged.
#[test]
fn child_that_appends() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (opened, _) = open(Path::new(&folder), options()).unwrap();
    let journal = Arc::new(opened.journal);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..RUNS {
        let journal = journal.clone();
        let mut head = opened.heads.get(&run(number)).map_or(0, |head| head.seq);
        let task = async move {
            loop {
                let count = head % 3 + 1;
                let payloads = (1..=count).map(|nth| payload(run(number), head + nth)).collect();
                match journal.append(run(number), head + 1, payloads).await {
                    Ok(_) => head += count,
                    Err(error) => return error,
                }
                writeln!(std::io::stderr(), "ack {number} {head}").unwrap();
            }
        };
        tasks.spawn_on(task, runtime.handle());
    }
    runtime.block_on(async {
        while let Some(error) = tasks.join_next().await {
            let name = match error.unwrap() {
                AppendError::Broken(reason) => format!("broken {reason}"),
                AppendError::Closed => "closed".to_owned(),
                other => format!("unexpected {other}"),
            };
            writeln!(std::io::stderr(), "{name}").unwrap();
        }
    });
}

fn start_child(folder: &Path, limit_blocks: Option<u32>) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match limit_blocks {
        None => Command::new(program),
        Some(blocks) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")).arg(program);
            shell
        }
    };
    command.args(["--exact", CHILD, "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Takes a line of the child; others than acknowledgements go to `others`.
fn take_line(line: &str, acknowledged: &mut BTreeMap<RunId, u64>, others: &mut Vec<String>) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["ack", number, seq] => {
            acknowledged.insert(run(number.parse().unwrap()), seq.parse().unwrap());
        }
        _ => others.push(line.to_owned()),
    }
}

#[track_caller]
fn check_nothing_lost(frames: &[Frame], acknowledged: &BTreeMap<RunId, u64>) {
    let mut heads = BTreeMap::new();
    for record in frames.iter().flat_map(|frame| &frame.records) {
        let head = heads.entry(record.run).or_insert(0);
        *head += 1;
        assert_eq!(record.seq, *head);
        assert_eq!(record.payload, payload(record.run, record.seq));
    }
    for (run, seq) in acknowledged {
        assert!(heads.get(run) >= Some(seq), "{run}: {seq} was acknowledged, {:?} is there", heads.get(run));
    }
}

#[tokio::test]
async fn no_acknowledged_record_is_lost_over_many_kills() {
    let mut dice = Dice::new();
    let dir = tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let (mut known, mut heads) = (Position::default(), Heads::new());
    for kill in 0..KILLS {
        let mut child = start_child(dir.path(), None);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut others = Vec::new();
        for _ in 0..1 + dice.below(300) {
            take_line(&lines.next().unwrap().unwrap(), &mut acknowledged, &mut others);
        }
        child.kill().unwrap();
        for line in lines {
            let line = line.unwrap();
            // The kill may have cut the last line short.
            if line.starts_with("ack ") && line.split(' ').count() == 3 && !line.ends_with(' ') {
                take_line(&line, &mut acknowledged, &mut others);
            }
        }
        child.wait().unwrap();
        assert!(others.is_empty(), "{others:?}");

        let (opened, new) = open(dir.path(), Options { from: known, heads: heads.clone(), ..options() }).unwrap();
        opened.journal.close().await.unwrap();
        let (frames, _) = read(dir.path()).unwrap();
        assert_eq!(frames[usize::try_from(known.frame).unwrap()..], new, "kill {kill}");
        check_nothing_lost(&frames, &acknowledged);
        if dice.below(2) == 0 {
            (known, heads) = (opened.last, opened.heads);
        }
    }
    println!("{acknowledged:?} acknowledged, {} frames read over", known.frame);
}

#[tokio::test]
async fn a_failed_write_ends_the_writer_and_what_was_acknowledged_is_there() {
    // In blocks of 512 bytes: in the middle of the first segment, and too short for a second one.
    for blocks in [64, 100, 127] {
        let dir = tempdir().unwrap();
        drop(open(dir.path(), options()).unwrap());
        let child = start_child(dir.path(), Some(blocks));
        let output = child.wait_with_output().unwrap();
        let (mut acknowledged, mut others) = (BTreeMap::new(), Vec::new());
        for line in String::from_utf8(output.stderr).unwrap().lines() {
            take_line(line, &mut acknowledged, &mut others);
        }
        assert_eq!(others.len(), usize::try_from(RUNS).unwrap(), "{others:?}");
        assert!(others.iter().any(|line| line.starts_with("broken cannot ")), "{others:?}");
        assert!(others.iter().all(|line| line.starts_with("broken ") || line == "closed"), "{others:?}");
        let (opened, frames) = open(dir.path(), options()).unwrap();
        check_nothing_lost(&frames, &acknowledged);
        assert!(!frames.is_empty());
        opened.journal.append(run(99), 1, vec![b"on".to_vec()]).await.unwrap();
        opened.journal.close().await.unwrap();
    }
}
