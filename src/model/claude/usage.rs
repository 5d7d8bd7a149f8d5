//! Tokens as the interface counts them, out of one or more parts of an answer.

use serde_json::Value;

use crate::model::Tokens;

/// What was told so far; a later figure stands for an earlier one, and what is missing or null changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    input: u64,
    output: u64,
    cache_write: u64,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    cache_read: u64,
}

impl Usage {
    /// Takes a `usage` object; figures are cumulative.
    pub(super) fn take(&mut self, usage: &Value) {
        let figure = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let update = |place: &mut u64, key: &str| {
            if let Some(count) = figure(usage, key) {
                *place = count;
            }
        };
        update(&mut self.input, "input_tokens");
        update(&mut self.output, "output_tokens");
        update(&mut self.cache_write, "cache_creation_input_tokens");
        update(&mut self.cache_read, "cache_read_input_tokens");
        if let Some(parts) = usage.get("cache_creation") {
            self.cache_write_5m = figure(parts, "ephemeral_5m_input_tokens").or(self.cache_write_5m);
            self.cache_write_1h = figure(parts, "ephemeral_1h_input_tokens").or(self.cache_write_1h);
        }
    }

    /// The classes as they are priced. What was kept and has no class is of five minutes: nothing else is asked for.
    pub(super) fn tokens(&self) -> Tokens {
        let hour = self.cache_write_1h.unwrap_or(0);
        let written = self.cache_write.max(hour.saturating_add(self.cache_write_5m.unwrap_or(0)));
        Tokens {
            prompt: self.input.saturating_add(written).saturating_add(self.cache_read),
            reply: self.output,
            cache_write_5m: written - hour,
            cache_write_1h: hour,
            cache_read: self.cache_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(parts: &[Value]) -> Tokens {
        let mut usage = Usage::default();
        parts.iter().for_each(|part| usage.take(part));
        usage.tokens()
    }

    #[test]
    fn input_is_the_sum_of_its_classes() {
        let told = json!({
            "input_tokens": 12, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 2048,
            "cache_creation": { "ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200 }, "output_tokens": 40,
        });
        let found = tokens(&[told]);
        assert_eq!((found.prompt, found.reply, found.uncached()), (2_360, 40, 12));
        assert_eq!((found.cache_write_5m, found.cache_write_1h, found.cache_read), (100, 200, 2_048));
    }

    #[test]
    fn figures_are_cumulative_and_missing_ones_change_nothing() {
        let start = json!({ "input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": null, "output_tokens": 1 });
        let end = json!({ "input_tokens": null, "output_tokens": 33, "cache_creation": null });
        let found = tokens(&[start, end]);
        assert_eq!((found.prompt, found.reply, found.cache_write_5m, found.cache_write_1h), (25, 33, 5, 0));
        assert_eq!(tokens(&[json!(null), json!({ "output_tokens": "7" })]), Tokens::default());
    }
}
