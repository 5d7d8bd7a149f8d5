//! Tokens of an expression: the guard before minijinja, and what the expression refers to.
//!
//! minijinja overflows the stack on long flat expressions (`1+1+…`, `a|f|f`), which nothing can catch. So every
//! text passes [`parse`] first, which counts before anything recursive sees it.

use std::ops::Range;

use super::error::ExprError;
use crate::domain::nearest::nearest;

/// Longest expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;

/// Most operators, dots, brackets and pipes together. Measured: minijinja dies at 1,400 on a 2 MiB stack (debug).
pub const OPERATORS_MAX: usize = 256;

/// Filters that expressions may use. Those that print the context, mark text as safe or build indented text are left out.
pub const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "int",
    "is_date",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "matches",
    "max",
    "min",
    "numbers",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "squeeze",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// Tests that may follow `is`.
pub const TESTS: &[&str] = &[
    "boolean",
    "date",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "matching",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

const NO_CALLS: &str = "expressions have no functions or methods";
const CALL_HINT: &str = "use a filter: `value | length`";

const WORDS: &[&str] =
    &["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "null", "True", "False", "None"];

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    Dot,
    Pipe,
    Open,
    Close,
    Comma,
    Colon,
    Assign,
    Operator,
}

/// One token with its bytes.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

/// One part of a path after its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `.name` or `['name']`.
    Name(String),
    /// `[0]`, `[-1]`.
    Index(i64),
}

/// One path that an expression mentions: `steps.find.output.files[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The first name.
    pub root: String,
    /// What follows it.
    pub keys: Vec<Key>,
    /// Bytes of root and keys together.
    pub range: Range<usize>,
    /// Bytes of each key, without dots and brackets.
    pub key_ranges: Vec<Range<usize>>,
    /// A `[…]` with something computed follows.
    pub is_open: bool,
}

impl Reference {
    /// The key at `at` when it is a name.
    #[must_use]
    pub fn name(&self, at: usize) -> Option<&str> {
        match self.keys.get(at) {
            Some(Key::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The path up to and with its first `keys` keys, as text.
    #[must_use]
    pub fn text(&self, keys: usize) -> String {
        let mut text = self.root.clone();
        for key in self.keys.iter().take(keys) {
            match key {
                Key::Name(name) if is_word(name) || (self.root == "steps" && is_name(name)) => {
                    text.push('.');
                    text.push_str(name);
                }
                Key::Name(name) => {
                    text.push_str("['");
                    text.push_str(name);
                    text.push_str("']");
                }
                Key::Index(at) => {
                    text.push('[');
                    text.push_str(&at.to_string());
                    text.push(']');
                }
            }
        }
        text
    }
}

/// An expression that passed the guard.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    pub(super) source: &'a str,
    pub(super) tokens: Vec<Token>,
    /// Every path that is mentioned, in order.
    pub references: Vec<Reference>,
}

impl Parsed<'_> {
    /// The one path that is the whole expression.
    #[must_use]
    pub fn plain(&self) -> Option<&Reference> {
        let [only] = self.references.as_slice() else { return None };
        let (first, last) = (self.tokens.first()?, self.tokens.last()?);
        (!only.is_open && only.range.start == first.range.start && only.range.end == last.range.end).then_some(only)
    }

    pub(super) fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &self.source[token.range.clone()])
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }
}

/// Whether `text` is a name as ids of steps are: a letter or `_`, then letters, digits, `_` and `-`.
pub(in crate::plan_file) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_word(text: &str) -> bool {
    is_name(text) && !text.contains('-')
}

/// Reads an expression as far as tokens and paths go. Its grammar is minijinja's affair.
///
/// # Errors
/// [`ExprError::TooLong`], [`ExprError::TooManyOperators`], and [`ExprError::Syntax`] for stray characters, open
/// quotes, calls and unknown filters and tests.
pub fn parse(source: &str) -> Result<Parsed<'_>, ExprError> {
    if source.len() > EXPRESSION_BYTES_MAX {
        return Err(ExprError::TooLong);
    }
    let tokens = tokens(source)?;
    if tokens.is_empty() {
        return Err(ExprError::syntax("the expression is empty", 0..source.len()));
    }
    let mut parsed = Parsed { source, tokens, references: Vec::new() };
    if weight(&parsed) > OPERATORS_MAX {
        return Err(ExprError::TooManyOperators);
    }
    parsed.references = references(&parsed)?;
    Ok(parsed)
}

/// Everything that can deepen a syntax tree: all tokens but atoms and commas, and the words that are operators.
fn weight(parsed: &Parsed<'_>) -> usize {
    let counts = |at: usize| match parsed.tokens[at].kind {
        Kind::Number | Kind::Text | Kind::Comma | Kind::Close => false,
        Kind::Name => matches!(parsed.text(at), "and" | "or" | "not" | "in" | "is" | "if" | "else"),
        _ => true,
    };
    (0..parsed.tokens.len()).filter(|at| counts(*at)).count()
}

fn tokens(source: &str) -> Result<Vec<Token>, ExprError> {
    let bytes = source.as_bytes();
    let mut out: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let kind = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let dashes = after_steps(source, &out);
                at = name_end(bytes, at, dashes);
                Kind::Name
            }
            b'0'..=b'9' => {
                at = number_end(bytes, at);
                Kind::Number
            }
            quote @ (b'\'' | b'"') => {
                at = text_end(bytes, at, quote)
                    .ok_or_else(|| ExprError::syntax("a quote is not closed", start..source.len()))?;
                Kind::Text
            }
            _ => {
                let (kind, len) = symbol(&bytes[at..]).ok_or_else(|| stray(source, at))?;
                at += len;
                kind
            }
        };
        out.push(Token { kind, range: start..at });
    }
    Ok(out)
}

fn stray(source: &str, at: usize) -> ExprError {
    let found = source[at..].chars().next().unwrap_or(' ');
    let range = at..at + found.len_utf8();
    match found {
        '!' => ExprError::syntax_hint("`!` is no operator", range, "write `not`"),
        '&' => ExprError::syntax_hint("`&` is no operator", range, "write `and`"),
        '?' => ExprError::syntax_hint("`?` is no operator", range, "write `a if condition else b`"),
        _ => ExprError::syntax(format!("`{}` has no place in an expression", found.escape_debug()), range),
    }
}

/// Step ids may hold dashes; `steps.a - b` has no other meaning, since a step is no number.
fn after_steps(source: &str, out: &[Token]) -> bool {
    let [.., root, dot] = out else { return false };
    dot.kind == Kind::Dot
        && root.kind == Kind::Name
        && &source[root.range.clone()] == "steps"
        && !matches!(out.len().checked_sub(3).and_then(|at| out.get(at)), Some(before) if before.kind == Kind::Dot)
}

fn name_end(bytes: &[u8], mut at: usize, dashes: bool) -> usize {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    while at < bytes.len() {
        let takes_dash = dashes && bytes[at] == b'-' && bytes.get(at + 1).is_some_and(|b| is_part(*b));
        if !is_part(bytes[at]) && !takes_dash {
            break;
        }
        at += 1;
    }
    at
}

fn number_end(bytes: &[u8], mut at: usize) -> usize {
    let mut seen_dot = false;
    while at < bytes.len() {
        match bytes[at] {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => at += 1,
            b'.' if !seen_dot && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                seen_dot = true;
                at += 1;
            }
            b'+' | b'-'
                if matches!(bytes[at - 1], b'e' | b'E') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) =>
            {
                at += 1;
            }
            _ => break,
        }
    }
    at
}

fn text_end(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn symbol(rest: &[u8]) -> Option<(Kind, usize)> {
    let two = rest.get(..2).unwrap_or_default();
    if matches!(two, b"==" | b"!=" | b"<=" | b">=" | b"//" | b"**") {
        return Some((Kind::Operator, 2));
    }
    let kind = match rest.first()? {
        b'.' => Kind::Dot,
        b'|' => Kind::Pipe,
        b'(' | b'[' | b'{' => Kind::Open,
        b')' | b']' | b'}' => Kind::Close,
        b',' => Kind::Comma,
        b':' => Kind::Colon,
        b'=' => Kind::Assign,
        b'+' | b'-' | b'*' | b'/' | b'%' | b'~' | b'<' | b'>' => Kind::Operator,
        _ => return None,
    };
    Some((kind, 1))
}

fn references(parsed: &Parsed<'_>) -> Result<Vec<Reference>, ExprError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < parsed.tokens.len() {
        if parsed.kind(at) != Some(Kind::Name) {
            refuse_call(parsed, at)?;
            at += 1;
            continue;
        }
        let word = parsed.text(at);
        if follows_pipe(parsed, at) {
            known(word, FILTERS, "filter", parsed, at)?;
            at += 1;
        } else if follows_is(parsed, at) && word != "not" {
            known(word, TESTS, "test", parsed, at)?;
            at += 1;
        } else if WORDS.contains(&word) || is_keyword_argument(parsed, at) || is_attribute(parsed, at) {
            at += 1;
        } else {
            let (reference, next) = reference(parsed, at);
            if !reference.is_open && parsed.text(next) == "(" {
                return Err(call(&reference));
            }
            found.push(reference);
            at = next;
        }
    }
    Ok(found)
}

/// A `(` after a value calls it. After a filter or test it holds arguments, elsewhere it groups.
fn refuse_call(parsed: &Parsed<'_>, at: usize) -> Result<(), ExprError> {
    if parsed.text(at) != "(" || at == 0 {
        return Ok(());
    }
    let calls = match parsed.kind(at - 1) {
        Some(Kind::Close | Kind::Text | Kind::Number) => true,
        Some(Kind::Name) => is_attribute(parsed, at - 1),
        _ => false,
    };
    if !calls {
        return Ok(());
    }
    let before = parsed.tokens[at - 1].range.clone();
    let word = parsed.text(at - 1);
    let hint = if FILTERS.contains(&word) { format!("write `… | {word}`") } else { CALL_HINT.to_owned() };
    Err(ExprError::syntax_hint(format!("`{word}()`: {NO_CALLS}"), before, hint))
}

fn follows_pipe(parsed: &Parsed<'_>, at: usize) -> bool {
    at > 0 && parsed.kind(at - 1) == Some(Kind::Pipe)
}

fn follows_is(parsed: &Parsed<'_>, at: usize) -> bool {
    let is_word = |at: usize, word: &str| parsed.kind(at) == Some(Kind::Name) && parsed.text(at) == word;
    (at > 0 && is_word(at - 1, "is")) || (at > 1 && is_word(at - 1, "not") && is_word(at - 2, "is"))
}

fn is_keyword_argument(parsed: &Parsed<'_>, at: usize) -> bool {
    parsed.kind(at + 1) == Some(Kind::Assign)
        && at > 0
        && (parsed.text(at - 1) == "(" || parsed.kind(at - 1) == Some(Kind::Comma))
}

/// A name after a dot whose left side is no plain path: `(a | first).name`.
fn is_attribute(parsed: &Parsed<'_>, at: usize) -> bool {
    at > 0 && parsed.kind(at - 1) == Some(Kind::Dot)
}

fn known(word: &str, words: &[&str], what: &str, parsed: &Parsed<'_>, at: usize) -> Result<(), ExprError> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(ExprError::Syntax {
        message: format!("there is no {what} `{word}`"),
        range: parsed.tokens[at].range.clone(),
        hint: None,
        nearest: nearest(word, words.iter().copied()).map(str::to_owned),
    })
}

fn call(reference: &Reference) -> ExprError {
    let hint = match reference.keys.last() {
        Some(Key::Name(method)) if FILTERS.contains(&method.as_str()) => {
            format!("write `{} | {method}`", reference.text(reference.keys.len() - 1))
        }
        _ => CALL_HINT.to_owned(),
    };
    let text = reference.text(reference.keys.len());
    ExprError::syntax_hint(format!("`{text}()`: {NO_CALLS}"), reference.range.clone(), hint)
}

/// The path that starts at token `at`, and the token after it.
fn reference(parsed: &Parsed<'_>, at: usize) -> (Reference, usize) {
    let start = parsed.tokens[at].range.start;
    let mut path = Reference {
        root: parsed.text(at).to_owned(),
        keys: Vec::new(),
        range: parsed.tokens[at].range.clone(),
        key_ranges: Vec::new(),
        is_open: false,
    };
    let mut next = at + 1;
    loop {
        let (key, key_at, len) = match (parsed.kind(next), parsed.text(next)) {
            (Some(Kind::Dot), _) if parsed.kind(next + 1) == Some(Kind::Name) => {
                (Key::Name(parsed.text(next + 1).to_owned()), next + 1, 2)
            }
            (Some(Kind::Open), "[") => match subscript(parsed, next) {
                Some((key, len)) => (key, next + 1, len),
                None => {
                    path.is_open = true;
                    return (path, next);
                }
            },
            (Some(Kind::Dot), _) => {
                path.is_open = true;
                return (path, next);
            }
            _ => return (path, next),
        };
        path.keys.push(key);
        path.key_ranges.push(parsed.tokens[key_at].range.clone());
        next += len;
        path.range = start..parsed.tokens[next - 1].range.end;
    }
}

/// `[0]`, `[-1]` or `['name']`, with its number of tokens.
fn subscript(parsed: &Parsed<'_>, open: usize) -> Option<(Key, usize)> {
    let closes = |at: usize| parsed.text(at) == "]";
    match parsed.kind(open + 1)? {
        Kind::Number if closes(open + 2) => Some((Key::Index(parsed.text(open + 1).parse().ok()?), 3)),
        Kind::Operator if parsed.text(open + 1) == "-" && closes(open + 3) => {
            let at: i64 = parsed.text(open + 2).parse().ok()?;
            Some((Key::Index(-at), 4))
        }
        Kind::Text if closes(open + 2) => {
            let quoted = parsed.text(open + 1);
            let inner = &quoted[1..quoted.len() - 1];
            // Escapes are minijinja's to resolve; a path with one is not followed by hand.
            (!inner.contains('\\')).then(|| (Key::Name(inner.to_owned()), 3))
        }
        _ => None,
    }
}
