//! The SQLite adapter: one file, one writer at a time, readers that cannot write.
//!
//! The writer stays open between writes. Before each one it is asked whether its file is still the one at the path:
//! a database that was deleted or replaced is noticed, never written into unseen.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Mutex;

use super::cell::Stored;
use super::layout::{Layout, lay_out};
use super::{
    Database, DatabaseError, Expectation, RowsPage, Verification, WriteJob, Written, connection, read, statement,
    verify, writer,
};
use crate::domain::ids::Digest;

/// How long this adapter waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long one try waits for another writer, in milliseconds.
    pub busy_timeout_ms: u64,
    /// Tries of a transaction that finds the database busy.
    pub busy_tries_max: u32,
    /// Wait before the second try, doubled for each further one, in milliseconds.
    pub backoff_first_ms: u64,
    /// How long one query may run, in milliseconds.
    pub query_ms_max: u64,
}

impl Default for Limits {
    /// About half a minute before a locked database is given back as [`DatabaseError::Busy`].
    fn default() -> Self {
        Self { busy_timeout_ms: 5_000, busy_tries_max: 5, backoff_first_ms: 100, query_ms_max: 30_000 }
    }
}

/// One SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    limits: Limits,
    writer: Mutex<Option<Writer>>,
}

/// An open writer and the file that it has open.
#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    file: FileId,
}

/// Device and inode: a path can come to mean another file, these cannot while it is open.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

impl Sqlite {
    /// The database at `path`. Nothing is opened or made yet.
    #[must_use]
    pub fn new(path: PathBuf, limits: Limits) -> Self {
        Self { path, limits, writer: Mutex::new(None) }
    }

    async fn write_item(&self, job: &WriteJob) -> Result<Written, DatabaseError> {
        let layout = lay_out(&job.target, &job.tables)?;
        let mut wait_ms = self.limits.backoff_first_ms;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_once(job, &layout).await {
                Err(DatabaseError::Busy(why)) if tries < self.limits.busy_tries_max.max(1) => {
                    tracing::debug!(database = %self.path.display(), tries, %why, "database is busy");
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    wait_ms = wait_ms.saturating_mul(2).min(5_000);
                }
                outcome => return outcome,
            }
        }
    }

    /// One try of the whole transaction.
    async fn try_once(&self, job: &WriteJob, layout: &Layout) -> Result<Written, DatabaseError> {
        let mut slot = self.writer.lock().await;
        // Taken out while it works: if this future is dropped, so is the connection, and SQLite rolls back.
        let mut writer = match slot.take() {
            Some(writer) if file_id(&self.path) == Some(writer.file) => writer,
            old => {
                if let Some(old) = old {
                    // Closed first: the side files of the old database must not be taken for the new one's.
                    let _ = old.connection.close().await;
                }
                self.open_writer().await?
            }
        };
        let outcome = writer::write(&mut writer.connection, job, layout).await;
        if file_id(&self.path) != Some(writer.file) {
            // Deleted in the middle: what was committed is gone with the file. Another try makes it anew.
            let _ = writer.connection.close().await;
            return Err(DatabaseError::Busy(format!(
                "`{}` was deleted or replaced during a write",
                self.path.display()
            )));
        }
        match &outcome {
            Ok(_) | Err(DatabaseError::Busy(_) | DatabaseError::Check(_) | DatabaseError::Target(_)) => {
                *slot = Some(writer);
            }
            Err(DatabaseError::Failed(_) | DatabaseError::Address(_) | DatabaseError::Denied(_)) => {
                let _ = writer.connection.close().await;
            }
        }
        outcome
    }

    async fn open_writer(&self) -> Result<Writer, DatabaseError> {
        if let Some(folder) = self.path.parent()
            && !folder.is_dir()
        {
            return Err(DatabaseError::Failed(format!(
                "the folder `{}` of the database does not exist; hint: make it, or name another place",
                folder.display()
            )));
        }
        let connection = connection::open_writer(&self.path, self.limits.busy_timeout_ms).await?;
        let file = file_id(&self.path).ok_or_else(|| DatabaseError::Busy("the file was deleted at once".into()))?;
        Ok(Writer { connection, file })
    }

    /// A connection that cannot write; `None` where there is no file.
    async fn reader(&self) -> Result<Option<SqliteConnection>, DatabaseError> {
        // A file of no bytes is what a write that never came to its end leaves: there is nothing in it.
        match std::fs::metadata(&self.path) {
            Err(_) => Ok(None),
            Ok(data) if data.len() == 0 => Ok(None),
            Ok(_) => connection::open_reader(&self.path, self.limits.busy_timeout_ms).await.map(Some),
        }
    }

    async fn is_written(&self, identity: &Digest) -> Result<bool, DatabaseError> {
        let Some(mut connection) = self.reader().await? else { return Ok(false) };
        let answer = read::stands(&mut connection, identity).await;
        let _ = connection.close().await;
        answer
    }

    async fn verify_all(&self, expected: Vec<Expectation>) -> Result<Verification, DatabaseError> {
        let Some(mut connection) = self.reader().await? else {
            return Ok(verify::without_database(&expected, &self.path.display().to_string()));
        };
        let answer = verify::verify(&mut connection, &expected).await;
        let _ = connection.close().await;
        answer
    }

    async fn rows_of(
        &self,
        identities: &[Digest],
        table: Option<&str>,
        limit: u64,
    ) -> Result<Vec<RowsPage>, DatabaseError> {
        let Some(mut connection) = self.reader().await? else { return Ok(Vec::new()) };
        let answer = read::rows(&mut connection, identities, table, limit).await;
        let _ = connection.close().await;
        answer
    }

    /// One read-only statement; row by row until `take` answers false. Used by the `db` server, which bounds bytes too.
    ///
    /// # Errors
    /// [`DatabaseError`]; a statement that writes is refused.
    pub async fn query_each(
        &self,
        sql: &str,
        params: &[Value],
        take: impl FnMut(Map<String, Value>) -> bool + Send,
    ) -> Result<(), DatabaseError> {
        statement::one_reading(sql).map_err(DatabaseError::Failed)?;
        let Some(mut connection) = self.reader().await? else {
            return Err(DatabaseError::Failed(format!(
                "the database `{}` does not exist; hint: check the path, or write to it first",
                self.path.display()
            )));
        };
        let deadline = Instant::now() + Duration::from_millis(self.limits.query_ms_max);
        connection
            .lock_handle()
            .await
            .map_err(|error| connection::fault(&error))?
            .set_progress_handler(10_000, move || Instant::now() < deadline);
        let answer = read::query(&mut connection, sql, params, take).await;
        // Closing waits for a statement that still runs; dropped, it ends at its deadline by itself.
        drop(connection);
        answer
    }

    /// Tables and views with their columns and numbers of rows, without our side tables.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn schema(&self) -> Result<Vec<read::TableSchema>, DatabaseError> {
        let Some(mut connection) = self.reader().await? else {
            return Err(DatabaseError::Failed(format!(
                "the database `{}` does not exist; hint: check the path, or write to it first",
                self.path.display()
            )));
        };
        let answer = read::schema(&mut connection).await;
        let _ = connection.close().await;
        answer
    }
}

impl Database for Sqlite {
    fn write<'a>(&'a self, job: &'a WriteJob) -> BoxFuture<'a, Result<Written, DatabaseError>> {
        self.write_item(job).boxed()
    }

    fn stands<'a>(&'a self, identity: &'a Digest) -> BoxFuture<'a, Result<bool, DatabaseError>> {
        self.is_written(identity).boxed()
    }

    fn verify<'a>(&'a self, expected: Vec<Expectation>) -> BoxFuture<'a, Result<Verification, DatabaseError>> {
        self.verify_all(expected).boxed()
    }

    fn rows<'a>(
        &'a self,
        identities: &'a [Digest],
        table: Option<&'a str>,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<RowsPage>, DatabaseError>> {
        self.rows_of(identities, table, limit).boxed()
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Value],
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<Map<String, Value>>, DatabaseError>> {
        async move {
            let mut rows = Vec::new();
            if limit == 0 {
                return statement::one_reading(sql).map(|()| rows).map_err(DatabaseError::Failed);
            }
            self.query_each(sql, params, |row| {
                rows.push(row);
                u64::try_from(rows.len()).unwrap_or(u64::MAX) < limit
            })
            .await?;
            Ok(rows)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Some(writer) = self.writer.lock().await.take() {
                let _ = writer.connection.close().await;
            }
        }
        .boxed()
    }
}

/// A JSON value as a parameter.
pub(super) fn parameter(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Bool(flag) => Stored::Integer(i64::from(*flag)),
        Value::Number(number) => number.as_i64().map_or_else(
            || number.as_f64().map_or_else(|| Stored::Text(number.to_string()), Stored::Real),
            Stored::Integer,
        ),
        Value::String(text) => Stored::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Stored::Text(value.to_string()),
    }
}
