//! Text, numbers, words and durations.

use super::super::node::{Data, Node};
use super::place::At;
use super::{Fields, Walker};
use crate::domain::nearest::nearest;

impl<'a> Walker<'a> {
    pub(super) fn text(&mut self, node: &'a Node, at: &At<'_>) -> Option<&'a str> {
        if let Data::Str(text) = &node.data {
            return Some(text);
        }
        let fault = self.expected("a string", node, at);
        if matches!(node.data, Data::Bool(_) | Data::Int(_) | Data::Uint(_) | Data::Float(_)) {
            fault.hint = Some("quote it".to_owned());
        }
        None
    }

    pub(super) fn optional_text(&mut self, fields: &Fields<'a>, name: &str, at: &At<'_>) -> Option<String> {
        let node = fields.get(name)?;
        self.text(node, &at.key(name)).map(str::to_owned)
    }

    pub(super) fn whole(&mut self, node: &Node, min: u64, max: u64, at: &At<'_>) -> Option<u64> {
        let found = match node.data {
            Data::Int(number) => u64::try_from(number).ok(),
            Data::Uint(number) => Some(number),
            _ => {
                let fault = self.expected("a whole number", node, at);
                if let Data::Str(text) = &node.data
                    && text.chars().all(|c| c.is_ascii_digit() || c == '_')
                    && !text.is_empty()
                {
                    let plain = text.replace('_', "");
                    let plain = plain.trim_start_matches('0');
                    fault.hint = Some(format!("write {}", if plain.is_empty() { "0" } else { plain }));
                }
                return None;
            }
        };
        if let Some(number) = found.filter(|number| (min..=max).contains(number)) {
            return Some(number);
        }
        let message = if min == max {
            format!("only {min} is known here, found {}", node.found())
        } else {
            format!("expected a whole number from {min} to {max}, found {}", node.found())
        };
        self.fault(node.span(), at, message);
        None
    }

    pub(super) fn flag(&mut self, node: &Node, at: &At<'_>) -> Option<bool> {
        if let Data::Bool(flag) = node.data {
            return Some(flag);
        }
        let meant = match &node.data {
            Data::Str(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" | "y" => Some("true"),
                "no" | "off" | "false" | "n" => Some("false"),
                _ => None,
            },
            _ => None,
        };
        let fault = self.expected("`true` or `false`", node, at);
        fault.hint = meant.map(|word| format!("write `{word}`, without quotes"));
        None
    }

    pub(super) fn word(&mut self, node: &'a Node, words: &[&'static str], at: &At<'_>) -> Option<&'static str> {
        let text = match &node.data {
            Data::Str(text) => text.as_str(),
            _ => {
                let list = listed(words);
                self.expected(&format!("one of {list}"), node, at);
                return None;
            }
        };
        let known = words.iter().find(|word| **word == text).copied();
        if known.is_none() {
            let near = nearest(text, words.iter().copied());
            let message = format!("expected one of {}, found {}", listed(words), node.found());
            self.fault(node.span(), at, message).nearest = near.map(str::to_owned);
        }
        known
    }

    pub(super) fn duration(&mut self, node: &Node, max_ms: u64, at: &At<'_>) -> Option<u64> {
        let Data::Str(text) = &node.data else {
            self.expected("a duration", node, at).hint = Some(DURATION_HINT.to_owned());
            return None;
        };
        self.duration_text(text, node, max_ms, at)
    }

    pub(super) fn duration_text(&mut self, text: &str, node: &Node, max_ms: u64, at: &At<'_>) -> Option<u64> {
        match duration_ms(text) {
            Some(ms) if (1..=max_ms).contains(&ms) => Some(ms),
            Some(_) => {
                let message = format!("expected a duration from 1ms to {}, found `{text}`", shown_ms(max_ms));
                self.fault(node.span(), at, message);
                None
            }
            None => {
                let shown: String = text.chars().take(40).collect();
                self.fault(node.span(), at, format!("expected a duration, found `{shown}`")).hint =
                    Some(DURATION_HINT.to_owned());
                None
            }
        }
    }

    /// `1s..1m`, or one duration that is both.
    pub(super) fn duration_range(&mut self, node: &Node, max_ms: u64, at: &At<'_>) -> Option<(u64, u64)> {
        let Data::Str(text) = &node.data else {
            self.expected("two durations", node, at).hint = Some("write `1s..1m`".to_owned());
            return None;
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let first = self.duration_text(first.trim(), node, max_ms, at)?;
        let last = self.duration_text(last.trim(), node, max_ms, at)?;
        if first > last {
            self.fault(node.span(), at, format!("the first wait is longer than the last in `{text}`"));
            return None;
        }
        Some((first, last))
    }

    /// A list of strings; one string may stand alone.
    pub(super) fn names(&mut self, node: &'a Node, at: &At<'_>) -> Vec<(&'a str, &'a Node)> {
        match &node.data {
            Data::Str(text) => vec![(text.as_str(), node)],
            Data::List(list) => list
                .iter()
                .enumerate()
                .filter_map(|(index, node)| self.text(node, &at.index(index)).map(|text| (text, node)))
                .collect(),
            _ => {
                self.expected("a list of names", node, at);
                Vec::new()
            }
        }
    }
}

const DURATION_HINT: &str = "write a number with its unit: `500ms`, `30s`, `5m`, `1h`";

/// `` `a`, `b` or `c` ``.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Milliseconds of `500ms`, `30s`, `5m`, `1h`, `1h30m`, `2d`.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut last_unit = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}

/// A duration in its largest whole unit, as plans write it.
pub(in crate::plan_file) fn shown_ms(ms: u64) -> String {
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms > 0 && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::{duration_ms, shown_ms};

    #[test]
    fn durations_have_units_in_falling_order() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("90", None),
            ("-1s", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1s1s", None),
            ("", None),
            ("s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
        for ms in [1, 999, 1_000, 60_000, 61_000, 3_600_000, 86_400_000] {
            assert_eq!(duration_ms(&shown_ms(ms)), Some(ms));
        }
    }
}
