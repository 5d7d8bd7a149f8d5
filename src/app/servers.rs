//! Tool servers of this process: our own, which are this program started again, and those that are declared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::place::Standing;
use crate::engine::ServerControl;
use crate::engine::tree::TreeNode;
use crate::tool::pool::{ServerState, Servers};
use crate::tool::servers::{Gravity, parse_servers};
use crate::tool::spec::{ServerSpec, ToolOverride};

/// Names of our own servers.
pub const OWN: &[&str] = &["fs", "pdf_extract", "db"];

/// The servers of a process, and what people should be told of their declarations.
#[derive(Debug)]
pub struct ToolServers {
    /// All of them.
    pub servers: Arc<Servers>,
    /// Warnings.
    pub notes: Vec<String>,
    /// Faults: the command must not go on.
    pub faults: Vec<String>,
}

/// Gathers the servers; nothing is started.
///
/// `granted` are paths outside the project folder that the person named; `spill` is where our own servers may leave
/// large results.
#[must_use]
pub fn gather(standing: &Standing, program: &Path, granted: &[PathBuf], spill: &Path) -> ToolServers {
    let environment = &standing.environment;
    let declared = parse_servers(&standing.settings.tool_document(), &|name| environment.get(name).cloned());
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    for note in &declared.notes {
        let hint = note.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        let line = format!("{}: {}{hint}", note.path, note.message);
        match note.gravity {
            Gravity::Warning => notes.push(line),
            Gravity::Fault => faults.push(line),
        }
    }
    let mut specs = Vec::new();
    for name in OWN {
        specs.push(own_server(standing, name, program, granted, spill));
    }
    for mut spec in declared.servers {
        spec.cwd.get_or_insert_with(|| standing.folder().to_owned());
        spec.start_timeout_ms = standing.settings.limits.tool_start_timeout_s * 1000;
        specs.push(spec);
    }
    for spec in specs.iter_mut().filter(|spec| OWN.contains(&spec.name.as_str())) {
        correct(standing, spec);
    }
    let servers = Servers::new(specs).with_refused(declared.refused);
    ToolServers { servers: Arc::new(servers), notes, faults }
}

fn own_server(standing: &Standing, name: &str, program: &Path, granted: &[PathBuf], spill: &Path) -> ServerSpec {
    let mut spec = ServerSpec::built_in(name, program, standing.folder(), spill).granting(granted);
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
    for name in &standing.settings.disabled_tools {
        if let Some(tool) = name.strip_prefix(&spec.name).and_then(|rest| rest.strip_prefix('.')) {
            spec.disabled_tools.insert(tool.to_owned());
        }
    }
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
