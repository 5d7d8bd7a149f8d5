//! Column names of a table from its first rows, and how many rows they take. Rows are never changed here.

use std::collections::HashSet;

use super::values::{Look, look};

/// Longest column name, in characters.
const NAME_CHARACTERS_MAX: usize = 120;
/// Rows above the names that may be titles.
const TITLE_ROWS_MAX: usize = 3;
/// Share of a column's filled cells that must be values for it to count as a column of values.
const VALUES_SHARE: f64 = 0.6;

/// Left and right edge of a cell's text or frame.
pub(super) type Extent = (f64, f64);

/// What the first rows of a table are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Leading rows that are no data: titles and names.
    pub(super) rows: usize,
    /// Of these, the titles.
    pub(super) titles: usize,
    /// One name a column, unique and not empty; invented ones when there is no row of names.
    pub(super) names: Vec<String>,
    /// The names were found, not invented.
    pub(super) found: bool,
}

/// Finds the head. `extents` has the shape of `rows`; it is asked for spanning names only.
pub(super) fn find(rows: &[Vec<String>], extents: &[Vec<Option<Extent>>]) -> Head {
    let columns = rows.first().map_or(0, Vec::len);
    let titles = count_titles(rows);
    let body_from = |first: usize| &rows[first.min(rows.len())..];
    let is_values = value_columns(body_from(titles + 1), columns);
    let has_values = is_values.contains(&true);
    let Some(names_row) = rows.get(titles) else {
        return invented(columns, 0);
    };
    let is_header = match row_kind(names_row, &is_values) {
        RowKind::Data => false,
        RowKind::Names => true,
        // Words over words: by custom the first row names the columns.
        RowKind::Open => !has_values || filled(names_row) * 2 >= columns,
    };
    if !is_header || rows.len() < titles + 2 {
        return invented(columns, titles);
    }
    let mut head = Head { rows: titles + 1, titles, names: names_row.clone(), found: true };
    if has_values
        && let Some(second) = rows.get(titles + 1)
        && rows.len() > titles + 2
    {
        let below = value_columns(body_from(titles + 2), columns);
        if is_second_header(names_row, second, &below) {
            let empty = Vec::new();
            let row_extents = |row: usize| extents.get(row).unwrap_or(&empty);
            let over = spread(names_row, second, row_extents(titles), row_extents(titles + 1));
            head.names = over.iter().zip(second).map(|(over, under)| path(over, under)).collect();
            head.rows = titles + 2;
        }
    }
    head.names = unique(head.names);
    head
}

fn filled(row: &[String]) -> usize {
    row.iter().filter(|cell| !cell.trim().is_empty()).count()
}

fn count_titles(rows: &[Vec<String>]) -> usize {
    let columns = rows.first().map_or(0, Vec::len);
    if columns < 2 {
        return 0;
    }
    let titles = rows.iter().take(TITLE_ROWS_MAX).take_while(|row| filled(row) == 1).count();
    // A title stands over at least two rows that look like a table, and is no value.
    let rest = &rows[titles..];
    let is_table = rest.len() >= 2 && rest.iter().take(2).all(|row| filled(row) >= 2);
    let are_words = rows[..titles].iter().flatten().all(|cell| !matches!(look(cell), Look::Value));
    if is_table && are_words { titles } else { 0 }
}

/// Which columns hold mostly values.
pub(super) fn value_columns(rows: &[Vec<String>], columns: usize) -> Vec<bool> {
    (0..columns)
        .map(|column| {
            let (mut seen, mut values) = (0_usize, 0_usize);
            for row in rows.iter().take(200) {
                match row.get(column).map_or(Look::Empty, |cell| look(cell)) {
                    Look::Empty => {}
                    Look::Value | Look::Year => {
                        seen += 1;
                        values += 1;
                    }
                    Look::Words => seen += 1,
                }
            }
            seen > 0 && values as f64 >= VALUES_SHARE * seen as f64
        })
        .collect()
}

/// What one row is, judged against the columns of values below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    /// Values stand where values are expected.
    Data,
    /// Words stand where values are expected.
    Names,
    /// Nothing tells.
    Open,
}

/// Judges one row.
pub(super) fn row_kind(row: &[String], is_values: &[bool]) -> RowKind {
    let (mut values, mut years, mut words) = (0, 0, 0);
    for (cell, &is_value) in row.iter().zip(is_values) {
        if is_value {
            match look(cell) {
                Look::Empty => {}
                Look::Value => values += 1,
                Look::Year => years += 1,
                Look::Words => words += 1,
            }
        }
    }
    if values > words + years {
        RowKind::Data
    } else if words > values || years > 0 {
        RowKind::Names
    } else {
        RowKind::Open
    }
}

/// A second row of names: it fills gaps of the first, holds no values, and leaves no column without any name.
fn is_second_header(first: &[String], second: &[String], is_values: &[bool]) -> bool {
    let has_gap = first.iter().zip(second).any(|(over, under)| over.trim().is_empty() && !under.trim().is_empty());
    let leaves_none = first.iter().zip(second).any(|(over, under)| over.trim().is_empty() && under.trim().is_empty());
    let has_over = first.iter().zip(second).any(|(over, under)| !over.trim().is_empty() && !under.trim().is_empty());
    let is_names =
        second.iter().all(|cell| !matches!(look(cell), Look::Value)) && row_kind(second, is_values) == RowKind::Names;
    has_gap && has_over && !leaves_none && is_names
}

/// Gives each column under a spanning name that name.
fn spread(over: &[String], under: &[String], extents: &[Option<Extent>], below: &[Option<Extent>]) -> Vec<String> {
    let columns = over.len();
    let mut out: Vec<String> = over.to_vec();
    for column in 0..columns {
        if !out[column].trim().is_empty() || under[column].trim().is_empty() {
            continue;
        }
        let middle = below.get(column).copied().flatten().map(|(left, right)| f64::midpoint(left, right));
        let covering = middle.and_then(|middle| {
            (0..columns).find(|&other| {
                !over[other].trim().is_empty()
                    && extents
                        .get(other)
                        .copied()
                        .flatten()
                        .is_some_and(|(left, right)| left <= middle && middle <= right)
            })
        });
        // Without a frame that tells, a name reaches right over the empty cells that follow it.
        let left = (0..column).rev().find(|&other| !over[other].trim().is_empty() && !under[other].trim().is_empty());
        let reaches = left.filter(|&left| (left + 1..column).all(|between| over[between].trim().is_empty()));
        if let Some(source) = covering.or(reaches) {
            out[column] = over[source].clone();
        }
    }
    out
}

fn path(over: &str, under: &str) -> String {
    match (over.trim(), under.trim()) {
        ("", name) | (name, "") => name.to_owned(),
        (over, under) => format!("{over} / {under}"),
    }
}

fn invented(columns: usize, titles: usize) -> Head {
    Head { rows: titles, titles, names: unique(vec![String::new(); columns]), found: false }
}

/// Makes names unique and not empty, shortest change first.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut out = Vec::with_capacity(names.len());
    for (index, name) in names.into_iter().enumerate() {
        let mut base: String = super::page::clean(&name).chars().take(NAME_CHARACTERS_MAX).collect();
        if base.is_empty() {
            base = format!("column_{}", index + 1);
        }
        let mut candidate = base.clone();
        let mut count = 2;
        while !taken.insert(candidate.to_lowercase()) {
            candidate = format!("{base} ({count})");
            count += 1;
        }
        out.push(candidate);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&str]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    }

    #[track_caller]
    fn check(rows: &[&str], header_rows: usize, names: &str) {
        let head = find(&table(rows), &[]);
        assert_eq!((head.rows, head.names.join("|").as_str()), (header_rows, names), "{rows:#?}");
    }

    #[test]
    fn a_row_of_words_over_values_names_the_columns() {
        check(&["Item | Qty | Amount", "A-1 | 3 | 4.50", "B-2 | 1 | 7.00"], 1, "Item|Qty|Amount");
    }

    #[test]
    fn years_over_values_are_names() {
        check(&["State | 2009 | 2010", "Ohio | 1,200 | 1,300", "Utah | 900 | 950"], 1, "State|2009|2010");
    }

    #[test]
    fn a_first_row_of_values_is_data() {
        check(&["A-1 | 3 | 4.50", "B-2 | 1 | 7.00", "C-3 | 2 | 1.00"], 0, "column_1|column_2|column_3");
    }

    #[test]
    fn spanning_names_become_paths() {
        check(
            &[
                "# | Goods | | Charge | ",
                " | Item | Text | Price | Sum",
                "1 | A-1 | valve | 2.00 | 4.00",
                "2 | B | nut | 1.00 | 3.00",
            ],
            2,
            "#|Goods / Item|Goods / Text|Charge / Price|Charge / Sum",
        );
    }

    #[test]
    fn a_title_over_the_names_is_no_name() {
        check(&["Table 4: prices | ", "Item | Price", "A | 2.00", "B | 3.00"], 2, "Item|Price");
    }

    #[test]
    fn names_are_unique_and_never_empty() {
        check(&["Name | name | ", "a | b | 1", "c | d | 2"], 1, "Name|name (2)|column_3");
    }

    #[test]
    fn words_over_words_are_names_by_custom() {
        check(&["Animal | Sound", "cow | moo", "cat | meow"], 1, "Animal|Sound");
    }
}
