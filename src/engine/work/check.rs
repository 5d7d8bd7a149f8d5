//! Judging outputs and steps by the plan's checks.

use std::sync::Arc;

use serde_json::Value;

use super::prepare::prepared_act;
use super::staged::{Staged, unless_changed};
use super::{Act, Job, Ready};
use crate::domain::failure::FailureKind;
use crate::domain::payload::Payload;
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::evidence;
use crate::os::staging::Overlay;

/// What the checks say of an output. `called`: tools whose calls succeeded in the attempt, beside the step's own; `None`:
/// the output was stored before.
pub(super) async fn check_output(
    ports: &Ports,
    job: &Job,
    ready: &Ready,
    output: &Value,
    called: Option<&[String]>,
    staged: Option<&Staged>,
) -> Verdict {
    let step = job.definition();
    let reused = called.is_none();
    if reused
        && let Some(schema) = &step.output_schema
        && let Err(message) = evidence::fits_schema(schema, output)
    {
        return Verdict { kind: Some(FailureKind::Schema), ..Verdict::rejecting(Judge::Checks, message) };
    }
    let scope = ready.scope.clone().with("output", Arc::new(output.clone()));
    let called = match &ready.act {
        Act::Call(call) => vec![format!("{}.{}", call.server, call.tool)],
        Act::Ask(_) => called.unwrap_or_default().to_vec(),
        Act::Evaluate | Act::Write { .. } => Vec::new(),
    };
    let written = match &ready.act {
        Act::Write { address, .. } if !reused => Some(address.as_str()),
        _ => None,
    };
    let overlay = match staged.and_then(|staged| staged.folder.as_ref()) {
        None => None,
        Some(folder) => match Overlay::open(&ports.workspace, folder) {
            Ok(overlay) => Some(overlay),
            Err(error) => {
                let why = format!("the files of the attempt cannot be looked at: {error}");
                return Verdict::rejecting(Judge::Checks, why);
            }
        },
    };
    let facts = evidence::Facts {
        overlay: overlay.as_ref(),
        changes: staged.map(|staged| &staged.manifest),
        ..facts(ports, &called, written)
    };
    evidence::check(&step.done_when, &scope, &facts).await
}

/// Judges the stored output of a task again: after a crash between its output and its verdict.
pub async fn judge(ports: &Ports, job: &Job, output: &Payload, staged: Option<&Payload>) -> Verdict {
    let rejected = |complaint: String| Verdict::rejecting(Judge::Checks, complaint);
    let value = match ports.blobs.read_value(output) {
        Ok(value) => value,
        Err(error) => return rejected(format!("the stored output cannot be read: {error}")),
    };
    let (scope, key) = match job.item_scope(ports) {
        Ok(found) => found,
        Err(error) => return rejected(error.to_string()),
    };
    let staged = match staged.map(|staged| Staged::recorded(ports, job, staged)).transpose() {
        Ok(staged) => staged,
        Err(why) => return rejected(why),
    };
    match prepared_act(ports, job, scope, &key).await {
        Ok(ready) => {
            let verdict = check_output(ports, job, &ready, &value, None, staged.as_ref()).await;
            unless_changed(ports, job, staged.as_ref(), verdict).await
        }
        Err(failure) => rejected(failure.message),
    }
}

/// Evaluates `all_done_when`.
pub async fn judge_step(ports: &Ports, job: &Job) -> Verdict {
    evidence::check(&job.definition().all_done_when, &job.scope, &facts(ports, &[], None)).await
}

fn facts<'a>(ports: &'a Ports, called: &'a [String], written: Option<&'a str>) -> evidence::Facts<'a> {
    evidence::Facts {
        workspace: &ports.workspace,
        granted: &ports.granted_paths,
        databases: ports.databases.as_ref(),
        overlay: None,
        changes: None,
        called,
        written,
    }
}
