//! What a run is. Pure: no input or output, no clock, no randomness, no async.

pub mod command;
pub mod event;
pub mod failure;
pub mod identity;
pub mod ids;
pub mod kinds;
pub mod ladder;
pub mod money;
pub mod nearest;
pub mod payload;
pub mod plan;
pub mod run;
pub mod verdict;
