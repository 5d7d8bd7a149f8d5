//! Rows that were cut into one row per text line although rulings hold them together.

use pdfni::{EdgePart, Orientation, Table};

use super::page::Word;
use super::values::{Look, look};

/// A ruling must cover this share of the table's width.
const COVER_SHARE: f64 = 0.8;
/// Rulings this near, in points, are one.
const SAME_RULE_POINTS: f64 = 2.0;
/// Lines that one ruled row may hold.
const LINES_MAX: usize = 8;
/// Fewer bands than this do not show that the rulings separate rows.
const BANDS_MIN: usize = 4;

/// Joins the rows of `table` that lie between the same two horizontal rulings, where the rulings plainly separate rows,
/// and fetches the words that the detector left out under the last row.
pub(super) fn join_ruled_rows(table: &mut Table, edges: &[EdgePart], words: &[Word]) {
    if table.data.len() < BANDS_MIN {
        return;
    }
    let rules = full_rules(table, edges);
    if rules.len() < BANDS_MIN {
        return;
    }
    let mut bands: Vec<(usize, Vec<usize>)> = Vec::new();
    for (index, row) in table.data.iter().enumerate() {
        let Some((top, bottom)) = reach(row) else { return };
        let middle = f64::midpoint(top, bottom);
        let band = rules.iter().filter(|&&rule| rule < middle).count();
        match bands.last_mut() {
            Some((last, members)) if *last == band => members.push(index),
            Some((last, _)) if *last > band => return,
            _ => bands.push((band, vec![index])),
        }
    }
    // Rulings that only frame head and foot leave one thick band: then they do not separate rows.
    let is_separated = bands.len() >= BANDS_MIN && bands.iter().all(|(_, members)| members.len() <= LINES_MAX);
    let may_join = bands.iter().all(|(_, members)| members.iter().filter(|&&row| has_value(table, row)).count() <= 1);
    if !is_separated || !may_join {
        return;
    }
    let floor = bands.last().and_then(|&(band, _)| rules.get(band).copied());
    if bands.iter().any(|(_, members)| members.len() > 1) {
        join(table, bands);
    }
    if let Some(floor) = floor {
        fetch_last_lines(table, floor, words);
    }
}

fn join(table: &mut Table, bands: Vec<(usize, Vec<usize>)>) {
    let mut old: Vec<Option<Vec<pdfni::Cell>>> = std::mem::take(&mut table.data).into_iter().map(Some).collect();
    for (_, members) in bands {
        let mut joined: Vec<pdfni::Cell> = Vec::new();
        for index in members {
            let row = old[index].take().expect("each row is in one band");
            if joined.is_empty() {
                joined = row;
                continue;
            }
            for (into, cell) in joined.iter_mut().zip(row) {
                if cell.text.trim().is_empty() {
                    continue;
                }
                if into.text.trim().is_empty() {
                    *into = cell;
                } else {
                    into.text.push('\n');
                    into.text.push_str(&cell.text);
                    into.bbox.x0 = into.bbox.x0.min(cell.bbox.x0);
                    into.bbox.x1 = into.bbox.x1.max(cell.bbox.x1);
                    into.bbox.bottom = into.bbox.bottom.max(cell.bbox.bottom);
                }
            }
        }
        table.data.push(joined);
    }
    table.n_rows = table.data.len();
}

/// Puts words between the table's last line and the ruling under it into the columns that they stand under.
fn fetch_last_lines(table: &mut Table, floor: f64, words: &[Word]) {
    let bottom = table.data.last().and_then(|row| reach(row)).map_or(table.bbox.bottom, |(_, bottom)| bottom);
    let mut missed: Vec<&Word> = words
        .iter()
        .filter(|word| {
            let middle = f64::midpoint(word.top, word.bottom);
            bottom < middle && middle < floor && table.bbox.x0 <= word.right && word.left <= table.bbox.x1
        })
        .collect();
    missed.sort_by(|a, b| a.bottom.total_cmp(&b.bottom).then(a.left.total_cmp(&b.left)));
    let columns = table.data.iter().map(Vec::len).max().unwrap_or(0);
    let extents: Vec<(f64, f64)> = (0..columns)
        .map(|column| {
            let cells = table.data.iter().filter_map(|row| row.get(column)).filter(|cell| cell.bbox.x1 > cell.bbox.x0);
            cells.fold((f64::INFINITY, f64::NEG_INFINITY), |edge, cell| {
                (edge.0.min(cell.bbox.x0), edge.1.max(cell.bbox.x1))
            })
        })
        .collect();
    let Some(last) = table.data.last_mut() else { return };
    for word in missed {
        let overlap = |&(left, right): &(f64, f64)| word.right.min(right) - word.left.max(left);
        let best = (0..columns).max_by(|&a, &b| overlap(&extents[a]).total_cmp(&overlap(&extents[b])));
        if let Some(cell) =
            best.filter(|&column| overlap(&extents[column]) > 0.0).and_then(|column| last.get_mut(column))
        {
            if !cell.text.is_empty() {
                cell.text.push(' ');
            }
            cell.text.push_str(&word.text);
        }
    }
}

fn has_value(table: &Table, row: usize) -> bool {
    // The first column may be numbered; a value beyond it makes the row a row of its own.
    table.data[row].iter().skip(1).any(|cell| matches!(look(&cell.text), Look::Value | Look::Period))
}

fn reach(row: &[pdfni::Cell]) -> Option<(f64, f64)> {
    let filled = row.iter().filter(|cell| !cell.text.trim().is_empty() && cell.bbox.bottom > cell.bbox.top);
    filled.map(|cell| (cell.bbox.top, cell.bbox.bottom)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Heights of the rulings that run across the whole table, from top to bottom.
fn full_rules(table: &Table, edges: &[EdgePart]) -> Vec<f64> {
    let (left, right) = (table.bbox.x0, table.bbox.x1);
    let mut parts: Vec<(f64, f64, f64)> = edges
        .iter()
        .filter(|edge| edge.orientation == Orientation::Horizontal)
        .map(|edge| {
            (
                f64::midpoint(edge.top, edge.bottom),
                edge.left.min(edge.right).max(left),
                edge.left.max(edge.right).min(right),
            )
        })
        .filter(|(_, from, to)| to > from)
        .collect();
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rules = Vec::new();
    let mut rest = parts.as_mut_slice();
    while let Some(first) = rest.first() {
        let height = first.0;
        let count = rest.partition_point(|part| part.0 - height <= SAME_RULE_POINTS);
        let (group, after) = rest.split_at_mut(count);
        group.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (mut covered, mut end) = (0.0, f64::NEG_INFINITY);
        for &mut (_, from, to) in group {
            covered += (to - from.max(end)).max(0.0);
            end = end.max(to);
        }
        if covered >= COVER_SHARE * (right - left) {
            rules.push(height);
        }
        rest = after;
    }
    rules
}

#[cfg(test)]
mod tests {
    use pdfni::{BBox, Cell};

    use super::*;

    /// Rows of two text columns and a value column, 10 points a line.
    fn table(rows: &[[&str; 3]]) -> Table {
        let data = rows.iter().enumerate().map(|(line, row)| {
            let top = line as f64 * 10.0;
            let cell = |column: usize, text: &str| Cell {
                text: text.to_owned(),
                bbox: BBox { x0: column as f64 * 50.0, top, x1: column as f64 * 50.0 + 40.0, bottom: top + 8.0 },
            };
            row.iter().enumerate().map(|(column, text)| cell(column, text)).collect()
        });
        let data: Vec<Vec<Cell>> = data.collect();
        let bbox = BBox { x0: 0.0, top: 0.0, x1: 140.0, bottom: rows.len() as f64 * 10.0 };
        Table { extraction_method: "hybrid", bbox, n_rows: data.len(), n_cols: 3, data }
    }

    fn rules(heights: &[f64]) -> Vec<EdgePart> {
        let rule =
            |&top: &f64| EdgePart { orientation: Orientation::Horizontal, left: 0.0, right: 140.0, top, bottom: top };
        heights.iter().map(rule).collect()
    }

    const WRAPPED: [[&str; 3]; 6] = [
        ["Item", "Text", "Sum"],
        ["A", "a long", "1.00"],
        ["", "name", ""],
        ["B", "short", "2.00"],
        ["C", "also", "3.00"],
        ["", "long", ""],
    ];

    fn texts(table: &Table) -> Vec<String> {
        table
            .data
            .iter()
            .map(|row| row.iter().map(|cell| cell.text.replace('\n', " ")).collect::<Vec<_>>().join("|"))
            .collect()
    }

    #[test]
    fn lines_between_two_rulings_become_one_row() {
        let mut wrapped = table(&WRAPPED);
        join_ruled_rows(&mut wrapped, &rules(&[-1.0, 9.0, 29.0, 39.0, 59.0]), &[]);
        assert_eq!(texts(&wrapped), ["Item|Text|Sum", "A|a long name|1.00", "B|short|2.00", "C|also long|3.00"]);
    }

    #[test]
    fn a_line_that_was_left_out_under_the_last_row_is_fetched() {
        let mut cut = table(&WRAPPED[..5]);
        let word = |text: &str, left: f64, top: f64| Word {
            text: text.into(),
            left,
            right: left + 20.0,
            top,
            bottom: top + 8.0,
        };
        let words =
            [word("also", 50.0, 40.0), word("long", 50.0, 50.0), word("indeed", 72.0, 50.0), word("below", 50.0, 62.0)];
        join_ruled_rows(&mut cut, &rules(&[-1.0, 9.0, 29.0, 39.0, 59.0]), &words);
        assert_eq!(texts(&cut).last().unwrap(), "C|also long indeed|3.00");
    }

    #[test]
    fn rulings_under_head_and_over_foot_join_nothing() {
        let mut plain = table(&WRAPPED);
        join_ruled_rows(&mut plain, &rules(&[-1.0, 9.0, 49.0, 59.0]), &[]);
        assert_eq!(plain.data.len(), 6);
    }

    #[test]
    fn two_rows_with_values_in_one_band_stay_apart() {
        let mut full =
            table(&[["I", "T", "S"], ["A", "a", "1.00"], ["B", "b", "2.00"], ["C", "c", "3.00"], ["D", "d", "4.00"]]);
        join_ruled_rows(&mut full, &rules(&[-1.0, 9.0, 29.0, 39.0, 49.0]), &[]);
        assert_eq!(full.data.len(), 5);
    }
}
