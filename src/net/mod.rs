//! Outgoing connections: DNS, proxies, and root certificates for TLS.
//!
//! Used for every outgoing connection: DashScope and its storage, JWT key sets, trace export. The
//! protocols above are not known here.

pub mod host;
pub mod proxy;
pub mod resolver;
pub mod roots;

use proxy::{Proxies, Proxy};
use resolver::Resolver;
use roots::Roots;
use std::time::Duration;
use url::Url;

/// The configuration of outgoing connections. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Which connections use a proxy.
    pub proxies: Proxies,
    /// The root certificates.
    pub roots: Roots,
}

impl Network {
    /// The configuration for hosts other than DashScope's: the same proxies, but never for hosts on
    /// loopback, and only the root certificates of the machine.
    pub fn beside(&self) -> Self {
        Self {
            proxies: self.proxies.without_loopback(),
            roots: Roots::default(),
        }
    }

    /// A builder of HTTP clients with this configuration, without redirects and retries.
    /// `name_timeout` limits DNS.
    pub fn http_client(&self, name_timeout: Duration) -> Result<reqwest::ClientBuilder, String> {
        let proxies = self.proxies.clone();
        let through = move |url: &Url| proxies.of(url).map(Proxy::with_credentials);
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(self.roots.client_config()?)
            .dns_resolver(Resolver::shared().within(name_timeout))
            // Otherwise the library reads the environment itself.
            .no_proxy()
            .proxy(reqwest::Proxy::custom(through))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .http1_only())
    }
}
