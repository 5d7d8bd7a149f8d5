//! The breaker: whether a server, or one model of it, is asked now. Values in, decision out; time is a parameter.
//!
//! | state | a call comes | a fault | a success |
//! | --- | --- | --- | --- |
//! | closed | goes | counts; opens at three in a row, or at more than half of the last ten | counts |
//! | open | is refused; once the time is over it is the probe | changes nothing: the call began before | closes |
//! | probing | is refused | of the probe: open again, for twice as long | closes |
//!
//! What a model answered wrongly never counts. An answer of any kind to a probe closes: what was away is back.

use std::collections::VecDeque;

use super::queue::Ticket;
use crate::model::{ModelError, Reply};

/// So many faults in a row open a breaker.
pub const FAULTS_IN_A_ROW: u32 = 3;
/// So many of the last calls are looked at: more than half of them faults open it, too.
pub const CALLS_LOOKED_AT: usize = 10;
/// How long it is open at first; doubled for each probe that fails.
pub const OPEN_MS: u64 = 30_000;
/// How long it is open at most.
pub const OPEN_MS_MAX: u64 = 900_000;

/// What a call says about that which it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It works.
    Success,
    /// It does not work.
    Fault,
    /// It answered, though not with what was wanted.
    Wrong,
    /// Nothing.
    Nothing,
}

/// What a call says about its server as a whole.
#[must_use]
pub const fn about_server(result: &Result<Reply, ModelError>) -> Signal {
    match result {
        Err(ModelError::Unreachable { .. }) => Signal::Fault,
        Err(ModelError::NoFirstToken { .. } | ModelError::Silent { .. } | ModelError::BrokenStream { .. }) => {
            Signal::Nothing
        }
        Ok(_) | Err(_) => Signal::Success,
    }
}

/// What a call says about its model on that server.
#[must_use]
pub const fn about_model(result: &Result<Reply, ModelError>) -> Signal {
    match result {
        Ok(_) => Signal::Success,
        Err(
            ModelError::Busy { .. }
            | ModelError::RateLimited { .. }
            | ModelError::Overloaded { .. }
            | ModelError::OutOfMemory { .. }
            | ModelError::NoFirstToken { .. }
            | ModelError::Silent { .. }
            | ModelError::BrokenStream { .. }
            | ModelError::ServerError { .. },
        ) => Signal::Fault,
        Err(ModelError::TooSlow { .. } | ModelError::UnreadableCall { .. } | ModelError::PromptTooLong { .. }) => {
            Signal::Wrong
        }
        Err(
            ModelError::Unreachable { .. }
            | ModelError::NoSuchModel { .. }
            | ModelError::Unsupported { .. }
            | ModelError::Denied { .. }
            | ModelError::BadKey { .. }
            | ModelError::Forbidden { .. }
            | ModelError::SpendLimit { .. }
            | ModelError::Unpaid { .. }
            | ModelError::BadRequest { .. }
            | ModelError::Protocol { .. },
        ) => Signal::Nothing,
    }
}

/// Since when, and until when, something is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Nothing is asked before this time.
    Until(u64),
    /// One call is trying whether it is back.
    Probed,
}

impl Away {
    /// Whether it still holds: a time that is over does not.
    #[must_use]
    pub const fn holds(self, now_ms: u64) -> bool {
        match self {
            Self::Until(until_ms) => now_ms < until_ms,
            Self::Probed => true,
        }
    }
}

/// What a signal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Nothing is asked until this time.
    Opened {
        /// In milliseconds since the epoch.
        until_ms: u64,
    },
    /// It is asked again.
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until_ms: u64,
    },
    Probing(Ticket),
}

/// One breaker.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// The last calls: true for a fault.
    recent: VecDeque<bool>,
    in_a_row: u32,
    /// How often it has opened without a success since.
    openings: u32,
}

impl Breaker {
    /// Whether calls are refused now.
    #[must_use]
    pub fn away(&self, now_ms: u64) -> Option<Away> {
        self.away_later().filter(|away| away.holds(now_ms))
    }

    /// As [`Breaker::away`], for a reader who looks at the clock later.
    #[must_use]
    pub const fn away_later(&self) -> Option<Away> {
        match self.state {
            State::Closed => None,
            State::Open { until_ms } => Some(Away::Until(until_ms)),
            State::Probing(_) => Some(Away::Probed),
        }
    }

    /// Whether it is closed and has nothing to remember.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.state == State::Closed && self.in_a_row == 0
    }

    /// Takes note of a call that is let through: the first one after the time is over is the probe.
    pub fn admit(&mut self, call: Ticket, now_ms: u64) {
        if matches!(self.state, State::Open { until_ms } if now_ms >= until_ms) {
            self.state = State::Probing(call);
        }
    }

    /// Takes note of how a call went.
    pub fn hear(&mut self, call: Ticket, signal: Signal, now_ms: u64) -> Change {
        match (self.state, signal) {
            (State::Closed, Signal::Wrong | Signal::Nothing) | (State::Open { .. }, _) if signal != Signal::Success => {
                Change::None
            }
            (State::Closed, _) => self.count(signal == Signal::Fault, now_ms),
            (State::Probing(probe), Signal::Wrong) if probe == call => self.close(),
            (State::Probing(_) | State::Open { .. }, Signal::Success) => self.close(),
            (State::Probing(probe), Signal::Fault) if probe == call => self.open(now_ms),
            (State::Probing(probe), _) if probe == call => {
                // The probe said nothing: the next call is one.
                self.state = State::Open { until_ms: now_ms };
                Change::None
            }
            (State::Probing(_) | State::Open { .. }, _) => Change::None,
        }
    }

    fn count(&mut self, is_fault: bool, now_ms: u64) -> Change {
        self.recent.push_back(is_fault);
        if self.recent.len() > CALLS_LOOKED_AT {
            self.recent.pop_front();
        }
        self.in_a_row = if is_fault { self.in_a_row + 1 } else { 0 };
        let faults = self.recent.iter().filter(|is_fault| **is_fault).count();
        if is_fault && (self.in_a_row >= FAULTS_IN_A_ROW || faults * 2 > CALLS_LOOKED_AT) {
            self.open(now_ms)
        } else {
            Change::None
        }
    }

    fn open(&mut self, now_ms: u64) -> Change {
        let doubled = OPEN_MS.saturating_mul(1 << self.openings.min(20));
        let until_ms = now_ms.saturating_add(doubled.min(OPEN_MS_MAX));
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { until_ms };
        Change::Opened { until_ms }
    }

    fn close(&mut self) -> Change {
        *self = Self::default();
        Change::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays letters: `f` fault, `s` success, `w` wrong, `n` nothing; each call is let through first, 1 s apart.
    fn played(letters: &str) -> Vec<Option<Away>> {
        let mut breaker = Breaker::default();
        let mut states = Vec::new();
        for (at, letter) in letters.chars().enumerate() {
            let now_ms = at as u64 * 1_000;
            let signal = match letter {
                'f' => Signal::Fault,
                's' => Signal::Success,
                'w' => Signal::Wrong,
                _ => Signal::Nothing,
            };
            breaker.admit(at as u64, now_ms);
            breaker.hear(at as u64, signal, now_ms);
            states.push(breaker.away(now_ms));
        }
        states
    }

    #[track_caller]
    fn opens_at(letters: &str, opens: Option<usize>) {
        assert_eq!(played(letters).iter().position(Option::is_some), opens, "{letters}");
    }

    #[test]
    fn three_faults_in_a_row_or_more_than_half_of_ten_open_it() {
        opens_at("fff", Some(2));
        opens_at("ffsff", None);
        opens_at("ffwf", Some(3));
        opens_at("fnfnf", Some(4));
        opens_at("wwwwwwwwwwwwww", None);
        opens_at("ffsffsff", Some(7));
        opens_at("fsfsfsfsfsfsfsfsfsfsfs", None);
        opens_at("ffsfsffsf", Some(8));
        opens_at("ffssssssssssffsssss", None);
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for call in 0..3 {
            breaker.hear(call, Signal::Fault, 0);
        }
        breaker
    }

    #[test]
    fn it_is_open_for_twice_as_long_after_each_failed_probe_up_to_the_limit() {
        let mut breaker = opened();
        let (mut now_ms, mut times) = (0, Vec::new());
        for probe in 10..18 {
            let Some(Away::Until(until_ms)) = breaker.away(now_ms) else { panic!("not open") };
            times.push((until_ms - now_ms) / 1_000);
            assert_eq!(breaker.away(until_ms - 1), Some(Away::Until(until_ms)));
            assert_eq!(breaker.away(until_ms), None, "a probe may go");
            now_ms = until_ms;
            breaker.admit(probe, now_ms);
            assert_eq!(breaker.away(now_ms), Some(Away::Probed), "one at a time");
            assert!(matches!(breaker.hear(probe, Signal::Fault, now_ms), Change::Opened { .. }));
        }
        assert_eq!(times, [30, 60, 120, 240, 480, 900, 900, 900]);
        now_ms += OPEN_MS_MAX;
        breaker.admit(99, now_ms);
        assert_eq!(breaker.hear(99, Signal::Success, now_ms), Change::Closed);
        for call in 0..3 {
            breaker.hear(call, Signal::Fault, now_ms);
        }
        assert_eq!(breaker.away(now_ms), Some(Away::Until(now_ms + OPEN_MS)), "the doubling starts again");
    }

    #[test]
    fn what_began_before_it_opened_neither_opens_it_further_nor_ends_the_probe() {
        let mut breaker = opened();
        let before = breaker.away(0);
        assert_eq!(breaker.hear(7, Signal::Fault, 5), Change::None);
        assert_eq!(breaker.away(0), before);
        breaker.admit(8, OPEN_MS);
        assert_eq!(breaker.hear(7, Signal::Fault, OPEN_MS), Change::None);
        assert_eq!(breaker.hear(7, Signal::Nothing, OPEN_MS), Change::None);
        assert_eq!(breaker.away(OPEN_MS), Some(Away::Probed));
        assert_eq!(breaker.hear(7, Signal::Success, OPEN_MS), Change::Closed);
    }

    #[test]
    fn a_probe_that_is_dropped_makes_room_for_the_next() {
        let mut breaker = opened();
        breaker.admit(8, OPEN_MS);
        breaker.hear(8, Signal::Nothing, OPEN_MS + 1);
        assert_eq!(breaker.away(OPEN_MS + 1), None);
        breaker.admit(9, OPEN_MS + 1);
        assert_eq!(breaker.hear(9, Signal::Wrong, OPEN_MS + 2), Change::Closed, "any answer is a sign of life");
    }

    #[test]
    fn each_error_says_something_about_the_server_the_model_or_neither() {
        let (server, model, message) = ("s".to_owned(), "m".to_owned(), String::new());
        let table = [
            (ModelError::Unreachable { server: server.clone(), message: message.clone() }, "Fault Nothing"),
            (
                ModelError::Busy { server: server.clone(), message: message.clone(), retry_after_ms: None },
                "Success Fault",
            ),
            (ModelError::OutOfMemory { model: model.clone(), message: message.clone() }, "Success Fault"),
            (ModelError::NoFirstToken { model: model.clone(), limit_ms: 1 }, "Nothing Fault"),
            (ModelError::Silent { model: model.clone(), limit_ms: 1 }, "Nothing Fault"),
            (ModelError::TooSlow { model: model.clone(), limit_ms: 1 }, "Success Wrong"),
            (ModelError::BrokenStream { model: model.clone(), message: message.clone() }, "Nothing Fault"),
            (ModelError::UnreadableCall { model: model.clone(), message: message.clone() }, "Success Wrong"),
            (
                ModelError::PromptTooLong { model: model.clone(), message: message.clone(), context_tokens: None },
                "Success Wrong",
            ),
            (ModelError::NoSuchModel { server: server.clone(), model: model.clone() }, "Success Nothing"),
            (ModelError::Unsupported { model, what: "tools", message: message.clone() }, "Success Nothing"),
            (ModelError::Denied { server: server.clone(), message: message.clone() }, "Success Nothing"),
            (ModelError::ServerError { server: server.clone(), message: message.clone() }, "Success Fault"),
            (
                ModelError::RateLimited { server: server.clone(), message: message.clone(), retry_after_ms: None },
                "Success Fault",
            ),
            (
                ModelError::Overloaded { server: server.clone(), message: message.clone(), retry_after_ms: None },
                "Success Fault",
            ),
            (ModelError::SpendLimit { server: server.clone(), message: message.clone() }, "Success Nothing"),
            (ModelError::Unpaid { server: server.clone(), message: message.clone() }, "Success Nothing"),
            (ModelError::BadKey { server: server.clone(), message: message.clone() }, "Success Nothing"),
            (ModelError::Forbidden { server: server.clone(), message: message.clone() }, "Success Nothing"),
            (ModelError::BadRequest { model: "m".to_owned(), message: message.clone() }, "Success Nothing"),
            (ModelError::Protocol { server, message }, "Success Nothing"),
        ];
        for (error, expected) in table {
            let result = Err(error);
            assert_eq!(format!("{:?} {:?}", about_server(&result), about_model(&result)), expected, "{result:?}");
        }
    }
}
