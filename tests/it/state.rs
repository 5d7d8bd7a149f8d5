//! The state store against the journal: the same contents whichever way they came about, and no quiet loss.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ollmcp::app::store::{self, Store, StoreError};
use ollmcp::domain::event::{Stamped, encode};
use ollmcp::domain::ids::{Digest, RunId, StepIndex, TaskId};
use ollmcp::domain::plan::Step;
use ollmcp::domain::run::RunState;
use ollmcp::journal::segments::{Options, Segments};
use ollmcp::journal::{Journal as _, JournalError, Observer, Position};
use ollmcp::state::{Reader, StateHandle};
use tempfile::TempDir;
use uuid::Uuid;

use crate::core::{Plans, Story, quarantine};

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Appends of several runs, in the order in which the journal gets them, and how the runs stand after them.
struct Work {
    appends: Vec<(RunId, u64, Vec<Vec<u8>>)>,
    runs: Vec<RunState>,
}

fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(number << 96 | 5))
}

/// Three runs: a large list that is still at work, a run that waits for a person, and one that has ended.
fn work() -> Work {
    let list = Plans::of(vec![
        Step { max_parallel: 8, ..quarantine(Plans::each("a", 120), None) },
        Step { max_parallel: 8, ..Plans::flow("b", "a") },
    ]);
    let mut large = Story::of_run(&list, run_id(1));
    large.run_quietly("open a; open b");
    for item in 0..100 {
        let end = match item % 10 {
            3 => format!("fail a.{item} missing"),
            4 => format!("fail a.{item} busy"),
            5 => format!("lost a.{item}"),
            _ => format!("output a.{item}; accept a.{item}; start b.{item}; output b.{item}; accept b.{item}"),
        };
        large.run_quietly(&format!("start a.{item}; {end}"));
    }
    let chain = Plans::of(vec![Plans::step("a"), Plans::after(Plans::step("b"), &["a"])]);
    let mut waits = Story::of_run(&chain, run_id(2));
    waits.run_quietly("open a; start a unsafe; lost a");
    let mut ended = Story::of_run(&chain, run_id(3));
    ended.run_quietly("open a; start a; output a; accept a; open b; start b idempotent; output b; accept b");
    let stories = [large, waits, ended];
    // One append holds one to four events; the runs take turns.
    let mut appends = Vec::new();
    let mut at = [0; 3];
    let mut turn = 0;
    while stories.iter().zip(at).any(|(story, at)| at < story.events.len()) {
        let which = turn % 3;
        let events: Vec<&Stamped> = stories[which].events[at[which]..].iter().take(1 + turn % 4).collect();
        if !events.is_empty() {
            let first_seq = at[which] as u64 + 1;
            at[which] += events.len();
            appends.push((stories[which].state.head.run, first_seq, events.into_iter().map(encode).collect()));
        }
        turn += 1;
    }
    Work { appends, runs: stories.into_iter().map(|story| story.state).collect() }
}

/// Every key and value in sled, once nobody has it open any more.
fn contents(state_folder: &Path) -> Contents {
    readable(state_folder).unwrap()
}

fn readable(state_folder: &Path) -> sled::Result<Contents> {
    for _ in 0..200 {
        match sled::open(state_folder.join("sled")) {
            Ok(db) => return db.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect(),
            // The thread that writes behind lets go a moment after its last handle.
            Err(error) if error.to_string().contains("lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10))
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store stays locked");
}

fn append(store: &Store, appends: &[(RunId, u64, Vec<Vec<u8>>)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for (run, first_seq, payloads) in appends {
            store.journal.append(*run, *first_seq, payloads.clone()).await.unwrap();
        }
        store.state.settle();
        assert_eq!(store.state.fault(), None);
        store.journal.close().await.unwrap();
    });
}

/// Writes a journal without any store beside it.
fn journal_only(state_folder: &Path, appends: &[(RunId, u64, Vec<Vec<u8>>)]) {
    let journal = state_folder.join("journal");
    let opened = Segments::open(&journal, Options { create: true, ..Options::default() }, &mut |_| Ok(())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let waiting =
            appends.iter().map(|(run, first_seq, payloads)| opened.journal.append(*run, *first_seq, payloads.clone()));
        for append in waiting {
            append.await.unwrap();
        }
        opened.journal.close().await.unwrap();
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copied(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(from, folder.path());
    folder
}

/// A state folder with all that was appended, its store up to date, and what is in it.
struct Base {
    work: Work,
    folder: TempDir,
    contents: Contents,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let work = work();
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(folder.path(), "p").unwrap();
        assert_eq!(store.notes, Vec::<String>::new());
        append(&store, &work.appends);
        drop(store);
        let contents = contents(folder.path());
        Base { work, folder, contents }
    })
}

/// Opens a folder for work, waits until its store is up to date, and gives what it says and holds.
fn opened(folder: &Path) -> Result<(Vec<String>, Contents), StoreError> {
    let store = store::open(folder, "p")?;
    store.state.settle();
    let notes = store.notes.clone();
    drop(store);
    Ok((notes, contents(folder)))
}

#[track_caller]
fn same(found: &Contents, expected: &Contents, what: &str) {
    let keys = |left: &Contents, right: &Contents| {
        let differs = left.iter().filter(|(key, value)| right.get(*key) != Some(value));
        differs
            .map(|(key, _)| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            .take(5)
            .collect::<Vec<_>>()
    };
    assert!(
        found == expected,
        "{what}: other values at {:?}, missing {:?}",
        keys(found, expected),
        keys(expected, found)
    );
}

#[test]
fn the_store_holds_every_run_as_its_events_leave_it() {
    let folder = copied(base().folder.path());
    let store = store::open(folder.path(), "p").unwrap();
    let reader = store.state.reader();
    for expected in &base().work.runs {
        assert_eq!(reader.run(expected.head.run).unwrap().as_ref(), Some(expected));
    }
    let heads: Vec<RunId> = reader.heads().unwrap().iter().map(|head| head.run).collect();
    assert_eq!(heads, [run_id(1), run_id(2), run_id(3)]);
    assert_eq!(
        reader.chains().unwrap().keys().copied().collect::<Vec<_>>(),
        [run_id(1), run_id(2)],
        "ended runs need none"
    );
    assert!(reader.reusable(&Digest([7; 32])).unwrap().is_some());
    assert_eq!(reader.reusable(&Digest([8; 32])).unwrap(), None);
}

#[test]
fn the_fold_of_the_whole_journal_gives_the_same_store_as_writing_behind() {
    let folder = copied(base().folder.path());
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    let (notes, found) = opened(folder.path()).unwrap();
    assert_eq!(notes, ["the state store was missing or empty and is made anew from the journal"]);
    same(&found, &base().contents, "made anew");
}

#[test]
fn a_store_that_is_behind_folds_only_the_rest_and_comes_out_the_same() {
    let appends = &base().work.appends;
    for known in [1, 2, appends.len() / 3, appends.len() - 1, appends.len()] {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(folder.path(), "p").unwrap();
        append(&store, &appends[..known]);
        let position = store.state.reader().position().unwrap();
        let chains = store.state.reader().chains().unwrap();
        drop(store);
        // The rest reaches the disk, and the process dies before its store hears of it.
        fs::remove_dir_all(folder.path().join("journal")).unwrap();
        journal_only(folder.path(), appends);
        let mut frames = 0;
        let options = Options { from: position, heads: chains, ..Options::default() };
        let journal = Segments::open(&folder.path().join("journal"), options, &mut |_| {
            frames += 1;
            Ok(())
        });
        drop(journal.unwrap());
        assert_eq!(frames, appends.len() - known, "only what the store lacks is read");
        let (notes, found) = opened(folder.path()).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        same(&found, &base().contents, &format!("from append {known}"));
    }
}

#[test]
fn frames_that_the_store_has_already_are_passed_over() {
    let folder = copied(base().folder.path());
    let store = store::open(folder.path(), "p").unwrap();
    let reader: Reader = store.state.reader().clone();
    let mut again = StateHandle::catch_up(&reader);
    ollmcp::journal::read_all(&folder.path().join("journal"), &mut |frame| Ok(again(frame)?)).unwrap();
    reader.flush().unwrap();
    drop((again, reader, store));
    same(&contents(folder.path()), &base().contents, "folded twice");
}

/// Value by value, one flipped bit: it is made anew from the journal and said, or whoever reads it is refused.
#[test]
fn a_damaged_value_is_never_taken_for_a_good_one() {
    let mut tables: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
    for key in base().contents.keys() {
        tables.entry(key[0]).or_default().push(key.clone());
    }
    let tables: Vec<(u8, Vec<Vec<u8>>)> = tables.into_iter().filter(|(table, _)| *table <= 8).collect();
    assert_eq!(tables.iter().map(|(table, _)| *table).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    for (table, keys) in tables {
        let key = &keys[keys.len() / 2];
        let folder = copied(base().folder.path());
        let db = sled::open(folder.path().join("sled")).unwrap();
        let mut value = db.get(key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        db.insert(key.as_slice(), value).unwrap();
        db.flush().unwrap();
        drop(db);
        let store = store::open(folder.path(), "p").unwrap();
        store.state.settle();
        let refused = whole(store.state.reader());
        let notes = store.notes.clone();
        drop(store);
        if notes.is_empty() {
            let refused = refused.expect_err("a flipped bit is noticed");
            assert!(refused.contains("damaged"), "table {table}: {refused}");
        } else {
            assert!(notes[0].contains("made anew"), "table {table}: {notes:?}");
            assert_eq!(refused, Ok(()), "table {table}");
            same(&contents(folder.path()), &base().contents, &format!("table {table}"));
        }
    }
}

/// Reads everything that the store gives out.
fn whole(reader: &Reader) -> Result<(), String> {
    let text = |error: ollmcp::state::StateError| error.to_string();
    reader.position().map_err(text)?;
    reader.chains().map_err(text)?;
    for expected in &base().work.runs {
        if reader.run(expected.head.run).map_err(text)?.as_ref() != Some(expected) {
            return Err(format!("{:?} reads as something else", expected.head.run));
        }
        for (step, definition) in expected.plan.steps().iter().enumerate() {
            for (_, task) in expected.tasks_of(step as StepIndex) {
                let place = ollmcp::state::Place::new("p", "test", definition.id.as_str(), &task.key);
                reader.seen(&place).map_err(text)?;
                if let Some(identity) = task.identity {
                    reader.reusable(&identity).map_err(text)?;
                }
            }
        }
    }
    Ok(())
}

fn sled_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.join("sled")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The store comes out whole, made anew and said aloud where it was not.
#[track_caller]
fn survives(what: &str, damage: impl FnOnce(&Path)) {
    let folder = copied(base().folder.path());
    damage(folder.path());
    let (_, found) = opened(folder.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    same(&found, &base().contents, what);
}

#[test]
fn cut_files_and_missing_files_are_made_good_from_the_journal() {
    let names: Vec<PathBuf> = sled_files(base().folder.path())
        .into_iter()
        .map(|path| path.strip_prefix(base().folder.path()).unwrap().to_owned())
        .collect();
    assert!(
        names.iter().any(|name| name.ends_with("db")) && names.iter().any(|name| name.ends_with("conf")),
        "{names:?}"
    );
    for name in &names {
        let length = fs::metadata(base().folder.path().join(name)).unwrap().len();
        survives(&format!("{} is missing", name.display()), |folder| fs::remove_file(folder.join(name)).unwrap());
        for keep in [0, length / 2, length.saturating_sub(1)] {
            survives(&format!("{} cut to {keep} of {length} bytes", name.display()), |folder| {
                fs::OpenOptions::new().write(true).open(folder.join(name)).unwrap().set_len(keep).unwrap();
            });
        }
    }
    survives("the whole folder is empty", |folder| {
        fs::remove_dir_all(folder.join("sled")).unwrap();
        fs::create_dir(folder.join("sled")).unwrap();
    });
}

#[test]
fn a_store_of_another_journal_is_set_aside_and_said() {
    // The same number of frames, other contents.
    let other = tempfile::tempdir().unwrap();
    let appends = base().work.appends.iter().map(|(run, seq, payloads)| {
        let changed = payloads
            .iter()
            .map(|bytes| String::from_utf8(bytes.clone()).unwrap().replace("1000000", "1000001").into_bytes());
        (*run, *seq, changed.collect())
    });
    let appends: Vec<_> = appends.collect();
    let store = store::open(other.path(), "p").unwrap();
    append(&store, &appends);
    drop(store);
    let expected = contents(other.path());
    fs::remove_dir_all(other.path().join("sled")).unwrap();
    copy(&base().folder.path().join("sled"), &other.path().join("sled"));
    let (notes, found) = opened(other.path()).unwrap();
    assert!(notes[0].contains("does not belong to this journal"), "{notes:?}");
    assert!(notes[0].contains("sled.broken-1"), "{notes:?}");
    assert!(other.path().join("sled.broken-1").is_dir(), "nothing is deleted");
    same(&found, &expected, "made anew");
}

#[test]
fn a_journal_that_ends_before_its_store_has_lost_records_and_nothing_runs() {
    let folder = copied(base().folder.path());
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    journal_only(folder.path(), &base().work.appends[..base().work.appends.len() - 1]);
    let error = store::open(folder.path(), "p").expect_err("acknowledged records are gone");
    assert!(matches!(error, StoreError::Journal(JournalError::Lost { .. })), "{error}");
    assert!(error.hint().unwrap().contains("nothing runs"));
    // Reading still works, from the store alone.
    drop(error);
    let (reader, fault) = retry(|| store::open_reader(folder.path()));
    assert_eq!(fault, None);
    assert_eq!(whole(&reader), Ok(()));
    drop(reader);
    // So has a journal that is not there at all.
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let error = store::open(folder.path(), "p").expect_err("the journal is gone");
    assert!(matches!(error, StoreError::Journal(JournalError::Missing { .. })), "{error}");
}

fn retry<T, E: std::fmt::Display>(open: impl Fn() -> Result<T, E>) -> T {
    for _ in 0..100 {
        match open() {
            Ok(value) => return value,
            Err(error) if error.to_string().contains("lock") => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it stays locked");
}

#[test]
fn a_run_that_does_not_fold_stops_the_store_where_it_is_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let (reader, _) = ollmcp::state::open(&folder.path().join("sled"), u64::MAX).unwrap();
    let state = StateHandle::start(reader).unwrap();
    let publishes = state.clone();
    let observer = Some(Observer::new(move |frame| publishes.publish(frame)));
    let opened =
        Segments::open(&journal, Options { create: true, observer, ..Options::default() }, &mut |_| Ok(())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let position: Position = runtime.block_on(async {
        let (run, seq, payloads) = base().work.appends[0].clone();
        let good = opened.journal.append(run, seq, payloads).await.unwrap();
        // A first event that accepts no plan.
        let stray = encode(&Stamped::new(1, ollmcp::domain::event::Event::TaskDone { task: TaskId::new(0, 0) }));
        opened.journal.append(run_id(9), 1, vec![stray]).await.unwrap();
        let (run, seq, payloads) = base().work.appends[1].clone();
        opened.journal.append(run, seq, payloads).await.unwrap();
        good
    });
    state.settle();
    assert!(state.fault().unwrap().contains("does not fold"));
    assert_eq!(state.reader().position().unwrap(), position, "it does not pass over what it could not fold");
}

/// sled checks what it reads: a flipped bit of its file is found at the open, or by whoever reads the value.
#[test]
fn a_flipped_bit_in_the_file_is_never_taken_for_good() {
    let name = Path::new("sled/db");
    let bytes = fs::read(base().folder.path().join(name)).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut harmed = 0;
    for number in 0..16 {
        let at = used[number * used.len() / 16 + 7];
        let folder = copied(base().folder.path());
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(folder.path().join(name), changed).unwrap();
        let store = store::open(folder.path(), "p").unwrap();
        store.state.settle();
        let is_said = !store.notes.is_empty();
        drop(store);
        match readable(folder.path()) {
            Ok(found) => same(&found, &base().contents, &format!("byte {at}")),
            Err(error) => assert!(error.to_string().to_lowercase().contains("corrupt"), "byte {at}: {error}"),
        }
        harmed += usize::from(is_said);
    }
    assert!(harmed > 0, "some of the flips hit what the open reads");
}
