//! The account's file: how it is opened, what is in it, and one transaction at a time.
//!
//! Every change is one `begin immediate` transaction, synced before anybody hears of it. Rollback journal, not WAL: the
//! folder may lie on a network disk, and a call costs more than the three syncs (ADR 0017).

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::AccountError;
use super::clock::Reading;
use super::rules::Moment;
use crate::os::files::{PRIVATE_FILE_MODE, make_private_folder};

/// Marks the file as ours (`ollm`).
const APPLICATION_ID: i64 = 0x6f6c_6c6d;

/// The format that this version writes.
const FORMAT: i64 = 1;

/// How long one try waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries before the account is said to be busy.
const BUSY_TRIES_MAX: u32 = 6;

/// What each table holds: `calls` one row a call (state 0 open, 1 settled, 2 outcome unknown, 3 of the prior program),
/// `waiting` asks in their order, `days` and `runs` what was folded, `replaced` records of the usage file that were
/// corrected, `meta` the rest.
const SCHEMA: &[&str] = &[
    "create table meta (key text primary key, value text not null) without rowid",
    "create table calls (
        id integer primary key autoincrement,
        state integer not null,
        owner text not null,
        run text not null,
        task text not null,
        project text not null,
        model text not null,
        agent text not null,
        reason text not null,
        boot_ms integer not null,
        wall_ms integer not null,
        stamp text not null,
        reserved integer not null,
        microdollars integer not null,
        input_tokens integer not null default 0,
        cache_write_5m_tokens integer not null default 0,
        cache_write_1h_tokens integer not null default 0,
        cache_read_tokens integer not null default 0,
        output_tokens integer not null default 0,
        success integer not null default 0,
        request text not null default '',
        cost_usd real
    )",
    "create index calls_by_time on calls (boot_ms, state, wall_ms, microdollars)",
    "create index calls_by_run on calls (run, state, microdollars)",
    "create index calls_by_stamp on calls (stamp, state, microdollars)",
    "create index calls_open on calls (id) where state = 0",
    "create table waiting (
        id integer primary key autoincrement,
        owner text not null,
        run text not null,
        microdollars integer not null,
        seen_ms integer not null
    )",
    "create table days (
        day text not null,
        model text not null,
        reason text not null,
        project text not null,
        first text not null,
        calls integer not null,
        failed integer not null,
        input_tokens integer not null,
        cache_write_5m_tokens integer not null,
        cache_write_1h_tokens integer not null,
        cache_read_tokens integer not null,
        output_tokens integer not null,
        microdollars integer not null,
        primary key (day, model, reason, project)
    ) without rowid",
    "create table runs (
        run text primary key,
        day text not null,
        calls integer not null,
        microdollars integer not null
    ) without rowid",
    "create table replaced (record text primary key, stamp text not null) without rowid",
];

/// Which file a path meant when it was opened: device and inode.
type FileId = (u64, u64);

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    file: Option<FileId>,
    connection: Option<SqliteConnection>,
}

impl Store {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, file: None, connection: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fault(&self, error: &sqlx::Error) -> AccountError {
        AccountError::of(&self.path, error)
    }

    pub(super) fn failed(&self, why: impl ToString) -> AccountError {
        AccountError::Failed { file: self.path.clone(), why: why.to_string() }
    }

    /// Makes sure that the file at the path is open, and says whether it is another one than the last time.
    pub(super) async fn ensure(&mut self) -> Result<bool, AccountError> {
        if self.connection.is_some() && self.file.is_some() && file_id(&self.path) == self.file {
            return Ok(false);
        }
        self.close().await;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_private_folder(folder).map_err(|error| self.failed(error))?;
        let mut made = OpenOptions::new();
        made.write(true).create(true).truncate(false).mode(PRIVATE_FILE_MODE);
        made.open(&self.path).map_err(|error| self.failed(error))?;
        let file = file_id(&self.path);
        let mut connection = self.connect().await?;
        self.check(&mut connection).await?;
        self.connection = Some(connection);
        self.file = file;
        Ok(true)
    }

    async fn connect(&self) -> Result<SqliteConnection, AccountError> {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Truncate)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging()
            .connect()
            .await
            .map_err(|error| self.fault(&error))
    }

    /// Makes the tables of a new file, and refuses what is none of ours or does not hang together.
    async fn check(&self, connection: &mut SqliteConnection) -> Result<(), AccountError> {
        self.begin_on(connection).await?;
        let answer = self.check_inside(connection).await;
        let end = if answer.is_ok() { "commit" } else { "rollback" };
        let ended = sqlx::query(end).execute(connection).await;
        answer?;
        ended.map(|_| ()).map_err(|error| self.fault(&error))
    }

    async fn check_inside(&self, connection: &mut SqliteConnection) -> Result<(), AccountError> {
        let fault = |error: sqlx::Error| self.fault(&error);
        let damaged = |why: String| AccountError::Damaged { file: self.path.clone(), why };
        let number = sqlx::query_scalar::<_, i64>("pragma application_id");
        let application: i64 = number.fetch_one(&mut *connection).await.map_err(fault)?;
        let format: i64 = sqlx::query_scalar("pragma user_version").fetch_one(&mut *connection).await.map_err(fault)?;
        let tables: i64 = sqlx::query_scalar("select count(*) from sqlite_schema")
            .fetch_one(&mut *connection)
            .await
            .map_err(fault)?;
        if (application, format, tables) == (0, 0, 0) {
            for sql in SCHEMA {
                sqlx::query(*sql).execute(&mut *connection).await.map_err(fault)?;
            }
            let mark = format!("pragma application_id = {APPLICATION_ID}");
            sqlx::query(sqlx::AssertSqlSafe(mark)).execute(&mut *connection).await.map_err(fault)?;
            let mark = format!("pragma user_version = {FORMAT}");
            sqlx::query(sqlx::AssertSqlSafe(mark)).execute(&mut *connection).await.map_err(fault)?;
            return Ok(());
        }
        if application != APPLICATION_ID {
            return Err(damaged("it is another program's database".to_owned()));
        }
        if format > FORMAT {
            return Err(AccountError::Newer { file: self.path.clone(), found: format, known: FORMAT });
        }
        let check: String =
            sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut *connection).await.map_err(fault)?;
        if check != "ok" {
            return Err(damaged(check.lines().take(3).collect::<Vec<_>>().join("; ")));
        }
        for table in ["meta", "calls", "waiting", "days", "runs", "replaced"] {
            let sql = format!("select 1 from {table} limit 1");
            sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_optional(&mut *connection).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Begins a transaction that may write.
    pub(super) async fn begin(&mut self) -> Result<(), AccountError> {
        let mut connection = self.connection.take().ok_or(AccountError::Closed)?;
        let begun = self.begin_on(&mut connection).await;
        self.connection = Some(connection);
        begun
    }

    async fn begin_on(&self, connection: &mut SqliteConnection) -> Result<(), AccountError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match sqlx::query("begin immediate").execute(&mut *connection).await {
                Ok(_) => return Ok(()),
                Err(error) => match self.fault(&error) {
                    AccountError::Busy { .. } if tries < BUSY_TRIES_MAX => {}
                    fault => return Err(fault),
                },
            }
        }
    }

    /// Ends it; what is said afterwards may rest on it.
    pub(super) async fn commit(&mut self) -> Result<(), AccountError> {
        let path = self.path.clone();
        let done = sqlx::query("commit").execute(self.link()).await;
        done.map(|_| ()).map_err(|error| AccountError::of(&path, &error))
    }

    /// Gives it up. The connection goes with it: whatever state it was in, none of it stays.
    pub(super) async fn roll_back(&mut self) {
        if let Some(connection) = self.connection.as_mut() {
            let _ = sqlx::query("rollback").execute(&mut *connection).await;
        }
        self.close().await;
    }

    pub(super) async fn close(&mut self) {
        self.file = None;
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// The connection of the open transaction.
    pub(super) fn link(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a transaction is open")
    }

    /// Changes when another connection has committed.
    pub(super) async fn data_version(&mut self) -> Option<i64> {
        let connection = self.connection.as_mut()?;
        sqlx::query_scalar("pragma data_version").fetch_one(connection).await.ok()
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// A value of `meta`.
pub(super) async fn meta(link: &mut SqliteConnection, key: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select value from meta where key = ?").bind(key).fetch_optional(link).await
}

/// Sets one.
pub(super) async fn set_meta(link: &mut SqliteConnection, key: &str, value: &str) -> Result<(), sqlx::Error> {
    let sql = "insert into meta (key, value) values (?, ?) on conflict (key) do update set value = excluded.value";
    sqlx::query(sql).bind(key).bind(value).execute(link).await.map(|_| ())
}

/// Whether the usage file is behind the account.
pub(super) const DIRTY: &str = "usage_file_is_behind";

/// Brings all records into the present boot: [`Moment::anchored`] for each, once.
pub(super) async fn anchor(link: &mut SqliteConnection, now: &Reading) -> Result<(), sqlx::Error> {
    if meta(link, "boot").await?.as_deref() == Some(&now.boot_id) {
        return Ok(());
    }
    let Moment { boot_ms, wall_ms } = now.moment();
    sqlx::query("update calls set boot_ms = ?1 - max(0, ?2 - wall_ms)")
        .bind(boot_ms)
        .bind(wall_ms)
        .execute(&mut *link)
        .await?;
    set_meta(link, "boot", &now.boot_id).await
}
