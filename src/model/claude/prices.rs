//! What tokens cost: prices per class, steps by the length of the prompt, and sums in whole numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::model::Tokens;

/// Tokens that one price is for.
const TOKENS_PER_PRICE: u128 = 1_000_000;
/// Digits behind the point of a dollar that are kept.
const DIGITS: usize = 6;

/// The price of a million tokens in millionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

/// Why a text is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no price: dollars for a million tokens are needed, with at most six digits behind the point")]
pub struct RateError(String);

impl Rate {
    /// Millionths of a dollar for a million tokens.
    #[must_use]
    pub const fn microdollars(self) -> u64 {
        self.0
    }

    /// From millionths of a dollar for a million tokens.
    #[must_use]
    pub const fn from_microdollars(microdollars: u64) -> Self {
        Self(microdollars)
    }

    /// So many hundredths of it, rounded up.
    #[must_use]
    const fn percent(self, percent: u64) -> Self {
        Self(self.0.saturating_mul(percent).div_ceil(100))
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// Reads dollars: `3`, `0.125`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let fault = || RateError(text.to_owned());
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !is_number(whole) || !is_number(part) || part.len() > DIGITS {
            return Err(fault());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| fault())? };
        let part: u64 = format!("{part:0<DIGITS$}").parse().map_err(|_| fault())?;
        whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(part)).map(Self).ok_or_else(fault)
    }
}

impl fmt::Display for Rate {
    /// Dollars, as people write prices: `3`, `0.125`, `2.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:06}");
        let kept = digits.trim_end_matches('0').len().max(2);
        write!(f, "{whole}.{}", &digits[..kept])
    }
}

impl<'de> Deserialize<'de> for Rate {
    /// A text or a number of dollars.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(serde_json::Number),
        }
        // A number prints as the shortest text that means it, so no digit is lost.
        let text = match Written::deserialize(from)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One price for each class of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Prices {
    /// Read, without a cache.
    pub input: Rate,
    /// Written.
    pub output: Rate,
    /// Read, and kept for five minutes.
    pub cache_write_5m: Rate,
    /// Read, and kept for an hour.
    pub cache_write_1h: Rate,
    /// Read from a cache.
    pub cache_read: Rate,
}

/// Prices as they are written: those of the cache may be missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    input: Rate,
    output: Rate,
    cache_write_5m: Option<Rate>,
    cache_write_1h: Option<Rate>,
    cache_read: Option<Rate>,
}

impl From<Written> for Prices {
    fn from(written: Written) -> Self {
        let usual = Self::usual(written.input, written.output);
        Self {
            cache_write_5m: written.cache_write_5m.unwrap_or(usual.cache_write_5m),
            cache_write_1h: written.cache_write_1h.unwrap_or(usual.cache_write_1h),
            cache_read: written.cache_read.unwrap_or(usual.cache_read),
            ..usual
        }
    }
}

impl Prices {
    /// Prices with the usual ones for a cache: 1.25 and 2 times the input to keep, a tenth of it to read.
    #[must_use]
    pub const fn usual(input: Rate, output: Rate) -> Self {
        Self {
            input,
            output,
            cache_write_5m: input.percent(125),
            cache_write_1h: input.percent(200),
            cache_read: input.percent(10),
        }
    }

    /// What tokens cost in millionths of a dollar: each class at its price, summed, and rounded up once.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let classes = [
            (tokens.uncached(), self.input),
            (tokens.reply, self.output),
            (tokens.cache_write_5m, self.cache_write_5m),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.cache_read, self.cache_read),
        ];
        let sum = classes
            .iter()
            .fold(0_u128, |sum, (count, rate)| sum.saturating_add(u128::from(*count) * u128::from(rate.0)));
        u64::try_from(sum.div_ceil(TOKENS_PER_PRICE)).unwrap_or(u64::MAX)
    }

    /// The dearest of both, class by class.
    pub(super) fn dearest(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            cache_read: self.cache_read.max(other.cache_read),
        }
    }

    /// The price of input in its dearest class.
    fn dearest_input(&self) -> Rate {
        [self.cache_write_5m, self.cache_write_1h, self.cache_read].into_iter().fold(self.input, Ord::max)
    }
}

/// Prices of one model, by the length of the whole prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Step>")]
pub struct PriceList(Vec<Step>);

/// Prices up to a length of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The longest prompt they hold for; `None`: any.
    pub prompt_tokens_max: Option<u64>,
    /// For all tokens of a request with such a prompt, the written ones included.
    pub prices: Prices,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(from)?;
        let prompt_tokens_max = fields.remove("prompt_tokens_max").and_then(|max| max.as_u64());
        let prices = serde_json::from_value(fields.into()).map_err(serde::de::Error::custom)?;
        Ok(Self { prompt_tokens_max, prices })
    }
}

impl TryFrom<Vec<Step>> for PriceList {
    type Error = &'static str;

    fn try_from(steps: Vec<Step>) -> Result<Self, Self::Error> {
        let mut limits: Vec<u64> = steps.iter().map(|step| step.prompt_tokens_max.unwrap_or(u64::MAX)).collect();
        if steps.last().is_none_or(|last| last.prompt_tokens_max.is_some()) {
            return Err("the last price step has no limit");
        }
        limits.dedup();
        if !limits.is_sorted() || limits.len() != steps.len() {
            return Err("price steps stand in the order of their limits");
        }
        Ok(Self(steps))
    }
}

impl From<Prices> for PriceList {
    fn from(prices: Prices) -> Self {
        Self(vec![Step { prompt_tokens_max: None, prices }])
    }
}

impl PriceList {
    /// The steps, shortest prompts first.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The prices for a prompt of this length.
    #[must_use]
    pub fn for_prompt(&self, prompt_tokens: u64) -> Prices {
        let holds = |step: &&Step| step.prompt_tokens_max.is_none_or(|max| prompt_tokens <= max);
        self.0.iter().find(holds).map_or_else(Prices::default, |step| step.prices)
    }

    /// What a request cost.
    #[must_use]
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        self.for_prompt(tokens.prompt).cost(tokens)
    }

    /// The most that a request can cost: every token in its dearest class, at the dearest step that it can reach.
    #[must_use]
    pub fn ceiling(&self, prompt_tokens_max: u64, reply_tokens_max: u64) -> u64 {
        let mut from = 0_u64;
        let mut most = 0;
        for step in &self.0 {
            if from > prompt_tokens_max {
                break;
            }
            let input = step.prices.dearest_input();
            let flat = Prices { input, ..step.prices };
            let prompt = prompt_tokens_max.min(step.prompt_tokens_max.unwrap_or(u64::MAX));
            most = most.max(flat.cost(&Tokens::new(prompt, reply_tokens_max)));
            from = step.prompt_tokens_max.unwrap_or(u64::MAX).saturating_add(1);
        }
        most
    }

    /// The dearest price of each class, over all steps.
    pub(super) fn dearest(&self) -> Prices {
        self.0.iter().fold(Prices::default(), |dearest, step| dearest.dearest(step.prices))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn prices_are_read_without_losing_a_digit() {
        for (text, microdollars, shown) in [
            ("3", 3_000_000, "3"),
            ("0.125", 125_000, "0.125"),
            ("2.5", 2_500_000, "2.50"),
            (" .08 ", 80_000, "0.08"),
            ("0.000001", 1, "0.000001"),
            ("18446744073709.551615", u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!((rate(text).microdollars(), rate(text).to_string().as_str()), (microdollars, shown), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "0.0000001", "1,5", "three", "18446744073709.551616", "+1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let read: Prices = serde_json::from_str(r#"{"input": 0.1, "output": "0.5"}"#).unwrap();
        assert_eq!(read, Prices::usual(rate("0.1"), rate("0.5")));
        assert_eq!(
            (read.cache_write_5m, read.cache_write_1h, read.cache_read),
            (rate("0.125"), rate("0.2"), rate("0.01"))
        );
        assert!(serde_json::from_str::<Prices>(r#"{"input": 1, "output": 5, "cash": 1}"#).is_err());
    }

    #[test]
    fn each_class_has_its_price_and_the_sum_is_rounded_up_once() {
        let prices: Prices = serde_json::from_str(
            r#"{"input": 2, "output": 10, "cache_write_5m": 2.5, "cache_write_1h": 4, "cache_read": 0.1}"#,
        )
        .unwrap();
        let tokens = Tokens {
            prompt: 1_000 + 200 + 30 + 4_000,
            reply: 50,
            cache_write_5m: 200,
            cache_write_1h: 30,
            cache_read: 4_000,
        };
        assert_eq!(prices.cost(&tokens), 2_000 + 500 + 500 + 120 + 400);
        assert_eq!(
            prices.cost(&Tokens { cache_read: 1, prompt: 1, ..Tokens::default() }),
            1,
            "a tenth of a millionth is one"
        );
        assert_eq!(
            prices.cost(&Tokens { cache_read: 30, prompt: 30, ..Tokens::default() }),
            3,
            "not one for each token"
        );
        assert_eq!(prices.cost(&Tokens::default()), 0);
        assert_eq!(Prices::usual(Rate(u64::MAX), Rate(u64::MAX)).cost(&Tokens::new(u64::MAX, u64::MAX)), u64::MAX);
    }

    #[test]
    fn a_long_prompt_changes_the_price_of_the_whole_request() {
        let list: PriceList = serde_json::from_str(
            r#"[{"prompt_tokens_max": 100000, "input": 0.1, "output": 0.5}, {"input": 0.5, "output": 2.5}]"#,
        )
        .unwrap();
        assert_eq!(list.cost(&Tokens::new(100_000, 1_000)), 10_000 + 500);
        assert_eq!(list.cost(&Tokens::new(100_001, 1_000)), 50_001 + 2_500);
        let cached = Tokens { prompt: 100_001, cache_read: 100_001, ..Tokens::default() };
        assert_eq!(list.cost(&cached), 5_001, "what comes from a cache counts as prompt");
        assert_eq!(list.ceiling(100_000, 1_000), 20_000 + 500);
        assert_eq!(list.ceiling(100_001, 1_000), 100_001 + 2_500);
        for text in [
            "[]",
            r#"[{"prompt_tokens_max": 5, "input": 1, "output": 1}]"#,
            r#"[{"prompt_tokens_max": 5, "input": 1, "output": 1}, {"prompt_tokens_max": 4, "input": 1, "output": 1}, {"input": 1, "output": 1}]"#,
            r#"[{"input": 1, "output": 1}, {"input": 1, "output": 1}]"#,
        ] {
            assert!(serde_json::from_str::<PriceList>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_request_costs_more_than_its_ceiling(
            write_5m in 0_u64..200_000, write_1h in 0_u64..200_000, read in 0_u64..200_000, plain in 0_u64..200_000,
            reply in 0_u64..10_000, more in 0_u64..5,
        ) {
            let list: PriceList = serde_json::from_str(
                r#"[{"prompt_tokens_max": 100000, "input": "0.1", "output": "7"}, {"input": "0.5", "output": "2.5"}]"#,
            ).unwrap();
            let prompt = write_5m + write_1h + read + plain;
            let tokens = Tokens { prompt, reply, cache_write_5m: write_5m, cache_write_1h: write_1h, cache_read: read };
            prop_assert!(list.cost(&tokens) <= list.ceiling(prompt + more, reply + more));
            prop_assert!(list.cost(&tokens) <= list.dearest().cost(&tokens));
        }

        #[test]
        fn a_price_survives_being_written(microdollars in any::<u64>()) {
            prop_assert_eq!(rate(&Rate(microdollars).to_string()), Rate(microdollars));
        }
    }
}
