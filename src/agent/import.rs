//! Agent definitions of the prior program (JSON) as agent files of ours. What has a place here is put there; what has
//! none stays in the file as a comment of its head, and is said. Nothing is lost in silence. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::roles;
use super::spec::{AGENT_BYTES_MAX, AgentSpec, FORMAT, TEMPERATURE_MAX, TURNS_MAX};

/// One definition as a file of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Name of the agent.
    pub name: String,
    /// Name of its file.
    pub file_name: String,
    /// The whole file.
    pub text: String,
    /// What a person should know, one sentence each.
    pub notes: Vec<String>,
}

/// Why a definition cannot be read, with its place where it is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The text is no JSON.
    #[error("is no JSON: {message}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// It is larger than an agent file may be.
    #[error("is larger than {AGENT_BYTES_MAX} bytes")]
    TooLarge,
    /// It is JSON, and no agent definition.
    #[error("is no agent definition: {message}")]
    NoDefinition {
        /// What is missing or of the wrong type.
        message: String,
    },
}

impl ImportError {
    /// Line and column, where the text itself is broken.
    #[must_use]
    pub const fn place(&self) -> Option<(usize, usize)> {
        match self {
            Self::Json { line, column, .. } => Some((*line, *column)),
            Self::TooLarge | Self::NoDefinition { .. } => None,
        }
    }

    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Json { .. } | Self::TooLarge => None,
            Self::NoDefinition { .. } => {
                Some("a definition has at least `agent_type`, `description` and `system_prompt`, all of them text")
            }
        }
    }
}

/// Tools that were built into the prior program and ours that do the same; an empty text: there is none.
const BUILT_IN: &[(&str, &str)] = &[
    ("read_file", "fs.read"),
    ("write_file", "fs.write"),
    ("patch_file", "fs.patch"),
    ("list_files", "fs.list"),
    ("list_directories", "fs.list"),
    ("file_exists", "fs.stat"),
    ("get_file_info", "fs.stat"),
    ("delete_file", "fs.delete"),
    ("execute_bash_command", "shell.run"),
    ("execute_python_code", "shell.run"),
    ("run_pytest", "shell.run"),
];

/// Categories of tools and the grant that they were.
const CATEGORIES: &[(&str, &str)] = &[
    ("filesystem_read", "read"),
    ("search", "read"),
    ("filesystem_write", "write"),
    ("execution", "shell"),
    ("memory", ""),
    ("web", ""),
    ("artifact_generation", ""),
];

/// Reads one definition.
///
/// # Errors
/// [`ImportError`].
pub fn import(text: &str) -> Result<Imported, ImportError> {
    if text.len() > AGENT_BYTES_MAX {
        return Err(ImportError::TooLarge);
    }
    let entries: Entries = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|error| {
        if error.is_data() {
            return ImportError::NoDefinition { message: "it must be one object".into() };
        }
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
        ImportError::Json { line: error.line().max(1), column: error.column().max(1), message }
    })?;
    let mut writer = Writer::default();
    let entries = writer.without_doubles(entries.0);
    for (key, value) in &entries {
        writer.take(key, value)?;
    }
    writer.finish()
}

/// The entries of an object in the order written, doubles included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// Gathers the file.
#[derive(Debug, Default)]
struct Writer {
    name: String,
    description: String,
    hints: String,
    prompt: String,
    tools: Option<Vec<String>>,
    forbidden: Vec<String>,
    grants: BTreeSet<&'static str>,
    /// Further lines of the head, in order.
    lines: Vec<String>,
    /// What has no place: key and value as they were.
    left: Vec<(String, Value)>,
    notes: Vec<String>,
}

impl Writer {
    /// JSON readers take the last of two equal keys; so does this, and says it.
    fn without_doubles(&mut self, entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
        let mut kept: Vec<(String, Value)> = Vec::new();
        for (key, value) in entries {
            match kept.iter_mut().find(|(known, _)| *known == key) {
                Some(earlier) => {
                    self.notes.push(format!("`{key}` stands there twice; the last one counts"));
                    let lost = std::mem::replace(&mut earlier.1, value);
                    self.left.push((format!("{key} (the first one)"), lost));
                }
                None => kept.push((key, value)),
            }
        }
        kept
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), ImportError> {
        match key {
            "agent_type" => self.name = text(key, value)?,
            "description" => self.description = text(key, value)?,
            "system_prompt" => self.prompt = text(key, value)?,
            _ if value.is_null() => {}
            "planning_hints" => self.hints = text(key, value)?,
            "default_tools" => self.tools = Some(self.tools_of(key, value, "offered")?),
            "forbidden_tools" => self.forbidden = self.tools_of(key, value, "forbidden")?,
            "allowed_tool_categories" => self.categories(key, value)?,
            "loop_limit" => match value.as_i64().filter(|turns| (1..=TURNS_MAX).contains(turns)) {
                Some(turns) => self.lines.push(format!("turns_max: {turns}")),
                None => self.out_of_bounds(key, value, &format!("a whole number from 1 to {TURNS_MAX}")),
            },
            "temperature" => match value.as_f64().filter(|number| (0.0..=TEMPERATURE_MAX).contains(number)) {
                Some(_) => self.lines.push(format!("temperature: {value}")),
                None => self.out_of_bounds(key, value, &format!("a number from 0 to {TEMPERATURE_MAX}")),
            },
            "model" => {
                let model = text(key, value)?;
                self.lines.push(format!("model: {}", quoted(&model)));
            }
            "output_format" => self.output_format(key, value),
            "display_name" | "emoji" => self.left.push((key.to_owned(), value.clone())),
            "max_context_tokens" => {
                self.notes.push("`max_context_tokens` has no place: the window is worked out for each request".into());
                self.left.push((key.to_owned(), value.clone()));
            }
            unknown => {
                self.notes.push(format!("`{unknown}` has no place here; it stays as a comment"));
                self.left.push((unknown.to_owned(), value.clone()));
            }
        }
        Ok(())
    }

    fn out_of_bounds(&mut self, key: &str, value: &Value, wanted: &str) {
        self.notes.push(format!("`{key}` is left out: it must be {wanted}, not {value}"));
        self.left.push((key.to_owned(), value.clone()));
    }

    fn tools_of(&mut self, key: &str, value: &Value, how: &str) -> Result<Vec<String>, ImportError> {
        let mut ours: Vec<String> = Vec::new();
        let mut without = Vec::new();
        for word in words(key, value)? {
            let Some(built_in) = word.strip_prefix("builtin.") else {
                ours.push(word);
                continue;
            };
            match BUILT_IN.iter().find(|(theirs, _)| *theirs == built_in) {
                Some((_, twin)) => ours.push((*twin).to_owned()),
                None => without.push(word),
            }
        }
        if !without.is_empty() {
            self.notes.push(format!("{how}, and nothing here does the same: {}", without.join(", ")));
            self.left.push((key.to_owned(), without.into()));
        }
        let mut seen = BTreeSet::new();
        ours.retain(|tool| seen.insert(tool.clone()));
        Ok(ours)
    }

    /// Categories were the most that an agent may do: grants.
    fn categories(&mut self, key: &str, value: &Value) -> Result<(), ImportError> {
        let mut without = Vec::new();
        for word in words(key, value)? {
            match CATEGORIES.iter().find(|(category, _)| *category == word) {
                Some((_, grant)) if !grant.is_empty() => {
                    self.grants.insert(grant);
                }
                _ => without.push(word),
            }
        }
        if !without.is_empty() {
            self.notes.push(format!("categories without a grant here: {}", without.join(", ")));
            self.left.push((key.to_owned(), without.into()));
        }
        Ok(())
    }

    /// Only what is a JSON Schema binds an answer; what looks like an example does not.
    fn output_format(&mut self, key: &str, value: &Value) {
        let schema = value.get("schema").unwrap_or(value);
        let is_schema = schema.get("properties").is_some_and(Value::is_object)
            || schema.get("type").and_then(Value::as_str).is_some_and(|word| ["object", "array"].contains(&word));
        if is_schema && jsonschema::validator_for(schema).is_ok() {
            self.lines.push(format!("output_schema: {schema}"));
        } else {
            self.notes
                .push(format!("`{key}` is no JSON Schema; it stays as a comment, and answers are not checked by it"));
            self.left.push((key.to_owned(), value.clone()));
        }
    }

    fn finish(mut self) -> Result<Imported, ImportError> {
        let missing: Vec<&str> = [
            ("agent_type", self.name.trim().is_empty()),
            ("description", self.description.trim().is_empty() && self.hints.trim().is_empty()),
            ("system_prompt", self.prompt.trim().is_empty()),
        ]
        .iter()
        .filter_map(|(key, is_missing)| is_missing.then_some(*key))
        .collect();
        if !missing.is_empty() {
            let message = format!("`{}` is missing or empty", missing.join("`, `"));
            return Err(ImportError::NoDefinition { message });
        }
        self.settle_name();
        self.settle_tools();
        let text = self.text();
        // What was written must be what is read again: a fault here is one of the definition.
        let read = AgentSpec::parse(&text, "the file", None).map_err(|faults| ImportError::NoDefinition {
            message: faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; "),
        })?;
        self.notes.extend(read.notes);
        Ok(Imported { file_name: format!("{}.md", self.name), name: self.name, text, notes: self.notes })
    }

    fn settle_name(&mut self) {
        let name: String = self.name.trim().chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
        if name != self.name {
            self.notes.push(format!("`agent_type` `{}` became the name `{name}`", self.name));
            self.name = name;
        }
        if roles::ROLES.contains(&self.name.as_str()) {
            let name = &self.name;
            self.notes.push(format!(
                "it goes over the shipped agent `{name}`: change `name` in the file to keep both, or remove the file"
            ));
        }
    }

    fn settle_tools(&mut self) {
        let forbidden: BTreeSet<&String> = self.forbidden.iter().collect();
        if let Some(tools) = &mut self.tools {
            let (kept, gone): (Vec<_>, Vec<_>) = tools.drain(..).partition(|tool| !forbidden.contains(tool));
            *tools = kept;
            if !gone.is_empty() {
                let gone = gone.join(", ");
                self.notes.push(format!("allowed in part and forbidden in part there, forbidden here: {gone}"));
            }
            self.notes.push(
                "there, tools of MCP servers were offered to every agent; here, `tools` names them: `server.tool` or \
                 `server.*`"
                    .into(),
            );
        }
        for tool in self.tools.iter().flatten() {
            match tool.as_str() {
                "fs.write" | "fs.patch" | "fs.move" | "fs.delete" => self.grants.insert("write"),
                "shell.run" => self.grants.insert("shell"),
                _ => self.grants.insert("read"),
            };
        }
        let mut named: Vec<String> = Vec::new();
        for (theirs, ours) in BUILT_IN {
            if mentions(&self.prompt, theirs) {
                named.push(format!("builtin.{theirs} (here {ours})"));
            }
        }
        let known = named.len();
        let others = self.prompt.split("builtin.").skip(1).filter(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            end > 0 && !BUILT_IN.iter().any(|(theirs, _)| *theirs == &rest[..end])
        });
        if others.count() > 0 {
            named.push(if known > 0 { "and some that are not here".into() } else { "none of them is here".into() });
        }
        if !named.is_empty() {
            self.notes.push(format!("the prompt names tools of the prior program; change them: {}", named.join(", ")));
        }
    }

    fn text(&self) -> String {
        let mut out = String::from("---\n");
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!("name: {}", quoted(&self.name)));
        // What the planner was told is when to take the agent: that is what a description is here.
        let (about, hints) = (self.description.trim(), self.hints.trim());
        let stop = if about.is_empty() || hints.is_empty() || about.ends_with(['.', '!', '?', ':']) { "" } else { "." };
        line(format!("description: {}", quoted(format!("{about}{stop} {hints}").trim())));
        line(format!("format: {FORMAT}"));
        if let Some(tools) = &self.tools {
            line(format!("tools: {}", list(tools)));
        }
        if !self.forbidden.is_empty() {
            line(format!("forbidden_tools: {}", list(&self.forbidden)));
        }
        if !self.grants.is_empty() {
            line(format!("grants: [{}]", self.grants.iter().copied().collect::<Vec<_>>().join(", ")));
        }
        for entry in &self.lines {
            line(entry.clone());
        }
        if !self.left.is_empty() {
            line("# From the prior program, without a place here:".into());
        }
        for (key, value) in &self.left {
            line(format!("#   {}: {}", quoted(key), comment(value)));
        }
        line("---".into());
        line(self.prompt.trim_matches('\n').to_owned());
        out
    }
}

fn mentions(prompt: &str, built_in: &str) -> bool {
    prompt.split("builtin.").skip(1).any(|rest| {
        rest.strip_prefix(built_in).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn text(key: &str, value: &Value) -> Result<String, ImportError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(ImportError::NoDefinition { message: format!("`{key}` must be text, not {}", kind(other)) }),
    }
}

fn words(key: &str, value: &Value) -> Result<Vec<String>, ImportError> {
    let wrong = |found: &Value| ImportError::NoDefinition {
        message: format!("`{key}` must be a list of names, and it has {}", kind(found)),
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    list.iter().map(|word| word.as_str().map(str::to_owned).ok_or_else(|| wrong(word))).collect()
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// JSON text is YAML text in double quotes, save for characters that YAML takes for line ends or refuses.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let is_odd =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    json.chars().map(|c| if is_odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| {
            let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && word.starts_with(|c: char| c.is_ascii_alphabetic());
            if is_plain { word.clone() } else { quoted(word) }
        })
        .collect();
    format!("[{}]", words.join(", "))
}

/// A value on one line of a comment.
fn comment(value: &Value) -> String {
    let json = value.to_string();
    json.chars()
        .map(|c| if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}
