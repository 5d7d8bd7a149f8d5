//! Agents and plans that are inside the binary, and how a plan is found by name.

use std::io;
use std::path::{Path, PathBuf};

/// A file that is inside the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its name without the ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The agents of `agents/`.
pub const AGENTS: &[Shipped] = &[
    Shipped { name: "CODER", text: include_str!("../../agents/CODER.md") },
    Shipped { name: "DATABASE_WRITER", text: include_str!("../../agents/DATABASE_WRITER.md") },
    Shipped { name: "FILE_EXECUTOR", text: include_str!("../../agents/FILE_EXECUTOR.md") },
    Shipped { name: "FORM_FILLER", text: include_str!("../../agents/FORM_FILLER.md") },
    Shipped { name: "INVOICE_READER", text: include_str!("../../agents/INVOICE_READER.md") },
    Shipped { name: "PLANNER", text: include_str!("../../agents/PLANNER.md") },
    Shipped { name: "SHELL_EXECUTOR", text: include_str!("../../agents/SHELL_EXECUTOR.md") },
    Shipped { name: "VALIDATOR", text: include_str!("../../agents/VALIDATOR.md") },
];

/// The plans of `plans/`.
pub const PLANS: &[Shipped] = &[
    Shipped { name: "escalation_check", text: include_str!("../../plans/escalation_check.yaml") },
    Shipped { name: "invoices", text: include_str!("../../plans/invoices.yaml") },
    Shipped { name: "pdf_tables", text: include_str!("../../plans/pdf_tables.yaml") },
    Shipped { name: "question", text: include_str!("../../plans/question.yaml") },
];

/// Endings of plan files, in the order they are tried.
pub const PLAN_ENDINGS: &[&str] = &["yaml", "yml", "json"];

/// Where a plan was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundPlan {
    /// Inside the binary.
    Shipped(Shipped),
    /// A file, not read yet.
    File(PathBuf),
}

/// Finds a saved plan by its bare name in `folders`, the strongest first, then inside the binary. A name with a slash
/// or an ending is a path and no name: `None`.
///
/// # Errors
/// What the system says of a folder that is there and cannot be looked into.
pub fn find_plan(name: &str, folders: &[&Path]) -> io::Result<Option<FoundPlan>> {
    if !is_plan_name(name) {
        return Ok(None);
    }
    for folder in folders {
        for ending in PLAN_ENDINGS {
            let file = folder.join(format!("{name}.{ending}"));
            if file.try_exists()? {
                return Ok(Some(FoundPlan::File(file)));
            }
        }
    }
    Ok(PLANS.iter().find(|plan| plan.name == name).copied().map(FoundPlan::Shipped))
}

/// Whether a word can be the name of a saved plan: letters, digits, `_` and `-`.
#[must_use]
pub fn is_plan_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

/// Names of all saved plans, sorted, for lists and for the nearest name.
#[must_use]
pub fn plan_names(folders: &[&Path]) -> Vec<String> {
    let mut names: std::collections::BTreeSet<String> = PLANS.iter().map(|plan| plan.name.to_owned()).collect();
    for entry in folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten() {
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && PLAN_ENDINGS.contains(&ending)
            && is_plan_name(name)
        {
            names.insert(name.to_owned());
        }
    }
    names.into_iter().collect()
}
