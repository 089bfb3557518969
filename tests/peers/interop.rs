//! The client of grpc-go's interoperability tests, against the gateway's own stack: its accept
//! loop, its guard, its HTTP/2 and the router are the real ones, and only the service is the one
//! that those tests are about.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dashgate::callers::{self, Callers};
use dashgate::grpc::config::GrpcConfig;
use dashgate::grpc::router::Router;
use dashgate::server::connection::{ConnectionContext, Limits};
use dashgate::server::cors::Origins;
use dashgate::server::listener::{self, Capacity};
use dashgate::server::phase::{Phase, PhaseSender};
use dashgate::server::socket::Listener;
use dashgate::server::worker_runtimes::Workers;
use dashgate::telemetry::{self, Telemetry};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Case;
use super::interop_service::TestService;
use super::judge::{equal, holds};
use super::process::ask;
use super::tools::Tool;

/// A case takes well below a second; the client itself gives up after ten.
const LIMIT: Duration = Duration::from_secs(30);

/// How long the last connection may take to go once its client is gone, and then its last call.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether that call has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Those that give a call up so soon that it may never have come: the deadline of the one is a
/// millisecond, the other cancels with the head.
const MAY_BE_UNHEARD: [&str; 2] = ["timeout_on_sleeping_server", "cancel_after_begin"];

/// Connections live on threads of their own, as in the gateway.
const WORKERS: usize = 2;

/// One test for each case, so that a failure has its name.
macro_rules! cases {
    ($($case:literal),* $(,)?) => {
        &[$((
            concat!("the_interop_client_passes_", $case),
            Tool::Interop,
            |client| passes(client, $case),
        )),*]
    };
}

pub(crate) const CASES: &[Case] = cases![
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

fn passes(client: &Path, case: &str) -> Result<(), String> {
    let server = Server::start()?;
    let port = server.port.to_string();
    let said = ask(
        Command::new(client)
            .args(["-server_host", "127.0.0.1", "-server_port", &port])
            .args(["-test_case", case])
            .env("GRPC_GO_LOG_SEVERITY_LEVEL", "info"),
        LIMIT,
    )?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    let (started, handled) = server.end()?;
    let heard = started > 0 || MAY_BE_UNHEARD.contains(&case);
    holds("it called", heard, &said)?;
    equal("the calls that ended", handled, started)
}

/// The stack of the gateway with the service of the tests.
struct Server {
    runtime: Runtime,
    port: u16,
    phase: PhaseSender,
    telemetry: Arc<Telemetry>,
    serving: JoinHandle<()>,
}

impl Server {
    fn start() -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let told = |error: dashgate::error::Error| error.to_string();
        let (telemetry, _) =
            Telemetry::new(&telemetry::TelemetryConfig::default()).map_err(told)?;
        let telemetry = Arc::new(telemetry);
        let connections = ConnectionContext {
            service: Router::new(
                SETTINGS,
                Callers::new(&callers::CallersConfig::default(), None).map_err(told)?,
                Arc::clone(&telemetry),
                None,
                Arc::new(TestService),
            ),
            origins: Arc::new(Origins::new(Vec::new())),
            memory: dashgate::memory::MemoryLedger::default(),
            tls: None,
            limits: LIMITS,
        };
        let capacity = Capacity {
            connections: 100,
            connections_per_address: None,
        };
        let workers = Workers::start(WORKERS).map_err(|error| error.to_string())?;

        let (phase, phases) = watch::channel(Phase::default());
        // Sockets belong to the runtime that they are made in.
        let entered = runtime.enter();
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into()).map_err(told)?;
        drop(entered);
        let port = listener.port().ok_or("there is no port")?.port();
        let serving = runtime.spawn(listener::serve(
            listener,
            connections,
            (capacity, workers),
            phases,
        ));
        Ok(Self {
            runtime,
            port,
            phase,
            telemetry,
            serving,
        })
    }

    /// Goes down in order; says how many calls were begun, and how many ended.
    fn end(self) -> Result<(u64, u64), String> {
        self.phase.send_replace(Phase::Closing);
        let gone = self
            .runtime
            .block_on(async { tokio::time::timeout(DRAIN_LIMIT, self.serving).await });
        gone.map_err(|_| "a connection is still there")?
            .map_err(|error| error.to_string())?;
        let telemetry = self.telemetry;
        let counts = || {
            let text = telemetry.metrics.text();
            let started = sum(&text, "grpc_server_started_total{");
            (started, sum(&text, "grpc_server_handled_total{"))
        };
        // The last call may end a moment after its connection.
        self.runtime.block_on(async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            let ended = async {
                while counts().0 != counts().1 {
                    looks.tick().await;
                }
            };
            let _ = tokio::time::timeout(DRAIN_LIMIT, ended).await;
        });
        Ok(counts())
    }
}

/// All values of a counter.
fn sum(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    lines.filter_map(value).sum()
}

const SETTINGS: GrpcConfig = GrpcConfig {
    max_request_bytes: 16 << 20,
    max_chunk_bytes: 1 << 20,
    max_metadata_bytes: 8 << 10,
    request_body_timeout: Duration::from_secs(30),
    unary_timeout: Duration::from_secs(120),
    stream_timeout: Duration::from_secs(600),
    live_timeout: Duration::from_secs(600),
    max_timeout: Duration::from_secs(600),
    heartbeat_after: Duration::from_secs(15),
    slow_consumer_timeout: Duration::from_secs(30),
    open_reflection: false,
    show_upstream_messages: false,
};

const LIMITS: Limits = Limits {
    max_streams: 100,
    handshake_timeout: Duration::from_secs(10),
    header_timeout: Duration::from_secs(10),
    max_age: Duration::from_secs(1800),
    max_age_grace: Duration::from_secs(600),
    max_idle: Duration::from_secs(900),
    min_ping_interval: Duration::from_secs(5),
};
