//! `agents show NAME --prompt`: the messages that a model would get, as far as they are known before a run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::args::AgentShowArgs;
use super::super::context::Context;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::output;
use super::super::plan_source::find_and_read;
use super::super::run::inputs_of;
use super::super::watch::runtime;
use super::find;
use crate::agent::prompt::{self, Built, TaskPrompt, check_in_words};
use crate::agent::{AgentSpec, budget};
use crate::app::models::asking;
use crate::app::place::Standing;
use crate::app::servers::gather;
use crate::domain::nearest::nearest;
use crate::domain::plan::{ForEach, Plan, Step, StepKind};
use crate::model::{Offer, Speaker};
use crate::plan_file::expr::{self, Lookup, Piece, Roots};
use crate::report::text;
use crate::tool::ToolBox as _;

/// What stands for a task where no step is named.
const NO_TASK: &str = "[the step's `prompt` stands here]";

/// What a step gives to its prompt.
#[derive(Debug, Default)]
struct Task {
    text: String,
    inputs: Vec<(String, String)>,
    results: Vec<(String, String)>,
    schema: Option<Value>,
    checks: Vec<String>,
    /// What is known only when the step runs.
    open: BTreeSet<String>,
}

pub(super) fn prompt(context: &Context, args: &AgentShowArgs) -> Result<Exit, CliError> {
    let standing = context.standing_to_start(false)?;
    let agent = &asking::told(&standing.settings, find(&standing, &args.name)?);
    let task = task_of(context, &standing, args, agent)?;
    let offers = offers(&standing, agent)?;
    let built = prompt::build(&TaskPrompt {
        spec: agent,
        workspace: standing.folder(),
        today: None,
        task: &task.text,
        inputs: &task.inputs,
        results: &task.results,
        offers: &offers,
        schema: task.schema.as_ref().or(agent.output_schema.as_ref()),
        checks: &task.checks,
        complaints: &[],
        native_tools: !args.tools_in_text,
    })
    .map_err(|error| CliError::usage(error.to_string()).hint(error.hint()))?;
    for open in &task.open {
        output::note(&format!("known only when the step runs: {open}"));
    }
    let native: &[Offer] = if args.tools_in_text { &[] } else { &offers };
    if context.is_json {
        output::json_with_version(shape(agent, &built, native, &task));
    } else {
        print(&built, native);
    }
    Ok(Exit::Complete)
}

fn task_of(context: &Context, standing: &Standing, args: &AgentShowArgs, agent: &AgentSpec) -> Result<Task, CliError> {
    let Some(name) = &args.plan else {
        output::note("no step is named (--plan PLAN --step ID), so the task is a placeholder");
        return Ok(Task { text: NO_TASK.to_owned(), ..Task::default() });
    };
    let plan = find_and_read(standing, name, context.is_json)?.plan;
    let steps_of_agent = || {
        let of_agent = plan
            .steps()
            .iter()
            .filter(|step| matches!(&step.kind, StepKind::Agent { name, .. } if *name == agent.name));
        of_agent.map(|step| step.id.to_string()).collect::<Vec<_>>()
    };
    let id = match &args.step {
        Some(id) => id.clone(),
        None => match <[String; 1]>::try_from(steps_of_agent()) {
            Ok([only]) => only,
            Err(steps) if steps.is_empty() => {
                return Err(CliError::usage(format!("no step of the plan names agent `{}`", agent.name)));
            }
            Err(steps) => {
                return Err(CliError::usage(format!("{} steps of the plan name agent `{}`", steps.len(), agent.name))
                    .hint(format!("take one: --step {}", steps.join(", --step "))));
            }
        },
    };
    let Some(step) = plan.steps().iter().find(|step| step.id.to_string() == id) else {
        let ids: Vec<String> = plan.steps().iter().map(|step| step.id.to_string()).collect();
        let error = CliError::usage(format!("the plan has no step `{id}`"));
        return Err(match nearest(&id, ids.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("there are: {}", ids.join(", "))),
        });
    };
    let StepKind::Agent { name, prompt, with } = &step.kind else {
        return Err(CliError::usage(format!("step `{id}` asks no agent: it is a `{}` step", step.kind.word())));
    };
    if *name != agent.name {
        return Err(CliError::usage(format!("step `{id}` is for agent `{name}`, not for `{}`", agent.name))
            .hint(format!("ollmcp agents show {name} --prompt --plan … --step {id}")));
    }
    let (inputs, _) = inputs_of(standing, &plan, &args.input)?;
    let mut open = BTreeSet::new();
    let scope = scope_of(step, inputs, args.item, &mut open)?;
    let text = match prompt {
        Some(template) => rendered(template, &scope, &mut open),
        None => {
            output::note(&format!("step `{id}` has no `prompt`: its agent asks a model only where its own way ends"));
            NO_TASK.to_owned()
        }
    };
    let given = with.iter().map(|(name, value)| (name.clone(), value_text(value, &scope, &mut open))).collect();
    Ok(Task {
        text,
        inputs: given,
        results: results_of(&plan, step),
        schema: step.output_schema.clone(),
        checks: (step.done_when.iter())
            .filter_map(|check| check_in_words(check, |path| rendered(path, &scope, &mut open)))
            .collect(),
        open,
    })
}

/// What expressions of the step see before a run: the inputs, and the item where its list is known.
fn scope_of(
    step: &Step,
    inputs: Map<String, Value>,
    item: Option<usize>,
    open: &mut BTreeSet<String>,
) -> Result<Roots, CliError> {
    let scope = Roots::default().with("inputs", Value::Object(inputs));
    let number = item.unwrap_or(1);
    let found = match &step.for_each {
        None if item.is_some() => {
            return Err(CliError::usage(format!("step `{}` has no `for_each`, so it has no items", step.id)));
        }
        None => return Ok(scope),
        Some(ForEach::Items(from)) => {
            open.insert(format!("the items of step `{from}`"));
            return Ok(scope);
        }
        Some(ForEach::List(template)) => match expr::render(template, &scope) {
            Ok(Value::Array(list)) => list.get(number.wrapping_sub(1)).cloned().ok_or(list.len()),
            _ => {
                open.insert("the list of `for_each`".to_owned());
                return Ok(scope);
            }
        },
        Some(ForEach::Range(template)) => match expr::render(template, &scope).ok().and_then(|end| end.as_u64()) {
            Some(end) if (1..=end).contains(&(number as u64)) => Ok(Value::from(number - 1)),
            Some(end) => Err(usize::try_from(end).unwrap_or(usize::MAX)),
            None => {
                open.insert("the range of `for_each`".to_owned());
                return Ok(scope);
            }
        },
    };
    let value = found.map_err(|len| CliError::usage(format!("there is no item {number}: the list has {len}")))?;
    Ok(scope.with("item", value).with("index", Value::from(number - 1)))
}

/// A template with what is known put in; the rest is named in brackets.
fn rendered(template: &str, scope: &dyn Lookup, open: &mut BTreeSet<String>) -> String {
    if let Ok(value) = expr::render(&Value::from(template), scope) {
        return plain(&value);
    }
    let Ok(pieces) = expr::split(template) else { return template.to_owned() };
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Expression(text, _) => match expr::evaluate(text, scope) {
                Ok(value) => plain(&value),
                Err(_) => {
                    let text = text.trim();
                    open.insert(format!("`{text}`"));
                    format!("[{text}]")
                }
            },
        })
        .collect()
}

fn value_text(template: &Value, scope: &dyn Lookup, open: &mut BTreeSet<String>) -> String {
    match expr::render(template, scope) {
        Ok(value) => plain(&value),
        Err(_) => match template {
            Value::String(text) => rendered(text, scope, open),
            other => rendered(&other.to_string(), scope, open),
        },
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The steps whose results come along; what they are is known later.
fn results_of(plan: &Plan, step: &Step) -> Vec<(String, String)> {
    let Some(index) = plan.index_of(&step.id) else { return Vec::new() };
    let needed: BTreeSet<String> = plan.needs(index).map(|(from, _)| plan.step(from).id.to_string()).collect();
    needed.into_iter().map(|id| (format!("steps.{id}"), format!("[the result of step `{id}`]"))).collect()
}

/// The agent's tools as their servers describe them; only servers that it names are started.
fn offers(standing: &Standing, agent: &AgentSpec) -> Result<Vec<Offer>, CliError> {
    let Some(words) = &agent.tools else {
        output::note("the agent's file names no tools: those of the step are offered");
        return Ok(Vec::new());
    };
    let spill = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let gathered = gather(standing, &program, &[], spill.path());
    let servers = gathered.servers;
    let needed: Vec<String> = servers
        .servers()
        .into_iter()
        .filter(|server| {
            words.iter().any(|word| word.strip_prefix(server.as_str()).is_some_and(|rest| rest.starts_with('.')))
        })
        .collect();
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        let asked = needed.into_iter().map(|name| {
            let servers = Arc::clone(&servers);
            async move { (name.clone(), servers.tools(&name).await) }
        });
        let found = futures::future::join_all(asked).await;
        servers.close_all().await;
        found
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    let mut known = Vec::new();
    for (server, tools) in found {
        match tools {
            Ok(tools) => known.extend(tools.iter().map(|tool| (format!("{server}.{}", tool.name), tool.clone()))),
            Err(error) => output::note(&format!("tools of `{server}` are not shown: {error}")),
        }
    }
    let names: Vec<String> = known.iter().map(|(name, _)| name.clone()).collect();
    let missing = agent.missing_tools(&names);
    if !missing.is_empty() {
        output::note(&format!("not offered, because nobody has them: {}", text::clean(&missing.join(", "))));
    }
    let usable = agent.usable_tools(&names);
    let offered = prompt::offer_names(&usable);
    Ok(usable
        .iter()
        .zip(offered)
        .filter_map(|(name, offered)| {
            let (_, tool) = known.iter().find(|(known, _)| known == name)?;
            Some(prompt::offer(offered, &tool.description, tool.input_schema.clone()))
        })
        .collect())
}

fn speaker(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
        Speaker::Tool => "tool",
    }
}

fn shape(agent: &AgentSpec, built: &Built, tools: &[Offer], task: &Task) -> Value {
    let fragments: Vec<Value> = built
        .fragments
        .iter()
        .map(|part| serde_json::json!({ "name": part.name, "chars": part.chars, "chars_max": part.chars_max, "cut": part.cut }))
        .collect();
    serde_json::json!({
        "name": agent.name,
        "messages": built.messages,
        "tools": tools,
        "fragments": fragments,
        "tokens": budget::prompt_tokens(&built.messages, tools),
        "open": task.open,
    })
}

fn print(built: &Built, tools: &[Offer]) {
    for message in &built.messages {
        output::out(&format!("── {} ──\n{}\n\n", speaker(message.speaker), visible(&message.text)));
    }
    if !tools.is_empty() {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        output::out(&format!("── tools, sent beside the messages ──\n{}\n\n", names.join(", ")));
    }
    output::out(&format!("{:<12} {:>10} {:>8}\n", "fragment", "characters", "at most"));
    for part in &built.fragments {
        let cut = if part.cut { "  cut" } else { "" };
        output::out(&format!("{:<12} {:>10} {:>8}{cut}\n", part.name, part.chars, part.chars_max));
    }
    let tokens = budget::prompt_tokens(&built.messages, tools);
    output::out(&format!("at most about {tokens} tokens, the tools included\n"));
}

/// Line by line, so that line ends stay and nothing else acts on the terminal.
fn visible(message: &str) -> String {
    message.lines().map(text::clean).collect::<Vec<_>>().join("\n")
}
