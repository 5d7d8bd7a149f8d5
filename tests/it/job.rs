//! The whole product from outside: the real binary in a folder of its own, judged by what a person sees.
//!
//! Exit codes, both outputs, the files, and the database through a connection of its own. Nothing inside is looked at.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

mod again;
mod agents;
mod exits;
mod features;
mod files;
mod first;
mod inputs;
mod place;
mod proof;
mod words;

/// The program.
const OLLMCP: &str = env!("CARGO_BIN_EXE_ollmcp");

/// Four small files: one table, two tables, a table over two pages, no table.
const FOUR: &[&str] = &["invoice_0101.pdf", "invoice_0104.pdf", "statement_0107.pdf", "blank.pdf"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A PDF without any table.
fn blank() -> PathBuf {
    repository("tests/fixtures/pdf_tables/cases/neg_js_rotation.pdf")
}

/// What a command told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.out.contains(part), "no `{part}` in\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn notes(self, part: &str) -> Self {
        assert!(self.err.contains(part), "no `{part}` in stderr\n{}\n--- stdout\n{}", self.err, self.out);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    /// A step of the end report, from `--json run`.
    #[track_caller]
    fn step(&self, id: &str) -> Value {
        let report = self.json();
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == id).unwrap_or_else(|| panic!("no step `{id}` in {report}")).clone()
    }

    /// What became of the items of a step: reused, new, changed, vanished.
    #[track_caller]
    fn items(&self, id: &str) -> (u64, u64, u64, Vec<String>) {
        let report = self.json();
        let found = report["items"].as_array().unwrap().iter().find(|changes| changes["step"] == id).unwrap().clone();
        let number = |name: &str| found[name].as_u64().unwrap();
        let vanished = found["vanished"].as_array().unwrap().iter();
        let vanished = vanished.map(|key| key.as_str().unwrap().to_owned()).collect();
        (number("reused"), number("new"), number("changed"), vanished)
    }
}

/// A project folder and a home folder of its own.
struct Desk {
    root: tempfile::TempDir,
    project: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().canonicalize().unwrap().join("project");
        fs::create_dir_all(&project).unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root, project }
    }

    /// With [`FOUR`] in the folder `in`, and the shipped plan, counted, as `job.yaml`.
    fn with_four() -> Self {
        let desk = Self::new();
        fs::create_dir(desk.path("in")).unwrap();
        for name in FOUR {
            let from = if *name == "blank.pdf" { blank() } else { repository("plans/samples/january").join(name) };
            fs::copy(from, desk.path("in").join(name)).unwrap();
        }
        let plan = fs::read_to_string(repository("plans/pdf_tables.yaml")).unwrap();
        let counted = plan.replace("tool: pdf_extract.", "tool: pdf_logged.");
        assert_ne!(plan, counted);
        desk.plan(&counted);
        let proxy = repository("tests/tools/logging_proxy.py");
        let args = json!([proxy, desk.path("reads"), OLLMCP, "tool-server", "pdf_extract"]);
        desk.config(&json!({ "mcpServers": { "pdf_logged": { "command": "python3", "args": args } } }));
        desk
    }

    /// With the test server of many faults as `log`, its calls in the file `calls`.
    fn with_log(arguments: &[&str]) -> Self {
        let desk = Self::new();
        let mut args = vec![repository("tests/tools/call_log_server.py").display().to_string()];
        args.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let env = json!({ "CALL_LOG": desk.path("calls") });
        desk.config(&json!({ "mcpServers": { "log": { "command": "python3", "args": args, "env": env } } }));
        desk
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.project.join(inside)
    }

    fn plan(&self, text: &str) {
        fs::write(self.path("job.yaml"), text).unwrap();
    }

    fn change_plan(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("job.yaml")).unwrap();
        assert!(text.contains(from), "no `{from}` in the plan");
        self.plan(&text.replace(from, to));
    }

    fn config(&self, config: &Value) {
        fs::write(self.path("servers.json"), config.to_string()).unwrap();
    }

    fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).env_clear().env("HOME", self.root.path().join("home")).stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        // What else runs on this machine is none of the tests' business.
        command.env("OLLMCP_FIND_MODEL_SERVERS", "false");
        command
    }

    fn at(&self, folder: &Path, args: &[&str]) -> Told {
        told(self.command(OLLMCP, folder).args(args))
    }

    fn ollmcp(&self, args: &[&str]) -> Told {
        self.at(&self.project, args)
    }

    /// Runs `job.yaml` with what is in `servers.json`, and gives the report as JSON.
    fn run(&self, more: &[&str]) -> Told {
        let mut args = vec!["--json", "run", "job.yaml"];
        if self.path("servers.json").exists() {
            args.extend(["--config", "servers.json"]);
        }
        args.extend(more);
        self.ollmcp(&args)
    }

    /// Runs the counted plan over `in`.
    fn run_four(&self, more: &[&str]) -> Told {
        let mut args = vec!["-i", "folder=in"];
        args.extend(more);
        self.run(&args)
    }

    /// How often each file was read since the last look, by file name.
    fn reads(&self) -> BTreeMap<String, usize> {
        let mut reads = BTreeMap::new();
        for line in fs::read_to_string(self.path("reads")).unwrap_or_default().lines() {
            let call: Value = serde_json::from_str(line).unwrap();
            let path = call["arguments"]["path"].as_str().unwrap();
            *reads.entry(path.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
        }
        let _ = fs::remove_file(self.path("reads"));
        reads
    }

    /// Tools that the test server has really carried out.
    fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs SQL on a database of the project, as a person would.
    fn sql(&self, database: &str, text: &str) -> Vec<Vec<String>> {
        sql(&self.path(database), text)
    }

    fn number(&self, database: &str, text: &str) -> i64 {
        self.sql(database, text)[0][0].parse().unwrap()
    }

    /// Has every change of a data table or of the ledger put on record.
    fn watch(&self, database: &str) {
        let mut text = "create table zz_seen (what text, tbl text);".to_owned();
        for table in self.tables(database).iter().map(String::as_str).chain(["_ollmcp_ledger"]) {
            for what in ["insert", "delete", "update"] {
                text.push_str(&format!(
                    "create trigger \"zz_{what}_{table}\" after {what} on \"{table}\" begin \
                     insert into zz_seen values ('{what}', '{table}'); end;"
                ));
            }
        }
        self.sql(database, &text);
    }

    /// Changes since the last look: inserts and deletes in data tables, then inserts in the ledger.
    fn saves(&self, database: &str) -> (i64, i64, i64) {
        let count = |condition: &str| self.number(database, &format!("select count(*) from zz_seen where {condition}"));
        let data = "tbl <> '_ollmcp_ledger'";
        let found = (
            count(&format!("{data} and what = 'insert'")),
            count(&format!("{data} and what <> 'insert'")),
            count("tbl = '_ollmcp_ledger' and what = 'insert'"),
        );
        self.sql(database, "delete from zz_seen");
        found
    }

    /// Names of the data tables.
    fn tables(&self, database: &str) -> Vec<String> {
        let text = "select name from sqlite_master where type = 'table' and name not like '\\_ollmcp%' escape '\\' \
                    and name <> 'zz_seen' order by name";
        self.sql(database, text).into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// Rows of all data tables by file name.
    fn rows_by_file(&self, database: &str) -> BTreeMap<String, i64> {
        let mut rows = BTreeMap::new();
        for table in self.tables(database) {
            for row in self.sql(database, &format!("select _file, count(*) from \"{table}\" group by _file")) {
                let name = row[0].rsplit('/').next().unwrap().to_owned();
                *rows.entry(name).or_default() += row[1].parse::<i64>().unwrap();
            }
        }
        rows
    }
}

/// Runs a command to its end.
pub(crate) fn told(command: &mut Command) -> Told {
    let output = command.output().unwrap();
    Told {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn sql(path: &Path, text: &str) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let cell = |row: &sqlx::sqlite::SqliteRow, at: usize| -> String {
            row.try_get_unchecked::<Option<String>, _>(at).unwrap().unwrap_or_default()
        };
        rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect()
    })
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
