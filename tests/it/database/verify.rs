//! What verify finds when somebody has been at the rows.

use super::*;

async fn three() -> (tempfile::TempDir, Arc<Sqlite>, PathBuf, Vec<WriteJob>, String) {
    let (folder, database, path) = fresh();
    let jobs: Vec<WriteJob> = ["a.pdf", "b.pdf", "c.pdf"]
        .iter()
        .map(|item| job(item, 1, &["n", "t"], json!([["1", "x"], ["2.50", "y"], ["3", item]])))
        .collect();
    for job in &jobs {
        database.write(job).await.unwrap();
    }
    let name = only_table(&path).await;
    (folder, database, path, jobs, name)
}

async fn rowid(path: &Path, name: &str, file: &str, row: u32) -> i64 {
    let text = one(path, &format!("select rowid from \"{name}\" where _file = '{file}' and _row = {row}")).await;
    text.parse().unwrap()
}

/// The differences as short text.
async fn told(database: &Sqlite, jobs: &[WriteJob]) -> Vec<String> {
    let verified = database.verify(jobs.iter().map(expectation).collect()).await.unwrap();
    let line = |d: &ollmcp::database::Difference| {
        format!("{} {} {}", d.item, d.rowid.map_or_else(|| "-".into(), |id| id.to_string()), d.what)
    };
    verified.differences.iter().map(line).collect()
}

#[tokio::test]
async fn rows_that_stand_are_counted_without_a_difference() {
    let (_folder, database, path, jobs, name) = three().await;
    let verified = database.verify(jobs.iter().map(expectation).collect()).await.unwrap();
    assert_eq!((verified.items, verified.rows), (3, 9));
    assert_eq!(verified.differences, []);
    // One item alone: the rows of the others are theirs, not extra.
    assert_eq!(told(&database, &jobs[..1]).await, Vec::<String>::new());
    // Vacuumed, the rows stand where they stood.
    let before = rowid(&path, &name, "b.pdf", 2).await;
    database.close().await;
    sql(&path, "vacuum").await;
    assert_eq!(rowid(&path, &name, "b.pdf", 2).await, before);
    assert_eq!(told(&database, &jobs).await, Vec::<String>::new());
}

#[tokio::test]
async fn deleted_doubled_altered_and_extra_rows_are_named_one_by_one() {
    let (_folder, database, path, jobs, name) = three().await;
    let gone = rowid(&path, &name, "a.pdf", 2).await;
    let changed = rowid(&path, &name, "b.pdf", 1).await;
    sql(
        &path,
        &format!(
            "delete from \"{name}\" where rowid = {gone};
         update \"{name}\" set n = 1.5, t = 'zz' where rowid = {changed};
         insert into \"{name}\" select * from \"{name}\" where _file = 'c.pdf' and _row = 3;
         insert into \"{name}\" (n, t, _file) values (99, 'made up', 'c.pdf');
         insert into \"{name}\" (n, t) values (98, 'nobody');"
        ),
    )
    .await;
    let ids: Vec<i64> = sql(
        &path,
        &format!("select rowid from \"{name}\" where _file = 'c.pdf' or _file is null order by rowid desc limit 3"),
    )
    .await
    .iter()
    .map(|line| line[0].parse().unwrap())
    .collect();
    let mut wanted = vec![
        format!("a.pdf {gone} missing: the row does not stand"),
        format!("b.pdf {changed} altered: `n` is 1.5, expected 1"),
        format!("b.pdf {changed} altered: `t` is `zz`, expected `x`"),
        format!("c.pdf {} doubled: the row stands more than once", ids[2]),
        format!("c.pdf {} extra: no item of the run wrote this row", ids[1]),
        format!(" {} extra: no item of the run wrote this row", ids[0]),
    ];
    let mut found = told(&database, &jobs).await;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_value_swapped_for_null_or_another_type_is_altered() {
    let (_folder, database, path, jobs, name) = three().await;
    let id = rowid(&path, &name, "a.pdf", 1).await;
    for (to, what) in [("null", "NULL"), ("'one'", "`one`"), ("x'00'", "a blob of 1 bytes"), ("1.0000001", "1.0000001")]
    {
        sql(&path, &format!("update \"{name}\" set n = {to} where rowid = {id}")).await;
        assert_eq!(told(&database, &jobs).await, [format!("a.pdf {id} altered: `n` is {what}, expected 1")]);
    }
    sql(&path, &format!("update \"{name}\" set n = 1, _page = 7 where rowid = {id}")).await;
    assert_eq!(told(&database, &jobs).await, [format!("a.pdf {id} altered: `_page` is 7, expected 1")]);
}

#[tokio::test]
async fn a_row_that_was_moved_to_another_id_still_stands() {
    let (_folder, database, path, jobs, name) = three().await;
    // What a restored dump does: the same rows, counted from one.
    sql(&path, &format!(
        "create table aside as select * from \"{name}\"; delete from \"{name}\"; insert into \"{name}\" select * from aside; drop table aside;"
    )).await;
    assert_eq!(told(&database, &jobs).await, Vec::<String>::new());
    assert_eq!(told(&database, &jobs[1..2]).await, Vec::<String>::new());
    // And a changed item takes its old rows out all the same.
    let written = database.write(&job("a.pdf", 2, &["n", "t"], json!([["7", "x"]]))).await.unwrap();
    assert_eq!(written.replaced, 3);
    assert_eq!(one(&path, &format!("select count(*) from \"{name}\"")).await, "7");
}

#[tokio::test]
async fn a_lost_table_ledger_or_database_is_told() {
    let (_folder, database, path, jobs, name) = three().await;
    sql(&path, "delete from _ollmcp_ledger where item = 'a.pdf'").await;
    let found = told(&database, &jobs[..1]).await;
    assert!(found.iter().any(|line| line.contains("the row ledger has no entry")), "{found:?}");
    // Rows that no entry stands for are nobody's.
    let found = told(&database, &jobs[1..]).await;
    assert_eq!(
        found.iter().filter(|line| line.starts_with("a.pdf") && line.contains(" extra: ")).count(),
        3,
        "{found:?}"
    );
    sql(&path, &format!("drop table \"{name}\"")).await;
    let found = told(&database, &jobs[1..]).await;
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|line| line.contains("missing: its table does not exist")), "{found:?}");
    database.close().await;
    std::fs::remove_file(&path).unwrap();
    let found = told(&database, &jobs).await;
    assert_eq!(found.len(), 3);
    assert!(found[0].contains("does not exist"), "{found:?}");
    assert!(!path.exists());
}
