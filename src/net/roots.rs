//! Root certificates for TLS: those of the machine, configured ones, or both.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// Root certificates. By default those of the machine. Cheap to clone.
#[derive(Clone, Default)]
pub struct Roots {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    own: Vec<CertificateDer<'static>>,
    /// Whether those of the machine are excluded.
    only_own: bool,
    /// Built once, because it reads the certificates of the machine.
    config: OnceLock<ClientConfig>,
}

impl Roots {
    /// Parses PEM certificates. They are trusted in addition to those of the machine, or alone.
    pub fn parse(pem: &str, only_own: bool) -> Result<Self, &'static str> {
        let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let own = own.map_err(|_| "it is not PEM")?;
        if own.is_empty() {
            return Err("it has no certificate");
        }
        let mut store = RootCertStore::empty();
        for certificate in &own {
            let added = store.add(certificate.clone());
            added.map_err(|_| "one of its certificates cannot be an authority")?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                own,
                only_own,
                config: OnceLock::new(),
            }),
        })
    }

    /// A TLS configuration for HTTP/1.1 clients. Errors contain no path and no secret.
    pub fn client_config(&self) -> Result<ClientConfig, String> {
        if let Some(config) = self.inner.config.get() {
            return Ok(config.clone());
        }
        let config = self.build().map_err(|error| error.to_string())?;
        Ok(self.inner.config.get_or_init(|| config).clone())
    }

    fn build(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let own = self.inner.own.iter().cloned();
        let mut config = if self.inner.only_own {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(own);
            builder.with_root_certificates(store).with_no_client_auth()
        } else {
            let verifier = Verifier::new_with_extra_roots(own, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.inner, &other.inner);
        one.own == other.own && one.only_own == other.only_own
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("own", &self.inner.own.len())
            .field("only_own", &self.inner.only_own)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_certificates_are_parsed_and_compared() {
        let authority = || {
            let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
            certified.unwrap().cert.pem()
        };
        let (one, two) = (authority(), authority());
        let both = Roots::parse(&format!("{one}{two}"), true).unwrap();
        assert_eq!(format!("{both:?}"), "Roots { own: 2, only_own: true }");
        assert!(both.client_config().is_ok());
        let alone = Roots::parse(&one, false).unwrap();
        assert!(alone.client_config().is_ok());
        assert_eq!(alone, Roots::parse(&one, false).unwrap());
        assert_ne!(alone, Roots::parse(&one, true).unwrap());
        assert_ne!(alone, Roots::parse(&two, false).unwrap());
        assert_ne!(alone, Roots::default());
        for wrong in [
            "",
            "canary",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Roots::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
