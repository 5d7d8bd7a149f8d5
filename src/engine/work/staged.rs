//! What an attempt wrote and what waits for its acceptance: sealed, looked at by the checks, held against what stands
//! there now.

use std::path::{Path, PathBuf};

use super::{Job, blocking, not_stored};
use crate::domain::failure::FailureKind;
use crate::domain::ids::TaskId;
use crate::domain::payload::Payload;
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::os::staging::{Manifest, Stand, conflicts};

/// Paths that a complaint names.
const NAMED_MAX: usize = 5;

/// The files of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Where they lie; `None`: they are in place, as an earlier run left them.
    pub(super) folder: Option<PathBuf>,
    pub(super) manifest: Manifest,
}

impl Staged {
    /// Makes what lies in a folder durable; `None`: the attempt changed nothing.
    pub(super) async fn seal(folder: &Path) -> Result<Option<Self>, String> {
        let folder = folder.to_owned();
        blocking(move || match Manifest::seal(&folder) {
            Ok(found) => Ok(found.map(|manifest| Self { folder: Some(folder), manifest })),
            Err(error) => Err(format!("cannot keep the files of an attempt: {error}")),
        })
        .await
    }

    /// The files of the attempt that a job is, as its record has them.
    pub(super) fn recorded(ports: &Ports, job: &Job, staged: &Payload) -> Result<Self, String> {
        let value = ports.blobs.read_value(staged).map_err(|error| error.to_string())?;
        let manifest = Manifest::from_value(value).map_err(|error| error.to_string())?;
        Ok(Self { folder: Some(folder_of(ports, job)), manifest })
    }

    /// What is journalled of them.
    pub(super) async fn stored(&self, ports: &Ports) -> Result<Payload, String> {
        match Payload::inline(self.manifest.to_value()) {
            Ok(payload) => Ok(payload),
            Err(value) => {
                let blobs = ports.blobs.clone();
                let stored = blocking(move || blobs.put_value(&value)).await;
                stored.map_err(|error| not_stored("the list of files", &error))
            }
        }
    }

    /// Whether all stands as an accepted attempt left it.
    pub(super) async fn stands(&self, ports: &Ports) -> bool {
        let (root, manifest) = (ports.workspace.clone(), self.manifest.clone());
        blocking(move || {
            let mut changes = manifest.changes.iter();
            changes.all(|(path, change)| Stand::of(&root, Path::new(path)).is_ok_and(|now| now.is_like(&change.now)))
        })
        .await
    }

    /// Paths that two attempts would leave with other contents.
    pub(super) fn differences(one: Option<&Self>, other: Option<&Self>) -> Vec<String> {
        let none = Manifest::default();
        let of = |staged: Option<&Self>| staged.map_or_else(|| none.clone(), |staged| staged.manifest.clone()).changes;
        let (one, other) = (of(one), of(other));
        let paths: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        let differ = |path: &&&String| match (one.get(**path), other.get(**path)) {
            (Some(one), Some(other)) => !one.now.is_like(&other.now),
            (Some(only), None) | (None, Some(only)) => !only.now.is_like(&only.base),
            (None, None) => false,
        };
        paths.iter().filter(differ).map(|path| (*path).clone()).collect()
    }
}

/// The folder of the attempt that a job is.
pub(super) fn folder_of(ports: &Ports, job: &Job) -> PathBuf {
    let attempt = job.trial.as_ref().map_or(0, |trial| trial.attempt);
    ports.staging.folder(job.run, TaskId::new(job.step, job.item), attempt)
}

/// The verdict of a judge, unless what the attempt changed was changed by somebody else: then it rests on what is not
/// there any more. The last judge's word claims the paths, so that of two attempts only one is accepted.
pub(super) async fn unless_changed(ports: &Ports, job: &Job, staged: Option<&Staged>, verdict: Verdict) -> Verdict {
    let Some(staged) = staged.filter(|_| verdict.accepted) else { return verdict };
    let seconds = job.trial.as_ref().is_some_and(|trial| !trial.ladder.seconds.is_empty());
    let is_last = verdict.by == Judge::Agreement || !seconds;
    let (staging, root, manifest) = (ports.staging.clone(), ports.workspace.clone(), staged.manifest.clone());
    let of = (job.run, TaskId::new(job.step, job.item));
    let looked = blocking(move || {
        if is_last {
            staging.claims.take(of, &root, &manifest)
        } else {
            let found = conflicts(&root, &manifest)?;
            Ok(if found.is_empty() { Ok(()) } else { Err(found) })
        }
    })
    .await;
    let rejected = |kind, why: String| Verdict {
        evidence: verdict.evidence.clone(),
        kind: Some(kind),
        ..Verdict::rejecting(verdict.by.clone(), why)
    };
    match looked {
        Ok(Ok(())) => verdict,
        Ok(Err(paths)) => rejected(FailureKind::Conflict, complaint(&paths)),
        Err(error) => rejected(FailureKind::ToolError, format!("the files to be changed cannot be looked at: {error}")),
    }
}

fn complaint(paths: &[String]) -> String {
    let named: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| format!("`{path}`")).collect();
    let more = paths.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let were = if paths.len() == 1 { "was" } else { "were" };
    format!("{}{more} {were} changed by somebody else since it was read; nothing was written", named.join(", "))
}
