//! Settings of idempotency and of the store.

use super::setting::Kind::{Choice, Count, Duration, Secret, Size, Switch};
use super::setting::settings;

settings! {
    "idempotency.keep" [Duration("1s", "24h")] = "10m",
        "DASHGATE_IDEMPOTENCY_KEEP":
        "How long the answer of a call with a `request_id` is kept.",
        "Longer than clients retry.";
    "idempotency.max_calls" [Count(0, 1_000_000)] = "4096",
        "DASHGATE_IDEMPOTENCY_MAX_CALLS":
        "The maximum number of kept answers. 0 keeps none.",
        "Four per possible call in flight.";
    "idempotency.max_bytes" [Size("0", "16GiB")] = "64MiB",
        "DASHGATE_IDEMPOTENCY_MAX_BYTES":
        "The maximum memory of kept answers.",
        "Text answers have a few KB; answers with audio are dropped first.";
    "idempotency.detached_grace" [Duration("1s", "24h")] = "5m",
        "DASHGATE_IDEMPOTENCY_DETACHED_GRACE":
        "How long a detached call goes on without a reader.",
        "Longer than a client takes to restart; tokens that are never fetched cost money.";
    "idempotency.resume_grace" [Duration("1s", "5m")] = "15s",
        "DASHGATE_IDEMPOTENCY_RESUME_GRACE":
        "How long a stream whose connection was lost waits to be resumed.",
        "The clients try for about 6 seconds; tokens that are never read cost money.";
    "store.url" [Secret] = "",
        "DASHGATE_STORE_URL":
        "Where state is kept that outlives the process: `sqlite:FILE`, or \
         `postgres://USER:PASSWORD@HOST/DATABASE`, which replicas share. Empty keeps it in memory.",
        "A single gateway needs none; only the operator knows where state may be kept.";
    "store.max_connections" [Count(1, 1000)] = "10",
        "DASHGATE_STORE_MAX_CONNECTIONS":
        "The maximum number of connections to the store.",
        "A statement takes about a millisecond, so that ten connections serve thousands of calls a \
         second; PostgreSQL accepts a hundred by default.";
    "store.migrate" [Switch] = "true",
        "DASHGATE_STORE_MIGRATE":
        "Create and update the tables at the start. Otherwise `dashgate store migrate` must do it.",
        "Migrations are locked, so that replicas may start together.";
    "store.lease" [Duration("1s", "5m")] = "15s",
        "DASHGATE_STORE_LEASE":
        "How long a replica owns a call that it runs without renewing the lease. After a crash, \
         its calls can be made again this much later.",
        "Longer than a failover of the database usually takes.";
    "store.conversation_ttl" [Duration("1s", "87600h")] = "720h",
        "DASHGATE_STORE_CONVERSATION_TTL":
        "How long a stored conversation is kept after its latest turn or update, unless its caller \
         chose another time.",
        "Thirty days: long enough to come back to a conversation, and nothing is kept for ever.";
    "store.max_turn_media" [Size("0B", "1GiB")] = "16MiB",
        "DASHGATE_STORE_MAX_TURN_MEDIA":
        "The maximum size of the media that are sent as bytes in one turn of a stored \
         conversation. Media by URL do not count: only their URLs are stored.",
        "As large as a message may be by default.";
    "store.when_down" [Choice(&["share", "open", "closed"])] = "share",
        "DASHGATE_STORE_WHEN_DOWN":
        "What applies to calls that have limits while the store is down: `share`, this replica's \
         part of each limit; `open`, the whole limits, as without a store; `closed`, the calls are \
         refused with `STORE_DOWN`.",
        "All replicas together keep the limits, and the calls go on.";
}
