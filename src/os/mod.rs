//! What only the system can do. The one room where `unsafe` may stand, each use with its reason.

pub mod process_group;
pub mod rlimit;
