//! Where attempts keep the files that they write until they are accepted: a folder for each attempt, named by ids, that
//! only its owner enters. What is left of attempts that came to nothing is swept away.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::domain::event::Event;
use crate::domain::ids::{RunId, TaskId};
use crate::domain::run::{RunState, TaskPhase};
use crate::os::files::make_private_folder;
use crate::os::staging::{Claims, discard};

/// The staging folders of all runs of a project, and who is about to move what.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    /// Accepted files that are not all in place.
    pub claims: Claims<(RunId, TaskId)>,
    /// Runs that have a folder.
    runs: Mutex<BTreeSet<RunId>>,
}

impl Staging {
    /// Folders beneath `root`, which is made when it is needed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, claims: Claims::default(), runs: Mutex::default() }
    }

    /// The folder of one attempt.
    #[must_use]
    pub fn folder(&self, run: RunId, task: TaskId, attempt: u32) -> PathBuf {
        self.of_run(run).join(format!("{}-{}-{attempt}", task.step, task.item))
    }

    /// The folder of the second opinion on an attempt's output.
    #[must_use]
    pub fn second(&self, run: RunId, task: TaskId, attempt: u32) -> PathBuf {
        self.of_run(run).join(format!("{}-{}-{attempt}-second", task.step, task.item))
    }

    fn of_run(&self, run: RunId) -> PathBuf {
        self.root.join(run.to_string())
    }

    /// Makes an attempt's folder, empty. Blocks.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self, run: RunId, folder: &Path) -> io::Result<()> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        discard(folder)?;
        make_private_folder(folder)
    }

    /// Whether some attempt of the run may have a folder.
    #[must_use]
    pub fn has(&self, run: RunId) -> bool {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    /// The folders that nobody needs after an event that is durable.
    #[must_use]
    pub fn over(&self, state: &RunState, event: &Event) -> Vec<PathBuf> {
        let run = state.head.run;
        let both = |task: TaskId, attempt: u32| vec![self.folder(run, task, attempt), self.second(run, task, attempt)];
        match event {
            Event::AttemptFailed { task, attempt, .. }
            | Event::AttemptInterrupted { task, attempt }
            | Event::CallInDoubt { task, attempt, .. } => both(*task, *attempt),
            Event::VerdictGiven { task, attempt, verdict } if !verdict.accepted => both(*task, *attempt),
            Event::TaskDone { task } | Event::TaskEnded { task, .. } => {
                let attempt = state.tasks.get(task).map_or(0, |task| task.attempts);
                both(*task, attempt)
            }
            Event::RunEnded { .. } => vec![self.of_run(run)],
            _ => Vec::new(),
        }
    }

    /// Takes up the folders of a run that goes on: what waits for its verdict or its place stays, anything else is left
    /// of attempts that came to nothing. Blocks.
    pub fn take_up(&self, state: &RunState) {
        let run = state.head.run;
        let Ok(entries) = fs::read_dir(self.of_run(run)) else { return };
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        let waits = |phase: &TaskPhase| matches!(phase, TaskPhase::Judging { .. } | TaskPhase::Placing { .. });
        let waiting = state.tasks.iter().filter(|(_, task)| waits(&task.phase));
        let kept: BTreeSet<PathBuf> = waiting.map(|(id, task)| self.folder(run, *id, task.attempts)).collect();
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !kept.contains(path)) {
            swept(&path);
        }
        if kept.is_empty() {
            swept(&self.of_run(run));
        }
    }

    /// A run leaves its supervisor: only what it has accepted stays claimed.
    pub fn leave(&self, state: &RunState) {
        let is_placing =
            |task: &TaskId| state.tasks.get(task).is_some_and(|task| matches!(task.phase, TaskPhase::Placing { .. }));
        self.claims.retain(|(run, task)| *run != state.head.run || is_placing(task));
    }

    /// Sweeps away what runs that are over have left. Blocks.
    pub fn sweep(&self, goes_on: impl Fn(RunId) -> bool) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let run = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(RunId);
            if !run.is_some_and(&goes_on) {
                swept(&entry.path());
            }
        }
    }
}

/// Removes a folder that nobody needs. One that cannot be removed now is swept at the next start.
pub(super) fn swept(folder: &Path) {
    if let Err(error) = discard(folder) {
        tracing::warn!(%error, folder = %folder.display(), "a staging folder could not be removed");
    }
}
