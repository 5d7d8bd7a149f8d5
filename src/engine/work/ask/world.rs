//! The outside of an attempt: models through the broker, tools through the tool host, and all that must be durable
//! before it is used.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tracing::Instrument as _;

use crate::agent::turns::{Asked, Called, Tool, World};
use crate::domain::event::Usage;
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::domain::identity::digest_value;
use crate::domain::ids::Digest;
use crate::domain::payload::Payload;
use crate::domain::plan::{RepeatClass, StepKind};
use crate::engine::Ports;
use crate::engine::ladders::is_paid;
use crate::engine::paid::{Bought, PaidRequest};
use crate::engine::work::act::{call_tool, store, tool_failure};
use crate::engine::work::files::touched;
use crate::engine::work::private::kept_local;
use crate::engine::work::{Job, Recorder, Trial, shown};

use super::On;
use crate::model::{Reply, Request};
use crate::telemetry;
use crate::tool::{ToolCall, ToolError, ToolSpec};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The attempt itself.
    First,
    /// The second opinion: it changes nothing.
    Second,
}

/// The outside of one attempt.
#[derive(Debug)]
pub(super) struct EngineWorld<'a> {
    ports: &'a Ports,
    job: &'a Job,
    trial: &'a Trial,
    rung: &'a str,
    recorder: &'a Recorder,
    purpose: Purpose,
    /// Where the files that it writes wait for acceptance.
    staging: Option<&'a Path>,
    /// Who waits in the broker's line.
    asker: String,
    /// Keys of the calls that changed something, or that the second model proposed.
    effects: Mutex<Vec<String>>,
}

impl<'a> EngineWorld<'a> {
    pub(super) fn new(ports: &'a Ports, job: &'a Job, trial: &'a Trial, on: &On<'a>) -> Self {
        let On { rung, recorder, purpose, staging, .. } = *on;
        Self {
            ports,
            job,
            trial,
            rung,
            recorder,
            purpose,
            staging,
            asker: job.run.to_string(),
            effects: Mutex::default(),
        }
    }

    /// Keys of the calls that changed something; of a second opinion those that the first made as well.
    pub(super) fn effects(&self) -> Vec<String> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn had_effect(&self, key: &str) {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner).push(key.to_owned());
    }

    async fn asked(&self, request: Request) -> Asked {
        let digest = request_digest(self.rung, &request);
        if let Some(known) = self.trial.turns.iter().find(|turn| turn.request == digest) {
            match self.ports.blobs.read_value(&known.reply).map(serde_json::from_value::<Reply>) {
                Ok(Ok(reply)) => return Asked::Reply(Box::new(reply)),
                Ok(Err(error)) => tracing::warn!(%error, "a recorded reply cannot be read; the model is asked again"),
                Err(error) => tracing::warn!(%error, "a recorded reply cannot be read; the model is asked again"),
            }
        }
        let span = telemetry::chat_span(self.rung, &request.model);
        let (reply, cost_microdollars) = match self.answered(request).instrument(span.clone()).await {
            Bought::Reply(reply, cost) => (*reply, cost),
            Bought::Failed(error) => {
                tracing::info!(parent: &span, %error, "the model gave no reply");
                return Asked::Failed(error);
            }
            Bought::Refused(failure) => return Asked::Refused(failure),
        };
        telemetry::chat_usage(&span, reply.tokens.prompt, reply.tokens.reply);
        let usage = Usage {
            model: self.rung.to_owned(),
            input_tokens: reply.tokens.prompt,
            output_tokens: reply.tokens.reply,
            cost_microdollars,
        };
        let value = serde_json::to_value(&reply).expect("a reply is plain data");
        let kept = match store(self.ports, value).await {
            Ok(kept) => kept,
            Err(why) => return Asked::Gone(why),
        };
        match self.recorder.turn(digest, kept, usage).await {
            Ok(()) => Asked::Reply(Box::new(reply)),
            Err(_) => Asked::Gone("the attempt is not open any more".to_owned()),
        }
    }

    /// The answer of the rung's model, and its price.
    async fn answered(&self, request: Request) -> Bought {
        let Some(paid) = self.ports.paid.as_ref().filter(|_| is_paid(self.rung)) else {
            return match self.ports.models.ask_for(&self.asker, self.rung, request).await {
                Ok(reply) => Bought::Reply(Box::new(reply), 0),
                Err(error) => Bought::Failed(error),
            };
        };
        let step = self.job.definition();
        let task = match (&step.for_each, self.job.item_scope(self.ports)) {
            (Some(_), Ok((_, key))) => format!("{}[{key}]", step.id),
            _ => step.id.to_string(),
        };
        let agent = match &step.kind {
            StepKind::Agent { name, .. } => name.clone(),
            other => other.word().to_owned(),
        };
        let reason = self.trial.ladder.reason;
        let asked = PaidRequest { run: self.job.run, task, agent, reason, rung: self.rung.to_owned(), request };
        paid.buy(asked).await
    }

    async fn called(&self, tool: &Tool, arguments: &Map<String, Value>, nth: u32) -> Called {
        let spec = ToolSpec { input_schema: tool.offer.parameters.clone(), ..empty_spec(tool) };
        let files = spec.path_arguments();
        if let Err(failure) = touched(self.ports, &tool.server, arguments, &files) {
            return Called::Error(failure);
        }
        if is_paid(self.rung)
            && let Err(failure) = kept_local(self.ports, self.job, &tool.server, arguments, &files)
        {
            return Called::Error(failure);
        }
        let key = self.call_key(tool, arguments, nth);
        let call = ToolCall {
            server: tool.server.clone(),
            tool: tool.tool.clone(),
            arguments: arguments.clone(),
            call_key: key.clone(),
            timeout_ms: self.job.definition().timeout_ms,
            staging: self.staging.filter(|_| is_staged(tool)).map(Path::to_owned),
        };
        // A file that waits is no effect: it is gone with the attempt, so an attempt that goes on writes it again.
        if tool.repeat == RepeatClass::Read || call.staging.is_some() {
            return match self.twice_if_it_dies(&call).await {
                Ok(value) => Called::Value(value),
                Err(error) => ended(&error, tool),
            };
        }
        if self.purpose == Purpose::Second {
            return self.proposed(tool, &call);
        }
        self.effect(tool, &call, &key).await
    }

    /// A call of the second model that would change something is never made: the first model's equal one answers it.
    fn proposed(&self, tool: &Tool, call: &ToolCall) -> Called {
        // What an earlier attempt did, and this one did not, is no proposal of the first model.
        let of_this = self.trial.effects.contains(&call.call_key);
        let known = if of_this { self.recorded(&call.call_key) } else { None };
        if known.is_some() {
            self.had_effect(&call.call_key);
        }
        known.unwrap_or_else(|| {
            let arguments = shown(&Value::Object(call.arguments.clone()));
            let (name, rung) = (tool.full_name(), self.rung);
            let message = format!("the second model, {rung}, would call {name} {arguments}, and the first did not");
            Called::Failed(Failure::new(FailureKind::Disagreement, message))
        })
    }

    /// What a call that was made already came to.
    fn recorded(&self, key: &str) -> Option<Called> {
        let result = self.trial.calls.iter().find(|known| known.call == key)?.result.as_ref()?;
        Some(match self.ports.blobs.read_value(result) {
            Ok(value) => Called::Value(value),
            Err(error) => Called::Gone(format!("a recorded result cannot be read: {error}")),
        })
    }

    /// A call that changes something: its intent is durable before it, its result after it.
    async fn effect(&self, tool: &Tool, call: &ToolCall, key: &str) -> Called {
        if let Some(known) = self.recorded(key) {
            self.had_effect(key);
            return known;
        }
        let gone = || Called::Gone("the attempt is not open any more".to_owned());
        if self.recorder.call_started(key, &tool.full_name(), tool.repeat).await.is_err() {
            return gone();
        }
        let result = match tool.repeat {
            RepeatClass::Unsafe => call_tool(self.ports, call).await.map(|result| result.value),
            RepeatClass::Idempotent | RepeatClass::Read => self.twice_if_it_dies(call).await,
        };
        match result {
            Ok(value) => {
                let kept = match store(self.ports, value.clone()).await {
                    Ok(kept) => kept,
                    Err(why) => return Called::Gone(why),
                };
                self.had_effect(key);
                match self.recorder.call_ended(key, true, kept).await {
                    Ok(()) => Called::Value(value),
                    Err(_) => gone(),
                }
            }
            Err(error @ (ToolError::Died { .. } | ToolError::Timeout { .. })) if tool.repeat == RepeatClass::Unsafe => {
                let arguments = shown(&Value::Object(call.arguments.clone()));
                let what = format!("{} {arguments}: {error}", tool.full_name());
                Called::InDoubt { what, failure: tool_failure(&error) }
            }
            Err(error) => match self.recorder.call_ended(key, false, Payload::Inline(Value::Null)).await {
                Ok(()) => ended(&error, tool),
                Err(_) => gone(),
            },
        }
    }

    /// A call that may be repeated is made once more when its server dies in it.
    async fn twice_if_it_dies(&self, call: &ToolCall) -> Result<Value, ToolError> {
        match call_tool(self.ports, call).await {
            Err(ToolError::Died { .. }) => call_tool(self.ports, call).await,
            other => other,
        }
        .map(|result| result.value)
    }

    /// The same for each repetition of the same call, whichever attempt makes it; another one for each run and item.
    fn call_key(&self, tool: &Tool, arguments: &Map<String, Value>, nth: u32) -> String {
        let run = self.job.run.to_string();
        let parts = json!([run, self.job.step, self.job.item, tool.full_name(), arguments, nth]);
        digest_value(&parts).to_string()[..32].to_owned()
    }
}

impl World for EngineWorld<'_> {
    fn ask(&self, request: Request) -> BoxFuture<'_, Asked> {
        self.asked(request).boxed()
    }

    fn call<'a>(&'a self, tool: &'a Tool, arguments: &'a Map<String, Value>, nth: u32) -> BoxFuture<'a, Called> {
        self.called(tool, arguments, nth).boxed()
    }
}

/// Whether calls of a tool see and change files that wait for acceptance: those of our own `fs` server. No other server
/// may have its name.
pub(super) fn is_staged(tool: &Tool) -> bool {
    tool.server == "fs"
}

/// What an error of a tool means for the attempt: the model may look for another way, unless the server is gone or was
/// too slow. A server that is dead here has died in the same call before.
fn ended(error: &ToolError, tool: &Tool) -> Called {
    let failure = tool_failure(error).of_tool();
    match error {
        ToolError::Died { message, .. } => {
            let message = format!("the server `{}` died twice in this call of {}: {message}", tool.server, tool.tool);
            Called::Failed(Failure::new(FailureKind::DiesInIt, message).of_tool())
        }
        ToolError::Timeout { .. } => Called::Failed(failure),
        _ if failure.class() == FailureClass::Transient => Called::Failed(failure),
        _ => Called::Error(failure),
    }
}

/// What makes two requests the same: who is asked, and all that the model sees or is told; not how long we wait and how
/// much room there is.
fn request_digest(rung: &str, request: &Request) -> Digest {
    let mut value = serde_json::to_value(request).expect("a request is plain data");
    if let Some(map) = value.as_object_mut() {
        map.remove("limits");
        map.remove("context_tokens");
        // Two servers may have models of the same name.
        map.insert("model".to_owned(), json!(rung));
    }
    digest_value(&value)
}

fn empty_spec(tool: &Tool) -> ToolSpec {
    ToolSpec {
        name: tool.tool.clone(),
        description: String::new(),
        input_schema: Value::Null,
        output_schema: None,
        repeat: tool.repeat,
        output_version: String::new(),
    }
}
