//! Opening a step: its condition, its items, and that no two of them share a key.

use std::sync::Arc;

use serde_json::Value;

use super::{ITEMS_MAX, Job, Opened, blocking, default_key, expression_failure, key_text, not_stored, shown};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::digest_value;
use crate::domain::payload::Items;
use crate::domain::plan::{ForEach, StepKind};
use crate::engine::Ports;
use crate::journal::lines::LinesWriter;
use crate::plan_file::expr::{self, ExprError};

/// Works out a step's condition and items.
///
/// # Errors
/// What no step can help: the list cannot be stored.
pub async fn open_step(ports: &Ports, job: &Job) -> Result<Opened, String> {
    let opened = match opening(job) {
        Opening::Known(opened) => opened,
        Opening::List(items) => store_list(ports, job, items).await?,
    };
    let Opened::Items(items, _) = opened else { return Ok(opened) };
    let step = job.definition();
    let card = if let StepKind::Agent { name, .. } = &step.kind { ports.agents.get(name) } else { None };
    Ok(match ports.ladders.of(&job.plan, step, card) {
        Ok(ladder) => Opened::Items(items, Box::new(ladder)),
        Err(failure) => Opened::Fault(failure),
    })
}

/// Writes the list as a blob and sees that no two items share a key.
async fn store_list(ports: &Ports, job: &Job, items: Vec<Value>) -> Result<Opened, String> {
    let (blobs, job) = (ports.blobs.clone(), job.clone());
    blocking(move || {
        if let Err(failure) = distinct_keys(&job, &items) {
            return Ok(Opened::Fault(failure));
        }
        let stored = LinesWriter::new(&blobs).and_then(|mut lines| {
            items.iter().try_for_each(|item| lines.push(item))?;
            lines.finish()
        });
        stored.map(known).map_err(|error| not_stored("the list", &error))
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

/// Items whose ladder is still to be found.
fn known(items: Items) -> Opened {
    Opened::Items(items, Box::default())
}

enum Opening {
    Known(Opened),
    /// Still to be stored.
    List(Vec<Value>),
}

fn opening(job: &Job) -> Opening {
    let step = job.definition();
    let fault = |error: &ExprError| Opening::Known(Opened::Fault(expression_failure(error)));
    let refused = |kind, message| Opening::Known(Opened::Fault(Failure::new(kind, message)));
    if let Some(condition) = &step.condition {
        match expr::judge(condition, &job.scope) {
            Ok(judged) if judged.holds => {}
            Ok(judged) => return Opening::Known(Opened::Skip(judged.evidence)),
            Err(error) => return fault(&error),
        }
    }
    match &step.for_each {
        None => Opening::Known(known(Items::One)),
        Some(ForEach::Items(source)) => {
            let from = job.plan.index_of(source).expect("a checked plan names steps that are there");
            Opening::Known(known(Items::Flow { from }))
        }
        Some(ForEach::Range(template)) => match expr::render(template, &job.scope) {
            Ok(value) => match value.as_u64().and_then(|len| u32::try_from(len).ok()) {
                Some(len) if len as usize <= ITEMS_MAX => Opening::Known(known(Items::Range { len })),
                _ => refused(
                    FailureKind::BadInput,
                    format!("`range` needs a whole number from 0 to {ITEMS_MAX}, found {}", shown(&value)),
                ),
            },
            Err(error) => fault(&error),
        },
        Some(ForEach::List(template)) => match expr::render(template, &job.scope) {
            Ok(Value::Array(items)) if items.len() > ITEMS_MAX => {
                refused(FailureKind::TooLarge, format!("a list of {} items is longer than {ITEMS_MAX}", items.len()))
            }
            Ok(Value::Array(items)) => Opening::List(items),
            Ok(other) => refused(FailureKind::BadInput, format!("`for_each` needs a list, found {}", shown(&other))),
            Err(error) => fault(&error),
        },
    }
}
