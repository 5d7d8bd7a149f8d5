//! Options that a step and `defaults` share.

use crate::domain::ladder::WhenLimited;
use crate::domain::plan::{OnError, Retry, Tolerate};

use super::super::keys::{
    BACKOFF_MAX_MS, CLAUDE, ON_ERROR, PARALLEL_MAX, Place, TIMEOUT_MAX_MS, TRANSIENT_MAX, WHEN_LIMITED,
};
use super::super::node::{Data, Node};
use super::place::At;
use super::{Fields, Walker};
use crate::domain::nearest::nearest;

/// What was written; `None` is left to the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) max_parallel: Option<u32>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) transient_max: Option<u32>,
    pub(super) backoff_ms: Option<(u64, u64)>,
    pub(super) on_error: Option<OnError>,
    pub(super) tolerate: Option<Tolerate>,
    pub(super) critical: Option<bool>,
    pub(super) threshold: Option<u32>,
    pub(super) ladder: Option<String>,
    pub(super) reuse: Option<bool>,
    pub(super) claude: Option<bool>,
    pub(super) local_only: Option<bool>,
    pub(super) when_limited: Option<WhenLimited>,
}

impl Options {
    /// The retry rule, from the step, the defaults and the house.
    pub(super) fn retry(&self, defaults: &Self) -> Retry {
        let house = Retry::default();
        let (first, max) =
            self.backoff_ms.or(defaults.backoff_ms).unwrap_or((house.backoff_first_ms, house.backoff_max_ms));
        Retry {
            transient_max: self.transient_max.or(defaults.transient_max).unwrap_or(house.transient_max),
            backoff_first_ms: first,
            backoff_max_ms: max,
        }
    }
}

impl<'a> Walker<'a> {
    pub(super) fn read_defaults(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Options {
        let Some(node) = fields.get("defaults") else { return Options::default() };
        let at = at.key("defaults");
        let Data::Map(entries) = &node.data else {
            self.expected("a map of options", node, &at);
            return Options::default();
        };
        let fields = self.fields(entries, node.span(), Place::Defaults, &at);
        self.options(&fields, &at)
    }

    pub(super) fn options(&mut self, fields: &Fields<'a>, at: &At<'_>) -> Options {
        let mut options = Options::default();
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(node) = fields.get("max_parallel") {
            options.max_parallel = self.whole(node, 1, PARALLEL_MAX, &at.key("max_parallel")).map(small);
        }
        if let Some(node) = fields.get("timeout") {
            options.timeout_ms = self.duration(node, TIMEOUT_MAX_MS, &at.key("timeout"));
        }
        if let Some(node) = fields.get("retry") {
            self.retry(node, &mut options, &at.key("retry"));
        }
        if let Some(node) = fields.get("on_error") {
            options.on_error = self.word(node, ON_ERROR, &at.key("on_error")).map(|word| match word {
                "continue" => OnError::Continue,
                "quarantine" => OnError::Quarantine,
                _ => OnError::Stop,
            });
        }
        if let Some(node) = fields.get("tolerate") {
            options.tolerate = self.tolerance(node, &at.key("tolerate"));
        }
        if let Some(node) = fields.get("critical") {
            options.critical = self.flag(node, &at.key("critical"));
        }
        if let Some(node) = fields.get("threshold") {
            options.threshold = self.whole(node, 1, 100, &at.key("threshold")).map(small);
        }
        if let Some(node) = fields.get("ladder") {
            options.ladder = self.ladder(node, &at.key("ladder"));
        }
        if let Some(node) = fields.get("claude") {
            options.claude = self.flag(node, &at.key("claude"));
        }
        if let Some(node) = fields.get("local_only") {
            options.local_only = self.flag(node, &at.key("local_only"));
        }
        if let (Some(true), Some(true), Some(node)) = (options.claude, options.local_only, fields.get("claude")) {
            self.fault(node.span(), &at.key("claude"), "`claude: true` and `local_only: true` contradict each other");
        }
        if let Some(node) = fields.get("when_limited") {
            options.when_limited = self.word(node, WHEN_LIMITED, &at.key("when_limited")).map(|word| match word {
                "park" => WhenLimited::Park,
                _ => WhenLimited::Fail,
            });
        }
        if let Some(node) = fields.get("reuse") {
            options.reuse = self.flag(node, &at.key("reuse"));
        }
        options
    }

    fn retry(&mut self, node: &'a Node, options: &mut Options, at: &At<'_>) {
        let Data::Map(entries) = &node.data else {
            self.expected("a map with `transient` and `backoff`", node, at);
            return;
        };
        let fields = self.fields(entries, node.span(), Place::Retry, at);
        if let Some(node) = fields.get("transient") {
            options.transient_max = self
                .whole(node, 0, TRANSIENT_MAX, &at.key("transient"))
                .map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        }
        if let Some(node) = fields.get("backoff") {
            options.backoff_ms = self.duration_range(node, BACKOFF_MAX_MS, &at.key("backoff"));
        }
    }

    fn tolerance(&mut self, node: &Node, at: &At<'_>) -> Option<Tolerate> {
        if let Data::Str(text) = &node.data {
            if let Some(points) = text.strip_suffix('%').and_then(basis_points) {
                return Some(Tolerate::BasisPoints(points));
            }
            self.expected("a number of items or a share like `10%`", node, at);
            return None;
        }
        if matches!(node.data, Data::Int(_) | Data::Uint(_)) {
            let count = self.whole(node, 0, u64::from(u32::MAX), at)?;
            return u32::try_from(count).ok().map(Tolerate::Count);
        }
        self.expected("a number of items or a share like `10%`", node, at);
        None
    }

    fn ladder(&mut self, node: &'a Node, at: &At<'_>) -> Option<String> {
        let name = self.text(node, at)?;
        let configured = self.catalog.ladders.as_deref();
        let is_known = self.ladders.contains(&name)
            || configured.is_none_or(|ladders| ladders.iter().any(|ladder| ladder == name));
        if !is_known {
            let all: std::collections::BTreeSet<&str> =
                self.ladders.iter().copied().chain(configured.into_iter().flatten().map(String::as_str)).collect();
            let near = nearest(name, all.iter().copied()).map(str::to_owned);
            let hint = if name.contains(':') || name == CLAUDE {
                Some("`ladder` is a name: write the rungs under `ladders`, at the top".to_owned())
            } else if near.is_none() && !all.is_empty() {
                Some(format!(
                    "there are {}",
                    all.iter().take(12).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
                ))
            } else {
                None
            };
            let fault = self.fault(node.span(), at, format!("there is no ladder `{name}`"));
            (fault.nearest, fault.hint) = (near, hint);
        }
        Some(name.to_owned())
    }
}

/// Hundredths of a per cent of `10`, `2.5`, `0.01`; at most 100.
fn basis_points(text: &str) -> Option<u32> {
    let (whole, part) = text.trim_end().split_once('.').unwrap_or((text.trim_end(), ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let hundredths: u32 = format!("{part:0<2}").parse().ok()?;
    let points = whole.parse::<u32>().ok()? * 100 + hundredths;
    (points <= 10_000).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::basis_points;
    use crate::plan_file::{Catalog, read};

    #[test]
    fn a_ladder_of_both_the_plan_and_the_configuration_is_named_once() {
        let text = "name: p\nladders: { default: [ollama:m] }\nsteps:\n  - { id: a, value: 1, ladder: nosuch }\n";
        let catalog = Catalog { ladders: Some(vec!["default".to_owned()]), ..Catalog::default() };
        let Err(faults) = read(text.as_bytes(), &catalog) else { panic!("it passes") };
        let told = faults.to_string();
        assert_eq!(told.matches("`default`").count(), 1, "{told}");
    }

    #[test]
    fn shares_are_exact_to_a_hundredth_of_a_per_cent() {
        for (text, points) in [
            ("10", Some(1_000)),
            ("2.5", Some(250)),
            ("0.01", Some(1)),
            ("100", Some(10_000)),
            ("100.01", None),
            ("0.001", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("1e2", None),
        ] {
            assert_eq!(basis_points(text), points, "{text}");
        }
    }
}
