//! Exit codes, the first that applies. The page `docs/reference/exit_codes.md` is made from [`Exit::ALL`].

use std::process::ExitCode;

use crate::domain::event::RunEnd;
use crate::engine::supervisor::RunExit;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: all that was asked is done.
    Complete,
    /// 1: it failed.
    Failed,
    /// 2: the command line, a file or the configuration is wrong; nothing was started.
    Usage,
    /// 3: done, with some items set aside.
    Partial,
    /// 4: it waits for a person, or for a time that is too far away.
    Waiting,
    /// 5: what was checked does not hold. `verify` alone.
    DoesNotHold,
    /// 130: interrupted; it can be resumed.
    Interrupted,
}

impl Exit {
    /// Every code with what it means.
    pub const ALL: &'static [(Self, u8, &'static str)] = &[
        (Self::Complete, 0, "complete: all that was asked is done"),
        (Self::Failed, 1, "failed, or cancelled"),
        (Self::Usage, 2, "usage or configuration: nothing was started"),
        (Self::Partial, 3, "partial: done, with some items set aside"),
        (Self::Waiting, 4, "waits for a person (`ollmcp inbox` says for what), or for a time that it names"),
        (Self::DoesNotHold, 5, "what was checked does not hold (`verify` alone)"),
        (Self::Interrupted, 130, "interrupted: it can be resumed"),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(exit, _, _)| *exit == self).map_or(1, |(_, code, _)| *code)
    }

    /// For a run that has ended.
    #[must_use]
    pub const fn of_end(end: RunEnd) -> Self {
        match end {
            RunEnd::Complete => Self::Complete,
            RunEnd::Partial => Self::Partial,
            RunEnd::Failed | RunEnd::Cancelled => Self::Failed,
        }
    }

    /// For a run that has left its supervisor.
    #[must_use]
    pub const fn of_run(exit: &RunExit) -> Self {
        match exit {
            RunExit::Ended(end) => Self::of_end(*end),
            RunExit::Waiting | RunExit::Parked { .. } => Self::Waiting,
            RunExit::Interrupted => Self::Interrupted,
            RunExit::Fault(_) => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
