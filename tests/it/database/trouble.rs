//! Locks, crashes, deleted files, many writers.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::*;

/// Names the child's part and its database.
const CHILD: &str = "OLLMCP_TEST_DATABASE_CHILD";

/// Rows of each item: several statements long, so that a kill finds the middle of one.
const CHILD_ROWS: usize = 1_500;

const CHILD_ITEMS: u32 = 60;

fn child_job(item: u32) -> WriteJob {
    let rows: Vec<Value> = (0..CHILD_ROWS).map(|row| json!([row, format!("{item}.50"), "text"])).collect();
    job(&format!("{item:03}.pdf"), 1, &["n", "v", "t"], Value::from(rows))
}

/// Not a test of its own: what the child processes of the tests below do.
#[test]
fn child_writes_its_items() {
    #[expect(clippy::disallowed_methods, reason = "how a child is told that it is one")]
    let Ok(path) = std::env::var(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Sqlite::new(PathBuf::from(path), Limits::default());
        for item in 0..CHILD_ITEMS {
            database.write(&child_job(item)).await.unwrap();
            println!("wrote {item}");
        }
        database.close().await;
    });
}

fn child(path: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "database::trouble::child_writes_its_items", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn items_are_all_or_nothing_when_the_writer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    for kill_after in [0, 3, 7] {
        let mut writer = child(&path);
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let wanted = format!("wrote {kill_after}");
        // The kill falls into the item after the line that is waited for.
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line == wanted));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let database = Sqlite::new(path.clone(), Limits::default());
        let mut standing = 0;
        for item in 0..CHILD_ITEMS {
            let job = child_job(item);
            let stands = database.stands(&job.key.identity).await.unwrap();
            let rows = database.rows(&[job.key.identity], None, 1_000_000).await.unwrap();
            let rows = rows.first().map_or(0, |page| page.rows.len());
            assert_eq!(rows, if stands { CHILD_ROWS } else { 0 }, "item {item}");
            standing += usize::from(stands);
        }
        assert!(standing > kill_after, "{standing} stand after `wrote {kill_after}`");
        let name = only_table(&path).await;
        assert_eq!(one(&path, &format!("select count(*) from \"{name}\"")).await, (standing * CHILD_ROWS).to_string());
        assert_eq!(one(&path, "pragma integrity_check").await, "ok");
    }
    // The rest is written by another process; the whole equals an undisturbed run.
    assert!(child(&path).wait_with_output().unwrap().status.success());
    let other = folder.path().join("undisturbed.db");
    assert!(child(&other).wait_with_output().unwrap().status.success());
    assert!(dump(&path).await == dump(&other).await, "the dumps differ");
    let expected = (0..CHILD_ITEMS).map(|item| expectation(&child_job(item))).collect();
    let verified = Sqlite::new(path, Limits::default()).verify(expected).await.unwrap();
    assert_eq!(verified.differences, []);
    assert_eq!(verified.rows, u64::from(CHILD_ITEMS) * CHILD_ROWS as u64);
}

#[tokio::test]
async fn two_processes_and_two_writers_write_each_item_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let (one_child, other_child) = (child(&path), child(&path));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let database = Sqlite::new(path.clone(), Limits { busy_tries_max: 50, ..Limits::default() });
        writers.spawn(async move {
            for item in (0..CHILD_ITEMS).rev() {
                database.write(&child_job(item)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    for child in [one_child, other_child] {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let name = only_table(&path).await;
    let all = CHILD_ITEMS as usize * CHILD_ROWS;
    assert_eq!(one(&path, &format!("select count(*) from \"{name}\"")).await, all.to_string());
    assert_eq!(
        one(&path, &format!("select count(distinct _file || ' ' || _row) from \"{name}\"")).await,
        all.to_string()
    );
    assert_eq!(one(&path, "select count(*) from _ollmcp_ledger").await, CHILD_ITEMS.to_string());
}

#[tokio::test]
async fn a_locked_database_is_busy_and_then_free() {
    let (_folder, _, path) = fresh();
    let database = Sqlite::new(path.clone(), QUICK);
    database.write(&job("a.pdf", 1, &["a"], json!([["1"]]))).await.unwrap();
    let mut holder = connect(&path).await;
    sqlx::raw_sql("begin immediate").execute(&mut holder).await.unwrap();
    let second = job("b.pdf", 1, &["a"], json!([["x"]]));
    assert!(matches!(database.write(&second).await, Err(DatabaseError::Busy(_))));
    assert!(!database.stands(&second.key.identity).await.unwrap(), "readers do not wait for writers");
    // Released while a write waits, it goes through: the waiting write is polled first, then the lock goes.
    let patient = Sqlite::new(path.clone(), Limits { busy_timeout_ms: 0, busy_tries_max: 60, ..Limits::default() });
    let (written, ()) = tokio::join!(patient.write(&second), async {
        tokio::task::yield_now().await;
        sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    });
    assert_eq!(written.unwrap().rows, 1);
}

#[tokio::test]
async fn a_deleted_database_is_noticed_and_written_anew() {
    let (_folder, database, path) = fresh();
    let first = job("a.pdf", 1, &["a"], json!([["1"]]));
    assert!(!database.stands(&first.key.identity).await.unwrap());
    assert!(!path.exists(), "asking makes no file");
    database.write(&first).await.unwrap();
    assert!(database.stands(&first.key.identity).await.unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!database.stands(&first.key.identity).await.unwrap());
    assert!(!path.exists());
    assert_eq!(database.write(&first).await.unwrap().rows, 1);
    assert_eq!(database.verify(vec![expectation(&first)]).await.unwrap().rows, 1);
    // With its side files, and replaced by another database.
    for file in ["t.db", "t.db-wal", "t.db-shm"] {
        let _ = std::fs::remove_file(path.with_file_name(file));
    }
    sql(&path, "create table other (x)").await;
    assert!(!database.stands(&first.key.identity).await.unwrap());
    assert_eq!(database.write(&first).await.unwrap().rows, 1);
    assert_eq!(one(&path, "select count(*) from other").await, "0");
    assert_eq!(database.verify(vec![expectation(&first)]).await.unwrap().rows, 1);
}

#[tokio::test]
async fn files_that_are_no_database_and_folders_that_are_not_there_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let wrote = job("a.pdf", 1, &["a"], json!([["1"]]));
    let rubbish = folder.path().join("rubbish.db");
    std::fs::write(&rubbish, "not a database, but longer than a header of one hundred bytes. ".repeat(20)).unwrap();
    let database = open("sqlite:rubbish.db", folder.path()).unwrap();
    for outcome in [database.write(&wrote).await.map(|_| ()), database.stands(&wrote.key.identity).await.map(|_| ())] {
        let Err(DatabaseError::Failed(message)) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("no SQLite database"), "{message}");
    }
    let away = open("sqlite:no/such/t.db", folder.path()).unwrap();
    assert!(!away.stands(&wrote.key.identity).await.unwrap());
    let Err(DatabaseError::Failed(message)) = away.write(&wrote).await else { panic!("it was written") };
    assert!(message.contains("does not exist") && message.contains("hint: "), "{message}");
}

#[tokio::test]
async fn a_write_that_is_dropped_in_the_middle_leaves_nothing_and_the_next_one_works() {
    let (_folder, database, path) = fresh();
    let long = child_job(0);
    for polls in 1..12 {
        let mut write = database.write(&long);
        for _ in 0..polls {
            if futures::poll!(&mut write).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(database.write(&long).await.unwrap().rows, CHILD_ROWS as u64);
    let name = only_table(&path).await;
    assert_eq!(one(&path, &format!("select count(*) from \"{name}\"")).await, CHILD_ROWS.to_string());
}
