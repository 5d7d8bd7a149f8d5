//! Starts the process.

use std::path::Path;
use std::process::ExitCode;

use ollmcp::pdf::{ReadOptions, WorkerLimits, Workers, worker::worker_main};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if args == ["__pdf-worker"] {
        return ExitCode::from(u8::try_from(worker_main()).unwrap_or(1));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let program = std::env::current_exe().expect("this binary has a path");
    let workers = Workers::new(program, vec!["__pdf-worker".to_owned()], WorkerLimits::default());
    match args[..] {
        ["tool-server", "pdf_extract"] => {
            let policy = ollmcp::servers::pdf_extract::any_path();
            match runtime.block_on(ollmcp::servers::pdf_extract::serve(workers, policy)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        ["pdf-debug", file] => debug(&runtime, &workers, file),
        _ => ExitCode::from(2),
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "stands in for the command line until it is merged")]
fn debug(runtime: &tokio::runtime::Runtime, workers: &Workers, file: &str) -> ExitCode {
    match runtime.block_on(workers.tables(Path::new(file), file, ReadOptions::default())) {
        Ok(extraction) => {
            println!("{}", serde_json::to_string(&extraction).expect("plain data"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
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
