//! What only the system can do: locks, private files, limits and groups of processes. The one room where `unsafe` may stand.

pub mod boot;
pub mod files;
pub mod lock;
pub mod paths;
pub mod process_group;
pub mod rlimit;
pub mod staging;
