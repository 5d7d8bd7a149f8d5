//! Paths of attempts that are accepted and whose files are not all in place. Two attempts that change the same path rest
//! on the same content of it, so only the first of them may be accepted; the other one is wrong and begins anew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::manifest::Manifest;
use super::mover;
use super::stand::Stand;

/// What each of some attempts is about to move. `K` names an attempt.
#[derive(Debug)]
pub struct Claims<K> {
    held: Mutex<BTreeMap<K, Vec<String>>>,
    moving: Mutex<()>,
}

/// As long as this is held, nobody else moves files into place.
#[derive(Debug)]
pub struct Moving<'a>(#[expect(dead_code, reason = "held for its end")] MutexGuard<'a, ()>);

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self { held: Mutex::default(), moving: Mutex::default() }
    }
}

impl<K: Ord + Clone> Claims<K> {
    /// Claims the paths of a list of changes, if all of them stand as it rests on and nobody else is about to move them.
    /// `Err` names those that do not.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(&self, of: K, root: &Path, manifest: &Manifest) -> io::Result<Result<(), Vec<String>>> {
        let mut held = self.held();
        let wanted = paths(manifest);
        let others = || held.iter().filter(|(other, _)| **other != of).flat_map(|(_, paths)| paths);
        let mut taken: Vec<String> =
            wanted.iter().filter(|path| others().any(|other| touch(path, other))).cloned().collect();
        if taken.is_empty() {
            taken = mover::conflicts(root, manifest)?;
        }
        if taken.is_empty() {
            held.insert(of, wanted);
            return Ok(Ok(()));
        }
        Ok(Err(taken))
    }

    /// Claims what was accepted before this process.
    pub fn keep(&self, of: K, manifest: &Manifest) {
        self.held().insert(of, paths(manifest));
    }

    /// Gives a claim back: all is in place, or nothing will be.
    pub fn release(&self, of: &K) {
        self.held().remove(of);
    }

    /// Keeps those claims for which `keeps` holds.
    pub fn retain(&self, mut keeps: impl FnMut(&K) -> bool) {
        self.held().retain(|of, _| keeps(of));
    }

    /// Waits until nobody moves files. Blocks.
    pub fn moving(&self) -> Moving<'_> {
        Moving(self.moving.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<K, Vec<String>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Folders may be made by many.
fn paths(manifest: &Manifest) -> Vec<String> {
    let own = manifest.changes.iter().filter(|(_, change)| !change.now.is_folder() || !is_new(&change.base));
    own.map(|(path, _)| path.clone()).collect()
}

fn is_new(base: &Stand) -> bool {
    base.is_folder() || *base == Stand::Absent
}

fn touch(one: &str, other: &str) -> bool {
    let lies_in = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    one == other || lies_in(one, other) || lies_in(other, one)
}
