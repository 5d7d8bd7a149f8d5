//! A document against the table of keys: all wrong values at once, unknown keys with the nearest known one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::KeyPath;
use super::schema::{KEYS, Key, Kind};
use crate::domain::nearest::nearest;

/// A value that cannot be what its key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub path: KeyPath,
    /// Where the value came from: a file, a variable or a flag.
    pub whence: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}", self.whence, self.path, self.message)
    }
}

/// What was found in one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Values of the wrong type: they stop the start.
    pub faults: Vec<Fault>,
    /// Unknown keys and words: they are kept.
    pub warnings: Vec<String>,
}

/// The table of keys as a tree.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The key that ends here; sections have none.
    pub key: Option<&'static Key>,
    /// Named keys inside.
    pub children: BTreeMap<&'static str, Self>,
    /// What any other name stands for.
    pub any: Option<Box<Self>>,
}

impl Node {
    /// The node of a name inside this one.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.get(name).or(self.any.as_deref())
    }

    /// What a key inside this section is.
    pub(super) fn place(&self, name: &str, value: &Value) -> Place<'_> {
        match (self.children.get(name), &self.any) {
            (Some(child), _) => Place::Known(child),
            (None, Some(_)) if is_remark(name, value) => Place::Remark,
            (None, Some(any)) => Place::Known(any),
            (None, None) if is_remark_name(name) => Place::Remark,
            (None, None) => Place::Unknown,
        }
    }

    /// Whether files are laid over each other inside this node rather than replaced as a whole.
    pub(super) fn is_section(&self) -> bool {
        self.key.is_none()
    }
}

/// The tree of the whole table.
pub(super) fn tree() -> &'static Node {
    static TREE: OnceLock<Node> = OnceLock::new();
    TREE.get_or_init(|| {
        let mut root = Node::default();
        for key in KEYS {
            let mut at = &mut root;
            for name in key.path.split('.') {
                at = if name == "*" { at.any.get_or_insert_default() } else { at.children.entry(name).or_default() };
            }
            at.key = Some(key);
        }
        root
    })
}

/// Whether a key holds a remark. Where a person chooses the names, an object is none: a tool server called `comments` is
/// a server.
pub(super) fn is_remark(name: &str, value: &Value) -> bool {
    is_remark_name(name) && !value.is_object()
}

fn is_remark_name(name: &str) -> bool {
    name.starts_with("comment") || name.starts_with("_comment") || name == "$schema"
}

/// What a key inside a section is.
pub(super) enum Place<'a> {
    /// A key or section of the table.
    Known(&'a Node),
    /// Ignored.
    Remark,
    /// Kept and warned about.
    Unknown,
}

/// The key of a path, if the table has one.
#[must_use]
pub fn known_key(path: &KeyPath) -> Option<&'static Key> {
    path.0.iter().try_fold(tree(), |at, name| at.child(name))?.key
}

/// Whether a path is a key or a section of the table.
#[must_use]
pub fn is_known(path: &KeyPath) -> bool {
    let mut at = tree();
    for name in &path.0 {
        match at.child(name) {
            Some(node) => at = node,
            // What stands inside a value that may be anything is known with it.
            None => {
                return at.key.is_some_and(|key| {
                    matches!(key.kind, Kind::Any | Kind::TextMap | Kind::ScalarMap | Kind::BoolMap)
                });
            }
        }
    }
    true
}

/// Checks a whole document.
#[must_use]
pub fn check(keys: &Map<String, Value>, whence: &str) -> Findings {
    let mut checker = Checker { whence, findings: Findings::default() };
    checker.section(tree(), &KeyPath::default(), keys);
    checker.findings
}

/// Checks one value for a key, as when it comes from a flag, a variable or `config set`.
#[must_use]
pub fn check_value(path: &KeyPath, value: &Value, whence: &str) -> Findings {
    let mut checker = Checker { whence, findings: Findings::default() };
    if let Some(node) = path.0.iter().try_fold(tree(), |at, name| at.child(name)) {
        checker.node(node, path, value);
    }
    checker.findings
}

/// The known key that an unknown one was probably meant to be: beside it first, else anywhere in the table.
#[must_use]
pub fn nearest_key(path: &KeyPath) -> Option<String> {
    let (name, above) = path.0.split_last()?;
    let beside = above.iter().try_fold(tree(), |at, name| at.child(name));
    if let Some(found) = beside.and_then(|node| nearest(name, node.children.keys().copied())) {
        return Some(KeyPath(above.to_vec()).child(found).to_string());
    }
    // The right name in the wrong place; names that a person chooses cannot be guessed.
    let last = |key: &&Key| key.path.rsplit('.').next().unwrap_or(key.path);
    let firm = || KEYS.iter().filter(|key| !key.path.contains('*'));
    let whole = KeyPath(path.0.clone()).to_string();
    if let Some(found) = nearest(&whole, firm().map(|key| key.path)) {
        return Some(found.to_owned());
    }
    firm().find(|key| last(key) == name).map(|key| key.path.to_owned())
}

struct Checker<'a> {
    whence: &'a str,
    findings: Findings,
}

impl Checker<'_> {
    fn section(&mut self, node: &Node, path: &KeyPath, keys: &Map<String, Value>) {
        for (name, value) in keys {
            let path = path.child(name);
            match node.place(name, value) {
                Place::Known(child) => self.node(child, &path, value),
                Place::Remark => {}
                // The tool room reads these entries again and says so itself; twice would be once too often.
                Place::Unknown if path.0[0] == "mcpServers" => {}
                Place::Unknown => {
                    let hint = nearest_key(&path).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
                    self.warn(format!("unknown key `{path}` is kept without effect{hint}"));
                }
            }
        }
    }

    fn node(&mut self, node: &Node, path: &KeyPath, value: &Value) {
        let inside = !node.children.is_empty() || node.any.is_some();
        match (value, node.key) {
            (Value::Null, _) => {}
            (Value::Object(keys), None) => self.section(node, path, keys),
            (Value::Object(keys), Some(key)) if inside && key.kind == Kind::Whole => {
                self.section(node, path, keys);
                self.address(key, path, keys);
                self.both_prices(key, path, keys);
            }
            (_, None) => self.fault(path, value, "an object", None),
            (_, Some(key)) => self.leaf(key, path, value),
        }
    }

    /// A model server without an address is none, and would be gone without a word.
    fn address(&mut self, key: &Key, path: &KeyPath, keys: &Map<String, Value>) {
        if key.path == "model_servers.*" && keys.get("url").is_none_or(Value::is_null) {
            let kind = keys.get("kind").and_then(Value::as_str);
            let example = if kind == Some("openai") { "http://127.0.0.1:8080/v1" } else { "http://127.0.0.1:11434" };
            self.findings.faults.push(Fault {
                path: path.child("url"),
                whence: self.whence.to_owned(),
                message: "is missing: a model server needs its address".to_owned(),
                hint: Some(format!("write `\"url\": \"{example}\"` into `{path}`")),
            });
        }
    }

    /// With one of the two only, a budget would count with a price that nobody set.
    fn both_prices(&mut self, key: &Key, path: &KeyPath, keys: &Map<String, Value>) {
        if key.path != "claude_integration.prices.*" {
            return;
        }
        for name in ["input", "output"] {
            if keys.get(name).is_none_or(Value::is_null) {
                self.findings.faults.push(Fault {
                    path: path.child(name),
                    whence: self.whence.to_owned(),
                    message: "is missing: prices of your own need both `input` and `output`".to_owned(),
                    hint: Some(format!("set both at once: `{path}` to `{{\"input\": 3, \"output\": 15}}`")),
                });
            }
        }
    }

    fn leaf(&mut self, key: &Key, path: &KeyPath, value: &Value) {
        let fits = match key.kind {
            Kind::Any => true,
            Kind::Whole => value.is_object(),
            Kind::Bool => value.is_boolean(),
            Kind::Integer(least, most) => whole_number(value).is_some_and(|number| (least..=most).contains(&number)),
            Kind::Number(least, most) => value.as_f64().is_some_and(|number| (least..=most).contains(&number)),
            Kind::Text | Kind::Secret => value.is_string(),
            Kind::Url => value.as_str().is_some_and(is_url),
            Kind::Choice(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Kind::TextList => is_text_list(value),
            Kind::TextOrList => value.is_string() || is_text_list(value),
            Kind::WordList(words) => {
                if is_text_list(value) {
                    self.strange_words(path, value, words);
                }
                is_text_list(value)
            }
            Kind::ChoiceList(words) => value
                .as_array()
                .is_some_and(|list| list.iter().all(|word| word.as_str().is_some_and(|word| words.contains(&word)))),
            Kind::TextMap => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
            Kind::ScalarMap => {
                value.as_object().is_some_and(|map| map.values().all(|value| !value.is_object() && !value.is_array()))
            }
            Kind::BoolMap => value
                .as_object()
                .is_some_and(|map| map.iter().all(|(name, value)| value.is_boolean() || is_remark(name, value))),
        };
        if !fits {
            self.fault(path, value, &expected(key.kind), hint(key.kind, value));
        }
    }

    fn strange_words(&mut self, path: &KeyPath, value: &Value, words: &[&str]) {
        for word in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !words.contains(&word) {
                let hint = match nearest(word, words.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("known are {}", words.join(", ")),
                };
                self.warn(format!("`{path}` names `{word}`, which is none of its words; {hint}"));
            }
        }
    }

    fn warn(&mut self, message: String) {
        self.findings.warnings.push(format!("{}: {message}", self.whence));
    }

    fn fault(&mut self, path: &KeyPath, value: &Value, wanted: &str, hint: Option<String>) {
        // What `config show` would not show is not told of a faulty value either.
        let is_hidden = super::settings::shown(path, value) != *value;
        let found = if is_hidden { type_word(value).to_owned() } else { shown(value) };
        let message = format!("must be {wanted}, and is {found}");
        self.findings.faults.push(Fault { path: path.clone(), whence: self.whence.to_owned(), message, hint });
    }
}

/// A whole number, also when it is written `2.0`.
#[must_use]
pub fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // Beyond 2^53 a float no longer says which whole number was meant.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

fn is_text_list(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

/// An `http` or `https` address with a host.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

/// What a kind holds, in words.
#[must_use]
pub fn expected(kind: Kind) -> String {
    let bounds = |least: String, most: String, open_below: bool, open_above: bool| match (open_below, open_above) {
        (true, true) => String::new(),
        (false, true) => format!(", at least {least}"),
        (true, false) => format!(", at most {most}"),
        (false, false) => format!(" from {least} to {most}"),
    };
    match kind {
        Kind::Bool => "true or false".into(),
        Kind::Integer(least, most) => format!(
            "a whole number{}",
            bounds(least.to_string(), most.to_string(), least == i64::MIN, most == i64::MAX)
        ),
        Kind::Number(least, most) => {
            format!("a number{}", bounds(least.to_string(), most.to_string(), false, most >= 1e9))
        }
        Kind::Text | Kind::Secret => "text".into(),
        Kind::Url => "an `http://` or `https://` address".into(),
        Kind::Choice(words) => format!("one of {}", quoted(words)),
        Kind::TextList => "a list of texts".into(),
        Kind::TextOrList => "a text or a list of texts".into(),
        Kind::WordList(words) => format!("a list of texts (known: {})", quoted(words)),
        Kind::ChoiceList(words) => format!("a list of {}", quoted(words)),
        Kind::TextMap => "an object of texts".into(),
        Kind::ScalarMap => "an object of texts, numbers, true and false".into(),
        Kind::BoolMap => "an object of true and false".into(),
        Kind::Whole => "an object".into(),
        Kind::Any => "anything".into(),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn hint(kind: Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (Kind::Bool, Value::String(word)) if matches!(word.to_lowercase().as_str(), "true" | "false") => {
            Some(format!("write {} without quotes", word.to_lowercase()))
        }
        (Kind::Integer(..) | Kind::Number(..), Value::String(text)) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("write {} without quotes", text.trim()))
        }
        (Kind::TextList | Kind::WordList(_) | Kind::ChoiceList(_), Value::String(text)) => {
            Some(format!("write [\"{text}\"]"))
        }
        (Kind::Choice(words), Value::String(word)) => {
            nearest(word, words.iter().copied()).map(|known| format!("did you mean `{known}`?"))
        }
        (Kind::Url, Value::String(text)) if !text.contains("://") && !text.is_empty() => {
            Some(format!("write `http://{text}`"))
        }
        (Kind::TextMap, Value::Object(_)) => Some("put its values in quotes".into()),
        _ => None,
    }
}

fn type_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.chars().count() > CHARS_MAX => {
            format!("the text \"{}…\"", text.chars().take(CHARS_MAX).collect::<String>())
        }
        Value::String(_) => format!("the text {value}"),
        other => other.to_string(),
    }
}
