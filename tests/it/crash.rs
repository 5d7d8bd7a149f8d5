//! The promises that hold over crashes, damage, signals and second terminals, proven on the real program.
//!
//! Every test starts the program as a process of its own in a project in a temporary folder. `CRASH_FULL=1` switches
//! the long forms on, `CRASH_SEED=N` repeats a random one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail a test by panicking, too")]

mod claude;
mod claude_faults;
mod claude_limits;
mod claude_secrets;
mod dump;
mod effects;
mod escalation_check;
mod large;
mod models;
mod notify;
pub(crate) mod place;
mod prices;
mod signals;
mod specification;
mod starting;
mod store;
mod syncs;
mod terminal;
