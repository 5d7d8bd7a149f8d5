//! `verify`: rows are counted again on the database itself.

use super::*;

const TABLE: &str = "column_1_item_description_qty_unit_price_ebab4fbc";

fn done() -> Desk {
    let desk = Desk::with_four();
    desk.run_four(&[]).exits(0);
    desk
}

fn runs(desk: &Desk) -> Vec<String> {
    let runs = desk.ollmcp(&["--json", "ls"]).exits(0).json();
    runs["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rows_hold_for_the_run_that_wrote_them_and_for_one_that_took_them_over() {
    let desk = done();
    desk.ollmcp(&["verify"]).exits(0).says("4 items, 79 rows counted").says("holds");
    desk.run_four(&[]).exits(0);
    for run in runs(&desk) {
        let told = desk.ollmcp(&["verify", &run, "--json"]).exits(0).json();
        assert_eq!((&told["v"], &told["holds"]), (&json!(1), &json!(true)));
        assert_eq!(told["databases"][0]["rows"], 79);
        assert_eq!(told["databases"][0]["items"], 4);
    }
}

#[test]
fn rows_that_a_later_run_replaced_are_superseded_and_no_fault() {
    let desk = done();
    fs::copy(repository("plans/samples/january/invoice_0102.pdf"), desk.path("in/invoice_0101.pdf")).unwrap();
    desk.run_four(&[]).exits(0);
    let all = runs(&desk);
    let (second, first) = (&all[0], &all[1]);
    let told = desk.ollmcp(&["verify", first]).exits(0).says("in/invoice_0101.pdf: superseded by run ").says("holds");
    assert!(told.out.contains(&second[..13]), "{}", told.out);
    desk.ollmcp(&["verify", second]).exits(0).says("4 items, 83 rows counted");
}

/// Does something to the rows behind the program's back and expects to be told which row.
#[track_caller]
fn is_found(change: &str, what: &str, wanted_rowid: &str) {
    let desk = done();
    let rowid =
        desk.sql("tables.db", &format!("select rowid from {TABLE} where _file = 'in/invoice_0101.pdf' and _row = 2"));
    let rowid = rowid[0][0].clone();
    desk.sql("tables.db", &change.replace("ROWID", &rowid).replace("TABLE", TABLE));
    let told = desk.ollmcp(&["verify"]).exits(5).says("does not hold");
    let line = told.out.lines().find(|line| line.contains("in/invoice_0101.pdf: ")).unwrap_or_default();
    assert!(line.contains(TABLE) && line.contains(what), "{}", told.out);
    let named = match wanted_rowid {
        "same" => rowid,
        query => desk.sql("tables.db", &query.replace("TABLE", TABLE))[0][0].clone(),
    };
    assert!(line.contains(&format!("row {named}:")), "{named}: {}", told.out);
    let told = desk.ollmcp(&["verify", "--json"]).exits(5).json();
    assert_eq!(told["holds"], false);
    let difference = &told["databases"][0]["differences"][0];
    assert_eq!(difference["item"], "in/invoice_0101.pdf");
    assert_eq!(difference["table"], TABLE);
    assert_eq!(difference["rowid"].to_string(), named);
}

#[test]
fn a_deleted_row_is_found() {
    is_found("delete from TABLE where rowid = ROWID", "missing", "same");
}

#[test]
fn a_doubled_row_is_found() {
    is_found("insert into TABLE select * from TABLE where rowid = ROWID", "doubled", "select max(rowid) from TABLE");
}

#[test]
fn an_altered_row_is_found() {
    is_found("update TABLE set description = 'gold' where rowid = ROWID", "`description`", "same");
}

#[test]
fn a_table_that_was_dropped_is_found() {
    let desk = done();
    desk.sql("tables.db", &format!("drop table {TABLE}"));
    desk.ollmcp(&["verify"]).exits(5).says("does not hold").says(TABLE);
}

#[test]
fn a_table_that_was_dropped_is_written_again_by_the_next_run_and_nothing_is_doubled() {
    let desk = done();
    let rows = desk.rows_by_file("tables.db");
    desk.sql("tables.db", &format!("drop table {TABLE}"));
    assert_ne!(desk.rows_by_file("tables.db"), rows);
    desk.reads();
    desk.run_four(&[]).exits(0);
    assert_eq!(desk.rows_by_file("tables.db"), rows);
    assert!(desk.reads().is_empty(), "no file is read for it");
    desk.ollmcp(&["verify"]).exits(0).says("holds");
}

#[test]
fn a_database_that_is_gone_does_not_hold() {
    let desk = done();
    fs::remove_file(desk.path("tables.db")).unwrap();
    let told = desk.ollmcp(&["verify"]).exits(5).says("does not hold");
    assert!(told.out.contains("tables.db` does not exist\n    4 items: in/blank.pdf, "), "{}", told.out);
    assert!(!desk.path("tables.db").exists(), "looking made a database");
    let told = desk.ollmcp(&["verify", "--json"]).exits(5).json();
    assert_eq!(told["holds"], false);
    desk.ollmcp(&["rows"]).exits(1).notes("no row of run ").notes("sqlite:tables.db").notes("ollmcp verify");
    assert!(!desk.path("tables.db").exists(), "looking made a database");
}

#[test]
fn a_run_without_rows_says_so() {
    let desk = Desk::new();
    desk.plan("name: p\nsteps:\n  - id: a\n    value: 1\n");
    desk.run(&[]).exits(0);
    desk.ollmcp(&["verify"]).exits(0).says("wrote no rows");
    desk.ollmcp(&["rows"]).exits(2).notes("wrote no rows");
}

#[test]
fn rows_of_a_table_that_is_not_there_are_refused_with_those_that_are() {
    let desk = done();
    desk.ollmcp(&["rows", "last", "--table", "invoices"]).exits(2).notes("no rows in a table `invoices`").notes(TABLE);
    desk.ollmcp(&["rows", "last", "--csv"]).exits(2).notes("--table with one of: ").notes(TABLE);
    fs::remove_dir_all(desk.path("in")).unwrap();
    fs::create_dir(desk.path("in")).unwrap();
    fs::copy(blank(), desk.path("in/blank.pdf")).unwrap();
    desk.run_four(&[]).exits(0);
    desk.ollmcp(&["rows"]).exits(2).notes("wrote no rows");
}

#[test]
fn what_cannot_be_counted_is_said_in_the_right_words() {
    let desk = Desk::with_four();
    desk.run_four(&[]).exits(0);
    // The same files into another database are new there, not changed.
    let told = desk.run_four(&["-i", "database=sqlite:other.db"]).exits(0);
    assert_eq!(told.items("save"), (0, 4, 0, vec![]));
    assert_eq!(told.items("extract"), (4, 0, 0, vec![]));
    fs::write(desk.path("other.db"), "this is no database, and was none").unwrap();
    let told = desk.ollmcp(&["verify"]).exits(1).notes("the file is no SQLite database\nhint: ");
    assert!(told.err.contains("put the file back from a copy") && !told.err.contains("; hint"), "{}", told.err);
    fs::remove_dir_all(desk.path(".ollmcp/journal")).unwrap();
    let told = desk.ollmcp(&["verify"]).exits(1).notes("without the journal nothing can be verified");
    assert!(!told.err.contains("another process"), "{}", told.err);
}
