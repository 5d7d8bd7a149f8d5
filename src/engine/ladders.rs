//! Which models a step's tasks climb: resolved once, when the step opens, and journalled with it.

use std::collections::BTreeMap;

use super::AgentCard;
use crate::agent::LadderChoice;
use crate::agent::roles;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::kinds::{Grant, TaskKind};
use crate::domain::ladder::{Ladder, PaidReason, Unpaid, WhenLimited};
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
    /// Why no paid rung may be climbed; `None`: they may, and a ladder that names none has `claude` as its last.
    pub unpaid: Option<Unpaid>,
    /// The person asked for Claude: every task begins there.
    pub is_wished: bool,
    /// A task escalates where no local model's server answers.
    pub escalates_when_away: bool,
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
            unpaid: Some(Unpaid::Off),
            is_wished: false,
            escalates_when_away: false,
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
        let StepKind::Agent { prompt: Some(_), .. } = &step.kind else { return Ok(Ladder::default()) };
        let rungs = self.rungs(plan, step, card)?;
        let (mut paid, local): (Vec<String>, Vec<String>) = rungs.into_iter().partition(|rung| is_paid(rung));
        let unpaid = self.unpaid_of(plan, step);
        let is_wished = self.is_wished || step.claude == Some(true);
        if unpaid.is_some() {
            paid.clear();
        } else if paid.is_empty() && (!local.is_empty() || is_wished) {
            // Who has no local model at hand has not asked for a paid one by that.
            paid.push(CLAUDE.to_owned());
        }
        if local.is_empty() && paid.is_empty() {
            let why = unpaid.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            let message = format!("step `{}` asks a model, and its ladder has no local one{why}", step.id);
            return Err(Failure::new(FailureKind::BadInput, message)
                .hint("name one in `ladders` of the configuration or the plan, as in `default: [ollama:qwen3:8b]`"));
        }
        let seconds = self.seconds(step, &local)?;
        let is_critical = self.is_critical(step, card);
        // Without a paid rung there is nothing that one failure could lead to sooner; who says `critical` means it.
        let escalates_at_once = is_critical && (!paid.is_empty() || step.critical.is_some());
        let threshold = step.threshold.unwrap_or(if escalates_at_once { 1 } else { self.threshold });
        let reason = match (is_wished, is_critical) {
            _ if unpaid.is_some() => PaidReason::Fallback,
            (true, _) => PaidReason::UserRequested,
            (false, true) => PaidReason::Critical,
            (false, false) => PaidReason::Fallback,
        };
        Ok(Ladder {
            local,
            paid,
            threshold: threshold.max(1),
            seconds,
            server_wait_ms: self.server_wait_ms,
            when_limited: step.when_limited.or(self.when_limited).unwrap_or(match step.for_each {
                Some(_) => WhenLimited::Park,
                None => WhenLimited::Fail,
            }),
            reason,
            unpaid,
            escalates_when_away: self.escalates_when_away,
        })
    }

    /// Why the step's tasks climb no paid rung.
    fn unpaid_of(&self, plan: &Plan, step: &Step) -> Option<Unpaid> {
        let at = plan.index_of(&step.id);
        if let Some(why) = at.and_then(|at| plan.local_only(at)) {
            return Some(Unpaid::LocalOnly(why));
        }
        if step.claude == Some(false) {
            return Some(Unpaid::ByStep);
        }
        self.unpaid.clone()
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

    fn is_critical(&self, step: &Step, card: Option<&AgentCard>) -> bool {
        step.critical.unwrap_or_else(|| roles::is_critical(kind_of_step(step, card), self.critical_kinds.as_deref()))
    }
}

/// What kind of task a step's tasks are: as the step says, else as its role and tool tell.
#[must_use]
pub fn kind_of_step(step: &Step, card: Option<&AgentCard>) -> TaskKind {
    if let Some(kind) = step.task_kind {
        return kind;
    }
    match &step.kind {
        StepKind::Tool { name, .. } => roles::kind_of(None, Some(name), false, false),
        StepKind::Value { .. } => TaskKind::FileRead,
        StepKind::Agent { name, prompt, .. } => {
            let may_write = card.is_some_and(|card| card.spec.grants.contains(&Grant::Write));
            let writes = may_write && step.grants.as_ref().is_none_or(|grants| grants.contains(&Grant::Write));
            let role = card.map_or(name.as_str(), |card| card.spec.role.as_str());
            roles::kind_of(Some(role), None, prompt.is_some(), writes)
        }
    }
}

/// The paid rung with the configured model.
pub const CLAUDE: &str = "claude";

/// Whether a rung costs money.
#[must_use]
pub fn is_paid(rung: &str) -> bool {
    rung == CLAUDE || rung.starts_with("claude:")
}
