//! The end report: what was done, what was shown, what was set aside, and what a person can look at next.
//!
//! Numbers come from outputs and records, never from a model's words.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::SHAPE_VERSION;
use super::detail::{NotDone, RunDetail, StepLine};
use super::escalation::{Escalation, FAKE_SAID};
use super::line::end_word;
use super::models::ModelWork;
use super::money::{Money, Paid};
use crate::domain::ids::{Digest, StepIndex};
use crate::domain::payload::Payload;
use crate::domain::plan::StepKind;
use crate::domain::run::{RunState, TaskPhase};

/// Data tables that are named with their rows.
const TABLES_NAMED_MAX: usize = 5;
/// Lines of one value; `--json` has it whole.
const VALUE_LINES_MAX: usize = 20;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndReport {
    /// [`SHAPE_VERSION`].
    pub v: u32,
    /// The run.
    pub run: String,
    /// Name of its plan.
    pub plan: String,
    /// How it ended, or `interrupted`, `waiting`.
    pub state: String,
    /// From its acceptance to its last event.
    pub seconds: f64,
    /// Its steps.
    pub steps: Vec<StepLine>,
    /// What became of the items, against the run before.
    pub items: Vec<ItemChanges>,
    /// What models did, by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelWork>,
    /// What models cost; `None`: none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// What was written, by database.
    pub written: Vec<WrittenTo>,
    /// Items that failed or were set aside.
    pub not_done: Vec<NotDone>,
    /// Outputs of `value` steps, which a plan makes to be read here.
    pub values: BTreeMap<String, Value>,
    /// Its paid calls were answered by the scripted Claude.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fake: bool,
    /// What was seen of an escalation that was only tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
}

/// Items of one step against the run before with the same plan and paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemChanges {
    /// The step.
    pub step: String,
    /// Stored outputs that were taken over.
    pub reused: usize,
    /// Items that the run before did not have.
    pub new: usize,
    /// Items that it had with another identity.
    pub changed: usize,
    /// Items that it had done and this one does not have: their rows stay.
    pub vanished: Vec<String>,
}

/// What was written to one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WrittenTo {
    /// Its address.
    pub database: String,
    /// Items whose rows stand there.
    pub items: u64,
    /// What an item is: `file` where a folder was listed, else `item`.
    pub noun: &'static str,
    /// Source tables with at least one row.
    pub tables_found: u64,
    /// Rows in data tables.
    pub rows: u64,
    /// Bad rows, in `_ollmcp_rejects`.
    pub rejected: u64,
    /// Data tables with their rows, the largest first.
    pub tables: Vec<(String, u64)>,
    /// Items in which no table was found.
    pub without_table: Vec<String>,
}

impl EndReport {
    /// Works the report out. `paid` is what the usage account knows of the run; `read` gives stored outputs; `before` is the run before with the same plan and paths.
    pub fn new(
        state: &RunState,
        state_word: &str,
        before: Option<&RunState>,
        paid: &Paid<'_>,
        read: &dyn Fn(&Payload) -> Option<Value>,
    ) -> Self {
        let detail = RunDetail::new(state, false);
        let models = super::models::work(state);
        Self {
            v: SHAPE_VERSION,
            run: state.head.run.to_string(),
            plan: state.plan.name().to_owned(),
            state: state.head.end.map_or_else(|| state_word.to_owned(), |end| end_word(end).to_owned()),
            seconds: state.head.last_ms.saturating_sub(state.head.started_ms) as f64 / 1000.0,
            steps: detail.steps,
            items: changes(state, before),
            money: Money::of(&models, paid),
            models,
            written: written(state, read),
            not_done: super::detail::not_done(state),
            values: values(state, read),
            fake: state.head.origin.fake,
            escalation: None,
        }
    }
}

/// Where each done item of a step stands, by key.
fn done_items(state: &RunState, step: StepIndex) -> BTreeMap<&str, Option<Digest>> {
    let done = state.tasks_of(step).filter(|(_, task)| matches!(task.phase, TaskPhase::Done { .. }));
    done.map(|(_, task)| (task.key.as_str(), task.identity)).collect()
}

fn changes(state: &RunState, before: Option<&RunState>) -> Vec<ItemChanges> {
    let mut all = Vec::new();
    for (at, step) in state.plan.steps().iter().enumerate() {
        if step.for_each.is_none() || matches!(step.kind, StepKind::Value { .. }) {
            continue;
        }
        let at = at as StepIndex;
        // Rows that went somewhere else before are new where they stand now.
        let writes = step.kind.writes_rows();
        let comparable = before.filter(|before| !writes || before.head.inputs == state.head.inputs);
        let earlier = comparable
            .and_then(|before| before.plan.index_of(&step.id).map(|at| done_items(before, at)))
            .unwrap_or_default();
        let known: BTreeSet<&str> = state.tasks_of(at).map(|(_, task)| task.key.as_str()).collect();
        let mut changes = ItemChanges {
            step: step.id.to_string(),
            reused: state.steps[at as usize].counts.reused as usize,
            new: 0,
            changed: 0,
            vanished: Vec::new(),
        };
        for (_, task) in state.tasks_of(at) {
            match (&task.phase, earlier.get(task.key.as_str())) {
                (TaskPhase::Done { reused: None, .. }, None) => changes.new += 1,
                (TaskPhase::Done { reused: None, .. }, Some(identity)) if *identity != task.identity => {
                    changes.changed += 1;
                }
                _ => {}
            }
        }
        if matches!(state.steps[at as usize].phase.word(), "done") {
            changes.vanished =
                earlier.keys().filter(|key| !known.contains(*key)).map(|key| (*key).to_owned()).collect();
        }
        all.push(changes);
    }
    all
}

fn written(state: &RunState, read: &dyn Fn(&Payload) -> Option<Value>) -> Vec<WrittenTo> {
    let lists_files = |kind: &StepKind| matches!(kind, StepKind::Tool { name, .. } if name == "fs.list");
    let noun = if state.plan.steps().iter().any(|step| lists_files(&step.kind)) { "file" } else { "item" };
    let mut by_database: BTreeMap<String, WrittenTo> = BTreeMap::new();
    let mut tables: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    // Two steps may save parts of the same file.
    let mut keys: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (id, task) in &state.tasks {
        let writes = state.step(id.step).kind.writes_rows();
        let (true, TaskPhase::Done { output, .. }) = (writes, &task.phase) else { continue };
        let Some(output) = read(output) else { continue };
        let number = |name: &str| output.get(name).and_then(Value::as_u64).unwrap_or(0);
        let Some(database) = output.get("database").and_then(Value::as_str) else { continue };
        let to = by_database.entry(database.to_owned()).or_default();
        to.database = database.to_owned();
        keys.entry(database.to_owned()).or_default().insert(&task.key);
        to.noun = noun;
        to.tables_found += number("tables_found");
        to.rows += number("rows");
        to.rejected += number("rejected");
        if number("tables_found") == 0 {
            to.without_table.push(task.key.clone());
        }
        for table in output.get("tables").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(name), Some(rows)) =
                (table.get("table").and_then(Value::as_str), table.get("rows").and_then(Value::as_u64))
            {
                *tables.entry(database.to_owned()).or_default().entry(name.to_owned()).or_default() += rows;
            }
        }
    }
    for (database, to) in &mut by_database {
        to.items = keys.get(database).map_or(0, |keys| keys.len() as u64);
        to.tables = tables.remove(database).unwrap_or_default().into_iter().collect();
        to.tables.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    }
    by_database.into_values().collect()
}

fn values(state: &RunState, read: &dyn Fn(&Payload) -> Option<Value>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (at, step) in state.plan.steps().iter().enumerate() {
        // A value that another step uses is on its way; one that nothing uses is made to be read.
        let is_last = state.plan.needed_by(at as StepIndex).next().is_none();
        if !matches!(step.kind, StepKind::Value { .. }) || step.for_each.is_some() || !is_last {
            continue;
        }
        if let Some((_, task)) = state.tasks_of(at as StepIndex).next()
            && let TaskPhase::Done { output, .. } = &task.phase
            && let Some(value) = read(output)
        {
            all.insert(step.id.to_string(), value);
        }
    }
    all
}

/// The report as text for people.
#[must_use]
pub fn text(report: &EndReport) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let short = &report.run[..18.min(report.run.len())];
    // Writing to a string cannot fail.
    let _ =
        writeln!(out, "{} {} in {}  (run {short})", report.plan, report.state, super::text::seconds(report.seconds));
    if report.fake {
        let _ = writeln!(out, "  {FAKE_SAID}");
    }
    out.push_str(&super::text::steps(&report.steps));
    for work in &report.models {
        let _ = writeln!(out, "  {}", work.text());
        if let Some(why) = &work.local_only {
            let _ = writeln!(out, "    local only, Claude was not to be asked: {why}");
        }
    }
    if let Some(money) = &report.money {
        money.text().lines().for_each(|line| {
            let _ = writeln!(out, "  {line}");
        });
    }
    let mut listed: Vec<String> = Vec::new();
    for changes in &report.items {
        let ItemChanges { step, reused, new, changed, vanished } = changes;
        if reused + changed > 0 || !vanished.is_empty() {
            let _ =
                writeln!(out, "  {step}: {reused} reused, {new} new, {changed} changed, {} vanished", vanished.len());
        }
        // The items of a step that follows another vanish with those of the other: told once.
        if listed == *vanished {
            continue;
        }
        for key in vanished.iter().take(super::detail::LISTED_MAX) {
            let _ = writeln!(out, "    vanished: {}", super::text::clean(key));
        }
        listed.clone_from(vanished);
    }
    for to in &report.written {
        let files = super::text::plural(to.items, to.noun);
        let tables = super::text::plural(to.tables_found, "table");
        let _ = writeln!(
            out,
            "{}: {files}, {tables}, {} in {}",
            super::text::clean(&to.database),
            super::text::plural(to.rows, "row"),
            super::text::plural(to.tables.len() as u64, "data table")
        );
        for (table, rows) in to.tables.iter().take(TABLES_NAMED_MAX) {
            let noun = if *rows == 1 { "row " } else { "rows" };
            let _ = writeln!(out, "  {:>8} {noun}  {}", super::text::thousands(*rows), super::text::clean(table));
        }
        if to.tables.len() > TABLES_NAMED_MAX {
            let _ = writeln!(
                out,
                "  and {}",
                super::text::plural((to.tables.len() - TABLES_NAMED_MAX) as u64, "more data table")
            );
        }
        if to.rejected > 0 {
            let _ = writeln!(out, "  {} in _ollmcp_rejects, with reasons", super::text::plural(to.rejected, "bad row"));
        }
        if !to.without_table.is_empty() {
            let _ =
                writeln!(out, "  no table found in {}:", super::text::plural(to.without_table.len() as u64, to.noun));
            for key in to.without_table.iter().take(super::detail::LISTED_MAX) {
                let _ = writeln!(out, "    {}", super::text::clean(key));
            }
        }
    }
    // A failed step without items has its reason beside its state.
    let with_items: Vec<NotDone> =
        report.not_done.iter().filter(|item| item.step != item.item || item.state != "failed").cloned().collect();
    let untold = with_items.len().saturating_sub(super::detail::LISTED_MAX);
    out.push_str(&super::text::not_done(&with_items[..with_items.len() - untold], untold));
    for (step, value) in &report.values {
        let lines = super::text::outline(value, VALUE_LINES_MAX);
        if value.is_object() || value.is_array() {
            let _ = writeln!(out, "{step}:");
            lines.iter().for_each(|line| {
                let _ = writeln!(out, "  {line}");
            });
        } else {
            let _ = writeln!(out, "{step}: {}", lines.concat());
        }
    }
    if let Some(escalation) = &report.escalation {
        out.push_str(&escalation.text());
    }
    let next = if report.written.is_empty() { "show" } else { "rows" };
    let _ = writeln!(out, "look at it: ollmcp {next} {short}");
    out
}
