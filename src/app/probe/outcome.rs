//! What a probe has shown: kept, summed up, and compared with the one before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::failure::FailureKind;

/// The groups whose failure keeps a model out of steps with tools.
pub const TOOL_GROUPS: &[&str] = &["tool calls", "no tool fits"];

/// How one case went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its group.
    pub group: String,
    /// Digest of the case itself: only equal ones are compared.
    pub case: String,
    /// Why it is not right, by kind; `None`: it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// What happened, for people; empty where it is right.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it took.
    pub ms: u64,
    /// Replies of the model.
    pub replies: u32,
    /// Tokens that it wrote.
    pub reply_tokens: u64,
    /// Time that it wrote for.
    pub writing_ms: u64,
}

/// One probe of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Cases that there are.
    pub of: u32,
    /// The server was away, or somebody stopped it, before all were asked: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// What was asked, by the id of the case.
    pub cases: BTreeMap<String, CaseResult>,
}

/// A probe, or a group of it, in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Cases that were right.
    pub right: u32,
    /// Cases that were asked.
    pub asked: u32,
    /// How long they took.
    pub seconds: f64,
    /// Tokens written in a second.
    pub tokens_per_second: Option<f64>,
    /// Failures by kind, in the words of the program.
    pub failures: BTreeMap<&'static str, u32>,
    #[serde(skip)]
    pub(crate) reply_tokens: u64,
    #[serde(skip)]
    pub(crate) writing_ms: u64,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people, far below where that matters")]
    fn add(&mut self, result: &CaseResult) {
        self.asked += 1;
        match result.failure {
            None => self.right += 1,
            Some(kind) => *self.failures.entry(kind.word()).or_default() += 1,
        }
        self.seconds += result.ms as f64 / 1_000.0;
        self.reply_tokens += result.reply_tokens;
        self.writing_ms += result.writing_ms;
        let is_measured = self.reply_tokens > 0 && self.writing_ms > 0;
        let rate = || self.reply_tokens as f64 * 1_000.0 / self.writing_ms as f64;
        self.tokens_per_second = is_measured.then(rate);
    }
}

/// A probe in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Over all groups.
    #[serde(flatten)]
    pub all: Figures,
    /// Cases that there are.
    pub of: u32,
    /// By group.
    pub groups: BTreeMap<String, Figures>,
}

impl Summary {
    /// Right ones among those that were asked.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.all.asked == 0 { 0.0 } else { f64::from(self.all.right) / f64::from(self.all.asked) }
    }

    /// It is wrong in more than half of a group about tools.
    #[must_use]
    pub fn fails_tools(&self) -> bool {
        let fails = |group: &&str| self.groups.get(*group).is_some_and(|found| found.right * 2 < found.asked);
        TOOL_GROUPS.iter().any(fails)
    }
}

impl ProbeRecord {
    /// In figures.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { of: self.of, ..Summary::default() };
        for result in self.cases.values() {
            summary.groups.entry(result.group.clone()).or_default().add(result);
            summary.all.add(result);
        }
        summary
    }

    /// What is different from an earlier probe, over the cases that both asked.
    #[must_use]
    pub fn since(&self, before: &Self) -> Changes {
        let mut changes = Changes { before_ms: before.at_ms, ..Changes::default() };
        for (id, now) in &self.cases {
            let Some(then) = before.cases.get(id).filter(|then| then.case == now.case) else { continue };
            changes.compared += 1;
            match (then.failure, now.failure) {
                (Some(_), None) => changes.now_right.push(id.clone()),
                (None, Some(_)) => changes.now_wrong.push(id.clone()),
                (Some(then), Some(now)) if then != now => changes.otherwise_wrong.push(id.clone()),
                _ => {}
            }
        }
        changes
    }
}

/// What is different between two probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// When the earlier one was.
    pub before_ms: u64,
    /// Cases that both asked.
    pub compared: u32,
    /// Wrong then, right now.
    pub now_right: Vec<String>,
    /// Right then, wrong now.
    pub now_wrong: Vec<String>,
    /// Wrong both times, in another way.
    pub otherwise_wrong: Vec<String>,
}

impl Changes {
    /// Nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.now_right.is_empty() && self.now_wrong.is_empty() && self.otherwise_wrong.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(case: &str, group: &str, failure: Option<FailureKind>) -> CaseResult {
        CaseResult {
            group: group.to_owned(),
            case: case.to_owned(),
            failure,
            message: String::new(),
            ms: 500,
            replies: 1,
            reply_tokens: 30,
            writing_ms: 300,
        }
    }

    fn record(cases: &[(&str, CaseResult)]) -> ProbeRecord {
        let cases = cases.iter().map(|(id, result)| ((*id).to_owned(), result.clone())).collect();
        ProbeRecord { of: 20, cases, ..ProbeRecord::default() }
    }

    #[test]
    fn a_probe_is_summed_up_by_group_and_kind() {
        let summary = record(&[
            ("a", result("1", "tool calls", None)),
            ("b", result("2", "tool calls", Some(FailureKind::Described))),
            ("c", result("3", "tool calls", Some(FailureKind::Described))),
        ])
        .summary();
        assert_eq!((summary.all.right, summary.all.asked, summary.of), (1, 3, 20));
        assert_eq!(summary.groups["tool calls"], summary.all);
        assert_eq!(summary.all.failures["described, not called"], 2);
        assert_eq!((summary.all.seconds, summary.all.tokens_per_second), (1.5, Some(100.0)));
        assert!(summary.fails_tools());
    }

    #[test]
    fn only_equal_cases_that_both_asked_are_compared() {
        let before = record(&[
            ("a", result("1", "g", None)),
            ("b", result("2", "g", Some(FailureKind::Schema))),
            ("c", result("3", "g", Some(FailureKind::Schema))),
            ("d", result("old", "g", None)),
            ("gone", result("4", "g", None)),
        ]);
        let now = record(&[
            ("a", result("1", "g", Some(FailureKind::Check))),
            ("b", result("2", "g", None)),
            ("c", result("3", "g", Some(FailureKind::Loop))),
            ("d", result("new", "g", Some(FailureKind::Check))),
            ("fresh", result("5", "g", None)),
        ]);
        let changes = now.since(&before);
        assert_eq!(changes.compared, 3);
        assert_eq!((changes.now_right, changes.now_wrong), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert_eq!(changes.otherwise_wrong, ["c"]);
        assert!(before.since(&before).is_empty());
    }
}
