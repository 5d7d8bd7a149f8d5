//! Where the person stands, where the project is, and what may be touched outside of it.

use super::*;

fn outside(desk: &Desk) -> PathBuf {
    let folder = desk.root.path().canonicalize().unwrap().join("outside");
    fs::create_dir(&folder).unwrap();
    fs::copy(repository("plans/samples/january/invoice_0101.pdf"), folder.join("a.pdf")).unwrap();
    folder
}

#[test]
fn the_binary_alone_works_in_an_empty_folder_without_any_environment() {
    let desk = Desk::new();
    let program = desk.root.path().join("program");
    fs::copy(OLLMCP, &program).unwrap();
    let bare = |args: &[&str]| told(desk.command(&program, &desk.project).env_remove("PATH").args(args));
    bare(&["agents"]).exits(0).says("DATABASE_WRITER").says("PLANNER");
    assert_eq!(fs::read_dir(&desk.project).unwrap().count(), 0, "listing agents left something behind");
    let folder = outside(&desk);
    let run = bare(&["run", "pdf_tables", "-i", &format!("folder={}", folder.display())]).exits(0);
    let run = run.says("sqlite:tables.db: 1 file, 1 table, 5 rows in 1 data table").notes("note: made a project in ");
    assert!(run.err.contains(&desk.project.display().to_string()), "{}", run.err);
    assert_eq!(desk.rows_by_file("tables.db")["a.pdf"], 5);
    bare(&["verify"]).exits(0);
    bare(&["doctor"]).exits(0).says("tool server pdf_extract");
}

#[test]
fn what_is_typed_counts_from_where_the_person_stands_and_defaults_from_the_project() {
    let desk = Desk::new();
    desk.ollmcp(&["init"]).exits(0);
    let sub = desk.path("a/b");
    fs::create_dir_all(sub.join("in")).unwrap();
    fs::copy(repository("plans/samples/january/invoice_0101.pdf"), sub.join("in/x.pdf")).unwrap();
    desk.at(&sub, &["run", "pdf_tables", "-i", "folder=in"]).exits(0);
    assert!(desk.path("tables.db").exists() && !sub.join("tables.db").exists());
    let rows = desk.sql("tables.db", "select distinct _file from column_1_item_description_qty_unit_price_ebab4fbc");
    assert_eq!(rows, [["a/b/in/x.pdf"]]);
    // The same folder from the project's top is the same input.
    let again = desk.ollmcp(&["--json", "run", "pdf_tables", "-i", "folder=a/b/../b/in"]).exits(0);
    assert_eq!(again.items("save"), (1, 0, 0, vec![]));
    desk.at(&sub, &["run", "pdf_tables", "-i", "folder=in", "-i", "database=sqlite:here.db"]).exits(0);
    assert!(sub.join("here.db").exists());
    desk.at(&sub, &["verify"]).exits(0);
    desk.at(&sub, &["call", "fs.list", "root=in"]).exits(0).says("x.pdf");
}

#[test]
fn a_folder_outside_that_nobody_typed_is_denied() {
    let desk = Desk::new();
    let folder = outside(&desk);
    let list = format!("tool: fs.list\n    with: {{ root: {} }}", folder.display());
    desk.plan(&format!("name: p\nsteps:\n  - id: find\n    {list}\n"));
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(1);
    told.says("lies outside the project folder and was not named").says("hint: type it as an input of the run");
    // A default of the plan is not typed by the person either.
    let input = format!("inputs:\n  folder: {{ type: path, default: {} }}\n", folder.display());
    let step = "steps:\n  - id: find\n    tool: fs.list\n    with: { root: \"${{ inputs.folder }}\" }\n";
    desk.plan(&format!("name: p\n{input}{step}"));
    desk.ollmcp(&["run", "job.yaml"]).exits(1).says("lies outside the project folder and was not named");
    desk.ollmcp(&["run", "job.yaml", "-i", &format!("folder={}", folder.display())]).exits(0);
    // Beside what was typed is not what was typed.
    fs::create_dir(desk.root.path().join("outside2")).unwrap();
    desk.plan(&format!("name: p\n{input}{}", step.replace("inputs.folder }}", "inputs.folder }}2")));
    desk.ollmcp(&["run", "job.yaml", "-i", &format!("folder={}", folder.display())]).exits(1).says("was not named");
    desk.ollmcp(&["call", "fs.list", &format!("root={}", folder.display())]).exits(0).says("a.pdf");
}

#[test]
fn a_link_out_of_the_project_is_no_way_out_of_it() {
    let desk = Desk::new();
    let folder = outside(&desk);
    std::os::unix::fs::symlink(&folder, desk.path("link")).unwrap();
    desk.plan("name: p\nsteps:\n  - id: read\n    tool: pdf_extract.info\n    with: { path: link/a.pdf }\n");
    desk.ollmcp(&["run", "job.yaml"]).exits(1).says("lies outside the project folder");
}

#[test]
fn a_database_outside_is_written_only_when_it_was_typed() {
    let desk = Desk::new();
    let address = format!("sqlite:{}/x.db", desk.root.path().canonicalize().unwrap().display());
    let plan = |database: &str| {
        desk.plan(&format!(
            "name: p\ninputs:\n  database: \"{address}\"\nsteps:\n  - id: save\n    agent: DATABASE_WRITER\n    \
             with: {{ database: \"{database}\", table: t, rows: [ {{ a: 1 }} ] }}\n"
        ));
    };
    plan(&address);
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(1);
    told.says("lies outside the project folder and was not named");
    plan("${{ inputs.database }}");
    desk.ollmcp(&["run", "job.yaml"]).exits(1).says("was not named");
    assert!(!desk.root.path().join("x.db").exists());
    desk.ollmcp(&["run", "job.yaml", "-i", &format!("database={address}")]).exits(0);
    assert_eq!(sql(&desk.root.path().join("x.db"), "select a from t"), [["1"]]);
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn the_home_folder_is_no_project() {
    let desk = Desk::new();
    let home = desk.root.path().join("home");
    desk.at(&home, &["init"]).exits(2).notes("home");
    desk.at(&home, &["run", "pdf_tables"]).exits(2).notes("home");
    assert!(!home.join("tables.db").exists());
}

#[test]
fn a_project_may_lie_as_deep_as_folders_go() {
    let mut desk = Desk::with_log(&[]);
    let config = desk.path("servers.json");
    desk.project = desk.project.join("a_folder_of_twenty_/".repeat(12));
    fs::create_dir_all(&desk.project).unwrap();
    fs::copy(config, desk.path("servers.json")).unwrap();
    desk.plan("name: p\nsteps:\n  - { id: a, value: 1 }\n");
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(0);
    assert!(!told.err.contains("cannot listen"), "{}", told.err);
    desk.ollmcp(&["ls"]).exits(0).says("complete");
    // Another terminal finds the run there.
    desk.plan("name: p\nsteps:\n  - { id: a, tool: log.hang }\n");
    let mut command = desk.command(OLLMCP, &desk.project);
    command.args(["run", "job.yaml", "--config", "servers.json"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while !desk.ollmcp(&["ls"]).exits(0).out.contains("running") {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was looked at");
    }
    desk.ollmcp(&["cancel"]).exits(0);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_socket_that_cannot_be_made_is_told_and_the_run_goes_on() {
    let desk = Desk::new();
    desk.ollmcp(&["init"]).exits(0);
    // Something stands in its way that is not ours to remove.
    fs::create_dir_all(desk.path(".ollmcp/control.sock/keep")).unwrap();
    desk.plan("name: p\nsteps:\n  - { id: a, value: 1 }\n");
    let told = desk.ollmcp(&["run", "job.yaml"]).exits(0).says("p complete");
    assert!(told.err.contains("note: cannot listen on `") && told.err.contains("the run goes on"), "{}", told.err);
    desk.ollmcp(&["ls"]).exits(0).says("complete");
}

#[test]
fn what_cannot_be_listed_is_named_and_the_run_does_not_look_whole() {
    use std::os::unix::ffi::OsStrExt as _;
    let desk = Desk::new();
    fs::create_dir(desk.path("in")).unwrap();
    let sample = repository("plans/samples/january/invoice_0101.pdf");
    fs::copy(&sample, desk.path("in/UPPER.PDF")).unwrap();
    desk.ollmcp(&["run", "pdf_tables", "-i", "folder=in"]).exits(0).says("1 file, 1 table, 5 rows");
    for name in [b"caf\xe9.pdf", b"caf\xe8.pdf"] {
        fs::copy(&sample, desk.path("in").join(OsStr::from_bytes(name))).unwrap();
    }
    std::os::unix::fs::symlink("nowhere.pdf", desk.path("in/gone.pdf")).unwrap();
    let told = desk.ollmcp(&["run", "pdf_tables", "-i", "folder=in"]).exits(3).says("pdf_tables partial");
    let told = told.says("set aside:").says(r"unlisted[in/caf\xE9.pdf]: ").says(r"unlisted[in/caf\xE8.pdf]: ");
    told.says("its name is not UTF-8; rename it").says("unlisted[in/gone.pdf]: ").says("unlisted: 3");
}
