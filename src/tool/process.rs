//! The process behind one connection: started with a small environment in a group of its own, its standard error
//! drained all the time, killed with everything that came from it when it is closed or dropped.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::environment;
use super::masking::{Mask, bounded};
use super::spec::ServerSpec;
use super::{SPILL_DIR_VARIABLE, ToolError};
use crate::os::process_group::{self, Signal, TAG_VARIABLE};

/// How much of a server's standard error is kept.
const STDERR_BYTES_MAX: usize = 64 * 1024;

/// How much of it stands in a message.
const STDERR_SHOWN_BYTES_MAX: usize = 1_200;

/// How long a server has to leave after its standard input was closed.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long it has after it was asked to end.
const TERMINATE_TIMEOUT: Duration = Duration::from_millis(700);

/// How long to wait for the exit status and the last words of a server whose output has ended.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    tag: String,
    child: tokio::sync::Mutex<Child>,
    stderr: Arc<Ring>,
    /// Killed with all that came from it. From then on its number may belong to somebody else.
    is_buried: AtomicBool,
    mask: Mask,
    /// Drains standard error; ends with the process, or when this is dropped.
    _drain: JoinSet<()>,
    /// Removed with everything in it when this is dropped.
    spill: Option<tempfile::TempDir>,
}

/// A started process and its pipes.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

impl Process {
    pub(super) async fn start(spec: &ServerSpec) -> Result<Started, ToolError> {
        let failed = |message: String| ToolError::NotStarted { server: spec.name.clone(), message };
        let spill = match &spec.spill_dir {
            Some(folder) => Some(
                spill_folder(folder)
                    .map_err(|error| failed(format!("cannot make a folder in `{}`: {error}", folder.display())))?,
            ),
            None => None,
        };
        let tag = new_tag();
        let command = command(spec, &tag, spill.as_ref());
        let mut child = spawn(command).await.map_err(|error| failed(cannot_run(spec, &error)))?;
        let pid = child.id().expect("a child that was not waited for has an id");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = Arc::new(Ring::default());
        let mut drain = JoinSet::new();
        if let Some(pipe) = child.stderr.take() {
            drain.spawn(fill(Arc::clone(&stderr), pipe));
        }
        let child = tokio::sync::Mutex::new(child);
        let is_buried = AtomicBool::new(false);
        let process = Self { pid, tag, child, stderr, is_buried, mask: Mask::of(spec), _drain: drain, spill };
        match (stdin, stdout) {
            (Some(stdin), Some(stdout)) => Ok(Started { process, stdin, stdout }),
            _ => Err(failed("its pipes are missing".to_owned())),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    pub(super) fn spill_folder(&self) -> Option<&std::path::Path> {
        self.spill.as_ref().map(tempfile::TempDir::path)
    }

    /// What the server wrote to its standard error last, without secrets.
    pub(super) fn stderr_tail(&self) -> String {
        self.mask.text(self.stderr.text())
    }

    /// How it ended and its last words, for a message. Whatever is left of it is killed.
    pub(super) async fn obituary(&self) -> String {
        let status = self.exited_within(LAST_WORDS_TIMEOUT).await;
        self.kill();
        let drained = async {
            while !self.stderr.has_ended() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // A grandchild may hold the pipe open for ever, so the wait is bounded and its outcome does not matter.
        let _ = tokio::time::timeout(LAST_WORDS_TIMEOUT / 5, drained).await;
        let end = status.map_or_else(|| "it closed its output".to_owned(), |status| ended(&status));
        self.with_last_words(end)
    }

    /// A message with the tail of the standard error, if there is any.
    pub(super) fn with_last_words(&self, message: String) -> String {
        let tail = self.stderr_tail();
        let tail = tail.trim();
        if tail.is_empty() {
            return message;
        }
        let from = tail.len().saturating_sub(STDERR_SHOWN_BYTES_MAX);
        let from = (from..=tail.len()).find(|&at| tail.is_char_boundary(at)).unwrap_or(0);
        let cut = if from > 0 { "… " } else { "" };
        format!("{message}; its last words: {cut}{}", &tail[from..])
    }

    async fn exited_within(&self, limit: Duration) -> Option<ExitStatus> {
        let wait = async { self.child.lock().await.wait().await.ok() };
        tokio::time::timeout(limit, wait).await.ok().flatten()
    }

    /// Waits for the server to leave by itself (its standard input must be closed by now), asks it to end, then kills
    /// it and everything that came from it.
    pub(super) async fn end(&self) {
        if self.exited_within(LEAVE_TIMEOUT).await.is_none() {
            process_group::signal_group(self.pid, Signal::Terminate);
            if self.exited_within(TERMINATE_TIMEOUT).await.is_none() {
                tracing::info!(pid = self.pid, "a tool server did not leave and is killed");
            }
        }
        self.kill();
        // Reaped here, so that no zombie keeps the number; the kernel needs a moment for it.
        self.exited_within(TERMINATE_TIMEOUT).await;
    }

    /// Kills it and everything that came from it, at once; later calls do nothing.
    pub(super) fn kill(&self) {
        if self.is_buried.swap(true, Ordering::AcqRel) {
            return;
        }
        let left = process_group::kill_family(self.pid, &self.tag);
        if left > 0 {
            tracing::warn!(pid = self.pid, left, "processes of a tool server could not be killed");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spill_folder(parent: &std::path::Path) -> std::io::Result<tempfile::TempDir> {
    std::fs::create_dir_all(parent)?;
    tempfile::Builder::new().prefix("spill-").tempdir_in(parent)
}

/// Unlike any other, so that nothing of another server, or of an earlier process with our number, is ever killed.
fn new_tag() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

fn command(spec: &ServerSpec, tag: &str, spill: Option<&tempfile::TempDir>) -> Command {
    let mut command = std::process::Command::new(&spec.command);
    command.args(&spec.args).env_clear().envs(environment::passed(std::env::vars_os(), &spec.env_passed));
    if let Some(cwd) = &spec.cwd {
        // A program that trusts PWD would otherwise work in our folder.
        command.current_dir(cwd).env("PWD", cwd);
    }
    command.envs(&spec.env).env(TAG_VARIABLE, tag);
    if let Some(spill) = spill {
        command.env(SPILL_DIR_VARIABLE, spill.path());
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process_group::lead_group(&mut command);
    Command::from(command)
}

async fn spawn(mut command: Command) -> std::io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = oneshot::channel();
    process_group::on_keeper_thread(move || {
        let _inside = runtime.enter();
        // Nobody waits any more: the child is dropped unsent and must not stay.
        if let Err(Ok(child)) = sender.send(command.spawn())
            && let Some(pid) = child.id()
        {
            process_group::signal_group(pid, Signal::Kill);
        }
    });
    receiver.await.map_err(std::io::Error::other)?
}

fn cannot_run(spec: &ServerSpec, error: &std::io::Error) -> String {
    let missing_cwd = spec.cwd.as_ref().filter(|cwd| !cwd.is_dir());
    match missing_cwd {
        Some(cwd) => format!("its folder `{}` does not exist", cwd.display()),
        None if error.kind() == std::io::ErrorKind::NotFound => {
            format!("`{}` was not found; hint: install it, or give its full path", spec.command)
        }
        None => format!("cannot run `{}`: {error}", spec.command),
    }
}

fn ended(status: &ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Ring {
    inner: Mutex<RingInner>,
}

#[derive(Debug, Default)]
struct RingInner {
    bytes: VecDeque<u8>,
    has_ended: bool,
}

impl Ring {
    fn push(&self, bytes: &[u8]) {
        let ring = &mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_BYTES_MAX)..];
        let over = (ring.len() + bytes.len()).saturating_sub(STDERR_BYTES_MAX);
        ring.drain(..over);
        ring.extend(bytes);
    }

    fn text(&self) -> String {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(inner.bytes.make_contiguous()).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).has_ended
    }
}

async fn fill(ring: Arc<Ring>, mut pipe: impl AsyncRead + Unpin) {
    let mut buffer = [0; 8 * 1024];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        ring.push(&buffer[..read]);
    }
    ring.inner.lock().unwrap_or_else(PoisonError::into_inner).has_ended = true;
}

/// Bounds a text that goes into a message.
pub(super) fn shown(text: &str) -> String {
    bounded(text, STDERR_SHOWN_BYTES_MAX).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_end_and_never_grows() {
        let ring = Ring::default();
        for round in 0..100 {
            ring.push(&vec![b'a' + round % 26; 10_000]);
        }
        ring.push(b"the end");
        let text = ring.text();
        assert_eq!(text.len(), STDERR_BYTES_MAX);
        assert!(text.ends_with("vvvthe end"));
        ring.push(&vec![b'z'; 2 * STDERR_BYTES_MAX]);
        assert_eq!(ring.text(), "z".repeat(STDERR_BYTES_MAX));
    }
}
