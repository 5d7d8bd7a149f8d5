//! Probes: some twenty small tasks with known answers, asked of the user's own models the way that runs ask, with the
//! same prompts, the same reading of calls, the same binding to a schema and the same checks.
//!
//! What it does not do: decide for anybody. It says what it saw, keeps it, and shows the ladder that would follow.

pub mod case;
pub mod judge;
pub mod outcome;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::Actor as _;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::case::{Case, Cases};
use self::outcome::{CaseResult, Changes, ProbeRecord};
use self::world::{ProbeWorld, Seen};
use super::models::records::{Records, RecordsError};
use super::{SystemClock, now_ms};
use crate::agent::echo::echo;
use crate::agent::turns::setup::{CONTEXT_TOKENS_DEFAULT, model_failure};
use crate::agent::turns::{self, Defaults, Ended, Limits, Setup};
use crate::config::Home;
use crate::domain::failure::{Failure, FailureClass, FailureKind};
use crate::engine::Models as _;
use crate::engine::broker::{Broker, BrokerArguments, Door};
use crate::evidence;
use crate::model::{ModelInfo, ModelServers, TimeLimits};

/// Replies of one case.
const TURNS_MAX: u32 = 6;
/// Calls of one case.
const CALLS_MAX: u32 = 8;
/// Tokens of one reply: enough for the longest right answer, several times over.
const REPLY_TOKENS_MAX: u32 = 512;
/// The same of a model that may reason first, though it is asked not to.
const REASONING_TOKENS_MAX: u32 = 2_048;
/// The window that every case is asked with, where the model has one that large.
const CONTEXT_TOKENS: u32 = 8_192;
/// Wait for the first part of an answer: the first case waits for the model to load.
const FIRST_TOKEN_MS: u64 = 300_000;
/// Silence in the middle of an answer.
const IDLE_MS: u64 = 60_000;
/// One whole reply.
const WHOLE_MS: u64 = 180_000;
/// How long a server may take to show that it is still there.
const ALIVE_LIMIT: Duration = Duration::from_secs(3);
/// Longest message that is kept of a case.
const MESSAGE_CHARS_MAX: usize = 300;

/// One model to probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its server.
    pub server: String,
    /// What the server knows of it.
    pub info: ModelInfo,
    /// The server is asked to bind answers to schemas.
    pub binds_schema: bool,
}

impl Target {
    /// `SERVER:MODEL`.
    #[must_use]
    pub fn rung(&self) -> String {
        format!("{}:{}", self.server, self.info.name)
    }
}

/// What is told while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A model is about to be asked.
    Begins(&'a Target),
    /// A case has ended.
    Case(&'a Target, &'a Case, &'a CaseResult),
    /// A model is done with.
    Ends(&'a Probed),
    /// Something that is worth knowing, and no more.
    Note(&'a str),
}

/// A model that was probed, as far as it went.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Which.
    pub target: Target,
    /// What it did.
    pub record: ProbeRecord,
    /// What is different from its last probe with the same weights.
    pub changes: Option<Changes>,
}

/// How a case ended, for the model.
enum Answered {
    Result(CaseResult),
    /// Its server or the model on it does not answer.
    Away(String),
    Stopped,
}

/// Asks every target every case, one after the other, and keeps what was asked. Stopped, it keeps what it has.
///
/// # Errors
/// The broker cannot be started.
pub async fn probe(
    home: &Home,
    servers: &ModelServers,
    targets: &[Target],
    workspace: &Path,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Vec<Probed>, String> {
    let cases = Cases::shipped();
    let door = Door::default();
    let arguments = BrokerArguments { door: door.clone(), servers: servers.clone(), clock: Arc::new(SystemClock) };
    let (broker, ended) = Broker::spawn(None, Broker, arguments).await.map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    let mut away = BTreeSet::new();
    for target in targets {
        if stop.is_cancelled() {
            break;
        }
        tell(Told::Begins(target));
        let mut record = ProbeRecord { of: cases.cases.len() as u32, ..ProbeRecord::default() };
        if away.contains(&target.server) {
            record.cut = Some("its server went away before".to_owned());
        } else {
            let asking = Asking { cases: &cases, door: &door, servers, target, workspace };
            record.cut = asking.all(&mut record, stop, tell).await;
            if record.cut.is_some() && !stop.is_cancelled() && !asking.is_alive().await {
                away.insert(target.server.clone());
            }
        }
        record.at_ms = now_ms();
        let probed = keep(home, servers, target, record, tell);
        tell(Told::Ends(&probed));
        all.push(probed);
    }
    let digests = targets.iter().map(|target| (target.rung(), target.info.digest.clone())).collect();
    if let Err(error) = Records::keep_speeds(home, servers, &digests, &door.samples(), now_ms()) {
        tell(Told::Note(&error.to_string()));
    }
    broker.stop(None);
    // Nothing is in flight that anybody waits for.
    let _ = ended.await;
    Ok(all)
}

/// Puts a probe on record; one that asked nothing is not.
fn keep(
    home: &Home,
    servers: &ModelServers,
    target: &Target,
    record: ProbeRecord,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Probed {
    let mut probed = Probed { target: target.clone(), record, changes: None };
    let Some(server) = servers.0.get(&target.server).filter(|_| !probed.record.cases.is_empty()) else { return probed };
    let mut before = None;
    let kept: Result<_, RecordsError> = Records::change(home, |records| {
        let (address, info) = (server.address(), &target.info);
        let kept = records.of_mut(address, &info.name, &info.digest, probed.record.at_ms);
        before = kept.probe().cloned();
        kept.add_probe(probed.record.clone());
    });
    match kept {
        Ok(None) => {}
        Ok(Some(aside)) => tell(Told::Note(&format!(
            "what was known of models could not be read; it lies in `{}` now",
            aside.display()
        ))),
        Err(error) => tell(Told::Note(&format!("the results are not kept: {error}"))),
    }
    probed.changes = before.map(|before| probed.record.since(&before));
    probed
}

struct Asking<'a> {
    cases: &'a Cases,
    door: &'a Door,
    servers: &'a ModelServers,
    target: &'a Target,
    workspace: &'a Path,
}

impl Asking<'_> {
    /// Asks all cases; why not all were asked.
    async fn all(
        &self,
        record: &mut ProbeRecord,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(Told<'_>) + Send),
    ) -> Option<String> {
        for case in &self.cases.cases {
            match self.twice_if_away(case, stop).await {
                Answered::Result(result) => {
                    tell(Told::Case(self.target, case, &result));
                    record.cases.insert(case.id.clone(), result);
                }
                Answered::Away(why) => return Some(why),
                Answered::Stopped => return Some("stopped".to_owned()),
            }
        }
        None
    }

    /// What may pass by itself is asked once more, where the server is there.
    async fn twice_if_away(&self, case: &Case, stop: &CancellationToken) -> Answered {
        match self.one(case, stop, false).await {
            Answered::Away(_) if self.is_alive().await => self.one(case, stop, true).await,
            other => other,
        }
    }

    async fn is_alive(&self) -> bool {
        let Some(server) = self.servers.0.get(&self.target.server) else { return false };
        matches!(tokio::time::timeout(ALIVE_LIMIT, server.models()).await, Ok(Ok(_)))
    }

    /// Asks once; `again`: what a model does twice is its result.
    async fn one(&self, case: &Case, stop: &CancellationToken, again: bool) -> Answered {
        let rung = self.target.rung();
        let begun = Instant::now();
        let attempt = async {
            let info = match self.door.info(&rung).await {
                Ok(info) => info,
                Err(error) => return (Err(model_failure(&error)), Seen::default()),
            };
            let window = info.context_tokens_max.unwrap_or(CONTEXT_TOKENS_DEFAULT).min(CONTEXT_TOKENS);
            let world = ProbeWorld::new(self.door, &rung, self.cases, window);
            let judged = self.attempt(case, &info, &world).await;
            (judged, world.seen())
        };
        let (judged, seen) = tokio::select! {
            biased;
            () = stop.cancelled() => return Answered::Stopped,
            found = attempt => found,
        };
        let failure = judged.err();
        if let Some(failure) = &failure
            && failure.class() != FailureClass::Wrong
            && failure.kind != FailureKind::ContextTooSmall
            && !(again && failure.kind == FailureKind::Silent)
        {
            return Answered::Away(failure.message.clone());
        }
        let message = failure.as_ref().map_or("", |failure| failure.message.as_str());
        Answered::Result(CaseResult {
            group: case.group.clone(),
            case: case.digest.clone(),
            failure: failure.as_ref().map(|failure| failure.kind),
            message: crate::report::text::bounded(message, MESSAGE_CHARS_MAX),
            ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            replies: seen.replies,
            reply_tokens: seen.reply_tokens,
            writing_ms: seen.writing_ms,
        })
    }

    /// One attempt, as a run makes it.
    async fn attempt(&self, case: &Case, info: &ModelInfo, world: &ProbeWorld<'_>) -> Result<(), Failure> {
        let tools = self.cases.tools_of(case);
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fits = |value: &Value| match &case.schema {
            Some(schema) => evidence::fits_schema(schema, value).and_then(|()| echo(schema, value).map_or(Ok(()), Err)),
            None => Ok(()),
        };
        let grounds = [Value::Object(case.inputs.clone())];
        let is_terse = info.thinking == Some(false);
        let reply_tokens_max = if is_terse { REPLY_TOKENS_MAX } else { REASONING_TOKENS_MAX };
        let setup = Setup {
            spec: &self.cases.agent,
            model: &info.name,
            info,
            workspace: self.workspace,
            task: &case.task,
            inputs: case.inputs.iter().map(|(name, value)| (name.clone(), as_text(value))).collect(),
            results: Vec::new(),
            is_taken: &|_| false,
            grounds: &grounds,
            tools: &tools,
            schema: case.schema.as_ref(),
            fits: &fits,
            binds_schema: self.target.binds_schema,
            checks: Vec::new(),
            complaints: &[],
            temperature: self.cases.agent.temperature,
            defaults: &Defaults::default(),
            limits: Limits {
                turns_max: TURNS_MAX,
                calls_max: CALLS_MAX,
                reply_tokens_max,
                tokens_max: reply_tokens_max * 3,
                time: TimeLimits { first_token_ms: FIRST_TOKEN_MS, idle_ms: IDLE_MS, whole_ms: WHOLE_MS },
            },
        };
        match turns::run(&setup, world).await {
            Ended::Output { value, .. } => {
                judge::judge(self.cases, case, &value, &world.seen().made, self.workspace).await
            }
            Ended::Failed(failure) => Err(failure),
            Ended::InDoubt { failure, .. } => Err(failure),
            Ended::Gone(why) => Err(Failure::new(FailureKind::Unreachable, why)),
        }
    }
}
