//! One connection to SQLite: how it is opened, and the few ways to ask it.
//!
//! Values always travel as parameters; a name gets into SQL text only through [`super::names::quote`].

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, Sqlite as Engine, SqliteConnection, TypeInfo as _,
    ValueRef as _,
};

use super::DatabaseError;
use super::cell::Stored;

/// Most parameters of one statement in SQLite (`SQLITE_MAX_VARIABLE_NUMBER`).
pub(super) const PARAMETERS_MAX: usize = 32_766;

/// One row, column by column.
pub(super) type Line = Vec<Stored>;

/// Opens the one connection that writes; makes the file.
pub(super) async fn open_writer(path: &Path, busy_timeout_ms: u64) -> Result<SqliteConnection, DatabaseError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_millis(busy_timeout_ms))
        // Off as in every other SQLite program: rebuilding a table drops it for a moment. Tables that a person made
        // are checked with `foreign_key_check` before the commit.
        .foreign_keys(false)
        // A rename during a rebuild must not rewrite a person's views and triggers, nor fail on their faults.
        .pragma("legacy_alter_table", "ON")
        .disable_statement_logging();
    options.connect().await.map_err(|error| fault(&error))
}

/// Opens a connection that cannot write.
pub(super) async fn open_reader(path: &Path, busy_timeout_ms: u64) -> Result<SqliteConnection, DatabaseError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_millis(busy_timeout_ms))
        .pragma("query_only", "ON")
        .pragma("trusted_schema", "OFF")
        .row_buffer_size(4)
        .disable_statement_logging();
    match options.clone().connect().await {
        Ok(connection) => Ok(connection),
        // A file that was closed in WAL mode, in a folder that cannot be written: nobody else writes it either.
        Err(sqlx::Error::Database(error))
            if matches!(primary_code(error.code().as_deref()), 8 | 14) && !wal_of(path).exists() =>
        {
            options.immutable(true).connect().await.map_err(|error| fault(&error))
        }
        Err(error) => Err(fault(&error)),
    }
}

fn wal_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn primary_code(code: Option<&str>) -> i32 {
    code.and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff
}

/// What an error of the database means to us.
pub(super) fn fault(error: &sqlx::Error) -> DatabaseError {
    let sqlx::Error::Database(database) = error else {
        return DatabaseError::Failed(error.to_string());
    };
    let message = database.message();
    match primary_code(database.code().as_deref()) {
        5 | 6 => DatabaseError::Busy(message.to_owned()),
        9 => DatabaseError::Failed("the statement took too long and was stopped; hint: ask for less".into()),
        11 => DatabaseError::Failed(format!(
            "the database file is damaged: {message}; hint: keep a copy, then try `.recover` of the sqlite3 shell"
        )),
        13 => DatabaseError::Failed(format!("the disk is full: {message}; hint: free some space and resume")),
        14 => DatabaseError::Failed(format!(
            "cannot open the database file: {message}; hint: its folder must exist and be writable"
        )),
        19 => {
            DatabaseError::Target(format!("the table does not take these rows: {message}; hint: choose another table"))
        }
        26 => DatabaseError::Failed("the file is no SQLite database; hint: name another file".into()),
        _ => DatabaseError::Failed(message.to_owned()),
    }
}

fn bind<'q>(
    mut query: Query<'q, Engine, SqliteArguments>,
    values: impl IntoIterator<Item = Stored>,
) -> Query<'q, Engine, SqliteArguments> {
    for value in values {
        query = match value {
            Stored::Null => query.bind(None::<i64>),
            Stored::Integer(number) => query.bind(number),
            Stored::Real(number) => query.bind(number),
            Stored::Text(text) => query.bind(text),
            Stored::Blob(bytes) => query.bind(bytes),
        };
    }
    query
}

/// Runs one statement; gives the number of rows that it changed.
///
/// `kept` statements stay prepared: for the few that come again and again.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    sql: String,
    values: impl IntoIterator<Item = Stored>,
    kept: bool,
) -> Result<u64, DatabaseError> {
    let done = bind(sqlx::query(AssertSqlSafe(sql)), values)
        .persistent(kept)
        .execute(connection)
        .await
        .map_err(|error| fault(&error))?;
    Ok(done.rows_affected())
}

/// Runs one fixed statement without parameters.
pub(super) async fn plain(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), DatabaseError> {
    sqlx::query(sql).persistent(false).execute(connection).await.map_err(|error| fault(&error))?;
    Ok(())
}

/// All rows of one statement.
pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    sql: String,
    values: impl IntoIterator<Item = Stored>,
) -> Result<Vec<Line>, DatabaseError> {
    let mut lines = Vec::new();
    each(connection, sql, values, |line| {
        lines.push(line);
        true
    })
    .await?;
    Ok(lines)
}

/// Hands over row by row until `take` answers false; nothing but the row at hand is held.
pub(super) async fn each(
    connection: &mut SqliteConnection,
    sql: String,
    values: impl IntoIterator<Item = Stored>,
    mut take: impl FnMut(Line) -> bool + Send,
) -> Result<(), DatabaseError> {
    let mut rows = bind(sqlx::query(AssertSqlSafe(sql)), values).persistent(false).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| fault(&error))? {
        if !take(line(&row)?) {
            break;
        }
    }
    Ok(())
}

/// As [`each`], with the names of the columns.
pub(super) async fn each_named(
    connection: &mut SqliteConnection,
    sql: String,
    values: impl IntoIterator<Item = Stored>,
    mut take: impl FnMut(Vec<String>, Line) -> bool + Send,
) -> Result<(), DatabaseError> {
    let mut rows = bind(sqlx::query(AssertSqlSafe(sql)), values).persistent(false).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| fault(&error))? {
        let names = row.columns().iter().map(|column| column.name().to_owned()).collect();
        if !take(names, line(&row)?) {
            break;
        }
    }
    Ok(())
}

fn line(row: &SqliteRow) -> Result<Line, DatabaseError> {
    (0..row.columns().len()).map(|at| stored(row, at)).collect()
}

fn stored(row: &SqliteRow, at: usize) -> Result<Stored, DatabaseError> {
    let raw = row.try_get_raw(at).map_err(|error| fault(&error))?;
    if raw.is_null() {
        return Ok(Stored::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let failed = |error: sqlx::Error| fault(&error);
    Ok(match kind.as_str() {
        "INTEGER" => Stored::Integer(row.try_get_unchecked(at).map_err(failed)?),
        "REAL" => Stored::Real(row.try_get_unchecked(at).map_err(failed)?),
        "TEXT" => {
            // As bytes: a person's text may be no UTF-8, and must not make the rest unreadable.
            let bytes: Vec<u8> = row.try_get_unchecked(at).map_err(failed)?;
            Stored::Text(
                String::from_utf8(bytes).unwrap_or_else(|no| String::from_utf8_lossy(no.as_bytes()).into_owned()),
            )
        }
        _ => Stored::Blob(row.try_get_unchecked(at).map_err(failed)?),
    })
}

impl From<&str> for Stored {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Stored {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Stored {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl Stored {
    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The whole number, if it is one.
    pub(super) const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }
}
