//! Grounded arguments: a path, name or identifier in a call must occur in what the task was given or has seen. Pure.
//!
//! A *new* name is allowed where the tool creates it. Free text (contents, queries, patterns) is nobody's name.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::domain::nearest::nearest;

/// Names that are kept of what was seen, and quoted in a refusal from.
const NAMES_MAX: usize = 20_000;
/// Candidates that a refusal quotes.
const CANDIDATES_MAX: usize = 6;
/// Text that is searched word by word.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Words of argument names whose values are names of something that exists.
const NAMING: &[&str] = &[
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "folder",
    "dir",
    "directory",
    "root",
    "source",
    "src",
    "id",
    "ids",
    "key",
    "database",
    "table",
    "url",
    "uri",
    "from",
];
/// The same, for a thing that a tool that changes something may create.
const CREATING: &[&str] = &["to", "target", "dest", "destination", "output"];
/// Those of [`NAMING`] that are there before any tool makes anything.
const SOURCES: &[&str] = &["from", "source", "src", "database", "url", "uri"];
/// How deep arguments are looked into.
const DEPTH_MAX: usize = 16;

/// Which arguments of a tool may name what is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayBeNew {
    /// None: it reads.
    Nothing,
    /// Where something goes to (`to`, `dest`, …): it changes something.
    Targets,
    /// These, and every path and name but those that it takes something from: it makes something.
    Names,
}

/// What a task was given and has seen.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    text: String,
    names: BTreeSet<String>,
    workspace: String,
}

/// An argument that occurs nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ungrounded {
    /// Its name.
    pub argument: String,
    /// Its value.
    pub value: String,
    /// Names that were seen and are near, best first.
    pub candidates: Vec<String>,
}

impl Ungrounded {
    /// What the model is told.
    #[must_use]
    pub fn complaint(&self, tool: &str) -> String {
        let value = &self.value;
        let head = format!(
            "{tool} was not called: `{}` is `{value}`, which occurs in nothing this task was given",
            self.argument
        );
        if self.candidates.is_empty() {
            format!("{head}. Take names from the task or from a result, letter by letter")
        } else {
            let quoted: Vec<String> = self.candidates.iter().map(|name| format!("`{name}`")).collect();
            format!("{head}. There are: {}", quoted.join(", "))
        }
    }
}

impl Grounds {
    /// Nothing seen yet. Paths below `workspace` count with and without it.
    #[must_use]
    pub fn new(workspace: &Path) -> Self {
        Self { workspace: workspace.display().to_string(), ..Self::default() }
    }

    /// Adds text of the task, its inputs or a result.
    pub fn see(&mut self, text: &str) {
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        let text = &text[..floor(text, room)];
        self.text.push('\n');
        self.text.push_str(text);
        for word in text.split(|letter: char| letter.is_whitespace() || "\"'`,;()[]{}<>|".contains(letter)) {
            let word = word.trim_end_matches(['.', ':', '!', '?']);
            if is_name_like(word) && self.names.len() < NAMES_MAX {
                self.names.insert(word.to_owned());
            }
        }
    }

    /// Adds a value: its strings as they are, so that names with blanks are whole.
    pub fn see_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                if text.len() <= 512 && !text.contains('\n') && self.names.len() < NAMES_MAX && is_whole_name(text) {
                    self.names.insert(text.clone());
                }
                self.see(text);
            }
            Value::Array(list) => list.iter().for_each(|value| self.see_value(value)),
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                self.see(name);
                self.see_value(value);
            }),
            Value::Number(number) => self.see(&number.to_string()),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// Holds the arguments of a call against what was seen, those inside objects and lists too.
    ///
    /// # Errors
    /// The first argument that occurs nowhere.
    pub fn check(
        &self,
        schema: &Value,
        arguments: &Map<String, Value>,
        may_be_new: MayBeNew,
    ) -> Result<(), Ungrounded> {
        self.check_object(schema, arguments, may_be_new, 0)
    }

    fn check_object(
        &self,
        schema: &Value,
        arguments: &Map<String, Value>,
        may_be_new: MayBeNew,
        depth: usize,
    ) -> Result<(), Ungrounded> {
        arguments.iter().try_for_each(|(name, value)| {
            let declared = schema.get("properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
            self.check_value(declared, name, value, may_be_new, depth + 1)
        })
    }

    fn check_value(
        &self,
        declared: &Value,
        name: &str,
        value: &Value,
        may_be_new: MayBeNew,
        depth: usize,
    ) -> Result<(), Ungrounded> {
        match value {
            Value::String(text) => self.check_text(declared, name, text, may_be_new),
            Value::Array(list) if depth < DEPTH_MAX => {
                // A list may be declared by what it holds, or as what it holds.
                let of = declared.get("items").unwrap_or(declared);
                list.iter().try_for_each(|value| self.check_value(of, name, value, may_be_new, depth + 1))
            }
            Value::Object(map) if depth < DEPTH_MAX => self.check_object(declared, map, may_be_new, depth),
            _ => Ok(()),
        }
    }

    fn check_text(&self, declared: &Value, name: &str, text: &str, may_be_new: MayBeNew) -> Result<(), Ungrounded> {
        let is_path = declared.get("format").and_then(Value::as_str) == Some("path");
        let words: Vec<String> = name.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase).collect();
        let names = |list: &[&str]| words.last().is_some_and(|word| list.contains(&word.as_str()));
        let is_new = match may_be_new {
            MayBeNew::Nothing => false,
            MayBeNew::Targets => names(CREATING),
            MayBeNew::Names => names(CREATING) || ((is_path || names(NAMING)) && !names(SOURCES)),
        };
        let listed = declared.get("enum").and_then(Value::as_array);
        let is_given = declared.get("default").and_then(Value::as_str) == Some(text)
            || declared.get("const").and_then(Value::as_str) == Some(text)
            || listed.is_some_and(|list| list.iter().any(|known| known.as_str() == Some(text)));
        let is_name = is_path || names(NAMING) || names(CREATING) || is_path_for_sure(text);
        if !is_name || is_given || self.knows(text) || (is_new && self.may_be_made(text)) {
            return Ok(());
        }
        Err(Ungrounded { argument: name.to_owned(), value: bounded(text), candidates: self.candidates(text) })
    }

    /// Checks the paths of a call that may name new files: what is there already, or says how later runs work, is
    /// changed only where somebody named it.
    ///
    /// # Errors
    /// The first argument that would change what nobody named.
    pub fn check_taken(
        &self,
        parameters: &Value,
        arguments: &Map<String, Value>,
        is_taken: &dyn Fn(&str) -> bool,
    ) -> Result<(), Ungrounded> {
        for (name, value) in arguments {
            let declared = parameters.get("properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
            let is_path = declared.get("format").and_then(Value::as_str) == Some("path");
            let words: Vec<String> =
                name.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase).collect();
            let is_name =
                words.last().is_some_and(|word| NAMING.contains(&word.as_str()) || CREATING.contains(&word.as_str()));
            let Some(text) = value.as_str().filter(|_| is_path || is_name) else { continue };
            let plain = self.plain(text);
            if !self.knows(text) && (defines_runs(&plain) || is_taken(&plain)) {
                return Err(Ungrounded {
                    argument: name.clone(),
                    value: bounded(text),
                    candidates: self.candidates(text),
                });
            }
        }
        Ok(())
    }

    /// Whether a name was seen: as it stands, or as a path made of a folder and a name that were both seen.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let name = self.plain(name);
        if matches!(name.as_str(), "" | "." | "*") {
            return true;
        }
        if occurs(&self.text, &name) {
            return true;
        }
        match name.rsplit_once('/') {
            Some((folder, file)) => !file.is_empty() && occurs(&self.text, file) && self.knows_folder(folder),
            None => false,
        }
    }

    fn knows_folder(&self, folder: &str) -> bool {
        occurs(&self.text, folder) || self.names.iter().any(|name| self.plain(name).starts_with(&format!("{folder}/")))
    }

    /// A new name inside the workspace: relative, nowhere out of it.
    fn may_be_made(&self, name: &str) -> bool {
        let plain = self.plain(name);
        !plain.starts_with('/')
            && !plain.starts_with('~')
            && !plain.split('/').any(|part| part == "..")
            && !plain.contains('\0')
    }

    /// A path without `./`, the workspace before it and a slash behind it.
    fn plain(&self, name: &str) -> String {
        let mut name = name.trim();
        if !self.workspace.is_empty()
            && let Some(rest) = name.strip_prefix(self.workspace.as_str())
            && (rest.is_empty() || rest.starts_with('/'))
        {
            name = rest.trim_start_matches('/');
        }
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        if name.len() > 1 { name.trim_end_matches('/').to_owned() } else { name.to_owned() }
    }

    fn candidates(&self, wanted: &str) -> Vec<String> {
        let plain = self.plain(wanted);
        let last = plain.rsplit('/').next().unwrap_or(&plain).to_lowercase();
        let ending = last.rsplit_once('.').map(|(_, ending)| ending.to_owned());
        let mut ranked: Vec<(u8, &String)> = self
            .names
            .iter()
            .map(|name| {
                let file = name.rsplit('/').next().unwrap_or(name).to_lowercase();
                let rank = if file == last {
                    0
                } else if nearest(&last, [file.as_str()]).is_some() {
                    1
                } else if ending.as_ref().is_some_and(|ending| file.ends_with(&format!(".{ending}"))) {
                    2
                } else if name.contains('/') == plain.contains('/') && looks_like_path(name) {
                    3
                } else {
                    9
                };
                (rank, name)
            })
            .filter(|(rank, _)| *rank < 9)
            .collect();
        ranked.sort();
        ranked.into_iter().take(CANDIDATES_MAX).map(|(_, name)| bounded(name)).collect()
    }
}

/// Whether a path is a place of agents or plans: what stands there decides what later runs do.
fn defines_runs(plain: &str) -> bool {
    ["agents/", "plans/"]
        .iter()
        .any(|folder| plain.get(..folder.len()).is_some_and(|head| head.eq_ignore_ascii_case(folder)))
}

/// Whether `name` stands in `text` and is not a part of a longer word.
fn occurs(text: &str, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        let begins =
            name.chars().next().is_none_or(|first| !is_part(first)) || before.is_none_or(|letter| !is_part(letter));
        let ends =
            name.chars().next_back().is_none_or(|last| !is_part(last)) || after.is_none_or(|letter| !is_part(letter));
        begins && ends
    })
}

/// A word that names something: a path, a file, an identifier with digits.
fn is_name_like(word: &str) -> bool {
    (2..=512).contains(&word.len()) && (looks_like_path(word) || word.chars().any(|letter| letter.is_ascii_digit()))
}

fn is_whole_name(text: &str) -> bool {
    looks_like_path(text) || (text.len() <= 80 && !text.trim().is_empty() && text.split_whitespace().count() <= 3)
}

/// A path whatever its argument is called: `N/A`, `km/h` and `and/or` are none.
fn is_path_for_sure(text: &str) -> bool {
    let begins = ["/", "./", "../", "~/"].iter().any(|begin| text.starts_with(begin));
    let is_deep = begins || text.ends_with('/') || text.matches('/').count() > 1;
    looks_like_path(text) && (is_deep || has_ending(text))
}

/// `a/b`, `a.pdf`, `~/x`; not prose, not a sentence, not an address of a site.
fn looks_like_path(text: &str) -> bool {
    if text.is_empty() || text.len() > 4_096 || text.contains('\n') || text.split_whitespace().count() > 8 {
        return false;
    }
    if text.contains("*") || text.contains("${") {
        return false;
    }
    let is_deep = text.contains('/') && !text.contains(" / ") && !text.starts_with("//") && !text.contains("://");
    (is_deep && text.chars().any(char::is_alphabetic)) || has_ending(text)
}

/// A few words of which the last ends like a file.
fn has_ending(text: &str) -> bool {
    let ends = text.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty()
            && (1..=5).contains(&ending.len())
            && ending.chars().all(|letter| letter.is_ascii_alphanumeric())
            && ending.chars().any(|letter| letter.is_ascii_alphabetic())
            && !stem.ends_with(' ')
    });
    ends && text.split_whitespace().count() <= 4
}

fn bounded(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX).chain(" …".chars()).collect()
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grounds() -> Grounds {
        let mut grounds = Grounds::new(Path::new("/home/me/project"));
        grounds.see("Read the rates of January/ and answer.");
        grounds.see_value(
            &json!({ "files": [{ "path": "January/ratecon 7.pdf" }, { "path": "January/b-2.pdf" }], "count": 2 }),
        );
        grounds
    }

    fn path_schema() -> Value {
        json!({ "type": "object", "properties": {
            "path": { "type": "string", "format": "path" }, "text": { "type": "string" },
            "root": { "type": "string", "default": "src" } } })
    }

    fn verdict(name: &str, value: &str, creates: bool) -> Result<(), Ungrounded> {
        let arguments = Map::from_iter([(name.to_owned(), json!(value))]);
        let may_be_new = if creates { MayBeNew::Names } else { MayBeNew::Nothing };
        grounds().check(&path_schema(), &arguments, may_be_new)
    }

    #[test]
    fn names_that_were_seen_may_be_used_in_every_spelling_of_the_same_path() {
        for path in [
            "January/ratecon 7.pdf",
            "./January/b-2.pdf",
            "January/",
            "January",
            "/home/me/project/January/b-2.pdf",
            ".",
            "b-2.pdf",
        ] {
            assert_eq!(verdict("path", path, false), Ok(()), "{path}");
        }
        assert_eq!(verdict("root", "src", false), Ok(()), "a default of the schema");
    }

    #[test]
    fn invented_names_are_refused_with_the_right_ones() {
        for path in ["/path/to/ratecons", "February/b-2.pdf", "January/b-22.pdf", "January/b-2.pd", "ratecon1.pdf"] {
            let refused = verdict("path", path, false).expect_err(path);
            assert!(refused.candidates.iter().any(|name| name.starts_with("January/")), "{refused:?}");
            assert!(refused.complaint("fs_read").contains("January/"), "{path}");
        }
    }

    #[test]
    fn a_new_name_is_allowed_where_the_tool_makes_it_and_only_inside() {
        assert_eq!(verdict("path", "out/report.md", true), Ok(()));
        for path in ["/etc/report.md", "../report.md", "~/report.md", "out/../../x.md"] {
            assert!(verdict("path", path, true).is_err(), "{path}");
        }
    }

    #[test]
    fn free_text_is_no_name() {
        assert_eq!(verdict("text", "Anything at all, with and/or between.", false), Ok(()));
        assert_eq!(verdict("query", "select 1 from t", false), Ok(()));
        for text in ["N/A", "km/h", "TCP/IP", "application/json", "12/24/2024"] {
            assert_eq!(verdict("text", text, false), Ok(()), "{text}");
        }
        assert!(verdict("text", "/path/to/file.pdf", false).is_err(), "a path is one wherever it stands");
    }

    #[test]
    fn what_a_tool_takes_something_from_is_never_new_and_where_it_goes_may_be() {
        let verdict = |name: &str, value: &str, may_be_new| {
            grounds().check(&path_schema(), &Map::from_iter([(name.to_owned(), json!(value))]), may_be_new).is_ok()
        };
        for may_be_new in [MayBeNew::Targets, MayBeNew::Names] {
            assert!(verdict("to", "out/x.pdf", may_be_new));
            assert!(verdict("from", "January/b-2.pdf", may_be_new));
            assert!(!verdict("from", "January/b-3.pdf", may_be_new));
            assert!(!verdict("to", "../x.pdf", may_be_new));
        }
        assert!(!verdict("path", "ratecon1.pdf", MayBeNew::Targets), "what deletes names what is there");
    }

    #[test]
    fn arguments_inside_objects_and_lists_are_looked_at() {
        let schema = json!({ "type": "object", "properties": {
            "jobs": { "type": "array", "items": { "type": "object", "properties": {
                "path": { "type": "string", "format": "path" }, "mode": { "enum": ["a/b/c"] } } } } } });
        let verdict =
            |arguments: Value| grounds().check(&schema, arguments.as_object().expect("an object"), MayBeNew::Nothing);
        assert_eq!(verdict(json!({ "jobs": [{ "path": "January/b-2.pdf", "mode": "a/b/c" }] })), Ok(()));
        let refused = verdict(json!({ "jobs": [{ "path": "January/b-2.pdf" }, { "path": "January/b-3.pdf" }] }));
        assert_eq!(refused.expect_err("it is invented").argument, "path");
        assert!(verdict(json!({ "jobs": [{ "mode": "d/e/f" }] })).is_err());
    }
}
