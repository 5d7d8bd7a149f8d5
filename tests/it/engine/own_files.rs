//! Our own `fs` server in the process of the test, in place of the scripted one.

use std::path::PathBuf;
use std::sync::Arc;

use ollmcp::servers::fs::{FsOptions, FsServer};
use ollmcp::servers::host::{BuiltIn as _, BuiltInTool};
use ollmcp::tool::{ToolCall, ToolError, ToolResult, ToolSpec};

use super::world::World;

/// The server.
#[derive(Debug)]
pub(crate) struct OwnFiles(FsServer);

impl OwnFiles {
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        let spec = |tool: BuiltInTool| ToolSpec {
            name: tool.name.to_owned(),
            description: tool.description.to_owned(),
            input_schema: tool.input_schema,
            output_schema: Some(tool.output_schema),
            repeat: tool.repeat,
            output_version: tool.output_version.to_owned(),
        };
        self.0.tools().into_iter().map(spec).collect()
    }

    pub(super) fn answer(&self, call: &ToolCall) -> Result<ToolResult, ToolError> {
        let value = self.0.call(&call.tool, call.arguments.clone(), call.staging.as_deref());
        value.map(|value| ToolResult { value }).map_err(|refusal| ToolError::Reported {
            message: refusal.message,
            reason: serde_json::to_value(refusal.kind).unwrap().as_str().map(str::to_owned),
        })
    }
}

impl World {
    /// Where attempts keep their files.
    pub(crate) fn staging(&self) -> PathBuf {
        self.folder.path().join(".ollmcp/staging")
    }

    /// The project folder.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The tools `fs` are those of our own server, on the project folder.
    pub(crate) fn with_files(mut self) -> Self {
        let (workspace, staging) = (self.workspace(), Some(self.staging()));
        let options = FsOptions { workspace, granted: Vec::new(), spill: None, staging };
        let tools = Arc::get_mut(&mut self.tools).expect("no engine is booted yet");
        tools.files = Some(OwnFiles(FsServer::new(&options).unwrap()));
        self
    }
}
