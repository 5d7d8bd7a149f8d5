//! What a plan may touch: the project folder, and exactly what the person typed. Nothing else, however it is spelled.

use super::*;

const DENIED: &str = "lies outside the project folder and was not named";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("inside/a.txt", "inside");
    bench.file("inside/a.pdf", fs::read(repository().join("plans/samples/january/invoice_0101.pdf")).unwrap());
    fs::write(bench.outside("a.txt"), "outside").unwrap();
    fs::copy(bench.project("inside/a.pdf"), bench.outside("a.pdf")).unwrap();
    std::os::unix::fs::symlink(bench.outside(""), bench.project("link")).unwrap();
    std::os::unix::fs::symlink(bench.outside("made.db"), bench.project("dangling.db")).unwrap();
    std::os::unix::fs::symlink(bench.outside("made.txt"), bench.project("dangling.txt")).unwrap();
    bench
}

/// The ways out of a folder, to one file outside.
fn ways_out(bench: &Bench, file: &str) -> [String; 4] {
    let absolute = bench.outside(file).display().to_string();
    [format!("../outside/{file}"), absolute, format!("link/{file}"), format!("inside/../../outside/{file}")]
}

#[test]
fn own_tools_in_a_plan_do_not_leave_the_project() {
    let bench = bench();
    for (tool, file, arguments) in [
        ("fs.read", "a.txt", "path: PATH"),
        ("fs.hash", "a.txt", "path: PATH"),
        ("fs.list", "", "root: PATH"),
        ("fs.write", "made.txt", "path: PATH, text: x"),
        ("fs.move", "made.txt", "from: inside/a.txt, to: PATH"),
        ("fs.delete", "a.txt", "path: PATH"),
        ("pdf_extract.extract_tables", "a.pdf", "path: PATH"),
        ("pdf_extract.info", "a.pdf", "path: PATH"),
        ("db.query", "made.db", "database: \"sqlite:PATH\", sql: select 1"),
        ("db.schema", "made.db", "database: PATH"),
    ] {
        let steps: String = ways_out(&bench, file)
            .iter()
            .enumerate()
            .map(|(at, way)| {
                format!("  - {{ id: s{at}, tool: {tool}, with: {{ {} }} }}\n", arguments.replace("PATH", way))
            })
            .collect();
        bench.steps(&steps);
        let report = bench.ollmcp(["--json", "run", "p.yaml"]).exits(1).json();
        let reasons = report.to_string().matches(DENIED).count();
        assert!(reasons >= 4, "{tool}: {report}");
    }
    bench.steps("  - { id: a, tool: fs.write, with: { path: dangling.txt, text: x } }\n");
    bench.ollmcp(["run", "p.yaml"]).exits(1).says(DENIED).says("hint: type it as an input of the run");
    assert!(!bench.outside("made.txt").exists());
    assert_eq!(fs::read_to_string(bench.outside("a.txt")).unwrap(), "outside");
    assert_eq!(fs::read_to_string(bench.project("inside/a.txt")).unwrap(), "inside");
}

/// A plan that writes one row into `database` and asks for it.
fn writing(database: &str) -> String {
    format!(
        "name: p
inputs:
  database: {{ type: string, default: \"sqlite:own.db\" }}
steps:
  - id: save
    agent: DATABASE_WRITER
    with: {{ database: \"{database}\", rows: [ {{ a: 1 }} ], table: t }}
    done_when: [ {{ sql: {{ database: \"{database}\", query: select count(*) from t, equals: 1 }} }} ]
  - id: ask
    needs: [ save ]
    tool: db.query
    with: {{ database: \"{database}\", sql: select a from t }}
    done_when: [ \"output.count == 1\" ]
"
    )
}

#[test]
fn a_database_outside_is_written_only_when_it_was_typed() {
    let bench = bench();
    let mut addresses: Vec<String> = ways_out(&bench, "made.db").iter().map(|way| format!("sqlite:{way}")).collect();
    addresses.push("sqlite:dangling.db".to_owned());
    addresses.push(format!("sqlite://{}", bench.outside("made.db").display()));
    for address in &addresses {
        bench.file("p.yaml", writing(address));
        let told = bench.ollmcp(["run", "p.yaml"]).exits(1).says(DENIED);
        told.says("hint: let the step take its address from an input and type it: `-i database=sqlite:");
    }
    bench.file("p.yaml", writing("sqlite:.ollmcp/journal/x.db"));
    bench.ollmcp(["run", "p.yaml"]).exits(1).says("lies in the state folder");
    assert!(!bench.outside("made.db").exists());

    let typed = format!("database=sqlite:{}", bench.outside("made.db").display());
    bench.file("p.yaml", writing("${{ inputs.database }}"));
    bench.ollmcp(["run", "p.yaml", "-i", &typed]).exits(0);
    assert!(bench.outside("made.db").exists());
    bench.ollmcp(["verify"]).exits(0).says("1 row counted");
    bench.ollmcp(["rows"]).exits(0).says("made.db");
    // Exactly that file, and in that run alone.
    bench.file("p.yaml", writing("${{ inputs.database }}2"));
    bench.ollmcp(["run", "p.yaml", "-i", &typed]).exits(1).says(DENIED);
    bench.file("p.yaml", writing(&addresses[1]));
    bench.ollmcp(["run", "p.yaml"]).exits(1).says(DENIED);
    // By other spellings, from another folder.
    bench.file("p.yaml", writing("${{ inputs.database }}"));
    for address in ["sqlite:../../outside/two.db", "sqlite:../link/two.db", "sqlite://../../outside/two.db"] {
        let _ = fs::remove_file(bench.outside("two.db"));
        let mut command = bench.command(["run", "../p.yaml", "--fresh", "-i", &format!("database={address}")]);
        Told::from(command.current_dir(bench.project("inside")).output().unwrap()).exits(0);
        assert!(bench.outside("two.db").exists(), "{address}");
    }
}

#[test]
fn a_default_of_a_plan_is_typed_by_nobody() {
    let bench = bench();
    let outside = bench.outside("").display().to_string();
    let plan = format!(
        "name: p
inputs:
  folder: {{ type: path, default: {outside} }}
  database: {{ type: string, default: \"sqlite:{outside}/made.db\" }}
steps:
  - {{ id: list, tool: fs.list, with: {{ root: \"${{{{ inputs.folder }}}}\" }} }}
  - {{ id: save, agent: DATABASE_WRITER, with: {{ database: \"${{{{ inputs.database }}}}\", rows: [ {{ a: 1 }} ], table: t }} }}
"
    );
    bench.file("p.yaml", plan);
    let report = bench.ollmcp(["--json", "run", "p.yaml"]).exits(1).json();
    assert!(report.to_string().matches(DENIED).count() >= 2, "{report}");
    assert!(!bench.outside("made.db").exists());
    let (folder, database) = (format!("folder={outside}"), format!("database=sqlite:{outside}/made.db"));
    bench.ollmcp(["run", "p.yaml", "-i", &folder, "-i", &database]).exits(0);
}

#[test]
fn a_typed_path_is_granted_again_when_the_run_goes_on() {
    let bench = Bench::with_log(&[]);
    fs::write(bench.outside("a.txt"), "outside").unwrap();
    bench.file(
        "p.yaml",
        "name: p
inputs:
  file: { type: path }
  database: { type: string }
steps:
  - { id: doubt, repeat: unsafe, tool: log.die }
  - { id: read, needs: [ doubt ], tool: fs.read, with: { path: \"${{ inputs.file }}\" } }
  - { id: save, needs: [ doubt ], agent: DATABASE_WRITER, with: { database: \"${{ inputs.database }}\", rows: [ { a: 1 } ], table: t } }
",
    );
    let file = format!("file={}", bench.outside("a.txt").display());
    let database = format!("database=sqlite:{}", bench.outside("x.db").display());
    bench.run(&["-i", &file, "-i", &database]).exits(4);
    let inbox = bench.ollmcp(["inbox", "--json"]).exits(0).json();
    let id = inbox["asks"][0]["id"].as_str().unwrap().to_owned();
    bench.ollmcp(["answer", &id, "happened"]).exits(0);
    bench.ollmcp(["--config", "servers.json", "resume"]).exits(0);
    assert!(bench.outside("x.db").exists());
    bench.ollmcp(["verify"]).exits(0);
}

#[test]
fn a_typed_link_grants_what_it_leads_to() {
    let bench = bench();
    bench.file(
        "p.yaml",
        "name: p
inputs:
  folder: { type: path }
steps:
  - { id: list, tool: fs.list, with: { root: \"${{ inputs.folder }}\", pattern: \"*.pdf\" }, done_when: [ \"output.count == 1\" ] }
  - { id: read, for_each: \"${{ steps.list.output.files }}\", tool: pdf_extract.info, with: { path: \"${{ item.path }}\" } }
",
    );
    for folder in ["link", "../outside", "inside"] {
        bench.ollmcp(["run", "p.yaml", "--fresh", "-i", &format!("folder={folder}")]).exits(0);
    }
    let outside = format!("folder={}", bench.outside("").display());
    bench.ollmcp(["run", "p.yaml", "--fresh", "-i", &outside]).exits(0);
}

#[test]
fn a_check_does_not_look_outside_the_project() {
    let bench = bench();
    for way in ways_out(&bench, "a.txt") {
        bench
            .steps(&format!("  - {{ id: a, value: 1, done_when: [ {{ file: {{ path: {way}, exists: true }} }} ] }}\n"));
        bench.ollmcp(["run", "p.yaml"]).exits(1).says("it is not looked at");
    }
    let database = bench.outside("made.db").display().to_string();
    bench.steps(&format!(
        "  - {{ id: a, value: 1, done_when: [ {{ sql: {{ database: \"sqlite:{database}\", query: select 1, equals: 1 }} }} ] }}\n"
    ));
    bench.ollmcp(["run", "p.yaml"]).exits(1).says(DENIED);
}

#[test]
fn what_is_typed_for_one_call_is_granted_for_that_call() {
    let bench = bench();
    let outside = bench.outside("a.txt").display().to_string();
    let mut command = bench.command(["call", "fs.read", "path=../../outside/a.txt"]);
    Told::from(command.current_dir(bench.project("inside")).output().unwrap()).exits(0).says("outside");
    bench.ollmcp(["call", "fs.read", &format!("path={outside}")]).exits(0).says("outside");
    bench.ollmcp(["call", "fs.write", &format!("path={outside}"), "text=x"]).exits(1).says("only inside");
    bench.ollmcp(["call", "fs.read", "path=.ollmcp/project.json"]).exits(1);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
}
