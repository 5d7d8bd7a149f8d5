//! Changes one key of a person's file and leaves every other byte as it stands: order, spaces, unknown keys, numbers
//! as they were written. Also the text that `init` begins with.
//!
//! The text is changed in place rather than read and written anew, because JSON that goes through values loses what a
//! person sees: how a number was written, how a list was broken into lines.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::check::{check, check_value, is_known, known_key, nearest_key};
use super::document::{CONFIG_BYTES_MAX, parse};
use super::schema::Kind;
use super::{ConfigError, KeyPath};
use crate::os::files;

/// Some editors put this in front of a text.
const MARK: char = '\u{feff}';

/// What `init` writes when there is no file: valid as it is, every entry a default, a remark where a hand is needed.
#[must_use]
pub fn default_config_text() -> String {
    include_str!("default.json").to_owned()
}

/// Sets one key in a file, which is made if it is not there.
///
/// # Errors
/// [`ConfigError::UnknownKey`], [`ConfigError::Faults`] for a value of the wrong type, and whatever is wrong with the
/// file; it is untouched then.
pub fn set_key(file: &Path, key: &str, value: &Value) -> Result<(), ConfigError> {
    let unknown = |nearest| ConfigError::UnknownKey { key: key.to_owned(), nearest };
    let path = KeyPath::parse(key).ok_or_else(|| unknown(None))?;
    if !is_known(&path) {
        return Err(unknown(nearest_key(&path)));
    }
    let findings = check_value(&path, value, "the new value");
    if !findings.faults.is_empty() {
        return Err(ConfigError::Faults(findings.faults));
    }
    let write_failed = |source| ConfigError::Write { file: file.to_owned(), source };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::make_private_folder(folder).map_err(write_failed)?;
    }
    // Two commands at once must not undo each other.
    let _alone = files::alone_with(file).map_err(write_failed)?;
    let read_failed = |source| ConfigError::Read { file: file.to_owned(), source };
    let text = files::read_text(file, CONFIG_BYTES_MAX).map_err(read_failed)?.unwrap_or_default();
    let inside = text.strip_prefix(MARK).unwrap_or(&text);
    let text = if inside.trim().is_empty() { format!("{}{{}}\n", &text[..text.len() - inside.len()]) } else { text };
    parse(&text, file)?;
    let changed = with_key(&text, &path, value)
        .map_err(|inside| ConfigError::NoObject { file: file.to_owned(), key: inside.to_string() })?;
    // A part may fit its key and leave the entry around it without what it needs.
    let entry = KeyPath(path.0.iter().take(2).cloned().collect());
    let mut faults = check(&parse(&changed, file)?.keys, "what would stand there").faults;
    faults.retain(|fault| path.0.len() > 2 && fault.path.is_within(&entry));
    if !faults.is_empty() {
        return Err(ConfigError::Faults(faults));
    }
    files::write_atomically(file, changed.as_bytes(), files::PRIVATE_FILE_MODE).map_err(write_failed)
}

/// What a person typed as the value of a key, as the key's kind has it: JSON where it is JSON of that kind, else the words
/// as they stand. Nothing is refused here.
#[must_use]
pub fn typed(key: &str, text: &str) -> Value {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let kind = KeyPath::parse(key).and_then(|path| known_key(&path)).map(|key| key.kind);
    let plain = || Value::String(text.to_owned());
    match kind {
        // `7` is a good name for a model.
        Some(Kind::Text | Kind::Secret | Kind::Url | Kind::Choice(_)) => {
            json.filter(|value| value.is_string() || value.is_null()).unwrap_or_else(plain)
        }
        Some(Kind::TextOrList) => {
            json.filter(|value| value.is_string() || value.is_null() || value.is_array()).unwrap_or_else(plain)
        }
        Some(Kind::TextList | Kind::WordList(_) | Kind::ChoiceList(_)) => match json {
            Some(value @ (Value::Array(_) | Value::Null | Value::Object(_))) => value,
            Some(Value::String(one)) => Value::Array(vec![one.into()]),
            _ => text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
        },
        Some(Kind::Bool) => json.unwrap_or_else(|| match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" => true.into(),
            "false" | "no" | "off" => false.into(),
            _ => plain(),
        }),
        _ => json.unwrap_or_else(plain),
    }
}

/// The text with one key set. It must be valid JSON with an object at its top.
///
/// # Errors
/// The path of a value that is no object where one is needed.
pub fn with_key(text: &str, path: &KeyPath, value: &Value) -> Result<String, KeyPath> {
    let start = text.strip_prefix('\u{feff}').map_or(0, |rest| text.len() - rest.len());
    let mut at = Scanner { text: text.as_bytes(), at: start };
    at.space();
    for depth in 0..path.0.len() {
        if at.peek() != Some(b'{') {
            return Err(KeyPath(path.0[..depth].to_vec()));
        }
        let object = at.object(&path.0[depth]);
        let is_last = depth + 1 == path.0.len();
        match object.found {
            Some((from, to)) if is_last => {
                let new = written(value, &line_indent(text, from), text);
                return Ok(format!("{}{new}{}", &text[..from], &text[to..]));
            }
            // `null` stands for "not set", so an object may take its place.
            Some((from, to)) if &text[from..to] == "null" => {
                let nested = nest(&path.0[depth + 1..], value);
                let new = written(&nested, &line_indent(text, from), text);
                return Ok(format!("{}{new}{}", &text[..from], &text[to..]));
            }
            Some((from, _)) => at.at = from,
            None => return Ok(inserted(text, &object, &path.0[depth], &nest(&path.0[depth + 1..], value))),
        }
    }
    unreachable!("a path has at least one name, and its last one returns")
}

fn nest(names: &[String], value: &Value) -> Value {
    names
        .iter()
        .rev()
        .fold(value.clone(), |inside, name| Value::Object(std::iter::once((name.clone(), inside)).collect()))
}

/// An object of the text, and what was looked for in it.
struct Object {
    /// Position of its `{`.
    open: usize,
    /// Position of its `}`.
    close: usize,
    /// Start of its first key and end of its last value; `None` when it is empty.
    inside: Option<(usize, usize)>,
    /// Where the value of the wanted key stands; of a key that stands twice the last one, which is the one that counts.
    found: Option<(usize, usize)>,
}

fn inserted(text: &str, object: &Object, name: &str, value: &Value) -> String {
    let newline = line_break(text);
    let key = Value::String(name.to_owned()).to_string();
    let outer = line_indent(text, object.open);
    match object.inside {
        None => {
            let inner = format!("{outer}{}", unit(text));
            let new = written(value, &inner, text);
            format!("{}{newline}{inner}{key}: {new}{newline}{outer}{}", &text[..=object.open], &text[object.close..])
        }
        Some((first, end)) => {
            // As the first entry stands, on a line of its own or beside the bracket, so does the new one.
            let before = &text[object.open + 1..first];
            let (gap, indent) = match before.rfind('\n') {
                Some(at) => (format!("{newline}{}", &before[at + 1..]), before[at + 1..].to_owned()),
                None => (" ".to_owned(), outer),
            };
            let new = if before.contains('\n') { written(value, &indent, text) } else { value.to_string() };
            format!("{},{gap}{key}: {new}{}", &text[..end], &text[end..])
        }
    }
}

/// A value as `text` would write it: broken into lines with its steps and breaks, each line after the first
/// beginning with `indent`.
fn written(value: &Value, indent: &str, text: &str) -> String {
    let is_flat = match value {
        Value::Array(list) => list.iter().all(|entry| !entry.is_object() && !entry.is_array()),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    if is_flat {
        return value.to_string();
    }
    let unit = unit(text);
    let mut pretty = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut pretty, formatter))
        .expect("a value is always JSON, and memory takes it");
    let pretty = String::from_utf8(pretty).expect("JSON is UTF-8");
    pretty.lines().collect::<Vec<_>>().join(&format!("{}{indent}", line_break(text)))
}

fn line_break(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The blanks at the start of the line that holds a position.
fn line_indent(text: &str, at: usize) -> String {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[line..].chars().take_while(|c| matches!(c, ' ' | '\t')).collect()
}

/// One step of indentation, as the file's first indented line has it.
fn unit(text: &str) -> String {
    let blanks = |line: &str| line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect::<String>();
    text.lines().skip(1).map(blanks).find(|blanks| !blanks.is_empty()).unwrap_or_else(|| "  ".to_owned())
}

/// Walks over JSON that is known to be valid; only finds where things stand.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes over a string and gives its value.
    fn string(&mut self) -> String {
        let from = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        let raw = &self.text[from..self.at.min(self.text.len())];
        serde_json::from_slice(raw).expect("the text was parsed before")
    }

    /// Passes over any value. Brackets are counted, not recursed into: depth is bounded by the parse before anyway.
    fn value(&mut self) {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string();
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(_) => {
                    while self.peek().is_some_and(|byte| !b",:]} \t\r\n".contains(&byte)) {
                        self.at += 1;
                    }
                }
                None => return,
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn object(&mut self, wanted: &str) -> Object {
        let open = self.at;
        let mut object = Object { open, close: open, inside: None, found: None };
        self.at += 1;
        loop {
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'"') => {
                    let key_from = self.at;
                    let name = self.string();
                    self.space();
                    self.at += 1;
                    self.space();
                    let from = self.at;
                    self.value();
                    object.inside = Some((object.inside.map_or(key_from, |(first, _)| first), self.at));
                    if name == wanted {
                        object.found = Some((from, self.at));
                    }
                }
                _ => {
                    object.close = self.at;
                    return object;
                }
            }
        }
    }
}
