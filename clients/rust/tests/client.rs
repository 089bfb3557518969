//! Behaviour that the conformance suite cannot test: lazy connection, existing channels, secrets,
//! readers, errors of tools.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashgate_client::{
    Client, Code, Conversation, Media, Tool, ToolError, UploadSource, audio, text, v1, video,
};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Listens on a port, counts connections and closes them.
async fn closing() -> Result<(String, Arc<AtomicUsize>), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok((address, count))
}

fn question() -> Conversation {
    let mut conversation = Conversation::new("m");
    conversation.user("Anybody there?");
    conversation
}

#[test]
fn a_client_is_built_outside_of_any_runtime() -> Outcome {
    let client = Client::builder().target("127.0.0.1:1").build()?;
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    is_shared(&client);
    Ok(())
}

#[tokio::test]
async fn nothing_is_connected_before_the_first_call() -> Outcome {
    let (address, connections) = closing().await?;
    let client = Client::builder().target(&address).build()?;
    tokio::task::yield_now().await;
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let limit = Duration::from_secs(20);
    let failed = client.converse(question()).timeout(limit).await;
    assert_eq!(
        failed.map(|_| ()).map_err(|error| error.code()),
        Err(Code::Unavailable)
    );
    assert!(connections.load(Ordering::SeqCst) > 0);
    Ok(())
}

#[tokio::test]
async fn a_channel_that_exists_is_used() -> Outcome {
    let (address, connections) = closing().await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let client = Client::builder().target("ignored:1").build_on(channel)?;
    assert!(client.converse(question()).await.is_err());
    assert!(connections.load(Ordering::SeqCst) > 0);
    Ok(())
}

#[test]
fn what_contradicts_itself_is_refused_at_once() {
    let wrong = |builder: dashgate_client::ClientBuilder| match builder.build() {
        Ok(_) => String::new(),
        Err(error) => format!("{:?} {}", error.code(), error.message()),
    };
    let builder = Client::builder;
    assert!(wrong(builder().target("a b")).contains("is no target"));
    assert!(wrong(builder().metadata("a b", "c")).contains("name of metadata"));
    assert!(wrong(builder().metadata("a", "secret\n")).contains("metadata a"));
    assert!(!wrong(builder().metadata("a", "secret\n")).contains("secret"));
    assert!(!wrong(builder().api_key("secret\n")).contains("secret"));
    #[cfg(feature = "tls")]
    {
        let tls = builder()
            .target("http://a:1")
            .tls(dashgate_client::Tls::new());
        assert!(wrong(tls).contains("plaintext"));
        let broken = dashgate_client::Tls::new().client_certificate("secret", "secret");
        let broken = builder().target("a:1").tls(broken);
        assert!(!format!("{broken:?} {}", wrong(broken.clone())).contains("secret"));
    }
}

#[tokio::test]
async fn no_key_is_ever_shown() -> Outcome {
    let builder = Client::builder().target("127.0.0.1:1").api_key("dg_secret");
    assert!(!format!("{builder:?}").contains("dg_secret"));
    let client = builder.build()?;
    let call = client.converse(question()).timeout(Duration::from_secs(5));
    assert!(!format!("{client:?} {call:?}").contains("dg_secret"));
    let error = call.await.map(|_| ()).unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.status()).contains("dg_secret"));
    Ok(())
}

#[tokio::test]
async fn a_string_is_an_address_or_a_path() -> Outcome {
    for address in [
        "http://a/b",
        "https://a/b",
        "oss://a/b",
        "data:audio/wav;base64,AA==",
    ] {
        let part = audio(address).await?;
        let Some(v1::content::Kind::Audio(sound)) = part.kind else {
            panic!("no sound");
        };
        assert_eq!(
            sound.source,
            Some(v1::audio::Source::Uri(address.to_owned()))
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let read = video(Media::path(path).mime_type("video/mp4")).await?;
    assert!(!String::from_utf8_lossy(&read.encode_to_vec()).contains("Cargo.toml"));
    Ok(())
}

#[test]
fn a_turn_is_said_in_many_ways() {
    let mut conversation = Conversation::new("m");
    conversation
        .system("s")
        .user("a")
        .user(text("b"))
        .user(vec!["c".into()]);
    conversation
        .user(("d", text("e")))
        .assistant(String::from("f"));
    let sizes = conversation
        .raw()
        .messages
        .iter()
        .map(|turn| turn.content.len());
    assert_eq!(sizes.collect::<Vec<_>>(), [1, 1, 1, 1, 2, 1]);
}

/// A reader that fails after some bytes.
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::Error::other("the disk is gone")))
    }
}

#[tokio::test]
async fn an_upload_whose_reader_fails_is_no_upload() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::builder()
        .target(listener.local_addr()?.to_string())
        .build()?;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        // The preface of HTTP/2, answered with empty settings, so that the call begins.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await
    });
    let first = std::io::Cursor::new(vec![7; 300 * 1024]);
    let source = UploadSource::reader(first.chain(Failing));
    let upload = client.upload("m", source).timeout(Duration::from_secs(20));
    let error = upload.await.unwrap_err();
    assert!(error.message().contains("the disk is gone"), "{error}");
    Ok(())
}

#[test]
fn a_fault_of_a_tool_stays_what_it_was() {
    let fault = ToolError::Tool(Box::new(std::fmt::Error));
    let ToolError::Tool(inner) = fault else {
        panic!("it was a tool's");
    };
    assert!(inner.is::<std::fmt::Error>());
    let tool = Tool::new("f", "", "{}", |_: String| async { Err::<String, _>("no") });
    assert!(format!("{tool:?}").contains("\"f\""));
}
