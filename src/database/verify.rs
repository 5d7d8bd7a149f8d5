//! Counting again: what the stored outputs say must stand, against what stands.
//!
//! The expected rows are made by the very code that writes. Each is looked for where the ledger says that it stands;
//! one that is not there is looked for by its content (a restored dump renumbers rows), then by its provenance. What
//! is left over in a table and belongs to no other item is doubled or extra.

use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;
use uuid::Uuid;

use super::cell::Stored;
use super::connection::{Line, each, fetch};
use super::layout::lay_out;
use super::names::{PROVENANCE, quote};
use super::schema::{self, Shape, same};
use super::writer::fitting;
use super::{DatabaseError, Difference, Expectation, Verification, read};
use crate::domain::ids::RunId;

/// Most differences that are told one by one.
pub const DIFFERENCES_MAX: usize = 10_000;

/// The answer where there is no database.
pub(super) fn without_database(expected: &[Expectation], path: &str) -> Verification {
    let mut told = Told::default();
    for one in expected {
        told.items += 1;
        told.add(&one.key.item, None, None, format!("missing: the database `{path}` does not exist"));
    }
    told.done()
}

/// Collects differences up to the limit.
#[derive(Debug, Default)]
struct Told {
    items: u64,
    rows: u64,
    superseded: Vec<(String, RunId)>,
    differences: Vec<Difference>,
    more: usize,
}

impl Told {
    fn add(&mut self, item: &str, table: Option<&str>, rowid: Option<i64>, what: String) {
        if self.differences.len() < DIFFERENCES_MAX {
            let table = table.map(str::to_owned);
            self.differences.push(Difference { item: item.to_owned(), table, rowid, what });
        } else {
            self.more += 1;
        }
    }

    fn done(mut self) -> Verification {
        if self.more > 0 {
            let what = format!("and {} differences more", self.more);
            self.differences.push(Difference { item: String::new(), table: None, rowid: None, what });
        }
        Verification { items: self.items, rows: self.rows, superseded: self.superseded, differences: self.differences }
    }
}

/// A row that must stand.
#[derive(Debug)]
struct Wanted<'a> {
    item: &'a str,
    /// Column by column, in the order of the shape; `None` for columns that are not the item's.
    values: Vec<Option<Stored>>,
    /// Where the ledger says that it stands.
    place: Option<i64>,
    found: bool,
}

/// What must stand in one table.
#[derive(Debug, Default)]
struct Expected<'a> {
    wanted: Vec<Wanted<'a>>,
}

/// Verifies against one open database.
pub(super) async fn verify(
    connection: &mut SqliteConnection,
    expected: &[Expectation],
) -> Result<Verification, DatabaseError> {
    let mut told = Told::default();
    if !read::has_ledger(connection).await? {
        for one in expected {
            told.items += 1;
            told.add(&one.key.item, None, None, "missing: the database has no row ledger".into());
        }
        return Ok(told.done());
    }
    // One moment for all of it: writers go on beside us.
    super::connection::plain(connection, "begin").await?;
    let mut tables: HashMap<String, Option<Shape>> = HashMap::new();
    let mut by_table: HashMap<String, Expected<'_>> = HashMap::new();
    let mut entries: Vec<i64> = Vec::new();
    let mut seen = HashSet::new();
    for one in expected {
        told.items += 1;
        if !seen.insert(one.key.identity) {
            continue; // two items of one identity share their rows
        }
        let Some(entry) = entry_of(connection, one, &mut told).await? else { continue };
        entries.push(entry);
        expect_rows(connection, one, entry, &mut tables, &mut by_table, &mut told).await?;
    }
    // Tables where the ledger says that rows of these items stand, though none are expected there.
    let mut names: Vec<String> = by_table.keys().cloned().collect();
    let list = serde_json::Value::from(entries.clone()).to_string();
    let held = fetch(
        connection,
        "select distinct t.name from _ollmcp_rows as r join _ollmcp_tables as t on t.id = r.tbl \
         where r.entry in (select value from json_each(?))"
            .into(),
        [list.as_str().into()],
    )
    .await?;
    for line in &held {
        let name = line[0].as_text().unwrap_or_default().to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        if !tables.contains_key(&name) {
            let shape = shape_of(connection, &name).await?;
            tables.insert(name.clone(), shape);
        }
        let expected = by_table.remove(&name).unwrap_or_default();
        if let Some(Some(shape)) = tables.get(&name) {
            compare(connection, shape, expected, &list, &mut told).await?;
        }
    }
    super::connection::plain(connection, "rollback").await?;
    Ok(told.done())
}

/// The shape of a table; none for one that is gone or that is not ours any more.
async fn shape_of(connection: &mut SqliteConnection, name: &str) -> Result<Option<Shape>, DatabaseError> {
    match schema::shape(connection, name).await {
        Err(DatabaseError::Target(_)) => Ok(None),
        other => other,
    }
}

/// The ledger's entry of an item; none if it was superseded, or is missing (told).
async fn entry_of(
    connection: &mut SqliteConnection,
    one: &Expectation,
    told: &mut Told,
) -> Result<Option<i64>, DatabaseError> {
    let run_of = |value: &Stored| value.as_text().and_then(|text| Uuid::parse_str(text).ok()).map(RunId);
    let lines = fetch(
        connection,
        "select entry, superseded_by from _ollmcp_ledger where identity = ?".into(),
        [one.key.identity.to_string().into()],
    )
    .await?;
    if let Some(line) = lines.first() {
        if line[1] == Stored::Null {
            return Ok(line[0].as_integer());
        }
        match run_of(&line[1]) {
            Some(run) => told.superseded.push((one.key.item.clone(), run)),
            None => told.add(&one.key.item, None, None, "altered: its row of the ledger names no run".into()),
        }
        return Ok(None);
    }
    let newer = fetch(
        connection,
        "select run from _ollmcp_ledger where project = ? and plan = ? and step = ? and item = ? \
         and superseded_by is null order by entry desc limit 1"
            .into(),
        [
            one.key.project.as_str().into(),
            one.key.plan.as_str().into(),
            one.key.step.as_str().into(),
            one.key.item.as_str().into(),
        ],
    )
    .await?;
    match newer.first().and_then(|line| run_of(&line[0])) {
        Some(run) => told.superseded.push((one.key.item.clone(), run)),
        None => told.add(&one.key.item, None, None, "missing: the row ledger has no entry of this item".into()),
    }
    Ok(None)
}

/// Lays out what the item must have written, and where the ledger says that it stands.
async fn expect_rows<'a>(
    connection: &mut SqliteConnection,
    one: &'a Expectation,
    entry: i64,
    tables: &mut HashMap<String, Option<Shape>>,
    by_table: &mut HashMap<String, Expected<'a>>,
    told: &mut Told,
) -> Result<(), DatabaseError> {
    let layout = lay_out(&one.target, &one.tables)?;
    let places =
        fetch(connection, "select seq, place from _ollmcp_rows where entry = ?".into(), [entry.into()]).await?;
    let places: HashMap<i64, i64> =
        places.iter().filter_map(|line| Some((line[0].as_integer()?, line[1].as_integer()?))).collect();
    let mut rejected = layout.rejects.len();
    let mut seq = 0_i64;
    for table in &layout.tables {
        let name = table.name.to_ascii_lowercase();
        if !tables.contains_key(&name) {
            let shape = shape_of(connection, &name).await?;
            tables.insert(name.clone(), shape);
        }
        let Some(Some(shape)) = tables.get(&name) else {
            for _ in &table.rows {
                let what = "missing: its table does not exist";
                told.add(&one.key.item, Some(&table.name), places.get(&seq).copied(), what.into());
                seq += 1;
            }
            continue;
        };
        let (rows, bad) = fitting(shape, table);
        rejected += bad.len();
        for (column, _) in &table.columns {
            if shape.column(column).is_none() {
                let what = format!("missing: column `{column}` of its table is gone");
                told.add(&one.key.item, Some(&shape.name), None, what);
            }
        }
        let at: Vec<Option<usize>> = shape
            .columns
            .iter()
            .map(|column| table.columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(&column.name)))
            .collect();
        let expected = by_table.entry(name).or_default();
        for (row, values) in rows {
            let values = shape
                .columns
                .iter()
                .zip(&at)
                .map(|(column, at)| {
                    let ours = PROVENANCE.iter().position(|(name, _)| name.eq_ignore_ascii_case(&column.name));
                    match (ours, at) {
                        (Some(ours), _) => Some(row.origin[ours].clone()),
                        (None, Some(at)) => Some(values[*at].clone()),
                        // A column of other items is empty here; one that a person added is theirs.
                        (None, None) => shape.made.then_some(Stored::Null),
                    }
                })
                .collect();
            let place = places.get(&seq).copied();
            expected.wanted.push(Wanted { item: &one.key.item, values, place, found: false });
            seq += 1;
        }
    }
    let standing = fetch(
        connection,
        "select count(*) from _ollmcp_rejects where identity = ?".into(),
        [one.key.identity.to_string().into()],
    )
    .await?;
    let standing = standing.first().and_then(|line| line[0].as_integer()).unwrap_or_default();
    if usize::try_from(standing) != Ok(rejected) {
        let what = format!("missing: {rejected} rows were set aside, {standing} stand in `_ollmcp_rejects`");
        told.add(&one.key.item, Some("_ollmcp_rejects"), None, what);
    }
    Ok(())
}

/// A row of the table that is not where an expected one should be, or is not as expected.
#[derive(Debug)]
struct Stray {
    rowid: i64,
    values: Line,
    taken: bool,
}

/// Compares one table.
async fn compare(
    connection: &mut SqliteConnection,
    shape: &Shape,
    mut expected: Expected<'_>,
    entries: &str,
    told: &mut Told,
) -> Result<(), DatabaseError> {
    let others = fetch(
        connection,
        "select r.place from _ollmcp_rows as r join _ollmcp_ledger as l on l.entry = r.entry \
         where r.tbl = ? and r.entry not in (select value from json_each(?))"
            .into(),
        [shape.id.into(), entries.into()],
    )
    .await?;
    let mut others: HashSet<i64> = others.iter().filter_map(|line| line[0].as_integer()).collect();
    // Columns that a person added to our table are theirs to fill.
    let theirs = their_columns(connection, shape).await?;
    for wanted in &mut expected.wanted {
        for at in &theirs {
            if let Some(value) = wanted.values.get_mut(*at) {
                *value = None;
            }
        }
    }
    let by_place: HashMap<i64, usize> =
        expected.wanted.iter().enumerate().filter_map(|(at, wanted)| Some((wanted.place?, at))).collect();
    let columns: Vec<String> = shape.columns.iter().map(|column| quote(&column.name)).collect();
    let sql = format!("select _rowid_, {} from {}", columns.join(", "), quote(&shape.name));
    let mut strays: Vec<Stray> = Vec::new();
    let mut standing = 0_u64;
    each(connection, sql, [], |mut line| {
        let rowid = line[0].as_integer().unwrap_or_default();
        if let Some(wanted) = by_place.get(&rowid).and_then(|at| expected.wanted.get_mut(*at))
            && equal(&wanted.values, &line[1..])
        {
            wanted.found = true;
            standing += 1;
        } else if !others.remove(&rowid) || by_place.contains_key(&rowid) {
            line.remove(0);
            strays.push(Stray { rowid, values: line, taken: false });
        }
        true
    })
    .await?;
    told.rows += standing;
    // What is left of `others` does not stand at its place: renumbered rows of theirs are no business of this run.
    let elsewhere = others.len();
    match_moved(&mut expected, &mut strays, told);
    match_altered(shape, &mut expected, &mut strays, told);
    for wanted in expected.wanted.iter().filter(|wanted| !wanted.found) {
        told.add(wanted.item, Some(&shape.name), wanted.place, "missing: the row does not stand".into());
    }
    leftovers(shape, &expected, &strays, elsewhere, told);
    Ok(())
}

async fn their_columns(connection: &mut SqliteConnection, shape: &Shape) -> Result<Vec<usize>, DatabaseError> {
    if !shape.made {
        return Ok(Vec::new());
    }
    let lines = fetch(connection, "select name from _ollmcp_columns where tbl = ?".into(), [shape.id.into()]).await?;
    let ours: HashSet<&str> =
        lines.iter().filter_map(|line| line[0].as_text()).chain(PROVENANCE.iter().map(|(name, _)| *name)).collect();
    let theirs = |(at, column): (usize, &schema::Standing)| (!ours.contains(column.name.as_str())).then_some(at);
    Ok(shape.columns.iter().enumerate().filter_map(theirs).collect())
}

fn equal(wanted: &[Option<Stored>], found: &[Stored]) -> bool {
    wanted.iter().zip(found).all(|(wanted, found)| wanted.as_ref().is_none_or(|wanted| same(wanted, found)))
}

/// A text that equal rows share: numbers by value.
fn content<'a>(values: impl Iterator<Item = Option<&'a Stored>>) -> String {
    let mut text = String::new();
    for value in values {
        match value {
            None => text.push('*'),
            #[expect(clippy::cast_precision_loss, reason = "only a key for looking up; `equal` decides")]
            Some(Stored::Integer(whole)) => text.push_str(&format!("{}", *whole as f64)),
            Some(Stored::Real(real)) => text.push_str(&format!("{real}")),
            Some(Stored::Text(words)) => text.push_str(&format!("{words:?}")),
            Some(Stored::Null) => text.push('-'),
            Some(Stored::Blob(bytes)) => text.push_str(&format!("x{bytes:?}")),
        }
        text.push('\u{1f}');
    }
    text
}

/// Which columns count in a set of expected rows: two items may know different ones.
fn masks(expected: &Expected<'_>) -> Vec<Vec<bool>> {
    let mut masks: Vec<Vec<bool>> = Vec::new();
    for wanted in &expected.wanted {
        if masks.last().is_some_and(|mask| mask.iter().zip(&wanted.values).all(|(m, v)| *m == v.is_some())) {
            continue;
        }
        let mask: Vec<bool> = wanted.values.iter().map(Option::is_some).collect();
        if !masks.contains(&mask) {
            masks.push(mask);
        }
    }
    masks
}

fn masked<'a>(mask: &'a [bool], values: &'a [Stored]) -> impl Iterator<Item = Option<&'a Stored>> {
    mask.iter().zip(values).map(|(counts, value)| counts.then_some(value))
}

/// Expected rows that stand, whole, at another place.
fn match_moved(expected: &mut Expected<'_>, strays: &mut [Stray], told: &mut Told) {
    if expected.wanted.iter().all(|wanted| wanted.found) || strays.is_empty() {
        return;
    }
    for mask in masks(expected) {
        let mut by_content: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, stray) in strays.iter().enumerate().filter(|(_, stray)| !stray.taken).rev() {
            by_content.entry(content(masked(&mask, &stray.values))).or_default().push(at);
        }
        for wanted in expected.wanted.iter_mut().filter(|wanted| !wanted.found) {
            if !mask.iter().zip(&wanted.values).all(|(m, v)| *m == v.is_some()) {
                continue;
            }
            let key = content(wanted.values.iter().map(Option::as_ref));
            if let Some(at) = by_content.get_mut(&key).and_then(Vec::pop) {
                strays[at].taken = true;
                wanted.found = true;
                told.rows += 1;
            }
        }
    }
}

/// Expected rows that stand at their place, or with their provenance, with other values.
fn match_altered(shape: &Shape, expected: &mut Expected<'_>, strays: &mut [Stray], told: &mut Told) {
    let by_rowid: HashMap<i64, usize> = strays.iter().enumerate().map(|(at, stray)| (stray.rowid, at)).collect();
    let origin: Vec<usize> = shape
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| PROVENANCE[..4].iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name)))
        .map(|(at, _)| at)
        .collect();
    let mut by_origin: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, stray) in strays.iter().enumerate().rev() {
        by_origin.entry(content(origin.iter().map(|&at| Some(&stray.values[at])))).or_default().push(at);
    }
    for wanted in expected.wanted.iter_mut().filter(|wanted| !wanted.found) {
        let at_place = wanted.place.and_then(|place| by_rowid.get(&place)).copied().filter(|&at| !strays[at].taken);
        let key = content(origin.iter().map(|&at| wanted.values[at].as_ref()));
        let found = at_place.or_else(|| {
            // Only where the provenance names a file: rows of records share theirs with strangers.
            let named = origin.first().is_some_and(|&at| matches!(wanted.values[at], Some(Stored::Text(_))));
            let candidates = by_origin.get_mut(&key).filter(|_| named)?;
            while let Some(at) = candidates.pop() {
                if !strays[at].taken {
                    return Some(at);
                }
            }
            None
        });
        let Some(at) = found else { continue };
        strays[at].taken = true;
        wanted.found = true;
        told.rows += 1;
        for ((column, wanted_value), value) in shape.columns.iter().zip(&wanted.values).zip(&strays[at].values) {
            if let Some(wanted_value) = wanted_value
                && !same(wanted_value, value)
            {
                let what =
                    format!("altered: `{}` is {}, expected {}", column.name, value.shown(), wanted_value.shown());
                told.add(wanted.item, Some(&shape.name), Some(strays[at].rowid), what);
            }
        }
    }
}

/// Rows that nobody expects: doubled where an expected row has the same values, else extra.
fn leftovers(shape: &Shape, expected: &Expected<'_>, strays: &[Stray], mut elsewhere: usize, told: &mut Told) {
    let left: Vec<&Stray> = strays.iter().filter(|stray| !stray.taken).collect();
    if left.is_empty() {
        return;
    }
    let file_at = shape.columns.iter().position(|column| column.name.eq_ignore_ascii_case("_file"));
    let file = |values: &[Stored]| file_at.and_then(|at| values.get(at)).and_then(Stored::as_text).map(str::to_owned);
    let masks = masks(expected);
    let mut items: HashMap<String, &str> = HashMap::new();
    let mut files: HashMap<String, &str> = HashMap::new();
    for wanted in &expected.wanted {
        items.entry(content(wanted.values.iter().map(Option::as_ref))).or_insert(wanted.item);
        if let Some(Some(Stored::Text(file))) = file_at.map(|at| &wanted.values[at]) {
            files.entry(file.clone()).or_insert(wanted.item);
        }
    }
    for stray in left {
        let twin = masks.iter().find_map(|mask| items.get(&content(masked(mask, &stray.values))));
        let of_file = file(&stray.values);
        if let Some(item) = twin {
            told.add(item, Some(&shape.name), Some(stray.rowid), "doubled: the row stands more than once".into());
            continue;
        }
        let item = of_file.as_ref().and_then(|file| files.get(file)).copied();
        if item.is_none() && elsewhere > 0 {
            elsewhere -= 1;
            continue;
        }
        let item = item.map(str::to_owned).or(of_file).unwrap_or_default();
        told.add(&item, Some(&shape.name), Some(stray.rowid), "extra: no item of the run wrote this row".into());
    }
}
