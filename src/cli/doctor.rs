//! `doctor`: looks whether everything that is needed is here, and says what to do about what is not.

mod claude;
mod models;

use super::context::{Context, how_to_begin, quoted};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::servers::OWN;
use crate::config::{KeyPath, Origin};
use crate::engine::work::tool_failure;
use crate::report::SHAPE_VERSION;
use crate::tool::ToolBox as _;

/// One thing that was looked at.
#[derive(Debug, serde::Serialize)]
struct Finding {
    what: String,
    ok: bool,
    /// Worth a look, and nothing that fails.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    odd: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

fn finding(what: &str, ok: bool, found: impl Into<String>, hint: Option<&str>) -> Finding {
    Finding { what: what.to_owned(), ok, odd: false, found: found.into(), hint: hint.map(str::to_owned) }
}

/// Worth a look, and nothing that fails.
fn odd(what: &str, found: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { odd: true, hint: Some(hint.into()), ..finding(what, true, found, None) }
}

pub(super) fn doctor(context: &Context) -> Result<Exit, CliError> {
    let standing = match context.standing(false) {
        Ok(standing) => standing,
        Err(error) => {
            // Nothing else can be looked at from here.
            let hint = error.hints.first().cloned();
            return Ok(told(
                context,
                &[Finding { hint, ..finding("project and configuration", false, error.message, None) }],
            ));
        }
    };
    let mut findings = Vec::new();
    let files: Vec<String> = standing.settings.files.iter().map(|file| file.display().to_string()).collect();
    let from = if files.is_empty() { "defaults, no file".to_owned() } else { files.join(", ") };
    findings.push(finding("configuration", true, from, None));
    findings.push(match &standing.project {
        Some(project) => finding("project", true, project.folder.display().to_string(), None),
        None if standing.home.is_no_project(&standing.cwd) => {
            finding("project", true, format!("none here: {}", how_to_begin(&standing)), None)
        }
        None => finding("project", true, "none here yet: `ollmcp run` and `ollmcp init` make one", None),
    });
    if let Some(project) = &standing.project {
        findings.push(space(project));
        findings.push(match context.access(&standing) {
            Ok(super::context::Access::Own(_)) => finding("state folder", true, "journal and state store agree", None),
            Ok(super::context::Access::Other(_)) => {
                finding("state folder", true, "another process is at work in it", None)
            }
            Ok(super::context::Access::StateOnly(_)) => finding(
                "state folder",
                false,
                "the journal cannot be used",
                Some("put the journal folder back; see the warning above"),
            ),
            Err(error) => {
                Finding { hint: error.hints.first().cloned(), ..finding("state folder", false, error.message, None) }
            }
        });
    }
    let is_root = crate::os::files::own_user_id().is_ok_and(|id| id == 0);
    let user = if is_root { "root: everything that runs here may do everything" } else { "an ordinary user" };
    findings.push(finding("user", true, user, None));
    findings.extend(tool_servers(&standing)?);
    findings.extend(models::findings(&standing)?);
    findings.extend(claude::findings(&standing)?);
    findings.extend(standing.settings.notes.iter().map(|note| later(&standing, note)));
    for hint in findings.iter_mut().filter_map(|finding| finding.hint.as_mut()) {
        *hint = of_named_file(context, hint);
    }
    Ok(told(context, &findings))
}

/// Prints the findings.
fn told(context: &Context, findings: &[Finding]) -> Exit {
    let all_ok = findings.iter().all(|finding| finding.ok);
    if context.is_json {
        output::json(&serde_json::json!({ "v": SHAPE_VERSION, "ok": all_ok, "findings": findings }));
    } else {
        for finding in findings {
            let mark = match (finding.ok, finding.odd) {
                (false, _) => "BAD",
                (true, true) => "odd",
                (true, false) => "ok ",
            };
            output::out(&format!("{mark} {}: {}\n", finding.what, crate::report::text::clean(&finding.found)));
            if let Some(hint) = &finding.hint {
                output::out(&format!("    hint: {}\n", crate::report::text::clean(hint)));
            }
        }
    }
    if all_ok { Exit::Complete } else { Exit::Failed }
}

/// What is switched on and does nothing here, with how to switch it off where it was switched on.
fn later(standing: &crate::app::place::Standing, note: &str) -> Finding {
    let key = note.split('`').nth(1).unwrap_or_default();
    let origin = KeyPath::parse(key).and_then(|path| standing.settings.origin(&path).cloned());
    let user = standing.home.config_file();
    let hint = match origin {
        Some(Origin::Variable(name)) => format!("without it: unset {name}"),
        Some(Origin::File(file)) if file == user => format!("without it: ollmcp config set --user {key} null"),
        _ => format!("without it: ollmcp config set {key} null"),
    };
    odd("configuration", note, hint)
}

/// With `--config` no other file is read, so a command that sets a key names it too.
fn of_named_file(context: &Context, hint: &str) -> String {
    const SET: &str = "ollmcp config set ";
    let Some(file) = &context.config else { return hint.to_owned() };
    let named = format!("ollmcp --config {} config set ", quoted(&file.display().to_string()));
    hint.replace(&format!("{SET}--user "), SET).replace(SET, &named)
}

fn space(project: &crate::config::project::Project) -> Finding {
    const FREE_MIB_MIN: u64 = 256;
    match rustix::fs::statvfs(&project.state) {
        Ok(stat) => {
            let free_mib = (stat.f_bavail * stat.f_frsize) >> 20;
            let hint = "make room: the journal refuses to start another segment on a full disk";
            finding(
                "disk",
                free_mib >= FREE_MIB_MIN,
                format!("{free_mib} MiB free"),
                (free_mib < FREE_MIB_MIN).then_some(hint),
            )
        }
        Err(error) => finding("disk", false, error.to_string(), None),
    }
}

fn tool_servers(standing: &crate::app::place::Standing) -> Result<Vec<Finding>, CliError> {
    let spill = tempfile::tempdir()?;
    let gathered = crate::app::servers::gather(standing, &std::env::current_exe()?, &[], spill.path());
    let mut findings: Vec<Finding> =
        gathered.notes.iter().map(|note| finding("mcpServers", true, note.clone(), None)).collect();
    let refused: Vec<String> = gathered.away.into_iter().map(|away| away.server).collect();
    let servers = gathered.servers;
    let runtime = super::watch::runtime()?;
    let asked = runtime.block_on(async {
        let names = servers.servers();
        let asked = names.iter().map(|name| async { (name.clone(), servers.tools(name).await) });
        let asked = futures::future::join_all(asked).await;
        servers.close_all().await;
        asked
    });
    for (name, tools) in asked {
        let kind = if OWN.contains(&name.as_str()) { "built-in" } else { "declared" };
        let what = format!("tool server {name} ({kind})");
        findings.push(match tools {
            Ok(tools) => finding(&what, true, format!("{} tools", tools.len()), None),
            Err(error) => {
                let failure = tool_failure(&error);
                // What is declared wrongly was never started.
                let by_hand = "run its command by hand and look at what it prints";
                let hint = failure.hint.or_else(|| (!refused.contains(&name)).then(|| by_hand.to_owned()));
                Finding { hint, ..finding(&what, false, failure.message, None) }
            }
        });
    }
    Ok(findings)
}
