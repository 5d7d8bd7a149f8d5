//! One connection to one MCP server over its standard input and output.
//!
//! A connection only says what happened. Starting a dead server again, and whether a call may be repeated, is the work
//! of [`super::pool`] and of the engine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotification, CancelledNotificationParam,
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, PaginatedRequestParams, PingRequest,
    ProtocolVersion, RequestId, RequestMetaObject, ServerResult, Tool,
};
use rmcp::service::{ClientInitializeError, NotificationContext, Peer, PeerRequestOptions, RunningService};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServiceError};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::process::{Process, Started, shown};
use super::spec::ServerSpec;
use super::table::{PAGES_MAX, TOOLS_MAX, Table};
use super::{CALL_KEY, STAGING, ToolCall, ToolError, ToolResult, ToolSpec, lines, result};

/// Between the limits of a call inside and outside the protocol library: the library cannot end a call while the
/// server does not even take our lines.
const TIMEOUT_MARGIN: Duration = Duration::from_millis(500);

/// Between the process's output and the protocol library.
const PIPE_BYTES: usize = 256 * 1024;

/// A running server.
#[derive(Debug)]
pub struct Connection {
    spec: Arc<ServerSpec>,
    process: Process,
    service: RunningService<RoleClient, Handler>,
    table: RwLock<Arc<Table>>,
    signs: Arc<Signs>,
    in_flight: AtomicUsize,
    /// Copies the server's output; ends with it, or when this is dropped.
    _pump: JoinSet<()>,
}

/// What was noticed beside the calls.
#[derive(Debug, Default)]
struct Signs {
    /// The server closed its output.
    has_ended: AtomicBool,
    /// It said that its tools are others now.
    has_new_tools: AtomicBool,
    /// A call got no answer: it may hang.
    is_suspect: AtomicBool,
}

/// Why a call gave no result, with the one thing that the caller must know for sure.
#[derive(Debug)]
pub(super) enum CallEnd {
    /// The server was gone before the call: nothing was sent.
    NotSent,
    /// Anything else.
    Failed(ToolError),
}

impl Connection {
    /// Starts a server, shakes hands and lists its tools, all within its start limit. Older servers are greeted with
    /// `initialize` first; one that refuses it is started again and greeted in the newer way.
    ///
    /// # Errors
    /// [`ToolError::NotStarted`] with the cause and the last words of the server.
    pub async fn start(spec: ServerSpec) -> Result<Self, ToolError> {
        let spec = Arc::new(spec);
        let limit = Duration::from_millis(spec.start_timeout_ms);
        let words = LastWords::default();
        let both = async {
            match Self::greet(&spec, ClientLifecycleMode::Initialize, &words).await {
                Err(Greeting::Refused(_)) => {
                    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
                    Self::greet(&spec, ClientLifecycleMode::Discover { preferred_versions }, &words).await
                }
                other => other,
            }
        };
        match timeout(limit, both).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(Greeting::Refused(message))) => Err(not_started(&spec, message)),
            Ok(Err(Greeting::Failed(error))) => Err(error),
            Err(_) => {
                let message = format!("no answer within {} ms", spec.start_timeout_ms);
                Err(not_started(&spec, words.with(message)))
            }
        }
    }

    async fn greet(
        spec: &Arc<ServerSpec>,
        lifecycle: ClientLifecycleMode,
        words: &LastWords,
    ) -> Result<Self, Greeting> {
        let Started { process, stdin, stdout } = Process::start(spec).await.map_err(Greeting::Failed)?;
        // The timeout drops this future and the process in it, so the words must be looked up before.
        let heard = words.listen(process);
        let signs = Arc::new(Signs::default());
        let (reader, writer) = tokio::io::duplex(PIPE_BYTES);
        let mut pump = JoinSet::new();
        let noticed = Arc::clone(&signs);
        pump.spawn(async move {
            lines::pump(stdout, writer, lines::LINE_BYTES_MAX).await;
            noticed.has_ended.store(true, Ordering::Release);
        });
        let transport = AsyncRwTransport::<RoleClient, _, _>::new(reader, stdin).with_max_line_length(usize::MAX);
        let handler = Handler { signs: Arc::clone(&signs) };
        let service = match handler.serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => service,
            Err(error) => {
                let process = heard.take();
                let is_broken = matches!(&error, ClientInitializeError::TransportError { .. });
                if is_broken || signs.has_ended.load(Ordering::Acquire) {
                    let message = format!("it left before the handshake was over: {}", process.obituary().await);
                    return Err(Greeting::Failed(not_started(spec, message)));
                }
                let message = process.with_last_words(format!("the handshake failed: {}", shown(&error.to_string())));
                return Err(match is_refusal(&error) {
                    true => Greeting::Refused(message),
                    false => Greeting::Failed(not_started(spec, message)),
                });
            }
        };
        let listed = list_tools(service.peer()).await;
        let process = heard.take();
        let tools = match listed {
            Ok(tools) => tools,
            Err(_) if signs.has_ended.load(Ordering::Acquire) => {
                let message = format!("it left before its tools were listed: {}", process.obituary().await);
                return Err(Greeting::Failed(not_started(spec, message)));
            }
            Err(error) => {
                let message = process.with_last_words(format!("cannot list its tools: {}", shown(&error)));
                return Err(Greeting::Failed(not_started(spec, message)));
            }
        };
        let table = RwLock::new(Arc::new(Table::build(spec, tools)));
        let in_flight = AtomicUsize::new(0);
        Ok(Self { spec: Arc::clone(spec), process, service, table, signs, in_flight, _pump: pump })
    }

    /// Its tools, listed again first if the server said that they are others now.
    ///
    /// # Errors
    /// [`ToolError::NotStarted`] when they cannot be listed.
    pub async fn tools(&self) -> Result<Arc<Vec<ToolSpec>>, ToolError> {
        Ok(Arc::clone(&self.table().await?.specs))
    }

    async fn table(&self) -> Result<Arc<Table>, ToolError> {
        if self.signs.has_new_tools.swap(false, Ordering::AcqRel) {
            let limit = Duration::from_millis(self.spec.start_timeout_ms);
            let listed = timeout(limit, list_tools(self.service.peer())).await;
            let tools = listed.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(|error| {
                self.signs.has_new_tools.store(true, Ordering::Release);
                not_started(&self.spec, self.process.with_last_words(format!("cannot list its tools: {error}")))
            })?;
            let table = Arc::new(Table::build(&self.spec, tools));
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        }
        Ok(Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Calls one tool. Arguments are checked first, as they are: nothing is converted.
    ///
    /// # Errors
    /// Every variant of [`ToolError`] except `UnknownServer`. When the returned future is dropped, the server is told
    /// that the call is cancelled.
    pub async fn call(&self, call: &ToolCall) -> Result<ToolResult, ToolError> {
        match self.try_call(call).await {
            Ok(result) => Ok(result),
            Err(CallEnd::Failed(error)) => Err(error),
            Err(CallEnd::NotSent) => {
                Err(not_started(&self.spec, format!("it is gone: {}", self.process.obituary().await)))
            }
        }
    }

    pub(super) async fn try_call(&self, call: &ToolCall) -> Result<ToolResult, CallEnd> {
        if self.has_ended() {
            return Err(CallEnd::NotSent);
        }
        let table = self.table().await.map_err(CallEnd::Failed)?;
        table.check(&self.spec.name, &call.tool, &call.arguments).map_err(CallEnd::Failed)?;
        let _counted = Counted::new(&self.in_flight);
        let limit = Duration::from_millis(call.timeout_ms);
        match timeout(limit + TIMEOUT_MARGIN, self.send(call, limit)).await {
            Ok(Ok(answer)) => self.read(call, answer).await.map_err(CallEnd::Failed),
            Ok(Err(SendEnd::NotSent)) => Err(CallEnd::NotSent),
            Ok(Err(SendEnd::Service(error))) => Err(CallEnd::Failed(self.failed(call, error).await)),
            Err(_) => Err(CallEnd::Failed(self.timed_out(call, limit))),
        }
    }

    async fn send(&self, call: &ToolCall, limit: Duration) -> Result<ServerResult, SendEnd> {
        let mut meta = RequestMetaObject::new();
        meta.0.0.insert(CALL_KEY.to_owned(), call.call_key.clone().into());
        if let Some(folder) = &call.staging {
            meta.0.0.insert(STAGING.to_owned(), folder.to_string_lossy().into());
        }
        let idle = self.spec.idle_timeout_ms.map_or(limit, |idle_ms| limit.min(Duration::from_millis(idle_ms)));
        let options = PeerRequestOptions::with_timeout(idle)
            .reset_timeout_on_progress()
            .with_max_total_timeout(limit)
            .with_meta(meta);
        let params = CallToolRequestParams::new(call.tool.clone()).with_arguments(call.arguments.clone());
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        // The only error here is a closed channel to the library's loop: the request has not left.
        let peer = self.service.peer();
        let handle = peer.send_cancellable_request(request, options).await.map_err(|_| SendEnd::NotSent)?;
        let mut cancel = CancelOnDrop { peer, id: Some(handle.id.clone()) };
        let answer = handle.await_response().await;
        cancel.id = None;
        answer.map_err(SendEnd::Service)
    }

    async fn read(&self, call: &ToolCall, answer: ServerResult) -> Result<ToolResult, ToolError> {
        let mask = self.process.mask().clone();
        let answer = match answer {
            ServerResult::CallToolResult(answer) => answer,
            ServerResult::EmptyResult(_) | ServerResult::TaskAckResult(_) => CallToolResult::success(Vec::new()),
            ServerResult::InputRequiredResult(_) => {
                let message = "the tool asks for input in the middle of a call, which nobody here can give";
                return Err(result::reported(message.to_owned(), None, &mask));
            }
            ServerResult::CreateTaskResult(_) => {
                let message = "the server turned the call into a task, which this version does not follow";
                return Err(result::reported(message.to_owned(), None, &mask));
            }
            // A result without `content` may look like another kind of answer; what it holds decides.
            other => read_other(&other)
                .ok_or_else(|| result::reported("the server answered with something else".to_owned(), None, &mask))?,
        };
        let folder = self.process.spill_folder().map(ToOwned::to_owned);
        let tool = call.tool.clone();
        let is_spilled = answer.meta.as_ref().is_some_and(|meta| meta.0.contains_key(super::SPILLED_FILE));
        let work = move || result::from_answer(&tool, answer, folder.as_deref(), &mask);
        if is_spilled {
            // Hundreds of megabytes may be read.
            let read = tokio::task::spawn_blocking(work).await;
            read.unwrap_or_else(|error| Err(ToolError::Reported { message: error.to_string(), reason: None }))
        } else {
            work()
        }
    }

    async fn failed(&self, call: &ToolCall, error: ServiceError) -> ToolError {
        match error {
            ServiceError::McpError(error) => result::from_protocol_error(&error, self.process.mask()),
            ServiceError::Timeout { timeout } => self.timed_out(call, timeout),
            ServiceError::TransportClosed | ServiceError::TransportSend(_) | ServiceError::Cancelled { .. } => {
                self.signs.has_ended.store(true, Ordering::Release);
                ToolError::Died { server: self.spec.name.clone(), message: self.process.obituary().await }
            }
            other => result::reported(other.to_string(), None, self.process.mask()),
        }
    }

    fn timed_out(&self, call: &ToolCall, limit: Duration) -> ToolError {
        self.signs.is_suspect.store(true, Ordering::Release);
        ToolError::Timeout {
            server: self.spec.name.clone(),
            tool: call.tool.clone(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it was started from.
    #[must_use]
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Calls without an answer so far.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// The end of its standard error, at most 64 KiB, without its secrets.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        self.process.stderr_tail()
    }

    /// Whether the server has closed its output: no call will get an answer.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.signs.has_ended.load(Ordering::Acquire) || self.service.peer().is_transport_closed()
    }

    /// Whether a call got no answer since the last sign of life.
    pub(super) fn is_suspect(&self) -> bool {
        self.signs.is_suspect.load(Ordering::Acquire)
    }

    /// Asks for a sign of life. Any answer counts, a refusal too.
    pub(super) async fn answers_within(&self, limit: Duration) -> bool {
        let ping = self.service.peer().send_request(ClientRequest::PingRequest(PingRequest::default()));
        let is_alive = matches!(timeout(limit, ping).await, Ok(Ok(_) | Err(ServiceError::McpError(_))));
        if is_alive {
            self.signs.is_suspect.store(false, Ordering::Release);
        }
        is_alive
    }

    /// How it ended and its last words.
    pub(super) async fn obituary(&self) -> String {
        self.process.obituary().await
    }

    /// Kills it and everything that came from it, at once. Calls in flight end as [`ToolError::Died`].
    pub fn kill(&self) {
        self.signs.has_ended.store(true, Ordering::Release);
        self.process.kill();
    }

    /// Closes the server's input, gives it a moment to leave (at most about 3 s in all), and kills what is left of it
    /// and of everything that came from it.
    pub async fn close(&self) {
        self.service.cancellation_token().cancel();
        self.process.end().await;
        self.signs.has_ended.store(true, Ordering::Release);
    }
}

/// Why a greeting failed.
enum Greeting {
    /// The server does not know this way of greeting.
    Refused(String),
    Failed(ToolError),
}

enum SendEnd {
    NotSent,
    Service(ServiceError),
}

fn not_started(spec: &ServerSpec, message: String) -> ToolError {
    ToolError::NotStarted { server: spec.name.clone(), message }
}

fn is_refusal(error: &ClientInitializeError) -> bool {
    matches!(
        error,
        ClientInitializeError::JsonRpcError(_)
            | ClientInitializeError::ExpectedInitResult(_)
            | ClientInitializeError::NoCompatibleProtocolVersion { .. }
    )
}

async fn list_tools(peer: &Peer<RoleClient>) -> Result<Vec<Tool>, String> {
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(params)).await.map_err(|error| error.to_string())?;
        tools.extend(page.tools);
        if tools.len() > TOOLS_MAX {
            return Err(format!("it has more than {TOOLS_MAX} tools"));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    Err(format!("its list of tools has more than {PAGES_MAX} pages"))
}

fn read_other(answer: &ServerResult) -> Option<CallToolResult> {
    let value = serde_json::to_value(answer).ok()?;
    let has = |name: &str| value.get(name).is_some_and(|field| *field != Value::Null);
    (has("content") || has("structuredContent")).then(|| serde_json::from_value(value).ok()).flatten()
}

#[derive(Clone, Debug)]
struct Handler {
    signs: Arc<Signs>,
}

/// Declares nothing that a server could ask for: no sampling, no roots, no questions to a person.
impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.signs.has_new_tools.store(true, Ordering::Release);
    }
}

/// Counts a call as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells the server that nobody waits for an answer any more.
struct CancelOnDrop<'a> {
    peer: &'a Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let notice = CancelledNotification::new(CancelledNotificationParam::new(Some(id), Some("abandoned".into())));
        // The first poll puts the notice into the library's queue; whether it was written is of no interest here.
        let _ = tokio::task::unconstrained(self.peer.send_notification(notice.into())).now_or_never();
    }
}

/// Keeps the process of a start that runs out of time in reach, so that its last words can be quoted.
#[derive(Default)]
struct LastWords {
    process: Arc<std::sync::Mutex<Option<Process>>>,
}

struct Heard {
    process: Arc<std::sync::Mutex<Option<Process>>>,
}

impl LastWords {
    fn listen(&self, process: Process) -> Heard {
        // A process of an earlier greeting is dropped, and killed, here.
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Heard { process: Arc::clone(&self.process) }
    }

    fn with(&self, message: String) -> String {
        match &*self.process.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(process) => process.with_last_words(message),
            None => message,
        }
    }
}

impl Heard {
    fn take(&self) -> Process {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.expect("only the greeting that put the process there takes it")
    }
}
