//! Taking out the rows of an earlier version of an item, in the transaction that writes the new one.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::cell::{Cell, Class, Stored};
use super::connection::{each, fetch, run};
use super::layout::DataRow;
use super::names::{PROVENANCE, quote};
use super::schema::{self, Shape};
use super::{DatabaseError, LedgerKey};

/// Rows that were taken out.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// How many.
    pub(super) rows: u64,
    /// Widest class that was taken out, by table (lower-case) and column.
    pub(super) classes: HashMap<String, HashMap<String, Class>>,
}

/// Takes out the rows of earlier versions of this item and marks their ledger rows.
///
/// Rows of the item's own `entry` go too: there are some only where a person took its row out of the ledger, which
/// asks for it to be written again, not for its rows to be doubled.
pub(super) async fn supersede(
    connection: &mut SqliteConnection,
    key: &LedgerKey,
    entry: i64,
    identity: &str,
) -> Result<Removed, DatabaseError> {
    let mut removed = Removed::default();
    take_out_entry(connection, entry.into(), identity.into(), &mut removed).await?;
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
    for line in earlier {
        take_out_entry(connection, line[0].clone(), line[1].clone(), &mut removed).await?;
        let mark = "update _ollmcp_ledger set superseded_by = ? where entry = ?";
        run(connection, mark.into(), [key.run.to_string().into(), line[0].clone()], true).await?;
    }
    Ok(removed)
}

/// Deletes everything that one ledger entry wrote.
async fn take_out_entry(
    connection: &mut SqliteConnection,
    entry: Stored,
    identity: Stored,
    removed: &mut Removed,
) -> Result<(), DatabaseError> {
    let tables = fetch(
        connection,
        "select distinct t.name from _ollmcp_rows as r join _ollmcp_tables as t on t.id = r.tbl where r.entry = ?"
            .into(),
        [entry.clone()],
    )
    .await?;
    for table in &tables {
        let Some(name) = table[0].as_text() else { continue };
        match schema::shape(connection, name).await {
            Ok(Some(shape)) => take_out(connection, &shape, entry.clone(), removed).await?,
            // A table that a person dropped, or put a view in its place, has no rows of ours.
            Ok(None) | Err(DatabaseError::Target(_)) => {}
            Err(error) => return Err(error),
        }
    }
    run(connection, "delete from _ollmcp_rows where entry = ?".into(), [entry], true).await?;
    run(connection, "delete from _ollmcp_rejects where identity = ?".into(), [identity], true).await?;
    Ok(())
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
    let sql =
        format!("delete from {table} where _rowid_ in (select place from _ollmcp_rows where entry = ? and tbl = ?)");
    removed.rows += run(connection, sql, [entry, shape.id.into()], false).await?;
    for place in lost {
        removed.rows +=
            run(connection, format!("delete from {table} where _rowid_ = ?"), [place.into()], false).await?;
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
