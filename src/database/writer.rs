//! The one transaction that writes an item: ledger first, rows of its earlier version out, rows in, checks, commit.
//!
//! A row of the ledger is the proof that its rows are written; it stands alone: nothing else says "done".
//! Row ids are given from a hash of plan, step and item, so that a table reads the same whatever was written first,
//! and the ids that the ledger remembers hold.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use super::cell::{Cell, Stored};
use super::connection::{PARAMETERS_MAX, fetch, plain, run};
use super::layout::{DataRow, DataTable, Layout, Reject};
use super::names::{PROVENANCE, quote};
use super::read::lacks_a_table;
use super::schema::{self, Needed, Shape, settle};
use super::supersede::supersede;
use super::{DatabaseError, LedgerKey, TableCount, WriteJob, Written, check};
use crate::domain::ids::Digest;
use crate::domain::plan::Check;

/// Most rows of one insert: beyond it, longer statements gain nothing.
const INSERT_ROWS_MAX: usize = 500;

/// Rows of one item that are sure of neighbouring row ids.
const BLOCK_BITS: u32 = 16;

/// Writes one item in one transaction, rolled back on any error.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    job: &WriteJob,
    layout: &Layout,
) -> Result<Written, DatabaseError> {
    plain(connection, "begin immediate").await?;
    let outcome = inside(connection, job, layout).await;
    match outcome {
        Ok(written) => match plain(connection, "commit").await {
            Ok(()) => Ok(written),
            Err(error) => {
                let _ = plain(connection, "rollback").await;
                Err(error)
            }
        },
        Err(error) => {
            // The first error is the one to tell; a connection that cannot roll back is thrown away by the caller.
            let _ = plain(connection, "rollback").await;
            Err(error)
        }
    }
}

async fn inside(connection: &mut SqliteConnection, job: &WriteJob, layout: &Layout) -> Result<Written, DatabaseError> {
    schema::side_tables(connection).await?;
    let identity = job.key.identity.to_string();
    // A superseded row is the only one that may be taken again: the item changed back.
    let claim = "insert into _ollmcp_ledger \
                 (entry, identity, project, plan, step, item, run, content_hash, rows, written) \
                 values (?, ?, ?, ?, ?, ?, ?, ?, 0, '{}') \
                 on conflict (identity) do update set project = excluded.project, plan = excluded.plan, \
                 step = excluded.step, item = excluded.item, run = excluded.run, content_hash = excluded.content_hash, \
                 superseded_by = null where superseded_by is not null";
    let key = &job.key;
    let values = [
        entry_of(&key.identity).into(),
        identity.as_str().into(),
        key.project.as_str().into(),
        key.plan.as_str().into(),
        key.step.as_str().into(),
        key.item.as_str().into(),
        key.run.to_string().into(),
        layout.content.to_string().into(),
    ];
    // Whoever dropped a table has its rows made again by running again, as with a whole database.
    let sql = "select entry from _ollmcp_ledger where identity = ? and superseded_by is null";
    let known = fetch(connection, sql.into(), [identity.as_str().into()]).await?;
    if let Some(line) = known.first()
        && lacks_a_table(connection, &line[0]).await?
    {
        let sql = "update _ollmcp_ledger set superseded_by = 'a table was dropped' where entry = ?";
        run(connection, sql.into(), [line[0].clone()], true).await?;
    }
    let claimed = run(connection, claim.into(), values, true).await?;
    let entry = fetch(
        connection,
        "select entry, written from _ollmcp_ledger where identity = ?".into(),
        [identity.as_str().into()],
    )
    .await?;
    let entry = entry.first().ok_or_else(|| DatabaseError::Failed("the row ledger lost a row that it took".into()))?;
    if claimed == 0 {
        let written = entry[1].as_text().unwrap_or_default();
        return serde_json::from_str(written).map_err(|error| {
            DatabaseError::Failed(format!("the row ledger's entry of `{}` is damaged: {error}", key.item))
        });
    }
    let entry = entry[0].as_integer().unwrap_or_default();
    let removed = supersede(connection, key, entry, &identity).await?;
    let mut written = Written { replaced: removed.rows, ..Written::default() };
    let mut rejects = layout.rejects.clone();
    let mut seq = 0_i64;
    let nothing = HashMap::new();
    for table in &layout.tables {
        let before = removed.classes.get(&table.name.to_ascii_lowercase()).unwrap_or(&nothing);
        let shape = settle(connection, &table.name, &needed(table), before).await?;
        let (rows, bad) = fitting(&shape, table);
        rejects.extend(bad);
        insert(connection, key, entry, &mut seq, &shape, table, &rows).await?;
        if !shape.made {
            foreign_keys(connection, &shape).await?;
        }
        written.tables.push(TableCount { table: shape.name.clone(), rows: count(rows.len()) });
        written.rows += count(rows.len());
    }
    for (name, classes) in &removed.classes {
        if layout.tables.iter().all(|table| !table.name.eq_ignore_ascii_case(name)) {
            settle(connection, name, &[], classes).await?;
        }
    }
    written.rejected = count(rejects.len());
    reject(connection, key, &identity, &rejects).await?;
    let json = serde_json::to_string(&written).expect("counts are JSON");
    run(
        connection,
        "update _ollmcp_ledger set rows = ?, written = ? where entry = ?".into(),
        [signed(written.rows).into(), json.into(), entry.into()],
        true,
    )
    .await?;
    for check in &job.checks {
        if let Check::Sql { query, equals, .. } = check {
            check::hold(connection, query, equals).await?;
        }
    }
    Ok(written)
}

/// The number of an identity's entry: from the identity, so that it is the same when the ledger lost it.
fn entry_of(identity: &Digest) -> i64 {
    let mut bytes = [0_u8; 8];
    bytes.copy_from_slice(&identity.0[..8]);
    i64::try_from(u64::from_be_bytes(bytes) >> 1).unwrap_or_default()
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The columns that the rows of a table need, each with the widest class of its values.
fn needed(table: &DataTable) -> Vec<Needed> {
    let class = |at: usize| table.rows.iter().map(|row| row.cells[at].class()).max().unwrap_or_default();
    table.columns.iter().enumerate().map(|(at, (name, place))| (name.clone(), *place, class(at))).collect()
}

/// The rows that the table takes, as they will stand, and those that it does not.
pub(super) fn fitting<'a>(shape: &Shape, table: &'a DataTable) -> (Vec<(&'a DataRow, Vec<Stored>)>, Vec<Reject>) {
    let (mut rows, mut rejects) = (Vec::with_capacity(table.rows.len()), Vec::new());
    for row in &table.rows {
        let mut values = Vec::with_capacity(row.cells.len());
        let mut bad = None;
        for ((name, _), cell) in table.columns.iter().zip(&row.cells) {
            // A column that a person took away holds nothing; `settle` has just made the ones that were missing.
            match shape.column(name).map_or(Ok(Stored::Null), |column| shape.stored(column, cell)) {
                Ok(value) => values.push(value),
                Err(reason) => {
                    bad = Some(reason);
                    break;
                }
            }
        }
        match bad {
            None => rows.push((row, values)),
            Some(reason) => {
                let raw: Vec<Value> = row.cells.iter().map(Cell::canonical).collect();
                rejects.push(Reject {
                    table: row.origin[2].as_integer().unwrap_or_default(),
                    row: row.origin[3].as_integer().unwrap_or_default(),
                    reason,
                    raw: Value::from(raw).to_string(),
                });
            }
        }
    }
    (rows, rejects)
}

/// Inserts the rows and says in `_ollmcp_rows` where they stand.
async fn insert(
    connection: &mut SqliteConnection,
    key: &LedgerKey,
    entry: i64,
    seq: &mut i64,
    shape: &Shape,
    table: &DataTable,
    rows: &[(&DataRow, Vec<Stored>)],
) -> Result<(), DatabaseError> {
    let mut names: Vec<String> = table.columns.iter().map(|(name, _)| quote(name)).collect();
    names.extend(PROVENANCE.iter().map(|(name, _)| quote(name)));
    let places: Vec<i64> = if shape.key_is_rowid {
        // A person's key is their row id: SQLite counts it.
        let group = vec!["?"; names.len()].join(", ");
        let sql = format!("insert into {} ({}) values ({group})", quote(&shape.name), names.join(", "));
        let mut places = Vec::with_capacity(rows.len());
        for (row, values) in rows {
            run(connection, sql.clone(), values.iter().cloned().chain(row.origin.iter().cloned()), true).await?;
            let last = fetch(connection, "select last_insert_rowid()".into(), []).await?;
            places.extend(last.first().and_then(|line| line[0].as_integer()));
        }
        places
    } else {
        let first = free_places(connection, key, shape, rows.len()).await?;
        let places: Vec<i64> = (first..).take(rows.len()).collect();
        let group = format!("({})", vec!["?"; names.len() + 1].join(", "));
        let chunk = (PARAMETERS_MAX / (names.len() + 1)).clamp(1, INSERT_ROWS_MAX);
        let head = format!("insert into {} (_rowid_, {}) values ", quote(&shape.name), names.join(", "));
        for (rows, places) in rows.chunks(chunk).zip(places.chunks(chunk)) {
            let sql = format!("{head}{}", vec![group.as_str(); rows.len()].join(", "));
            let values = rows.iter().zip(places).flat_map(|((row, values), place)| {
                std::iter::once(Stored::Integer(*place)).chain(values.iter().cloned()).chain(row.origin.iter().cloned())
            });
            run(connection, sql, values, rows.len() == chunk).await?;
        }
        places
    };
    let chunk = INSERT_ROWS_MAX;
    for (rows, places) in rows.chunks(chunk).zip(places.chunks(chunk)) {
        let sql = format!(
            "insert into _ollmcp_rows (entry, seq, tbl, place, hash, notes) values {}",
            vec!["(?, ?, ?, ?, ?, ?)"; rows.len()].join(", ")
        );
        let mut values = Vec::with_capacity(rows.len() * 6);
        for ((row, _), place) in rows.iter().zip(places) {
            values.extend([
                entry.into(),
                (*seq).into(),
                shape.id.into(),
                (*place).into(),
                Stored::Blob(row.hash(&table.columns)),
                row.notes(&table.columns).map_or(Stored::Null, Stored::Text),
            ]);
            *seq += 1;
        }
        run(connection, sql, values, rows.len() == chunk).await?;
    }
    Ok(())
}

/// The first of `len` row ids in a row that are free: from a hash of whose rows they are, so the same every time.
/// Project and identity are not in it: another project folder, or a changed file, gives the same table.
async fn free_places(
    connection: &mut SqliteConnection,
    key: &LedgerKey,
    shape: &Shape,
    len: usize,
) -> Result<i64, DatabaseError> {
    let table = quote(&shape.name);
    let last = i64::try_from(len.max(1) - 1).unwrap_or(i64::MAX);
    for salt in 0..64 {
        let seed = serde_json::json!([key.plan, key.step, key.item, salt]).to_string();
        let digest = Sha256::digest(seed);
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(&digest[..8]);
        // 53 bits in all: ids stay exact in every reader of JSON.
        let first =
            i64::try_from((u64::from_be_bytes(bytes) >> (64 - 53 + BLOCK_BITS)) << BLOCK_BITS).unwrap_or_default() + 1;
        let sql = format!("select 1 from {table} where _rowid_ between ? and ? limit 1");
        if fetch(connection, sql, [first.into(), (first + last).into()]).await?.is_empty() {
            return Ok(first);
        }
    }
    let highest = fetch(connection, format!("select coalesce(max(_rowid_), 0) from {table}"), []).await?;
    let highest = highest.first().and_then(|line| line[0].as_integer()).unwrap_or_default();
    highest.checked_add(1).filter(|first| first.checked_add(last).is_some()).ok_or_else(|| {
        DatabaseError::Target(format!("table `{}` has no row ids left; hint: name another table", shape.name))
    })
}

async fn reject(
    connection: &mut SqliteConnection,
    key: &LedgerKey,
    identity: &str,
    rejects: &[Reject],
) -> Result<(), DatabaseError> {
    let sql = "insert into _ollmcp_rejects \
               (identity, project, plan, step, item, table_number, row_number, reason, raw) \
               values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    for bad in rejects {
        let values = [
            identity.into(),
            key.project.as_str().into(),
            key.plan.as_str().into(),
            key.step.as_str().into(),
            key.item.as_str().into(),
            bad.table.into(),
            bad.row.into(),
            bad.reason.as_str().into(),
            bad.raw.as_str().into(),
        ];
        run(connection, sql.into(), values, true).await?;
    }
    Ok(())
}

/// Foreign keys of a person's table: seen before the commit, since enforcement is off while tables are rebuilt.
async fn foreign_keys(connection: &mut SqliteConnection, shape: &Shape) -> Result<(), DatabaseError> {
    let sql = "select \"parent\" from pragma_foreign_key_check(?) limit 1";
    let broken = fetch(connection, sql.into(), [shape.name.as_str().into()]).await?;
    match broken.first() {
        None => Ok(()),
        Some(line) => Err(DatabaseError::Target(format!(
            "rows of `{}` would point to rows that `{}` does not have; hint: fill that table first",
            shape.name,
            line[0].as_text().unwrap_or_default()
        ))),
    }
}
