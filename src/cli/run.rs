//! `run`: a plan file, or a saved plan by name, in this process.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::access::LAST;
use super::args::RunArgs;
use super::context::{Context, OwnStore, project_of, quoted};
use super::error::CliError;
use super::exit::Exit;
use super::plan_source::{FoundAndRead, find_and_read};
use super::wish::Wish;
use super::{output, watch};
use crate::app::databases;
use crate::app::place::Standing;
use crate::config::project::Project;
use crate::database::address::Address;
use crate::domain::event::Origin;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ids::RunId;
use crate::domain::plan::{InputKind, Plan};
use crate::domain::run::{Head, accept};
use crate::engine::supervisor::Beginning;
use crate::engine::work::known_addresses;
use crate::os::paths::{lies_within, resolved};
use crate::plan_file::resolve_inputs;
use crate::report::text;

/// Longest name of a run.
const NAME_CHARS_MAX: usize = 60;

pub(super) fn run(context: &Context, args: RunArgs, before: Wish) -> Result<Exit, CliError> {
    let own = Wish::of(args.claude, args.budget.as_deref())?;
    let wish = Wish {
        claude: own.claude || before.claude,
        budget_microdollars: own.budget_microdollars.or(before.budget_microdollars),
        fake: args.fake,
    };
    args.name.as_deref().map_or(Ok(()), usable_name)?;
    let standing = context.standing_to_start(true)?;
    let project = project_of(&standing)?;
    let FoundAndRead { plan, source } = find_and_read(&standing, &args.plan, context.is_json)?;
    let (mut inputs, granted) = inputs_of(&standing, &plan, &args.input)?;
    set_fake(&plan, &args, &mut inputs)?;
    addresses_fit(&standing, &plan, &inputs)?;
    let own = context.own_store(project, "run")?;
    let heads = own.store.state.reader().heads().map_err(|error| CliError::failed(error.to_string()))?;
    let unfinished = heads.iter().rev().find(|head| is_same(head, &plan, &inputs, wish.fake));
    if let Some(head) = unfinished.filter(|_| !args.new) {
        let run = head.run;
        if !watch::asks_yes(&format!("run {} of the same plan and inputs has not ended. Go on with it?", run.short())) {
            return Err(CliError::usage(format!("run {} of the same plan and inputs has not ended", run.short()))
                .hint(format!("go on with it: {}", context.resume(run)))
                .hint(format!("start anew: {}", context.command(&again(&args)))));
        }
        let state = own.store.state.reader().run(run).map_err(|error| CliError::failed(error.to_string()))?;
        let state = state.ok_or_else(|| CliError::failed("the state store lost the run"))?;
        let budget_microdollars = wish.budget_microdollars;
        let beginning = Beginning::Existing { run: Box::new(state), budget_microdollars };
        return watch::watch(context, &standing, own, run, beginning, &granted);
    }
    let (name, fresh) = (args.name, args.fresh);
    let fresh = Fresh { plan: &plan, source: &source, inputs, granted: &granted, name, fresh, wish };
    fresh.start(context, &standing, project, own)
}

/// A run that is about to be accepted.
#[derive(Debug)]
pub(super) struct Fresh<'a> {
    pub(super) plan: &'a Plan,
    /// Where the plan comes from, as people are told.
    pub(super) source: &'a str,
    pub(super) inputs: Map<String, Value>,
    /// Paths outside the project that the person named.
    pub(super) granted: &'a [PathBuf],
    pub(super) name: Option<String>,
    /// Nothing is taken over from earlier runs.
    pub(super) fresh: bool,
    /// What is asked of Claude.
    pub(super) wish: Wish,
}

impl Fresh<'_> {
    /// Accepts the run and works on it.
    pub(super) fn start(
        self,
        context: &Context,
        standing: &Standing,
        project: &Project,
        own: OwnStore,
    ) -> Result<Exit, CliError> {
        let run = RunId(crate::app::new_uuid());
        let origin = Origin {
            project: project.id.to_string(),
            plan_source: self.source.to_owned(),
            fresh: self.fresh,
            name: self.name,
            granted: self.granted.iter().filter_map(|path| path.to_str()).map(str::to_owned).collect(),
            claude: self.wish.claude,
            budget_microdollars: self.wish.budget_microdollars,
            fake: self.wish.fake,
        };
        output::err(&format!("run {} · {}\n", run.short(), text::plan_text(self.plan.name(), self.source)));
        for (name, value) in &self.inputs {
            output::err(&format!("  {name} = {}\n", text::bounded(&value.to_string(), 200)));
        }
        output::err(&format!(
            "  state in {}; stopped or killed, it goes on with: {}\n",
            project.state.display(),
            context.resume(run)
        ));
        let beginning = Beginning::New(Box::new(accept(run, self.plan, self.inputs, origin)));
        watch::watch(context, standing, own, run, beginning, self.granted)
    }
}

/// A name is typed again in place of an id: it must not be mistaken for one, and a shell must take it as one word.
fn usable_name(name: &str) -> Result<(), CliError> {
    let refused = |why: &str| {
        let shown = text::clean(&text::bounded(name, NAME_CHARS_MAX));
        Err(CliError::usage(format!("`--name {shown}` {why}"))
            .hint("a name is letters, digits, `-`, `_` and `.`, and begins with a letter or a digit: --name january"))
    };
    let looks_like_id = name.len() >= 8 && name.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if name == LAST {
        return refused("means the newest run");
    }
    if name.is_empty() {
        return refused("is empty");
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return refused(&format!("has more than {NAME_CHARS_MAX} characters"));
    }
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    if !is_plain || !name.starts_with(char::is_alphanumeric) {
        return refused("is no name for a run");
    }
    if looks_like_id { refused("looks like the id of a run") } else { Ok(()) }
}

/// The words of this command with `--new`.
fn again(args: &RunArgs) -> String {
    let inputs: String = args.input.iter().map(|word| format!(" -i {}", quoted(word))).collect();
    let fresh = if args.fresh { " --fresh" } else { "" };
    let name = args.name.as_ref().map_or_else(String::new, |name| format!(" --name {}", quoted(name)));
    let claude = if args.claude { " --claude" } else { "" };
    let budget = args.budget.as_ref().map_or_else(String::new, |budget| format!(" --budget {}", quoted(budget)));
    let fake = if args.fake { " --fake" } else { "" };
    format!("run --new {}{inputs}{fresh}{name}{claude}{budget}{fake}", quoted(&args.plan))
}

/// An unfinished run of the same plan and inputs. One with a fake Claude and one without are never the same.
pub(super) fn is_same(head: &Head, plan: &Plan, inputs: &Map<String, Value>, fake: bool) -> bool {
    head.end.is_none() && &head.inputs == inputs && head.plan == plan.name() && head.origin.fake == fake
}

/// Input of a plan that does more where nothing is paid; set by `--fake` and by nothing else.
const FAKE: &str = "fake";

fn set_fake(plan: &Plan, args: &RunArgs, inputs: &mut Map<String, Value>) -> Result<(), CliError> {
    if kind_of(plan, FAKE) != Some(InputKind::Boolean) {
        return Ok(());
    }
    if args.input.iter().any(|word| word.split_once('=').is_some_and(|(name, _)| name == FAKE)) {
        return Err(CliError::usage("the input `fake` is set by `--fake` and by nothing else")
            .hint(format!("ollmcp run {} --fake", quoted(&args.plan))));
    }
    inputs.insert(FAKE.to_owned(), Value::Bool(args.fake));
    Ok(())
}

/// The run's inputs, with paths made to hold in the project folder, and the paths outside it that the person named.
pub(super) fn inputs_of(
    standing: &Standing,
    plan: &Plan,
    given: &[String],
) -> Result<(Map<String, Value>, Vec<PathBuf>), CliError> {
    let mut pairs = Vec::new();
    for word in given {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`-i {word}` has no `=`")).hint("write `-i NAME=VALUE`"))?;
        pairs.push((name.to_owned(), typed(standing, plan, name, value)));
    }
    let inputs = resolve_inputs(plan.raw(), &pairs).map_err(|faults| {
        let mut error = CliError::usage(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        error.hints.extend(faults.iter().filter_map(crate::plan_file::InputFault::hint));
        error
    })?;
    let granted = pairs.iter().flat_map(|(name, value)| named_outside(standing, plan, name, value)).collect();
    Ok((inputs, granted))
}

/// Addresses of databases that are known already: what is wrong with one is said before anything is done for it.
fn addresses_fit(standing: &Standing, plan: &Plan, inputs: &Map<String, Value>) -> Result<(), CliError> {
    for (step, address) in known_addresses(plan, inputs) {
        databases::fits(&address, standing.folder()).map_err(|error| {
            let told = Failure::told(FailureKind::BadInput, &error.to_string());
            CliError::usage(format!("step `{step}`: {}", told.message)).hint_opt(told.hint)
        })?;
    }
    Ok(())
}

/// What lies outside the project folder of what a person typed for an input: the path itself, and where it leads.
fn named_outside(standing: &Standing, plan: &Plan, name: &str, value: &str) -> Vec<PathBuf> {
    let folder = standing.folder();
    let path = match kind_of(plan, name) {
        Some(InputKind::Path) => folder.join(value),
        // Any other text with a scheme is no address, so nothing is granted by it.
        Some(InputKind::String) if value.trim_start().starts_with("sqlite") => match Address::parse(value, folder) {
            Ok(Address::Sqlite(path)) => path,
            Err(_) => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    if lies_within(folder, &path, [folder]) {
        return Vec::new();
    }
    let real = resolved(folder, &path);
    if real == path { vec![path] } else { vec![path, real] }
}

fn kind_of(plan: &Plan, name: &str) -> Option<InputKind> {
    plan.raw().inputs.iter().find(|input| input.name == name).map(|input| input.kind)
}

/// What a person types is relative to the folder they stand in: made to hold in the project folder.
fn typed(standing: &Standing, plan: &Plan, name: &str, value: &str) -> String {
    match kind_of(plan, name) {
        Some(InputKind::Path) if !value.is_empty() => in_project(standing, value),
        Some(InputKind::String) => {
            match value.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest)) {
                Some(path) if !path.is_empty() && !path.starts_with(['/', ':']) => {
                    format!("sqlite:{}", in_project(standing, path))
                }
                _ => value.to_owned(),
            }
        }
        _ => value.to_owned(),
    }
}

fn in_project(standing: &Standing, path: &str) -> String {
    let mut full = PathBuf::new();
    for part in standing.cwd.join(path).components() {
        match part {
            std::path::Component::ParentDir => {
                full.pop();
            }
            std::path::Component::CurDir => {}
            other => full.push(other),
        }
    }
    let inside = full.strip_prefix(standing.folder()).map(Path::to_owned);
    match inside {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => full.display().to_string(),
    }
}
