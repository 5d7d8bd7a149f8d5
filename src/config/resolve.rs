//! From files, environment and flags to [`Settings`]: read each once, check all, lay one over the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::check::{self, Node, Place, check, check_value, is_remark, tree, whole_number};
use super::document::{self, Document};
use super::schema::{INTERNAL_VARIABLES, KEYS, Key, Kind, OTHER_VARIABLES, Use};
use super::settings::{BudgetSettings, ClaudeSettings, Limits, Origin, Settings, ToolSettings, WhenLimited};
use super::{ConfigError, Consents, Fault, Home, KeyPath, Secret, consent};
use crate::domain::kinds::{Grant, TaskKind};
use crate::domain::nearest::nearest;
use crate::domain::plan::{ModelServerKind, ModelServerSpec, RepeatClass};

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
    KeyPath(key.path.split('.').map(str::to_owned).collect())
}

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

    fn finish(mut self) -> Result<Settings, ConfigError> {
        if !self.faults.is_empty() {
            return Err(ConfigError::Faults(self.faults));
        }
        let notes = notes(&self.document, &self.origins);
        let api_key = take_text(&mut self.document, "claude_integration", "api_key").and_then(Secret::new);
        let claude = claude(&self.document, api_key);
        if claude.enabled && claude.api_key.is_none() {
            let way = "set `ANTHROPIC_API_KEY`, or `claude_integration.api_key` in a file that only you can read";
            self.warnings.push(format!("Claude is switched on but there is no key; {way}"));
        }
        let document = self.document;
        let list = |name: &str| texts(document.get(name));
        Ok(Settings {
            mcp_servers: servers(&document),
            tools: tools(&document),
            disabled_servers: list("disabledServers"),
            disabled_tools: list("disabledTools"),
            limits: limits(&document, &self.origins),
            claude,
            budget: budget(&document),
            ollama_url: text(&document, "ollama.url").unwrap_or_default(),
            model_servers: model_servers(&document),
            find_model_servers: at(&document, "find_model_servers") != Some(&Value::Bool(false)),
            ladders: section(&document, "ladders")
                .map(|(name, rungs)| (name.clone(), texts(Some(rungs))))
                .filter(|(_, rungs)| !rungs.is_empty())
                .collect(),
            files: self.files,
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

fn notes(document: &Map<String, Value>, origins: &BTreeMap<KeyPath, Origin>) -> Vec<String> {
    let mut phases: Vec<(&str, Vec<String>)> = Vec::new();
    for (path, origin) in origins {
        let Some(key) = check::known_key(path) else { continue };
        let Use::Later(phase) = key.used else { continue };
        let value = path.0.iter().skip(1).try_fold(&document[&path.0[0]], |at, name| at.get(name));
        let default: Option<Value> = serde_json::from_str(key.default).ok();
        let is_default = default.is_some() && value == default.as_ref();
        let is_off = value == Some(&Value::Bool(false));
        // A variable of another program (`OLLAMA_HOST`) is no wish that was made of this one.
        let is_foreign = matches!(origin, Origin::Variable(name) if !name.starts_with("OLLMCP_"));
        if *origin == Origin::Default || is_default || is_off || is_foreign {
            continue;
        }
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, keys)) => keys.push(path.to_string()),
            None => phases.push((phase, vec![path.to_string()])),
        }
    }
    phases.into_iter().map(|(phase, keys)| note(phase, &keys)).collect()
}

fn note(phase: &str, keys: &[String]) -> String {
    const KEYS_SHOWN_MAX: usize = 4;
    let shown: Vec<String> = keys.iter().take(KEYS_SHOWN_MAX).map(|key| format!("`{key}`")).collect();
    let more = keys.len().saturating_sub(KEYS_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("not in this version: {phase} ({}{more})", shown.join(", "))
}

fn at<'a>(document: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let mut names = key.split('.');
    let first = document.get(names.next()?)?;
    names.try_fold(first, |at, name| at.get(name))
}

fn text(document: &Map<String, Value>, key: &str) -> Option<String> {
    at(document, key)?.as_str().map(str::to_owned)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn section<'a>(document: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document.get(name).and_then(Value::as_object).into_iter().flatten().filter(|(name, value)| !is_remark(name, value))
}

fn take_text(document: &mut Map<String, Value>, section: &str, name: &str) -> Option<String> {
    match document.get_mut(section)?.as_object_mut()?.shift_remove(name)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn number(document: &Map<String, Value>, key: &str) -> u64 {
    let value = at(document, key).and_then(whole_number);
    value.and_then(|value| u64::try_from(value).ok()).expect("the table gives this key a default and a bound")
}

fn small(document: &Map<String, Value>, key: &str) -> u32 {
    u32::try_from(number(document, key)).expect("the table bounds this key")
}

fn limits(document: &Map<String, Value>, origins: &BTreeMap<KeyPath, Origin>) -> Limits {
    let own = KeyPath(vec!["limits".into(), "attempts_max".into()]);
    let prior = at(document, "delegation.max_parallel_tasks").and_then(whole_number);
    let attempts_max = match prior.and_then(|tasks| u32::try_from(tasks).ok()) {
        Some(tasks) if origins.get(&own) == Some(&Origin::Default) => tasks,
        _ => small(document, "limits.attempts_max"),
    };
    Limits {
        attempts_max,
        tool_start_timeout_s: number(document, "limits.tool_start_timeout_s"),
        tool_timeout_s: number(document, "limits.tool_timeout_s"),
        pdf_workers_max: at(document, "limits.pdf_workers_max").map(|_| small(document, "limits.pdf_workers_max")),
        pdf_memory_mib_max: number(document, "limits.pdf_memory_mib_max"),
        pdf_timeout_s: number(document, "limits.pdf_timeout_s"),
        park_wait_s: number(document, "limits.park_wait_s"),
        model_server_wait_s: number(document, "limits.model_server_wait_s"),
    }
}

/// Servers that are switched on: `enabled` wins over `disabled`.
fn servers(document: &Map<String, Value>) -> Map<String, Value> {
    let off = texts(document.get("disabledServers"));
    let is_on = |name: &String, entry: &Value| {
        let flag = |key: &str| entry.get(key).and_then(Value::as_bool);
        !off.contains(name) && flag("enabled").unwrap_or(!flag("disabled").unwrap_or(false))
    };
    section(document, "mcpServers")
        .filter(|(name, entry)| is_on(name, entry))
        .map(|(name, entry)| (name.clone(), entry.clone()))
        .collect()
}

/// Model servers with an address; the kind is Ollama's where nothing is said.
fn model_servers(document: &Map<String, Value>) -> BTreeMap<String, ModelServerSpec> {
    let word = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    let read = |(name, entry): (&String, &Value)| {
        let kind = match word(entry, "kind").as_deref() {
            Some("openai") => ModelServerKind::Openai,
            _ => ModelServerKind::Ollama,
        };
        let spec = ModelServerSpec {
            kind,
            url: word(entry, "url")?,
            key_env: word(entry, "key_env"),
            slots: entry.get("slots").and_then(whole_number).and_then(|slots| u32::try_from(slots).ok()),
            schema_bound: word(entry, "schema").map(|way| way == "bind"),
        };
        Some((name.clone(), spec))
    };
    section(document, "model_servers").filter_map(read).collect()
}

fn repeat_class(word: &str) -> Option<RepeatClass> {
    match word {
        "read" => Some(RepeatClass::Read),
        "idempotent" => Some(RepeatClass::Idempotent),
        "unsafe" => Some(RepeatClass::Unsafe),
        _ => None,
    }
}

fn tools(document: &Map<String, Value>) -> BTreeMap<String, ToolSettings> {
    let read = |entry: &Value| ToolSettings {
        repeat: entry.get("repeat").and_then(|word| repeat_class(word.as_str()?)),
        grants: entry
            .get("grants")
            .filter(|grants| grants.is_array())
            .map(|grants| texts(Some(grants)).iter().filter_map(|word| Grant::from_word(word)).collect()),
        files: texts(entry.get("files")),
    };
    section(document, "tools").map(|(name, entry)| (name.clone(), read(entry))).collect()
}

/// Dollars in millionths.
fn microdollars(document: &Map<String, Value>, key: &str) -> Option<u64> {
    // The table bounds it far below what a float counts exactly.
    at(document, key).and_then(Value::as_f64).map(|usd| (usd * 1e6).round() as u64)
}

fn budget(document: &Map<String, Value>) -> BudgetSettings {
    BudgetSettings {
        day_microdollars_max: microdollars(document, "budget.usd_per_day_max").expect("the table gives it a default"),
        run_microdollars_max: microdollars(document, "budget.usd_per_run_max"),
        warn_at_microdollars: microdollars(document, "budget.warn_at_usd"),
    }
}

fn claude(document: &Map<String, Value>, api_key: Option<Secret>) -> ClaudeSettings {
    let critical = at(document, "claude_integration.critical_tasks").filter(|list| list.is_array());
    ClaudeSettings {
        enabled: at(document, "claude_integration.enabled") == Some(&Value::Bool(true)),
        api_key,
        base_url: text(document, "claude_integration.base_url").unwrap_or_default(),
        model: text(document, "claude_integration.model").unwrap_or_default(),
        escalation_threshold: small(document, "claude_integration.escalation_threshold"),
        calls_per_hour_max: small(document, "claude_integration.max_calls_per_hour"),
        critical_tasks: critical
            .map(|list| texts(Some(list)).iter().filter_map(|word| TaskKind::from_word(word)).collect()),
        escalate_when_unreachable: at(document, "claude_integration.escalate_when_unreachable")
            == Some(&Value::Bool(true)),
        when_limited: match text(document, "claude_integration.when_limited").as_deref() {
            Some("fail") => Some(WhenLimited::Fail),
            Some("park") => Some(WhenLimited::Park),
            _ => None,
        },
    }
}
