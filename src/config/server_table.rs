//! The settings of the listener.

use super::setting::Kind::{Address, Choice, Count, Duration, Names, Path, Size, Switch};
use super::setting::settings;

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
}
