//! `claude_usage.json` and the account, kept the same: what the prior program wrote is taken over, what is ours is
//! written from the account, and a broken file is set aside.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use sqlx::SqliteConnection;

use super::apply::record_of;
use super::clock::moment_of;
use super::fold::FOLDED_UNTIL;
use super::rules::Moment;
use super::serve::Here;
use super::store::{DIRTY, meta, set_meta};
use super::usage_file::{self, FILE_BYTES_MAX, Parsed, Record};
use crate::os::files::{PRIVATE_FILE_MODE, read_text, write_atomically};

/// The prior program writes the file in place: a broken one is looked at again before it is believed.
const LOOKS_MAX: u32 = 5;
const LOOK_WAIT: Duration = Duration::from_millis(40);

/// Which state of the file the account knows.
const FILE_SEEN: &str = "usage_file_seen";
/// Whether records stand in the file that only it keeps.
const KEEPS_OLD: &str = "usage_file_keeps_old";

/// Size, time and identity of the file; empty when it is not there.
fn seen(path: &Path) -> String {
    let Ok(data) = fs::metadata(path) else { return String::new() };
    format!("{} {} {} {} {}", data.dev(), data.ino(), data.size(), data.mtime(), data.mtime_nsec())
}

async fn read(path: &Path) -> io::Result<Option<Parsed>> {
    let mut looks = 0;
    loop {
        looks += 1;
        let (parsed, is_empty) = match read_text(path, FILE_BYTES_MAX) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => (usage_file::parse(&text), text.trim().is_empty()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                (Parsed { records: Vec::new(), fault: Some(error.to_string()) }, false)
            }
            Err(error) => return Err(error),
        };
        if (parsed.fault.is_none() && !is_empty) || looks >= LOOKS_MAX {
            return Ok(Some(parsed));
        }
        tokio::time::sleep(LOOK_WAIT).await;
    }
}

/// All our records, in the order of the file.
async fn known(link: &mut SqliteConnection) -> Result<Vec<Record>, sqlx::Error> {
    let sql = "select stamp, agent, reason, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
        cache_read_tokens, output_tokens, microdollars, cost_usd, success
        from calls where state <> 0 order by stamp, id";
    sqlx::query(sql).fetch_all(link).await?.iter().map(record_of).collect()
}

/// Why the file could not be brought in.
#[derive(Debug)]
pub(super) enum MirrorError {
    File(io::Error),
    Store(sqlx::Error),
}

impl From<sqlx::Error> for MirrorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

/// Takes over what others wrote into the file since it was last looked at. Cheap when nobody did.
pub(super) async fn take_over(
    link: &mut SqliteConnection,
    here: &Here,
    zone: &TimeZone,
    path: &Path,
) -> Result<(), MirrorError> {
    let state = seen(path);
    if meta(link, FILE_SEEN).await?.is_some_and(|known| known == state) {
        return Ok(());
    }
    let (_, fault) = merge(link, here, zone, path).await?;
    // What is broken is set aside with the next write, and told then.
    if fault.is_some() {
        set_meta(link, DIRTY, "1").await?;
    }
    set_meta(link, FILE_SEEN, &state).await?;
    Ok(())
}

/// Takes over new records; gives those that only the file keeps, and why it is broken.
async fn merge(
    link: &mut SqliteConnection,
    here: &Here,
    zone: &TimeZone,
    path: &Path,
) -> Result<(Vec<Record>, Option<String>), MirrorError> {
    let Some(parsed) = read(path).await.map_err(MirrorError::File)? else {
        let any: Option<i64> =
            sqlx::query_scalar("select 1 from calls where state <> 0 limit 1").fetch_optional(&mut *link).await?;
        if any.is_some() {
            set_meta(link, DIRTY, "1").await?;
        }
        set_meta(link, KEEPS_OLD, "").await?;
        return Ok((Vec::new(), None));
    };
    let mut ours: HashMap<String, u64> = HashMap::new();
    for record in known(link).await? {
        *ours.entry(record.key()).or_default() += 1;
    }
    let mut missing: u64 = ours.values().sum();
    let replaced: Vec<String> = sqlx::query_scalar("select record from replaced").fetch_all(&mut *link).await?;
    let mut replaced: HashMap<String, u64> = replaced.into_iter().map(|record| (record, 1)).collect();
    let folded_until = meta(link, FOLDED_UNTIL).await?.unwrap_or_default();
    let mut old = Vec::new();
    for record in parsed.records {
        let key = record.key();
        let take = |counts: &mut HashMap<String, u64>| match counts.get_mut(&key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        };
        if take(&mut ours) {
            missing -= 1;
        } else if take(&mut replaced) {
            set_meta(link, DIRTY, "1").await?;
        } else if record.timestamp <= folded_until {
            // Perhaps one of ours that was folded: counted already, or too old to count.
            old.push(record);
        } else {
            insert_foreign(link, here, zone, &record).await?;
        }
    }
    if missing > 0 {
        set_meta(link, DIRTY, "1").await?;
    }
    set_meta(link, KEEPS_OLD, if old.is_empty() { "" } else { "1" }).await?;
    Ok((old, parsed.fault))
}

async fn insert_foreign(
    link: &mut SqliteConnection,
    here: &Here,
    zone: &TimeZone,
    record: &Record,
) -> Result<(), sqlx::Error> {
    let wall_ms = moment_of(&record.timestamp, zone).map_or(0, |us| us.div_euclid(1000));
    // Whoever wrote it, only the wall clock tells when.
    let at = Moment { boot_ms: 0, wall_ms }.anchored(&here.now);
    let microdollars = (record.cost_estimate * 1e6).round() as i64;
    let sql = "insert into calls (state, owner, run, task, project, model, agent, reason, boot_ms, wall_ms, stamp,
        reserved, microdollars, input_tokens, output_tokens, success, cost_usd)
        values (3, '', '', '', '', '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(&record.task_type)
        .bind(&record.reason)
        .bind(at.boot_ms)
        .bind(at.wall_ms)
        .bind(&record.timestamp)
        .bind(microdollars)
        .bind(microdollars)
        .bind(i64::try_from(record.input_tokens).unwrap_or(i64::MAX))
        .bind(i64::try_from(record.output_tokens).unwrap_or(i64::MAX))
        .bind(i64::from(record.success))
        .bind(record.cost_estimate)
        .execute(link)
        .await
        .map(|_| ())
}

/// Whether the file must be written.
pub(super) async fn is_behind(link: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    Ok(meta(link, DIRTY).await?.is_some_and(|value| value == "1"))
}

/// Writes the file from the account, inside a transaction, so that no two processes write at once. Says where a broken
/// one was put. A crash before the commit leaves a file in which everything is known.
pub(super) async fn write(
    link: &mut SqliteConnection,
    here: &Here,
    zone: &TimeZone,
    path: &Path,
) -> Result<Option<(PathBuf, String)>, MirrorError> {
    let is_known = meta(link, FILE_SEEN).await?.is_some_and(|known| known == seen(path));
    let keeps_old = meta(link, KEEPS_OLD).await?.is_some_and(|value| value == "1");
    // A broken file is seen, too: it is read again to find out.
    let is_ours = meta(link, "usage_file_written").await?.is_some_and(|written| written == seen(path));
    let (mut records, fault) =
        if is_known && is_ours && !keeps_old { (Vec::new(), None) } else { merge(link, here, zone, path).await? };
    records.extend(known(link).await?);
    records.sort_by(|left, right| left.timestamp.cmp(&right.timestamp));
    let text = usage_file::print(&records);
    let aside = fault.map(|why| set_aside(path).map(|aside| (aside, why))).transpose().map_err(MirrorError::File)?;
    write_atomically(path, text.as_bytes(), PRIVATE_FILE_MODE).map_err(MirrorError::File)?;
    let state = seen(path);
    set_meta(link, FILE_SEEN, &state).await?;
    set_meta(link, "usage_file_written", &state).await?;
    set_meta(link, DIRTY, "0").await?;
    Ok(aside)
}

/// Gives the file another name that is free.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    const NAMES_MAX: u32 = 10_000;
    for number in 1..=NAMES_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".broken-{number}"));
        let aside = PathBuf::from(name);
        // A link of the same file never goes over one that is there, as a rename would.
        match fs::hard_link(path, &aside) {
            Ok(()) => return fs::remove_file(path).map(|()| aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) if !aside.exists() => return fs::rename(path, &aside).map(|()| aside),
            Err(_) => {}
        }
    }
    Err(io::Error::other(format!("there are {NAMES_MAX} broken ones beside it")))
}
