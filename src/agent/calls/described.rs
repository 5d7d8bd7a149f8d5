//! Attempts that cannot be read: a call that is told instead of made. They end no attempt as an answer would; the model
//! is asked again.

use super::Offered;
use super::names::{Offers, folded};
use super::reader::{Words, literal};
use super::words::callee;
use crate::domain::failure::FailureKind;

/// Why the text is an attempt at a call of a tool on offer, if it is one.
pub(super) fn attempt(text: &str, offers: Offers<'_>) -> Option<(FailureKind, String)> {
    if offers.0.is_empty() {
        return None;
    }
    let malformed = broken_object(text, offers).map(|why| (FailureKind::MalformedCall, why));
    malformed.or_else(|| {
        labelled(text, offers)
            .or_else(|| command_line(text, offers))
            .or_else(|| announced(text, offers))
            .map(|why| (FailureKind::Described, why))
    })
}

/// JSON that starts as a call of a tool on offer does, and cannot be read.
fn broken_object(text: &str, offers: Offers<'_>) -> Option<String> {
    let trimmed = text.trim_start().trim_start_matches('`').trim_start_matches(char::is_alphabetic).trim_start();
    if !trimmed.starts_with(['{', '[']) {
        return None;
    }
    let mut end = trimmed.len().min(400);
    while !trimmed.is_char_boundary(end) {
        end -= 1;
    }
    let head = &trimmed[..end];
    // `['read_file(path=…)']`, `[read_file(…)`
    let inside = head.trim_start_matches(['[', ' ', '\n', '"', '\'', '(', '{']);
    let name = callee(inside);
    if inside[name.len()..].starts_with('(') && offers.find(name).is_some() {
        return Some(format!("the call of `{name}` is broken, or holds what is no plain value"));
    }
    // What can be read and is no call is an answer.
    if literal(trimmed, 0, Words::Refused).is_ok() {
        return None;
    }
    let names_a_tool = head.split(['"', '\'']).skip(1).step_by(2).take(8).find(|word| offers.find(word).is_some())?;
    let has_arguments = ["arguments", "parameters", "args", "params", "input"].iter().any(|key| head.contains(key));
    has_arguments.then(|| format!("the JSON of the call of `{names_a_tool}` is broken or not complete"))
}

/// `name: read_file`, with its arguments in lines below.
fn labelled(text: &str, offers: Offers<'_>) -> Option<String> {
    let mut lines = outside_of_code(text).take(LINES_MAX);
    let (key, value) = lines.next()?.split_once(':')?;
    let is_label =
        matches!(folded(key).as_str(), "name" | "tool" | "toolname" | "function" | "functionname" | "action");
    let (tool, _) = offers.find(value).filter(|_| is_label)?;
    lines.next().map(|_| format!("the call of `{}` is not in a form that can be read", tool.name))
}

/// `obsidian … days=3 limit=5`: a tool's name at the start of a line, and its arguments behind it.
fn command_line(text: &str, offers: Offers<'_>) -> Option<String> {
    outside_of_code(text).take(LINES_MAX).find_map(|line| {
        let line = line.trim_start_matches([' ', '\t', '`', '-', '*', '$', '>']);
        let name = callee(line);
        let tool = named_tool(name, offers)?;
        let behind = &line[name.len()..];
        let gives = tool.declared().iter().any(|argument| {
            behind.match_indices(argument.as_str()).any(|(at, _)| {
                let is_open = behind[..at]
                    .ends_with(|c: char| c.is_whitespace() || matches!(c, '-' | '(' | ',' | '{' | '"' | '\''));
                let next = behind[at + argument.len()..].trim_start_matches(['"', '\'']);
                is_open && next.trim_start().starts_with(['=', ':'])
            })
        });
        gives.then(|| format!("the call of `{}` is not in a form that can be read", tool.name))
    })
}

/// Most lines that are looked at.
const LINES_MAX: usize = 2_000;

/// Lines outside of fences, and those of fences that hold one line: more than that is code.
fn outside_of_code(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced: Vec<&str> = Vec::new();
    let mut is_inside = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_inside = !is_inside;
            if fenced.len() == 1 {
                out.append(&mut fenced);
            }
            fenced.clear();
        } else if !is_inside {
            out.push(line);
        } else if !line.trim().is_empty() {
            fenced.push(line);
        }
    }
    if fenced.len() == 1 {
        out.append(&mut fenced);
    }
    out.into_iter()
}

fn named_tool<'o>(name: &str, offers: Offers<'o>) -> Option<&'o Offered> {
    if name.len() < 2 {
        return None;
    }
    if let Some((tool, _)) = offers.find(name) {
        return Some(tool);
    }
    // `obsidian …`: the server alone, where it has one tool on offer.
    let mut of_server = offers.0.iter().filter(|tool| {
        tool.name.split(['.', '/']).next().is_some_and(|server| server != tool.name && folded(server) == folded(name))
    });
    let first = of_server.next()?;
    of_server.next().is_none().then_some(first)
}

/// `I will call fs.read on …`, and nothing behind it that would be the call.
fn announced(text: &str, offers: Offers<'_>) -> Option<String> {
    const INTENTS: &[&str] = &[
        "i will ",
        "i'll ",
        "i’ll ",
        "i am going to ",
        "i'm going to ",
        "i’m going to ",
        "let me ",
        "let's ",
        "let’s ",
        "i need to ",
        "i should ",
        "i would ",
        "i'd ",
        "we need to ",
        "we should ",
        "we will ",
        "we can ",
        "i can ",
        "now i ",
        "next, i ",
        "going to ",
        "here is the ",
        "here's the ",
        "here is a ",
        "calling ",
        "call the ",
        "call ",
        "using the ",
        "invoking ",
        "please call ",
        "tool call: ",
        "function call: ",
        "use the ",
        "use ",
    ];
    const ACTS: &[&str] = &["call", "use", "using", "run", "invoke", "invoking", "execute", "try"];
    let lower = text.to_lowercase();
    for sentence in lower.split_inclusive(['\n', '!', '?']).flat_map(|line| line.split_inclusive(". ")).take(2_000) {
        let trimmed = sentence.trim_start_matches([' ', '*', '-', '#', '\t', '>', '`', '"']);
        let has_intent = INTENTS.iter().any(|intent| {
            trimmed.starts_with(intent)
                || (!matches!(*intent, "call " | "use " | "use the " | "call the " | "calling " | "i can " | "we can ")
                    && trimmed.contains(&format!(" {intent}")))
        });
        let acts = trimmed.split(|c: char| !c.is_alphanumeric()).any(|word| ACTS.contains(&word) || word == "calling");
        if !(has_intent && acts) || sentence.trim_end().ends_with('?') {
            continue;
        }
        let named = offers.0.iter().find(|tool| mentions(trimmed, &tool.name.to_lowercase()));
        if let Some(tool) = named {
            return Some(format!("`{}` was announced and not called", tool.name));
        }
    }
    None
}

/// The name stands there as a word.
fn mentions(text: &str, name: &str) -> bool {
    name.len() > 2
        && text.match_indices(name).any(|(at, _)| {
            let behind = &text[at + name.len()..];
            !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && !behind.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
}
