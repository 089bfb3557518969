//! Every setting in one list: its name, its variable, its default and the reason for it.

use super::setting::Kind::{
    Address, Choice, Count, Duration, Names, Path, Secret, Size, Switch, Text, Url,
};
use super::setting::{Setting, settings};
use super::{callers_table, client_table, models_table, sight_table};

/// The parts of the table, in the order of the reference.
const PARTS: [&[Setting]; 5] = [
    ROWS,
    models_table::ROWS,
    callers_table::ROWS,
    sight_table::ROWS,
    client_table::ROWS,
];

/// All settings, in the order of the reference.
pub const ALL: &[Setting] = &joined::<{ length() }>();

/// The setting of this name.
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
        "Where the gateway listens. Port 0 takes a free one.",
        "Loopback: nobody but this machine can spend the key until you say so. 50051 \
         is gRPC's habit.";
    "server.tls.certificate" [Path] = "",
        "DASHGATE_SERVER_TLS_CERTIFICATE":
        "A file with the gateway's certificate and the chain above it, as PEM. With it the gateway \
         speaks TLS 1.2 and 1.3 only, and nothing in the clear.",
        "No certificate fits every name, and on loopback nobody else listens.";
    "server.tls.key" [Path] = "",
        "DASHGATE_SERVER_TLS_KEY":
        "The file with the key of that certificate, as PEM.",
        "It belongs to the certificate.";
    "server.tls.client_ca" [Path] = "",
        "DASHGATE_SERVER_TLS_CLIENT_CA":
        "A file with the authorities whose certificates callers may show, as PEM.",
        "Which authority speaks for your callers is for you to say.";
    "server.tls.client_certificate" [Choice(&["required", "optional"])] = "",
        "DASHGATE_SERVER_TLS_CLIENT_CERTIFICATE":
        "Whether a caller must show a certificate of `client_ca`, or may. A wrong one is refused \
         in both. Default with a `client_ca`: `required`.",
        "Who names an authority wants its certificates; `optional` is for the time of a change.";
    "server.tls.handshake_timeout" [Duration("100ms", "1m")] = "5s",
        "DASHGATE_SERVER_TLS_HANDSHAKE_TIMEOUT":
        "How long TLS may take to be agreed on.",
        "Three round trips of the worst lines; a half-open handshake holds memory.";
    "server.tls.reload_interval" [Duration("100ms", "1h")] = "10s",
        "DASHGATE_SERVER_TLS_RELOAD_INTERVAL":
        "How often the files of TLS are looked at. New ones hold for new connections; if they do \
         not fit together, the old ones stay and the log says why.",
        "Certificates of an hour's life are renewed minutes before they end.";
    "server.allowed_origins" [Names] = "",
        "DASHGATE_SERVER_ALLOWED_ORIGINS":
        "The web pages whose scripts may call by gRPC-Web: `https://app.example.com`, or `*` for \
         all.",
        "None: any page that somebody on this machine or in this network opens could otherwise \
         spend the key in their name. Programs that are no browsers need no entry.";
    "server.max_request_bytes" [Size("64KiB", "256MiB")] = "16MiB",
        "DASHGATE_SERVER_MAX_REQUEST_BYTES":
        "The largest request. Larger media go by `UploadMedia`.",
        "DashScope takes 10 MB of media inline; 16 MiB holds them with all that is around them.";
    "server.max_chunk_bytes" [Size("16KiB", "16MiB")] = "1MiB",
        "DASHGATE_SERVER_MAX_CHUNK_BYTES":
        "The largest chunk of an `UploadMedia`.",
        "One chunk for each upload is what the gateway holds; larger ones are not faster.";
    "server.max_metadata_bytes" [Size("1KiB", "64KiB")] = "8KiB",
        "DASHGATE_SERVER_MAX_METADATA_BYTES":
        "The most metadata of a call.",
        "What gRPC implementations agree on; tokens and traces stay far below.";
    "server.threads" [Count(0, 1024)] = "0",
        "DASHGATE_SERVER_THREADS":
        "How many threads calls run on. A connection stays on the one that had the fewest. 0: one \
         for each core.",
        "A call that stays on one core costs least; more threads than cores only take turns.";
    "server.max_in_flight" [Count(1, 1_000_000)] = "1024",
        "DASHGATE_SERVER_MAX_IN_FLIGHT":
        "The most calls at one time. More are refused with UNAVAILABLE.",
        "At 16 MiB each the worst case is known, and DashScope's rates end far below.";
    "server.caller_share_percent" [Count(1, 100)] = "90",
        "DASHGATE_SERVER_CALLER_SHARE_PERCENT":
        "What part of `server.max_in_flight`, in percent, one caller alone may take. Several that \
         want more share equally, and some places stay free for whoever has none. Callers without \
         credentials are distinguished by their address, on this machine by their connection. \
         100: no shares.",
        "A tenth is enough for others to begin at once, and a gateway with one caller hardly \
         misses it.";
    "server.max_partial_requests" [Count(1, 1_000_000)] = "512",
        "DASHGATE_SERVER_MAX_PARTIAL_REQUESTS":
        "The most calls at one time whose request has not been received in full; one caller may \
         have half of them. More are refused with UNAVAILABLE.",
        "Most requests arrive together with their head; this many uploads of large media at one \
         moment fill any line.";
    "server.max_connections" [Count(1, 1_000_000)] = "10000",
        "DASHGATE_SERVER_MAX_CONNECTIONS":
        "The most connections at one time. More are closed at once.",
        "A silent connection costs about 15 KB, so this is about 150 MB at worst.";
    "server.max_connections_per_address" [Count(0, 1_000_000)] = "0",
        "DASHGATE_SERVER_MAX_CONNECTIONS_PER_ADDRESS":
        "The most connections at one time from one IP address. More are closed at once. 0: as many \
         as all together.",
        "Behind a proxy all callers share its address; without one, set it.";
    "server.max_streams_per_connection" [Count(1, 10_000)] = "100",
        "DASHGATE_SERVER_MAX_STREAMS_PER_CONNECTION":
        "The most calls at one time on one connection.",
        "The value that HTTP/2 recommends; one connection cannot take the whole gateway.";
    "server.max_connection_age" [Duration("1s", "168h")] = "30m",
        "DASHGATE_SERVER_MAX_CONNECTION_AGE":
        "After this, give or take a tenth, a connection is asked to take new calls elsewhere.",
        "Callers find new replicas within the hour; the tenth keeps them from coming all at once.";
    "server.max_connection_age_grace" [Duration("0s", "168h")] = "10m",
        "DASHGATE_SERVER_MAX_CONNECTION_AGE_GRACE":
        "How long calls may run on such a connection before it is cut.",
        "The longest deadline that a caller gets, so that no call is cut.";
    "server.max_connection_idle" [Duration("1s", "168h")] = "15m",
        "DASHGATE_SERVER_MAX_CONNECTION_IDLE":
        "How long a connection may have no call before it is told to go.",
        "Longer than the pauses of a person who talks; what is longer is forgotten.";
    "server.min_ping_interval" [Duration("0s", "1h")] = "5s",
        "DASHGATE_SERVER_MIN_PING_INTERVAL":
        "How often a caller may ping without sending or getting anything. Who pings faster is told \
         ENHANCE_YOUR_CALM and closed. 0s: as often as it likes.",
        "gRPC libraries ping every 10 seconds at most; half of that allows for bad clocks.";
    "server.handshake_timeout" [Duration("100ms", "5m")] = "10s",
        "DASHGATE_SERVER_HANDSHAKE_TIMEOUT":
        "How long a connection may take to say its first words.",
        "Long enough for a bad line, short enough that silent connections do not pile up.";
    "server.header_timeout" [Duration("100ms", "5m")] = "10s",
        "DASHGATE_SERVER_HEADER_TIMEOUT":
        "How long the head of a call may take from its first byte to its last.",
        "A head is a few packets; one that trickles in holds a connection for nothing.";
    "server.request_body_timeout" [Duration("100ms", "10m")] = "30s",
        "DASHGATE_SERVER_REQUEST_BODY_TIMEOUT":
        "How long a caller may fall silent in the middle of its request.",
        "A caller that promised bytes and sends none holds memory.";
    "server.drain_delay" [Duration("0s", "5m")] = "5s",
        "DASHGATE_SERVER_DRAIN_DELAY":
        "After SIGTERM, how long new calls are still taken while health says NOT_SERVING. \
         Default on a loopback address: 0s.",
        "Load balancers learn late that this replica goes; on loopback there are none.";
    "server.drain_timeout" [Duration("0s", "1h")] = "120s",
        "DASHGATE_SERVER_DRAIN_TIMEOUT":
        "How long calls may run on after that, before they are cut.",
        "Most answers end in two minutes; a process that never ends blocks a deployment.";
    "server.heartbeat_after" [Duration("100ms", "10m")] = "15s",
        "DASHGATE_SERVER_HEARTBEAT_AFTER":
        "After this silence a stream sends a Heartbeat.",
        "Proxies cut silent streams after 30 to 60 seconds; this is twice within that.";
    "server.core_dumps" [Switch] = "false",
        "DASHGATE_SERVER_CORE_DUMPS":
        "Let the system write core dumps of the process, and debuggers of the same user look at \
         it.",
        "Its memory holds the key for DashScope and what people say.";
    "timeouts.unary" [Duration("1ms", "1h")] = "120s",
        "DASHGATE_TIMEOUTS_UNARY":
        "The deadline of a Converse whose caller gave none.",
        "A whole answer seldom takes longer, and somebody waits for it.";
    "timeouts.stream" [Duration("1ms", "1h")] = "600s",
        "DASHGATE_TIMEOUTS_STREAM":
        "The deadline of a ConverseStream or an upload whose caller gave none.",
        "DashScope's own limit for long answers.";
    "timeouts.max" [Duration("1ms", "1h")] = "600s",
        "DASHGATE_TIMEOUTS_MAX":
        "The longest deadline that a caller gets, whatever it asks.",
        "DashScope gives up after 600 seconds, so longer waiting is for nothing.";
    "timeouts.first_event" [Duration("1ms", "1h")] = "30s",
        "DASHGATE_TIMEOUTS_FIRST_EVENT":
        "How long DashScope may take to begin a stream.",
        "The slowest models that think begin within 20 seconds.";
    "timeouts.idle" [Duration("1ms", "1h")] = "60s",
        "DASHGATE_TIMEOUTS_IDLE":
        "How long DashScope may fall silent in the middle of a stream.",
        "Twice the first event: a stream that has begun is paid for already.";
    "timeouts.slow_consumer" [Duration("1ms", "1h")] = "30s",
        "DASHGATE_TIMEOUTS_SLOW_CONSUMER":
        "How long a response may stay unread before the call is ended; after as long again its \
         stream is reset.",
        "The model goes on to cost tokens while nobody listens.";
    "upstream.url" [Text] = "",
        "DASHSCOPE_HTTP_BASE_URL" "--upstream":
        "DashScope's base URL with its `/api/v1`, or `embedded`. `https`, or `http` on loopback or \
         wherever `upstream.allow_plaintext` lets it. Default: `embedded` without a key, \
         DashScope's for the region with one.",
        "Without a key there is nobody to ask, and the embedded DashScope shows that the rest \
         works.";
    "upstream.allow_plaintext" [Switch] = "false",
        "DASHGATE_UPSTREAM_ALLOW_PLAINTEXT":
        "Allow `http` to hosts that are not on loopback, for DashScope and for its storage: a \
         sidecar that adds TLS, an emulator in another container.",
        "The key, and what people say, would go over the network for everybody to read.";
    "upstream.proxy" [Url] = "environment",
        "DASHGATE_UPSTREAM_PROXY":
        "The proxy for DashScope, its storage and, after a restart, the keys of an authority and \
         traces: `http://`, `https://` or `socks5://host:port`, with `user:password@` if it wants \
         that. `environment` takes `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (or the \
         same in small letters); `none` takes none. Hosts on loopback are reached through a proxy \
         only if it is given here, and then DashScope and its storage alone.",
        "Where a proxy is the only way out, the environment says so to every program.";
    "upstream.no_proxy" [Names] = "",
        "DASHGATE_UPSTREAM_NO_PROXY":
        "Hosts that are reached without the proxy: names with all below them, IP addresses, \
         networks as in `10.0.0.0/8`, each of a name or address with `:port` if that matters, or \
         `*`. Default: `NO_PROXY`.",
        "It stands beside the proxy in the environment.";
    "upstream.tls.ca" [Path] = "",
        "DASHGATE_UPSTREAM_TLS_CA":
        "A file with authorities, as PEM, that are trusted for DashScope, its storage and a proxy \
         on the way, beside those of the machine.",
        "DashScope's own certificate is of an authority that every machine trusts.";
    "upstream.tls.system_roots" [Switch] = "true",
        "DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS":
        "Trust the authorities of the machine. With `false`, those of `upstream.tls.ca` alone.",
        "DashScope's certificate is checked by them.";
    "upstream.api_key" [Secret] = "",
        "DASHSCOPE_API_KEY":
        "The key for DashScope. Never by flag: command lines can be seen by others.",
        "There is none that everybody could use.";
    "upstream.api_key_file" [Path] = "",
        "DASHSCOPE_API_KEY_FILE_PATH":
        "A file that holds the key. Default: `~/.dashscope/api_key` if it exists.",
        "The same file that DashScope's SDKs read.";
    "upstream.accounts_file" [Path] = "",
        "DASHGATE_UPSTREAM_ACCOUNTS_FILE":
        "A file with several accounts, their keys, regions, weights and rates; see \
         `docs/accounts.md`. It stands instead of the address and the key above and below.",
        "Most operators have one account.";
    "upstream.breaker_failures" [Count(0, 1000)] = "10",
        "DASHGATE_UPSTREAM_BREAKER_FAILURES":
        "After so many failures in a row a model of an account is left alone; 0 for never.",
        "Fewer happen on good days; more is waiting in vain.";
    "upstream.breaker_pause" [Duration("100ms", "1m")] = "2s",
        "DASHGATE_UPSTREAM_BREAKER_PAUSE":
        "How long it is left alone, until one call may try it.",
        "One call in two seconds hurts nobody, and what is mended is seen at once.";
    "upstream.workspace" [Text] = "",
        "DASHSCOPE_WORKSPACE_ID":
        "The workspace that calls are made in.",
        "Without one DashScope takes the account's own.";
    "upstream.region" [Text] = "",
        "DASHSCOPE_API_REGION":
        "Where DashScope is: `cn-beijing`, `ap-southeast-1`, `us-east-1`, `cn-hongkong`, \
         `eu-central-1`, `ap-northeast-1`. With a workspace, the workspace's own host in that \
         region is used. Default: `cn-beijing` on the shared host.",
        "Keys are bound to a region, and most are of Beijing.";
    "upstream.data_inspection" [Text] = "",
        "DASHGATE_UPSTREAM_DATA_INSPECTION":
        "The header `X-DashScope-DataInspection`, unless the caller sends its own.",
        "DashScope's own default of inspection holds.";
    "upstream.connect_timeout" [Duration("10ms", "1m")] = "2s",
        "DASHGATE_UPSTREAM_CONNECT_TIMEOUT":
        "How long it may take to connect to DashScope.",
        "Three lost packets on a long line; after that another try is better.";
    "upstream.max_connection_age" [Duration("1s", "168h")] = "5m",
        "DASHGATE_UPSTREAM_MAX_CONNECTION_AGE":
        "How long a connection to DashScope is used, give or take a tenth. Answers that run are \
         not cut.",
        "An address that DashScope's name no longer has is left within minutes; one handshake in \
         five minutes costs nothing.";
    "upstream.inline_limit" [Size("0", "256MiB")] = "10485760",
        "DASHGATE_UPSTREAM_INLINE_LIMIT":
        "The longest text of an encoded medium that goes inside a request. Longer ones are \
         uploaded.",
        "DashScope refuses more.";
    "upstream.max_request_bytes" [Size("64KiB", "1GiB")] = "6MiB",
        "DASHGATE_UPSTREAM_MAX_REQUEST_BYTES":
        "The largest request body that DashScope takes. In a larger one the largest media are \
         uploaded first, until it fits. `models.max_request_bytes` is for single models.",
        "DashScope refuses more than 6291456 bytes for many models; an upload takes longer than \
         sending the bytes inside, and works for all.";
    "upstream.unknown_uploads" [Choice(&["allow", "refuse"])] = "allow",
        "DASHGATE_UPSTREAM_UNKNOWN_UPLOADS":
        "What happens to a call that names an `oss:` address which was not stored through this \
         process. One that another caller stored through it is always refused.",
        "Another replica, or DashScope's own tools, may have stored it for the same caller; their \
         addresses cannot be guessed.";
    "upstream.private_hosts" [Names] = "",
        "DASHGATE_UPSTREAM_PRIVATE_HOSTS":
        "Hosts of media that callers may name though they are private or local, `*` for any \
         letters: addresses of loopback, private, link-local and reserved networks, names without \
         a dot, `localhost`, `*.local`, `*.internal`. A listed host may also stand with a user.",
        "None: DashScope fetches what callers name, and inside a network that reaches more than a \
         caller may see. The host that `upstream.url` names is always allowed with its port.";
    "upstream.max_event_bytes" [Size("64KiB", "256MiB")] = "8MiB",
        "DASHGATE_UPSTREAM_MAX_EVENT_BYTES":
        "The largest event of DashScope's streams.",
        "Ten times the largest seen, which holds half a minute of speech.";
    "upstream.max_body_bytes" [Size("64KiB", "1GiB")] = "64MiB",
        "DASHGATE_UPSTREAM_MAX_BODY_BYTES":
        "The largest whole answer of DashScope.",
        "An answer with a spoken minute is 4 MiB; this bounds what a broken server can cost.";
    "upstream.stream_only_models" [Names] = "",
        "DASHGATE_UPSTREAM_STREAM_ONLY_MODELS":
        "Models that only stream, with `*` for any letters. The gateway folds their streams.",
        "The gateway finds them by itself at the first call, which costs nothing but a round trip.";
    "upstream.incremental_models" [Names] = "",
        "DASHGATE_UPSTREAM_INCREMENTAL_MODELS":
        "Models whose streams come in pieces for sure, with `*` for any letters.",
        "The stream itself shows it, but for answers of a few letters, which fail then.";
    "upstream.cumulative_models" [Names] = "",
        "DASHGATE_UPSTREAM_CUMULATIVE_MODELS":
        "Models whose streams repeat all of the text with each event.",
        "The stream itself shows it, but for short answers, which fail then; none is known.";
    "upstream.revised_models" [Names] = "fun-asr*,qwen-audio-3*-asr*",
        "DASHGATE_UPSTREAM_REVISED_MODELS":
        "Models that repeat all of the text with each event, and may change what they said before: \
         their text is passed on at its end.",
        "Speech recognition revises what it heard; only its last text is right.";
    "upstream.show_messages" [Switch] = "false",
        "DASHGATE_UPSTREAM_SHOW_MESSAGES":
        "Forward DashScope's own words of an error to callers.",
        "They may hold what a caller or the model said, or the operator's account.";
    "retry.max_attempts" [Count(1, 10)] = "3",
        "DASHGATE_RETRY_MAX_ATTEMPTS":
        "How often DashScope is asked for one call.",
        "A third try still helps in short outages; a fourth only adds load.";
    "retry.budget_percent" [Count(0, 100)] = "10",
        "DASHGATE_RETRY_BUDGET_PERCENT":
        "The most retries, as a share of all calls.",
        "When all fails, load on DashScope grows by a tenth and not threefold.";
    "retry.after_reset" [Switch] = "false",
        "DASHGATE_RETRY_AFTER_RESET":
        "Retry once when the connection broke after the request was sent.",
        "The model may have run, and it would be paid for twice.";
    "idempotency.keep" [Duration("1s", "24h")] = "10m",
        "DASHGATE_IDEMPOTENCY_KEEP":
        "How long the answer to a call with a `request_id` is kept.",
        "Longer than any client keeps retrying.";
    "idempotency.max_calls" [Count(0, 1_000_000)] = "4096",
        "DASHGATE_IDEMPOTENCY_MAX_CALLS":
        "The most answers that are kept. 0 keeps none.",
        "Four for each call that can be in flight.";
    "idempotency.max_bytes" [Size("0", "16GiB")] = "64MiB",
        "DASHGATE_IDEMPOTENCY_MAX_BYTES":
        "The most memory for them.",
        "Answers of text are a few KB; spoken ones push each other out first.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn keys_and_variables_are_unique_and_every_text_is_a_sentence() {
        for (field, mut names) in [
            ("key", ALL.iter().map(|s| s.key).collect::<Vec<_>>()),
            ("variable", ALL.iter().map(|s| s.variable).collect()),
        ] {
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), ALL.len(), "{field}");
        }
        for setting in ALL {
            assert!(setting.meaning.ends_with('.'), "{}", setting.key);
            assert!(setting.reason.ends_with('.'), "{}", setting.key);
            let parts = setting.key.split('.').count();
            assert!((2..=3).contains(&parts), "{}", setting.key);
        }
    }
}
