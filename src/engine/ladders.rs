//! Which models a step's tasks climb: resolved once, when the step opens, and journalled with it.

use std::collections::BTreeMap;

use super::AgentCard;
use crate::agent::LadderChoice;
use crate::agent::roles;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::kinds::TaskKind;
use crate::domain::ladder::{Ladder, WhenLimited};
use crate::domain::plan::{Plan, Step, StepKind};

/// What a task waits for a model server that is away, where nothing else is configured: 30 minutes.
pub const SERVER_WAIT_MS: u64 = 30 * 60_000;

/// Counted failures before a task escalates, where nothing else is configured.
pub const THRESHOLD: u32 = 2;

/// What ladders are made from.
#[derive(Clone, Debug)]
pub struct Ladders {
    /// Configured ladders by name, cheapest rung first.
    pub configured: BTreeMap<String, Vec<String>>,
    /// The ladder of a step that names none and whose agent names none, when `default` is not configured: built from the
    /// models that the servers have.
    pub built: Vec<String>,
    /// Counted failures before a task escalates.
    pub threshold: u32,
    /// Kinds that escalate after one failure; `None`: the table of task kinds decides.
    pub critical_kinds: Option<Vec<TaskKind>>,
    /// How long a task waits for a model server that is away.
    pub server_wait_ms: u64,
    /// Servers that are told of a schema in the prompt only.
    pub free_servers: std::collections::BTreeSet<String>,
    /// Families of models by rung, as their servers say.
    pub families: BTreeMap<String, String>,
    /// Paid rungs may be climbed; a ladder that names none has `claude` as its last.
    pub has_paid: bool,
    /// What tasks do at a limit of paid calls; `None`: items wait, single tasks fail.
    pub when_limited: Option<WhenLimited>,
}

impl Default for Ladders {
    fn default() -> Self {
        Self {
            configured: BTreeMap::new(),
            built: Vec::new(),
            threshold: THRESHOLD,
            critical_kinds: None,
            server_wait_ms: SERVER_WAIT_MS,
            free_servers: std::collections::BTreeSet::new(),
            families: BTreeMap::new(),
            has_paid: false,
            when_limited: None,
        }
    }
}

impl Ladders {
    /// The ladder of a step's tasks; an empty one for a step that asks no model.
    ///
    /// # Errors
    /// A step that asks a model and has no local one, or a ladder that nobody knows.
    pub fn of(&self, plan: &Plan, step: &Step, card: Option<&AgentCard>) -> Result<Ladder, Failure> {
        let StepKind::Agent { name, prompt: Some(_), .. } = &step.kind else { return Ok(Ladder::default()) };
        let rungs = self.rungs(plan, step, card)?;
        let (mut paid, local): (Vec<String>, Vec<String>) = rungs.into_iter().partition(|rung| is_paid(rung));
        if !self.has_paid {
            paid.clear();
        } else if paid.is_empty() {
            paid.push(CLAUDE.to_owned());
        }
        if local.is_empty() && paid.is_empty() {
            let message = format!("step `{}` asks a model, and its ladder has no local one", step.id);
            return Err(Failure::new(FailureKind::BadInput, message)
                .hint("name one in `ladders` of the configuration or the plan, as in `default: [ollama:qwen3:8b]`"));
        }
        let seconds = self.seconds(step, &local)?;
        let threshold = step.threshold.unwrap_or_else(|| if self.is_critical(step, name) { 1 } else { self.threshold });
        Ok(Ladder {
            local,
            paid,
            threshold: threshold.max(1),
            seconds,
            server_wait_ms: self.server_wait_ms,
            when_limited: self.when_limited.unwrap_or(match step.for_each {
                Some(_) => WhenLimited::Park,
                None => WhenLimited::Fail,
            }),
        })
    }

    /// The rungs that a step would climb, paid ones included, as they are named.
    ///
    /// # Errors
    /// A ladder that nobody knows.
    pub fn rungs(&self, plan: &Plan, step: &Step, card: Option<&AgentCard>) -> Result<Vec<String>, Failure> {
        let named = |name: &str| {
            let found = plan.raw().ladders.get(name).or_else(|| self.configured.get(name));
            found.cloned().ok_or_else(|| {
                Failure::new(
                    FailureKind::BadInput,
                    format!("step `{}` names a ladder `{name}`, which is not there", step.id),
                )
            })
        };
        if let Some(name) = &step.ladder {
            return named(name);
        }
        match card.and_then(|card| card.spec.ladder.as_ref()) {
            Some(LadderChoice::Rungs(rungs)) => return Ok(rungs.clone()),
            Some(LadderChoice::Named(name)) => return named(name),
            None => {}
        }
        Ok(named("default").unwrap_or_else(|_| self.built.clone()))
    }

    /// Who is asked for a second answer: models of another family first, then any other.
    fn seconds(&self, step: &Step, local: &[String]) -> Result<Vec<String>, Failure> {
        let Some(agree) = &step.agree else { return Ok(Vec::new()) };
        let mut seconds: Vec<String> = agree.with.iter().cloned().collect();
        seconds.extend(local.iter().filter(|rung| Some(*rung) != agree.with.as_ref()).cloned());
        let is_other = |rung: &String| local.first().is_none_or(|first| self.family(rung) != self.family(first));
        if agree.with.is_none() && !seconds.iter().any(is_other) {
            let message =
                format!("step `{}` has `agree`, and its ladder has no local model of another family", step.id);
            return Err(Failure::new(FailureKind::BadInput, message)
                .hint("add one to the ladder, or name it: `agree: {with: SERVER:MODEL}`"));
        }
        // A model cannot give the second answer to its own.
        if let Some(with) =
            agree.with.as_ref().filter(|with| !local.is_empty() && local.iter().all(|rung| rung == *with))
        {
            let message =
                format!("step `{}` has `agree` with `{with}`, which is the only local model of its ladder", step.id);
            return Err(Failure::new(FailureKind::BadInput, message)
                .hint("name another one in `agree: {with: SERVER:MODEL}`, or add one to the ladder"));
        }
        Ok(seconds)
    }

    /// The family of a rung's model: what its server says, else the name up to its first digit or colon.
    #[must_use]
    pub fn family(&self, rung: &str) -> String {
        if let Some(family) = self.families.get(rung).filter(|family| !family.is_empty()) {
            return family.clone();
        }
        let model = rung.split_once(':').map_or(rung, |(_, model)| model);
        let model = model.rsplit('/').next().unwrap_or(model);
        model.chars().take_while(|letter| letter.is_alphabetic()).collect::<String>().to_lowercase()
    }

    fn is_critical(&self, step: &Step, agent: &str) -> bool {
        step.critical.unwrap_or_else(|| {
            let kind = roles::kind_of(Some(agent), None, true, false);
            roles::is_critical(kind, self.critical_kinds.as_deref())
        })
    }
}

/// The paid rung with the configured model.
pub const CLAUDE: &str = "claude";

/// Whether a rung costs money.
#[must_use]
pub fn is_paid(rung: &str) -> bool {
    rung == CLAUDE || rung.starts_with("claude:")
}
