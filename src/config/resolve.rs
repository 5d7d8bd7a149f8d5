//! From files, environment and flags to [`Settings`]: read each once, check all, lay one over the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::check::{self, Node, Place, check, check_value, tree};
use super::document::{self, Document};
use super::later::{idle, notes};
use super::schema::{INTERNAL_VARIABLES, KEYS, Key, Kind, OTHER_VARIABLES};
use super::sections::{budget, claude, limits, model_servers, models, notify, section, servers, text, texts, tools};
use super::settings::{Origin, Settings};
use super::{ConfigError, Consents, Fault, Home, KeyPath, Secret, consent};
use crate::domain::nearest::nearest;

/// What the command line says of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config FILE`: this file alone, and the consent to it.
    pub config: Option<PathBuf>,
    /// `--trust-project-config`: the project's file counts whole, in this process.
    pub trust_project_config: bool,
    /// Flags that set a key: the flag as typed, the key, the value.
    pub values: Vec<(String, String, Value)>,
}

/// Everything that the settings are resolved from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The command line.
    pub flags: &'a Flags,
    /// The whole environment.
    pub environment: &'a BTreeMap<String, String>,
    /// The user-wide folder.
    pub home: &'a Home,
    /// The project folder, or the folder the person stands in when there is none.
    pub project: Option<&'a Path>,
}

/// Resolves the settings.
///
/// # Errors
/// [`ConfigError`]; wrong values of all sources come together in [`ConfigError::Faults`].
pub fn resolve(given: &Given<'_>) -> Result<Settings, ConfigError> {
    let mut layers = Layers::default();
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let value = serde_json::from_str(key.default).expect("defaults of the table are JSON");
        layers.put(&path_of(key), value, &Origin::Default);
    }
    match &given.flags.config {
        Some(file) => {
            let read = document::read(file)?.ok_or_else(|| ConfigError::NoFile { file: file.clone() })?;
            layers.file(read);
        }
        None => {
            if let Some(read) = document::read(&given.home.config_file())? {
                layers.file(read);
            }
            if let Some(read) = project_file(given, &mut layers)? {
                project_layer(given, read, &mut layers)?;
            }
        }
    }
    layers.variables(given.environment);
    layers.flags(&given.flags.values);
    layers.finish()
}

/// The project's file: `.ollmcp/config.json`, else `.config/config.json`.
fn project_file(given: &Given<'_>, layers: &mut Layers) -> Result<Option<Document>, ConfigError> {
    let Some(project) = given.project else { return Ok(None) };
    let first = project.join(".ollmcp").join("config.json");
    let second = project.join(".config").join("config.json");
    // In the home folder the first is the user's own file, and the second belongs to whoever keeps `~/.config`.
    if given.home.is_no_project(project) {
        return Ok(None);
    }
    match document::read(&first)? {
        Some(read) => {
            if second.exists() {
                let (first, second) = (first.display(), second.display());
                layers.warnings.push(format!("`{first}` counts, `{second}` is not read beside it"));
            }
            Ok(Some(read))
        }
        None => document::read(&second),
    }
}

fn project_layer(given: &Given<'_>, mut read: Document, layers: &mut Layers) -> Result<(), ConfigError> {
    let mut rest = read.keys.clone();
    if let Some(taken) = consent::take_out(&mut rest) {
        let question = consent::question(&read.file, &taken);
        let covered = Consents::load(&given.home.consents_file())?.covers(&question);
        match (covered, given.flags.trust_project_config) {
            (true, _) => {}
            (false, true) => layers.trusted = Some(question),
            (false, false) => {
                // Faults of values that do not count yet are still worth saying.
                layers.found(check(&taken, &read.file.display().to_string()));
                layers.needs_consent = Some(question);
                read.keys = rest;
            }
        }
    }
    layers.file(read);
    Ok(())
}

fn path_of(key: &Key) -> KeyPath {
    dotted(key.path)
}

/// The path of a key without dots in its names.
fn dotted(path: &str) -> KeyPath {
    KeyPath(path.split('.').map(str::to_owned).collect())
}

/// Keys of the prior program, and ours that mean the same.
const PRIOR_WORDS: [(&str, &str); 1] = [("delegation.max_parallel_tasks", "limits.attempts_max")];

/// The document as it grows, weakest source first.
#[derive(Debug, Default)]
struct Layers {
    document: Map<String, Value>,
    origins: BTreeMap<KeyPath, Origin>,
    files: Vec<PathBuf>,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    needs_consent: Option<consent::Consent>,
    trusted: Option<consent::Consent>,
}

impl Layers {
    fn found(&mut self, findings: check::Findings) {
        self.faults.extend(findings.faults);
        self.warnings.extend(findings.warnings);
    }

    fn file(&mut self, read: Document) {
        let whence = read.file.display().to_string();
        self.found(check(&read.keys, &whence));
        for path in &read.doubles {
            self.warnings.push(format!("{whence}: `{path}` stands twice; the last one counts"));
        }
        let origin = Origin::File(read.file.clone());
        self.lay(tree(), &KeyPath::default(), read.keys, &origin);
        self.files.push(read.file);
    }

    /// Lays keys over what is there: sections are mixed, everything else is replaced. `null` changes nothing.
    fn lay(&mut self, node: &Node, path: &KeyPath, keys: Map<String, Value>, origin: &Origin) {
        for (name, value) in keys {
            let path = path.child(&name);
            match (node.place(&name, &value), value) {
                (_, Value::Null) | (Place::Remark, _) => {}
                (Place::Known(child), Value::Object(inside)) if child.is_section() => {
                    self.lay(child, &path, inside, origin)
                }
                (_, value) => self.put(&path, value, origin),
            }
        }
    }

    fn put(&mut self, path: &KeyPath, value: Value, origin: &Origin) {
        let (last, above) = path.0.split_last().expect("a key has a name");
        let mut at = &mut self.document;
        for name in above {
            let inside = at.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inside.is_object() {
                *inside = Value::Object(Map::new());
            }
            at = inside.as_object_mut().expect("it was made an object just now");
        }
        at.insert(last.clone(), value);
        self.origins.retain(|known, _| !known.is_within(path));
        self.origins.insert(path.clone(), origin.clone());
    }

    fn variables(&mut self, environment: &BTreeMap<String, String>) {
        for key in KEYS.iter().filter(|key| !key.variable.is_empty()) {
            let Some(text) = environment.get(key.variable).map(|text| text.trim()).filter(|text| !text.is_empty())
            else {
                continue;
            };
            let path = path_of(key);
            let value = if key.variable == "OLLAMA_HOST" { ollama_url(text).into() } else { read_text(key.kind, text) };
            let findings = check_value(&path, &value, &format!("variable {}", key.variable));
            if findings.faults.is_empty() {
                self.put(&path, value, &Origin::Variable(key.variable.to_owned()));
            }
            self.found(findings);
        }
        let known = || KEYS.iter().map(|key| key.variable).chain(OTHER_VARIABLES.iter().copied());
        for name in environment.keys().filter(|name| name.starts_with("OLLMCP_")) {
            if known().any(|known| known == name) || INTERNAL_VARIABLES.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            let hint = nearest(name, known().filter(|known| known.starts_with("OLLMCP_")));
            let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            self.warnings.push(format!("variable `{name}` is not known{hint}"));
        }
    }

    fn flags(&mut self, values: &[(String, String, Value)]) {
        for (flag, key, value) in values {
            let path = KeyPath::parse(key).expect("flags name keys of the table");
            let findings = check_value(&path, value, flag);
            if findings.faults.is_empty() {
                self.put(&path, value.clone(), &Origin::Flag(flag.clone()));
            }
            self.found(findings);
        }
    }

    /// Where a key of the prior program stands for one of ours that nobody has set, ours takes its value and origin.
    fn prior_words(&mut self) {
        for (prior, ours) in PRIOR_WORDS {
            let (prior, ours) = (dotted(prior), dotted(ours));
            let is_default = self.origins.get(&ours) == Some(&Origin::Default);
            let value = prior.0.iter().skip(1).try_fold(self.document.get(&prior.0[0]), |at, name| Some(at?.get(name)));
            if let (true, Some(Some(value)), Some(origin)) = (is_default, value, self.origins.get(&prior)) {
                let (value, origin) = (value.clone(), origin.clone());
                self.put(&ours, value, &origin);
            }
        }
    }

    fn finish(mut self) -> Result<Settings, ConfigError> {
        if !self.faults.is_empty() {
            return Err(ConfigError::Faults(self.faults));
        }
        self.prior_words();
        let notes = notes(&self.document, &self.origins);
        let api_key = take_text(&mut self.document, "claude_integration", "api_key").and_then(Secret::new);
        let claude = claude(&self.document, api_key);
        if claude.enabled && claude.api_key.is_none() {
            let way = "set `ANTHROPIC_API_KEY`, or `claude_integration.api_key` in a file that only you can read";
            self.warnings.push(format!("Claude is switched on but there is no key; {way}"));
        }
        let models = models(&self.document, &mut self.warnings);
        if models.first.is_some() && self.document.get("ladders").and_then(|all| all.get("default")).is_some() {
            self.warnings.push("`model` has no effect: `ladders.default` says which models are asked".to_owned());
        }
        let document = self.document;
        let list = |name: &str| texts(document.get(name));
        Ok(Settings {
            mcp_servers: servers(&document),
            tools: tools(&document),
            disabled_servers: list("disabledServers"),
            disabled_tools: list("disabledTools"),
            limits: limits(&document),
            claude,
            budget: budget(&document),
            notify: notify(&document),
            models,
            ollama_url: text(&document, "ollama.url").unwrap_or_default(),
            model_servers: model_servers(&document),
            find_model_servers: document.get("find_model_servers") != Some(&Value::Bool(false)),
            ladders: section(&document, "ladders")
                .map(|(name, rungs)| (name.clone(), texts(Some(rungs))))
                .filter(|(_, rungs)| !rungs.is_empty())
                .collect(),
            files: self.files,
            idle: idle(&document, &self.origins).into_iter().map(|(path, key)| (path, key.doc)).collect(),
            notes,
            warnings: self.warnings,
            needs_consent: self.needs_consent,
            trusted: self.trusted,
            document,
            origins: self.origins,
        })
    }
}

/// A variable's text as a value of its key's kind; what does not fit stays text and is refused by the check.
fn read_text(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Bool => match text.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Value::Bool(true),
            "false" | "0" | "no" | "off" => Value::Bool(false),
            _ => text.into(),
        },
        Kind::Integer(..) | Kind::Number(..) => {
            serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| text.into())
        }
        _ => text.into(),
    }
}

/// `OLLAMA_HOST` as Ollama itself reads it: scheme and port may be missing, and an address to listen on everywhere
/// is reached through loopback.
fn ollama_url(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let bare_v6 = authority.matches(':').count() > 1 && !authority.starts_with('[');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.ends_with(']') => (host, port),
        _ => (
            authority,
            match scheme {
                "https" => "443",
                _ if text.contains("://") => "80",
                _ => "11434",
            },
        ),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "[::]" | "::" => "[::1]".to_owned(),
        host if bare_v6 => format!("[{host}]"),
        host => host.to_owned(),
    };
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    format!("{scheme}://{host}:{port}{path}")
}

fn take_text(document: &mut Map<String, Value>, section: &str, name: &str) -> Option<String> {
    match document.get_mut(section)?.as_object_mut()?.shift_remove(name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
