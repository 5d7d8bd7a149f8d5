//! One question in words: a run of the shipped plan `question`, whose answer is the one thing on standard output.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::asked;
use super::context::{Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::wish::Wish;
use super::{output, plan_source, run, watch};
use crate::app::place::Standing;
use crate::domain::run::{RunState, TaskPhase};
use crate::engine::supervisor::Beginning;
use crate::journal::blobs::Blobs;
use crate::os::paths::{lies_within, resolved};
use crate::report::end::{self, EndReport};
use crate::report::text;

/// The plan, and the name of its one input.
const QUESTION: &str = "question";
/// Longest question.
const QUESTION_CHARS_MAX: usize = 20_000;
/// Paths outside the project that one question may name.
const PATHS_MAX: usize = 20;

pub(super) fn question(context: &Context, words: &[String], wish: Wish) -> Result<Exit, CliError> {
    let question = asked(words)?;
    let (question, wish) = wished(&question, wish)?;
    if question.chars().count() > QUESTION_CHARS_MAX {
        return Err(CliError::usage(format!("the question is longer than {QUESTION_CHARS_MAX} characters"))
            .hint("put what it is about into a file, and name the file"));
    }
    let standing = context.standing_to_start(true)?;
    let project = project_of(&standing)?;
    let plan = plan_source::shipped(&standing, QUESTION)?;
    let question = written_out(&standing, &question);
    let inputs = [(QUESTION.to_owned(), Value::String(question.clone()))].into_iter().collect();
    let granted = named_outside(&standing, &question);
    let own = context.own_store(project, "run")?;
    let heads = own.store.state.reader().heads().map_err(|error| CliError::failed(error.to_string()))?;
    let Some(head) =
        heads.iter().rev().find(|head| run::is_same(head, &plan, &inputs, false) && head.origin.claude == wish.claude)
    else {
        let granted = &granted;
        let beginning = run::Fresh { plan: &plan, source: QUESTION, inputs, granted, name: None, fresh: true, wish };
        return beginning.start(context, &standing, project, own);
    };
    let run = head.run;
    let state = own.store.state.reader().run(run).map_err(|error| CliError::failed(error.to_string()))?;
    let state = state.ok_or_else(|| CliError::failed("the state store lost the run"))?;
    output::err(&format!(
        "run {} asked the same and has not ended: it goes on (to ask anew: {} first)\n",
        run.short(),
        context.command(&format!("cancel {}", run.short())),
    ));
    let granted = state.head.origin.granted_paths();
    let budget_microdollars = wish.budget_microdollars;
    let beginning = Beginning::Existing { run: Box::new(state), budget_microdollars };
    watch::watch(context, &standing, own, run, beginning, &granted)
}

/// A question that begins with `claude:` asks for Claude; the word is no part of it.
fn wished(question: &str, wish: Wish) -> Result<(String, Wish), CliError> {
    const WORD: &str = "claude:";
    let Some(rest) = question.get(..WORD.len()).filter(|head| head.eq_ignore_ascii_case(WORD)) else {
        return Ok((question.to_owned(), wish));
    };
    let question = question[rest.len()..].trim();
    if question.is_empty() {
        return Err(CliError::usage("nothing is asked behind `claude:`"));
    }
    Ok((question.to_owned(), Wish { claude: true, ..wish }))
}

/// Whether a run answers a question in words.
pub(super) fn is_question(state: &RunState) -> bool {
    state.head.origin.plan_source == QUESTION && state.plan.name() == QUESTION
}

/// Paths that the question may mean: what stands in quotes, and every word; of each the way from the root.
fn named(standing: &Standing, question: &str) -> Vec<(String, PathBuf)> {
    let home = standing.environment.get("HOME").map(Path::new);
    let quoted = ['"', '\'', '`'].into_iter().flat_map(|mark| question.split(mark).skip(1).step_by(2));
    let words = question.split(|c: char| c.is_whitespace() || "\"'`<>()".contains(c));
    let paths = quoted.chain(words).filter_map(|word| {
        let word = word.trim().trim_end_matches([',', ';', ':', '?', '!', '.']);
        let path = match (word.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ if word.starts_with('/') || word.starts_with("../") => standing.cwd.join(word),
            _ => return None,
        };
        // A lone `/` in a sentence names nothing.
        let names_something = path.file_name().is_some() || word.starts_with("../");
        names_something.then(|| (word.to_owned(), resolved(&standing.cwd, &path)))
    });
    paths.filter(|(_, path)| path.exists()).take(PATHS_MAX).collect()
}

/// The question with paths of the home folder written out: no tool knows `~`.
fn written_out(standing: &Standing, question: &str) -> String {
    let of_home = named(standing, question).into_iter().filter(|(word, _)| word.starts_with("~/"));
    of_home.fold(question.to_owned(), |text, (word, path)| text.replace(&word, &path.display().to_string()))
}

/// What lies outside the project folder of the paths that the question names: the person named it.
fn named_outside(standing: &Standing, question: &str) -> Vec<PathBuf> {
    let all = named(standing, question).into_iter().map(|(_, path)| path);
    all.filter(|path| !lies_within(standing.folder(), path, [standing.folder()])).collect()
}

/// Prints the answer on standard output and all else beside it; without an answer, why there is none.
pub(super) fn tell(context: &Context, state: &RunState, blobs: &Blobs, report: &EndReport) {
    let output = state.tasks_of(0).next().and_then(|(_, task)| match &task.phase {
        TaskPhase::Done { output, .. } => blobs.read_value(output).ok(),
        _ => None,
    });
    let Some(output) = output else {
        if context.is_json {
            output::json(report);
        } else {
            output::err(&end::text(report));
        }
        return;
    };
    let answer = output.get("answer").and_then(Value::as_str).unwrap_or_default();
    let sources: Vec<&str> =
        output.get("sources").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if context.is_json {
        let run = state.head.run.to_string();
        output::json_with_version(json!({ "run": run, "answer": answer, "sources": sources, "checked": false }));
        return;
    }
    output::out(&format!("{}\n", text::clean_lines(answer)));
    report.models.iter().for_each(|work| output::err(&format!("  {}\n", work.text())));
    if !sources.is_empty() {
        output::err(&format!("  it names as its sources: {}\n", text::clean(&sources.join(", "))));
    }
    output::err("  unchecked: of this answer only the form was looked at; a plan can say what must be true of one\n");
}
