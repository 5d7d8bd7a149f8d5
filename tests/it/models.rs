//! The verbs about models, from outside: the real binary against scripted servers on real sockets.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::job::{Told, told};
use crate::model_server::{Model, ModelServer};

mod claude;
mod first;
mod list;
mod probe;
mod pull;

const OLLMCP: &str = env!("CARGO_BIN_EXE_ollmcp");
/// An address where nobody listens: the port of a service that no test machine runs.
const NOBODY: &str = "http://127.0.0.1:9";

/// A project and a home folder of its own.
struct Desk {
    root: tempfile::TempDir,
    project: PathBuf,
    ollama: String,
}

impl Desk {
    /// With this server as Ollama.
    fn new(server: &ModelServer) -> Self {
        Self::at(&server.url())
    }

    fn at(ollama: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().canonicalize().unwrap().join("project");
        fs::create_dir_all(&project).unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root, project, ollama: ollama.to_owned() }
    }

    /// Writes the user's configuration.
    fn config(&self, config: &Value) {
        let folder = self.root.path().join("home/.ollmcp");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }

    fn records(&self) -> PathBuf {
        self.root.path().join("home/.ollmcp/models.json")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(OLLMCP);
        command.current_dir(&self.project).env_clear().env("HOME", self.root.path().join("home"));
        // What else runs on this machine is none of the tests' business.
        command.env("OLLMCP_FIND_MODEL_SERVERS", "false");
        command.env("OLLAMA_HOST", &self.ollama).env("PATH", std::env::var_os("PATH").unwrap());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ollmcp(&self, args: &[&str]) -> Told {
        told(&mut self.command(args))
    }
}

/// Waits for a line on standard error that has these words; gives what came until then.
fn until(child: &mut Child, words: &str) -> (BufReader<std::process::ChildStderr>, String) {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(words) {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "it ended without `{words}`: {seen}");
        seen.push_str(&line);
    }
    (reader, seen)
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// The rest of what a child tells, and its exit code.
fn rest(mut child: Child, mut reader: BufReader<std::process::ChildStderr>, seen: String) -> Told {
    let mut err = seen;
    reader.read_to_string(&mut err).unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    Told { code: child.wait().unwrap().code().unwrap_or(-1), out, err }
}

/// The model of a `--json` list by its rung.
#[track_caller]
fn model(list: &Value, rung: &str) -> Value {
    let servers = list["servers"].as_array().unwrap();
    let models = servers.iter().flat_map(|server| server["models"].as_array().unwrap());
    models.into_iter().find(|model| model["rung"] == rung).unwrap_or_else(|| panic!("no {rung} in {list}")).clone()
}

/// The server of a `--json` list by its name.
#[track_caller]
fn server(list: &Value, name: &str) -> Value {
    let servers = list["servers"].as_array().unwrap();
    servers.iter().find(|server| server["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}")).clone()
}

fn ladder(rungs: &[&str]) -> Value {
    json!({ "ladders": { "default": rungs } })
}

fn qwen() -> Model {
    Model::new("qwen3:8b").thinks()
}
