//! Starts the process: parse, run, exit code. Nothing worth testing.

use std::process::ExitCode;

fn main() -> ExitCode {
    ollmcp::cli::main(std::env::args_os().collect())
}
