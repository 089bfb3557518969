//! Wall-clock time that advances with tokio's clock, and pauses with it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The wall-clock time at creation, advanced by tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    epoch: Duration,
}

impl Clock {
    /// Starts at the present time.
    pub(super) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            began: Instant::now(),
            epoch: epoch.unwrap_or_default(),
        }
    }

    /// The time since 1970.
    pub(super) fn now(&self) -> Duration {
        self.epoch + self.began.elapsed()
    }
}

/// Formats a time since 1970 as in OSS policies: `2025-07-12T12:10:24.488Z`.
pub(super) fn iso(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = time.subsec_millis();
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Parses the format of [`iso`]. `None` for any other.
pub(super) fn parse_iso(text: &str) -> Option<Duration> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, millis) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let millis: u64 = millis.parse().ok().filter(|millis| *millis < 1000)?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    fits.then(|| Duration::from_secs(seconds) + Duration::from_millis(millis))
}

/// Days from 1970 to a date, by Howard Hinnant's algorithm, in which years start in March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_formatted_as_in_policies() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_752_322_224_488, "2025-07-12T12:10:24.488Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(iso(time), text);
            assert_eq!(parse_iso(text), Some(time));
        }
        for text in [
            "",
            "2025-07-12",
            "2025-13-12T12:10:24Z",
            "2025-07-12T12:61:24Z",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_formatted_time_parses_to_the_same_time(millis in 0u64..253_000_000_000_000) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_iso(&iso(time)), Some(time));
        }

        #[test]
        fn arbitrary_text_is_parsed_or_refused(text in "[0-9TZ:.-]{0,30}") {
            let _ = parse_iso(&text);
        }
    }
}
