//! Exit codes, and JSON of every verb.

use super::*;

#[test]
fn every_exit_code_of_a_run_has_its_case() {
    let desk = Desk::with_log(&[]);
    let run = |steps: &str| {
        desk.plan(&format!("name: p\nsteps:\n{steps}"));
        desk.run(&[])
    };
    run("  - { id: a, value: 1 }\n").exits(0);
    run("  - { id: a, value: \"${{ 1 / 0 }}\" }\n").exits(1);
    run("  - { id: a, vlue: 1 }\n").exits(2);
    run("  - { id: a, on_error: quarantine, for_each: [ 1, 2 ], value: 1, done_when: [ item == 1 ] }\n").exits(3);
    // On a step without `for_each`, `quarantine` sets the one task aside.
    run("  - { id: a, on_error: quarantine, value: 1, done_when: [ output == 2 ] }\n").exits(3);
    run("  - { id: a, tool: log.die }\n").exits(4);
    // What waits is not started a second time beside itself.
    let told = run("  - { id: a, tool: log.die }\n").exits(2);
    assert!(
        told.err.contains("has not ended") && told.err.contains("ollmcp resume") && told.err.contains("--new"),
        "{}",
        told.err
    );
    desk.ollmcp(&["cancel"]).exits(0);
    desk.ollmcp(&["resume"]).exits(1).notes("has ended: cancelled");
}

/// Sends a signal to a process of this test.
fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_does() {
    use std::io::{BufRead as _, Read as _};
    let desk = Desk::with_log(&[]);
    desk.plan("name: p\nsteps:\n  - { id: a, tool: log.add_row, with: { row: 1 } }\n  - { id: b, needs: [a], tool: log.hang }\n  - { id: c, needs: [b], value: 1 }\n");
    let mut command = desk.command(OLLMCP, &desk.project);
    command.args(["run", "job.yaml", "--config", "servers.json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("a · done") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the run ended before it was interrupted");
    }
    signal(child.id(), "TERM");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("go on: ollmcp resume "), "{rest}");
    desk.ollmcp(&["ls"]).exits(0).says("interrupted");
    desk.ollmcp(&["show"]).exits(0).says("state interrupted").says("go on: ollmcp resume ");
    // What hung answers now.
    let server = fs::read_to_string(repository("tests/tools/call_log_server.py")).unwrap();
    let mended = desk.path("mended.py");
    fs::write(&mended, server.replace("if name == \"hang\":\n        return", "if False:\n        return")).unwrap();
    let env = json!({ "CALL_LOG": desk.path("calls") });
    desk.config(&json!({ "mcpServers": { "log": { "command": "python3", "args": [mended], "env": env } } }));
    let told = desk.ollmcp(&["resume", "--config", "servers.json"]).exits(0);
    assert!(told.out.contains("p complete"), "{}", told.out);
    let rows = desk.calls().iter().filter(|call| call["tool"] == "add_row").count();
    assert_eq!(rows, 1, "a task that was done ran again");
}

#[test]
fn every_verb_has_json_with_a_version() {
    let desk = Desk::with_four();
    let v = |told: Told| {
        assert_eq!(told.out.lines().count(), 1, "{}", told.out);
        assert_eq!(told.json()["v"], 1, "{}", told.out);
    };
    v(desk.run_four(&[]).exits(0));
    for args in [
        vec!["ls"],
        vec!["show"],
        vec!["show", "last", "--item", "in/invoice_0101.pdf"],
        vec!["show", "--tree"],
        vec!["rows"],
        vec!["verify"],
        vec!["inbox"],
        vec!["agents"],
        vec!["agents", "PLANNER"],
        vec!["tools"],
        vec!["tools", "fs"],
        vec!["doctor"],
        vec!["config", "show"],
        vec!["config", "check"],
        vec!["validate", "pdf_tables"],
        vec!["explain", "pdf_tables"],
        vec!["resume"],
        vec!["init"],
    ] {
        println!("{args:?}");
        let mut all = vec!["--json"];
        all.extend(args);
        v(desk.ollmcp(&all).exits(0));
    }
    // Errors too, on standard output, with the exit code and what to try.
    let told = desk.ollmcp(&["--json", "show", "never"]).exits(2);
    assert_eq!(told.json()["exit"], 2);
    assert_eq!(told.json()["hints"][0], "ollmcp ls lists the runs");
    v(told);
    v(desk.ollmcp(&["--json", "run", "nothing.yaml"]).exits(2));
    v(desk.ollmcp(&["--json", "answer", "x", "again"]).exits(2));
    // A tool's result is printed as it is.
    let info = desk.ollmcp(&["--json", "call", "pdf_extract.info", "path=in/invoice_0101.pdf"]).exits(0).json();
    assert_eq!(info["pages"], 1);
}

#[test]
fn calls_fail_with_the_tools_words() {
    let desk = Desk::with_four();
    desk.ollmcp(&["call", "pdf_extract.info", "path=none.pdf"]).exits(1).notes("none.pdf");
    desk.ollmcp(&["call", "pdf_extract.inf", "path=none.pdf"]).exits(2).notes("inf").notes("info");
    desk.ollmcp(&["call", "pdf.info"]).exits(2).notes("pdf_extract");
    desk.ollmcp(&["call", "pdf_extract.info"]).exits(2).notes("path");
    desk.ollmcp(&["call", "pdf_extract.info", "path"]).exits(2).notes("NAME=VALUE");
    let tables =
        desk.ollmcp(&["--json", "call", "pdf_extract.extract_tables", "path=in/invoice_0104.pdf"]).exits(0).json();
    assert_eq!(tables["tables"].as_array().unwrap().len(), 2);
}

#[test]
fn the_command_that_goes_on_has_all_that_it_needs_and_without_it_nothing_starts() {
    let desk = Desk::with_log(&[]);
    fs::rename(desk.path("servers.json"), desk.path("my servers.json")).unwrap();
    desk.plan("name: p\nsteps:\n  - { id: a, tool: log.die }\n  - { id: b, needs: [a], tool: log.echo }\n");
    let flags = ["--config", "my servers.json", "--trust-project-config"];
    let run = |args: &[&str]| desk.ollmcp(&[args, flags.as_slice()].concat());
    let told = run(&["run", "job.yaml"]).exits(4);
    let tail = " --config 'my servers.json' --trust-project-config";
    let goes_on: Vec<&str> = told.err.lines().filter(|line| line.contains("ollmcp resume")).collect();
    assert_eq!(goes_on.len(), 2, "{}", told.err);
    assert!(goes_on.iter().all(|line| line.ends_with(tail)), "{}", told.err);
    let told = run(&["run", "job.yaml"]).exits(2);
    let again = format!("hint: start anew: ollmcp run --new job.yaml{tail}");
    assert!(told.err.contains(&again), "{}", told.err);
    assert!(
        told.err.lines().any(|line| line.starts_with("hint: go on with it: ") && line.ends_with(tail)),
        "{}",
        told.err
    );
    // Without the flags the server is not declared: the run stays as it is.
    let told =
        desk.ollmcp(&["resume"]).exits(2).notes("step `a`: no tool server is called `log`").notes("--config FILE");
    assert_eq!(told.out, "");
    let id = run(&["--json", "inbox"]).exits(0).json()["asks"][0]["id"].as_str().unwrap().to_owned();
    let told = run(&["answer", &id, "happened", "--output", "1"]).exits(0);
    assert!(
        told.err.lines().any(|line| line.starts_with("go on: ollmcp resume ") && line.ends_with(tail)),
        "{}",
        told.err
    );
    // What is done needs its server no more; what is left does.
    desk.ollmcp(&["resume"]).exits(2).notes("no tool server is called `log`");
    run(&["show"]).exits(0).says(tail);
    assert_eq!(desk.ollmcp(&["--json", "show"]).exits(0).json()["state"], "interrupted");
    run(&["resume"]).exits(0);
}

#[test]
fn results_that_cannot_be_written_are_not_complete_and_a_reader_that_left_is() {
    let desk = Desk::new();
    desk.plan("name: p\nsteps:\n  - id: a\n    agent: DATABASE_WRITER\n    with: { database: \"sqlite:t.db\", table: t, rows: [ { a: 1 } ] }\n");
    let full = |args: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = desk.command(OLLMCP, &desk.project).args(args).stdout(full).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for args in [
        ["run", "job.yaml", "--json"].as_slice(),
        &["rows", "last", "--csv"],
        &["ls"],
        &["show", "--json"],
        &["verify"],
        &["completion", "bash"],
        &["--help"],
    ] {
        let (code, err) = full(args);
        assert_eq!(code, 1, "{args:?}\n{err}");
        assert!(err.contains("error: cannot write the results: No space left on device"), "{args:?}\n{err}");
    }
    // What was done is done.
    desk.ollmcp(&["show"]).exits(0).says("state complete");
    // A code that says more is kept.
    assert_eq!(full(&["show", "never", "--json"]).0, 2);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = desk.command(OLLMCP, &desk.project).arg("ls").stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn an_answer_that_ends_a_run_and_a_cancel_of_an_ended_one_say_so() {
    let desk = Desk::with_log(&[]);
    desk.plan("name: p\nsteps:\n  - { id: a, tool: log.die }\n");
    desk.run(&[]).exits(4);
    let id = desk.ollmcp(&["--json", "inbox"]).exits(0).json()["asks"][0]["id"].as_str().unwrap().to_owned();
    let told = desk.ollmcp(&["answer", &id, "skip"]).exits(0);
    assert!(
        told.err.contains("with this answer run ") && told.err.contains("see it with: ollmcp show "),
        "{}",
        told.err
    );
    let told = desk.ollmcp(&["cancel"]).exits(2).notes("hint: nothing is left to cancel; see it with: ollmcp show ");
    assert!(told.err.starts_with("error: run ") && told.err.contains(" has ended: "), "{}", told.err);
}
