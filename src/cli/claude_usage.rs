//! `claude-usage`: what paid calls cost, by day, model, run or reason.

use jiff::civil::Date;

use super::args::{ClaudeUsageArgs, UsageBy};
use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::account::{AccountError, By, Group, Span};
use crate::app::money;
use crate::report::usage::{Days, UsageLine, UsageReport};

pub(super) fn claude_usage(context: &Context, args: &ClaudeUsageArgs) -> Result<Exit, CliError> {
    let (span, days) = span(args)?;
    let (by, word) = match args.by {
        UsageBy::Day => (By::Day, "day"),
        UsageBy::Model => (By::Model, "model"),
        UsageBy::Run => (By::Run, "run"),
        UsageBy::Reason => (By::Reason, "reason"),
    };
    let standing = context.standing(false)?;
    let groups = super::watch::runtime()?.block_on(async {
        let Some(account) = money::open_existing(&standing).await? else { return Ok(Vec::new()) };
        let groups = account.usage(span, by).await?;
        account.take_notices().iter().for_each(|text| output::note(text));
        Ok(groups)
    });
    let groups: Vec<Group> = groups.map_err(|error: AccountError| refused(&error))?;
    let line = |group: Group| UsageLine {
        name: group.name,
        calls: group.calls,
        failed: group.failed,
        input_tokens: group.input_tokens,
        cache_read_tokens: group.cache_read_tokens,
        output_tokens: group.output_tokens,
        microdollars: group.microdollars,
    };
    let report = UsageReport { days, by: word, lines: groups.into_iter().map(line).collect() };
    if context.is_json {
        output::json_with_version(report.json());
    } else {
        output::out(&report.text());
    }
    Ok(Exit::Complete)
}

/// The account cannot be used.
pub(super) fn refused(error: &AccountError) -> CliError {
    CliError::failed(error.to_string()).hint_opt(error.hint())
}

fn span(args: &ClaudeUsageArgs) -> Result<(Span, Days), CliError> {
    let date = |text: &str| {
        let hint = "a date is written as 2026-01-27; `--day` also takes `today` and `yesterday`";
        text.parse::<Date>().map_err(|_| CliError::usage(format!("`{text}` is no date")).hint(hint))
    };
    Ok(match (args.day.as_deref(), args.since.as_deref()) {
        (_, Some(since)) => (Span::Since(date(since)?), Days::Since(date(since)?.to_string())),
        (None | Some("today"), None) => (Span::Today, Days::Today),
        (Some("yesterday"), None) => {
            let today = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system()).date();
            let day = today.yesterday().unwrap_or(today);
            (Span::Day(day), Days::Day(day.to_string()))
        }
        (Some(day), None) => (Span::Day(date(day)?), Days::Day(date(day)?.to_string())),
    })
}
