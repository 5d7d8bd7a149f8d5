//! Models in words.

use crate::app::models::ladder::{Proposal, RULE};
use crate::app::models::records::SpeedLine;
use crate::app::models::survey::{LadderLine, ModelLine, ProbeLine, ServerLine, Survey};
use crate::app::probe::outcome::{Figures, Summary};
use crate::model::{Loaded, ModelInfo};
use crate::report::text::{clean, moment, plural, seconds, thousands};

/// Bytes for people.
#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
pub(in crate::cli) fn bytes(count: u64) -> String {
    match count {
        1_000_000_000.. => format!("{:.1} GB", count as f64 / 1e9),
        1_000_000.. => format!("{:.0} MB", count as f64 / 1e6),
        _ => format!("{:.0} kB", count as f64 / 1e3),
    }
}

/// A server's line.
pub(super) fn server(server: &ServerLine) -> String {
    let mut parts = vec![clean(&server.address)];
    if let Some(away) = &server.away {
        parts.push(format!("does not answer: {}", clean(away)));
        return format!("{}  {}\n", clean(&server.name), parts.join(" · "));
    }
    parts.extend(program(server));
    parts.push(slots(server));
    if server.declared == "found" {
        parts.push("found at its usual place, not declared".to_owned());
    }
    if server.models.is_empty() {
        parts.push("no models".to_owned());
    }
    format!("{}  {}\n", clean(&server.name), parts.join(" · "))
}

/// What answers, with its version.
pub(in crate::cli) fn program(server: &ServerLine) -> Option<String> {
    let program = match (server.program.as_str(), server.kind) {
        ("", "openai") => "OpenAI-compatible".to_owned(),
        ("", _) => return None,
        (program, _) => program.to_owned(),
    };
    let version = server.version.as_ref().map_or_else(String::new, |version| format!(" {}", clean(version)));
    Some(format!("{program}{version}"))
}

/// How many requests it is sent at once, and whether anybody knows that it takes them.
pub(in crate::cli) fn slots(server: &ServerLine) -> String {
    let sent = plural(server.slots as u64, "request");
    match server.slots_told {
        Some(told) if told as usize != server.slots => format!("{sent} at once, takes {told}"),
        None if !server.slots_declared => format!("{sent} at once (how many it takes is not known)"),
        _ => format!("{sent} at once"),
    }
}

/// A model's lines.
pub(super) fn model(server: &ServerLine, model: &ModelLine, now_ms: u64) -> String {
    let mut out = format!("  {:<28} {}\n", clean(&model.info.name), facts(&model.info).join(" · "));
    let mut line = |text: String| out.push_str(&format!("      {text}\n"));
    if model.info.is_remote {
        line("runs on its vendor's machines, for money: takes part in no ladder that is built".to_owned());
        return out;
    }
    if !model.info.chat {
        line("does not chat: takes part in no ladder".to_owned());
        return out;
    }
    match &model.loaded {
        Some(loaded) => line(format!("loaded: {}", loaded_text(loaded, now_ms))),
        None if server.kind == "ollama" => line("not loaded".to_owned()),
        // Such a server does not say; it has what it was started with.
        None => {}
    }
    line(format!("measured here: {}", model.measured.as_ref().map_or_else(|| "not yet".to_owned(), speed)));
    line(match &model.probe {
        Some(probe) => format!("probe of {}: {}", day(probe.at_ms), probe_text(probe)),
        None => format!("probe: not yet (ollmcp models probe {})", clean(&model.rung)),
    });
    if !model.rungs.is_empty() {
        let rungs: Vec<String> = model.rungs.iter().map(|(name, at)| format!("{name} {at}")).collect();
        line(format!("rung: {}", rungs.join(", ")));
    }
    out
}

fn facts(info: &ModelInfo) -> Vec<String> {
    let mut facts = Vec::new();
    if !info.parameter_size.is_empty() {
        facts.push(format!("{} {}", info.parameter_size, info.quantisation).trim().to_owned());
    }
    if info.bytes > 0 {
        facts.push(bytes(info.bytes));
    }
    facts.push(match info.context_tokens_max {
        Some(tokens) => format!("window {}", thousands(u64::from(tokens))),
        None => "window unknown".to_owned(),
    });
    facts.push(
        match info.tools {
            Some(true) => "tools",
            Some(false) => "no tools of its own (they are described to it)",
            None => "tools unknown",
        }
        .to_owned(),
    );
    if info.thinking == Some(true) {
        facts.push("thinking".to_owned());
    }
    facts.iter().map(|fact| clean(fact)).collect()
}

fn loaded_text(loaded: &Loaded, now_ms: u64) -> String {
    let mut parts = Vec::new();
    if let Some(percent) = (loaded.vram_bytes.min(loaded.bytes) * 100).checked_div(loaded.bytes) {
        parts.push(match percent {
            100 => format!("{}, all on the graphics card", bytes(loaded.bytes)),
            0 => format!("{}, all in main memory", bytes(loaded.bytes)),
            _ => format!(
                "{}, {percent} % on the graphics card and {} in main memory",
                bytes(loaded.bytes),
                bytes(loaded.bytes - loaded.vram_bytes)
            ),
        });
    }
    parts.extend(loaded.context_tokens.map(|tokens| format!("num_ctx {}", thousands(u64::from(tokens)))));
    parts.extend(loaded.until_ms.map(|until_ms| {
        let left = until_ms.saturating_sub(now_ms) / 1_000;
        // Ollama writes a date centuries away for "always".
        if left > 10 * 365 * 86_400 { "stays".to_owned() } else { format!("leaves in {}", seconds(left as f64)) }
    }));
    if parts.is_empty() { "yes".to_owned() } else { parts.join(" · ") }
}

/// How fast a model was.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(in crate::cli) fn speed(speed: &SpeedLine) -> String {
    let mut parts = Vec::new();
    parts.extend(speed.first_token_ms.map(|ms| format!("first token {:.1} s", ms as f64 / 1_000.0)));
    parts.extend(speed.tokens_per_second.map(|rate| format!("{rate:.1} tokens/s")));
    parts.extend(speed.load_ms.map(|ms| format!("load {}", seconds(ms as f64 / 1_000.0))));
    format!("{} ({}, last {})", parts.join(" · "), plural(speed.calls as u64, "call"), day(speed.at_ms))
}

fn day(at_ms: u64) -> String {
    moment(at_ms).chars().take(10).collect()
}

/// `17 of 20 right`.
pub(super) fn right(summary: &Summary) -> String {
    let (right, asked) = (summary.all.right, summary.all.asked);
    if asked == summary.of {
        format!("{right} of {asked} right")
    } else {
        format!("{right} of {asked} right, {} not asked", summary.of.saturating_sub(asked))
    }
}

/// Right and asked by group.
fn groups(summary: &Summary) -> String {
    let each = summary.groups.iter().map(|(group, found)| format!("{group} {}/{}", found.right, found.asked));
    each.collect::<Vec<_>>().join(" · ")
}

/// One line of figures: `0/5   14 s   55.0 tokens/s   check 5`.
pub(super) fn figures(name: &str, found: &Figures) -> String {
    let rate = found.tokens_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1} tokens/s"));
    let kinds: Vec<String> = found.failures.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let right = format!("{}/{}", found.right, found.asked);
    let line = format!("{name:<14} {right:>6}  {:>9}  {rate:>15}  {}", seconds(found.seconds), kinds.join(" · "));
    line.trim_end().to_owned()
}

fn probe_text(probe: &ProbeLine) -> String {
    let fails = if probe.summary.fails_tools() { " · fails tool calls" } else { "" };
    format!("{} · {}{fails}", right(&probe.summary), groups(&probe.summary))
}

/// The ladders, and what is missing of them.
pub(in crate::cli) fn ladders(survey: &Survey) -> String {
    let mut out = String::new();
    for ladder in &survey.ladders {
        out.push_str(&ladder_line(ladder));
        for rung in &ladder.rungs {
            if let Some(fault) = &rung.fault {
                out.push_str(&format!("  {}\n", clean(fault)));
            }
        }
    }
    if survey.ladders.is_empty() {
        out.push_str("no ladder: no model can take part\n");
    }
    out
}

fn ladder_line(ladder: &LadderLine) -> String {
    let rungs: Vec<String> = ladder
        .rungs
        .iter()
        .map(|rung| {
            let mark = if rung.is_missing { " (not there)" } else { "" };
            format!("{}{mark}", clean(&rung.rung))
        })
        .collect();
    let built = if ladder.is_built { " (built from what there is; `ladders.default` sets it)" } else { "" };
    format!("ladder {}: {}{built}\n", clean(&ladder.name), rungs.join(" → "))
}

/// A ladder as it would be built, the rule, and the lines that set it.
pub(super) fn proposal(proposal: &Proposal, set: &dyn Fn(&str, &[String]) -> String) -> String {
    let mut out = String::new();
    if proposal.default.is_empty() {
        return "no ladder: no model was asked\n".to_owned();
    }
    if proposal.is_weak {
        out.push_str(
            "no model was right in half of its cases: this ladder is the best of what there is; a larger model does better\n",
        );
    }
    out.push_str(&format!("ladder: {}\n", proposal.default.join(" → ")));
    for (rung, why) in proposal.marks.iter() {
        out.push_str(&format!("  marked {rung}: {why}\n"));
    }
    if !proposal.text.is_empty() {
        out.push_str(&format!("ladder for steps without tools: {}\n", proposal.text.join(" → ")));
    }
    for (rung, why) in &proposal.left_out {
        out.push_str(&format!("  left out {rung}: {why}\n"));
    }
    out.push_str(&format!("rule: {RULE}\n"));
    out.push_str(&format!("set it: {}\n", set("default", &proposal.default)));
    if !proposal.text.is_empty() {
        out.push_str(&format!("        {}\n", set("text", &proposal.text)));
    }
    clean_lines(&out)
}

fn clean_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", clean(line))).collect()
}

/// The same for `--json`.
pub(super) fn proposal_json(proposal: &Proposal) -> serde_json::Value {
    let pairs = |pairs: &[(String, String)]| -> Vec<serde_json::Value> {
        pairs.iter().map(|(rung, why)| serde_json::json!({ "rung": rung, "why": why })).collect()
    };
    serde_json::json!({
        "default": proposal.default,
        "text": proposal.text,
        "left_out": pairs(&proposal.left_out),
        "marked": pairs(&proposal.marks),
        "is_weak": proposal.is_weak,
        "rule": RULE,
    })
}
