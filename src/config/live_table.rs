//! Settings of live sessions.

use super::setting::Kind::{Aliases, Duration, Size};
use super::setting::settings;

/// The names of dialects.
pub(super) const DIALECTS: [&str; 9] = [
    "omni",
    "omni_turbo",
    "omni_v35",
    "omni_v38",
    "qwen_audio",
    "livetranslate",
    "livetranslate_v38",
    "tts",
    "asr",
];

settings! {
    "live.max_duration" [Duration("1s", "720h")] = "24h",
        "DASHGATE_LIVE_MAX_DURATION":
        "The maximum duration of a live session, and its timeout if the caller sets no deadline.",
        "A session that continues after DashScope's time limit may last for a working day.";
    "live.input_buffer" [Duration("100ms", "1m")] = "2s",
        "DASHGATE_LIVE_INPUT_BUFFER":
        "How much audio of a caller is buffered, in playing time. Beyond it the caller is slowed \
         down by flow control.",
        "More would delay what the model hears.";
    "live.output_buffer" [Duration("100ms", "5m")] = "5s",
        "DASHGATE_LIVE_OUTPUT_BUFFER":
        "How much audio for a caller is buffered, in playing time. Beyond it DashScope is not read \
         until the caller reads; after `timeouts.slow_consumer` without reading, the session ends.",
        "Models speak faster than real time, and DashScope keeps the rest.";
    "live.resume_window" [Duration("0s", "1h")] = "30s",
        "DASHGATE_LIVE_RESUME_WINDOW":
        "How long a session whose stream broke waits to be resumed. `0s` ends it at once.",
        "A client that changes networks is back within seconds; the response that is running is \
         billed.";
    "live.journal_bytes" [Size("0", "1GiB")] = "2MiB",
        "DASHGATE_LIVE_JOURNAL_BYTES":
        "The bytes of events per session that are kept to be sent again to a resumed stream.",
        "40 seconds of audio at 24 kHz.";
    "live.upstream_limit" [Duration("1m", "720h")] = "120m",
        "DASHGATE_LIVE_UPSTREAM_LIMIT":
        "The duration after which DashScope ends a session. SessionEnding is sent a minute before.",
        "DashScope's documented limit.";
    "live.dialects" [Aliases] = "",
        "DASHGATE_LIVE_DIALECTS":
        "The dialects of realtime models: `pattern=dialect,...`, with `*` for any characters. \
         Dialects: `omni`, `omni_turbo`, `omni_v35`, `omni_v38`, `qwen_audio`, `livetranslate`, \
         `livetranslate_v38`, `tts` and `asr`.",
        "The built-in table is right for the models of today, and models come every few months.";
}
