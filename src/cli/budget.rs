//! `budget`: what is left this hour, today and of a run, what is open, and how to change it.

use super::args::BudgetArgs;
use super::claude_usage::refused;
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::account::{AccountError, Standing};
use crate::app::{money, place};
use crate::report::usage::{BudgetReport, OpenLine, RunCost};

pub(super) fn budget(context: &Context, args: &BudgetArgs) -> Result<Exit, CliError> {
    let standing = context.standing(false)?;
    let read = super::watch::runtime()?.block_on(report(&standing, args.run.as_deref()));
    let (report, notices) = read.map_err(|error: AccountError| refused(&error))?;
    notices.iter().for_each(|text| output::note(text));
    if let Some(run) = &args.run
        && report.runs.is_empty()
    {
        return Err(CliError::usage(format!("no run that paid for anything begins with `{run}`"))
            .hint("`ollmcp ls` lists the runs of this project, `ollmcp claude-usage --by run` what they cost"));
    }
    if context.is_json {
        output::json_with_version(report.json());
    } else {
        output::out(&report.text());
    }
    Ok(Exit::Complete)
}

/// Where the account stands against its limits, and what it has to tell. Where nothing was ever paid for, nothing is made.
pub(super) async fn report(
    standing: &place::Standing,
    run: Option<&str>,
) -> Result<(BudgetReport, Vec<String>), AccountError> {
    let account = money::open_existing(standing).await?;
    let (now, notices) = match &account {
        Some(account) => (account.standing(run).await?, account.take_notices()),
        None => (nothing(), Vec::new()),
    };
    let limits = money::limits(&standing.settings, None);
    let open = now.open.into_iter().map(|open| OpenLine {
        run: open.run,
        task: open.task,
        project: open.project,
        model: open.model,
        microdollars: open.microdollars,
        open_ms: open.open_ms,
    });
    let report = BudgetReport {
        hour_calls: now.hour_calls,
        hour_calls_max: limits.calls_per_hour_max,
        hour_frees_in_ms: now.hour_frees_in_ms,
        day: now.day,
        day_microdollars: now.day_microdollars,
        day_microdollars_max: limits.day_microdollars_max.unwrap_or_default(),
        day_ends_in_ms: now.day_ends_in_ms,
        warn_at_microdollars: limits.warn_at_microdollars,
        run_microdollars_max: limits.run_microdollars_max,
        runs: now.runs.into_iter().map(|(run, calls, microdollars)| RunCost { run, calls, microdollars }).collect(),
        open: open.collect(),
        waiting: now.waiting,
    };
    Ok((report, notices))
}

/// A day on which nothing was paid for.
fn nothing() -> Standing {
    let local = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system());
    let end = local.date().tomorrow().and_then(|next| next.to_zoned_datetime(jiff::tz::TimeZone::system()));
    let left_ms = end.map_or(0, |end| end.timestamp().as_millisecond() - local.timestamp().as_millisecond());
    let day_ends_in_ms = u64::try_from(left_ms).unwrap_or(0);
    Standing { day: local.date().to_string(), day_ends_in_ms, ..Standing::default() }
}
