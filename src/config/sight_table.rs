//! The settings about what the operator sees: the log, the admin port, traces, prices.

use super::setting::Kind::{Address, Choice, Names, Rates, Secret, Switch, Text};
use super::setting::settings;

settings! {
    "log.level" [Text] = "info",
        "DASHGATE_LOG":
        "What is logged: `info`, or by part `info,dashgate::relay=debug`.",
        "One line for each call.";
    "log.format" [Choice(&["auto", "json", "text"])] = "auto",
        "DASHGATE_LOG_FORMAT":
        "`text` for people, `json` for machines, `auto` looks whether stderr is a terminal.",
        "Both are right in their place.";
    "admin.listen" [Address] = "",
        "DASHGATE_ADMIN_LISTEN" "--admin":
        "Where the operator's port listens: metrics, health, settings, calls in flight. \
         127.0.0.1:9464 is a good place. Default: nowhere.",
        "It asks nobody who he is, so it is opened by those who know who reaches it.";
    "admin.allowed_hosts" [Names] = "",
        "DASHGATE_ADMIN_ALLOWED_HOSTS":
        "The names that the admin port may be asked by, in `Host`, beside IP addresses and \
         `localhost`; `*` for all. Other names are answered with 421.",
        "A web page can make a name of its own mean this machine (DNS rebinding); no other client \
         asks by a name that you do not know.";
    "telemetry.rates" [Rates] = "",
        "DASHGATE_TELEMETRY_RATES":
        "What a million tokens cost, of the question and of the answer: `model=0.8|2,...`. \
         Counted in `dashgate_cost_total`.",
        "Prices change, differ by contract, and are the operator's to know.";
    "telemetry.currency" [Text] = "CNY",
        "DASHGATE_TELEMETRY_CURRENCY":
        "The currency of these prices.",
        "DashScope bills most regions in it.";
    "telemetry.load_reports" [Switch] = "false",
        "DASHGATE_TELEMETRY_LOAD_REPORTS":
        "Tell in the trailers of each answer how loaded the gateway is (ORCA).",
        "Only balancers that weigh by it read it, and it tells callers how busy you are.";
    "telemetry.otlp_endpoint" [Text] = "",
        "OTEL_EXPORTER_OTLP_ENDPOINT":
        "Where traces go: the address of an OTLP receiver, over HTTP. `/v1/traces` is added. \
         Default: nowhere.",
        "Traces need a receiver, and there is none that everybody has.";
    "telemetry.otlp_headers" [Secret] = "",
        "OTEL_EXPORTER_OTLP_HEADERS":
        "Headers that the receiver wants: `name=value,...`.",
        "A receiver of your own wants none.";
    "telemetry.service_name" [Text] = "dashgate",
        "OTEL_SERVICE_NAME":
        "What this process is called in traces.",
        "It is the name of the program.";
    "telemetry.trace_sampler" [Choice(&["parent", "ratio"])] = "parent",
        "DASHGATE_TELEMETRY_TRACE_SAMPLER":
        "`parent` follows a caller that says whether its trace is kept, and takes the ratio for \
         the others; `ratio` takes the ratio for all.",
        "A trace with holes helps nobody.";
    "telemetry.trace_ratio" [Text] = "1",
        "DASHGATE_TELEMETRY_TRACE_RATIO":
        "The share of calls that are traced, 0 to 1.",
        "A call to a model is rare and dear beside the trace of it.";
    "telemetry.capture_content" [Switch] = "false",
        "DASHGATE_TELEMETRY_CAPTURE_CONTENT":
        "Put what is asked and answered into traces. Media are named and never copied.",
        "What people say is theirs, and receivers keep it for long.";
}
