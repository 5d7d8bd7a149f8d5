//! Rows of calls as code writes them: `a(x=1)`, one a line, in a list, joined, printed or kept in a variable; and JSON
//! objects one after the other. A block counts only if all of it is calls: anything that would have to be run as code
//! makes it text.

use super::names::Offers;
use super::reader::{Node, Words, literal};
use super::shape::{Raw, Standing, calls};
use super::words::{callee, joiner};

/// Calls, and where their block ended.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) raws: Vec<Raw>,
    pub(super) end: usize,
}

/// Most calls in one reply.
pub(super) const CALLS_MAX: usize = 64;

/// Reads calls from `at` until the text is over or a fence ends it.
///
/// # Errors
/// How far it looked, as soon as something else stands there.
pub(super) fn block(text: &str, at: usize, offers: Offers<'_>, standing: Standing) -> Result<Block, usize> {
    let mut at = at;
    let mut raws = Vec::new();
    loop {
        at = past_quiet(text, at);
        let rest = &text[at..];
        if rest.is_empty() || rest.starts_with("```") || rest.starts_with("~~~") {
            return if raws.is_empty() { Err(at) } else { Ok(Block { raws, end: at }) };
        }
        if let Some(length) = harmless(rest) {
            at += length;
            continue;
        }
        let one = statement(text, at, offers, standing)?;
        raws.extend(one.raws);
        if raws.len() > CALLS_MAX * 2 {
            return Err(one.end);
        }
        at = one.end;
        let behind = text[at..].trim_start_matches([' ', '\t', '\r']);
        let line = if behind.starts_with('\n') { "" } else { behind };
        let is_end = line.is_empty()
            || line.starts_with(['#', ',', ';', '{', '['])
            || line.starts_with("//")
            || line.starts_with("```");
        if !is_end {
            return Err(at);
        }
    }
}

/// One statement: a call or a row of joined calls, with what code puts around it.
///
/// # Errors
/// How far it looked, where there is none.
pub(super) fn statement(text: &str, at: usize, offers: Offers<'_>, standing: Standing) -> Result<Block, usize> {
    let assigns = is_assignment(&text[at..]);
    let mut at = at + prelude(&text[at..]);
    let mut raws = Vec::new();
    loop {
        let literal = literal(text, at, Words::Refused).map_err(|(_, looked)| looked)?;
        if assigns && matches!(literal.node, Node::Map { .. } | Node::Text(_)) {
            // Data that code keeps.
            return Err(literal.end);
        }
        let mut found = calls(&literal.node, offers, standing).ok_or(literal.end)?;
        for raw in &mut found {
            raw.notes.extend(literal.repairs.iter().map(|repair| format!("repaired: {repair}")));
        }
        raws.extend(found);
        at = literal.end;
        let gap = text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
        let is_call = matches!(literal.node, Node::Call(_));
        match joined(&text[at + gap..]).filter(|_| is_call) {
            Some(length) if has_more(&text[at + gap + length..]) => at += gap + length,
            _ => return Ok(Block { raws, end: at }),
        }
    }
}

/// Length of what joins this call to the next: also a comma, where another call follows for sure.
fn joined(rest: &str) -> Option<usize> {
    joiner(rest).or_else(|| {
        let behind = rest.strip_prefix(',')?.trim_start();
        let name = callee(behind);
        (!name.is_empty() && behind[name.len()..].starts_with('(')).then_some(1)
    })
}

fn has_more(rest: &str) -> bool {
    rest.trim_start().starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Length of `return `, `await `, `result = ` in front of a call.
fn prelude(rest: &str) -> usize {
    let mut at = 0;
    loop {
        let here = &rest[at..];
        let word = ["return ", "await ", "const ", "let ", "var "].iter().find(|word| here.starts_with(**word));
        match word {
            Some(word) => at += word.len(),
            None => break,
        }
    }
    let here = &rest[at..];
    let end = here.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ',' | ' ' | ':'))).unwrap_or(here.len());
    let is_assignment = end > 0
        && here.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && here[end..].starts_with('=')
        && !here[end..].starts_with("==");
    if !is_assignment {
        return at;
    }
    at += end + 1;
    at += rest[at..].len() - rest[at..].trim_start_matches(' ').len();
    if rest[at..].starts_with("await ") { at + "await ".len() } else { at }
}

/// Whether a call that is kept in a variable starts here.
pub(super) fn is_assignment(rest: &str) -> bool {
    let length = prelude(rest);
    length > 0 && rest[..length].trim_end().ends_with('=') && !rest[..length].contains('\n')
}

/// Past spaces, separators and comments.
fn past_quiet(text: &str, at: usize) -> usize {
    let mut at = at;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '\u{feff}'));
        at += rest.len() - trimmed.len();
        if trimmed.starts_with('#') || trimmed.starts_with("//") {
            at += trimmed.find('\n').unwrap_or(trimmed.len());
        } else {
            return at;
        }
    }
}

/// Length of a line that runs nothing that matters: `print(result)`, `print("Done")`.
fn harmless(rest: &str) -> Option<usize> {
    let line = rest.split('\n').next().unwrap_or_default();
    let inner = line.trim().strip_prefix("print(")?.strip_suffix(')')?;
    let is_word = !inner.is_empty() && inner.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_text = inner.len() > 1
        && (inner.starts_with('"') && inner.ends_with('"') || inner.starts_with('\'') && inner.ends_with('\''))
        && !inner[1..inner.len() - 1].contains(['"', '\'']);
    (is_word || is_text).then_some(line.len())
}
