//! How the account can fail. None of these grants a call.

use std::path::PathBuf;

/// Why the account cannot be used. Cheap to tell to all who asked at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The file holds something that is no account, or an account that does not hang together.
    #[error("the usage account `{}` is damaged: {why}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What SQLite, or the check, says.
        why: String,
    },
    /// A later version of the program wrote it.
    #[error("the usage account `{}` has format {found}, and this version knows {known}", .file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// Others kept it locked for too long.
    #[error("the usage account `{}` is kept locked by another process: {why}", .file.display())]
    Busy {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// The system or SQLite refused something.
    #[error("cannot use the usage account `{}`: {why}", .file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// The cause.
        why: String,
    },
    /// Its thread has ended.
    #[error("the usage account is closed")]
    Closed,
}

impl AccountError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { file, .. } => {
                let file = file.display();
                Some(format!(
                    "nothing is paid for until it is mended: `mv {file} {file}.damaged`; the next start makes a new \
                     account and takes the calls over that `{}` beside it holds",
                    super::USAGE_FILE
                ))
            }
            Self::Newer { .. } => Some("use the newer version of ollmcp that wrote it".to_owned()),
            Self::Busy { file, .. } => Some(format!("see who has it open: `fuser -v {}`", file.display())),
            Self::Failed { file, .. } => {
                let folder = file.parent().unwrap_or(file).display();
                Some(format!(
                    "`{folder}` must be there, yours to write, and on a disk with room: `ls -la {folder}; df -h {folder}`"
                ))
            }
            Self::Closed => None,
        }
    }

    /// What an error of SQLite means.
    pub(super) fn of(file: &std::path::Path, error: &sqlx::Error) -> Self {
        let file = file.to_owned();
        let sqlx::Error::Database(database) = error else {
            return Self::Failed { file, why: error.to_string() };
        };
        let why = database.message().to_owned();
        let code = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
        match code & 0xff {
            5 | 6 => Self::Busy { file, why },
            // 1: a table or column is missing; 11: damaged; 20: a value of another type; 26: no database.
            1 | 11 | 20 | 26 => Self::Damaged { file, why },
            _ => Self::Failed { file, why },
        }
    }
}
