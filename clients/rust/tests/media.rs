//! Files of messages: paths, `file:` URIs, readers, and large files that are uploaded.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use dashgate_client::{Code, Conversation, Media, audio, image, v1, video, video_frames};
use support::{Gateway, Reply, answer, question};

const LARGE: usize = 4 * 1024 * 1024 + 1;

/// A file that is removed with the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("dashgate {}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn data(content: &v1::Content) -> (&str, &[u8]) {
    match &content.kind {
        Some(v1::content::Kind::Audio(audio)) => match &audio.source {
            Some(v1::audio::Source::Data(bytes)) => (&audio.mime_type, bytes),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn file_uris_and_readers_are_read() {
    let file = Temporary::new("a b.mp3", b"ID3 and more");
    let uri = format!("file://{}", file.0.display()).replace(' ', "%20");
    let expected = ("audio/mpeg", b"ID3 and more".as_slice());
    for part in [
        audio(uri.as_str()).await.unwrap(),
        audio(Media::uri(uri.as_str())).await.unwrap(),
        audio(file.0.as_path()).await.unwrap(),
        audio(std::fs::File::open(&file.0).unwrap()).await.unwrap(),
        audio(Media::reader(io::Cursor::new(b"ID3 and more")))
            .await
            .unwrap(),
    ] {
        assert_eq!(data(&part), expected);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_of_io_with_its_path() {
    let missing = image("no/such/file.png").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(
        missing.to_string().starts_with("no/such/file.png: "),
        "{missing}"
    );
    let missing = video("file:///no/such/file.mp4").await.unwrap_err();
    assert!(
        missing.to_string().contains("/no/such/file.mp4"),
        "{missing}"
    );
    let folder = audio(std::env::temp_dir()).await.unwrap_err();
    assert!(
        folder
            .to_string()
            .contains(std::env::temp_dir().to_str().unwrap())
    );

    let gateway = Gateway::start(|_, _| Reply::default().hanging()).await;
    let upload = gateway.client().upload("m", "no/such/file.wav").await;
    let error = upload.unwrap_err();
    assert!(error.message().contains("no/such/file.wav"), "{error}");
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.map(io::Error::kind), Some(ErrorKind::NotFound));
}

/// A gateway that stores files for two hours.
async fn storing() -> Gateway {
    storing_for(Duration::from_secs(7200)).await
}

async fn storing_for(time: Duration) -> Gateway {
    Gateway::start(move |number, seen| match seen.method.as_str() {
        "UploadMedia" => Reply::of([v1::UploadMediaResponse {
            uri: format!("oss://b/{number}"),
            expires_at: Some((SystemTime::now() + time).into()),
            ..v1::UploadMediaResponse::default()
        }]),
        "GetConversation" => Reply::of([v1::GetConversationResponse {
            conversation: Some(v1::Conversation {
                model: "stored-model".to_owned(),
                ..v1::Conversation::default()
            }),
        }]),
        "Converse" => Reply::of([answer("heard")]),
        _ => Reply::of(support::events([])),
    })
    .await
}

#[tokio::test]
async fn a_large_file_is_uploaded_once_and_again_when_it_changes() {
    let file = Temporary::new("a.mp3", &[b"ID3".as_slice(), &vec![0; LARGE]].concat());
    let gateway = storing().await;
    let client = gateway.client();
    let mut conversation = Conversation::new("m");
    conversation.user(audio(file.0.as_path()).await.unwrap());
    let sent = format!("{:?}", conversation.raw());
    assert!(sent.contains("dashgate-file:"), "{sent}");
    assert!(!sent.contains("a.mp3"), "{sent}");

    let (one, two) = (client.converse(&conversation), client.stream(&conversation));
    let (one, two) = tokio::join!(one.into_future(), two.into_future());
    one.unwrap();
    two.unwrap().finish().await.unwrap();
    let uploads = |gateway: &Gateway| {
        let seen = gateway.seen().into_iter();
        seen.filter(|seen| seen.method == "UploadMedia").count()
    };
    assert_eq!(uploads(&gateway), 1);
    let description: v1::UploadMediaRequest = gateway.seen()[0].decoded();
    let Some(v1::upload_media_request::Payload::Description(description)) = description.payload
    else {
        panic!("no description");
    };
    assert_eq!(description.mime_type, "audio/mpeg");
    assert_eq!(description.size_bytes, Some(LARGE as i64 + 3));
    for seen in gateway.seen().iter().skip(1) {
        assert!(String::from_utf8_lossy(&seen.message).contains("oss://b/0"));
    }

    // Another model cannot read the upload of the first.
    conversation.model("other");
    client.converse(&conversation).await.unwrap();
    assert_eq!(uploads(&gateway), 2);
    let typed = Media::path(&file.0).mime_type("audio/x-other");
    conversation.user(audio(typed).await.unwrap());
    client.converse(&conversation).await.unwrap();
    assert_eq!(uploads(&gateway), 3);
}

type Change = fn(&Path);

#[tokio::test]
async fn another_file_is_not_sent_in_place_of_the_attached_one() {
    let gateway = storing().await;
    let client = gateway.client();
    let bytes = vec![0; LARGE];
    let changes: [(&str, Change); 6] = [
        ("size", |path| {
            std::fs::write(path, vec![0; LARGE + 1]).unwrap()
        }),
        ("time", |path| {
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("file", |path| {
            let time = path.metadata().unwrap().modified().unwrap();
            let other = path.with_extension("other");
            std::fs::write(&other, vec![0; LARGE]).unwrap();
            let file = std::fs::File::options().append(true).open(&other).unwrap();
            file.set_modified(time).unwrap();
            std::fs::rename(&other, path).unwrap();
        }),
        ("folder", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("socket", |path| {
            std::fs::remove_file(path).unwrap();
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        }),
        ("pipe", |path| {
            std::fs::remove_file(path).unwrap();
            pipe(path);
        }),
    ];
    for (what, change) in changes {
        let file = Temporary::new("a.mp3", &bytes);
        let mut conversation = question();
        conversation.user(audio(file.0.as_path()).await.unwrap());
        change(&file.0);
        let one = client.converse(&conversation).await.unwrap_err();
        let two = client.stream(&conversation).await.unwrap_err();
        for error in [one, two] {
            assert_eq!(error.code(), Code::InvalidArgument, "{what}");
            let path = file.0.display().to_string();
            assert!(error.message().contains(&path), "{what}: {error}");
            let again = error.message().ends_with("attach the file again");
            assert!(again, "{what}: {error}");
        }
    }
    assert!(gateway.seen().is_empty());
}

fn pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[test]
fn only_regular_files_are_read_and_the_runtime_ends_afterwards() {
    let folder = Temporary::new("a", b"");
    let (fifo, socket) = (
        folder.0.with_file_name("pipe"),
        folder.0.with_file_name("socket"),
    );
    pipe(&fifo);
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let paths = [fifo, socket, "/dev/zero".into(), std::env::temp_dir()];
    runtime.block_on(async {
        let gateway = Gateway::start(|_, _| Reply::default().hanging()).await;
        let client = gateway.client();
        for path in &paths {
            let name = path.display().to_string();
            for named in [name.clone(), format!("file://{}", name.replace(' ', "%20"))] {
                for error in [
                    audio(named.as_str()).await.unwrap_err(),
                    image(named.as_str()).await.unwrap_err(),
                    video(named.as_str()).await.unwrap_err(),
                ] {
                    assert!(error.to_string().contains(&name), "{name}: {error}");
                }
                let error = client.upload("m", named.as_str()).await.unwrap_err();
                assert!(error.message().contains(&name), "{error}");
                assert_eq!(error.code(), Code::InvalidArgument);
            }
        }
    });
    // Waits for the threads that open files.
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        sender.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[tokio::test]
async fn calls_at_once_share_an_upload_and_another_one_makes_it_if_it_fails() {
    // The first upload fails, the second has no expiry.
    let gateway = Gateway::start(|number, seen| match (number, seen.method.as_str()) {
        (0, "UploadMedia") => Reply::status(Code::NotFound, "no such model"),
        (_, "UploadMedia") => Reply::of([v1::UploadMediaResponse {
            uri: "oss://b/1".to_owned(),
            ..v1::UploadMediaResponse::default()
        }]),
        _ => Reply::of([answer("heard")]),
    })
    .await;
    let file = Temporary::new("a.mp3", &vec![0; LARGE]);
    let mut conversation = question();
    conversation.user(audio(file.0.as_path()).await.unwrap());
    let client = gateway.client();
    let call = || client.converse(&conversation).into_future();
    let results = tokio::join!(call(), call(), call(), call());
    let results = [results.0, results.1, results.2, results.3];
    let failed = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(failed, 1);
    let methods = gateway.methods().into_iter();
    assert_eq!(methods.filter(|method| method == "UploadMedia").count(), 2);
}

#[tokio::test]
async fn a_call_that_waits_makes_the_upload_of_one_that_was_dropped() {
    let gateway = Gateway::start(|number, seen| match (number, seen.method.as_str()) {
        (0, _) => Reply::default().hanging(),
        (_, "UploadMedia") => Reply::of([v1::UploadMediaResponse::default()]),
        _ => Reply::of([answer("heard")]),
    })
    .await;
    let file = Temporary::new("a.mp3", &vec![0; LARGE]);
    let mut conversation = question();
    conversation.user(audio(file.0.as_path()).await.unwrap());
    let client = gateway.client();
    let first = tokio::spawn(client.converse(&conversation).into_future());
    while gateway.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn(client.converse(&conversation).into_future());
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().text(), "heard");
    assert_eq!(
        gateway.methods(),
        ["UploadMedia", "UploadMedia", "Converse"]
    );
}

#[tokio::test]
async fn an_upload_is_not_used_in_its_last_hour() {
    let file = Temporary::new("a.mp3", &vec![0; LARGE]);
    let gateway = storing_for(Duration::from_secs(3500)).await;
    let mut conversation = question();
    conversation.user(audio(file.0.as_path()).await.unwrap());
    let client = gateway.client();
    for _ in 0..2 {
        client.converse(&conversation).await.unwrap();
    }
    let methods = ["UploadMedia", "Converse"].repeat(2);
    assert_eq!(gateway.methods(), methods);
}

#[tokio::test]
async fn the_upload_of_a_stored_conversation_is_for_its_model() {
    let file = Temporary::new(
        "a.png",
        &[b"\x89PNG\r\n\x1a\n".as_slice(), &vec![0; LARGE]].concat(),
    );
    let gateway = storing().await;
    let mut conversation = Conversation::stored("conversations/a");
    conversation.user(video_frames([file.0.as_path()]).await.unwrap());
    gateway.client().converse(&conversation).await.unwrap();
    assert_eq!(
        gateway.methods(),
        ["GetConversation", "UploadMedia", "Converse"]
    );
    let upload = String::from_utf8_lossy(&gateway.seen()[1].message).into_owned();
    assert!(
        upload.contains("stored-model") && upload.contains("image/png"),
        "{upload}"
    );
}

#[tokio::test]
async fn a_large_file_that_is_gone_is_an_error_before_the_call() {
    let file = Temporary::new("a.mp3", &vec![0; LARGE]);
    let gateway = storing().await;
    let mut conversation = question();
    conversation.user(audio(file.0.as_path()).await.unwrap());
    let path = file.0.display().to_string();
    drop(file);
    let error = gateway.client().converse(&conversation).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains(&path), "{error}");
    assert!(gateway.seen().is_empty());
}
