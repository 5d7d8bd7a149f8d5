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
use crate::domain::plan::InputKind;
use crate::domain::run::{Head, accept};
use crate::engine::supervisor::Beginning;
use crate::os::paths::{lies_within, resolved};
use crate::plan_file::resolve_inputs;

pub(super) fn run(context: &Context, args: RunArgs) -> Result<Exit, CliError> {
    let standing = context.standing_to_start(true)?;
    let project = project_of(&standing)?;
    let FoundAndRead { plan, source } = find_and_read(&standing, &args.plan, context.is_json)?;
    let (inputs, granted) = inputs_of(&standing, &plan, &args.input)?;
    let own = context.own_store(project, "run")?;
    let heads = own.store.state.reader().heads().map_err(|error| CliError::failed(error.to_string()))?;
    let unfinished = heads.iter().rev().find(|head| is_same(head, &plan, &inputs));
    if let Some(head) = unfinished.filter(|_| !args.new) {
        let run = head.run;
        if !watch::asks_yes(&format!("run {} of the same plan and inputs has not ended. Go on with it?", run.short())) {
            return Err(CliError::usage(format!("run {} of the same plan and inputs has not ended", run.short()))
                .hint(format!("go on with it: ollmcp resume {}", run.short()))
                .hint(format!("start anew: ollmcp run --new {}{}", args.plan, again(&args.input))));
        }
        let state = own.store.state.reader().run(run).map_err(|error| CliError::failed(error.to_string()))?;
        let state = state.ok_or_else(|| CliError::failed("the state store lost the run"))?;
        return watch::watch(context, &standing, own, run, Beginning::Existing(Box::new(state)), &granted);
    }
    let run = RunId(crate::app::new_uuid());
    let origin = Origin {
        project: project.id.to_string(),
        plan_source: source.clone(),
        fresh: args.fresh,
        name: args.name,
        granted: granted.iter().filter_map(|path| path.to_str()).map(str::to_owned).collect(),
    };
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

/// Inputs as words of a command that can be typed again.
fn again(inputs: &[String]) -> String {
    let is_plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "=_-./:,".contains(c));
    let quoted =
        |word: &String| if is_plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) };
    inputs.iter().map(|word| format!(" -i {}", quoted(word))).collect()
}

/// An unfinished run of the same plan and inputs.
fn is_same(head: &Head, plan: &crate::domain::plan::Plan, inputs: &Map<String, Value>) -> bool {
    head.end.is_none() && &head.inputs == inputs && head.plan == plan.name()
}

/// The run's inputs, with paths made to hold in the project folder, and the paths outside it that the person named.
pub(super) fn inputs_of(
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
    let granted = pairs.iter().flat_map(|(name, value)| named_outside(standing, plan, name, value)).collect();
    Ok((inputs, granted))
}

/// What lies outside the project folder of what a person typed for an input: the path itself, and where it leads.
fn named_outside(standing: &Standing, plan: &crate::domain::plan::Plan, name: &str, value: &str) -> Vec<PathBuf> {
    let folder = standing.folder();
    let path = match kind_of(plan, name) {
        Some(InputKind::Path) => folder.join(value),
        // Any other text with a scheme is no address, so nothing is granted by it.
        Some(InputKind::String) if value.trim_start().starts_with("sqlite") => match Address::parse(value, folder) {
            Ok(Address::Sqlite(path)) => path,
            Err(_) => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    if lies_within(folder, &path, [folder]) {
        return Vec::new();
    }
    let real = resolved(folder, &path);
    if real == path { vec![path] } else { vec![path, real] }
}

fn kind_of(plan: &crate::domain::plan::Plan, name: &str) -> Option<InputKind> {
    plan.raw().inputs.iter().find(|input| input.name == name).map(|input| input.kind)
}

/// What a person types is relative to the folder they stand in: made to hold in the project folder.
fn typed(standing: &Standing, plan: &crate::domain::plan::Plan, name: &str, value: &str) -> String {
    match kind_of(plan, name) {
        Some(InputKind::Path) if !value.is_empty() => in_project(standing, value),
        Some(InputKind::String) => {
            match value.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest)) {
                Some(path) if !path.is_empty() && !path.starts_with(['/', ':']) => {
                    format!("sqlite:{}", in_project(standing, path))
                }
                _ => value.to_owned(),
            }
        }
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
