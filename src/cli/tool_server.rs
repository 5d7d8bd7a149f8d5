//! `tool-server`: one of the built-in MCP servers on standard input and output, for any MCP client.

use super::args::ToolServerArgs;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::watch::runtime;
use crate::app::servers::OWN;
use crate::app::store::chain;
use crate::domain::nearest::nearest;
use crate::pdf::{WorkerLimits, Workers};
use crate::servers::{db, fs, pdf_extract};

pub(super) fn tool_server(context: &Context, args: &ToolServerArgs) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
    match args.name.as_str() {
        "fs" => {
            let options = fs::FsOptions::from_process(args.paths.clone()).map_err(|error| failed(&error))?;
            runtime.block_on(fs::serve(options)).map_err(|error| failed(&error))?;
        }
        "pdf_extract" => {
            let program = std::env::current_exe()?;
            let workers = Workers::new(program, vec!["__pdf-worker".to_owned()], worker_limits(context)?);
            let served = runtime.block_on(pdf_extract::serve(workers, pdf_extract::any_path()));
            served.map_err(|error| failed(&error))?;
        }
        "db" => runtime.block_on(db::serve()).map_err(CliError::failed)?,
        other => {
            let error = CliError::usage(format!("no built-in tool server is called `{other}`"));
            return Err(match nearest(other, OWN.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are: {}", OWN.join(", "))),
            });
        }
    }
    Ok(Exit::Complete)
}

/// Limits of the PDF workers, as configured where the server is started.
fn worker_limits(context: &Context) -> Result<WorkerLimits, CliError> {
    let limits = context.standing(false)?.settings.limits;
    let defaults = WorkerLimits::default();
    Ok(WorkerLimits {
        workers_max: limits.pdf_workers_max.map_or(defaults.workers_max, |workers| workers as usize),
        address_space_bytes: limits.pdf_memory_mib_max << 20,
        wall_ms: limits.pdf_timeout_s * 1000,
        ..defaults
    })
}
