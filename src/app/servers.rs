//! Tool servers of this process: our own, which are this program started again, and those that are declared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::place::Standing;
use crate::domain::nearest::nearest;
use crate::engine::ServerControl;
use crate::engine::tree::TreeNode;
use crate::tool::pool::{ServerState, Servers};
use crate::tool::servers::{Declared, Gravity, parse_servers};
use crate::tool::spec::{ServerSpec, ToolOverride};

/// Names of our own servers.
pub const OWN: &[&str] = &["fs", "pdf_extract", "db"];

/// The servers of a process, and what people should be told of their declarations.
#[derive(Debug)]
pub struct ToolServers {
    /// All of them; those that cannot be started say why when they are asked.
    pub servers: Arc<Servers>,
    /// Servers that are declared and cannot be used.
    pub away: Vec<Away>,
    /// Warnings, each beginning with the key that it is about.
    pub notes: Vec<String>,
}

impl ToolServers {
    /// Warnings about one server.
    pub fn notes_of<'a>(&'a self, server: &str) -> impl Iterator<Item = &'a String> {
        let path = format!("mcpServers.{server}");
        self.notes.iter().filter(move |note| note.strip_prefix(&path).is_some_and(|rest| rest.starts_with(['.', ':'])))
    }

    /// The server of a qualified tool name, if it is one that cannot be used.
    #[must_use]
    pub fn away_in(&self, qualified: &str) -> Option<&Away> {
        let begins = |away: &&Away| qualified.strip_prefix(&away.server).is_some_and(|rest| rest.starts_with('.'));
        self.away.iter().filter(begins).max_by_key(|away| away.server.len())
    }
}

/// A declared server that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Its name.
    pub server: String,
    /// Why, as it goes on after the name.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What the configuration declares, and which of it cannot be used.
#[must_use]
pub fn declared(standing: &Standing) -> (Declared, Vec<Away>) {
    let environment = &standing.environment;
    let declared = parse_servers(&standing.settings.tool_document(), &|name| environment.get(name).cloned());
    let mut away = Vec::new();
    let refused = declared.refused.iter();
    away.extend(refused.map(|(server, why)| {
        let (why, hint) = match why.split_once("; hint: ") {
            Some((why, hint)) => (why, Some(hint.to_owned())),
            None => (why.as_str(), None),
        };
        Away { server: server.clone(), why: format!("cannot be used: {why}"), hint }
    }));
    away.extend(declared.disabled.iter().map(|server| Away {
        server: server.clone(),
        why: "is switched off in the configuration".to_owned(),
        hint: Some("`disabled`, `enabled` or `disabledServers` says so; change it there".to_owned()),
    }));
    if let Some(consent) = &standing.settings.needs_consent {
        let unknown = consent.servers.iter().filter(|name| !declared.servers.iter().any(|spec| spec.name == **name));
        away.extend(unknown.map(|server| Away {
            server: server.clone(),
            why: format!("is declared in `{}`, which counts only after your consent", consent.file.display()),
            hint: Some("look at what it starts, then add --trust-project-config".to_owned()),
        }));
    }
    (declared, away)
}

/// All that is wrong with the declarations, also of servers that nobody needs now.
#[must_use]
pub fn notes(standing: &Standing) -> Vec<String> {
    let mut notes = told(&declared(standing).0, false);
    notes.extend(unknown_names(standing));
    notes
}

/// Notes on declarations; with `is_left`, what is wrong with a refused server is left to whoever needs it.
fn told(declared: &Declared, is_left: bool) -> Vec<String> {
    let is_refused =
        |path: &str| declared.refused.iter().any(|(name, _)| path.starts_with(&format!("mcpServers.{name}")));
    let told = declared.notes.iter();
    let told = told.filter(|note| !is_left || note.gravity == Gravity::Warning || !is_refused(&note.path));
    told.map(|note| {
        let hint = note.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{}: {}{hint}", note.path, note.message)
    })
    .collect()
}

/// Gathers the servers; nothing is started. A server that is declared wrongly stops only those who need it.
///
/// `granted` are paths outside the project folder that the person named; `spill` is where our own servers may leave
/// large results.
#[must_use]
pub fn gather(standing: &Standing, program: &Path, granted: &[PathBuf], spill: &Path) -> ToolServers {
    let (declared, away) = declared(standing);
    let mut notes = told(&declared, true);
    notes.extend(unknown_names(standing));
    let mut specs = Vec::new();
    for name in OWN.iter().filter(|name| !is_off(standing, name)) {
        specs.push(own_server(standing, name, program, granted, spill));
    }
    for mut spec in declared.servers {
        spec.cwd.get_or_insert_with(|| standing.folder().to_owned());
        let own_limit = standing.settings.mcp_servers.get(&spec.name).and_then(|entry| entry.get("start_timeout_ms"));
        if own_limit.is_none() {
            spec.start_timeout_ms = standing.settings.limits.tool_start_timeout_s * 1000;
        }
        specs.push(spec);
    }
    for spec in specs.iter_mut().filter(|spec| OWN.contains(&spec.name.as_str())) {
        correct(standing, spec);
    }
    let servers = Servers::new(specs).with_refused(declared.refused);
    ToolServers { servers: Arc::new(servers), away, notes }
}

fn own_server(standing: &Standing, name: &str, program: &Path, granted: &[PathBuf], spill: &Path) -> ServerSpec {
    let mut spec = ServerSpec::built_in(name, program, standing.folder(), spill).granting(granted);
    if let Some(project) = standing.project.as_ref().filter(|_| name == "fs") {
        spec = spec.staging_in(&super::running::staging_dir(&project.state));
    }
    if let Some(file) = &standing.config_file {
        spec.args.splice(0..0, ["--config".to_owned(), file.display().to_string()]);
    }
    spec
}

/// Applies the corrections of the configuration.
fn correct(standing: &Standing, spec: &mut ServerSpec) {
    for (name, settings) in &standing.settings.tools {
        if let Some(tool) = name.strip_prefix(&spec.name).and_then(|rest| rest.strip_prefix('.')) {
            let correction = ToolOverride { repeat: settings.repeat, files: settings.files.clone() };
            spec.overrides.insert(tool.to_owned(), correction);
        }
    }
    let own = crate::servers::own_tools();
    let tools = own.iter().filter(|(name, _)| *name == spec.name).flat_map(|(_, tools)| tools);
    let off = tools.map(|(tool, _)| tool).filter(|tool| standing.settings.is_disabled(&spec.name, tool));
    spec.disabled_tools.extend(off.cloned());
}

/// Whether a server is switched off as a whole.
#[must_use]
pub fn is_off(standing: &Standing, server: &str) -> bool {
    standing.settings.disabled_servers.iter().any(|name| name == server)
}

/// Names of what is switched off that are nobody's: a misspelt one would leave something on.
fn unknown_names(standing: &Standing) -> Vec<String> {
    let settings = &standing.settings;
    let unsure = settings.needs_consent.iter().flat_map(|consent| &consent.servers);
    let mut servers: Vec<&str> = settings.tool_servers().chain(unsure.map(String::as_str)).collect();
    servers.extend(OWN);
    let own = crate::servers::own_tools();
    let tools: Vec<String> =
        own.iter().flat_map(|(server, tools)| tools.iter().map(move |(tool, _)| format!("{server}.{tool}"))).collect();
    let told = |key: &str, what: String, near: Option<&str>| {
        let hint = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
        format!("{key}: {what}{hint}")
    };
    let mut notes = Vec::new();
    for name in settings.disabled_servers.iter().filter(|name| !servers.contains(&name.as_str())) {
        let near = nearest(name, servers.iter().copied());
        notes.push(told("disabledServers", format!("no tool server is called `{name}`"), near));
    }
    for name in settings.switched_off_tools() {
        let of = |server: &str| name.strip_prefix(server).is_some_and(|rest| rest.starts_with('.'));
        // Tools of declared servers are not known before they are started.
        let is_known =
            tools.iter().any(|tool| tool == name) || servers.iter().any(|name| !OWN.contains(name) && of(name));
        if !is_known {
            let near = nearest(name, tools.iter().map(String::as_str));
            notes.push(told("disabledTools", format!("no tool is called `{name}`"), near));
        }
    }
    notes
}

/// The pool as the engine watches it.
#[derive(Debug)]
pub struct Pool(pub Arc<Servers>);

impl ServerControl for Pool {
    fn nodes(&self) -> Vec<TreeNode> {
        let status = self.0.status().into_iter().filter(|server| server.state != ServerState::Idle);
        status
            .map(|server| TreeNode {
                name: format!("server {}", server.name),
                kind: "process".to_owned(),
                restarts: server.restarts,
                state: match (server.pid, server.note) {
                    (_, Some(note)) => note,
                    (Some(pid), None) => format!("pid {pid}, {} calls in flight", server.in_flight),
                    (None, None) => format!("{:?}", server.state).to_lowercase(),
                },
                children: Vec::new(),
            })
            .collect()
    }

    fn close_all(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.close_all())
    }
}
