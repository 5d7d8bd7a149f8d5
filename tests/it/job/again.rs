//! The same job again: what is done is not done twice, and what has changed is.

use super::*;

/// Rows of each of the four files: 5 + 16 + 58 + none.
const ROWS: i64 = 79;

fn names(names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

/// Four files read and saved once, with every later change of the database on record.
fn done() -> Desk {
    let desk = Desk::with_four();
    let first = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(FOUR));
    assert_eq!(first.items("extract"), (0, 4, 0, vec![]));
    assert_eq!(desk.rows_by_file("tables.db").values().sum::<i64>(), ROWS);
    desk.watch("tables.db");
    desk
}

/// Runs again and expects that no file is read and no row is written.
#[track_caller]
fn nothing_happens(desk: &Desk, more: &[&str]) -> Told {
    let told = desk.run_four(more).exits(0);
    assert_eq!(desk.reads(), names(&[]));
    assert_eq!(desk.saves("tables.db"), (0, 0, 0));
    told
}

#[test]
fn unchanged_files_are_neither_read_nor_saved_again() {
    let desk = done();
    let again = nothing_happens(&desk, &[]);
    assert_eq!(again.items("extract"), (4, 0, 0, vec![]));
    assert_eq!(again.items("save"), (4, 0, 0, vec![]));
    assert_eq!(again.json()["written"][0]["rows"], ROWS);
    // Touched, but the same.
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().append(true).open(desk.path("in/invoice_0101.pdf")).unwrap().set_modified(long_ago).unwrap();
    nothing_happens(&desk, &[]);
    // Limits are no part of what an item is.
    desk.change_plan("max_parallel: 8", "max_parallel: 1\n    timeout: 1m\n    retry: { transient: 1 }");
    desk.change_plan("on_error: quarantine ", "on_error: continue ");
    desk.change_plan("    tolerate: \"10%\"\n", "");
    nothing_happens(&desk, &[]);
    // The end report of people says so, too.
    let told = desk.ollmcp(&["run", "job.yaml", "--config", "servers.json", "-i", "folder=in"]).exits(0);
    told.says("4 of 4 done, 4 reused").says("sqlite:tables.db: 4 files, 5 tables, 79 rows");
}

#[test]
fn a_new_file_is_read_and_saved_once() {
    let desk = done();
    fs::copy(repository("plans/samples/january/invoice_0105.pdf"), desk.path("in/new.pdf")).unwrap();
    let again = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(&["new.pdf"]));
    assert_eq!(desk.saves("tables.db"), (5, 0, 1));
    assert_eq!(again.items("extract"), (4, 1, 0, vec![]));
    assert_eq!(again.items("save"), (4, 1, 0, vec![]));
}

#[test]
fn a_changed_file_replaces_the_rows_that_it_wrote_before() {
    let desk = done();
    fs::copy(repository("plans/samples/january/invoice_0102.pdf"), desk.path("in/invoice_0101.pdf")).unwrap();
    let again = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(&["invoice_0101.pdf"]));
    assert_eq!(desk.saves("tables.db"), (9, 5, 1));
    assert_eq!(again.items("extract"), (3, 0, 1, vec![]));
    assert_eq!(again.items("save"), (3, 0, 1, vec![]));
    assert_eq!(desk.rows_by_file("tables.db")["invoice_0101.pdf"], 9);
    let amounts = "select count(*) from column_1_item_description_qty_unit_price_ebab4fbc where item = 'F-0088'";
    assert_eq!(desk.number("tables.db", amounts), 0, "an old row stands");
    nothing_happens(&desk, &[]);
    // Back to what it was: known, so it is not read again, but its rows have to be written again.
    fs::copy(repository("plans/samples/january/invoice_0101.pdf"), desk.path("in/invoice_0101.pdf")).unwrap();
    desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(&[]));
    assert_eq!(desk.rows_by_file("tables.db")["invoice_0101.pdf"], 5);
    assert_eq!(desk.number("tables.db", amounts), 1);
}

#[test]
fn a_renamed_file_is_a_new_item_and_the_old_one_is_listed_as_vanished() {
    let desk = done();
    fs::rename(desk.path("in/invoice_0101.pdf"), desk.path("in/renamed.pdf")).unwrap();
    let again = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(&["renamed.pdf"]));
    assert_eq!(desk.saves("tables.db"), (5, 0, 1));
    let vanished = vec!["in/invoice_0101.pdf".to_owned()];
    assert_eq!(again.items("extract"), (3, 1, 0, vanished.clone()));
    assert_eq!(again.items("save"), (3, 1, 0, vanished));
    assert_eq!(desk.rows_by_file("tables.db")["invoice_0101.pdf"], 5, "its rows stay");
}

#[test]
fn a_file_that_is_gone_is_listed_and_its_rows_stay() {
    let desk = done();
    fs::remove_file(desk.path("in/statement_0107.pdf")).unwrap();
    let again = nothing_happens(&desk, &[]);
    assert_eq!(again.items("extract").3, ["in/statement_0107.pdf"]);
    assert_eq!(desk.rows_by_file("tables.db")["statement_0107.pdf"], 58);
    let told = desk.ollmcp(&["show"]).exits(0);
    assert!(!told.out.contains("statement_0107"), "{}", told.out);
    fs::copy(repository("plans/samples/january/statement_0107.pdf"), desk.path("in/statement_0107.pdf")).unwrap();
    nothing_happens(&desk, &[]);
}

#[test]
fn a_new_check_judges_the_stored_outputs() {
    let desk = done();
    desk.change_plan("    output: { schema", "    done_when: [ \"output.tables | length < 3\" ]\n    output: { schema");
    let again = nothing_happens(&desk, &[]);
    assert_eq!(again.items("extract"), (4, 0, 0, vec![]));
    // What does not hold on the stored output runs again; it fails again here, and is set aside.
    desk.change_plan("| length < 3", "| length < 2");
    desk.change_plan("tolerate: \"10%\"", "tolerate: 2");
    let again = desk.run_four(&[]).exits(3);
    assert_eq!(desk.reads(), names(&["invoice_0104.pdf", "statement_0107.pdf"]));
    assert_eq!(desk.saves("tables.db"), (0, 0, 0));
    assert_eq!(again.step("extract")["quarantined"], 2);
    assert!(again.json()["not_done"][0]["reason"].as_str().unwrap().contains("does not hold"), "{}", again.out);
}

#[test]
fn another_database_and_a_deleted_one_are_filled_without_reading_a_file() {
    let desk = done();
    desk.run_four(&["-i", "database=sqlite:other.db"]).exits(0);
    assert_eq!(desk.reads(), names(&[]));
    assert_eq!(desk.rows_by_file("other.db"), desk.rows_by_file("tables.db"));
    let rows = desk.rows_by_file("tables.db");
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(desk.path(&format!("tables.db{ending}")));
    }
    let again = desk.run_four(&[]).exits(0);
    assert_eq!(desk.reads(), names(&[]));
    assert_eq!(desk.rows_by_file("tables.db"), rows);
    assert_eq!(again.items("extract"), (4, 0, 0, vec![]));
    assert_eq!(again.items("save").0, 0);
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn an_item_whose_ledger_row_is_gone_is_written_again_and_not_doubled() {
    let desk = done();
    desk.sql("tables.db", "delete from _ollmcp_ledger where item = 'in/invoice_0101.pdf'");
    desk.saves("tables.db");
    let again = desk.run_four(&[]);
    // The rows stand without their ledger row: whoever deleted it meant something. They are written under a new one.
    assert_eq!(again.code, 0, "{}\n{}", again.out, again.err);
    assert_eq!(desk.reads(), names(&[]));
    assert_eq!(desk.saves("tables.db").2, 1);
    assert_eq!(again.items("save").0, 3);
    desk.ollmcp(&["verify"]).exits(0);
    assert_eq!(desk.rows_by_file("tables.db")["invoice_0101.pdf"], 5);
}

#[test]
fn fresh_runs_all_again_and_doubles_nothing() {
    let desk = done();
    let rows = desk.rows_by_file("tables.db");
    let again = desk.run_four(&["--fresh"]).exits(0);
    assert_eq!(desk.reads(), names(FOUR));
    assert_eq!(again.items("extract").0, 0);
    assert_eq!(desk.rows_by_file("tables.db"), rows);
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn a_project_that_was_moved_knows_what_it_has_done() {
    let desk = done();
    let moved = desk.root.path().canonicalize().unwrap().join("elsewhere");
    fs::rename(&desk.project, &moved).unwrap();
    let desk = Desk { project: moved, ..desk };
    // The proxy writes where it is told to: tell it the new place.
    let config = fs::read_to_string(desk.path("servers.json")).unwrap().replace("/project/", "/elsewhere/");
    fs::write(desk.path("servers.json"), config).unwrap();
    let again = nothing_happens(&desk, &[]);
    assert_eq!(again.items("save"), (4, 0, 0, vec![]));
    desk.ollmcp(&["verify"]).exits(0);
}

#[test]
fn a_file_outside_the_project_counts_by_its_content_too() {
    let desk = Desk::with_four();
    let outside = desk.root.path().canonicalize().unwrap().join("outside");
    fs::rename(desk.path("in"), &outside).unwrap();
    let folder = format!("folder={}", outside.display());
    // A foreign server reads where it likes: the plan names the argument that is a file.
    desk.run(&["-i", &folder]).exits(0);
    assert_eq!(desk.reads(), names(FOUR));
    desk.run(&["-i", &folder]).exits(0);
    assert_eq!(desk.reads(), names(&[]));
    fs::copy(blank(), outside.join("invoice_0101.pdf")).unwrap();
    let again = desk.run(&["-i", &folder]).exits(0);
    assert_eq!(desk.reads(), names(&["invoice_0101.pdf"]));
    assert_eq!(again.items("extract"), (3, 0, 1, vec![]));
    assert_eq!(desk.rows_by_file("tables.db").get("invoice_0101.pdf"), None);
}
