//! The lock of a state folder between real processes: the second is told, and death gives it back.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ollmcp::os::lock::{LockError, Owner, StateLock};

/// Names the lock file to the child process.
const CHILD: &str = "OLLMCP_TEST_LOCK";

fn owner() -> Owner {
    Owner { pid: std::process::id(), verb: "run".into(), command: "ollmcp run plan.yaml".into(), since: "10:00".into() }
}

/// Runs only as the child of the test below: holds the lock until it is killed or its input ends.
#[test]
#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
fn child_that_holds_the_lock() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let _lock = taken(Path::new(&path));
    println!("\nheld");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Takes the lock. A process that another test is just starting may hold a copy of it until it runs its own program.
fn taken(path: &Path) -> StateLock {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match StateLock::take(path, &owner()) {
            Ok(lock) => return lock,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn holder_of(path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::child_that_holds_the_lock", "--nocapture"])
        .env(CHILD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"), "the child takes the lock");
    child
}

#[test]
fn a_second_process_is_told_and_a_killed_one_gives_the_lock_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    for _ in 0..3 {
        let mut child = holder_of(&path);
        match StateLock::take(&path, &owner()) {
            Err(LockError::Held { owner: Some(told), .. }) => assert_eq!(told.pid, child.id()),
            other => panic!("{other:?}"),
        }
        assert_eq!(StateLock::holder(&path).unwrap().unwrap().pid, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(taken(&path));
    }
}
