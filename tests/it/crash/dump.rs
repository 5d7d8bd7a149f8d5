//! A database's data tables as one text: declared types, row ids and values, so that two can be compared.

use std::fmt::Write as _;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

/// Everything but the tables that keep books.
pub(super) fn dump(database: &Path) -> String {
    if !database.exists() {
        return "no database".to_owned();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(read(database))
}

async fn read(database: &Path) -> String {
    let mut connection = SqliteConnectOptions::new().filename(database).read_only(true).connect().await.unwrap();
    let sql = "select name from sqlite_master where type = 'table' and name not like '\\_ollmcp%' escape '\\' \
               and name not like 'sqlite\\_%' escape '\\' order by name";
    let tables = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let mut text = String::new();
    for table in tables {
        let table: String = table.get(0);
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns = sqlx::query(AssertSqlSafe(format!("pragma table_info({})", quoted(&table))));
        let columns = columns.fetch_all(&mut connection).await.unwrap();
        let columns: Vec<(String, String)> = columns.iter().map(|column| (column.get(1), column.get(2))).collect();
        writeln!(text, "{table}: {columns:?}").unwrap();
        let cells: Vec<String> = columns.iter().map(|(name, _)| format!("quote({})", quoted(name))).collect();
        let rows =
            format!("select rowid || ' ' || {} from {} order by rowid", cells.join(" || ', ' || "), quoted(&table));
        for row in sqlx::query(AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap() {
            writeln!(text, "{}", row.get::<String, _>(0)).unwrap();
        }
    }
    text
}
