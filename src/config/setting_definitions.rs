//! The list of all settings: name, variable, default and the reason for it.

use super::setting::Kind::{
    Address, Choice, Count, Duration, Names, Path, Secret, Size, Switch, Text, Url,
};
use super::setting::{Setting, settings};
use super::{callers_table, client_table, live_table, models_table, store_table, telemetry_table};

/// The parts of the table, in the order of the reference.
const PARTS: [&[Setting]; 7] = [
    ROWS,
    store_table::ROWS,
    models_table::ROWS,
    live_table::ROWS,
    callers_table::ROWS,
    telemetry_table::ROWS,
    client_table::ROWS,
];

/// All settings, in the order of the reference.
pub const ALL: &[Setting] = &joined::<{ length() }>();

/// Looks up a setting by its key.
pub fn find(key: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.key == key)
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the gateway is built: an index that is wrong does not compile"
)]
const fn length() -> usize {
    let (mut length, mut part) = (0, 0);
    while part < PARTS.len() {
        length += PARTS[part].len();
        part += 1;
    }
    length
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the gateway is built: an index that is wrong does not compile"
)]
const fn joined<const N: usize>() -> [Setting; N] {
    let mut all = [ROWS[0]; N];
    let (mut at, mut part, mut row) = (0, 0, 0);
    while at < N {
        if row == PARTS[part].len() {
            (part, row) = (part + 1, 0);
            continue;
        }
        all[at] = PARTS[part][row];
        (at, row) = (at + 1, row + 1);
    }
    all
}

settings! {
    "server.listen" [Address] = "127.0.0.1:50051",
        "DASHGATE_SERVER_LISTEN" "--listen":
        "The listen address: TCP or `unix:/path`. Port 0 selects a free port.",
        "Loopback, so that only this machine can spend the key; 50051 is gRPC's usual port.";
    "server.tls.certificate" [Path] = "",
        "DASHGATE_SERVER_TLS_CERTIFICATE":
        "The file with the server certificate and its chain, as PEM. If set, the port accepts \
         only TLS 1.2 and 1.3.",
        "A certificate is specific to a host, and loopback needs none.";
    "server.tls.key" [Path] = "",
        "DASHGATE_SERVER_TLS_KEY":
        "The file with the private key of the certificate, as PEM.",
        "Required with a certificate.";
    "server.tls.client_ca" [Path] = "",
        "DASHGATE_SERVER_TLS_CLIENT_CA":
        "The file with the authorities of client certificates, as PEM.",
        "Only the operator knows the authority of the callers.";
    "server.tls.client_certificate" [Choice(&["required", "optional"])] = "",
        "DASHGATE_SERVER_TLS_CLIENT_CERTIFICATE":
        "Whether callers must present a certificate of `client_ca`. An invalid certificate is \
         refused in both modes. Default with `client_ca`: `required`.",
        "`optional` is for migrations.";
    "server.tls.handshake_timeout" [Duration("100ms", "1m")] = "5s",
        "DASHGATE_SERVER_TLS_HANDSHAKE_TIMEOUT":
        "The timeout of the TLS handshake.",
        "Three round trips of a slow network; an incomplete handshake holds memory.";
    "server.tls.reload_interval" [Duration("100ms", "1h")] = "10s",
        "DASHGATE_SERVER_TLS_RELOAD_INTERVAL":
        "How often the TLS files are checked for changes. New files apply to new connections. If \
         they do not match each other, the current ones are kept and the reason is logged.",
        "Certificates that are valid for an hour are renewed minutes before they expire.";
    "server.allowed_origins" [Names] = "",
        "DASHGATE_SERVER_ALLOWED_ORIGINS":
        "The origins whose web pages may call by gRPC-Web: `https://app.example.com`, or `*` for \
         all. Other programs need no entry.",
        "None, because otherwise every page that a user of this machine or network opens could \
         spend the key.";
    "server.max_request_bytes" [Size("64KiB", "256MiB")] = "16MiB",
        "DASHGATE_SERVER_MAX_REQUEST_BYTES":
        "The maximum size of a request. Larger media use `UploadMedia`.",
        "DashScope takes bodies of 6 MiB; 16 MiB also holds media that the gateway uploads.";
    "server.max_chunk_bytes" [Size("16KiB", "16MiB")] = "1MiB",
        "DASHGATE_SERVER_MAX_CHUNK_BYTES":
        "The maximum size of a chunk of `UploadMedia`.",
        "The gateway holds one chunk per upload; larger chunks are not faster.";
    "server.max_metadata_bytes" [Size("1KiB", "64KiB")] = "8KiB",
        "DASHGATE_SERVER_MAX_METADATA_BYTES":
        "The maximum size of the metadata of a call.",
        "The common default of gRPC implementations; tokens and traces are much smaller.";
    "server.threads" [Count(0, 1024)] = "0",
        "DASHGATE_SERVER_THREADS":
        "The number of threads that run calls. A connection stays on the thread that had the \
         fewest connections when it arrived. 0: one per core.",
        "A call that stays on one core is cheapest; more threads than cores only compete.";
    "server.max_in_flight" [Count(1, 1_000_000)] = "1024",
        "DASHGATE_SERVER_MAX_IN_FLIGHT":
        "The maximum number of calls in flight. More are refused with UNAVAILABLE.",
        "Limits the memory at 16 MiB per call; DashScope's rate limits are much lower.";
    "server.caller_share_percent" [Count(1, 100)] = "90",
        "DASHGATE_SERVER_CALLER_SHARE_PERCENT":
        "The share of `server.max_in_flight`, in percent, that one caller may use while no others \
         do. Several busy callers get equal shares, and callers without calls in flight are \
         admitted. Callers without credentials are identified by their address, or by their \
         connection if they are on this machine. 100 disables shares.",
        "A tenth lets other callers start at once and hardly affects a gateway with one caller.";
    "server.max_partial_requests" [Count(1, 1_000_000)] = "512",
        "DASHGATE_SERVER_MAX_PARTIAL_REQUESTS":
        "The maximum number of calls whose request has not been received completely; one caller \
         may have half of them. More are refused with UNAVAILABLE.",
        "Most requests arrive together with their headers; this many concurrent uploads fill any \
         network.";
    "server.max_connections" [Count(1, 1_000_000)] = "10000",
        "DASHGATE_SERVER_MAX_CONNECTIONS":
        "The maximum number of connections. More are closed at once.",
        "A connection without calls needs at most 15 KB, so this is 150 MB at most.";
    "server.max_connections_per_address" [Count(0, 1_000_000)] = "0",
        "DASHGATE_SERVER_MAX_CONNECTIONS_PER_ADDRESS":
        "The maximum number of connections from one IP address. More are closed at once. 0: no \
         limit per address.",
        "Behind a proxy, all callers have its address. Set it if there is no proxy.";
    "server.max_streams_per_connection" [Count(1, 10_000)] = "100",
        "DASHGATE_SERVER_MAX_STREAMS_PER_CONNECTION":
        "The maximum number of concurrent calls on one connection.",
        "The value that HTTP/2 recommends; one connection cannot use the whole gateway.";
    "server.max_connection_age" [Duration("1s", "168h")] = "30m",
        "DASHGATE_SERVER_MAX_CONNECTION_AGE":
        "The age at which a connection gets GOAWAY, with a jitter of 10 percent.",
        "Callers find new replicas within the hour, and the jitter spreads reconnects.";
    "server.max_connection_age_grace" [Duration("0s", "168h")] = "10m",
        "DASHGATE_SERVER_MAX_CONNECTION_AGE_GRACE":
        "How long calls may continue on a connection after its GOAWAY.",
        "The longest deadline of a call, so that no call is cut.";
    "server.max_connection_idle" [Duration("1s", "168h")] = "15m",
        "DASHGATE_SERVER_MAX_CONNECTION_IDLE":
        "How long a connection may have no call before it gets GOAWAY.",
        "Longer than the pauses in a conversation.";
    "server.min_ping_interval" [Duration("0s", "1h")] = "5s",
        "DASHGATE_SERVER_MIN_PING_INTERVAL":
        "The minimum interval between pings of a connection without other traffic. Faster pings \
         get GOAWAY with ENHANCE_YOUR_CALM. 0s: no limit.",
        "gRPC libraries ping at most every 10 seconds; half of that tolerates inaccurate clocks.";
    "server.handshake_timeout" [Duration("100ms", "5m")] = "10s",
        "DASHGATE_SERVER_HANDSHAKE_TIMEOUT":
        "How long a connection may take to send its first bytes.",
        "Long enough for a slow network, short enough that idle connections do not accumulate.";
    "server.header_timeout" [Duration("100ms", "5m")] = "10s",
        "DASHGATE_SERVER_HEADER_TIMEOUT":
        "How long the headers of a call may take from their first byte to their last.",
        "Headers are a few packets; slow ones only occupy a connection.";
    "server.request_body_timeout" [Duration("100ms", "10m")] = "30s",
        "DASHGATE_SERVER_REQUEST_BODY_TIMEOUT":
        "How long a caller may send nothing in the middle of its request.",
        "An incomplete request holds memory.";
    "server.drain_delay" [Duration("0s", "5m")] = "5s",
        "DASHGATE_SERVER_DRAIN_DELAY":
        "How long new calls are accepted after SIGTERM, while health is NOT_SERVING. Default on a \
         loopback address: 0s.",
        "Load balancers need time to notice; on loopback there are none.";
    "server.drain_timeout" [Duration("0s", "1h")] = "120s",
        "DASHGATE_SERVER_DRAIN_TIMEOUT":
        "How long calls may continue after the drain delay before they are ended.",
        "Most answers are complete in two minutes, and a process that never ends blocks a \
         deployment.";
    "server.heartbeat_after" [Duration("100ms", "10m")] = "15s",
        "DASHGATE_SERVER_HEARTBEAT_AFTER":
        "After this time without an event, a stream sends a Heartbeat.",
        "Proxies cut idle streams after 30 to 60 seconds.";
    "server.core_dumps" [Switch] = "false",
        "DASHGATE_SERVER_CORE_DUMPS":
        "Allow core dumps of the process, and debuggers of the same user.",
        "The process memory has the DashScope key and message content.";
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

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn keys_and_variables_are_unique_and_texts_are_sentences() {
        for (field, mut names) in [
            ("key", ALL.iter().map(|s| s.key).collect::<Vec<_>>()),
            ("variable", ALL.iter().map(|s| s.variable).collect()),
        ] {
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), ALL.len(), "{field}");
        }
        for setting in ALL {
            assert!(setting.description.ends_with('.'), "{}", setting.key);
            assert!(setting.reason.ends_with('.'), "{}", setting.key);
            let parts = setting.key.split('.').count();
            assert!((2..=3).contains(&parts), "{}", setting.key);
        }
    }
}
