//! `show`: a run in full, the story of one item, or the supervision tree of the process at work.

use super::access::look;
use super::args::ShowArgs;
use super::context::{Access, Context, project_of};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::app::store::blobs_dir;
use crate::engine::tree::{TREE, TreeNode};
use crate::journal::blobs::Blobs;
use crate::report::{item, text};

pub(super) fn show(context: &Context, args: &ShowArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let project = project_of(&standing)?;
    if args.tree {
        let tree = look(context, &standing, |looking| match &looking.access {
            Access::Other(client) => Ok(Some(looking.runtime().block_on(client.get("/v1/tree"))?)),
            Access::Own(_) | Access::StateOnly(_) => Ok(None),
        })?;
        return show_tree(context, tree);
    }
    if let Some(key) = &args.item {
        let blobs = Blobs::reader(&blobs_dir(&project.state));
        let (run, stories, near) = look(context, &standing, |looking| {
            let run = looking.find(&args.run)?;
            let stories = looking.item(run, key, &blobs)?;
            let near = if stories.is_empty() { looking.nearest_key(run, key) } else { None };
            Ok((run, stories, near))
        })?;
        if stories.is_empty() {
            let error = CliError::usage(format!("run {} has no item with the key `{key}` yet", run.short()));
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("keys are those of the reports: a file's path as it was listed"),
            });
        }
        if context.is_json {
            output::json_with_version(serde_json::json!({ "items": stories }));
        } else {
            output::out(&item::text(&stories));
        }
        return Ok(Exit::Complete);
    }
    let (run, detail) = look(context, &standing, |looking| {
        let run = looking.find(&args.run)?;
        Ok((run, looking.detail(run)?))
    })?;
    if context.is_json {
        output::json(&detail);
    } else {
        output::out(&text::detail(&detail, &context.resume(run)));
    }
    Ok(Exit::Complete)
}

fn show_tree(context: &Context, tree: Option<TreeNode>) -> Result<Exit, CliError> {
    match tree {
        tree if context.is_json => output::json_with_version(serde_json::json!({ "tree": tree })),
        Some(tree) => output::out(&drawn(&tree)),
        None => {
            output::err("no process is at work in this project; the tree as it would be started:\n");
            for row in TREE {
                let indent = if row.parent.is_empty() { 1 } else { 2 + usize::from(row.parent == "run") };
                let place = if row.is_built { "" } else { " (not in this version)" };
                let line = format!(
                    "{:indent$}{} · {} · {}{place}\n",
                    "",
                    row.name,
                    row.restart.word(),
                    row.purpose,
                    indent = indent * 2
                );
                output::out(&line);
            }
        }
    }
    Ok(Exit::Complete)
}

fn drawn(tree: &TreeNode) -> String {
    fn draw(node: &TreeNode, depth: usize, out: &mut String) {
        let restarts = if node.restarts > 0 { format!(" · {} restarts", node.restarts) } else { String::new() };
        let line = format!(
            "{:indent$}{} · {} · {}{restarts}\n",
            "",
            text::clean(&node.name),
            node.kind,
            text::clean(&node.state),
            indent = depth * 2
        );
        out.push_str(&line);
        for child in &node.children {
            draw(child, depth + 1, out);
        }
    }
    let mut out = String::new();
    draw(tree, 0, &mut out);
    out
}
