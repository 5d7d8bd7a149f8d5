//! Progress while a run works: items done, failed, left, rate and time to go. Lines that change on a terminal, plain
//! lines elsewhere. Reporting never breaks work: what cannot be written is not written.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::detail::kind_text;
use super::text::{clean, plural, seconds, thousands};
use crate::domain::event::{Event, Stamped};
use crate::domain::ids::StepIndex;
use crate::domain::run::RunState;

/// Between two plain lines of one step.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
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
        self.steps.insert(step, Seen { bar, ended_before, opened: now, printed: now });
        self.moved(state, step);
    }

    fn moved(&mut self, state: &RunState, step: StepIndex) {
        let Some(seen) = self.steps.get_mut(&step) else { return };
        let wait = if seen.bar.is_some() { DRAW_EVERY } else { PLAIN_EVERY };
        if seen.printed.elapsed() < wait {
            return;
        }
        seen.printed = Instant::now();
        let text = step_text(state, step, seen.opened.elapsed(), seen.ended_before);
        match &seen.bar {
            Some(bar) => bar.set_message(text),
            None => self.line(&text),
        }
    }

    fn ended(&mut self, state: &RunState, step: StepIndex) {
        let opened = self.steps.remove(&step);
        let elapsed = opened.as_ref().map_or(Duration::ZERO, |seen| seen.opened.elapsed());
        let ended_before = opened.as_ref().map_or(0, |seen| seen.ended_before);
        if let Some(bar) = opened.and_then(|seen| seen.bar) {
            bar.finish_and_clear();
        }
        self.line(&step_text(state, step, elapsed, ended_before));
    }

    fn finish(&mut self) {
        for seen in std::mem::take(&mut self.steps).into_values() {
            if let Some(bar) = seen.bar {
                bar.finish_and_clear();
            }
        }
    }
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
