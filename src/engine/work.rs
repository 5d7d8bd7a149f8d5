//! What an attempt does, step kind by step kind: open a step, prepare a task, carry it out, judge its output.
//!
//! Nothing here changes a run: each function gives a value that the run supervisor turns into a command.

mod act;
mod ask;
mod check;
mod files;
mod known;
mod open;
mod place;
mod prepare;
mod private;
mod record;
mod rows;
mod staged;

use std::sync::Arc;

use serde_json::{Value, json};

use super::Ports;
use super::values::{ItemSource, Scope};
use crate::database::WriteJob;
use crate::domain::command::AttemptEnd;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::digest_value;
use crate::domain::ids::{Digest, ItemIndex, RunId, StepIndex};
use crate::domain::ladder::{Ladder, Rung};
use crate::domain::payload::{Items, Payload};
use crate::domain::plan::{Plan, RepeatClass, Step};
use crate::domain::run::{CallRecord, TurnRecord};
use crate::domain::verdict::Verdict;
use crate::journal::blobs::BlobError;
use crate::plan_file::expr::{self, ExprError};
use crate::tool::ToolCall;

pub use act::{execute, tool_failure};
pub use ask::second;
pub use check::{judge, judge_step};
pub use known::known_addresses;
pub use open::open_step;
pub use place::place;
pub use prepare::prepare;
pub use record::Recorder;
pub use rows::{expectation, source_tables, write_arguments};

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
    /// Paid calls are made up: no output of this run may pass for one of another.
    pub fake: bool,
    /// What the task's attempts came to so far; `None` for a step.
    pub trial: Option<Box<Trial>>,
}

/// An attempt as its task's record has it when it begins.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Its number.
    pub attempt: u32,
    /// Who tries.
    pub rung: Rung,
    /// The ladder of its step.
    pub ladder: Ladder,
    /// Why earlier attempts failed.
    pub complaints: Vec<Complaint>,
    /// Replies of the attempt that this one goes on from.
    pub turns: Vec<TurnRecord>,
    /// Calls that were made already.
    pub calls: Vec<CallRecord>,
    /// Local rungs of earlier attempts.
    pub tried: Vec<String>,
    /// Keys of the calls that changed something in the attempt that is judged.
    pub effects: Vec<String>,
    /// Answers of models that did not agree, with their rungs.
    pub answers: Vec<(String, Payload)>,
}

/// Why an earlier attempt failed, as the next one is told.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// In words.
    pub text: String,
    /// The local rung whose answer did not have the form that was asked for.
    pub formless: Option<String>,
}

/// What opening a step found out.
#[derive(Clone, Debug)]
pub enum Opened {
    /// The condition holds; these are the items, and the ladder of their tasks.
    Items(Items, Box<Ladder>),
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

/// What is recorded before a prepared attempt may act.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Name of the item.
    pub key: String,
    /// Digest of what can change the output.
    pub identity: Option<Digest>,
    /// What follows if the outcome stays unknown.
    pub repeat: RepeatClass,
}

impl Ready {
    /// What is recorded of it.
    #[must_use]
    pub fn intent(&self) -> Intent {
        Intent { key: self.key.clone(), identity: self.identity, repeat: self.repeat }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Evaluate,
    Call(ToolCall),
    Write { address: String, job: Box<WriteJob>, source_tables: usize },
    Ask(Box<ask::Asking>),
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

/// A payload that cannot be written is no failure of an item: the next one would fare the same.
fn not_stored(what: &str, error: &BlobError) -> String {
    use std::error::Error as _;
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    format!("cannot store {what}: {error}{cause}")
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
        // Cut off by the end of the runtime, and so is whoever waits here.
        Err(_) => std::future::pending().await,
    }
}
