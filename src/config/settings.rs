//! What the configuration came to: typed values, each with its origin.
//!
//! Below this nobody asks where a value came from, except `config show --origin`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::check::known_key;
use super::schema::Kind;
use super::{Consent, KeyPath, Secret};
use crate::domain::kinds::{Grant, TaskKind};
pub use crate::domain::ladder::WhenLimited;
use crate::domain::plan::{ModelServerSpec, RepeatClass};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A file, under the same key unless another is named.
    File(PathBuf),
    /// An environment variable, by name.
    Variable(String),
    /// A flag of the command line, as typed.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Bounds of a whole process, units in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at once, over all steps of all runs.
    pub attempts_max: u32,
    /// Wait for a tool server to start and answer.
    pub tool_start_timeout_s: u64,
    /// One tool call where the step names no `timeout`.
    pub tool_timeout_s: u64,
    /// Processes that read PDF files at once; `None`: one for each processor, at most 4.
    pub pdf_workers_max: Option<u32>,
    /// Memory of one of them.
    pub pdf_memory_mib_max: u64,
    /// Time for one PDF file.
    pub pdf_timeout_s: u64,
    /// How long a run in the foreground waits for what time alone frees.
    pub park_wait_s: u64,
    /// How long a task waits for a model server that is away.
    pub model_server_wait_s: u64,
}

/// Corrections for one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolSettings {
    /// Instead of what its annotations say.
    pub repeat: Option<RepeatClass>,
    /// Instead of what its annotations say.
    pub grants: Option<Vec<Grant>>,
    /// Arguments that are files.
    pub files: Vec<String>,
}

/// The section `claude_integration` as far as it concerns escalation.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaudeSettings {
    /// Whether tasks may escalate.
    pub enabled: bool,
    /// The key; never in a document, a message or a journal.
    pub api_key: Option<Secret>,
    /// Address of the API.
    pub base_url: String,
    /// Model id as configured.
    pub model: String,
    /// Counted failures of one task before it escalates.
    pub escalation_threshold: u32,
    /// Paid calls in any 60 minutes.
    pub calls_per_hour_max: u32,
    /// Kinds that escalate after one failure; `None`: the table of task kinds decides.
    pub critical_tasks: Option<Vec<TaskKind>>,
    /// A task escalates where no local model's server answers.
    pub escalate_when_unreachable: bool,
    /// What a task does at a limit; `None`: single tasks fail, items wait.
    pub when_limited: Option<WhenLimited>,
}

/// Budgets of paid calls, in millionths of a dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// One local day.
    pub day_microdollars_max: u64,
    /// One run; `None`: as much as the day allows.
    pub run_microdollars_max: Option<u64>,
    /// Of a day's cost: passing it is said.
    pub warn_at_microdollars: Option<u64>,
}

/// One line of `config show --origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: KeyPath,
    /// Its value as JSON; secrets are replaced by a remark.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Everything that was configured, resolved once.
#[derive(Clone)]
pub struct Settings {
    /// Tool servers as written, for the tool room to read; without those that are switched off.
    pub mcp_servers: Map<String, Value>,
    /// Corrections by `server.tool`.
    pub tools: BTreeMap<String, ToolSettings>,
    /// Servers that are not started.
    pub disabled_servers: Vec<String>,
    /// Tools (`server.tool`) that are not offered.
    pub disabled_tools: Vec<String>,
    /// Bounds of the process.
    pub limits: Limits,
    /// Escalation.
    pub claude: ClaudeSettings,
    /// Money.
    pub budget: BudgetSettings,
    /// Address of Ollama.
    pub ollama_url: String,
    /// Model servers beside it, by name.
    pub model_servers: BTreeMap<String, ModelServerSpec>,
    /// Servers at the usual ports of this machine are looked for while none is declared.
    pub find_model_servers: bool,
    /// Named ladders, cheapest rung first.
    pub ladders: BTreeMap<String, Vec<String>>,
    /// Files that were read, the strongest last.
    pub files: Vec<PathBuf>,
    /// What is switched on and not built yet, one sentence each: shown at the start and in the run's header.
    pub notes: Vec<String>,
    /// What is odd but does not stop the start.
    pub warnings: Vec<String>,
    /// A project's file holds values that do not count until a person agrees. They are left out of everything above.
    pub needs_consent: Option<Consent>,
    /// What `--trust-project-config` agreed to in this process, and no stored consent covers.
    pub trusted: Option<Consent>,
    pub(super) document: Map<String, Value>,
    pub(super) origins: BTreeMap<KeyPath, Origin>,
}

impl Settings {
    /// Every value with its origin, by key, without secrets.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entries = self.origins.iter().filter_map(|(key, origin)| {
            let value = if key.to_string() == "claude_integration.api_key" {
                self.claude.api_key.as_ref().map(|_| "(set, not shown)".to_owned())?
            } else {
                shown(key, self.value(key)?).to_string()
            };
            Some(Entry { key: key.clone(), value, origin: origin.clone() })
        });
        entries.collect()
    }

    /// One value of the merged document, unknown keys included; secrets are not in it.
    #[must_use]
    pub fn value(&self, key: &KeyPath) -> Option<&Value> {
        let (first, rest) = key.0.split_first()?;
        rest.iter().try_fold(self.document.get(first)?, |at, name| at.get(name))
    }

    /// Where a value came from.
    #[must_use]
    pub fn origin(&self, key: &KeyPath) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// What the tool room reads servers from: `mcpServers` with those that are switched off, `tools`, and what is
    /// disabled (`enabledTools` included).
    #[must_use]
    pub fn tool_document(&self) -> Value {
        let taken = |key: &str| self.document.get(key).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let disabled_tools = self.switched_off_tools();
        serde_json::json!({
            "mcpServers": taken("mcpServers"),
            "tools": taken("tools"),
            "disabledServers": self.disabled_servers,
            "disabledTools": disabled_tools,
        })
    }

    /// Tools that are switched off one by one, in `disabledTools` or `enabledTools`.
    #[must_use]
    pub fn switched_off_tools(&self) -> Vec<&String> {
        let enabled = self.document.get("enabledTools").and_then(Value::as_object).into_iter().flatten();
        let off = enabled.filter(|(_, on)| **on == Value::Bool(false)).map(|(name, _)| name);
        let mut tools: Vec<&String> = self.disabled_tools.iter().chain(off).collect();
        tools.sort();
        tools.dedup();
        tools
    }

    /// Names of all declared servers, those that are switched off too.
    pub fn tool_servers(&self) -> impl Iterator<Item = &str> {
        let declared = self.document.get("mcpServers").and_then(Value::as_object).into_iter().flatten();
        declared.map(|(name, _)| name.as_str())
    }

    /// Whether a tool is switched off by `disabledTools`, `enabledTools` or its server.
    #[must_use]
    pub fn is_disabled(&self, server: &str, tool: &str) -> bool {
        let name = format!("{server}.{tool}");
        let switched_off = self
            .document
            .get("enabledTools")
            .and_then(|tools| tools.get(&name))
            .is_some_and(|on| on == &Value::Bool(false));
        switched_off || self.disabled_tools.contains(&name) || self.disabled_servers.iter().any(|name| name == server)
    }
}

impl fmt::Debug for Settings {
    /// Names without values: entries of servers may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("mcp_servers", &self.mcp_servers.keys().collect::<Vec<_>>())
            .field("tools", &self.tools)
            .field("limits", &self.limits)
            .field("files", &self.files)
            .field("notes", &self.notes)
            .field("warnings", &self.warnings)
            .field("needs_consent", &self.needs_consent)
            .finish_non_exhaustive()
    }
}

/// A value of a key as a screen may show it: what may be secret by its key, or by the names inside, is replaced.
#[must_use]
pub fn shown(key: &KeyPath, value: &Value) -> Value {
    if known_key(key).is_some_and(|known| known.kind == Kind::Secret) {
        return Value::String(MASK.into());
    }
    // From the top, because a key may itself lead into variables or headers.
    let whole = key.0.iter().rev().fold(value.clone(), |inside, name| {
        let section: Map<String, Value> = std::iter::once((name.clone(), inside)).collect();
        Value::Object(section)
    });
    let mut found = &masked(&whole);
    for name in &key.0 {
        match found.get(name) {
            Some(inside) => found = inside,
            None => return found.clone(),
        }
    }
    found.clone()
}

const MASK: &str = "(not shown)";

/// Values of variables and headers may be secrets, and so may keys, and the name part of an address.
fn masked(value: &Value) -> Value {
    let hide = |value: &Value| match value {
        // A reference by name gives nothing away.
        Value::String(text) if text.starts_with("${") && text.ends_with('}') => value.clone(),
        _ => Value::String(MASK.into()),
    };
    match value {
        Value::Object(map) => {
            let hidden = map.iter().map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("env" | "headers", Value::Object(inner)) => {
                        Value::Object(inner.iter().map(|(name, value)| (name.clone(), hide(value))).collect())
                    }
                    ("env" | "headers" | "api_key", value) if !value.is_null() => hide(value),
                    _ => masked(value),
                };
                (name.clone(), value)
            });
            Value::Object(hidden.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(masked).collect()),
        Value::String(text) => Value::String(without_users(text)),
        other => other.clone(),
    }
}

/// Without the name parts of all addresses in a text.
fn without_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map(|(user, _)| &rest[user.len()..]);
        out.push_str("://");
        out.push_str(&host.map_or_else(|| rest.to_owned(), |host| format!("{MASK}{host}")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_secret_is_shown_under_no_key() {
        for (key, value) in [
            ("mcpServers.m", json!({ "command": "true", "env": { "T": "zzsecretzz" } })),
            ("mcpServers.m.env", json!({ "T": "zzsecretzz" })),
            ("mcpServers.m.env", json!("T=zzsecretzz")),
            ("mcpServers.m.env.T", json!("zzsecretzz")),
            ("mcpServers.m.headers.Authorization", json!("Bearer zzsecretzz")),
            ("mcpServers.m", json!({ "args": ["postgres://me:zzsecretzz@host/db"] })),
            ("mcpServers", json!({ "m": { "headers": { "X": "zzsecretzz" } } })),
            ("ollama.url", json!("http://me:zzsecretzz@host:1")),
            ("model_servers.m.url", json!("http://a/?next=http://me:zzsecretzz@host")),
            ("claude_integration.api_key", json!("zzsecretzz")),
            ("claude_integration", json!({ "api_key": "zzsecretzz" })),
        ] {
            let told = shown(&KeyPath::parse(key).unwrap(), &value).to_string();
            assert!(!told.contains("zzsecretzz"), "{key}: {told}");
        }
        let key = KeyPath::parse("mcpServers.m.env.T").unwrap();
        assert_eq!(shown(&key, &json!("${TOKEN}")), json!("${TOKEN}"), "a name is no secret");
        assert_eq!(shown(&KeyPath::parse("ollama.url").unwrap(), &json!("http://host:1")), json!("http://host:1"));
    }
}
