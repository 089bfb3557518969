//! Wall-clock time that advances with tokio's clock, and pauses with it.

use std::time::{Duration, SystemTime};

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::Instant;

/// The last moment of the format, which has four digits for the year.
const LAST: OffsetDateTime = PrimitiveDateTime::MAX.assume_utc();

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
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(LAST);
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    let millis = time.subsec_millis();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Parses the format of [`iso`], or another time of RFC 3339. `None` before 1970.
pub(super) fn parse_iso(text: &str) -> Option<Duration> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Duration::try_from(moment - OffsetDateTime::UNIX_EPOCH).ok()
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
