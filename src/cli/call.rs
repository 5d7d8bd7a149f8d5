//! `call`: one tool call. With `--json` the tool's structured result as it is.

use std::time::Duration;

use serde_json::{Map, Value};

use super::args::CallArgs;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use super::watch::runtime;
use crate::app::place::Standing;
use crate::app::servers::gather;
use crate::database::address::Address;
use crate::engine::work::tool_failure;
use crate::tool::{ToolBox as _, ToolCall, ToolError, ToolSpec};

pub(super) fn call(context: &Context, args: &CallArgs) -> Result<Exit, CliError> {
    let standing = context.standing_to_start(false)?;
    let spill = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let granted = typed_paths(&standing, &args.arguments);
    let tools = gather(&standing, &program, &granted, spill.path());
    if let Some(away) = tools.away_in(&args.tool) {
        return Err(CliError::usage(format!("tool server `{}` {}", away.server, away.why)).hint_opt(away.hint.clone()));
    }
    if let Some((server, _)) = tools.servers.split(&args.tool) {
        tools.notes_of(server).for_each(|note| output::note(note));
    }
    let servers = tools.servers;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let result = one_call(&standing, &servers, args).await;
        servers.close_all().await;
        result
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    let value = result?;
    if context.is_json {
        output::json(&value);
    } else {
        let text = serde_json::to_string_pretty(&value).expect("a JSON value prints");
        output::out(&text);
        output::out("\n");
    }
    Ok(Exit::Complete)
}

async fn one_call(
    standing: &Standing,
    servers: &crate::tool::pool::Servers,
    args: &CallArgs,
) -> Result<Value, CliError> {
    let Some((server, tool)) = servers.split(&args.tool) else {
        let hint = format!("there are: {}", servers.servers().join(", "));
        return Err(CliError::usage(format!("`{}` names no tool of a known server", args.tool)).hint(hint));
    };
    let specs = servers.tools(server).await.map_err(|error| told(&error))?;
    let spec = specs.iter().find(|spec| spec.name == tool).ok_or_else(|| {
        told(&ToolError::UnknownTool {
            server: server.to_owned(),
            tool: tool.to_owned(),
            known: specs.iter().map(|spec| spec.name.clone()).collect(),
        })
    })?;
    let call = ToolCall {
        server: server.to_owned(),
        tool: tool.to_owned(),
        arguments: arguments(standing, server, spec, &args.arguments)?,
        call_key: crate::app::new_uuid().simple().to_string(),
        timeout_ms: args.timeout.unwrap_or(standing.settings.limits.tool_timeout_s).saturating_mul(1000),
        staging: None,
    };
    servers.call(&call).await.map(|result| result.value).map_err(|error| told(&error))
}

fn told(error: &ToolError) -> CliError {
    let failure = tool_failure(error);
    let exit = match error {
        ToolError::UnknownServer { .. } | ToolError::UnknownTool { .. } | ToolError::BadArguments { .. } => Exit::Usage,
        ToolError::NotStarted { .. }
        | ToolError::Died { .. }
        | ToolError::Timeout { .. }
        | ToolError::Reported { .. } => Exit::Failed,
    };
    CliError { exit, ..CliError::failed(failure.message) }.hint_opt(failure.hint)
}

/// Values by the tool's schema: text where it wants text, JSON elsewhere. Paths are relative to where the person stands.
fn arguments(
    standing: &Standing,
    server: &str,
    spec: &ToolSpec,
    given: &[String],
) -> Result<Map<String, Value>, CliError> {
    let paths = spec.path_arguments();
    let mut arguments = Map::new();
    for word in given {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`{word}` has no `=`")).hint("write NAME=VALUE"))?;
        let schema = spec.input_schema.pointer(&format!("/properties/{name}/type"));
        let wants_text = schema.is_none_or(|kind| {
            kind == "string" || kind.as_array().is_some_and(|kinds| kinds.contains(&"string".into()))
        });
        let value = if paths.iter().any(|path| path == name) {
            Value::String(standing.cwd.join(value).display().to_string())
        } else if server == "db" && name == "database" {
            let address = Address::parse_or_path(value, &standing.cwd);
            Value::String(
                address.map_or_else(|_| value.to_owned(), |Address::Sqlite(path)| format!("sqlite:{}", path.display())),
            )
        } else if wants_text {
            Value::String(value.to_owned())
        } else {
            serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
        };
        arguments.insert(name.to_owned(), value);
    }
    Ok(arguments)
}

/// What a person types is granted: every argument that is a path that is there.
fn typed_paths(standing: &Standing, given: &[String]) -> Vec<std::path::PathBuf> {
    let values = given.iter().filter_map(|word| word.split_once('=')).map(|(_, value)| standing.cwd.join(value));
    values.filter(|path| path.exists()).collect()
}
