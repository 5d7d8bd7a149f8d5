//! `models probe`: asks the user's own models small tasks with known answers, and says what they are good for.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::words;
use crate::app::models::ladder::{Candidate, Proposal, propose};
use crate::app::models::survey::Survey;
use crate::app::models::{is_same, prepare::how_to_get};
use crate::app::place::Standing;
use crate::app::probe::case::Cases;
use crate::app::probe::{Probed, Target, Told, probe as ask};
use crate::cli::context::{Context, quoted};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::signals::{Ask, Signals};
use crate::cli::watch::runtime;
use crate::report::text::{bounded, clean, moment, plural, seconds};

/// How long what is in flight may take to end.
const RUNTIME_LIMIT: Duration = Duration::from_secs(1);
/// Failures of one model that are told with their words.
const TOLD_MAX: usize = 30;
/// Longest words of one of them.
const MESSAGE_CHARS_MAX: usize = 160;

pub(super) fn probe(context: &Context, names: &[String]) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let runtime = runtime()?;
    let survey = super::look(&standing, &runtime)?;
    let targets = targets(&survey, names)?;
    output::err(&format!(
        "asking {} {} small tasks with known answers, one after the other; Ctrl-C keeps what was asked\n",
        plural(targets.len() as u64, "model"),
        Cases::shipped().cases.len()
    ));
    let stop = CancellationToken::new();
    let probed = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut tell = tell;
        let asking =
            ask(&standing.home, &survey.clients, &targets, standing.folder(), &stop, &mut tell);
        tokio::pin!(asking);
        loop {
            tokio::select! {
                probed = &mut asking => return probed.map_err(CliError::failed),
                asked = signals.next() => match asked {
                    Ask::Drain | Ask::Stop => stop.cancel(),
                    Ask::Leave => return Err(CliError { exit: Exit::Interrupted, ..CliError::failed("stopped at once") }),
                },
            }
        }
    });
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    let probed = probed?;
    let proposal = proposal(&survey, &probed);
    if context.is_json {
        let models: Vec<Value> = probed.iter().map(shape).collect();
        output::json_with_version(json!({
            "models": models,
            "stopped": stop.is_cancelled(),
            "proposal": words::proposal_json(&proposal),
            "set": set_lines(context, &standing, &survey, &proposal),
        }));
    } else {
        for one in &probed {
            output::out(&text(one));
        }
        let set = |name: &str, rungs: &[String]| set_line(context, &standing, name, rungs);
        output::out(&words::proposal(&proposal, &set));
        for line in declare_lines(context, &survey, &proposal) {
            output::out(&format!("first:  {line}\n"));
        }
    }
    Ok(exit(&probed, stop.is_cancelled()))
}

fn exit(probed: &[Probed], is_stopped: bool) -> Exit {
    let asked = probed.iter().filter(|one| !one.record.cases.is_empty()).count();
    let is_whole = probed.iter().all(|one| one.record.cut.is_none());
    match (is_stopped, asked, is_whole) {
        (true, ..) => Exit::Interrupted,
        (_, 0, _) => Exit::Failed,
        (_, _, false) => Exit::Partial,
        (_, _, true) => Exit::Complete,
    }
}

/// The models that were named, or all that run on machines of one's own, small ones first.
fn targets(survey: &Survey, names: &[String]) -> Result<Vec<Target>, CliError> {
    let local = survey.local_models();
    let target =
        |(server, model): &(&crate::app::models::survey::ServerLine, &crate::app::models::survey::ModelLine)| Target {
            server: server.name.clone(),
            info: model.info.clone(),
            binds_schema: survey.specs.get(&server.name).is_none_or(|spec| spec.schema_bound != Some(false)),
        };
    if names.is_empty() {
        if local.is_empty() {
            return Err(nothing(survey));
        }
        return Ok(local.iter().map(target).collect());
    }
    let mut targets: Vec<Target> = Vec::new();
    for name in names {
        let found: Vec<_> =
            local.iter().filter(|(_, model)| is_same(&model.rung, name) || is_same(&model.info.name, name)).collect();
        if found.is_empty() {
            return Err(not_there(survey, name));
        }
        for one in found {
            let one = target(one);
            if !targets.contains(&one) {
                targets.push(one);
            }
        }
    }
    Ok(targets)
}

fn nothing(survey: &Survey) -> CliError {
    let mut error = CliError::failed("there is no model to ask");
    for server in &survey.servers {
        match &server.away {
            Some(why) => error.hints.push(format!("{}: {}", server.name, clean(why))),
            None => error.hints.push(format!("{}: no model that chats", server.name)),
        }
    }
    error.hint("fetch one: ollmcp models pull qwen3:8b")
}

fn not_there(survey: &Survey, name: &str) -> CliError {
    let any =
        |model: &&crate::app::models::survey::ModelLine| is_same(&model.rung, name) || is_same(&model.info.name, name);
    let other = survey.servers.iter().flat_map(|server| &server.models).find(any);
    if let Some(model) = other {
        let why = if model.info.is_remote { "runs on its vendor's machines, for money" } else { "does not chat" };
        return CliError::usage(format!("`{name}` {why}: it is not asked"));
    }
    let named = name.split_once(':').and_then(|(server, _)| survey.servers.iter().find(|one| one.name == server));
    if let Some(away) = named.and_then(|server| server.away.as_ref()) {
        return CliError::failed(format!("cannot ask `{name}`: {}", clean(away)))
            .hint("start the server and ask again");
    }
    let rung = if named.is_some() { name.to_owned() } else { format!("ollama:{name}") };
    let known: Vec<String> = survey.local_models().iter().map(|(_, model)| model.rung.clone()).collect();
    let near = crate::domain::nearest::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    CliError::usage(format!("no server has a model `{name}`"))
        .hint_opt(near.map(|near| format!("did you mean `{near}`?")))
        .hint(how_to_get(&rung, &survey.specs))
        .hint("what there is: ollmcp models")
}

/// The ladder of what was asked now.
fn proposal(survey: &Survey, probed: &[Probed]) -> Proposal {
    let candidates: Vec<Candidate> = probed
        .iter()
        .filter(|one| !one.record.cases.is_empty())
        .map(|one| {
            let server = survey.servers.iter().find(|server| server.name == one.target.server);
            let address = server.map_or("", |server| server.address.as_str());
            let candidate = Candidate::new(&one.target.server, address, &one.target.info, &survey.records);
            Candidate { probe: Some(one.record.summary()), ..candidate }
        })
        .collect();
    propose(&candidates)
}

/// The command that sets a ladder: in the project's file where there is one, else in the user's.
fn set_line(context: &Context, standing: &Standing, name: &str, rungs: &[String]) -> String {
    let user = if standing.project.is_some() || context.config.is_some() { "" } else { " --user" };
    let value = Value::from(rungs.to_vec()).to_string();
    context.command(&format!("config set{user} ladders.{name} {}", quoted(&value)))
}

/// What must be declared before the ladder can be set.
fn declare_lines(context: &Context, survey: &Survey, proposal: &Proposal) -> Vec<String> {
    let all: Vec<&String> = proposal.default.iter().chain(&proposal.text).collect();
    let is_named = |name: &str| all.iter().any(|rung| rung.split(':').next() == Some(name));
    let found = survey.found().into_iter().filter(|server| is_named(&server.name));
    found
        .map(|server| {
            let value = json!({ "kind": server.kind, "url": server.address }).to_string();
            context.command(&format!("config set --user model_servers.{} {}", server.name, quoted(&value)))
        })
        .collect()
}

fn set_lines(context: &Context, standing: &Standing, survey: &Survey, proposal: &Proposal) -> Vec<String> {
    let mut lines = declare_lines(context, survey, proposal);
    for (name, rungs) in [("default", &proposal.default), ("text", &proposal.text)] {
        if !rungs.is_empty() {
            lines.push(set_line(context, standing, name, rungs));
        }
    }
    lines
}

/// What is told while it goes on.
fn tell(told: Told<'_>) {
    match told {
        Told::Begins(target) => output::err(&format!("{}\n", clean(&target.rung()))),
        Told::Case(_, case, result) => {
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            let took = seconds(result.ms as f64 / 1_000.0);
            let outcome = match result.failure {
                None => "right".to_owned(),
                Some(kind) => kind.word().to_owned(),
            };
            output::err(&format!("  {:<18} {outcome} ({took})\n", case.id));
        }
        Told::Ends(probed) => {
            if let Some(why) = &probed.record.cut {
                let (asked, of) = (probed.record.cases.len(), probed.record.of);
                output::err(&format!("  {asked} of {of} asked: {}\n", clean(why)));
            }
        }
        Told::Note(text) => output::note(&clean(text)),
    }
}

/// One model's results.
fn text(one: &Probed) -> String {
    let summary = one.record.summary();
    let mut out = format!("{}\n", clean(&one.target.rung()));
    let mut line = |text: String| out.push_str(&format!("  {}\n", clean(&text)));
    if let Some(why) = &one.record.cut {
        line(format!("asked {} of {}: {why}", summary.all.asked, summary.of));
    }
    if summary.all.asked == 0 {
        return out;
    }
    line(words::right(&summary));
    for (group, found) in &summary.groups {
        line(format!("  {}", words::figures(group, found)));
    }
    line(format!("  {}", words::figures("all", &summary.all)));
    let wrong = one.record.cases.iter().filter_map(|(id, result)| Some((id, result.failure?, &result.message)));
    for (id, kind, message) in wrong.take(TOLD_MAX) {
        line(format!("  {id}: {}: {}", kind.word(), bounded(message, MESSAGE_CHARS_MAX)));
    }
    if let Some(changes) = &one.changes {
        let since = moment(changes.before_ms);
        let mut parts = Vec::new();
        for (word, ids) in [
            ("now right", &changes.now_right),
            ("now wrong", &changes.now_wrong),
            ("wrong in another way", &changes.otherwise_wrong),
        ] {
            if !ids.is_empty() {
                parts.push(format!("{word}: {}", ids.join(", ")));
            }
        }
        let what = if changes.is_empty() { "nothing".to_owned() } else { parts.join(" · ") };
        line(format!("changed since {since}, over {}: {what}", plural(u64::from(changes.compared), "case")));
    }
    out
}

fn shape(one: &Probed) -> Value {
    json!({
        "rung": one.target.rung(),
        "digest": one.target.info.digest,
        "at_ms": one.record.at_ms,
        "cut": one.record.cut,
        "summary": one.record.summary(),
        "fails_tools": one.record.summary().fails_tools(),
        "cases": one.record.cases,
        "changes": one.changes,
    })
}
