//! Files that a task names: whether it may, what their content is, and how their paths count.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::rows::database_failure;
use super::{Job, OWN_SERVERS, blocking};
use crate::database;
use crate::database::address::Address;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::identity::FileContent;
use crate::domain::ids::Digest;
use crate::domain::plan::{ForEach, StepKind};
use crate::engine::Ports;
use crate::engine::values::Scope;
use crate::os::paths::{lies_within, resolved};

/// A path of one of our own tools lies in the workspace or beneath a path that the person named.
pub(super) fn granted(ports: &Ports, path: impl AsRef<Path>) -> Result<(), Failure> {
    let path = path.as_ref();
    if lies_within(&ports.workspace, path, roots(ports)) {
        return Ok(());
    }
    let message = format!("`{}` lies outside the project folder and was not named", path.display());
    Err(Failure::new(FailureKind::Denied, message)
        .hint("type it as an input of the run (`-i NAME=PATH`): what you type is granted"))
}

/// Folders (and single files) that this process may touch.
fn roots(ports: &Ports) -> impl Iterator<Item = &Path> {
    std::iter::once(ports.workspace.as_path()).chain(ports.granted_paths.iter().map(PathBuf::as_path))
}

/// What our own tools would touch: their paths, and the file behind a database address.
pub(super) fn touched(ports: &Ports, server: &str, with: &Map<String, Value>, files: &[String]) -> Result<(), Failure> {
    if !OWN_SERVERS.contains(&server) {
        return Ok(());
    }
    let argument = |name: &str| with.get(name).and_then(Value::as_str);
    for path in files.iter().filter_map(|name| argument(name)) {
        granted(ports, path)?;
    }
    // What is no address is the server's to explain.
    if let Some(address) = argument("database").filter(|_| server == "db")
        && let Ok(Address::Sqlite(path)) = Address::parse_or_path(address, &ports.workspace)
    {
        database::may_touch(&path, &ports.workspace, &ports.granted_paths).map_err(|error| database_failure(&error))?;
    }
    Ok(())
}

fn relative(workspace: &Path, path: &str) -> String {
    let full = resolved(workspace, path);
    full.strip_prefix(resolved(workspace, "")).unwrap_or(&full).display().to_string()
}

pub(super) fn relative_paths(ports: &Ports, with: &Map<String, Value>, files: &[String]) -> Map<String, Value> {
    let mut out = with.clone();
    for name in files {
        if let Some(Value::String(path)) = out.get_mut(name) {
            *path = relative(&ports.workspace, path);
        }
    }
    out
}

/// The content of every file that the arguments name, and of the entry of `fs.list` that the item is.
pub(super) async fn file_contents(
    ports: &Ports,
    scope: &Scope,
    job: &Job,
    with: &Map<String, Value>,
    files: &[String],
) -> Vec<FileContent> {
    use crate::plan_file::expr::Lookup as _;
    let mut paths: Vec<String> =
        files.iter().filter_map(|name| with.get(name).and_then(Value::as_str)).map(str::to_owned).collect();
    if maps_over_listing(job)
        && let Some(item) = scope.root("item")
        && let Some(path) = item.get("path").and_then(Value::as_str)
    {
        paths.push(path.to_owned());
    }
    let workspace = ports.workspace.clone();
    blocking(move || {
        paths
            .iter()
            .map(|path| FileContent { path: relative(&workspace, path), sha256: hash_file(&workspace.join(path)) })
            .collect()
    })
    .await
}

/// Whether the step's items are entries of an `fs.list`.
fn maps_over_listing(job: &Job) -> bool {
    let Some(ForEach::List(Value::String(template))) = &job.definition().for_each else { return false };
    job.definition().refs.iter().any(|reference| {
        let listing = job.plan.index_of(&reference.step).map(|at| &job.plan.step(at).kind);
        matches!(listing, Some(StepKind::Tool { name, .. }) if name == "fs.list")
            && template.contains(&format!("steps.{}.output.files", reference.step))
    })
}

fn hash_file(path: &Path) -> Option<Digest> {
    use sha2::Digest as _;
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    let mut hash = sha2::Sha256::new();
    let mut file = std::fs::File::open(path).ok()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).ok()? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Some(Digest(hash.finalize().into()))
}
