//! Whether and when a failed call is retried. tonic does not read service configs, so this
//! implements `clients/service-config.json`.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::{Code, Status};

use crate::error::{Error, Pushback, pushback};

pub(crate) const MAX_ATTEMPTS: u32 = 5;
pub(crate) const INITIAL_BACKOFF: Duration = Duration::from_millis(500);
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(10);
pub(crate) const BACKOFF_MULTIPLIER: u32 = 2;
/// Clients that failed at the same time must not retry at the same time: each delay is up to a
/// fifth shorter or longer, as in other gRPC libraries.
const JITTER: f64 = 0.2;

const THROTTLE_JITTER: f64 = 0.1;

/// The retry budget of a client, in thousandths, as gRPC's retry throttling: a server that fails
/// most calls gets no retries.
pub(crate) const MAX_TOKENS: u32 = 1_000_000;
const TOKENS_OF_A_FAULT: u32 = 1_000;
pub(crate) const TOKENS_OF_A_SUCCESS: u32 = MAX_TOKENS;

/// The retry budget that all calls of a client share.
#[derive(Clone, Debug)]
pub(crate) struct Credit(Arc<Mutex<u32>>);

impl Credit {
    pub(crate) fn full() -> Self {
        Self(Arc::new(Mutex::new(MAX_TOKENS)))
    }

    /// Records a successful call.
    pub(crate) fn earn(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens = (*tokens + TOKENS_OF_A_SUCCESS).min(MAX_TOKENS);
    }

    /// Records a failed call; returns whether the budget allows a retry.
    fn spend(&self) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens = tokens.saturating_sub(TOKENS_OF_A_FAULT);
        *tokens > MAX_TOKENS / 2
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    made: u32,
    backoff: Duration,
    was_refused: bool,
}

impl Attempts {
    pub(crate) fn first() -> Self {
        Self {
            made: 1,
            backoff: INITIAL_BACKOFF,
            was_refused: false,
        }
    }

    /// Returns the delay before the next attempt; `None` if there is none. Only for calls of whose
    /// answer nothing was received.
    pub(crate) fn next(&mut self, status: &Status, credit: &Credit) -> Option<Duration> {
        // The server did not process it, so it does not count as an attempt; only once, to bound
        // it.
        if !self.was_refused && is_refused(status) {
            self.was_refused = true;
            return Some(Duration::ZERO);
        }
        let pushback = pushback(status);
        if status.code() != Code::Unavailable {
            return None;
        }
        if !credit.spend() || pushback == Pushback::No || self.made >= MAX_ATTEMPTS {
            return None;
        }
        self.made += 1;
        if let Pushback::After(pause) = pushback {
            self.backoff = INITIAL_BACKOFF;
            return Some(pause);
        }
        let pause = self.backoff;
        self.backoff = (pause * BACKOFF_MULTIPLIER).min(MAX_BACKOFF);
        let spread = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        Some(pause.mul_f64(spread))
    }
}

/// Returns the delay before a call that was throttled is made again; `None` if it is not. The delay
/// is up to a tenth longer than asked, because those that are throttled are so at the same time.
pub(crate) fn throttle_delay(error: &Error, retries_left: &mut u32) -> Option<Duration> {
    if error.code() != Code::ResourceExhausted {
        return None;
    }
    let asked = error.retry_after()?;
    *retries_left = retries_left.checked_sub(1)?;
    Some(asked.mul_f64(1.0 + THROTTLE_JITTER * fastrand::f64()))
}

/// Returns whether HTTP/2 reports that the request was not processed: more streams were opened than
/// the connection allows before the server's SETTINGS frame arrived.
fn is_refused(status: &Status) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = status.source();
    while let Some(error) = cause {
        let reason = error
            .downcast_ref::<h2::Error>()
            .and_then(h2::Error::reason);
        if reason == Some(h2::Reason::REFUSED_STREAM) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(pushback: &str) -> Status {
        let mut status = Status::unavailable("");
        if !pushback.is_empty() {
            let pushback = pushback.parse().unwrap();
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", pushback);
        }
        status
    }

    #[test]
    fn pauses_double_and_end_after_the_last_attempt() {
        let (mut attempts, credit) = (Attempts::first(), Credit::full());
        for about in [0.5, 1.0, 2.0, 4.0] {
            let pause = attempts.next(&unavailable(""), &credit).unwrap();
            let ratio = pause.as_secs_f64() / about;
            assert!((0.79..1.21).contains(&ratio), "{pause:?}");
        }
        assert_eq!(attempts.next(&unavailable(""), &credit), None);
    }

    #[test]
    fn the_gateway_says_when_and_whether() {
        let credit = Credit::full();
        let next = |pushback| Attempts::first().next(&unavailable(pushback), &credit);
        assert_eq!(next("0"), Some(Duration::ZERO));
        assert_eq!(next("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(next("-1"), None);
        assert_eq!(next("soon"), None);
    }

    #[test]
    fn no_other_code_is_repeated() {
        let credit = Credit::full();
        for code in (0..17).map(Code::from_i32) {
            let again = Attempts::first().next(&Status::new(code, ""), &credit);
            assert_eq!(again.is_some(), code == Code::Unavailable, "{code:?}");
        }
    }

    #[test]
    fn throttling_is_retried_after_its_time_as_often_as_allowed() {
        let throttled = |code, pushback: &str| {
            let mut status = Status::new(code, "");
            let metadata = status.metadata_mut();
            metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            Error::of_call(status, "")
        };
        let busy = throttled(Code::ResourceExhausted, "1000");
        let mut left = 2;
        for _ in 0..2 {
            let delay = throttle_delay(&busy, &mut left).unwrap().as_millis();
            assert!((1000..=1100).contains(&delay), "{delay}");
        }
        assert_eq!(throttle_delay(&busy, &mut left), None);
        let mut left = 2;
        for other in [
            throttled(Code::ResourceExhausted, "-1"),
            throttled(Code::Unavailable, "1000"),
            Error::of_call(Status::resource_exhausted(""), ""),
        ] {
            assert_eq!(throttle_delay(&other, &mut left), None, "{other}");
        }
        assert_eq!(left, 2);
    }

    #[test]
    fn a_server_that_fails_everybody_is_left_alone() {
        let credit = Credit::full();
        let try_one = || Attempts::first().next(&unavailable("0"), &credit).is_some();
        let tried = (0..1000).filter(|_| try_one()).count();
        assert_eq!(tried, 499);
        // One success shows that it is well again.
        credit.earn();
        assert_eq!((0..1000).filter(|_| try_one()).count(), 499);
    }

    #[test]
    fn the_numbers_are_those_of_the_service_config() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../service-config.json");
        let text = std::fs::read_to_string(path).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let method = &config["methodConfig"][0];
        assert_eq!(
            method["name"],
            serde_json::json!([
                {"service": "dashgate.v1.ConversationService"},
                {"service": "dashgate.v1.ModelService"}
            ])
        );
        let seconds = |span: Duration| format!("{}s", span.as_secs_f64());
        assert_eq!(
            method["retryPolicy"],
            serde_json::json!({
                "maxAttempts": MAX_ATTEMPTS,
                "initialBackoff": seconds(INITIAL_BACKOFF),
                "maxBackoff": seconds(MAX_BACKOFF),
                "backoffMultiplier": BACKOFF_MULTIPLIER,
                "retryableStatusCodes": ["UNAVAILABLE"],
            })
        );
        let throttling = &config["retryThrottling"];
        let thousandths = |key: &str| throttling[key].as_f64().unwrap() * 1000.0;
        assert_eq!(thousandths("maxTokens"), f64::from(MAX_TOKENS));
        assert_eq!(thousandths("tokenRatio"), f64::from(TOKENS_OF_A_SUCCESS));
    }
}
