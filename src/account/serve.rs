//! Who may call now: the asks of this process, in the order of all that wait, against what is on record.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::call::Ask;
use super::clock::Day;
use super::owner::Owner;
use super::rules::{
    self, CALL_MICRODOLLARS_MAX, DAY_MS, HOUR_MS, Limit, Moment, Reached, Sums, Verdict, call_that_must_leave, decide,
};
use crate::os::boot::Liveness;

/// An ask whose process cannot be seen from here, and was not heard of for so long, stands in nobody's way.
const WAITING_SILENT_MS_MAX: i64 = 10_000;

/// A reservation of a process that nobody can see counts as spent after so long.
const UNSEEN_OPEN_MS_MAX: i64 = HOUR_MS;

/// Longest text that is kept of a name.
pub(super) const NAME_CHARS_MAX: usize = 300;

/// When and who.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) now: Moment,
    pub(super) stamp: String,
    pub(super) day: Day,
    pub(super) owner: Owner,
}

/// What is done about one ask; memory follows after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The row of its reservation.
    Granted(i64),
    /// Its place in the line.
    Waits(i64),
    /// It is refused.
    Reached(Reached),
}

pub(super) fn amount(microdollars: u64) -> i64 {
    i64::try_from(microdollars.min(CALL_MICRODOLLARS_MAX)).expect("the bound is far below")
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What became of those who are not this process.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Reservations that now count as spent.
    pub(super) counted: u64,
    /// Owners whose asks stand in nobody's way: they are stopped, or nobody has heard of them for long.
    pub(super) silent: BTreeSet<String>,
}

/// Reservations and asks of processes that are gone: those count as spent, these are forgotten.
pub(super) async fn sweep(link: &mut SqliteConnection, here: &Here) -> Result<Swept, sqlx::Error> {
    let sql = "select owner, max(at) from (
            select owner, 0 as at from calls where state = 0 union all select owner, seen_ms from waiting
        ) group by owner";
    let held: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut *link).await?;
    let own = here.owner.text();
    let mut swept = Swept::default();
    for (owner, seen_ms) in held.into_iter().filter(|(owner, _)| *owner != own) {
        let is_silent = here.now.boot_ms - seen_ms >= WAITING_SILENT_MS_MAX;
        let before_ms = match here.owner.liveness_of(&owner) {
            Liveness::Alive => continue,
            Liveness::Stopped => {
                swept.silent.insert(owner);
                continue;
            }
            Liveness::Dead => i64::MAX,
            Liveness::Unknown => {
                swept.silent.extend(is_silent.then(|| owner.clone()));
                here.now.boot_ms - UNSEEN_OPEN_MS_MAX
            }
        };
        let lost = "update calls set state = 2, success = 0 where state = 0 and owner = ? and boot_ms < ?";
        swept.counted += sqlx::query(lost).bind(&owner).bind(before_ms).execute(&mut *link).await?.rows_affected();
        let gone = "delete from waiting where owner = ? and seen_ms < ?";
        sqlx::query(gone).bind(&owner).bind(before_ms).execute(&mut *link).await?;
    }
    Ok(swept)
}

/// What counts towards the limits of everybody: calls of the hour, money of the day.
pub(super) async fn settled(link: &mut SqliteConnection, here: &Here) -> Result<Sums, sqlx::Error> {
    let Moment { boot_ms, wall_ms } = here.now;
    let hour = "select count(*) from calls where boot_ms > ? and state <> 0";
    let hour_calls: i64 = sqlx::query_scalar(hour).bind(boot_ms - HOUR_MS).fetch_one(&mut *link).await?;
    // `Moment::is_within_day`, as one range of the index.
    let day = "select coalesce(sum(microdollars), 0) from calls
        where boot_ms >= min(?1, ?2 + 1) and state <> 0 and (boot_ms >= ?1 or (wall_ms >= ?3 and boot_ms > ?2))";
    let since_day_start_ms = boot_ms - (wall_ms - here.day.start_ms);
    let spent: i64 = sqlx::query_scalar(day)
        .bind(since_day_start_ms)
        .bind(boot_ms - DAY_MS)
        .bind(here.day.start_ms)
        .fetch_one(link)
        .await?;
    Ok(Sums { hour_calls: positive(hour_calls), day_microdollars: positive(spent), run_microdollars: 0 })
}

/// What a run has cost so far, what was folded included.
pub(super) async fn spent_by_run(link: &mut SqliteConnection, run: &str) -> Result<u64, sqlx::Error> {
    if run.is_empty() {
        return Ok(0);
    }
    let sql = "select coalesce((select sum(microdollars) from calls where run = ?1 and state <> 0), 0)
        + coalesce((select microdollars from runs where run = ?1), 0)";
    sqlx::query_scalar::<_, i64>(sql).bind(run).fetch_one(link).await.map(positive)
}

/// One that waits, as every process sees it.
type Place = (i64, String, String, i64);

/// What is held while the line is walked.
#[derive(Default)]
struct Held {
    all: Sums,
    runs: BTreeMap<String, u64>,
}

impl Held {
    fn add(&mut self, is_of_hour: bool, run: &str, microdollars: u64) {
        self.all.add(is_of_hour, false, microdollars);
        let of_run = self.runs.entry(run.to_owned()).or_default();
        *of_run = of_run.saturating_add(microdollars);
    }

    fn of(&self, run: &str) -> Sums {
        let run_microdollars = if run.is_empty() { 0 } else { self.runs.get(run).copied().unwrap_or_default() };
        Sums { run_microdollars, ..self.all }
    }
}

/// Walks the line once. `asks` are this process's, those with a place first and in its order; the answers come in the
/// same order.
pub(super) async fn serve(
    link: &mut SqliteConnection,
    here: &Here,
    asks: &[(&Ask, Option<i64>)],
    silent: &BTreeSet<String>,
    says_it_is_there: bool,
) -> Result<Vec<Served>, sqlx::Error> {
    if asks.is_empty() {
        return Ok(Vec::new());
    }
    let own = here.owner.text();
    if says_it_is_there {
        let sql = "update waiting set seen_ms = ? where owner = ?";
        sqlx::query(sql).bind(here.now.boot_ms).bind(&own).execute(&mut *link).await?;
    }
    let all = settled(link, here).await?;
    let mut held = Held::default();
    let open = "select run, boot_ms, reserved from calls where state = 0";
    let open: Vec<(String, i64, i64)> = sqlx::query_as(open).fetch_all(&mut *link).await?;
    for (run, boot_ms, reserved) in &open {
        let at = Moment { boot_ms: *boot_ms, wall_ms: 0 };
        held.add(at.is_within_hour(&here.now), run, positive(*reserved));
    }
    let line = "select id, owner, run, microdollars from waiting order by id";
    let line: Vec<Place> = sqlx::query_as(line).fetch_all(&mut *link).await?;
    let mut line = line.into_iter().peekable();
    let known: BTreeSet<i64> = asks.iter().filter_map(|(_, place)| *place).collect();
    let mut spent: BTreeMap<String, u64> = BTreeMap::new();
    let mut served = Vec::with_capacity(asks.len());
    for (ask, place) in asks {
        // Everybody who came before this one.
        while let Some((id, owner, run, microdollars)) = line.next_if(|(id, ..)| place.is_none_or(|own| *id < own)) {
            if !known.contains(&id) && !silent.contains(&owner) {
                held.add(true, &run, positive(microdollars));
            }
        }
        let run = ask.run_text();
        if !spent.contains_key(&run) {
            let sum = spent_by_run(link, &run).await?;
            spent.insert(run.clone(), sum);
        }
        let settled = Sums { run_microdollars: spent[&run], ..all };
        let microdollars = ask.microdollars.min(CALL_MICRODOLLARS_MAX);
        let answer = match decide(microdollars, &ask.limits, &settled, &held.of(&run)) {
            Verdict::Granted => {
                held.add(true, &run, microdollars);
                Served::Granted(insert(link, here, ask, 0).await?)
            }
            Verdict::Wait => {
                held.add(true, &run, microdollars);
                match place {
                    Some(place) => Served::Waits(*place),
                    None => Served::Waits(takes_place(link, here, &run, microdollars).await?),
                }
            }
            Verdict::Reached(limit) => Served::Reached(reached(link, here, ask, limit, &settled).await?),
        };
        if let (Some(place), Served::Granted(_) | Served::Reached(_)) = (place, &answer) {
            leaves(link, *place).await?;
        }
        served.push(answer);
    }
    Ok(served)
}

async fn takes_place(
    link: &mut SqliteConnection,
    here: &Here,
    run: &str,
    microdollars: u64,
) -> Result<i64, sqlx::Error> {
    let sql = "insert into waiting (owner, run, microdollars, seen_ms) values (?, ?, ?, ?)";
    let done = sqlx::query(sql)
        .bind(here.owner.text())
        .bind(run)
        .bind(amount(microdollars))
        .bind(here.now.boot_ms)
        .execute(link)
        .await?;
    Ok(done.last_insert_rowid())
}

/// Takes an ask out of the line.
pub(super) async fn leaves(link: &mut SqliteConnection, place: i64) -> Result<(), sqlx::Error> {
    sqlx::query("delete from waiting where id = ?").bind(place).execute(link).await.map(|_| ())
}

/// A row for an ask, in the given state.
pub(super) async fn insert(
    link: &mut SqliteConnection,
    here: &Here,
    ask: &Ask,
    state: i64,
) -> Result<i64, sqlx::Error> {
    let name = |text: &str| text.chars().take(NAME_CHARS_MAX).collect::<String>();
    let sql = "insert into calls (state, owner, run, task, project, model, agent, reason, boot_ms, wall_ms, stamp,
        reserved, microdollars) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let done = sqlx::query(sql)
        .bind(state)
        .bind(here.owner.text())
        .bind(ask.run_text())
        .bind(name(&ask.task))
        .bind(name(&ask.project))
        .bind(name(&ask.model))
        .bind(name(&ask.agent))
        .bind(ask.reason.word())
        .bind(here.now.boot_ms)
        .bind(here.now.wall_ms)
        .bind(&here.stamp)
        .bind(amount(ask.microdollars))
        .bind(amount(ask.microdollars))
        .execute(link)
        .await?;
    Ok(done.last_insert_rowid())
}

async fn reached(
    link: &mut SqliteConnection,
    here: &Here,
    ask: &Ask,
    limit: Limit,
    settled: &Sums,
) -> Result<Reached, sqlx::Error> {
    let asked = ask.microdollars.min(rules::CALL_MICRODOLLARS_MAX);
    let (used, max, asked, frees_in_ms) = match limit {
        Limit::CallsPerHour => {
            let max = ask.limits.calls_per_hour_max;
            let frees = hour_frees_in(link, here, settled.hour_calls, max).await?;
            (settled.hour_calls, max, 1, frees)
        }
        Limit::DayBudget => {
            let max = ask.limits.day_microdollars_max.unwrap_or_default();
            let frees = (asked <= max).then(|| positive(here.day.end_ms - here.now.wall_ms));
            (settled.day_microdollars, max, asked, frees)
        }
        Limit::RunBudget => {
            (settled.run_microdollars, ask.limits.run_microdollars_max.unwrap_or_default(), asked, None)
        }
    };
    let frees_at_ms = frees_in_ms.map(|wait| positive(here.now.wall_ms).saturating_add(wait));
    Ok(Reached { limit, used, max, asked, frees_in_ms, frees_at_ms })
}

/// After how long the window has room for one more.
pub(super) async fn hour_frees_in(
    link: &mut SqliteConnection,
    here: &Here,
    hour_calls: u64,
    calls_per_hour_max: u64,
) -> Result<Option<u64>, sqlx::Error> {
    let Some(nth) = call_that_must_leave(hour_calls, calls_per_hour_max) else { return Ok(None) };
    let sql = "select boot_ms from calls where boot_ms > ? and state <> 0 order by boot_ms limit 1 offset ?";
    let at: Option<i64> = sqlx::query_scalar(sql)
        .bind(here.now.boot_ms - HOUR_MS)
        .bind(i64::try_from(nth).unwrap_or(i64::MAX))
        .fetch_optional(link)
        .await?;
    Ok(at.map(|at| positive(at + HOUR_MS - here.now.boot_ms)))
}
