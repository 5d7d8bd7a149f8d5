//! One test crate, many modules: each proves one room or one promise on real parts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail as tests do")]

mod account;
mod agents;
mod anthropic_server;
mod calls;
mod claude;
mod config;
mod core;
mod crash;
mod database;
mod docs;
mod engine;
mod fs_server;
mod interop;
mod job;
mod journal;
mod lock;
mod model;
mod model_server;
mod models;
mod pdf;
mod plan_file;
mod real_model;
mod reference;
mod scripted;
mod staging;
mod state;
mod tidy;
mod tool;
