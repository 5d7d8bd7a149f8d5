//! Reading: whether an item stands, rows for people, one query, the schema.

use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use super::cell::Stored;
use super::connection::{each, each_named, fetch};
use super::names::quote;
use super::sqlite::parameter;
use super::{DatabaseError, RowsPage};
use crate::domain::ids::Digest;

/// Most tables that the schema names.
pub const SCHEMA_TABLES_MAX: usize = 500;

/// Most rows that the schema counts of one table.
pub const SCHEMA_ROWS_MAX: i64 = 1_000_000;

/// Whether a side table is there: a database of another program has none.
pub(super) async fn has_ledger(connection: &mut SqliteConnection) -> Result<bool, DatabaseError> {
    let sql = "select count(*) from sqlite_master where type = 'table' and name in \
               ('_ollmcp_ledger', '_ollmcp_tables', '_ollmcp_rows', '_ollmcp_rejects')";
    Ok(fetch(connection, sql.into(), []).await?.first().is_some_and(|line| line[0] == Stored::Integer(4)))
}

/// Whether the ledger has this identity, not superseded, and its rows are there as far as a table or all of them in one
/// can be missing. Single rows are for `verify`: whoever deleted one may have meant it.
pub(super) async fn stands(connection: &mut SqliteConnection, identity: &Digest) -> Result<bool, DatabaseError> {
    if !has_ledger(connection).await? {
        return Ok(false);
    }
    let sql = "select entry from _ollmcp_ledger where identity = ? and superseded_by is null";
    match fetch(connection, sql.into(), [identity.to_string().into()]).await?.first() {
        Some(line) => lacks_a_table(connection, &line[0]).await.map(|lacks| !lacks),
        None => Ok(false),
    }
}

/// Whether all rows that a ledger entry has in one of its tables are gone, with the table or without it.
pub(super) async fn lacks_a_table(connection: &mut SqliteConnection, entry: &Stored) -> Result<bool, DatabaseError> {
    let sql = "select distinct t.id, t.name, m.name is not null from _ollmcp_rows as r \
               join _ollmcp_tables as t on t.id = r.tbl \
               left join sqlite_master as m on m.type = 'table' and m.name = t.name collate nocase where r.entry = ?";
    for line in fetch(connection, sql.into(), [entry.clone()]).await? {
        let name = line[1].as_text().unwrap_or_default();
        if line[2] != Stored::Integer(1) {
            return Ok(true);
        }
        let sql = format!(
            "select 1 from {} where _rowid_ in (select place from _ollmcp_rows where entry = ? and tbl = ?) limit 1",
            quote(name)
        );
        if fetch(connection, sql, [entry.clone(), line[0].clone()]).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rows of these ledger entries, table by table in the order of their names.
pub(super) async fn rows(
    connection: &mut SqliteConnection,
    identities: &[Digest],
    table: Option<&str>,
    limit: u64,
) -> Result<Vec<RowsPage>, DatabaseError> {
    if !has_ledger(connection).await? {
        return Ok(Vec::new());
    }
    let list = Value::from(identities.iter().map(|identity| Value::from(identity.to_string())).collect::<Vec<_>>());
    let entries = "select entry from _ollmcp_ledger where superseded_by is null \
                   and identity in (select value from json_each(?))";
    let tables = fetch(
        connection,
        format!(
            "select id, name from _ollmcp_tables where id in (select tbl from _ollmcp_rows where entry in ({entries})) \
             and name in (select name from sqlite_master where type = 'table') order by name"
        ),
        [list.to_string().into()],
    )
    .await?;
    let mut pages = Vec::new();
    for line in &tables {
        let name = line[1].as_text().unwrap_or_default();
        if table.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(name)) {
            continue;
        }
        let columns = fetch(connection, "select name from pragma_table_info(?)".into(), [name.into()]).await?;
        let columns: Vec<String> = columns.iter().filter_map(|line| line[0].as_text()).map(str::to_owned).collect();
        let picked: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        // Row ids say nothing to people: rows come as they stood in their files.
        let provenance =
            ["_file", "_page", "_table", "_row"].iter().filter(|own| columns.iter().any(|name| name == *own));
        let order: String = provenance.map(|name| format!("{}, ", quote(name))).collect();
        let sql = format!(
            "select {} from {} where _rowid_ in (select place from _ollmcp_rows where tbl = ? and entry in ({entries})) \
             order by {order}_rowid_ limit ?",
            picked.join(", "),
            quote(name)
        );
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        each(connection, sql, [line[0].clone(), list.to_string().into(), limit.into()], |line| {
            rows.push(line.iter().map(Stored::to_json).collect());
            true
        })
        .await?;
        pages.push(RowsPage { table: name.to_owned(), columns, rows });
    }
    Ok(pages)
}

/// One checked statement; rows as objects. Columns of one name get numbers, so that none is lost.
pub(super) async fn query(
    connection: &mut SqliteConnection,
    sql: &str,
    params: &[Value],
    mut take: impl FnMut(Map<String, Value>) -> bool + Send,
) -> Result<(), DatabaseError> {
    each_named(connection, sql.to_owned(), params.iter().map(parameter), |names, line| {
        let mut row = Map::with_capacity(names.len());
        for (name, value) in names.into_iter().zip(&line) {
            let mut unique = name.clone();
            let mut number = 2;
            while row.contains_key(&unique) {
                unique = format!("{name}_{number}");
                number += 1;
            }
            row.insert(unique, value.to_json());
        }
        take(row)
    })
    .await
}

/// One table or view.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TableSchema {
    /// Its name.
    pub name: String,
    /// `table` or `view`.
    pub kind: String,
    /// Rows of a table, counted up to [`SCHEMA_ROWS_MAX`].
    pub rows: Option<i64>,
    /// Columns in their order.
    pub columns: Vec<ColumnSchema>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ColumnSchema {
    /// Its name.
    pub name: String,
    /// Its declared type; empty if there is none.
    #[serde(rename = "type")]
    pub declared: String,
}

/// Tables and views, without SQLite's own and our side tables.
pub(super) async fn schema(connection: &mut SqliteConnection) -> Result<Vec<TableSchema>, DatabaseError> {
    let sql = format!(
        "select name, type from sqlite_master where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\' \
         and name not like '\\_ollmcp\\_%' escape '\\' order by name limit {SCHEMA_TABLES_MAX}"
    );
    let mut tables = Vec::new();
    for line in fetch(connection, sql, []).await? {
        let name = line[0].as_text().unwrap_or_default().to_owned();
        let kind = line[1].as_text().unwrap_or_default().to_owned();
        let columns =
            fetch(connection, "select name, type from pragma_table_info(?)".into(), [name.as_str().into()]).await;
        // A view over a table that is gone has no columns to tell.
        let columns = columns.unwrap_or_default();
        let rows = if kind == "table" {
            let sql = format!("select count(*) from (select 1 from {} limit {SCHEMA_ROWS_MAX})", quote(&name));
            fetch(connection, sql, []).await?.first().and_then(|line| line[0].as_integer())
        } else {
            None
        };
        let text = |value: &Stored| value.as_text().unwrap_or_default().to_owned();
        let columns =
            columns.iter().map(|line| ColumnSchema { name: text(&line[0]), declared: text(&line[1]) }).collect();
        tables.push(TableSchema { name, kind, rows, columns });
    }
    Ok(tables)
}
