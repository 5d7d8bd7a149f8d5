//! (being built)

pub mod process_group;
