//! What paid calls cost, and what is left: the documented layout of `claude-usage`, and the page of `budget`.

use serde::Serialize;
use serde_json::{Value, json};

use super::text::{clean, plural, seconds, thousands};

/// Calls that share a day, model, run or reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageLine {
    /// What they share; empty where it is not on record.
    pub name: String,
    /// How many.
    pub calls: u64,
    /// How many of them brought no answer.
    pub failed: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Of those, read from a cache.
    pub cache_read_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Millionths of a dollar.
    pub microdollars: u64,
}

impl UsageLine {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.input_tokens += other.input_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.output_tokens += other.output_tokens;
        self.microdollars += other.microdollars;
    }

    fn numbers(&self) -> Value {
        json!({
            "calls": self.calls,
            "failed": self.failed,
            "input_tokens": self.input_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "output_tokens": self.output_tokens,
            "microdollars": self.microdollars,
            "cost_usd": self.microdollars as f64 / 1e6,
        })
    }
}

/// Which days a page is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Days {
    /// Today.
    Today,
    /// One day, by its date.
    Day(String),
    /// A day and all since.
    Since(String),
}

/// The page of `claude-usage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// Which days.
    pub days: Days,
    /// What the lines share: `reason`, `day`, `model` or `run`.
    pub by: &'static str,
    /// In the order of their first call.
    pub lines: Vec<UsageLine>,
}

impl UsageReport {
    fn total(&self) -> UsageLine {
        let mut total = UsageLine::default();
        self.lines.iter().for_each(|line| total.add(line));
        total
    }

    fn name<'a>(&self, line: &'a UsageLine) -> &'a str {
        match (line.name.as_str(), self.by) {
            ("", "run") => "(no run on record)",
            ("", _) => "(not on record)",
            (name, _) => name,
        }
    }

    /// In the documented layout.
    #[must_use]
    pub fn text(&self) -> String {
        let total = self.total();
        let (heading, none) = match &self.days {
            Days::Today => ("Today".to_owned(), "today".to_owned()),
            Days::Day(day) => (day.clone(), format!("on {day}")),
            Days::Since(day) => (format!("Since {day}"), format!("since {day}")),
        };
        if total.calls == 0 {
            return format!("No Claude usage {none}\n");
        }
        let by = self.by[..1].to_uppercase() + &self.by[1..];
        let mut out = format!(
            "Claude Usage {heading}:\n  Total Calls: {}\n  Input Tokens: {}\n  Output Tokens: {}\n  \
             Estimated Cost: ${}\n\n  Breakdown by {by}:\n",
            total.calls,
            thousands(total.input_tokens),
            thousands(total.output_tokens),
            four_decimals(total.microdollars)
        );
        for line in &self.lines {
            let cost = four_decimals(line.microdollars);
            out.push_str(&format!("    {}: {} calls (${cost})\n", clean(self.name(line)), line.calls));
        }
        out
    }

    /// The same as an object, without the version of the shapes.
    #[must_use]
    pub fn json(&self) -> Value {
        let groups = self.lines.iter().map(|line| {
            let mut group = json!({ self.by: line.name });
            merge(&mut group, line.numbers());
            group
        });
        let groups: Vec<Value> = groups.collect();
        let mut all = json!({ "days": self.days });
        merge(&mut all, self.total().numbers());
        merge(&mut all, json!({ "by": self.by, "groups": groups }));
        all
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

/// Dollars with four decimals, rounded.
#[must_use]
pub fn four_decimals(microdollars: u64) -> String {
    let rounded = microdollars.saturating_add(50) / 100;
    format!("{}.{:04}", rounded / 10_000, rounded % 10_000)
}

/// An open reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenLine {
    /// Run id; empty for none.
    pub run: String,
    /// The task.
    pub task: String,
    /// The project.
    pub project: String,
    /// Model as sent.
    pub model: String,
    /// Most that it may cost.
    pub microdollars: u64,
    /// For how long it has been open.
    pub open_ms: u64,
}

/// What one run has cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunCost {
    /// Its id.
    pub run: String,
    /// Paid calls.
    pub calls: u64,
    /// What they cost.
    pub microdollars: u64,
}

/// The page of `budget`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetReport {
    /// Calls of the last 60 minutes.
    pub hour_calls: u64,
    /// Their bound.
    pub hour_calls_max: u64,
    /// When the oldest of them leaves the hour.
    pub hour_frees_in_ms: Option<u64>,
    /// Today, by its local date.
    pub day: String,
    /// What counts towards today's budget.
    pub day_microdollars: u64,
    /// Its bound.
    pub day_microdollars_max: u64,
    /// How long the day still lasts.
    pub day_ends_in_ms: u64,
    /// At which cost of a day something is said.
    pub warn_at_microdollars: Option<u64>,
    /// The bound of a run, where one is set.
    pub run_microdollars_max: Option<u64>,
    /// The runs asked for, or the last that paid.
    pub runs: Vec<RunCost>,
    /// Open reservations.
    pub open: Vec<OpenLine>,
    /// Asks that wait for them.
    pub waiting: u64,
}

impl BudgetReport {
    fn open_microdollars(&self) -> u64 {
        self.open.iter().map(|open| open.microdollars).sum()
    }

    /// Calls of the hour and money of the day that nobody has spent or reserved.
    #[must_use]
    pub fn left(&self) -> (u64, u64) {
        let calls = self.hour_calls_max.saturating_sub(self.hour_calls).saturating_sub(self.open.len() as u64);
        let held = self.day_microdollars.saturating_add(self.open_microdollars());
        (calls, self.day_microdollars_max.saturating_sub(held))
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let in_words = |ms: u64| seconds(ms as f64 / 1000.0);
        let (calls_left, money_left) = self.left();
        let frees = self.hour_frees_in_ms.map(|ms| format!("; the oldest leaves the hour in {}", in_words(ms)));
        let mut out = format!(
            "this hour: {} of {} paid calls, {calls_left} left{}\n\
             today ({}): ${} of ${}, ${} left; the day ends in {}\n",
            self.hour_calls,
            self.hour_calls_max,
            frees.unwrap_or_default(),
            self.day,
            four_decimals(self.day_microdollars),
            four_decimals(self.day_microdollars_max),
            four_decimals(money_left),
            in_words(self.day_ends_in_ms)
        );
        if let Some(warn_at) = self.warn_at_microdollars {
            out.push_str(&format!("said when a day passes: ${}\n", four_decimals(warn_at)));
        }
        for run in &self.runs {
            let bound = self.run_microdollars_max.map(|max| {
                let held: u64 = self.open.iter().filter(|open| open.run == run.run).map(|open| open.microdollars).sum();
                let left = max.saturating_sub(run.microdollars).saturating_sub(held);
                format!(" of ${}, ${} left", four_decimals(max), four_decimals(left))
            });
            out.push_str(&format!(
                "run {}: {}, ${}{}\n",
                clean(&run.run),
                plural(run.calls, "paid call"),
                four_decimals(run.microdollars),
                bound.unwrap_or_default()
            ));
        }
        let open = self.open.len() as u64;
        if open > 0 {
            out.push_str(&format!(
                "open: {}, at most ${}\n",
                plural(open, "call"),
                four_decimals(self.open_microdollars())
            ));
        }
        for open in &self.open {
            out.push_str(&format!(
                "  {} on {}, at most ${}, for {} ({})\n",
                clean(&open.task),
                clean(&open.model),
                four_decimals(open.microdollars),
                in_words(open.open_ms),
                clean(&open.project)
            ));
        }
        if self.waiting > 0 {
            out.push_str(&format!("waiting for these to settle: {}\n", plural(self.waiting, "call")));
        }
        out.push_str(
            "to change: ollmcp config set claude_integration.max_calls_per_hour CALLS\n           \
             ollmcp config set budget.usd_per_day_max DOLLARS\n           \
             ollmcp config set budget.usd_per_run_max DOLLARS\n",
        );
        out
    }

    /// The same as an object, without the version of the shapes.
    #[must_use]
    pub fn json(&self) -> Value {
        let (calls_left, money_left) = self.left();
        let mut all = json!({ "hour_calls_left": calls_left, "day_microdollars_left": money_left });
        merge(&mut all, serde_json::to_value(self).expect("the page is plain data"));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, calls: u64, input: u64, output: u64, microdollars: u64) -> UsageLine {
        let (input_tokens, output_tokens) = (input, output);
        UsageLine { name: name.into(), calls, input_tokens, output_tokens, microdollars, ..UsageLine::default() }
    }

    #[test]
    fn the_documented_page_comes_out_to_the_letter() {
        let lines = vec![line("fallback", 2, 4_321, 1_264, 41_200), line("critical", 1, 2_100, 892, 10_200)];
        let report = UsageReport { days: Days::Today, by: "reason", lines };
        assert_eq!(
            report.text(),
            "Claude Usage Today:\n  Total Calls: 3\n  Input Tokens: 6,421\n  Output Tokens: 2,156\n  Estimated Cost: \
             $0.0514\n\n  Breakdown by Reason:\n    fallback: 2 calls ($0.0412)\n    critical: 1 calls ($0.0102)\n"
        );
        let none = UsageReport { days: Days::Today, by: "reason", lines: Vec::new() };
        assert_eq!(none.text(), "No Claude usage today\n");
        let none = UsageReport { days: Days::Since("2026-01-20".into()), ..none };
        assert_eq!(none.text(), "No Claude usage since 2026-01-20\n");
        assert_eq!(none.json()["days"]["since"], "2026-01-20");
    }

    #[test]
    fn money_has_four_decimals_and_is_rounded() {
        for (microdollars, text) in [(0, "0.0000"), (49, "0.0000"), (50, "0.0001"), (1_234_567_890, "1234.5679")] {
            assert_eq!(four_decimals(microdollars), text);
        }
    }

    #[test]
    fn what_is_open_is_not_left() {
        let open = OpenLine {
            run: "r".into(),
            task: "extract[a\u{1b}.pdf]".into(),
            project: "/p".into(),
            model: "m".into(),
            microdollars: 60_000,
            open_ms: 3_000,
        };
        let report = BudgetReport {
            hour_calls: 3,
            hour_calls_max: 50,
            hour_frees_in_ms: Some(725_000),
            day: "2026-01-27".into(),
            day_microdollars: 51_400,
            day_microdollars_max: 10_000_000,
            day_ends_in_ms: 11_400_000,
            warn_at_microdollars: Some(5_000_000),
            run_microdollars_max: Some(100_000),
            runs: vec![RunCost { run: "r".into(), calls: 1, microdollars: 1_400 }],
            open: vec![open],
            waiting: 1,
        };
        assert_eq!(report.left(), (46, 9_888_600));
        let text = report.text();
        for part in [
            "this hour: 3 of 50 paid calls, 46 left; the oldest leaves the hour in 12 m 05 s\n",
            "today (2026-01-27): $0.0514 of $10.0000, $9.8886 left; the day ends in 3 h 10 m\n",
            "run r: 1 paid call, $0.0014 of $0.1000, $0.0386 left\n",
            "open: 1 call, at most $0.0600\n  extract[a\u{fffd}.pdf] on m, at most $0.0600, for 3.0 s (/p)\n",
            "waiting for these to settle: 1 call\n",
            "ollmcp config set budget.usd_per_day_max DOLLARS\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
