//! The command line: one file a verb. The only room that prints.

mod access;
mod agents;
mod answer;
mod args;
mod asked;
mod budget;
mod call;
mod cancel;
mod claude_usage;
mod completion;
mod config;
mod context;
mod debug;
mod doctor;
mod error;
mod exit;
mod explain;
mod inbox;
mod init;
mod ls;
mod models;
mod offline;
mod output;
mod paying;
mod plan_source;
mod question;
mod resume;
mod rows;
mod run;
mod show;
mod signals;
mod start;
mod tool_server;
mod tools;
mod validate;
mod verify;
mod watch;
mod wish;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

pub use args::{Args, Verb};
pub use exit::Exit;

use context::Context;
use error::CliError;
use wish::Wish;

/// Runs a command line and gives the exit code of the process.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    // The hidden helpers first: they are started often and need nothing of what follows.
    if arguments.get(1).is_some_and(|first| first == "__pdf-worker") {
        return ExitCode::from(u8::try_from(crate::pdf::worker::worker_main()).unwrap_or(1));
    }
    let arguments = after_dashes(arguments);
    let command = Args::command();
    // Asked of a line that could not be read: what is data for a tool comes after `--`.
    let wants_json = arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json");
    let args = match command.try_get_matches_from(arguments).and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            if error.use_stderr() {
                if wants_json {
                    usage_of(&error).print_json();
                }
                // What cannot be printed is not printed.
                let _ = error.print();
                return Exit::Usage.into();
            }
            if let Err(error) = error.print() {
                output::not_written(&error);
            }
            return written(Exit::Complete).into();
        }
    };
    let environment = environment();
    let filter = environment.get("OLLMCP_LOG").or_else(|| environment.get("RUST_LOG"));
    crate::telemetry::start(filter.map(String::as_str));
    install_panic_hook();
    let is_json = args.json;
    match dispatch(args, environment) {
        Ok(exit) => written(exit).into(),
        Err(error) => {
            error.print(is_json);
            error.exit.into()
        }
    }
}

/// What follows `--` where a verb would stand is a question, whatever its words: told by a blank behind it.
fn after_dashes(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = arguments.iter().position(|word| word == "--") else { return arguments };
    let mut before = arguments[1..at].iter();
    while let Some(word) = before.next() {
        match word.to_str() {
            Some("--config") => _ = before.next(),
            Some(flag) if flag.starts_with("--") => {}
            _ => return arguments,
        }
    }
    let mut question = arguments.split_off(at).into_iter().skip(1).collect::<Vec<_>>().join(std::ffi::OsStr::new(" "));
    question.push(" ");
    arguments.push(question);
    arguments
}

/// What the reader of the command line says, as an error of ours: its first paragraph, and its tips.
fn usage_of(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let message: Vec<&str> = std::iter::once(first.strip_prefix("error: ").unwrap_or(first))
        .chain(lines.by_ref().take_while(|line| !line.is_empty()).map(str::trim))
        .collect();
    let tips = lines.filter_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned);
    let mut told = CliError::usage(message.join(" "));
    told.hints.extend(tips);
    told
}

/// Nothing is complete whose results did not reach their reader.
fn written(exit: Exit) -> Exit {
    let Some(why) = output::lost() else { return exit };
    output::err(&format!("error: cannot write the results: {why}\n"));
    if exit == Exit::Complete { Exit::Failed } else { exit }
}

/// The one place where the environment comes in.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A panic of an attempt is told by its supervisor; the log gets the place.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(place, thread, "panic: {info}");
    }));
}

fn dispatch(args: Args, environment: BTreeMap<String, String>) -> Result<Exit, CliError> {
    let Args { verb, config, trust_project_config, json, claude, budget } = args;
    let wish = Wish::of(claude, budget.as_deref())?;
    let has_config = config.is_some();
    let context = Context { environment, config, trust_project_config, is_json: json };
    let Some(verb) = verb else { return start::start(&context, has_config) };
    if wish != Wish::default() && !matches!(verb, Verb::Run(_) | Verb::Resume(_) | Verb::Question(_)) {
        return Err(CliError::usage("`--claude` and `--budget` belong to `run`, `resume` and questions"));
    }
    match verb {
        Verb::Run(args) => run::run(&context, args, wish),
        Verb::Resume(args) => resume::resume(&context, &args, wish),
        Verb::Validate(args) => validate::validate(&context, &args),
        Verb::Explain(args) => explain::explain(&context, &args),
        Verb::Ls(args) => ls::ls(&context, &args),
        Verb::Show(args) => show::show(&context, &args),
        Verb::Rows(args) => rows::rows(&context, &args),
        Verb::Cancel(args) => cancel::cancel(&context, &args),
        Verb::Inbox => inbox::inbox(&context),
        Verb::Answer(args) => answer::answer(&context, &args),
        Verb::ClaudeUsage(args) => claude_usage::claude_usage(&context, &args),
        Verb::Budget(args) => budget::budget(&context, &args),
        Verb::Verify(args) => verify::verify(&context, &args),
        Verb::Call(args) => call::call(&context, &args),
        Verb::Tools(args) => tools::tools(&context, &args),
        Verb::Models(args) => models::models(&context, &args),
        Verb::Agents(args) => agents::agents(&context, &args),
        Verb::Doctor => doctor::doctor(&context),
        Verb::Init => init::init(&context),
        Verb::Config(args) => config::config(&context, &args),
        Verb::Completion(args) => Ok(completion::completion(&args)),
        Verb::ToolServer(args) => tool_server::tool_server(&context, &args),
        Verb::Debug(args) => Ok(debug::debug(&args)),
        Verb::Question(words) => question::question(&context, &words, wish),
    }
}
