//! A plan for people: its DAG as a drawing where it fits, and one line for each step.

use std::fmt::Write as _;

use ascii_dag::{Direction, Graph, RenderOptions};

use crate::domain::ids::StepIndex;
use crate::domain::ladder::WhenLimited;
use crate::domain::plan::{ForEach, OnError, Part, Plan, RepeatClass, Step, StepKind, Tolerate};

use super::print::shown_share;
use super::walk::shown_ms;

/// Most steps that are drawn; more are listed by level.
const DRAWN_STEPS_MAX: usize = 60;

/// Most edges that are drawn.
const DRAWN_EDGES_MAX: usize = 120;

/// Most steps that are listed.
const LISTED_STEPS_MAX: usize = 200;

/// The plan as text of about `width` columns: inputs, the DAG, and what each step does.
#[must_use]
pub fn explain(plan: &Plan, width: usize) -> String {
    let mut out = String::new();
    head(plan, &mut out);
    match draw(plan, width) {
        Some(drawing) => {
            out.push_str(&drawing);
            out.push('\n');
            list_flat(plan, &mut out);
        }
        None => list_by_level(plan, &mut out),
    }
    out
}

fn head(plan: &Plan, out: &mut String) {
    let raw = plan.raw();
    let count = raw.steps.len();
    _ = writeln!(out, "{} · {count} {}", clean(&raw.name, 100), if count == 1 { "step" } else { "steps" });
    if !raw.description.is_empty() {
        _ = writeln!(out, "{}", clean(&raw.description, 300));
    }
    for input in &raw.inputs {
        let kind = serde_json::to_value(input.kind).ok();
        let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("any");
        let default = match &input.default {
            Some(value) => format!("default {}", clean(&super::expr::one_line(value, 60), 80)),
            None => "must be given".to_owned(),
        };
        _ = writeln!(out, "  input {}: {kind}, {default}", clean(&input.name, 60));
    }
    out.push('\n');
}

/// The DAG from left to right; `None` when it is too large or too wide.
fn draw(plan: &Plan, width: usize) -> Option<String> {
    let steps = plan.steps();
    let edges: Vec<(usize, usize)> = (0..steps.len().min(DRAWN_STEPS_MAX + 1))
        .flat_map(|at| plan.needs(at as StepIndex).map(move |(from, _)| (from as usize, at)))
        .collect();
    if steps.len() > DRAWN_STEPS_MAX || edges.len() > DRAWN_EDGES_MAX {
        return None;
    }
    let labels: Vec<String> = steps
        .iter()
        .map(|step| if step.for_each.is_some() { format!("{} ×", step.id) } else { step.id.to_string() })
        .collect();
    let mut graph = Graph::new();
    graph.set_direction(Direction::LeftRight);
    for (at, label) in labels.iter().enumerate() {
        graph.add_node(at + 1, label.as_str());
    }
    for (from, to) in edges {
        graph.add_edge(from + 1, to + 1, None);
    }
    let drawing = graph.compute_layout().render_string(&RenderOptions::plain());
    let lines: Vec<&str> = drawing.lines().map(str::trim_end).collect();
    let lines: Vec<&str> = lines.iter().copied().skip_while(|line| line.is_empty()).collect();
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    let fits = lines.iter().all(|line| line.chars().count() <= width);
    fits.then(|| lines[..end].iter().fold(String::new(), |text, line| text + line + "\n"))
}

fn list_flat(plan: &Plan, out: &mut String) {
    let wide = plan.steps().iter().map(|step| step.id.as_str().len()).max().unwrap_or(0).min(30);
    for at in plan.order() {
        _ = writeln!(out, "{:wide$}  {}", plan.step(*at).id.as_str(), describe(plan, *at));
    }
}

fn list_by_level(plan: &Plan, out: &mut String) {
    let levels = levels(plan);
    let mut listed = 0;
    for (number, steps) in levels.iter().enumerate() {
        if listed == LISTED_STEPS_MAX {
            break;
        }
        _ = writeln!(out, "level {} · {} of {} steps", number + 1, steps.len(), plan.steps().len());
        for at in steps.iter().take(LISTED_STEPS_MAX - listed) {
            _ = writeln!(out, "  {}  {}", plan.step(*at).id, describe(plan, *at));
        }
        listed += steps.len().min(LISTED_STEPS_MAX - listed);
    }
    let left = plan.steps().len() - listed;
    if left > 0 {
        _ = writeln!(out, "… and {left} more steps on {} levels", levels.len());
    }
}

/// Steps by the length of the longest way to them.
fn levels(plan: &Plan) -> Vec<Vec<StepIndex>> {
    let mut level = vec![0_usize; plan.steps().len()];
    let mut levels: Vec<Vec<StepIndex>> = Vec::new();
    for at in plan.order() {
        let own = plan.needs(*at).map(|(from, _)| level[from as usize] + 1).max().unwrap_or(0);
        level[*at as usize] = own;
        if levels.len() <= own {
            levels.resize_with(own + 1, Vec::new);
        }
        levels[own].push(*at);
    }
    levels
}

/// One line: what the step does, over what, how it fails, and what checks it.
fn describe(plan: &Plan, at: StepIndex) -> String {
    let step = plan.step(at);
    let mut parts = vec![match &step.kind {
        StepKind::Tool { name, .. } => format!("tool {}", clean(name, 60)),
        StepKind::Value { .. } => "value".to_owned(),
        StepKind::Agent { name, .. } => format!("agent {}", clean(name, 60)),
    }];
    match &step.for_each {
        Some(ForEach::Items(source)) => parts.push(format!("follows {source} item by item")),
        Some(ForEach::List(serde_json::Value::Array(list))) => parts.push(format!("for each of {} items", list.len())),
        Some(ForEach::List(list)) => {
            let text = list.as_str().map_or_else(|| list.to_string(), |text| super::expr::bare(text).to_owned());
            parts.push(format!("for each of {}", clean(&text, 60)));
        }
        Some(ForEach::Range(count)) => {
            let text = count.as_str().map_or_else(|| count.to_string(), |text| super::expr::bare(text).to_owned());
            parts.push(format!("for each number below {}", clean(&text, 60)));
        }
        None => {}
    }
    if let Some(condition) = &step.condition {
        parts.push(format!("if {}", clean(condition, 60)));
    }
    let needs: Vec<String> = plan
        .needs(at)
        .filter(|(_, part)| *part == Part::Whole)
        .map(|(from, _)| plan.step(from).id.to_string())
        .collect();
    if !needs.is_empty() {
        let more = if needs.len() > 6 { format!(" and {} more", needs.len() - 6) } else { String::new() };
        parts.push(format!("after {}{more}", needs.iter().take(6).cloned().collect::<Vec<_>>().join(", ")));
    }
    limits(step, &mut parts);
    if let Some(why) = plan.local_only(at).filter(|_| step.kind.asks_a_model()) {
        parts.push(format!("local only: {}", clean(&why, 80)));
    }
    parts.push(checks(step));
    parts.join(" · ")
}

fn limits(step: &Step, parts: &mut Vec<String>) {
    if step.for_each.is_some() {
        parts.push(format!("{} at once", step.max_parallel));
    }
    parts.push(format!("timeout {}", shown_ms(step.timeout_ms)));
    match (step.on_error, step.tolerate) {
        (OnError::Stop, _) => {}
        (OnError::Continue, _) => parts.push("on_error continue".to_owned()),
        (OnError::Quarantine, None) => parts.push("on_error quarantine".to_owned()),
        (OnError::Quarantine, Some(Tolerate::Count(count))) => {
            parts.push(format!("on_error quarantine, tolerate {count}"));
        }
        (OnError::Quarantine, Some(Tolerate::BasisPoints(points))) => {
            parts.push(format!("on_error quarantine, tolerate {}%", shown_share(points)));
        }
    }
    if step.critical == Some(true) {
        parts.push("critical".to_owned());
    }
    if let Some(kind) = step.task_kind {
        parts.push(format!("kind {kind}"));
    }
    match step.claude {
        Some(true) => parts.push("Claude first".to_owned()),
        Some(false) => parts.push("never Claude".to_owned()),
        None => {}
    }
    if let Some(word) = step.when_limited {
        let word = if word == WhenLimited::Park { "waits" } else { "fails" };
        parts.push(format!("at a limit of paid calls it {word}"));
    }
    if let Some(class) = step.repeat {
        let word = match class {
            RepeatClass::Read => "read",
            RepeatClass::Idempotent => "idempotent",
            RepeatClass::Unsafe => "unsafe",
        };
        parts.push(format!("repeat {word}"));
    }
    if let Some(reuse) = step.reuse {
        parts.push(if reuse { "reused across runs" } else { "never reused" }.to_owned());
    }
}

fn checks(step: &Step) -> String {
    let mut seen = Vec::new();
    if step.output_schema.is_some() {
        seen.push("schema".to_owned());
    }
    for (checks, what) in [(&step.done_when, "done_when"), (&step.all_done_when, "all_done_when")] {
        if !checks.is_empty() {
            seen.push(format!("{} {what}", checks.len()));
        }
    }
    if seen.is_empty() { "unchecked".to_owned() } else { format!("checked by {}", seen.join(", ")) }
}

/// Text from a plan on one line, without control characters, shortened.
fn clean(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == chars_max {
            out.push('…');
            break;
        }
        if c.is_control() || matches!(u32::from(c), 0x202A..=0x202E | 0x2066..=0x2069 | 0x200E | 0x200F) {
            out.push(' ');
        } else {
            out.push(c);
        }
    }
    out
}
