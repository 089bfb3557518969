//! One URL of an upstream: requests are sent to it, and the heads of its responses are read, or the
//! errors that they are.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::errors;
use super::http;
use super::request::Prepared;
use crate::error::Error;
use crate::http1::head::Request;
use crate::http1::{Client, Http1Config, Response};
use crate::net::Network;
use crate::net::proxy::Proxy;

/// The maximum number of bytes read of an error response. DashScope's have a few hundred.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The URL of a method, and the client of its host.
pub(crate) struct MethodUrl {
    url: Url,
    client: Client,
    network: Network,
}

impl MethodUrl {
    /// Builds the client. Does not connect.
    pub(crate) fn new(
        url: Url,
        network: Network,
        connect_timeout: Duration,
        max_age: Duration,
    ) -> Result<Self, Error> {
        let config = Http1Config {
            network: network.clone(),
            connect_timeout,
            max_age,
        };
        let client = Client::new(&url, config).map_err(http::send_error)?;
        Ok(Self {
            url,
            client,
            network,
        })
    }

    /// The host and port.
    pub(crate) fn address(&self) -> (String, u16) {
        let port = self.url.port_or_known_default().unwrap_or_default();
        (self.url.host_str().unwrap_or_default().to_owned(), port)
    }

    /// The client of the host.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The proxy, if there is one.
    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.network.proxies.of(&self.url)
    }

    /// Sends a request. Resolves when response headers with a success status have arrived.
    pub(crate) async fn send(&self, prepared: &Prepared) -> Result<Response, Error> {
        self.exchange(prepared.head(), prepared.body()).await
    }

    /// Sends a request without a body, as [`Self::send`] does.
    pub(crate) async fn get(&self, head: &Request) -> Result<Response, Error> {
        self.exchange(head, &Bytes::new()).await
    }

    async fn exchange(&self, head: &Request, body: &Bytes) -> Result<Response, Error> {
        let sent = self.client.send(head, body);
        let answer = sent.await.map_err(http::send_error)?;
        if answer.status == 407
            && let Some(proxy) = self.proxy()
        {
            return Err(http::refused_credentials(proxy));
        }
        if !(200..300).contains(&answer.status) {
            let body = http::read_body(answer.body, MAX_ERROR_BYTES).await;
            return Err(errors::of_answer(answer.status, &answer.headers, &body));
        }
        Ok(answer)
    }
}
