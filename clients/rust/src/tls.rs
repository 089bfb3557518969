//! TLS settings.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// TLS settings. Certificates and keys are PEM.
///
/// ```no_run
/// # fn build() -> Result<(), Box<dyn std::error::Error>> {
/// use dashgate_client::{Client, Tls};
///
/// let tls = Tls::new()
///     .ca_certificates(std::fs::read("ca.pem")?)
///     .client_certificate(std::fs::read("client.pem")?, std::fs::read("client.key")?)
///     .server_name("gateway.example");
/// let client = Client::builder().target("10.0.0.7:50051").tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
}

impl Tls {
    /// Creates settings with the system's root certificates, no client certificate, and the host
    /// name of the target.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these CA certificates instead of the system's roots.
    #[must_use]
    pub fn ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Sets the client certificate and its key, for mutual TLS.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.client = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the server name to verify instead of the target's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    pub(crate) fn config(&self) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.client {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Tls")
            .field("has_ca_certificates", &self.ca.is_some())
            .field("has_client_certificate", &self.client.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}
