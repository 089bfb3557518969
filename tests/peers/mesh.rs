//! A real Envoy before two replicas, with one of the configurations of `deploy/envoy`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use dashgate::grpc::pb::DESCRIPTORS;
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::certificates::Folder;
use super::judge::{holds, json, text};
use super::process::end;
use super::server::Server;

/// What Envoy, or a replica, may take for one step. Far longer than it does.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether a step is done.
const LOOK: Duration = Duration::from_millis(10);

/// The addresses in the files of `deploy/envoy`, in the order of the replicas.
const PORTS: [&str; 2] = ["port_value: 50051}", "port_value: 50052}"];
/// Envoy picks free ports for itself here, and says which.
const OWN: [&str; 2] = [
    "address: 127.0.0.1, port_value: 9901}",
    "address: 0.0.0.0, port_value: 10000}",
];

/// What the model does, by the words of the question.
const SCRIPT: &str = r#"{"rules": [
  {"match": {"text": "silent"},
   "reply": {"answer": {"chunks": ["a", "b"]}, "delays": {"between_ms": 2500}}},
  {"match": {"text": "lost"}, "reply": {"wire": {"cut": {"how": "reset", "before_head": true}}}},
  {"match": {"text": "half"},
   "reply": {"answer": {"chunks": ["a", "b"]},
             "error": {"status": 500, "code": "InternalError", "message": "m", "after_chunks": 1}}},
  {"match": {"text": "throttled"},
   "reply": {"error": {"status": 429, "code": "Throttling.RateQuota", "message": "m"}}},
  {"match": {"stream": true},
   "reply": {"answer": {"chunks": ["a", "b", "c", "d"]}, "delays": {"between_ms": 30}}},
  {"reply": {"answer": "done", "delays": {"head_ms": 30}}}
]}"#;

/// Two places for replicas, the model behind them, and Envoy before them.
pub(crate) struct Mesh {
    envoy: Child,
    admin: String,
    door: String,
    emulator: Server,
    listens: [String; 2],
    folder: Folder,
    http: reqwest::Client,
}

impl Mesh {
    /// Starts all but the replicas. `changes` are made to the example, each in one place or more.
    pub(crate) async fn start(
        envoy: &Path,
        example: &str,
        changes: &[(&str, &str)],
    ) -> Result<Self, String> {
        let folder = Folder::new();
        folder.write("key", "sk-of-the-tests");
        let emulator = Server::emulator_with(&folder.write("script.json", SCRIPT))?;
        let ports = [free_port()?, free_port()?];
        let schema = folder.path("dashgate.binpb");
        // Two sets that follow each other are one; the details of errors are in the second.
        let files = [DESCRIPTORS, tonic_types::pb::FILE_DESCRIPTOR_SET].concat();
        std::fs::write(&schema, files).map_err(told)?;

        let mut text = example.to_owned();
        for line in OWN {
            change(&mut text, line, "address: 127.0.0.1, port_value: 0}")?;
        }
        for (line, port) in PORTS.iter().zip(ports) {
            change(&mut text, line, &format!("port_value: {port}}}"))?;
        }
        for (from, to) in changes {
            change(&mut text, from, to)?;
        }
        let text = text.replace("/etc/envoy/dashgate.binpb", &schema.display().to_string());
        let config = folder.write("envoy.yaml", &text);
        let place = folder.path("admin");
        let envoy = Command::new(envoy)
            .arg("--config-path")
            .arg(config)
            .arg("--admin-address-path")
            .arg(&place)
            .arg("--log-path")
            .arg(folder.path("log"))
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(told)?;
        let http = reqwest::Client::builder().timeout(STEP_LIMIT);
        let mut mesh = Self {
            envoy,
            admin: String::new(),
            door: String::new(),
            emulator,
            listens: ports.map(|port| format!("127.0.0.1:{port}")),
            folder,
            http: http.build().map_err(|error| error.to_string())?,
        };
        mesh.find_itself(&place).await?;
        Ok(mesh)
    }

    /// Where callers call.
    pub(crate) fn door(&self) -> String {
        format!("http://{}", self.door)
    }

    /// For calls without gRPC.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Starts a replica in its place.
    pub(crate) fn replica(&self, at: usize, settings: &[&str]) -> Result<Server, String> {
        let upstream = format!("http://{}/api/v1", self.emulator.address());
        self.replica_before(&upstream, at, settings)
    }

    /// Starts one that asks somebody else.
    pub(crate) fn replica_before(
        &self,
        upstream: &str,
        at: usize,
        settings: &[&str],
    ) -> Result<Server, String> {
        let key = self.folder.path("key").display().to_string();
        let mut all = vec![format!("upstream.api_key_file={key}")];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let listen = self.listens.get(at).ok_or("there are two places")?;
        Server::before(upstream, listen, &all)
    }

    /// How often the model was asked, all replicas together.
    pub(crate) fn asked(&self) -> Result<u64, String> {
        let journal = json(&self.emulator.fetch("/emulator/journal")?)?;
        let seen = journal.pointer("/seen").and_then(Value::as_u64);
        seen.ok_or_else(|| format!("the journal counts nothing: {journal}"))
    }

    /// How the latest question to the model ended, as the model saw it.
    pub(crate) fn latest_end(&self) -> Result<String, String> {
        let journal = json(&self.emulator.fetch("/emulator/journal")?)?;
        let requests = journal.get("requests").and_then(Value::as_array);
        let latest = requests.and_then(|requests| requests.last());
        Ok(latest.map_or_else(String::new, |latest| text(latest, "/end").to_owned()))
    }

    /// Waits until Envoy takes this replica as healthy and not ejected, or as not healthy.
    pub(crate) async fn sees(&self, at: usize, healthy: bool) -> Result<(), String> {
        let mark = "failed_active_health_check";
        self.waits_for(at, mark, !healthy).await?;
        if healthy {
            self.waits_for(at, "failed_outlier_check", false).await?;
        }
        Ok(())
    }

    /// Waits until Envoy has put this replica aside.
    pub(crate) async fn ejects(&self, at: usize) -> Result<(), String> {
        self.waits_for(at, "failed_outlier_check", true).await
    }

    /// One of Envoy's own counts.
    pub(crate) async fn count(&self, name: &str) -> Result<u64, String> {
        let page = self.look(&format!("/stats?filter=^{name}$")).await?;
        let number = page.trim().rsplit(": ").next().and_then(|n| n.parse().ok());
        number.ok_or_else(|| format!("{name} is {page:?}"))
    }

    /// All that Envoy counted of the replicas and is not zero, to explain a failure.
    pub(crate) async fn counts(&self) -> String {
        let page = "/stats?usedonly&filter=^cluster.dashgate.(upstream_rq|outlier|lb_h|mem)";
        self.look(page).await.unwrap_or_else(|why| why)
    }

    async fn waits_for(&self, at: usize, mark: &str, must: bool) -> Result<(), String> {
        let listen = self.listens.get(at).ok_or("there are two places")?;
        let mut looks = interval(LOOK);
        let mut last = Value::Null;
        let wait = async {
            loop {
                looks.tick().await;
                last = json(&self.look("/clusters?format=json").await?)?;
                if marked(&last, listen, mark) == Some(must) {
                    return Ok(());
                }
            }
        };
        let done = timeout(STEP_LIMIT, wait).await;
        done.map_err(|_| format!("{listen}: {mark} never is {must}: {last}\n{}", self.log()))?
    }

    async fn look(&self, path: &str) -> Result<String, String> {
        let answer = self.http.get(format!("http://{}{path}", self.admin));
        let answer = answer.send().await.map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    }

    /// Reads from Envoy which ports it took.
    async fn find_itself(&mut self, place: &Path) -> Result<(), String> {
        let mut looks = interval(LOOK);
        let wait = async {
            while self.door.is_empty() {
                looks.tick().await;
                self.admin = std::fs::read_to_string(place).unwrap_or_default();
                if self.admin.is_empty() {
                    continue;
                }
                // Nobody answers there for a moment.
                let Ok(listeners) = self.look("/listeners?format=json").await else {
                    continue;
                };
                let listeners = json(&listeners)?;
                let own = "/listener_statuses/0/local_address/socket_address";
                let port = listeners.pointer(&format!("{own}/port_value"));
                if let Some(port) = port.and_then(Value::as_u64) {
                    self.door = format!("{}:{port}", text(&listeners, &format!("{own}/address")));
                }
            }
            Ok(())
        };
        let done = timeout(STEP_LIMIT, wait).await;
        done.map_err(|_| format!("Envoy does not start\n{}", self.log()))?
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        end(&mut self.envoy);
    }
}

/// What Envoy's list of clusters says of a replica; what is false is left out there.
fn marked(clusters: &Value, listen: &str, mark: &str) -> Option<bool> {
    let hosts = clusters
        .pointer("/cluster_statuses/0/host_statuses")?
        .as_array()?;
    let port = listen.rsplit(':').next()?.parse::<u64>().ok()?;
    let place = "/address/socket_address/port_value";
    let is_it = |host: &&Value| host.pointer(place).and_then(Value::as_u64) == Some(port);
    let health = hosts.iter().find(is_it)?.get("health_status")?;
    Some(health.get(mark).and_then(Value::as_bool).unwrap_or(false))
}

/// An example that has changed is no reason to test something else in silence.
fn change(text: &mut String, from: &str, to: &str) -> Result<(), String> {
    holds(from, text.contains(from), &*text)?;
    *text = text.replace(from, to);
    Ok(())
}

/// A port below those that the system gives to outgoing connections: a replica must find it free
/// again after each restart.
fn free_port() -> Result<u16, String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..100 {
        let own = u16::try_from(std::process::id() % 5000).map_err(told)?;
        let port = 20_000 + own * 2 + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("there is no free port".to_owned())
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
