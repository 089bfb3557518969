//! The second step: from configured values to valid settings.

use super::accounts;
use super::callers;
use super::client;
use super::endpoint;
use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::RawSettings;
use super::live_table::DIALECTS;
use super::memory;
use super::network;
use super::server;
use super::setting_reader::SettingReader;
use super::settings::{
    Admin, Idempotency, Live, Log, LogFormat, Models, Retry, Sampler, Settings, Telemetry,
    Timeouts, Upstream,
};
use super::store;
use super::value::{self, ValueError};

/// Validates all settings and returns all errors.
pub(crate) fn settings(
    raw: &RawSettings,
    environment: &dyn Environment,
) -> Result<Settings, ConfigErrors> {
    let mut reader = SettingReader::new(raw);
    let server = server::server(&mut reader);
    let settings = Settings {
        callers: callers::callers(&mut reader, &server),
        server,
        memory: memory::memory(&mut reader, environment),
        timeouts: timeouts(&mut reader),
        live: live(&mut reader),
        upstream: upstream_part(&mut reader, environment),
        retry: Retry {
            max_attempts: reader.count("retry.max_attempts"),
            budget_percent: reader.count("retry.budget_percent"),
            after_reset: reader.read("retry.after_reset", value::switch),
        },
        idempotency: Idempotency {
            keep: reader.duration("idempotency.keep"),
            max_calls: reader.count("idempotency.max_calls"),
            detached_grace: reader.duration("idempotency.detached_grace"),
            resume_grace: reader.duration("idempotency.resume_grace"),
            max_bytes: reader.size("idempotency.max_bytes"),
        },
        store: store::store(&mut reader),
        models: Models {
            aliases: reader.read("models.aliases", value::aliases),
            fallbacks: reader.read("models.fallbacks", value::fallbacks),
            timeouts: reader.read("models.timeouts", value::durations),
            first_event_timeouts: reader.read("models.first_event_timeouts", value::durations),
            max_request_bytes: reader.read("models.max_request_bytes", value::sizes),
            audio_limits: reader.read("models.audio_limits", value::durations),
            refuse_long_audio: reader.read("models.long_audio", |text| Ok(text == "refuse")),
            max_in_flight: reader.read("models.max_in_flight", value::counts),
        },
        log: Log {
            level: reader.read("log.level", value::filter),
            format: reader.read("log.format", log_format),
        },
        admin: Admin {
            listen: reader.read("admin.listen", value::address_if_any),
            allowed_hosts: reader.read("admin.allowed_hosts", value::names),
        },
        telemetry: Telemetry {
            rates: reader.read("telemetry.rates", value::rates),
            currency: reader.read("telemetry.currency", |text| Ok(text.to_owned())),
            load_reports: reader.read("telemetry.load_reports", value::switch),
            otlp_endpoint: reader.read("telemetry.otlp_endpoint", value::receiver),
            otlp_headers: reader.read("telemetry.otlp_headers", value::headers),
            service_name: reader.read("telemetry.service_name", |text| Ok(text.to_owned())),
            trace_sampler: reader.read("telemetry.trace_sampler", sampler),
            trace_ratio: reader.read("telemetry.trace_ratio", value::share),
            capture_content: reader.read("telemetry.capture_content", value::switch),
        },
        client: client::client(&mut reader),
        effective: String::new(),
    };
    reader.finish(settings)
}

fn timeouts(reader: &mut SettingReader<'_>) -> Timeouts {
    let max = reader.duration("timeouts.max");
    Timeouts {
        unary: reader.duration_below("timeouts.unary", max),
        stream: reader.duration_below("timeouts.stream", max),
        max,
        first_event: reader.duration("timeouts.first_event"),
        idle: reader.duration("timeouts.idle"),
        slow_consumer: reader.duration("timeouts.slow_consumer"),
    }
}

fn live(reader: &mut SettingReader<'_>) -> Live {
    Live {
        max_duration: reader.duration("live.max_duration"),
        input_buffer: reader.duration("live.input_buffer"),
        output_buffer: reader.duration("live.output_buffer"),
        resume_window: reader.duration("live.resume_window"),
        journal_bytes: reader.size("live.journal_bytes"),
        upstream_limit: reader.duration("live.upstream_limit"),
    }
}

/// Patterns of models, with the names of dialects.
fn dialects(text: &str) -> Result<Vec<(String, String)>, ValueError> {
    let dialects = value::aliases(text)?;
    match dialects
        .iter()
        .find(|(_, name)| !DIALECTS.contains(&&**name))
    {
        None => Ok(dialects),
        Some((_, name)) => {
            let known = DIALECTS.join(", ");
            Err(ValueError::new(
                format!("{name:?} is not a dialect"),
                format!("use one of {known}"),
            ))
        }
    }
}

fn upstream_part(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Upstream {
    let max_event_bytes = reader.size("upstream.max_event_bytes");
    let max_body_bytes = reader.size("upstream.max_body_bytes");
    if max_event_bytes > max_body_bytes {
        let key = ["upstream.max_event_bytes", "upstream.max_body_bytes"]
            .into_iter()
            .find(|key| reader.raw.configured(key).is_some());
        reader.conflict(
            key.unwrap_or("upstream.max_event_bytes"),
            "upstream.max_event_bytes is more than upstream.max_body_bytes",
            "an event is a part of an answer: lower the one or raise the other",
        );
    }
    let network = network::network(reader, environment);
    Upstream {
        dialects: reader.read("live.dialects", dialects),
        network,
        allow_plaintext: reader.read("upstream.allow_plaintext", value::switch),
        endpoint: endpoint::endpoint(reader, environment),
        accounts: accounts::accounts(reader, environment),
        breaker_failures: reader.count("upstream.breaker_failures"),
        breaker_pause: reader.duration("upstream.breaker_pause"),
        workspace: reader.read("upstream.workspace", value::text),
        data_inspection: reader.read("upstream.data_inspection", value::text),
        connect_timeout: reader.duration("upstream.connect_timeout"),
        max_connection_age: reader.duration("upstream.max_connection_age"),
        inline_limit: reader.size("upstream.inline_limit"),
        max_request_bytes: reader.size("upstream.max_request_bytes"),
        refuse_unknown_uploads: reader.read("upstream.unknown_uploads", parse_refusal),
        private_hosts: reader.read("upstream.private_hosts", value::names),
        max_event_bytes,
        max_body_bytes,
        models: reader.read("upstream.models", value::names),
        compatible_models: reader.read("upstream.compatible_models", value::names),
        stream_only_models: reader.read("upstream.stream_only_models", value::names),
        incremental_models: reader.read("upstream.incremental_models", value::names),
        cumulative_models: reader.read("upstream.cumulative_models", value::names),
        revised_models: reader.read("upstream.revised_models", value::names),
        show_messages: reader.read("upstream.show_messages", value::switch),
    }
}

fn parse_refusal(text: &str) -> Result<bool, ValueError> {
    match text {
        "allow" => Ok(false),
        "refuse" => Ok(true),
        _ => Err(ValueError::new("it is not known", "write allow or refuse")),
    }
}

fn sampler(text: &str) -> Result<Sampler, ValueError> {
    match text {
        "parent" => Ok(Sampler::Parent),
        "ratio" => Ok(Sampler::Ratio),
        _ => Err(ValueError::new(
            "it is not a sampler",
            "write parent or ratio",
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, ValueError> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(ValueError::new(
            "it is not a log format",
            "write auto, json or text",
        )),
    }
}
