//! How often, and after which delays, live sessions and streams are resumed.

use std::time::Duration;

use crate::error::Error;

/// Consecutive attempts without an event in between. Their delays add up to 6 seconds; the gateway
/// keeps a session for 30, and a stream for 15.
pub(crate) const RESUME_ATTEMPTS: u32 = 6;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Many lose their connection at the same time.
const JITTER: f64 = 0.25;

/// The delay before a session or a stream is resumed.
pub(crate) fn resume_delay(attempts: u32, error: &Error) -> Duration {
    let factor = 2_u32.saturating_pow(attempts);
    let spread = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
    let delay = (FIRST_DELAY * factor).min(LONGEST_DELAY).mul_f64(spread);
    let delay = delay.max(error.retry_after().unwrap_or_default());
    delay.min(LONGEST_DELAY)
}
