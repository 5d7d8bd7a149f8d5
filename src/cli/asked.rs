//! What a run is told of its models before it starts, and the ports with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::CliError;
use super::output;
use crate::app::models::prepare::PaidRungs;
use crate::app::notify::Notifier;
use crate::app::place::Standing;
use crate::app::{claude, models};
use crate::domain::event::{Event, Origin};
use crate::domain::ladder::Unpaid;
use crate::domain::plan::Plan;
use crate::engine::Ports;
use crate::engine::paid::PaidModels;
use crate::engine::supervisor::Beginning;

/// The plan and the origin of a run that is about to be worked on.
fn begun(beginning: &Beginning) -> Option<(Arc<Plan>, Origin)> {
    match beginning {
        Beginning::Existing { run, budget_microdollars } => {
            let mut origin = run.head.origin.clone();
            origin.budget_microdollars = budget_microdollars.or(origin.budget_microdollars);
            Some((run.plan.clone(), origin))
        }
        Beginning::New(first) => match &**first {
            Event::RunAccepted { plan, origin, .. } => {
                let plan = Plan::try_from((**plan).clone()).ok()?;
                Some((Arc::new(plan), origin.clone()))
            }
            _ => None,
        },
    }
}

/// The ports with the models that the run's plan asks, and the digests of those models; what a person should know of
/// them is said.
pub(super) fn with_models(
    standing: &Standing,
    beginning: &Beginning,
    ports: Ports,
    runtime: &tokio::runtime::Runtime,
    notifier: &Arc<Notifier>,
) -> Result<(Ports, BTreeMap<String, String>), CliError> {
    let Some((plan, origin)) = begun(beginning) else { return Ok((ports, BTreeMap::new())) };
    let specs = runtime.block_on(models::find::for_plan(&standing.settings, &plan));
    let (servers, notes) = models::servers(&specs, &standing.environment).map_err(|faults| {
        let mut error = CliError::usage("a model server cannot be asked");
        error.hints.extend(faults);
        error
    })?;
    let servers = models::with_window(servers, standing.settings.models.context_tokens);
    let looked = claude::look(standing);
    let asks = plan.steps().iter().any(|step| step.kind.asks_a_model());
    if origin.claude {
        wish_is_possible(asks, looked.unpaid.as_ref())?;
    }
    let paid = PaidRungs { unpaid: looked.unpaid.clone(), is_wished: origin.claude };
    let prepared = runtime.block_on(models::prepare(standing, &plan, &ports.agents, &specs, &servers, &paid));
    // Where nothing of the run can go to Claude, no account is opened.
    let opened = match (prepared.has_paid, asks) {
        (true, _) => runtime
            .block_on(claude::open(standing, origin.budget_microdollars))
            .map_err(|failure| CliError::usage(failure.message).hint_opt(failure.hint))?,
        (false, true) => looked,
        (false, false) => claude::Opened { lines: Vec::new(), ..looked },
    };
    opened.lines.iter().for_each(|line| output::err(&format!("{line}\n")));
    if !prepared.lines.is_empty() {
        notes.iter().for_each(|text| output::note(text));
        prepared.lines.iter().for_each(|line| output::err(&format!("  {line}\n")));
    }
    if let Some(failure) = prepared.faults.first() {
        return Err(CliError::usage(failure.message.clone()).hint_opt(failure.hint.clone()));
    }
    opened.door.iter().for_each(|door| door.tell(notifier.clone()));
    let paid = opened.door.map(|door| door as Arc<dyn PaidModels>);
    let ports = Ports { model_servers: servers, ladders: Arc::new(prepared.ladders), paid, ..ports };
    Ok((ports, prepared.digests))
}

/// Whoever asks for Claude is told where it cannot be, before anything runs.
fn wish_is_possible(asks: bool, unpaid: Option<&Unpaid>) -> Result<(), CliError> {
    match unpaid {
        _ if !asks => Err(CliError::usage("`--claude` asks for Claude, and no step of this plan asks a model")
            .hint("leave it out; `ollmcp explain PLAN` shows the steps")),
        Some(why) => Err(CliError::usage(format!("you asked for Claude, and it cannot be asked: {why}"))
            .hint_opt(why.hint().map(str::to_owned))),
        None => Ok(()),
    }
}
