//! What is typed wrongly is said before anything starts; what turns out wrong is said with what to try.

use super::*;

const PLAN: &str = "name: p
inputs:
  folder: { type: path }
  number: { type: integer, default: 1 }
  flag: false
steps:
  - id: find
    tool: fs.list
    with: { root: \"${{ inputs.folder }}\", pattern: \"*.pdf\" }
    done_when: [ \"output.count > 0\" ]
";

/// Runs [`PLAN`] and expects a usage error: nothing was started.
#[track_caller]
fn refused(args: &[&str], message: &str, hint: &str) {
    let desk = Desk::new();
    desk.plan(PLAN);
    let mut all = vec!["run"];
    all.extend(args);
    let told = desk.ollmcp(&all).exits(2).notes(message).notes(hint);
    assert_eq!(told.out, "");
    let told = desk.ollmcp(&["ls"]).exits(0);
    assert_eq!(told.out, "", "a run was started");
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_a_way_out() {
    refused(&["job.yaml", "-i", "foldr=in"], "the plan has no input `foldr`", "did you mean `folder`?");
    refused(&["job.yaml", "-i", "folder"], "`-i folder` has no `=`", "write `-i NAME=VALUE`");
    refused(&["job.yaml"], "these inputs must be given: `folder`", "add -i folder=");
    refused(&["job.yaml", "-i", "folder=in", "-i", "number=many"], "input `number` is a whole number, not `many`", "");
    refused(&["job.yaml", "-i", "folder=in", "-i", "flag=maybe"], "input `flag` is", "`maybe`");
    refused(&["job.yaml", "-i", "folder=in", "-i", "folder=on"], "input `folder` is given twice", "");
    refused(&["job.yaml", "-i", "folder="], "input `folder` is", "");
}

#[test]
fn a_plan_that_is_not_there_is_said_with_the_nearest_one() {
    refused(&["pdf_tabels"], "no plan is called `pdf_tabels`", "did you mean `pdf_tables`?");
    refused(&["quite_other"], "no plan is called `quite_other`", "there are: escalation_check, invoices, pdf_tables");
    refused(&["plans/none.yaml"], "cannot read plan `plans/none.yaml`", "No such file");
    refused(&["."], "cannot read plan `.`", "");
}

#[test]
fn one_wrong_verb_is_said_with_the_nearest_one() {
    let desk = Desk::new();
    desk.ollmcp(&["rum"]).exits(2).notes("`rum` is no verb of ollmcp").notes("did you mean `ollmcp run`?");
    desk.ollmcp(&["run"]).exits(2).notes("<PLAN>");
    desk.ollmcp(&[]).exits(2).notes("Usage: ollmcp");
    for verb in ["ls", "show", "rows", "verify", "inbox", "resume", "cancel"] {
        desk.ollmcp(&[verb]).exits(2).notes("no project here or above").notes("ollmcp init");
    }
    assert!(!desk.path(".ollmcp").exists(), "looking made a project");
    desk.ollmcp(&["init"]).exits(0);
    desk.ollmcp(&["show"]).exits(2).notes("there are no runs in this project yet");
    desk.plan(PLAN);
    desk.ollmcp(&["run", "job.yaml", "-i", "folder=."]).exits(1);
    desk.ollmcp(&["show", "never"]).exits(2).notes("no run is called `never`").notes("ollmcp ls");
    desk.ollmcp(&["show", "last", "--item", "none"]).exits(2).notes("has no item with the key `none`");
}

#[test]
fn a_folder_that_is_not_there_and_an_empty_one_fail_with_the_reason() {
    let desk = Desk::new();
    let told = desk.ollmcp(&["run", "pdf_tables", "-i", "folder=nowhere"]).exits(1);
    let told = told.says("find failed: ").says("nowhere").says("hint: ");
    assert!(told.out.contains("extract skipped") && told.out.contains("save skipped"), "{}", told.out);
    assert!(!desk.path("tables.db").exists());
    fs::create_dir(desk.path("empty")).unwrap();
    let told = desk.ollmcp(&["run", "pdf_tables", "-i", "folder=empty"]).exits(1);
    told.says("`output.count > 0` does not hold: output.count = 0");
    fs::write(desk.path("file"), "x").unwrap();
    desk.ollmcp(&["run", "pdf_tables", "-i", "folder=file"]).exits(1).says("is not a folder");
}

#[test]
fn an_address_that_is_known_at_the_start_is_refused_before_anything_is_read() {
    let desk = Desk::with_four();
    fs::create_dir(desk.path("feb")).unwrap();
    for (address, reason, hint) in [
        ("postgres://localhost/db", "not in this version: databases of kind `postgres:`", "hint: write `sqlite:FILE`"),
        ("feb.db", "step `save`: `feb.db` is no database address", "hint: for a file write `sqlite:feb.db`"),
        ("sqlite:", "`sqlite:` names no file", "hint: write `sqlite:FILE`"),
        (
            "sqlite:feb",
            "/feb` is a folder, and a database is a file",
            "hint: name a file in it, `sqlite:feb/tables.db`",
        ),
    ] {
        let told = desk.run_four(&["-i", &format!("database={address}")]).exits(2).notes(reason).notes(hint);
        assert_eq!(told.json()["exit"], 2);
    }
    // One that a plan has from the start, also in a check; not where a condition leaves the step out.
    let save = |more: &str, database: &str| {
        desk.plan(&format!(
            "name: p\nsteps:\n  - id: a\n    {more}\n    agent: DATABASE_WRITER\n    with: {{ database: {database}, rows: [] }}\n"
        ));
        desk.ollmcp(&["run", "job.yaml"])
    };
    save("if: \"true\"", "feb.db").exits(2).notes("`sqlite:feb.db`");
    save("if: \"false\"", "feb.db").exits(0);
    let check = "done_when: [ { sql: { database: feb.db, query: select 1, equals: 1 } } ]";
    save(check, "\"sqlite:x.db\"").exits(2).notes("`sqlite:feb.db`");
    // What a step works out is refused when it is there.
    let folder = "    with: { database: \"sqlite:${{ steps.a.output }}\", rows: [] }\n";
    desk.plan(&format!(
        "name: p\nsteps:\n  - {{ id: a, value: feb }}\n  - id: b\n    agent: DATABASE_WRITER\n{folder}"
    ));
    desk.ollmcp(&["run", "job.yaml"]).exits(1).says("/feb` is a folder").says("hint: name a file in it");
    assert_eq!(desk.reads().len(), 0, "files were read for nothing");
}

#[test]
fn an_argument_that_database_writer_does_not_know_is_a_fault_of_the_plan() {
    for (with, fault, hint) in [
        ("rows: [], tabel: x", "`DATABASE_WRITER` has no argument `tabel`", "table"),
        ("rows: [], on_conflct: y", "has no argument `on_conflct`", "it takes `database`, `rows`, `headers`, `table`"),
        ("table: t", "`DATABASE_WRITER` needs the argument `rows`", ""),
        ("rows: [], table: 7", "a string", "quote it"),
        ("rows: none", "a list or a map", ""),
    ] {
        let desk = Desk::new();
        desk.plan(&format!(
            "name: p\nsteps:\n  - id: a\n    agent: DATABASE_WRITER\n    with: {{ database: \"sqlite:x.db\", {with} }}\n"
        ));
        desk.ollmcp(&["validate", "job.yaml"]).exits(2).notes(fault).notes(hint);
        desk.ollmcp(&["run", "job.yaml"]).exits(2).notes(fault);
        assert!(!desk.path("x.db").exists());
    }
}

#[test]
fn a_name_that_would_not_be_found_again_is_refused() {
    let desk = Desk::new();
    desk.plan("name: p\nsteps:\n  - { id: a, value: 1 }\n");
    let long = "n".repeat(61);
    for (name, why) in [
        ("last", "means the newest run"),
        ("", "is empty"),
        ("a\nb", "is no name for a run"),
        ("my run", "is no name for a run"),
        (" a", "is no name for a run"),
        ("-a", "is no name for a run"),
        ("0192f3c4-5a1b", "looks like the id of a run"),
        (&long, "has more than 60 characters"),
    ] {
        let told = desk.ollmcp(&["run", "job.yaml", &format!("--name={name}")]).exits(2);
        told.notes(why).notes("hint: a name is letters, digits");
        assert!(!desk.path(".ollmcp").exists());
    }
    for name in ["januar-2026_v1.2", "März", "feb"] {
        desk.ollmcp(&["run", "job.yaml", "--name", name]).exits(0);
        desk.ollmcp(&["show", name]).exits(0).says("state complete");
    }
}

#[test]
fn a_plan_with_faults_is_shown_with_all_of_them() {
    let desk = Desk::new();
    desk.plan(
        "name: p\nsteps:\n  - id: a\n    tool: fs.lst\n    with: {}\n  - id: b\n    value: \"${{ steps.c.output }}\"\n",
    );
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(2);
    let told = told.notes("fs.lst").notes("fs.list").notes("`c`").notes("job.yaml:4");
    assert!(told.err.contains("`job.yaml` cannot be run as it is"), "{}", told.err);
    desk.ollmcp(&["validate", "job.yaml"]).exits(2).notes("fs.lst");
    let faults = desk.ollmcp(&["--json", "validate", "job.yaml"]).exits(2).json();
    assert_eq!(faults["v"], 1);
    assert!(faults["faults"].as_array().unwrap().len() >= 2, "{faults}");
}

#[test]
fn a_slip_of_the_hand_is_answered_with_what_was_meant() {
    let desk = Desk::new();
    desk.ollmcp(&["rum", "pdf_tables"]).exits(2).notes("`rum` is no verb").notes("did you mean `ollmcp run`?");
    desk.ollmcp(&["rum", "--x"]).exits(2).notes("did you mean `ollmcp run`?");
    desk.ollmcp(&["Process", "all", "PDFs"]).exits(2).notes("asks a model, and its ladder has no local one");
    desk.ollmcp(&["call", "fs.list", "--timeout", "0"]).exits(2).notes("0 is not in 1..");
    desk.plan("name: p\nsteps:\n  - { id: a, for_each: [ in/may.pdf, in/june.pdf ], value: 1 }\n");
    desk.ollmcp(&["run", "job.yaml"]).exits(0);
    let near = |key: &str| desk.ollmcp(&["show", "last", "--item", key]).exits(2);
    near("may.pdf").notes("hint: did you mean `in/may.pdf`?");
    near("in/jun.pdf").notes("hint: did you mean `in/june.pdf`?");
    near("nothing like it").notes("hint: keys are those of the reports");
    desk.ollmcp(&["ls", "--limit", "0"]).exits(0).notes("and 1 more: --limit 1");
    // Errors of the command line itself are JSON too.
    for (args, message) in [
        (["--json", "run"].as_slice(), "<PLAN>"),
        (&["show", "--jsn", "--json"], "unexpected argument '--jsn' found"),
        (&["--json"], "no verb is given"),
    ] {
        let told = desk.ollmcp(args).exits(2);
        let json = told.json();
        assert!(json["error"].as_str().unwrap().contains(message) && json["exit"] == 2 && json["v"] == 1, "{json}");
    }
}

#[test]
fn what_is_switched_off_is_off_and_a_name_that_is_nobodys_is_said() {
    let desk = Desk::new();
    desk.config(&json!({
        "mcpServers": { "x": { "comand": "true" } }, "enabledTools": { "db.query": false },
        "disabledServers": ["fs", "pdf_extrct"], "disabledTools": ["db.qery", "x.anything", "pdf_extract.info"],
    }));
    let with = |args: &[&str]| desk.ollmcp(&[&["--config", "servers.json"], args].concat());
    let server = "disabledServers: no tool server is called `pdf_extrct` (did you mean `pdf_extract`?)";
    let tool = "disabledTools: no tool is called `db.qery` (did you mean `db.query`?)";
    for args in [["config", "check"].as_slice(), &["tools", "db"]] {
        let told = with(args).exits(0).notes(server).notes(tool).notes("mcpServers.x.comand: is not a known key");
        assert!(!told.err.contains("x.anything"), "{}", told.err);
    }
    let told = with(&["tools"]).exits(1);
    assert!(!told.out.contains("fs.list") && !told.out.contains("db.query") && !told.out.contains("pdf_extract.info"));
    assert!(told.out.contains("pdf_extract.extract_text"), "{}", told.out);
    with(&["tools", "fs"]).exits(2).notes("is switched off in the configuration");
    with(&["call", "fs.list", "root=."]).exits(2).notes("is switched off in the configuration");
    desk.plan("name: p\nsteps:\n  - { id: a, tool: fs.list, with: { root: . } }\n");
    with(&["run", "job.yaml"]).exits(2).notes("is switched off in the configuration");
    desk.plan("name: p\nsteps:\n  - { id: a, tool: db.query }\n");
    with(&["run", "job.yaml"]).exits(2).notes("has no tool `query`");
}

#[test]
fn findings_have_hints_that_fit() {
    let desk = Desk::new();
    desk.config(&json!({ "mcpServers": {
        "gone": { "command": "true" }, "web": { "type": "http", "url": "http://localhost:1/mcp" },
    } }));
    for _ in 0..5 {
        let told = desk.ollmcp(&["tools", "gone", "--config", "servers.json"]).exits(1);
        assert!(
            told.err.contains("it left before the handshake was over") && !told.err.contains("rmcp"),
            "{}",
            told.err
        );
    }
    let told = desk.ollmcp(&["doctor", "--config", "servers.json"]).exits(1);
    let after = |what: &str| {
        let mut lines = told.out.lines().skip_while(|line| !line.contains(what)).skip(1);
        lines.next().unwrap_or_default().to_owned()
    };
    assert!(after("tool server gone").contains("run its command by hand"), "{}", told.out);
    assert!(after("tool server web").contains("hint: bridge it"), "{}", told.out);
    let home = desk.root.path().join("home");
    for verb in ["ls", "doctor"] {
        let told = desk.at(&home, &[verb]);
        assert!(format!("{}{}", told.out, told.err).contains("your home folder itself is none"), "{told:?}");
    }
    desk.ollmcp(&["init"]).exits(0);
    fs::create_dir(desk.path(".ollmcp/lock")).unwrap();
    desk.plan("name: p\nsteps:\n  - { id: a, value: 1 }\n");
    desk.ollmcp(&["run", "job.yaml"]).exits(2).notes("cannot lock").notes("must be yours to read and write");
    fs::write(desk.path(".ollmcp/project.json"), "{").unwrap();
    desk.ollmcp(&["doctor"]).exits(1).says("BAD project and configuration: ").says("hint: put ");
}
