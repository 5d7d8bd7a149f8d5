//! The product beside other programs: foreign tool servers and clients, hostile servers and files, and what neither a
//! plan nor a server may reach. The real binary, seen from outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::tool::{repository, test_tools};

mod builtin;
mod consent;
mod corrections;
mod faults;
mod fences;
mod foreign;
mod pdf;
mod secrets;

/// The program.
const OLLMCP: &str = env!("CARGO_BIN_EXE_ollmcp");

/// What a command told.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Told {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Both streams together hold the words.
    #[track_caller]
    fn says(self, words: &str) -> Self {
        let is_there = self.out.contains(words) || self.err.contains(words);
        assert!(is_there, "no `{words}`\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn hides(self, words: &str) -> Self {
        let is_there = self.out.contains(words) || self.err.contains(words);
        assert!(!is_there, "`{words}`\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A project folder, a home folder and a place outside of both.
struct Bench {
    _root: tempfile::TempDir,
    base: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        for folder in ["project", "home", "outside"] {
            fs::create_dir(base.join(folder)).unwrap();
        }
        Self { _root: root, base }
    }

    /// With the test server of many faults as `log`; its calls are written to the file `calls`.
    fn with_log(options: &[&str]) -> Self {
        let bench = Self::new();
        let server = bench.log_server(options);
        bench.servers(&json!({ "log": server }));
        bench
    }

    fn log_server(&self, options: &[&str]) -> Value {
        let script = repository().join("tests/tools/call_log_server.py").display().to_string();
        let args: Vec<&str> = std::iter::once(script.as_str()).chain(options.iter().copied()).collect();
        json!({ "command": "python3", "args": args, "env": { "CALL_LOG": self.project("calls") } })
    }

    fn project(&self, inside: &str) -> PathBuf {
        self.base.join("project").join(inside)
    }

    fn outside(&self, inside: &str) -> PathBuf {
        self.base.join("outside").join(inside)
    }

    /// Writes a file of the project, with the folders on the way.
    fn file(&self, inside: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.project(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The configuration that [`Bench::run`] uses.
    fn config(&self, config: &Value) {
        self.file("servers.json", config.to_string());
    }

    fn servers(&self, servers: &Value) {
        self.config(&json!({ "mcpServers": servers }));
    }

    /// Writes `p.yaml` with these steps.
    fn steps(&self, steps: &str) {
        self.file("p.yaml", format!("name: p\nsteps:\n{steps}"));
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.foreign(OLLMCP, args)
    }

    /// Another program at the same place.
    fn foreign(&self, program: impl AsRef<OsStr>, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.base.join("project")).stdin(Stdio::null()).env_clear();
        command.env("HOME", self.base.join("home"));
        for (name, value) in std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "LD_LIBRARY_PATH") {
            command.env(name, value);
        }
        command
    }

    fn ollmcp(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Told {
        self.command(args).output().unwrap().into()
    }

    /// Runs `p.yaml` with `servers.json`.
    fn run(&self, more: &[&str]) -> Told {
        let usual = ["--json", "--config", "servers.json", "run", "p.yaml"];
        self.ollmcp(usual.iter().chain(more))
    }

    /// Calls that the test server really carried out.
    fn calls(&self) -> Vec<Value> {
        lines(&self.project("calls"))
    }
}

/// A file with a JSON value on each line; none is empty.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One step of a report.
#[track_caller]
fn step<'a>(report: &'a Value, id: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == id).unwrap_or_else(|| panic!("no step `{id}` in {report}"))
}

/// Waits until something holds; the limit only bounds a failing test.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The port of no toy: the official Python client drives a server.
#[track_caller]
fn driven(bench: &Bench, calls: &[(&str, Value)], more: &[&str], server: &[&str]) -> Value {
    let python = test_tools().join("venv/bin/python");
    let script = repository().join("tests/tools/drive_server.py").display().to_string();
    let mut args = vec![script];
    for (tool, arguments) in calls {
        args.extend(["--call".to_owned(), (*tool).to_owned(), arguments.to_string()]);
    }
    args.extend(more.iter().map(|&word| word.to_owned()));
    args.push("--".to_owned());
    args.extend(server.iter().map(|&word| word.to_owned()));
    Told::from(bench.foreign(python, args).output().unwrap()).exits(0).json()
}
