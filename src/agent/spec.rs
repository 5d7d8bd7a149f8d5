//! One agent file: a YAML head and a system prompt. Strict on our own keys; Claude Code's sub-agent files load as
//! they are.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;
use serde_saphyr::{Location, Spanned};
use sha2::{Digest as _, Sha256};

use super::claude_code::{FOREIGN_KEYS, Twin, is_claude_model, twin};
use super::head::{self, Node};
use super::prompt::ROLE_CHARS_MAX;
use super::roles;
use crate::domain::ids::Digest;
use crate::domain::kinds::Grant;
use crate::domain::nearest::nearest;

/// Largest agent file.
pub const AGENT_BYTES_MAX: usize = 256 * 1024;

/// The format of agent files that this version reads.
pub const FORMAT: i64 = 1;

/// Bounds of the head's numbers.
pub(super) const TURNS_MAX: i64 = 1_000;
const TOKENS_MAX: i64 = 10_000_000;
pub(super) const TEMPERATURE_MAX: f64 = 2.0;

/// Our keys. `disallowedTools` and `maxTurns` are Claude Code's words for two of them.
const KEYS: &[&str] = &[
    "name",
    "description",
    "tools",
    "model",
    "role",
    "forbidden_tools",
    "grants",
    "turns_max",
    "tokens_max",
    "temperature",
    "output_schema",
    "ladder",
    "format",
    "reserved",
    "deterministic",
    "output_version",
    "disallowedTools",
    "maxTurns",
];

/// Which ladder an agent climbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LadderChoice {
    /// One of the configured ladders, by name.
    Named(String),
    /// Rungs of its own, cheapest first.
    Rungs(Vec<String>),
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSpec {
    /// Its name, by which steps name it.
    pub name: String,
    /// When to take it, for people and for planning.
    pub description: String,
    /// Names the attempt actor; the agent's own name where the file names no other.
    pub role: String,
    /// Tools that it is offered, as `server.tool` or `server.*`; `None`: those of the step.
    pub tools: Option<Vec<String>>,
    /// Tools that it is never offered.
    pub forbidden_tools: Vec<String>,
    /// What it may do at most.
    pub grants: Vec<Grant>,
    /// A model or one of Claude Code's words (`sonnet`, `inherit`), as written.
    pub model: Option<String>,
    /// Turns of one attempt.
    pub turns_max: Option<u32>,
    /// Tokens of one answer.
    pub tokens_max: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// JSON Schema of its output.
    pub output_schema: Option<Value>,
    /// Its ladder.
    pub ladder: Option<LadderChoice>,
    /// The slot of a later phase: listed, not run.
    pub reserved: bool,
    /// It has a way without a model, taken when a step gives `with` and no `prompt`.
    pub deterministic: bool,
    /// Raised when its results change.
    pub output_version: String,
    /// The system prompt.
    pub prompt: String,
    /// SHA-256 of the whole file: part of the identity of its items.
    pub digest: Digest,
    /// Where it came from; `None`: inside the binary.
    pub file: Option<PathBuf>,
    /// What was read but means nothing here, one sentence each.
    pub notes: Vec<String>,
}

/// One fault of an agent file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentFault {
    /// The file, or `NAME.md (shipped)`.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl fmt::Display for AgentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for AgentFault {}

impl AgentSpec {
    /// Reads the text of a file. `label` names it in faults.
    ///
    /// # Errors
    /// All faults of the file at once; of a text that is no YAML only the first.
    pub fn parse(text: &str, label: &str, file: Option<PathBuf>) -> Result<Self, Vec<AgentFault>> {
        let at = |line, column, message: String| AgentFault { file: label.into(), line, column, message, hint: None };
        if text.len() > AGENT_BYTES_MAX {
            return Err(vec![at(1, 1, format!("the file is larger than {AGENT_BYTES_MAX} bytes"))]);
        }
        let split = head::split(text).map_err(|fault| vec![at(fault.line, fault.column, fault.message)])?;
        let is_key = |word: &str| KEYS.contains(&word) || FOREIGN_KEYS.contains(&word);
        let (entries, lenient) =
            head::read(&split, is_key).map_err(|fault| vec![at(fault.line, fault.column, fault.message)])?;
        let mut reader = Reader::new(label, split.head_line, Digest(Sha256::digest(text).into()), file);
        reader.is_ours = entries.iter().any(|(name, _)| name.value == "format");
        if lenient {
            reader.spec.notes.push("the head is no strict YAML; `description` was read as plain text".into());
        }
        for (name, value) in &entries {
            reader.entry(name, value);
        }
        reader.spec.prompt = split.body.replace("\r\n", "\n").trim().to_owned();
        reader.finish(text)
    }
}

impl AgentSpec {
    /// Of the tools that there are (`server.tool`), those that it may be offered: what `tools` names, all where the file
    /// names none, without the forbidden ones. In the order of its file.
    #[must_use]
    pub fn usable_tools(&self, known: &[String]) -> Vec<String> {
        let mut usable: Vec<String> = Vec::new();
        let may = |tool: &&String| !self.forbidden_tools.iter().any(|word| covers(word, tool));
        match &self.tools {
            None => usable.extend(known.iter().filter(may).cloned()),
            Some(words) => {
                for word in words {
                    usable.extend(known.iter().filter(|tool| covers(word, tool)).filter(may).cloned());
                }
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        usable.retain(|tool| seen.insert(tool.clone()));
        usable
    }

    /// What its file names among `tools` and nobody has: tools of a later version, or of a server that is not there.
    #[must_use]
    pub fn missing_tools(&self, known: &[String]) -> Vec<String> {
        let words = self.tools.iter().flatten();
        words.filter(|word| !known.iter().any(|tool| covers(word, tool))).cloned().collect()
    }
}

/// Whether a word of `tools` (`server.tool`, `server.*` or `*`) means this tool.
fn covers(word: &str, tool: &str) -> bool {
    word == "*"
        || word == tool
        || word.strip_suffix('*').filter(|server| server.ends_with('.')).is_some_and(|server| tool.starts_with(server))
}

/// Fills a spec entry by entry and collects what is wrong.
struct Reader<'a> {
    label: &'a str,
    /// Lines of the file before the head's first.
    lines_before: u64,
    /// The file says `format`: it was written for this program, so a key that nobody knows is a slip.
    is_ours: bool,
    spec: AgentSpec,
    grants: Option<Vec<Grant>>,
    faults: Vec<AgentFault>,
}

impl<'a> Reader<'a> {
    fn new(label: &'a str, head_line: u64, digest: Digest, file: Option<PathBuf>) -> Self {
        let spec = AgentSpec {
            name: String::new(),
            description: String::new(),
            role: String::new(),
            tools: None,
            forbidden_tools: Vec::new(),
            grants: Vec::new(),
            model: None,
            turns_max: None,
            tokens_max: None,
            temperature: None,
            output_schema: None,
            ladder: None,
            reserved: false,
            deterministic: false,
            output_version: "1".into(),
            prompt: String::new(),
            digest,
            file,
            notes: Vec::new(),
        };
        Self { label, lines_before: head_line - 1, is_ours: false, spec, grants: None, faults: Vec::new() }
    }

    fn entry(&mut self, name: &Spanned<String>, value: &Spanned<Node>) {
        if matches!(value.value, Node::Plain(Value::Null)) && KEYS.contains(&name.value.as_str()) {
            return;
        }
        match name.value.as_str() {
            "name" => self.spec.name = self.word(value).unwrap_or_default(),
            "description" => self.spec.description = self.text(value).unwrap_or_default(),
            "role" => self.spec.role = self.word(value).unwrap_or_default(),
            "model" => self.spec.model = self.text(value),
            "tools" => {
                // `*` is Claude Code's word for "all that there are", as a missing key is.
                let words = self.words(value).filter(|words| words != &["*"]);
                self.spec.tools = words.map(|words| self.tool_names(words));
            }
            "forbidden_tools" | "disallowedTools" => {
                let words = self.words(value).unwrap_or_default();
                let names = self.tool_names(words);
                self.spec.forbidden_tools.extend(names);
            }
            "grants" => self.grants = Some(self.grant_words(value)),
            "turns_max" | "maxTurns" => self.spec.turns_max = self.count(value, TURNS_MAX),
            "tokens_max" => self.spec.tokens_max = self.count(value, TOKENS_MAX),
            "temperature" => self.spec.temperature = self.temperature(value),
            "output_schema" => self.spec.output_schema = self.schema(value),
            "ladder" => self.spec.ladder = self.ladder(value),
            "format" => {
                if value.value != Node::Plain(FORMAT.into()) {
                    let found = value.value.to_json();
                    self.fault(
                        value.referenced,
                        format!("format {found} is not the {FORMAT} that this version reads"),
                        None,
                    );
                }
            }
            "reserved" => self.spec.reserved = self.flag(value),
            "deterministic" => self.spec.deterministic = self.flag(value),
            "output_version" => match &value.value {
                Node::Plain(Value::String(text)) => self.spec.output_version.clone_from(text),
                Node::Plain(Value::Number(number)) => self.spec.output_version = number.to_string(),
                _ => self.wrong(value, "text or a number"),
            },
            foreign if FOREIGN_KEYS.contains(&foreign) => {
                self.spec.notes.push(format!("`{foreign}` of Claude Code means nothing here"));
            }
            unknown => {
                let near = nearest(unknown, KEYS.iter().copied());
                // A word of a later Claude Code is none of ours misspelt: a slip in `forbidden_tools` must be seen.
                if self.is_ours || near.is_some() {
                    let hint = near.map(|known| format!("did you mean `{known}`?"));
                    self.fault(name.referenced, format!("unknown key `{unknown}`"), hint);
                } else {
                    self.spec.notes.push(format!("`{unknown}` means nothing here"));
                }
            }
        }
    }

    fn finish(mut self, text: &str) -> Result<AgentSpec, Vec<AgentFault>> {
        let top = Location::UNKNOWN;
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_alphabetic())
                && name.chars().count() <= 64
                && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        // A fault of its own was said where the value stands.
        let said = !self.faults.is_empty();
        if self.spec.name.is_empty() && !said {
            self.fault(top, "`name` is missing".into(), None);
        } else if !self.spec.name.is_empty() && !is_name(&self.spec.name) {
            let message = format!("`{}` is no name: letters, digits, `_` and `-`, at most 64", self.spec.name);
            self.fault(top, message, None);
        }
        if self.spec.description.is_empty() && !said {
            self.fault(top, "`description` is missing: it says when to take this agent".into(), None);
        }
        if self.spec.prompt.is_empty() && !self.spec.deterministic && !said {
            let line = text.lines().count() as u64;
            self.faults.push(AgentFault {
                file: self.label.into(),
                line,
                column: 1,
                message: "there is no prompt below the head".into(),
                hint: None,
            });
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        if !self.is_ours {
            // Claude Code writes line breaks as `\n`, whatever quotes stand around them.
            self.spec.description = self.spec.description.replace("\\n", "\n").trim().to_owned();
        }
        self.settle_role();
        self.settle_grants();
        self.remarks();
        Ok(self.spec)
    }

    /// What is read and does not do what a person may expect.
    fn remarks(&mut self) {
        if let Some(model) = self.spec.model.as_deref().filter(|model| is_claude_model(model)) {
            self.spec.notes.push(format!(
                "`model: {model}` is a paid model: on a ladder of local models it is ignored, and it starts no paid call"
            ));
        }
        let chars = self.spec.prompt.chars().count();
        if chars > ROLE_CHARS_MAX {
            self.spec
                .notes
                .push(format!("the prompt has {chars} characters; a model gets the first {ROLE_CHARS_MAX} of them"));
        }
    }

    fn settle_role(&mut self) {
        if self.spec.role.is_empty() {
            self.spec.role.clone_from(&self.spec.name);
        } else if !roles::ROLES.contains(&self.spec.role.as_str())
            && let Some(known) = nearest(&self.spec.role, roles::ROLES)
        {
            let role = &self.spec.role;
            self.spec.notes.push(format!("role `{role}` is one of your own; did you mean `{known}`?"));
        }
    }

    /// Grants that the file does not name come from its role, else from its tools; least where neither tells.
    fn settle_grants(&mut self) {
        let of_role = roles::grants_of(&self.spec.role);
        self.spec.grants = match (self.grants.take(), of_role) {
            (Some(written), _) => written,
            (None, Some(of_role)) => of_role.to_vec(),
            (None, None) => {
                let mut grants = vec![Grant::Read];
                for tool in self.spec.tools.iter().flatten() {
                    match tool.split_once('.') {
                        Some(("shell", _)) => grants.push(Grant::Shell),
                        Some(("fs", "write" | "patch" | "move")) => grants.push(Grant::Write),
                        _ => {}
                    }
                }
                grants
            }
        };
        self.spec.grants.sort_unstable();
        self.spec.grants.dedup();
    }

    fn fault(&mut self, place: Location, message: String, hint: Option<String>) {
        let line = place.line().max(1) + self.lines_before;
        let column = place.column().max(1);
        self.faults.push(AgentFault { file: self.label.into(), line, column, message, hint });
    }

    fn wrong(&mut self, value: &Spanned<Node>, wanted: &str) {
        self.fault(value.referenced, format!("must be {wanted}"), None);
    }

    fn text(&mut self, value: &Spanned<Node>) -> Option<String> {
        match &value.value {
            Node::Plain(Value::String(text)) => Some(text.trim().to_owned()),
            _ => {
                self.wrong(value, "text");
                None
            }
        }
    }

    /// Text that must not be empty.
    fn word(&mut self, value: &Spanned<Node>) -> Option<String> {
        let text = self.text(value)?;
        if text.is_empty() {
            self.wrong(value, "a name");
            return None;
        }
        Some(text)
    }

    /// A list, or Claude Code's one text with commas; commas inside brackets (`Bash(git add, git commit)`) stay.
    fn words(&mut self, value: &Spanned<Node>) -> Option<Vec<String>> {
        match &value.value {
            Node::Plain(Value::String(text)) => Some(split_words(text)),
            Node::List(list) => Some(list.iter().filter_map(|entry| self.word(entry)).collect()),
            _ => {
                self.wrong(value, "a list, or one text with commas");
                None
            }
        }
    }

    /// Our names of tools; Claude Code's words are translated, and what we have not is noted and left out.
    fn tool_names(&mut self, words: Vec<String>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for word in words {
            let (bare, only) = word.split_once('(').map_or((word.as_str(), ""), |(bare, only)| (bare.trim(), only));
            match twin(bare) {
                Twin::Is(ours) => {
                    if !only.is_empty() {
                        self.spec.notes.push(format!("`{word}`: the part in brackets does not narrow `{ours}` here"));
                    }
                    names.push(ours);
                }
                Twin::Unknown if bare.contains('.') => names.push(word),
                // Tools of servers have a dot in their name, so this is none that a server could have.
                Twin::None | Twin::Unknown => {
                    self.spec.notes.push(format!("there is no tool like `{bare}` here"));
                }
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn grant_words(&mut self, value: &Spanned<Node>) -> Vec<Grant> {
        let entries: Vec<(String, Location)> = match &value.value {
            Node::Plain(Value::String(text)) => {
                split_words(text).into_iter().map(|word| (word, value.referenced)).collect()
            }
            Node::List(list) => {
                list.iter().filter_map(|entry| self.word(entry).map(|word| (word, entry.referenced))).collect()
            }
            _ => {
                self.wrong(value, "a list of grants");
                Vec::new()
            }
        };
        let mut grants = Vec::new();
        for (word, place) in entries {
            match Grant::from_word(&word) {
                Some(grant) => grants.push(grant),
                None => {
                    let hint = match nearest(&word, Grant::ALL.map(Grant::word)) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => format!("grants are {}", Grant::ALL.map(Grant::word).join(", ")),
                    };
                    self.fault(place, format!("`{word}` is no grant"), Some(hint));
                }
            }
        }
        grants
    }

    fn count(&mut self, value: &Spanned<Node>, most: i64) -> Option<u32> {
        let number = match &value.value {
            Node::Plain(number) => number.as_i64().filter(|number| (1..=most).contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.wrong(value, &format!("a whole number from 1 to {most}"));
        }
        number.and_then(|number| u32::try_from(number).ok())
    }

    fn temperature(&mut self, value: &Spanned<Node>) -> Option<f64> {
        let number = match &value.value {
            Node::Plain(number) => number.as_f64().filter(|number| (0.0..=TEMPERATURE_MAX).contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.wrong(value, &format!("a number from 0 to {TEMPERATURE_MAX}"));
        }
        number
    }

    fn flag(&mut self, value: &Spanned<Node>) -> bool {
        if let Node::Plain(Value::Bool(flag)) = value.value {
            return flag;
        }
        self.wrong(value, "true or false");
        false
    }

    fn schema(&mut self, value: &Spanned<Node>) -> Option<Value> {
        let schema = value.value.to_json();
        if !schema.is_object() {
            self.wrong(value, "a JSON Schema, so a map");
            return None;
        }
        if let Err(error) = jsonschema::validator_for(&schema) {
            self.fault(value.referenced, format!("is no JSON Schema: {error}"), None);
            return None;
        }
        Some(schema)
    }

    fn ladder(&mut self, value: &Spanned<Node>) -> Option<LadderChoice> {
        match &value.value {
            Node::List(list) if !list.is_empty() => {
                Some(LadderChoice::Rungs(list.iter().filter_map(|rung| self.word(rung)).collect()))
            }
            Node::Plain(Value::String(_)) => self.word(value).map(LadderChoice::Named),
            _ => {
                self.wrong(value, "the name of a ladder, or a list of rungs");
                None
            }
        }
    }
}

fn split_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match c {
            ',' if depth == 0 => words.push(String::new()),
            c => words.last_mut().expect("there is always one word").push(c),
        }
    }
    words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}
