//! What a plan's steps will be given, as far as inputs alone say it: looked at before anything runs.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::plan::{Check, Plan, Step, StepKind};
use crate::plan_file::expr::{self, ExprError, Lookup};

/// Addresses of databases that are literal or come from inputs, each with its step. A step whose condition does not
/// hold, or is not known to hold, is left out.
#[must_use]
pub fn known_addresses(plan: &Plan, inputs: &Map<String, Value>) -> Vec<(String, String)> {
    let inputs = InputsAlone(Arc::new(Value::Object(inputs.clone())));
    let runs = |step: &&Step| {
        let condition = step.condition.as_deref();
        condition.is_none_or(|condition| expr::is_true(expr::bare(condition), &inputs).unwrap_or(false))
    };
    let text = |template: &Value| match expr::render(template, &inputs) {
        Ok(Value::String(text)) => Some(text),
        // It depends on what comes before; or it is no text, which the step says.
        Ok(_) | Err(_) => None,
    };
    let mut found = Vec::new();
    for step in plan.steps().iter().filter(runs) {
        let written = match &step.kind {
            StepKind::Agent { with, prompt: None, .. } => with.get("database").and_then(text),
            StepKind::Agent { .. } | StepKind::Tool { .. } | StepKind::Value { .. } => None,
        };
        let checked = step.done_when.iter().chain(&step.all_done_when).filter_map(|check| match check {
            Check::Sql { database, .. } => text(&Value::String(database.clone())),
            Check::Expression(_) | Check::File { .. } | Check::Called { .. } => None,
        });
        found.extend(written.into_iter().chain(checked).map(|address| (step.id.to_string(), address)));
    }
    found
}

/// Sees the inputs and nothing else.
struct InputsAlone(Arc<Value>);

impl Lookup for InputsAlone {
    fn step(&self, id: &str, _field: &str) -> Result<Arc<Value>, ExprError> {
        Err(ExprError::Missing { path: format!("steps.{id}"), hint: None })
    }

    fn root(&self, name: &str) -> Option<Arc<Value>> {
        (name == "inputs").then(|| self.0.clone())
    }
}
