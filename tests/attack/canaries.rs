//! Keys and content with a word in them that must not be seen again: not in the log at its loudest,
//! not in an error, not on any page of the admin port.

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::{self, audio, content, tool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::program::Program;
use crate::support::*;

const CANARY: &str = "canary";

/// A request with the word wherever content can be.
fn request_of(case: &str) -> pb::Conversation {
    let audio = |source| {
        content::Kind::Audio(pb::Audio {
            source: Some(source),
            mime_type: "audio/wav".to_owned(),
            ..pb::Audio::default()
        })
    };
    let address = "https://user-canary.test/canary/a.wav?signature=canary-query";
    let mut conversation = conversation(
        "qwen-audio-turbo",
        vec![
            content::Kind::Text(format!("{case}: canary-question")),
            audio(audio::Source::Uri(address.to_owned())),
            audio(audio::Source::Data(
                b"RIFF\0\0\0\0WAVEcanary-audio".to_vec().into(),
            )),
        ],
    );
    conversation.messages[0].reasoning_text = "canary-thought".to_owned();
    conversation.tools = vec![pb::Tool {
        kind: Some(tool::Kind::Function(pb::FunctionTool {
            name: "weather".to_owned(),
            description: "canary-description".to_owned(),
            parameters: r#"{"type":"object","title":"canary-schema"}"#.to_owned(),
        })),
    }];
    conversation
}

/// What DashScope does with each case, which stands in the text of the request.
fn answer_to(request: &Seen) -> Vec<Step> {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let case = |name: &str| body.contains(&format!("{name}: canary"));
    let fault = r#"{"code":"InvalidParameter","message":"canary-words","request_id":"up-1"}"#;
    let event = format!("id:9\nevent:error\n:HTTP_STATUS/400\ndata:{fault}\n\n");
    let stream = body.contains("incremental_output");
    if case("refused") {
        json(400, fault)
    } else if case("failing") {
        json(500, r#"{"code":"InternalError","message":"canary-words"}"#)
    } else if case("key") {
        json(
            401,
            r#"{"code":"InvalidApiKey","message":"sk-operators-canary is wrong"}"#,
        )
    } else if case("html") {
        http(
            502,
            "content-type: text/html\r\nx-canary: canary\r\n",
            b"<html>canary</html>",
        )
    } else if case("malformed") {
        json(
            200,
            "{\"output\":{\"choices\":[{\"message\":{\"content\":\"canary-answer\"",
        )
    } else if case("framing") {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\ncanary";
        vec![Step::Write(head.into())]
    } else if case("broken") {
        vec![sse(), piece(frame(1, "canary-answer", "null")), Step::Reset]
    } else if case("late") {
        vec![
            sse(),
            piece(frame(1, "canary-answer", "null")),
            piece(event),
            end(),
        ]
    } else if case("hanging") {
        vec![sse(), piece(frame(1, "canary-answer", "null")), Step::Hang]
    } else if stream {
        vec![sse(), piece(frame(1, "canary-answer", "stop")), end()]
    } else {
        json(200, &whole("canary-answer"))
    }
}

const CASES: [&str; 9] = [
    "good",
    "refused",
    "failing",
    "key",
    "html",
    "malformed",
    "framing",
    "broken",
    "late",
];

/// A call that shows a key and brings headers that mean nothing here.
fn showing<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {key}").parse().unwrap());
    metadata.insert("cookie", "canary-cookie".parse().unwrap());
    metadata.insert("x-canary", "canary-header".parse().unwrap());
    request
}

/// A page of the admin port.
async fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    answer
}

/// Makes every kind of call, and gives the text of every error.
async fn errors(client: &mut ConversationServiceClient<Channel>, key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for case in CASES {
        let whole = client
            .converse(showing(ask_whole(request_of(case)), key))
            .await;
        errors.extend(whole.err().map(|status| format!("{case}: {status:?}")));
        let stream = showing(ask_stream(request_of(case)), key);
        match client.converse_stream(stream).await {
            Err(status) => errors.push(format!("{case}: {status:?}")),
            Ok(events) => {
                let events: Vec<_> = events.into_inner().collect().await;
                let failed = events.into_iter().find_map(Result::err);
                errors.extend(failed.map(|status| format!("{case}: {status:?}")));
            }
        }
    }
    // Refused before anything is sent: the content is not repeated there either.
    let mut wrong = request_of("good");
    wrong.messages[0].role = 99;
    wrong.tools[0].kind = Some(tool::Kind::Function(pb::FunctionTool {
        name: "weather".to_owned(),
        parameters: "{canary".to_owned(),
        ..pb::FunctionTool::default()
    }));
    let file = pb::audio::Source::Uri("file:///canary/secret".to_owned());
    wrong.messages[0].content[1].kind = Some(content::Kind::Audio(pb::Audio {
        source: Some(file),
        ..pb::Audio::default()
    }));
    let status = client
        .converse(showing(ask_whole(wrong), key))
        .await
        .unwrap_err();
    errors.push(format!("wrong: {status:?}"));
    errors
}

#[tokio::test]
async fn x8_x9_no_key_and_no_content_is_ever_seen_again() {
    let upstream = Upstream::start(|_, request| answer_to(request)).await;
    let base_url = upstream.base_url();
    let mut arguments = vec!["--upstream", base_url.as_str()];
    for setting in [
        "log.level=trace",
        "callers.pass_through=true",
        "retry.max_attempts=2",
    ] {
        arguments.extend(["--set", setting]);
    }
    let program = Program::start("", &arguments);
    let address = format!("http://{}", program.address);
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap();
    let mut client = ConversationServiceClient::new(channel.connect().await.unwrap());

    let mut seen = errors(&mut client, "sk-canary-caller").await;
    assert!(seen.len() > 12, "{seen:?}");
    // Nobody: the key that was shown is not repeated.
    for key in ["nobody-canary", "eyJcanary.canary.canary", "dg_canary"] {
        let call = showing(ask_whole(request_of("good")), key);
        seen.push(format!("{:?}", client.converse(call).await.unwrap_err()));
    }
    // A call that runs is on the pages too.
    let call = showing(ask_stream(request_of("hanging")), "sk-canary-caller");
    let mut running = client.converse_stream(call).await.unwrap().into_inner();
    running.next().await.unwrap().unwrap();
    for path in ["/", "/metrics", "/calls", "/config"] {
        seen.push(page(&program.admin, path).await);
    }
    drop(running);

    for text in &seen {
        assert!(!text.contains(CANARY), "{text}");
    }
    let reached = upstream.seen();
    assert!(
        reached
            .iter()
            .all(|request| { request.header("authorization") == Some("Bearer sk-canary-caller") })
    );
    let log = program.stop();
    assert!(
        log.contains("\"method\":\"Converse\""),
        "there is a log: {log:.2000}"
    );
    let line = log.lines().find(|line| line.contains(CANARY));
    assert_eq!(line, None);
}
