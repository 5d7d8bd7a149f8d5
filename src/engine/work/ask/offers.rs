//! The tools of one attempt: those that its step or agent names, as far as they are there and may be used.

use serde_json::Value;

use crate::agent::AgentSpec;
use crate::agent::turns::Tool;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::kinds::Grant;
use crate::domain::plan::{RepeatClass, Step};
use crate::engine::Ports;
use crate::engine::work::OWN_SERVERS;
use crate::engine::work::act::tool_failure;
use crate::model::Offer;
use crate::tool::{ToolError, ToolSpec};

/// Longest description that a model is shown.
const DESCRIPTION_CHARS_MAX: usize = 400;
/// Tools that one attempt may be offered.
const TOOLS_MAX: usize = 64;
/// Our servers that come with a later version.
const LATER_SERVERS: &[&str] = &["shell"];

/// Finds the tools of a step.
///
/// # Errors
/// A tool that is not there, is not in this version, or needs a grant that the step or agent does not have.
pub(in crate::engine::work) async fn offered(
    ports: &Ports,
    step: &Step,
    spec: &AgentSpec,
) -> Result<Vec<Tool>, Failure> {
    let named = step.tools.as_ref().or(spec.tools.as_ref());
    let mut tools: Vec<Tool> = Vec::new();
    for name in named.into_iter().flatten() {
        let (server, pattern) = split(ports, name)?;
        let is_whole = pattern == "*";
        let known = ports.tools.tools(&server).await.map_err(|error| tool_failure(&error))?;
        let found: Vec<&ToolSpec> = known.iter().filter(|tool| is_whole || tool.name == pattern).collect();
        if found.is_empty() && !is_whole {
            let known = known.iter().map(|tool| tool.name.clone()).collect();
            return Err(tool_failure(&ToolError::UnknownTool { server, tool: pattern, known }));
        }
        for tool in found {
            let full = format!("{server}.{}", tool.name);
            if is_forbidden(spec, &server, &full) || tools.iter().any(|known| known.full_name() == full) {
                continue;
            }
            match missing_grant(step, spec, &server, tool) {
                None => tools.push(tool_of(&server, tool)),
                // A whole server is offered as far as the grants go; a tool that was named must be usable.
                Some(_) if is_whole => {}
                Some(grant) => {
                    let message =
                        format!("`{full}` needs the grant `{grant}`, which agent `{}` does not have here", spec.name);
                    return Err(Failure::new(FailureKind::Refused, message)
                        .hint("leave the tool out, or take an agent that may: `grants` in its file"));
                }
            }
        }
    }
    if tools.len() > TOOLS_MAX {
        let message = format!("{} tools are more than the {TOOLS_MAX} that one attempt is offered", tools.len());
        return Err(Failure::new(FailureKind::BadInput, message).hint("name those that the step needs: `tools: [...]`"));
    }
    name_apart(&mut tools);
    Ok(tools)
}

fn split(ports: &Ports, name: &str) -> Result<(String, String), Failure> {
    let servers = ports.tools.servers();
    let found = name
        .rmatch_indices('.')
        .map(|(at, _)| (&name[..at], &name[at + 1..]))
        .find(|(server, _)| servers.iter().any(|known| known == server));
    if let Some((server, tool)) = found {
        return Ok((server.to_owned(), tool.to_owned()));
    }
    let server = name.split_once('.').map_or(name, |(server, _)| server);
    if LATER_SERVERS.contains(&server) {
        return Err(Failure::new(FailureKind::UnknownTool, format!("`{name}` is not in this version")));
    }
    Err(tool_failure(&ToolError::UnknownServer { server: server.to_owned(), known: servers }))
}

fn is_forbidden(spec: &AgentSpec, server: &str, full: &str) -> bool {
    spec.forbidden_tools.iter().any(|forbidden| forbidden == full || *forbidden == format!("{server}.*"))
}

/// The grant that a tool needs and the step and its agent do not both have. What a foreign tool needs nobody knows: the
/// person who named it has said that it may be used, unless it only reads.
fn missing_grant(step: &Step, spec: &AgentSpec, server: &str, tool: &ToolSpec) -> Option<Grant> {
    let needed = match (server, tool.name.as_str(), tool.repeat) {
        (_, _, RepeatClass::Read) => Grant::Read,
        ("fs", ..) => Grant::Write,
        _ if OWN_SERVERS.contains(&server) => Grant::Read,
        _ => return None,
    };
    let has = |grants: &[Grant]| grants.contains(&needed);
    let both = has(&spec.grants) && step.grants.as_deref().is_none_or(has);
    (!both).then_some(needed)
}

fn tool_of(server: &str, tool: &ToolSpec) -> Tool {
    let description: String = tool.description.split_whitespace().collect::<Vec<_>>().join(" ");
    Tool {
        offer: Offer {
            name: name_for_models(&format!("{server}_{}", tool.name)),
            description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
            parameters: as_object(&tool.input_schema),
        },
        server: server.to_owned(),
        tool: tool.name.clone(),
        repeat: tool.repeat,
        creates: tool.repeat != RepeatClass::Read && makes(&tool.name),
    }
}

/// Whether a tool says by its name that it makes something new. One that deletes, moves or processes names what is there.
fn makes(name: &str) -> bool {
    const MAKING: &[&str] = &[
        "add", "append", "build", "clone", "copy", "create", "download", "export", "generate", "init", "insert",
        "make", "mkdir", "new", "put", "record", "register", "render", "save", "store", "touch", "upload", "upsert",
        "write",
    ];
    let mut word = String::new();
    let mut words = Vec::new();
    for letter in name.chars() {
        if !letter.is_alphanumeric() || letter.is_uppercase() {
            words.push(std::mem::take(&mut word));
        }
        word.extend(letter.to_lowercase().filter(|letter| letter.is_alphanumeric()));
    }
    words.push(word);
    words.iter().any(|word| MAKING.contains(&word.as_str()))
}

/// Models and their servers take letters, digits, `_` and `-`.
fn name_for_models(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    name.chars().map(plain).take(CHARS_MAX).collect()
}

/// Two tools whose names look alike to a model get numbers.
fn name_apart(tools: &mut [Tool]) {
    for at in 1..tools.len() {
        let (before, rest) = tools.split_at_mut(at);
        let own = &mut rest[0].offer.name;
        let mut number = 2;
        let base = own.clone();
        while before.iter().any(|other| other.offer.name == *own) {
            *own = format!("{base}_{number}");
            number += 1;
        }
    }
}

fn as_object(schema: &Value) -> Value {
    match schema {
        Value::Object(_) => schema.clone(),
        _ => serde_json::json!({ "type": "object", "properties": {} }),
    }
}
