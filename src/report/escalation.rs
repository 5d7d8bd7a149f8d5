//! What was seen of an escalation that was only tried: a run whose local models are stand-ins. Each claim is worked out
//! from the run's record and the usage account, and what was not seen is said.

use serde::Serialize;

use super::text::{clean, plural};
use super::usage::four_decimals;
use crate::domain::event::TaskEnd;
use crate::domain::failure::{FailureClass, FailureKind};
use crate::domain::ladder::Rung;
use crate::domain::plan::ModelServerKind;
use crate::domain::run::{RunState, Task, TaskPhase};

/// What is said of a run with `--fake`, at its start and in its report.
pub const FAKE_SAID: &str = "fake Claude: nothing is sent, nothing is paid";

/// One record of the usage file, with its seven keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UsageRecord {
    /// Local time.
    pub timestamp: String,
    /// The role that asked.
    pub task_type: String,
    /// Why Claude was asked.
    pub reason: String,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Dollars.
    pub cost_estimate: f64,
    /// An answer came.
    pub success: bool,
    /// It stands in the file.
    #[serde(skip)]
    pub is_in_file: bool,
}

/// What the usage account says of a run, and what it has left.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Accounted {
    /// The run's paid calls.
    pub records: Vec<UsageRecord>,
    /// The file with their records.
    pub usage_file: String,
    /// Calls of the last 60 minutes, of all runs.
    pub hour_calls: u64,
    /// Their bound.
    pub hour_calls_max: u64,
    /// What counts towards today's budget.
    pub day_microdollars: u64,
    /// Its bound.
    pub day_microdollars_max: Option<u64>,
}

/// An attempt on one rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Try {
    /// The rung.
    pub rung: String,
    /// It costs money.
    pub paid: bool,
    /// Why it gave nothing; `None`: its answer was accepted, or it was cut off.
    pub failed: Option<String>,
    /// It was cut off with its process, and counts for nothing.
    pub cut: bool,
}

/// A task on stand-ins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The task.
    pub task: String,
    /// Who tried, in order.
    pub tries: Vec<Try>,
    /// Counted failures of local rungs.
    pub local_failures: usize,
    /// Claude's answer was accepted.
    pub is_done_by_claude: bool,
    /// A limit of paid calls kept it from Claude.
    pub is_limited: bool,
}

/// Something that had to be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// What.
    pub what: String,
    /// It was seen.
    pub seen: bool,
    /// What was seen in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub but: Option<String>,
}

/// What was seen of the escalation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Escalation {
    /// Claude was the scripted one.
    pub fake: bool,
    /// Everything that had to be seen was seen.
    pub as_expected: bool,
    /// The tasks.
    pub tasks: Vec<Tried>,
    /// The account.
    pub account: Accounted,
    /// Claim by claim.
    pub expected: Vec<Expected>,
}

/// Whether a run only tries the escalation: its plan brings stand-ins along, and some model was asked.
#[must_use]
pub fn is_trial(state: &RunState) -> bool {
    let brings_stand_ins =
        state.plan.raw().model_servers.values().any(|server| server.kind == ModelServerKind::StandIn);
    brings_stand_ins && state.tasks.values().any(has_asked)
}

fn has_asked(task: &Task) -> bool {
    task.tried.iter().any(|tried| tried.rung != Rung::None)
}

impl Escalation {
    /// Works it out.
    #[must_use]
    pub fn new(state: &RunState, account: Accounted) -> Self {
        let tasks: Vec<Tried> = state.tasks.values().filter(|task| has_asked(task)).map(tried).collect();
        let fake = state.head.origin.fake;
        let mut expected = vec![locals_failed(&tasks), claude_was_right(&tasks), calls_are_on_record(&tasks, &account)];
        if fake && tasks.len() > 1 {
            expected.push(limit_held(&tasks, &account));
        }
        let as_expected = expected.iter().all(|one| one.seen);
        Self { fake, as_expected, tasks, account, expected }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = "what was seen:\n".to_owned();
        let mut reasons: Vec<&str> = self.account.records.iter().map(|record| record.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let reason = if reasons.is_empty() { String::new() } else { format!(" ({})", clean(&reasons.join(", "))) };
        for task in &self.tasks {
            out.push_str(&format!("  {}\n", clean(&task.task)));
            for tried in &task.tries {
                let rung = clean(&tried.rung);
                out.push_str(&match (&tried.failed, tried.paid) {
                    _ if tried.cut => format!("    {rung} was cut off, which counts for nothing\n"),
                    (Some(why), false) => format!("    {rung} failed: {}\n", clean(why)),
                    (Some(why), true) if task.is_limited => format!("    {rung} was not asked: {}\n", clean(why)),
                    (Some(why), true) => format!("    {rung} failed: {}\n", clean(why)),
                    (None, true) if task.is_done_by_claude => {
                        format!(
                            "    {rung} was asked after {}{reason}, and its answer passed the checks\n",
                            plural(task.local_failures as u64, "counted failure")
                        )
                    }
                    (None, _) => format!("    {rung} did not end\n"),
                });
            }
        }
        for record in &self.account.records {
            let text = serde_json::to_string(record).unwrap_or_default();
            out.push_str(&format!("  record: {}\n", clean(&text)));
        }
        let Accounted { hour_calls, hour_calls_max, day_microdollars, day_microdollars_max, .. } = &self.account;
        let today = day_microdollars_max.map(|most| {
            let left = four_decimals(most.saturating_sub(*day_microdollars));
            format!(", ${left} of ${} today", four_decimals(most))
        });
        out.push_str(&format!(
            "  left{}: {} of {} this hour{}\n",
            if self.fake { " to the fake Claude" } else { "" },
            hour_calls_max.saturating_sub(*hour_calls),
            plural(*hour_calls_max, "paid call"),
            today.unwrap_or_default(),
        ));
        for one in &self.expected {
            let (word, but) = match (one.seen, &one.but) {
                (true, _) => ("seen", String::new()),
                (false, Some(but)) => ("NOT SEEN", format!(" ({})", clean(but))),
                (false, None) => ("NOT SEEN", String::new()),
            };
            out.push_str(&format!("  {word}: {}{but}\n", clean(&one.what)));
        }
        out.push_str(match self.as_expected {
            true => "everything was seen as expected\n",
            false => "not everything was seen\n",
        });
        out
    }
}

fn tried(task: &Task) -> Tried {
    let tries = task.tried.iter().map(|tried| {
        let failed = tried.failure.as_ref().map(|failure| match failure.class() {
            FailureClass::Wrong => format!("{}: {}", failure.kind.word(), failure.message),
            FailureClass::Transient | FailureClass::Permanent | FailureClass::Refused => failure.message.clone(),
        });
        let (rung, paid) = match &tried.rung {
            Rung::None => (String::new(), false),
            Rung::Local(rung) => (rung.clone(), false),
            Rung::Paid(rung) => (rung.clone(), true),
        };
        Try { rung, paid, failed, cut: tried.interrupted }
    });
    let is_counted = |tried: &&crate::domain::run::Tried| {
        tried.rung.local().is_some()
            && tried.failure.as_ref().is_some_and(|failure| failure.class() == FailureClass::Wrong)
    };
    let end = match &task.phase {
        TaskPhase::Ended(TaskEnd::Failed(failure) | TaskEnd::Quarantined(failure)) => Some(failure.kind),
        _ => None,
    };
    Tried {
        task: task.key.clone(),
        tries: tries.collect(),
        local_failures: task.tried.iter().filter(is_counted).count(),
        is_done_by_claude: matches!((&task.phase, &task.rung), (TaskPhase::Done { .. }, Rung::Paid(_))),
        is_limited: end == Some(FailureKind::Limited),
    }
}

fn locals_failed(tasks: &[Tried]) -> Expected {
    let not = tasks.iter().find(|task| task.local_failures == 0 || !task.tries.iter().any(|tried| tried.paid));
    Expected {
        what: "the local models failed, each failure was counted, and the task went on to Claude".to_owned(),
        seen: not.is_none(),
        but: not.map(|task| format!("not so with `{}`", task.task)),
    }
}

fn claude_was_right(tasks: &[Tried]) -> Expected {
    let seen = tasks.iter().any(|task| task.is_done_by_claude);
    let mut paid = tasks.iter().flat_map(|task| &task.tries).filter(|tried| tried.paid);
    Expected {
        what: "Claude was asked, and its answer passed the same checks".to_owned(),
        seen,
        but: paid.find_map(|tried| tried.failed.clone()).filter(|_| !seen),
    }
}

fn calls_are_on_record(tasks: &[Tried], account: &Accounted) -> Expected {
    let done = tasks.iter().filter(|task| task.is_done_by_claude).count();
    let records = &account.records;
    let answered = records.iter().filter(|record| record.success);
    let is_priced =
        |record: &UsageRecord| record.input_tokens > 0 && record.output_tokens > 0 && record.cost_estimate > 0.0;
    let but = if records.is_empty() {
        Some("no call is on record".to_owned())
    } else if answered.clone().count() < done {
        Some(format!("{} answered calls are on record for {done} answers", answered.count()))
    } else if !records.iter().all(|record| record.is_in_file) {
        Some("a record is missing in the file".to_owned())
    } else if !answered.clone().all(is_priced) {
        Some("a record has no tokens or no price".to_owned())
    } else {
        None
    };
    let cost: f64 = records.iter().map(|record| record.cost_estimate).sum();
    Expected {
        what: format!(
            "{} in {}, with tokens and price, ${cost:.4} in all",
            plural(records.len() as u64, "usage record"),
            account.usage_file
        ),
        seen: but.is_none(),
        but,
    }
}

fn limit_held(tasks: &[Tried], account: &Accounted) -> Expected {
    let kept = tasks.iter().filter(|task| task.is_limited).count() as u64;
    let (made, most) = (account.hour_calls, account.hour_calls_max);
    let seen = kept > 0 && made == most && account.records.len() as u64 == most;
    Expected {
        what: format!("the limit held: {made} of {most} calls an hour were made, and {} met it", plural(kept, "task")),
        seen,
        but: (!seen).then(|| "it was not met, or not kept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(failures: usize, is_done_by_claude: bool, is_limited: bool) -> Tried {
        let local = Try { rung: "s:m".into(), paid: false, failed: Some("schema: no".into()), cut: false };
        let failed = is_limited.then(|| "the hourly limit is reached".to_owned());
        let paid = Try { rung: "claude".into(), paid: true, failed, cut: false };
        let mut tries = vec![local; failures];
        tries.push(paid);
        Tried { task: "a".into(), tries, local_failures: failures, is_done_by_claude, is_limited }
    }

    fn record() -> UsageRecord {
        let (input_tokens, output_tokens, cost_estimate) = (10, 2, 0.001);
        UsageRecord {
            input_tokens,
            output_tokens,
            cost_estimate,
            success: true,
            is_in_file: true,
            ..UsageRecord::default()
        }
    }

    fn accounted(records: Vec<UsageRecord>, hour_calls_max: u64) -> Accounted {
        Accounted { hour_calls: records.len() as u64, hour_calls_max, records, ..Accounted::default() }
    }

    #[test]
    fn what_is_missing_is_not_seen() {
        let all = [task(2, true, false), task(2, false, true)];
        assert!(locals_failed(&all).seen && claude_was_right(&all).seen);
        assert!(!locals_failed(&[task(0, true, false)]).seen, "Claude was asked at once");
        let kept = claude_was_right(&[task(2, false, true)]);
        assert_eq!((kept.seen, kept.but.as_deref()), (false, Some("the hourly limit is reached")));
        for (records, why) in [
            (vec![], "no call is on record"),
            (vec![UsageRecord { success: false, ..record() }], "0 answered calls"),
            (vec![UsageRecord { is_in_file: false, ..record() }], "missing in the file"),
            (vec![UsageRecord { cost_estimate: 0.0, ..record() }], "no price"),
            (vec![UsageRecord { output_tokens: 0, ..record() }], "no tokens"),
        ] {
            let found = calls_are_on_record(&all, &accounted(records, 1));
            assert!(!found.seen && found.but.as_deref().unwrap().contains(why), "{found:?}");
        }
        let cut = UsageRecord { success: false, input_tokens: 0, output_tokens: 0, ..record() };
        assert!(
            calls_are_on_record(&all, &accounted(vec![record(), cut], 2)).seen,
            "a call that was cut has no tokens"
        );
        for (tasks, records, most, seen) in
            [(&all[..], 1, 1, true), (&all[..], 1, 2, false), (&all[..], 2, 1, false), (&all[..1], 1, 1, false)]
        {
            assert_eq!(limit_held(tasks, &accounted(vec![record(); records], most)).seen, seen, "{records} of {most}");
        }
    }
}
