//! `dashgate health`: checks whether a gateway is serving, like a load balancer.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use crate::config::{self, Address, ProcessEnvironment};
use crate::grpc::pb::health::HealthCheckRequest;
use crate::grpc::pb::health::health_check_response::ServingStatus;
use crate::grpc::pb::health::health_client::HealthClient;

use super::connect::{connect, silent};
use super::error::Failure;
use super::exit::Exit;
use super::gateway_flags::{Choices, timeout};
use super::probe;
use super::terminal::Terminal;

/// Text below the help of `health`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate health
  dashgate health --server gateway.internal:50051
  dashgate health --server https://gateway.internal:50051 --tls-ca authority.pem
  dashgate health --server unix:/run/dashgate.sock
  dashgate health --service dashgate.v1.ConversationService

Prints SERVING and exits with 0, or NOT_SERVING and 1; 3 when the server cannot be reached.";

/// Arguments of `health`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The gateway: host:port, http://host:port, https://host:port or unix:/path [default:
    /// the address of `serve`] [env: DASHGATE_ADDR]
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// The service to check [default: the whole server]
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
    /// The timeout of the check
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    /// The root certificates for https, as a PEM file [default: the system's]
    /// [env: DASHGATE_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    #[command(flatten)]
    choices: Choices,
}

/// Runs the check.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let flags = arguments
        .choices
        .flags()
        .with("--server", "client.server", arguments.server)
        .with("--tls-ca", "client.tls.ca", arguments.tls_ca);
    let client = config::load_client(&flags, &ProcessEnvironment)?;
    let address = match client.server {
        Some(address) => address,
        None => {
            let server = config::load(&flags, &ProcessEnvironment)?.server;
            reachable(&server.listen, server.tls.is_some())
        }
    };
    let connected = Cell::new(false);
    let asking = async {
        let gateway = connect(&address, None, &client.tls).await?;
        let mut health = HealthClient::new(gateway.channel());
        connected.set(true);
        let request = HealthCheckRequest {
            service: arguments.service,
        };
        let answer = health.check(request).await?;
        Ok::<_, Failure>(answer.into_inner().status())
    };
    let late = |_| match connected.get() {
        true => silent(&address, arguments.timeout),
        false => Failure::unreachable(format!("{address} does not answer")),
    };
    let asked = tokio::time::timeout(arguments.timeout, asking)
        .await
        .map_err(late)?;
    let status = match asked {
        Ok(status) => status,
        Err(failure) => return Err(probe::explained_first(failure, &address).await),
    };
    terminal.answer(&format!("{}\n", status.as_str_name()))?;
    Ok(match status {
        ServingStatus::Serving => Exit::Done,
        ServingStatus::NotServing | ServingStatus::ServiceUnknown | ServingStatus::Unknown => {
            Exit::Failed
        }
    })
}

/// The address to call for a listen address: a wildcard address is replaced by loopback.
fn reachable(listen: &Address, tls: bool) -> String {
    let Address::Tcp(listen) = listen else {
        return listen.to_string();
    };
    let ip = match (listen.ip().is_unspecified(), listen.is_ipv4()) {
        (false, _) => listen.ip(),
        (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, false) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let scheme = match tls {
        true => "https://",
        false => "",
    };
    format!("{scheme}{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn all_addresses_are_called_on_loopback() {
        for (listen, tls, expected) in [
            ("0.0.0.0:1", false, "127.0.0.1:1"),
            ("[::]:1", true, "https://[::1]:1"),
            ("10.0.0.1:1", true, "https://10.0.0.1:1"),
            ("unix:/run/d.sock", false, "unix:/run/d.sock"),
        ] {
            assert_eq!(reachable(&listen.parse().unwrap(), tls), expected);
        }
    }
}
