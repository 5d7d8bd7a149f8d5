//! Tables: the side tables of the row ledger, and data tables that are made, widened and narrowed in the writing
//! transaction.
//!
//! A data table that we made is a function of the rows that stand in it: a column's declared type is the widest class
//! of its values, columns stand in the order of the first place that any header list gave them (names decide between
//! equals). So the result is the same in whatever order items are written. SQLite cannot change a declared type:
//! the table is rebuilt (lang_altertable.html §7), with its row ids, and a person's indexes and triggers.
//!
//! A table that a person made is taken if it has the provenance columns; its types are left alone.

use std::collections::HashMap;

use serde_json::{Map, Value};
use sqlx::SqliteConnection;

use super::DatabaseError;
use super::cell::{Cell, Class, Stored};
use super::connection::{each, fetch, run};
use super::names::{PROVENANCE, quote};

/// Format of the side tables.
const FORMAT: &str = "1";

/// Side tables, each made only if it is not there.
///
/// `_ollmcp_rows` says where each written row stands: row ids hold because they are given, not counted, and because
/// an index on `_file` keeps VACUUM from renumbering them.
const SIDE_TABLES: &str = "
create table if not exists _ollmcp_meta (key text primary key, value text not null) without rowid;
insert or ignore into _ollmcp_meta (key, value) values ('format', '1');
create table if not exists _ollmcp_ledger (
    entry integer primary key, identity text not null unique, project text not null, plan text not null,
    step text not null, item text not null, run text not null, content_hash text not null, rows integer not null,
    written text not null, superseded_by text);
create index if not exists _ollmcp_ledger_item on _ollmcp_ledger (project, plan, step, item);
create table if not exists _ollmcp_tables (id integer primary key, name text not null unique collate nocase, made integer not null);
create table if not exists _ollmcp_columns (tbl integer not null, name text not null, place integer not null, primary key (tbl, name)) without rowid;
create table if not exists _ollmcp_rows (
    entry integer not null, seq integer not null, tbl integer not null, place integer not null, hash blob not null,
    notes text, primary key (entry, seq)) without rowid;
create index if not exists _ollmcp_rows_place on _ollmcp_rows (tbl, place);
create table if not exists _ollmcp_rejects (
    identity text not null, project text not null, plan text not null, step text not null, item text not null,
    table_number integer not null, row_number integer not null, reason text not null, raw text not null);
create index if not exists _ollmcp_rejects_identity on _ollmcp_rejects (identity);
";

/// Makes the side tables where they are missing.
pub(super) async fn side_tables(connection: &mut SqliteConnection) -> Result<(), DatabaseError> {
    sqlx::raw_sql(SIDE_TABLES).execute(&mut *connection).await.map_err(|error| super::connection::fault(&error))?;
    let format = fetch(connection, "select value from _ollmcp_meta where key = 'format'".into(), []).await?;
    match format.first().and_then(|line| line[0].as_text()) {
        Some(FORMAT) => Ok(()),
        other => Err(DatabaseError::Failed(format!(
            "its row ledger has format `{}`, this version knows `{FORMAT}`; hint: use the version that wrote it",
            other.unwrap_or_default()
        ))),
    }
}

/// A table as it stands.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Id in `_ollmcp_tables`.
    pub(super) id: i64,
    /// Its name as it stands.
    pub(super) name: String,
    /// Whether we made it, and so its types follow its rows.
    pub(super) made: bool,
    /// Whether a person's INTEGER PRIMARY KEY is its row id.
    pub(super) key_is_rowid: bool,
    /// All columns, in their order.
    pub(super) columns: Vec<Standing>,
}

/// A column as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    /// Its name.
    pub(super) name: String,
    /// Its declared type.
    pub(super) declared: String,
    /// `not null`, `default …`: only a person writes them.
    extras: String,
}

impl Shape {
    /// The column of this name. ASCII case does not count, as in SQLite.
    pub(super) fn column(&self, name: &str) -> Option<&Standing> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// What stands in `column` for `cell`, or why it cannot.
    pub(super) fn stored(&self, column: &Standing, cell: &Cell) -> Result<Stored, String> {
        let class = Class::of_declared(&column.declared);
        if self.made {
            return Ok(cell.stored(class));
        }
        match (cell, class) {
            (Cell::Text(_), Class::Integer | Class::Real) => Err(format!(
                "column `{}` of this table takes numbers ({}), the value is text",
                column.name, column.declared
            )),
            (_, Class::Text) => Ok(cell.stored(Class::Text)),
            _ => Ok(cell.stored(cell.class())),
        }
    }
}

/// Whether two values are one: numbers by value.
pub(super) fn same(one: &Stored, other: &Stored) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "ours are at most 2^53; beyond it the types differ anyway")]
    match (one, other) {
        (Stored::Integer(whole), Stored::Real(real)) | (Stored::Real(real), Stored::Integer(whole)) => {
            *whole as f64 == *real
        }
        _ => one == other,
    }
}

/// A column that rows need: its name, the place in their headers, the widest class of their values.
pub(super) type Needed = (String, i64, Class);

/// Reads the shape of a table; `None` if there is none of this name.
pub(super) async fn shape(connection: &mut SqliteConnection, name: &str) -> Result<Option<Shape>, DatabaseError> {
    let found = fetch(
        connection,
        "select m.name, m.type, t.id, t.made from sqlite_master as m left join _ollmcp_tables as t on t.name = m.name \
         where m.name = ? collate nocase and m.type <> 'trigger'"
            .into(),
        [name.into()],
    )
    .await?;
    let Some(line) = found.first() else { return Ok(None) };
    let standing = line[0].as_text().unwrap_or(name).to_owned();
    let kind = line[1].as_text().unwrap_or_default();
    let refuse = |what: &str| {
        Err(DatabaseError::Target(format!("`{standing}` is {what}; hint: name another table, or use `table: auto`")))
    };
    if kind != "table" {
        return refuse(&format!("{} {kind}", if kind == "index" { "an" } else { "a" }));
    }
    let listed = fetch(
        connection,
        "select type, wr from pragma_table_list where schema = 'main' and name = ?".into(),
        [standing.as_str().into()],
    )
    .await?;
    match listed.first().map(|line| (line[0].as_text().unwrap_or_default().to_owned(), line[1].as_integer())) {
        Some((kind, _)) if kind != "table" => return refuse(&format!("a {kind} table")),
        Some((_, Some(1))) => return refuse("a table without row ids"),
        _ => {}
    }
    let info = fetch(
        connection,
        "select name, type, \"notnull\", dflt_value, pk, hidden from pragma_table_xinfo(?)".into(),
        [standing.as_str().into()],
    )
    .await?;
    let mut columns = Vec::with_capacity(info.len());
    let (mut keys, mut key_is_rowid) = (0, false);
    for line in &info {
        let declared = line[1].as_text().unwrap_or_default().to_owned();
        if line[4] != Stored::Integer(0) {
            keys += 1;
            key_is_rowid = declared.eq_ignore_ascii_case("INTEGER");
        }
        if line[5] != Stored::Integer(0) {
            continue; // generated: nobody writes it
        }
        let mut extras = String::new();
        if line[2] == Stored::Integer(1) {
            extras.push_str(" NOT NULL");
        }
        if let Some(default) = line[3].as_text() {
            extras.push_str(&format!(" DEFAULT ({default})"));
        }
        columns.push(Standing { name: line[0].as_text().unwrap_or_default().to_owned(), declared, extras });
    }
    let made = line[3] == Stored::Integer(1);
    let shape = Shape {
        id: line[2].as_integer().unwrap_or_default(),
        name: standing.clone(),
        made,
        key_is_rowid: keys == 1 && key_is_rowid,
        columns,
    };
    if PROVENANCE.iter().any(|(column, _)| shape.column(column).is_none()) {
        return refuse(
            "a table that ollmcp did not make: it lacks the columns `_file`, `_page`, `_table`, `_row`, `_confidence`, \
             without which its rows cannot be proved; add them,",
        );
    }
    Ok(Some(shape))
}

/// Makes a table take rows that need these columns; gives its shape afterwards.
///
/// `removed` has the widest class of the rows that were just taken out of it, by column: where nothing as wide is
/// left, the column narrows again, as if those rows had never been.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    name: &str,
    needed: &[Needed],
    removed: &HashMap<String, Class>,
) -> Result<Shape, DatabaseError> {
    let Some(standing) = shape(connection, name).await? else {
        return make(connection, name, needed).await;
    };
    if standing.id == 0 {
        run(
            connection,
            "insert into _ollmcp_tables (name, made) values (?, 0)".into(),
            [standing.name.as_str().into()],
            false,
        )
        .await?;
    }
    if !standing.made {
        for (column, _, _) in needed {
            if standing.column(column).is_none() {
                let sql = format!("alter table {} add column {}", quote(&standing.name), quote(column));
                run(connection, sql, [], false).await?;
            }
        }
        return reread(connection, name).await;
    }
    let mut places = places(connection, standing.id).await?;
    let mut wanted: Vec<(i64, Standing, Class)> = Vec::new();
    for column in &standing.columns {
        let Some(&place) = places.get(&column.name) else { continue };
        let current = Class::of_declared(&column.declared);
        let new = needed.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(&column.name));
        let new_class = new.map_or(Class::Empty, |(_, _, class)| *class);
        let narrows = current > new_class && removed.get(&column.name) == Some(&current);
        let left = if narrows { widest(connection, &standing, &column.name, current).await? } else { current };
        let place = new.map_or(place, |(_, new, _)| place.min(*new));
        wanted.push((place, column.clone(), left.max(new_class)));
    }
    for (column, place, class) in needed {
        if wanted.iter().any(|(_, known, _)| known.name.eq_ignore_ascii_case(column)) {
            continue;
        }
        // Ours from now on, whether a person had added it or not.
        let known = standing.column(column).cloned();
        let class = known.as_ref().map_or(*class, |known| Class::of_declared(&known.declared).max(*class));
        let known =
            known.unwrap_or_else(|| Standing { name: column.clone(), declared: String::new(), extras: String::new() });
        wanted.push((*place, known, class));
    }
    wanted.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
    for (place, column, _) in &wanted {
        if places.insert(column.name.clone(), *place) != Some(*place) {
            place_column(connection, standing.id, &column.name, *place).await?;
        }
    }
    let mut columns: Vec<Standing> = wanted
        .into_iter()
        .map(|(_, column, class)| {
            // A person's type stays while it holds the values.
            let keep = Class::of_declared(&column.declared) == class;
            Standing { declared: if keep { column.declared } else { class.declared().to_owned() }, ..column }
        })
        .collect();
    let ours = |name: &str| PROVENANCE.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name));
    columns.extend(standing.columns.iter().filter(|column| ours(&column.name)).cloned());
    let others: Vec<Standing> = standing
        .columns
        .iter()
        .filter(|column| columns.iter().all(|known| known.name != column.name))
        .cloned()
        .collect();
    columns.extend(others);
    if columns == standing.columns {
        return Ok(standing);
    }
    rebuild(connection, &standing, &columns).await?;
    reread(connection, name).await
}

async fn reread(connection: &mut SqliteConnection, name: &str) -> Result<Shape, DatabaseError> {
    let vanished = || DatabaseError::Failed(format!("table `{name}` vanished inside a transaction"));
    shape(connection, name).await?.ok_or_else(vanished)
}

async fn make(connection: &mut SqliteConnection, name: &str, needed: &[Needed]) -> Result<Shape, DatabaseError> {
    let mut needed = needed.to_vec();
    needed.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    let mut columns: Vec<Standing> = needed
        .iter()
        .map(|(name, _, class)| Standing {
            name: name.clone(),
            declared: class.declared().into(),
            extras: String::new(),
        })
        .collect();
    columns.extend(PROVENANCE.iter().map(|(name, kind)| Standing {
        name: (*name).into(),
        declared: (*kind).into(),
        extras: String::new(),
    }));
    run(connection, create(name, &columns), [], false).await?;
    run(connection, file_index(name), [], false).await?;
    let listed =
        "insert into _ollmcp_tables (name, made) values (?, 1) on conflict (name) do update set made = 1 returning id";
    let lines = fetch(connection, listed.into(), [name.into()]).await?;
    let id = lines.first().and_then(|line| line[0].as_integer()).unwrap_or_default();
    // Of a table of the same name that a person dropped.
    run(connection, "delete from _ollmcp_columns where tbl = ?".into(), [id.into()], false).await?;
    for (column, place, _) in &needed {
        place_column(connection, id, column, *place).await?;
    }
    reread(connection, name).await
}

fn create(name: &str, columns: &[Standing]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            let space = if column.declared.is_empty() { "" } else { " " };
            format!("{}{space}{}{}", quote(&column.name), column.declared, column.extras)
        })
        .collect();
    format!("create table {} ({})", quote(name), columns.join(", "))
}

fn file_index(name: &str) -> String {
    format!("create index {} on {} (\"_file\")", quote(&format!("_ollmcp_file_{name}")), quote(name))
}

async fn places(connection: &mut SqliteConnection, id: i64) -> Result<HashMap<String, i64>, DatabaseError> {
    let lines = fetch(connection, "select name, place from _ollmcp_columns where tbl = ?".into(), [id.into()]).await?;
    let pair = |line: &Vec<Stored>| Some((line[0].as_text()?.to_owned(), line[1].as_integer()?));
    Ok(lines.iter().filter_map(pair).collect())
}

async fn place_column(
    connection: &mut SqliteConnection,
    id: i64,
    column: &str,
    place: i64,
) -> Result<(), DatabaseError> {
    let sql = "insert into _ollmcp_columns (tbl, name, place) values (?, ?, ?) \
               on conflict (tbl, name) do update set place = excluded.place";
    run(connection, sql.into(), [id.into(), column.into(), place.into()], true).await?;
    Ok(())
}

/// The note of one column in the notes of a row.
pub(super) fn note_of(notes: &Stored, column: &str) -> Option<Value> {
    let notes: Map<String, Value> = serde_json::from_str(notes.as_text()?).ok()?;
    // A column that a person had added may be written with capitals.
    notes
        .get(column)
        .or_else(|| notes.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, raw)| raw))
        .cloned()
}

/// The widest class that stands in a column; stops looking at `enough`.
async fn widest(
    connection: &mut SqliteConnection,
    table: &Shape,
    column: &str,
    enough: Class,
) -> Result<Class, DatabaseError> {
    let sql = format!(
        "select d.{}, r.notes from {} as d left join _ollmcp_rows as r on r.tbl = ? and r.place = d._rowid_",
        quote(column),
        quote(&table.name)
    );
    let mut found = Class::Empty;
    each(connection, sql, [table.id.into()], |line| {
        found = found.max(Cell::recover(&line[0], note_of(&line[1], column).as_ref()).class());
        found < enough
    })
    .await?;
    Ok(found)
}

/// Name of a table while it is rebuilt; never seen outside the transaction.
const REBUILT: &str = "_ollmcp_rebuilt";

/// Rows that are read at once while values get their new form.
const REBUILD_ROWS: i64 = 500;

/// Gives a table these columns: copies it, drops it, and puts the copy in its place with the same row ids.
async fn rebuild(connection: &mut SqliteConnection, old: &Shape, columns: &[Standing]) -> Result<(), DatabaseError> {
    let attached = fetch(
        connection,
        "select sql from sqlite_master where tbl_name = ? collate nocase and type in ('index', 'trigger') \
         and sql is not null order by type, name"
            .into(),
        [old.name.as_str().into()],
    )
    .await?;
    run(connection, create(REBUILT, columns), [], false).await?;
    let kept: Vec<String> =
        columns.iter().filter(|column| old.column(&column.name).is_some()).map(|column| quote(&column.name)).collect();
    let kept = kept.join(", ");
    let copy =
        format!("insert into {} (_rowid_, {kept}) select _rowid_, {kept} from {}", quote(REBUILT), quote(&old.name));
    run(connection, copy, [], false).await?;
    for column in columns {
        let Some(before) = old.column(&column.name) else { continue };
        let (from, to) = (Class::of_declared(&before.declared), Class::of_declared(&column.declared));
        // SQLite's own conversion is right from nothing, and from integer to real.
        if from != to && from != Class::Empty && !(from == Class::Integer && to == Class::Real) {
            convert(connection, old, &column.name, to).await?;
        }
    }
    run(connection, format!("drop table {}", quote(&old.name)), [], false).await?;
    run(connection, format!("alter table {} rename to {}", quote(REBUILT), quote(&old.name)), [], false).await?;
    for line in &attached {
        if let Some(sql) = line[0].as_text() {
            run(connection, sql.to_owned(), [], false).await?;
        }
    }
    Ok(())
}

/// Puts the right form of each value into one column of the copy: text exactly as it was written, numbers as read.
async fn convert(connection: &mut SqliteConnection, old: &Shape, column: &str, to: Class) -> Result<(), DatabaseError> {
    let (rebuilt, quoted) = (quote(REBUILT), quote(column));
    let select = format!(
        "select d._rowid_, d.{quoted}, n.{quoted}, r.notes from {} as d join {rebuilt} as n on n._rowid_ = d._rowid_ \
         left join _ollmcp_rows as r on r.tbl = ? and r.place = d._rowid_ \
         where d._rowid_ >= ? and d.{quoted} is not null order by d._rowid_ limit {REBUILD_ROWS}",
        quote(&old.name)
    );
    let update = format!("update {rebuilt} set {quoted} = ? where _rowid_ = ?");
    let mut from = i64::MIN;
    loop {
        let lines = fetch(connection, select.clone(), [old.id.into(), from.into()]).await?;
        for line in &lines {
            let wanted = Cell::recover(&line[1], note_of(&line[3], column).as_ref()).stored(to);
            if wanted != line[2] {
                run(connection, update.clone(), [wanted, line[0].clone()], true).await?;
            }
        }
        let last = lines.last().and_then(|line| line[0].as_integer());
        match last.and_then(|last| last.checked_add(1)) {
            Some(next) if lines.len() >= usize::try_from(REBUILD_ROWS).unwrap_or(usize::MAX) => from = next,
            _ => return Ok(()),
        }
    }
}
