//! Ctrl-C once, twice, three times, SIGTERM, a closed terminal, a broken pipe; and nothing is left behind.

use std::process::Stdio;

use super::place::{INTERRUPTED, Place, descendants, until, until_gone};

/// Eight items of half a second, two at a time.
const HALF_SECONDS: &str = r#"
name: halves
steps:
  - id: work
    for_each: { range: 8 }
    max_parallel: 2
    tool: log.slow
    with: { seconds: 0.4 }
    repeat: unsafe
"#;

/// Two rows in a table.
const ROWS: &str = r#"
name: rows
steps:
  - id: save
    agent: DATABASE_WRITER
    with: { database: "sqlite:t.db", table: t, rows: [ { a: 1, b: "x" }, { a: 2, b: "y" } ] }
"#;

/// Four calls that never answer.
const HANGS: &str = r#"
name: hangs
steps:
  - id: work
    for_each: { range: 4 }
    max_parallel: 2
    tool: log.hang
    with: {}
"#;

#[test]
fn one_interrupt_lets_what_runs_end_and_takes_nothing_new() {
    let place = Place::with_calls(HALF_SECONDS);
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(2);
    let family = descendants(running.id());
    assert!(!family.is_empty());
    running.signal(libc::SIGINT);
    let said = running.wait().exits(INTERRUPTED);
    assert!(said.err.contains("ollmcp resume") && said.err.contains("taking no new task"), "{said:#?}");
    assert!(said.out.contains("interrupted"), "{said:#?}");
    until_gone(&family);
    let calls = place.calls().len();
    assert!(calls < 8, "{calls}");
    assert_eq!(place.history().done.len(), calls, "what was in flight has ended");
    place.run(&["resume"]).exits(0);
    assert_eq!(place.calls().len(), 8, "nothing lost, nothing twice");
    place.history().holds();
}

#[test]
fn two_interrupts_or_one_terminate_stop_attempts() {
    for signals in [vec![libc::SIGINT, libc::SIGINT], vec![libc::SIGTERM]] {
        let place = Place::with_calls(HANGS);
        let running = place.start(&["run", "plan.yaml"]);
        place.until_calls(2);
        let family = descendants(running.id());
        for (at, signal) in signals.iter().enumerate() {
            running.signal(*signal);
            if at == 0 && *signal == libc::SIGINT {
                until("the drain", || running.err().contains("taking no new task").then_some(()));
            }
        }
        let said = running.wait().exits(INTERRUPTED);
        assert!(said.err.contains("ollmcp resume"), "{said:#?}");
        until_gone(&family);
        let listed = place.run(&["ls", "--json"]).exits(0).json();
        assert_eq!(listed["runs"][0]["state"], "interrupted");
        assert_eq!(place.calls().len(), 2, "nothing new starts");
        let running = place.start(&["resume"]);
        place.until_calls(4);
        running.signal(libc::SIGTERM);
        running.wait().exits(INTERRUPTED);
        assert!(place.history().done.is_empty());
    }
}

#[test]
fn a_stopped_unsafe_call_waits_for_a_person() {
    let place = Place::with_calls(&HALF_SECONDS.replace("0.4", "30"));
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(2);
    running.signal(libc::SIGTERM);
    let said = running.wait().exits(INTERRUPTED);
    assert!(said.err.contains("it was stopped"), "{said:#?}");
    let asks = place.run(&["inbox", "--json"]).exits(0).json();
    assert_eq!(asks["asks"].as_array().unwrap().len(), 2, "{asks}");
}

#[test]
fn a_third_interrupt_leaves_at_once() {
    let place = Place::new();
    let server = super::place::root().join("tests/tools/call_log_server.py");
    place.config(&serde_json::json!({ "mcpServers": { "log": {
        "command": "python3", "args": [server, "--ignore-term", "--ignore-eof"], "env": { "CALL_LOG": place.call_log() }
    } } }));
    place.write("plan.yaml", HANGS);
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(2);
    let family = descendants(running.id());
    let start = std::time::Instant::now();
    for word in ["taking no new task", "stopping what runs", ""] {
        running.signal(libc::SIGINT);
        until(word, || running.err().contains(word).then_some(()));
    }
    let said = running.wait().exits(INTERRUPTED);
    assert!(said.err.contains("ollmcp resume"), "{said:#?}");
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    until_gone(&family);
}

#[test]
fn a_closed_terminal_does_not_end_a_run() {
    let place = Place::with_calls(&HALF_SECONDS.replace("8", "4"));
    let mut command = place.command(&["run", "plan.yaml"]);
    // Log lines, too, meet the broken pipe.
    let mut child = command
        .env("RUST_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    place.until_calls(1);
    drop((child.stdout.take(), child.stderr.take()));
    super::place::send(child.id(), libc::SIGHUP);
    let status = until("the end of the run", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert_eq!(place.calls().len(), 4);
    assert_eq!(place.run(&["show", "last", "--json"]).exits(0).json()["state"], "complete");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let place = Place::with_calls(ROWS);
    place.run(&["run", "plan.yaml"]).exits(0);
    let questions: [&[&str]; 7] =
        [&["rows"], &["rows", "--csv"], &["show"], &["ls", "--json"], &["config", "show"], &["--help"], &["agents"]];
    for words in questions {
        let mut child = place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panic") && output.status.code() == Some(0), "{words:?}: {output:?}");
    }
}

#[test]
fn a_killed_run_leaves_no_process_behind() {
    let place = Place::with_calls(HANGS);
    let pdfs = super::place::root().join("plans/samples/january");
    std::fs::create_dir(place.project().join("pdfs")).unwrap();
    for entry in std::fs::read_dir(pdfs).unwrap().flatten() {
        std::fs::copy(entry.path(), place.project().join("pdfs").join(entry.file_name())).unwrap();
    }
    let reads = r#"
  - { id: find, tool: fs.list, with: { root: pdfs, pattern: "*.pdf" } }
  - id: read
    for_each: "${{ steps.find.output.files }}"
    key: "${{ item.path }}"
    tool: pdf_extract.extract_tables
    with: { path: "${{ item.path }}" }
"#;
    place.write("plan.yaml", &format!("{HANGS}{reads}"));
    let running = place.start(&["run", "plan.yaml"]);
    place.until_calls(2);
    // Server of the log, of files, of PDFs, and a PDF worker.
    let family = until("all of the family", || Some(descendants(running.id())).filter(|family| family.len() >= 4));
    running.kill();
    until_gone(&family);
    place.until_alone();
}
