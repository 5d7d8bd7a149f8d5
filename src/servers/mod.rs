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

use crate::plan_file::KnownTool;

/// The tools of each of our servers, as a plan may name them. Nothing is started.
#[must_use]
pub fn own_tools() -> Vec<(&'static str, Vec<KnownTool>)> {
    let known = |tools: Vec<rmcp::model::Tool>| {
        let tool = |tool: rmcp::model::Tool| KnownTool {
            name: tool.name.to_string(),
            input_schema: serde_json::Value::Object((*tool.input_schema).clone()),
        };
        tools.into_iter().map(tool).collect()
    };
    vec![
        ("fs", fs::known_tools()),
        ("pdf_extract", known(pdf_extract::tools())),
        ("db", known(db::DbServer::tools())),
    ]
}
