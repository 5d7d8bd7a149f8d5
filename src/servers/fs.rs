//! The built-in server `fs`: lists, reads, searches and hashes files of the workspace and of granted paths, and changes
//! files of the workspace.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use super::fs_list::PAGE_FILES_MAX;
use super::fs_paths::Territory;
use super::fs_view::View;
use super::host::{self, BuiltIn, BuiltInTool, Refusal, ServeError, arguments};
use super::spill::Spill;
use super::{fs_list, fs_staged, fs_text, fs_write};
use crate::domain::failure::FailureKind;
use crate::domain::plan::RepeatClass;
use crate::os::staging::{Overlay, is_plain};
use crate::tool::spec::{GRANTED_PATHS_VARIABLE, STAGING_DIR_VARIABLE};

/// Raised when results change.
const OUTPUT_VERSION: &str = "1";

/// What the server may touch.
#[derive(Debug)]
pub struct FsOptions {
    /// The folder that may be read and written.
    pub workspace: PathBuf,
    /// Files and folders outside that may be read.
    pub granted: Vec<PathBuf>,
    /// Where large results go; none: listings come in pages.
    pub spill: Option<Spill>,
    /// Beneath it lie the folders in which calls may keep files until they are accepted; none: they may not.
    pub staging: Option<PathBuf>,
}

impl FsOptions {
    /// The workspace is the current folder; granted are `paths` and those of [`GRANTED_PATHS_VARIABLE`]; files wait
    /// beneath the folder of [`STAGING_DIR_VARIABLE`].
    ///
    /// # Errors
    /// When there is no current folder, or the variable does not hold a list of texts.
    pub fn from_process(paths: Vec<PathBuf>) -> Result<Self, FsError> {
        let real = std::env::current_dir().map_err(FsError::Workspace)?;
        // The name that people know, where links led here: paths that they type begin like it.
        let named = std::env::var_os("PWD").map(PathBuf::from);
        let workspace = named.filter(|named| named.canonicalize().is_ok_and(|named| named == real)).unwrap_or(real);
        let mut granted = paths;
        if let Some(list) = std::env::var_os(GRANTED_PATHS_VARIABLE).filter(|list| !list.is_empty()) {
            let list: Vec<PathBuf> = serde_json::from_slice(list.as_encoded_bytes()).map_err(FsError::Granted)?;
            granted.extend(list);
        }
        let staging = std::env::var_os(STAGING_DIR_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { workspace, granted, spill: Spill::from_process(), staging })
    }
}

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The workspace is not there.
    #[error("cannot open the workspace")]
    Workspace(#[source] std::io::Error),
    /// The list of granted paths cannot be read.
    #[error("`{GRANTED_PATHS_VARIABLE}` is not a JSON list of paths")]
    Granted(#[source] serde_json::Error),
    /// Serving ended badly.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves on standard input and output until the client leaves.
///
/// # Errors
/// [`FsError`].
pub async fn serve(options: FsOptions) -> Result<(), FsError> {
    let server = FsServer::new(&options)?;
    Ok(host::serve_stdio(Arc::new(server), options.spill).await?)
}

/// The server: a workspace and what may be read outside of it.
#[derive(Debug)]
pub struct FsServer {
    territory: Territory,
    page: Option<usize>,
    /// Where attempts have their staging folders.
    staging: Option<PathBuf>,
}

impl BuiltIn for FsServer {
    fn name(&self) -> &'static str {
        "fs"
    }

    fn instructions(&self) -> String {
        format!(
            "Files of the workspace `{}`. Relative paths start there; paths in results can be given back as they are. \
             Only the workspace is written; outside of it only granted paths are read.",
            self.territory.workspace().display()
        )
    }

    fn tools(&self) -> Vec<BuiltInTool> {
        tools()
    }

    fn call(&self, tool: &str, given: JsonObject, staging: Option<&Path>) -> Result<Value, Refusal> {
        let territory = &self.territory;
        let overlay = staging.map(|folder| self.overlay(folder)).transpose()?;
        let view = View::new(territory, overlay);
        let answer = match tool {
            "list" => fs_list::list(&view, &arguments(given)?, self.page),
            "read" => fs_text::read(&view, &arguments(given)?),
            "search" => fs_text::search(&view, &arguments(given)?),
            "stat" => fs_text::stat(&view, &arguments(given)?),
            "hash" => fs_text::hash(&view, &arguments(given)?),
            "write" if staging.is_some() => fs_staged::write(&view, &arguments(given)?),
            "patch" if staging.is_some() => fs_staged::patch(&view, &arguments(given)?),
            "move" if staging.is_some() => fs_staged::move_path(&view, &arguments(given)?),
            "delete" if staging.is_some() => fs_staged::delete(&view, &arguments(given)?),
            "write" => fs_write::write(territory, &arguments(given)?),
            "patch" => fs_write::patch(territory, &arguments(given)?),
            "move" => fs_write::move_file(territory, &arguments(given)?),
            "delete" => fs_write::delete(territory, &arguments(given)?),
            other => Err(Refusal::new(FailureKind::UnknownTool, format!("no tool is called `{other}`"))),
        };
        view.keep_seen()?;
        answer
    }
}

impl FsServer {
    /// The server for a workspace, in this process.
    ///
    /// # Errors
    /// [`FsError::Workspace`].
    pub fn new(options: &FsOptions) -> Result<Self, FsError> {
        let territory = Territory::new(&options.workspace, &options.granted).map_err(FsError::Workspace)?;
        let page = if options.spill.is_some() { None } else { Some(PAGE_FILES_MAX) };
        Ok(Self { territory, page, staging: options.staging.clone() })
    }

    /// The view of the attempt whose files wait in `folder`.
    fn overlay(&self, folder: &Path) -> Result<Overlay, Refusal> {
        let refused = |message: String| Refusal::new(FailureKind::Refused, message);
        let Some(root) = &self.staging else {
            return Err(refused("this server was not told where files wait for acceptance".to_owned()));
        };
        if !folder.strip_prefix(root).is_ok_and(|rest| !rest.as_os_str().is_empty() && is_plain(rest)) {
            return Err(refused(format!("`{}` is not a folder where files wait for acceptance", folder.display())));
        }
        Overlay::open(self.territory.workspace(), folder)
            .map_err(|error| Refusal::new(FailureKind::ToolError, format!("cannot stage files: {error}")))
    }
}

/// Name and input schema of each tool.
pub(super) fn tool_shapes() -> Vec<super::ToolShape> {
    tools().into_iter().map(|tool| (tool.name.to_owned(), tool.input_schema)).collect()
}

fn tools() -> Vec<BuiltInTool> {
    use RepeatClass::{Idempotent, Read};
    let path = || json!({ "type": "string", "format": "path", "minLength": 1 });
    let text = || json!({ "type": "string" });
    let flag = |about: &str| json!({ "type": "boolean", "default": false, "description": about });
    let count = |about: &str| json!({ "type": "integer", "minimum": 1, "description": about });
    let sha256 = || {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$",
        "description": "refuse unless the file has this SHA-256 now" })
    };
    let changed = || {
        json!({ "type": "object", "required": ["unchanged"], "properties": {
        "unchanged": { "type": "boolean", "description": "it was so already" } } })
    };
    let pattern = || {
        json!({ "type": "string", "minLength": 1,
        "description": "glob relative to root: `*.pdf` in the folder itself, `**/*.pdf` at any depth, `*.{a,b}`" })
    };
    vec![
        tool(
            "list",
            "Lists the files of a folder and of all folders in it, sorted by path. Without `pattern`: all files.",
            Read,
            false,
            &["root"],
            json!({ "root": path(), "pattern": pattern(), "limit": count("at most so many files"),
                "after": { "type": "string", "description": "`next` of the page before" },
                "ignore_case": flag("`*.pdf` also means `*.PDF`"), "folders": flag("list folders too") }),
            json!({ "type": "object", "required": ["count", "truncated", "unreadable", "unreadable_count"], "properties": {
                "root": text(), "count": { "type": "integer" }, "truncated": { "type": "boolean" },
                "next": text(), "total": { "type": "integer" },
                "files": { "type": "array", "items": { "type": "object", "required": ["path", "name", "bytes"],
                    "properties": { "path": text(), "name": text(), "bytes": { "type": "integer" },
                        "is_folder": { "type": "boolean" } } } },
                "unreadable": { "type": "array", "description": "what could not be listed; the first hundred",
                    "items": { "type": "object", "properties": { "path": text(), "reason": text() } } },
                "unreadable_count": { "type": "integer" } } }),
        ),
        tool(
            "read",
            "Reads a text file, or a part of it: `offset` and `limit` are bytes; go on at `next_offset`.",
            Read,
            false,
            &["path"],
            json!({ "path": path(), "offset": { "type": "integer", "minimum": 0 }, "limit": count("at most so many bytes") }),
            json!({ "type": "object", "required": ["text"], "properties": { "text": text(), "encoding": text(),
                "truncated": { "type": "boolean" }, "bytes": { "type": "integer" }, "next_offset": { "type": "integer" } } }),
        ),
        tool(
            "search",
            "Finds the lines of text files that contain `text`, as it stands.",
            Read,
            false,
            &["root", "text"],
            json!({ "root": path(), "text": { "type": "string", "minLength": 1 }, "pattern": pattern(),
                "limit": count("at most so many lines"), "ignore_case": flag("small and large letters are the same") }),
            json!({ "type": "object", "required": ["matches", "count"], "properties": { "count": { "type": "integer" },
                "matches": { "type": "array" }, "truncated": { "type": "boolean" } } }),
        ),
        tool(
            "stat",
            "Says whether a path exists, what it is and how large.",
            Read,
            false,
            &["path"],
            json!({ "path": path() }),
            json!({ "type": "object", "required": ["exists"], "properties": { "exists": { "type": "boolean" },
                "kind": { "enum": ["file", "folder", "other"] }, "bytes": { "type": "integer" } } }),
        ),
        tool(
            "hash",
            "Gives the SHA-256 of a file.",
            Read,
            false,
            &["path"],
            json!({ "path": path() }),
            json!({ "type": "object", "required": ["sha256"], "properties": { "sha256": text(),
                "bytes": { "type": "integer" } } }),
        ),
        tool(
            "write",
            "Writes a whole text file, with the folders on the way; replaces what was there.",
            Idempotent,
            true,
            &["path", "text"],
            json!({ "path": path(), "text": text(), "expect_sha256": sha256() }),
            changed(),
        ),
        tool(
            "patch",
            "Replaces one place of a text file: `old`, copied exactly and standing there once, by `new`.",
            Idempotent,
            true,
            &["path", "old", "new"],
            json!({ "path": path(), "old": { "type": "string", "minLength": 1 }, "new": text(),
                "all": flag("replace every place"), "expect_sha256": sha256() }),
            changed(),
        ),
        tool(
            "move",
            "Moves or renames a file or folder inside the workspace.",
            Idempotent,
            true,
            &["from", "to"],
            json!({ "from": path(), "to": path(), "overwrite": flag("replace what stands at `to`") }),
            changed(),
        ),
        tool(
            "delete",
            "Deletes a file or an empty folder.",
            Idempotent,
            true,
            &["path"],
            json!({ "path": path() }),
            changed(),
        ),
    ]
}

fn tool(
    name: &'static str,
    description: &'static str,
    repeat: RepeatClass,
    is_destructive: bool,
    required: &[&str],
    properties: Value,
    output_schema: Value,
) -> BuiltInTool {
    let input_schema =
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    BuiltInTool {
        name,
        description,
        input_schema,
        output_schema,
        repeat,
        is_destructive,
        output_version: OUTPUT_VERSION,
    }
}
