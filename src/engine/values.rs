//! What expressions of a step see: inputs, ended steps, the item. Read from blobs only when an expression asks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use crate::domain::event::{StepEnd, TaskEnd};
use crate::domain::ids::{ItemIndex, StepIndex};
use crate::domain::payload::{Items, Payload};
use crate::domain::run::{RunState, StepPhase, TaskPhase};
use crate::journal::blobs::Blobs;
use crate::journal::lines::Lines;
use crate::plan_file::expr::{ExprError, Lookup};

/// Where a step's items come from, opened at first use.
#[derive(Debug)]
pub struct ItemSource {
    kind: SourceKind,
    lines: OnceLock<Arc<Lines>>,
}

#[derive(Debug)]
enum SourceKind {
    One,
    Range,
    List(crate::domain::payload::BlobRef),
    Flow(Arc<ItemSource>),
}

impl ItemSource {
    /// The source of a step that is open or ended.
    #[must_use]
    pub fn of(state: &RunState, step: StepIndex) -> Option<Self> {
        let kind = match state.steps[step as usize].phase.items()? {
            Items::One => SourceKind::One,
            Items::Range { .. } => SourceKind::Range,
            Items::List { blob, .. } => SourceKind::List(*blob),
            Items::Flow { from } => SourceKind::Flow(Arc::new(Self::of(state, *from)?)),
        };
        Some(Self { kind, lines: OnceLock::new() })
    }

    /// The item as its list has it; `null` for a step without `for_each`.
    ///
    /// # Errors
    /// [`ExprError::Unavailable`] when the list cannot be read.
    pub fn item(&self, blobs: &Blobs, index: ItemIndex) -> Result<Value, ExprError> {
        match &self.kind {
            SourceKind::One => Ok(Value::Null),
            SourceKind::Range => Ok(Value::from(index)),
            SourceKind::Flow(from) => from.item(blobs, index),
            SourceKind::List(blob) => {
                let lost = |error: &dyn std::fmt::Display| ExprError::Unavailable {
                    what: format!("item {index}"),
                    why: error.to_string(),
                };
                let lines = match self.lines.get() {
                    Some(lines) => lines.clone(),
                    None => {
                        let opened = Arc::new(Lines::open(blobs, blob).map_err(|error| lost(&error))?);
                        self.lines.get_or_init(|| opened).clone()
                    }
                };
                let found = lines.get(index as usize).map_err(|error| lost(&error))?;
                found.ok_or_else(|| lost(&"the stored list is shorter"))
            }
        }
    }

    /// Whether the step maps over another step's items.
    #[must_use]
    pub const fn is_flow(&self) -> bool {
        matches!(self.kind, SourceKind::Flow(_))
    }
}

/// An ended step as expressions see it.
#[derive(Debug)]
pub struct StepView {
    fields: BTreeMap<&'static str, Field>,
    id: String,
}

#[derive(Debug)]
enum Field {
    Ready(Arc<Value>),
    Stored(Payload, OnceLock<Arc<Value>>),
    /// Done items: key, position and output.
    Items(Arc<ItemSource>, Vec<(String, ItemIndex, Payload)>, OnceLock<Arc<Value>>),
    Gone(String),
}

impl StepView {
    /// What an ended step shows.
    #[must_use]
    pub fn of(state: &RunState, step: StepIndex) -> Self {
        let definition = state.step(step);
        let mut fields = BTreeMap::new();
        if definition.for_each.is_some() {
            let counts = state.steps[step as usize].counts;
            let mut done = Vec::new();
            let mut errors = Vec::new();
            for (item, task) in state.tasks_of(step) {
                match &task.phase {
                    TaskPhase::Done { output, .. } => done.push((task.key.clone(), item, output.clone())),
                    TaskPhase::Ended(TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) => {
                        errors.push(json!({ "key": task.key, "reason": failure.message }));
                    }
                    _ => {}
                }
            }
            let count = state.list_len(step).unwrap_or(0);
            let numbers = [
                ("count", count),
                ("done", counts.done),
                ("failed", counts.failed),
                ("quarantined", counts.quarantined),
                ("skipped", counts.skipped),
            ];
            fields.extend(numbers.map(|(name, number)| (name, Field::Ready(Arc::new(Value::from(number))))));
            fields.insert("errors", Field::Ready(Arc::new(Value::Array(errors))));
            if let Some(source) = ItemSource::of(state, step) {
                fields.insert("items", Field::Items(Arc::new(source), done, OnceLock::new()));
            }
        } else {
            let first = state.tasks_of(step).next().map(|(_, task)| &task.phase);
            let output = match first {
                Some(TaskPhase::Done { output, .. }) => Field::Stored(output.clone(), OnceLock::new()),
                Some(TaskPhase::Ended(TaskEnd::Quarantined(failure))) => {
                    Field::Gone(format!("the step was set aside: {}", failure.message))
                }
                _ => Field::Gone(format!("the step is {}", state.steps[step as usize].phase.word())),
            };
            fields.insert("output", output);
        }
        if let StepPhase::Ended { end: StepEnd::Skipped { reason, .. }, .. } = &state.steps[step as usize].phase {
            fields.insert("output", Field::Gone(format!("the step was skipped: {reason}")));
        }
        Self { fields, id: definition.id.to_string() }
    }

    fn field(&self, blobs: &Blobs, name: &str) -> Result<Arc<Value>, ExprError> {
        let what = || format!("steps.{}.{name}", self.id);
        let lost = |error: &dyn std::fmt::Display| ExprError::Unavailable { what: what(), why: error.to_string() };
        match self.fields.get(name) {
            None => Err(ExprError::Missing { path: what(), hint: None }),
            Some(Field::Ready(value)) => Ok(value.clone()),
            Some(Field::Gone(why)) => Err(ExprError::Unavailable { what: what(), why: why.clone() }),
            Some(Field::Stored(payload, cell)) => match cell.get() {
                Some(value) => Ok(value.clone()),
                None => {
                    let value = Arc::new(blobs.read_value(payload).map_err(|error| lost(&error))?);
                    Ok(cell.get_or_init(|| value).clone())
                }
            },
            Some(Field::Items(source, done, cell)) => match cell.get() {
                Some(value) => Ok(value.clone()),
                None => {
                    let mut items = Vec::with_capacity(done.len());
                    for (key, index, payload) in done {
                        let output = blobs.read_value(payload).map_err(|error| lost(&error))?;
                        items.push(json!({ "key": key, "item": source.item(blobs, *index)?, "output": output }));
                    }
                    let value = Arc::new(Value::Array(items));
                    Ok(cell.get_or_init(|| value).clone())
                }
            },
        }
    }
}

/// The names that one task's expressions may use.
#[derive(Clone, Debug)]
pub struct Scope {
    blobs: Arc<Blobs>,
    inputs: Arc<Value>,
    steps: Arc<BTreeMap<String, Arc<StepView>>>,
    roots: BTreeMap<&'static str, Arc<Value>>,
    /// The step's own results, for `all_done_when`: its fields are names by themselves.
    own: Option<Arc<StepView>>,
}

impl Scope {
    /// Inputs and the ended steps that a step refers to.
    #[must_use]
    pub fn new(blobs: Arc<Blobs>, inputs: &Map<String, Value>, steps: BTreeMap<String, Arc<StepView>>) -> Self {
        let inputs = Arc::new(Value::Object(inputs.clone()));
        Self { blobs, inputs, steps: Arc::new(steps), roots: BTreeMap::new(), own: None }
    }

    /// The same with one more name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Arc<Value>) -> Self {
        self.roots.insert(name, value);
        self
    }
}

impl Scope {
    /// The same with the fields of `own` as names: `items`, `count`, `failed`, …
    #[must_use]
    pub fn with_own(mut self, own: Arc<StepView>) -> Self {
        self.own = Some(own);
        self
    }
}

impl Lookup for Scope {
    fn step(&self, id: &str, field: &str) -> Result<Arc<Value>, ExprError> {
        match self.steps.get(id) {
            Some(view) => view.field(&self.blobs, field),
            None => Err(ExprError::Missing { path: format!("steps.{id}"), hint: None }),
        }
    }

    fn root(&self, name: &str) -> Option<Arc<Value>> {
        match name {
            "inputs" => Some(self.inputs.clone()),
            _ => self.roots.get(name).cloned().or_else(|| self.own.as_ref()?.field(&self.blobs, name).ok()),
        }
    }
}
