//! Rows in, rows proven: the port [`Database`] that DATABASE_WRITER writes through, and what it is told.
//!
//! One transaction holds an item's rows and its row in the ledger. Nothing in a data table depends on order or time.

pub mod address;
pub mod cell;
mod check;
mod connection;
pub mod layout;
pub mod names;
pub mod read;
mod schema;
pub mod source;
pub mod sqlite;
pub mod statement;
mod supersede;
pub mod verify;
mod writer;

pub use address::{may_touch, open};
pub use source::{table_from_lists, tables_from_rows};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::domain::ids::{Digest, RunId};
use crate::domain::plan::Check;

/// Whose rows they are: the key of the row ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey {
    /// Id of the project.
    pub project: String,
    /// Name of the plan.
    pub plan: String,
    /// Step that writes.
    pub step: String,
    /// Key of the item, for people.
    pub item: String,
    /// Identity of the item: a row with it in the ledger means that its rows are written.
    pub identity: Digest,
    /// The run that writes (for people and for "superseded by").
    pub run: RunId,
}

/// One table as a step gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceTable {
    /// Column names as found.
    pub headers: Vec<String>,
    /// Cells as text or JSON scalars; each row has as many as there are headers, else it is a bad row.
    pub rows: Vec<Vec<Value>>,
    /// Where the table was found: becomes the provenance columns.
    pub provenance: Provenance,
}

/// Where a table was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// File, relative to the project where it lies inside.
    pub file: Option<String>,
    /// Page, from 1.
    pub page: Option<u32>,
    /// Number of the table in its file, from 1.
    pub table: Option<u32>,
    /// How sure the reader is, 0 to 1.
    pub confidence: Option<f64>,
}

/// Where the rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One table per header signature.
    Auto,
    /// One table by name.
    Named(String),
}

/// One write of one item.
#[derive(Clone, Debug)]
pub struct WriteJob {
    /// Whose rows they are.
    pub key: LedgerKey,
    /// Where they go.
    pub target: Target,
    /// What is written.
    pub tables: Vec<SourceTable>,
    /// `sql` checks that run inside the transaction, templates already evaluated.
    pub checks: Vec<Check>,
}

/// What a write did. Serialises to the output of a DATABASE_WRITER task.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// Rows per data table.
    pub tables: Vec<TableCount>,
    /// Rows in all data tables.
    pub rows: u64,
    /// Rows in `_ollmcp_rejects`.
    pub rejected: u64,
    /// Rows of an earlier version of this item that were removed.
    pub replaced: u64,
}

/// Rows of one data table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableCount {
    /// Name of the table.
    pub table: String,
    /// Rows.
    pub rows: u64,
}

/// What `verify` expects of one done item.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Whose rows.
    pub key: LedgerKey,
    /// Where they went.
    pub target: Target,
    /// What was to be written.
    pub tables: Vec<SourceTable>,
}

/// One difference between what should stand in the database and what does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Key of the item (its file).
    pub item: String,
    /// Table, when it is known.
    pub table: Option<String>,
    /// Row id, when there is a row.
    pub rowid: Option<i64>,
    /// What is wrong: `missing`, `doubled`, `altered`, `extra`, with the column and values.
    pub what: String,
}

/// What `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verification {
    /// Items counted.
    pub items: u64,
    /// Rows counted on the database.
    pub rows: u64,
    /// Items whose rows a later run replaced, with that run.
    pub superseded: Vec<(String, RunId)>,
    /// What does not hold.
    pub differences: Vec<Difference>,
}

/// How a database can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not one that this version knows.
    #[error("{0}")]
    Address(String),
    /// The file may not be touched here.
    #[error("{0}")]
    Denied(String),
    /// Locked or busy beyond the retries: may pass by itself.
    #[error("database is busy: {0}")]
    Busy(String),
    /// A `sql` check does not hold; the transaction was rolled back.
    #[error("{0}")]
    Check(String),
    /// The table cannot take these rows (a name clash with something that is not ours, a bad name).
    #[error("{0}")]
    Target(String),
    /// Anything else that the database says.
    #[error("{0}")]
    Failed(String),
}

/// A page of rows for people.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct RowsPage {
    /// Name of the table.
    pub table: String,
    /// Column names.
    pub columns: Vec<String>,
    /// Values.
    pub rows: Vec<Vec<Value>>,
}

/// One database address, opened.
pub trait Database: Send + Sync + std::fmt::Debug + 'static {
    /// Writes one item and its ledger row in one transaction; does nothing if the ledger has the identity already.
    ///
    /// # Errors
    /// [`DatabaseError`]; nothing was written then.
    fn write<'a>(&'a self, job: &'a WriteJob) -> BoxFuture<'a, Result<Written, DatabaseError>>;

    /// Whether the ledger has this identity.
    ///
    /// # Errors
    /// [`DatabaseError`]. A database that is not there answers `false` and is not created.
    fn stands<'a>(&'a self, identity: &'a Digest) -> BoxFuture<'a, Result<bool, DatabaseError>>;

    /// Recounts on the database.
    ///
    /// # Errors
    /// [`DatabaseError`] when it cannot be read; differences are no error.
    fn verify<'a>(&'a self, expected: Vec<Expectation>) -> BoxFuture<'a, Result<Verification, DatabaseError>>;

    /// Rows of the data tables that the ledger holds for `run`, at most `limit` a table; one table or all.
    ///
    /// # Errors
    /// [`DatabaseError`].
    fn rows<'a>(
        &'a self,
        identities: &'a [Digest],
        table: Option<&'a str>,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<RowsPage>, DatabaseError>>;

    /// One read-only statement; rows as objects, at most `limit`.
    ///
    /// # Errors
    /// [`DatabaseError`]; a statement that writes is refused.
    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Value],
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<Map<String, Value>>, DatabaseError>>;

    /// Closes what is open, so that the database is one file again; a later write opens it anew.
    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// Opens database addresses.
pub trait Databases: Send + Sync + std::fmt::Debug + 'static {
    /// The database behind an address; the same one for the same address.
    ///
    /// # Errors
    /// [`DatabaseError::Address`] for an address that this version does not know, [`DatabaseError::Denied`] for a file
    /// that may not be touched here.
    fn open(&self, address: &str) -> Result<std::sync::Arc<dyn Database>, DatabaseError>;

    /// Closes all: each database is one file afterwards.
    fn close_all(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}
