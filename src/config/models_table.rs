//! The settings about models by their names, and about the memory of all calls.

use super::setting::Kind::{Aliases, Choice, Counts, Durations, Fallbacks, Size, Sizes};
use super::setting::settings;

settings! {
    "models.aliases" [Aliases] = "",
        "DASHGATE_MODELS_ALIASES":
        "Names that callers use, and the models that are meant: `old=new,...`.",
        "Models retire every few months, and then clients need not change.";
    "models.fallbacks" [Fallbacks] = "",
        "DASHGATE_MODELS_FALLBACKS":
        "Models to ask when one cannot answer: `model=next|next,...`.",
        "Another model costs and answers otherwise; that is the operator's choice.";
    "models.timeouts" [Durations] = "",
        "DASHGATE_MODELS_TIMEOUTS":
        "The longest that a call of a model may take, `*` for any letters: `qwen-image*=5m,...`.",
        "The deadlines above fit most models; some are slower, some should be given up sooner.";
    "models.first_event_timeouts" [Durations] = "",
        "DASHGATE_MODELS_FIRST_EVENT_TIMEOUTS":
        "How long a model may take to begin a stream, instead of `timeouts.first_event`.",
        "A model that thinks long begins late.";
    "models.max_request_bytes" [Sizes] = "",
        "DASHGATE_MODELS_MAX_REQUEST_BYTES":
        "The largest request body of a model, instead of `upstream.max_request_bytes`: \
         `qwen3-vl*=16MiB,...`.",
        "Some models take 16777216 bytes; DashScope does not document which.";
    "models.audio_limits" [Durations] = "qwen-audio-turbo*=30s,qwen-audio-chat*=30s,\
         qwen2-audio*=30s,qwen3-asr-flash-filetrans*=12h,qwen3-asr-flash*=5m,\
         qwen3-omni-flash*=20m",
        "DASHGATE_MODELS_AUDIO_LIMITS":
        "How much of one audio a model hears, `*` for any letters; the first pattern that fits \
         holds. Audio beyond it is answered with the warning `AUDIO_TRUNCATED`, or refused: see \
         `models.long_audio`.",
        "DashScope's documented limits: it cuts longer audio, or part of it, without an error.";
    "models.long_audio" [Choice(&["warn", "refuse"])] = "warn",
        "DASHGATE_MODELS_LONG_AUDIO":
        "What happens to a call whose audio is longer than `models.audio_limits` says. `warn` \
         answers with a warning, `refuse` fails the call with INVALID_ARGUMENT. A call can ask for \
         either by `options.long_audio`.",
        "An answer about the beginning of a recording is often what is wanted, if it is known to \
         be one.";
    "models.max_in_flight" [Counts] = "",
        "DASHGATE_MODELS_MAX_IN_FLIGHT":
        "The most calls of a model at one time: `qwen-audio*=64,...`. More are refused.",
        "One slow model should not take the whole gateway; which one, only the operator knows.";
    "memory.limit" [Size("16MiB", "1024GiB")] = "",
        "DASHGATE_MEMORY_LIMIT":
        "The most memory that calls may hold all together: requests, media, bodies for DashScope, \
         answers that are not read yet and those that are kept. Above 85 percent of it new calls \
         are refused with UNAVAILABLE; above 92 percent kept answers are dropped, then the \
         heaviest calls of the callers that hold the most are ended. Callers that hold less than \
         their part are admitted up to the limit. Default: half of what the process can have, by \
         its control group, its address space and the machine, and at least 64MiB.",
        "The other half is for the program, connections, what is not counted, and what the \
         allocator keeps free.";
}
