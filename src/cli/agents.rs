//! `agents`: the agents that are there, and what their files say.

use super::args::AgentsArgs;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::agent::AgentSpec;
use crate::report::{SHAPE_VERSION, text};

pub(super) fn agents(context: &Context, args: &AgentsArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    if let Some(name) = &args.name {
        let agent =
            standing.agents.get(name).map_err(|miss| CliError::usage(miss.to_string()).hint_opt(miss.hint()))?;
        if context.is_json {
            output::json_with_version(shape(agent));
        } else {
            print(agent);
        }
        return Ok(Exit::Complete);
    }
    if context.is_json {
        let agents: Vec<_> = standing.agents.iter().map(shape).collect();
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "agents": agents }));
        return Ok(Exit::Complete);
    }
    for agent in standing.agents.iter() {
        output::out(&format!("{:<16} {:<34} {}\n", agent.name, state(agent), text::clean(&agent.description)));
    }
    Ok(Exit::Complete)
}

fn state(agent: &AgentSpec) -> &'static str {
    match (agent.reserved, agent.deterministic) {
        (true, _) => "reserved: not in this version",
        (false, true) => "works without a model",
        (false, false) => "needs a model: not in this version",
    }
}

fn origin(agent: &AgentSpec) -> String {
    agent.file.as_ref().map_or_else(|| "shipped".to_owned(), |file| file.display().to_string())
}

fn shape(agent: &AgentSpec) -> serde_json::Value {
    serde_json::json!({
        "name": agent.name,
        "role": agent.role,
        "description": agent.description,
        "state": state(agent),
        "origin": origin(agent),
        "tools": agent.tools,
        "grants": agent.grants,
        "reserved": agent.reserved,
        "deterministic": agent.deterministic,
        "digest": agent.digest,
        "prompt": agent.prompt,
    })
}

fn print(agent: &AgentSpec) {
    output::out(&format!(
        "{}  ({})\nfrom {}\n{}\n",
        agent.name,
        state(agent),
        origin(agent),
        text::clean(&agent.description)
    ));
    let grants = serde_json::to_value(&agent.grants).expect("grants are words");
    output::out(&format!(
        "role {} · grants {grants} · output version {}\n\n{}\n",
        agent.role,
        agent.output_version,
        agent.prompt.trim()
    ));
}
