//! The one table that ties the specification's words together: kind of task, role when none is named, grant, and
//! whether a failure counts as critical by default. Documentation, critical tasks and approvals all read it.

use std::fmt::Write as _;

use crate::domain::kinds::{Grant, TaskKind};

/// Plans and amends plans.
pub const PLANNER: &str = "PLANNER";
/// Runs commands.
pub const SHELL_EXECUTOR: &str = "SHELL_EXECUTOR";
/// Reads and writes files.
pub const CODER: &str = "CODER";
/// Writes rows.
pub const DATABASE_WRITER: &str = "DATABASE_WRITER";
/// Reads files.
pub const FILE_EXECUTOR: &str = "FILE_EXECUTOR";
/// Judges outputs; its slot is reserved.
pub const VALIDATOR: &str = "VALIDATOR";

/// The roles that ship with the program.
pub const ROLES: [&str; 6] = [PLANNER, SHELL_EXECUTOR, CODER, DATABASE_WRITER, FILE_EXECUTOR, VALIDATOR];

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// The kind.
    pub kind: TaskKind,
    /// What it is, for people.
    pub is: &'static str,
    /// The role when the step names none; `None`: as the step names it.
    pub role: Option<&'static str>,
    /// The grant that it needs; `None`: as its tools need.
    pub grant: Option<Grant>,
    /// Whether one failure escalates when `critical_tasks` is not configured.
    pub critical: bool,
}

const fn row(
    kind: TaskKind,
    is: &'static str,
    role: Option<&'static str>,
    grant: Option<Grant>,
    critical: bool,
) -> KindRow {
    KindRow { kind, is, role, grant, critical }
}

/// The table, in the order of [`TaskKind::ALL`].
pub const KINDS: [KindRow; 7] = [
    row(
        TaskKind::FileRead,
        "reads through `fs`, `pdf_extract`, a read-only tool",
        Some(FILE_EXECUTOR),
        Some(Grant::Read),
        false,
    ),
    row(TaskKind::FileWrite, "an agent or tool that writes files", Some(CODER), Some(Grant::Write), true),
    row(TaskKind::CodeGeneration, "CODER with a prompt", Some(CODER), Some(Grant::Write), true),
    row(TaskKind::ShellCommand, "`run` steps, `shell` tools", Some(SHELL_EXECUTOR), Some(Grant::Shell), false),
    row(TaskKind::DatabaseWrite, "rows into a database", Some(DATABASE_WRITER), Some(Grant::Database), true),
    row(
        TaskKind::BatchProcess,
        "one attempt that handles many inputs by itself; never an item that the engine expanded",
        None,
        None,
        true,
    ),
    row(TaskKind::Planning, "writing or amending a plan", Some(PLANNER), Some(Grant::Read), false),
];

/// The line of a kind.
#[must_use]
pub fn of_kind(kind: TaskKind) -> &'static KindRow {
    &KINDS[TaskKind::ALL.iter().position(|known| *known == kind).expect("`ALL` lists every kind")]
}

/// Whether one failure of such a task escalates. A configured list replaces the table's column.
#[must_use]
pub fn is_critical(kind: TaskKind, configured: Option<&[TaskKind]>) -> bool {
    configured.map_or_else(|| of_kind(kind).critical, |kinds| kinds.contains(&kind))
}

/// The kind of a task as far as role and tool tell it. `writes_files` is for tools other than our own: what their
/// grants say.
///
/// `prompted` means that a model is asked.
#[must_use]
pub fn kind_of(role: Option<&str>, tool: Option<&str>, prompted: bool, writes_files: bool) -> TaskKind {
    match role {
        Some(PLANNER) => return TaskKind::Planning,
        Some(DATABASE_WRITER) => return TaskKind::DatabaseWrite,
        Some(SHELL_EXECUTOR) => return TaskKind::ShellCommand,
        Some(CODER) if prompted => return TaskKind::CodeGeneration,
        Some(CODER) => return TaskKind::FileWrite,
        _ => {}
    }
    match tool.and_then(|tool| tool.split_once('.')) {
        Some(("shell", _)) => TaskKind::ShellCommand,
        Some(("fs", "write" | "patch" | "move" | "delete")) => TaskKind::FileWrite,
        Some(("fs" | "pdf_extract" | "db", _)) => TaskKind::FileRead,
        _ if writes_files => TaskKind::FileWrite,
        _ => TaskKind::FileRead,
    }
}

/// What a role of this program may do at most; `None` for a role of the person's own.
#[must_use]
pub fn grants_of(role: &str) -> Option<&'static [Grant]> {
    Some(match role {
        PLANNER | FILE_EXECUTOR | VALIDATOR => &[Grant::Read],
        SHELL_EXECUTOR => &[Grant::Read, Grant::Shell],
        CODER => &[Grant::Read, Grant::Write],
        DATABASE_WRITER => &[Grant::Read, Grant::Database],
        _ => return None,
    })
}

/// The page `docs/reference/task_kinds.md`.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(
        "# Kinds of tasks, roles and grants\n\n\
         This page is written from the table in `src/agent/roles.rs`; change that and run the tests with `UPDATE_DOCS=1`.\n\n\
         `critical_tasks` and `require_approval_for` name kinds, `validate_tasks` names roles. A configured\n\
         `critical_tasks` replaces the last column. For `require_approval_for`, a `for_each` step over many items counts\n\
         as `batch_process` too.\n\n\
         | task kind | is | role when none is named | grant | critical by default |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in &KINDS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            row.kind,
            row.is,
            row.role.unwrap_or("as named"),
            row.grant.map_or("as its tools", Grant::word),
            if row.critical { "yes" } else { "" }
        );
    }
    out.push_str("\n| role | may at most |\n| --- | --- |\n");
    for role in ROLES {
        let grants: Vec<&str> = grants_of(role).unwrap_or_default().iter().map(|grant| grant.word()).collect();
        let reserved = if role == VALIDATOR { " (reserved: not in this version)" } else { "" };
        let _ = writeln!(out, "| {role}{reserved} | {} |", grants.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_kind_in_order() {
        assert_eq!(KINDS.map(|row| row.kind), TaskKind::ALL);
    }

    #[test]
    fn a_configured_list_replaces_the_column() {
        assert!(is_critical(TaskKind::DatabaseWrite, None));
        assert!(!is_critical(TaskKind::DatabaseWrite, Some(&[TaskKind::FileRead])));
        assert!(is_critical(TaskKind::FileRead, Some(&[TaskKind::FileRead])));
    }

    #[test]
    fn kinds_follow_from_roles_and_tools() {
        for (role, tool, prompted, writes, kind) in [
            (Some("CODER"), None, true, false, TaskKind::CodeGeneration),
            (Some("CODER"), Some("fs.write"), false, false, TaskKind::FileWrite),
            (Some("DATABASE_WRITER"), None, false, false, TaskKind::DatabaseWrite),
            (None, Some("pdf_extract.extract_tables"), false, false, TaskKind::FileRead),
            (None, Some("fs.delete"), false, false, TaskKind::FileWrite),
            (None, Some("shell.run"), false, false, TaskKind::ShellCommand),
            (None, Some("files.save"), false, true, TaskKind::FileWrite),
            (Some("MINE"), Some("files.look"), true, false, TaskKind::FileRead),
        ] {
            assert_eq!(kind_of(role, tool, prompted, writes), kind, "{role:?} {tool:?}");
        }
    }
}
