//! Times as in the key file, `2027-01-31T12:00:00Z`, and as seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use toml::value::{Date, Datetime, Offset, Time};

/// Seconds of a day.
pub const DAY: u64 = 24 * 60 * 60;

/// Days before each month of a common year.
const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

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
    let midnight = days(date)? * DAY;
    let Some(time) = moment.time else {
        return Some(midnight);
    };
    let seconds = time.second.unwrap_or(0);
    let within = u64::from(time.hour) * 3600 + u64::from(time.minute) * 60 + u64::from(seconds);
    let ahead = match moment.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    (midnight + within).checked_add_signed(-ahead)
}

/// Formats a time as in the key file.
pub fn text(seconds: u64) -> String {
    let (date, within) = (date(seconds / DAY), seconds % DAY);
    let number = |seconds: u64| u8::try_from(seconds).unwrap_or_default();
    let moment = Datetime {
        date: Some(date),
        time: Some(Time {
            hour: number(within / 3600),
            minute: number(within / 60 % 60),
            second: Some(number(within % 60)),
            nanosecond: None,
        }),
        offset: Some(Offset::Z),
    };
    moment.to_string()
}

/// Days from 1970 to a date.
fn days(date: Date) -> Option<u64> {
    let year = u64::from(date.year);
    let month = usize::from(date.month).checked_sub(1)?;
    let leap_day = u64::from(month >= 2 && is_leap(year));
    let day = u64::from(date.day).checked_sub(1)?;
    Some(before_year(year)? + BEFORE_MONTH.get(month)? + leap_day + day)
}

fn date(days: u64) -> Date {
    // Never too late a year: no year is longer than 366 days.
    let mut year = 1970 + days / 366;
    while before_year(year + 1).is_some_and(|before| before <= days) {
        year += 1;
    }
    let day = days - before_year(year).unwrap_or_default();
    let before = |month: usize| {
        let days = BEFORE_MONTH.get(month).copied().unwrap_or(u64::MAX);
        days.saturating_add(u64::from(month >= 2 && is_leap(year)))
    };
    let month = (0..12).rev().find(|month| before(*month) <= day);
    let month = month.unwrap_or_default();
    Date {
        year: u16::try_from(year).unwrap_or(u16::MAX),
        month: u8::try_from(month + 1).unwrap_or(1),
        day: u8::try_from(day - before(month) + 1).unwrap_or(1),
    }
}

/// Days from 1970 to the first day of a year.
fn before_year(year: u64) -> Option<u64> {
    let leap_years = |last: u64| last / 4 - last / 100 + last / 400;
    let years = year.checked_sub(1970)?;
    Some(years * 365 + leap_years(year - 1) - leap_years(1969))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
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
            ("1969-12-31T23:59:59Z", None),
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
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00Z");
    }
}
