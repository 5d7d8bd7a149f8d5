//! What a plan may name: servers with their tools, agents, ladders, model servers. Plain data that the caller gathers.
//!
//! What is not known is not checked: a plan can be validated before any server was started.

use std::collections::BTreeMap;

use serde_json::Value;

/// Everything outside a plan that it may name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Declared tool servers by name; `None`: not checked.
    pub servers: Option<BTreeMap<String, ServerTools>>,
    /// Agents; `None`: not checked.
    pub agents: Option<Vec<KnownAgent>>,
    /// Ladders of the configuration; `None`: not checked.
    pub ladders: Option<Vec<String>>,
    /// Model servers of the configuration, beside `ollama`, which is always there; `None`: not checked.
    pub model_servers: Option<Vec<String>>,
}

/// The tools of a declared server.
#[derive(Clone, Debug)]
pub enum ServerTools {
    /// It was not asked: any tool name passes.
    Unknown,
    /// Its whole list.
    Known(Vec<KnownTool>),
    /// It is declared, and cannot be used.
    Away {
        /// Why, as it goes on after the server's name.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// One tool.
#[derive(Clone, Debug, Default)]
pub struct KnownTool {
    /// Name inside its server.
    pub name: String,
    /// JSON Schema of the arguments; `null`: not checked.
    pub input_schema: Value,
}

/// One agent.
#[derive(Clone, Debug, Default)]
pub struct KnownAgent {
    /// Name of its file, by convention in capitals.
    pub name: String,
    /// It can do its work from `with` alone, without a model.
    pub is_deterministic: bool,
    /// The slot of a role that is not built yet.
    pub is_reserved: bool,
    /// Tools that its file names, as `server.tool` or `server.*`; a step's own `tools` take their place.
    pub tools: Vec<String>,
    /// JSON Schema of its `with`; `null`: not checked.
    pub input_schema: Value,
}
