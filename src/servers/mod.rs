//! Our own MCP servers, each also `ollmcp tool-server NAME` for any MCP client.
//!
//! A server names its tools and does its work in plain blocking functions; [`host`] does the rest. Nothing here knows
//! of runs, models or grants of a step: a server is given what it may touch when it starts.

pub mod db;
pub mod fs;
mod fs_list;
mod fs_paths;
mod fs_text;
mod fs_write;
pub mod host;
pub mod pdf_extract;
pub mod spill;
