//! Looking into a project: the same questions, answered here or by the process that owns the state folder.

use super::context::{Access, Context};
use super::error::CliError;
use super::watch::runtime;
use crate::api::client::ClientError;
use crate::app::place::Standing;
use crate::domain::ids::RunId;
use crate::domain::nearest::nearest;
use crate::domain::run::{Head, RunState};
use crate::report::detail::{AskLine, RunDetail, ask_lines};
use crate::report::item::ItemStory;
use crate::report::line::RunLine;
use crate::state::Reader;

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let is_gone = matches!(error, ClientError::Gone { may_have_acted: false, .. });
        Self { is_gone, ..Self::failed(error.to_string()) }
    }
}

impl From<crate::state::StateError> for CliError {
    fn from(error: crate::state::StateError) -> Self {
        Self::failed(error.to_string())
    }
}

/// How often a project is looked into when each owner leaves between the door and the answer.
const LOOKS_MAX: usize = 5;

/// Looks into a project. An owner may end just when it is asked: then whoever owns the state folder now is asked.
pub(super) fn look<T>(
    context: &Context,
    standing: &Standing,
    look: impl Fn(&Looking) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let once = || Looking::open(context, standing).and_then(|looking| look(&looking));
    for _ in 1..LOOKS_MAX {
        match once() {
            Err(error) if error.is_gone => {}
            answer => return answer,
        }
    }
    once()
}

/// The word for the newest run.
pub(super) const LAST: &str = "last";

/// An open way into a project.
pub(super) struct Looking {
    pub(super) access: Access,
    runtime: tokio::runtime::Runtime,
}

impl Looking {
    pub(super) fn open(context: &Context, standing: &Standing) -> Result<Self, CliError> {
        Ok(Self { access: context.access(standing)?, runtime: runtime()? })
    }

    fn reader(&self) -> Option<&Reader> {
        match &self.access {
            Access::Own(own) => Some(own.store.state.reader()),
            Access::StateOnly(reader) => Some(reader),
            Access::Other(_) => None,
        }
    }

    /// All runs, oldest first.
    pub(super) fn runs(&self) -> Result<Vec<RunLine>, CliError> {
        match (&self.access, self.reader()) {
            (Access::Other(client), _) => Ok(self.runtime.block_on(client.get("/v1/runs"))?),
            (_, Some(reader)) => {
                Ok(reader.outlines()?.iter().map(|(head, steps)| RunLine::new(head, steps, false)).collect())
            }
            (_, None) => Ok(Vec::new()),
        }
    }

    /// The run that a person names.
    pub(super) fn find(&self, name: &str) -> Result<RunId, CliError> {
        match self.reader() {
            Some(reader) => find_run(&reader.heads()?, name),
            None => {
                let runs = self.runs()?;
                let named = runs.iter().rev().find(|run| name != LAST && run.name.as_deref() == Some(name));
                if let Some(run) = named.and_then(|run| run.run.parse().ok()) {
                    return Ok(RunId(run));
                }
                let ids = runs.iter().filter_map(|run| run.run.parse().ok().map(RunId));
                find_id(&ids.collect::<Vec<_>>(), name)
            }
        }
    }

    pub(super) fn detail(&self, run: RunId) -> Result<RunDetail, CliError> {
        match &self.access {
            Access::Other(client) => Ok(self.runtime.block_on(client.get(&format!("/v1/runs/{run}")))?),
            Access::Own(_) | Access::StateOnly(_) => {
                let found = self.reader().map(|reader| reader.run_to_show(run)).transpose()?.flatten();
                let state = found.ok_or_else(|| CliError::usage(format!("no run {run}")))?;
                Ok(RunDetail::new(&state, false))
            }
        }
    }

    pub(super) fn item(
        &self,
        run: RunId,
        key: &str,
        blobs: &crate::journal::blobs::Blobs,
    ) -> Result<Vec<ItemStory>, CliError> {
        match &self.access {
            Access::Other(client) => {
                let query: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
                Ok(self.runtime.block_on(client.get(&format!("/v1/runs/{run}/items?key={query}")))?)
            }
            _ => Ok(ItemStory::of(&self.state(run)?, key, &|payload| blobs.read_value(payload).ok())),
        }
    }

    /// The key of the run that is most like `key`: a file by its name alone, or by a slip of the hand. Known only here.
    pub(super) fn nearest_key(&self, run: RunId, key: &str) -> Option<String> {
        let state = self.state(run).ok()?;
        let keys = || state.tasks.values().map(|task| task.key.as_str());
        let ending = format!("/{}", key.trim_start_matches("./"));
        let found = keys().find(|known| known.ends_with(&ending)).or_else(|| nearest(key, keys()));
        found.map(str::to_owned)
    }

    pub(super) fn asks(&self) -> Result<Vec<AskLine>, CliError> {
        match (&self.access, self.reader()) {
            (Access::Other(client), _) => Ok(self.runtime.block_on(client.get("/v1/asks"))?),
            (_, Some(reader)) => Ok(reader.asking()?.iter().flat_map(ask_lines).collect()),
            (_, None) => Ok(Vec::new()),
        }
    }

    /// The state of a run that is read here.
    pub(super) fn state(&self, run: RunId) -> Result<RunState, CliError> {
        let reader = self.reader().ok_or_else(|| CliError::failed("another process owns the state folder"))?;
        reader.run(run)?.ok_or_else(|| CliError::usage(format!("no run {run}")))
    }

    /// For what needs the journal, when it cannot be used; the warning before it said why.
    pub(super) fn nothing_runs(&self, what: &str) -> CliError {
        CliError::failed(format!("without the journal nothing can be {what}"))
            .hint("the warning above says how to get it back")
    }

    pub(super) const fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }
}

/// The run that a person names: `last`, a name, a full id or a unique beginning of one.
pub(super) fn find_run(heads: &[Head], name: &str) -> Result<RunId, CliError> {
    let named = heads.iter().rev().find(|head| name != LAST && head.origin.name.as_deref() == Some(name));
    match named {
        Some(head) => Ok(head.run),
        None => find_id(&heads.iter().map(|head| head.run).collect::<Vec<_>>(), name),
    }
}

fn find_id(runs: &[RunId], name: &str) -> Result<RunId, CliError> {
    if runs.is_empty() {
        return Err(CliError::usage("there are no runs in this project yet").hint("ollmcp run PLAN starts one"));
    }
    if name == LAST {
        return Ok(*runs.iter().max().expect("there is one"));
    }
    let found: Vec<_> = runs.iter().filter(|run| run.to_string().starts_with(name)).collect();
    match found.as_slice() {
        [run] => Ok(**run),
        [] => Err(CliError::usage(format!("no run is called `{name}`")).hint("ollmcp ls lists the runs")),
        several => Err(CliError::usage(format!("`{name}` is the beginning of {} runs", several.len()))
            .hint(several.iter().map(ToString::to_string).collect::<Vec<_>>().join("  "))),
    }
}

/// The question that a person names: its id or a unique beginning of it.
pub(super) fn find_ask(asks: &[AskLine], name: &str) -> Result<AskLine, CliError> {
    let found: Vec<_> = asks.iter().filter(|ask| ask.id.starts_with(name)).collect();
    match found.as_slice() {
        [ask] => Ok((*ask).clone()),
        [] => Err(CliError::usage(format!("no open question `{name}`")).hint("ollmcp inbox lists them")),
        several => Err(CliError::usage(format!("`{name}` is the beginning of {} questions", several.len()))
            .hint(several.iter().map(|ask| ask.id.clone()).collect::<Vec<_>>().join("  "))),
    }
}
