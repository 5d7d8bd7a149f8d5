//! Words of the specification for what a task does ([`TaskKind`]) and what it may do ([`Grant`]).
//!
//! Which role carries out which kind is the agent room's table; policies read these words, nothing here enforces them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a step, agent or tool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Look at files and tool results.
    Read,
    /// Write files of the workspace.
    Write,
    /// Write rows into a database.
    Database,
    /// Run commands.
    Shell,
    /// Reach the network.
    Network,
    /// Remove or overwrite what cannot be had back.
    Destructive,
}

impl Grant {
    /// All grants, weakest first.
    pub const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Database, Self::Shell, Self::Network, Self::Destructive];

    /// The word that files and configuration use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Database => "database",
            Self::Shell => "shell",
            Self::Network => "network",
            Self::Destructive => "destructive",
        }
    }

    /// The grant of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.word() == word)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a task does, in the words of `critical_tasks` and `require_approval_for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Reads through `fs`, `pdf_extract` or a read-only tool.
    FileRead,
    /// An agent or tool that writes files.
    FileWrite,
    /// CODER with a prompt.
    CodeGeneration,
    /// `run` steps and `shell` tools.
    ShellCommand,
    /// Rows into a database.
    DatabaseWrite,
    /// One attempt that handles many inputs by itself; never an item that the engine expanded.
    BatchProcess,
    /// Writing or amending a plan.
    Planning,
}

impl TaskKind {
    /// All kinds, in the order of the table in the documentation.
    pub const ALL: [Self; 7] = [
        Self::FileRead,
        Self::FileWrite,
        Self::CodeGeneration,
        Self::ShellCommand,
        Self::DatabaseWrite,
        Self::BatchProcess,
        Self::Planning,
    ];

    /// The word that configuration and plans use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::FileRead => "file_read",
            Self::FileWrite => "file_write",
            Self::CodeGeneration => "code_generation",
            Self::ShellCommand => "shell_command",
            Self::DatabaseWrite => "database_write",
            Self::BatchProcess => "batch_process",
            Self::Planning => "planning",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
