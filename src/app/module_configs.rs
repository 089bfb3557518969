//! The configuration of each module, from the settings. No module below reads the settings itself.

use crate::callers;
use crate::callers::jwks::JwksSource;
use crate::chat::message::LongAudio;
use crate::config::{self, LimitsWhenDown, Sampler, Settings};
use crate::conversations::{Conversations, ConversationsConfig};
use crate::error::Error;
use crate::grpc;
use crate::live;
use crate::memory::{KEPT_PERCENT, MemoryLedger};
use crate::net::Network;
use crate::quotas::WhenDown;
use crate::relay::accounts::circuit_breaker;
use crate::relay::{self, idempotency, retry, routes};
use crate::server::connection::Limits;
use crate::server::listener::Capacity;
use crate::server::tls::{self, Tls};
use crate::store::Store;
use crate::telemetry;
use crate::telemetry::export;
use crate::telemetry::prices::RateCard;

pub(super) fn tls(settings: &config::Tls) -> Result<Tls, Error> {
    Tls::load(tls::TlsConfig {
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
        client_ca: settings.client_ca.clone(),
        client_optional: settings.client_optional,
        handshake_timeout: settings.handshake_timeout,
        reload_interval: settings.reload_interval,
    })
}

pub(super) fn limits(server: &config::Server) -> Limits {
    Limits {
        max_streams: server.max_streams_per_connection,
        handshake_timeout: server.handshake_timeout,
        header_timeout: server.header_timeout,
        max_age: server.max_connection_age,
        max_age_grace: server.max_connection_age_grace,
        max_idle: server.max_connection_idle,
        min_ping_interval: server.min_ping_interval,
    }
}

pub(super) fn capacity(server: &config::Server) -> Capacity {
    Capacity {
        connections: server.max_connections,
        connections_per_address: match server.max_connections_per_address {
            0 => None,
            most => Some(most),
        },
    }
}

pub(super) fn relay_settings(settings: &Settings) -> relay::RelayConfig {
    relay::RelayConfig {
        max_in_flight: settings.server.max_in_flight,
        max_partial_requests: settings.server.max_partial_requests,
        caller_share_percent: settings.server.caller_share_percent,
        max_timeout: settings.timeouts.max,
        first_event_timeout: settings.timeouts.first_event,
        idle_timeout: settings.timeouts.idle,
        max_request_bytes: settings.upstream.max_request_bytes,
        refuse_unknown_uploads: settings.upstream.refuse_unknown_uploads,
        private_hosts: settings.upstream.private_hosts.clone(),
        retry: retry::RetryPolicy {
            max_attempts: settings.retry.max_attempts,
            after_reset: settings.retry.after_reset,
        },
        retry_budget_percent: settings.retry.budget_percent,
        routes: routes::RoutesConfig {
            aliases: settings.models.aliases.iter().cloned().collect(),
            fallbacks: settings.models.fallbacks.iter().cloned().collect(),
            stream_only: settings.upstream.stream_only_models.clone(),
            timeouts: settings.models.timeouts.clone(),
            first_event_timeouts: settings.models.first_event_timeouts.clone(),
            max_request_bytes: settings.models.max_request_bytes.clone(),
            audio_limits: settings.models.audio_limits.clone(),
            long_audio: match settings.models.refuse_long_audio {
                true => LongAudio::Fail,
                false => LongAudio::Warn,
            },
        },
        model_names: settings.model_names().cloned().collect(),
        model_in_flight: settings.models.max_in_flight.clone(),
        breaker: circuit_breaker::CircuitBreakerPolicy {
            failures: settings.upstream.breaker_failures,
            pause: settings.upstream.breaker_pause,
        },
        once: idempotency::IdempotencyConfig {
            keep: settings.idempotency.keep,
            max_calls: settings.idempotency.max_calls,
            detached_grace: settings.idempotency.detached_grace,
            resume_grace: settings.idempotency.resume_grace,
            // Cached answers are evicted before running calls are refused.
            max_bytes: settings
                .idempotency
                .max_bytes
                .min(settings.memory.limit / 100 * KEPT_PERCENT),
        },
    }
}

/// The conversations in the store, if there is one.
pub(super) fn conversations(settings: &Settings, store: Option<&Store>) -> Option<Conversations> {
    let (store, of) = store.zip(settings.store.as_ref())?;
    let config = ConversationsConfig {
        ttl: of.conversation_ttl,
        max_media_bytes: of.max_turn_media,
    };
    Some(Conversations::new(store.clone(), config))
}

pub(super) fn quotas_when_down(settings: &Settings) -> Option<WhenDown> {
    let store = settings.store.as_ref()?;
    Some(match store.when_down {
        LimitsWhenDown::Share => WhenDown::Share,
        LimitsWhenDown::Open => WhenDown::Open,
        LimitsWhenDown::Closed => WhenDown::Closed,
    })
}

pub(super) fn callers_settings(settings: &Settings) -> callers::CallersConfig {
    let limits = &settings.callers.limits;
    callers::CallersConfig {
        keys_file: settings.callers.keys_file.clone(),
        pass_through: settings.callers.pass_through,
        tokens: settings.callers.tokens.as_ref().map(|tokens| {
            let network = settings.upstream.network.beside();
            token_settings(tokens, network)
        }),
        certificate_uris: settings.callers.certificate_uris.clone(),
        max_tracked: settings.callers.max_tracked,
        stored: settings.store.is_some(),
        limits: callers::limits::Limits {
            models: limits.models.clone(),
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            max_streams: limits.max_streams,
            tokens_per_day: limits.tokens_per_day,
            audio_seconds_per_day: limits.audio_seconds_per_day,
        },
    }
}

pub(super) fn token_settings(
    tokens: &config::TokenSettings,
    network: Network,
) -> callers::token::TokenConfig {
    callers::token::TokenConfig {
        network,
        jwks: match tokens.jwks.contains("://") {
            true => JwksSource::Address(tokens.jwks.clone()),
            false => JwksSource::File(tokens.jwks.clone().into()),
        },
        issuer: tokens.issuer.clone(),
        audience: tokens.audience.clone(),
        algorithms: tokens.algorithms.clone(),
        clock_skew: tokens.clock_skew,
        name_claim: tokens.name_claim.clone(),
        limits_claim: tokens.limits_claim.clone(),
    }
}

pub(super) fn grpc_settings(settings: &Settings) -> grpc::config::GrpcConfig {
    grpc::config::GrpcConfig {
        max_request_bytes: settings.server.max_request_bytes,
        max_chunk_bytes: settings.server.max_chunk_bytes,
        max_metadata_bytes: settings.server.max_metadata_bytes,
        request_body_timeout: settings.server.request_body_timeout,
        unary_timeout: settings.timeouts.unary,
        stream_timeout: settings.timeouts.stream,
        live_timeout: settings.live.max_duration,
        max_timeout: settings.timeouts.max,
        heartbeat_after: settings.server.heartbeat_after,
        slow_consumer_timeout: settings.timeouts.slow_consumer,
        open_reflection: settings.callers.open_reflection,
        show_upstream_messages: settings.upstream.show_messages,
    }
}

pub(super) fn live_settings(settings: &Settings) -> live::config::LiveConfig {
    live::config::LiveConfig {
        input_buffer: settings.live.input_buffer,
        output_buffer: settings.live.output_buffer,
        resume_window: settings.live.resume_window,
        journal_bytes: settings.live.journal_bytes,
        slow_consumer_timeout: settings.timeouts.slow_consumer,
        start_timeout: settings.timeouts.first_event,
        idle_timeout: settings.timeouts.idle,
        max_age: settings.live.upstream_limit,
    }
}

pub(super) fn telemetry_settings(
    settings: &Settings,
    memory: MemoryLedger,
    server: (String, u16),
) -> telemetry::TelemetryConfig {
    let sight = &settings.telemetry;
    let mut models = settings.models.configured_names();
    models.extend(sight.rates.iter().map(|(model, _)| model.clone()));
    telemetry::TelemetryConfig {
        rates: RateCard::new(sight.currency.clone(), &sight.rates),
        models,
        memory,
        traces: sight
            .otlp_endpoint
            .clone()
            .map(|endpoint| export::ExportConfig {
                endpoint,
                network: settings.upstream.network.beside(),
                headers: sight.otlp_headers.clone(),
                service_name: sight.service_name.clone(),
                ratio: sight.trace_ratio,
                follow_caller: sight.trace_sampler == Sampler::Parent,
                content: sight.capture_content,
                server,
            }),
    }
}
