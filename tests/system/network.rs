//! Networks that people have: private authorities, plaintext behind a sidecar, IPv6 alone. What
//! goes through a proxy is in `proxies.rs`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dashgate::config::environment::NotUnicode;
use dashgate::config::{self, Environment, Flags, Settings};
use dashgate::grpc::pb::{self, upload_media_request::Payload};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tonic::Code;

use crate::metrics::page;
use crate::storage::certificate;
use crate::support::*;

/// Environment variables, and files that are in memory.
#[derive(Clone, Default)]
pub struct World {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl World {
    /// A world in which DashScope is there.
    pub fn with_upstream(url: &str) -> Self {
        Self::default()
            .set("DASHSCOPE_HTTP_BASE_URL", url)
            .set("DASHSCOPE_API_KEY", "sk-canary")
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn with_file(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }

    pub fn trusting(self, pem: &str) -> Self {
        let world = self.with_file("ca.pem", pem);
        world.set("DASHGATE_UPSTREAM_TLS_CA", "ca.pem")
    }

    pub fn settings(&self) -> Settings {
        let mut settings = config::load(&Flags::default(), self).unwrap();
        settings.server.listen = "127.0.0.1:0".parse().unwrap();
        settings
    }
}

impl Environment for World {
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        Ok(self.variables.get(name).cloned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path.to_str().unwrap()).cloned();
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A certificate for these names, as PEM, and what serves it.
pub fn tls(names: &[&str]) -> (String, TlsAcceptor) {
    let names = names.iter().map(|name| (*name).to_owned());
    let certified = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>()).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (certified.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Takes TLS off and passes on what is inside.
pub async fn tls_in_front_of(inner: SocketAddr, acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut inner = TcpStream::connect(inner).await.unwrap();
                let _ended = copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    address
}

/// Asks once; what DashScope answered, or the status.
pub async fn ask(gateway: &Running) -> Result<pb::ConverseResponse, tonic::Status> {
    let request = ask_whole(question());
    let answer = gateway.conversation().converse(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Uploads a few bytes.
pub async fn upload(gateway: &Running) -> Result<String, tonic::Status> {
    let description = pb::MediaDescription {
        model: "qwen-vl-max".to_owned(),
        mime_type: "video/mp4".to_owned(),
        ..pb::MediaDescription::default()
    };
    let messages = [
        Payload::Description(description),
        Payload::Chunk(b"video".to_vec().into()),
    ];
    let messages = messages.map(|payload| pb::UploadMediaRequest {
        payload: Some(payload),
    });
    let stream = tokio_stream::iter(messages);
    let answer = gateway.media().upload_media(stream).await?;
    Ok(answer.into_inner().uri)
}

/// A DashScope with a storage at this origin.
pub async fn dashscope(storage: String) -> Upstream {
    Upstream::start(move |_, seen| {
        if seen.path.contains("getPolicy") {
            let body = certificate("HOST").to_string();
            return json(200, &body.replace("http://HOST", &storage));
        }
        match seen.path.contains("generation") {
            true => json(200, &whole("x")),
            false => http(200, "", b""),
        }
    })
    .await
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let (pem, acceptor) = tls(&["localhost"]);
    let (other, _) = tls(&["localhost"]);
    let upstream = dashscope("https://localhost:1".to_owned()).await;
    let secure = tls_in_front_of(upstream.address, acceptor).await;
    let port = secure.port();
    let world = World::with_upstream(&format!("https://localhost:{port}/api/v1"));
    for (world, trusted) in [
        (world.clone(), false),
        (world.clone().trusting(&pem), true),
        (world.clone().trusting(&format!("{other}{pem}")), true),
        (
            world
                .clone()
                .trusting(&pem)
                .set("DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS", "false"),
            true,
        ),
        (world.clone().trusting(&other), false),
        (
            world
                .clone()
                .trusting(&other)
                .set("DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS", "false"),
            false,
        ),
    ] {
        let gateway = gateway_with(world.settings()).await;
        let asked = ask(&gateway).await;
        let uploaded = upload(&gateway).await;
        let Err(error) = asked else {
            assert!(trusted);
            // The storage is somewhere else, but its policy was asked for.
            assert!(upstream.seen().last().unwrap().path.contains("getPolicy"));
            continue;
        };
        assert!(!trusted, "{error:?}");
        assert_fault(&error, Code::Unavailable, "UPSTREAM_TLS");
        assert_fault(&uploaded.unwrap_err(), Code::Unavailable, "UPSTREAM_TLS");
    }
    // The name is checked, too.
    let world = World::with_upstream(&format!("https://127.0.0.1:{port}/api/v1")).trusting(&pem);
    let gateway = gateway_with(world.settings()).await;
    let error = ask(&gateway).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "UPSTREAM_TLS");
}

#[tokio::test]
async fn plaintext_beyond_loopback_is_for_those_who_say_so() {
    let world = World::with_upstream("http://dashscope.test/api/v1");
    let faults = config::load(&Flags::default(), &world)
        .unwrap_err()
        .to_string();
    assert!(faults.contains("upstream.allow_plaintext"), "{faults}");
    let allowed = world.set("DASHGATE_UPSTREAM_ALLOW_PLAINTEXT", "true");
    assert!(config::load(&Flags::default(), &allowed).is_ok());

    // A storage in the clear is refused as well, and nothing is sent to it.
    let upstream = dashscope("http://oss.test".to_owned()).await;
    let world = World::with_upstream(&upstream.base_url());
    let gateway = gateway_with(world.settings()).await;
    let error = upload(&gateway).await.unwrap_err();
    assert_fault(&error, Code::Internal, "UPSTREAM_PROTOCOL");
}

#[tokio::test]
async fn ipv6_is_enough_on_every_side() {
    let upstream = dashscope("http://[::1]:1".to_owned()).await;
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = upstream.address;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ended = copy_bidirectional(&mut stream, &mut target).await;
            });
        }
    });
    let world = World::with_upstream(&format!("http://{address}/api/v1"));
    let mut settings = world.settings();
    settings.server.listen = "[::1]:0".parse().unwrap();
    settings.admin.listen = Some("[::1]:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    ask(&gateway).await.unwrap();
    assert_eq!(
        upstream.seen()[0].header("host"),
        Some(&*address.to_string())
    );
    assert!(page(&gateway, "/metrics").await.contains("dashgate_"));

    for server in [
        format!("{}", gateway.address),
        format!("http://{}", gateway.address),
    ] {
        let address = server.clone();
        let run = tokio::task::spawn_blocking(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_dashgate"))
                .args(["health", "--server", &address])
                .env_clear()
                .output()
        });
        let run = tokio::time::timeout(Duration::from_secs(30), run).await;
        let output = run.expect("it ends").unwrap().unwrap();
        assert!(output.status.success(), "{server}: {output:?}");
    }
}
