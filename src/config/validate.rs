//! The second step: from what was typed to settings that cannot be wrong.

use super::accounts;
use super::callers;
use super::client;
use super::environment::Surroundings;
use super::error::Faults;
use super::layers::Raw;
use super::memory;
use super::network;
use super::server;
use super::setting_reader::Checker;
use super::settings::{
    Admin, Idempotency, Log, LogFormat, Models, Retry, Sampler, Settings, Telemetry, Timeouts,
    Upstream,
};
use super::upstream;
use super::value::{self, Wrong};

/// Checks all settings, and tells all that is wrong with them.
pub(crate) fn settings(raw: &Raw, around: &dyn Surroundings) -> Result<Settings, Faults> {
    let mut checker = Checker::new(raw);
    let server = server::server(&mut checker);
    let settings = Settings {
        callers: callers::callers(&mut checker, &server),
        server,
        memory: memory::memory(&mut checker, around),
        timeouts: timeouts(&mut checker),
        upstream: upstream_part(&mut checker, around),
        retry: Retry {
            max_attempts: checker.count("retry.max_attempts"),
            budget_percent: checker.count("retry.budget_percent"),
            after_reset: checker.read("retry.after_reset", value::switch),
        },
        idempotency: Idempotency {
            keep: checker.duration("idempotency.keep"),
            max_calls: checker.count("idempotency.max_calls"),
            max_bytes: checker.size("idempotency.max_bytes"),
        },
        models: Models {
            aliases: checker.read("models.aliases", value::aliases),
            fallbacks: checker.read("models.fallbacks", value::fallbacks),
            timeouts: checker.read("models.timeouts", value::durations),
            first_event_timeouts: checker.read("models.first_event_timeouts", value::durations),
            max_request_bytes: checker.read("models.max_request_bytes", value::sizes),
            audio_limits: checker.read("models.audio_limits", value::durations),
            refuse_long_audio: checker.read("models.long_audio", |text| Ok(text == "refuse")),
            max_in_flight: checker.read("models.max_in_flight", value::counts),
        },
        log: Log {
            level: checker.read("log.level", value::filter),
            format: checker.read("log.format", log_format),
        },
        admin: Admin {
            listen: checker.read("admin.listen", value::address_if_any),
            allowed_hosts: checker.read("admin.allowed_hosts", value::names),
        },
        telemetry: Telemetry {
            rates: checker.read("telemetry.rates", value::rates),
            currency: checker.read("telemetry.currency", |text| Ok(text.to_owned())),
            load_reports: checker.read("telemetry.load_reports", value::switch),
            otlp_endpoint: checker.read("telemetry.otlp_endpoint", value::receiver),
            otlp_headers: checker.read("telemetry.otlp_headers", value::headers),
            service_name: checker.read("telemetry.service_name", |text| Ok(text.to_owned())),
            trace_sampler: checker.read("telemetry.trace_sampler", sampler),
            trace_ratio: checker.read("telemetry.trace_ratio", value::share),
            capture_content: checker.read("telemetry.capture_content", value::switch),
        },
        client: client::client(&mut checker),
        effective: String::new(),
    };
    checker.finish(settings)
}

fn timeouts(checker: &mut Checker<'_>) -> Timeouts {
    let max = checker.duration("timeouts.max");
    Timeouts {
        unary: checker.duration_below("timeouts.unary", max),
        stream: checker.duration_below("timeouts.stream", max),
        max,
        first_event: checker.duration("timeouts.first_event"),
        idle: checker.duration("timeouts.idle"),
        slow_consumer: checker.duration("timeouts.slow_consumer"),
    }
}

fn upstream_part(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Upstream {
    let max_event_bytes = checker.size("upstream.max_event_bytes");
    let max_body_bytes = checker.size("upstream.max_body_bytes");
    if max_event_bytes > max_body_bytes {
        let key = ["upstream.max_event_bytes", "upstream.max_body_bytes"]
            .into_iter()
            .find(|key| checker.raw.typed(key).is_some());
        checker.clash(
            key.unwrap_or("upstream.max_event_bytes"),
            "upstream.max_event_bytes is more than upstream.max_body_bytes",
            "an event is a part of an answer: lower the one or raise the other",
        );
    }
    let network = network::network(checker, around);
    Upstream {
        network,
        allow_plaintext: checker.read("upstream.allow_plaintext", value::switch),
        endpoint: upstream::endpoint(checker, around),
        accounts: accounts::accounts(checker, around),
        breaker_failures: checker.count("upstream.breaker_failures"),
        breaker_pause: checker.duration("upstream.breaker_pause"),
        workspace: checker.read("upstream.workspace", value::text),
        data_inspection: checker.read("upstream.data_inspection", value::text),
        connect_timeout: checker.duration("upstream.connect_timeout"),
        max_connection_age: checker.duration("upstream.max_connection_age"),
        inline_limit: checker.size("upstream.inline_limit"),
        max_request_bytes: checker.size("upstream.max_request_bytes"),
        refuse_unknown_uploads: checker.read("upstream.unknown_uploads", refuses),
        private_hosts: checker.read("upstream.private_hosts", value::names),
        max_event_bytes,
        max_body_bytes,
        stream_only_models: checker.read("upstream.stream_only_models", value::names),
        incremental_models: checker.read("upstream.incremental_models", value::names),
        cumulative_models: checker.read("upstream.cumulative_models", value::names),
        revised_models: checker.read("upstream.revised_models", value::names),
        show_messages: checker.read("upstream.show_messages", value::switch),
    }
}

fn refuses(text: &str) -> Result<bool, Wrong> {
    match text {
        "allow" => Ok(false),
        "refuse" => Ok(true),
        _ => Err(Wrong::new("it is not known", "write allow or refuse")),
    }
}

fn sampler(text: &str) -> Result<Sampler, Wrong> {
    match text {
        "parent" => Ok(Sampler::Parent),
        "ratio" => Ok(Sampler::Ratio),
        _ => Err(Wrong::new("it is not a sampler", "write parent or ratio")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(Wrong::new(
            "it is not a log format",
            "write auto, json or text",
        )),
    }
}
