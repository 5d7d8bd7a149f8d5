//! `agents`: the agents that are there, what their files say, the prompt that a model would get, and the definitions of
//! the prior program as files of ours.

mod import;
mod prompt;

use std::collections::BTreeSet;

use super::args::{AgentsAction, AgentsArgs};
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::agent::{AgentFault, AgentSpec, roles};
use crate::app::place::Standing;
use crate::report::{SHAPE_VERSION, text};

pub(super) fn agents(context: &Context, args: &AgentsArgs) -> Result<Exit, CliError> {
    match &args.action {
        None => match &args.name {
            Some(name) => show(context, name),
            None => list(context),
        },
        Some(AgentsAction::Show(show_args)) if show_args.prompt => prompt::prompt(context, show_args),
        Some(AgentsAction::Show(show_args)) => show(context, &show_args.name),
        Some(AgentsAction::Check { files }) => check(context, files),
        Some(AgentsAction::Import(import_args)) => import::import(context, import_args),
    }
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let tools = KnownTools::of(&standing);
    if context.is_json {
        let agents: Vec<_> = standing.agents.iter().map(|agent| shape(agent, &tools)).collect();
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "agents": agents }));
        return Ok(Exit::Complete);
    }
    for agent in standing.agents.iter() {
        let about = first_line(&agent.description);
        output::out(&format!("{:<16} {:<34} {about}\n", agent.name, state(agent, &tools)));
    }
    Ok(Exit::Complete)
}

fn show(context: &Context, name: &str) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let agent = find(&standing, name)?;
    let tools = KnownTools::of(&standing);
    if context.is_json {
        output::json_with_version(shape(agent, &tools));
    } else {
        print(agent, &tools);
    }
    Ok(Exit::Complete)
}

fn find<'a>(standing: &'a Standing, name: &str) -> Result<&'a AgentSpec, CliError> {
    standing.agents.get(name).map_err(|miss| CliError::usage(miss.to_string()).hint_opt(miss.hint()))
}

/// Reads every agent, or the files named, and says what is wrong and what does nothing.
fn check(context: &Context, files: &[std::path::PathBuf]) -> Result<Exit, CliError> {
    let mut faults: Vec<AgentFault> = Vec::new();
    let mut read: Vec<AgentSpec> = Vec::new();
    if files.is_empty() {
        let standing = context.standing(false)?;
        faults.extend(standing.agent_faults.iter().cloned());
        read.extend(standing.agents.iter().cloned());
    }
    for file in files {
        let label = file.display().to_string();
        let bytes_max = crate::agent::spec::AGENT_BYTES_MAX as u64;
        let text = match crate::os::files::read_text(file, bytes_max) {
            Ok(Some(text)) => text,
            Ok(None) => return Err(CliError::usage(format!("there is no file `{label}`"))),
            Err(error) => return Err(CliError::usage(format!("cannot read `{label}`: {error}"))),
        };
        match AgentSpec::parse(&text, &label, Some(file.clone())) {
            Ok(agent) => read.push(agent),
            Err(new) => faults.extend(new),
        }
    }
    if context.is_json {
        let agents: Vec<_> = read
            .iter()
            .map(|agent| serde_json::json!({ "name": agent.name, "origin": origin(agent), "notes": agent.notes }))
            .collect();
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| {
                serde_json::json!({ "file": fault.file, "line": fault.line, "column": fault.column,
                    "message": fault.message, "hint": fault.hint })
            })
            .collect();
        output::json(
            &serde_json::json!({ "v": SHAPE_VERSION, "holds": faults.is_empty(), "agents": agents, "faults": faults }),
        );
    } else {
        for agent in &read {
            output::out(&format!("{}: holds ({})\n", agent.name, origin(agent)));
            for note in &agent.notes {
                output::out(&format!("  note: {}\n", text::clean(note)));
            }
        }
        // Faults of agents that load by themselves were said as notes already.
        for fault in faults.iter().filter(|_| !files.is_empty()) {
            output::err(&format!("{}\n", text::clean(&fault.to_string())));
            if let Some(hint) = &fault.hint {
                output::err(&format!("hint: {}\n", text::clean(hint)));
            }
        }
    }
    Ok(if faults.is_empty() { Exit::Complete } else { Exit::Usage })
}

/// Which tools there are, as far as it is known without starting a server.
#[derive(Debug)]
struct KnownTools {
    /// Ours, as `server.tool`.
    own: Vec<String>,
    /// Servers that are declared: what they have is known when they are started.
    declared: BTreeSet<String>,
}

impl KnownTools {
    fn of(standing: &Standing) -> Self {
        let own = crate::servers::own_tools().into_iter();
        let own = own.flat_map(|(server, tools)| tools.into_iter().map(move |(name, _)| format!("{server}.{name}")));
        let (declared, _) = crate::app::servers::declared(standing);
        Self { own: own.collect(), declared: declared.servers.into_iter().map(|spec| spec.name).collect() }
    }

    /// Of an agent's tools, those that this version does not have.
    fn not_here(&self, agent: &AgentSpec) -> Vec<String> {
        let mut missing = agent.missing_tools(&self.own);
        missing.retain(|tool| !tool.split_once('.').is_some_and(|(server, _)| self.declared.contains(server)));
        missing
    }

    fn is_own_server(tool: &str) -> bool {
        matches!(tool.split_once('.'), Some(("fs" | "shell" | "pdf_extract" | "db", _)))
    }
}

fn state(agent: &AgentSpec, tools: &KnownTools) -> String {
    if agent.reserved {
        return "reserved: not in this version".to_owned();
    }
    if agent.deterministic {
        return "works without a model".to_owned();
    }
    if agent.role == roles::PLANNER {
        return "planning: not in this version".to_owned();
    }
    let missing = tools.not_here(agent);
    let all = agent.tools.as_ref().map_or(0, Vec::len);
    match missing.as_slice() {
        [] => "needs a model".to_owned(),
        [first, ..] if KnownTools::is_own_server(first) => format!("{first}: not in this version"),
        _ if missing.len() == all => "its tool servers are not here".to_owned(),
        _ => format!("needs a model, less {} of its tools", missing.len()),
    }
}

fn origin(agent: &AgentSpec) -> String {
    agent.file.as_ref().map_or_else(|| "shipped".to_owned(), |file| file.display().to_string())
}

/// Descriptions of Claude Code's files go on with whole dialogues.
fn first_line(description: &str) -> String {
    let line = description.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    text::clean(&text::bounded(line.trim(), DESCRIPTION_CHARS_MAX))
}

/// Longest description in the list; `--json` has it whole.
const DESCRIPTION_CHARS_MAX: usize = 200;

fn shape(agent: &AgentSpec, tools: &KnownTools) -> serde_json::Value {
    serde_json::json!({
        "name": agent.name,
        "role": agent.role,
        "description": agent.description,
        "state": state(agent, tools),
        "origin": origin(agent),
        "tools": agent.tools,
        "usable_tools": agent.tools.as_ref().map(|_| agent.usable_tools(&tools.own)),
        "missing_tools": tools.not_here(agent),
        "forbidden_tools": agent.forbidden_tools,
        "grants": agent.grants,
        "reserved": agent.reserved,
        "deterministic": agent.deterministic,
        "digest": agent.digest,
        "notes": agent.notes,
        "prompt": agent.prompt,
    })
}

fn print(agent: &AgentSpec, tools: &KnownTools) {
    output::out(&format!(
        "{}  ({})\nfrom {}\n{}\n",
        agent.name,
        state(agent, tools),
        origin(agent),
        text::clean(&agent.description)
    ));
    let grants = serde_json::to_value(&agent.grants).expect("grants are words");
    output::out(&format!("role {} · grants {grants} · output version {}\n", agent.role, agent.output_version));
    let line = |what: &str, names: &[String]| {
        if !names.is_empty() {
            output::out(&format!("{what}: {}\n", text::clean(&names.join(", "))));
        }
    };
    match &agent.tools {
        None => output::out("tools: those of the step\n"),
        Some(names) if names.is_empty() => output::out("tools: none\n"),
        Some(names) => {
            let missing = tools.not_here(agent);
            let here: Vec<String> = names.iter().filter(|name| !missing.contains(name)).cloned().collect();
            let (later, absent): (Vec<String>, Vec<String>) =
                missing.into_iter().partition(|name| KnownTools::is_own_server(name));
            line("tools", &here);
            line("not in this version", &later);
            line("of servers that are not declared", &absent);
        }
    }
    line("never", &agent.forbidden_tools);
    for note in &agent.notes {
        output::out(&format!("note: {}\n", text::clean(note)));
    }
    output::out(&format!("\n{}\n", agent.prompt.trim()));
}
