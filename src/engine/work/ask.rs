//! Steps that ask models: what such an attempt is begun with, how it ends, and the second opinion on its output.

mod offers;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::act::store;
use super::check::check_output;
use super::staged::{self, Staged, unless_changed};
use super::{Act, Complaint, Done, Job, Ready, Recorder, Trial, blocking};
use crate::agent::AgentSpec;
use crate::agent::agreement;
use crate::agent::echo::echo;
use crate::agent::turns::setup::model_failure;
use crate::agent::turns::{self, Ended, Limits, Setup, Tool};
use crate::domain::command::AttemptEnd;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::TaskId;
use crate::domain::ladder::Rung;
use crate::domain::payload::Payload;
use crate::domain::plan::{RepeatClass, Step};
use crate::domain::verdict::{Judge, Verdict};
use crate::engine::Ports;
use crate::engine::ladders::is_paid;
use crate::evidence;
use crate::model::TimeLimits;

pub(super) use offers::offered;
use world::{EngineWorld, Purpose, is_staged};

/// Replies of one attempt where the agent says nothing.
const TURNS_MAX: u32 = 12;
/// Calls of one attempt.
const CALLS_MAX: u32 = 100;
/// Tokens of one reply where the agent says nothing.
const REPLY_TOKENS_MAX: u32 = 2_048;
/// Wait for the first part of an answer: queue, load and reading of the prompt.
const FIRST_TOKEN_MS: u64 = 300_000;
/// Silence in the middle of an answer.
const IDLE_MS: u64 = 60_000;
/// Longest value that the prompt shows of one input, in characters.
const INPUT_CHARS_MAX: usize = 48_000;

/// What an attempt that asks a model does, whoever is asked.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) spec: Arc<AgentSpec>,
    /// The rendered prompt.
    pub(super) task: String,
    /// The rendered arguments.
    pub(super) with: Map<String, Value>,
    pub(super) tools: Vec<Tool>,
    pub(super) schema: Option<Value>,
    /// The checks that are told, in words.
    pub(super) checks: Vec<String>,
}

impl Asking {
    /// Whether it is offered tools of ours that change files.
    fn writes_files(&self) -> bool {
        self.tools.iter().any(|tool| is_staged(tool) && tool.repeat != RepeatClass::Read)
    }
}

/// Carries out one attempt on its rung.
///
/// # Errors
/// What no task can help: something cannot be stored.
pub(super) async fn attempt(
    ports: &Ports,
    job: &Job,
    ready: &Ready,
    asking: &Asking,
    recorder: &Recorder,
) -> Result<Done, String> {
    let trial = job.trial.as_deref().expect("a step that asks models has a ladder");
    let (Rung::Local(rung) | Rung::Paid(rung)) = &trial.rung else {
        let failure = Failure::new(FailureKind::BadInput, "the step's ladder is empty");
        return Ok(Done { end: AttemptEnd::Failed(failure), verdict: None });
    };
    let folder = match asking.writes_files() {
        true => Some(opened(ports, job, staged::folder_of(ports, job)).await?),
        false => None,
    };
    let purpose = Purpose::First;
    let on = On { rung, complaints: &trial.complaints, recorder, purpose, staging: folder.as_deref() };
    let (ended, effects) = on_rung(ports, job, asking, trial, &on).await;
    let failed = |end| Ok(Done { end, verdict: None });
    match ended {
        Ended::Failed(failure) => failed(AttemptEnd::Failed(failure)),
        Ended::InDoubt { what, failure } => failed(AttemptEnd::Unknown { what, failure: Some(failure) }),
        Ended::Gone(why) => {
            tracing::debug!(why, "the attempt is given up");
            failed(AttemptEnd::Unknown { what: "the attempt was given up".to_owned(), failure: None })
        }
        Ended::Output { value, claimed, called } => {
            let staged = match &folder {
                Some(folder) => Staged::seal(folder).await?,
                None => None,
            };
            let output = store(ports, value.clone()).await?;
            let kept = match &staged {
                Some(staged) => Some(staged.stored(ports).await?),
                None => None,
            };
            let verdict = check_output(ports, job, ready, &value, Some(&called), staged.as_ref()).await;
            let verdict = unless_changed(ports, job, staged.as_ref(), verdict).await;
            let claimed = (!claimed.is_empty()).then_some(claimed);
            Ok(Done { end: AttemptEnd::Made { output, claimed, staged: kept, effects }, verdict: Some(verdict) })
        }
    }
}

/// Asks a second model for the output that passed its checks, and compares.
///
/// # Errors
/// What no task can help: something cannot be stored or read.
pub async fn second(
    ports: &Ports,
    job: &Job,
    output: &Payload,
    staged: Option<&Payload>,
    recorder: &Recorder,
) -> Result<Verdict, String> {
    let trial = job.trial.as_deref().expect("a step that asks models has a ladder");
    let rejected = |kind, why: String| Verdict { kind: Some(kind), ..Verdict::rejecting(Judge::Agreement, why) };
    let first = ports.blobs.read_value(output).map_err(|error| format!("cannot read the output: {error}"))?;
    let (scope, key) = match job.item_scope(ports) {
        Ok(found) => found,
        Err(error) => return Ok(rejected(FailureKind::BadInput, error.to_string())),
    };
    let ready = match super::prepare::prepared_act(ports, job, scope, &key).await {
        Ok(ready) => ready,
        Err(failure) => return Ok(rejected(failure.kind, failure.message)),
    };
    let Act::Ask(asking) = &ready.act else {
        return Ok(rejected(FailureKind::BadInput, "nobody was asked".to_owned()));
    };
    let Rung::Local(now) = &trial.rung else {
        let evidence = "a paid answer is compared with no other; its checks hold".to_owned();
        return Ok(Verdict::accepting(Judge::Agreement, vec![evidence]));
    };
    let Some(rung) = second_rung(ports, job, trial, now) else {
        return Ok(rejected(FailureKind::BadInput, format!("no second model stands beside `{now}` in the ladder")));
    };
    // The second model knows nothing of the first one's answer, nor of complaints about others.
    let task = TaskId::new(job.step, job.item);
    let folder = match asking.writes_files() {
        true => Some(opened(ports, job, ports.staging.second(job.run, task, trial.attempt)).await?),
        false => None,
    };
    let on = On { rung: &rung, complaints: &[], recorder, purpose: Purpose::Second, staging: folder.as_deref() };
    let (ended, proposed) = on_rung(ports, job, asking, trial, &on).await;
    let value = match ended {
        Ended::Output { value, .. } => value,
        Ended::Failed(failure) if failure.kind == FailureKind::Disagreement => {
            return Ok(rejected(failure.kind, failure.message));
        }
        Ended::Failed(failure) => {
            let kind = if failure.class() == crate::domain::failure::FailureClass::Wrong {
                FailureKind::Disagreement
            } else {
                failure.kind
            };
            return Ok(rejected(kind, format!("the second model, {rung}, gave no answer: {}", failure.message)));
        }
        Ended::InDoubt { what, .. } => return Ok(rejected(FailureKind::Disagreement, what)),
        Ended::Gone(why) => return Ok(rejected(FailureKind::Silent, why)),
    };
    if let Some(call) =
        trial.calls.iter().find(|call| trial.effects.contains(&call.call) && !proposed.contains(&call.call))
    {
        let why = format!("{now} made a call of {} that {rung} did not propose", call.tool);
        return Ok(rejected(FailureKind::Disagreement, why));
    }
    let found = agreement::differences(asking.schema.as_ref(), &first, &value);
    if found.is_empty() {
        // Files are compared as both would leave them; the second model's are never put in place.
        let first = staged.map(|staged| Staged::recorded(ports, job, staged)).transpose()?;
        let other = match &folder {
            Some(folder) => Staged::seal(folder).await?,
            None => None,
        };
        let differ = Staged::differences(first.as_ref(), other.as_ref());
        if !differ.is_empty() {
            let named: Vec<String> = differ.iter().take(5).map(|path| format!("`{path}`")).collect();
            let why = format!("{now} and {rung} would leave other files: {}", named.join(", "));
            return Ok(rejected(FailureKind::Disagreement, why));
        }
        let evidence = format!("two models agree: {now} and {rung}");
        let verdict = Verdict::accepting(Judge::Agreement, vec![evidence]);
        return Ok(unless_changed(ports, job, first.as_ref(), verdict).await);
    }
    let why = format!("{} ({now} or {rung})", agreement::complaint(&found, true));
    // The paid rung is shown both.
    let answers = vec![(now.clone(), output.clone()), (rung.clone(), store(ports, value).await?)];
    Ok(Verdict { answers, ..rejected(FailureKind::Disagreement, why) })
}

/// Who is asked for the second answer: the one that the plan names; else one of another family, best one that has not
/// tried yet: of two that differed, a third one finds out which is right.
fn second_rung(ports: &Ports, job: &Job, trial: &Trial, now: &str) -> Option<String> {
    let named = job.definition().agree.as_ref().and_then(|agree| agree.with.as_deref());
    if let Some(named) = named.filter(|named| *named != now) {
        return Some(named.to_owned());
    }
    let family = ports.ladders.family(now);
    let others = trial.ladder.seconds.iter().filter(|rung| rung.as_str() != now);
    let rank = |rung: &&String| (ports.ladders.family(rung) == family, trial.tried.contains(rung));
    others.min_by_key(rank).cloned()
}

/// An attempt's staging folder, made and empty.
async fn opened(ports: &Ports, job: &Job, folder: PathBuf) -> Result<PathBuf, String> {
    let (staging, run) = (ports.staging.clone(), job.run);
    let made = blocking(move || staging.open(run, &folder).map(|()| folder)).await;
    made.map_err(|error| format!("cannot make a folder for the files of an attempt: {error}"))
}

/// How a model is asked.
struct On<'a> {
    rung: &'a str,
    complaints: &'a [Complaint],
    recorder: &'a Recorder,
    purpose: Purpose,
    /// Where the files that it writes wait.
    staging: Option<&'a Path>,
}

/// How the attempt ended, and the keys of its calls that changed something.
async fn on_rung(ports: &Ports, job: &Job, asking: &Asking, trial: &Trial, on: &On<'_>) -> (Ended, Vec<String>) {
    let On { rung, complaints, .. } = *on;
    let paid = ports.paid.as_ref().filter(|_| is_paid(rung));
    let found = match paid {
        Some(paid) => Ok(paid.info(rung)),
        None => ports.models.info(rung).await,
    };
    let info = match found {
        Ok(info) => info,
        Err(error) => return (Ended::Failed(model_failure(&error)), Vec::new()),
    };
    let step = job.definition();
    let model = crate::model::split_rung(rung).map_or(rung, |(_, model)| model);
    let fits = |value: &Value| match &asking.schema {
        Some(schema) => evidence::fits_schema(schema, value).and_then(|()| echo(schema, value).map_or(Ok(()), Err)),
        None => Ok(()),
    };
    let is_free = |rung: &str| ports.ladders.free_servers.contains(rung.split(':').next().unwrap_or_default());
    let is_bound = !is_free(rung) && asking.schema.is_some() && asking.tools.is_empty();
    // That a free answer had not the form says nothing to a model that can give no other, and leads a small one astray.
    let is_moot = |complaint: &&Complaint| is_bound && complaint.formless.as_deref().is_some_and(is_free);
    let complaints: Vec<String> =
        complaints.iter().filter(|complaint| !is_moot(complaint)).map(|complaint| complaint.text.clone()).collect();
    let is_taken = |path: &str| ports.workspace.join(path).symlink_metadata().is_ok();
    let grounds = [Value::Object(asking.with.clone())];
    let setup = Setup {
        spec: &asking.spec,
        model,
        info: &info,
        workspace: &ports.workspace,
        task: &asking.task,
        inputs: asking.with.iter().map(|(name, value)| (name.clone(), as_text(value))).collect(),
        results: if paid.is_some() { answers(ports, trial) } else { Vec::new() },
        is_taken: &is_taken,
        grounds: &grounds,
        tools: &asking.tools,
        schema: asking.schema.as_ref(),
        fits: &fits,
        binds_schema: !is_free(rung),
        checks: asking.checks.clone(),
        complaints: &complaints,
        temperature: asking.spec.temperature,
        limits: limits(step, &asking.spec),
    };
    let world = EngineWorld::new(ports, job, trial, on);
    let ended = turns::run(&setup, &world).await;
    (ended, world.effects())
}

/// What models answered that did not agree, for the one that decides between them.
fn answers(ports: &Ports, trial: &Trial) -> Vec<(String, String)> {
    let read = |(rung, answer): &(String, Payload)| match ports.blobs.read_value(answer) {
        Ok(value) => Some((format!("answer of {rung}, not agreed"), as_text(&value))),
        Err(error) => {
            tracing::warn!(%error, rung, "an answer that was not agreed cannot be read");
            None
        }
    };
    trial.answers.iter().filter_map(read).collect()
}

fn limits(step: &Step, spec: &AgentSpec) -> Limits {
    let reply_tokens_max = spec.tokens_max.unwrap_or(REPLY_TOKENS_MAX);
    let turns_max = spec.turns_max.unwrap_or(TURNS_MAX).max(1);
    Limits {
        turns_max,
        calls_max: CALLS_MAX,
        reply_tokens_max,
        tokens_max: reply_tokens_max.saturating_mul(turns_max),
        time: TimeLimits {
            first_token_ms: FIRST_TOKEN_MS.min(step.timeout_ms),
            idle_ms: step.idle_timeout_ms.unwrap_or(IDLE_MS).min(step.timeout_ms),
            whole_ms: step.timeout_ms,
        },
    }
}

fn as_text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= INPUT_CHARS_MAX {
        return text;
    }
    let (kept, _) = crate::agent::prompt::cut(&text, INPUT_CHARS_MAX);
    kept
}
