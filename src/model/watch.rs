//! The three limits of one request as one deadline at a time. Pure: moments come in.
//!
//! | what was seen | what is waited for | when it passes |
//! |---|---|---|
//! | nothing that carries anything | `first_token` from sending | [`Late::NoFirstToken`] |
//! | a part has begun, or one has come | `idle` from the last bytes of a part | [`Late::Silent`] |
//! | the same | `whole` from the first byte of the first part that carries anything | [`Late::TooSlow`] |
//! | the end, but not the close | a grace from the last bytes | nothing: the answer is whole |

use std::time::Duration;

use tokio::time::Instant;

use super::{ModelError, TimeLimits};

/// How long a stream may stay open after its end was said.
const GRACE_MS_MAX: u64 = 2_000;

/// Which limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    NoFirstToken,
    Silent,
    TooSlow,
    /// The answer had ended; only its stream had not.
    AfterEnd,
}

impl Late {
    pub(super) fn error(self, limits: &TimeLimits, model: &str) -> ModelError {
        let model = model.to_owned();
        match self {
            Self::NoFirstToken => ModelError::NoFirstToken { model, limit_ms: limits.first_token_ms },
            Self::TooSlow => ModelError::TooSlow { model, limit_ms: limits.whole_ms },
            Self::Silent | Self::AfterEnd => ModelError::Silent { model, limit_ms: limits.idle_ms },
        }
    }
}

/// What was seen of one answer, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    limits: TimeLimits,
    sent: Instant,
    first: Option<Instant>,
    last_bytes: Instant,
    has_ended: bool,
}

impl Watch {
    pub(super) fn new(limits: TimeLimits, sent: Instant) -> Self {
        Self { limits, sent, first: None, last_bytes: sent, has_ended: false }
    }

    /// The moment by which the first part must have begun.
    pub(super) fn first_deadline(&self) -> Instant {
        later(self.sent, self.limits.first_token_ms)
    }

    /// Bytes of a part came.
    pub(super) fn saw_bytes(&mut self, now: Instant) {
        self.last_bytes = now;
    }

    /// A part that began then carried something.
    pub(super) fn saw_content(&mut self, began: Instant) {
        self.first.get_or_insert(began);
    }

    /// The answer is whole.
    pub(super) fn saw_end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Until when to wait, and what it means when nothing comes. `open_since`: a part is coming, and began then.
    pub(super) fn deadline(&self, open_since: Option<Instant>) -> (Instant, Late) {
        if self.has_ended {
            return (later(self.last_bytes, self.limits.idle_ms.min(GRACE_MS_MAX)), Late::AfterEnd);
        }
        let Some(first) = self.first.or(open_since) else { return (self.first_deadline(), Late::NoFirstToken) };
        let idle = later(self.last_bytes, self.limits.idle_ms);
        let whole = later(first, self.limits.whole_ms);
        if idle < whole { (idle, Late::Silent) } else { (whole, Late::TooSlow) }
    }

    /// From sending to the first part; the whole time where none came.
    pub(super) fn first_ms(&self, now: Instant) -> u64 {
        millis(self.first.unwrap_or(now).saturating_duration_since(self.sent))
    }

    /// From sending until now.
    pub(super) fn whole_ms(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.sent))
    }
}

/// Never past what a clock can hold: a limit of that size is none.
pub(super) fn later(from: Instant, ms: u64) -> Instant {
    const YEAR_MS: u64 = 366 * 24 * 3_600_000;
    from + Duration::from_millis(ms.min(YEAR_MS))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TimeLimits = TimeLimits { first_token_ms: 1_000, idle_ms: 100, whole_ms: 500 };

    #[test]
    fn each_limit_has_its_turn() {
        let start = Instant::now();
        let at = |ms| later(start, ms);
        let mut watch = Watch::new(LIMITS, start);
        assert_eq!(watch.deadline(None), (at(1_000), Late::NoFirstToken));
        watch.saw_bytes(at(50));
        assert_eq!(watch.deadline(None), (at(1_000), Late::NoFirstToken), "an empty part starts no other limit");
        assert_eq!(watch.deadline(Some(at(50))), (at(150), Late::Silent), "half a part has begun");
        watch.saw_content(at(50));
        assert_eq!(watch.deadline(None), (at(150), Late::Silent));
        watch.saw_bytes(at(480));
        watch.saw_content(at(480));
        assert_eq!(watch.deadline(None), (at(550), Late::TooSlow), "counted from the first part, not from sending");
        watch.saw_end();
        assert_eq!(watch.deadline(None), (at(580), Late::AfterEnd));
        assert_eq!((watch.first_ms(at(600)), watch.whole_ms(at(600))), (50, 600));
    }

    #[test]
    fn the_largest_limit_is_no_overflow() {
        let limits = TimeLimits { first_token_ms: u64::MAX, idle_ms: u64::MAX, whole_ms: u64::MAX };
        let start = Instant::now();
        assert!(Watch::new(limits, start).deadline(None).0 > start);
        assert!(Watch::new(limits, start).deadline(Some(start)).0 > start);
    }
}
