//! The one transaction that writes an item: ledger first, rows of its earlier version out, rows in, checks, commit.
//!
//! A row of the ledger is the proof that its rows are written; it stands alone: nothing else says "done".
//! Row ids are given from a hash of plan, step and item, so that a table reads the same whatever was written first,
//! and the ids that the ledger remembers hold.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use super::cell::{Cell, Class, Stored};
use super::connection::{PARAMETERS_MAX, each, fetch, plain, run};
use super::layout::{DataRow, DataTable, Layout, Reject};
use super::names::{PROVENANCE, quote};
use super::schema::{self, Needed, Shape, settle};
use super::{DatabaseError, LedgerKey, TableCount, WriteJob, Written};
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

async fn inside(
    connection: &mut SqliteConnection,
    job: &WriteJob,
    layout: &Layout,
) -> Result<Written, DatabaseError> {
    schema::side_tables(connection).await?;
    let identity = job.key.identity.to_string();
    // A superseded row is the only one that may be taken again: the item changed back.
    let claim = "insert into _ollmcp_ledger \
                 (identity, project, plan, step, item, run, content_hash, rows, written) values (?, ?, ?, ?, ?, ?, ?, 0, '{}') \
                 on conflict (identity) do update set project = excluded.project, plan = excluded.plan, \
                 step = excluded.step, item = excluded.item, run = excluded.run, content_hash = excluded.content_hash, \
                 superseded_by = null where superseded_by is not null";
    let key = &job.key;
    let values = [
        identity.as_str().into(),
        key.project.as_str().into(),
        key.plan.as_str().into(),
        key.step.as_str().into(),
        key.item.as_str().into(),
        key.run.to_string().into(),
        layout.content.to_string().into(),
    ];
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
        return serde_json::from_str(written)
            .map_err(|error| DatabaseError::Failed(format!("the row ledger's entry of `{}` is damaged: {error}", key.item)));
    }
    let entry = entry[0].as_integer().unwrap_or_default();
    let removed = supersede(connection, key, &identity).await?;
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
            hold(connection, query, equals).await?;
        }
    }
    Ok(written)
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

/// Rows that were taken out.
#[derive(Debug, Default)]
struct Removed {
    rows: u64,
    /// Widest class that was taken out, by table (lower-case) and column.
    classes: HashMap<String, HashMap<String, Class>>,
}

/// Takes out the rows of earlier versions of this item and marks their ledger rows.
async fn supersede(
    connection: &mut SqliteConnection,
    key: &LedgerKey,
    identity: &str,
) -> Result<Removed, DatabaseError> {
    let earlier = fetch(
        connection,
        "select entry, identity from _ollmcp_ledger where project = ? and plan = ? and step = ? and item = ? \
         and identity <> ? and superseded_by is null"
            .into(),
        [
            key.project.as_str().into(),
            key.plan.as_str().into(),
            key.step.as_str().into(),
            key.item.as_str().into(),
            identity.into(),
        ],
    )
    .await?;
    let mut removed = Removed::default();
    for line in &earlier {
        let entry = line[0].clone();
        let tables = fetch(
            connection,
            "select distinct t.name from _ollmcp_rows as r join _ollmcp_tables as t on t.id = r.tbl where r.entry = ?"
                .into(),
            [entry.clone()],
        )
        .await?;
        for table in &tables {
            let Some(name) = table[0].as_text() else { continue };
            // A table that a person dropped, or put a view in its place, has no rows of ours.
            match schema::shape(connection, name).await {
                Ok(Some(shape)) => take_out(connection, &shape, entry.clone(), &mut removed).await?,
                Ok(None) | Err(DatabaseError::Target(_)) => {}
                Err(error) => return Err(error),
            }
        }
        run(connection, "delete from _ollmcp_rows where entry = ?".into(), [entry.clone()], true).await?;
        run(connection, "delete from _ollmcp_rejects where identity = ?".into(), [line[1].clone()], true).await?;
        run(
            connection,
            "update _ollmcp_ledger set superseded_by = ? where entry = ?".into(),
            [key.run.to_string().into(), entry],
            true,
        )
        .await?;
    }
    Ok(removed)
}

/// Deletes the rows of one ledger entry from one table.
async fn take_out(
    connection: &mut SqliteConnection,
    shape: &Shape,
    entry: Stored,
    removed: &mut Removed,
) -> Result<(), DatabaseError> {
    let table = quote(&shape.name);
    let classes = removed.classes.entry(shape.name.to_ascii_lowercase()).or_default();
    let columns: Vec<String> = shape.columns.iter().map(|column| format!("d.{}", quote(&column.name))).collect();
    let sql = format!(
        "select r.notes, {} from _ollmcp_rows as r join {table} as d on d._rowid_ = r.place where r.entry = ? and r.tbl = ?",
        columns.join(", ")
    );
    each(connection, sql, [entry.clone(), shape.id.into()], |line| {
        for (column, value) in shape.columns.iter().zip(&line[1..]) {
            let class = Cell::recover(value, schema::note_of(&line[0], &column.name).as_ref()).class();
            let widest = classes.entry(column.name.clone()).or_default();
            *widest = class.max(*widest);
        }
        true
    })
    .await?;
    // Before the delete: what it does not find was renumbered by a restored dump, and is looked for by its content.
    let lost = strays(connection, shape, entry.clone()).await?;
    let sql = format!("delete from {table} where _rowid_ in (select place from _ollmcp_rows where entry = ? and tbl = ?)");
    removed.rows += run(connection, sql, [entry, shape.id.into()], false).await?;
    for place in lost {
        removed.rows += run(connection, format!("delete from {table} where _rowid_ = ?"), [place.into()], false).await?;
    }
    Ok(())
}

/// Most rows that are compared by content with rows that do not stand at their place.
const STRAYS_MAX: usize = 200_000;

/// Row ids of rows that have the content of rows of this entry which do not stand where they were written.
async fn strays(connection: &mut SqliteConnection, shape: &Shape, entry: Stored) -> Result<Vec<i64>, DatabaseError> {
    let table = quote(&shape.name);
    let lost = fetch(
        connection,
        format!(
            "select r.hash, r.notes from _ollmcp_rows as r where r.entry = ? and r.tbl = ? \
             and not exists (select 1 from {table} as d where d._rowid_ = r.place) limit {STRAYS_MAX}"
        ),
        [entry, shape.id.into()],
    )
    .await?;
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let columns: Vec<String> = shape.columns.iter().map(|column| format!("d.{}", quote(&column.name))).collect();
    let sql = format!(
        "select d._rowid_, {} from {table} as d where not exists \
         (select 1 from _ollmcp_rows as r where r.tbl = ? and r.place = d._rowid_) limit {STRAYS_MAX}",
        columns.join(", ")
    );
    // Rows without notes are found by hash; one with notes is tried with each set of notes that is missing.
    let mut wanted: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut notes: Vec<Stored> = vec![Stored::Null];
    for line in &lost {
        if let Stored::Blob(hash) = &line[0] {
            *wanted.entry(hash.clone()).or_default() += 1;
        }
        if notes.len() < 1_000 && !notes.contains(&line[1]) {
            notes.push(line[1].clone());
        }
    }
    let mut found = Vec::new();
    each(connection, sql, [shape.id.into()], |line| {
        for notes in &notes {
            let hash = standing_hash(shape, &line[1..], notes);
            if let Some(left) = wanted.get_mut(&hash).filter(|left| **left > 0) {
                *left -= 1;
                found.extend(line[0].as_integer());
                break;
            }
        }
        true
    })
    .await?;
    Ok(found)
}

/// The digest of a row as it stands, to be compared with the one of [`DataRow::hash`].
fn standing_hash(shape: &Shape, values: &[Stored], notes: &Stored) -> Vec<u8> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let mut origin: [Stored; 5] = [const { Stored::Null }; 5];
    for (column, value) in shape.columns.iter().zip(values) {
        match PROVENANCE.iter().position(|(name, _)| name.eq_ignore_ascii_case(&column.name)) {
            Some(at) => origin[at] = value.clone(),
            None => {
                columns.push((column.name.clone(), 0));
                cells.push(Cell::recover(value, schema::note_of(notes, &column.name).as_ref()));
            }
        }
    }
    DataRow { cells, origin }.hash(&columns)
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
        let first = i64::try_from((u64::from_be_bytes(bytes) >> (64 - 53 + BLOCK_BITS)) << BLOCK_BITS).unwrap_or_default() + 1;
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

/// One `sql` check, inside the transaction, unable to write.
async fn hold(connection: &mut SqliteConnection, query: &str, equals: &Value) -> Result<(), DatabaseError> {
    let shown: String = query.chars().take(200).collect();
    super::statement::one_reading(query).map_err(|why| DatabaseError::Check(format!("check `{shown}`: {why}")))?;
    plain(connection, "pragma query_only = on").await?;
    let mut found = None;
    let asked = each(connection, query.to_owned(), [], |line| {
        found = line.into_iter().next();
        false
    })
    .await;
    plain(connection, "pragma query_only = off").await?;
    match asked {
        Err(DatabaseError::Busy(why)) => return Err(DatabaseError::Busy(why)),
        Err(error) => return Err(DatabaseError::Check(format!("check `{shown}` cannot be asked: {error}"))),
        Ok(()) => {}
    }
    let Some(found) = found else {
        return Err(DatabaseError::Check(format!("check `{shown}` gave no row, expected {equals}")));
    };
    if matches_json(&found, equals) {
        return Ok(());
    }
    Err(DatabaseError::Check(format!("check `{shown}` gave {}, expected {equals}", found.shown())))
}

/// Numbers by value, booleans as SQLite has them, text as text.
fn matches_json(found: &Stored, equals: &Value) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "whole numbers are compared as such first")]
    match (found, equals) {
        (Stored::Null, Value::Null) => true,
        (Stored::Integer(number), Value::Bool(flag)) => *number == i64::from(*flag),
        (Stored::Integer(number), Value::Number(wanted)) => {
            wanted.as_i64().map_or_else(|| wanted.as_f64() == Some(*number as f64), |wanted| wanted == *number)
        }
        (Stored::Real(number), Value::Number(wanted)) => wanted.as_f64() == Some(*number),
        (Stored::Text(text), Value::String(wanted)) => text == wanted,
        // A template that is not bare gives text.
        (Stored::Integer(_) | Stored::Real(_), Value::String(wanted)) => {
            wanted.parse::<f64>().is_ok_and(|wanted| schema::same(&Stored::Real(wanted), found))
        }
        _ => false,
    }
}
