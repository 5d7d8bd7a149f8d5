//! What an attempt does, step kind by step kind: open a step, prepare a task, carry it out, judge its output.
//!
//! Nothing here changes a run: each function gives a value that the run supervisor turns into a command.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Ports;
use super::values::{ItemSource, Scope};
use crate::database::address::Address;
use crate::database::{self, LedgerKey, Target, WriteJob};
use crate::domain::command::AttemptEnd;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::{FileContent, Ingredients, digest_value, identity};
use crate::domain::ids::{Digest, ItemIndex, RunId, StepIndex};
use crate::domain::payload::{Items, Payload};
use crate::domain::plan::{Check, ForEach, Plan, RepeatClass, Step, StepKind};
use crate::domain::verdict::{Judge, Verdict};
use crate::evidence;
use crate::journal::lines::LinesWriter;
use crate::plan_file::expr::{self, ExprError};
use crate::tool::{ToolCall, ToolError, ToolSpec};

/// Longest list of a `for_each`.
pub const ITEMS_MAX: usize = 10_000_000;
/// Names of our own servers: their path arguments are held against the grants.
pub const OWN_SERVERS: &[&str] = &["fs", "pdf_extract", "db"];

/// One task (or step) with all that its expressions may see.
#[derive(Clone, Debug)]
pub struct Job {
    /// The run.
    pub run: RunId,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The step.
    pub step: StepIndex,
    /// The item; 0 for a step without `for_each`.
    pub item: ItemIndex,
    /// Inputs and ended steps.
    pub scope: Scope,
    /// Where the item comes from; `None` before the step is open.
    pub source: Option<Arc<ItemSource>>,
    /// Key and output of the item mapped over, for a step that follows another item by item.
    pub upstream: Option<(String, Payload)>,
    /// Take nothing over from earlier runs.
    pub fresh: bool,
}

/// What opening a step found out.
#[derive(Clone, Debug)]
pub enum Opened {
    /// The condition holds and these are the items.
    Items(Items),
    /// The condition is false.
    Skip(String),
    /// Condition or list cannot be worked out.
    Fault(Failure),
}

/// A task that is ready to act.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// It has to be carried out.
    Attempt(Box<Ready>),
    /// An earlier run has the output.
    Reuse {
        /// Name of the item.
        key: String,
        /// The identity that was found.
        identity: Digest,
        /// The stored output.
        output: Payload,
        /// The run that made it.
        from: RunId,
        /// What today's checks say.
        verdict: Verdict,
    },
    /// It cannot act.
    Fault {
        /// Name of the item as far as it is known.
        key: String,
        /// Why.
        failure: Failure,
    },
}

/// What a prepared attempt needs to act.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Name of the item.
    pub key: String,
    /// Digest of what can change the output.
    pub identity: Option<Digest>,
    /// What follows if the outcome stays unknown.
    pub repeat: RepeatClass,
    /// The act.
    act: Act,
    /// The names that checks may use.
    scope: Scope,
}

#[derive(Clone, Debug)]
enum Act {
    Evaluate,
    Call(ToolCall),
    Write { address: String, job: Box<WriteJob>, source_tables: usize },
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its end.
    pub end: AttemptEnd,
    /// What the checks say of its output.
    pub verdict: Option<Verdict>,
}

impl Job {
    fn definition(&self) -> &Step {
        self.plan.step(self.step)
    }

    /// The scope with the item's names in it, and the item's default key.
    fn item_scope(&self, ports: &Ports) -> Result<(Scope, String), ExprError> {
        let Some(source) = self.source.as_ref().filter(|_| self.definition().for_each.is_some()) else {
            return Ok((self.scope.clone(), self.definition().id.to_string()));
        };
        let own = source.item(&ports.blobs, self.item)?;
        let (item, default_key) = match &self.upstream {
            Some((key, payload)) => {
                let output = ports.blobs.read_value(payload).map_err(|error| ExprError::Unavailable {
                    what: "item.output".to_owned(),
                    why: error.to_string(),
                })?;
                (json!({ "key": key, "item": own, "output": output }), key.clone())
            }
            None => {
                let key = default_key(&own);
                (own, key)
            }
        };
        let scope = self.scope.clone().with("item", Arc::new(item)).with("index", Arc::new(Value::from(self.item)));
        let key = match &self.definition().key {
            None => default_key,
            Some(template) => key_text(&expr::render(&Value::String(template.clone()), &scope)?),
        };
        Ok((scope.with("key", Arc::new(Value::String(key.clone()))), key))
    }
}

/// A value as the name of its item: short scalars by themselves, anything else by its digest.
fn default_key(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 512 => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => digest_value(other).short(),
    }
}

fn key_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => default_key(other),
    }
}

fn expression_failure(error: &ExprError) -> Failure {
    let failure = Failure::new(FailureKind::BadInput, error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Works out a step's condition and items.
pub async fn open_step(ports: &Ports, job: &Job) -> Opened {
    let step = job.definition();
    if let Some(condition) = &step.condition {
        match expr::judge(condition, &job.scope) {
            Ok(judged) if judged.holds => {}
            Ok(judged) => return Opened::Skip(judged.evidence),
            Err(error) => return Opened::Fault(expression_failure(&error)),
        }
    }
    match &step.for_each {
        None => Opened::Items(Items::One),
        Some(ForEach::Items(source)) => {
            let from = job.plan.index_of(source).expect("a checked plan names steps that are there");
            Opened::Items(Items::Flow { from })
        }
        Some(ForEach::Range(template)) => match expr::render(template, &job.scope) {
            Ok(value) => match value.as_u64().and_then(|len| u32::try_from(len).ok()) {
                Some(len) if len as usize <= ITEMS_MAX => Opened::Items(Items::Range { len }),
                _ => Opened::Fault(Failure::new(
                    FailureKind::BadInput,
                    format!("`range` needs a whole number from 0 to {ITEMS_MAX}, found {}", shown(&value)),
                )),
            },
            Err(error) => Opened::Fault(expression_failure(&error)),
        },
        Some(ForEach::List(template)) => match expr::render(template, &job.scope) {
            Ok(Value::Array(items)) => store_list(ports, job, items).await,
            Ok(other) => Opened::Fault(Failure::new(
                FailureKind::BadInput,
                format!("`for_each` needs a list, found {}", shown(&other)),
            )),
            Err(error) => Opened::Fault(expression_failure(&error)),
        },
    }
}

/// Writes the list as a blob and sees that no two items share a key.
async fn store_list(ports: &Ports, job: &Job, items: Vec<Value>) -> Opened {
    if items.len() > ITEMS_MAX {
        return Opened::Fault(Failure::new(
            FailureKind::TooLarge,
            format!("a list of {} items is longer than {ITEMS_MAX}", items.len()),
        ));
    }
    let (blobs, job) = (ports.blobs.clone(), job.clone());
    blocking(move || {
        if let Err(failure) = distinct_keys(&job, &items) {
            return Opened::Fault(failure);
        }
        let stored = LinesWriter::new(&blobs).and_then(|mut lines| {
            items.iter().try_for_each(|item| lines.push(item))?;
            lines.finish()
        });
        match stored {
            Ok(items) => Opened::Items(items),
            Err(error) => Opened::Fault(Failure::new(FailureKind::Busy, format!("cannot store the list: {error}"))),
        }
    })
    .await
}

fn distinct_keys(job: &Job, items: &[Value]) -> Result<(), Failure> {
    let mut seen = std::collections::HashMap::with_capacity(items.len());
    let template = job.definition().key.clone().map(Value::String);
    for (at, item) in items.iter().enumerate() {
        let key = match &template {
            None => default_key(item),
            Some(template) => {
                let scope =
                    job.scope.clone().with("item", Arc::new(item.clone())).with("index", Arc::new(Value::from(at)));
                key_text(&expr::render(template, &scope).map_err(|error| expression_failure(&error))?)
            }
        };
        let digest: [u8; 16] = digest_value(&Value::String(key.clone())).0[..16].try_into().expect("16 of 32 bytes");
        if let Some(first) = seen.insert(digest, at) {
            return Err(Failure::new(
                FailureKind::BadInput,
                format!("items {} and {} of the list have the same key `{key}`", first + 1, at + 1),
            )
            .hint("give `key` an expression that tells them apart"));
        }
    }
    Ok(())
}

/// Evaluates a task's arguments, works out its identity, and looks for an earlier output.
pub async fn prepare(ports: &Ports, job: &Job) -> Prepared {
    let (scope, key) = match job.item_scope(ports) {
        Ok(found) => found,
        Err(error) => {
            return Prepared::Fault { key: format!("item {}", job.item + 1), failure: expression_failure(&error) };
        }
    };
    let ready = match prepared_act(ports, job, scope, &key).await {
        Ok(ready) => ready,
        Err(failure) => return Prepared::Fault { key, failure },
    };
    match reusable(ports, job, &ready).await {
        Some(reuse) => reuse,
        None => Prepared::Attempt(Box::new(ready)),
    }
}

async fn prepared_act(ports: &Ports, job: &Job, scope: Scope, key: &str) -> Result<Ready, Failure> {
    let step = job.definition();
    let failed = |error: ExprError| expression_failure(&error);
    match &step.kind {
        StepKind::Value { .. } => {
            Ok(Ready { key: key.to_owned(), identity: None, repeat: RepeatClass::Read, act: Act::Evaluate, scope })
        }
        StepKind::Tool { name, with } => {
            let with = render_object(with, &scope).map_err(failed)?;
            let (server, spec) = find_tool(ports, name).await?;
            let files = path_arguments(step, &spec);
            for argument in files.iter().filter_map(|name| with.get(name).and_then(Value::as_str)) {
                if OWN_SERVERS.contains(&server.as_str()) {
                    granted(ports, argument)?;
                }
            }
            let contents = file_contents(ports, &scope, job, &with, &files).await;
            let of_identity = Value::Object(relative_paths(ports, &with, &files));
            let identity = identity(&Ingredients {
                kind: "tool",
                name,
                output_version: &spec.output_version,
                text: "",
                with: &of_identity,
                output_schema: step.output_schema.as_ref(),
                files: &contents,
            });
            let call = ToolCall {
                server,
                tool: spec.name.clone(),
                arguments: with,
                call_key: call_key(job, &identity),
                timeout_ms: step.timeout_ms,
            };
            Ok(Ready {
                key: key.to_owned(),
                identity: Some(identity),
                repeat: step.repeat.unwrap_or(spec.repeat),
                act: Act::Call(call),
                scope,
            })
        }
        StepKind::Agent { name, with, .. } => {
            let with = render_object(with, &scope).map_err(failed)?;
            let card = ports
                .agents
                .get(name)
                .ok_or_else(|| Failure::new(FailureKind::BadInput, format!("no agent is called `{name}`")))?;
            // Rows belong to their item: two items with equal rows (none, say) are two writes, not one.
            let of_identity = json!({ "with": with, "item": key });
            let identity = identity(&Ingredients {
                kind: "agent",
                name,
                output_version: &card.output_version,
                text: &card.text,
                with: &of_identity,
                output_schema: step.output_schema.as_ref(),
                files: &[],
            });
            let write = write_job(ports, job, &scope, key, identity, &with)?;
            Ok(Ready {
                key: key.to_owned(),
                identity: Some(identity),
                repeat: RepeatClass::Idempotent,
                act: write,
                scope,
            })
        }
    }
}

/// The key of a call: the same for each repetition, another one for each run and item. Never the attempt's number.
fn call_key(job: &Job, identity: &Digest) -> String {
    let parts = json!([job.run.to_string(), job.step, job.item, identity.to_string()]);
    digest_value(&parts).to_string()[..32].to_owned()
}

fn render_object(template: &Map<String, Value>, scope: &Scope) -> Result<Map<String, Value>, ExprError> {
    let mut out = Map::with_capacity(template.len());
    for (name, value) in template {
        out.insert(name.clone(), expr::render(value, scope)?);
    }
    Ok(out)
}

async fn find_tool(ports: &Ports, name: &str) -> Result<(String, ToolSpec), Failure> {
    let servers = ports.tools.servers();
    // Server names may hold dots: the longest declared name wins.
    let split = name
        .rmatch_indices('.')
        .map(|(at, _)| (&name[..at], &name[at + 1..]))
        .find(|(server, _)| servers.iter().any(|known| known == server));
    let Some((server, tool)) = split else {
        let server = name.split_once('.').map_or(name, |(server, _)| server);
        return Err(tool_failure(&ToolError::UnknownServer { server: server.to_owned(), known: servers }));
    };
    let tools = ports.tools.tools(server).await.map_err(|error| tool_failure(&error))?;
    match tools.iter().find(|spec| spec.name == tool) {
        Some(spec) => Ok((server.to_owned(), spec.clone())),
        None => Err(tool_failure(&ToolError::UnknownTool {
            server: server.to_owned(),
            tool: tool.to_owned(),
            known: tools.iter().map(|spec| spec.name.clone()).collect(),
        })),
    }
}

fn path_arguments(step: &Step, spec: &ToolSpec) -> Vec<String> {
    let mut names: BTreeSet<String> = spec.path_arguments().into_iter().collect();
    names.extend(step.files.iter().cloned());
    names.into_iter().collect()
}

/// A path of one of our own tools lies in the workspace or beneath a path that the person named.
fn granted(ports: &Ports, path: &str) -> Result<(), Failure> {
    let absolute = absolute(&ports.workspace, path);
    let within = |folder: &Path| absolute.starts_with(folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
    if within(&ports.workspace) || ports.granted_paths.iter().any(|granted| within(granted)) {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Denied, format!("`{path}` lies outside the project folder and was not named"))
        .hint("type it as an input of the run (`-i NAME=PATH`): what you type is granted"))
}

/// The path with links resolved as far as it exists.
fn absolute(workspace: &Path, path: &str) -> PathBuf {
    let joined = workspace.join(path);
    if let Ok(real) = joined.canonicalize() {
        return real;
    }
    let mut plain = PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            other => plain.push(other),
        }
    }
    match (plain.parent().and_then(|parent| parent.canonicalize().ok()), plain.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => plain,
    }
}

fn relative(workspace: &Path, path: &str) -> String {
    let full = absolute(workspace, path);
    let root = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
    full.strip_prefix(&root).unwrap_or(&full).display().to_string()
}

fn relative_paths(ports: &Ports, with: &Map<String, Value>, files: &[String]) -> Map<String, Value> {
    let mut out = with.clone();
    for name in files {
        if let Some(Value::String(path)) = out.get_mut(name) {
            *path = relative(&ports.workspace, path);
        }
    }
    out
}

/// The content of every file that the arguments name, and of the entry of `fs.list` that the item is.
async fn file_contents(
    ports: &Ports,
    scope: &Scope,
    job: &Job,
    with: &Map<String, Value>,
    files: &[String],
) -> Vec<FileContent> {
    use crate::plan_file::expr::Lookup as _;
    let mut paths: Vec<String> =
        files.iter().filter_map(|name| with.get(name).and_then(Value::as_str)).map(str::to_owned).collect();
    if maps_over_listing(job)
        && let Some(item) = scope.root("item")
        && let Some(path) = item.get("path").and_then(Value::as_str)
    {
        paths.push(path.to_owned());
    }
    let workspace = ports.workspace.clone();
    blocking(move || {
        paths
            .iter()
            .map(|path| FileContent { path: relative(&workspace, path), sha256: hash_file(&workspace.join(path)) })
            .collect()
    })
    .await
}

/// Whether the step's items are entries of an `fs.list`.
fn maps_over_listing(job: &Job) -> bool {
    let Some(ForEach::List(Value::String(template))) = &job.definition().for_each else { return false };
    job.definition().refs.iter().any(|reference| {
        let listing = job.plan.index_of(&reference.step).map(|at| &job.plan.step(at).kind);
        matches!(listing, Some(StepKind::Tool { name, .. }) if name == "fs.list")
            && template.contains(&format!("steps.{}.output.files", reference.step))
    })
}

fn hash_file(path: &Path) -> Option<Digest> {
    use sha2::Digest as _;
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    let mut hash = sha2::Sha256::new();
    let mut file = std::fs::File::open(path).ok()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).ok()? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Some(Digest(hash.finalize().into()))
}

/// What DATABASE_WRITER is asked to do.
fn write_job(
    ports: &Ports,
    job: &Job,
    scope: &Scope,
    key: &str,
    identity: Digest,
    with: &Map<String, Value>,
) -> Result<Act, Failure> {
    let bad = |message: String| Failure::told(FailureKind::BadInput, &message);
    let address = with
        .get("database")
        .and_then(Value::as_str)
        .ok_or_else(|| bad("DATABASE_WRITER needs `database`, an address such as `sqlite:tables.db`".to_owned()))?;
    let target = match with.get("table") {
        None => Target::Auto,
        Some(Value::String(name)) if name == "auto" => Target::Auto,
        Some(Value::String(name)) => Target::Named(name.clone()),
        Some(other) => return Err(bad(format!("`table` must be `auto` or a name, found {}", shown(other)))),
    };
    let tables = source_tables(with).map_err(bad)?;
    let mut checks = Vec::new();
    for check in &job.definition().done_when {
        if let Some(check) = inside_transaction(check, address, scope).map_err(|error| expression_failure(&error))? {
            checks.push(check);
        }
    }
    let source_tables = tables.len();
    let key = LedgerKey {
        project: ports.project.clone(),
        plan: job.plan.name().to_owned(),
        step: job.definition().id.to_string(),
        item: key.to_owned(),
        identity,
        run: job.run,
    };
    let job = Box::new(WriteJob { key, target, tables, checks });
    Ok(Act::Write { address: address.to_owned(), job, source_tables })
}

/// The tables among DATABASE_WRITER's arguments.
///
/// # Errors
/// What is wrong with `rows`, in words.
pub fn source_tables(with: &Map<String, Value>) -> Result<Vec<database::SourceTable>, String> {
    let rows =
        with.get("rows").ok_or_else(|| "DATABASE_WRITER needs `rows`: tables, or a list of records".to_owned())?;
    match with.get("headers") {
        None => database::tables_from_rows(rows),
        Some(Value::Array(headers)) => {
            let headers: Vec<String> = headers.iter().map(key_text).collect();
            Ok(vec![database::table_from_lists(&headers, rows)?])
        }
        Some(other) => Err(format!("`headers` must be a list of names, found {}", shown(other))),
    }
}

/// A `sql` check on the database that the task writes runs inside its transaction.
fn inside_transaction(check: &Check, address: &str, scope: &Scope) -> Result<Option<Check>, ExprError> {
    let Check::Sql { database, query, equals } = check else { return Ok(None) };
    let evaluated = expr::render(&Value::String(database.clone()), scope)?;
    if evaluated.as_str() != Some(address) {
        return Ok(None);
    }
    let equals = expr::render(equals, scope)?;
    Ok(Some(Check::Sql { database: address.to_owned(), query: query.clone(), equals }))
}

/// An earlier output with the same identity, if the step may take it and today's checks accept it.
async fn reusable(ports: &Ports, job: &Job, ready: &Ready) -> Option<Prepared> {
    let step = job.definition();
    let by_default = matches!(step.kind, StepKind::Agent { .. }) || step.for_each.is_some();
    if job.fresh || !step.reuse.unwrap_or(by_default) {
        return None;
    }
    let identity = ready.identity?;
    // Two equal items of one run are two tasks: which of them ran first must not decide whether the other runs.
    let found = ports.memory.reusable(&identity).filter(|found| found.run != job.run)?;
    if let Act::Write { address, .. } = &ready.act {
        // The ledger in the target decides, not our memory of it.
        let database = ports.databases.open(address).ok()?;
        if !database.stands(&identity).await.ok()? {
            return None;
        }
    }
    let output = ports.blobs.read_value(&found.output).ok()?;
    let verdict = check_output(ports, job, ready, &output, true).await;
    verdict.accepted.then(|| Prepared::Reuse {
        key: ready.key.clone(),
        identity,
        output: found.output,
        from: found.run,
        verdict,
    })
}

/// Carries out a prepared task.
pub async fn execute(ports: &Ports, job: &Job, ready: &Ready) -> Done {
    let output = match &ready.act {
        Act::Evaluate => {
            let StepKind::Value { template } = &job.definition().kind else {
                unreachable!("only `value` steps are evaluated")
            };
            expr::render(template, &ready.scope).map_err(|error| AttemptEnd::Failed(expression_failure(&error)))
        }
        Act::Call(call) => match call_tool(ports, call).await {
            Ok(result) => Ok(result.value),
            Err(error) => Err(after_tool_error(call, &error)),
        },
        Act::Write { address, job, source_tables } => write(ports, address, job, *source_tables).await,
    };
    match output {
        Err(end) => Done { end, verdict: None },
        Ok(output) => accept_output(ports, job, ready, output).await,
    }
}

async fn call_tool(ports: &Ports, call: &ToolCall) -> Result<crate::tool::ToolResult, ToolError> {
    use tracing::Instrument as _;
    let span = crate::telemetry::tool_span(&call.server, &call.tool, &call.call_key);
    let result = ports.tools.call(call).instrument(span.clone()).await;
    if let Err(error) = &result {
        tracing::info!(parent: &span, %error, "the call gave no result");
    }
    result
}

async fn write(ports: &Ports, address: &str, job: &WriteJob, source_tables: usize) -> Result<Value, AttemptEnd> {
    // An address that is none of ours is refused below, with what to write instead.
    if let Ok(Address::Sqlite(path)) = Address::parse(address, &ports.workspace) {
        granted(ports, &path.to_string_lossy()).map_err(AttemptEnd::Failed)?;
    }
    let written = match ports.databases.open(address) {
        Ok(database) => database.write(job).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(written) => {
            let mut output = serde_json::to_value(&written).expect("counts serialise");
            output["database"] = Value::from(address);
            output["tables_found"] = Value::from(source_tables);
            Ok(output)
        }
        Err(error) => Err(AttemptEnd::Failed(database_failure(&error))),
    }
}

async fn accept_output(ports: &Ports, job: &Job, ready: &Ready, output: Value) -> Done {
    if let Some(schema) = &job.definition().output_schema
        && let Err(message) = evidence::fits_schema(schema, &output)
    {
        return Done { end: AttemptEnd::Failed(Failure::new(FailureKind::Schema, message)), verdict: None };
    }
    let verdict = check_output(ports, job, ready, &output, false).await;
    let blobs = ports.blobs.clone();
    match blocking(move || blobs.put_value(&output)).await {
        Ok(payload) => Done { end: AttemptEnd::Output(payload), verdict: Some(verdict) },
        Err(error) => {
            let failure = Failure::new(FailureKind::Busy, format!("cannot store the output: {error}"));
            Done { end: AttemptEnd::Unknown { what: failure.message.clone(), failure: Some(failure) }, verdict: None }
        }
    }
}

async fn check_output(ports: &Ports, job: &Job, ready: &Ready, output: &Value, reused: bool) -> Verdict {
    let step = job.definition();
    if reused
        && let Some(schema) = &step.output_schema
        && let Err(message) = evidence::fits_schema(schema, output)
    {
        return Verdict { by: Judge::Checks, accepted: false, evidence: Vec::new(), complaint: Some(message) };
    }
    let scope = ready.scope.clone().with("output", Arc::new(output.clone()));
    let called = match &ready.act {
        Act::Call(call) => vec![format!("{}.{}", call.server, call.tool)],
        Act::Evaluate | Act::Write { .. } => Vec::new(),
    };
    let written = match &ready.act {
        Act::Write { address, .. } if !reused => Some(address.as_str()),
        _ => None,
    };
    evidence::check(&step.done_when, &scope, &facts(ports, &called, written)).await
}

/// Judges the stored output of a task again: after a crash between its output and its verdict.
pub async fn judge(ports: &Ports, job: &Job, output: &Payload) -> Verdict {
    let rejected = |complaint: String| Verdict {
        by: Judge::Checks,
        accepted: false,
        evidence: Vec::new(),
        complaint: Some(complaint),
    };
    let value = match ports.blobs.read_value(output) {
        Ok(value) => value,
        Err(error) => return rejected(format!("the stored output cannot be read: {error}")),
    };
    let (scope, key) = match job.item_scope(ports) {
        Ok(found) => found,
        Err(error) => return rejected(error.to_string()),
    };
    match prepared_act(ports, job, scope, &key).await {
        Ok(ready) => check_output(ports, job, &ready, &value, true).await,
        Err(failure) => rejected(failure.message),
    }
}

/// Evaluates `all_done_when`.
pub async fn judge_step(ports: &Ports, job: &Job) -> Verdict {
    evidence::check(&job.definition().all_done_when, &job.scope, &facts(ports, &[], None)).await
}

/// What the database must hold for a done task of DATABASE_WRITER, worked out again from the stored outputs.
///
/// # Errors
/// Why it cannot be worked out, in words.
pub async fn expectation(
    ports: &Ports,
    job: &Job,
    identity: Option<Digest>,
) -> Result<(String, database::Expectation), String> {
    let (scope, key) = job.item_scope(ports).map_err(|error| error.to_string())?;
    let ready = prepared_act(ports, job, scope, &key).await.map_err(|failure| failure.message)?;
    let Act::Write { address, job: write, .. } = ready.act else { return Err("the task writes no rows".to_owned()) };
    let WriteJob { mut key, target, tables, .. } = *write;
    // The agent's text may have changed since: the rows were written under the identity of then.
    key.identity = identity.unwrap_or(key.identity);
    Ok((address, database::Expectation { key, target, tables }))
}

fn facts<'a>(ports: &'a Ports, called: &'a [String], written: Option<&'a str>) -> evidence::Facts<'a> {
    evidence::Facts { workspace: &ports.workspace, databases: ports.databases.as_ref(), called, written }
}

fn after_tool_error(call: &ToolCall, error: &ToolError) -> AttemptEnd {
    let failure = tool_failure(error);
    match error {
        ToolError::Died { .. } | ToolError::Timeout { .. } => AttemptEnd::Unknown {
            what: format!("{}.{} {}: {error}", call.server, call.tool, shown(&Value::Object(call.arguments.clone()))),
            failure: Some(failure),
        },
        ToolError::UnknownServer { .. }
        | ToolError::UnknownTool { .. }
        | ToolError::BadArguments { .. }
        | ToolError::NotStarted { .. }
        | ToolError::Reported { .. } => AttemptEnd::Failed(failure),
    }
}

/// The failure that a tool error is.
#[must_use]
pub fn tool_failure(error: &ToolError) -> Failure {
    let known_as = |known: &[String]| match known {
        [] => "none are declared".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    match error {
        ToolError::UnknownServer { known, .. } | ToolError::UnknownTool { known, .. } => {
            Failure::new(FailureKind::UnknownTool, error.to_string()).hint(known_as(known))
        }
        ToolError::BadArguments { .. } => Failure::new(FailureKind::BadInput, error.to_string()),
        ToolError::NotStarted { .. } => Failure::new(FailureKind::Unreachable, error.to_string()),
        ToolError::Died { .. } => Failure::new(FailureKind::ServerDied, error.to_string()),
        ToolError::Timeout { .. } => Failure::new(FailureKind::Timeout, error.to_string()),
        ToolError::Reported { message, reason } => {
            let kind = reason
                .as_ref()
                .and_then(|reason| serde_json::from_value(Value::String(reason.clone())).ok())
                .unwrap_or(FailureKind::ToolError);
            Failure::told(kind, message)
        }
    }
}

fn database_failure(error: &crate::database::DatabaseError) -> Failure {
    use crate::database::DatabaseError as E;
    let kind = match error {
        E::Address(_) | E::Target(_) => FailureKind::BadInput,
        E::Busy(_) => FailureKind::Busy,
        E::Check(_) => FailureKind::Check,
        E::Failed(_) => FailureKind::ToolError,
    };
    Failure::told(kind, &error.to_string())
}

/// A value as one bounded line.
#[must_use]
pub fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 160;
    let text = value.to_string();
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    text.chars().take(CHARS_MAX).chain(" …".chars()).collect()
}

/// Runs blocking work beside the actors; a panic in it is a panic of the attempt.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => panic!("blocking work was cut off by the end of the process"),
    }
}
