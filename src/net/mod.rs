//! How other hosts are reached: their names, the proxies on the way, and whom to trust over TLS.
//!
//! One place for every outgoing connection: DashScope and its storage, the keys of an authority,
//! the receiver of traces. Who asks, and what, is not known here.

pub mod host;
pub mod proxy;
pub mod resolver;
pub mod roots;

use proxy::{Proxies, Proxy};
use resolver::Resolver;
use roots::Roots;
use std::time::Duration;
use url::Url;

/// The way to other hosts. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Which connections go through a proxy.
    pub proxies: Proxies,
    /// Whom to trust over TLS.
    pub roots: Roots,
}

impl Network {
    /// The way to hosts that are not DashScope's: the same proxies, but never for hosts on
    /// loopback, and the machine's authorities alone.
    pub fn beside(&self) -> Self {
        Self {
            proxies: self.proxies.without_loopback(),
            roots: Roots::default(),
        }
    }

    /// A builder of HTTP clients that go this way, without redirects and retries. A name may take
    /// `name_timeout` to be resolved.
    pub fn http_client(&self, name_timeout: Duration) -> Result<reqwest::ClientBuilder, String> {
        let proxies = self.proxies.clone();
        let through = move |url: &Url| proxies.of(url).map(Proxy::with_credentials);
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(self.roots.client_config()?)
            .dns_resolver(Resolver::shared().within(name_timeout))
            // Without this the library would read the environment by itself.
            .no_proxy()
            .proxy(reqwest::Proxy::custom(through))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .http1_only())
    }
}
