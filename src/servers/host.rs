//! Serves one built-in server on standard input and output: lists its tools, runs its calls off the async threads,
//! and turns results and refusals into answers.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::spill::Spill;
use crate::domain::failure::FailureKind;
use crate::domain::plan::RepeatClass;
use crate::tool::{OUTPUT_VERSION, REASON, SPILLED_FILE, STAGING};

/// Calls of one server that run at the same time; more wait.
const CALLS_MAX: usize = 8;

/// A server of ours.
pub trait BuiltIn: Send + Sync + 'static {
    /// Its name, as in `ollmcp tool-server NAME`.
    fn name(&self) -> &'static str;

    /// What a client should know about all its tools.
    fn instructions(&self) -> String;

    /// Its tools.
    fn tools(&self) -> Vec<BuiltInTool>;

    /// Does the work of one call; may block. The result is an object. `staging`: the folder that takes what the call
    /// changes until it is accepted.
    ///
    /// # Errors
    /// A [`Refusal`] with the reason that decides what happens next.
    fn call(&self, tool: &str, arguments: JsonObject, staging: Option<&Path>) -> Result<Value, Refusal>;
}

/// A tool of a built-in server.
#[derive(Clone, Debug)]
pub struct BuiltInTool {
    /// Its name.
    pub name: &'static str,
    /// What it does, for people and models.
    pub description: &'static str,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its result.
    pub output_schema: Value,
    /// What repeating a call means.
    pub repeat: RepeatClass,
    /// Whether it may destroy what was there.
    pub is_destructive: bool,
    /// Raised when its results change.
    pub output_version: &'static str,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Decides what the engine does about it.
    pub kind: FailureKind,
    /// A lowercase fragment.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn answer(&self) -> CallToolResult {
        let text = match &self.hint {
            Some(hint) => format!("{}; hint: {hint}", self.message),
            None => self.message.clone(),
        };
        let mut answer = CallToolResult::error(vec![ContentBlock::text(text)]);
        let reason = serde_json::to_value(self.kind).expect("a kind is a plain word");
        answer.meta = Some(MetaObject(JsonObject::from_iter([(REASON.to_owned(), reason)])));
        answer
    }
}

/// Reads arguments into a type; what does not fit is a refusal, unknown arguments included where the type says so.
///
/// # Errors
/// A [`Refusal`] that names the fault.
pub fn arguments<T: DeserializeOwned>(given: JsonObject) -> Result<T, Refusal> {
    serde_json::from_value(Value::Object(given))
        .map_err(|error| Refusal::new(FailureKind::BadInput, format!("arguments do not fit: {error}")))
}

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client did not greet, or not in a way that is known.
    #[error("cannot greet the client")]
    Greeting(#[source] Box<rmcp::service::ServerInitializeError>),
    /// The task that serves ended by a panic.
    #[error("serving ended by a panic")]
    Panic(#[source] tokio::task::JoinError),
}

/// Serves until the client closes our standard input. Results over one line go to `spill`; without one they are sent
/// as they are, with a text copy for clients that read only text.
///
/// # Errors
/// [`ServeError`]; a client that leaves is no error.
pub async fn serve_stdio(server: Arc<dyn BuiltIn>, spill: Option<Spill>) -> Result<(), ServeError> {
    let host = Host { server, spill: spill.map(Arc::new), permits: Arc::new(Semaphore::new(CALLS_MAX)) };
    let running = match host.serve(rmcp::transport::stdio()).await {
        Ok(running) => running,
        // Somebody looked whether the program starts, and left.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ServeError::Greeting(Box::new(error))),
    };
    running.waiting().await.map(|_| ()).map_err(ServeError::Panic)
}

#[derive(Clone)]
struct Host {
    server: Arc<dyn BuiltIn>,
    spill: Option<Arc<Spill>>,
    permits: Arc<Semaphore>,
}

impl ServerHandler for Host {
    fn get_info(&self) -> ServerConfig {
        let name = format!("ollmcp {}", self.server.name());
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(name, env!("CARGO_PKG_VERSION")))
            .with_instructions(self.server.instructions())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.server.tools().into_iter().map(described).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let staging = context.meta.0.0.get(STAGING).cloned();
        let _permit = self.permits.acquire().await.map_err(|error| internal(&error))?;
        let (server, spill) = (Arc::clone(&self.server), self.spill.clone());
        let work = move || {
            let outcome = staged_in(staging).and_then(|staging| {
                server.call(&request.name, request.arguments.unwrap_or_default(), staging.as_deref())
            });
            outcome.map_or_else(|refusal| refusal.answer(), |value| answer(value, spill.as_deref()))
        };
        // A panic in one call is an answer to that call; the server goes on.
        let answer = tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))?;
        Ok(answer.into())
    }
}

/// The folder that a call names in its `_meta`. A word that is no absolute path is not ignored: the call would change
/// files at once.
fn staged_in(said: Option<Value>) -> Result<Option<PathBuf>, Refusal> {
    match said {
        None => Ok(None),
        Some(Value::String(path)) if Path::new(&path).is_absolute() => Ok(Some(PathBuf::from(path))),
        Some(_) => Err(Refusal::new(FailureKind::BadInput, format!("`{STAGING}` is not an absolute path"))),
    }
}

fn internal(error: &dyn std::error::Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), Some(json!({ REASON: FailureKind::Panic })))
}

fn answer(value: Value, spill: Option<&Spill>) -> CallToolResult {
    let Some(spill) = spill else { return CallToolResult::structured(value) };
    let text = value.to_string();
    if !Spill::is_too_long(text.len()) {
        return CallToolResult::structured(value);
    }
    match spill.put(&value) {
        Ok(name) => {
            let count = value.get("count").cloned().unwrap_or(Value::Null);
            let truncated = value.get("truncated").cloned().unwrap_or(Value::Bool(false));
            let stub = json!({ "count": count, "truncated": truncated, "spilled": true });
            let mut answer = CallToolResult::structured(stub);
            answer.meta = Some(MetaObject(JsonObject::from_iter([(SPILLED_FILE.to_owned(), Value::String(name))])));
            answer
        }
        Err(error) => {
            Refusal::new(FailureKind::TooLarge, format!("cannot leave a result of {} bytes: {error}", text.len()))
                .answer()
        }
    }
}

fn described(tool: BuiltInTool) -> Tool {
    let object = |schema: Value| match schema {
        Value::Object(object) => Arc::new(object),
        _ => Arc::new(JsonObject::new()),
    };
    let mut annotations = ToolAnnotations::default();
    annotations.read_only_hint = Some(tool.repeat == RepeatClass::Read);
    annotations.idempotent_hint = Some(tool.repeat != RepeatClass::Unsafe);
    annotations.destructive_hint = Some(tool.is_destructive);
    annotations.open_world_hint = Some(false);
    let version = Value::String(tool.output_version.to_owned());
    Tool::new(Cow::Borrowed(tool.name), Cow::Borrowed(tool.description), object(tool.input_schema))
        .with_raw_output_schema(object(tool.output_schema))
        .with_annotations(annotations)
        .with_meta(MetaObject(JsonObject::from_iter([(OUTPUT_VERSION.to_owned(), version)])))
}
