//! Damage to the state folder: the state store is made anew and says the same as before; a journal that is damaged or
//! away lets nothing run, and `ls` and `show` still answer.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::place::{Chance, Place, Said, seed};

const PLAN: &str = r#"
name: small
steps:
  - id: add
    for_each: { range: 30 }
    tool: log.add_row
    with: { row: "${{ item }}", }
    on_error: continue
  - id: fails
    tool: log.fail
    with: { message: "no luck" }
"#;

/// One failed run and one that was cut off.
fn project() -> Place {
    let place = Place::with_calls(PLAN);
    place.run(&["run", "plan.yaml"]).exits(1);
    place.write("hangs.yaml", "name: hangs\nsteps:\n  - { id: h, tool: log.hang, with: {} }\n");
    let running = place.start(&["run", "hangs.yaml"]);
    until_hang(&place);
    running.kill();
    place
}

#[track_caller]
fn until_hang(place: &Place) {
    super::place::until("the call that hangs", || place.calls().iter().any(|call| call.tool == "hang").then_some(()));
}

/// What reading verbs say, byte for byte.
#[track_caller]
fn answers(place: &Place) -> Vec<String> {
    let first = place.run(&["ls", "--json"]).exits(0).json()["runs"].as_array().unwrap().last().unwrap()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let questions: [&[&str]; 8] = [
        &["ls"],
        &["ls", "--json"],
        &["show"],
        &["show", "--json"],
        &["show", &first],
        &["show", &first, "--json"],
        &["show", &first, "--item", "7"],
        &["inbox"],
    ];
    questions.iter().map(|words| place.run(words).exits(0).out).collect()
}

fn sled(place: &Place) -> PathBuf {
    place.state().join("sled")
}

fn segment(place: &Place) -> PathBuf {
    place.state().join("journal").join("00000001.journal")
}

/// Everything works again.
#[track_caller]
fn works(place: &Place) {
    let before = place.run(&["ls", "--json"]).exits(0).json()["runs"].as_array().unwrap().len();
    place.run(&["run", "plan.yaml"]).exits(1);
    place.run(&["cancel", "last"]).exits(2);
    assert_eq!(place.run(&["ls", "--json"]).exits(0).json()["runs"].as_array().unwrap().len(), before + 1);
    place.history().holds();
}

#[test]
fn a_deleted_state_store_is_made_anew_said_aloud_and_says_the_same() {
    let place = project();
    let expected = answers(&place);
    fs::remove_dir_all(sled(&place)).unwrap();
    let said = place.run(&["ls"]).exits(0);
    assert!(said.err.contains("the state store was missing") && said.err.contains("from the journal"), "{said:#?}");
    assert_eq!(answers(&place), expected);
    assert_eq!(place.run(&["ls"]).err, "", "said once, not for ever");
    works(&place);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let into = if entry.path().is_dir() { &mut open } else { &mut found };
            into.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn a_damaged_state_store_never_changes_an_answer() {
    let place = project();
    let expected = answers(&place);
    let mut chance = Chance(seed());
    let sound = place.state().join("sound");
    copy(&sled(&place), &sound);
    for round in 0..9 {
        fs::remove_dir_all(sled(&place)).unwrap();
        copy(&sound, &sled(&place));
        let all = files(&sled(&place));
        let database = sled(&place).join("db");
        let bytes = fs::metadata(&database).unwrap().len();
        let what = match round {
            0 => {
                fs::write(sled(&place).join("snap.0000000000000DEA.generating"), b"half").unwrap();
                "a snapshot left half-way".to_owned()
            }
            1 => cut(&database, bytes / 2),
            2 => {
                all.iter()
                    .filter(|file| file.to_string_lossy().contains("snap."))
                    .for_each(|file| fs::remove_file(file).unwrap());
                cut(&database, bytes / 2)
            }
            3 => cut(&database, 0),
            4 => cut(&sled(&place).join("conf"), 3),
            _ => {
                let file = &all[usize::try_from(chance.below(all.len() as u64)).unwrap()];
                flip(file, chance.below(fs::metadata(file).unwrap().len().max(1)))
            }
        };
        assert_eq!(answers(&place), expected, "round {round}: {what}");
    }
    works(&place);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn cut(file: &Path, bytes: u64) -> String {
    fs::File::options().write(true).open(file).unwrap().set_len(bytes).unwrap();
    format!("{} cut to {bytes} bytes", file.display())
}

fn flip(file: &Path, at: u64) -> String {
    let opened = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    if opened.read_at(&mut byte, at).unwrap() == 1 {
        opened.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }
    format!("{} changed at byte {at}", file.display())
}

#[test]
fn the_state_store_of_another_project_is_not_believed() {
    let (place, other) = (project(), Place::with_calls(PLAN));
    let expected = answers(&place);
    // First one whose journal is shorter, then one whose journal is longer.
    for runs in [1, 3] {
        (0..runs).for_each(|_| drop(other.run(&["run", "plan.yaml"]).exits(1)));
        fs::remove_dir_all(sled(&place)).unwrap();
        copy(&sled(&other), &sled(&place));
        let said = place.run(&["ls"]).exits(0);
        assert!(said.err.contains("does not belong to this journal"), "{said:#?}");
        assert_eq!(answers(&place), expected);
    }
    works(&place);
}

/// Nothing runs; looking is answered, with a warning.
#[track_caller]
fn nothing_runs(place: &Place, expected: &[String], words: &[&str]) {
    let calls = place.calls().len();
    let verbs: [&[&str]; 5] =
        [&["run", "plan.yaml"], &["run", "plan.yaml", "--new"], &["resume"], &["cancel"], &["answer", "0", "again"]];
    for verb in verbs {
        let said = place.run(verb).exits(1);
        assert!(words.iter().all(|word| said.err.contains(word)), "{verb:?}, {words:?}: {said:#?}");
        assert!(said.err.contains("hint: "), "{verb:?}: {said:#?}");
    }
    assert_eq!(place.calls().len(), calls);
    let said = place.run(&["ls"]).exits(0);
    assert!(said.err.contains("warning: ") && words.iter().all(|word| said.err.contains(word)), "{said:#?}");
    assert_eq!(answers(place), expected);
}

#[test]
fn without_the_journal_nothing_runs_and_with_it_back_all_is_well() {
    let place = project();
    let expected = answers(&place);
    let (journal, away) = (place.state().join("journal"), place.state().join("journal.away"));
    fs::rename(&journal, &away).unwrap();
    nothing_runs(&place, &expected, &["there is no journal", "put the journal folder back"]);
    assert!(!journal.exists() || fs::read_dir(&journal).unwrap().next().is_none(), "never an empty start");
    // An empty folder is no journal either.
    fs::create_dir_all(&journal).unwrap();
    nothing_runs(&place, &expected, &["there is no journal", "put the journal folder back"]);
    fs::remove_dir(&journal).unwrap();
    fs::rename(&away, &journal).unwrap();
    assert_eq!(answers(&place), expected);
    assert_eq!(place.run(&["ls"]).err, "");
    works(&place);
}

#[test]
fn an_older_journal_than_the_state_store_has_seen_lets_nothing_run() {
    let place = Place::with_calls(PLAN);
    place.run(&["run", "plan.yaml"]).exits(1);
    let older = fs::read(segment(&place)).unwrap();
    place.run(&["run", "plan.yaml"]).exits(1);
    let expected = answers(&place);
    let newer = fs::read(segment(&place)).unwrap();
    fs::write(segment(&place), older).unwrap();
    nothing_runs(&place, &expected, &["records are lost", "put the journal folder back"]);
    fs::write(segment(&place), newer).unwrap();
    works(&place);
}

/// Where the frames of the segment end.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn a_changed_byte_in_the_journal_is_refused_with_file_and_offset() {
    let place = project();
    let expected = answers(&place);
    let end = used(&fs::read(segment(&place)).unwrap()) as u64;
    let mut chance = Chance(seed());
    for _ in 0..3 {
        let at = 64 + chance.below(end / 2);
        println!("{}", flip(&segment(&place), at));
        nothing_runs(&place, &expected, &["00000001.journal", "at byte "]);
        flip(&segment(&place), at);
    }
    // Without a state store there is nothing to answer from: refused, and the files stay as they are.
    flip(&segment(&place), end / 2);
    let damaged = fs::read(segment(&place)).unwrap();
    fs::remove_dir_all(sled(&place)).unwrap();
    for verb in ["ls", "show", "resume"] {
        let said = place.run(&[verb]).exits(1);
        assert!(said.err.contains("00000001.journal") && said.err.contains("at byte "), "{said:#?}");
    }
    assert_eq!(fs::read(segment(&place)).unwrap(), damaged);
    flip(&segment(&place), end / 2);
    assert_eq!(answers(&place), expected);
    works(&place);
}

#[test]
fn a_torn_last_append_is_left_out_with_a_note() {
    let place = project();
    // The last frame was acknowledged; only a state store that has not seen it can take it for torn.
    fs::remove_dir_all(sled(&place)).unwrap();
    let bytes = fs::read(segment(&place)).unwrap();
    let end = used(&bytes);
    let file = fs::File::options().write(true).open(segment(&place)).unwrap();
    for torn in [0, 40] {
        // A hole of zeros up to the end, and one before it.
        file.write_all_at(&bytes, 0).unwrap();
        let hole = 20;
        file.write_all_at(&vec![0; hole], (end - torn - hole) as u64).unwrap();
        let said = place.run(&["ls"]).exits(0);
        assert!(said.err.contains("an append was torn by a crash"), "{said:#?}");
        assert!(!place.run(&["ls"]).err.contains("torn"), "said once");
        fs::remove_dir_all(sled(&place)).unwrap();
    }
    let running = place.start(&["resume"]);
    super::place::until("the call again", || {
        (place.calls().iter().filter(|call| call.tool == "hang").count() >= 2).then_some(())
    });
    running.kill();
    works(&place);
}

/// A folder on a disk of its own, gone with the value. `None` where that is not allowed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(folder: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "ollmcp-test"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let status = std::process::Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_a_run_with_words_and_it_goes_on_when_there_is_room() {
    let big = "x".repeat(20_000);
    let plan = format!(
        "name: full\nsteps:\n  - id: add\n    for_each: {{ range: 400 }}\n    max_parallel: 2\n    tool: log.echo\n    \
         with: {{ n: \"${{{{ item }}}}\", big: {big} }}\n"
    );
    let place = Place::with_calls(&plan);
    fs::create_dir(place.state()).unwrap();
    let Some(disk) = SmallDisk::new(&place.state(), 100) else {
        println!("no disk can be mounted here: left out");
        return;
    };
    place.run(&["init"]);
    let mut running = place.start(&["run", "plan.yaml"]);
    place.until_calls(3);
    // Now nothing is left for blobs and segments.
    let filler = place.state().join("filler");
    let error = std::io::copy(&mut std::io::repeat(b'x'), &mut fs::File::create(&filler).unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let said: Said = {
        super::place::until("the end", || running.has_ended().then_some(()));
        running.wait()
    };
    assert!(matches!(said.code(), Some(1 | 130)), "{said:#?}");
    assert!(said.err.contains("No space left") || said.out.contains("No space left"), "{said:#?}");
    let refused = place.run(&["resume"]);
    assert!(refused.code() == Some(1), "{refused:#?}");
    disk.resize(300);
    fs::remove_file(filler).unwrap();
    place.run(&["resume"]).exits(0);
    place.history().holds();
}
