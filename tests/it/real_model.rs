//! The second main job, `plans/invoices.yaml`, by the real program on a real and weak local model (`tests/real_model`).
//!
//! The model stands in a ladder twice: free, and bound to the form of the answer. Nobody knows what it will answer, so
//! nothing here names an answer: rows that fail a check must not be there, every invoice ends in one state, and what
//! was recorded before a kill is not asked again. `INVOICES_FULL=1` takes 30 longer invoices as well.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail a test by panicking, too")]

mod claude;
mod server;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use ollmcp::domain::event::{Event, decode};
use ollmcp::journal::read_all;
use serde_json::{Value, json};

use crate::crash::place::{Chance, Place, Said, root, seed};
use server::Server;
use tap::{TURN, Tap};

/// Exit code of a run that set items aside.
const SET_ASIDE: i32 = 3;
/// Entries of the model under `model_servers`.
const SERVERS: usize = 2;
/// Exit code of a run that waits for an answer.
const WAITS: i32 = 4;

#[expect(clippy::disallowed_methods, reason = "a test's switch, read where it is used")]
fn is_full() -> bool {
    std::env::var("INVOICES_FULL").is_ok_and(|value| value == "1")
}

/// The invoices of the job, their truth, and how long one answer may get.
struct Batch {
    folder: PathBuf,
    truth: Vec<PathBuf>,
    reply_tokens_max: u32,
    limit: Duration,
}

fn samples() -> Batch {
    Batch {
        folder: root().join("plans/samples/invoices"),
        truth: vec![root().join("plans/samples/truth/invoices/truth.jsonl")],
        reply_tokens_max: 240,
        limit: Duration::from_mins(20),
    }
}

/// The samples and 30 invoices of 3 to 18 items in three layouts.
fn forty(inside: &Path) -> Batch {
    let folder = inside.join("forty");
    let maker = root().join("tests/tools/make_invoices.py");
    let made = Command::new("python3").arg(maker).arg("batch").arg(&folder).output().unwrap();
    assert!(made.status.success(), "the long form needs `pip install reportlab`: {made:?}");
    let mut batch = samples();
    for entry in fs::read_dir(&batch.folder).unwrap().flatten() {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    batch.truth.push(folder.join("truth.jsonl"));
    Batch { folder, reply_tokens_max: 600, limit: Duration::from_hours(6), ..batch }
}

/// The model twice in a ladder.
fn config(url: &str) -> Value {
    let server = |schema: &str| json!({ "kind": "openai", "url": format!("{url}/v1"), "schema": schema });
    json!({
        "model_servers": { "free": server("prompt"), "bound": server("bind") },
        "ladders": { "default": ["free:smollm2:135m", "bound:smollm2:135m"] },
    })
}

/// A project with the shipped plan, a short leash on the length of answers, and the model twice in a ladder.
fn project(batch: &Batch, url: &str) -> Place {
    let place = Place::new();
    let agent = fs::read_to_string(root().join("agents/INVOICE_READER.md")).unwrap();
    let short = agent.replace("tokens_max: 4096", &format!("tokens_max: {}", batch.reply_tokens_max));
    assert_ne!(agent, short, "the shipped agent says its limit in other words");
    place.write("agents/INVOICE_READER.md", &short);
    place.config(&config(url));
    fs::create_dir(place.project().join("in")).unwrap();
    for entry in fs::read_dir(&batch.folder).unwrap().flatten() {
        let name = entry.file_name();
        if entry.path().extension().is_some_and(|ending| ending == "pdf") {
            fs::copy(entry.path(), place.project().join("in").join(name)).unwrap();
        }
    }
    place
}

const RUN: &[&str] = &["run", "invoices", "-i", "folder=in", "-i", "database=sqlite:out.db"];

/// Goes on until the run has ended; a step that is held because its items fail alike is told to go on.
fn to_the_end(place: &Place, mut said: Said, limit: Duration) -> Said {
    for _ in 0..20 {
        if said.code() != Some(WAITS) {
            return said;
        }
        let asks = place.run(&["inbox", "--json"]).exits(0).json();
        for ask in asks["asks"].as_array().unwrap() {
            println!("the hold asks: {ask}");
            place.run(&["answer", ask["id"].as_str().unwrap(), "go"]).exits(0);
        }
        said = place.start(&["resume", "last"]).wait_within(limit);
    }
    panic!("the run asks again and again: {said:#?}");
}

fn names(place: &Place) -> BTreeSet<String> {
    let entries = fs::read_dir(place.project().join("in")).unwrap().flatten();
    entries.map(|entry| format!("in/{}", entry.file_name().to_str().unwrap())).collect()
}

/// What became of each invoice: the states of `extract`, as the program tells them.
fn states(place: &Place) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    for name in names(place) {
        let told = place.run(&["show", "last", "--item", &name, "--json"]).exits(0).json();
        let tasks = told["items"].as_array().unwrap().iter().filter(|task| task["step"] == "extract");
        let found: Vec<&str> = tasks.map(|task| task["state"].as_str().unwrap()).collect();
        assert_eq!(found.len(), 1, "{name}: {told}");
        states.insert(name, found[0].to_owned());
    }
    states
}

fn dump(place: &Place) -> String {
    let database = place.project().join("out.db");
    let text = "select _file, number, date, vendor, total from invoices order by 1; \
                select _file, _row, text, amount from invoice_lines order by 1, 2";
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as c:\n  \
                  for s in sys.argv[2].split(';'):\n    for r in c.execute(s): print(r)";
    let made = Command::new("python3").args(["-c", script]).arg(database).arg(text).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

/// Holds the rows against the truth and the plan's checks by a program that shares nothing with the product.
fn score(place: &Place, batch: &Batch) -> Value {
    let texts = place.project().join("texts");
    fs::create_dir_all(&texts).unwrap();
    for name in names(place) {
        let read = place.run(&["call", "pdf_extract.extract_text", &format!("path={name}"), "--json"]).exits(0);
        let stem = Path::new(&name).file_stem().unwrap().to_str().unwrap();
        fs::write(texts.join(format!("{stem}.json")), read.out).unwrap();
    }
    let mut scorer = Command::new("python3");
    scorer.arg(root().join("tests/tools/score_invoices.py")).arg("--database").arg(place.project().join("out.db"));
    batch.truth.iter().for_each(|truth| {
        scorer.arg("--truth").arg(truth);
    });
    let made = scorer.arg("--texts").arg(texts).output().unwrap();
    let told = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "a row is in the table that must not be there: {told} {made:?}");
    serde_json::from_str(&told).unwrap()
}

/// Replies of models that the journal holds.
fn recorded(place: &Place) -> usize {
    let mut count = 0;
    let read = read_all(&place.state().join("journal"), &mut |frame| {
        for record in frame.records {
            count += usize::from(matches!(decode(&record.payload)?.event, Event::TurnTaken { .. }));
        }
        Ok(())
    });
    read.unwrap();
    count
}

#[test]
fn a_weak_model_fills_the_table_with_rows_that_hold_and_a_kill_asks_nothing_again() {
    let made = tempfile::tempdir().unwrap();
    let batch = if is_full() { forty(made.path()) } else { samples() };
    let server = Server::start();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tap = Tap::remembering(server.address());

    let place = project(&batch, tap.url());
    let began = Instant::now();
    let said = to_the_end(&place, place.start(RUN).wait_within(batch.limit), batch.limit);
    let seconds = began.elapsed().as_secs_f64();
    let undisturbed = tap.take();
    drop(turn);
    println!("{}\n{}", said.err, said.out);
    let said = said.exits(SET_ASIDE);

    let states = states(&place);
    let of = |state: &str| states.values().filter(|found| *found == state).count();
    assert_eq!(of("done") + of("quarantined"), states.len(), "{states:?}");
    assert!(of("done") > 0, "nothing was accepted: {states:?}\n{}", said.out);
    assert!(of("quarantined") > 0, "nothing was set aside: {states:?}\n{}", said.out);
    assert_eq!(recorded(&place), undisturbed.len(), "each reply is on record once");
    let scored = score(&place, &batch);
    assert_eq!(scored["rows"].as_u64(), Some(of("done") as u64), "{scored}");
    let rows = dump(&place);
    for (name, state) in &states {
        assert_eq!(rows.contains(&format!("('{name}',")), state == "done", "{name} is {state}:\n{rows}");
    }
    place.run(&["verify", "last"]).exits(0);
    let aside = states.iter().find(|(_, state)| *state == "quarantined").unwrap().0;
    println!("{}", place.run(&["show", "last", "--item", aside]).exits(0).out);
    println!("{scored}");
    println!(
        "{} invoices: {} accepted, {} set aside; {} calls, {:.1} s for each invoice",
        states.len(),
        of("done"),
        of("quarantined"),
        undisturbed.len(),
        seconds / f64::from(u32::try_from(states.len()).unwrap()),
    );

    let mut tap = Tap::start(server.address());
    let place = project(&batch, tap.url());
    let at = 1 + usize::try_from(Chance(seed()).below(undisturbed.len() as u64)).unwrap();
    let running = place.start(RUN);
    tap.until(at, batch.limit);
    assert!(running.kill().is_killed());
    let (known, sent) = (recorded(&place), tap.sent());
    println!("killed with {sent} questions sent and {known} replies on record");
    // Each server has one question open, and one reply that is not on record yet.
    assert!(known <= sent && sent - known <= 2 * SERVERS, "{known} of {sent}: one question at a time for each server");
    let said = to_the_end(&place, place.start(&["resume", "last"]).wait_within(batch.limit), batch.limit);
    said.exits(SET_ASIDE);
    assert_eq!(dump(&place), rows, "the same rows");
    assert_eq!(recorded(&place), undisturbed.len());
    let mut left = count(&undisturbed);
    let mut again = 0;
    for body in tap.take() {
        match left.get_mut(&body) {
            Some(more) if *more > 0 => *more -= 1,
            _ => again += 1,
        }
    }
    assert!(left.values().all(|more| *more == 0), "some questions of the undisturbed run were never asked");
    assert!(again <= sent - known, "{again} questions were asked again, {} were open at the kill", sent - known);
}

fn count(bodies: &[Vec<u8>]) -> BTreeMap<Vec<u8>, usize> {
    let mut count = BTreeMap::new();
    for body in bodies {
        *count.entry(body.clone()).or_default() += 1;
    }
    count
}
