//! Bounded growth: records that no limit looks at any more become sums by day, and sums by run.

use sqlx::SqliteConnection;

use super::rules::{DAY_MS, DAY_MS_MAX, Moment};
use super::store::{DIRTY, meta, set_meta};

/// How long a call is kept by itself.
const KEPT_DAYS: i64 = 90;

/// Most calls that are kept by themselves; above it the oldest are folded, but none that a limit still looks at.
pub(super) const KEPT_CALLS_MAX: i64 = 20_000;

/// What is left when there were too many, so that not every call folds one.
const KEPT_CALLS_AFTER: i64 = KEPT_CALLS_MAX / 10 * 9;

/// Runs whose sums are kept.
const KEPT_RUNS_MAX: i64 = 20_000;

/// Days whose sums are kept: ten years.
const KEPT_SUM_DAYS: i64 = 3_653;

/// Corrected records of the usage file that are still known when they come back.
const KEPT_CORRECTIONS_MAX: i64 = 1_000;

/// The local stamp up to which our own records were folded.
pub(super) const FOLDED_UNTIL: &str = "folded_until";

/// Folds what is old; says how many records it took. Records of the prior program stay: the usage file keeps them.
pub(super) async fn fold(link: &mut SqliteConnection, now: Moment) -> Result<u64, sqlx::Error> {
    let old = "delete from replaced where record not in (select record from replaced order by stamp desc limit ?)";
    sqlx::query(old).bind(KEPT_CORRECTIONS_MAX).execute(&mut *link).await?;
    let kept: i64 =
        sqlx::query_scalar("select count(*) from calls where state in (1, 2)").fetch_one(&mut *link).await?;
    let mut before_ms = now.boot_ms - KEPT_DAYS * DAY_MS;
    if kept > KEPT_CALLS_MAX {
        let sql = "select boot_ms from calls where state in (1, 2) order by boot_ms desc limit 1 offset ?";
        let nth: Option<i64> = sqlx::query_scalar(sql).bind(KEPT_CALLS_AFTER).fetch_optional(&mut *link).await?;
        before_ms = before_ms.max(nth.unwrap_or(before_ms));
    }
    let before_ms = before_ms.min(now.boot_ms - DAY_MS_MAX);
    let sql = "select max(stamp) from calls where state in (1, 2) and boot_ms < ?";
    let until: Option<String> = sqlx::query_scalar(sql).bind(before_ms).fetch_one(&mut *link).await?;
    let Some(until) = until else { return Ok(0) };
    let days = "insert into days select substr(stamp, 1, 10), model, reason, project, min(stamp), count(*),
            sum(success = 0), sum(input_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
            sum(cache_read_tokens), sum(output_tokens), sum(microdollars)
        from calls where state in (1, 2) and boot_ms < ? group by 1, 2, 3, 4
        on conflict (day, model, reason, project) do update set first = min(first, excluded.first), calls = calls + excluded.calls,
            failed = failed + excluded.failed, input_tokens = input_tokens + excluded.input_tokens,
            cache_write_5m_tokens = cache_write_5m_tokens + excluded.cache_write_5m_tokens,
            cache_write_1h_tokens = cache_write_1h_tokens + excluded.cache_write_1h_tokens,
            cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            microdollars = microdollars + excluded.microdollars";
    sqlx::query(days).bind(before_ms).execute(&mut *link).await?;
    let runs = "insert into runs select run, max(substr(stamp, 1, 10)), count(*), sum(microdollars)
        from calls where state in (1, 2) and boot_ms < ? and run <> '' group by run
        on conflict (run) do update set day = max(day, excluded.day), calls = calls + excluded.calls,
            microdollars = microdollars + excluded.microdollars";
    sqlx::query(runs).bind(before_ms).execute(&mut *link).await?;
    let gone = "delete from calls where state in (1, 2) and boot_ms < ?";
    let folded = sqlx::query(gone).bind(before_ms).execute(&mut *link).await?.rows_affected();
    let last = meta(link, FOLDED_UNTIL).await?.unwrap_or_default();
    set_meta(link, FOLDED_UNTIL, &until.max(last)).await?;
    set_meta(link, DIRTY, "1").await?;
    let old = "delete from runs where run not in (select run from runs order by day desc, run desc limit ?)";
    sqlx::query(old).bind(KEPT_RUNS_MAX).execute(&mut *link).await?;
    let old = "delete from days where day not in (select distinct day from days order by day desc limit ?)";
    sqlx::query(old).bind(KEPT_SUM_DAYS).execute(&mut *link).await?;
    Ok(folded)
}
