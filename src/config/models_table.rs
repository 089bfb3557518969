//! Settings per model, and of the memory of all calls.

use super::setting::Kind::{Aliases, Choice, Counts, Durations, Fallbacks, Size, Sizes};
use super::setting::settings;

settings! {
    "models.aliases" [Aliases] = "",
        "DASHGATE_MODELS_ALIASES":
        "Model names that callers send, and the models that are used: `old=new,...`.",
        "Models are retired every few months, and clients then need no change.";
    "models.fallbacks" [Fallbacks] = "",
        "DASHGATE_MODELS_FALLBACKS":
        "Models to try when one cannot answer: `model=next|next,...`.",
        "Another model has other prices and answers.";
    "models.timeouts" [Durations] = "",
        "DASHGATE_MODELS_TIMEOUTS":
        "The maximum duration of a call per model, with `*` for any characters: \
         `qwen-image*=5m,...`.",
        "The general timeouts suit most models.";
    "models.first_event_timeouts" [Durations] = "",
        "DASHGATE_MODELS_FIRST_EVENT_TIMEOUTS":
        "The time to the first event per model, instead of `timeouts.first_event`.",
        "Reasoning models start late.";
    "models.max_request_bytes" [Sizes] = "",
        "DASHGATE_MODELS_MAX_REQUEST_BYTES":
        "The maximum request body per model, instead of `upstream.max_request_bytes`: \
         `qwen3-vl*=16MiB,...`.",
        "Some models accept 16777216 bytes; DashScope does not document which.";
    "models.audio_limits" [Durations] = "qwen-audio-turbo*=30s,qwen-audio-chat*=30s,\
         qwen2-audio*=30s,qwen3-asr-flash-filetrans*=12h,qwen3-asr-flash*=5m,\
         qwen3-omni-flash*=20m",
        "DASHGATE_MODELS_AUDIO_LIMITS":
        "How much of one audio a model processes, with `*` for any characters; the first matching \
         pattern applies. Longer audio gets the warning `AUDIO_TRUNCATED` or is refused, see \
         `models.long_audio`.",
        "DashScope's documented limits: it truncates longer audio without an error.";
    "models.long_audio" [Choice(&["warn", "refuse"])] = "warn",
        "DASHGATE_MODELS_LONG_AUDIO":
        "What happens to a call with audio above `models.audio_limits`. `warn` answers with a \
         warning, `refuse` fails with INVALID_ARGUMENT. `options.long_audio` \
         (`warn` or `fail`) overrides it per call.",
        "An answer about the beginning is often useful if it is marked.";
    "models.max_in_flight" [Counts] = "",
        "DASHGATE_MODELS_MAX_IN_FLIGHT":
        "The maximum number of calls in flight per model: `qwen-audio*=64,...`. More are refused.",
        "Which model is slow depends on the deployment.";
    "memory.limit" [Size("16MiB", "1024GiB")] = "",
        "DASHGATE_MEMORY_LIMIT":
        "The maximum memory that all calls may hold: requests, media, bodies for DashScope, \
         unread answers and kept answers. Above 85 percent, new calls are refused with \
         UNAVAILABLE. Above 92 percent, kept answers are dropped, then the largest calls of the \
         callers that hold the most are ended. Callers below their fair share are admitted up to \
         the limit. Default: half of the memory of the cgroup, the address space or the machine, \
         whichever is smallest, and at least 64MiB.",
        "The other half is for the program, connections, encoding and decoding, and the \
         allocator.";
}
