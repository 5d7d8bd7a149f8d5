//! The `db` tool server: reads databases, and cannot write them.
//!
//! Three fences: one statement that begins with a reading word, a connection that is opened read-only with
//! `query_only`, and limits on rows, bytes, time and memory. It does not say who may read which file: that is the host's.

use std::path::PathBuf;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
use serde_json::{Map, Value, json};

use crate::database::address::Address;
use crate::database::sqlite::{Limits, Sqlite};
use crate::database::{DatabaseError, statement};

/// Raised when the same question gets another answer.
pub const OUTPUT_VERSION: &str = "1";

/// Rows of an answer when the caller names no limit.
pub const ROWS_DEFAULT: u64 = 1_000;

/// Most rows of an answer.
pub const ROWS_MAX: u64 = 10_000;

/// Most bytes of the rows of an answer.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Most parameters of a statement.
pub const PARAMS_MAX: usize = 1_000;

/// Most bytes of memory that SQLite may take in this process.
const HEAP_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The server. Relative paths count from its folder.
#[derive(Clone, Debug)]
pub struct DbServer {
    base: PathBuf,
}

impl DbServer {
    /// A server whose relative paths count from `base`.
    #[must_use]
    pub const fn new(base: PathBuf) -> Self {
        Self { base }
    }

    /// The tools as they are listed.
    #[must_use]
    pub fn tools() -> Vec<Tool> {
        let database = json!({
            "type": "string", "minLength": 1,
            "description": "Address of the database: `sqlite:FILE`, or the path of an SQLite file."
        });
        let query = json!({
            "type": "object", "additionalProperties": false, "required": ["database", "sql"],
            "properties": {
                "database": database,
                "sql": {"type": "string", "minLength": 1, "maxLength": statement::STATEMENT_BYTES_MAX,
                        "description": "One reading statement (select, with, values, explain); `?` for parameters."},
                "params": {"type": "array", "maxItems": PARAMS_MAX, "description": "Values of the parameters, in order.",
                           "items": {"type": ["string", "number", "boolean", "null"]}},
                "limit": {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": ROWS_DEFAULT,
                          "description": "Most rows of the answer."}
            }
        });
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["database"],
            "properties": {"database": query["properties"]["database"]}
        });
        let rows = json!({
            "type": "object", "required": ["rows", "count", "truncated"],
            "properties": {
                "rows": {"type": "array", "items": {"type": "object"}},
                "count": {"type": "integer"},
                "truncated": {"type": "boolean", "description": "There are more rows than the limits let through."}
            }
        });
        let tables = json!({
            "type": "object", "required": ["tables"],
            "properties": {"tables": {"type": "array", "items": {"type": "object"}}}
        });
        vec![
            tool("query", "Asks a database one reading question; rows come as objects.", query, rows),
            tool(
                "schema",
                "Lists tables and views of a database with their columns and numbers of rows.",
                schema,
                tables,
            ),
        ]
    }

    /// Answers one call.
    ///
    /// # Errors
    /// One sentence with a hint.
    pub async fn answer(&self, name: &str, arguments: &Map<String, Value>) -> Result<Value, String> {
        match name {
            "query" => self.query(arguments).await,
            "schema" => {
                known(arguments, &["database"])?;
                let tables = self.database(arguments)?.schema().await.map_err(|error| error.to_string())?;
                Ok(json!({ "tables": tables }))
            }
            other => Err(format!("there is no tool `{other}`; hint: `query` or `schema`")),
        }
    }

    fn database(&self, arguments: &Map<String, Value>) -> Result<Sqlite, String> {
        let text = text(arguments, "database")?;
        let parsed = Address::parse_or_path(text, &self.base);
        let Address::Sqlite(path) = parsed.map_err(|error| error.to_string())?;
        Ok(Sqlite::new(path, Limits::default()))
    }

    async fn query(&self, arguments: &Map<String, Value>) -> Result<Value, String> {
        known(arguments, &["database", "sql", "params", "limit"])?;
        let database = self.database(arguments)?;
        let sql = text(arguments, "sql")?;
        let params = match arguments.get("params") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(params)) if params.len() <= PARAMS_MAX => params.as_slice(),
            Some(Value::Array(_)) => return Err(format!("`params` has more than {PARAMS_MAX} values")),
            Some(_) => return Err("`params` is no list; hint: give the values of `?` in their order".into()),
        };
        let limit = match arguments.get("limit") {
            None | Some(Value::Null) => ROWS_DEFAULT,
            Some(number) => number
                .as_u64()
                .filter(|limit| (1..=ROWS_MAX).contains(limit))
                .ok_or_else(|| format!("`limit` is {number}; hint: give a whole number from 1 to {ROWS_MAX}"))?,
        };
        let (mut rows, mut count, mut bytes, mut truncated) = (Vec::new(), 0_u64, 0_usize, false);
        database
            .query_each(sql, params, |row| {
                let row = Value::Object(row);
                bytes = bytes.saturating_add(row.to_string().len() + 1);
                if count >= limit || bytes > ANSWER_BYTES_MAX {
                    truncated = true;
                    return false;
                }
                rows.push(row);
                count += 1;
                true
            })
            .await
            .map_err(|error| match error {
                DatabaseError::Failed(message) if !message.contains("hint: ") => {
                    format!("{message}; hint: `schema` lists tables and columns")
                }
                other => other.to_string(),
            })?;
        if truncated && rows.is_empty() {
            return Err(format!(
                "the first row has more than {ANSWER_BYTES_MAX} bytes; hint: select fewer columns, or `substr(column, 1, 1000)`"
            ));
        }
        Ok(json!({ "rows": rows, "count": count, "truncated": truncated }))
    }
}

fn tool(name: &'static str, description: &'static str, input: Value, output: Value) -> Tool {
    let object = |value: Value| match value {
        Value::Object(map) => Arc::new(map),
        _ => Arc::new(JsonObject::new()),
    };
    let annotations = ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
    let mut meta = MetaObject::new();
    meta.insert("ollmcp/outputVersion".into(), Value::from(OUTPUT_VERSION));
    Tool::new(name, description, object(input))
        .with_raw_output_schema(object(output))
        .with_annotations(annotations)
        .with_meta(meta)
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    arguments.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is missing or no text"))
}

fn known(arguments: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match arguments.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!("`{key}` is no argument; hint: the arguments are `{}`", names.join("`, `"))),
    }
}

impl ServerHandler for DbServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("ollmcp-db", env!("CARGO_PKG_VERSION")))
            .with_instructions("Reads databases: `schema` first, then `query` with one select.")
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Self::tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        Self::tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let mut result = match self.answer(&request.name, &arguments).await {
            Ok(value) => CallToolResult::structured(value),
            Err(message) => CallToolResult::error(vec![ContentBlock::text(message)]),
        };
        let mut meta = MetaObject::new();
        meta.insert("ollmcp/outputVersion".into(), Value::from(OUTPUT_VERSION));
        result.meta = Some(meta);
        Ok(result.into())
    }
}

/// Serves on standard input and output until the client closes them.
///
/// # Errors
/// The current folder cannot be told, or the first messages are no MCP.
pub async fn serve() -> Result<(), String> {
    let base = std::env::current_dir().map_err(|error| format!("cannot tell the current folder: {error}"))?;
    bound_memory(HEAP_BYTES_MAX).await?;
    let service = DbServer::new(base).serve(rmcp::transport::stdio()).await.map_err(|error| error.to_string())?;
    service.waiting().await.map_err(|error| error.to_string())?;
    Ok(())
}

/// Bounds the memory of SQLite in this whole process: one statement can ask for a gigabyte.
async fn bound_memory(bytes_max: u64) -> Result<(), String> {
    use sqlx::Connection as _;
    let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await.map_err(|error| error.to_string())?;
    let sql = sqlx::AssertSqlSafe(format!("pragma hard_heap_limit = {bytes_max}"));
    sqlx::query(sql).execute(&mut connection).await.map_err(|error| error.to_string())?;
    connection.close().await.map_err(|error| error.to_string())
}
