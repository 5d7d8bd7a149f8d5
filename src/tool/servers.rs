//! Reads the `mcpServers` section of a configuration, in all the shapes that people paste, into [`ServerSpec`]s.
//!
//! One wrong entry never stops the others: it becomes a fault of its own and the server is known but refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::masking::is_secret_name;
use super::spec::{ServerSpec, ToolOverride};
use crate::domain::nearest::nearest;
use crate::domain::plan::RepeatClass;

/// Names of the built-in servers; no other server may have one of them.
pub const BUILT_IN: [&str; 4] = ["fs", "pdf_extract", "db", "shell"];

/// Longest value after `${VAR}` was filled in.
const EXPANDED_BYTES_MAX: usize = 64 * 1024;

const SERVERS_MAX: usize = 200;

/// Keys of an entry that are used.
const USED: [&str; 14] = [
    "type",
    "transport",
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "enabled",
    "disabled",
    "timeout",
    "start_timeout_ms",
    "idle_timeout_ms",
    "env_passed",
    "tools",
];

/// Keys that other programs write and that mean nothing here.
const IGNORED: [&str; 9] = [
    "headers",
    "headersHelper",
    "oauth",
    "alwaysLoad",
    "autoApprove",
    "alwaysAllow",
    "description",
    "name",
    "disabledTools",
];

/// How grave a [`Note`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// The server works all the same.
    Warning,
    /// The server cannot be used as it is declared.
    Fault,
}

/// Something to tell about the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How grave it is.
    pub gravity: Gravity,
    /// Where it stands, as `mcpServers.name.key`.
    pub path: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a configuration declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// Servers that can be started, by name.
    pub servers: Vec<ServerSpec>,
    /// Servers that cannot, with the reason.
    pub refused: Vec<(String, String)>,
    /// Servers that are switched off.
    pub disabled: Vec<String>,
    /// What to tell about it.
    pub notes: Vec<Note>,
}

/// Reads servers from a whole configuration (with `mcpServers`, `tools`, `disabledServers`, `disabledTools`) or from
/// the bare map of servers. `lookup` gives the value of a variable, if it may be used here.
#[must_use]
pub fn parse_servers(value: &Value, lookup: &dyn Fn(&str) -> Option<String>) -> Declared {
    let mut reader = Reader { lookup, declared: Declared::default() };
    let Some(top) = value.as_object() else {
        reader.fault("mcpServers", "must be an object of servers", None);
        return reader.declared;
    };
    let is_whole = top.contains_key("mcpServers");
    let entries = match top.get("mcpServers") {
        None if ["tools", "disabledServers", "disabledTools"].iter().any(|key| top.contains_key(*key)) => None,
        None => Some(top),
        Some(Value::Object(entries)) => Some(entries),
        Some(_) => {
            reader.fault("mcpServers", "must be an object of servers", None);
            None
        }
    };
    for (name, entry) in entries.into_iter().flatten().take(SERVERS_MAX) {
        reader.entry(name, entry);
    }
    if entries.is_some_and(|entries| entries.len() > SERVERS_MAX) {
        reader.fault("mcpServers", &format!("has more than {SERVERS_MAX} servers; the rest is not read"), None);
    }
    if is_whole {
        reader.top_level(top);
    }
    reader.declared
}

struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    declared: Declared,
}

impl Reader<'_> {
    fn note(&mut self, gravity: Gravity, path: &str, message: &str, hint: Option<&str>) {
        let (path, message, hint) = (path.to_owned(), message.to_owned(), hint.map(ToOwned::to_owned));
        self.declared.notes.push(Note { gravity, path, message, hint });
    }

    fn fault(&mut self, path: &str, message: &str, hint: Option<&str>) {
        self.note(Gravity::Fault, path, message, hint);
    }

    fn warn(&mut self, path: &str, message: &str, hint: Option<&str>) {
        self.note(Gravity::Warning, path, message, hint);
    }

    /// One server: usable, switched off, or refused with all its faults.
    fn entry(&mut self, name: &str, entry: &Value) {
        if name.starts_with("comment") || name.starts_with("//") {
            return;
        }
        let path = format!("mcpServers.{name}");
        let told_before = self.declared.notes.len();
        let spec = match entry.as_object() {
            Some(entry) => self.object(&path, name, entry),
            None => {
                self.fault(&path, "must be an object", None);
                None
            }
        };
        let faults: Vec<String> = self.declared.notes[told_before..]
            .iter()
            .filter(|note| note.gravity == Gravity::Fault)
            .map(|note| match &note.hint {
                Some(hint) => format!("`{}` {}; hint: {hint}", note.path, note.message),
                None => format!("`{}` {}", note.path, note.message),
            })
            .collect();
        if !faults.is_empty() {
            // A name that is taken is refused without taking it from the built-in server.
            if !BUILT_IN.contains(&name) {
                self.declared.refused.push((name.to_owned(), faults.join("; ")));
            }
        } else if let Some(spec) = spec {
            self.declared.servers.push(spec);
        }
    }

    fn object(&mut self, path: &str, name: &str, entry: &Map<String, Value>) -> Option<ServerSpec> {
        self.unknown_keys(path, entry);
        if !self.is_enabled(path, entry) {
            self.declared.disabled.push(name.to_owned());
            return None;
        }
        if BUILT_IN.contains(&name) {
            self.fault(path, "is the name of a built-in server", Some("give this server another name"));
            return None;
        }
        let is_usable = !name.is_empty() && name.len() <= 100 && !name.contains(char::is_control);
        if !is_usable {
            self.fault(path, "is not a usable name", Some("1 to 100 characters without control characters"));
            return None;
        }
        if !self.is_stdio(path, entry) {
            return None;
        }
        let mut spec = ServerSpec::new(name, "", &[]);
        match entry.get("command") {
            Some(Value::String(command)) if !command.trim().is_empty() => {
                spec.command = self.expanded(&format!("{path}.command"), command, &mut spec.secrets);
                if spec.command.contains(' ') && !entry.contains_key("args") && !PathBuf::from(&spec.command).exists() {
                    let hint = "put the program into `command` and the rest into `args`";
                    self.warn(&format!("{path}.command"), "looks like a whole command line", Some(hint));
                }
            }
            Some(Value::String(_)) => self.fault(&format!("{path}.command"), "is empty", None),
            Some(_) => self.fault(&format!("{path}.command"), "must be a text", None),
            None => {
                self.fault(path, "has no `command`", Some("a server needs `command`, and `args` where there are some"))
            }
        }
        spec.args = self.texts(path, "args", entry, &mut spec.secrets);
        spec.env_passed = self.texts(path, "env_passed", entry, &mut Vec::new());
        let passed = spec.env_passed.iter().filter(|name| is_secret_name(name));
        spec.secrets.extend(passed.filter_map(|name| (self.lookup)(name)));
        self.env(path, entry, &mut spec);
        spec.cwd = match entry.get("cwd") {
            None | Some(Value::Null) => None,
            Some(Value::String(cwd)) => {
                Some(PathBuf::from(self.expanded(&format!("{path}.cwd"), cwd, &mut spec.secrets)))
            }
            Some(_) => {
                self.fault(&format!("{path}.cwd"), "must be a text", None);
                None
            }
        };
        if let Some(limit_ms) = self.milliseconds(path, "start_timeout_ms", entry) {
            spec.start_timeout_ms = limit_ms;
        }
        // `timeout` is how other programs call the limit of one call.
        spec.idle_timeout_ms =
            self.milliseconds(path, "idle_timeout_ms", entry).or_else(|| self.milliseconds(path, "timeout", entry));
        if let Some(tools) = entry.get("tools") {
            self.overrides(&format!("{path}.tools"), tools, &mut spec.overrides, |tool| Some(tool.to_owned()));
        }
        if let Some(Value::Array(tools)) = entry.get("disabledTools") {
            spec.disabled_tools = tools.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        }
        Some(spec)
    }

    fn unknown_keys(&mut self, path: &str, entry: &Map<String, Value>) {
        for key in entry.keys() {
            let is_comment = key.starts_with("comment") || key.starts_with('_') || key.starts_with("//");
            if is_comment || USED.contains(&key.as_str()) || IGNORED.contains(&key.as_str()) {
                continue;
            }
            let hint = nearest(key, USED).map(|near| format!("did you mean `{near}`?"));
            self.warn(&format!("{path}.{key}"), "is not a known key and is ignored", hint.as_deref());
        }
    }

    /// `enabled` wins over `disabled`.
    fn is_enabled(&mut self, path: &str, entry: &Map<String, Value>) -> bool {
        for (key, if_true) in [("enabled", true), ("disabled", false)] {
            match entry.get(key) {
                Some(Value::Bool(said)) => return *said == if_true,
                None | Some(Value::Null) => {}
                Some(_) => self.fault(&format!("{path}.{key}"), "must be `true` or `false`", None),
            }
        }
        true
    }

    fn is_stdio(&mut self, path: &str, entry: &Map<String, Value>) -> bool {
        let said = ["type", "transport"].iter().find_map(|key| Some((*key, entry.get(*key)?)));
        let url = entry.get("url").and_then(Value::as_str);
        let kind = match said {
            Some((_, Value::String(kind))) => kind.to_ascii_lowercase(),
            Some((key, _)) => {
                self.fault(&format!("{path}.{key}"), "must be a text", None);
                return false;
            }
            None if entry.contains_key("command") => "stdio".to_owned(),
            None if url.is_some_and(|url| url.contains("sse")) => "sse".to_owned(),
            None if url.is_some_and(|url| url.starts_with("ws")) => "ws".to_owned(),
            None if entry.contains_key("url") => "http".to_owned(),
            None => "stdio".to_owned(),
        };
        // The address may hold a token, so it is not repeated.
        match kind.as_str() {
            "stdio" => return true,
            "http" | "streamable_http" | "streamable-http" | "streamablehttp" => self.fault(
                path,
                "is reached over http, which is not in this version",
                Some("bridge it: `\"command\": \"npx\", \"args\": [\"-y\", \"mcp-remote\", URL]`"),
            ),
            "sse" => self.fault(
                path,
                "uses the old HTTP+SSE transport, which is not supported",
                Some(
                    "bridge it: `\"command\": \"npx\", \"args\": [\"-y\", \"mcp-remote\", URL, \"--transport\", \"sse-only\"]`",
                ),
            ),
            "ws" | "websocket" => self.fault(
                path,
                "is reached over a web socket, which is not supported",
                Some("start a bridge that speaks stdio as its `command`"),
            ),
            other => {
                let hint = nearest(other, ["stdio", "http", "streamable_http", "sse", "ws"])
                    .map(|near| format!("did you mean `{near}`?"));
                let message = format!("has the unknown transport `{other}`");
                self.fault(path, &message, hint.as_deref());
            }
        }
        false
    }

    fn texts(&mut self, path: &str, key: &str, entry: &Map<String, Value>, secrets: &mut Vec<String>) -> Vec<String> {
        let path = format!("{path}.{key}");
        match entry.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                let mut texts = Vec::new();
                for (at, item) in items.iter().enumerate() {
                    match scalar(item) {
                        Some(text) => texts.push(self.expanded(&format!("{path}[{at}]"), &text, secrets)),
                        None => self.fault(&format!("{path}[{at}]"), "must be a text", None),
                    }
                }
                texts
            }
            Some(_) => {
                self.fault(&path, "must be a list of texts", None);
                Vec::new()
            }
        }
    }

    fn env(&mut self, path: &str, entry: &Map<String, Value>, spec: &mut ServerSpec) {
        let path = format!("{path}.env");
        match entry.get("env") {
            None | Some(Value::Null) => {}
            Some(Value::Object(fields)) => {
                for (name, value) in fields {
                    let at = format!("{path}.{name}");
                    if name.is_empty() || name.contains(['=', '\0']) {
                        self.fault(&at, "is not a usable name of a variable", None);
                        continue;
                    }
                    match scalar(value) {
                        Some(text) => {
                            let text = self.expanded(&at, &text, &mut spec.secrets);
                            spec.env.insert(name.clone(), text);
                        }
                        None if value.is_null() => {}
                        None => self.fault(&at, "must be a text", None),
                    }
                }
            }
            Some(_) => self.fault(&path, "must be an object of texts", None),
        }
    }

    fn milliseconds(&mut self, path: &str, key: &str, entry: &Map<String, Value>) -> Option<u64> {
        let value = entry.get(key).filter(|value| !value.is_null())?;
        let number = value.as_u64().filter(|&number| number > 0);
        if number.is_none() {
            self.fault(&format!("{path}.{key}"), "must be a number of milliseconds above 0", None);
        }
        number
    }

    /// Fills in `${VAR}` and `${VAR:-default}`. What is not known or not allowed stays as it stands, with a warning.
    fn expanded(&mut self, path: &str, text: &str, secrets: &mut Vec<String>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}').map(|at| start + at) else { break };
            out.push_str(&rest[..start]);
            let inner = &rest[start + 2..end];
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            let value = is_variable(name).then(|| (self.lookup)(name)).flatten();
            match (value, default) {
                (Some(value), default) if !value.is_empty() || default.is_none() => {
                    if is_secret_name(name) {
                        secrets.push(value.clone());
                    }
                    out.push_str(&value);
                }
                (_, Some(default)) => out.push_str(default),
                _ => {
                    let message = format!("names the variable `{name}`, which is not set or not allowed here");
                    self.warn(path, &message, Some("set it, or write `${NAME:-default}`"));
                    out.push_str(&rest[start..=end]);
                }
            }
            rest = &rest[end + 1..];
            if out.len() > EXPANDED_BYTES_MAX {
                self.fault(path, &format!("is longer than {EXPANDED_BYTES_MAX} bytes"), None);
                return String::new();
            }
        }
        out.push_str(rest);
        if out.contains('\0') {
            self.fault(path, "holds a zero byte", None);
        }
        out
    }

    /// Keys beside `mcpServers`.
    fn top_level(&mut self, top: &Map<String, Value>) {
        let names = |key: &str| -> Vec<String> {
            let list = top.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        let off: BTreeSet<String> = names("disabledServers").into_iter().collect();
        self.declared.servers.retain(|spec| !off.contains(&spec.name));
        self.declared.refused.retain(|(name, _)| !off.contains(name));
        self.declared.disabled.extend(off);
        for qualified in names("disabledTools") {
            if let Some((at, tool)) = self.split(&qualified) {
                self.declared.servers[at].disabled_tools.insert(tool);
            }
        }
        let Some(Value::Object(tools)) = top.get("tools") else { return };
        for (qualified, said) in tools {
            let Some((at, tool)) = self.split(qualified) else { continue };
            let mut found = BTreeMap::new();
            let one = Value::Object(Map::from_iter([(tool, said.clone())]));
            self.overrides("tools", &one, &mut found, |tool| Some(tool.to_owned()));
            self.declared.servers[at].overrides.extend(found);
        }
    }

    /// The server with the longest name that `server.tool` begins with.
    fn split(&self, qualified: &str) -> Option<(usize, String)> {
        let tool_of = |spec: &ServerSpec| Some(qualified.strip_prefix(&spec.name)?.strip_prefix('.')?.to_owned());
        let all = self.declared.servers.iter().enumerate();
        let fitting = all.filter_map(|(at, spec)| Some((spec.name.len(), at, tool_of(spec)?)));
        fitting.max().map(|(_, at, tool)| (at, tool))
    }

    fn overrides(
        &mut self,
        path: &str,
        said: &Value,
        into: &mut BTreeMap<String, ToolOverride>,
        name: impl Fn(&str) -> Option<String>,
    ) {
        let Some(said) = said.as_object() else {
            self.fault(path, "must be an object of tools", None);
            return;
        };
        for (tool, said) in said {
            let at = format!("{path}.{tool}");
            let repeat = said.get("repeat").and_then(|repeat| {
                let class = match repeat.as_str() {
                    Some("read") => Some(RepeatClass::Read),
                    Some("idempotent") => Some(RepeatClass::Idempotent),
                    Some("unsafe") => Some(RepeatClass::Unsafe),
                    _ => None,
                };
                if class.is_none() {
                    self.fault(&format!("{at}.repeat"), "must be `read`, `idempotent` or `unsafe`", None);
                }
                class
            });
            let files = said.get("files").and_then(Value::as_array);
            let files = files.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
            for key in said.as_object().into_iter().flat_map(Map::keys) {
                if !["repeat", "grants", "files"].contains(&key.as_str()) && !key.starts_with("comment") {
                    let hint =
                        nearest(key, ["repeat", "grants", "files"]).map(|near| format!("did you mean `{near}`?"));
                    self.warn(&format!("{at}.{key}"), "is not a known key and is ignored", hint.as_deref());
                }
            }
            if let Some(tool) = name(tool) {
                into.insert(tool, ToolOverride { repeat, files });
            }
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(said) => Some(said.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/me".into()),
            "API_TOKEN" => Some("tok-123456".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn parse(value: &Value) -> Declared {
        parse_servers(value, &lookup)
    }

    fn notes(declared: &Declared) -> Vec<String> {
        declared.notes.iter().map(|note| format!("{:?} {}: {}", note.gravity, note.path, note.message)).collect()
    }

    #[test]
    fn a_pasted_entry_of_claude_desktop_works_as_it_stands() {
        let entry = json!({ "files": { "command": "npx", "args": ["-y", "pkg", "${HOME}/data"],
            "env": { "TOKEN": "${API_TOKEN}", "N": 3 }, "cwd": "${HOME}" } });
        for value in [json!({ "mcpServers": entry }), entry] {
            let declared = parse(&value);
            assert_eq!(declared.notes, []);
            let spec = &declared.servers[0];
            assert_eq!((spec.name.as_str(), spec.command.as_str()), ("files", "npx"));
            assert_eq!(spec.args, ["-y", "pkg", "/home/me/data"]);
            assert_eq!(spec.env["TOKEN"], "tok-123456");
            assert_eq!(spec.env["N"], "3");
            assert_eq!(spec.cwd.as_deref(), Some(std::path::Path::new("/home/me")));
            assert_eq!(spec.secrets, ["tok-123456"]);
        }
    }

    #[test]
    fn every_transport_is_recognised_and_told_apart() {
        let declared = parse(&json!({
            "a": { "type": "http", "url": "https://h/mcp" },
            "b": { "transport": "streamable_http", "url": "https://h/mcp" },
            "c": { "url": "https://h/sse" },
            "d": { "url": "https://h/mcp" },
            "e": { "type": "ws", "url": "wss://h" },
            "f": { "type": "stdoi", "command": "x" },
            "g": { "type": "stdio", "command": "x" },
        }));
        assert_eq!(declared.servers.len(), 1);
        let reasons: Vec<&str> = declared.refused.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons.len(), 6);
        for (at, word) in [(0, "not in this version"), (1, "not in this version"), (2, "sse-only"), (3, "mcp-remote")] {
            assert!(reasons[at].contains(word), "{}", reasons[at]);
        }
        assert!(reasons[4].contains("web socket"));
        assert!(reasons[5].contains("did you mean `stdio`?"));
    }

    #[test]
    fn variables_have_defaults_and_unknown_ones_stay_with_a_warning() {
        let declared = parse(&json!({ "s": { "command": "${PROGRAM:-python3}",
            "args": ["${NOT_ALLOWED}", "${EMPTY:-full}", "$HOME", "${HOME"] } }));
        assert_eq!(declared.servers[0].command, "python3");
        assert_eq!(declared.servers[0].args, ["${NOT_ALLOWED}", "full", "$HOME", "${HOME"]);
        assert_eq!(
            notes(&declared),
            ["Warning mcpServers.s.args[0]: names the variable `NOT_ALLOWED`, which is not set or not allowed here"]
        );
    }

    #[test]
    fn one_bad_entry_does_not_stop_the_others_and_all_faults_are_told() {
        let declared = parse(&json!({
            "bad": { "command": 3, "args": "x", "env": [], "timeout": -1 },
            "none": {},
            "number": 5,
            "good": { "command": "x", "comand": 1, "comment_x": 2 },
        }));
        assert_eq!(declared.servers.len(), 1);
        assert_eq!(declared.refused.len(), 3);
        let faults = declared.notes.iter().filter(|note| note.gravity == Gravity::Fault).count();
        assert_eq!(faults, 6, "{:#?}", declared.notes);
        let warning = declared.notes.iter().find(|note| note.gravity == Gravity::Warning).unwrap();
        assert_eq!(warning.path, "mcpServers.good.comand");
        assert_eq!(warning.hint.as_deref(), Some("did you mean `command`?"));
    }

    #[test]
    fn servers_and_tools_are_switched_off_in_every_way() {
        let declared = parse(&json!({
            "mcpServers": {
                "a": { "command": "x", "disabled": true },
                "b": { "command": "x", "enabled": false },
                "c": { "command": "x", "enabled": true, "disabled": true },
                "d": { "command": "x" },
                "d.e": { "command": "x" },
            },
            "disabledServers": ["d"],
            "disabledTools": ["c.rm", "d.e.f"],
            "tools": { "c.add": { "repeat": "idempotent", "files": ["path"] }, "c.bad": { "repeat": "often" } },
        }));
        let names: Vec<&str> = declared.servers.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["c", "d.e"]);
        assert_eq!(declared.disabled, ["a", "b", "d"]);
        assert!(declared.servers[0].disabled_tools.contains("rm"));
        assert!(declared.servers[1].disabled_tools.contains("f"));
        let add = &declared.servers[0].overrides["add"];
        assert_eq!((add.repeat, add.files.as_slice()), (Some(RepeatClass::Idempotent), &["path".to_owned()][..]));
        assert_eq!(notes(&declared), ["Fault tools.bad.repeat: must be `read`, `idempotent` or `unsafe`"]);
    }

    #[test]
    fn the_name_of_a_built_in_server_stays_its_own() {
        let declared = parse(&json!({ "pdf_extract": { "command": "x" }, "pdf_logged": { "command": "x" } }));
        assert_eq!(declared.servers.len(), 1);
        assert!(declared.refused.is_empty());
        assert!(declared.notes[0].hint.as_deref().unwrap().contains("another name"));
    }
}
