//! What a run is told of its models before it starts, and the ports with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::CliError;
use super::output;
use super::paying::Paying;
use crate::app::models::prepare::PaidRungs;
use crate::app::notify::Notifier;
use crate::app::place::Standing;
use crate::app::{claude, fake, models};
use crate::domain::event::{Event, Origin};
use crate::domain::failure::Failure;
use crate::domain::ladder::{Unpaid, WhenLimited};
use crate::domain::plan::Plan;
use crate::engine::Ports;
use crate::engine::paid::PaidModels;
use crate::engine::supervisor::Beginning;

/// The plan and the origin of a run that is about to be worked on.
pub(super) fn begun(beginning: &Beginning) -> Option<(Arc<Plan>, Origin)> {
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
    paying: &Paying,
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
    let looked = match origin.fake {
        true => claude::Opened { door: None, unpaid: None, lines: Vec::new() },
        false => claude::look(standing),
    };
    let asks = plan.steps().iter().any(|step| step.kind.asks_a_model());
    if origin.claude {
        wish_is_possible(asks, looked.unpaid.as_ref())?;
    }
    let refused = |failure: Failure| CliError::usage(failure.message).hint_opt(failure.hint);
    let paid = PaidRungs { unpaid: looked.unpaid.clone(), is_wished: origin.claude };
    let mut prepared = runtime.block_on(models::prepare(standing, &plan, &ports.agents, &specs, &servers, &paid));
    // Where nothing of the run can go to Claude, no account is opened.
    let opened = match (prepared.has_paid, asks) {
        (true, _) if origin.fake => {
            let forms = fake::Forms::of(&plan, &ports.agents);
            let opened = claude::open_fake(standing, forms, &paying.account, paying.limits);
            let mut opened = runtime.block_on(opened).map_err(refused)?;
            opened.lines.extend(written_for_real(&plan));
            opened
        }
        (true, _) => runtime.block_on(claude::open(standing, origin.budget_microdollars)).map_err(refused)?,
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
    if !origin.fake {
        // Made-up money alarms nobody.
        opened.door.iter().for_each(|door| door.tell(notifier.clone()));
    }
    if origin.fake && fake::steps_on_stand_ins(&plan, &ports.agents) > 0 {
        // The limit is there to be met: nobody waits an hour for a call that is not made.
        prepared.ladders.when_limited = Some(WhenLimited::Fail);
    }
    let paid = opened.door.map(|door| door as Arc<dyn PaidModels>);
    let ports = Ports { model_servers: servers, ladders: Arc::new(prepared.ladders), paid, ..ports };
    Ok((ports, prepared.digests))
}

/// What a fake Claude says goes where the plan puts it.
fn written_for_real(plan: &Plan) -> impl Iterator<Item = String> {
    plan.steps().iter().filter(|step| step.kind.writes_rows()).map(|step| {
        format!("step `{}` writes rows for real, made-up answers among them: give it a database of its own", step.id)
    })
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
