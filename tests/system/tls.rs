//! TLS at the door: who is let in, who is not, and new certificates without a call that is cut.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashgate::config;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::health::HealthCheckRequest;
use dashgate::grpc::pb::health::health_client::HealthClient;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::certificates::{Authority, Folder, Pair};
use crate::command_answers::dashgate;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

/// Whether callers must show a certificate, may, or cannot.
#[derive(Clone, Copy, PartialEq)]
enum Callers {
    Any,
    May,
    Must,
}

/// A gateway with TLS, and what it is made of.
struct Secure {
    running: Running,
    upstream: Upstream,
    authority: Authority,
    folder: Folder,
}

impl Secure {
    async fn start(callers: Callers, steps: Vec<Step>) -> Self {
        let (authority, folder) = (Authority::new("the authority"), Folder::new());
        let (certificate, key) = folder.pair("server", &authority.server("first"));
        let client_ca = folder.write("authority.pem", authority.pem());
        let upstream = Upstream::always(steps).await;
        let mut settings = settings(&upstream);
        settings.server.tls = Some(config::Tls {
            certificate,
            key,
            client_ca: (callers != Callers::Any).then_some(client_ca),
            client_optional: callers == Callers::May,
            handshake_timeout: 5 * SECOND,
            reload_interval: SECOND,
        });
        Self {
            running: gateway_with(settings).await,
            upstream,
            authority,
            folder,
        }
    }

    async fn channel(&self, shown: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.pem()))
            .domain_name("localhost");
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        Endpoint::from_shared(format!("https://{}", self.running.address))?
            .tls_config(tls)?
            .connect()
            .await
    }

    /// Whether a caller who shows this is answered.
    async fn answers(&self, shown: Option<&Pair>) -> bool {
        let Ok(channel) = self.channel(shown).await else {
            return false;
        };
        // Over TLS 1.3 a refusal of the caller's certificate comes after its handshake.
        let mut health = HealthClient::new(channel);
        health.check(HealthCheckRequest::default()).await.is_ok()
    }

    /// A bare connection that offers these protocols.
    async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap();
        roots.add(authority).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        let stream = TcpStream::connect(self.running.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// The certificate that a new caller is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let stream = self.connect(&["h2"]).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].clone()
    }
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

#[tokio::test]
async fn the_command_says_how_to_trust_an_unknown_authority() {
    let secure = Secure::start(Callers::Any, json(200, &whole("好"))).await;
    let other = Authority::new("another authority");
    let other = secure.folder.write("other.pem", other.pem());
    for command in [&["health"][..], &["ask", "hi"]] {
        let err = unreached(&secure, command, &other).await;
        let words = ["unknown authority", "--tls-ca FILE"];
        assert!(words.iter().all(|word| err.contains(word)), "{err}");
    }
}

#[tokio::test]
async fn the_command_says_that_a_certificate_is_required() {
    let secure = Secure::start(Callers::Must, json(200, &whole("好"))).await;
    let authority = secure.folder.path("authority.pem");
    // The reason of the server may be lost with the connection.
    for command in [&["health"][..], &["ask", "hi"], &["models"]].repeat(4) {
        let err = unreached(&secure, command, &authority).await;
        assert!(err.contains("DASHGATE_TLS_CERTIFICATE"), "{err}");
    }
}

/// What a command says that does not reach the gateway with this authority.
async fn unreached(secure: &Secure, command: &[&str], authority: &Path) -> String {
    let server = format!("https://localhost:{}", secure.running.address.port());
    let more = ["--server", &server, "--tls-ca", authority.to_str().unwrap()];
    let (code, _, err) = dashgate("http://127.0.0.1:9", &[command, &more].concat()).await;
    assert_eq!(code, Some(3), "{command:?} {err}");
    err
}

#[tokio::test(start_paused = true)]
async fn calls_are_answered_over_tls_and_in_the_clear_they_are_not() {
    let secure = Secure::start(Callers::Any, json(200, &whole("好"))).await;
    let channel = secure.channel(None).await.unwrap();
    let answer = ConversationServiceClient::new(channel)
        .converse(ask_whole(question()))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().choices.len(), 1);
    assert_eq!(secure.upstream.seen().len(), 1);

    for (offered, agreed) in [
        (&["h2"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.1", "h2"], Some("h2")),
        (&[], None),
    ] {
        let stream = secure.connect(offered).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(
            session.alpn_protocol(),
            agreed.map(str::as_bytes),
            "{offered:?}"
        );
    }
    assert!(secure.connect(&["spdy/3"]).await.is_err());

    let mut clear = secure.running.conversation();
    assert!(clear.converse(ask_whole(question())).await.is_err());
    assert_eq!(secure.upstream.seen().len(), 1);
}

/// HTTP/2 is spoken where ALPN agreed on it, and HTTP/1.1 everywhere else, for gRPC-Web.
#[tokio::test(start_paused = true)]
async fn x6_there_is_no_http2_without_alpn() {
    let secure = Secure::start(Callers::Any, json(200, &whole("x"))).await;
    let settings = crate::support::http2_peer::h2(4, 0, 0, &[]);
    let http2 = [crate::support::http2_peer::PREFACE, &settings].concat();
    let web = b"POST /dashgate.v1.ConversationService/Converse HTTP/1.1\r\nhost: x\r\n\
                content-type: application/grpc-web+proto\r\ncontent-length: 0\r\n\r\n";
    for (offered, words, expected) in [
        (&["h2"][..], &http2[..], &[0, 0][..]),
        (&[], &http2, b"HTTP/1.1 "),
        (&["http/1.1"], &http2, b"HTTP/1.1 "),
        (&["http/1.1"], web, b"HTTP/1.1 200"),
        (&[], web, b"HTTP/1.1 200"),
        (&["h2"], web, b""),
    ] {
        let mut stream = secure.connect(offered).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut answer = vec![0; expected.len().max(1)];
        let read = stream.read_exact(&mut answer).await;
        let is_http1 = answer.starts_with(b"HTTP/1.1");
        match expected {
            b"" => assert!(!is_http1, "{offered:?}"),
            // Refused as what it is not: an error, or no answer at all.
            b"HTTP/1.1 " => assert!(read.is_err() || is_http1, "{offered:?} {answer:?}"),
            _ => assert_eq!(answer, expected, "{offered:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_show_a_certificate_when_they_must() {
    let stranger = Authority::new("the authority");
    for (callers, without) in [(Callers::Must, false), (Callers::May, true)] {
        let secure = Secure::start(callers, Vec::new()).await;
        let known = secure.authority.client("talk");
        assert!(secure.answers(Some(&known)).await);
        assert_eq!(secure.answers(None).await, without);
        assert!(!secure.answers(Some(&stranger.client("talk"))).await);
        let for_servers = secure.authority.server("talk");
        assert!(!secure.answers(Some(&for_servers)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn new_certificates_hold_for_new_connections_and_cut_nothing() {
    let secure = Secure::start(
        Callers::Any,
        vec![
            sse(),
            piece(frame(1, "一", "null")),
            Step::Pause(30 * SECOND),
            piece(frame(2, "二", "stop")),
            end(),
        ],
    )
    .await;
    let first = secure.shown().await;
    let channel = secure.channel(None).await.unwrap();
    let running = ConversationServiceClient::new(channel)
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();

    // A key that belongs to another certificate changes nothing.
    let second = secure.authority.server("second");
    secure.folder.write("server.key", &second.key);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(secure.shown().await, first);
    // Nor does a file that is no PEM.
    secure.folder.write("server.pem", "not yet");
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(secure.shown().await, first);
    // The rest of the update makes it whole.
    secure.folder.write("server.pem", &second.certificate);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(secure.shown().await, der(&second));
    // A second update is seen as the first was.
    let third = secure.authority.server("third");
    secure.folder.pair("server", &third);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(secure.shown().await, der(&third));

    let events: Vec<_> = running.into_inner().collect().await;
    assert_eq!(texts(&events), ["一", "二"]);
    assert!(events.iter().all(Result::is_ok), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn new_authorities_hold_for_new_callers() {
    let secure = Secure::start(Callers::Must, Vec::new()).await;
    let next = Authority::new("the next authority");
    let (old, new) = (secure.authority.client("talk"), next.client("talk"));
    assert!(secure.answers(Some(&old)).await);
    assert!(!secure.answers(Some(&new)).await);
    secure.folder.write("authority.pem", next.pem());
    tokio::time::sleep(3 * SECOND).await;
    assert!(!secure.answers(Some(&old)).await);
    assert!(secure.answers(Some(&new)).await);
}

#[tokio::test(start_paused = true)]
async fn c2_a_handshake_that_stalls_or_is_garbage_ends_at_five_seconds_at_most() {
    let secure = Secure::start(Callers::Any, Vec::new()).await;
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for (said, stalls) in [
        (&b""[..], true),
        (&hello[..1], true),
        (&hello, true),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        (&[0xff; 100], false),
        (&[0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff], false),
    ] {
        let mut stream = TcpStream::connect(secure.running.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(said).await.unwrap();
        let started = Instant::now();
        let mut heard = Vec::new();
        // An alert, or nothing at all: never an answer.
        let _ = stream.read_to_end(&mut heard).await;
        assert!(heard.is_empty() || heard[0] == 0x15, "{heard:?}");
        let most = if stalls { 5..=6 } else { 0..=0 };
        let passed = started.elapsed().as_secs();
        assert!(most.contains(&passed), "{said:?} took {passed} s");
    }
    assert!(secure.answers(None).await, "others are served");
}

/// What a caller says first.
fn first_words() -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said).unwrap();
    said
}

#[tokio::test(start_paused = true)]
async fn c2_an_incomplete_or_changed_preface_ends_its_connection() {
    let secure = Secure::start(Callers::Any, Vec::new()).await;
    let whole = first_words();
    assert!(whole.len() > 200);
    let cut = (0..whole.len())
        .step_by(37)
        .map(|end| whole[..end].to_vec());
    let changed = (0..whole.len()).step_by(41).map(|at| {
        let mut said = whole.clone();
        said[at] ^= 0x55;
        said
    });
    let mut all = tokio::task::JoinSet::new();
    for said in cut.chain(changed) {
        let address = secure.running.address;
        all.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.write_all(&said).await.unwrap();
            let mut heard = Vec::new();
            // Some changes mean nothing, and then the gateway answers and waits.
            let _ = stream.read_to_end(&mut heard).await;
        });
    }
    let started = Instant::now();
    all.join_all().await;
    assert!(started.elapsed().as_secs() <= 6, "{:?}", started.elapsed());
    assert!(secure.answers(None).await, "others are served");
}

#[tokio::test(start_paused = true)]
async fn files_that_do_not_fit_are_reported_with_their_setting() {
    let (authority, folder) = (Authority::new("the authority"), Folder::new());
    let (one, two) = (authority.server("one"), authority.server("two"));
    let (certificate, key) = folder.pair("one", &one);
    let (_, other) = folder.pair("two", &two);
    let empty = folder.write("empty", "");
    let missing = folder.path("missing");
    let upstream = Upstream::always(Vec::new()).await;
    for (certificate, key, client_ca, expected) in [
        (&missing, &key, None, "server.tls.certificate: cannot read"),
        (&empty, &key, None, "server.tls.certificate"),
        (&certificate, &empty, None, "server.tls.key"),
        (&certificate, &other, None, "do not match"),
        (&certificate, &key, Some(&empty), "server.tls.client_ca"),
        (
            &certificate,
            &key,
            Some(&missing),
            "server.tls.client_ca: cannot read",
        ),
    ] {
        let mut settings = settings(&upstream);
        settings.server.tls = Some(config::Tls {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: client_ca.cloned(),
            client_optional: false,
            handshake_timeout: SECOND,
            reload_interval: SECOND,
        });
        let error = dashgate::app::bind(&settings).await.err().unwrap();
        let told = error.to_string();
        assert!(told.contains(expected), "{expected} in {told}");
    }
}
