//! Fuzz targets. Each runs as an ordinary test; a guided run is `cargo bolero test NAME`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod calls;
mod claude;
mod journal;
mod plan_file;
