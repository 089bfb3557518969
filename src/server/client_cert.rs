//! Reads the identity in a client certificate that TLS has verified.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::chat::call::Peer;

/// The maximum number of names read. Certificates of services have one or two.
const MAX_NAMES: usize = 64;

/// Reads the first certificate of a chain. `None` if there is none.
pub fn read(chain: &[CertificateDer<'_>]) -> Option<Peer> {
    let certificate = EndEntityCert::try_from(chain.first()?).ok()?;
    let uris = certificate.valid_uri_names().take(MAX_NAMES);
    Some(Peer {
        uri_sans: uris.map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_read() {
        use rcgen::{CertificateParams, KeyPair, SanType};
        let mut wanted = CertificateParams::default();
        wanted.subject_alt_names = vec![
            SanType::DnsName("client.example".try_into().unwrap()),
            SanType::URI("spiffe://example.org/ns/shop/sa/talk".try_into().unwrap()),
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.self_signed(&key).unwrap();
        let peer = read(&[certificate.der().clone()]).unwrap();
        assert_eq!(peer.uri_sans, ["spiffe://example.org/ns/shop/sa/talk"]);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[CertificateDer::from(&b"x"[..])]), None);
    }
}
