//! Which boot of the system this is, how long it lasts, and whether a process that was noted is still the same one.
//!
//! It decides nothing: what a dead process leaves behind is the caller's business.
#![expect(unsafe_code, reason = "the kernel fills one timespec that lives on this stack")]

use std::fs;
use std::io;

/// The random id of the present boot.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Milliseconds since the system was started, sleep included (`CLOCK_BOOTTIME`). No setting of the clock moves it.
#[must_use]
pub fn boot_ms() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec; the clock exists since Linux 2.6.39.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(answer, 0, "Linux has this clock");
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// A process, so that another that gets its id later is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// The boot in which it runs.
    pub boot_id: String,
    /// The namespace that its number belongs to.
    pub namespace: String,
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks of the system since its boot.
    pub start: u64,
}

/// Whether a noted process is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It runs.
    Alive,
    /// It is there, and a signal keeps it from running.
    Stopped,
    /// It has ended.
    Dead,
    /// Its number belongs to another namespace (a container): nobody can tell from here.
    Unknown,
}

impl ProcessId {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        let pid = std::process::id();
        let gone = || io::Error::new(io::ErrorKind::NotFound, "this process has no entry in `/proc`");
        Ok(Self { boot_id: boot_id()?, namespace: namespace()?, pid, start: look_at(pid).ok_or_else(gone)?.0 })
    }

    /// Looks whether it is still there, as seen by `by`, which is alive.
    #[must_use]
    pub fn liveness(&self, by: &Self) -> Liveness {
        if self.boot_id != by.boot_id {
            Liveness::Dead
        } else if self.namespace != by.namespace {
            Liveness::Unknown
        } else {
            match look_at(self.pid) {
                Some((start, is_stopped)) if start == self.start => {
                    if is_stopped {
                        Liveness::Stopped
                    } else {
                        Liveness::Alive
                    }
                }
                _ => Liveness::Dead,
            }
        }
    }
}

fn namespace() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/pid")?.display().to_string())
}

/// When a process was started, and whether it is stopped; `None` when it has ended, also when only its parent has not
/// looked yet.
fn look_at(pid: u32) -> Option<(u64, bool)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and spaces too.
    let (_, rest) = line.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    Some((fields.nth(18)?.parse().ok()?, matches!(state, "T" | "t")))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends_and_not_by_its_number_alone() {
        let own = ProcessId::own().unwrap();
        assert_eq!(own.liveness(&own), Liveness::Alive);
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let noted = ProcessId { pid: child.id(), start: look_at(child.id()).unwrap().0, ..own.clone() };
        assert_eq!(noted.liveness(&own), Liveness::Alive);
        assert_eq!(ProcessId { start: noted.start + 1, ..noted.clone() }.liveness(&own), Liveness::Dead);
        assert_eq!(ProcessId { boot_id: "before".into(), ..noted.clone() }.liveness(&own), Liveness::Dead);
        assert_eq!(ProcessId { namespace: "other".into(), ..noted.clone() }.liveness(&own), Liveness::Unknown);
        assert!(Command::new("kill").args(["-STOP", &child.id().to_string()]).status().unwrap().success());
        while noted.liveness(&own) == Liveness::Alive {
            std::thread::yield_now();
        }
        assert_eq!(noted.liveness(&own), Liveness::Stopped);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(noted.liveness(&own), Liveness::Dead);
    }

    #[test]
    fn the_boot_clock_goes_forward() {
        let first = boot_ms();
        assert!(first > 0 && boot_ms() >= first);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
