//! `completion`: the completion script of a shell.

use clap::CommandFactory as _;

use super::args::{Args, CompletionArgs};
use super::exit::Exit;
use super::output;

pub(super) fn completion(args: &CompletionArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "ollmcp", &mut script);
    output::out(&String::from_utf8_lossy(&script));
    Exit::Complete
}
