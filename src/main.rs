//! Starts the process.

use std::path::PathBuf;
use std::process::ExitCode;

use ollmcp::servers::fs::{FsOptions, serve};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let served = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tool-server", "fs", paths @ ..] => match FsOptions::from_process(paths.iter().map(PathBuf::from).collect()) {
            Ok(options) => serve(options).await,
            Err(error) => Err(error),
        },
        _ => return ExitCode::from(2),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the command line takes over from here")]
            {
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
