//! The list of all metrics: name, kind, labels and help.
//!
//! Tests compare it with the page of metrics, the dashboard and the alerts.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A value that only increases.
    Counter,
    /// A value that increases and decreases.
    Gauge,
    /// A distribution over these buckets.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
}

/// Buckets of call durations: from an immediate refusal to DashScope's longest time limit.
const CALL_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Buckets of the time to first token: half a second for a small model, half a minute with
/// reasoning.
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0,
];

/// Buckets of the time between chunks: some milliseconds for text, a second for audio.
const CHUNK_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The methods that call DashScope.
pub const METHODS: [&str; 5] = [
    "Converse",
    "ConverseStream",
    "ConverseLive",
    "SynthesizeLive",
    "UploadMedia",
];

/// The labels of a gRPC method.
const METHOD: &[&str] = &["grpc_type", "grpc_service", "grpc_method"];

/// Buckets of operations of the store: from a row in memory to the longest wait for a lock.
const STORE_SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

macro_rules! metrics {
    ($($constant:ident $name:literal [$kind:expr] $labels:expr, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: Metric = Metric {
            name: $name,
            kind: $kind,
            labels: $labels,
            help: $help,
        };)+

        /// All metrics, in the order of the page.
        pub const ALL: &[Metric] = &[$($constant,)+];
    };
}

metrics! {
    STARTED "grpc_server_started_total" [Kind::Counter] METHOD,
        "Calls started.";
    HANDLED "grpc_server_handled_total" [Kind::Counter]
        &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        "Calls completed, by gRPC code.";
    HANDLING "grpc_server_handling_seconds" [Kind::Histogram(CALL_SECONDS)] METHOD,
        "Duration of calls, from their headers to their trailers.";
    RECEIVED "grpc_server_msg_received_total" [Kind::Counter] METHOD,
        "Messages received from callers.";
    SENT "grpc_server_msg_sent_total" [Kind::Counter] METHOD,
        "Messages sent to callers.";
    CALLS "dashgate_calls_total" [Kind::Counter] &["model", "outcome"],
        "Calls completed, by model and outcome: `OK`, `CANCELLED` or the error reason.";
    IN_FLIGHT "dashgate_calls_in_flight" [Kind::Gauge] &["method"],
        "Calls in flight.";
    LIMIT "dashgate_calls_in_flight_limit" [Kind::Gauge] &[],
        "Limit of calls in flight (`server.max_in_flight`).";
    LIMITS_UNSHARED "dashgate_limits_unshared" [Kind::Gauge] &[],
        "Whether this replica applies limits alone because the store does not answer.";
    MEMORY "dashgate_memory_bytes" [Kind::Gauge] &["kind"],
        "Memory charged to calls: `requests`, `answers`, `kept_answers`, `uploads`, \
         `unauthenticated` and `health_watches`.";
    MEMORY_LIMIT "dashgate_memory_limit_bytes" [Kind::Gauge] &[],
        "Limit of the memory that calls hold (`memory.limit`).";
    RELIEVED "dashgate_memory_relieved_total" [Kind::Counter] &["what"],
        "What was released because memory was nearly used up: `kept_answer` for dropped answers, \
         `call` for ended calls.";
    SHED "dashgate_shed_total" [Kind::Counter] &["reason"],
        "Calls refused because of a limit, before DashScope was called.";
    FIRST_TOKEN "dashgate_time_to_first_token_seconds" [Kind::Histogram(FIRST_TOKEN_SECONDS)]
        &["model"],
        "Time from the start of a stream to the first chunk of its answer.";
    CHUNK "dashgate_time_per_output_chunk_seconds" [Kind::Histogram(CHUNK_SECONDS)] &["model"],
        "Time between chunks of a streamed answer.";
    TOKENS "dashgate_tokens_total" [Kind::Counter] &["kind", "model", "caller"],
        "Tokens as DashScope counted them. `input` and `output` are totals; the other kinds are \
         parts of them.";
    COST "dashgate_cost_total" [Kind::Counter] &["currency", "model", "caller"],
        "Cost of answers by `telemetry.rates`; models without a rate are not included.";
    UPSTREAM "dashgate_upstream_requests_total" [Kind::Counter] &["status", "code"],
        "Generation requests to DashScope, by HTTP status and DashScope code. Without a response, \
         the status is `none` and the code is the error reason. Uploads are not included.";
    RETRIES "dashgate_retries_total" [Kind::Counter] &["reason"],
        "Retries, by the error reason of the previous attempt.";
    FALLBACKS "dashgate_fallbacks_total" [Kind::Counter] &["reason"],
        "Calls that continued with another model, by the error reason of the previous one.";
    UPLOADED "dashgate_upload_bytes_total" [Kind::Counter] &["via"],
        "Bytes of media uploaded with `UploadMedia`, for which `via` is `upload_media`. Media of \
         calls that the gateway uploads by itself are not included.";
    LIVE_AUDIO "dashgate_live_audio_seconds_total" [Kind::Counter] &["direction", "model"],
        "Audio of live sessions, in playing time: `input` from callers, `output` of responses.";
    LIVE_FIRST_AUDIO "dashgate_live_first_audio_seconds" [Kind::Histogram(FIRST_TOKEN_SECONDS)]
        &["model"],
        "Time from the end of the caller's speech, or from the request of a response, to its first \
         audio.";
    LIVE_RESPONSES "dashgate_live_responses_total" [Kind::Counter] &["model", "status"],
        "Responses in live sessions: `completed`, `cancelled` by the caller or its speech, \
         `incomplete`, `failed` or `other`.";
    LIVE_REPAIRS "dashgate_live_repairs_total" [Kind::Counter] &["repair"],
        "What the gateway did for live sessions: `resume` for a stream that broke, `reconnect` for \
         a connection to DashScope.";
    STORE_OPERATION "dashgate_store_operation_seconds" [Kind::Histogram(STORE_SECONDS)]
        &["operation", "outcome"],
        "Duration of operations of the store, with their repetitions, by outcome: `OK` or the \
         error reason.";
    STORE_UP "dashgate_store_up" [Kind::Gauge] &["engine"],
        "1 if the store answers, otherwise 0. Absent without a store. It shows the latest \
         operation, of which there is one every half second.";
    CONNECTIONS "dashgate_open_connections" [Kind::Gauge] &[],
        "Open connections.";
    CONNECTED "dashgate_connections_total" [Kind::Counter] &["outcome"],
        "Connections: `accepted`, or `refused` because of a limit.";
    CLOSED "dashgate_connections_closed_total" [Kind::Counter] &["reason"],
        "Connections closed by the gateway because of their behaviour: `handshake_timeout`, \
         `tls`, `header_timeout`, `too_many_pings`, `too_many_control_frames`, \
         `too_many_header_fields` or `memory_limit`.";
    ACCEPT_ERRORS "dashgate_accept_errors_total" [Kind::Counter] &["reason"],
        "Connections that could not be accepted: `file_descriptors` if none is left, otherwise \
         `other`.";
    LOG_DROPPED "dashgate_log_lines_dropped_total" [Kind::Counter] &["reason"],
        "Log lines dropped: `suppressed` as repetitions, or `lost` because the log was not read.";
    SPANS "dashgate_trace_spans_total" [Kind::Counter] &["outcome"],
        "Trace spans: `exported`, `dropped` because the queue was full, or `failed` at the \
         receiver.";
    BUILD "dashgate_build_info" [Kind::Gauge] &["version"],
        "Always 1; the label is the running version.";
    PROCESS_CPU "process_cpu_seconds_total" [Kind::Counter] &[],
        "CPU time, user and system.";
    PROCESS_FDS "process_open_fds" [Kind::Gauge] &[],
        "Open file descriptors.";
    PROCESS_MAX_FDS "process_max_fds" [Kind::Gauge] &[],
        "Limit of open file descriptors.";
    PROCESS_RESIDENT "process_resident_memory_bytes" [Kind::Gauge] &[],
        "Resident memory.";
    PROCESS_VIRTUAL "process_virtual_memory_bytes" [Kind::Gauge] &[],
        "Virtual memory.";
    PROCESS_START "process_start_time_seconds" [Kind::Gauge] &[],
        "Start time, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::{ALL, Kind};

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
                assert!(buckets.is_sorted(), "{}", metric.name);
            }
        }
    }
}
