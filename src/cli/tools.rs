//! `tools`: tool servers and their tools, with repeat classes. Starts the servers.

use std::time::Duration;

use super::args::ToolsArgs;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use super::watch::runtime;
use crate::app::servers::gather;
use crate::report::{SHAPE_VERSION, text};
use crate::tool::{ToolBox as _, ToolError, ToolSpec};

/// Longest description in the list; `--json` has it whole.
const ABOUT_CHARS_MAX: usize = 100;

pub(super) fn tools(context: &Context, args: &ToolsArgs) -> Result<Exit, CliError> {
    let standing = context.standing_to_start(false)?;
    let spill = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let gathered = gather(&standing, &program, &[], spill.path());
    for note in &gathered.notes {
        output::note(note);
    }
    if let Some(away) = args.server.as_ref().and_then(|name| gathered.away.iter().find(|away| away.server == *name)) {
        return Err(CliError::usage(format!("tool server `{}` {}", away.server, away.why)).hint_opt(away.hint.clone()));
    }
    let servers = gathered.servers;
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        let names =
            servers.servers().into_iter().filter(|name| args.server.as_ref().is_none_or(|wanted| wanted == name));
        // Started in parallel: one dead server keeps nobody waiting.
        let asked = names.map(|name| {
            let servers = servers.clone();
            async move { (name.clone(), servers.tools(&name).await) }
        });
        let found = futures::future::join_all(asked).await;
        servers.close_all().await;
        found
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    if let (Some(server), true) = (&args.server, found.is_empty()) {
        return Err(CliError::usage(format!("no tool server is called `{server}`"))
            .hint(format!("there are: {}", servers.servers().join(", "))));
    }
    let mut exit = Exit::Complete;
    let mut shapes = Vec::new();
    for (server, tools) in &found {
        if tools.is_err() {
            exit = Exit::Failed;
        }
        if context.is_json {
            shapes.push(shape(server, tools.as_ref().map(|tools| tools.as_slice())));
        } else {
            print(server, tools.as_ref().map(|tools| tools.as_slice()));
        }
    }
    if context.is_json {
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "servers": shapes }));
    }
    Ok(exit)
}

fn shape(server: &str, tools: Result<&[ToolSpec], &ToolError>) -> serde_json::Value {
    match tools {
        Ok(tools) => {
            let tools: Vec<_> = tools
                .iter()
                .map(|tool| {
                    serde_json::json!({
                        "name": format!("{server}.{}", tool.name),
                        "description": tool.description,
                        "repeat": tool.repeat,
                        "input_schema": tool.input_schema,
                        "output_schema": tool.output_schema,
                    })
                })
                .collect();
            serde_json::json!({ "server": server, "tools": tools })
        }
        Err(error) => serde_json::json!({ "server": server, "error": error.to_string() }),
    }
}

fn print(server: &str, tools: Result<&[ToolSpec], &ToolError>) {
    match tools {
        Ok(tools) => {
            let width =
                tools.iter().map(|tool| tool.name.chars().count()).max().unwrap_or(0) + server.chars().count() + 1;
            for tool in tools {
                let repeat = text::cell(&serde_json::to_value(tool.repeat).expect("a repeat class is a word"));
                let about = tool.description.lines().next().unwrap_or_default();
                let about = text::clean(&text::bounded(about, ABOUT_CHARS_MAX));
                let name = text::clean(&format!("{server}.{}", tool.name));
                output::out(format!("{name:<width$}  {repeat:<10}  {about}").trim_end());
                output::out("\n");
            }
        }
        Err(error) => output::err(&format!("{server}: {error}\n")),
    }
}
