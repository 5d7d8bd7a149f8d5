//! Our own MCP servers, each also `ollmcp tool-server NAME` for any MCP client.
//!
//! A server names its tools and does its work in plain blocking functions; [`host`] does the rest. Nothing here knows
//! of runs, models or grants of a step: a server is given what it may touch when it starts.

pub mod db;
pub mod fs;
mod fs_list;
mod fs_paths;
mod fs_staged;
mod fs_text;
mod fs_view;
mod fs_write;
pub mod host;
pub mod pdf_extract;
pub mod spill;

/// Name and input schema of a tool of ours.
pub type ToolShape = (String, serde_json::Value);

/// The tools of each of our servers. Nothing is started.
#[must_use]
pub fn own_tools() -> Vec<(&'static str, Vec<ToolShape>)> {
    let shapes = |tools: Vec<rmcp::model::Tool>| {
        let shape =
            |tool: rmcp::model::Tool| (tool.name.to_string(), serde_json::Value::Object((*tool.input_schema).clone()));
        tools.into_iter().map(shape).collect()
    };
    vec![
        ("fs", fs::tool_shapes()),
        ("pdf_extract", shapes(pdf_extract::tools())),
        ("db", shapes(db::DbServer::tools())),
    ]
}
