//! Column names of a table from its first rows, and how many rows they take. Rows are never changed here.

use std::collections::HashSet;

use super::values::{Look, look};

/// Longest column name, in characters.
const NAME_CHARACTERS_MAX: usize = 120;
/// Rows above the names that may be titles.
const TITLE_ROWS_MAX: usize = 3;
/// Rows of names, one under the other.
const NAME_ROWS_MAX: usize = 4;
/// A name that sticks out over its column by less than this, in points, stands over that column alone.
const OWN_COLUMN_POINTS: f64 = 6.0;
/// Rows of a body that are looked at.
const BODY_ROWS_SEEN: usize = 200;
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
    let kinds = column_kinds(body_from(titles + 1), columns);
    let has_values = kinds.iter().any(|&kind| kind != ColumnKind::Words);
    let Some(names_row) = rows.get(titles) else {
        return invented(columns, 0);
    };
    let is_header = match row_kind(names_row, &kinds) {
        RowKind::Data => false,
        RowKind::Names => true,
        // Words over words: by custom the first row names the columns.
        RowKind::Open => !has_values || filled(names_row) * 2 >= columns,
    };
    if !is_header || rows.len() < titles + 2 {
        return invented(columns, titles);
    }
    let mut names = names_row.clone();
    let mut last = titles;
    while has_values && last - titles < NAME_ROWS_MAX - 1 && last + 2 < rows.len() {
        let next = &rows[last + 1];
        if !goes_on(&names, next, &column_kinds(body_from(last + 2), columns)) {
            break;
        }
        let empty = Vec::new();
        let row_extents = |row: usize| extents.get(row).unwrap_or(&empty);
        names = under(&names, &rows[last], next, row_extents(last), row_extents(last + 1));
        last += 1;
    }
    Head { rows: last + 1, titles, names: unique(names), found: true }
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

/// What a column mostly holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Words,
    Values,
    Periods,
}

/// What each column of a body holds.
pub(super) fn column_kinds(rows: &[Vec<String>], columns: usize) -> Vec<ColumnKind> {
    (0..columns)
        .map(|column| {
            let (mut seen, mut values, mut periods) = (0_usize, 0_usize, 0_usize);
            for row in rows.iter().take(BODY_ROWS_SEEN) {
                match row.get(column).map_or(Look::Empty, |cell| look(cell)) {
                    Look::Empty => continue,
                    Look::Value => values += 1,
                    Look::Period => periods += 1,
                    Look::Words => {}
                }
                seen += 1;
            }
            let share = |count: usize| seen > 0 && count as f64 >= VALUES_SHARE * seen as f64;
            if share(periods) {
                ColumnKind::Periods
            } else if share(values + periods) {
                ColumnKind::Values
            } else {
                ColumnKind::Words
            }
        })
        .collect()
}

/// What one row is, judged against the columns below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    /// Values stand where values are expected.
    Data,
    /// Names stand where values are expected.
    Names,
    /// Nothing tells.
    Open,
}

/// Judges one row.
pub(super) fn row_kind(row: &[String], kinds: &[ColumnKind]) -> RowKind {
    let (mut values, mut names) = (0, 0);
    for (cell, &kind) in row.iter().zip(kinds) {
        match (kind, look(cell)) {
            (ColumnKind::Words, _) | (_, Look::Empty) => {}
            // A year over amounts is a name, a date over dates is one more date.
            (ColumnKind::Values, Look::Period) | (_, Look::Words) => names += 1,
            _ => values += 1,
        }
    }
    if names >= values && names > 0 {
        RowKind::Names
    } else if values >= 3 && counts_up(row) {
        // Columns numbered 1, 2, 3 … over other numbers.
        RowKind::Names
    } else if values > 0 {
        RowKind::Data
    } else {
        RowKind::Open
    }
}

/// Whether the values of a row are 1, 2, 3 and so on.
fn counts_up(row: &[String]) -> bool {
    let values = row.iter().filter(|cell| matches!(look(cell), Look::Value));
    let mut expected = 1_u32;
    for cell in values {
        if cell.trim().parse() != Ok(expected) {
            return false;
        }
        expected += 1;
    }
    expected > 3
}

/// Whether `next` is one more row of names: it fills gaps of the names so far, and hardly holds values.
fn goes_on(names: &[String], next: &[String], kinds: &[ColumnKind]) -> bool {
    let fills_gap = names.iter().zip(next).any(|(name, cell)| name.trim().is_empty() && !cell.trim().is_empty());
    let values = next.iter().filter(|cell| matches!(look(cell), Look::Value)).count();
    fills_gap && values * 5 <= filled(next) && row_kind(next, kinds) == RowKind::Names
}

/// Puts a row of names under the names so far. `above` is the row just over it.
fn under(
    names: &[String],
    above: &[String],
    next: &[String],
    extents: &[Option<Extent>],
    below: &[Option<Extent>],
) -> Vec<String> {
    let columns = names.len();
    let mut source: Vec<usize> = (0..columns).collect();
    for column in 0..columns {
        if !names[column].trim().is_empty() || next[column].trim().is_empty() {
            continue;
        }
        let middle = below.get(column).copied().flatten().map(|(left, right)| f64::midpoint(left, right));
        let covering = middle.and_then(|middle| {
            (0..columns).find(|&other| {
                !above[other].trim().is_empty()
                    && extents
                        .get(other)
                        .copied()
                        .flatten()
                        .is_some_and(|(left, right)| left <= middle && middle <= right)
            })
        });
        // Without a frame that tells, a name that has a name under it reaches right over the gaps that follow it,
        // unless it plainly stands over its own column alone: then it is the first line of a wrapped name.
        let left = (0..column).rev().find(|&other| !names[other].trim().is_empty());
        let reaches = left.filter(|&left| {
            let stays = match (extents.get(left).copied().flatten(), below.get(left).copied().flatten()) {
                (Some(over), Some(own)) => over.1 <= own.1 + OWN_COLUMN_POINTS && over.0 >= own.0 - OWN_COLUMN_POINTS,
                _ => false,
            };
            !stays && !above[left].trim().is_empty() && !next[left].trim().is_empty()
        });
        if let Some(found) = covering.or(reaches) {
            source[column] = found;
        }
    }
    (0..columns)
        .map(|column| {
            let over = names[source[column]].trim();
            let own = next[column].trim();
            // A name over several columns heads a path; over one column it is the first line of a wrapped name.
            let spans = (0..columns).any(|other| other != source[column] && source[other] == source[column]);
            match (over, own) {
                ("", name) | (name, "") => name.to_owned(),
                (over, own) if spans => format!("{over} / {own}"),
                (over, own) => format!("{over} {own}"),
            }
        })
        .collect()
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
    fn dates_over_amounts_are_names_and_over_dates_are_data() {
        check(
            &["Loan | 12/31/2009 | 12/31/2010", "House | 4,151 | 4,090", "Shop | 361 | 331"],
            1,
            "Loan|12/31/2009|12/31/2010",
        );
        check(
            &["07/01/2015 | Acme | 12", "07/02/2015 | Bolt | 9", "07/03/2015 | Coil | 3"],
            0,
            "column_1|column_2|column_3",
        );
    }

    #[test]
    fn numbered_columns_are_names() {
        check(&["Statistic | 1 | 2 | 3", "Births | 0.3 | 0.6 | 0.8", "Deaths | 0.1 | 0.2 | 0.9"], 1, "Statistic|1|2|3");
    }

    #[test]
    fn names_wrapped_over_lines_are_joined() {
        check(
            &[
                "State | n |  | Read & | Years | ",
                " | | Illiterate | write | 1-4 | 5-8",
                "Kerala | 24 | 7.2 | 0.5 | 2.3 | 20.1",
                "Goa | 9 | 1.4 | 2.3 | 8.8 | 35.5",
            ],
            1,
            "State|n|column_3|Read &|Years|column_6",
        );
        let rows = table(&[
            " | occupied | | Odds",
            "Trait | units | no. | ratio",
            "Male | 61,206 | 14,037 | 1.1",
            "Female | 7 | 8 | 9",
        ]);
        let line = |cells: &[(f64, f64)]| cells.iter().map(|&cell| (cell.1 > 0.0).then_some(cell)).collect::<Vec<_>>();
        let extents = [
            line(&[(0.0, 0.0), (100.0, 130.0), (0.0, 0.0), (200.0, 220.0)]),
            line(&[(0.0, 30.0), (103.0, 127.0), (150.0, 160.0), (200.0, 222.0)]),
        ];
        let head = find(&rows, &extents);
        assert_eq!((head.rows, head.names.join("|").as_str()), (2, "Trait|occupied units|no.|Odds ratio"));
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
