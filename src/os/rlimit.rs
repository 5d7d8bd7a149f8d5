//! Limits and signals of processes, as safe functions. It decides nothing: what is limited to how much is the caller's.
#![expect(unsafe_code, reason = "each call hands the kernel plain numbers or a buffer that lives on this stack")]

use std::io;
use std::time::Duration;

type Resource = libc::__rlimit_resource_t;

fn set(resource: Resource, soft: u64, hard: Option<u64>) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed rlimit for both calls.
    unsafe {
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        if let Some(hard) = hard {
            limit.rlim_max = limit.rlim_max.min(hard);
        }
        limit.rlim_cur = soft.min(limit.rlim_max);
        if libc::setrlimit(resource, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Limits the address space of this process for good.
///
/// # Errors
/// When the system refuses.
pub fn limit_address_space(bytes: u64) -> io::Result<()> {
    set(libc::RLIMIT_AS, bytes, Some(bytes))
}

/// Sets the CPU time at which this process gets SIGXCPU, counted from its start; it can be moved later.
///
/// # Errors
/// When the system refuses.
pub fn limit_cpu_seconds(seconds: u64) -> io::Result<()> {
    set(libc::RLIMIT_CPU, seconds, None)
}

/// Keeps this process from writing core files.
///
/// # Errors
/// When the system refuses.
pub fn forbid_core_files() -> io::Result<()> {
    set(libc::RLIMIT_CORE, 0, Some(0))
}

/// Asks the kernel to kill this process when the thread that started it ends.
///
/// # Errors
/// When the system refuses.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one signal number and touches no memory.
    let answer = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// CPU time that this process has used, all threads together.
#[must_use]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of another process, read from its CPU clock; `None` once it is gone.
#[must_use]
pub fn cpu_time_of(pid: u32) -> Option<Duration> {
    let pid = i32::try_from(pid).ok()?;
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both out-parameters are valid and exclusively borrowed.
    unsafe {
        if libc::clock_getcpuclockid(pid, &raw mut clock) != 0 || libc::clock_gettime(clock, &raw mut time) != 0 {
            return None;
        }
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Sends SIGKILL to a process group; a group that is gone is no fault.
pub fn kill_group(leader: u32) {
    let Ok(group) = i32::try_from(leader) else { return };
    if group > 1 {
        // SAFETY: kill touches no memory; a negative number above 1 names exactly this group.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// The cores that this process may use, and a way to stay on one of them for a while.
#[derive(Clone, Copy)]
pub struct Cores {
    all: libc::cpu_set_t,
}

impl std::fmt::Debug for Cores {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cores").finish_non_exhaustive()
    }
}

impl Cores {
    /// Reads the cores that this thread may use now; `None` when the system does not say.
    #[must_use]
    pub fn now() -> Option<Self> {
        // SAFETY: a cpu_set_t is plain bits, all zero is valid; the size given is its own.
        unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all) == 0).then_some(Self { all })
        }
    }

    /// Lets the scheduler choose a core of the whole set again and stays on that one.
    ///
    /// Libraries that start one thread per core then start one, so memory stays foreseeable on large machines.
    pub fn stay_on_one(&self) {
        // SAFETY: the sets are valid for their own size; `cpu` is checked against the set's capacity by CPU_SET's caller.
        unsafe {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.all);
            let core = libc::sched_getcpu();
            let Ok(core) = usize::try_from(core) else { return };
            if core >= 8 * size_of::<libc::cpu_set_t>() {
                return;
            }
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_this_process_is_the_same_seen_from_both_sides() {
        let mut sum = 0_u64;
        while cpu_time() < Duration::from_millis(5) {
            sum = sum.wrapping_add(1);
        }
        let outside = cpu_time_of(std::process::id()).expect("this process is alive");
        assert!(outside >= Duration::from_millis(5), "{outside:?} {sum}");
        assert!(cpu_time() >= outside);
    }

    #[test]
    fn a_thread_that_stays_on_one_core_sees_one_core() {
        std::thread::spawn(|| {
            let cores = Cores::now().expect("Linux says");
            cores.stay_on_one();
            assert_eq!(std::thread::available_parallelism().map_or(0, usize::from), 1);
        })
        .join()
        .unwrap();
    }
}
