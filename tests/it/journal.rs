//! The journal on real files: durable in order, refused when damaged, whole after a kill.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod blobs;
mod crash;
mod damage;
mod suite;

use std::path::{Path, PathBuf};

use ollmcp::domain::ids::RunId;
use ollmcp::journal::{Frame, Journal, JournalError, Opened, Options, Position, Segments, read_all};
use uuid::Uuid;

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

/// Segments so short that a test fills several.
fn short() -> Options {
    Options { create: true, segment_bytes: 4096, free_bytes_min: 0, ..Options::default() }
}

fn open(dir: &Path, options: Options) -> Result<(Opened, Vec<Frame>), JournalError> {
    let mut frames = Vec::new();
    let opened = Segments::open(dir, options, &mut |frame| {
        frames.push(frame);
        Ok(())
    })?;
    Ok((opened, frames))
}

fn read(dir: &Path) -> Result<(Vec<Frame>, Vec<String>), JournalError> {
    let mut frames = Vec::new();
    let summary = read_all(dir, &mut |frame| {
        frames.push(frame);
        Ok(())
    })?;
    Ok((frames, summary.notes))
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .collect();
    files.sort();
    files
}

/// Appends `count` records, one at a time, to two runs in turn; returns the positions.
async fn append_some(journal: &dyn Journal, count: u64, payload_bytes: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    for nth in 0..count {
        let payload = format!("{{\"nth\":{nth},\"text\":\"{}\"}}", "x".repeat(payload_bytes));
        let seq = nth / 2 + 1;
        positions.push(journal.append(run(u128::from(nth % 2)), seq, vec![payload.into_bytes()]).await.unwrap());
    }
    positions
}

/// Numbers that look random, from a seed that a failure prints.
struct Dice(u64);

impl Dice {
    #[expect(clippy::print_stdout, reason = "a failed test shows its seed")]
    fn new() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let seed = std::hash::RandomState::new().build_hasher().finish();
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}
