//! Words and tables for people. Names from outside are cleaned: a terminal must not obey a file name.

use comfy_table::{ContentArrangement, Table, presets};

use super::detail::{AskLine, NotDone, RunDetail, StepLine};
use super::line::RunLine;

/// Control and direction characters made visible.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// As [`clean`], and lines stay lines.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// At most `chars_max` characters.
#[must_use]
pub fn bounded(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max).chain(" …".chars()).collect()
}

/// `1 row`, `2 rows`.
#[must_use]
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", thousands(count)) }
}

/// `1,974`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0.8 s`, `2 m 05 s`, `3 h 10 m`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole / 60 % 60),
    }
}

/// A moment for people: local to nobody, so that two machines print the same.
#[must_use]
pub fn moment(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A moment to wait for, by the local clock: `14:05`, on another day than today `2026-01-28 00:00`.
#[must_use]
pub fn clock(at_ms: u64) -> String {
    let zone = jiff::tz::TimeZone::system();
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let Some(at) = at.map(|at| at.to_zoned_datetime(zone.clone())) else { return "?".to_owned() };
    let is_today = at.date() == jiff::Timestamp::now().to_zoned_datetime(zone).date();
    at.strftime(if is_today { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    table
}

fn lines(table: &Table) -> String {
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Steps with their states and counts.
#[must_use]
pub fn steps(steps: &[StepLine]) -> String {
    let mut rows = table(&[]);
    for step in steps {
        let state =
            if step.unchecked && step.state == "done" { "done (unchecked)".to_owned() } else { step.state.clone() };
        rows.add_row([clean(&step.step), clean(&step.kind), state, step_counts(step)]);
    }
    let mut out = lines(&rows);
    for step in steps {
        if let Some(reason) = &step.reason {
            out.push_str(&format!("  {} {}: {}\n", clean(&step.step), step.state, clean(reason)));
        }
        if let Some(why) = &step.unasked {
            out.push_str(&format!("    Claude was not asked: {}\n", clean(why)));
        }
        if let Some(hint) = &step.hint {
            out.push_str(&format!("    hint: {}\n", clean(hint)));
        }
    }
    out
}

fn step_counts(step: &StepLine) -> String {
    let Some(items) = step.items else { return String::new() };
    let mut parts = vec![format!("{} of {} done", thousands(step.done.into()), thousands(items.into()))];
    let more = [
        (step.reused, "reused"),
        (step.running, if matches!(step.state.as_str(), "interrupted" | "held") { "cut off" } else { "running" }),
        (step.waiting, "waiting"),
        (step.failed, "failed"),
        (step.quarantined, "set aside"),
    ];
    parts.extend(
        more.iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{} {word}", thousands((*count).into()))),
    );
    let told = step.done + step.running + step.waiting + step.failed + step.quarantined;
    if matches!(step.state.as_str(), "done" | "failed" | "held") && told < items {
        parts.push(format!("{} not started", thousands((items - told).into())));
    }
    parts.join(", ")
}

/// Items that failed or were set aside, with reasons.
#[must_use]
pub fn not_done(items: &[NotDone], untold: usize) -> String {
    let mut out = String::new();
    let mut last = "";
    // What is the same for all is told once.
    let shared = items.first().and_then(|first| first.unasked.as_ref());
    let shared = shared.filter(|why| items.iter().all(|item| item.unasked.as_ref() == Some(why)));
    for item in items {
        let heading = if item.state == "quarantined" { "set aside" } else { "failed" };
        if heading != last {
            out.push_str(&format!("{heading}:\n"));
            last = heading;
        }
        // The reason of a tool often begins with the file, which stands here already.
        let named = format!("`{}`: ", item.item);
        let reason = item.reason.strip_prefix(&named).unwrap_or(&item.reason);
        let unasked = item.unasked.as_ref().filter(|_| shared.is_none());
        let unasked = unasked.map_or_else(String::new, |why| format!(" (Claude was not asked: {})", clean(why)));
        out.push_str(&format!("  {}: {}{unasked}\n", task_name(&item.step, &item.item), clean(reason)));
    }
    if untold > 0 {
        out.push_str(&format!("  and {} more\n", thousands(untold as u64)));
    }
    if let Some(why) = shared {
        out.push_str(&format!("  Claude was not asked: {}\n", clean(why)));
    }
    out
}

/// `extract[a.pdf]`; the step alone where it is its only task, or where the whole step is meant.
#[must_use]
pub fn task_name(step: &str, item: &str) -> String {
    if step == item || item.is_empty() { clean(step) } else { format!("{}[{}]", clean(step), clean(item)) }
}

/// The state of a task in a person's words.
#[must_use]
pub fn state_text(state: &str) -> &str {
    if state == "quarantined" { "set aside" } else { state }
}

/// A value as an outline of lines, each at most 160 characters and `lines_max` of them, for people.
#[must_use]
pub fn outline(value: &serde_json::Value, lines_max: usize) -> Vec<String> {
    let mut all = Vec::new();
    outlined(value, "", "", lines_max + 1, &mut all);
    if all.len() > lines_max {
        all.truncate(lines_max);
        all.push("…".to_owned());
    }
    all
}

/// `first` stands before the first line, `indent` before the others.
fn outlined(value: &serde_json::Value, first: &str, indent: &str, lines_max: usize, all: &mut Vec<String>) {
    use serde_json::Value;
    const LINE_CHARS_MAX: usize = 160;
    if all.len() >= lines_max {
        return;
    }
    let mut nested = |head: String, inner: &Value, deeper: &str| match inner {
        Value::Object(map) if !map.is_empty() => {
            all.push(head.trim_end().to_owned());
            outlined(inner, deeper, deeper, lines_max, all);
        }
        Value::Array(list) if !list.is_empty() => {
            all.push(head.trim_end().to_owned());
            outlined(inner, deeper, deeper, lines_max, all);
        }
        scalar => all.push(format!("{head}{}", clean(&bounded(&cell(scalar), LINE_CHARS_MAX)))),
    };
    match value {
        Value::Object(map) => {
            for (at, (name, inner)) in map.iter().enumerate() {
                let before = if at == 0 { first } else { indent };
                nested(format!("{before}{}: ", clean(name)), inner, &format!("{indent}  "));
            }
        }
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                let before = if at == 0 { first } else { indent };
                match inner {
                    Value::Object(_) | Value::Array(_) => {
                        outlined(inner, &format!("{before}- "), &format!("{indent}  "), lines_max, all);
                    }
                    scalar => all.push(format!("{before}- {}", clean(&bounded(&cell(scalar), LINE_CHARS_MAX)))),
                }
            }
        }
        scalar => all.push(format!("{first}{}", clean(&bounded(&cell(scalar), LINE_CHARS_MAX)))),
    }
}

/// The list of runs.
#[must_use]
pub fn runs(runs: &[RunLine]) -> String {
    let mut rows = table(&["RUN", "PLAN", "STATE", "STARTED", "DONE", "FAILED", ""]);
    for run in runs {
        let note = if run.open_asks > 0 {
            format!("{} for you: ollmcp inbox", plural(run.open_asks as u64, "question"))
        } else {
            String::new()
        };
        let name = run.name.as_ref().map_or_else(String::new, |name| format!(" ({})", clean(name)));
        rows.add_row([
            run.run[..18.min(run.run.len())].to_owned(),
            format!("{}{name}{}", clean(&run.plan), if run.fake { " (fake Claude)" } else { "" }),
            run.state.clone(),
            moment(run.started_ms),
            thousands(run.done),
            thousands(run.not_done_count),
            note,
        ]);
    }
    lines(&rows)
}

/// A plan with where it comes from: `pdf_tables (plans/pdf_tables.yaml)`, `pdf_tables (shipped)`.
#[must_use]
pub fn plan_text(name: &str, source: &str) -> String {
    let source =
        source.strip_prefix(name).and_then(|rest| rest.strip_prefix(" (")?.strip_suffix(')')).unwrap_or(source);
    format!("{} ({})", clean(name), clean(source))
}

/// A run in full; `resume` is the command that goes on with it.
#[must_use]
pub fn detail(detail: &RunDetail, resume: &str) -> String {
    let line = &detail.line;
    let mut out =
        format!("run {}\nplan {}\nstate {}\n", line.run, plan_text(&line.plan, &detail.plan_source), line.state);
    if line.fake {
        out.push_str(&format!("{}\n", super::escalation::FAKE_SAID));
    }
    out.push_str(&format!("started {}, last event {}", moment(line.started_ms), moment(line.last_ms)));
    if detail.resumed > 0 {
        out.push_str(&format!(", taken up again {}", plural(detail.resumed.into(), "time")));
    }
    out.push('\n');
    for (name, value) in &detail.inputs {
        out.push_str(&format!("input {name} = {}\n", clean(&bounded(&value.to_string(), 200))));
    }
    out.push_str(&steps(&detail.steps));
    for step in &detail.steps {
        for line in &step.evidence {
            out.push_str(&format!("  {} shown: {}\n", clean(&step.step), clean(line)));
        }
    }
    // A failed step without items has its reason beside its state.
    let with_items = detail.not_done.iter().filter(|item| item.step != item.item || item.state != "failed");
    out.push_str(&not_done(&with_items.cloned().collect::<Vec<_>>(), detail.not_done_untold));
    out.push_str(&asks(&detail.asks));
    if matches!(line.state.as_str(), "interrupted") {
        out.push_str(&format!("go on: {resume}\n"));
    }
    out
}

/// Open questions, each with the commands that answer it.
#[must_use]
pub fn asks(asks: &[AskLine]) -> String {
    let mut out = String::new();
    for ask in asks {
        out.push_str(&format!("question {}\n  {}: {}\n", ask.id, task_name(&ask.step, &ask.item), clean(&ask.what)));
        out.push_str(&format!("  ollmcp answer {} {}\n", ask.id, ask.answers.join("|")));
    }
    out
}

/// A value as a cell.
#[must_use]
pub fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows under their column names; long cells are cut.
#[must_use]
pub fn grid(columns: &[String], rows: &[Vec<serde_json::Value>]) -> String {
    const CELL_CHARS_MAX: usize = 40;
    let names: Vec<String> = columns.iter().map(|name| clean(&bounded(name, CELL_CHARS_MAX))).collect();
    let mut grid = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        grid.add_row(row.iter().map(|value| clean(&bounded(&cell(value), CELL_CHARS_MAX))));
    }
    lines(&grid)
}
