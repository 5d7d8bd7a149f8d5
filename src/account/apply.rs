//! How a reservation ends: settled, released, or of unknown outcome.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::call::{Ask, Settled, Spent};
use super::serve::{self, Here, amount};
use super::store::{DIRTY, set_meta};
use super::usage_file::Record;

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is known what it cost.
    Settled(Spent),
    /// It may have cost anything up to the reservation.
    Unknown,
    /// Nothing was bought.
    Released,
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A row as a record of the usage file.
pub(super) fn record_of(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let count = |name: &str| row.try_get::<i64, _>(name).map(|count| u64::try_from(count).unwrap_or(0));
    let classes = ["input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens"];
    let mut input_tokens: u64 = 0;
    for class in classes {
        input_tokens = input_tokens.saturating_add(count(class)?);
    }
    let cost_usd: Option<f64> = row.try_get("cost_usd")?;
    let microdollars: i64 = row.try_get("microdollars")?;
    Ok(Record {
        timestamp: row.try_get("stamp")?,
        task_type: row.try_get("agent")?,
        reason: row.try_get("reason")?,
        input_tokens,
        output_tokens: count("output_tokens")?,
        cost_estimate: cost_usd.unwrap_or(microdollars as f64 / 1e6),
        success: row.try_get::<i64, _>("success")? != 0,
    })
}

/// Ends one call. A row that is not there any more (the file was taken away) is made anew, so that what was paid is on
/// record; one that another process counted as lost is corrected.
pub(super) async fn end(
    link: &mut SqliteConnection,
    here: &Here,
    ask: &Ask,
    row: i64,
    end: &End,
) -> Result<Settled, sqlx::Error> {
    let found = sqlx::query("select * from calls where id = ?").bind(row).fetch_optional(&mut *link).await?;
    let state: Option<i64> = found.as_ref().map(|found| found.try_get("state")).transpose()?;
    match (end, state, found) {
        // Ended before: an end counts once.
        (_, Some(1 | 3), _) | (End::Unknown, Some(2), _) => return told(link, here, ask, 0).await,
        (_, Some(2), Some(found)) => {
            let old = record_of(&found)?;
            let sql = "insert or ignore into replaced (record, stamp) values (?, ?)";
            sqlx::query(sql).bind(old.key()).bind(&old.timestamp).execute(&mut *link).await?;
        }
        _ => {}
    }
    let mut cost = 0;
    match end {
        End::Released => {
            sqlx::query("delete from calls where id = ?").bind(row).execute(&mut *link).await?;
        }
        End::Unknown => {
            let row = if state.is_none() { serve::insert(link, here, ask, 0).await? } else { row };
            let sql = "update calls set state = 2, success = 0 where id = ?";
            sqlx::query(sql).bind(row).execute(&mut *link).await?;
            cost = ask.microdollars;
        }
        End::Settled(spent) => {
            let row = if state.is_none() { serve::insert(link, here, ask, 0).await? } else { row };
            settle(link, row, spent).await?;
            cost = spent.microdollars;
        }
    }
    if state == Some(2) || *end != End::Released {
        set_meta(link, DIRTY, "1").await?;
    }
    told(link, here, ask, cost).await
}

async fn settle(link: &mut SqliteConnection, row: i64, spent: &Spent) -> Result<(), sqlx::Error> {
    const REQUEST_CHARS_MAX: usize = 200;
    let request: String = spent.request_id.iter().flat_map(|id| id.chars()).take(REQUEST_CHARS_MAX).collect();
    let sql = "update calls set state = 1, microdollars = ?, input_tokens = ?, cache_write_5m_tokens = ?,
        cache_write_1h_tokens = ?, cache_read_tokens = ?, output_tokens = ?, success = ?, request = ? where id = ?";
    sqlx::query(sql)
        .bind(amount(spent.microdollars))
        .bind(tokens(spent.input_tokens))
        .bind(tokens(spent.cache_write_5m_tokens))
        .bind(tokens(spent.cache_write_1h_tokens))
        .bind(tokens(spent.cache_read_tokens))
        .bind(tokens(spent.output_tokens))
        .bind(i64::from(spent.is_answered))
        .bind(request)
        .bind(row)
        .execute(link)
        .await
        .map(|_| ())
}

/// Where the account stands after a call of `cost`.
async fn told(link: &mut SqliteConnection, here: &Here, ask: &Ask, cost: u64) -> Result<Settled, sqlx::Error> {
    let (calls, spent) = of_day(link, &here.day.name).await?;
    let before = spent.saturating_sub(cost);
    let passed = ask.limits.warn_at_microdollars.filter(|warn_at| before < *warn_at && *warn_at <= spent);
    let run_microdollars = serve::spent_by_run(link, &ask.run_text()).await?;
    Ok(Settled { today_calls: calls, today_microdollars: spent, run_microdollars, warns_at_microdollars: passed })
}

/// Calls and money on record for a local day.
pub(super) async fn of_day(link: &mut SqliteConnection, day: &str) -> Result<(u64, u64), sqlx::Error> {
    // A stamp of the day begins with its name; `T` sorts before `U`.
    let sql = "select count(*), coalesce(sum(microdollars), 0) from calls where stamp >= ?1 and stamp < ?1 || 'U'
        and state <> 0";
    let (calls, spent): (i64, i64) = sqlx::query_as(sql).bind(day).fetch_one(link).await?;
    Ok((u64::try_from(calls).unwrap_or(0), u64::try_from(spent).unwrap_or(0)))
}
