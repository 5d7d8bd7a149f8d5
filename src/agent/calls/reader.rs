//! Literals as models write them: JSON, and its neighbours in Python, JavaScript and the brace forms of Gemma, in one
//! grammar. It repairs what can mean one thing only and says so; it evaluates nothing and completes no value.

use serde_json::{Map, Number, Value};

use super::marks::mark_at;
use super::scalars::{number_of, unescape};
use super::words::{callee, is_word, is_word_start, joiner, keyword};

/// Deepest nesting that is read.
pub(super) const DEPTH_MAX: usize = 64;

/// A literal. Unlike a [`Value`] it knows calls, and whether its closing bracket was there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// The number, and how it was written.
    Number(Number, String),
    Text(String),
    List {
        items: Vec<Self>,
        is_closed: bool,
    },
    Map {
        members: Vec<(String, Self)>,
        is_closed: bool,
    },
    Call(Box<Invocation>),
}

/// `name(1, key="value")`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Invocation {
    pub(super) name: String,
    pub(super) positional: Vec<Node>,
    pub(super) named: Vec<(String, Node)>,
}

/// Why there is no literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text ended inside of it.
    Cut,
    /// It is none, or it could mean more than one thing.
    Bad,
    /// Nested deeper than [`DEPTH_MAX`].
    Deep,
}

impl Node {
    /// Plain data of it; `None` where there is a call or an unclosed bracket inside.
    pub(super) fn to_value(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Number(number, _) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::List { items, is_closed: true } => {
                Value::Array(items.iter().map(Self::to_value).collect::<Option<_>>()?)
            }
            Self::Map { members, is_closed: true } => {
                let mut map = Map::new();
                for (key, node) in members {
                    map.insert(key.clone(), node.to_value()?);
                }
                Value::Object(map)
            }
            Self::List { .. } | Self::Map { .. } | Self::Call(_) => return None,
        })
    }

    /// From plain data.
    pub(super) fn from_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Bool(*is),
            Value::Number(number) => Self::Number(number.clone(), number.to_string()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List { items: items.iter().map(Self::from_value).collect(), is_closed: true },
            Value::Object(map) => Self::Map {
                members: map.iter().map(|(key, value)| (key.clone(), Self::from_value(value))).collect(),
                is_closed: true,
            },
        }
    }
}

/// What was read, where it ended, and what was repaired on the way.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    pub(super) node: Node,
    pub(super) end: usize,
    pub(super) repairs: Vec<&'static str>,
}

/// How words without quotes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Refused, except as keys.
    Refused,
    /// As text up to the next comma or bracket: the brace form of Gemma.
    Text,
}

/// Reads the literal that starts at `at` (after spaces).
///
/// First with quotes as the grammar has them; only if that gives nothing, once more with quotes inside a text taken as
/// part of it where nothing else is possible.
///
/// # Errors
/// [`Fault`], together with how far it looked: the price of the attempt.
pub(super) fn literal(text: &str, at: usize, words: Words) -> Result<Literal, (Fault, usize)> {
    let mut first = Reader::new(text, at, words, false);
    match first.node() {
        Ok(node) => Ok(first.done(node)),
        Err(Fault::Deep) => Err((Fault::Deep, first.at)),
        Err(fault) => {
            let mut second = Reader::new(text, at, words, true);
            match second.node() {
                Ok(node) if second.repairs.contains(&INNER_QUOTES) => Ok(second.done(node)),
                _ => Err((fault, first.at.max(second.at))),
            }
        }
    }
}

const GEMMA_QUOTE: &str = "<|\"|>";
const ESCAPE_QUOTE: &str = "<escape>";
const INNER_QUOTES: &str = "quotes inside a text";
const WITHOUT_QUOTES: &str = "a key or text without quotes";

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    words: Words,
    /// Quotes inside a text belong to it unless something that ends a value follows.
    is_loose: bool,
    /// How many round brackets are open: only inside of them does `)` end a value.
    rounds: usize,
    repairs: Vec<&'static str>,
}

impl<'t> Reader<'t> {
    const fn new(text: &'t str, at: usize, words: Words, is_loose: bool) -> Self {
        Self { text, at, depth: 0, words, is_loose, rounds: 0, repairs: Vec::new() }
    }

    fn done(self, node: Node) -> Literal {
        Literal { node, end: self.at, repairs: self.repairs }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn starts(&self, word: &str) -> bool {
        self.rest().starts_with(word)
    }

    fn repaired(&mut self, what: &'static str) {
        if !self.repairs.contains(&what) {
            self.repairs.push(what);
        }
    }

    /// Goes past spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") || (trimmed.starts_with('#') && self.depth > 0) {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                match trimmed.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return,
                }
            } else {
                return;
            }
        }
    }

    /// The text is over, or something begins that can stand in no literal: a tag that closes, a special token, a fence.
    fn is_over(&self) -> bool {
        let rest = self.rest();
        rest.is_empty()
            || (rest.starts_with('<') && !rest.starts_with(GEMMA_QUOTE) && !rest.starts_with(ESCAPE_QUOTE))
            || rest.starts_with("```")
    }

    fn node(&mut self) -> Result<Node, Fault> {
        self.skip();
        if self.rest().is_empty() {
            return Err(Fault::Cut);
        }
        if self.depth >= DEPTH_MAX {
            return Err(Fault::Deep);
        }
        self.depth += 1;
        let node = self.inner();
        self.depth -= 1;
        node
    }

    fn inner(&mut self) -> Result<Node, Fault> {
        let rest = self.rest();
        match self.peek().ok_or(Fault::Cut)? {
            '{' => self.map(),
            '[' => self.list(']'),
            '(' => {
                self.rounds += 1;
                let list = self.list(')');
                self.rounds -= 1;
                list
            }
            '"' | '\'' | '“' => self.text(false).map(Node::Text),
            '<' if rest.starts_with(GEMMA_QUOTE) => self.raw_text(&[GEMMA_QUOTE]).map(Node::Text),
            '<' if rest.starts_with(ESCAPE_QUOTE) => self.raw_text(&[ESCAPE_QUOTE, "</escape>"]).map(Node::Text),
            '0'..='9' | '-' | '+' | '.' => {
                let start = self.at;
                match self.number() {
                    Err(Fault::Bad) if self.words == Words::Text => {
                        self.at = start;
                        self.bare()
                    }
                    other => other,
                }
            }
            c if is_word_start(c) => self.word(),
            _ if self.words == Words::Text => self.bare(),
            _ => Err(Fault::Bad),
        }
    }

    /// A word up to the next comma or bracket.
    fn bare(&mut self) -> Result<Node, Fault> {
        let rest = self.rest();
        let end = rest.find([',', '}', ']', '\n', '{', '[', '"', '<']).ok_or(Fault::Cut)?;
        let word = rest[..end].trim();
        if word.is_empty() || rest[end..].starts_with(['{', '[', '"', '\n']) {
            return Err(Fault::Bad);
        }
        self.at += end;
        self.repaired(WITHOUT_QUOTES);
        Ok(Node::Text(word.to_owned()))
    }

    fn map(&mut self) -> Result<Node, Fault> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.skip();
            if self.starts("}") {
                self.at += 1;
                return Ok(Node::Map { members, is_closed: true });
            }
            if self.is_over() {
                return if members.is_empty() { Err(Fault::Cut) } else { Ok(self.unclosed_map(members)) };
            }
            let key = self.key()?;
            self.skip();
            if self.starts(":") {
                self.at += 1;
            } else if self.is_over() {
                return Err(Fault::Cut);
            } else {
                return Err(Fault::Bad);
            }
            self.skip();
            if self.is_over() {
                return Err(Fault::Cut);
            }
            let value = self.node()?;
            members.push((key, value));
            self.after_value();
            if self.starts(",") {
                self.at += 1;
                self.skip();
                if self.starts("}") {
                    self.repaired("a comma too many");
                }
                if self.rest().is_empty() {
                    return Err(Fault::Cut);
                }
            } else if self.starts("}") {
            } else if self.is_over() {
                return Ok(self.unclosed_map(members));
            } else if self.starts("\"") && !self.is_loose {
                self.repaired("a missing comma");
            } else {
                return Err(Fault::Bad);
            }
        }
    }

    /// Past spaces and, in Gemma's form, a quote mark that has no partner.
    fn after_value(&mut self) {
        self.skip();
        if self.words == Words::Text && self.starts(GEMMA_QUOTE) {
            self.at += GEMMA_QUOTE.len();
            self.repaired("a quote mark without a partner");
            self.skip();
        }
    }

    /// A mark of the template behind the last value says that the call is over; the end of the text says nothing.
    fn unclosed_map(&mut self, members: Vec<(String, Node)>) -> Node {
        self.repaired("a missing closing bracket");
        Node::Map { members, is_closed: self.is_ended_by_mark() }
    }

    fn key(&mut self) -> Result<String, Fault> {
        let rest = self.rest();
        match self.peek().ok_or(Fault::Cut)? {
            '"' | '\'' | '“' => self.text(true),
            '<' if rest.starts_with(GEMMA_QUOTE) => self.raw_text(&[GEMMA_QUOTE]),
            '<' if rest.starts_with(ESCAPE_QUOTE) => self.raw_text(&[ESCAPE_QUOTE]),
            c if is_word_start(c) || c.is_ascii_digit() => {
                let end = rest.find(|c: char| !(is_word(c) || c == '-' || c == '.')).ok_or(Fault::Cut)?;
                self.at += end;
                if self.words == Words::Refused {
                    self.repaired(WITHOUT_QUOTES);
                }
                Ok(rest[..end].to_owned())
            }
            _ => Err(Fault::Bad),
        }
    }

    fn list(&mut self, close: char) -> Result<Node, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        let mut has_comma = false;
        loop {
            self.skip();
            if self.rest().starts_with(close) {
                self.at += 1;
                // `(x)` is x, `(x,)` is a list.
                return match items.pop() {
                    Some(only) if close == ')' && items.is_empty() && !has_comma => Ok(only),
                    Some(last) => {
                        items.push(last);
                        Ok(Node::List { items, is_closed: true })
                    }
                    None => Ok(Node::List { items, is_closed: true }),
                };
            }
            if self.is_over() {
                return if items.is_empty() { Err(Fault::Cut) } else { Ok(self.unclosed_list(items)) };
            }
            let item = match self.bare_name() {
                Some(name) => name,
                None => self.node()?,
            };
            let is_call = matches!(item, Node::Call(_));
            items.push(item);
            self.after_value();
            if self.starts(",") {
                self.at += 1;
                has_comma = true;
                self.skip();
                if self.rest().is_empty() {
                    return Err(Fault::Cut);
                }
            } else if self.rest().starts_with(close) {
            } else if self.is_over() {
                return Ok(self.unclosed_list(items));
            } else if let Some(length) = joiner(self.rest()).filter(|_| is_call) {
                self.at += length;
            } else {
                return Err(Fault::Bad);
            }
        }
    }

    fn is_ended_by_mark(&self) -> bool {
        mark_at(self.text, self.at).is_some_and(|mark| mark.is_closing || mark.is_noise())
    }

    fn unclosed_list(&mut self, items: Vec<Node>) -> Node {
        self.repaired("a missing closing bracket");
        Node::List { items, is_closed: self.is_ended_by_mark() }
    }

    /// `[name, {…}]` without quotes around the name.
    fn bare_name(&mut self) -> Option<Node> {
        let name = callee(self.rest());
        let behind = self.rest()[name.len()..].trim_start().strip_prefix(',')?.trim_start();
        if name.is_empty() || !behind.starts_with('{') {
            return None;
        }
        self.at += name.len();
        self.repaired(WITHOUT_QUOTES);
        Some(Node::Text(name.to_owned()))
    }

    /// `true`, `None`, `r"…"`, `name(…)`.
    fn word(&mut self) -> Result<Node, Fault> {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let next = rest[end..].chars().next();
        if matches!(next, Some('"' | '\'')) && matches!(word, "r" | "R" | "u" | "U" | "f" | "F") {
            let start = self.at;
            self.at += end;
            let text = if matches!(word, "r" | "R") { self.verbatim_text()? } else { self.text(false)? };
            let has_holes = matches!(word, "f" | "F") && self.text[start..self.at].contains(['{', '}']);
            return if has_holes { Err(Fault::Bad) } else { Ok(Node::Text(text)) };
        }
        let is_literal_end = !matches!(next, Some('.' | '(' | '-')) && !rest[end..].trim_start().starts_with('(');
        if is_literal_end {
            let node = match word {
                "true" | "false" => Some(Node::Bool(word == "true")),
                "null" => Some(Node::Null),
                "True" | "False" => Some(Node::Bool(word == "True")),
                "None" => Some(Node::Null),
                _ => None,
            };
            if let Some(node) = node {
                self.at += end;
                if matches!(word, "True" | "False" | "None") {
                    self.repaired("Python constants");
                }
                return Ok(node);
            }
        }
        let name = callee(rest);
        let after = rest[name.len()..].trim_start_matches(' ');
        if !name.is_empty() && after.starts_with('(') {
            self.at = self.text.len() - after.len();
            let name = name.to_owned();
            self.rounds += 1;
            let call = self.invocation(name);
            self.rounds -= 1;
            return call;
        }
        if self.words == Words::Text {
            return self.bare();
        }
        if end == rest.len() { Err(Fault::Cut) } else { Err(Fault::Bad) }
    }

    fn invocation(&mut self, name: String) -> Result<Node, Fault> {
        self.at += 1;
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        loop {
            self.skip();
            if self.starts(")") {
                self.at += 1;
                // What goes on with `.attribute`, `[index]` or `(…)` would have to be evaluated.
                if matches!(self.peek(), Some('.' | '[' | '(')) && !self.rest().starts_with(". ") {
                    let is_sentence_end = self.rest() == "." || self.rest().starts_with(".\n");
                    if !is_sentence_end {
                        return Err(Fault::Bad);
                    }
                }
                return Ok(Node::Call(Box::new(Invocation { name, positional, named })));
            }
            if self.is_over() {
                return Err(Fault::Cut);
            }
            if self.starts("**") {
                self.at += 2;
                match self.node()? {
                    Node::Map { members, is_closed: true } => named.extend(members),
                    _ => return Err(Fault::Bad),
                }
            } else if let Some((key, length)) = keyword(self.rest()) {
                self.at += length;
                named.push((key.to_owned(), self.node()?));
            } else {
                positional.push(self.node()?);
            }
            self.skip();
            if self.starts(",") {
                self.at += 1;
            } else if self.is_over() {
                return Err(Fault::Cut);
            } else if !self.starts(")") {
                return Err(Fault::Bad);
            }
        }
    }

    fn number(&mut self) -> Result<Node, Fault> {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(at, c)| {
                let is_sign_of_exponent = matches!(c, '+' | '-') && rest[..*at].ends_with(['e', 'E']);
                !(c.is_ascii_digit()
                    || matches!(c, '.' | 'e' | 'E' | '_')
                    || (*at == 0 && matches!(c, '+' | '-'))
                    || is_sign_of_exponent)
            })
            .map_or(rest.len(), |(at, _)| at);
        let written = &rest[..end];
        if rest[end..].chars().next().is_some_and(is_word) {
            return Err(Fault::Bad);
        }
        // Text that ends in a number may have been cut in the middle of it.
        if end == rest.len() && self.depth > 1 {
            return Err(Fault::Cut);
        }
        let number = number_of(written).ok_or(Fault::Bad)?;
        self.at += end;
        Ok(Node::Number(number, written.to_owned()))
    }

    /// Up to the same mark, as it stands.
    fn raw_text(&mut self, marks: &[&str]) -> Result<String, Fault> {
        let start = self.at + marks[0].len();
        let body = self.text.get(start..).unwrap_or_default();
        let mut found = body.find(marks[0]).map(|end| (end, marks[0]));
        for mark in &marks[1..] {
            // Only what comes before the first find matters.
            let limit = found.map_or(body.len(), |(end, _)| end);
            found = body[..limit].find(mark).map(|end| (end, *mark)).or(found);
        }
        let Some((end, mark)) = found else {
            self.at = self.text.len();
            return Err(Fault::Cut);
        };
        self.at = start + end + mark.len();
        Ok(body[..end].to_owned())
    }

    /// A Python text with `r` in front: no escapes.
    fn verbatim_text(&mut self) -> Result<String, Fault> {
        let quote = self.peek().ok_or(Fault::Cut)?;
        let body = &self.rest()[1..];
        let end = body.find(quote).ok_or(Fault::Cut)?;
        self.at += end + 2;
        Ok(body[..end].to_owned())
    }

    fn text(&mut self, is_key: bool) -> Result<String, Fault> {
        let rest = self.rest();
        for triple in ["\"\"\"", "'''"] {
            if rest.starts_with(triple) && rest[3..].contains(triple) {
                return self.triple_text(triple);
            }
        }
        let open = self.peek().ok_or(Fault::Cut)?;
        let close = if open == '“' { '”' } else { open };
        let body = &rest[open.len_utf8()..];
        let (end, inner) = match self.end_of_text(body, close, is_key) {
            Ok(found) => found,
            Err((fault, looked)) => {
                // What was looked at is the price of the attempt.
                self.at += looked;
                return Err(fault);
            }
        };
        let written = &body[..end];
        if open == '“' {
            self.repaired("typographic quotes");
        }
        if open == '\'' {
            self.repaired("single quotes");
        }
        if inner {
            self.repaired(INNER_QUOTES);
        }
        if written.contains(['\n', '\r', '\t']) {
            self.repaired("a raw line break or tab in a text");
        }
        self.at += open.len_utf8() + end + close.len_utf8();
        self.unescaped(written)
    }

    /// Where the closing quote is, and whether quotes before it were taken as text.
    fn end_of_text(&self, body: &str, close: char, is_key: bool) -> Result<(usize, bool), (Fault, usize)> {
        let mut inner = 0_usize;
        let mut is_escaped = false;
        let mut before = ' ';
        for (at, c) in body.char_indices() {
            if is_escaped {
                is_escaped = false;
            } else if c == '\\' {
                is_escaped = true;
            } else if c == close {
                let after = &body[at + c.len_utf8()..];
                if !self.is_loose || ends_value(after, is_key, self.rounds > 0) {
                    return if inner.is_multiple_of(2) || close == '\'' {
                        Ok((at, inner > 0))
                    } else {
                        Err((Fault::Bad, at))
                    };
                }
                let is_apostrophe = before.is_alphanumeric() && after.starts_with(char::is_alphanumeric);
                let is_pair = if inner.is_multiple_of(2) { opens(before, after) } else { closes(before, after) };
                // `"a" + "b"` is no text with quotes inside: it would have to be evaluated.
                if if close == '\'' { !is_apostrophe } else { !is_pair } {
                    return Err((Fault::Bad, at));
                }
                inner += 1;
            }
            before = c;
        }
        Err((Fault::Cut, body.len()))
    }

    fn triple_text(&mut self, mark: &str) -> Result<String, Fault> {
        let body = &self.rest()[3..];
        let end = body.find(mark).ok_or(Fault::Cut)?;
        self.at += end + 6;
        self.repaired("triple quotes");
        self.unescaped(&body[..end])
    }

    /// Escapes resolved. A text with an escape that no grammar knows and none that must be one (`\\`, `\"`) is taken as
    /// it stands: so Windows paths and patterns are written.
    fn unescaped(&mut self, written: &str) -> Result<String, Fault> {
        if !written.contains('\\') {
            return Ok(written.to_owned());
        }
        match unescape(written) {
            Some((text, true)) => Ok(text),
            Some((text, false)) => {
                self.repaired("an unknown escape");
                let is_plain = !["\\\\", "\\\"", "\\'", "\\u"].iter().any(|known| written.contains(known));
                Ok(if is_plain { written.to_owned() } else { text })
            }
            None => Err(Fault::Bad),
        }
    }
}

/// Whether a quote between these can open a quotation inside of a text.
fn opens(before: char, after: &str) -> bool {
    (before.is_whitespace() || matches!(before, '(' | '[' | '{' | '=' | ',' | ':' | '>'))
        && after.starts_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '<' | '/' | '.' | '$' | '{' | '[' | '_' | '\\' | '#')
        })
}

/// Whether it can close one.
fn closes(before: char, after: &str) -> bool {
    !before.is_whitespace()
        && after.starts_with(|c: char| {
            c.is_whitespace() || matches!(c, ')' | ']' | '}' | ',' | '.' | ';' | ':' | '!' | '?' | '<' | '>' | '\\')
        })
}

/// Whether a value can end before `after`.
fn ends_value(after: &str, is_key: bool, is_in_rounds: bool) -> bool {
    let after = after.trim_start();
    if is_key {
        return after.starts_with(':');
    }
    after.is_empty()
        || after.starts_with([',', '}', ']'])
        || (is_in_rounds && after.starts_with(')'))
        || after.starts_with("<|")
        || after.starts_with("</")
        || after.starts_with("```")
}
