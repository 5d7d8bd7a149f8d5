//! How fast each model of each server was, as seen by the calls made here: the last hundred of each.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::Reply;

/// So many calls of each model are kept.
pub const CALLS_KEPT: usize = 100;
/// So many models of one server are kept.
pub const MODELS_KEPT: usize = 256;

/// What was measured of one model on one server. Medians; `None`: nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Name of the server.
    pub server: String,
    /// The model.
    pub model: String,
    /// Calls that were answered and are counted here, at most [`CALLS_KEPT`].
    pub calls: u32,
    /// From sending to the first part of the answer, without the time of loading.
    pub first_token_ms: Option<u64>,
    /// Tokens written in a second.
    pub tokens_per_second: Option<f64>,
    /// Until the model was ready, of calls that loaded it.
    pub load_ms: Option<u64>,
}

/// The single values behind [`Measured`], for those who keep them: the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Name of the server.
    pub server: String,
    /// The model.
    pub model: String,
    /// Of each answered call.
    pub first_token_ms: Vec<u64>,
    /// Of each answered call that wrote something.
    pub tokens_per_second: Vec<f64>,
    /// Of each call that loaded the model.
    pub load_ms: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    first_token_ms: u64,
    tokens_per_second: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct Series {
    samples: VecDeque<Sample>,
    loads_ms: VecDeque<u64>,
}

/// The measurements of one server.
#[derive(Clone, Debug, Default)]
pub struct History(BTreeMap<String, Series>);

impl History {
    /// Adds an answer; `loads`: its model was loaded for it.
    pub fn add(&mut self, model: &str, reply: &Reply, loads: bool) {
        if !self.0.contains_key(model) && self.0.len() >= MODELS_KEPT {
            self.0.pop_first();
        }
        let series = self.0.entry(model.to_owned()).or_default();
        let timing = &reply.timing;
        let first_token_ms = timing.first_token_ms.saturating_sub(if loads { timing.load_ms } else { 0 });
        let is_measured = reply.tokens.reply > 0 && timing.writing_ms > 0;
        let tokens_per_second = is_measured.then(|| reply.tokens.reply as f64 * 1_000.0 / timing.writing_ms as f64);
        keep(&mut series.samples, Sample { first_token_ms, tokens_per_second });
        if loads && timing.load_ms > 0 {
            keep(&mut series.loads_ms, timing.load_ms);
        }
    }

    /// The median of a model's loads.
    #[must_use]
    pub fn load_ms(&self, model: &str) -> Option<u64> {
        median(self.0.get(model)?.loads_ms.iter().copied(), u64::cmp)
    }

    /// Every value.
    #[must_use]
    pub fn samples(&self, server: &str) -> Vec<Samples> {
        let of = |(model, series): (&String, &Series)| Samples {
            server: server.to_owned(),
            model: model.clone(),
            first_token_ms: series.samples.iter().map(|sample| sample.first_token_ms).collect(),
            tokens_per_second: series.samples.iter().filter_map(|sample| sample.tokens_per_second).collect(),
            load_ms: series.loads_ms.iter().copied().collect(),
        };
        self.0.iter().map(of).collect()
    }

    /// All of it.
    #[must_use]
    pub fn measured(&self, server: &str) -> Vec<Measured> {
        let of = |(model, series): (&String, &Series)| Measured {
            server: server.to_owned(),
            model: model.clone(),
            calls: u32::try_from(series.samples.len()).expect("no more than are kept"),
            first_token_ms: median(series.samples.iter().map(|sample| sample.first_token_ms), u64::cmp),
            tokens_per_second: median(
                series.samples.iter().filter_map(|sample| sample.tokens_per_second),
                f64::total_cmp,
            ),
            load_ms: median(series.loads_ms.iter().copied(), u64::cmp),
        };
        self.0.iter().map(of).collect()
    }
}

fn keep<T>(values: &mut VecDeque<T>, value: T) {
    values.push_back(value);
    if values.len() > CALLS_KEPT {
        values.pop_front();
    }
}

/// The lower one of two in the middle, so that it is a value that was seen.
pub fn median<T: Copy>(values: impl Iterator<Item = T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_by(order);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timing, Tokens};

    fn reply(first_token_ms: u64, load_ms: u64, reply: u64, writing_ms: u64) -> Reply {
        Reply {
            tokens: Tokens::new(1, reply),
            timing: Timing { first_token_ms, whole_ms: 0, load_ms, writing_ms },
            ..Reply::default()
        }
    }

    #[test]
    fn medians_are_of_what_was_measured_and_loads_count_apart() {
        let mut history = History::default();
        history.add("a", &reply(5_100, 5_000, 100, 2_000), true);
        history.add("a", &reply(90, 20, 60, 1_000), false);
        history.add("a", &reply(300, 20, 0, 0), false);
        let expected = Measured {
            server: "s".to_owned(),
            model: "a".to_owned(),
            calls: 3,
            first_token_ms: Some(100),
            tokens_per_second: Some(50.0),
            load_ms: Some(5_000),
        };
        assert_eq!(history.measured("s"), [expected]);
        assert_eq!((history.load_ms("a"), history.load_ms("b")), (Some(5_000), None));
        let samples = Samples {
            server: "s".to_owned(),
            model: "a".to_owned(),
            first_token_ms: vec![100, 90, 300],
            tokens_per_second: vec![50.0, 60.0],
            load_ms: vec![5_000],
        };
        assert_eq!(history.samples("s"), [samples]);
    }

    #[test]
    fn only_the_last_calls_are_kept() {
        let mut history = History::default();
        for at in 0..250 {
            history.add("a", &reply(at, 0, 1, 1), false);
        }
        let measured = history.measured("s");
        assert_eq!((measured[0].calls, measured[0].first_token_ms), (100, Some(199)));
        for at in 0..1_000 {
            history.add(&format!("m{at}"), &reply(at, 0, 1, 1), false);
        }
        assert_eq!(history.measured("s").len(), MODELS_KEPT);
    }
}
