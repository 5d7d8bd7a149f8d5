//! Rows into SQLite: exactly once, in any order, through crashes and locks, and proven afterwards.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail a test by panicking, too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ollmcp::database::sqlite::{Limits, Sqlite};
use ollmcp::database::{
    Database, DatabaseError, Expectation, LedgerKey, Provenance, SourceTable, Target, WriteJob, Written, open,
};
use ollmcp::domain::ids::{Digest, RunId};
use ollmcp::domain::plan::Check;
use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

mod rows;
mod server;
mod trouble;
mod verify;

/// Quick to give up, so that tests of locks are.
const QUICK: Limits = Limits { busy_timeout_ms: 20, busy_tries_max: 3, backoff_first_ms: 1, query_ms_max: 2_000 };

fn digest(item: &str, version: u32) -> Digest {
    use sha2::Digest as _;
    Digest(sha2::Sha256::digest(format!("{item}/{version}")).into())
}

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

/// One item of one table.
fn job(item: &str, version: u32, headers: &[&str], rows: Value) -> WriteJob {
    job_of(item, version, vec![table(item, headers, rows)])
}

fn job_of(item: &str, version: u32, tables: Vec<SourceTable>) -> WriteJob {
    WriteJob {
        key: LedgerKey {
            project: "p".into(),
            plan: "pdf_tables".into(),
            step: "save".into(),
            item: item.into(),
            identity: digest(item, version),
            run: run(version.into()),
        },
        target: Target::Auto,
        tables,
        checks: Vec::new(),
    }
}

fn table(file: &str, headers: &[&str], rows: Value) -> SourceTable {
    let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
    let provenance = Provenance { file: Some(file.into()), page: Some(1), table: Some(1), confidence: Some(0.75) };
    SourceTable { provenance, ..ollmcp::database::table_from_lists(&headers, &rows).unwrap() }
}

fn expectation(job: &WriteJob) -> Expectation {
    Expectation { key: job.key.clone(), target: job.target.clone(), tables: job.tables.clone() }
}

/// A folder, a database in it that is not there yet, and its path.
fn fresh() -> (tempfile::TempDir, Arc<Sqlite>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    (folder, Arc::new(Sqlite::new(path.clone(), Limits::default())), path)
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// Runs SQL as a person would, from outside.
async fn sql(path: &Path, sql: &str) -> Vec<Vec<String>> {
    let mut connection = connect(path).await;
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, at: usize| -> String {
        row.try_get_unchecked::<Option<String>, _>(at).unwrap().unwrap_or_else(|| "NULL".into())
    };
    rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
}

async fn one(path: &Path, text: &str) -> String {
    sql(path, text).await[0][0].clone()
}

/// The data tables as they are, declared types and row ids and all; tables without rows are left out.
async fn dump(path: &Path) -> String {
    let mut dump = String::new();
    let tables = "select name, sql from sqlite_master where type = 'table' and name not like '\\_ollmcp%' escape '\\' order by name";
    for found in sql(path, tables).await {
        let name = found[0].replace('"', "\"\"");
        let columns =
            sql(path, &format!("select name from pragma_table_info('{}')", found[0].replace('\'', "''"))).await;
        let values: Vec<String> =
            columns.iter().map(|column| format!("quote(\"{}\")", column[0].replace('"', "\"\""))).collect();
        let rows = sql(path, &format!("select _rowid_, {} from \"{name}\"", values.join(", "))).await;
        if !rows.is_empty() {
            dump.push_str(&format!("{}\n", found[1]));
            for row in rows {
                dump.push_str(&format!("  {}\n", row.join(" | ")));
            }
        }
    }
    dump
}

/// The only data table.
async fn only_table(path: &Path) -> String {
    let names =
        sql(path, "select name from sqlite_master where type = 'table' and name not like '\\_ollmcp%' escape '\\'")
            .await;
    assert_eq!(names.len(), 1, "{names:?}");
    names[0][0].clone()
}
