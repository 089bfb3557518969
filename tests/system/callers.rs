//! Who may call: keys of our own, over real sockets and from a real file.

use std::fmt::Write as _;
use std::time::Duration;

use dashgate::callers::{date, edit};
use dashgate::grpc::pb;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

pub use crate::support::keys::Folder;
use crate::support::*;

/// A request that shows this.
fn showing<T>(message: T, name: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

pub fn with_key<T>(message: T, key: &str) -> Request<T> {
    showing(message, "authorization", &format!("Bearer {key}"))
}

pub async fn ask(gateway: &Running, key: &str) -> Result<pb::ConverseResponse, Status> {
    let request = with_key(ask_whole(question()), key);
    let answer = gateway.conversation().converse(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Asks until the outcome is as it should be. The clock is paused: this waits for the gateway's
/// own look at the file, and takes no time.
pub async fn until(gateway: &Running, key: &str, accepted: bool) {
    for _ in 0..100 {
        let answer = ask(gateway, key).await;
        if answer.is_ok() == accepted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the gateway did not read its keys again");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_accepted_in_both_headers_and_not_passed_on() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    let gateway = gateway_with(folder.settings(&upstream)).await;
    for (name, value) in [
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("bearer {key}")),
        ("x-api-key", key.clone()),
    ] {
        let request = showing(ask_whole(question()), name, &value);
        gateway.conversation().converse(request).await.unwrap();
    }
    for seen in upstream.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer sk-canary"));
        assert!(!format!("{:?}", seen.headers).contains(&key));
    }
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_the_same_and_says_how_to_send_a_key() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (id, key) = folder.key("team-a", |_| ());
    let (_, expired) = folder.key("team-a", |entry| entry.expires = Some(date::now() - 1));
    let (revoked_id, revoked) = folder.key("team-a", |_| ());
    edit::revoke(&folder.keys(), &revoked_id, date::now()).unwrap();
    let gateway = gateway_with(folder.settings(&upstream)).await;
    let secret = key.rsplit('_').next().unwrap();
    let shown = [
        ("authorization", "Bearer ".to_owned()),
        ("authorization", format!("Basic {key}")),
        ("authorization", key.clone()),
        ("authorization", "Bearer sk-somebody".to_owned()),
        (
            "authorization",
            "Bearer eyJhbGciOiJub25lIn0.e30.".to_owned(),
        ),
        ("x-api-key", format!("dg_{id}_{}", "0".repeat(64))),
        ("x-api-key", format!("dg_000000000000_{secret}")),
        ("x-api-key", format!("{key}0")),
        ("x-api-key", key.to_uppercase()),
        ("x-api-key", expired),
        ("x-api-key", revoked),
        ("cookie", key.clone()),
    ];
    let mut told = String::new();
    for (name, value) in &shown {
        let request = showing(ask_whole(question()), name, value);
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        assert_eq!(pushback, "-1");
        writeln!(told, "{}", status.message()).unwrap();
        assert!(!format!("{status:?}").contains(secret), "{status:?}");
    }
    let first = told.lines().next().unwrap().to_owned();
    assert!(told.lines().all(|line| line == first), "{told}");
    assert!(first.contains("authorization: Bearer KEY") && first.contains("x-api-key: KEY"));

    let bare = gateway.conversation().converse(ask_whole(question())).await;
    assert_eq!(bare.unwrap_err().message(), first);
    let mut conversation = gateway.conversation();
    let stream = conversation.converse_stream(ask_stream(question()));
    assert_eq!(stream.await.unwrap_err().message(), first);
    let upload = tokio_stream::once(pb::UploadMediaRequest::default());
    let upload = gateway.media().upload_media(upload).await;
    assert_eq!(upload.unwrap_err().message(), first);
    assert_eq!(upstream.seen().len(), 0);
    // The right one is still right.
    ask(&gateway, &key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn health_is_open_and_reflection_if_configured() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    for open in [false, true] {
        let mut settings = folder.settings(&upstream);
        settings.callers.open_reflection = open;
        let gateway = gateway_with(settings).await;
        let check = pb::health::HealthCheckRequest::default();
        gateway.health().check(check).await.unwrap();
        assert_eq!(reflect(&gateway, None).await, open);
        assert!(reflect(&gateway, Some(&key)).await);
    }
}

/// Whether reflection is answered.
async fn reflect(gateway: &Running, key: Option<&str>) -> bool {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut client = ServerReflectionClient::with_origin(gateway.client.clone(), origin);
    let message = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
    };
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(key) = key {
        let value = key.parse().unwrap();
        request.metadata_mut().insert("x-api-key", value);
    }
    match client.server_reflection_info(request).await {
        Ok(answers) => answers.into_inner().next().await.unwrap().is_ok(),
        Err(status) => {
            assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
            false
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_while_its_stream_runs_refuses_new_calls_and_cuts_none() {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![
            sse(),
            piece(frame(1, "一", "null")),
            Step::Pause(Duration::from_secs(20)),
            piece(frame(2, "二", "stop")),
            end(),
        ],
        _ => json(200, &whole("x")),
    })
    .await;
    let folder = Folder::new();
    let (id, key) = folder.key("team-a", |_| ());
    let (_, other) = folder.key("team-b", |_| ());
    let gateway = gateway_with(folder.settings(&upstream)).await;
    let request = with_key(ask_stream(question()), &key);
    let mut stream = gateway
        .conversation()
        .converse_stream(request)
        .await
        .unwrap()
        .into_inner();
    stream.next().await.unwrap().unwrap();

    edit::revoke(&folder.keys(), &id, date::now()).unwrap();
    until(&gateway, &key, false).await;
    ask(&gateway, &other).await.unwrap();
    let rest: Vec<_> = stream.collect().await;
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
    assert!(texts(&rest).contains(&"二".to_owned()), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_taken_up_and_a_broken_file_changes_nothing() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, first) = folder.key("team-a", |_| ());
    let gateway = gateway_with(folder.settings(&upstream)).await;
    let (_, second) = folder.key("team-b", |_| ());
    until(&gateway, &second, true).await;

    let good = std::fs::read_to_string(folder.keys()).unwrap();
    std::fs::write(folder.keys(), "[[key]]\nname = 1\n").unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ask(&gateway, &first).await.unwrap();
    std::fs::remove_file(folder.keys()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ask(&gateway, &second).await.unwrap();

    std::fs::write(folder.keys(), good).unwrap();
    let (_, third) = folder.key("team-c", |_| ());
    until(&gateway, &third, true).await;
    ask(&gateway, &first).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gateway_does_not_start_without_the_file_that_it_was_told_of() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let Err(error) = dashgate::app::bind(&folder.settings(&upstream)).await else {
        panic!("it started");
    };
    let told = error.to_string();
    assert!(
        told.contains("keys.toml") && told.contains("dashgate keys new"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_request_id_of_two_callers_is_two_calls() {
    let upstream = Upstream::start(|number, _| json(200, &whole(&format!("{number}")))).await;
    let folder = Folder::new();
    let (_, one) = folder.key("team-a", |_| ());
    let (_, same) = folder.key("team-a", |_| ());
    let (_, other) = folder.key("team-b", |_| ());
    let gateway = gateway_with(folder.settings(&upstream)).await;
    let named = pb::ConverseRequest {
        request_id: "twin".to_owned(),
        ..ask_whole(question())
    };
    for (key, asked) in [(&one, 1), (&same, 1), (&other, 2), (&one, 2)] {
        let request = with_key(named.clone(), key);
        gateway.conversation().converse(request).await.unwrap();
        assert_eq!(upstream.seen().len(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_key_for_dashscope_is_used_for_its_call_only_and_never_shown() {
    let upstream = Upstream::start(|_, request| {
        match request.header("authorization") == Some("Bearer sk-canary-of-nobody") {
            true => json(
                401,
                r#"{"code":"InvalidApiKey","message":"sk-canary-of-nobody"}"#,
            ),
            false => json(200, &whole("x")),
        }
    })
    .await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.callers.pass_through = true;
    let gateway = gateway_with(settings).await;
    for (shown, sent) in [
        ("sk-callers-own", "Bearer sk-callers-own"),
        ("sk-anothers-own", "Bearer sk-anothers-own"),
        (&*key, "Bearer sk-canary"),
    ] {
        let named = pb::ConverseRequest {
            request_id: "the-same".to_owned(),
            ..ask_whole(question())
        };
        let answer = gateway
            .conversation()
            .converse(with_key(named, shown))
            .await;
        answer.unwrap();
        let seen = upstream.seen();
        assert_eq!(seen.last().unwrap().header("authorization"), Some(sent));
    }
    // Three callers with one request_id are three calls.
    assert_eq!(upstream.seen().len(), 3);
    // What DashScope thinks of a caller's key takes nothing from the operator's.
    for _ in 0..10 {
        let status = ask(&gateway, "sk-canary-of-nobody").await.unwrap_err();
        assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
    }
    ask(&gateway, &key).await.unwrap();
}

/// The real program, because its log is one for the whole process.
#[tokio::test]
async fn no_key_is_ever_in_the_log_at_its_loudest() {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};

    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    let log = std::fs::File::create(folder.path("log")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_dashgate"))
        .args(["serve", "--listen", "127.0.0.1:0", "--upstream", "embedded"])
        .args(["--set", "callers.pass_through=true"])
        .args(["--set", "log.level=debug,dashgate=trace"])
        .arg("--set")
        .arg(format!("callers.keys_file={}", folder.keys().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = std::io::BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    let address = first.trim().strip_prefix("listening on ").unwrap();
    let wrong = format!("{key}canary");
    let calls = async |shown: &str| {
        let address = format!("http://{address}");
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap();
        let channel = channel.connect().await.unwrap();
        let mut client = pb::conversation_service_client::ConversationServiceClient::new(channel);
        let answer = client.converse(with_key(ask_whole(question()), shown));
        answer.await.is_ok()
    };
    let outcomes = [
        calls(&key).await,
        calls(&wrong).await,
        calls("sk-canary-own").await,
        calls("eyJcanary.canary.canary").await,
    ];
    // In order, so that the last lines are written too.
    let id = program.id().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(told.success() && program.wait().unwrap().success());
    assert_eq!(outcomes, [true, false, true, false]);
    let log = std::fs::read_to_string(folder.path("log")).unwrap();
    let secret = key.rsplit('_').next().unwrap();
    assert!(log.contains("\"caller\":\"team-a\""), "{log}");
    assert!(log.contains("\"caller\":\"dashscope:"), "{log}");
    assert!(log.contains("the key does not match its id"), "{log}");
    assert!(!log.contains(secret) && !log.contains("canary"), "{log}");
}
