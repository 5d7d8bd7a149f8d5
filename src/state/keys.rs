//! Keys of the store: one byte for the table, then fixed-width big-endian parts.

use sha2::{Digest as _, Sha256};

use crate::domain::ids::{Digest, RunId, StepIndex, TaskId};

pub(super) const META: &[u8] = &[0x01];
pub(super) const HEADS: u8 = 0x02;
pub(super) const TASKS: u8 = 0x03;

fn of_run(table: u8, run: RunId) -> Vec<u8> {
    let mut key = Vec::with_capacity(27);
    key.push(table);
    key.extend_from_slice(run.0.as_bytes());
    key
}

pub(super) fn head(run: RunId) -> Vec<u8> {
    of_run(HEADS, run)
}

pub(super) fn task(run: RunId, task: TaskId) -> Vec<u8> {
    let mut key = of_run(TASKS, run);
    key.extend_from_slice(&task.step.to_be_bytes());
    key.extend_from_slice(&task.item.to_be_bytes());
    key
}

/// All tasks of a run.
pub(super) fn tasks(run: RunId) -> Vec<u8> {
    of_run(TASKS, run)
}

/// The task that a key of [`tasks`] names.
pub(super) fn task_of(key: &[u8]) -> Option<TaskId> {
    let step = key.get(17..21)?.try_into().ok()?;
    let item = key.get(21..25)?.try_into().ok()?;
    Some(TaskId::new(u32::from_be_bytes(step), u32::from_be_bytes(item)))
}

pub(super) fn identity(identity: &Digest) -> Vec<u8> {
    let mut key = vec![0x04];
    key.extend_from_slice(&identity.0);
    key
}

pub(super) fn plan(run: RunId) -> Vec<u8> {
    of_run(0x05, run)
}

/// All steps of a run that have left the beginning.
pub(super) fn steps(run: RunId) -> Vec<u8> {
    of_run(0x06, run)
}

pub(super) fn step(run: RunId, step: StepIndex) -> Vec<u8> {
    let mut key = steps(run);
    key.extend_from_slice(&step.to_be_bytes());
    key
}

pub(super) fn place(place: &Place) -> Vec<u8> {
    let mut key = vec![0x07];
    key.extend_from_slice(&place.0[..16]);
    key
}

pub(super) fn chain(run: RunId) -> Vec<u8> {
    of_run(0x08, run)
}

pub(super) fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where an item stands over all runs: project, plan, step and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place([u8; 32]);

impl Place {
    /// The place of item `key` of a step.
    #[must_use]
    pub fn new(project: &str, plan: &str, step: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [project, plan, step, key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }
}
