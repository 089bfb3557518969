//! Certificates for tests, made when they are needed. No key is ever kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// An authority that signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

fn params(name: &str, usage: &[KeyUsagePurpose]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = usage.to_vec();
    params.use_authority_key_identifier_extension = true;
    // From yesterday on, for as long as scanners find wise.
    let day = Duration::from_secs(24 * 3600);
    params.not_before = (SystemTime::now() - day).into();
    params.not_after = (SystemTime::now() + 80 * day).into();
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let usage = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut params = params(name, &usage);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate, for this machine under all its names.
    pub fn server(&self, name: &str) -> Pair {
        let mut params = params(name, &[KeyUsagePurpose::DigitalSignature]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ];
        self.sign(&params)
    }

    /// A caller's certificate, with a name of a mesh.
    pub fn client(&self, name: &str) -> Pair {
        self.client_of(&[&format!("spiffe://example.org/{name}")])
    }

    /// A caller's certificate with these URIs.
    pub fn client_of(&self, uris: &[&str]) -> Pair {
        let mut params = params("a caller", &[KeyUsagePurpose::DigitalSignature]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = uris.collect();
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A folder of files for one test. Gone when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dashgate-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, at once and as a whole.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, half) = (self.path(name), self.path("half"));
        fs::write(&half, text).unwrap();
        fs::rename(&half, &path).unwrap();
        path
    }

    /// Writes a certificate and its key: `NAME.pem` and `NAME.key`.
    pub fn pair(&self, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
        let certificate = self.write(&format!("{name}.pem"), &pair.certificate);
        (certificate, self.write(&format!("{name}.key"), &pair.key))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        let _gone = fs::remove_dir_all(path);
    }
}
