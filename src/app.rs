//! Builds every room once, joins them, runs them, and takes them down in order. The only file that
//! knows them all. It holds no per-call code.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use url::Url;

use crate::admin;
use crate::callers::jwks::Source;
use crate::callers::{self, Callers};
use crate::config::{self, Address, Endpoint, LogFormat, Sampler, Settings};
use crate::dashscope::{self, DashScope};
use crate::emulator;
use crate::error::{Error, Reason};
use crate::grpc;
use crate::grpc::connection::{Door, Limits};
use crate::grpc::cors::Origins;
use crate::grpc::health::{Phase, PhaseSender};
use crate::grpc::listener::Capacity;
use crate::grpc::router::Router;
use crate::grpc::socket::Listener;
use crate::grpc::tls::{self, Tls};
use crate::relay::accounts::{Account, Limit};
use crate::relay::{self, Relay, once, retry, routes, standing};
use crate::secret::Secret;
use crate::telemetry::export::{self, Exporter};
use crate::telemetry::rates::Card;
use crate::telemetry::{self, Telemetry, log};

/// How long a call that was ended by the shutdown may take to tell its caller so.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The key that the embedded DashScope is asked with. It takes any that looks like one.
const EMBEDDED_KEY: &str = "sk-embedded";

/// What the account is called when there is but one.
const ONLY_ACCOUNT: &str = "default";

/// A gateway that listens and has not begun to serve.
pub struct Gateway {
    listener: Listener,
    address: Address,
    embedded: Option<Embedded>,
    relay: Relay,
    callers: Callers,
    door: Door,
    capacity: Capacity,
    phase: PhaseSender,
    drain_delay: Duration,
    drain_timeout: Duration,
    telemetry: Arc<Telemetry>,
    exporter: Option<Exporter>,
    admin: Option<TcpListener>,
    effective: String,
}

/// The DashScope in this process.
struct Embedded {
    base_url: Url,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Starts the log as the settings say.
pub fn start_log(settings: &Settings) {
    let format = match settings.log.format {
        LogFormat::Auto => log::Format::Auto,
        LogFormat::Json => log::Format::Json,
        LogFormat::Text => log::Format::Text,
    };
    log::start(&settings.log.level, format);
}

/// Binds the address and builds all rooms.
pub async fn bind(settings: &Settings) -> Result<Gateway, Error> {
    let callers = Callers::new(&callers_settings(settings))?;
    // First what can be wrong by itself: an address that is taken away from nobody for nothing.
    let tls = settings.server.tls.as_ref().map(tls).transpose()?;
    let listener = match &settings.server.listen {
        Address::Tcp(address) => Listener::tcp(*address)?,
        Address::Unix(path) => Listener::unix(path).await?,
    };
    let address = match listener.port() {
        Some(address) => Address::Tcp(address),
        None => settings.server.listen.clone(),
    };
    let admin = match settings.admin.listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };

    let embedded = match settings.upstream.endpoint {
        Endpoint::Embedded if settings.upstream.accounts.is_empty() => Some(embed().await?),
        Endpoint::Embedded | Endpoint::Remote { .. } => None,
    };
    let base_url = embedded.as_ref().map(|embedded| &embedded.base_url);
    let accounts = accounts(settings, base_url)?;
    let first = accounts.first().map(|account| account.dashscope.address());
    let (telemetry, exporter) =
        Telemetry::new(&telemetry_settings(settings, first.unwrap_or_default()))?;
    let telemetry = Arc::new(telemetry);
    let relay = Relay::new(relay_settings(settings), accounts, Arc::clone(&telemetry));
    let (phase, phases) = watch::channel(Phase::default());
    let router = Router::new(
        grpc_settings(settings),
        relay.clone(),
        callers.clone(),
        Arc::clone(&telemetry),
        phases,
    )?;
    Ok(Gateway {
        listener,
        address,
        embedded,
        relay,
        callers,
        door: Door {
            router,
            origins: Arc::new(Origins::new(settings.server.allowed_origins.clone())),
            tls: tls.map(Arc::new),
            limits: limits(&settings.server),
        },
        capacity: Capacity {
            connections: settings.server.max_connections,
            connections_per_address: match settings.server.max_connections_per_address {
                0 => None,
                most => Some(most),
            },
        },
        phase,
        drain_delay: settings.server.drain_delay,
        drain_timeout: settings.server.drain_timeout,
        telemetry,
        exporter,
        admin,
        effective: settings.effective.clone(),
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}: {error}; choose another address");
        Error::new(Reason::GatewayConfig, message)
    })
}

fn tls(settings: &config::Tls) -> Result<Tls, Error> {
    Tls::load(tls::Settings {
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
        client_ca: settings.client_ca.clone(),
        client_optional: settings.client_optional,
        handshake_timeout: settings.handshake_timeout,
        reload_interval: settings.reload_interval,
    })
}

fn limits(server: &config::Server) -> Limits {
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

async fn embed() -> Result<Embedded, Error> {
    let broken = |error: std::io::Error| {
        Error::new(
            Reason::GatewayConfig,
            "the embedded DashScope cannot listen",
        )
        .with_source(error)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(broken)?;
    let address = listener.local_addr().map_err(broken)?;
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let server = emulator::serve(listener, emulator::Settings::default(), shutdown);
    let base_url = base_url(&format!("http://{address}/api/v1"))?;
    Ok(Embedded {
        base_url,
        stop,
        task: tokio::spawn(server),
    })
}

fn base_url(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|error| {
        Error::new(
            Reason::GatewayConfig,
            "the base URL of DashScope cannot be read",
        )
        .with_source(error)
    })
}

/// The accounts that calls go to.
fn accounts(settings: &Settings, embedded: Option<&Url>) -> Result<Vec<Account>, Error> {
    let upstream = &settings.upstream;
    if upstream.accounts.is_empty() {
        let only = config::Account {
            name: ONLY_ACCOUNT.to_owned(),
            endpoint: upstream.endpoint.clone(),
            workspace: upstream.workspace.clone(),
            weight: 1,
            limits: Vec::new(),
        };
        return Ok(vec![account(upstream, &only, embedded)?]);
    }
    let named = upstream.accounts.iter();
    named
        .map(|named| account(upstream, named, embedded))
        .collect()
}

fn account(
    upstream: &config::Upstream,
    account: &config::Account,
    embedded: Option<&Url>,
) -> Result<Account, Error> {
    let (url, api_key) = match (&account.endpoint, embedded) {
        (
            Endpoint::Remote {
                base_url: text,
                api_key,
            },
            _,
        ) => (base_url(text)?, api_key.clone()),
        (Endpoint::Embedded, Some(url)) => (url.clone(), Secret::new(EMBEDDED_KEY)),
        (Endpoint::Embedded, None) => {
            return Err(Error::new(
                Reason::GatewayBug,
                "the embedded DashScope was not started",
            ));
        }
    };
    let limits = account.limits.iter().map(|limit| {
        let rates = Limit {
            requests_per_minute: limit.requests_per_minute,
            tokens_per_minute: limit.tokens_per_minute,
        };
        (limit.models.clone(), rates)
    });
    Ok(Account {
        name: account.name.clone(),
        dashscope: DashScope::new(dashscope::Settings {
            workspace: account.workspace.clone(),
            data_inspection: upstream.data_inspection.clone(),
            connect_timeout: upstream.connect_timeout,
            inline_limit: upstream.inline_limit,
            max_event_bytes: upstream.max_event_bytes,
            max_body_bytes: upstream.max_body_bytes,
            ..dashscope::Settings::new(url, api_key)
        })?,
        weight: account.weight,
        limits: limits.collect(),
    })
}

fn relay_settings(settings: &Settings) -> relay::Settings {
    relay::Settings {
        max_in_flight: settings.server.max_in_flight,
        max_timeout: settings.timeouts.max,
        first_event_timeout: settings.timeouts.first_event,
        idle_timeout: settings.timeouts.idle,
        slow_consumer_timeout: settings.timeouts.slow_consumer,
        retry: retry::Policy {
            max_attempts: settings.retry.max_attempts,
            after_reset: settings.retry.after_reset,
        },
        retry_budget_percent: settings.retry.budget_percent,
        routes: routes::Settings {
            aliases: settings.models.aliases.iter().cloned().collect(),
            fallbacks: settings.models.fallbacks.iter().cloned().collect(),
            stream_only: settings.upstream.stream_only_models.clone(),
            timeouts: settings.models.timeouts.clone(),
            first_event_timeouts: settings.models.first_event_timeouts.clone(),
        },
        model_in_flight: settings.models.max_in_flight.clone(),
        breaker: standing::Policy {
            failures: settings.upstream.breaker_failures,
            pause: settings.upstream.breaker_pause,
        },
        once: once::Settings {
            keep: settings.idempotency.keep,
            max_calls: settings.idempotency.max_calls,
            max_bytes: settings.idempotency.max_bytes,
        },
    }
}

fn callers_settings(settings: &Settings) -> callers::Settings {
    let limits = &settings.callers.limits;
    callers::Settings {
        keys_file: settings.callers.keys_file.clone(),
        pass_through: settings.callers.pass_through,
        tokens: settings.callers.tokens.as_ref().map(token_settings),
        certificate_uris: settings.callers.certificate_uris.clone(),
        max_tracked: settings.callers.max_tracked,
        limits: callers::limits::Limits {
            models: limits.models.clone(),
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            max_streams: limits.max_streams,
            tokens_per_day: limits.tokens_per_day,
        },
    }
}

fn token_settings(tokens: &config::Tokens) -> callers::token::Settings {
    callers::token::Settings {
        jwks: match tokens.jwks.contains("://") {
            true => Source::Address(tokens.jwks.clone()),
            false => Source::File(tokens.jwks.clone().into()),
        },
        issuer: tokens.issuer.clone(),
        audience: tokens.audience.clone(),
        algorithms: tokens.algorithms.clone(),
        clock_skew: tokens.clock_skew,
        name_claim: tokens.name_claim.clone(),
        limits_claim: tokens.limits_claim.clone(),
    }
}

fn grpc_settings(settings: &Settings) -> grpc::settings::Settings {
    grpc::settings::Settings {
        max_request_bytes: settings.server.max_request_bytes,
        max_chunk_bytes: settings.server.max_chunk_bytes,
        max_metadata_bytes: settings.server.max_metadata_bytes,
        request_body_timeout: settings.server.request_body_timeout,
        unary_timeout: settings.timeouts.unary,
        stream_timeout: settings.timeouts.stream,
        max_timeout: settings.timeouts.max,
        heartbeat_after: settings.server.heartbeat_after,
        open_reflection: settings.callers.open_reflection,
        load_reports: settings.telemetry.load_reports,
        show_upstream_messages: settings.upstream.show_messages,
    }
}

fn telemetry_settings(settings: &Settings, server: (String, u16)) -> telemetry::Settings {
    let sight = &settings.telemetry;
    let mut models = settings.models.named();
    models.extend(sight.rates.iter().map(|(model, _)| model.clone()));
    telemetry::Settings {
        rates: Card::new(sight.currency.clone(), &sight.rates),
        models,
        traces: sight
            .otlp_endpoint
            .clone()
            .map(|endpoint| export::Settings {
                endpoint,
                headers: sight.otlp_headers.clone(),
                service_name: sight.service_name.clone(),
                ratio: sight.trace_ratio,
                follow_caller: sight.trace_sampler == Sampler::Parent,
                content: sight.capture_content,
                server,
            }),
    }
}

impl Gateway {
    /// The address that it listens on, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address of the operator's door, if it is open.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Whether it answers from the embedded DashScope.
    pub fn embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Serves until the shutdown is asked for, and then goes down in order: health says so, calls
    /// still come for a while, connections are told to go, calls end, and what is left after the
    /// drain's timeout is ended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self {
            listener,
            relay,
            callers,
            door,
            capacity,
            phase,
            telemetry,
            exporter,
            admin,
            effective,
            ..
        } = self;
        let phases = phase.subscribe();
        let mut server = Box::pin(grpc::listener::serve(listener, door, capacity, phases));
        let mut supervisor = Box::pin(relay.supervise());
        let mut watch = Box::pin(callers.watch());
        let exporting = exporter.map(Exporter::spawn);
        let pages = pages(&relay, &telemetry, &phase, effective);
        let mut admin = Box::pin(admin::serve(admin, pages));
        let mut going_down = Box::pin(async {
            shutdown.await;
            tracing::info!(in_flight = relay.in_flight(), "draining");
            phase.send_replace(Phase::Draining);
            tokio::time::sleep(self.drain_delay).await;
            phase.send_replace(Phase::Closing);
            tokio::time::sleep(self.drain_timeout).await;
            tracing::warn!(
                in_flight = relay.in_flight(),
                "ending the calls that are left"
            );
            relay.shut_down();
            tokio::time::sleep(LAST_WORDS).await;
        });
        tokio::select! {
            () = &mut server => {}
            () = &mut supervisor => {}
            () = &mut watch => {}
            () = &mut admin => {}
            () = &mut going_down => {}
        }
        // Connections that are left are closed by this.
        drop(server);
        // The spans of the last calls are on their way by now.
        if let Some(exporting) = exporting {
            exporting.finish().await;
        }
        if let Some(embedded) = self.embedded {
            let _ = embedded.stop.send(());
            let _ = embedded.task.await;
        }
        Ok(())
    }
}

/// What the operator's door shows.
fn pages(
    relay: &Relay,
    telemetry: &Arc<Telemetry>,
    phase: &PhaseSender,
    config: String,
) -> admin::Pages {
    let (relay, telemetry, phase) = (relay.clone(), Arc::clone(telemetry), phase.subscribe());
    admin::Pages {
        metrics: Box::new(move || telemetry.metrics.text()),
        ready: Box::new(move || *phase.borrow() == Phase::Serving),
        config,
        calls: Box::new(move || relay.calls()),
    }
}
