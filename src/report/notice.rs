//! What the command of `notify` is told: one JSON object on one line. The page `docs/reference/notices.md` is written
//! from [`FIELDS`]; a test holds both against what is sent.

use serde::Serialize;

use super::detail::{AskLine, ask_lines};
use super::line::{RunLine, state_word};
use super::text::{bounded, clean, plural, seconds};
use super::usage::four_decimals;
use crate::domain::run::{Head, RunState};

/// Version of the shape.
pub const NOTICE_VERSION: u32 = 1;
/// Questions that one notice names; `asks_count` has their number.
pub const ASKS_MAX: usize = 10;
/// Longest text of a field: a notice fits into a pipe that nobody reads.
const TEXT_CHARS_MAX: usize = 300;

/// Every field, with the events that have it (empty: all) and what it holds.
pub const FIELDS: &[(&str, &str, &str)] = &[
    ("v", "", "version of this shape: 1"),
    ("event", "", "`run_ended`, `run_waits`, `run_stopped` or `budget_passed`"),
    ("at", "", "when, as `2026-01-27T04:30:15Z`"),
    ("project", "", "the project folder"),
    ("text", "", "the whole in one sentence, for a person"),
    (
        "run",
        "run_ended, run_waits, run_stopped, budget_passed",
        "the run's id; of `budget_passed` the run whose call passed it",
    ),
    ("plan", "run_ended, run_waits", "name of its plan"),
    ("name", "run_ended, run_waits", "the name that a person gave to the run; missing where there is none"),
    ("state", "run_ended, run_waits", "`complete`, `partial`, `failed` or `cancelled`; `waiting`"),
    ("seconds", "run_ended, run_waits", "from its acceptance to its last event"),
    ("done", "run_ended, run_waits", "tasks done"),
    ("not_done", "run_ended, run_waits", "tasks failed or set aside"),
    ("usd", "run_ended, run_waits", "what its calls of Claude cost, in US dollars"),
    ("asks", "run_waits", "the open questions, at most 10: `id`, `step`, `item`, `what`, `answers`; empty at a limit"),
    ("asks_count", "run_waits", "how many there are"),
    (
        "reason",
        "run_waits, run_stopped",
        "which limit it waits for, missing where it waits for an answer; why the engine stopped in the middle",
    ),
    ("until", "run_waits", "when that limit frees by itself; missing where it does not"),
    ("usd_today", "budget_passed", "what the paid calls of the local day cost"),
    ("warn_at_usd", "budget_passed", "`budget.warn_at_usd`"),
];

/// A question, for a notice.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Question {
    id: String,
    step: String,
    item: String,
    what: String,
    answers: Vec<String>,
}

impl From<AskLine> for Question {
    fn from(ask: AskLine) -> Self {
        Self { id: ask.id, step: ask.step, item: short(&ask.item), what: short(&ask.what), answers: ask.answers }
    }
}

/// One notice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Notice {
    v: u32,
    event: &'static str,
    at: String,
    project: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(flatten)]
    about: Option<About>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asks: Option<Vec<Question>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asks_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usd_today: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warn_at_usd: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct About {
    plan: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    state: &'static str,
    seconds: f64,
    done: u64,
    not_done: u64,
    usd: f64,
}

impl Notice {
    fn new(event: &'static str, at_ms: u64, project: &str) -> Self {
        Self { v: NOTICE_VERSION, event, at: stamp(at_ms), project: project.to_owned(), ..Self::default() }
    }

    /// A run has ended.
    #[must_use]
    pub fn run_ended(state: &RunState, at_ms: u64, project: &str) -> Self {
        let about = about(state);
        let money = match state.head.usage.cost_microdollars {
            _ if state.head.origin.fake => ", nothing paid".to_owned(),
            0 => String::new(),
            spent => format!(", ${} paid", four_decimals(spent)),
        };
        let not_done = if about.not_done > 0 { format!(", {} not done", about.not_done) } else { String::new() };
        let text = format!(
            "{} is {}: {} done{not_done}, {}{money}",
            run_text(&state.head),
            about.state,
            plural(about.done, "task"),
            seconds(about.seconds),
        );
        let run = Some(state.head.run.to_string());
        Self { text, run, about: Some(about), ..Self::new("run_ended", at_ms, project) }
    }

    /// A run waits for a person.
    #[must_use]
    pub fn run_waits(state: &RunState, at_ms: u64, project: &str) -> Self {
        let asks = ask_lines(state);
        let count = asks.len();
        let first = asks.first().map(|ask| format!(": {}", short(&ask.what))).unwrap_or_default();
        let text = format!(
            "{} waits for you, {}{first} (ollmcp inbox)",
            run_text(&state.head),
            plural(count as u64, "question")
        );
        Self {
            text,
            run: Some(state.head.run.to_string()),
            about: Some(about(state)),
            asks: Some(asks.into_iter().take(ASKS_MAX).map(Question::from).collect()),
            asks_count: Some(count),
            ..Self::new("run_waits", at_ms, project)
        }
    }

    /// A run has left because only a limit keeps it from going on; `until_ms`: when that frees by itself.
    #[must_use]
    pub fn run_parked(state: &RunState, why: &str, until_ms: Option<u64>, at_ms: u64, project: &str) -> Self {
        let reason = short(why.lines().next().unwrap_or_default());
        let run = state.head.run.short();
        let text = format!("{} waits: {reason} (ollmcp resume {run})", run_text(&state.head));
        let about = About { state: "waiting", ..about(state) };
        Self {
            text,
            run: Some(state.head.run.to_string()),
            about: Some(about),
            asks: Some(Vec::new()),
            asks_count: Some(0),
            reason: Some(reason),
            until: until_ms.map(stamp),
            ..Self::new("run_waits", at_ms, project)
        }
    }

    /// The engine stopped in the middle of a run.
    #[must_use]
    pub fn run_stopped(run: &str, reason: &str, at_ms: u64, project: &str) -> Self {
        let reason = short(reason);
        let text = format!("run {run} stopped in the middle: {reason} (ollmcp resume {run})");
        Self { text, run: Some(run.to_owned()), reason: Some(reason), ..Self::new("run_stopped", at_ms, project) }
    }

    /// The day's cost has passed the amount at which it is said.
    #[must_use]
    pub fn budget_passed(run: &str, today: u64, warn_at: u64, at_ms: u64, project: &str) -> Self {
        Self {
            text: passed_text(today, warn_at),
            run: Some(run.to_owned()),
            usd_today: Some(usd(today)),
            warn_at_usd: Some(usd(warn_at)),
            ..Self::new("budget_passed", at_ms, project)
        }
    }

    /// The line that is sent, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a notice is plain data");
        line.push('\n');
        line
    }
}

/// The sentence about a day's cost, in millionths of a dollar.
#[must_use]
pub fn passed_text(today: u64, warn_at: u64) -> String {
    format!(
        "today's paid calls cost ${} and have passed the ${} of `budget.warn_at_usd` (ollmcp budget)",
        four_decimals(today),
        four_decimals(warn_at)
    )
}

fn run_text(head: &Head) -> String {
    let plan = format!("{}{}", short(&head.plan), if head.origin.fake { ", fake Claude" } else { "" });
    match &head.origin.name {
        Some(name) => format!("run {} `{}` ({plan})", head.run.short(), short(name)),
        None => format!("run {} ({plan})", head.run.short()),
    }
}

fn about(state: &RunState) -> About {
    let line = RunLine::new(&state.head, &state.steps, true);
    About {
        plan: short(&line.plan),
        name: line.name.as_deref().map(short),
        state: state_word(&state.head, true),
        seconds: line.last_ms.saturating_sub(line.started_ms) as f64 / 1000.0,
        done: line.done,
        not_done: line.not_done_count,
        // What a fake Claude would have cost is no money.
        usd: if state.head.origin.fake { 0.0 } else { usd(state.head.usage.cost_microdollars) },
    }
}

fn usd(microdollars: u64) -> f64 {
    microdollars as f64 / 1e6
}

fn short(text: &str) -> String {
    bounded(&clean(text), TEXT_CHARS_MAX)
}

fn stamp(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The page about notices.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for (field, events, holds) in FIELDS {
        let events: Vec<String> =
            events.split(", ").filter(|one| !one.is_empty()).map(|one| format!("`{one}`")).collect();
        let events = if events.is_empty() { "all".to_owned() } else { events.join(", ") };
        out.push_str(&format!("| `{field}` | {events} | {holds} |\n"));
    }
    out
}

const HEAD: &str = "\
# Notices

This page is written from the table in `src/report/notice.rs`; change that and run the tests with `UPDATE_DOCS=1`.

`notify` in the configuration names a command that is told when nobody is looking:

```json
{\"notify\": \"cat >> ~/ollmcp-notices.jsonl\"}
```

| event | when |
| --- | --- |
| `run_ended` | a run has ended, however |
| `run_waits` | a person is asked something (a call in doubt, a hold, a gate): at the first open question, later ones at most once a minute, and once more when the run ends with 4 over a question that was not told yet. And when it ends with 4 at a limit of paid calls |
| `run_stopped` | the engine stopped in the middle of a run, as on a full disk |
| `budget_passed` | the day's cost has passed `budget.warn_at_usd`: once a day |

- The command is a text for `/bin/sh -c`, or a list of words that is started as it is. It stands in the project folder.
- It gets one JSON object on one line on its standard input, and nothing else. It is started anew for each notice.
- Its environment holds `PATH`, `HOME` and other harmless variables only; `notify_env_passed` names more that it needs.
  `ANTHROPIC_API_KEY` and the keys of model servers are never among them.
- It has `limits.notify_timeout_s` (10 seconds), then it and all that came from it is ended. At most 4 run at once. The
  program waits for it at its end, no longer than that.
- It breaks nothing: a run never waits for it. That it failed is said once, with what it printed to standard error last.
- A run that a person ends with `answer` or `cancel` while no process is at work on it is told to nobody else.
- A project's file may set it only with a person's consent.

Readers ignore fields that they do not know; a field that changes its meaning raises `v`.

| field | of | holds |
| --- | --- | --- |
";
