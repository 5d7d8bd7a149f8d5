//! `models pull`: fetches a model, and says how far it is.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::words::bytes;
use crate::app::models::pull::{Progress, pull as fetch, wanted};
use crate::app::models::{servers, specs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::signals::Signals;
use crate::cli::watch::runtime;
use crate::model::ModelError;
use crate::report::text::{clean, seconds};

/// Between two plain lines about the same part.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Between two redraws.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How long what is in flight may take to end.
const RUNTIME_LIMIT: Duration = Duration::from_secs(1);

pub(super) fn pull(context: &Context, text: &str) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let specs = specs(&standing.settings, None);
    let (clients, notes) = servers(&specs, &standing.environment).map_err(|faults| super::no_client(&faults))?;
    notes.iter().for_each(|text| output::note(text));
    let runtime = runtime()?;
    let wanted = runtime
        .block_on(wanted(text, &specs, &clients))
        .map_err(|error| CliError::usage(error.to_string()).hint(error.hint()))?;
    let rung = wanted.rung();
    let server = clients.0[&wanted.server].clone();
    let screen = Screen::new(output::is_terminal());
    let result = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let progress = |told: &Progress| screen.show(told);
        let cut = |error: &ModelError, wait: Duration| {
            screen.line(&format!("{error}; again in {} s, from where it was", wait.as_secs()));
        };
        let fetched = tokio::select! {
            fetched = fetch(server.as_ref(), &wanted.model, &progress, &cut) => Some(fetched),
            _ = signals.next() => None,
        };
        let info = match &fetched {
            Some(Ok(())) => server.model(&wanted.model).await.ok(),
            _ => None,
        };
        Ok::<_, CliError>((fetched, info))
    });
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    screen.close();
    let again = context.command(&format!("models pull {rung}"));
    let (fetched, info) = result?;
    match fetched {
        None => {
            let message = format!("stopped; what has come stays at the server. It goes on with: {again}");
            output::err(&format!("{message}\n"));
            if context.is_json {
                output::json_with_version(serde_json::json!({ "rung": rung, "is_there": false, "stopped": true }));
            }
            Ok(Exit::Interrupted)
        }
        Some(Ok(())) => {
            let size = info.as_ref().map_or(0, |info| info.bytes);
            if context.is_json {
                output::json_with_version(serde_json::json!({ "rung": rung, "is_there": true, "model": info }));
            } else {
                let size = if size > 0 { format!("  {}", bytes(size)) } else { String::new() };
                output::out(&format!("{rung}{size}\n"));
            }
            output::err(&format!("next: {}\n", context.command(&format!("models probe {rung}"))));
            Ok(Exit::Complete)
        }
        Some(Err(error)) => Err(failed(&error, &wanted.server, &wanted.model, &again)),
    }
}

fn failed(error: &ModelError, server: &str, model: &str, again: &str) -> CliError {
    match error {
        ModelError::NoSuchModel { .. } => CliError::failed(format!(
            "`{server}` cannot fetch `{model}`: no model has this name"
        ))
        .hint(
            "names and tags are those of the server's library, as in `qwen3:8b`; what is there already: ollmcp models",
        ),
        ModelError::Unreachable { .. } => CliError::failed(format!("cannot fetch `{model}`: {error}"))
            .hint(format!("start the server, then: {again}")),
        ModelError::BrokenStream { .. } => CliError::failed(format!("cannot fetch `{model}`: {error}"))
            .hint(format!("what has come stays at the server; it goes on with: {again}")),
        _ => CliError::failed(format!("cannot fetch `{model}`: {error}")).hint(format!("again: {again}")),
    }
}

/// A line that changes on a terminal, plain lines elsewhere.
struct Screen {
    is_terminal: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    status: String,
    at: Option<Instant>,
    percent: Option<u64>,
    /// Characters of the line that stands on the terminal.
    chars: usize,
}

impl Screen {
    fn new(is_terminal: bool) -> Self {
        Self { is_terminal, shown: Mutex::default() }
    }

    fn show(&self, told: &Progress) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = shown.status != told.status;
        let every = if self.is_terminal { DRAW_EVERY } else { PLAIN_EVERY };
        let is_time = shown.at.is_none_or(|at| at.elapsed() >= every) && shown.percent != told.percent();
        if !is_new && !is_time {
            return;
        }
        shown.status.clone_from(&told.status);
        shown.at = Some(Instant::now());
        shown.percent = told.percent();
        let line = text(told);
        if self.is_terminal {
            let blanks = " ".repeat(shown.chars.saturating_sub(line.chars().count()));
            shown.chars = line.chars().count();
            output::err(&format!("\r{line}{blanks}"));
            let _ = std::io::stderr().flush();
        } else {
            output::err(&format!("{line}\n"));
        }
    }

    /// A line of its own.
    fn line(&self, text: &str) {
        self.close();
        output::err(&format!("{}\n", clean(text)));
    }

    fn close(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_terminal && shown.chars > 0 {
            output::err("\n");
        }
        *shown = Shown::default();
    }
}

fn text(told: &Progress) -> String {
    let mut parts = vec![clean(&told.status)];
    if let Some(percent) = told.percent() {
        parts.push(format!("{percent} %"));
        parts.push(format!("{} of {}", bytes(told.completed), bytes(told.total)));
    }
    if let Some(rate) = told.bytes_per_second {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is above zero")]
        let whole = rate as u64;
        parts.push(format!("{}/s", bytes(whole)));
        #[expect(clippy::cast_precision_loss, reason = "a guess for people")]
        let left = told.total.saturating_sub(told.completed) as f64 / rate.max(1.0);
        if told.total > told.completed {
            parts.push(format!("{} left", seconds(left)));
        }
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_stands_on_one_line() {
        let told = Progress {
            status: "pulling 2bada8a74506".to_owned(),
            completed: 2_600_000_000,
            total: 5_200_000_000,
            bytes_per_second: Some(26_000_000.0),
        };
        assert_eq!(text(&told), "pulling 2bada8a74506 · 50 % · 2.6 GB of 5.2 GB · 26 MB/s · 1 m 40 s left");
        let early = Progress { status: "pulling manifest".to_owned(), completed: 0, total: 0, bytes_per_second: None };
        assert_eq!(text(&early), "pulling manifest");
    }
}
