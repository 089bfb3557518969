//! Reads the identity in a client certificate that TLS has verified.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::chat::call::Peer;

/// The maximum number of names read. Certificates of services have one or two.
const MAX_NAMES: usize = 64;

/// Reads the first certificate of a chain. `None` if there is none.
pub fn read(chain: &[CertificateDer<'_>]) -> Option<Peer> {
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let uri = |name: &GeneralName<'_>| {
        let GeneralName::URI(uri) = name else {
            return None;
        };
        Some((*uri).to_owned())
    };
    Some(Peer {
        uri_sans: names
            .map(|names| names.value.general_names.iter().filter_map(uri))
            .into_iter()
            .flatten()
            .take(MAX_NAMES)
            .collect(),
        subject: certificate.subject().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_read() {
        use rcgen::{CertificateParams, DnType, KeyPair, SanType};
        let mut wanted = CertificateParams::default();
        wanted.subject_alt_names = vec![
            SanType::DnsName("client.example".try_into().unwrap()),
            SanType::URI("spiffe://example.org/ns/shop/sa/talk".try_into().unwrap()),
        ];
        wanted.distinguished_name = rcgen::DistinguishedName::new();
        wanted.distinguished_name.push(DnType::CommonName, "talk");
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.self_signed(&key).unwrap();
        let peer = read(&[certificate.der().clone()]).unwrap();
        assert_eq!(peer.uri_sans, ["spiffe://example.org/ns/shop/sa/talk"]);
        assert_eq!(peer.subject, "CN=talk");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[CertificateDer::from(&b"x"[..])]), None);
    }
}
