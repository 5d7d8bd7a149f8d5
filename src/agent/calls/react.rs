//! `Action:` and `Action Input:`, the form of ReAct; up to the first `Observation:`, which only an engine may write.

use super::meant;
use super::names::Offers;
use super::reader::{Node, Words, literal};
use super::shape::{Arguments, Raw, Standing};
use super::statements;
use super::tagged::{CUT, NOT_A_CALL};

/// What a reply in this form holds.
#[derive(Debug)]
pub(super) enum React {
    /// It is not in this form.
    Nothing,
    /// Calls, and where the first starts.
    Calls { raws: Vec<Raw>, start: usize },
    /// Its final answer.
    Answer(String),
    /// An attempt that cannot be read, and why not.
    Unreadable(&'static str),
}

/// Where a line `word: …` starts, and where its text does.
fn labelled(text: &str, from: usize, words: &[&str]) -> Option<(usize, usize)> {
    let mut at = from;
    for line in text[from..].split_inclusive('\n') {
        let bare = line.trim_start_matches([' ', '\t', '*', '#', '>', '-']);
        let start = at + line.len() - bare.len();
        for word in words {
            let Some(head) = bare.get(..word.len()) else { continue };
            if !head.eq_ignore_ascii_case(word) {
                continue;
            }
            let behind = bare[word.len()..].trim_start_matches([' ', '*']);
            if let Some(value) = behind.strip_prefix(':') {
                let value = value.trim_start_matches('*');
                return Some((start, at + line.len() - value.len()));
            }
        }
        at += line.len();
    }
    None
}

const ACTION: &[&str] = &["action", "tool", "tool name", "tool call", "function", "function name", "function call"];
const INPUT: &[&str] = &[
    "action input",
    "action_input",
    "actioninput",
    "input",
    "tool input",
    "tool arguments",
    "arguments",
    "args",
    "parameters",
    "params",
];

pub(super) fn read(text: &str, offers: Offers<'_>) -> React {
    let mut raws: Vec<Raw> = Vec::new();
    let mut first = None;
    let mut from = 0;
    let forged = meant::forged_lines(text);
    while let Some((start, value)) = labelled(text, from, ACTION) {
        if !raws.is_empty() && meant::has_between(&forged, from, start) {
            break;
        }
        match one(text, value, offers) {
            One::Calls(found, end) => {
                first = first.or(Some(start));
                raws.extend(found);
                from = end;
            }
            One::Answer(answer) if raws.is_empty() => return React::Answer(answer),
            One::Unreadable(why) => return React::Unreadable(why),
            One::Answer(_) | One::Nothing => {
                from = text[value..].find('\n').map_or(text.len(), |end| value + end + 1);
            }
        }
        if raws.len() > statements::CALLS_MAX {
            break;
        }
    }
    match first {
        Some(start) => React::Calls { raws, start },
        None => React::Nothing,
    }
}

/// Where the input starts, if the next line with words is one.
fn input_behind(text: &str, at: usize) -> Option<usize> {
    let start = text.len() - text[at..].trim_start().len();
    let line = text[start..].split('\n').next().unwrap_or_default();
    labelled(line, 0, INPUT).map(|(_, value)| start + value)
}

enum One {
    Nothing,
    Calls(Vec<Raw>, usize),
    Answer(String),
    Unreadable(&'static str),
}

fn one(text: &str, at: usize, offers: Offers<'_>) -> One {
    let at = text.len() - text[at..].trim_start().len();
    let rest = &text[at..];
    if rest.starts_with(['{', '[', '`']) && !rest.trim_start_matches('`').starts_with(char::is_whitespace)
        || rest.starts_with("```")
    {
        let fence = rest.trim_start_matches('`');
        let word =
            if rest.starts_with("```") { fence.find(|c: char| !c.is_alphanumeric()).unwrap_or(fence.len()) } else { 0 };
        let body = text.len() - fence.len() + word;
        let body = text.len() - text[body..].trim_start().len();
        if text[body..].starts_with(['{', '[']) {
            return object(text, body, offers);
        }
    }
    let line = rest.split('\n').next().unwrap_or_default();
    let name = line.trim().trim_matches(['`', '*', '"', '\'']);
    let behind = at + line.len();
    if let Some(input) = input_behind(text, behind)
        && !name.is_empty()
        && name.len() <= 256
    {
        return with_input(text, name, input);
    }
    if line.contains('(')
        && let Ok(block) = statements::statement(text, at, offers, Standing::Plain)
        && block.raws.iter().all(|raw| offers.find(&raw.name).is_some())
    {
        return One::Calls(block.raws, block.end);
    }
    // `Search[the words]`
    if let Some((tool, words)) = name.split_once('[')
        && let Some(words) = words.strip_suffix(']')
    {
        if tool.eq_ignore_ascii_case("finish") {
            return One::Answer(words.to_owned());
        }
        if offers.find(tool).is_some() {
            return One::Calls(vec![Raw::new(tool, Arguments::Free(words.to_owned()))], behind);
        }
    }
    One::Nothing
}

fn is_final(name: &str) -> bool {
    matches!(super::names::folded(name).as_str(), "finalanswer" | "final")
}

fn object(text: &str, at: usize, offers: Offers<'_>) -> One {
    let read = match literal(text, at, Words::Refused) {
        Ok(read) => read,
        Err((super::reader::Fault::Cut, _)) => return One::Unreadable(CUT),
        Err(_) => return One::Unreadable(NOT_A_CALL),
    };
    if let Node::Map { members, .. } = &read.node {
        let find =
            |wanted: &str| members.iter().find(|(key, _)| super::names::folded(key) == wanted).map(|(_, node)| node);
        if let (Some(Node::Text(name)), Some(Node::Text(answer))) = (find("action"), find("actioninput"))
            && is_final(name)
            && offers.find(name).is_none()
        {
            return One::Answer(answer.clone());
        }
    }
    match super::shape::calls(&read.node, offers, Standing::Tagged) {
        Some(mut raws) => {
            for raw in &mut raws {
                raw.notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
            }
            One::Calls(raws, read.end)
        }
        None => One::Nothing,
    }
}

/// The input: an object, or the words up to the next line that means something.
fn with_input(text: &str, name: &str, at: usize) -> One {
    let trimmed = text[at..].trim_start();
    let fence = trimmed.strip_prefix("```").map(|behind| behind.trim_start_matches(char::is_alphanumeric).trim_start());
    let body = fence.unwrap_or(trimmed);
    let start = text.len() - body.len();
    if body.starts_with('{') {
        return match literal(text, start, Words::Refused) {
            Ok(read) => match read.node {
                Node::Map { members, is_closed } => {
                    let mut raw = Raw::new(name, Arguments::Members { members, is_closed });
                    raw.notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
                    One::Calls(vec![raw], read.end)
                }
                _ => One::Unreadable(NOT_A_CALL),
            },
            Err((super::reader::Fault::Cut, _)) => One::Unreadable(CUT),
            Err(_) => One::Unreadable(NOT_A_CALL),
        };
    }
    let end = [
        labelled(text, start, &["observation", "thought", "final answer", "action", "tool result"]).map(|(at, _)| at),
        body.find("\n\n").map(|found| start + found),
    ]
    .into_iter()
    .flatten()
    .min()
    .unwrap_or(text.len());
    let words = text[start..end].trim().trim_end_matches("```").trim();
    let words = words.strip_prefix('"').and_then(|words| words.strip_suffix('"')).unwrap_or(words);
    if matches!(words, "" | "None" | "none" | "null") {
        return One::Calls(vec![Raw::members(name, Vec::new())], end);
    }
    One::Calls(vec![Raw::new(name, Arguments::Free(words.to_owned()))], end)
}
