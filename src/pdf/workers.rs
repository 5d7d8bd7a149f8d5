//! The pool: child processes that read PDFs, reused between files, replaced when they die or have grown.
//!
//! A file that kills its worker costs one error; nothing is tried again here.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::error::KILLED_FROM_OUTSIDE;
use super::protocol::{Answer, Operation, Request, Setup};
use super::{Extraction, FileInfo, PdfError, ReadOptions, TextLayer};
use crate::os::rlimit;

/// What the workers may use. Ordinary files need about 5 ms of CPU and under 40 MiB.
#[derive(Clone, Copy, Debug)]
pub struct WorkerLimits {
    /// Workers at once.
    pub workers_max: usize,
    /// Address space of one worker.
    pub address_space_bytes: u64,
    /// Largest file.
    pub file_bytes_max: u64,
    /// CPU time of one file, without its pages.
    pub cpu_ms: u64,
    /// CPU time that each page adds.
    pub cpu_ms_per_page: u64,
    /// Wall time of one file, without its pages; a busy machine must not fail it before the CPU limit does.
    pub wall_ms: u64,
    /// A worker that holds more memory than this after a file is replaced.
    pub grown_bytes: u64,
    /// A worker is replaced after so many files.
    pub files_per_worker_max: u64,
    /// Largest answer.
    pub answer_bytes_max: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers_max: cores.min(4),
            address_space_bytes: 1 << 30,
            file_bytes_max: 256 << 20,
            cpu_ms: 10_000,
            cpu_ms_per_page: 20,
            wall_ms: 120_000,
            grown_bytes: 192 << 20,
            files_per_worker_max: 2_000,
            answer_bytes_max: 64 << 20,
        }
    }
}

impl WorkerLimits {
    fn cpu(&self, pages: u32) -> Duration {
        Duration::from_millis(self.cpu_ms + self.cpu_ms_per_page * u64::from(pages))
    }

    fn wall(&self, pages: u32) -> Duration {
        Duration::from_millis(self.wall_ms + 10 * self.cpu_ms_per_page * u64::from(pages))
    }
}

/// How often the CPU clock of a working child is read.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// Standard error of a worker that is kept, its last bytes.
const STDERR_BYTES_MAX: usize = 4_096;
/// How long the end of a killed worker is waited for.
const END_WAIT: Duration = Duration::from_secs(5);

/// The pool. Cheap to clone; the last clone's end kills the workers.
#[derive(Clone, Debug)]
pub struct Workers {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    program: PathBuf,
    args: Vec<String>,
    limits: WorkerLimits,
    permits: Semaphore,
    idle: Mutex<Vec<Worker>>,
    busy: Mutex<HashSet<u32>>,
    started: AtomicU64,
}

impl Workers {
    /// A pool of `program args…`, which must end in [`super::worker::worker_main`]. Nothing is started yet.
    #[must_use]
    pub fn new(program: PathBuf, args: Vec<String>, limits: WorkerLimits) -> Self {
        let permits = Semaphore::new(limits.workers_max.max(1));
        let pool = Pool {
            program,
            args,
            limits,
            permits,
            idle: Mutex::default(),
            busy: Mutex::default(),
            started: AtomicU64::new(0),
        };
        Self { pool: Arc::new(pool) }
    }

    /// Tables and text of one file. `name` is the file as the caller named it.
    ///
    /// # Errors
    /// Every variant of [`PdfError`]; also when a worker had to be killed.
    pub async fn tables(&self, path: &Path, name: &str, options: ReadOptions) -> Result<Extraction, PdfError> {
        self.call(Operation::Tables, path, name, options).await
    }

    /// Text of one file.
    ///
    /// # Errors
    /// As [`Workers::tables`].
    pub async fn text(&self, path: &Path, options: ReadOptions) -> Result<TextLayer, PdfError> {
        self.call(Operation::Text, path, "", options).await
    }

    /// What one file is.
    ///
    /// # Errors
    /// As [`Workers::tables`].
    pub async fn info(&self, path: &Path, options: ReadOptions) -> Result<FileInfo, PdfError> {
        self.call(Operation::Info, path, "", options).await
    }

    /// Worker processes started so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.pool.started.load(Ordering::Relaxed)
    }

    /// Process ids of the workers that are reading a file now.
    #[must_use]
    pub fn busy(&self) -> Vec<u32> {
        lock(&self.pool.busy).iter().copied().collect()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &Path,
        name: &str,
        options: ReadOptions,
    ) -> Result<T, PdfError> {
        let path =
            tokio::fs::canonicalize(path).await.map_err(|error| PdfError::Missing { message: error.to_string() })?;
        let request = Request { operation, path, name: name.to_owned(), options };
        let mut line = serde_json::to_vec(&request).map_err(no_worker)?;
        line.push(b'\n');
        let _permit = self.pool.permits.acquire().await.map_err(no_worker)?;
        let worker = self.pool.take().await?;
        let _busy = Busy::mark(&self.pool, worker.pid);
        let (answer, worker) = worker.read::<T>(&line, &self.pool.limits).await;
        if let Some(worker) = worker
            && !worker.is_worn(&self.pool.limits)
        {
            lock(&self.pool.idle).push(worker);
        }
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_worker(error: impl std::fmt::Display) -> PdfError {
    PdfError::NoWorker { message: error.to_string() }
}

/// A process id in the list of busy ones for as long as this lives.
struct Busy<'a> {
    pool: &'a Pool,
    pid: u32,
}

impl<'a> Busy<'a> {
    fn mark(pool: &'a Pool, pid: u32) -> Self {
        lock(&pool.busy).insert(pid);
        Self { pool, pid }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(&self.pool.busy).remove(&self.pid);
    }
}

impl Pool {
    async fn take(&self) -> Result<Worker, PdfError> {
        loop {
            let idle = lock(&self.idle).pop();
            match idle {
                // One that died while it had nothing to do is no file's fault.
                Some(mut worker) => {
                    if matches!(worker.child.try_wait(), Ok(None)) {
                        return Ok(worker);
                    }
                }
                None => return self.start().await,
            }
        }
    }

    async fn start(&self) -> Result<Worker, PdfError> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            // One malloc arena: each further one reserves address space that the limit counts.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(no_worker)?;
        let missing = || no_worker("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let pid = child.id().ok_or_else(|| no_worker("it ended at once"))?;
        let limits = &self.limits;
        let setup = Setup {
            address_space_bytes: limits.address_space_bytes,
            file_bytes_max: limits.file_bytes_max,
            cpu_ms: limits.cpu_ms,
            cpu_ms_per_page: limits.cpu_ms_per_page,
            answer_bytes_max: limits.answer_bytes_max,
        };
        let mut worker = Worker { pid, child, stdin, stdout, stderr, said: Vec::new(), files: 0 };
        let mut line = serde_json::to_vec(&setup).map_err(no_worker)?;
        line.push(b'\n');
        worker.stdin.write_all(&line).await.map_err(no_worker)?;
        Ok(worker)
    }
}

#[derive(Debug)]
struct Worker {
    pid: u32,
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    /// The tail of its standard error.
    said: Vec<u8>,
    files: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // `id` is `None` once it was reaped: its number may belong to somebody else by then.
        if self.child.id().is_some() {
            rlimit::kill_group(self.pid);
        }
    }
}

/// How watching one file ended.
enum Watched<T> {
    Answer(Answer<T>),
    /// The pipe ended: the worker is dead or dying.
    Gone,
    /// The answer is none of ours.
    Garbled(String),
    Late {
        milliseconds: u64,
        clock: &'static str,
    },
}

impl Worker {
    /// Sends one request and waits for its answer; gives the worker back if it is still good.
    async fn read<T: DeserializeOwned>(
        mut self,
        request: &[u8],
        limits: &WorkerLimits,
    ) -> (Result<T, PdfError>, Option<Self>) {
        self.files += 1;
        let watched = self.watch(request, limits).await;
        match watched {
            Watched::Answer(Answer::Done(result)) => (Ok(result), Some(self)),
            Watched::Answer(Answer::Failed(error)) => (Err(error), Some(self)),
            Watched::Answer(Answer::Pages(_)) | Watched::Gone => (Err(self.cause_of_death(limits).await), None),
            Watched::Garbled(message) => (Err(PdfError::Crash { message }), None),
            Watched::Late { milliseconds, clock } => {
                (Err(PdfError::Time { milliseconds, clock: clock.to_owned() }), None)
            }
        }
    }

    async fn watch<T: DeserializeOwned>(&mut self, request: &[u8], limits: &WorkerLimits) -> Watched<T> {
        let Self { stdin, stdout, stderr, said, pid, .. } = self;
        let cpu_before = rlimit::cpu_time_of(*pid).unwrap_or_default();
        let started = Instant::now();
        let mut pages = 0_u32;
        let mut tick = tokio::time::interval(WATCH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stderr_open = true;
        let mut heard = [0_u8; 1_024];
        if stdin.write_all(request).await.is_err() {
            return Watched::Gone;
        }
        loop {
            let frame = read_frame(stdout, limits.answer_bytes_max);
            tokio::pin!(frame);
            let frame = loop {
                tokio::select! {
                    frame = &mut frame => break frame,
                    read = stderr.read(&mut heard), if stderr_open => match read {
                        Ok(count) if count > 0 => keep_tail(said, &heard[..count]),
                        _ => stderr_open = false,
                    },
                    _ = tick.tick() => {
                        let cpu = limits.cpu(pages);
                        let wall = limits.wall(pages);
                        let used = rlimit::cpu_time_of(*pid).unwrap_or_default().saturating_sub(cpu_before);
                        let late = |limit: Duration, clock| Watched::Late {
                            milliseconds: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                            clock,
                        };
                        if used > cpu {
                            return late(cpu, "CPU");
                        }
                        if started.elapsed() > wall {
                            return late(wall, "wall");
                        }
                    }
                }
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return Watched::Gone,
                Err(message) => return Watched::Garbled(message),
            };
            match serde_json::from_slice(&frame) {
                Ok(Answer::Pages(counted)) => pages = counted,
                Ok(answer) => return Watched::Answer(answer),
                Err(error) => return Watched::Garbled(format!("its answer cannot be read: {error}")),
            }
        }
    }

    async fn cause_of_death(&mut self, limits: &WorkerLimits) -> PdfError {
        let status = tokio::time::timeout(END_WAIT, self.child.wait()).await;
        let mut rest = Vec::new();
        let mut stderr = (&mut self.stderr).take(STDERR_BYTES_MAX as u64);
        let _ = tokio::time::timeout(END_WAIT, stderr.read_to_end(&mut rest)).await;
        keep_tail(&mut self.said, &rest);
        let said = String::from_utf8_lossy(&self.said);
        match status {
            Ok(Ok(status)) => cause(status, said.trim(), limits),
            _ => PdfError::Crash { message: "it closed its output and did not end".to_owned() },
        }
    }

    /// Whether it should not get another file.
    fn is_worn(&self, limits: &WorkerLimits) -> bool {
        self.files >= limits.files_per_worker_max || resident_bytes(self.pid) > limits.grown_bytes
    }
}

/// One answer, or `None` where the pipe ends before it is complete.
async fn read_frame(from: &mut ChildStdout, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
    let mut length = [0_u8; 4];
    if from.read_exact(&mut length).await.is_err() {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > bytes_max {
        return Err(format!("its answer has {length} bytes, the limit is {bytes_max}"));
    }
    let mut frame = vec![0; length];
    Ok(from.read_exact(&mut frame).await.is_ok().then_some(frame))
}

fn keep_tail(said: &mut Vec<u8>, more: &[u8]) {
    said.extend_from_slice(more);
    if said.len() > STDERR_BYTES_MAX {
        said.drain(..said.len() - STDERR_BYTES_MAX);
    }
}

/// Memory that a process holds now; 0 when it is gone.
fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    // The kernel counts here in pages; 4 KiB is the smallest it uses, so the figure is never too high.
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// Reads an exit for its reason.
fn cause(status: ExitStatus, said: &str, limits: &WorkerLimits) -> PdfError {
    let lower = said.to_lowercase();
    if lower.contains("memory allocation of") || lower.contains("cannot allocate memory") {
        return PdfError::Memory { mib: limits.address_space_bytes >> 20 };
    }
    if status.signal() == Some(libc::SIGXCPU) {
        return PdfError::Time { milliseconds: 2 * limits.cpu_ms, clock: "CPU".to_owned() };
    }
    let tail: String = said.lines().next_back().unwrap_or("").chars().take(300).collect();
    let what = match status.signal() {
        _ if lower.contains("overflowed its stack") => "its objects are nested too deeply (stack overflow)".to_owned(),
        Some(libc::SIGKILL) => format!("{KILLED_FROM_OUTSIDE} (by the system when memory is short)"),
        Some(signal) => format!("the worker ended by signal {signal}"),
        None => format!("the worker ended with code {}", status.code().unwrap_or(-1)),
    };
    PdfError::Crash { message: if tail.is_empty() { what } else { format!("{what}; it said: {tail}") } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw_status: i32, said: &str, expect: &str) {
        let error = cause(ExitStatus::from_raw(raw_status), said, &WorkerLimits::default());
        assert!(error.to_string().contains(expect), "{error}");
        let blames_file = error.hint().unwrap().contains("hostile");
        assert_eq!(blames_file, matches!(error, PdfError::Crash { .. }) && raw_status != libc::SIGKILL, "{error}");
    }

    #[test]
    fn an_exit_is_read_for_its_reason() {
        check(libc::SIGABRT, "memory allocation of 1073741824 bytes failed\n", "out of memory");
        check(
            libc::SIGABRT,
            "\nthread 'pdf-worker' has overflowed its stack\nfatal runtime error\n",
            "nested too deeply",
        );
        check(libc::SIGXCPU, "", "out of time");
        check(libc::SIGKILL, "", "killed from outside");
        check(libc::SIGSEGV, "", "signal 11");
        check(3 << 8, "some words", "code 3; it said: some words");
    }

    #[test]
    fn only_the_tail_of_standard_error_is_kept() {
        let mut said = Vec::new();
        for _ in 0..3 {
            keep_tail(&mut said, &[b'a'; 3_000]);
        }
        keep_tail(&mut said, b"end");
        assert_eq!(said.len(), STDERR_BYTES_MAX);
        assert!(said.ends_with(b"end"));
    }
}
