//! Calls behind the marks of chat templates. What stands behind such a mark is a call or a failed attempt at one.

use super::marks::{Mark, mark_at, next_mark};
use super::meant;
use super::names::Offers;
use super::reader::{Fault, Node, Words, literal};
use super::reasoning::{Opaque, is_quoted};
use super::seen::Seen;
use super::shape::{Arguments, Raw, Standing, calls};
use super::statements;
use super::words::callee;
use super::xml;

/// What stands behind marks.
#[derive(Debug)]
pub(super) enum Tagged {
    /// No mark of a call.
    Nothing,
    /// Calls, and where the first of their marks stands.
    Calls { raws: Vec<Raw>, start: usize },
    /// Marks that are talked about: the reply is an answer.
    Shown,
    /// A mark without a call that can be read, and why not.
    Unreadable(&'static str),
}

pub(super) const CUT: &str = "the call is not complete";
pub(super) const NOT_A_CALL: &str = "what stands in the call is no JSON object with a name and arguments";

/// One reading behind a mark.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) raws: Vec<Raw>,
    pub(super) end: usize,
    pub(super) bad: Option<&'static str>,
    /// How far it looked.
    pub(super) looked: usize,
}

/// Reads all calls behind marks, up to the first forged result.
pub(super) fn read(text: &str, offers: Offers<'_>) -> Tagged {
    let seen = Seen::default();
    let mut opaque = Opaque::default();
    let mut openings = Openings { text, functools: None, flower: None, mark: None };
    let mut raws: Vec<Raw> = Vec::new();
    let mut start = None;
    let mut is_shown = false;
    let mut from = 0;
    let mut last_end = 0;
    let forged = meant::forged_lines(text);
    while let Some((at, mark)) = openings.next(from) {
        from = mark.end;
        let is_text =
            text[..at].ends_with(['"', '\'']) || is_quoted(text, at, mark.end) || meant::is_in_quote(text, at);
        // What stands inside of a literal or of an argument belongs to it.
        if opaque.covers(text, at, &mut from) {
            continue;
        }
        if is_text {
            is_shown |= mark.opens_calls() && !mark.is_weak();
            continue;
        }
        let is_behind_forgery = !raws.is_empty() && meant::has_between(&forged, last_end, at);
        if is_behind_forgery || (mark.is_forged() && !raws.is_empty()) {
            break;
        }
        let is_opener = mark.opens_calls();
        let body = if is_opener {
            behind(text, at, &mark, offers, &seen)
        } else if let Some(body) = xml::tool(text, &mark, offers, &seen) {
            body
        } else {
            continue;
        };
        from = body.end.max(body.looked).max(mark.end);
        if body.raws.is_empty() && (!is_opener || mark.is_weak()) {
            continue;
        }
        let is_blank_end = body.raws.is_empty() && text[mark.end..].trim().is_empty() && !raws.is_empty();
        if !body.raws.is_empty() && !meant::is_meant(&text[last_end..at], "") {
            // A call that is shown, not made.
            is_shown = true;
            last_end = from;
            continue;
        }
        if let Some(why) = body.bad
            && !is_blank_end
        {
            return Tagged::Unreadable(why);
        }
        start = start.or(Some(at));
        raws.extend(body.raws);
        last_end = from;
        if raws.len() > statements::CALLS_MAX {
            break;
        }
    }
    match start {
        Some(start) if !raws.is_empty() => Tagged::Calls { raws, start },
        _ if is_shown => Tagged::Shown,
        _ => Tagged::Nothing,
    }
}

/// Marks one after the other; `functools[` and `✿FUNCTION✿:` are ones without brackets of their own.
struct Openings<'t> {
    text: &'t str,
    /// Where each stands next, once it was looked for; the length of the text where it does not.
    functools: Option<usize>,
    flower: Option<usize>,
    mark: Option<Option<(usize, Mark<'t>)>>,
}

impl<'t> Openings<'t> {
    fn next(&mut self, from: usize) -> Option<(usize, Mark<'t>)> {
        const FUNCTOOLS: &str = "functools[";
        const FLOWER: &str = "✿FUNCTION✿:";
        let text = self.text;
        let find = |known: Option<usize>, word: &str| match known {
            Some(at) if at >= from => at,
            _ => text.get(from..).and_then(|rest| rest.find(word)).map_or(text.len(), |found| from + found),
        };
        let functools = find(self.functools, FUNCTOOLS);
        let flower = find(self.flower, FLOWER);
        self.functools = Some(functools);
        self.flower = Some(flower);
        let plain = |at: usize, length: usize| {
            (at < text.len()).then(|| {
                let name = "toolcall".to_owned();
                let end = at + length;
                (at, Mark { name, rest: "", written: "", is_closing: false, is_empty: false, end })
            })
        };
        let mark = match self.mark.take() {
            Some(known) if known.as_ref().is_none_or(|(at, _)| *at >= from) => known,
            _ => next_mark(text, from),
        };
        self.mark = Some(mark.clone());
        [mark, plain(functools, FUNCTOOLS.len() - 1), plain(flower, FLOWER.len())]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

fn behind(text: &str, at: usize, mark: &Mark<'_>, offers: Offers<'_>, seen: &Seen) -> Body {
    // `<function=…>`, `<invoke name=…>` and `<tool_name>` are part of the call that they open.
    let carries_name =
        !mark.rest.trim().is_empty() || matches!(mark.name.as_str(), "tool" | "toolname" | "functionname");
    body(text, if carries_name { at } else { mark.end }, offers, seen)
}

/// Reads calls in any form from `at` on, until something stands there that is none.
pub(super) fn body(text: &str, at: usize, offers: Offers<'_>, seen: &Seen) -> Body {
    let mut out = Body { end: at, ..Body::default() };
    let mut at = at;
    loop {
        let rest = &text[at..];
        let has_calls = !out.raws.is_empty();
        let trimmed = rest.trim_start_matches(|c: char| {
            c.is_whitespace() || matches!(c, ',' | ';') || (has_calls && matches!(c, '}' | ']'))
        });
        at += rest.len() - trimmed.len();
        let rest = trimmed;
        if rest.is_empty() {
            break;
        }
        if let Some(fenced) = rest.strip_prefix("```") {
            let word = fenced.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(fenced.len());
            at += 3 + word;
            continue;
        }
        let step = if let Some(mark) = mark_at(text, at) {
            if mark.is_noise() {
                at = mark.end;
                out.end = at;
                continue;
            }
            match marked(text, at, &mark, offers, seen) {
                Step::Into(end) => {
                    at = end;
                    continue;
                }
                other => other,
            }
        } else if rest.starts_with(['{', '[', '(', '"', '\'']) {
            plain(text, at, offers)
        } else if let Some(length) = role(rest, offers) {
            at += length;
            continue;
        } else {
            match named(text, at, offers, seen) {
                // Words behind a call are words.
                Step::Bad(_) if has_calls && offers.find(callee(rest)).is_none() => Step::Stop,
                other => other,
            }
        };
        match step {
            Step::Calls(raws, end) => {
                out.raws.extend(raws);
                at = end;
                out.end = end;
            }
            Step::Stop | Step::Into(_) => break,
            Step::Bad(why) => {
                out.bad = Some(why);
                break;
            }
        }
        if out.raws.len() > statements::CALLS_MAX {
            break;
        }
    }
    out.looked = at;
    if out.raws.is_empty() && out.bad.is_none() {
        out.bad = Some(if text[at..].trim().is_empty() { CUT } else { NOT_A_CALL });
    }
    out
}

/// Length of a word of the template that stands before a mark or an object: `assistant<|end_header_id|>`, `json {`.
fn role(rest: &str, offers: Offers<'_>) -> Option<usize> {
    let word = ["assistant", "model", "json", "commentary"].into_iter().find(|word| rest.starts_with(word))?;
    let behind = rest[word.len()..].trim_start();
    let is_role = behind.starts_with(['<', '{', '[']) && offers.find(word).is_none();
    is_role.then_some(word.len())
}

/// What one look at a place gave.
pub(super) enum Step {
    Calls(Vec<Raw>, usize),
    /// A mark that only leads deeper.
    Into(usize),
    /// Something that belongs to no call.
    Stop,
    Bad(&'static str),
}

fn marked(text: &str, at: usize, mark: &Mark<'_>, offers: Offers<'_>, seen: &Seen) -> Step {
    if mark.is_closing || mark.is_forged() {
        return Step::Stop;
    }
    if matches!(mark.name.as_str(), "function" | "invoke" | "tool" | "functioncall" | "toolcall" | "tooluse")
        && let Some(name) = mark.attribute("name")
    {
        return xml::function(text, name, mark, offers, seen);
    }
    if matches!(mark.name.as_str(), "name" | "toolname" | "functionname" | "servername" | "server") {
        return xml::envelope(text, at, offers, seen);
    }
    if mark.name == "tool"
        && let Step::Calls(raws, end) = xml::envelope(text, at, offers, seen)
    {
        return Step::Calls(raws, end);
    }
    if mark.opens_calls() {
        return Step::Into(mark.end);
    }
    match xml::tool(text, mark, offers, seen) {
        Some(body) if !body.raws.is_empty() => Step::Calls(body.raws, body.end),
        _ => Step::Stop,
    }
}

const fn why(fault: Fault) -> &'static str {
    match fault {
        Fault::Cut => CUT,
        Fault::Bad => "the JSON of the call is broken",
        Fault::Deep => "the call is nested too deeply",
    }
}

fn plain(text: &str, at: usize, offers: Offers<'_>) -> Step {
    // Doubled braces: an escape of the prompt's own template, taken over.
    let at = if text[at..].starts_with("{{") { at + 1 } else { at };
    match literal(text, at, Words::Refused) {
        Ok(read) => match calls(&read.node, offers, Standing::Tagged) {
            Some(mut raws) => {
                for raw in &mut raws {
                    raw.notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
                }
                Step::Calls(raws, read.end)
            }
            None => Step::Bad(NOT_A_CALL),
        },
        Err((fault, _)) => Step::Bad(why(fault)),
    }
}

/// A name, and arguments in one of the ways that follow a name.
fn named(text: &str, at: usize, offers: Offers<'_>, seen: &Seen) -> Step {
    let rest = &text[at..];
    if let Some(behind) = rest.strip_prefix("call:") {
        let Some(open) = behind.find(['{', '\n', '<', '(']).filter(|open| behind[*open..].starts_with('{')) else {
            return Step::Bad(NOT_A_CALL);
        };
        return with_object(text, behind[..open].trim(), at + "call:".len() + open, Words::Text);
    }
    let end = rest.find(['\n', '{', '(', '<', '[', '✿']).unwrap_or(rest.len());
    let name = rest[..end].trim().trim_end_matches(':');
    let behind = &rest[end..];
    if name.is_empty() || name.len() > 256 {
        return Step::Bad(NOT_A_CALL);
    }
    let after_name = at + end;
    if behind.starts_with('(') || statements::is_assignment(rest) {
        return match statements::statement(text, at, offers, Standing::Tagged) {
            Ok(block) => Step::Calls(block.raws, block.end),
            Err(_) => Step::Bad("the call is no name with plain values"),
        };
    }
    // `function<sep>NAME`: the type comes first.
    if name == "function"
        && let Some(mark) = mark_at(text, after_name)
        && mark.name == "toolsep"
    {
        return named(text, mark.end, offers, seen);
    }
    let is_offered = offers.find(name).is_some();
    if name.contains(' ') && !is_offered {
        return Step::Stop;
    }
    arguments_behind(text, name, after_name, is_offered, seen)
}

/// Arguments behind a name: an object, with marks or a fence in between, or `<arg_key>` fields, or none at all.
fn arguments_behind(text: &str, name: &str, at: usize, is_offered: bool, seen: &Seen) -> Step {
    let mut at = at;
    let mut id = None;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if trimmed.starts_with('{') {
            return match with_object(text, name, at, Words::Refused) {
                Step::Calls(mut raws, end) => {
                    for raw in &mut raws {
                        raw.id.clone_from(&id);
                    }
                    Step::Calls(raws, end)
                }
                other => other,
            };
        }
        if let Some(behind) = trimmed.strip_prefix("```") {
            let word = behind.find(|c: char| !c.is_alphanumeric()).unwrap_or(behind.len());
            // A fence that ends the block is no fence before an object.
            if !behind[word..].trim_start().starts_with('{') {
                return none_given(name, at, is_offered);
            }
            at += 3 + word;
            continue;
        }
        if let Some(behind) = trimmed.strip_prefix("✿ARGS✿:") {
            at = text.len() - behind.len();
            continue;
        }
        let Some(mark) = mark_at(text, at) else {
            return if trimmed.is_empty() || !is_offered { Step::Bad(CUT) } else { none_given(name, at, is_offered) };
        };
        match mark.name.as_str() {
            "argkey" => return xml::keyed(text, name, at, seen),
            "args"
            | "toolsep"
            | "toolcallargumentbegin"
            | "message"
            | "content"
            | "constrain"
            | "arguments"
            | "argsstart" => at = mark.end,
            "callid" => {
                let rest = &text[mark.end..];
                let end = rest.find('[').unwrap_or(rest.len());
                id = Some(rest[..end].trim().to_owned()).filter(|id| !id.is_empty() && id.len() <= 256);
                at = mark.end + end;
            }
            _ => return none_given(name, at, is_offered),
        }
    }
}

fn none_given(name: &str, at: usize, is_offered: bool) -> Step {
    if is_offered { Step::Calls(vec![Raw::new(name, Arguments::Omitted)], at) } else { Step::Bad(NOT_A_CALL) }
}

/// A name and the object that starts at `at`.
pub(super) fn with_object(text: &str, name: &str, at: usize, words: Words) -> Step {
    match literal(text, at, words) {
        Ok(read) => match read.node {
            Node::Map { members, is_closed } => {
                let mut raw = Raw::new(name, Arguments::Members { members, is_closed });
                raw.notes.extend(read.repairs.iter().map(|repair| format!("repaired: {repair}")));
                Step::Calls(vec![raw], read.end)
            }
            _ => Step::Bad(NOT_A_CALL),
        },
        Err((fault, _)) => Step::Bad(why(fault)),
    }
}
