//! A look at the admin port: pages, and numbers by their series.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dashgate::telemetry::metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// A gateway whose admin port is open.
pub async fn watched(upstream: &Upstream) -> Running {
    watched_with(upstream, |_| {}).await
}

pub async fn watched_with(
    upstream: &Upstream,
    change: impl FnOnce(&mut dashgate::config::Settings),
) -> Running {
    let mut settings = settings(upstream);
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    change(&mut settings);
    gateway_with(settings).await
}

/// Asks the admin port for a page: its head and its body.
pub async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

pub async fn page(gateway: &Running, path: &str) -> String {
    let (head, body) = ask(gateway.admin.unwrap(), &format!("GET {path}")).await;
    assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
    body
}

/// The numbers of one scrape by their series.
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }

    /// The number of a series; 0 when nothing was counted.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        let known = |name: &str| metrics::ALL.iter().any(|metric| metric.name == name);
        assert!(known(name) || known(base), "no metric {name}");
        self.0.get(series).copied().unwrap_or(0.0)
    }

    /// All series of a metric with a number above zero.
    pub fn some(&self, name: &str) -> Vec<(&str, f64)> {
        let series = self.0.iter();
        series
            .filter(|(series, value)| series.split('{').next() == Some(name) && **value > 0.0)
            .map(|(series, value)| (series.as_str(), *value))
            .collect()
    }
}

/// Scrapes until so many calls of the services that ask DashScope have ended. Their caller may know
/// the end a moment before it is counted.
pub async fn scrape(gateway: &Running, ended: f64) -> Scrape {
    for _ in 0..200 {
        let scrape = Scrape::of(&page(gateway, "/metrics").await);
        let handled = scrape.some("grpc_server_handled_total");
        let sum: f64 = handled
            .iter()
            .filter(|(series, _)| series.contains("dashgate.v1"))
            .map(|(_, value)| value)
            .sum();
        assert!(sum <= ended, "{handled:?}");
        if sum == ended {
            return scrape;
        }
        tokio::task::yield_now().await;
    }
    panic!("{ended} calls should have ended");
}

pub fn handled(method: &str, code: &str) -> String {
    let (service, kind) = match method {
        "Converse" => ("Conversation", "unary"),
        "ConverseStream" => ("Conversation", "server_stream"),
        _ => ("Media", "client_stream"),
    };
    format!(
        "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\
         \"dashgate.v1.{service}Service\",grpc_type=\"{kind}\"}}"
    )
}

pub fn of_method(name: &str, method: &str) -> String {
    handled(method, "")
        .replace("grpc_server_handled_total", name)
        .replace("grpc_code=\"\",", "")
}
