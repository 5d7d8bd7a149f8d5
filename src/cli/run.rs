//! `run`: a plan file, or a saved plan by name, in this process.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::args::RunArgs;
use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::plan_source::{FoundAndRead, find_and_read};
use super::{output, watch};
use crate::app::place::Standing;
use crate::database::address::Address;
use crate::domain::event::Origin;
use crate::domain::ids::RunId;
use crate::domain::plan::{Input, InputKind};
use crate::domain::run::{Head, accept};
use crate::engine::supervisor::Beginning;
use crate::plan_file::resolve_inputs;

pub(super) fn run(context: &Context, args: RunArgs) -> Result<Exit, CliError> {
    let standing = context.standing(true)?;
    let project = project_of(&standing)?;
    let FoundAndRead { plan, source } = find_and_read(&standing, &args.plan, context.is_json)?;
    let (inputs, granted) = inputs_of(&standing, &plan, &args.input)?;
    let own = context.own_store(project, "run")?;
    let heads = own.store.state.reader().heads().map_err(|error| CliError::failed(error.to_string()))?;
    let unfinished = heads.iter().rev().find(|head| is_same(head, &plan, &inputs));
    if let Some(head) = unfinished.filter(|_| !args.new) {
        let run = head.run;
        if !watch::asks_yes(&format!("run {} of the same plan and inputs has not ended. Go on with it?", run.short())) {
            let inputs: String = args.input.iter().map(|word| format!(" -i {}", quoted(word))).collect();
            return Err(CliError::usage(format!("run {} of the same plan and inputs has not ended", run.short()))
                .hint(format!("go on with it: ollmcp resume {}", run.short()))
                .hint(format!("start anew: ollmcp run --new {}{inputs}", quoted(&args.plan))));
        }
        let state = own.store.state.reader().run(run).map_err(|error| CliError::failed(error.to_string()))?;
        let state = state.ok_or_else(|| CliError::failed("the state store lost the run"))?;
        return watch::watch(context, &standing, own, run, Beginning::Existing(Box::new(state)), &granted);
    }
    let run = RunId(crate::app::new_uuid());
    let origin =
        Origin { project: project.id.to_string(), plan_source: source.clone(), fresh: args.fresh, name: args.name };
    output::err(&format!("run {} · {}\n", run.short(), crate::report::text::plan_text(plan.name(), &source)));
    for (name, value) in &inputs {
        output::err(&format!("  {name} = {}\n", crate::report::text::bounded(&value.to_string(), 200)));
    }
    output::err(&format!(
        "  state in {}; stopped or killed, it goes on with: ollmcp resume {}\n",
        project.state.display(),
        run.short()
    ));
    let beginning = Beginning::New(Box::new(accept(run, &plan, inputs, origin)));
    watch::watch(context, &standing, own, run, beginning, &granted)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_alphanumeric() || "/.:=_-@%+,".contains(c));
    if is_plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// An unfinished run of the same plan and inputs.
fn is_same(head: &Head, plan: &crate::domain::plan::Plan, inputs: &Map<String, Value>) -> bool {
    head.end.is_none() && &head.inputs == inputs && head.plan == plan.name()
}

/// The run's inputs, with paths made to hold in the project folder, and the paths outside it that the person named.
fn inputs_of(
    standing: &Standing,
    plan: &crate::domain::plan::Plan,
    given: &[String],
) -> Result<(Map<String, Value>, Vec<PathBuf>), CliError> {
    let mut pairs = Vec::new();
    for word in given {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`-i {word}` has no `=`")).hint("write `-i NAME=VALUE`"))?;
        pairs.push((name.to_owned(), typed(standing, plan, name, value)));
    }
    let inputs = resolve_inputs(plan.raw(), &pairs).map_err(|faults| {
        let mut error = CliError::usage(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        error.hints.extend(faults.iter().filter_map(crate::plan_file::InputFault::hint));
        error
    })?;
    let granted = granted(standing, plan, &inputs, &|input| pairs.iter().any(|(name, _)| *name == input.name));
    Ok((inputs, granted))
}

/// Paths outside the project folder that the person typed: inputs of type path, and addresses of databases. A default
/// of the plan was typed by nobody.
pub(super) fn granted(
    standing: &Standing,
    plan: &crate::domain::plan::Plan,
    inputs: &Map<String, Value>,
    is_typed: &dyn Fn(&Input) -> bool,
) -> Vec<PathBuf> {
    let folder = standing.folder();
    let typed = plan.raw().inputs.iter().filter(|input| is_typed(input));
    let paths = typed.filter_map(|input| {
        let text = inputs.get(&input.name)?.as_str()?;
        match input.kind {
            InputKind::Path => Some(folder.join(text)),
            InputKind::String if text.starts_with("sqlite") => match Address::parse(text, folder) {
                Ok(Address::Sqlite(path)) => Some(path),
                Err(_) => None,
            },
            _ => None,
        }
    });
    paths.filter(|path| !path.starts_with(folder)).collect()
}

/// What a person types is relative to the folder they stand in: made to hold in the project folder.
fn typed(standing: &Standing, plan: &crate::domain::plan::Plan, name: &str, value: &str) -> String {
    let kind = plan.raw().inputs.iter().find(|input| input.name == name).map(|input| input.kind);
    match kind {
        Some(InputKind::Path) if !value.is_empty() => in_project(standing, value),
        Some(InputKind::String) => match value.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() && !path.starts_with("//") => {
                format!("sqlite:{}", in_project(standing, path))
            }
            _ => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

fn in_project(standing: &Standing, path: &str) -> String {
    let mut full = PathBuf::new();
    for part in standing.cwd.join(path).components() {
        match part {
            std::path::Component::ParentDir => {
                full.pop();
            }
            std::path::Component::CurDir => {}
            other => full.push(other),
        }
    }
    let inside = full.strip_prefix(standing.folder()).map(Path::to_owned);
    match inside {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => full.display().to_string(),
    }
}
