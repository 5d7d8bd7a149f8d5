//! Which role carries out a task: the one table. A new role is an agent file and a row here, no new actor type.

use crate::domain::plan::{Step, StepKind};

/// A role of the attempt actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `value` steps: expressions only.
    Evaluator,
    /// Reads through tools.
    FileExecutor,
    /// Commands and shell tools.
    ShellExecutor,
    /// Writes and changes code and files.
    Coder,
    /// Rows into a database.
    DatabaseWriter,
    /// Writes and amends plans.
    Planner,
    /// Judges outputs. Reserved: it speaks through the verdict that the core already knows.
    Validator,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct RoleRow {
    /// The role.
    pub role: Role,
    /// Its name in agent files, in the tree and in the name of its actors.
    pub name: &'static str,
    /// Whether this version carries it out; the others are slots.
    pub is_built: bool,
}

/// All roles.
pub const ROLES: &[RoleRow] = &[
    RoleRow { role: Role::Evaluator, name: "EVALUATOR", is_built: true },
    RoleRow { role: Role::FileExecutor, name: "FILE_EXECUTOR", is_built: true },
    RoleRow { role: Role::ShellExecutor, name: "SHELL_EXECUTOR", is_built: true },
    RoleRow { role: Role::Coder, name: "CODER", is_built: true },
    RoleRow { role: Role::DatabaseWriter, name: "DATABASE_WRITER", is_built: true },
    RoleRow { role: Role::Planner, name: "PLANNER", is_built: false },
    RoleRow { role: Role::Validator, name: "VALIDATOR", is_built: false },
];

impl Role {
    /// The role's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ROLES.iter().find(|row| row.role == self).map_or("", |row| row.name)
    }

    /// The role that carries out a step.
    #[must_use]
    pub fn of(step: &Step) -> Self {
        match &step.kind {
            StepKind::Value { .. } => Self::Evaluator,
            StepKind::Agent { name, .. } => {
                ROLES.iter().find(|row| row.name == name).map_or(Self::FileExecutor, |row| row.role)
            }
            StepKind::Tool { name, .. } => Self::of_tool(name),
        }
    }

    fn of_tool(name: &str) -> Self {
        let (server, tool) = name.split_once('.').unwrap_or((name, ""));
        match (server, tool) {
            ("shell", _) => Self::ShellExecutor,
            ("fs", "write" | "patch" | "move" | "delete") => Self::Coder,
            _ => Self::FileExecutor,
        }
    }
}
