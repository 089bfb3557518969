//! Opens connections for live sessions.

use super::dialect::Dialect;
use super::socket::LiveSocket;
use crate::chat::call::Passing;
use crate::chat::live_session::LiveSetup;
use crate::dashscope::DashScope;
use crate::error::Error;

impl DashScope {
    /// Opens a connection for a live session.
    pub async fn open_live(
        &self,
        setup: &LiveSetup,
        passing: &Passing,
    ) -> Result<LiveSocket, Error> {
        let inner = &self.inner;
        let url = super::url(&inner.settings.base_url, &setup.model);
        let dialect = Dialect::of(&setup.model, &inner.settings.dialects);
        let proxy = inner.settings.network.proxies.of(&url);
        let head = inner.fixed_headers.upgrade_head(&url, proxy, passing)?;
        LiveSocket::open(inner.generation.client(), head, setup, dialect).await
    }
}
