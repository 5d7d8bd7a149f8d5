//! Progress while a run works: items done, failed, left, rate and time to go. Lines that change on a terminal, plain
//! lines elsewhere. Reporting never breaks work: what cannot be written is not written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::detail::kind_text;
use super::text::{clean, clock, plural, seconds, thousands};
use crate::domain::event::{Event, Stamped};
use crate::domain::ids::{ItemIndex, StepIndex};
use crate::domain::money::dollars;
use crate::domain::run::RunState;

/// Between two plain lines of one step.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Items that have ended before it is said when a batch will end.
const FORECAST_AFTER_ITEMS: u32 = 20;
/// Between two redraws.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A printer of progress.
#[derive(Debug)]
pub struct Progress {
    inner: Mutex<Inner>,
    started: Instant,
}

#[derive(Debug)]
struct Inner {
    bars: Option<MultiProgress>,
    steps: BTreeMap<StepIndex, Seen>,
}

#[derive(Debug)]
struct Seen {
    bar: Option<ProgressBar>,
    /// Tasks that had ended already when the step came into sight.
    ended_before: u32,
    opened: Instant,
    printed: Instant,
    /// Items that Claude has answered for.
    paid: BTreeSet<ItemIndex>,
    /// What their answers cost.
    microdollars: u64,
    has_forecast: bool,
}

impl Seen {
    /// ` · Claude 3, $0.0123`; nothing where nothing was paid.
    fn paid_text(&self) -> String {
        match self.paid.len() {
            0 => String::new(),
            count => format!(" · Claude {}, ${}", thousands(count as u64), dollars(self.microdollars)),
        }
    }
}

impl Progress {
    /// To standard error; `is_terminal`: with lines that change.
    #[must_use]
    pub fn new(is_terminal: bool) -> Self {
        let bars = is_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self { inner: Mutex::new(Inner { bars, steps: BTreeMap::new() }), started: Instant::now() }
    }

    /// Takes up durable events.
    pub fn take_up(&self, state: &RunState, events: &[Stamped]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for stamped in events {
            match &stamped.event {
                Event::StepOpened { step, .. } => inner.opened(state, *step, 0),
                Event::RunResumed { .. } => inner.resumed(state),
                Event::StepEnded { step, .. } => inner.ended(state, *step),
                Event::CallInDoubt { what, ask, .. } => {
                    inner.line(&format!("waits for you: {} (ollmcp answer {ask} …)", clean(what)))
                }
                Event::RunEnded { .. } => inner.finish(),
                Event::TurnTaken { task, usage, .. } if usage.cost_microdollars > 0 => {
                    inner.with(task.step, |seen| {
                        seen.paid.insert(task.item);
                        seen.microdollars += usage.cost_microdollars;
                    });
                    inner.moved(state, task.step);
                }
                other => {
                    if let Some(step) = other.step() {
                        inner.moved(state, step);
                    }
                }
            }
        }
    }

    /// Prints a line beside the moving ones.
    pub fn line(&self, text: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).line(text);
    }

    /// Takes the moving lines away.
    pub fn finish(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).finish();
    }

    /// Since it was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Inner {
    fn line(&self, text: &str) {
        let print = || {
            // A closed terminal does not end a run.
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Steps that an earlier process opened go on before everyone's eyes.
    fn resumed(&mut self, state: &RunState) {
        for (step, found) in state.steps.iter().enumerate() {
            if found.phase.word() == "running" {
                self.opened(state, step as StepIndex, found.counts.ended());
            }
        }
    }

    fn opened(&mut self, state: &RunState, step: StepIndex, ended_before: u32) {
        let definition = state.step(step);
        let now = Instant::now();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is constant and valid"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() && definition.for_each.is_some() {
            let items =
                state.list_len(step).map_or_else(String::new, |len| format!(", {}", plural(len.into(), "item")));
            let before = match ended_before {
                0 => String::new(),
                count => format!(", {} ended before", thousands(count.into())),
            };
            self.line(&format!("{}: {}{items}{before}", definition.id, clean(&kind_text(&definition.kind))));
        }
        let (paid, microdollars, has_forecast) = (BTreeSet::new(), 0, false);
        let seen = Seen { bar, ended_before, opened: now, printed: now, paid, microdollars, has_forecast };
        self.steps.insert(step, seen);
        self.moved(state, step);
    }

    fn with(&mut self, step: StepIndex, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.steps.get_mut(&step) {
            change(seen);
        }
    }

    /// Said once, when enough items have ended to go by.
    fn forecast(&mut self, state: &RunState, step: StepIndex) {
        let Some(seen) = self.steps.get_mut(&step).filter(|seen| !seen.has_forecast) else { return };
        let elapsed_ms = u64::try_from(seen.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Some(text) = forecast_text(state, step, elapsed_ms, seen.ended_before, seen.microdollars) else { return };
        seen.has_forecast = true;
        self.line(&text);
    }

    fn moved(&mut self, state: &RunState, step: StepIndex) {
        self.forecast(state, step);
        let Some(seen) = self.steps.get_mut(&step) else { return };
        let wait = if seen.bar.is_some() { DRAW_EVERY } else { PLAIN_EVERY };
        if seen.printed.elapsed() < wait {
            return;
        }
        seen.printed = Instant::now();
        let text = step_text(state, step, seen.opened.elapsed(), seen.ended_before) + &seen.paid_text();
        match &seen.bar {
            Some(bar) => bar.set_message(text),
            None => self.line(&text),
        }
    }

    fn ended(&mut self, state: &RunState, step: StepIndex) {
        let opened = self.steps.remove(&step);
        let elapsed = opened.as_ref().map_or(Duration::ZERO, |seen| seen.opened.elapsed());
        let ended_before = opened.as_ref().map_or(0, |seen| seen.ended_before);
        let paid = opened.as_ref().map_or_else(String::new, Seen::paid_text);
        if let Some(bar) = opened.and_then(|seen| seen.bar) {
            bar.finish_and_clear();
        }
        self.line(&(step_text(state, step, elapsed, ended_before) + &paid));
    }

    fn finish(&mut self) {
        for seen in std::mem::take(&mut self.steps).into_values() {
            if let Some(bar) = seen.bar {
                bar.finish_and_clear();
            }
        }
    }
}

/// After the first items of a batch that asks models: when it will end, and what it will cost at this rate.
#[must_use]
pub fn forecast_text(
    state: &RunState,
    step: StepIndex,
    elapsed_ms: u64,
    ended_before: u32,
    microdollars: u64,
) -> Option<String> {
    let definition = state.step(step);
    let counts = state.steps[step as usize].counts;
    let worked = counts.ended().saturating_sub(counts.reused).saturating_sub(ended_before);
    let left = state.list_len(step)?.saturating_sub(counts.ended());
    if !definition.kind.asks_a_model() || worked < FORECAST_AFTER_ITEMS || left == 0 {
        return None;
    }
    let share = f64::from(left) / f64::from(worked);
    let left_ms = (elapsed_ms as f64 * share) as u64;
    let more = (microdollars as f64 * share) as u64;
    let cost = match microdollars {
        0 => "it has cost nothing".to_owned(),
        spent => {
            format!("it will cost about ${} (${} so far)", dollars((spent + more).div_ceil(100) * 100), dollars(spent))
        }
    };
    let ends = clock(state.head.last_ms.saturating_add(left_ms));
    let left = seconds(left_ms as f64 / 1_000.0);
    Some(format!("{} after {worked} items: at this rate it ends about {ends} (in {left}), and {cost}", definition.id))
}

/// `extract 41/120 done · 1 set aside · 12.3/s · 6 s left`; the rate is that of the `elapsed` time, in which
/// `ended_before` tasks had ended already.
#[must_use]
pub fn step_text(state: &RunState, step: StepIndex, elapsed: Duration, ended_before: u32) -> String {
    let definition = state.step(step);
    let found = &state.steps[step as usize];
    let counts = found.counts;
    let mut text = definition.id.to_string();
    if found.phase.word() == "skipped" {
        text.push_str(" · skipped");
        return text;
    }
    if definition.for_each.is_some() {
        let of = state.list_len(step).map_or_else(|| "?".to_owned(), |len| thousands(len.into()));
        text.push_str(&format!(" {}/{of} done", thousands(counts.done.into())));
    }
    let words = [
        (counts.reused, "reused"),
        (counts.failed, "failed"),
        (counts.quarantined, "set aside"),
        (counts.waiting, "waiting for you"),
    ];
    let is_list = definition.for_each.is_some();
    for (count, word) in words.iter().filter(|(count, word)| *count > 0 && (is_list || *word == "waiting for you")) {
        text.push_str(&format!(" · {count} {word}"));
    }
    let worked = counts.ended().saturating_sub(counts.reused).saturating_sub(ended_before);
    let rate = f64::from(worked) / elapsed.as_secs_f64().max(0.001);
    match found.phase.word() {
        "running" => {
            let left = state.list_len(step).unwrap_or(0).saturating_sub(counts.ended());
            if worked > 0 && definition.for_each.is_some() {
                text.push_str(&format!(" · {rate:.1}/s · about {} left", seconds(f64::from(left) / rate)));
            }
            text.push_str(&format!(" · {} at work", counts.running));
        }
        word => text.push_str(&format!(" · {word} after {}", seconds(elapsed.as_secs_f64()))),
    }
    text
}
