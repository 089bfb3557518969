//! The settings of the deadlines of calls.

use super::setting::Kind::Duration;
use super::setting::settings;

settings! {
    "timeouts.unary" [Duration("1ms", "1h")] = "120s",
        "DASHGATE_TIMEOUTS_UNARY":
        "The deadline of a Converse call without a deadline.",
        "Answers rarely take longer.";
    "timeouts.stream" [Duration("1ms", "1h")] = "600s",
        "DASHGATE_TIMEOUTS_STREAM":
        "The deadline of a ConverseStream call or an upload without a deadline.",
        "DashScope's own limit for long answers.";
    "timeouts.max" [Duration("1ms", "1h")] = "600s",
        "DASHGATE_TIMEOUTS_MAX":
        "The maximum deadline. Longer deadlines are reduced to it.",
        "DashScope ends requests after 600 seconds.";
    "timeouts.first_event" [Duration("1ms", "1h")] = "30s",
        "DASHGATE_TIMEOUTS_FIRST_EVENT":
        "How long DashScope may take to the first event of a stream.",
        "The slowest reasoning models start within 20 seconds.";
    "timeouts.idle" [Duration("1ms", "1h")] = "60s",
        "DASHGATE_TIMEOUTS_IDLE":
        "How long DashScope may send no event in the middle of a stream.",
        "Twice the time for the first event, because a started stream is billed already.";
    "timeouts.slow_consumer" [Duration("1ms", "1h")] = "30s",
        "DASHGATE_TIMEOUTS_SLOW_CONSUMER":
        "How long a response may stay unread before the call is ended. After the same time again \
         its stream is reset.",
        "The model keeps producing billed tokens meanwhile.";
}
