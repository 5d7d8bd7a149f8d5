//! What a run is given, checked against the plan's `inputs`.

use serde_json::{Map, Value};

use crate::domain::plan::{Input, InputKind, RawPlan};

use super::walk::{fits, input};
use crate::domain::nearest::nearest;

/// One thing that is wrong with the values given for a plan's inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    /// The plan has no such input.
    #[error("the plan has no input `{name}`")]
    Unknown {
        /// The name given.
        name: String,
        /// The input that was probably meant.
        nearest: Option<String>,
    },
    /// One input was given twice.
    #[error("input `{name}` is given twice")]
    Twice {
        /// The name given.
        name: String,
    },
    /// A value does not fit the type.
    #[error("input `{name}` is {wanted}, not `{given}`")]
    WrongType {
        /// The input.
        name: String,
        /// Its type in words.
        wanted: &'static str,
        /// The value given, shortened.
        given: String,
    },
    /// Inputs without default were not given.
    #[error("these inputs must be given: {}", .names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    Missing {
        /// All of them.
        names: Vec<String>,
    },
}

impl InputFault {
    /// What to try, when there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_ref().map(|near| format!("did you mean `{near}`?")),
            Self::Twice { .. } => None,
            Self::WrongType { wanted: "a list", .. } => Some("write JSON or YAML: `[1, 2]`".to_owned()),
            Self::WrongType { wanted: "a map", .. } => Some("write JSON or YAML: `{\"a\": 1}`".to_owned()),
            Self::WrongType { .. } => None,
            Self::Missing { names } => {
                let flags: Vec<_> = names.iter().map(|name| format!("-i {name}=…")).collect();
                Some(format!("add {}", flags.join(" ")))
            }
        }
    }
}

/// The inputs of a run: what was given as `name=text`, read by type, and defaults for the rest. Paths stay as typed:
/// the caller knows where the person stands.
///
/// # Errors
/// Every fault at once.
pub fn resolve_inputs(plan: &RawPlan, given: &[(String, String)]) -> Result<Map<String, Value>, Vec<InputFault>> {
    let mut faults = Vec::new();
    let mut read: Map<String, Value> = Map::new();
    for (name, text) in given {
        let Some(known) = input(&plan.inputs, name) else {
            let near = nearest(name, plan.inputs.iter().map(|input| input.name.as_str())).map(str::to_owned);
            faults.push(InputFault::Unknown { name: name.clone(), nearest: near });
            continue;
        };
        if read.contains_key(name) {
            faults.push(InputFault::Twice { name: name.clone() });
            continue;
        }
        let value = value_of(known, text);
        if value.is_none() {
            let wanted = super::walk::wanted(known.kind);
            let given: String = text.chars().take(60).collect();
            faults.push(InputFault::WrongType { name: name.clone(), wanted, given });
        }
        // A faulty value counts as given, so that the input is not called missing too.
        read.insert(name.clone(), value.unwrap_or(Value::Null));
    }
    let mut values = Map::with_capacity(plan.inputs.len());
    let mut missing = Vec::new();
    for input in &plan.inputs {
        match read.remove(&input.name).or_else(|| input.default.clone()) {
            Some(value) => {
                values.insert(input.name.clone(), value);
            }
            None => missing.push(input.name.clone()),
        }
    }
    if !missing.is_empty() {
        faults.push(InputFault::Missing { names: missing });
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

fn value_of(input: &Input, text: &str) -> Option<Value> {
    let value = match input.kind {
        InputKind::String => Value::String(text.to_owned()),
        InputKind::Path => {
            return (!text.is_empty() && !text.contains('\0')).then(|| Value::String(text.to_owned()));
        }
        InputKind::Integer => {
            let trimmed = text.trim();
            trimmed.parse::<i64>().map(Value::from).or_else(|_| trimmed.parse::<u64>().map(Value::from)).ok()?
        }
        InputKind::Number => serde_json::from_str(text.trim()).ok()?,
        InputKind::Boolean => match text.trim() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return None,
        },
        InputKind::List | InputKind::Object => super::node::parse_value(text)?,
    };
    fits(&value, input.kind).then_some(value)
}
