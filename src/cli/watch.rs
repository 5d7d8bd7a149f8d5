//! A run in the foreground: engine, progress, signals, end report.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::asked::{begun, with_models};
use super::context::{Context, OwnStore, project_of, socket};
use super::error::CliError;
use super::exit::Exit;
use super::paying::Paying;
use super::signals::{Ask, Signals};
use super::{output, question};
use crate::api::server::ControlSocket;
use crate::app::models::records::Records;
use crate::app::notify::Notifier;
use crate::app::place::Standing;
use crate::app::{claude, running, store};
use crate::domain::event::Stamped;
use crate::domain::failure::NEVER_MS;
use crate::domain::ids::RunId;
use crate::domain::run::{RunState, Task, TaskPhase};
use crate::engine::EventReader;
use crate::engine::paid::PaidModels;
use crate::engine::root::RegistryDoor;
use crate::engine::supervisor::{Beginning, RunExit};
use crate::model::{Tokens, stand_in};
use crate::report::claude_lines::ClaudeLines;
use crate::report::end::{self, EndReport};
use crate::report::escalation::is_trial;
use crate::report::money::Paid;
use crate::report::progress::Progress;
use crate::report::{detail, line, text};

/// How long the blocking pool may take to finish at the end.
const RUNTIME_LIMIT: Duration = Duration::from_secs(2);

/// How long the tree's reason for giving up is waited for.
const REASON_LIMIT: Duration = Duration::from_secs(1);

/// Tells what is durable: the documented lines, and the progress.
#[derive(Debug)]
struct Teller {
    progress: Arc<Progress>,
    lines: Mutex<ClaudeLines>,
    /// Known as soon as the run's models are.
    paid: OnceLock<Arc<dyn PaidModels>>,
}

impl EventReader for Teller {
    fn durable(&self, state: &RunState, events: &[Stamped]) {
        let today = || self.paid.get().and_then(|paid| paid.today());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for stamped in events {
            let told = lines.take_up(state, &stamped.event, &today);
            told.iter().for_each(|line| self.progress.line(line));
        }
        self.progress.take_up(state, events);
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
    let teller = Arc::new(Teller { progress: progress.clone(), lines: Mutex::default(), paid: OnceLock::new() });
    let screen = progress.clone();
    let notifier = Arc::new(Notifier::new(standing, Arc::new(move |line| screen.line(&text::clean(line)))));
    let readers: Vec<Arc<dyn EventReader>> = vec![teller.clone(), notifier.clone()];
    let (ports, notes) = running::ports(standing, &own.store, granted, readers).map_err(|faults| {
        let mut error = CliError::failed("cannot start");
        error.hints.extend(faults);
        error
    })?;
    notes.iter().for_each(|text| output::note(text));
    std::fs::create_dir_all(running::spill_dir(&project.state))?;
    let runtime = runtime()?;
    let (plan, origin) = begun(&beginning).ok_or_else(|| CliError::failed("the run has no plan that can be read"))?;
    let paying = Paying::of(standing, &own, run, &plan, &origin)?;
    let (ports, digests) = with_models(standing, &beginning, ports, &paying, &runtime, &notifier)?;
    if let Some(paid) = &ports.paid {
        // It is set once, here.
        let _ = teller.paid.set(paid.clone());
    }
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
        let paid = paying.spent(run).await;
        Ok::<_, CliError>((exit, paid))
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
    let (exit, paid) = exit?;
    own.store.state.settle();
    let told = report(context, standing, &own, run, &exit, &paying, paid, Some(&notifier));
    notifier.finish();
    told
}

/// Tells once more what a run that has ended came to, where it only tries the escalation; `None` for every other run.
pub(super) fn retell(
    context: &Context,
    standing: &Standing,
    own: &OwnStore,
    state: &RunState,
) -> Result<Option<Exit>, CliError> {
    let Some(end) = state.head.end.filter(|_| is_trial(state)) else { return Ok(None) };
    let run = state.head.run;
    let paying = Paying::of(standing, own, run, &state.plan, &state.head.origin)?;
    let paid = runtime()?.block_on(paying.spent(run));
    report(context, standing, own, run, &RunExit::Ended(end), &paying, paid, None).map(Some)
}

/// Why a run was dropped without a word: the tree's own reason, which may come a moment after its fall.
async fn why_lost(gave_up: impl Future<Output = String>) -> String {
    let reason = tokio::time::timeout(REASON_LIMIT, gave_up).await;
    reason.unwrap_or_else(|_| "the run registry died".to_owned())
}

fn report(
    context: &Context,
    standing: &Standing,
    own: &OwnStore,
    run: RunId,
    exit: &RunExit,
    paying: &Paying,
    (calls, microdollars): (u64, u64),
    notifier: Option<&Notifier>,
) -> Result<Exit, CliError> {
    if let RunExit::Fault(reason) = exit {
        if let Some(notifier) = notifier {
            notifier.stopped(run, reason);
        }
        return Err(CliError::failed(format!("the engine stopped: {reason}"))
            .hint(format!("nothing that was reported is lost: {}", context.resume(run))));
    }
    let reader = own.store.state.reader();
    let state = match own.store.state.fault() {
        None => reader.run(run)?,
        Some(why) => {
            output::note(&format!("the state store could not be written ({why}); it is made anew at the next start"));
            store::run_of_journal(&project_of(standing)?.state, run)?
        }
    };
    let Some(state) = state else {
        output::err("the run was stopped before it began\n");
        return Ok(Exit::of_run(exit));
    };
    match (notifier, exit) {
        (Some(notifier), RunExit::Parked { until_ms }) => {
            notifier.parked(&state, &parked(&state, *until_ms), *until_ms);
        }
        (Some(notifier), other) => notifier.left(&state, other),
        (None, _) => {}
    }
    let before = run_before(reader, &state);
    let word = match exit {
        RunExit::Parked { .. } => "waiting",
        _ => line::state_word(&state.head, false),
    };
    let blobs = own.store.blobs.clone();
    let catalogue = claude::catalogue(standing);
    // Prices of one's own may stand under the id as it is configured.
    let asked = claude::model(&standing.settings, &catalogue);
    let model = catalogue.resolve(asked).sent;
    let prices_of = catalogue.as_of().to_string();
    let price = |prompt, reply| catalogue.cost(asked, &Tokens { prompt, reply, ..Tokens::default() }).microdollars;
    let paid = Paid { calls, microdollars, model: &model, prices_of: &prices_of, price: &price };
    let mut report = EndReport::new(&state, word, before.as_ref(), &paid, &|payload| blobs.read_value(payload).ok());
    report.escalation = paying.seen(&state)?;
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
    if let RunExit::Parked { until_ms } = exit {
        output::err(&parked(&state, *until_ms));
    }
    if matches!(exit, RunExit::Waiting | RunExit::Parked { .. } | RunExit::Interrupted) {
        output::err(&format!("go on: {}\n", context.resume(run)));
    }
    Ok(match &report.escalation {
        // It was only tried: what counts is whether all was seen, a task that met the limit included.
        Some(escalation) if escalation.as_expected => Exit::Complete,
        Some(_) => Exit::Failed,
        None => Exit::of_run(exit),
    })
}

/// Until when nothing can go on, and why.
fn parked(state: &RunState, until_ms: u64) -> String {
    let waits = |task: &&Task| matches!(task.phase, TaskPhase::RetryAt { .. });
    let waiting = state.tasks.values().filter(waits).count();
    let mut failures = state.tasks.values().filter(waits).filter_map(|task| task.tried.last()?.failure.as_ref());
    let failure = failures.find(|failure| failure.until_ms == Some(until_ms));
    let why = failure.map_or_else(String::new, |failure| format!(": {}", text::clean(&failure.message)));
    let tasks = text::plural(waiting as u64, "task");
    if until_ms == NEVER_MS {
        let hint = failure.and_then(|failure| failure.hint.as_deref()).unwrap_or("`ollmcp budget` shows the limits");
        return format!(
            "nothing can go on before a limit is changed ({tasks} waiting){why}\nhint: {}\n",
            text::clean(hint)
        );
    }
    format!("nothing can go on before {} ({tasks} waiting){why}\n", text::moment(until_ms))
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
