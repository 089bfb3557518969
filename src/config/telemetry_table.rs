//! Settings of observability: log, admin port, traces, prices.

use super::setting::Kind::{Address, Choice, Names, Rates, Secret, Switch, Text};
use super::setting::settings;

settings! {
    "log.level" [Text] = "info",
        "DASHGATE_LOG":
        "The log level, also per module: `info,dashgate::relay=debug`.",
        "One line per call.";
    "log.format" [Choice(&["auto", "json", "text"])] = "auto",
        "DASHGATE_LOG_FORMAT":
        "`text`, `json`, or `auto`: text on a terminal, otherwise JSON.",
        "Terminals are read by people, other outputs by programs.";
    "admin.listen" [Address] = "",
        "DASHGATE_ADMIN_LISTEN" "--admin":
        "The listen address of the admin port: metrics, health, configuration, calls in flight. \
         127.0.0.1:9464 is the usual value. Default: disabled.",
        "The port has no authentication.";
    "admin.allowed_hosts" [Names] = "",
        "DASHGATE_ADMIN_ALLOWED_HOSTS":
        "Names that the `Host` header of admin requests may have, in addition to IP addresses and \
         `localhost`; `*` for all. Other names get 421.",
        "Protects against DNS rebinding by web pages.";
    "telemetry.rates" [Rates] = "",
        "DASHGATE_TELEMETRY_RATES":
        "The price of a million input and output tokens: `model=0.8|2,...`. Used for \
         `dashgate_cost_total`.",
        "Prices change and depend on the contract.";
    "telemetry.currency" [Text] = "CNY",
        "DASHGATE_TELEMETRY_CURRENCY":
        "The currency of these prices.",
        "DashScope bills most regions in it.";
    "telemetry.load_reports" [Switch] = "false",
        "DASHGATE_TELEMETRY_LOAD_REPORTS":
        "Send load reports (ORCA) in the trailers of each response.",
        "Only some load balancers read them, and they reveal the load to callers.";
    "telemetry.otlp_endpoint" [Text] = "",
        "OTEL_EXPORTER_OTLP_ENDPOINT":
        "The address of an OTLP receiver for traces, over HTTP; `/v1/traces` is appended. \
         Default: no traces.",
        "Traces need a receiver.";
    "telemetry.otlp_headers" [Secret] = "",
        "OTEL_EXPORTER_OTLP_HEADERS":
        "Headers for the receiver: `name=value,...`.",
        "Most receivers need none.";
    "telemetry.service_name" [Text] = "dashgate",
        "OTEL_SERVICE_NAME":
        "The service name in traces.",
        "The name of the program.";
    "telemetry.trace_sampler" [Choice(&["parent", "ratio"])] = "parent",
        "DASHGATE_TELEMETRY_TRACE_SAMPLER":
        "`parent` follows the caller's sampling decision and uses the ratio for other calls; \
         `ratio` uses the ratio for all calls.",
        "Traces stay complete.";
    "telemetry.trace_ratio" [Text] = "1",
        "DASHGATE_TELEMETRY_TRACE_RATIO":
        "The share of calls that are traced, 0 to 1.",
        "A trace costs little compared with a call to a model.";
    "telemetry.capture_content" [Switch] = "false",
        "DASHGATE_TELEMETRY_CAPTURE_CONTENT":
        "Include requests and answers in traces. Media are described, not copied.",
        "Message content is private, and receivers store it.";
}
