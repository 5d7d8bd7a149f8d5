//! Both clocks of the system behind a port, and the local calendar over them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::rules::{DAY_MS, Moment};
use crate::os::boot;

/// One look at the clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which boot this is.
    pub boot_id: String,
    /// Since that boot, in milliseconds, sleep included.
    pub boot_ms: i64,
    /// Since the Unix epoch, in microseconds.
    pub wall_us: i64,
}

impl Reading {
    /// As the rules take it.
    #[must_use]
    pub const fn moment(&self) -> Moment {
        Moment { boot_ms: self.boot_ms, wall_ms: self.wall_us.div_euclid(1000) }
    }
}

/// Where time comes from.
pub trait Clock: Send + 'static {
    /// Looks at the clocks.
    fn read(&self) -> Reading;
}

/// The system's clocks.
#[derive(Clone, Debug)]
pub struct SystemClock {
    boot_id: String,
}

impl SystemClock {
    /// Notes the present boot.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { boot_id: boot::boot_id()? })
    }
}

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        let wall_us = Timestamp::now().as_microsecond();
        Reading { boot_id: self.boot_id.clone(), boot_ms: boot::boot_ms(), wall_us }
    }
}

/// A local calendar day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day {
    /// As `2026-01-27`.
    pub(super) name: String,
    /// Its first moment, in milliseconds since the Unix epoch.
    pub(super) start_ms: i64,
    /// The first moment of the next one.
    pub(super) end_ms: i64,
}

/// The day of a moment where the person is.
pub(super) fn day_of(wall_us: i64, zone: &TimeZone) -> Day {
    let whole = || {
        let start_ms = wall_us.div_euclid(1000) - wall_us.div_euclid(1000).rem_euclid(DAY_MS);
        Day { name: "?".to_owned(), start_ms, end_ms: start_ms + DAY_MS }
    };
    let Ok(at) = Timestamp::from_microsecond(wall_us) else { return whole() };
    let local = at.to_zoned_datetime(zone.clone());
    let start = local.start_of_day();
    let next = local.date().checked_add(1.day()).and_then(|next| next.to_zoned_datetime(zone.clone()));
    let (Ok(start), Ok(next)) = (start, next) else { return whole() };
    Day {
        name: local.date().to_string(),
        start_ms: start.timestamp().as_millisecond(),
        end_ms: next.timestamp().as_millisecond(),
    }
}

/// Local time without a zone, in microseconds; the fraction is missing when it is 0, as the prior program wrote it.
pub(super) fn stamp_of(wall_us: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_microsecond(wall_us).unwrap_or_default();
    let local = at.to_zoned_datetime(zone.clone()).datetime();
    let whole = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match wall_us.rem_euclid(1_000_000) {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

/// The moment of a stamp. An hour that came twice is taken for its second time: that counts longer.
pub(super) fn moment_of(stamp: &str, zone: &TimeZone) -> Option<i64> {
    let local: DateTime = stamp.parse().ok()?;
    Some(zone.to_ambiguous_zoned_datetime(local).later().ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_stamp_is_local_and_has_its_fraction_only_when_there_is_one() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        assert_eq!(stamp_of(at("2026-01-27T03:30:15.123456Z"), &berlin()), "2026-01-27T04:30:15.123456");
        assert_eq!(stamp_of(at("2026-01-27T03:30:15Z"), &berlin()), "2026-01-27T04:30:15");
        assert_eq!(stamp_of(at("2026-07-27T03:30:15.000001Z"), &berlin()), "2026-07-27T05:30:15.000001");
        assert_eq!(moment_of("2026-01-27T04:30:15.5", &berlin()), Some(at("2026-01-27T03:30:15.5Z")));
        assert_eq!(moment_of("2026-01-27", &berlin()), Some(at("2026-01-26T23:00:00Z")));
        assert_eq!(moment_of("yesterday", &berlin()), None);
    }

    #[test]
    fn days_are_as_long_as_they_are_and_the_doubled_hour_counts_longer() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        let autumn = day_of(at("2026-10-25T12:00:00Z"), &berlin());
        assert_eq!((autumn.name.as_str(), autumn.end_ms - autumn.start_ms), ("2026-10-25", DAY_MS + 3_600_000));
        let spring = day_of(at("2026-03-28T23:00:00Z"), &berlin());
        assert_eq!((spring.name.as_str(), spring.end_ms - spring.start_ms), ("2026-03-29", DAY_MS - 3_600_000));
        assert_eq!(moment_of("2026-10-25T02:30:00", &berlin()), Some(at("2026-10-25T01:30:00Z")));
    }
}
