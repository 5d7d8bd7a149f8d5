//! Process groups: start a child as the leader of its own, find everything that came from it, end all of it.
//!
//! A child is found again in three ways, because each alone leaves some running: its process group (misses what
//! called `setsid`), the tree of parents (misses what was adopted by init), and a tag in the environment (misses what
//! wiped its environment). A process that did all three is not found. Limits of memory and files are not set here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{OnceLock, mpsc};

/// Name of the variable that marks a child and everything that it starts.
pub const TAG_VARIABLE: &str = "OLLMCP_PROCESS_TAG";

/// How much of a process's environment is searched for the tag.
const ENVIRONMENT_BYTES_MAX: u64 = 512 * 1024;

/// How often the search is repeated while a dying family still forks.
const ROUNDS_MAX: usize = 20;

/// Which signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks to end.
    Terminate,
    /// Ends without asking.
    Kill,
}

impl Signal {
    const fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
        }
    }
}

/// Makes the child the leader of its own process group, and lets the kernel kill it when the thread that starts it
/// ends. Start it through [`on_keeper_thread`], whose thread lives as long as the process: a thread of a pool may end
/// earlier and would take the child with it.
pub fn lead_group(command: &mut Command) {
    command.process_group(0);
    let parent = std::process::id();
    let before_exec = move || die_with_parent(parent);
    #[expect(unsafe_code, reason = "the closure runs between fork and exec and makes only async-signal-safe calls")]
    // SAFETY: `die_with_parent` calls prctl and getppid, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn die_with_parent(parent: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "prctl and getppid have no safe form here")]
    // SAFETY: both take and return plain numbers.
    let (set, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
    if set == -1 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died before prctl: then the signal never comes.
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Sends a signal to a process group. `false`: there was none left.
pub fn signal_group(leader: u32, signal: Signal) -> bool {
    let Ok(leader) = libc::pid_t::try_from(leader) else { return false };
    leader > 1 && send(-leader, signal)
}

fn signal_one(process: u32, signal: Signal) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    process > 1 && send(process, signal)
}

fn send(to: libc::pid_t, signal: Signal) -> bool {
    #[expect(unsafe_code, reason = "kill has no safe form here")]
    // SAFETY: takes plain numbers; callers exclude 0 and -1, which would mean other processes.
    let sent = unsafe { libc::kill(to, signal.number()) };
    sent == 0
}

/// Kills everything that came from `leader`: its group, its descendants, and what carries `tag`. Returns how many
/// processes were still there after the last round (0 unless the family forks faster than it dies).
pub fn kill_family(leader: u32, tag: &str) -> usize {
    // Parents are looked up before the first kill: orphans lose theirs.
    let mut left = family(leader, tag);
    signal_group(leader, Signal::Kill);
    for _ in 0..ROUNDS_MAX {
        if left.is_empty() {
            return 0;
        }
        for &process in &left {
            signal_one(process, Signal::Kill);
        }
        left = family(leader, tag);
    }
    left.len()
}

/// Living processes that came from `leader`, itself included; zombies are not counted.
#[must_use]
pub fn family(leader: u32, tag: &str) -> BTreeSet<u32> {
    let processes = snapshot();
    let mut found: BTreeSet<u32> =
        processes.iter().filter(|(_, one)| one.group == leader).map(|(&process, _)| process).collect();
    found.extend(processes.contains_key(&leader).then_some(leader));
    found.extend(processes.keys().copied().filter(|&process| has_tag(process, tag)));
    let mut grown = true;
    while grown {
        let children: Vec<u32> = processes
            .iter()
            .filter(|(process, one)| found.contains(&one.parent) && !found.contains(process))
            .map(|(&process, _)| process)
            .collect();
        grown = !children.is_empty();
        found.extend(children);
    }
    found.remove(&std::process::id());
    found.retain(|process| processes.get(process).is_some_and(|one| !one.is_zombie));
    found
}

struct Seen {
    parent: u32,
    group: u32,
    is_zombie: bool,
}

fn snapshot() -> BTreeMap<u32, Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let number = |name: &std::ffi::OsStr| name.to_str()?.parse::<u32>().ok();
    entries
        .flatten()
        .filter_map(|entry| number(&entry.file_name()))
        .filter_map(|process| Some((process, seen(process)?)))
        .collect()
}

/// Reads `pid (name) state parent group …`; the name may hold spaces and brackets, so the last bracket counts.
fn seen(process: u32) -> Option<Seen> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = String::from_utf8_lossy(&text[end + 1..]).into_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Seen { parent, group, is_zombie: matches!(state, "Z" | "X") })
}

fn has_tag(process: u32, tag: &str) -> bool {
    if tag.is_empty() {
        return false;
    }
    let mut text = Vec::new();
    let read = fs::File::open(format!("/proc/{process}/environ"))
        .and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut text));
    let wanted = format!("{TAG_VARIABLE}={tag}");
    read.is_ok() && text.split(|&byte| byte == 0).any(|one| one == wanted.as_bytes())
}

type Job = Box<dyn FnOnce() + Send>;

/// Hands `work` to a thread that lives as long as the process, see [`lead_group`]. The answer comes through whatever
/// `work` sends it by. Without threads left, `work` runs here and now.
pub fn on_keeper_thread(work: impl FnOnce() + Send + 'static) {
    static KEEPER: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        let keep = move || receiver.iter().for_each(|job| job());
        std::thread::Builder::new().name("process-keeper".to_owned()).spawn(keep).ok().map(|_| sender)
    });
    let job: Job = Box::new(work);
    match keeper {
        Some(sender) => {
            if let Err(mpsc::SendError(job)) = sender.send(job) {
                job();
            }
        }
        None => job(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    /// A shell that starts a sleeper in a session of its own, whose parent is gone, says so, and then waits.
    #[test]
    fn a_family_is_killed_to_the_last_grandchild_even_when_it_left_the_group() {
        let tag = format!("unit-{}", std::process::id());
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; setsid sh -c 'sleep 600 & sleep 600 & echo up' ; sleep 600 & wait"]);
        command.env(TAG_VARIABLE, &tag).stdout(Stdio::piped());
        lead_group(&mut command);
        let (sender, receiver) = mpsc::channel();
        on_keeper_thread(move || sender.send(command.spawn()).unwrap());
        let mut child = receiver.recv().unwrap().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        assert!(family(child.id(), &tag).len() >= 3, "{:?}", family(child.id(), &tag));
        assert_eq!(kill_family(child.id(), &tag), 0);
        child.wait().unwrap();
        assert!(family(child.id(), &tag).is_empty());
    }

    #[test]
    fn a_group_that_is_gone_takes_no_signal() {
        assert!(!signal_group(u32::MAX, Signal::Kill));
        assert!(!signal_group(0, Signal::Terminate), "0 would mean our own group");
        assert!(!signal_group(1, Signal::Terminate), "-1 would mean every process");
    }
}
