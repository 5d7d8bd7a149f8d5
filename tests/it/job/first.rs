//! The main job: a folder of PDFs into database tables, told and true.

use super::*;

/// Records of the truth by file: line, item, description, quantity, unit price, amount.
fn truth(month: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let text = fs::read_to_string(repository(&format!("plans/samples/truth/{month}/truth_records.csv"))).unwrap();
    let mut records: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), 11, "a cell holds a comma: {line}");
        let wanted = cells[5..].iter().map(|&cell| plain(cell, "truth")).collect();
        records.entry(cells[0].to_owned()).or_default().push(wanted);
    }
    records
}

/// Layout and number of table rows by file.
fn files(month: &str) -> BTreeMap<String, (String, i64)> {
    let text = fs::read_to_string(repository(&format!("plans/samples/truth/{month}/truth_files.csv"))).unwrap();
    let mut files = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        if cells[6].is_empty() {
            files.insert(cells[0].to_owned(), (cells[1].to_owned(), cells[7].parse().unwrap()));
        }
    }
    files
}

/// A number as the truth writes it; anything else as it is.
fn plain(cell: &str, layout: &str) -> String {
    let digits = match layout {
        "truth" => cell.to_owned(),
        "euro" => cell.replace('.', "").replace(',', "."),
        _ => cell.replace(',', ""),
    };
    match digits.parse::<f64>() {
        Ok(number) => format!("{number:.2}"),
        Err(_) => cell.to_owned(),
    }
}

/// The records of one file as they stand in the database.
fn found(desk: &Desk, database: &str, path: &str, layout: &str) -> Vec<Vec<String>> {
    let table = |part: &str| desk.tables(database).into_iter().find(|name| name.contains(part)).unwrap();
    let cells = if layout == "statement" {
        let table = table("debit_credit");
        desk.sql(database, &format!(
            "select reference, details, debit, credit from \"{table}\" where _file = '{path}' order by _page, _table, _row"
        ))
    } else {
        let table = table("qty_unit_price");
        desk.sql(
            database,
            &format!(
                "select column_1, item, description, qty, unit_price, amount from \"{table}\" \
             where _file = '{path}' and item <> '' order by _page, _table, _row"
            ),
        )
    };
    let rows = cells.into_iter().enumerate().map(|(at, row)| {
        let row: Vec<String> = row.iter().map(|cell| plain(cell, layout)).collect();
        if layout != "statement" {
            return row;
        }
        let amount = if row[2].is_empty() { row[3].clone() } else { format!("-{}", row[2]) };
        let empty = String::new();
        vec![format!("{}.00", at + 1), row[0].clone(), row[1].clone(), empty.clone(), empty, amount]
    });
    rows.collect()
}

#[track_caller]
fn equals_truth(desk: &Desk, database: &str, month: &str) {
    let truth = truth(month);
    let by_file = desk.rows_by_file(database);
    let mut records = 0;
    for (name, (layout, table_rows)) in files(month) {
        let path = format!("plans/samples/{month}/{name}");
        assert_eq!(found(desk, database, &path, &layout), truth[&name], "{name}");
        assert_eq!(by_file[&name], table_rows, "{name}");
        records += truth[&name].len();
    }
    assert!(records > 500, "the truth was not read: {records}");
}

fn desk_with_samples() -> Desk {
    let desk = Desk::new();
    copy_folder(&repository("plans"), &desk.path("plans"));
    desk
}

#[test]
fn january_becomes_tables_and_the_report_says_what_and_where() {
    let desk = desk_with_samples();
    let january = desk.path("plans/samples/january");
    fs::copy(blank(), january.join("letter.pdf")).unwrap();
    fs::write(january.join("empty.pdf"), "").unwrap();
    let told = desk.ollmcp(&["run", "plans/pdf_tables.yaml"]).exits(3);
    let told = told
        .says("sqlite:tables.db: 24 files, 37 tables, 629 rows in 6 data tables")
        .says("431 rows  date_reference_details_debit_credit_bala_")
        .says("no table found in 1 file:")
        .says("\n    plans/samples/january/letter.pdf\n")
        .says("set aside:")
        .says("plans/samples/january/empty.pdf")
        .says("look at it: ollmcp rows ");
    equals_truth(&desk, "tables.db", "january");
    // The command that the report names shows rows, and one table as CSV.
    let command = told.out.lines().rev().find_map(|line| line.strip_prefix("look at it: ollmcp ")).unwrap();
    let rows = desk.ollmcp(&command.split(' ').collect::<Vec<_>>()).exits(0);
    assert!(rows.out.contains("compact timer"), "{}", rows.out);
    let table = desk.tables("tables.db").into_iter().find(|name| name.starts_with("date_reference")).unwrap();
    let csv = desk.ollmcp(&["rows", "last", "--table", &table, "--csv"]).exits(0);
    assert_eq!(csv.out.lines().count(), 432);
    assert!(csv.out.starts_with("date,reference,details,debit,credit,balance,_file,_page,_table,_row,_confidence\r\n"));
}

#[test]
fn january_alone_is_complete() {
    let desk = desk_with_samples();
    let told = desk.ollmcp(&["run", "plans/pdf_tables.yaml", "-i", "database=sqlite:jan.db"]).exits(0);
    let told = told.says("pdf_tables complete in ").says("sqlite:jan.db: 23 files, 37 tables, 629 rows");
    assert!(!told.out.contains("set aside") && !told.out.contains("no table found"), "{}", told.out);
    equals_truth(&desk, "jan.db", "january");
}

#[test]
fn february_is_partial_and_each_file_that_was_set_aside_is_named_with_its_reason() {
    let desk = desk_with_samples();
    let february = ["run", "plans/pdf_tables.yaml", "-i", "folder=plans/samples/february"];
    let first = desk.ollmcp(&february).exits(3).says("pdf_tables partial").says("20 of 23 done, 3 set aside");
    let reasons = [
        ("invoice_0221.pdf", "no text layer on 1 page: a scan"),
        ("invoice_0222.pdf", "damaged file"),
        ("invoice_0223.pdf", "not a PDF"),
    ];
    for (name, reason) in reasons {
        let line = first.out.lines().find(|line| line.contains(&format!("extract[plans/samples/february/{name}]")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {reason}\n{}", first.out);
    }
    equals_truth(&desk, "tables.db", "february");
    // Both months in one database: columns are widened, and the rows are still the truth.
    desk.ollmcp(&["run", "pdf_tables"]).exits(0);
    equals_truth(&desk, "tables.db", "january");
    equals_truth(&desk, "tables.db", "february");
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn a_second_february_tries_the_files_that_were_set_aside_and_no_other() {
    let desk = Desk::with_four();
    copy_folder(&repository("plans/samples/february"), &desk.path("in"));
    let first = desk.run_four(&[]).exits(3);
    assert_eq!(desk.reads().len(), FOUR.len() + 23);
    assert_eq!(first.step("extract")["quarantined"], 3);
    let again = desk.run_four(&[]).exits(3);
    let broken = ["invoice_0221.pdf", "invoice_0222.pdf", "invoice_0223.pdf"];
    assert_eq!(desk.reads(), broken.iter().map(|name| ((*name).to_owned(), 1)).collect());
    assert_eq!(again.items("extract"), (24, 0, 0, vec![]));
    assert_eq!(again.items("save"), (24, 0, 0, vec![]));
    assert_eq!(again.json()["not_done"].as_array().unwrap().len(), 3);
}
