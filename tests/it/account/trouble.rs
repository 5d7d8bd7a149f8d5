//! Damage, other programs' files, full folders: refused with file and remedy, and never a call too many.

use std::fs;

use super::*;
use tempfile::tempdir;

#[tokio::test]
async fn damage_is_refused_with_the_file_and_what_to_do() {
    let clock = TestClock::new();
    let length = {
        let folder = tempdir().unwrap();
        let account = open(folder.path(), &clock).await;
        for _ in 0..40 {
            bought(&account, &ask(1, 10, Limits { calls_per_hour_max: 1_000, ..Limits::default() }), 10).await;
        }
        fs::metadata(account.file()).unwrap().len()
    };
    for (what, at) in [("header", 0), ("schema", 100), ("pages", 4096), ("end", length)] {
        let folder = tempdir().unwrap();
        let account = open(folder.path(), &clock).await;
        for _ in 0..40 {
            bought(&account, &ask(1, 10, Limits { calls_per_hour_max: 1_000, ..Limits::default() }), 10).await;
        }
        let file = account.file().to_owned();
        account.flush().await.unwrap();
        drop(account);
        let mut bytes = fs::read(&file).unwrap();
        let at = usize::try_from(at).unwrap();
        if what == "end" {
            bytes.truncate(bytes.len() / 2);
        } else {
            let end = (at + 3000).min(bytes.len());
            bytes[at..end].fill(0xa5);
        }
        fs::write(&file, &bytes).unwrap();
        let error = try_open(folder.path(), &clock).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, AccountError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("claude_account.db"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("mv ") && hint.contains("claude_usage.json"), "{hint}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "nothing was written into it");
        // What the hint says helps, and what was bought still counts.
        fs::rename(&file, folder.path().join("claude_account.db.damaged")).unwrap();
        let account = open(folder.path(), &clock).await;
        assert_eq!(account.standing(None).await.unwrap().hour_calls, 40);
    }
}

#[tokio::test]
async fn another_programs_database_and_a_newer_format_are_refused_by_name() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let file = folder.path().join("claude_account.db");
    fs::write(&file, "this is no database at all, it is a letter to a friend").unwrap();
    assert!(matches!(try_open(folder.path(), &clock).await, Err(AccountError::Damaged { .. })));
    fs::remove_file(&file).unwrap();
    drop(open(folder.path(), &clock).await);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::query("pragma user_version = 99").execute(&mut other).await.unwrap();
    let error = try_open(folder.path(), &clock).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, AccountError::Newer { found: 99, .. }), "{error}");
    sqlx::query("pragma application_id = 5").execute(&mut other).await.unwrap();
    let error = try_open(folder.path(), &clock).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    fs::write(folder.path().join("file"), "").unwrap();
    let error = try_open(&folder.path().join("file"), &clock).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, AccountError::Failed { .. }) && error.hint().unwrap().contains("ls -la"), "{error}");
}

#[tokio::test]
async fn only_the_owner_reads_the_account() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    bought(&account, &ask(1, 10, Limits::default()), 10).await;
    for name in ["claude_account.db", "claude_usage.json"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[tokio::test]
async fn old_calls_become_sums_and_neither_file_grows_for_ever() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(7, 10, Limits { run_microdollars_max: Some(100), ..Limits::default() });
    for _ in 0..3 {
        bought(&account, &asked, 20).await;
    }
    drop(account);
    let old = fs::read_to_string(folder.path().join("claude_usage.json")).unwrap();
    clock.passes(91 * 24 * HOUR_MS);
    let account = open(folder.path(), &clock).await;
    bought(&account, &asked, 20).await;
    let text = fs::read_to_string(folder.path().join("claude_usage.json")).unwrap();
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 1);
    // Sums are left: for reports, and for the budget of the run.
    use ollmcp::account::{By, Span};
    let since = Span::Since("2026-01-01".parse().unwrap());
    let models = account.usage(since, By::Model).await.unwrap();
    assert_eq!((models.len(), models[0].calls, models[0].microdollars, models[0].input_tokens), (1, 4, 80, 4 * 1234));
    assert_eq!(account.usage(since, By::Day).await.unwrap().len(), 2);
    assert_eq!(reached(account.reserve(&ask(7, 21, asked.limits)).await).limit, Limit::RunBudget);
    let standing = account.standing(Some(&run(7).to_string()[..8])).await.unwrap();
    assert_eq!(standing.runs, [(run(7).to_string(), 4, 80)]);
    // A folded record that comes back with an old copy of the file is not counted again, and not thrown away either.
    fs::write(folder.path().join("claude_usage.json"), &old).unwrap();
    bought(&account, &ask(8, 5, Limits::default()), 5).await;
    let models = account.usage(since, By::Model).await.unwrap();
    assert_eq!((models[0].calls, models[0].microdollars), (5, 85));
    let text = fs::read_to_string(folder.path().join("claude_usage.json")).unwrap();
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 3 + 2);
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_written_with_the_next_change() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let asked = ask(1, 60, limits(50, 100));
    let reservation = granted(account.reserve(&asked).await);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(account.file());
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let refuses = "create trigger refuses before update on calls begin select raise(abort, 'the disk is on fire'); end";
    sqlx::query(refuses).execute(&mut other).await.unwrap();
    let error = account.settle(reservation, &spent(10)).await.unwrap_err();
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
    sqlx::query("drop trigger refuses").execute(&mut other).await.unwrap();
    account.flush().await.unwrap();
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.open.len(), standing.day_microdollars, standing.hour_calls), (0, 10, 1));
}

#[tokio::test]
async fn a_call_that_was_taken_for_lost_is_corrected_when_it_is_settled_after_all() {
    let (folder, clock) = (tempdir().unwrap(), TestClock::new());
    let account = open(folder.path(), &clock).await;
    let records = || {
        let text = fs::read_to_string(folder.path().join("claude_usage.json")).unwrap();
        serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap()
    };
    for nth in 0..2 {
        let reservation = granted(account.reserve(&ask(1, 60, limits(50, 1_000))).await);
        // As a process in another container would see it after an hour.
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(account.file());
        let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query("update calls set state = 2 where state = 0").execute(&mut other).await.unwrap();
        sqlx::query("update meta set value = '1' where key = 'usage_file_is_behind'")
            .execute(&mut other)
            .await
            .unwrap();
        sqlx::query("insert or ignore into meta values ('usage_file_is_behind', '1')")
            .execute(&mut other)
            .await
            .unwrap();
        account.flush().await.unwrap();
        assert_eq!((records().len(), records().last().unwrap()["cost_estimate"].as_f64()), (1 + nth, Some(0.000_06)));
        clock.passes(1);
        if nth == 0 {
            account.settle(reservation, &spent(10)).await.unwrap();
            assert_eq!((records().len(), records()[0]["cost_estimate"].as_f64()), (1, Some(0.000_01)));
        } else {
            account.release(reservation).await.unwrap();
        }
    }
    drop(account);
    let account = open(folder.path(), &clock).await;
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.day_microdollars, records().len()), (1, 10, 1));
}
