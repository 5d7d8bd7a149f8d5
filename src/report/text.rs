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
        (step.running, "running"),
        (step.waiting, "waiting"),
        (step.failed, "failed"),
        (step.quarantined, "set aside"),
    ];
    parts.extend(more.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    parts.join(", ")
}

/// Items that failed or were set aside, with reasons.
#[must_use]
pub fn not_done(items: &[NotDone], untold: usize) -> String {
    let mut out = String::new();
    let mut last = "";
    for item in items {
        let heading = if item.state == "quarantined" { "set aside" } else { "failed" };
        if heading != last {
            out.push_str(&format!("{heading}:\n"));
            last = heading;
        }
        out.push_str(&format!("  {}[{}]: {}\n", clean(&item.step), clean(&item.item), clean(&item.reason)));
    }
    if untold > 0 {
        out.push_str(&format!("  and {untold} more\n"));
    }
    out
}

/// The list of runs.
#[must_use]
pub fn runs(runs: &[RunLine]) -> String {
    let mut rows = table(&["RUN", "PLAN", "STATE", "STARTED", "DONE", "NOT DONE", ""]);
    for run in runs {
        let note = if run.open_asks > 0 {
            format!("{} for you: ollmcp inbox", plural(run.open_asks as u64, "question"))
        } else {
            String::new()
        };
        let name = run.name.as_ref().map_or_else(String::new, |name| format!(" ({})", clean(name)));
        rows.add_row([
            run.run[..18.min(run.run.len())].to_owned(),
            format!("{}{name}", clean(&run.plan)),
            run.state.clone(),
            moment(run.started_ms),
            thousands(run.done),
            thousands(run.not_done_count),
            note,
        ]);
    }
    lines(&rows)
}

/// A run in full.
#[must_use]
pub fn detail(detail: &RunDetail) -> String {
    let line = &detail.line;
    let mut out = format!(
        "run {}\nplan {} ({})\nstate {}\n",
        line.run,
        clean(&line.plan),
        clean(&detail.plan_source),
        line.state
    );
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
    out.push_str(&not_done(&detail.not_done, detail.not_done_untold));
    out.push_str(&asks(&detail.asks));
    if matches!(line.state.as_str(), "interrupted") {
        out.push_str(&format!("go on: ollmcp resume {}\n", &line.run[..18.min(line.run.len())]));
    }
    out
}

/// Open questions, each with the commands that answer it.
#[must_use]
pub fn asks(asks: &[AskLine]) -> String {
    let mut out = String::new();
    for ask in asks {
        out.push_str(&format!(
            "question {}\n  {}[{}]: {}\n",
            ask.id,
            clean(&ask.step),
            clean(&ask.item),
            clean(&ask.what)
        ));
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
