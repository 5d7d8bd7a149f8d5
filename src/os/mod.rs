//! (being built)

pub mod rlimit;
