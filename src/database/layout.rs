//! What an item's tables become: data tables, columns, rows, rejects. Pure and the same for writing and verifying.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::cell::{Cell, Stored};
use super::{DatabaseError, Provenance, SourceTable, Target, names};
use crate::domain::ids::Digest;

/// Longest text of one cell, in bytes; a row with a longer one is set aside.
pub const CELL_BYTES_MAX: usize = 1 << 20;

/// Most columns that come from headers: SQLite takes 2 000 in a table or a result, five are ours, and the row id and a
/// note are asked for beside them.
pub const COLUMNS_MAX: usize = 1_990;

/// Most bytes of a bad row that are kept beside its reason.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// What one item writes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Data tables, each once, in the order in which the item names them.
    pub(super) tables: Vec<DataTable>,
    /// Rows that no table takes.
    pub(super) rejects: Vec<Reject>,
    /// SHA-256 of all of it.
    pub(super) content: Digest,
}

/// Rows for one data table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DataTable {
    /// Its name.
    pub(super) name: String,
    /// Its columns, each with the first place that a header gives it.
    pub(super) columns: Vec<(String, i64)>,
    /// Rows, each with as many cells as there are columns.
    pub(super) rows: Vec<DataRow>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DataRow {
    /// Cells in the order of [`DataTable::columns`].
    pub(super) cells: Vec<Cell>,
    /// The provenance columns.
    pub(super) origin: [Stored; 5],
}

/// A bad row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reject {
    /// Number of the table, from 1.
    pub(super) table: i64,
    /// Number of the row in its table, from 1.
    pub(super) row: i64,
    /// One sentence.
    pub(super) reason: String,
    /// The row as JSON, cut.
    pub(super) raw: String,
}

impl DataRow {
    /// Digest of what was written: the same whatever types the columns have by now, and whatever columns came later.
    pub(super) fn hash(&self, columns: &[(String, i64)]) -> Vec<u8> {
        let cells: BTreeMap<&str, &Cell> = columns.iter().map(|(name, _)| name.as_str()).zip(&self.cells).collect();
        let mut hasher = Sha256::new();
        let origin: Vec<Value> = self.origin.iter().map(Stored::to_json).collect();
        hasher.update(Value::from(origin).to_string());
        for (name, cell) in cells {
            if *cell != Cell::Empty {
                hasher.update(json!([name, cell.canonical()]).to_string());
            }
        }
        hasher.finalize()[..16].to_vec()
    }

    /// The words that numbers do not give back, by column; `None` if there are none.
    pub(super) fn notes(&self, columns: &[(String, i64)]) -> Option<String> {
        let notes: Map<String, Value> = columns
            .iter()
            .zip(&self.cells)
            .filter_map(|((name, _), cell)| cell.note().map(|raw| (name.clone(), raw.clone())))
            .collect();
        (!notes.is_empty()).then(|| Value::Object(notes).to_string())
    }
}

/// Lays out the tables of one item.
///
/// # Errors
/// [`DatabaseError::Target`] for a table name that cannot be.
pub(super) fn lay_out(target: &Target, sources: &[SourceTable]) -> Result<Layout, DatabaseError> {
    if let Target::Named(name) = target {
        names::check_table(name)?;
    }
    let mut tables: Vec<DataTable> = Vec::new();
    let mut rejects = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let number = source.provenance.table.map_or_else(|| i64::try_from(at + 1).unwrap_or(i64::MAX), i64::from);
        let whole = if source.headers.is_empty() && !source.rows.is_empty() {
            Some("its table has no column names".to_owned())
        } else if source.headers.len() > COLUMNS_MAX {
            Some(format!("its table has {} columns, at most {COLUMNS_MAX} fit", source.headers.len()))
        } else {
            None
        };
        let columns = if whole.is_none() { names::columns(&source.headers) } else { Vec::new() };
        let mut good = Vec::new();
        for (row_at, row) in source.rows.iter().enumerate() {
            let row_number = i64::try_from(row_at + 1).unwrap_or(i64::MAX);
            let read = whole.clone().map_or_else(|| read_row(row, &columns), Err);
            match read {
                Ok(cells) => good.push(DataRow { cells, origin: origin(&source.provenance, number, row_number) }),
                Err(reason) => rejects.push(Reject { table: number, row: row_number, reason, raw: cut(row) }),
            }
        }
        // A table of the item whose rows are all bad, or that has none, makes no data table: an empty find leaves no trace.
        if good.is_empty() {
            continue;
        }
        let name = match target {
            Target::Auto => names::auto_table(&columns),
            Target::Named(name) => name.clone(),
        };
        add(&mut tables, &name, &columns, good);
    }
    for table in &tables {
        if table.columns.len() > COLUMNS_MAX {
            return Err(DatabaseError::Target(format!(
                "table `{}` would have {} columns, at most {COLUMNS_MAX} fit; hint: use `table: auto`",
                table.name,
                table.columns.len()
            )));
        }
    }
    let content = digest(&tables, &rejects);
    Ok(Layout { tables, rejects, content })
}

/// Adds rows to the table of this name; its columns are the union.
fn add(tables: &mut Vec<DataTable>, name: &str, columns: &[String], rows: Vec<DataRow>) {
    let place = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let Some(table) = tables.iter_mut().find(|table| table.name == name) else {
        let columns = columns.iter().enumerate().map(|(at, column)| (column.clone(), place(at))).collect();
        tables.push(DataTable { name: name.to_owned(), columns, rows });
        return;
    };
    let mut places = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let known = table.columns.iter().position(|(known, _)| known == column);
        let known = known.unwrap_or_else(|| {
            table.columns.push((column.clone(), place(at)));
            table.columns.len() - 1
        });
        table.columns[known].1 = table.columns[known].1.min(place(at));
        places.push(known);
    }
    let width = table.columns.len();
    for row in &mut table.rows {
        row.cells.resize(width, Cell::Empty);
    }
    table.rows.extend(rows.into_iter().map(|row| {
        let mut cells = vec![Cell::Empty; width];
        for (cell, &known) in row.cells.into_iter().zip(&places) {
            cells[known] = cell;
        }
        DataRow { cells, origin: row.origin }
    }));
}

fn origin(provenance: &Provenance, table: i64, row: i64) -> [Stored; 5] {
    [
        provenance.file.clone().map_or(Stored::Null, Stored::Text),
        provenance.page.map_or(Stored::Null, |page| Stored::Integer(page.into())),
        Stored::Integer(table),
        Stored::Integer(row),
        provenance
            .confidence
            .filter(|number| number.is_finite())
            .map_or(Stored::Null, |number| Stored::Real(number + 0.0)),
    ]
}

fn read_row(row: &[Value], columns: &[String]) -> Result<Vec<Cell>, String> {
    if row.len() != columns.len() {
        let cells = if row.len() == 1 { "cell" } else { "cells" };
        let names = if columns.len() == 1 { "column" } else { "columns" };
        return Err(format!("it has {} {cells}, its table has {} {names}", row.len(), columns.len()));
    }
    let mut cells = Vec::with_capacity(row.len());
    for (value, column) in row.iter().zip(columns) {
        let cell = Cell::read(value);
        if let Cell::Text(text) = &cell {
            if text.len() > CELL_BYTES_MAX {
                return Err(format!("`{column}` has {} bytes, at most {CELL_BYTES_MAX} are taken", text.len()));
            }
            if text.contains('\0') {
                return Err(format!("`{column}` has a NUL character"));
            }
        }
        cells.push(cell);
    }
    Ok(cells)
}

fn cut(row: &[Value]) -> String {
    let mut raw = Value::from(row.to_vec()).to_string();
    if raw.len() > RAW_BYTES_MAX {
        let mut end = RAW_BYTES_MAX;
        while !raw.is_char_boundary(end) {
            end -= 1;
        }
        raw.truncate(end);
        raw.push('…');
    }
    raw
}

fn digest(tables: &[DataTable], rejects: &[Reject]) -> Digest {
    let mut hasher = Sha256::new();
    for table in tables {
        hasher.update(json!(["table", table.name]).to_string());
        for row in &table.rows {
            hasher.update(row.hash(&table.columns));
        }
    }
    for reject in rejects {
        hasher.update(json!(["reject", reject.table, reject.row, reject.reason, reject.raw]).to_string());
    }
    Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(headers: &[&str], rows: Value) -> SourceTable {
        crate::database::table_from_lists(&headers.iter().map(|&h| h.into()).collect::<Vec<_>>(), &rows).unwrap()
    }

    #[test]
    fn bad_rows_are_set_aside_with_their_number_and_reason() {
        let long = "x".repeat(CELL_BYTES_MAX + 1);
        let rows = json!([["1", "a"], ["2"], ["3", "b", "c"], ["4", long], ["5", "x\0y"], ["6", "z"]]);
        let layout = lay_out(&Target::Auto, &[source(&["N", "T"], rows)]).unwrap();
        let numbers: Vec<_> = layout.tables[0].rows.iter().map(|row| row.origin[3].clone()).collect();
        assert_eq!(numbers, [Stored::Integer(1), Stored::Integer(6)]);
        let reasons: Vec<_> = layout.rejects.iter().map(|reject| (reject.row, reject.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (2, "it has 1 cell, its table has 2 columns"),
                (3, "it has 3 cells, its table has 2 columns"),
                (4, "`t` has 1048577 bytes, at most 1048576 are taken"),
                (5, "`t` has a NUL character"),
            ]
        );
        assert!(layout.rejects[2].raw.len() <= RAW_BYTES_MAX + 3);
    }

    #[test]
    fn tables_without_usable_headers_are_all_rejects() {
        let wide: Vec<String> = (0..=COLUMNS_MAX).map(|n| n.to_string()).collect();
        let wide =
            SourceTable { headers: wide.clone(), rows: vec![vec![json!(1); wide.len()]], ..source(&[], json!([])) };
        let layout = lay_out(&Target::Auto, &[source(&[], json!([["a"], []])), wide]).unwrap();
        assert!(layout.tables.is_empty());
        assert_eq!(layout.rejects.len(), 3);
        assert!(layout.rejects[2].reason.contains("1991 columns"), "{}", layout.rejects[2].reason);
        assert_eq!(lay_out(&Target::Auto, &[source(&[], json!([]))]).unwrap().rejects, []);
    }

    #[test]
    fn one_named_table_takes_the_union_of_columns() {
        let sources = [source(&["a", "b"], json!([[1, 2]])), source(&["c", "a"], json!([[3, 4]]))];
        let layout = lay_out(&Target::Named("all".into()), &sources).unwrap();
        assert_eq!(layout.tables.len(), 1);
        assert_eq!(layout.tables[0].columns, [("a".into(), 0), ("b".into(), 1), ("c".into(), 0)]);
        assert_eq!(layout.tables[0].rows[1].cells, [Cell::Integer(4, None), Cell::Empty, Cell::Integer(3, None)]);
    }
}
