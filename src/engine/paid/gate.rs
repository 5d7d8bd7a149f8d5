//! Whether a paid call may go now. Pure: values in, decision out; time is a parameter.
//!
//! | what was heard | of | what follows |
//! | --- | --- | --- |
//! | the key is not taken, the spend limit is reached, the bill is open | the account | no call goes any more |
//! | the key may not use the model, there is no such model | the model | no call of this model goes any more |
//! | come again after so long (`retry-after`) | the model | no call of this model goes before |
//! | faults in a row | server or model | the breaker of model servers, with its times |
//!
//! Until something was heard, the first call goes alone for [`FIRST_ALONE_MS`]: a key that is not taken is refused once,
//! not once for each task that escalates in that moment.

use std::collections::BTreeMap;

use super::Bought;
use crate::agent::turns::setup::model_failure;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::ladder::TOLD_WAIT_MS_MAX;
use crate::engine::broker::breaker::{Away, Breaker, Signal, about_model, about_server};
use crate::engine::broker::queue::Ticket;
use crate::model::{ModelError, Reply};

/// How long others wait for what the first call hears. A refusal comes within it; what takes longer is an answer.
pub const FIRST_ALONE_MS: u64 = 2_000;

/// Whether a call may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Now.
    Goes,
    /// Not before the first call has heard something, or this time.
    Waits {
        /// In milliseconds since the epoch.
        until_ms: u64,
    },
    /// Nothing is sent.
    Refused(Box<Failure>),
}

#[derive(Clone, Debug, Default)]
struct OfModel {
    closed: Option<Failure>,
    rests_until_ms: u64,
    breaker: Breaker,
}

/// What is known of the account, the server and its models, for as long as the process lives.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    closed: Option<Failure>,
    server: Breaker,
    models: BTreeMap<String, OfModel>,
    /// Something was heard, whatever it was.
    has_heard: bool,
    /// The call that goes alone, and since when.
    first: Option<(Ticket, u64)>,
}

impl Gate {
    /// Why nothing is asked of the account any more.
    #[must_use]
    pub const fn closed(&self) -> Option<&Failure> {
        self.closed.as_ref()
    }

    /// Decides about one call, and takes note of it where it goes.
    pub fn admit(&mut self, call: Ticket, model: &str, now_ms: u64) -> Admission {
        if let Some(refused) = self.refusal(model, now_ms) {
            return Admission::Refused(Box::new(refused));
        }
        if !self.has_heard {
            match self.first {
                Some((_, since_ms)) if now_ms < since_ms.saturating_add(FIRST_ALONE_MS) => {
                    return Admission::Waits { until_ms: since_ms.saturating_add(FIRST_ALONE_MS) };
                }
                Some(_) => {}
                None => self.first = Some((call, now_ms)),
            }
        }
        self.server.admit(call, now_ms);
        self.models.entry(model.to_owned()).or_default().breaker.admit(call, now_ms);
        Admission::Goes
    }

    fn refusal(&self, model: &str, now_ms: u64) -> Option<Failure> {
        if let Some(failure) = &self.closed {
            return Some(failure.clone());
        }
        let known = self.models.get(model);
        if let Some(failure) = known.and_then(|known| known.closed.as_ref()) {
            return Some(failure.clone());
        }
        if let Some(until_ms) = known.map(|known| known.rests_until_ms).filter(|until_ms| now_ms < *until_ms) {
            let message = format!("`{model}` is not asked before the time to which its server put an earlier call off");
            return Some(Failure::new(FailureKind::Busy, message).until(Some(until_ms)));
        }
        let of_server = self.server.away(now_ms).map(|away| ("the server of paid models", away));
        let of_model = || known?.breaker.away(now_ms).map(|away| (model, away));
        let (what, away) = of_server.or_else(of_model)?;
        let (words, until_ms) = match away {
            Away::Until(until_ms) => ("and is left alone for a while", Some(until_ms)),
            Away::Probed => ("and one call is trying whether it is back", None),
        };
        let message = format!("`{what}` failed several times in a row {words}");
        Some(Failure::new(FailureKind::Unreachable, message).until(until_ms))
    }

    /// Takes note of how a call went; `None`: nobody waited for it any more, or it broke here.
    pub fn hear(&mut self, call: Ticket, model: &str, outcome: Option<&Bought>, now_ms: u64) {
        if matches!(self.first, Some((first, _)) if first == call) {
            self.first = None;
        }
        let known = self.models.entry(model.to_owned()).or_default();
        let result: Result<Reply, ModelError> = match outcome {
            // What was refused by a limit was not sent.
            None | Some(Bought::Refused(_)) => {
                self.server.hear(call, Signal::Nothing, now_ms);
                known.breaker.hear(call, Signal::Nothing, now_ms);
                return;
            }
            Some(Bought::Reply(..)) => Ok(Reply::default()),
            Some(Bought::Failed(error)) => Err(error.clone()),
        };
        self.has_heard = true;
        let told_ms = result.as_ref().err().and_then(ModelError::retry_after_ms);
        // Who says when to come again is no broken server.
        let of_model = if told_ms.is_some() { Signal::Nothing } else { about_model(&result) };
        self.server.hear(call, about_server(&result), now_ms);
        known.breaker.hear(call, of_model, now_ms);
        if let Some(told_ms) = told_ms {
            let until_ms = now_ms.saturating_add(told_ms.min(TOLD_WAIT_MS_MAX));
            known.rests_until_ms = known.rests_until_ms.max(until_ms);
        }
        if let Err(error) = &result {
            match scope(error) {
                Scope::Account => self.closed = Some(for_good(error, "Claude")),
                Scope::Model => known.closed = Some(for_good(error, &format!("`{model}`"))),
                Scope::Call => {}
            }
        }
    }
}

/// What an error is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Each call with this key would hear it.
    Account,
    /// Each call of this model.
    Model,
    /// This call.
    Call,
}

const fn scope(error: &ModelError) -> Scope {
    match error {
        ModelError::BadKey { .. }
        | ModelError::Denied { .. }
        | ModelError::SpendLimit { .. }
        | ModelError::Unpaid { .. } => Scope::Account,
        ModelError::Forbidden { .. } | ModelError::NoSuchModel { .. } => Scope::Model,
        ModelError::Unreachable { .. }
        | ModelError::Busy { .. }
        | ModelError::RateLimited { .. }
        | ModelError::Overloaded { .. }
        | ModelError::BadRequest { .. }
        | ModelError::OutOfMemory { .. }
        | ModelError::NoFirstToken { .. }
        | ModelError::Silent { .. }
        | ModelError::TooSlow { .. }
        | ModelError::BrokenStream { .. }
        | ModelError::UnreadableCall { .. }
        | ModelError::PromptTooLong { .. }
        | ModelError::Unsupported { .. }
        | ModelError::ServerError { .. }
        | ModelError::Protocol { .. } => Scope::Call,
    }
}

/// What later calls are told.
fn for_good(error: &ModelError, what: &str) -> Failure {
    let failure = model_failure(error);
    Failure { message: format!("{what} is not asked again before a restart: {}", failure.message), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "claude-x";

    fn server() -> String {
        "https://api".to_owned()
    }

    fn heard(error: ModelError) -> Gate {
        let mut gate = Gate::default();
        assert_eq!(gate.admit(1, MODEL, 0), Admission::Goes);
        gate.hear(1, MODEL, Some(&Bought::Failed(error)), 10);
        gate
    }

    #[track_caller]
    fn refused(gate: &mut Gate, model: &str, now_ms: u64) -> Failure {
        match gate.admit(2, model, now_ms) {
            Admission::Refused(failure) => *failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_of_the_account_ends_all_calls_and_says_why() {
        let message = "invalid x-api-key".to_owned();
        for (error, kind) in [
            (ModelError::BadKey { server: server(), message: message.clone() }, FailureKind::Denied),
            (ModelError::SpendLimit { server: server(), message: message.clone() }, FailureKind::SpendLimit),
            (ModelError::Unpaid { server: server(), message }, FailureKind::SpendLimit),
        ] {
            let mut gate = heard(error);
            for (model, now_ms) in [(MODEL, 11), ("another", u64::MAX)] {
                let failure = refused(&mut gate, model, now_ms);
                assert_eq!(failure.kind, kind);
                assert!(failure.message.contains("invalid x-api-key") && failure.hint.is_some(), "{failure:?}");
                assert!(failure.message.starts_with("Claude is not asked again before a restart"), "{failure:?}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_model_leaves_the_others() {
        for error in [
            ModelError::NoSuchModel { server: server(), model: MODEL.to_owned() },
            ModelError::Forbidden { server: server(), message: "no".to_owned() },
        ] {
            let mut gate = heard(error);
            refused(&mut gate, MODEL, u64::MAX);
            assert_eq!(gate.admit(3, "another", 11), Admission::Goes);
        }
    }

    #[test]
    fn a_told_wait_holds_for_the_model_and_no_longer_than_its_bound() {
        let limited = |retry_after_ms| ModelError::RateLimited {
            server: server(),
            message: "slow".to_owned(),
            retry_after_ms: Some(retry_after_ms),
        };
        let mut gate = heard(limited(5_000));
        assert_eq!(refused(&mut gate, MODEL, 5_009).until_ms, Some(5_010));
        assert_eq!(gate.admit(3, "another", 11), Admission::Goes);
        assert_eq!(gate.admit(4, MODEL, 5_010), Admission::Goes);
        assert_eq!(refused(&mut heard(limited(u64::MAX)), MODEL, 11).until_ms, Some(10 + TOLD_WAIT_MS_MAX));
    }

    #[test]
    fn faults_in_a_row_open_the_breaker_and_told_waits_do_not() {
        let mut gate = Gate::default();
        let overloaded = |retry_after_ms| {
            Bought::Failed(ModelError::Overloaded { server: server(), message: "o".to_owned(), retry_after_ms })
        };
        for call in 0..5 {
            let now_ms = call * 1_000;
            assert_eq!(gate.admit(call, MODEL, now_ms), Admission::Goes, "{call}");
            gate.hear(call, MODEL, Some(&overloaded(Some(10))), now_ms);
        }
        for call in 5..8 {
            assert_eq!(gate.admit(call, MODEL, call * 1_000), Admission::Goes, "{call}");
            gate.hear(call, MODEL, Some(&overloaded(None)), call * 1_000);
        }
        let failure = refused(&mut gate, MODEL, 7_001);
        assert_eq!((failure.kind, failure.until_ms), (FailureKind::Unreachable, Some(37_000)));
        assert_eq!(gate.admit(9, MODEL, 37_000), Admission::Goes, "the probe");
        assert!(matches!(gate.admit(10, MODEL, 37_001), Admission::Refused(_)));
        gate.hear(9, MODEL, Some(&Bought::Reply(Box::default(), 1)), 37_002);
        assert_eq!(gate.admit(11, MODEL, 37_003), Admission::Goes);
    }

    #[test]
    fn the_first_call_goes_alone_until_something_was_heard_or_for_a_while() {
        let mut gate = Gate::default();
        assert_eq!(gate.admit(1, MODEL, 100), Admission::Goes);
        assert_eq!(gate.admit(2, MODEL, 101), Admission::Waits { until_ms: 100 + FIRST_ALONE_MS });
        assert_eq!(gate.clone().admit(2, MODEL, 100 + FIRST_ALONE_MS), Admission::Goes);
        let mut dropped = gate.clone();
        dropped.hear(1, MODEL, None, 150);
        assert_eq!(dropped.admit(2, MODEL, 151), Admission::Goes, "it is the first one now");
        assert!(matches!(dropped.admit(3, MODEL, 152), Admission::Waits { .. }));
        gate.hear(1, MODEL, Some(&Bought::Reply(Box::default(), 1)), 150);
        assert_eq!((gate.admit(2, MODEL, 151), gate.admit(3, MODEL, 151)), (Admission::Goes, Admission::Goes));
    }
}
