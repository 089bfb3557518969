//! A look at the admin port: pages, and numbers by their series.

use std::collections::BTreeMap;

use dashgate::telemetry::metric_definitions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

use super::gateway::Running;

/// Asks the admin port for a page: its head and its body.
pub async fn ask(address: impl ToSocketAddrs, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// A page of the admin port.
pub async fn page(gateway: &Running, path: &str) -> String {
    page_at(gateway.admin.unwrap(), path).await
}

/// A page of the admin port at this address.
pub async fn page_at(address: impl ToSocketAddrs, path: &str) -> String {
    let (head, body) = ask(address, &format!("GET {path}")).await;
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
        let known = |name: &str| {
            metric_definitions::ALL
                .iter()
                .any(|metric| metric.name == name)
        };
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
