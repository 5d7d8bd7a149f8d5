//! From raw pages to the result: rows, names, tables that go on, confidence, limits.

use super::headers::{self, ColumnKind, Extent, Head, RowKind};
use super::page::{RawPage, Reading, clean};
use super::{Extraction, OutputLimits, Table, wrapped};

/// Column edges of a table and of its continuation differ by at most this, in points.
const SAME_EDGE_POINTS: f64 = 3.0;

/// What the next table has to be compared with to be its continuation.
struct Before {
    page: u32,
    edges: Vec<(f64, f64)>,
    names: Vec<String>,
    found: bool,
    first_row: Vec<String>,
    kinds: Vec<ColumnKind>,
}

/// Builds the result; `file` is the name that each table carries.
pub(super) fn assemble(reading: Reading, limits: &OutputLimits) -> Extraction {
    let mut out = Extraction { pages: reading.pages_total, reader: reading.reader.to_owned(), ..Extraction::default() };
    let (mut cells_left, mut bytes_left, mut text_left) =
        (limits.cells_max, limits.cell_bytes_max, limits.text_bytes_max);
    let mut before: Option<Before> = None;
    for page in reading.pages {
        let RawPage { number, tables, edges, words, mut text, .. } = page;
        if text.len() > text_left {
            text.truncate(floor_boundary(&text, text_left));
            out.truncated = true;
        }
        text_left -= text.len();
        out.text.push(text);
        for (index, mut raw) in tables.into_iter().enumerate() {
            if out.tables.len() >= limits.tables_max {
                out.truncated = true;
                break;
            }
            wrapped::join_ruled_rows(&mut raw, &edges, &words);
            let columns = raw.data.iter().map(Vec::len).max().unwrap_or(0);
            if columns == 0 {
                continue;
            }
            let (rows, extents, cut) = take_rows(&raw, columns, limits, &mut cells_left, &mut bytes_left);
            out.truncated |= cut;
            if rows.is_empty() {
                continue;
            }
            let edges = column_edges(&extents, columns);
            let mut head = headers::find(&rows, &extents);
            let continues = before.as_ref().filter(|before| {
                index == 0 && before.page + 1 == number && before.found && same_edges(&before.edges, &edges)
            });
            if let Some(before) = continues {
                continue_table(&mut head, &rows, before);
            }
            let confidence = confidence(&raw, &rows, &head, reading.reader, cut);
            let titles: Vec<&str> =
                rows[..head.titles].iter().flatten().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
            let title = (!titles.is_empty()).then(|| titles.join(" "));
            before = Some(Before {
                page: number,
                edges,
                names: head.names.clone(),
                found: head.found,
                first_row: rows.get(head.rows.saturating_sub(1)).cloned().unwrap_or_default(),
                kinds: headers::column_kinds(&rows[head.rows..], columns),
            });
            out.tables.push(Table {
                page: number,
                table: u32::try_from(out.tables.len() + 1).unwrap_or(u32::MAX),
                file: String::new(),
                rows,
                headers: head.names,
                header_rows: u32::try_from(head.rows).unwrap_or(u32::MAX),
                confidence,
                title,
            });
        }
    }
    out
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

type Rows = Vec<Vec<String>>;

fn take_rows(
    raw: &pdfni::Table,
    columns: usize,
    limits: &OutputLimits,
    cells_left: &mut usize,
    bytes_left: &mut usize,
) -> (Rows, Vec<Vec<Option<Extent>>>, bool) {
    let (mut rows, mut extents) = (Vec::new(), Vec::new());
    let mut cells_of_table_left = limits.cells_per_table_max;
    for raw_row in &raw.data {
        let mut row: Vec<String> = raw_row.iter().map(|cell| clean(&cell.text)).collect();
        row.resize(columns, String::new());
        let bytes: usize = row.iter().map(String::len).sum();
        if columns > cells_of_table_left || columns > *cells_left || bytes > *bytes_left {
            return (rows, extents, true);
        }
        cells_of_table_left -= columns;
        *cells_left -= columns;
        *bytes_left -= bytes;
        let mut row_extents: Vec<Option<Extent>> =
            raw_row.iter().map(|cell| (cell.bbox.x1 > cell.bbox.x0).then_some((cell.bbox.x0, cell.bbox.x1))).collect();
        row_extents.resize(columns, None);
        rows.push(row);
        extents.push(row_extents);
    }
    (rows, extents, false)
}

/// Outermost left and right edge of each column's cells.
fn column_edges(extents: &[Vec<Option<Extent>>], columns: usize) -> Vec<(f64, f64)> {
    let mut edges = vec![(f64::INFINITY, f64::NEG_INFINITY); columns];
    for row in extents {
        for (edge, extent) in edges.iter_mut().zip(row) {
            if let Some((left, right)) = extent {
                *edge = (edge.0.min(*left), edge.1.max(*right));
            }
        }
    }
    edges
}

/// Columns count as the same when one side of each agrees: text is set left or right, frames on both.
fn same_edges(one: &[(f64, f64)], other: &[(f64, f64)]) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= SAME_EDGE_POINTS;
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| near(a.0, b.0) || near(a.1, b.1))
}

/// A table that goes on from the page before keeps its names, unless it repeats or changes them.
fn continue_table(head: &mut Head, rows: &[Vec<String>], before: &Before) {
    let first = &rows[head.titles.min(rows.len() - 1)];
    let repeats = head.found && *first == before.first_row || head.names == before.names;
    let is_data = match headers::row_kind(first, &before.kinds) {
        RowKind::Data => true,
        RowKind::Names => false,
        RowKind::Open => !head.found || before.kinds.iter().all(|&kind| kind == ColumnKind::Words),
    };
    if !repeats && is_data {
        *head = Head { rows: 0, titles: 0, names: before.names.clone(), found: true };
    }
}

/// How sure the reader is: by how the table was found, how evenly its rows are filled, whether its names were found.
///
/// A grid of rulings starts at 0.95, rulings with text columns at 0.85, text columns alone at 0.75. Uneven filling
/// takes up to 0.3, invented names 0.1, the second reader 0.1, a cut table 0.1. Low is what to look at first.
fn confidence(raw: &pdfni::Table, rows: &[Vec<String>], head: &Head, reader: &str, cut: bool) -> f64 {
    let start = match raw.extraction_method {
        "lattice" => 0.95,
        "hybrid" => 0.85,
        _ => 0.75,
    };
    let body = &rows[head.rows.min(rows.len())..];
    let columns = rows.first().map_or(1, Vec::len);
    let mut counts = vec![0_usize; columns + 1];
    for row in body {
        counts[row.iter().filter(|cell| !cell.is_empty()).count()] += 1;
    }
    let usual = (0..=columns).max_by_key(|&count| counts[count]).unwrap_or(0);
    let near: usize =
        counts.iter().enumerate().filter(|(count, _)| count.abs_diff(usual) <= 1).map(|(_, rows)| rows).sum();
    let even = if body.is_empty() { 0.0 } else { near as f64 / body.len() as f64 };
    let mut sure = start - 0.3 * (1.0 - even);
    for doubt in [!head.found, reader != "pdfni", cut] {
        sure -= if doubt { 0.1 } else { 0.0 };
    }
    (sure.clamp(0.0, 1.0) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use pdfni::{BBox, Cell};

    use super::*;

    fn raw_table(rows: &[&str]) -> pdfni::Table {
        let cell = |row: usize, column: usize, text: &str| Cell {
            text: text.to_owned(),
            bbox: BBox {
                x0: column as f64 * 100.0,
                x1: column as f64 * 100.0 + 90.0,
                top: row as f64 * 12.0,
                bottom: row as f64 * 12.0 + 10.0,
            },
        };
        let data: Vec<Vec<Cell>> = rows
            .iter()
            .enumerate()
            .map(|(row, line)| {
                line.split('|').enumerate().map(|(column, text)| cell(row, column, text.trim())).collect()
            })
            .collect();
        pdfni::Table {
            extraction_method: "lattice",
            bbox: BBox { x0: 0.0, top: 0.0, x1: 300.0, bottom: 100.0 },
            n_rows: data.len(),
            n_cols: data[0].len(),
            data,
        }
    }

    fn reading(pages: &[&[&str]]) -> Reading {
        let page = |(index, rows): (usize, &&[&str])| RawPage {
            number: u32::try_from(index + 1).unwrap(),
            tables: vec![raw_table(rows)],
            edges: Vec::new(),
            words: Vec::new(),
            text: "text of a page".into(),
            glyphs: 10,
            odd_glyphs: 0,
        };
        let pages: Vec<RawPage> = pages.iter().enumerate().map(page).collect();
        Reading { reader: "pdfni", pages_total: u32::try_from(pages.len()).unwrap(), pages }
    }

    #[test]
    fn a_continued_table_without_names_inherits_them() {
        let out = assemble(
            reading(&[
                &["Date|Text|Sum", "2024-01-01|a|1.00", "2024-01-02|b|2.00"],
                &["2024-01-03|c|3.00", "2024-01-04|d|4.00"],
            ]),
            &OutputLimits::default(),
        );
        assert_eq!(out.tables[1].headers, ["Date", "Text", "Sum"]);
        assert_eq!((out.tables[0].header_rows, out.tables[1].header_rows), (1, 0));
        assert_eq!(out.tables[1].rows.len(), 2);
    }

    #[test]
    fn a_continued_table_of_words_inherits_its_names() {
        let out = assemble(
            reading(&[&["Animal|Sound", "cow|moo", "cat|meow"], &["dog|woof", "frog|ribbit"]]),
            &OutputLimits::default(),
        );
        assert_eq!((out.tables[1].header_rows, out.tables[1].headers.join("|").as_str()), (0, "Animal|Sound"));
    }

    #[test]
    fn a_repeated_row_of_names_is_a_row_of_names() {
        let out = assemble(
            reading(&[&["Date|Sum", "2024-01-01|1.00"], &["Date|Sum", "2024-01-03|3.00", "2024-01-04|4.00"]]),
            &OutputLimits::default(),
        );
        assert_eq!((out.tables[1].header_rows, out.tables[1].headers.join("|").as_str()), (1, "Date|Sum"));
    }

    #[test]
    fn another_table_with_names_of_its_own_keeps_them() {
        let out = assemble(
            reading(&[&["Date|Sum", "2024-01-01|1.00"], &["Rate|Tax", "7 %|3.00", "19 %|4.00"]]),
            &OutputLimits::default(),
        );
        assert_eq!((out.tables[1].header_rows, out.tables[1].headers.join("|").as_str()), (1, "Rate|Tax"));
    }

    #[test]
    fn every_limit_cuts_and_says_so() {
        let rows: &[&[&str]] = &[&["a|b", "1|2", "3|4"], &["c|d", "5|6", "7|8"]];
        let base = OutputLimits::default();
        for limits in [
            OutputLimits { cells_per_table_max: 4, ..base },
            OutputLimits { tables_max: 1, ..base },
            OutputLimits { cells_max: 8, ..base },
            OutputLimits { cell_bytes_max: 8, ..base },
            OutputLimits { text_bytes_max: 20, ..base },
        ] {
            assert!(assemble(reading(rows), &limits).truncated, "{limits:?}");
        }
        assert!(!assemble(reading(rows), &base).truncated);
    }
}
