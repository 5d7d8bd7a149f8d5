//! One test crate, many modules: each proves one room or one promise on real parts.
mod journal;

mod pdf;

mod plan_file;

mod fs_server;
mod tool;
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail as tests do")]

mod agents;
mod config;
mod lock;
mod tidy;
