//! What only the system can do. The one room where `unsafe` may stand, each use with its reason.

pub mod process_group;
pub mod rlimit;
//! What only the system can do: locks, private files, limits and groups of processes. The one room where `unsafe` may stand.

pub mod files;
pub mod lock;
