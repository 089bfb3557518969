//! Gateways whose metrics are read, and the names of series.

pub use crate::support::admin::*;
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
