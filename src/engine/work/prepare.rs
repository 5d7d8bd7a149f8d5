//! Preparing a task: its arguments, its identity, and whether an earlier run has its output.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::act::tool_failure;
use super::ask::{Asking, offered};
use super::check::check_output;
use super::files::{file_contents, relative_paths, touched};
use super::rows::{known_arguments, write_job};
use super::staged::Staged;
use super::{Act, Job, Prepared, Ready, expression_failure};
use crate::agent::prompt::check_in_words;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::{Ingredients, digest_value, identity};
use crate::domain::ids::Digest;
use crate::domain::plan::{RepeatClass, Step, StepKind};
use crate::engine::values::Scope;
use crate::engine::{AgentCard, Ports};
use crate::plan_file::expr::{self, ExprError};
use crate::tool::{ToolCall, ToolError, ToolSpec};

/// Evaluates a task's arguments, works out its identity, and looks for an earlier output.
pub async fn prepare(ports: &Ports, job: &Job) -> Prepared {
    let (scope, key) = match job.item_scope(ports) {
        Ok(found) => found,
        Err(error) => {
            return Prepared::Fault { key: format!("item {}", job.item + 1), failure: expression_failure(&error) };
        }
    };
    if let StepKind::Agent { with, prompt: None, .. } = &job.definition().kind
        && let Err(failure) = known_arguments(with)
    {
        return Prepared::Fault { key, failure };
    }
    let ready = match prepared_act(ports, job, scope, &key).await {
        Ok(ready) => ready,
        Err(failure) => return Prepared::Fault { key, failure },
    };
    match reusable(ports, job, &ready).await {
        Some(reuse) => reuse,
        None => Prepared::Attempt(Box::new(ready)),
    }
}

pub(super) async fn prepared_act(ports: &Ports, job: &Job, scope: Scope, key: &str) -> Result<Ready, Failure> {
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
            touched(ports, &server, &with, &files)?;
            let contents = file_contents(ports, &scope, job, &with, &files).await;
            let of_identity = Value::Object(relative_paths(ports, &with, &files));
            let identity = identity(&Ingredients {
                kind: kind_of(job, "tool"),
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
                staging: None,
            };
            Ok(Ready {
                key: key.to_owned(),
                identity: Some(identity),
                repeat: step.repeat.unwrap_or(spec.repeat),
                act: Act::Call(call),
                scope,
            })
        }
        StepKind::Agent { name, with, prompt } => {
            let with = render_object(with, &scope).map_err(failed)?;
            let card = ports
                .agents
                .get(name)
                .ok_or_else(|| Failure::new(FailureKind::BadInput, format!("no agent is called `{name}`")))?;
            if let Some(prompt) = prompt {
                return asking(ports, job, scope, key, card, prompt, with).await;
            }
            // Rows belong to their item: two items with equal rows (none, say) are two writes, not one.
            let of_identity = json!({ "with": with, "item": key });
            let identity = identity(&Ingredients {
                kind: kind_of(job, "agent"),
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

/// A step that asks a model: its prompt, its tools, and the schema of its answer.
async fn asking(
    ports: &Ports,
    job: &Job,
    scope: Scope,
    key: &str,
    card: &AgentCard,
    prompt: &str,
    with: Map<String, Value>,
) -> Result<Ready, Failure> {
    let step = job.definition();
    let rendered =
        expr::render(&Value::String(prompt.to_owned()), &scope).map_err(|error| expression_failure(&error))?;
    let task = match rendered {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let schema = step.output_schema.clone().or_else(|| card.spec.output_schema.clone());
    let tools = offered(ports, step, &card.spec).await?;
    let contents = file_contents(ports, &scope, job, &with, &step.files).await;
    let mut of_identity = json!({
        "with": relative_paths(ports, &with, &step.files), "prompt": task, "tools": step.tools,
    });
    // What one model said is not what two agreed on.
    if let Some(agree) = &step.agree {
        of_identity["agree"] = json!(agree);
    }
    let identity = identity(&Ingredients {
        kind: kind_of(job, "agent"),
        name: &card.spec.name,
        output_version: &card.output_version,
        text: &card.text,
        with: &of_identity,
        output_schema: schema.as_ref(),
        files: &contents,
    });
    let path = |template: &str| match expr::render(&Value::String(template.to_owned()), &scope) {
        Ok(Value::String(path)) => path,
        // The check itself fails with the reason.
        _ => template.to_owned(),
    };
    let checks = step.done_when.iter().filter_map(|check| check_in_words(check, path)).collect();
    let asking = Asking { spec: card.spec.clone(), task, with, tools, schema, checks };
    Ok(Ready {
        key: key.to_owned(),
        identity: Some(identity),
        // Its intent is durable first, so that no reply is ever lost; in itself it changes nothing.
        repeat: RepeatClass::Idempotent,
        act: Act::Ask(Box::new(asking)),
        scope,
    })
}

/// Kind of an identity. What a run with a fake Claude made, or wrote after one, is never what another run would make.
const fn kind_of(job: &Job, kind: &'static str) -> &'static str {
    if job.fake { "fake" } else { kind }
}

/// The key of a call: the same for each repetition, another one for each run and item. Never the attempt's number.
pub(super) fn call_key(job: &Job, identity: &Digest) -> String {
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
    let staged = match &found.staged {
        None => None,
        Some(staged) => {
            let staged = Staged { folder: None, ..Staged::recorded(ports, job, staged).ok()? };
            // Files that are not there any more, or not as they were left, are made again.
            if !staged.stands(ports).await {
                return None;
            }
            Some(staged)
        }
    };
    let verdict = check_output(ports, job, ready, &output, None, staged.as_ref()).await;
    verdict.accepted.then(|| Prepared::Reuse {
        key: ready.key.clone(),
        identity,
        output: found.output,
        from: found.run,
        verdict,
    })
}
