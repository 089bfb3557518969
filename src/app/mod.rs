//! Creates the modules, connects them, runs them and drains them. The only module that knows all
//! others. It has no code per call.

pub mod core_dumps;
mod embedded;
mod module_configs;
mod reload;
mod store_tasks;
mod upstreams;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin;
use crate::callers::Callers;
use crate::config::{Address, LogFormat, Settings};
use crate::error::{Error, Reason};
use crate::grpc::orca::Load;
use crate::grpc::registry::Registry;
use crate::grpc::router::Router;
use crate::live::LiveSessions;
use crate::memory::MemoryLedger;
use crate::quotas::Refresher;
use crate::relay::Relay;
use crate::server::connection::ConnectionContext;
use crate::server::cors::Origins;
use crate::server::listener::Capacity;
use crate::server::phase::{Phase, PhaseSender};
use crate::server::socket::Listener;
use crate::server::worker_runtimes::Workers;
use crate::telemetry::export::{self, Exporter};
use crate::telemetry::{Telemetry, log};

use self::embedded::Embedded;
pub use self::reload::Changes;
use self::reload::Reload;
use self::store_tasks::Stored;

/// How long a call that shutdown cancels may take to send its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// A gateway that is bound to its address but does not serve yet.
pub struct Gateway {
    listener: Listener,
    address: Address,
    embedded: Option<Embedded>,
    relay: Relay,
    sessions: LiveSessions,
    callers: Callers,
    store: Option<Stored>,
    refresher: Option<Refresher>,
    connections: ConnectionContext<Router>,
    capacity: Capacity,
    workers: Workers,
    phase: PhaseSender,
    drain_delay: Duration,
    drain_timeout: Duration,
    telemetry: Arc<Telemetry>,
    exporter: Option<Exporter>,
    admin: Option<TcpListener>,
    admin_hosts: Vec<String>,
    effective: Arc<RwLock<String>>,
    changes: Option<Changes>,
}

/// Starts the log with these settings. The result changes the level later.
pub fn start_log(settings: &Settings) -> Option<log::Level> {
    let format = match settings.log.format {
        LogFormat::Auto => log::Format::Auto,
        LogFormat::Json => log::Format::Json,
        LogFormat::Text => log::Format::Text,
    };
    log::start(&settings.log.level, format)
}

/// Binds the address and creates all modules.
pub async fn bind(settings: &Settings) -> Result<Gateway, Error> {
    let (quotas, renewals) = store_tasks::quotas(settings);
    let callers = Callers::new(&module_configs::callers_settings(settings), quotas.clone())?;
    // What can fail without side effects comes first, before an address is bound.
    let tls = settings.server.tls.as_ref();
    let tls = tls.map(module_configs::tls).transpose()?;
    let (listener, address) = listener(&settings.server.listen).await?;
    let admin = admin_listener(settings).await?;
    let embedded = embedded(settings).await?;
    let base_url = embedded.as_ref().map(|embedded| &embedded.base_url);
    let accounts = upstreams::accounts(settings, base_url)?;
    let first = accounts.first().map(|account| account.upstream.address());
    let memory = MemoryLedger::new(settings.memory.limit);
    let (telemetry, exporter) = Telemetry::new(&module_configs::telemetry_settings(
        settings,
        memory.clone(),
        first.unwrap_or_default(),
    ))?;
    let telemetry = Arc::new(telemetry);
    let config = module_configs::relay_settings(settings);
    let store = store_tasks::open(settings.store.as_ref(), &telemetry).await?;
    let shared = store.as_ref().map(|stored| &stored.store);
    let refresher = store_tasks::refresher(shared, renewals, &telemetry);
    let relay = Relay::new(
        config,
        accounts,
        Arc::clone(&telemetry),
        memory,
        module_configs::conversations(settings, shared),
        store_tasks::sharing(shared, quotas),
    );
    let sessions = LiveSessions::new(relay.clone(), module_configs::live_settings(settings));
    let (phase, phases) = watch::channel(Phase::default());
    let load = settings.telemetry.load_reports;
    let router = Router::new(
        module_configs::grpc_settings(settings),
        callers.clone(),
        Arc::clone(&telemetry),
        load.then(|| Load::new(relay.clone())),
        Arc::new(Registry::new(relay.clone(), sessions.clone(), phases)?),
    );
    Ok(Gateway {
        listener,
        address,
        embedded,
        callers,
        store,
        refresher,
        connections: ConnectionContext {
            service: router,
            origins: Arc::new(Origins::new(settings.server.allowed_origins.clone())),
            tls: tls.map(Arc::new),
            limits: module_configs::limits(&settings.server),
            memory: relay.memory().clone(),
        },
        relay,
        sessions,
        capacity: module_configs::capacity(&settings.server),
        workers: Workers::default(),
        phase,
        drain_delay: settings.server.drain_delay,
        drain_timeout: settings.server.drain_timeout,
        telemetry,
        exporter,
        admin,
        admin_hosts: settings.admin.allowed_hosts.clone(),
        effective: Arc::new(RwLock::new(settings.effective.clone())),
        changes: None,
    })
}

/// The emulator, if there is no key.
async fn embedded(settings: &Settings) -> Result<Option<Embedded>, Error> {
    match Embedded::is_wanted(settings) {
        true => Embedded::start().await.map(Some),
        false => Ok(None),
    }
}

/// Binds this address. Returns it with the actual port.
async fn listener(wanted: &Address) -> Result<(Listener, Address), Error> {
    let listener = match wanted {
        Address::Tcp(address) => Listener::tcp(*address)?,
        Address::Unix(path) => Listener::unix(path).await?,
    };
    let address = match listener.port() {
        Some(address) => Address::Tcp(address),
        None => wanted.clone(),
    };
    Ok((listener, address))
}

async fn admin_listener(settings: &Settings) -> Result<Option<TcpListener>, Error> {
    match settings.admin.listen {
        Some(address) => Ok(Some(listen(address).await?)),
        None => Ok(None),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address}: {error}; choose another address");
        Error::new(Reason::GatewayConfig, message)
    })
}

impl Gateway {
    /// The listen address with the actual port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address of the admin port, if it is enabled.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Whether it uses the emulator.
    pub fn embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Runs calls on threads of their own, as many as the settings say. Without it, they run where
    /// [`Gateway::run`] is polled.
    pub fn spread(&mut self, settings: &Settings) -> Result<(), Error> {
        let count = match settings.server.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        self.workers = Workers::start(count).map_err(|error| {
            let message = format!("cannot start {count} threads; lower server.threads");
            Error::new(Reason::GatewayConfig, message).with_source(error)
        })?;
        Ok(())
    }

    /// Reloads settings from this source while running. Without it, the settings never change.
    pub fn follow(&mut self, changes: Changes) {
        self.changes = Some(changes);
    }

    /// Serves until `shutdown` completes, and then drains in order: health reports not serving, new
    /// calls are still accepted for a while, GOAWAY is sent on all connections, calls end, and
    /// those that remain after the drain timeout are cancelled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self {
            listener,
            relay,
            sessions,
            callers,
            store,
            mut refresher,
            connections,
            capacity,
            workers,
            phase,
            telemetry,
            exporter,
            admin,
            effective,
            changes,
            ..
        } = self;
        let phases = phase.subscribe();
        let mut reload = Box::pin(reload::run(
            changes,
            Reload {
                relay: relay.clone(),
                sessions: sessions.clone(),
                router: connections.service.clone(),
                effective: Arc::clone(&effective),
                embedded: self.embedded.as_ref().map(|one| one.base_url.clone()),
                late: None,
            },
        ));
        let mut server = Box::pin(crate::server::listener::serve(
            listener,
            connections,
            (capacity, workers),
            phases,
        ));
        let mut upkeep = Box::pin(upkeep(
            &relay,
            &callers,
            (store.clone(), refresher.as_mut()),
        ));
        let exporting = exporter.map(Exporter::spawn);
        let shown = (effective, self.admin_hosts, store.clone());
        let pages = pages(&relay, &telemetry, &phase, shown);
        let mut admin = Box::pin(admin::serve(admin, pages, Arc::clone(&telemetry)));
        let delays = (self.drain_delay, self.drain_timeout);
        let mut going_down = Box::pin(async {
            tokio::select! {
                () = shutdown => {}
                () = store_tasks::unusable(store.as_ref()) => {}
            }
            drain((&relay, &sessions), &phase, delays).await;
        });
        tokio::select! {
            () = &mut server => {}
            () = &mut admin => {}
            () = &mut reload => {}
            () = &mut upkeep => {}
            () = &mut going_down => {}
        }
        // Closes the remaining connections.
        drop((server, upkeep));
        finished(exporting, self.embedded, refresher).await;
        store_tasks::result(store.as_ref())
    }
}

/// Drains the gateway: no new calls, then no calls.
async fn drain(
    (relay, sessions): (&Relay, &LiveSessions),
    phase: &PhaseSender,
    (delay, timeout): (Duration, Duration),
) {
    tracing::info!(in_flight = relay.in_flight(), "draining");
    phase.send_replace(Phase::Draining);
    tokio::time::sleep(delay).await;
    phase.send_replace(Phase::Closing);
    sessions.drain(timeout);
    tokio::time::sleep(timeout).await;
    tracing::warn!(
        in_flight = relay.in_flight(),
        "drain timeout reached, ending remaining calls"
    );
    relay.shut_down();
    sessions.shut_down();
    tokio::time::sleep(STATUS_TIMEOUT).await;
}

/// What modules do besides calls, until it is dropped.
async fn upkeep(
    relay: &Relay,
    callers: &Callers,
    (store, refresher): (Option<Stored>, Option<&mut Refresher>),
) {
    tokio::select! {
        () = relay.relieve() => {}
        () = callers.watch() => {}
        () = store_tasks::keep(store) => {}
        () = relay.watch_cancellations() => {}
        () = relay.share_rates() => {}
        () = store_tasks::share(refresher) => {}
    }
}

/// Stops what outlives the connections.
async fn finished(
    exporting: Option<export::Running>,
    embedded: Option<Embedded>,
    refresher: Option<Refresher>,
) {
    // The last calls have used their tokens by now.
    if let Some(mut refresher) = refresher {
        refresher.close().await;
    }
    // The spans of the last calls have been queued by now.
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
}

/// The content of the admin port's pages.
fn pages(
    relay: &Relay,
    telemetry: &Arc<Telemetry>,
    phase: &PhaseSender,
    (effective, allowed_hosts, store): (Arc<RwLock<String>>, Vec<String>, Option<Stored>),
) -> admin::Pages {
    let (relay, telemetry, phase) = (relay.clone(), Arc::clone(telemetry), phase.subscribe());
    admin::Pages {
        metrics: Box::new(move || telemetry.metrics.text()),
        ready: Box::new(move || *phase.borrow() == Phase::Serving),
        store: Box::new(move || store.as_ref().map(Stored::state).unwrap_or_default()),
        config: Box::new(move || {
            let text = effective.read().unwrap_or_else(PoisonError::into_inner);
            text.clone()
        }),
        calls: Box::new(move || relay.calls()),
        allowed_hosts,
    }
}
