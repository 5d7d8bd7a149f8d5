//! Acting: evaluating, calling, writing, and what an output or an error comes to.

use serde_json::Value;

use super::check::check_output;
use super::rows::write;
use super::{Act, Done, Job, Ready, Recorder, ask, blocking, expression_failure, not_stored, shown};
use crate::domain::command::AttemptEnd;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::payload::Payload;
use crate::domain::plan::StepKind;
use crate::engine::Ports;
use crate::evidence;
use crate::plan_file::expr;
use crate::tool::{ToolCall, ToolError};

/// Carries out a prepared task.
///
/// # Errors
/// What no task can help: the output cannot be stored. The attempt stays open, its outcome unknown.
pub async fn execute(ports: &Ports, job: &Job, ready: &Ready, recorder: &Recorder) -> Result<Done, String> {
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
        Act::Ask(asking) => return ask::attempt(ports, job, ready, asking, recorder).await,
    };
    match output {
        Err(end) => Ok(Done { end, verdict: None }),
        Ok(output) => accept_output(ports, job, ready, output).await,
    }
}

pub(super) async fn call_tool(ports: &Ports, call: &ToolCall) -> Result<crate::tool::ToolResult, ToolError> {
    use tracing::Instrument as _;
    let span = crate::telemetry::tool_span(&call.server, &call.tool, &call.call_key);
    let result = ports.tools.call(call).instrument(span.clone()).await;
    if let Err(error) = &result {
        tracing::info!(parent: &span, %error, "the call gave no result");
    }
    result
}

async fn accept_output(ports: &Ports, job: &Job, ready: &Ready, output: Value) -> Result<Done, String> {
    if let Some(schema) = &job.definition().output_schema
        && let Err(message) = evidence::fits_schema(schema, &output)
    {
        return Ok(Done { end: AttemptEnd::Failed(Failure::new(FailureKind::Schema, message)), verdict: None });
    }
    let verdict = check_output(ports, job, ready, &output, Some(&[]), None).await;
    let payload = store(ports, output).await?;
    Ok(Done { end: AttemptEnd::Output(payload), verdict: Some(verdict) })
}

/// Keeps a value where it is durable before an event names it.
pub(super) async fn store(ports: &Ports, value: Value) -> Result<Payload, String> {
    match Payload::inline(value) {
        Ok(payload) => Ok(payload),
        Err(value) => {
            let blobs = ports.blobs.clone();
            let stored = blocking(move || blobs.put_value(&value)).await;
            stored.map_err(|error| not_stored("the output", &error))
        }
    }
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
        ToolError::NotStarted { .. } => {
            let message = error.to_string();
            match message.split_once("; hint: ") {
                Some((what, hint)) => Failure::new(FailureKind::Unreachable, what).hint(hint),
                None => Failure::new(FailureKind::Unreachable, message),
            }
        }
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
