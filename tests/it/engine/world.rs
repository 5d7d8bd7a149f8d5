//! Scripted ports, and an engine on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ollmcp::database::{Database, DatabaseError, Databases, Expectation, RowsPage, Verification, WriteJob, Written};
use ollmcp::domain::command::{Command, Refusal};
use ollmcp::domain::event::{DoubtAnswer, Event, Origin, Stamped, decode};
use ollmcp::domain::ids::{AskId, Digest, RunId, TaskId};
use ollmcp::domain::payload::Payload;
use ollmcp::domain::plan::{Plan, RepeatClass};
use ollmcp::domain::run::{RunState, Task, TaskPhase, accept, fold};
use ollmcp::engine::broker::{Door, Policy};
use ollmcp::engine::root::{Engine, RegistryDoor};
use ollmcp::engine::supervisor::{Beginning, RunExit};
use ollmcp::engine::tree::TreeNode;
use ollmcp::engine::{AgentCard, Clock, EventReader, Ids, Ladders, Models, Ports, ServerControl};
use ollmcp::journal::blobs::Blobs;
use ollmcp::journal::memory::Memory;
use ollmcp::journal::{AppendError, Frame, Journal, Position};
use ollmcp::model::ModelServers;
use ollmcp::plan_file::{Catalog, read};
use ollmcp::state::{Place, Reusable, Seen};
use ollmcp::tool::{ToolBox, ToolCall, ToolError, ToolResult, ToolSpec};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::own_files::OwnFiles;

const WRITER: &str =
    "---\nname: DATABASE_WRITER\ndescription: writes rows\nformat: 1\ndeterministic: true\n---\nWrite.\n";

/// What a scripted call does.
pub(crate) enum Reply {
    Value(Value),
    /// After this time.
    Later(Duration, Value),
    Transient,
    Wrong,
    /// The server died: the outcome is unknown.
    Died,
    Panic(&'static str),
    Hang,
}

type ToolScript = dyn Fn(&ToolCall, usize) -> Reply + Send + Sync;
type DatabaseScript = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// A call that reached a tool or a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Called {
    pub(crate) tool: String,
    pub(crate) key: String,
    pub(crate) arguments: String,
    pub(crate) at_ms: u64,
}

/// Tools `fs.read` (read), `fs.write`, `box.keep` (idempotent), `box.look`, `box.find` (read), `box.send`, `box.drop`, `box.save_file`,
/// `shell.x` (unsafe).
pub(crate) struct Tools {
    script: Box<ToolScript>,
    calls: Mutex<Vec<Called>>,
    in_flight: Arc<AtomicUsize>,
    clock: Arc<dyn Clock>,
    pub(crate) files: Option<OwnFiles>,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tools")
    }
}

pub(crate) fn class_of(tool: &str) -> RepeatClass {
    match tool {
        "read" | "look" | "find" => RepeatClass::Read,
        "write" | "keep" => RepeatClass::Idempotent,
        _ => RepeatClass::Unsafe,
    }
}

struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn play(reply: Reply, server: &str) -> Result<Value, ToolError> {
    match reply {
        Reply::Value(value) => Ok(value),
        Reply::Later(wait, value) => {
            tokio::time::sleep(wait).await;
            Ok(value)
        }
        Reply::Transient => {
            Err(ToolError::Reported { message: "try later".to_owned(), reason: Some("busy".to_owned()) })
        }
        Reply::Wrong => Err(ToolError::Reported { message: "it went wrong".to_owned(), reason: None }),
        Reply::Died => Err(ToolError::Died { server: server.to_owned(), message: "killed".to_owned() }),
        Reply::Panic(message) => panic!("{message}"),
        Reply::Hang => std::future::pending().await,
    }
}

impl ToolBox for Tools {
    fn servers(&self) -> Vec<String> {
        ["fs", "box", "shell"].map(str::to_owned).to_vec()
    }

    fn tools<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Arc<Vec<ToolSpec>>, ToolError>> {
        if let Some(files) = self.files.as_ref().filter(|_| server == "fs") {
            let specs = Arc::new(files.specs());
            return async move { Ok(specs) }.boxed();
        }
        let names: &[&str] = match server {
            "fs" => &["read", "write"],
            "box" => &["look", "find", "keep", "send", "drop", "save_file"],
            _ => &["x"],
        };
        let spec = |name: &&str| ToolSpec {
            name: (*name).to_owned(),
            description: String::new(),
            input_schema: match *name {
                "find" => json!({ "type": "object", "required": ["count"], "properties": {
                    "count": { "type": "integer" },
                    "endings": { "type": "array", "items": { "type": "string" } },
                } }),
                _ => json!({ "type": "object" }),
            },
            output_schema: None,
            repeat: class_of(name),
            output_version: "1".to_owned(),
        };
        let specs = Arc::new(names.iter().map(spec).collect());
        async move { Ok(specs) }.boxed()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolResult, ToolError>> {
        async move {
            let number = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(Called {
                    tool: format!("{}.{}", call.server, call.tool),
                    key: call.call_key.clone(),
                    arguments: Value::Object(call.arguments.clone()).to_string(),
                    at_ms: self.clock.now_ms(),
                });
                calls.len()
            };
            let _guard = InFlight::new(&self.in_flight);
            if let Some(files) = self.files.as_ref().filter(|_| call.server == "fs") {
                return files.answer(call);
            }
            let reply = (self.script)(call, number);
            play(reply, &call.server).await.map(|value| ToolResult { value })
        }
        .boxed()
    }
}

/// Databases that count what is written to them.
pub(crate) struct Tables {
    script: Box<DatabaseScript>,
    ops: AtomicUsize,
    calls: Mutex<Vec<Called>>,
    /// Identities in the ledger.
    ledger: Mutex<BTreeMap<Digest, Written>>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

#[derive(Debug)]
struct TableRoom(Arc<Tables>);

impl Databases for TableRoom {
    fn open(&self, address: &str) -> Result<Arc<dyn Database>, DatabaseError> {
        Ok(Arc::new(Table { tables: self.0.clone(), address: address.to_owned() }))
    }
}

#[derive(Debug)]
struct Table {
    tables: Arc<Tables>,
    address: String,
}

impl Table {
    fn next(&self, what: &str) -> Reply {
        let number = self.tables.ops.fetch_add(1, Ordering::SeqCst) + 1;
        (self.tables.script)(&format!("{what} {}", self.address), number)
    }
}

fn database_error(error: &ToolError) -> DatabaseError {
    match error {
        ToolError::Reported { reason: Some(_), message } => DatabaseError::Busy(message.clone()),
        other => DatabaseError::Failed(other.to_string()),
    }
}

impl Database for Table {
    fn write<'a>(&'a self, job: &'a WriteJob) -> BoxFuture<'a, Result<Written, DatabaseError>> {
        async move {
            let identity = job.key.identity;
            self.tables.calls.lock().unwrap().push(Called {
                tool: "write rows".to_owned(),
                key: identity.to_string(),
                arguments: format!("{}.{}", job.key.step, job.key.item),
                at_ms: 0,
            });
            play(self.next("write"), "db").await.map_err(|error| database_error(&error))?;
            let rows = job.tables.iter().map(|table| table.rows.len() as u64).sum();
            let mut ledger = self.tables.ledger.lock().unwrap();
            Ok(ledger.entry(identity).or_insert(Written { rows, ..Written::default() }).clone())
        }
        .boxed()
    }

    fn stands<'a>(&'a self, identity: &'a Digest) -> BoxFuture<'a, Result<bool, DatabaseError>> {
        async move { Ok(self.tables.ledger.lock().unwrap().contains_key(identity)) }.boxed()
    }

    fn verify<'a>(&'a self, _expected: Vec<Expectation>) -> BoxFuture<'a, Result<Verification, DatabaseError>> {
        async { Ok(Verification::default()) }.boxed()
    }

    fn rows<'a>(
        &'a self,
        _identities: &'a [Digest],
        _table: Option<&'a str>,
        _limit: u64,
    ) -> BoxFuture<'a, Result<Vec<RowsPage>, DatabaseError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn query<'a>(
        &'a self,
        _sql: &'a str,
        _params: &'a [Value],
        _limit: u64,
    ) -> BoxFuture<'a, Result<Vec<Map<String, Value>>, DatabaseError>> {
        async move {
            let value = play(self.next("query"), "db").await.map_err(|error| database_error(&error))?;
            Ok(vec![Map::from_iter([("n".to_owned(), value)])])
        }
        .boxed()
    }
}

/// Time as tokio has it: it stands still until everyone waits, then jumps.
#[derive(Debug)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Ids for Counting {
    fn uuid(&self) -> Uuid {
        static PROCESSES: AtomicU64 = AtomicU64::new(0);
        // Each engine counts from another start, as processes do.
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            self.0.store(PROCESSES.fetch_add(1 << 32, Ordering::SeqCst) + (1 << 20) + 1, Ordering::SeqCst);
        }
        Uuid::from_u128(self.0.load(Ordering::SeqCst).into())
    }
}

#[derive(Debug)]
struct NoServers;

impl ServerControl for NoServers {
    fn nodes(&self) -> Vec<TreeNode> {
        Vec::new()
    }

    fn close_all(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// Where the journal stops answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Never,
    /// The nth append is lost, as when the process dies before it reached the disk.
    Before(u64),
    /// The nth append is kept, as when the process dies before it heard of it.
    After(u64),
    /// Nowhere, but every append takes this time.
    Slow(Duration),
}

/// The memory twin of the journal, with a place at which the process dies.
#[derive(Debug)]
pub(crate) struct DyingJournal {
    memory: Memory,
    cut: Cut,
    appends: AtomicU64,
    reached: tokio::sync::Semaphore,
}

impl Journal for DyingJournal {
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        payloads: Vec<Vec<u8>>,
    ) -> BoxFuture<'static, Result<Position, AppendError>> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        let (keeps, answers) = match self.cut {
            Cut::Never | Cut::Slow(_) => (true, true),
            Cut::Before(nth) => (number < nth, number < nth),
            Cut::After(nth) => (number <= nth, number < nth),
        };
        let append = self.memory.append(run, first_seq, payloads);
        if let Cut::Slow(wait) = self.cut {
            return async move {
                tokio::time::sleep(wait).await;
                append.await
            }
            .boxed();
        }
        if answers {
            return append;
        }
        if keeps {
            append.now_or_never().unwrap().unwrap();
        }
        self.reached.add_permits(1);
        std::future::pending().boxed()
    }
}

#[derive(Debug)]
struct FromJournal(Arc<DyingJournal>);

impl ollmcp::engine::Memory for FromJournal {
    fn reusable(&self, _identity: &Digest) -> Option<Reusable> {
        None
    }

    fn seen(&self, _place: &Place) -> Option<Seen> {
        None
    }

    fn run(&self, run: RunId) -> Option<RunState> {
        folded(&self.0.memory, run)
    }
}

/// The state of a run as the journal has it.
pub(crate) fn folded(journal: &Memory, run: RunId) -> Option<RunState> {
    let events = journal.records(run).into_iter().map(|record| decode(&record.payload).unwrap());
    events.fold(None, |state, event| Some(fold(state, &event).unwrap()))
}

/// Tells the test of durable events.
#[derive(Debug)]
struct Told(mpsc::UnboundedSender<Stamped>, Arc<Mutex<Shown>>);

/// How many events of each run were shown, and where a state held other ones.
#[derive(Debug, Default)]
struct Shown {
    runs: BTreeMap<RunId, u64>,
    ahead: Vec<String>,
}

impl EventReader for Told {
    fn durable(&self, state: &RunState, events: &[Stamped]) {
        let mut shown = self.1.lock().unwrap();
        let count = events.len() as u64;
        let (run, seq) = (state.head.run, state.head.seq);
        let before = shown.runs.get(&run).copied().unwrap_or(seq - count);
        if before + count != seq {
            shown.ahead.push(format!("{before} and {count} events, but the state holds {seq}"));
        }
        shown.runs.insert(run, seq);
        for event in events {
            let _ = self.0.send(event.clone());
        }
    }
}

/// What is scripted, over all engines of a test.
pub(crate) struct World {
    pub(crate) tools: Arc<Tools>,
    tables: Arc<Tables>,
    blobs: Arc<Blobs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) attempts_max: usize,
    /// Model servers by name.
    pub(crate) model_servers: ModelServers,
    /// The broker's door, where every life of the process has the same.
    pub(crate) models: Arc<dyn Models>,
    /// Bounds of a broker whose door is a new one in each life of the process.
    pub(crate) policy: Option<Policy>,
    pub(crate) ladders: Ladders,
    /// Agent files beside DATABASE_WRITER's.
    pub(crate) agents: Vec<String>,
}

impl World {
    pub(crate) fn new(
        tools: impl Fn(&ToolCall, usize) -> Reply + Send + Sync + 'static,
        tables: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock(tokio::time::Instant::now()));
        let tools = Tools {
            script: Box::new(tools),
            calls: Mutex::default(),
            in_flight: Arc::default(),
            clock: clock.clone(),
            files: None,
        };
        let tables = Tables {
            script: Box::new(tables),
            ops: AtomicUsize::new(0),
            calls: Mutex::default(),
            ledger: Mutex::default(),
        };
        Self {
            tools: Arc::new(tools),
            tables: Arc::new(tables),
            blobs: Arc::new(Blobs::open(&folder.path().join("blobs")).unwrap()),
            clock,
            folder,
            attempts_max: 64,
            model_servers: ModelServers::default(),
            models: Arc::new(Door::default()),
            policy: None,
            ladders: Ladders::default(),
            agents: Vec::new(),
        }
    }

    /// Every call answers with its arguments.
    pub(crate) fn calm() -> Self {
        Self::new(|call, _| echo(call), |_, _| Reply::Value(json!(1)))
    }

    pub(crate) fn calls(&self) -> Vec<Called> {
        self.tools.calls.lock().unwrap().clone()
    }

    pub(crate) fn writes(&self) -> Vec<Called> {
        self.tables.calls.lock().unwrap().clone()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.tools.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// An engine on a journal that holds these frames.
    pub(crate) async fn boot(&self, frames: Vec<Frame>, cut: Cut) -> Booted {
        self.boot_on(Memory::from_frames(frames), cut).await
    }

    pub(crate) async fn boot_on(&self, memory: Memory, cut: Cut) -> Booted {
        let journal =
            Arc::new(DyingJournal { memory, cut, appends: AtomicU64::new(0), reached: tokio::sync::Semaphore::new(0) });
        let (tell, events) = mpsc::unbounded_channel();
        let shown = Arc::new(Mutex::new(Shown::default()));
        let card = |text: &str| {
            let spec = ollmcp::agent::AgentSpec::parse(text, "AGENT.md", None).unwrap();
            let name = spec.name.clone();
            (name, AgentCard { text: text.to_owned(), output_version: "1".to_owned(), spec: Arc::new(spec) })
        };
        let agents = std::iter::once(WRITER).chain(self.agents.iter().map(String::as_str)).map(card).collect();
        let ports = Ports {
            journal: journal.clone(),
            blobs: self.blobs.clone(),
            memory: Arc::new(FromJournal(journal.clone())),
            ladders: Arc::new(self.ladders.clone()),
            tools: self.tools.clone(),
            servers: Arc::new(NoServers),
            model_servers: self.model_servers.clone(),
            paid: None,
            models: self.policy.map_or_else(|| self.models.clone(), |policy| Arc::new(Door::new(policy))),
            databases: Arc::new(TableRoom(self.tables.clone())),
            agents: Arc::new(agents),
            clock: self.clock.clone(),
            ids: Arc::new(Counting::default()),
            readers: vec![Arc::new(Told(tell, shown.clone()))],
            workspace: self.folder.path().to_owned(),
            project: "p".to_owned(),
            granted_paths: Vec::new(),
            staging: Arc::new(ollmcp::engine::Staging::new(self.staging())),
            attempts_max: self.attempts_max,
        };
        let engine = Engine::start(ports, BTreeMap::new(), RegistryDoor::default()).await.unwrap();
        Booted { engine, journal, events, shown }
    }

    /// Runs a plan to its end and gives the state.
    pub(crate) async fn run(&self, plan: &Plan) -> (RunExit, RunState) {
        let booted = self.boot(Vec::new(), Cut::Never).await;
        let exit = booted.start(plan).await.unwrap();
        (exit, booted.state())
    }
}

pub(crate) fn echo(call: &ToolCall) -> Reply {
    Reply::Value(Value::Object(call.arguments.clone()))
}

/// One engine: one life of a process.
pub(crate) struct Booted {
    pub(crate) engine: Engine,
    pub(crate) journal: Arc<DyingJournal>,
    events: mpsc::UnboundedReceiver<Stamped>,
    shown: Arc<Mutex<Shown>>,
}

/// Runs are told apart by number. Names of actors count for the whole process: each test has runs of its own.
pub(crate) fn run_id() -> RunId {
    static RUNS: AtomicU64 = AtomicU64::new(1);
    let number = RUNS.fetch_add(1, Ordering::SeqCst);
    RunId(Uuid::from_u128(u128::from(number) << 96 | 7))
}

impl Booted {
    pub(crate) fn start(&self, plan: &Plan) -> oneshot::Receiver<RunExit> {
        self.start_as(run_id(), plan, false)
    }

    pub(crate) fn start_as(&self, run: RunId, plan: &Plan, leaves: bool) -> oneshot::Receiver<RunExit> {
        let origin = Origin { project: "p".to_owned(), plan_source: "test".to_owned(), ..Origin::default() };
        let first = accept(run, plan, Map::new(), origin);
        self.engine.start_run(run, Beginning::New(Box::new(first)), leaves).unwrap()
    }

    pub(crate) fn resume(&self, run: RunId) -> oneshot::Receiver<RunExit> {
        let state = folded(&self.journal.memory, run).unwrap();
        self.engine
            .start_run(run, Beginning::Existing { run: Box::new(state), budget_microdollars: None }, false)
            .unwrap()
    }

    /// The only run of this engine.
    pub(crate) fn run_here(&self) -> RunId {
        let runs: BTreeSet<RunId> =
            self.frames().iter().flat_map(|frame| &frame.records).map(|record| record.run).collect();
        assert_eq!(runs.len(), 1, "one run");
        *runs.first().unwrap()
    }

    pub(crate) fn state(&self) -> RunState {
        folded(&self.journal.memory, self.run_here()).unwrap()
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        self.journal.memory.frames()
    }

    pub(crate) fn appends(&self) -> u64 {
        self.journal.appends.load(Ordering::SeqCst)
    }

    pub(crate) async fn request(&self, run: RunId, command: Command) -> Result<(), Refusal> {
        self.engine.door().request(run, command).await.expect("the run is here")
    }

    /// How many events the readers saw of all runs, each state with exactly those.
    pub(crate) fn shown(&self) -> u64 {
        let shown = self.shown.lock().unwrap();
        assert_eq!(shown.ahead, Vec::<String>::new());
        shown.runs.values().sum()
    }

    /// Waits for a durable event that fits.
    pub(crate) async fn event<T>(&mut self, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let stamped = self.events.recv().await.expect("the engine is alive");
            if let Some(found) = fits(&stamped.event) {
                return found;
            }
        }
    }

    /// Waits until the journal stops answering.
    pub(crate) async fn dies(&self) {
        self.journal.reached.acquire().await.unwrap().forget();
    }

    /// The process is gone: what it had in flight with it.
    pub(crate) async fn gone(self) -> Vec<Frame> {
        let frames = self.frames();
        self.engine.shut_down().await;
        frames
    }

    /// Waits for the end of a run and answers every question of a call in doubt on the way.
    pub(crate) async fn answering(
        &mut self,
        run: RunId,
        exit: oneshot::Receiver<RunExit>,
        mut answer: impl FnMut(&RunState, TaskId) -> DoubtAnswer,
    ) -> RunExit {
        let mut asks: Vec<(AskId, TaskId)> = Vec::new();
        if let Some(state) = folded(&self.journal.memory, run) {
            asks.extend(state.head.asks.iter().map(|(id, ask)| (*id, ask.task)));
        }
        let mut exit = exit.fuse();
        loop {
            for (ask, task) in std::mem::take(&mut asks) {
                let answer = answer(&folded(&self.journal.memory, run).unwrap(), task);
                self.request(run, Command::Answer { ask, answer, by: "ann".to_owned() }).await.unwrap();
            }
            tokio::select! {
                left = &mut exit => return left.unwrap(),
                Some(stamped) = self.events.recv() => {
                    if let Event::CallInDoubt { ask, task, .. } = stamped.event {
                        asks.push((ask, task));
                    }
                }
            }
        }
    }
}

/// A plan from its file's text.
pub(crate) fn plan(text: &str) -> Plan {
    read(text.as_bytes(), &Catalog::default())
        .unwrap_or_else(|faults| panic!("{}", faults.render("test.yaml", false)))
        .plan
}

pub(crate) fn task<'a>(state: &'a RunState, step: &str, item: u32) -> &'a Task {
    let step = state.plan.index_of(&ollmcp::domain::ids::StepId::from(step)).unwrap();
    state.tasks.get(&TaskId::new(step, item)).unwrap_or_else(|| panic!("no task {step}[{item}]"))
}

/// Outputs of all done tasks.
pub(crate) fn outputs(state: &RunState) -> BTreeMap<TaskId, Payload> {
    let done = state.tasks.iter().filter_map(|(id, task)| match &task.phase {
        TaskPhase::Done { output, .. } => Some((*id, output.clone())),
        _ => None,
    });
    done.collect()
}
