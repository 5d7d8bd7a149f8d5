//! What can be done: the port [`ToolBox`], the MCP client behind it, repeat classes.
//!
//! Restarting servers and counting their deaths is the engine's work; a [`ToolBox`] only says what happened.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::domain::plan::RepeatClass;

pub mod connection;
pub mod environment;
mod lines;
mod masking;
pub mod pool;
mod process;
mod result;
pub mod servers;
pub mod spec;
mod table;

/// One tool as a server describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Name inside its server.
    pub name: String,
    /// The server's own words; data from a stranger.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of the structured result.
    pub output_schema: Option<Value>,
    /// From annotations or configuration; missing annotations mean `unsafe`.
    pub repeat: RepeatClass,
    /// Raised by our own servers when their results change; empty for foreign servers.
    pub output_version: String,
}

impl ToolSpec {
    /// Names of the arguments whose schema says `format: path`.
    #[must_use]
    pub fn path_arguments(&self) -> Vec<String> {
        let Some(properties) = self.input_schema.get("properties").and_then(Value::as_object) else {
            return Vec::new();
        };
        let is_path = |schema: &Value| schema.get("format").and_then(Value::as_str) == Some("path");
        properties.iter().filter(|(_, schema)| is_path(schema)).map(|(name, _)| name.clone()).collect()
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// Server name, as in the configuration.
    pub server: String,
    /// Tool name inside the server.
    pub tool: String,
    /// Arguments, already evaluated.
    pub arguments: Map<String, Value>,
    /// The same for each repetition of the same call; sent in `_meta` as [`CALL_KEY`].
    pub call_key: String,
    /// Limit of the whole call.
    pub timeout_ms: u64,
    /// Where the files that our `fs` server changes wait for acceptance; sent in `_meta` as [`STAGING`]. `None`: they
    /// change at once.
    pub staging: Option<PathBuf>,
}

/// Where the staging folder of a call travels in a request's `_meta`: an absolute path. Arguments of a model never get
/// there.
pub const STAGING: &str = "ollmcp/staging";

/// Where the call key travels in a request's `_meta`.
pub const CALL_KEY: &str = "ollmcp/callKey";

/// Where our own servers may write results over [`LINE_BYTES_MAX`]: named to them in this variable.
pub const SPILL_DIR_VARIABLE: &str = "OLLMCP_SPILL_DIR";

/// Where a spilled result's file name stands in a result's `_meta`.
pub const SPILLED_FILE: &str = "ollmcp/spilledFile";

/// Where our own servers say, in a tool's `_meta`, which version its results have.
pub const OUTPUT_VERSION: &str = "ollmcp/outputVersion";

/// Largest result that our own servers send as one JSON line.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The structured result, or the text content: JSON where the text parses as an object or list, else a string.
    pub value: Value,
}

/// How a call can end without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// No server of this name is declared.
    #[error("no tool server is called `{server}`")]
    UnknownServer {
        /// The name asked for.
        server: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// The server offers no such tool.
    #[error("server `{server}` has no tool `{tool}`")]
    UnknownTool {
        /// The server.
        server: String,
        /// The name asked for.
        tool: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// The arguments do not fit the input schema; nothing was sent.
    #[error("arguments of `{tool}` do not fit: {message}")]
    BadArguments {
        /// The tool.
        tool: String,
        /// The faults, one line.
        message: String,
    },
    /// The server could not be started, or had been given up; nothing was sent.
    #[error("cannot start tool server `{server}`: {message}")]
    NotStarted {
        /// The server.
        server: String,
        /// The cause and the tail of its standard error.
        message: String,
    },
    /// The server died while the call was in flight: its effect is unknown.
    #[error("tool server `{server}` died during the call: {message}")]
    Died {
        /// The server.
        server: String,
        /// The cause and the tail of its standard error.
        message: String,
    },
    /// No answer in time; a cancel notice was sent, the effect is unknown.
    #[error("no answer from `{server}.{tool}` within {} s", *limit_ms as f64 / 1_000.0)]
    Timeout {
        /// The server.
        server: String,
        /// The tool.
        tool: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The tool ran, or looked at its arguments, and says that it failed.
    #[error("{message}")]
    Reported {
        /// Its own words, bounded.
        message: String,
        /// A machine-readable reason of our own servers (`_meta` key [`REASON`]): a
        /// [`crate::domain::failure::FailureKind`] in snake case.
        reason: Option<String>,
    },
}

/// Where our own servers name the failure kind in an error result's `_meta`.
pub const REASON: &str = "ollmcp/reason";

/// Someone who can be asked to call tools.
pub trait ToolBox: Send + Sync + std::fmt::Debug + 'static {
    /// Names of all declared servers.
    fn servers(&self) -> Vec<String>;

    /// The tools of one server; starts it if needed.
    ///
    /// # Errors
    /// [`ToolError::UnknownServer`] and [`ToolError::NotStarted`].
    fn tools<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Arc<Vec<ToolSpec>>, ToolError>>;

    /// Calls one tool. Arguments are checked against the input schema before anything is sent.
    ///
    /// # Errors
    /// Every variant of [`ToolError`]; after [`ToolError::Died`] and [`ToolError::Timeout`] the effect is unknown.
    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolResult, ToolError>>;
}
