//! ollmcp runs multi-step jobs on free local models, under supervision, with Claude as the backstop.
//!
//! The rooms, in reading order:
//! `domain` what a run is, pure · `plan_file` plan text to a checked plan · `journal` where events live ·
//! `state` state as it is asked for · `model` who answers · `tool` what can be done · `servers` our own tool servers · `pdf` pages to
//! tables · `database` rows in, rows proven · `account` what paid calls cost · `agent` roles and one attempt from inside · `evidence` checks to
//! verdicts · `engine` actors only · `report` events to text · `config` settings · `os` what only the system can do ·
//! `app` wiring · `cli` one file per verb.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("ollmcp runs on Linux, x86-64 and aarch64: its journal, locks and process limits need that system");

pub mod account;
pub mod agent;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod database;
pub mod domain;
pub mod engine;
pub mod evidence;
pub mod journal;
pub mod model;
pub mod os;
pub mod pdf;
pub mod plan_file;
pub mod report;
pub mod servers;
pub mod state;
pub mod telemetry;
pub mod tool;
