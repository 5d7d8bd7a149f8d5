//! What the start of a run finds out about its models: its ladders, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lists, OLLAMA, detailed, is_not_there, is_same, ladder, list, records::Records};
use crate::app::place::Standing;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::kinds::TaskKind;
use crate::domain::ladder::{Ladder, Unpaid};
use crate::domain::plan::{ModelServerKind, ModelServerSpec, Plan, Step, StepKind};
use crate::engine::ladders::{is_paid, kind_of_step};
use crate::engine::{AgentCard, Ladders};
use crate::model::stand_in::{DECLINES, GUESSES};
use crate::model::{ModelServers, split_rung};

/// What the start of a run finds out about its models.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The ladders.
    pub ladders: Ladders,
    /// What is said before the run starts.
    pub lines: Vec<String>,
    /// A step may climb a paid rung.
    pub has_paid: bool,
    /// Why a step can never ask anybody.
    pub faults: Vec<Failure>,
    /// Digests of the models that were listed, by rung: what is measured is kept under them.
    pub digests: BTreeMap<String, String>,
}

/// Whether a run may climb paid rungs.
#[derive(Clone, Debug)]
pub struct PaidRungs {
    /// Why it may not; `None`: it may.
    pub unpaid: Option<Unpaid>,
    /// The person asked for Claude: every task begins there.
    pub is_wished: bool,
}

/// Works out the ladders of a plan, looks which of their models are there, and builds a ladder where none is named.
pub async fn prepare(
    standing: &Standing,
    plan: &Plan,
    cards: &BTreeMap<String, AgentCard>,
    specs: &BTreeMap<String, ModelServerSpec>,
    servers: &ModelServers,
    paid: &PaidRungs,
) -> Prepared {
    let settings = &standing.settings;
    let mut ladders = Ladders {
        configured: settings.ladders.clone(),
        threshold: settings.claude.escalation_threshold,
        critical_kinds: settings.claude.critical_tasks.clone(),
        server_wait_ms: settings.limits.model_server_wait_s.saturating_mul(1_000),
        free_servers: specs
            .iter()
            .filter(|(_, spec)| spec.schema_bound == Some(false))
            .map(|(name, _)| name.clone())
            .collect(),
        unpaid: paid.unpaid.clone(),
        is_wished: paid.is_wished,
        escalates_when_away: settings.claude.escalate_when_unreachable,
        when_limited: settings.claude.when_limited,
        ..Ladders::default()
    };
    let mut lines = Vec::new();
    let asking: Vec<_> = plan.steps().iter().filter(|step| step.kind.asks_a_model()).collect();
    if asking.is_empty() {
        return Prepared { ladders, lines, ..Prepared::default() };
    }
    let card = |step: &Step| match &step.kind {
        StepKind::Agent { name, .. } => cards.get(name),
        _ => None,
    };
    let needs_built =
        asking.iter().any(|step| ladders.rungs(plan, step, card(step)).is_ok_and(|rungs| rungs.is_empty()));
    let mut named: BTreeSet<String> = asking
        .iter()
        .flat_map(|step| {
            let mut rungs = ladders.rungs(plan, step, card(step)).unwrap_or_default();
            rungs.extend(step.agree.iter().filter_map(|agree| agree.with.clone()));
            rungs
        })
        .collect();
    let asked: BTreeSet<&str> = if needs_built {
        servers.0.keys().map(String::as_str).collect()
    } else {
        named.iter().filter_map(|rung| split_rung(rung)).map(|(server, _)| server).collect()
    };
    let mut lists = list(servers, asked).await;
    if needs_built {
        // Only one by one do older servers say which models chat, and which take tools.
        lists = detailed(servers, lists).await;
    }
    for (server, models) in &lists {
        for model in models.iter().flatten() {
            ladders.families.insert(format!("{server}:{}", model.name), model.family.clone());
        }
    }
    if needs_built {
        // What cannot be read is said by `ollmcp models`; a ladder is built without it.
        let records = Records::load(&standing.home).unwrap_or_default();
        let proposal = ladder::propose(&ladder::candidates(&lists, servers, &records));
        let (proposal, why) = ladder::with_first(proposal, settings.models.first.as_deref(), &lists);
        lines.extend(why);
        ladders.built = proposal.default;
        if ladders.built.is_empty() {
            lines.push("no ladder is configured, and no server has a model that can take part".to_owned());
        } else {
            lines.push(format!("ladder (built from the models that are there): {}", ladders.built.join(" → ")));
        }
        named.extend(ladders.built.iter().cloned());
    }
    lines.extend(named.iter().filter_map(|rung| missing(rung, &lists, specs)));
    let (mut faults, mut has_paid) = (Vec::new(), false);
    for step in asking {
        match ladders.of(plan, step, card(step)) {
            Ok(ladder)
                if !ladder.is_wished()
                    && !ladder.local.is_empty()
                    && ladder.local.iter().all(|rung| is_not_there(rung, &lists)) =>
            {
                let message = format!("step `{}` can ask nobody: no model of its ladder is there", step.id);
                let rung = &ladder.local[0];
                let hint =
                    format!("{}, or name another ladder; `ollmcp models` shows what there is", how_to_get(rung, specs));
                faults.push(Failure::new(FailureKind::ModelMissing, message).hint(hint));
            }
            Ok(ladder) if ladder.paid.is_empty() && is_on_stand_ins(plan, &ladder) => {
                faults.push(nobody_right(ladder.unpaid.as_ref().or(paid.unpaid.as_ref()), &step.id));
            }
            Ok(ladder) => {
                has_paid |= !ladder.paid.is_empty();
                lines.extend(about_ladder(&ladders, plan, step, card(step), &ladder));
            }
            Err(failure) => faults.push(failure),
        }
    }
    if paid.unpaid.is_none() {
        lines.extend(kinds_without_step(&ladders, plan, cards));
    }
    lines.dedup();
    let digests = super::records::digests(&lists);
    Prepared { ladders, lines, has_paid, faults, digests }
}

/// A ladder of stand-ins: nobody on it is ever right.
fn is_on_stand_ins(plan: &Plan, ladder: &Ladder) -> bool {
    !ladder.local.is_empty() && ladder.local.iter().all(|rung| plan.raw().is_stand_in(rung))
}

/// A step on stand-ins has nobody to go on to.
fn nobody_right(unpaid: Option<&Unpaid>, step: &crate::domain::ids::StepId) -> Failure {
    let why = unpaid.map_or_else(|| "no paid rung stands above".to_owned(), ToString::to_string);
    let message = format!("step `{step}` stands on stand-ins, which are never right, and {why}");
    let what = unpaid.and_then(Unpaid::hint).map_or_else(String::new, |hint| format!("; with one call: {hint}"));
    Failure::new(FailureKind::BadInput, message).hint(format!("without a key and without money: --fake{what}"))
}

/// What is wrong with a rung, if anything is.
#[must_use]
pub fn missing(rung: &str, lists: &Lists, specs: &BTreeMap<String, ModelServerSpec>) -> Option<String> {
    if is_paid(rung) {
        return None;
    }
    let Some((server, model)) = split_rung(rung) else {
        return Some(format!("`{rung}` is no rung: write SERVER:MODEL"));
    };
    match lists.get(server) {
        None => Some(format!("rung `{rung}`: no model server is called `{server}`")),
        Some(Err(error)) => Some(format!("rung `{rung}`: {error}; its tasks wait for it")),
        Some(Ok(models)) if models.iter().any(|known| is_same(&known.name, model)) => None,
        Some(Ok(_)) => Some(format!("rung `{rung}`: `{server}` has no such model; {}", how_to_get(rung, specs))),
    }
}

/// What to do about a model that is not there.
#[must_use]
pub fn how_to_get(rung: &str, specs: &BTreeMap<String, ModelServerSpec>) -> String {
    let server = split_rung(rung).map_or(OLLAMA, |(server, _)| server);
    match specs.get(server).map(|spec| spec.kind) {
        Some(ModelServerKind::Ollama) => format!("fetch it: ollmcp models pull {rung}"),
        Some(ModelServerKind::Openai) => format!("start `{server}` with it: a server of this kind fetches no models"),
        Some(ModelServerKind::StandIn) => format!("the models of a stand-in are `{DECLINES}` and `{GUESSES}`"),
        None => format!("declare `{server}` under `model_servers` in the configuration"),
    }
}

/// What a person should know of a step's ladder before it is climbed.
fn about_ladder(ladders: &Ladders, plan: &Plan, step: &Step, card: Option<&AgentCard>, ladder: &Ladder) -> Vec<String> {
    let mut lines = Vec::new();
    let id = &step.id;
    let rungs = ladders.rungs(plan, step, card).unwrap_or_default();
    let why = ladder.unpaid.as_ref().map_or_else(String::new, ToString::to_string);
    if step.claude == Some(true) && ladder.paid.is_empty() {
        lines.push(format!("step `{id}` asks for Claude, and is left to local models ({why})"));
    } else if ladders.unpaid.is_some() && rungs.iter().any(|rung| is_paid(rung)) {
        lines.push(format!("step `{id}` names `claude` in its ladder, and it is left out ({why})"));
    }
    let (local, paid) = (ladder.local.join(" → "), ladder.paid.join(" → "));
    let threshold = ladder.threshold;
    lines.push(match (ladder.local.is_empty(), ladder.paid.is_empty()) {
        (_, true) if why.is_empty() => format!("step `{id}` climbs {local}; no paid rung stands above"),
        (_, true) => format!("step `{id}` climbs {local}; no paid rung stands above ({why})"),
        (true, false) => format!("step `{id}` asks {paid} at once: its ladder has no local rung"),
        (false, false) if ladder.is_wished() => {
            format!("step `{id}` asks {paid} first, as you asked for it; at a limit of paid calls {local}")
        }
        (false, false) => {
            let failures = crate::report::text::plural(threshold.into(), "counted failure");
            format!("step `{id}` climbs {local}, and after {failures} {paid}")
        }
    });
    let unreached = ladder.local.get(threshold as usize..).unwrap_or_default();
    if !ladder.paid.is_empty() && !ladder.is_wished() && !unreached.is_empty() {
        lines.push(format!(
            "step `{id}` reaches {} only at a limit of paid calls, or when another server is away: its threshold is \
             {threshold}",
            unreached.join(", ")
        ));
    }
    lines
}

/// Configured kinds of critical tasks that no step of the plan has.
fn kinds_without_step(ladders: &Ladders, plan: &Plan, cards: &BTreeMap<String, AgentCard>) -> Option<String> {
    let kinds = ladders.critical_kinds.as_ref()?;
    let card = |step: &Step| match &step.kind {
        StepKind::Agent { name, .. } => cards.get(name),
        _ => None,
    };
    let has = |kind: &TaskKind| plan.steps().iter().any(|step| kind_of_step(step, card(step)) == *kind);
    let missing: Vec<&str> = kinds.iter().filter(|kind| !has(kind)).map(|kind| kind.word()).collect();
    (!missing.is_empty()).then(|| format!("`critical_tasks` names what no step here is: {}", missing.join(", ")))
}
