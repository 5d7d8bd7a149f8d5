//! What is asked of the account without changing it: usage by day, model, run or reason, and what is left.

use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::apply::record_of;
use super::clock::Day;
use super::rules::{HOUR_MS, Moment};
use super::serve::{self, Here};
use super::usage_file::Record;

/// What usage is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Local calendar day.
    Day,
    /// Model as sent; empty for records of the prior program.
    Model,
    /// Run id; empty for calls outside of runs, records of the prior program, and what was folded.
    Run,
    /// Reason.
    Reason,
}

/// Which days are looked at, by the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Today.
    Today,
    /// One day.
    Day(Date),
    /// A day and all since.
    Since(Date),
}

/// Calls of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What they share.
    pub name: String,
    /// How many.
    pub calls: u64,
    /// How many of them brought no answer.
    pub failed: u64,
    /// Tokens in, of every cache class.
    pub input_tokens: u64,
    /// Of those, read from a cache.
    pub cache_read_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// What they cost.
    pub microdollars: u64,
}

/// A reservation that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// Run id; empty for none.
    pub run: String,
    /// The task.
    pub task: String,
    /// The project.
    pub project: String,
    /// Model as sent.
    pub model: String,
    /// What it may cost at most.
    pub microdollars: u64,
    /// For how long it has been open.
    pub open_ms: u64,
}

/// Where the account stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Calls of the last 60 minutes that count, without open ones.
    pub hour_calls: u64,
    /// When the oldest of them leaves the hour.
    pub hour_frees_in_ms: Option<u64>,
    /// What counts towards today's budget, without open ones.
    pub day_microdollars: u64,
    /// How long the local day still lasts.
    pub day_ends_in_ms: u64,
    /// Local date of today.
    pub day: String,
    /// Open reservations, the oldest first.
    pub open: Vec<OpenCall>,
    /// Asks that wait for them.
    pub waiting: u64,
    /// Runs that were looked for, or the last one that paid: id, calls, and what they cost.
    pub runs: Vec<(String, u64, u64)>,
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Bounds of a span as stamps: from one on, and before another.
fn stamps(span: Span, today: &Day) -> (String, String) {
    const END: &str = "9999-99-99";
    let today = today.name.parse::<Date>().unwrap_or(Date::ZERO);
    let (first, last) = match span {
        Span::Today => (today, Some(today)),
        Span::Day(day) => (day, Some(day)),
        Span::Since(day) => (day, None),
    };
    // `T` of a stamp sorts before `U`.
    (first.to_string(), last.map_or_else(|| END.to_owned(), |day| format!("{day}U")))
}

type Row = (String, i64, i64, i64, i64, i64, i64, String);

/// Usage of a span in groups, in the order of their first call.
pub(super) async fn usage(
    link: &mut SqliteConnection,
    here: &Here,
    span: Span,
    by: By,
) -> Result<Vec<Group>, sqlx::Error> {
    let (from, until) = stamps(span, &here.day);
    let (of_calls, of_days) = match by {
        By::Day => ("substr(stamp, 1, 10)", "day"),
        By::Model => ("model", "model"),
        By::Run => ("run", "''"),
        By::Reason => ("reason", "reason"),
    };
    let sql = format!(
        "select name, sum(calls), sum(failed), sum(input), sum(cached), sum(output), sum(cost), min(first) from (
            select {of_calls} as name, 1 as calls, success = 0 as failed, cache_read_tokens as cached,
                input_tokens + cache_write_5m_tokens + cache_write_1h_tokens + cache_read_tokens as input,
                output_tokens as output, microdollars as cost, stamp || printf('#%020d', id) as first
            from calls where state <> 0 and stamp >= ?1 and stamp < ?2
            union all
            select {of_days}, calls, failed, cache_read_tokens,
                input_tokens + cache_write_5m_tokens + cache_write_1h_tokens + cache_read_tokens,
                output_tokens, microdollars, first
            from days where day >= ?1 and day < ?2
        ) group by name"
    );
    let mut rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(from).bind(until).fetch_all(link).await?;
    rows.sort_by(|left, right| left.7.cmp(&right.7));
    let group = |(name, calls, failed, input, cached, output, cost, _): Row| Group {
        name,
        calls: positive(calls),
        failed: positive(failed),
        input_tokens: positive(input),
        cache_read_tokens: positive(cached),
        output_tokens: positive(output),
        microdollars: positive(cost),
    };
    Ok(rows.into_iter().map(group).collect())
}

/// Records of one run's calls, as they stand in the usage file, in its order.
pub(super) async fn records(link: &mut SqliteConnection, run: &str) -> Result<Vec<Record>, sqlx::Error> {
    let sql = "select stamp, agent, reason, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
        cache_read_tokens, output_tokens, microdollars, cost_usd, success
        from calls where state <> 0 and run = ? order by stamp, id";
    sqlx::query(sql).bind(run).fetch_all(link).await?.iter().map(record_of).collect()
}

/// What is used and open now; `run` is the beginning of a run's id.
pub(super) async fn standing(
    link: &mut SqliteConnection,
    here: &Here,
    run: Option<&str>,
) -> Result<Standing, sqlx::Error> {
    const OPEN_MAX: i64 = 1000;
    const RUNS_MAX: i64 = 20;
    let sums = serve::settled(link, here).await?;
    let Moment { boot_ms, wall_ms } = here.now;
    let oldest: Option<i64> = sqlx::query_scalar("select min(boot_ms) from calls where boot_ms > ? and state <> 0")
        .bind(boot_ms - HOUR_MS)
        .fetch_one(&mut *link)
        .await?;
    let open = "select run, task, project, model, reserved, boot_ms from calls where state = 0 order by id limit ?";
    let open: Vec<(String, String, String, String, i64, i64)> =
        sqlx::query_as(open).bind(OPEN_MAX).fetch_all(&mut *link).await?;
    let open = open.into_iter().map(|(run, task, project, model, reserved, since_ms)| OpenCall {
        run,
        task,
        project,
        model,
        microdollars: positive(reserved),
        open_ms: positive(boot_ms - since_ms),
    });
    let waiting: i64 = sqlx::query_scalar("select count(*) from waiting").fetch_one(&mut *link).await?;
    let mut standing = Standing {
        hour_calls: sums.hour_calls,
        hour_frees_in_ms: oldest.map(|at| positive(at + HOUR_MS - boot_ms)),
        day_microdollars: sums.day_microdollars,
        day_ends_in_ms: positive(here.day.end_ms - wall_ms),
        day: here.day.name.clone(),
        open: open.collect(),
        waiting: positive(waiting),
        runs: Vec::new(),
    };
    let sql = "select run, sum(calls), sum(cost) from (
            select run, 1 as calls, microdollars as cost, stamp as last from calls where state <> 0
            union all select run, calls, microdollars, day from runs
        ) where run <> '' and substr(run, 1, length(?1)) = ?1 group by run order by max(last) desc limit ?2";
    let shown_max = if run.is_some() { RUNS_MAX } else { 1 };
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(sql).bind(run.unwrap_or_default()).bind(shown_max).fetch_all(link).await?;
    standing.runs = rows.into_iter().map(|(run, calls, cost)| (run, positive(calls), positive(cost))).collect();
    Ok(standing)
}
