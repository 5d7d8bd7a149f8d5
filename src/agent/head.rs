//! The YAML head of an agent file as a tree with places, so that every fault can name its line and column.
//!
//! Strict: no anchors, no duplicate keys, no guessing of booleans. Two things are lenient, because people bring their
//! Claude Code files, whose own reader is: a `description` that is no YAML (`: ` in it, quotes within quotes, lines that
//! are not indented) is read as the text that it is, up to the next line with a key, and so is a bare `*` for `tools`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// The head's entries in the order written, each with its places.
pub(super) type Entries = Vec<(Spanned<String>, Spanned<Node>)>;

/// A value without its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Nothing, a boolean, a number or a text.
    Plain(Value),
    /// A list.
    List(Vec<Spanned<Self>>),
    /// A map, in the order written.
    Map(Entries),
}

impl Node {
    /// The value as JSON.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Plain(value) => value.clone(),
            Self::List(list) => Value::Array(list.iter().map(|entry| entry.value.to_json()).collect()),
            Self::Map(map) => {
                Value::Object(map.iter().map(|(name, entry)| (name.value.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// A fault of the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadFault {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// The two parts of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Split<'a> {
    /// Text between the two lines of dashes.
    pub head: &'a str,
    /// Line of the file on which the head begins, from 1.
    pub head_line: u64,
    /// Text below the head.
    pub body: &'a str,
}

/// Splits a file at its lines of dashes.
pub(super) fn split(text: &str) -> Result<Split<'_>, HeadFault> {
    let fault = |line, message: &str| HeadFault { line, column: 1, message: message.to_owned() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_dashes = |line: &str| line.trim_end() == "---";
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if !is_dashes(first) {
        return Err(fault(1, "the file must begin with a line `---` and a YAML head"));
    }
    let from = first.len();
    let mut to = from;
    let mut count = 1;
    for line in lines {
        count += 1;
        if is_dashes(line) {
            return Ok(Split { head: &text[from..to], head_line: 2, body: &text[to + line.len()..] });
        }
        to += line.len();
    }
    Err(fault(count, "the YAML head has no second line `---`"))
}

/// Reads the head: its entries in order, and whether the lenient reading was needed. `is_key` knows the words that
/// begin an entry.
pub(super) fn read(split: &Split<'_>, is_key: impl Fn(&str) -> bool) -> Result<(Entries, bool), HeadFault> {
    match parse(split.head) {
        Ok(entries) => Ok((entries, false)),
        Err(strict) => match with_plain_text_quoted(split.head, is_key).map(|head| parse(&head)) {
            Some(Ok(entries)) => Ok((entries, true)),
            _ => Err(HeadFault { line: strict.line + split.head_line - 1, ..strict }),
        },
    }
}

fn parse(head: &str) -> Result<Entries, HeadFault> {
    if head.trim().is_empty() {
        return Ok(Vec::new());
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        budget: serde_saphyr::budget! { max_anchors: 0, },
    };
    let read: Spanned<Node> = serde_saphyr::from_str_with_options(head, options).map_err(|error| {
        let place = error.location();
        let whole = error.without_snippet().to_string();
        HeadFault {
            line: place.map_or(1, |place| place.line()),
            column: place.map_or(1, |place| place.column()),
            message: first_line(&whole),
        }
    })?;
    match read.value {
        Node::Map(entries) => Ok(entries),
        Node::Plain(Value::Null) => Ok(Vec::new()),
        _ => Err(HeadFault { line: 1, column: 1, message: "the head must be a map (`name: …`)".into() }),
    }
}

/// The parser's own words without its place, which we say ourselves.
fn first_line(whole: &str) -> String {
    let line = whole.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((place, message)) if place.chars().all(|c| c.is_ascii_digit() || " column,:".contains(c)) => {
            message.into()
        }
        _ => line.split(" at line ").next().unwrap_or(line).to_owned(),
    }
}

/// The head with its `description` in proper quotes, and a bare `*` too; `None` when neither is there. Later lines keep
/// their numbers.
fn with_plain_text_quoted(head: &str, is_key: impl Fn(&str) -> bool) -> Option<String> {
    let begins_entry = |line: &str| line.split_once(':').is_some_and(|(word, _)| is_key(word));
    let mut changed = false;
    let mut out = String::new();
    let mut lines = head.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("description:").map(str::trim).filter(|rest| is_plain_text(rest)) {
            let mut text = vec![rest];
            while let Some(more) = lines.next_if(|line| !begins_entry(line)) {
                text.push(more.trim());
            }
            let count = text.len();
            let text = serde_json::to_string(&unquoted(text.join("\n").trim())).expect("text is JSON");
            out.push_str(&format!("description: {text}\n"));
            out.push_str(&"\n".repeat(count - 1));
            changed = true;
            continue;
        }
        if let Some((key, "*")) = line.split_once(':').map(|(key, rest)| (key, rest.trim())) {
            out.push_str(&format!("{key}: \"*\"\n"));
            changed = true;
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    changed.then_some(out)
}

/// Whether a value begins as text on its own line: no block, no anchor, no list.
fn is_plain_text(rest: &str) -> bool {
    !rest.is_empty() && !rest.starts_with(['|', '>', '&', '*', '[', '{'])
}

/// Text without the quotes around all of it; those within it stand as they are, or with a backslash.
fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return if quote == '"' { inside.replace("\\\"", "\"") } else { inside.replace("''", "'") };
        }
    }
    text.to_owned()
}
