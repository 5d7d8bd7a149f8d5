//! Calls whose parts are elements: `<function=x><parameter=y>`, `<invoke name="x">`, `<arg_key>`, `<read_file><path>`,
//! `<tool_name>` beside `<arguments>`. What stands in an element is text until the declared type says otherwise.

use super::marks::{Mark, mark_at, next_mark};
use super::names::{Offers, folded};
use super::reader::{Node, Words, literal};
use super::seen::Seen;
use super::shape::{Arguments, Raw};
use super::tagged::{Body, CUT, NOT_A_CALL, Step, with_object};

/// Past spaces.
fn skipped(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

/// Text of an element without the line breaks that its tags brought.
fn inner(text: &str) -> &str {
    let text = text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text);
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

const fn is_parameter(name: &str) -> bool {
    matches!(name.as_bytes(), b"parameter" | b"param" | b"arg" | b"argument")
}

fn holds_arguments(name: &str) -> bool {
    matches!(
        name,
        "arguments"
            | "parameters"
            | "args"
            | "params"
            | "input"
            | "toolinput"
            | "toolargs"
            | "toolarguments"
            | "toolparameters"
            | "functionarguments"
    )
}

/// The next mark that ends the parameter before it: another one of that name, or the end of the call.
fn next_boundary(text: &str, at: usize, limit: usize, name: &str) -> Option<usize> {
    let mut from = at;
    loop {
        let (found, mark) = next_mark(text, from).filter(|(found, _)| *found < limit)?;
        if (mark.name == name && !mark.is_closing && mark.attribute("name").is_some()) || ends_call(&mark) {
            return Some(found);
        }
        from = mark.end;
    }
}

/// Most arguments of one call.
const FIELDS_MAX: usize = 256;

fn ends_call(mark: &Mark<'_>) -> bool {
    mark.is_closing
        && matches!(
            mark.name.as_str(),
            "function" | "invoke" | "tool" | "toolcall" | "toolcalls" | "functioncall" | "functioncalls" | "tooluse"
        )
}

/// `<function=name>…</function>`, `<invoke name="name">…</invoke>`: JSON inside, or elements.
pub(super) fn function(text: &str, name: &str, opening: &Mark<'_>, offers: Offers<'_>, seen: &Seen) -> Step {
    if opening.is_empty {
        return Step::Calls(vec![Raw::members(name, Vec::new())], opening.end);
    }
    let mut at = skipped(text, opening.end);
    if text[at..].starts_with('{') {
        return match with_object(text, name, at, Words::Refused) {
            Step::Calls(raws, end) => {
                let end = skipped(text, end);
                match mark_at(text, end) {
                    Some(mark) if ends_call(&mark) => Step::Calls(raws, mark.end),
                    _ => Step::Calls(raws, end),
                }
            }
            other => other,
        };
    }
    let mut fields = Vec::new();
    loop {
        at = skipped(text, at);
        let Some(mark) = mark_at(text, at) else {
            return Step::Bad(if text[at..].trim().is_empty() { CUT } else { NOT_A_CALL });
        };
        if ends_call(&mark) {
            // The call's own end is consumed, an outer one is left to whoever opened it.
            let end = if mark.name == opening.name { mark.end } else { at };
            return Step::Calls(vec![Raw::new(name, Arguments::Fields(fields))], end);
        }
        if mark.is_closing {
            return Step::Bad(NOT_A_CALL);
        }
        if holds_arguments(&mark.name) && mark.attribute("name").is_none() {
            return match held(text, &mark, seen) {
                Some((arguments, end)) => {
                    let end = skipped(text, end);
                    let end = mark_at(text, end).filter(ends_call).map_or(end, |mark| mark.end);
                    Step::Calls(vec![Raw::new(name, arguments)], end)
                }
                None => Step::Bad(CUT),
            };
        }
        let key = if is_parameter(&mark.name) {
            mark.attribute("name").map(str::to_owned)
        } else {
            offers.find(name).filter(|(tool, _)| tool.declares(mark.written)).map(|_| mark.written.to_owned())
        };
        let Some(key) = key else { return Step::Bad(NOT_A_CALL) };
        if fields.len() == FIELDS_MAX {
            return Step::Bad(NOT_A_CALL);
        }
        let closing = seen.closing(text, &mark.name, mark.end);
        let limit = closing.map_or(text.len(), |(close, _)| close);
        let next = next_boundary(text, mark.end, limit, &mark.name);
        let (end, behind) = match (closing, next) {
            // An end tag that was forgotten: the next parameter ends this one.
            (Some((close, _)), Some(next)) if has_own_end(text, next, close) => (next, next),
            (Some((close, closing_end)), _) => (close, closing_end),
            (None, Some(next)) => (next, next),
            (None, None) => return Step::Bad(CUT),
        };
        fields.push((key, inner(&text[mark.end..end]).to_owned()));
        at = behind;
    }
}

/// Whether the parameter that starts at `next` is a sibling and no text: nothing but one value stands up to the end.
fn has_own_end(text: &str, next: usize, close: usize) -> bool {
    mark_at(text, next).is_some_and(|mark| !mark.is_closing && mark.end <= close && text[..next].ends_with('\n'))
}

/// `<arg_key>k</arg_key><arg_value>v</arg_value>…`, with one tag of each forgotten at will.
pub(super) fn keyed(text: &str, name: &str, at: usize, seen: &Seen) -> Step {
    const KEY: &str = "<arg_key>";
    const KEY_END: &str = "</arg_key>";
    const VALUE: &str = "<arg_value>";
    const VALUE_END: &str = "</arg_value>";
    let mut fields = Vec::new();
    let mut at = at;
    loop {
        at = skipped(text, at);
        let rest = &text[at..];
        let Some(behind) = rest.strip_prefix(KEY) else {
            return match mark_at(text, at) {
                Some(mark) if mark.is_closing || mark.opens_calls() || mark.is_forged() => {
                    Step::Calls(vec![Raw::new(name, Arguments::Fields(fields))], at)
                }
                Some(_) => Step::Bad(NOT_A_CALL),
                None => Step::Bad(if rest.is_empty() { CUT } else { NOT_A_CALL }),
            };
        };
        let key_at = at + KEY.len();
        let key_end = [KEY_END, VALUE].iter().filter_map(|end| seen.find(text, end, key_at)).min();
        let Some(key_end) = key_end.map(|end| end - key_at).filter(|_| fields.len() < FIELDS_MAX) else {
            return Step::Bad(CUT);
        };
        let key = behind[..key_end].trim();
        let behind = &behind[key_end..];
        let behind = behind.strip_prefix(KEY_END).unwrap_or(behind);
        let opened = behind.trim_start();
        let behind = opened.strip_prefix(VALUE).unwrap_or(opened);
        let value_at = text.len() - behind.len();
        let Some((end, length)) = [(VALUE_END, VALUE_END.len()), (KEY, 0), ("</tool_call>", 0)]
            .iter()
            .filter_map(|(end, length)| Some((seen.find(text, end, value_at)? - value_at, *length)))
            .min()
        else {
            return Step::Bad(CUT);
        };
        // A key that is given twice: the last one counts, as for JSON.
        fields.retain(|(known, _): &(String, String)| known != key);
        fields.push((key.to_owned(), behind[..end].trim().to_owned()));
        at = value_at + end + length;
    }
}

/// `<tool_name>x</tool_name><arguments>…</arguments>`, with `<server_name>` before it or not.
pub(super) fn envelope(text: &str, at: usize, offers: Offers<'_>, seen: &Seen) -> Step {
    let mut at = at;
    let mut server: Option<&str> = None;
    let mut name: Option<String> = None;
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut held_arguments = None;
    loop {
        at = skipped(text, at);
        let Some(mark) = mark_at(text, at).filter(|mark| !mark.is_closing && !mark.is_empty) else { break };
        let is_name = matches!(mark.name.as_str(), "name" | "toolname" | "functionname" | "tool");
        if is_name && name.is_some() {
            break;
        }
        if holds_arguments(&mark.name) && held_arguments.is_none() {
            let Some((arguments, end)) = held(text, &mark, seen) else { return Step::Bad(CUT) };
            held_arguments = Some(arguments);
            at = end;
            continue;
        }
        let Some((close, closing_end)) = seen.closing(text, &mark.name, mark.end).filter(|_| fields.len() < FIELDS_MAX)
        else {
            break;
        };
        let value = inner(&text[mark.end..close]);
        if is_name {
            name = Some(value.trim().to_owned());
        } else if matches!(mark.name.as_str(), "servername" | "server") {
            server = Some(value.trim());
        } else if name
            .as_deref()
            .and_then(|name| offers.find(name))
            .is_some_and(|(tool, _)| tool.declares(mark.written))
        {
            fields.push((mark.written.to_owned(), value.to_owned()));
        } else if !matches!(mark.name.as_str(), "thought" | "thoughts" | "reasoning" | "id") {
            break;
        }
        at = closing_end;
    }
    let Some(name) = name.filter(|name| !name.is_empty() && name.len() <= 256 && !name.contains(['<', '\n'])) else {
        return Step::Stop;
    };
    let name = match server {
        Some(server) if offers.find(&format!("{server}.{name}")).is_some() => format!("{server}.{name}"),
        _ => name,
    };
    let arguments = match held_arguments {
        Some(arguments) if fields.is_empty() => arguments,
        Some(_) => return Step::Bad(NOT_A_CALL),
        None => Arguments::Fields(fields),
    };
    Step::Calls(vec![Raw::new(name, arguments)], at)
}

/// What stands in `<arguments>`: an object, or elements.
fn held(text: &str, opening: &Mark<'_>, seen: &Seen) -> Option<(Arguments, usize)> {
    let at = skipped(text, opening.end);
    if text[at..].starts_with('{') {
        let read = literal(text, at, Words::Refused).ok()?;
        let Node::Map { members, is_closed } = read.node else { return None };
        let end = skipped(text, read.end);
        let end =
            mark_at(text, end).filter(|mark| mark.is_closing && mark.name == opening.name).map_or(end, |mark| mark.end);
        return Some((Arguments::Members { members, is_closed }, end));
    }
    let (close, closing_end) = seen.closing(text, &opening.name, opening.end)?;
    let fields = elements(&text[opening.end..close])?;
    Some((Arguments::Fields(fields), closing_end))
}

/// A text that is elements and nothing else.
fn elements(text: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        at = skipped(text, at);
        if at == text.len() {
            return Some(fields);
        }
        let mark = mark_at(text, at).filter(|mark| !mark.is_closing && !mark.is_empty)?;
        let key = if is_parameter(&mark.name) { mark.attribute("name")? } else { mark.written };
        let end_tag = format!("</{}>", mark.written);
        let close = mark.end + text[mark.end..].find(&end_tag)?;
        fields.push((key.to_owned(), inner(&text[mark.end..close]).to_owned()));
        at = close + end_tag.len();
    }
}

/// An element that is named after a tool: `<read_file><path>x</path></read_file>`, `<fs.read>{…}</fs.read>`,
/// `<read_file path="x"/>`.
pub(super) fn tool(text: &str, mark: &Mark<'_>, offers: Offers<'_>, seen: &Seen) -> Option<Body> {
    if mark.is_closing || mark.written.len() < 2 {
        return None;
    }
    let (tool, is_folded) = offers.find(mark.written)?;
    // `<table>`, `<Title>`: words that texts use as well must be written exactly.
    if is_folded && !mark.written.contains(['_', '.', '-', ':']) {
        return None;
    }
    let given = attributes(mark.rest)?;
    if given.iter().any(|(key, _)| !tool.declares(key)) {
        return None;
    }
    let done = |arguments: Arguments, end: usize| {
        Some(Body { raws: vec![Raw::new(mark.written, arguments)], end, bad: None, looked: end })
    };
    if mark.is_empty {
        return done(Arguments::Fields(given), mark.end);
    }
    let end_tag = format!("</{}>", mark.written);
    let close = seen.find(text, &end_tag, mark.end)?;
    let at = skipped(text, mark.end);
    if text[at..].starts_with('{') && given.is_empty() {
        let read = literal(text, at, Words::Refused).ok()?;
        let Node::Map { members, is_closed } = read.node else { return None };
        let end = skipped(text, read.end);
        let end = if text[end..].starts_with(&end_tag) { end + end_tag.len() } else { return None };
        // `<read_file>{"path": …}</read_file>` and `<read_file>{"arguments": {…}}</read_file>`.
        let arguments = match members.as_slice() {
            [(key, Node::Map { members: inner, is_closed: inner_closed })]
                if holds_arguments(&folded(key)) && !tool.declares(key) =>
            {
                Arguments::Members { members: inner.clone(), is_closed: *inner_closed && is_closed }
            }
            _ => Arguments::Members { members, is_closed },
        };
        return done(arguments, end);
    }
    let end = close + end_tag.len();
    let content = &text[mark.end..close];
    if content.trim().is_empty() {
        return done(Arguments::Fields(given), end);
    }
    if let Some(inner) = mark_at(text, at).filter(|inner| !inner.is_closing && holds_arguments(&inner.name))
        && !tool.declares(inner.written)
    {
        let (arguments, _) = held(text, &inner, seen)?;
        return done(arguments, end);
    }
    if let Some(mut fields) = elements(content) {
        // A tool that takes any argument must have a name that no other element has: `<table><row>…` is a table.
        let takes_any = tool.is_open() && mark.written.contains(['_', '.', '-', ':']);
        if !takes_any && fields.iter().any(|(key, _)| !tool.declares(key)) {
            return None;
        }
        fields.extend(given);
        return done(Arguments::Fields(fields), end);
    }
    let is_plain = given.is_empty() && !content.contains('<');
    if is_plain && tool.declared().len() == 1 { done(Arguments::Free(content.trim().to_owned()), end) } else { None }
}

/// `key="value"` pairs and nothing else.
fn attributes(rest: &str) -> Option<Vec<(String, String)>> {
    let mut out = Vec::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, next) = behind[1..].split_once(quote)?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        out.push((key.to_owned(), value.to_owned()));
        rest = next.trim_start();
    }
    Some(out)
}
