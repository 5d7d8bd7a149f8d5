//! Moving the files of an accepted task into place.

use super::Job;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::payload::Payload;
use crate::engine::Ports;

/// Moves what was staged to where it belongs; what stood in the way, if anything. Attempts of this version stage nothing
/// (tools that write files are not offered to them), so a task that waits for this was written by a newer one.
pub async fn place(_ports: &Ports, _job: &Job, _staged: &Payload) -> Option<Failure> {
    Some(Failure::new(FailureKind::Conflict, "files that wait for acceptance are not in this version"))
}
