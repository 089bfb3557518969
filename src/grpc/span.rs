//! Spans of time that a caller sends.

use std::time::Duration;

/// A span that is not negative. `TryFrom` of the type overflows with the smallest number of
/// seconds.
pub(super) fn span(from: prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(from.seconds).ok()?;
    let nanos = u32::try_from(from.nanos).ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_any_numbers_are_valid_or_refused() {
        let largest = Duration::new(i64::MAX.unsigned_abs(), 999_999_999);
        for (seconds, nanos, expected) in [
            (0, 0, Some(Duration::ZERO)),
            (1, 5, Some(Duration::new(1, 5))),
            (i64::MAX, 999_999_999, Some(largest)),
            (1, 1_000_000_000, None),
            (1, i32::MAX, None),
            (1, -1, None),
            (1, i32::MIN, None),
            (-1, 0, None),
            (i64::MIN, 0, None),
            (i64::MIN, i32::MIN, None),
        ] {
            assert_eq!(span(prost_types::Duration { seconds, nanos }), expected);
        }
    }
}
