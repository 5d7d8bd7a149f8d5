//! How a model writes, as far as a person may set it: options of Ollama by its own names. What is `None` is not sent.

use serde::{Deserialize, Serialize};

/// Options of local models. An agent's own temperature goes over the one here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Tokens of the beginning that are kept when the window is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_keep: Option<i64>,
    /// Where chance begins; a task's later attempts begin one further each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Likeliest tokens that are chosen from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// Share of likelihood that is chosen from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Least likelihood, against the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Typical sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f64>,
    /// Tokens that are looked back for repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_last_n: Option<i64>,
    /// How much chance there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Price of a repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f64>,
    /// Price of a token that was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Price of a token by how often it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Texts that end an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Tokens of a prompt that are read at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_batch: Option<i64>,
}

impl Sampling {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The seed of an attempt: the one that is set, one further with each attempt that failed before. One below zero asks
    /// the server for chance, and stays.
    #[must_use]
    pub fn seed_of(&self, failed: u64) -> Option<i64> {
        let seed = self.seed?;
        if seed < 0 { Some(seed) } else { Some(seed.saturating_add(i64::try_from(failed).unwrap_or(i64::MAX))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_attempt_moves_a_seed_on_and_chance_stays_chance() {
        let of = |seed, failed| Sampling { seed, ..Sampling::default() }.seed_of(failed);
        assert_eq!((of(Some(42), 0), of(Some(42), 2)), (Some(42), Some(44)));
        assert_eq!((of(Some(-1), 3), of(None, 3), of(Some(i64::MAX), 1)), (Some(-1), None, Some(i64::MAX)));
    }
}
