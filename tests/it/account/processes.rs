//! Several processes on one account: the limit holds exactly, and a killed one leaves what it held as spent, once.
//!
//! The children are this test binary, started with the tests `child_that_…`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::*;
use tempfile::tempdir;

const FOLDER: &str = "OLLMCP_TEST_ACCOUNT";
const NUMBER: &str = "OLLMCP_TEST_ACCOUNT_NUMBER";

fn start(child: &str, folder: &Path, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("account::processes::{child}"), "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
fn told() -> Option<(std::path::PathBuf, u64)> {
    let folder = std::env::var(FOLDER).ok()?;
    Some((folder.into(), std::env::var(NUMBER).unwrap().parse().unwrap()))
}

const CALLS_MAX: u64 = 40;
const CHILDREN: u64 = 4;
const ASKS: u64 = 25;

/// What the hammering children ask for: the hour is the limit.
fn hammered(number: u64) -> Ask {
    ask(number.into(), 10, limits(CALLS_MAX, 1_000_000))
}

/// Asks 25 times, five at once; of five granted calls one is released.
#[tokio::test]
async fn child_that_hammers() {
    let Some((folder, number)) = told() else { return };
    let account = Account::open(&folder).await.unwrap();
    let mut granted_here = 0;
    for round in 0..ASKS / 5 {
        let asks = (0..5).map(|nth| {
            let account = account.clone();
            async move {
                match account.reserve(&hammered(number)).await.unwrap() {
                    Decision::Granted(reservation) if (round + nth) % 5 == 0 => {
                        account.release(reservation).await.unwrap();
                        0
                    }
                    Decision::Granted(reservation) => {
                        account.settle(reservation, &spent(3)).await.unwrap();
                        1
                    }
                    Decision::Reached(reached) => {
                        assert_eq!((reached.limit, reached.used), (Limit::CallsPerHour, CALLS_MAX));
                        0
                    }
                }
            }
        });
        granted_here += futures::future::join_all(asks).await.into_iter().sum::<u64>();
    }
    say(&format!("bought {granted_here}"));
}

#[tokio::test]
async fn many_processes_buy_exactly_what_the_hour_allows() {
    let folder = tempdir().unwrap();
    let children: Vec<Child> = (0..CHILDREN).map(|number| start("child_that_hammers", folder.path(), number)).collect();
    let mut bought = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("bought ")).unwrap_or_else(|| panic!("{text}"));
        bought += line.parse::<u64>().unwrap();
    }
    // 100 asks, of which 20 give their call back: 80 would buy, 40 may.
    assert_eq!(bought, CALLS_MAX);
    let account = Account::open(folder.path()).await.unwrap();
    let standing = account.standing(None).await.unwrap();
    assert_eq!((standing.hour_calls, standing.day_microdollars), (CALLS_MAX, CALLS_MAX * 3));
    assert!(standing.open.is_empty());
    let text = std::fs::read_to_string(folder.path().join("claude_usage.json")).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(records.len() as u64, CALLS_MAX, "each call is one record of the usage file");
}

/// Buys without end; says before each call that it is asked for, and after each step what is done.
#[tokio::test]
async fn child_that_buys_until_it_is_killed() {
    let Some((folder, number)) = told() else { return };
    let account = Account::open(&folder).await.unwrap();
    for nth in 0_u64.. {
        let mut asked = ask(number.into(), 10, limits(1_000_000, 1_000_000_000));
        asked.task = format!("task {nth}");
        let reservation = granted(account.reserve(&asked).await);
        say(&format!("granted {nth}"));
        if nth % 7 == 3 {
            account.release(reservation).await.unwrap();
            say(&format!("released {nth}"));
        } else {
            account.settle(reservation, &spent(3)).await.unwrap();
            say(&format!("settled {nth}"));
        }
    }
}

#[tokio::test]
async fn a_process_killed_anywhere_leaves_every_call_on_record_once() {
    const KILLS: u64 = 12;
    let folder = tempdir().unwrap();
    let (mut settled, mut lost) = (0_u64, 0_u64);
    for kill in 0..KILLS {
        let mut child = start("child_that_buys_until_it_is_killed", folder.path(), kill);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut last = BTreeMap::new();
        let mut take = |line: String| {
            let words: Vec<&str> = line.split(' ').collect();
            if let &[word @ ("granted" | "released" | "settled"), number] = words.as_slice() {
                last.insert(number.parse::<u64>().unwrap(), word.to_owned());
            }
        };
        // Another number of lines each time, so that it dies at another place.
        for _ in 0..1 + kill * 3 {
            take(lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(&mut take);
        child.wait().unwrap();
        settled += last.values().filter(|word| *word == "settled").count() as u64;
        let held: Vec<u64> = last.iter().filter(|(_, word)| *word == "granted").map(|(nth, _)| *nth).collect();
        assert!(held.len() <= 1, "{held:?}");

        for look in 0..2 {
            let account = Account::open(folder.path()).await.unwrap();
            let standing = account.standing(None).await.unwrap();
            assert!(standing.open.is_empty(), "{standing:?}");
            let newly_lost = standing.hour_calls - settled - lost;
            if look > 0 {
                assert_eq!(newly_lost, 0, "looked at twice, counted once");
            } else if held.iter().any(|nth| nth % 7 != 3) {
                assert_eq!(newly_lost, 1, "kill {kill}: what was granted and not ended counts");
            } else {
                assert!(newly_lost <= 1, "kill {kill}: one may have been granted unheard, or released unheard");
            }
            lost += newly_lost;
            // What was settled unheard costs 3, what was not settled its reservation.
            let costs = settled * 3 + lost * 3..=settled * 3 + lost * 10;
            assert!(costs.contains(&standing.day_microdollars), "{standing:?}");
            account.flush().await.unwrap();
            let text = std::fs::read_to_string(folder.path().join("claude_usage.json")).unwrap_or("[]".into());
            let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(records.len() as u64, standing.hour_calls);
        }
    }
    println!("{settled} settled, {lost} lost over {KILLS} kills");
}

/// Takes a reservation and waits to be killed.
#[tokio::test]
async fn child_that_holds() {
    let Some((folder, number)) = told() else { return };
    let account = Account::open(&folder).await.unwrap();
    let held = granted(account.reserve(&ask(number.into(), 60, limits(50, 100))).await);
    say("held");
    std::future::pending::<()>().await;
    drop(held);
}

#[tokio::test]
async fn one_that_waits_for_another_process_goes_on_when_that_settles_or_dies() {
    let folder = tempdir().unwrap();
    let account = Account::open(folder.path()).await.unwrap();
    let mut child = start("child_that_holds", folder.path(), 1);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line == "held"));
    let asked = ask(2, 40, limits(50, 100));
    let fits = granted(account.reserve(&asked).await);
    account.release(fits).await.unwrap();
    // 60 are held there. With 41 it waits; when the other dies, its 60 are spent, and 41 do not fit.
    let asked = ask(2, 41, limits(50, 100));
    let waits = account.reserve(&asked);
    tokio::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(400), &mut waits).await.is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(reached(waits.await).used, 60);

    // Two accounts, as two processes have them: settled there, granted here.
    let other = Account::open(folder.path()).await.unwrap();
    let there = granted(other.reserve(&ask(3, 40, limits(50, 100))).await);
    let asked = ask(4, 30, limits(50, 100));
    let waits = account.reserve(&asked);
    tokio::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waits).await.is_err());
    other.settle(there, &spent(10)).await.unwrap();
    account.release(granted(waits.await)).await.unwrap();
}
