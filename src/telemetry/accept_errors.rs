//! Handling of a listener's accept errors.

use std::io;
use std::time::Duration;

use super::metrics::Metrics;
use crate::descriptors;

/// The first pause after a failed accept. It fails when file descriptors are used up, and would
/// then fail again immediately.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause: a descriptor that becomes free is used within a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The consecutive failed accepts of one listener.
#[derive(Debug, Default)]
pub struct Failures(u32);

impl Failures {
    /// Resets the count after a successful accept.
    pub fn forget(&mut self) {
        self.0 = 0;
    }

    /// Logs and counts a failed accept, and returns the pause before the next.
    pub fn add(&mut self, port: &'static str, error: &io::Error, metrics: &Metrics) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.0.min(8));
        self.0 = self.0.saturating_add(1);
        if descriptors::are_used_up(error) {
            metrics.accept_failed("file_descriptors");
            let advice = descriptors::ADVICE;
            tracing::error!(port, %error, "accept failed: out of file descriptors; {advice}");
        } else {
            metrics.accept_failed("other");
            tracing::warn!(port, %error, "accept failed");
        }
        pause.min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::prices::RateCard;

    #[test]
    fn the_reason_is_counted_and_the_pause_increases_to_a_second() {
        let metrics = Metrics::new(RateCard::default(), &[]).unwrap();
        let mut failures = Failures::default();
        let no_more = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..7)
            .map(|_| failures.add("server", &no_more, &metrics).as_millis())
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        failures.forget();
        let aborted = io::ErrorKind::ConnectionAborted.into();
        let pause = failures.add("server", &aborted, &metrics);
        assert_eq!(pause, FIRST_PAUSE);
        let text = metrics.text();
        for line in [
            r#"dashgate_accept_errors_total{reason="file_descriptors"} 7"#,
            r#"dashgate_accept_errors_total{reason="other"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
