//! Who holds a reservation, as text that other processes can judge.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::os::boot::{Liveness, ProcessId};

/// Accounts opened by this process so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// One opened account of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    process: ProcessId,
    instance: u64,
}

impl Owner {
    /// A new one for this process, in the boot that the clock tells.
    pub(super) fn new(boot_id: &str) -> std::io::Result<Self> {
        let process = ProcessId { boot_id: boot_id.to_owned(), ..ProcessId::own()? };
        Ok(Self { process, instance: OPENED.fetch_add(1, Ordering::Relaxed) })
    }

    /// The same as the boot of `boot_id` sees it.
    pub(super) fn seen_in(&self, boot_id: &str) -> Self {
        Self { process: ProcessId { boot_id: boot_id.to_owned(), ..self.process.clone() }, instance: self.instance }
    }

    pub(super) fn text(&self) -> String {
        let ProcessId { boot_id, namespace, pid, start } = &self.process;
        format!("{boot_id}/{namespace}/{pid}/{start}/{}", self.instance)
    }

    /// Whether another owner is there, as far as this one can tell. What cannot be read is nobody.
    pub(super) fn liveness_of(&self, text: &str) -> Liveness {
        let parts: Vec<&str> = text.split('/').collect();
        let &[boot_id, namespace, pid, start, _] = parts.as_slice() else { return Liveness::Dead };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else { return Liveness::Dead };
        let other = ProcessId { boot_id: boot_id.to_owned(), namespace: namespace.to_owned(), pid, start };
        other.liveness(&self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_knows_itself_and_two_accounts_of_a_process_are_two() {
        let boot = crate::os::boot::boot_id().unwrap();
        let (one, two) = (Owner::new(&boot).unwrap(), Owner::new(&boot).unwrap());
        assert_ne!(one.text(), two.text());
        assert_eq!(one.liveness_of(&two.text()), Liveness::Alive);
        assert_eq!(one.seen_in("next").liveness_of(&two.text()), Liveness::Dead);
        assert_eq!(one.liveness_of("rubbish"), Liveness::Dead);
    }
}
