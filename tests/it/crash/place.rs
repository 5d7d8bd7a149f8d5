//! A project in a temporary folder, and the real program in it as a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ollmcp::domain::event::{Event, decode};
use ollmcp::domain::ids::{RunId, TaskId};
use ollmcp::journal::{JournalError, Position, read_all};
use serde_json::{Value, json};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ollmcp");
/// Nothing in these tests takes longer, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Exit code of a run that was interrupted.
pub(crate) const INTERRUPTED: i32 = 130;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Switches the long forms on.
#[expect(clippy::disallowed_methods, reason = "a test's switch, read where it is used")]
pub(crate) fn is_full() -> bool {
    std::env::var("CRASH_FULL").is_ok_and(|value| value == "1")
}

/// A number from the environment, else from the clock; always printed, so that a failure can be had again.
#[expect(clippy::disallowed_methods, reason = "a test's switch, and the one source of chance in these tests")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or_else(|| u64::try_from(since.as_nanos() & 0xffff_ffff).unwrap());
    println!("CRASH_SEED={seed}");
    seed
}

/// SplitMix64: enough for choosing when to kill.
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Looks again and again until there is an answer; fails the test after the limit.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(LIMIT, what, look)
}

#[track_caller]
fn until_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where a kill happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Before(u64),
    After(u64),
}

/// A library of this folder that is preloaded, made once in a process.
pub(crate) fn shim(name: &str) -> PathBuf {
    static MADE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let shim = folder.join(format!("{name}.so"));
    let mut made_before = MADE.lock().unwrap();
    if made_before.insert(name.to_owned()) {
        let made = tempfile::Builder::new().suffix(".so").tempfile_in(folder).unwrap().into_temp_path();
        let source = root().join("tests/it/crash").join(name).with_extension("c");
        let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&made).arg(source).status();
        assert!(status.expect("a C compiler is there").success());
        fs::rename(&made, &shim).unwrap();
    }
    shim
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A process at work; killed with the test.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    done: bool,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        send(self.id(), signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait(self) -> Said {
        self.wait_within(LIMIT)
    }

    #[track_caller]
    pub(crate) fn wait_within(mut self, limit: Duration) -> Said {
        let child = &mut self.child;
        let status = until_within(limit, "the end of a process", || child.try_wait().unwrap());
        self.done = true;
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Said { status, out: read(&self.out), err: read(&self.err) }
    }

    pub(crate) fn kill(self) -> Said {
        self.signal(libc::SIGKILL);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            // What has ended needs no killing.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to one process that a test started.
#[expect(unsafe_code, reason = "kill has no safe form here")]
pub(crate) fn send(process: u32, signal: i32) {
    let process = libc::pid_t::try_from(process).unwrap();
    assert!(process > 1);
    // SAFETY: takes plain numbers, and the process is one.
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// A project.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    started: std::cell::Cell<u32>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), started: std::cell::Cell::new(0) };
        for folder in ["home", "project", "said"] {
            fs::create_dir(place.folder.path().join(folder)).unwrap();
        }
        place
    }

    /// A project whose server `log` writes a call log, with a plan.
    pub(crate) fn with_calls(plan: &str) -> Self {
        let place = Self::new();
        let server = root().join("tests/tools/call_log_server.py");
        place.config(&json!({ "mcpServers": { "log": {
            "command": "python3", "args": [server], "env": { "CALL_LOG": place.call_log() }
        } } }));
        place.write("plan.yaml", plan);
        place
    }

    /// Declares the call log server once more, under another name.
    pub(crate) fn second_server(&self, name: &str) {
        let path = self.folder.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["mcpServers"][name] = config["mcpServers"]["log"].clone();
        fs::write(path, config.to_string()).unwrap();
    }

    /// Waits until no process is left that was started in this project.
    #[track_caller]
    pub(crate) fn until_alone(&self) {
        let name = self.folder.path().to_str().unwrap().as_bytes().to_vec();
        let belongs = |entry: &fs::DirEntry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.windows(name.len()).any(|part| part == name)
        };
        until("the end of the project's processes", || {
            (!fs::read_dir("/proc").unwrap().flatten().any(|entry| belongs(&entry))).then_some(())
        });
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.project().join(".ollmcp")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    pub(crate) fn call_log(&self) -> PathBuf {
        self.folder.path().join("calls.log")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn config(&self, config: &Value) {
        fs::write(self.folder.path().join("config.json"), config.to_string()).unwrap();
    }

    /// The program with these words, in the project, with a home folder and little else.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let config = self.folder.path().join("config.json");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command.args(words).current_dir(self.project()).env_clear();
        #[expect(clippy::disallowed_methods, reason = "python3 is found where the test finds it")]
        command.env("PATH", std::env::var("PATH").unwrap()).env("HOME", self.folder.path().join("home"));
        command
    }

    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.spawn(self.command(words))
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let number = self.started.get();
        self.started.set(number + 1);
        let said = |name: &str| self.folder.path().join("said").join(format!("{number}.{name}"));
        let (out, err) = (said("out"), said("err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Running { child, out, err, done: false }
    }

    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        self.start(words).wait()
    }

    /// Runs until the sync of the journal at which it is killed, or to its end.
    #[track_caller]
    pub(crate) fn killed_at_sync(&self, words: &[&str], at: At) -> Said {
        let mut command = self.command(words);
        let (number, before) = match at {
            At::Before(number) => (number, "1"),
            At::After(number) => (number, "0"),
        };
        command.env("LD_PRELOAD", shim("kill_at_sync"));
        command.env("KILL_AT_SYNC", number.to_string()).env("KILL_BEFORE_SYNC", before);
        self.spawn(command).wait()
    }

    /// The call log: what really happened.
    pub(crate) fn calls(&self) -> Vec<Call> {
        calls(&self.call_log())
    }

    /// What the journal says of each task, over all runs.
    pub(crate) fn history(&self) -> History {
        let mut history = History::default();
        if !self.state().join("journal").exists() {
            return history;
        }
        let summary = read_all(&self.state().join("journal"), &mut |frame| {
            for record in frame.records {
                history.take(record.run, &decode(&record.payload)?.event);
            }
            Ok(())
        });
        history.last = match summary {
            Ok(summary) => summary.last,
            // Killed before the first segment had its name.
            Err(JournalError::Missing { .. }) => Position::default(),
            Err(error) => panic!("{error}"),
        };
        history
    }

    /// Waits until the process in charge answers.
    #[track_caller]
    pub(crate) fn until_socket(&self, running: &mut Running) {
        until("the control socket", || {
            assert!(!running.has_ended(), "{}", running.err());
            std::os::unix::net::UnixStream::connect(self.socket()).ok()
        });
    }

    #[track_caller]
    pub(crate) fn until_calls(&self, count: usize) {
        until("calls", || (self.calls().len() >= count).then_some(()));
    }
}

/// One line of a call log.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) key: String,
    pub(crate) arguments: Value,
}

pub(crate) fn calls(log: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            Call { tool: text("tool"), key: text("key"), arguments: value["arguments"].clone() }
        })
        .collect()
}

/// What the journal says of tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) last: Position,
    keys: BTreeMap<(RunId, TaskId), String>,
    /// How often each was started, and accepted.
    pub(crate) started: BTreeMap<(RunId, TaskId), u32>,
    pub(crate) done: BTreeMap<(RunId, TaskId), u32>,
    /// Started after it was done: must stay empty.
    pub(crate) again: BTreeSet<(RunId, TaskId)>,
}

impl History {
    fn take(&mut self, run: RunId, event: &Event) {
        match event {
            Event::AttemptStarted { task, key, .. } => {
                *self.started.entry((run, *task)).or_default() += 1;
                self.keys.insert((run, *task), key.clone());
                if self.done.contains_key(&(run, *task)) {
                    self.again.insert((run, *task));
                }
            }
            Event::TaskDone { task } => *self.done.entry((run, *task)).or_default() += 1,
            _ => {}
        }
    }

    /// Keys of the done items of a step.
    pub(crate) fn done_keys(&self, step: u32) -> BTreeSet<String> {
        self.done.keys().filter(|(_, task)| task.step == step).map(|task| self.keys[task].clone()).collect()
    }

    /// A task that reported success never ran again.
    #[track_caller]
    pub(crate) fn holds(&self) {
        assert!(self.again.is_empty(), "ran again after success: {:?}", self.again);
        let twice: Vec<_> = self.done.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "more than one recorded success: {twice:?}");
    }
}

/// Everything that came from a process, as long as its parents still tell so.
pub(crate) fn descendants(process: u32) -> BTreeSet<(u32, u64)> {
    let all = processes();
    let mut found = BTreeSet::from([process]);
    loop {
        let more: Vec<u32> =
            all.iter().filter(|(id, one)| found.contains(&one.0) && !found.contains(id)).map(|(id, _)| *id).collect();
        if more.is_empty() {
            found.remove(&process);
            return found.into_iter().filter_map(|id| Some((id, all.get(&id)?.1))).collect();
        }
        found.extend(more);
    }
}

/// Waits until none of these processes lives any more.
#[track_caller]
pub(crate) fn until_gone(family: &BTreeSet<(u32, u64)>) {
    until(&format!("the end of {family:?}"), || {
        let all = processes();
        family.iter().all(|(id, start)| all.get(id).is_none_or(|one| one.1 != *start)).then_some(())
    });
}

/// Parent and start time of every living process.
fn processes() -> BTreeMap<u32, (u32, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = text[text.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
        // A zombie is dead already; whoever adopted it has to look after it.
        if fields[0] != "Z" {
            found.insert(id, (fields[1].parse().unwrap(), fields[19].parse().unwrap()));
        }
    }
    found
}
