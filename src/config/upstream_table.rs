//! The settings of DashScope and of the attempts at it.

use super::setting::Kind::{Choice, Count, Duration, Names, Path, Secret, Size, Switch, Text, Url};
use super::setting::settings;

settings! {
    "upstream.url" [Text] = "",
        "DASHSCOPE_HTTP_BASE_URL" "--upstream":
        "DashScope's base URL with its `/api/v1`, `embedded` for the emulator, or the base URL of \
         an OpenAI-style server with its kind: `openai:`, `vllm:`, `sglang:`, `sglang-omni:` or \
         `dashscope-compatible:`, as in `vllm:http://127.0.0.1:8000/v1`; see \
         `docs/self-hosted.md`. `https`, or `http` on loopback and where \
         `upstream.allow_plaintext` permits it. Default: `embedded` without a key, DashScope's URL \
         for the region with one.",
        "Without a key, the emulator shows that everything else works.";
    "upstream.allow_plaintext" [Switch] = "false",
        "DASHGATE_UPSTREAM_ALLOW_PLAINTEXT":
        "Allow `http` to hosts that are not on loopback, for DashScope and its storage: a sidecar \
         that adds TLS, or an emulator in another container.",
        "The key and all content would cross the network unencrypted.";
    "upstream.proxy" [Url] = "environment",
        "DASHGATE_UPSTREAM_PROXY":
        "The proxy for DashScope, its storage and, after a restart, JWT key sets and traces: \
         `http://`, `https://` or `socks5://host:port`, with `user:password@` if required. \
         `environment` uses `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (or lower \
         case); `none` uses no proxy. Loopback hosts are reached through a proxy only if it is \
         set here, and only for DashScope and its storage.",
        "Where a proxy is required, the environment configures it for every program.";
    "upstream.no_proxy" [Names] = "",
        "DASHGATE_UPSTREAM_NO_PROXY":
        "Hosts that are reached without the proxy: names including their subdomains, IP \
         addresses, networks such as `10.0.0.0/8`, a name or address with `:port`, or `*`. \
         Default: `NO_PROXY`.",
        "The environment has it beside the proxy.";
    "upstream.tls.ca" [Path] = "",
        "DASHGATE_UPSTREAM_TLS_CA":
        "A file with further root certificates for DashScope, its storage and a proxy, as PEM.",
        "DashScope's certificate has a public authority.";
    "upstream.tls.system_roots" [Switch] = "true",
        "DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS":
        "Trust the root certificates of the machine. With `false`, only those of \
         `upstream.tls.ca`.",
        "DashScope's certificate is verified with them.";
    "upstream.api_key" [Secret] = "",
        "DASHSCOPE_API_KEY":
        "The DashScope key. There is no flag for it, because command lines are visible to other \
         users.",
        "A key belongs to one account.";
    "upstream.api_key_file" [Path] = "",
        "DASHSCOPE_API_KEY_FILE_PATH":
        "A file that holds the key. Default: `~/.dashscope/api_key` if it exists.",
        "The file that DashScope's SDKs read.";
    "upstream.accounts_file" [Path] = "",
        "DASHGATE_UPSTREAM_ACCOUNTS_FILE":
        "A file with several accounts, their keys, regions, weights and rate limits; see \
         `docs/accounts.md`. It replaces the URL, region and key.",
        "Most operators have one account.";
    "upstream.openai.api_key" [Secret] = "",
        "DASHGATE_UPSTREAM_OPENAI_API_KEY":
        "The key of the OpenAI-style server of `upstream.url`. DashScope's key is not sent to it.",
        "Self-hosted servers usually need none.";
    "upstream.openai.api_key_file" [Path] = "",
        "DASHGATE_UPSTREAM_OPENAI_API_KEY_FILE":
        "A file that holds the key of the OpenAI-style server.",
        "Self-hosted servers usually need none.";
    "upstream.models" [Names] = "",
        "DASHGATE_UPSTREAM_MODELS" "--model":
        "The models that the upstream serves, with `*` for any characters. Calls to others are \
         refused with NOT_FOUND. Default: all.",
        "DashScope adds models every few weeks, and refuses unknown ones itself.";
    "upstream.compatible_models" [Names] = "qwen*-omni*",
        "DASHGATE_UPSTREAM_COMPATIBLE_MODELS":
        "Models that are called in DashScope's OpenAI-compatible mode, with `*` for any \
         characters; the others are called by DashScope's own interface. Empty: none.",
        "DashScope's documentation offers Qwen-Omni in the compatible mode only.";
    "upstream.breaker_failures" [Count(0, 1000)] = "10",
        "DASHGATE_UPSTREAM_BREAKER_FAILURES":
        "The number of consecutive failures after which the circuit of a model of an account \
         opens; 0 for never.",
        "Fewer failures also happen during normal operation.";
    "upstream.breaker_pause" [Duration("100ms", "1m")] = "2s",
        "DASHGATE_UPSTREAM_BREAKER_PAUSE":
        "How long the circuit is open before one call may test the model.",
        "One call in two seconds is no load, and recovery is noticed quickly.";
    "upstream.workspace" [Text] = "",
        "DASHSCOPE_WORKSPACE_ID":
        "The workspace of the calls.",
        "Without one, DashScope uses the account's default workspace.";
    "upstream.region" [Text] = "",
        "DASHSCOPE_API_REGION":
        "The DashScope region: `cn-beijing`, `ap-southeast-1`, `us-east-1`, `cn-hongkong`, \
         `eu-central-1`, `ap-northeast-1`. With a workspace, the workspace's own host in that \
         region is used. Default: `cn-beijing` on the shared host.",
        "Keys belong to a region, and most to Beijing.";
    "upstream.data_inspection" [Text] = "",
        "DASHGATE_UPSTREAM_DATA_INSPECTION":
        "The header `X-DashScope-DataInspection`, unless the caller sends its own.",
        "DashScope's default applies.";
    "upstream.connect_timeout" [Duration("10ms", "1m")] = "2s",
        "DASHGATE_UPSTREAM_CONNECT_TIMEOUT":
        "The timeout of a connection to DashScope, with DNS and TLS.",
        "Three lost packets on a long-distance network; then another attempt is better.";
    "upstream.max_connection_age" [Duration("1s", "168h")] = "5m",
        "DASHGATE_UPSTREAM_MAX_CONNECTION_AGE":
        "How long a connection to DashScope is reused, with a jitter of 10 percent. Running \
         answers are not cut.",
        "DNS changes take effect within minutes; a handshake every five minutes costs little.";
    "upstream.inline_limit" [Size("0", "256MiB")] = "10485760",
        "DASHGATE_UPSTREAM_INLINE_LIMIT":
        "The maximum length of an encoded medium inside a request. Longer ones are uploaded.",
        "DashScope's limit.";
    "upstream.max_request_bytes" [Size("64KiB", "1GiB")] = "6MiB",
        "DASHGATE_UPSTREAM_MAX_REQUEST_BYTES":
        "The maximum request body that DashScope accepts. If a body is larger, its largest media \
         are uploaded until it fits. `models.max_request_bytes` is for single models.",
        "DashScope refuses more than 6291456 bytes for many models; uploads take longer than \
         inline media, and work for all models.";
    "upstream.unknown_uploads" [Choice(&["allow", "refuse"])] = "allow",
        "DASHGATE_UPSTREAM_UNKNOWN_UPLOADS":
        "Whether calls may use an `oss:` URL that was not stored through this process or, with a \
         store, through any replica. URLs that another caller stored are always refused.",
        "DashScope's tools, or another replica without a store, may have stored it for the same \
         caller; the URLs cannot be guessed.";
    "upstream.private_hosts" [Names] = "",
        "DASHGATE_UPSTREAM_PRIVATE_HOSTS":
        "Private or local hosts that media URLs may name, with `*` for any characters: loopback, \
         private, link-local and reserved addresses, names without a dot, `localhost`, `*.local`, \
         `*.internal`. A listed host may also have a user part. The host of `upstream.url` is \
         always allowed with its port.",
        "None, because DashScope fetches these URLs, and inside a network that can reach more \
         than the caller may see.";
    "upstream.max_event_bytes" [Size("64KiB", "256MiB")] = "8MiB",
        "DASHGATE_UPSTREAM_MAX_EVENT_BYTES":
        "The maximum size of an event of DashScope's streams.",
        "Ten times the largest event observed, which has half a minute of speech.";
    "upstream.max_body_bytes" [Size("64KiB", "1GiB")] = "64MiB",
        "DASHGATE_UPSTREAM_MAX_BODY_BYTES":
        "The maximum size of a whole answer of DashScope.",
        "An answer with a minute of speech has 4 MiB.";
    "upstream.stream_only_models" [Names] = "",
        "DASHGATE_UPSTREAM_STREAM_ONLY_MODELS":
        "Models that support only streams, with `*` for any characters. The gateway assembles \
         their streams for unary calls.",
        "The gateway detects them at the first call, at the cost of a round trip.";
    "upstream.incremental_models" [Names] = "",
        "DASHGATE_UPSTREAM_INCREMENTAL_MODELS":
        "Models whose events always have increments, with `*` for any characters.",
        "Usually evident from the stream. Very short answers are ambiguous and fail.";
    "upstream.cumulative_models" [Names] = "",
        "DASHGATE_UPSTREAM_CUMULATIVE_MODELS":
        "Models whose events always repeat the whole text, with `*` for any characters.",
        "Usually evident from the stream. Short answers are ambiguous and fail; no such model is \
         known.";
    "upstream.revised_models" [Names] = "fun-asr*,qwen-audio-3*-asr*",
        "DASHGATE_UPSTREAM_REVISED_MODELS":
        "Models that repeat the whole text in every event and may change earlier text. Their text \
         is sent at the end.",
        "Speech recognition revises its text; only the last one is correct.";
    "upstream.show_messages" [Switch] = "false",
        "DASHGATE_UPSTREAM_SHOW_MESSAGES":
        "Send DashScope's own error messages to callers.",
        "They may contain content of the call, or the operator's account.";
    "retry.max_attempts" [Count(1, 10)] = "3",
        "DASHGATE_RETRY_MAX_ATTEMPTS":
        "The maximum number of attempts of a call.",
        "A third attempt helps in short outages; a fourth only adds load.";
    "retry.budget_percent" [Count(0, 100)] = "10",
        "DASHGATE_RETRY_BUDGET_PERCENT":
        "The maximum number of retries, in percent of all calls.",
        "In an outage, the load on DashScope grows by a tenth instead of threefold.";
    "retry.after_reset" [Switch] = "false",
        "DASHGATE_RETRY_AFTER_RESET":
        "Retry once when the connection broke after the request was sent.",
        "The model may have run, and the retry would be billed again.";
}
