//! Strict YAML (and so JSON) into nodes that know where they stand. Says nothing about plans.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::fault::Fault;

/// Largest plan file.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 64;

/// Stack of the thread that reads.
const STACK_BYTES: usize = 32 << 20;

/// Most nodes of a plan file (keys count too).
pub const NODES_MAX: usize = 1_000_000;

/// A node and the bytes that it stands on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) data: Data,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

/// A key of a map and the bytes that it stands on.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) text: String,
}

impl Name {
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl Node {
    pub(super) fn span(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// The type in words, with the value where it is short.
    pub(super) fn found(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(flag) => format!("`{flag}`"),
            Data::Int(number) => format!("the number {number}"),
            Data::Uint(number) => format!("the number {number}"),
            Data::Float(number) => format!("the number {number}"),
            Data::Str(text) if text.chars().count() <= 40 && !text.contains('\n') => format!("the string `{text}`"),
            Data::Str(_) => "a string".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
        }
    }

    /// The node as plain JSON. Duplicate keys are the caller's to report; the first one stands.
    pub(super) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Int(number) => Value::from(*number),
            Data::Uint(number) => Value::from(*number),
            Data::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Data::Str(text) => Value::String(text.clone()),
            Data::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Data::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (name, node) in entries {
                    map.entry(name.text.clone()).or_insert_with(|| node.to_json());
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        Data::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Data, E> {
        Ok(Data::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Data, E> {
        Ok(Data::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Data, E> {
        Ok(i64::try_from(number).map_or(Data::Uint(number), Data::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Data, E> {
        Ok(Data::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Data, E> {
        Ok(Data::Str(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Data, E> {
        Ok(Data::Str(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Data, A::Error> {
        let mut out = Vec::new();
        while let Some(entry) = list.next_element::<Spanned<Data>>()? {
            out.push(placed(entry));
        }
        Ok(Data::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut out = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Data>>()? {
            let (start, len) = bytes(key.referenced);
            out.push((Name { start, len, text: key.value }, placed(value)));
        }
        Ok(Data::Map(out))
    }
}

fn placed(spanned: Spanned<Data>) -> Node {
    let (start, len) = bytes(spanned.referenced);
    Node { start, len, data: spanned.value }
}

fn bytes(location: Location) -> (u32, u32) {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0);
    let len = span.byte_len().unwrap_or(0);
    (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(len).unwrap_or(0))
}

/// Reads text whose size was checked. The first fault of the syntax is the only one.
pub(super) fn parse(text: &str) -> Result<Node, Box<Fault>> {
    match with_stack(|| parse_here(text)) {
        Ok(result) => result,
        Err(error) => Err(Box::new(Fault::at(0..0, format!("no thread could be started to read it: {error}")))),
    }
}

fn parse_here(text: &str) -> Result<Node, Box<Fault>> {
    if let Some(at) = text.find('\0') {
        return Err(Box::new(Fault::at(at..at + 1, "a NUL byte has no place in a plan file")));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 0,
            max_aliases: 0,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX + 1_000,
            max_documents: 1,
            max_merge_keys: 0,
            max_total_scalar_bytes: FILE_BYTES_MAX,
        },
        // Duplicates are passed on, so that the walker can report all of them.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
    };
    let node = serde_saphyr::from_str_with_options::<Spanned<Data>>(text, options).map(placed);
    node.map_err(|error| Box::new(syntax_fault(text, &error)))
}

/// Runs the reader where [`DEPTH_MAX`] levels of it fit: a level takes over 30 KiB in a debug build, more than the
/// 2 MiB of a worker thread allow for 64 of them.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, std::io::Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn syntax_fault(text: &str, error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let start = error.location().map_or(0, |location| {
        location
            .span()
            .byte_offset()
            .and_then(|at| usize::try_from(at).ok())
            .unwrap_or_else(|| super::fault::offset_of(text, location.line(), location.column()))
    });
    let start = start.min(text.len());
    if let Some(limit) = broken_limit(error) {
        return Fault::at(start..start, limit);
    }
    let words = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let mut fault = Fault::at(start..start, plain_words(&words));
    if let Some(open) = unquoted_expression(text, start) {
        fault.span = open..open + 3;
        fault.hint = Some("quote the expression: `\"${{ … }}\"`".to_owned());
    } else if words.contains("found a tab") || line_around(text, start).trim_start_matches(' ').starts_with('\t') {
        fault.hint = Some("indent with spaces, not with tabs".to_owned());
    }
    fault
}

/// A limit of ours that the text broke, in our words.
fn broken_limit(error: &serde_saphyr::Error) -> Option<String> {
    use serde_saphyr::budget::BudgetBreach;
    let serde_saphyr::Error::Budget { breach, .. } = error else {
        let is_depth = error.to_string().contains("recursion limit exceeded");
        return is_depth.then(|| format!("lists and maps are nested deeper than {DEPTH_MAX} levels"));
    };
    Some(match breach {
        BudgetBreach::Depth { .. } => format!("lists and maps are nested deeper than {DEPTH_MAX} levels"),
        BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => {
            "anchors and aliases (`&`, `*`) have no place in a plan file".to_owned()
        }
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("a plan file has at most {NODES_MAX} keys and values")
        }
        BudgetBreach::Documents { .. } => "a plan file is one document".to_owned(),
        _ => return None,
    })
}

/// The message without the position that the library adds; positions are told apart from words here.
fn plain_words(words: &str) -> String {
    let first = words.lines().next().unwrap_or("it cannot be read");
    let mut text = first.to_owned();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    if let Some(rest) = text.strip_prefix("error: ") {
        text = rest.to_owned();
    }
    if let Some((at, _)) = text.char_indices().nth(300) {
        text.truncate(at);
        text.push('…');
    }
    format!("this is not readable as YAML: {}", text.trim_end_matches('.'))
}

fn line_around(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    &text[start..end]
}

/// An expression outside quotes on the faulty line or the one before it: the usual cause.
fn unquoted_expression(text: &str, at: usize) -> Option<usize> {
    let at = floor(text, at);
    let line_start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    let before = text[..line_start.saturating_sub(1)].rfind('\n').map_or(0, |found| found + 1);
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    let mut quote: Option<char> = None;
    let mut from = before;
    for line in text[before..end].split_inclusive('\n') {
        quote = quote.filter(|_| false);
        let mut last = ' ';
        for (offset, c) in line.char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if c == '"' || (c == '\'' && !last.is_alphanumeric()) => quote = Some(c),
                None if c == '#' && last.is_whitespace() => break,
                None if line[offset..].starts_with("${{") => return Some(from + offset),
                None => {}
            }
            last = c;
        }
        from += line.len();
    }
    None
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A value as JSON or YAML; `None` when it cannot be read or has duplicate keys.
pub(super) fn parse_value(text: &str) -> Option<Value> {
    if text.len() > FILE_BYTES_MAX {
        return None;
    }
    // JSON first: it is exact about numbers and needs no YAML rules.
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    parse(text).ok().filter(|node| !has_duplicates(node)).map(|node| node.to_json())
}

fn has_duplicates(node: &Node) -> bool {
    match &node.data {
        Data::List(list) => list.iter().any(has_duplicates),
        Data::Map(entries) => {
            let mut seen = std::collections::HashSet::new();
            entries.iter().any(|(name, node)| !seen.insert(name.text.as_str()) || has_duplicates(node))
        }
        _ => false,
    }
}
