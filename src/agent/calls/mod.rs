//! From the reply of a model to exactly the calls that it means, or why there is none. Lenient in reading, strict in what
//! may run: a call names one tool on offer and has all arguments that are required in their types; nothing is evaluated,
//! nothing that was cut off is completed, and a call that is only shown is none.
//!
//! One form wins: native calls, else the channels of harmony, else marks of chat templates, else `Action:` lines, else
//! bare JSON and lines of code. If one call of the winner cannot run, none of the reply does. Pure: no I/O.

mod arguments;
mod described;
mod harmony;
mod marks;
mod meant;
mod names;
mod prose;
mod react;
mod reader;
mod reasoning;
mod scalars;
mod seen;
mod shape;
mod statements;
mod tagged;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_limits;
mod words;
mod xml;

use serde_json::{Map, Value};

pub use reasoning::{Stripped, without_reasoning};

use crate::domain::failure::FailureKind;
use crate::model::{NativeCall, Reply, Stop};
use names::Offers;
use prose::Prose;
use react::React;
use reader::Node;
use shape::{Arguments, Raw};
use tagged::Tagged;

/// Longest text of a reply that is read.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Most calls in one reply.
pub const CALLS_MAX: usize = statements::CALLS_MAX;

/// A tool as the reader knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// Name as it was offered to the model.
    pub name: String,
    /// JSON Schema of its arguments: an object. Without `properties` any argument is taken.
    pub parameters: Value,
}

/// What the final answer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Words.
    Words,
    /// A value that fits a schema.
    Form,
}

impl Wanted {
    /// How to answer, for a model that called a tool where none is offered.
    const fn way(self) -> &'static str {
        match self {
            Self::Words => "answer in words",
            Self::Form => "answer with one JSON value of the form asked for, and nothing around it",
        }
    }
}

/// A call that may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Exactly as offered.
    pub name: String,
    /// In the declared types; none that is not declared, unless the tool takes any.
    pub arguments: Map<String, Value>,
    /// What was repaired, folded, coerced or left out.
    pub notes: Vec<String>,
    /// Id that the model or its server gave.
    pub id: Option<String>,
}

/// What a reply means.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Calls that may run, in order.
    Calls {
        /// At least one.
        calls: Vec<Call>,
        /// What was said before them, without reasoning.
        text: String,
    },
    /// A final text without reasoning; not empty.
    Text(String),
    /// Nothing that counts.
    Failed(Unread),
}

/// Why a reply counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// By kind.
    pub kind: FailureKind,
    /// What the model is told, so that it can do better.
    pub complaint: String,
}

impl Unread {
    fn new(kind: FailureKind, complaint: impl Into<String>) -> Self {
        Self { kind, complaint: complaint.into() }
    }

    fn not_offered(name: &str, offers: Offers<'_>) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        let complaint = if offers.0.is_empty() {
            format!("`{name}` was called, but no tools are offered here; {}", offers.1.way())
        } else {
            format!("there is no tool `{name}`; the tools are {}", offers.listed())
        };
        Self::new(FailureKind::NotOffered, complaint)
    }

    fn malformed(why: &str, offers: Offers<'_>) -> Self {
        Self::new(
            FailureKind::MalformedCall,
            format!("{why}; call one of {} with a JSON object of arguments", offers.listed()),
        )
    }
}

/// Reads a reply.
///
/// With native calls the text is not searched for more. A reply that was cut at the limit of tokens runs nothing, complete
/// calls included: what follows them is not known.
#[must_use]
pub fn read(reply: &Reply, offered: &[Offered]) -> Read {
    read_for(reply, offered, Wanted::Words)
}

/// As [`read`], where the final answer is to be of some form.
#[must_use]
pub fn read_for(reply: &Reply, offered: &[Offered], wanted: Wanted) -> Read {
    match outcome(reply, Offers(offered, wanted)) {
        Ok(read) => read,
        Err(unread) => Read::Failed(unread),
    }
}

/// What is said to a text that is calls in JSON and nothing else, where there are no tools. To [`read`] such a text is an
/// answer: whether it may be one depends on the form that was asked for, which it does not know.
#[must_use]
pub fn bare_call(text: &str) -> Option<String> {
    let raw = prose::bare_call(text)?;
    Some(Unread::not_offered(&raw.name, Offers(&[], Wanted::Words)).complaint)
}

fn outcome(reply: &Reply, offers: Offers<'_>) -> Result<Read, Unread> {
    if reply.text.len() > TEXT_BYTES_MAX {
        return Err(Unread::new(
            FailureKind::MalformedCall,
            format!("the reply is longer than {TEXT_BYTES_MAX} bytes; answer shorter"),
        ));
    }
    let stripped = without_reasoning(&reply.text);
    let said = without_end_marks(&stripped.text).trim_matches(['\u{200b}', '\u{feff}', '\u{2060}']).trim();
    if reply.stop == Stop::Declined {
        let why = if reply.note.is_empty() { "it does not say why" } else { &reply.note };
        return Err(Unread::new(FailureKind::Declined, format!("the model declined to answer: {why}")));
    }
    if said.is_empty() && reply.calls.is_empty() && !has_channelled_call(&reply.text) {
        return Err(nothing_said(reply, stripped.had_reasoning));
    }
    if reply.stop.is_cut() {
        return Err(Unread::new(
            FailureKind::CutReply,
            "the reply was cut off at the limit of its length; nothing of it counts; answer shorter",
        ));
    }
    if !reply.calls.is_empty() {
        let raws = reply.calls.iter().map(native).collect();
        return run(raws, offers, said);
    }
    if let Some(raws) = harmony::calls(&reply.text, offers) {
        return run(raws, offers, said);
    }
    let plain = plain_spelling(said, offers);
    let said = plain.as_deref().unwrap_or(said);
    match tagged::read(said, offers) {
        Tagged::Calls { raws, start } => return run(raws, offers, before(said, start)),
        Tagged::Unreadable(_) if offers.0.is_empty() => {
            let complaint = format!("no tools are offered here; {}", offers.1.way());
            return Err(Unread::new(FailureKind::NotOffered, complaint));
        }
        Tagged::Unreadable(why) => return Err(Unread::malformed(why, offers)),
        Tagged::Shown => return Ok(Read::Text(said.to_owned())),
        Tagged::Nothing => {}
    }
    match react::read(said, offers) {
        React::Calls { raws, start } => return run(raws, offers, before(said, start)),
        React::Answer(answer) if !answer.trim().is_empty() => return Ok(Read::Text(answer.trim().to_owned())),
        React::Unreadable(_) if offers.0.is_empty() => {}
        React::Unreadable(why) => return Err(Unread::malformed(why, offers)),
        React::Nothing | React::Answer(_) => {}
    }
    match prose::read(said, offers) {
        Prose::Calls { raws, start } => return run(raws, offers, before(said, start)),
        Prose::Unknown(raw) => return Err(Unread::not_offered(&raw.name, offers)),
        Prose::Unreadable(_) if offers.0.is_empty() => {}
        Prose::Unreadable(why) => return Err(Unread::malformed(why, offers)),
        Prose::Shown => return Ok(Read::Text(said.to_owned())),
        Prose::Nothing => {}
    }
    if let Some((kind, why)) = described::attempt(said, offers) {
        return Err(Unread::new(kind, format!("{why}; call the tool itself, with a JSON object of arguments")));
    }
    Ok(Read::Text(said.to_owned()))
}

/// The text without an escaping that covers all of it: Markdown's `read\\_file`, JSON inside of a JSON text, entities of
/// HTML. None where the text is as it should be.
fn plain_spelling(text: &str, offers: Offers<'_>) -> Option<String> {
    if text.contains("\\_") {
        let is_escaped = offers.0.iter().any(|tool| {
            let inner = tool.name.trim_matches('_');
            inner.contains('_') && text.contains(&inner.replace('_', "\\_"))
        });
        if is_escaped {
            return Some(text.replace("\\_", "_"));
        }
    }
    let opening = text.trim_start_matches(['[', ' ', '\n']);
    if opening.starts_with("{\\\"") {
        return serde_json::from_str(&format!("\"{}\"", text.replace('\n', "\\n").replace('\r', ""))).ok();
    }
    if opening.starts_with("{&quot;") || opening.starts_with("{ &quot;") {
        let plain = [("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
            .iter()
            .fold(text.to_owned(), |text, (entity, sign)| text.replace(entity, sign));
        return Some(plain);
    }
    None
}

/// Settles all calls, or complains about the first that cannot run.
fn run(raws: Vec<Raw>, offers: Offers<'_>, text: &str) -> Result<Read, Unread> {
    if raws.len() > CALLS_MAX {
        return Err(Unread::new(
            FailureKind::MalformedCall,
            format!("one reply may hold {CALLS_MAX} calls, this one holds more; none was run"),
        ));
    }
    let calls = raws.into_iter().map(|raw| arguments::settle(raw, offers)).collect::<Result<Vec<_>, _>>()?;
    Ok(Read::Calls { calls, text: text.to_owned() })
}

fn before(text: &str, start: usize) -> &str {
    text[..start].trim_end_matches(|c: char| c.is_whitespace() || c == '`').trim()
}

fn native(call: &NativeCall) -> Raw {
    let arguments = match &call.arguments {
        Value::Object(map) => Arguments::Members {
            members: map.iter().map(|(key, value)| (key.clone(), Node::from_value(value))).collect(),
            is_closed: true,
        },
        Value::Null => Arguments::Members { members: Vec::new(), is_closed: true },
        Value::String(text) => Arguments::Json(text.clone()),
        other => Arguments::Json(other.to_string()),
    };
    let mut raw = Raw::new(call.name.clone(), arguments);
    raw.id.clone_from(&call.id);
    raw
}

fn nothing_said(reply: &Reply, had_reasoning: bool) -> Unread {
    if had_reasoning || !reply.thinking.trim().is_empty() {
        Unread::new(
            FailureKind::ReasoningOnly,
            "the reply is reasoning only; say the answer or call a tool, without reasoning first",
        )
    } else if reply.stop.is_cut() {
        Unread::new(FailureKind::CutReply, "the reply was cut off before its first word; answer shorter")
    } else {
        Unread::new(FailureKind::EmptyReply, "the reply is empty: no text and no call that arrived")
    }
}

fn has_channelled_call(text: &str) -> bool {
    harmony::messages(text).is_some_and(|messages| messages.iter().any(|one| one.recipient().is_some()))
}

/// Without marks that end a message, which some servers leave in the text.
fn without_end_marks(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let Some(start) = text.rfind(['<', '[']) else { return text };
        match marks::mark_at(text, start) {
            Some(mark) if mark.end == text.len() && mark.is_noise() && ends_message(&mark.name) => {
                text = text[..start].trim_end();
            }
            _ => return text,
        }
    }
}

fn ends_message(name: &str) -> bool {
    matches!(
        name,
        "imend"
            | "imstart"
            | "eotid"
            | "eomid"
            | "eom"
            | "eot"
            | "endoftext"
            | "endofturn"
            | "endofsentence"
            | "return"
            | "end"
            | "s"
            | "startheaderid"
            | "endheaderid"
    )
}
