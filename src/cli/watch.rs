//! A run in the foreground: engine, progress, signals, end report.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::context::{Context, OwnStore, project_of, socket};
use super::error::CliError;
use super::exit::Exit;
use super::signals::{Ask, Signals};
use super::{output, question};
use crate::account::Limits;
use crate::api::server::ControlSocket;
use crate::app::models::records::Records;
use crate::app::place::Standing;
use crate::app::{claude, fake, models, money, running, store};
use crate::domain::event::{Event, Stamped};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::ladder::WhenLimited;
use crate::domain::plan::Plan;
use crate::domain::run::RunState;
use crate::engine::paid::PaidModels;
use crate::engine::root::RegistryDoor;
use crate::engine::supervisor::{Beginning, RunExit};
use crate::engine::{EventReader, Ports};
use crate::model::stand_in;
use crate::report::end::{self, EndReport};
use crate::report::escalation::{self, Escalation};
use crate::report::progress::Progress;
use crate::report::{detail, line, text};

/// How long the blocking pool may take to finish at the end.
const RUNTIME_LIMIT: Duration = Duration::from_secs(2);

/// How long the tree's reason for giving up is waited for.
const REASON_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct ProgressReader(Arc<Progress>);

impl EventReader for ProgressReader {
    fn durable(&self, state: &RunState, events: &[Stamped]) {
        self.0.take_up(state, events);
    }
}

/// The runtime that everything asynchronous of a command lives in.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))
}

/// A question with yes or no; without a terminal the answer is no.
pub(super) fn asks_yes(question: &str) -> bool {
    if !std::io::stdin().is_terminal() || !output::is_terminal() {
        return false;
    }
    output::err(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// The plan of a run, and whether its paid calls are answered by the scripted Claude: both are kept with the run.
fn plan_of(beginning: &Beginning) -> Option<(Arc<Plan>, bool)> {
    match beginning {
        Beginning::Existing(state) => Some((state.plan.clone(), state.head.origin.fake)),
        Beginning::New(first) => match &**first {
            Event::RunAccepted { plan, origin, .. } => {
                Plan::try_from((**plan).clone()).ok().map(|plan| (Arc::new(plan), origin.fake))
            }
            _ => None,
        },
    }
}

/// Where the paid calls of a run are counted, and within what.
#[derive(Clone, Debug)]
struct Paying {
    account: PathBuf,
    limits: Limits,
}

/// The door to Claude for a run: the real one where the configuration has one, or the scripted one.
fn door(
    standing: &Standing,
    plan: &Plan,
    ports: &Ports,
    paying: &Paying,
    is_fake: bool,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Option<Arc<claude::ClaudeDoor>>, Vec<String>), CliError> {
    let refused = |failure: Failure| CliError::usage(failure.message).hint_opt(failure.hint);
    if !is_fake {
        return runtime.block_on(claude::open(standing)).map_err(refused);
    }
    let forms = fake::Forms::of(plan, &ports.agents);
    let opened = runtime.block_on(claude::open_fake(standing, forms, &paying.account, paying.limits));
    let (door, mut lines) = opened.map_err(refused)?;
    lines.extend(plan.steps().iter().filter(|step| step.kind.writes_rows()).map(|step| {
        format!("step `{}` writes rows for real, made-up answers among them: give it a database of its own", step.id)
    }));
    Ok((Some(door), lines))
}

/// The ports with the models that the run's plan asks; what a person should know of them is said.
fn with_models(
    standing: &Standing,
    beginning: &Beginning,
    ports: Ports,
    paying: &Paying,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Ports, BTreeMap<String, String>), CliError> {
    let Some((plan, is_fake)) = plan_of(beginning) else { return Ok((ports, BTreeMap::new())) };
    let specs = runtime.block_on(models::find::for_plan(&standing.settings, &plan));
    let (servers, notes) = models::servers(&specs, &standing.environment).map_err(|faults| {
        let mut error = CliError::usage("a model server cannot be asked");
        error.hints.extend(faults);
        error
    })?;
    let asks = plan.steps().iter().any(|step| step.kind.asks_a_model());
    let (door, about) = match asks {
        true => door(standing, &plan, &ports, paying, is_fake, runtime)?,
        false => (None, Vec::new()),
    };
    let has_paid = door.is_some();
    let mut prepared = runtime.block_on(models::prepare(standing, &plan, &ports.agents, &specs, &servers, has_paid));
    about.iter().for_each(|line| output::err(&format!("  {line}\n")));
    if !prepared.lines.is_empty() {
        notes.iter().for_each(|text| output::note(text));
        prepared.lines.iter().for_each(|line| output::err(&format!("  {line}\n")));
    }
    if let Some(failure) = prepared.faults.first() {
        return Err(CliError::usage(failure.message.clone()).hint_opt(failure.hint.clone()));
    }
    if is_fake && fake::steps_on_stand_ins(&plan, &ports.agents) > 0 {
        // The limit is there to be met: nobody waits an hour for the next call that is not made.
        prepared.ladders.when_limited = Some(WhenLimited::Fail);
    }
    let paid = door.map(|door| door as Arc<dyn PaidModels>);
    let ports = Ports { model_servers: servers, ladders: Arc::new(prepared.ladders), paid, ..ports };
    Ok((ports, prepared.digests))
}

/// Works on a run until it ends, waits for a person or is stopped; prints the end report.
pub(super) fn watch(
    context: &Context,
    standing: &Standing,
    own: OwnStore,
    run: RunId,
    beginning: Beginning,
    granted: &[PathBuf],
) -> Result<Exit, CliError> {
    let project = project_of(standing)?;
    let progress = Arc::new(Progress::new(output::is_terminal()));
    let readers: Vec<Arc<dyn EventReader>> = vec![Arc::new(ProgressReader(progress.clone()))];
    let (ports, notes) = running::ports(standing, &own.store, granted, readers).map_err(|faults| {
        let mut error = CliError::failed("cannot start");
        error.hints.extend(faults);
        error
    })?;
    notes.iter().for_each(|text| output::note(text));
    std::fs::create_dir_all(running::spill_dir(&project.state))?;
    let runtime = runtime()?;
    let paying = match plan_of(&beginning) {
        Some((plan, true)) => paying_fake(standing, &own, run, &plan)?,
        _ => paying(standing),
    };
    let (ports, digests) = with_models(standing, &beginning, ports, &paying, &runtime)?;
    let (asked, model_servers) = (ports.models.clone(), ports.model_servers.clone());
    let door = RegistryDoor::default();
    let control =
        ControlSocket::new(socket(&project.state), own.store.state.clone(), own.store.blobs.clone(), door.clone());
    let databases = ports.databases.clone();
    let exit = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        if let Err(error) = control.listen() {
            let socket = socket(&project.state);
            output::note(&format!(
                "cannot listen on `{}` ({error}): the run goes on, and no other terminal can ask it or cancel it",
                socket.display()
            ));
        }
        let engine = running::start(ports, own.store.journal.clone(), door, Some(Arc::new(control.clone()))).await;
        let engine = engine.map_err(|error| CliError::failed(error.to_string()))?;
        control.set_tree(engine.tree_asker());
        let mut left = engine.start_run(run, beginning, true).map_err(|error| CliError::failed(error.to_string()))?;
        let exit = loop {
            tokio::select! {
                exit = &mut left => break match exit {
                    Ok(exit) => exit,
                    Err(_) => RunExit::Fault(why_lost(engine.gave_up()).await),
                },
                reason = engine.gave_up() => break RunExit::Fault(reason),
                ask = signals.next() => match ask {
                    Ask::Drain => {
                        progress.line(&format!(
                            "taking no new task, waiting for what runs (again: stop it); go on later: {}",
                            context.resume(run)
                        ));
                        engine.drain();
                    }
                    Ask::Stop => {
                        progress.line("stopping what runs");
                        engine.stop_runs();
                    }
                    Ask::Leave => break RunExit::Interrupted,
                },
            }
        };
        progress.finish();
        engine.shut_down().await;
        databases.close_all().await;
        // The journal was flushed with every append; this only says whether its last write failed.
        if let Err(error) = own.store.journal.close().await {
            output::err(&format!("error: {error}\n"));
        }
        Ok::<_, CliError>(exit)
    });
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    // What was measured is told by `ollmcp models`; a run does not fail for it.
    let mut samples = asked.samples();
    // How fast a stand-in is says nothing of any model.
    let is_stand_in =
        |server: &String| model_servers.0.get(server).is_some_and(|one| one.address() == stand_in::ADDRESS);
    samples.retain(|samples| !is_stand_in(&samples.server));
    let kept = Records::keep_speeds(&standing.home, &model_servers, &digests, &samples, crate::app::now_ms());
    if let Err(error) = kept {
        tracing::warn!(%error, "how fast the models were is not kept");
    }
    let exit = exit?;
    own.store.state.settle();
    report(context, &own, &project.state, run, &exit, &paying)
}

/// The person's account.
fn paying(standing: &Standing) -> Paying {
    Paying { account: standing.home.ollmcp.clone(), limits: money::limits(&standing.settings, None) }
}

/// An account of the run's own, below the project's state.
fn paying_fake(standing: &Standing, own: &OwnStore, run: RunId, plan: &Plan) -> Result<Paying, CliError> {
    let heads = own.store.state.reader().heads().map_err(|error| CliError::failed(error.to_string()))?;
    let account = fake::make_account_folder(&project_of(standing)?.state, run, &heads)?;
    let mut limits = money::limits(&standing.settings, None);
    let steps = fake::steps_on_stand_ins(plan, &running::cards(standing)) as u64;
    if steps > 1 {
        // One call too few, so that the limit is seen at work.
        limits.calls_per_hour_max = steps - 1;
    }
    Ok(Paying { account, limits })
}

/// Tells once more what a run that has ended came to, where it tries the escalation; `None` for every other run.
pub(super) fn retell(
    context: &Context,
    standing: &Standing,
    own: &OwnStore,
    state: &RunState,
) -> Result<Option<Exit>, CliError> {
    let Some(end) = state.head.end.filter(|_| escalation::is_trial(state)) else { return Ok(None) };
    let run = state.head.run;
    let paying = match state.head.origin.fake {
        true => paying_fake(standing, own, run, &state.plan)?,
        false => paying(standing),
    };
    report(context, own, &project_of(standing)?.state, run, &RunExit::Ended(end), &paying).map(Some)
}

/// What a run that tries the escalation left in the account; `None` for every other run.
fn seen(state: &RunState, paying: &Paying) -> Result<Option<Escalation>, CliError> {
    if state.head.end.is_none() || !escalation::is_trial(state) {
        return Ok(None);
    }
    let runtime = runtime()?;
    let found = runtime.block_on(fake::look::accounted(&paying.account, state.head.run, &paying.limits));
    let found = found.map_err(|error| CliError::failed(error.to_string()).hint_opt(error.hint()))?;
    Ok(Some(Escalation::new(state, found)))
}

/// Why a run was dropped without a word: the tree's own reason, which may come a moment after its fall.
async fn why_lost(gave_up: impl Future<Output = String>) -> String {
    let reason = tokio::time::timeout(REASON_LIMIT, gave_up).await;
    reason.unwrap_or_else(|_| "the run registry died".to_owned())
}

fn report(
    context: &Context,
    own: &OwnStore,
    folder: &Path,
    run: RunId,
    exit: &RunExit,
    paying: &Paying,
) -> Result<Exit, CliError> {
    if let RunExit::Fault(reason) = exit {
        return Err(CliError::failed(format!("the engine stopped: {reason}"))
            .hint(format!("nothing that was reported is lost: {}", context.resume(run))));
    }
    let reader = own.store.state.reader();
    let state = match own.store.state.fault() {
        None => reader.run(run)?,
        Some(why) => {
            output::note(&format!("the state store could not be written ({why}); it is made anew at the next start"));
            store::run_of_journal(folder, run)?
        }
    };
    let Some(state) = state else {
        output::err("the run was stopped before it began\n");
        return Ok(Exit::of_run(exit));
    };
    let before = run_before(reader, &state);
    let word = line::state_word(&state.head, false);
    let blobs = own.store.blobs.clone();
    let mut report = EndReport::new(&state, word, before.as_ref(), &|payload| blobs.read_value(payload).ok());
    report.escalation = seen(&state, paying)?;
    if question::is_question(&state) {
        question::tell(context, &state, &blobs, &report);
    } else if context.is_json {
        output::json(&report);
    } else {
        output::out(&end::text(&report));
    }
    let asks = detail::ask_lines(&state);
    if !asks.is_empty() {
        output::err(&text::asks(&asks));
    }
    if matches!(exit, RunExit::Waiting | RunExit::Interrupted) {
        output::err(&format!("go on: {}\n", context.resume(run)));
    }
    Ok(match &report.escalation {
        // It was only tried: what counts is whether all was seen, a task that met the limit included.
        Some(escalation) if escalation.as_expected => Exit::Complete,
        Some(_) => Exit::Failed,
        None => Exit::of_run(exit),
    })
}

/// The last ended run of the same plan over the same paths.
fn run_before(reader: &crate::state::Reader, state: &RunState) -> Option<RunState> {
    use crate::domain::plan::InputKind;
    let paths = state.plan.raw().inputs.iter().filter(|input| input.kind == InputKind::Path);
    let paths: Vec<&str> = paths.map(|input| input.name.as_str()).collect();
    let heads = reader.heads().ok()?;
    let earlier = heads.into_iter().rev().find(|head| {
        head.run < state.head.run
            && head.end.is_some()
            && paths.iter().all(|path| head.inputs.get(*path) == state.head.inputs.get(*path))
            && head.plan == state.head.plan
    })?;
    reader.run(earlier.run).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_that_was_dropped_is_told_with_the_reason_of_the_tree() {
        let late = async {
            tokio::time::sleep(REASON_LIMIT / 2).await;
            "doors died: no room".to_owned()
        };
        assert_eq!(why_lost(late).await, "doors died: no room");
        assert_eq!(why_lost(std::future::pending()).await, "the run registry died");
    }
}
