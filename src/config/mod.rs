//! Settings, resolved once: flags over environment over project file over user file over defaults.
//!
//! The environment comes in as a map; below this room nobody reads it. A person's file is changed by [`edit::set_key`]
//! alone. What an MCP server entry means is the tool room's business: it is handed on as it was written.

pub mod check;
pub mod consent;
pub mod docs;
pub mod document;
pub mod edit;
pub mod home;
mod key_path;
mod later;
pub mod project;
pub mod resolve;
pub mod schema;
mod secret;
mod sections;
pub mod settings;
pub mod shipped;

use std::io;
use std::path::PathBuf;

pub use check::Fault;
pub use consent::{Consent, Consents};
pub use home::Home;
pub use key_path::KeyPath;
pub use resolve::{Flags, Given, resolve};
pub use secret::Secret;
pub use settings::{
    BudgetSettings, Entry, Limits, ModelSettings, NotifySettings, Origin, OwnPrices, Settings, ToolSettings,
    WhenLimited,
};

/// How reading or changing the configuration can fail. All of these are for the person to mend: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("cannot read `{}`", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file named by `--config` is not there.
    #[error("no file `{}`", .file.display())]
    NoFile {
        /// The file.
        file: PathBuf,
    },
    /// A file is no JSON.
    #[error("`{}` is no JSON: line {line}, column {column}: {message}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Values that cannot be what their keys hold: all of them at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// Nobody says where the home folder is.
    #[error("no home folder: `HOME` is not set to an absolute path")]
    NoHome,
    /// A key that was to be set is not known.
    #[error("no key is called `{key}`")]
    UnknownKey {
        /// The key as typed.
        key: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A key that was to be set lies inside a value that is no object.
    #[error("`{key}` of `{}` is no object, so nothing can be set inside it", .file.display())]
    NoObject {
        /// The file.
        file: PathBuf,
        /// The key whose value stands in the way.
        key: String,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl ConfigError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::Write { .. } => None,
            Self::NoFile { .. } => Some("`--config` names one file; it is relative to the folder you stand in".into()),
            Self::Syntax { .. } => Some(
                "JSON has no comments and no comma after the last entry; a key `comment…` may hold a remark".into(),
            ),
            Self::Faults(faults) => {
                let hints: Vec<&str> = faults.iter().filter_map(|fault| fault.hint.as_deref()).collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
            Self::NoHome => {
                Some("set `HOME`, or `OLLMCP_HOME` to the folder that takes the place of `~/.ollmcp`".into())
            }
            Self::UnknownKey { nearest, .. } => nearest.as_ref().map(|known| format!("did you mean `{known}`?")),
            Self::NoObject { key, .. } => Some(format!("set `{key}` itself")),
        }
    }
}
