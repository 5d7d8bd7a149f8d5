//! Moving the files of an accepted task into place.

use super::staged::Staged;
use super::{Job, blocking};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::payload::Payload;
use crate::engine::Ports;
use crate::os::staging::{self, MoveError};

/// Moves what was staged to where it belongs, or the rest of it; what stood in the way, if anything.
///
/// # Errors
/// What no task can help and time or a person may, as a full disk: the task stays accepted, and the moves go on when the
/// run does.
pub async fn place(ports: &Ports, job: &Job, staged: &Payload) -> Result<Option<Failure>, String> {
    let found = match Staged::recorded(ports, job, staged) {
        Ok(found) => found,
        Err(why) => return Ok(Some(Failure::new(FailureKind::BadInput, why))),
    };
    let folder = found.folder.clone().expect("a recorded attempt has its folder");
    let (shared, root) = (ports.staging.clone(), ports.workspace.clone());
    let moved = blocking(move || {
        // A mover whose actor was killed goes on in its thread: never two at once.
        let _moving = shared.claims.moving();
        staging::place(&root, &folder, &found.manifest)
    })
    .await;
    match moved {
        Ok(()) => Ok(None),
        Err(error @ MoveError::Changed { .. }) => {
            let failure = Failure::new(FailureKind::Conflict, format!("{error}, after the task was accepted"));
            Ok(Some(failure.hint("what was in place before it stays; `show --item` lists what the task changed")))
        }
        Err(error @ MoveError::Lost { .. }) => Ok(Some(Failure::new(FailureKind::Missing, error.to_string()))),
        Err(error @ MoveError::System { .. }) => {
            Err(format!("{error}; the task is accepted, and its files follow when the run is resumed"))
        }
    }
}
