//! Model servers, their models and the ladders, as `doctor` looks at them.

use super::{Finding, finding, odd};
use crate::app::models::prepare::how_to_get;
use crate::app::models::survey::{LadderLine, ServerLine, Survey};
use crate::app::place::Standing;
use crate::cli::error::CliError;
use crate::cli::models::{look, words};
use crate::cli::watch::runtime;
use crate::engine::ladders::is_paid;
use crate::report::text::plural;

/// Before it, Ollama does not know `truncate` and `shift` (added in October 2025): a prompt that is too long is cut there
/// without a word.
const OLLAMA_CUTS_BEFORE: (u64, u64, u64) = (0, 12, 6);
/// Before it, Ollama does not bind answers to a schema (added in December 2024).
const OLLAMA_BINDS_FROM: (u64, u64, u64) = (0, 5, 0);

/// What there is to say of models.
pub(super) fn findings(standing: &Standing) -> Result<Vec<Finding>, CliError> {
    let runtime = runtime()?;
    let survey = match look(standing, &runtime) {
        Ok(survey) => survey,
        Err(error) => {
            let hint = error.hints.first().cloned();
            return Ok(vec![Finding { hint, ..finding("model servers", false, error.message, None) }]);
        }
    };
    let mut findings = Vec::new();
    let answers = survey.servers.iter().any(|server| server.away.is_none());
    let is_wanted = |server: &ServerLine| survey.is_wanted(standing, server) || is_in_a_ladder(&survey, server);
    if !answers && !survey.servers.iter().any(&is_wanted) {
        let hint = "install Ollama and start it, then `ollmcp models pull qwen3:8b`; or declare a server under \
                    `model_servers`";
        let found = "no server answers on this machine: plans whose steps have a `prompt` need one, others do not";
        return Ok(vec![odd("models", found, hint)]);
    }
    for server in &survey.servers {
        findings.extend(server_findings(server, is_wanted(server), answers));
    }
    findings.extend(model_findings(&survey));
    for ladder in &survey.ladders {
        findings.extend(ladder_findings(&survey, ladder));
    }
    if survey.ladders.is_empty() && answers {
        let found = "no server has a model that can take part";
        findings.push(odd("ladder", found, "fetch one: ollmcp models pull qwen3:8b"));
    }
    Ok(findings)
}

fn is_in_a_ladder(survey: &Survey, server: &ServerLine) -> bool {
    let ladders = survey.ladders.iter().filter(|ladder| !ladder.is_built);
    let mut rungs = ladders.flat_map(|ladder| &ladder.rungs);
    rungs.any(|rung| !is_paid(&rung.rung) && rung.rung.split(':').next() == Some(server.name.as_str()))
}

fn server_findings(server: &ServerLine, is_wanted: bool, others_answer: bool) -> Vec<Finding> {
    let what = format!("model server {}", server.name);
    if let Some(why) = &server.away {
        let how = match server.kind {
            "ollama" => "start it (`ollama serve`), or set its address: `ollama.url`, or OLLAMA_HOST",
            _ => "start it, or correct its entry under `model_servers` in the configuration",
        };
        // Ollama is named by nobody: where another server does the work, nothing is missing.
        return vec![match (is_wanted, others_answer) {
            (true, _) => finding(&what, false, why, Some(how)),
            (false, true) => finding(&what, true, "does not run, and nothing here names it", None),
            (false, false) => odd(&what, why, how),
        }];
    }
    let mut parts = vec![server.address.clone()];
    parts.extend(words::program(server));
    parts.push(plural(server.models.len() as u64, "model"));
    parts.push(words::slots(server));
    let mut findings = Vec::new();
    findings.push(match server.declared {
        "found" => {
            let value = serde_json::json!({ "kind": server.kind, "url": server.address });
            let hint = format!("declare it: ollmcp config set --user model_servers.{} '{value}'", server.name);
            odd(&what, format!("{}: found at its usual place, not declared", parts.join(" · ")), hint)
        }
        _ => finding(&what, true, parts.join(" · "), None),
    });
    findings.extend(age(&what, server));
    findings.extend(slots(&what, server));
    findings
}

/// What an old Ollama does not do.
fn age(what: &str, server: &ServerLine) -> Option<Finding> {
    if server.kind != "ollama" {
        return None;
    }
    let told = server.version.as_deref()?;
    let version = version(told)?;
    let hint = "take a newer one: https://ollama.com/download";
    if version < OLLAMA_BINDS_FROM {
        let found = format!("Ollama {told} is old: it does not bind answers to a schema, and cuts long prompts");
        return Some(finding(what, false, found, Some(hint)));
    }
    (version < OLLAMA_CUTS_BEFORE).then(|| {
        odd(what, format!("Ollama {told} is old: it may cut a prompt that is too long without saying so"), hint)
    })
}

/// `0.12.6`, `0.12.6-rc1`, `v0.5`; a version of another form tells nothing, and so does the `0.0.0` of one's own build.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.trim().trim_start_matches('v');
    let numbers = text.split(['-', '+']).next()?;
    let mut numbers = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0));
    (version != (0, 0, 0)).then_some(version)
}

/// How many requests a server takes at once, where nobody said.
fn slots(what: &str, server: &ServerLine) -> Option<Finding> {
    let told = server.slots_told.map(|told| told as usize);
    let set = |count: &str| format!("ollmcp config set --user model_servers.{}.slots {count}", server.name);
    match told {
        Some(told) if told < server.slots => {
            let found = format!("it is sent {} at once and takes {told}", plural(server.slots as u64, "request"));
            Some(odd(what, found, set(&told.to_string())))
        }
        Some(told) if told > server.slots && !server.slots_declared && server.declared == "configuration" => {
            let found = format!("it takes {told} requests at once and is sent {}", server.slots);
            Some(odd(what, found, set(&told.to_string())))
        }
        None if !server.slots_declared && server.declared == "configuration" => {
            let found = "nobody knows how many requests it takes at once: it is sent one after the other";
            Some(odd(what, found, format!("say it: {}", set("N"))))
        }
        _ => None,
    }
}

fn model_findings(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for model in survey.servers.iter().flat_map(|server| &server.models).filter(|model| !model.rungs.is_empty()) {
        let what = format!("model {}", model.rung);
        if !model.info.chat {
            let hint = "take it out of the ladder: ollmcp models shows what there is";
            findings.push(finding(&what, false, "it stands in a ladder and does not chat", Some(hint)));
            continue;
        }
        if model.info.is_remote {
            let hint = "take a local model: this version pays for nothing";
            findings.push(odd(&what, "it stands in a ladder and runs on its vendor's machines, for money", hint));
        }
        if model.info.tools == Some(false) {
            let found = "it has no tools of its own: they are described to it, and small models often fail then";
            findings.push(odd(&what, found, format!("see how it does: ollmcp models probe {}", model.rung)));
        }
        if let Some(probe) = model.probe.as_ref().filter(|probe| probe.summary.all.right * 2 < probe.summary.all.asked)
        {
            let found = format!("right in {} of {} in its probe", probe.summary.all.right, probe.summary.all.asked);
            findings.push(odd(&what, found, "a larger model may do better; `ollmcp models probe` compares them"));
        }
    }
    findings
}

fn ladder_findings(survey: &Survey, ladder: &LadderLine) -> Vec<Finding> {
    let what = format!("ladder {}", ladder.name);
    let rungs: Vec<&str> = ladder.rungs.iter().map(|rung| rung.rung.as_str()).collect();
    let built = if ladder.is_built { " (built from what there is)" } else { "" };
    let mut findings = vec![finding(&what, true, format!("{}{built}", rungs.join(" → ")), None)];
    for rung in &ladder.rungs {
        let Some(fault) = &rung.fault else { continue };
        // A server that is away has its own line.
        let is_away = survey
            .servers
            .iter()
            .any(|server| server.away.is_some() && rung.rung.split(':').next() == Some(server.name.as_str()));
        if is_away {
            continue;
        }
        let short = if rung.is_missing {
            format!("`{}` is not there", rung.rung)
        } else {
            fault.split("; ").next().unwrap_or(fault).to_owned()
        };
        let hint = how_to_get(&rung.rung, &survey.specs);
        findings.push(finding(&what, false, short, Some(&hint)));
    }
    if survey.proposal.is_weak && ladder.is_built {
        let hint = "fetch a larger one, then: ollmcp models probe";
        findings.push(odd(&what, "no model that was probed is right in half of its cases", hint));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_ollama_writes_them() {
        assert_eq!(version("0.33.0"), Some((0, 33, 0)));
        assert_eq!(version("v0.12.6-rc1"), Some((0, 12, 6)));
        assert_eq!(version("0.5"), Some((0, 5, 0)));
        assert_eq!((version("0.0.0"), version("main")), (None, None));
    }
}
