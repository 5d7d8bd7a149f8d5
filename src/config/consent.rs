//! What a project's file may not decide alone: servers to start, addresses to send to, modes. It counts after a
//! person's consent, which is bound to the digest of just those values: any change of them asks again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::check::{Node, Place, tree};
use super::{ConfigError, KeyPath, document};
use crate::domain::ids::Digest;
use crate::os::files;

/// Something that a person is asked to agree to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The project's file.
    pub file: PathBuf,
    /// SHA-256 over the canonical JSON of the values that need it.
    pub digest: Digest,
    /// What they do, one line each, for the question.
    pub what: Vec<String>,
    /// Names of the tool servers among them.
    pub servers: Vec<String>,
}

/// Takes the values that need consent out of a document; `None` when there are none.
pub(super) fn take_out(keys: &mut Map<String, Value>) -> Option<Map<String, Value>> {
    let taken = split(tree(), keys);
    (!taken.is_empty()).then_some(taken)
}

fn split(node: &Node, keys: &mut Map<String, Value>) -> Map<String, Value> {
    let mut taken = Map::new();
    for (name, value) in keys.iter_mut() {
        let Place::Known(child) = node.place(name, value) else { continue };
        if child.key.is_some_and(|key| key.consent) {
            if !value.is_null() {
                taken.insert(name.clone(), value.take());
            }
        } else if child.is_section()
            && let Value::Object(inside) = value
        {
            let inner = split(child, inside);
            if !inner.is_empty() {
                taken.insert(name.clone(), Value::Object(inner));
            }
        }
    }
    keys.retain(|name, value| !(value.is_null() && taken.contains_key(name)));
    taken
}

/// The question about values that were taken out.
pub(super) fn question(file: &Path, taken: &Map<String, Value>) -> Consent {
    let mut what = Vec::new();
    describe(&KeyPath::default(), taken, tree(), &mut what);
    let servers = taken.get("mcpServers").and_then(Value::as_object).into_iter().flatten();
    let servers = servers.map(|(name, _)| name.clone()).collect();
    Consent { file: real(file), digest: digest(&Value::Object(taken.clone())), what, servers }
}

fn describe(path: &KeyPath, taken: &Map<String, Value>, node: &Node, what: &mut Vec<String>) {
    for (name, value) in taken {
        let path = path.child(name);
        let line = match (node.child(name), value) {
            (Some(child), Value::Object(inside)) if child.is_section() => {
                describe(&path, inside, child, what);
                continue;
            }
            _ if path.0[0] == "mcpServers" => server_line(name, value),
            _ => format!("sets `{path}` to {value}"),
        };
        // The question is printed on a terminal: nothing in a stranger's file may steer it.
        what.push(line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect());
    }
}

fn server_line(name: &str, entry: &Value) -> String {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("command").is_empty() {
        return format!("connects to tool server `{name}` at {}", text("url"));
    }
    let arguments = entry.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = std::iter::once(text("command")).chain(arguments).collect();
    let variables = entry.get("env").and_then(Value::as_object);
    let given = variables
        .filter(|map| !map.is_empty())
        .map(|map| format!(" (with {})", map.iter().map(variable).collect::<Vec<_>>().join(", ")));
    format!("starts tool server `{name}`: `{}`{}", words.join(" "), given.unwrap_or_default())
}

/// A variable by its name; what it takes from the environment is said, what it holds itself is not.
fn variable((name, value): (&String, &Value)) -> String {
    match value.as_str() {
        Some(text) if text.contains("${") => format!("`{name}` = `{text}`"),
        _ => format!("`{name}`"),
    }
}

/// SHA-256 over a value as JSON with sorted keys and no spaces: equal values, equal digests.
#[must_use]
pub fn digest(value: &Value) -> Digest {
    let mut text = String::new();
    canonical(value, &mut text);
    Digest(Sha256::digest(text).into())
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(value, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// The consents that a person gave, in `~/.ollmcp/consents.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consents {
    /// Version of this file.
    format: u32,
    /// By project file.
    consents: BTreeMap<PathBuf, Given>,
}

/// One consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    digest: Digest,
    given_at: String,
}

const FORMAT: u32 = 1;

impl Consents {
    /// Reads the file; none means that nothing was agreed to.
    ///
    /// # Errors
    /// [`ConfigError::Read`] also for a file that is damaged or newer: to take it as empty would lose consents on the
    /// next write.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { file: file.to_owned(), source };
        let Some(text) = files::read_text(file, document::CONFIG_BYTES_MAX).map_err(failed)? else {
            return Ok(Self { format: FORMAT, ..Self::default() });
        };
        let read: Self = serde_json::from_str(&text).map_err(|error| failed(error.into()))?;
        if read.format != FORMAT {
            return Err(failed(std::io::Error::other(format!(
                "its format {} is newer than this version",
                read.format
            ))));
        }
        Ok(read)
    }

    /// Whether the person agreed to exactly this.
    #[must_use]
    pub fn covers(&self, consent: &Consent) -> bool {
        self.consents.get(&consent.file).is_some_and(|given| given.digest == consent.digest)
    }

    /// The same with one more consent; an older one for the same file is replaced.
    #[must_use]
    pub fn with(mut self, consent: &Consent, given_at: &str) -> Self {
        let given = Given { digest: consent.digest, given_at: given_at.to_owned() };
        self.format = FORMAT;
        self.consents.insert(consent.file.clone(), given);
        self
    }

    /// Writes the file as a whole; makes its folder.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn store(&self, file: &Path) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Write { file: file.to_owned(), source };
        if let Some(folder) = file.parent() {
            files::make_private_folder(folder).map_err(failed)?;
        }
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        files::write_atomically(file, &text, files::PRIVATE_FILE_MODE).map_err(failed)
    }
}
