//! The usage account: what paid calls cost, and whether another one fits. Shared by all projects and processes of a
//! person, in `~/.ollmcp/`.
//!
//! Reserve, call, settle: a reservation at the worst case is durable before a request is sent, and is replaced by what
//! the answer cost. What nobody settles counts as spent. This room does not call anybody, knows no prices, and does not
//! decide what a task does at a limit.
//!
//! [`rules`] decides and is pure; `store` keeps records in SQLite; [`usage_file`] is the documented
//! `claude_usage.json`, written from the account; [`Account`] is the door: one thread that owns the connection.

mod apply;
mod call;
pub mod clock;
mod desk;
mod door;
mod error;
mod fold;
mod look;
mod mirror;
mod owner;
pub mod rules;
mod serve;
mod store;
pub mod usage_file;

pub use call::{Ask, Decision, Reason, Settled, Spent};
pub use clock::{Clock, Reading, SystemClock};
pub use door::{Account, Options, Reservation};
pub use error::AccountError;
pub use look::{By, Group, OpenCall, Span, Standing};
pub use rules::{Limit, Limits, Reached};

/// The account, inside the user-wide folder.
pub const ACCOUNT_FILE: &str = "claude_account.db";

/// The usage file in the documented form, beside it.
pub const USAGE_FILE: &str = "claude_usage.json";
