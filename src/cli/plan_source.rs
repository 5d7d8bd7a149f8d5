//! Finding and reading a plan: by file or by name, checked against the agents and servers that are there.

use std::path::Path;

use super::error::CliError;
use super::output;
use crate::app::place::Standing;
use crate::config::shipped::{FoundPlan, PLANS, find_plan, plan_names};
use crate::domain::nearest::nearest;
use crate::domain::plan::{Plan, StepKind};
use crate::domain::run::{RunState, StepPhase};
use crate::engine::work::write_arguments;
use crate::plan_file::{self, Catalog, KnownAgent, KnownTool, ServerTools};

/// A plan with where it was found.
#[derive(Debug)]
pub(super) struct FoundAndRead {
    pub(super) plan: Plan,
    pub(super) source: String,
}

/// Finds and reads a plan; says everything that is wrong with it.
pub(super) fn find_and_read(standing: &Standing, name: &str, is_json: bool) -> Result<FoundAndRead, CliError> {
    let (source, bytes) = find(standing, name)?;
    match plan_file::read(&bytes, &catalog(standing)) {
        Ok(read) => {
            for warning in &read.warnings {
                output::note(&format!("{source}:{}:{}: {}", warning.line, warning.column, warning.message));
            }
            Ok(FoundAndRead { plan: read.plan, source })
        }
        Err(faults) => {
            let mut error = CliError::usage(format!("`{source}` cannot be run as it is"));
            if is_json {
                error.more = Some(Box::new(faults.to_json(&source)));
            } else {
                let has_colour =
                    output::is_terminal() && standing.environment.get("NO_COLOR").is_none_or(String::is_empty);
                output::err(&faults.render(&source, has_colour));
            }
            Err(error)
        }
    }
}

/// A plan of the binary, whatever the person's own plans are called.
pub(super) fn shipped(standing: &Standing, name: &str) -> Result<Plan, CliError> {
    let plan = PLANS.iter().find(|plan| plan.name == name).expect("named by the program itself");
    let read = plan_file::read(plan.text.as_bytes(), &catalog(standing));
    read.map(|read| read.plan).map_err(|faults| {
        output::err(&faults.render(name, false));
        CliError::usage(format!("the shipped plan `{name}` cannot be run with this configuration"))
    })
}

/// Whether the servers of all that is left of a run are declared, as they were when it was accepted.
pub(super) fn servers_are_there(standing: &Standing, state: &RunState) -> Result<(), CliError> {
    let servers = catalog(standing).servers.unwrap_or_default();
    for (step, stands) in state.plan.steps().iter().zip(&state.steps) {
        let (StepKind::Tool { name, .. }, false) = (&step.kind, matches!(stands.phase, StepPhase::Ended { .. })) else {
            continue;
        };
        let found = name.rmatch_indices('.').find_map(|(at, _)| servers.get_key_value(&name[..at]));
        let error = match found {
            Some((server, ServerTools::Away { why, hint })) => {
                CliError::usage(format!("step `{}`: tool server `{server}` {why}", step.id)).hint_opt(hint.clone())
            }
            Some((_, ServerTools::Unknown | ServerTools::Known(_))) => continue,
            None => {
                let server = name.split_once('.').map_or(name.as_str(), |(server, _)| server);
                CliError::usage(format!("step `{}`: no tool server is called `{server}`", step.id))
                    .hint("it was declared when the run began: give the same --config FILE, or declare it again")
            }
        };
        return Err(error.hint(format!("nothing was started; run {} stays as it is", state.head.run.short())));
    }
    Ok(())
}

fn find(standing: &Standing, name: &str) -> Result<(String, Vec<u8>), CliError> {
    let folders = standing.plan_folders();
    let folders: Vec<&Path> = folders.iter().map(std::path::PathBuf::as_path).collect();
    let cannot_read = |path: &Path, error: &std::io::Error| {
        CliError::usage(format!("cannot read plan `{}`: {error}", path.display()))
    };
    match find_plan(name, &folders).map_err(|error| CliError::failed(format!("cannot look for plans: {error}")))? {
        Some(FoundPlan::Shipped(plan)) => Ok((format!("{} (shipped)", plan.name), plan.text.as_bytes().to_vec())),
        Some(FoundPlan::File(file)) => {
            let bytes = read_bounded(&file).map_err(|error| cannot_read(&file, &error))?;
            // As the person would type it.
            Ok((file.strip_prefix(&standing.cwd).unwrap_or(&file).display().to_string(), bytes))
        }
        None if crate::config::shipped::is_plan_name(name) && !standing.cwd.join(name).exists() => {
            let names = plan_names(&folders);
            let error = CliError::usage(format!("no plan is called `{name}`"));
            Err(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are: {}", names.join(", "))),
            })
        }
        None => {
            let path = standing.cwd.join(name);
            let bytes = read_bounded(&path).map_err(|error| cannot_read(Path::new(name), &error))?;
            Ok((name.to_owned(), bytes))
        }
    }
}

/// A file that is larger than a plan may be is not read to its end.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(plan_file::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a plan may name here.
pub(super) fn catalog(standing: &Standing) -> Catalog {
    let (declared, away) = crate::app::servers::declared(standing);
    let known = |(name, input_schema)| KnownTool { name, input_schema };
    let own = crate::servers::own_tools().into_iter().filter(|(name, _)| !crate::app::servers::is_off(standing, name));
    let mut servers: std::collections::BTreeMap<String, ServerTools> = own
        .map(|(name, tools)| {
            let on = tools.into_iter().filter(|(tool, _)| !standing.settings.is_disabled(name, tool));
            (name.to_owned(), ServerTools::Known(on.map(known).collect()))
        })
        .collect();
    // Declared servers are started only by a run: their tools are not known here.
    servers.extend(declared.servers.into_iter().map(|spec| (spec.name, ServerTools::Unknown)));
    for away in away {
        servers.entry(away.server).or_insert(ServerTools::Away { why: away.why, hint: away.hint });
    }
    let agents = standing.agents.iter().map(|agent| KnownAgent {
        name: agent.name.clone(),
        is_deterministic: agent.deterministic,
        is_reserved: agent.reserved,
        tools: agent.tools.clone().unwrap_or_default(),
        input_schema: if agent.deterministic { write_arguments() } else { serde_json::Value::Null },
    });
    // `default` is built from the models that the servers have where nobody configured it.
    let ladders = standing.settings.ladders.keys().cloned().chain(["default".to_owned()]);
    Catalog {
        servers: Some(servers),
        agents: Some(agents.collect()),
        ladders: Some(ladders.collect()),
        model_servers: None,
    }
}
