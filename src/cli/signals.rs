//! Signals: first Ctrl-C takes no new task, the second and SIGTERM stop attempts, the third leaves at once. A closed
//! terminal (SIGHUP) does not end a run.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a person asks for by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Take no new task.
    Drain,
    /// Stop attempts.
    Stop,
    /// Leave at once.
    Leave,
}

/// The signals of this process.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    interrupts: u32,
}

impl Signals {
    /// From here on no signal ends the process by itself.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupts: 0,
        })
    }

    /// The next thing asked for.
    pub(super) async fn next(&mut self) -> Ask {
        loop {
            tokio::select! {
                Some(()) = self.interrupt.recv() => {
                    self.interrupts += 1;
                    return match self.interrupts {
                        1 => Ask::Drain,
                        2 => Ask::Stop,
                        _ => Ask::Leave,
                    };
                }
                Some(()) = self.terminate.recv() => return Ask::Stop,
                Some(()) = self.hang_up.recv() => {}
            }
        }
    }
}
