//! Times as in the key file, `2027-01-31T12:00:00Z`, and as seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use toml::value::{Datetime, Offset};

/// Seconds of a day.
pub const DAY: u64 = 24 * 60 * 60;

/// The last moment of the format, which has four digits for the year.
const LAST: OffsetDateTime = PrimitiveDateTime::MAX.assume_utc();

/// The current time in seconds since 1970. 0 for a clock that was never set.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Parses a TOML time. A date alone is its first second in UTC.
pub fn parse(text: &str) -> Option<u64> {
    seconds(&text.parse().ok()?)
}

/// Converts a TOML time. `None` without a date, without an offset, or before 1970.
pub(super) fn seconds(moment: &Datetime) -> Option<u64> {
    let date = moment.date?;
    let month = Month::try_from(date.month).ok()?;
    let date = Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    let (time, offset) = match moment.time {
        None => (Time::MIDNIGHT, UtcOffset::UTC),
        Some(time) => {
            // TOML allows leap seconds, which have no number since 1970.
            let second = time.second.unwrap_or(0).min(59);
            let time = Time::from_hms(time.hour, time.minute, second).ok()?;
            (time, offset(moment.offset?)?)
        }
    };
    let moment = PrimitiveDateTime::new(date, time).assume_offset(offset);
    u64::try_from(moment.unix_timestamp()).ok()
}

fn offset(offset: Offset) -> Option<UtcOffset> {
    match offset {
        Offset::Z => Some(UtcOffset::UTC),
        Offset::Custom { minutes } => UtcOffset::from_whole_seconds(i32::from(minutes) * 60).ok(),
    }
}

/// Formats a time as in the key file.
pub fn text(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(LAST);
    let (hour, minute, second) = moment.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", moment.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_with_their_offset() {
        for (written, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-02", Some(86_400)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2026-11-22T20:53:53Z", Some(1_795_380_833)),
            ("2026-11-22T21:53:53+01:00", Some(1_795_380_833)),
            ("2026-11-22T20:53:53.9Z", Some(1_795_380_833)),
            ("2026-11-22T20:53:53", None),
            ("20:53:53", None),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("9999-12-31T23:59:59-23:59", Some(253_402_387_139)),
            ("1969-12-31T23:59:59Z", None),
            ("2027-02-29T00:00:00Z", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("soon", None),
        ] {
            assert_eq!(parse(written), expected, "{written}");
        }
    }

    #[test]
    fn every_day_of_five_centuries_formats_and_parses() {
        for day in 0..183_000 {
            let written = text(day * DAY + 86_399);
            assert!(written.ends_with("T23:59:59Z"), "{written}");
            assert_eq!(parse(&written), Some(day * DAY + 86_399), "{written}");
        }
        for late in [253_402_300_799, 253_402_300_800, u64::MAX] {
            assert_eq!(text(late), "9999-12-31T23:59:59Z");
        }
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00Z");
    }
}
