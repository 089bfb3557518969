//! What `dashgate ask` shows of an answer, and what it says of servers that are no gateways: the
//! real program, in front of a DashScope that is played.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::*;

/// Runs `dashgate` in front of this DashScope.
pub async fn dashgate(base_url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command
        .args(arguments)
        .env_clear()
        .env("DASHSCOPE_API_KEY", "sk-x")
        .env("DASHSCOPE_HTTP_BASE_URL", base_url)
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(60), run).await;
    let output = output.expect("it ends").unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    (output.status.code(), out, err)
}

fn frames(outputs: &[Value]) -> Vec<Step> {
    let mut steps = vec![sse()];
    for output in outputs {
        let body = json!({"output": output, "usage": {"input_tokens": 3}, "request_id": "r"});
        steps.push(piece(format!(
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{body}\n\n"
        )));
    }
    steps.push(end());
    steps
}

fn one(index: i32, message: Value, finish_reason: &str) -> Value {
    json!({"choices": [{"index": index, "message": message, "finish_reason": finish_reason}]})
}

fn said(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

/// Asks in front of a DashScope that answers this: as a person, then as a program.
async fn asked(outputs: &[Value], more: &[&str]) -> ((String, String), Value) {
    let upstream = Upstream::always(frames(outputs)).await;
    let url = upstream.base_url();
    let (code, out, err) = dashgate(&url, &[&["ask"], more, &["hi"]].concat()).await;
    assert_eq!(code, Some(0), "{out} {err}");
    let (code, json, why) = dashgate(&url, &[&["ask", "--json"], more, &["hi"]].concat()).await;
    assert_eq!(code, Some(0), "{json} {why}");
    assert_eq!(json.lines().count(), 1, "{json}");
    ((out, err), serde_json::from_str(&json).unwrap())
}

#[tokio::test]
async fn the_choices_of_an_answer_are_distinguished() {
    let outputs = [
        one(0, said(json!([{"text": "first"}])), "stop"),
        one(1, said(json!([{"text": "SECOND"}])), "length"),
    ];
    for more in [
        &["--option", "n=2"][..],
        &["--option", "n=2", "--no-stream"],
    ] {
        let ((out, err), json) = asked(&outputs, more).await;
        assert_eq!(out, "first\n\nSECOND\n");
        assert!(err.contains("answer 2:"), "{err}");
        assert!(err.contains("answer 2 ended by length"), "{err}");
        assert_eq!(json["text"], "first");
        assert_eq!(json["finish_reason"], "stop");
        assert_eq!(json["choices"][1]["text"], "SECOND");
        assert_eq!(json["choices"][1]["finish_reason"], "length");
    }
}

#[tokio::test]
async fn nothing_of_an_answer_is_lost_in_silence() {
    let call = json!({"index": 0, "id": "c1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"a\":1}"}});
    let outputs = [one(
        0,
        json!({
            "role": "assistant",
            "content": [
                {"text": "hi", "ocr_result": {"words": [1]}},
                {"file": {"url": "http://FILE"}},
            ],
            "refusal": "NO",
            "annotations": [{"type": "mark", "at": 4}],
            "tool_calls": [call],
        }),
        "tool_calls",
    )];
    for more in [&[][..], &["--no-stream"]] {
        let ((out, err), json) = asked(&outputs, more).await;
        assert_eq!(out, "hi\n");
        assert!(err.contains("tool call: weather {\"a\":1}"), "{err}");
        assert!(err.contains("the answer also has"), "{err}");
        for words in [
            "ocr_result",
            "a part of kind file",
            "refusal",
            "an annotation of type \"mark\"",
            "see --json",
        ] {
            assert!(err.contains(words), "{words} in {err}");
        }
        assert_eq!(json["text"], "hi");
        let message = &json["choices"][0]["message"];
        let parts = &message["content"];
        assert_eq!(parts[0]["extra"], json!({"ocr_result": {"words": [1]}}));
        assert_eq!(parts[1]["extra"], json!({"file": {"url": "http://FILE"}}));
        assert_eq!(message["extra"], json!({"refusal": "NO"}));
        assert_eq!(message["annotations"][0]["extra"], json!({"at": 4}));
        assert_eq!(message["tool_calls"][0]["id"], "c1");
        assert_eq!(message["tool_calls"][0]["arguments"], "{\"a\":1}");
    }
}

#[tokio::test]
async fn warnings_are_shown_to_people_and_to_programs() {
    let audio = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sentence-en.wav");
    let outputs = [one(0, said(json!([{"text": "hi"}])), "stop")];
    let limits = "models.audio_limits=qwen-audio-turbo=1s";
    for more in [&[][..], &["--no-stream"]] {
        let more = [&["--audio", audio, "--set", limits], more].concat();
        let ((_, err), json) = asked(&outputs, &more).await;
        assert!(err.contains("warning: AUDIO_TRUNCATED"), "{err}");
        assert_eq!(json["warnings"][0]["code"], "AUDIO_TRUNCATED", "{json}");
        assert!(json["warnings"][0]["message"].is_string(), "{json}");
    }
}

/// A path in a folder of its own.
fn path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dashgate-answers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[tokio::test]
async fn an_output_file_that_cannot_be_written_is_reported_before_the_call() {
    let upstream = Upstream::always(Vec::new()).await;
    for (file, words) in [
        (path("no/such/x.wav"), "cannot write"),
        (path("x.mp3"), "can be written, not audio/mpeg"),
    ] {
        let name = file.to_str().unwrap();
        let speak = ["ask", "-m", "qwen3-tts-flash", "-o", name, "hi"];
        let (code, _, err) = dashgate(&upstream.base_url(), &speak).await;
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(words), "{err}");
        assert!(!file.exists());
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn an_answer_that_was_paid_for_is_shown_though_its_audio_cannot_be_written() {
    let outputs = [one(0, said(json!([{"text": "hi"}])), "stop")];
    let upstream = Upstream::always(frames(&outputs)).await;
    let file = path("none.wav");
    let name = file.to_str().unwrap();
    let (code, out, _) = dashgate(&upstream.base_url(), &["ask", "--json", "-o", name, "hi"]).await;
    assert_eq!(code, Some(1), "{out}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["text"], "hi");
    assert_eq!(json["error"]["code"], "NO_AUDIO");
    assert!(!file.exists());
}

/// A server that answers whatever it is sent with these bytes, and hangs up.
async fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
                // Until the other side has read it: a reset would overtake it.
                let _ = stream.read(&mut [0; 1024]).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_is_no_gateway_is_told_as_what_it_is() {
    for (answer, words) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
            "is not a gRPC server: it uses HTTP/1",
        ),
        (b"\x15\x03\x01\0\x02\x02\x46", "it uses TLS"),
        (b"220 mail.example ESMTP\r\n", "another protocol"),
        (b"", "does not answer to HTTP/2"),
    ] {
        let address = server(answer).await;
        for command in [&["ask", "hi"][..], &["health"]] {
            let arguments = [command, &["--server", &address]].concat();
            let (code, _, err) = dashgate("http://127.0.0.1:9", &arguments).await;
            assert_eq!(code, Some(3), "{command:?} {err}");
            assert!(err.contains(words), "{command:?}: {words} in {err}");
            assert!(err.contains(&address), "{err}");
            assert!(!err.contains("--timeout"), "{err}");
        }
    }
}

/// Servers of HTTP/1 hang up on the preface of HTTP/2, and answer other bytes with an error.
#[tokio::test]
async fn a_port_of_http_1_is_told_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 3];
                let _ = stream.read_exact(&mut head).await;
                if &head != b"PRI" {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 1024]).await;
            });
        }
    });
    for command in [&["ask", "hi"][..], &["health"]] {
        let arguments = [command, &["--server", &address]].concat();
        let (code, _, err) = dashgate("http://127.0.0.1:9", &arguments).await;
        assert_eq!(code, Some(3), "{command:?} {err}");
        let words = format!("{address} is not a gRPC server: it uses HTTP/1");
        assert!(err.contains(&words), "{command:?} {err}");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let wav = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("silent-server.wav");
    let mut large = crate::media::WAV.to_vec();
    large.resize(17 << 20, 0);
    std::fs::write(&wav, large).unwrap();
    let audio = wav.to_str().unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for command in [
        vec!["ask", "hi"],
        vec!["ask", "--no-stream", "hi"],
        vec!["ask", "--timeout", "10m", "hi"],
        // Uploaded first.
        vec!["ask", "--audio", audio, "hi"],
        vec!["health", "--timeout", "2s"],
    ] {
        let arguments = [&command[..], &["--server", &address]].concat();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        asked.spawn(async move {
            let begun = tokio::time::Instant::now();
            let words: Vec<_> = arguments.iter().map(String::as_str).collect();
            let (code, _, err) = dashgate("http://127.0.0.1:9", &words).await;
            (arguments, code, err, begun.elapsed())
        });
    }
    for (arguments, code, err, took) in asked.join_all().await {
        assert_eq!(code, Some(3), "{arguments:?} {err}");
        assert!(err.contains(&address), "{arguments:?}: {err}");
        assert!(err.contains("does not answer"), "{arguments:?}: {err}");
        assert!(took < Duration::from_secs(30), "{arguments:?}: {took:?}");
    }
    std::fs::remove_file(wav).unwrap();
    // Nothing is said to TLS either.
    let tls = format!("https://{address}");
    let (code, _, err) = dashgate("http://127.0.0.1:9", &["ask", "--server", &tls, "hi"]).await;
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains(&address), "{err}");
}

#[tokio::test]
async fn a_gateway_whose_model_takes_long_is_waited_for() {
    let mut steps = vec![Step::Pause(Duration::from_secs(5))];
    steps.extend(json(200, &whole("late")));
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let address = gateway.address.to_string();
    let arguments = ["ask", "--no-stream", "--server", &address, "hi"];
    let (code, out, err) = dashgate("http://127.0.0.1:9", &arguments).await;
    assert_eq!((code, out.trim()), (Some(0), "late"), "{err}");
}

#[tokio::test]
async fn a_server_of_http2_without_grpc_is_told_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let nowhere = hyper::service::service_fn(|_| async {
                let page = http::Response::builder().status(404);
                page.body(http_body_util::Empty::<bytes::Bytes>::new())
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            let server = hyper::server::conn::http2::Builder::new(executor);
            tokio::spawn(server.serve_connection(stream, nowhere));
        }
    });
    let (code, _, err) = dashgate("http://127.0.0.1:9", &["ask", "--server", &address, "hi"]).await;
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("answers to HTTP/2, without gRPC"), "{err}");
}

#[tokio::test]
async fn the_scheme_of_an_address_may_be_in_capitals() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let address = format!("HTTP://{}", gateway.address);
    let (code, out, err) = dashgate("http://127.0.0.1:9", &["health", "--server", &address]).await;
    assert_eq!((code, out.as_str()), (Some(0), "SERVING\n"), "{err}");
}
