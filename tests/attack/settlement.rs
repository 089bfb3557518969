//! Calls that are given up just before their end: what the model made by then is paid for.

use std::path::PathBuf;
use std::time::Duration;

use dashgate::callers::key_file::Entry;
use dashgate::callers::limits::Overrides;
use dashgate::callers::{api_key, date, edit};
use dashgate::config;
use dashgate::grpc::pb;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::support::*;

/// The tokens a minute of the caller.
const RATE: u64 = 3_000;

/// The output tokens of an answer that is given up before its end.
const MADE: u32 = 2_000;

/// The file with the key of a caller, until it is dropped.
struct Keys {
    path: PathBuf,
    key: String,
}

impl Keys {
    fn new() -> Self {
        let fresh = api_key::generate().unwrap();
        let name = format!("settlement-{}.toml", fresh.id);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let entry = Entry {
            id: fresh.id,
            name: "team".into(),
            digest: fresh.digest,
            created: Some(date::now()),
            expires: None,
            revoked: None,
            limits: Overrides::default(),
        };
        edit::add(&path, &entry, || Ok::<_, dashgate::error::Error>(())).unwrap();
        Self {
            path,
            key: fresh.text.expose().to_owned(),
        }
    }

    fn settings(&self, upstream: &Upstream) -> config::Settings {
        let mut settings = settings(upstream);
        settings.callers.keys_file = Some(self.path.clone());
        settings.callers.limits.tokens_per_minute = RATE;
        settings
    }

    fn request(&self, name: &str) -> Request<pb::ConverseStreamRequest> {
        let options = pb::GenerationOptions {
            max_tokens: Some(1),
            ..pb::GenerationOptions::default()
        };
        let mut request = Request::new(pb::ConverseStreamRequest {
            request_id: name.to_owned(),
            options: Some(Box::new(options)),
            conversation: Some(conversation(
                "qwen-audio-turbo",
                vec![pb::content::Kind::Text("?".to_owned())],
            )),
            ..pb::ConverseStreamRequest::default()
        });
        let shown = format!("Bearer {}", self.key).parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        request
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An answer without its end, and with or without a count of its tokens.
fn unfinished(counted: bool) -> Vec<Step> {
    let text = |id: u32| format!("{id} {}", "word ".repeat(600));
    let pieces = [1, MADE].map(|id| {
        let said = frame(id, &text(id), "null");
        piece(match counted {
            true => said,
            false => said.replace("\"usage\"", "\"unknown\""),
        })
    });
    [vec![sse()], pieces.to_vec(), vec![Step::Hang]].concat()
}

/// Reads an answer up to its last piece, and gives it up. Whether the call was let in.
async fn cut_short(gateway: &Running, request: Request<pb::ConverseStreamRequest>) -> bool {
    let events = gateway.conversation().converse_stream(request).await;
    let mut events = match events {
        Ok(events) => events.into_inner(),
        Err(status) => {
            assert_fault(&status, Code::ResourceExhausted, "CALLER_TOKENS");
            return false;
        }
    };
    for _ in 0..3 {
        events.next().await.unwrap().unwrap();
    }
    true
}

#[tokio::test(start_paused = true)]
async fn x15_what_was_made_is_settled_when_the_caller_gives_up() {
    for counted in [true, false] {
        for named in [false, true] {
            let upstream = Upstream::always(unfinished(counted)).await;
            let keys = Keys::new();
            let gateway = gateway_with(keys.settings(&upstream)).await;
            let mut taken = 0;
            for number in 0..20 {
                let name = match named {
                    true => number.to_string(),
                    false => String::new(),
                };
                taken += usize::from(cut_short(&gateway, keys.request(&name)).await);
                upstream.closes(taken).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // The first is let in whatever it costs, and the second as long as something is left.
            assert!((1..=2).contains(&taken), "{taken} of 20, {counted} {named}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn x15_a_deadline_and_a_response_that_is_not_read_are_settled_too() {
    let upstream = Upstream::always(unfinished(true)).await;
    let keys = Keys::new();
    let gateway = gateway_with(keys.settings(&upstream)).await;
    let mut taken = 0;
    for _ in 0..20 {
        let mut request = keys.request("");
        request.set_timeout(Duration::from_secs(1));
        if let Ok(events) = gateway.conversation().converse_stream(request).await {
            let events: Vec<_> = events.into_inner().collect().await;
            assert!(events.last().unwrap().is_err());
            taken += 1;
        }
    }
    assert!((1..=2).contains(&taken), "{taken} of 20");
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_of_a_name_pays_although_a_second_one_reads_the_answer() {
    let mut steps = unfinished(true);
    steps.pop();
    steps.push(Step::Pause(Duration::from_secs(5)));
    steps.extend([piece(frame(MADE, "", "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let keys = Keys::new();
    let gateway = gateway_with(keys.settings(&upstream)).await;
    let mut taken = 0;
    for number in 0..20 {
        let name = number.to_string();
        let first = gateway
            .conversation()
            .converse_stream(keys.request(&name))
            .await;
        let Ok(first) = first else { continue };
        taken += 1;
        // With nothing left the second one of a name is refused as any other call.
        let second = gateway
            .conversation()
            .converse_stream(keys.request(&name))
            .await;
        drop(first);
        if let Ok(second) = second {
            let events: Vec<_> = second.into_inner().collect().await;
            assert!(events.iter().all(Result::is_ok));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((1..=2).contains(&taken), "{taken} of 20");
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_settled_with_the_account_too() {
    for counted in [true, false] {
        let upstream = Upstream::always(unfinished(counted)).await;
        let mut settings = settings(&upstream);
        settings.upstream.accounts = vec![config::Account {
            name: "only".to_owned(),
            endpoint: settings.upstream.endpoint.clone(),
            workspace: None,
            weight: 1,
            models: Vec::new(),
            roots: None,
            limits: vec![config::AccountLimit {
                models: "*".to_owned(),
                requests_per_minute: None,
                tokens_per_minute: Some(u32::try_from(RATE).unwrap()),
            }],
        }];
        let gateway = gateway_with(settings).await;
        let mut taken = 0;
        for _ in 0..20 {
            let request = ask_stream(question());
            let events = gateway.conversation().converse_stream(request).await;
            let mut events = match events {
                Ok(events) => events.into_inner(),
                Err(status) => {
                    assert_fault(&status, Code::ResourceExhausted, "UPSTREAM_TOKENS");
                    continue;
                }
            };
            for _ in 0..3 {
                events.next().await.unwrap().unwrap();
            }
            taken += 1;
            drop(events);
            upstream.closes(taken).await;
        }
        assert!((1..=3).contains(&taken), "{taken} of 20, {counted}");
    }
}

#[tokio::test(start_paused = true)]
async fn c13_a_deadline_of_zero_reaches_nobody_whatever_is_called() {
    const METHODS: [&str; 5] = [
        "/dashgate.v1.ConversationService/Converse",
        "/dashgate.v1.ConversationService/ConverseStream",
        "/dashgate.v1.MediaService/UploadMedia",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ];
    use crate::closed_window::{Caller, Ended, end_of, message};
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut caller = Caller::with_window(gateway.address, 65_535).await;
    let description = pb::upload_media_request::Payload::Description(pb::MediaDescription {
        model: "qwen-vl-max".to_owned(),
        mime_type: "video/mp4".to_owned(),
        name: "a.mp4".to_owned(),
        size_bytes: None,
    });
    for timeout in ["0n", "0u", "0m", "0S", "0M", "0H", "00000000S"] {
        for path in METHODS {
            let body = match path.rsplit('/').next().unwrap() {
                "Converse" => message(&ask_whole(question())),
                "ConverseStream" => message(&ask_stream(question())),
                "UploadMedia" => message(&pb::UploadMediaRequest {
                    payload: Some(description.clone()),
                }),
                _ => vec![0; 5],
            };
            let call = caller.call(path, &[("grpc-timeout", timeout)], body).await;
            match end_of(call).await {
                Ended::Status(status) => {
                    assert_eq!(status.code(), Code::DeadlineExceeded, "{path} {timeout}");
                }
                Ended::Reset(code) => panic!("{path} {timeout}: {code:?}"),
            }
        }
    }
    assert!(upstream.seen().is_empty());
}
