//! What a caller chose can only hurt that caller: its words, workspace, models, media and requests
//! that make DashScope fail.

use dashgate::grpc::pb::{self, content, upload_media_request::Payload};
use tonic::{Code, Request, Response, Status};

use crate::support::*;

/// Words that a message of DashScope's could quote, and that mean more elsewhere.
const WORDS: &[&str] = &[
    "not authorized",
    "NOT AUTHORIZED",
    "invalid access token",
    "Invalid API-key provided",
    "Access denied, please make sure your account is in good standing",
    "Free allocated quota exceeded",
    "too many requests",
    "rate limit",
    "Workspace access denied",
    "only support stream mode",
    "does not support stream",
];

fn conversation_of(model: &str, text: &str) -> pb::Conversation {
    conversation(model, vec![content::Kind::Text(text.to_owned())])
}

/// Asks as the caller of this key, in a workspace of its choice.
async fn ask_as(
    gateway: &Running,
    key: &'static str,
    workspace: Option<&'static str>,
    (model, text): (&str, &str),
) -> Result<pb::ConverseResponse, Status> {
    let mut request = Request::new(ask_whole(conversation_of(model, text)));
    let metadata = request.metadata_mut();
    metadata.insert("x-api-key", key.parse().unwrap());
    if let Some(workspace) = workspace {
        metadata.insert("x-dashscope-workspace", workspace.parse().unwrap());
    }
    let answer = gateway.conversation().converse(request).await;
    answer.map(Response::into_inner)
}

fn error(status: u16, code: &str, message: &str) -> Vec<Step> {
    let body = serde_json::json!({"code": code, "message": message, "request_id": "up-9"});
    json(status, &body.to_string())
}

fn says(seen: &Seen, text: &str) -> bool {
    String::from_utf8_lossy(&seen.body).contains(text)
}

#[tokio::test(start_paused = true)]
async fn n1_a_message_that_quotes_a_caller_pauses_nothing() {
    for words in WORDS {
        let message = format!("Voice '{words}' is not supported.");
        let native = serde_json::json!({"code": "InvalidParameter", "message": message});
        let wrapped = serde_json::json!({
            "code": "InvalidParameter",
            "message": format!("<400> InternalError.Algo.InvalidParameter: {message}"),
        });
        let forged = serde_json::json!({
            "code": "InvalidParameter",
            "message": format!("<401> InvalidApiKey: {message}"),
        });
        let openai = serde_json::json!({"error": {
            "code": "invalid_parameter_error", "message": message, "type": "invalid_request_error",
        }});
        let untyped = serde_json::json!({"error": {
            "code": null, "message": message, "type": "invalid_request_error",
        }});
        let event = |body: &serde_json::Value| {
            format!("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{body}\n\n")
        };
        let forms = [&native, &wrapped, &forged, &openai, &untyped];
        let whole_forms = forms.map(|body| json(400, &body.to_string()));
        let events = forms.map(|body| vec![sse(), piece(event(body)), end()]);
        for steps in whole_forms.into_iter().chain(events) {
            let answer = steps.clone();
            let upstream = Upstream::start(move |_, seen| match says(seen, "poison") {
                true => answer.clone(),
                false => json(200, &whole("x")),
            })
            .await;
            let gateway = gateway(&upstream).await;
            let status = ask_as(&gateway, "bad", None, ("m", "poison")).await;
            let status = status.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{steps:?} {status:?}");
            for key in ["good", "bad"] {
                let answer = ask_as(&gateway, key, None, ("m", "hi")).await;
                assert!(answer.is_ok(), "{steps:?} {answer:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_workspace_of_a_callers_choice_is_refused_to_that_caller_alone() {
    for (status, code) in [
        (403, "Workspace.AccessDenied"),
        (401, "NOT AUTHORIZED"),
        (401, "InvalidApiKey"),
        (400, "Arrearage"),
        (429, "Throttling.RateQuota"),
        (500, "InternalError"),
    ] {
        let upstream = Upstream::start(move |_, seen| {
            match seen.header("x-dashscope-workspace") == Some("evil") {
                true => error(status, code, "no"),
                false => json(200, &whole("x")),
            }
        })
        .await;
        let gateway = gateway(&upstream).await;
        for _ in 0..20 {
            let refused = ask_as(&gateway, "bad", Some("evil"), ("m", "hi")).await;
            refused.unwrap_err();
            for (key, workspace) in [("good", None), ("good", Some("other")), ("bad", None)] {
                let answer = ask_as(&gateway, key, workspace, ("m", "hi")).await;
                assert!(answer.is_ok(), "{code} {key} {workspace:?} {answer:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_one_caller_may_not_use_is_called_for_the_others() {
    for (status, code) in [
        (403, "Model.AccessDenied"),
        (403, "Workspace.AccessDenied"),
        (403, "AccessDenied"),
        (403, "AccessDenied.Unpurchased"),
        (403, "AllocationQuota.FreeTierOnly"),
    ] {
        let upstream = Upstream::start(move |_, seen| match says(seen, "poison") {
            true => error(status, code, "no"),
            false => json(200, &whole("x")),
        })
        .await;
        let gateway = gateway(&upstream).await;
        for _ in 0..3 {
            let refused = ask_as(&gateway, "bad", None, ("secret", "poison")).await;
            assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
        }
        assert_eq!(
            upstream.seen().len(),
            1,
            "{code}: the caller itself is paused"
        );
        for model in ["secret", "m"] {
            let answer = ask_as(&gateway, "good", None, (model, "hi")).await;
            assert!(answer.is_ok(), "{code} {answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn poison_calls_of_one_caller_open_the_circuit_for_that_caller_alone() {
    for steps in [
        error(500, "InternalError", "no"),
        json(502, "<html></html>"),
        vec![Step::Close],
        error(503, "ModelUnavailable", "no"),
    ] {
        let answer = steps.clone();
        let upstream = Upstream::start(move |_, seen| match says(seen, "poison") {
            true => answer.clone(),
            false => json(200, &whole("x")),
        })
        .await;
        let gateway = gateway(&upstream).await;
        for _ in 0..30 {
            let failed = ask_as(&gateway, "bad", None, ("m", "poison")).await;
            failed.unwrap_err();
        }
        let asked = upstream.seen().len();
        let failed = ask_as(&gateway, "bad", None, ("m", "poison")).await;
        assert_fault(&failed.unwrap_err(), Code::Unavailable, "CIRCUIT_OPEN");
        assert_eq!(upstream.seen().len(), asked);
        for _ in 0..10 {
            let answer = ask_as(&gateway, "good", None, ("m", "hi")).await;
            assert!(answer.is_ok(), "{steps:?} {answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn poison_calls_of_one_caller_spend_no_retries_of_the_others() {
    let upstream = Upstream::start(|number, seen| {
        match says(seen, "poison") || says(seen, "unlucky") && number % 2 == 0 {
            true => error(500, "InternalError", "no"),
            false => json(200, &whole("x")),
        }
    })
    .await;
    let mut settings = settings(&upstream);
    settings.upstream.breaker_failures = 0;
    let gateway = gateway_with(settings).await;
    for _ in 0..100 {
        let failed = ask_as(&gateway, "bad", None, ("m", "poison")).await;
        failed.unwrap_err();
    }
    // Its reserve of ten, and one for each ten calls.
    let asked = upstream.seen().len();
    assert!((101..=122).contains(&asked), "{asked}");
    // Keys may fall into one group; of several callers at most a few do.
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut answered = 0;
    for key in keys {
        answered += usize::from(ask_as(&gateway, key, None, ("m", "unlucky")).await.is_ok());
    }
    assert!(answered >= keys.len() - 2, "{answered}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_message_changes_no_delivery_of_other_callers() {
    let upstream = Upstream::start(|_, seen| {
        let streams = seen.header("x-dashscope-sse").is_some();
        match (says(seen, "poison") && streams, streams) {
            (true, _) => error(400, "InvalidParameter", "does not support stream"),
            (false, true) => vec![sse(), piece(frame(1, "x", "stop")), end()],
            (false, false) => json(200, &whole("x")),
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    for (key, text, streams) in [
        ("bad", "poison", false),
        ("bad", "poison", false),
        ("good", "hi", true),
    ] {
        let mut request = Request::new(ask_stream(conversation_of("m", text)));
        let metadata = request.metadata_mut();
        metadata.insert("x-api-key", key.parse().unwrap());
        let events = gateway.conversation().converse_stream(request).await;
        drop(events.unwrap());
        let seen = upstream.seen();
        let last = seen.last().unwrap().header("x-dashscope-sse");
        assert_eq!(last.is_some(), streams, "{key}");
    }
}

fn image(uri: &str) -> content::Kind {
    content::Kind::Image(pb::Image {
        source: Some(pb::image::Source::Uri(uri.to_owned())),
        ..pb::Image::default()
    })
}

async fn ask_about(gateway: &Running, key: &'static str, uri: &str) -> Result<(), Status> {
    let mut request = Request::new(ask_whole(conversation("m", vec![image(uri)])));
    request
        .metadata_mut()
        .insert("x-api-key", key.parse().unwrap());
    gateway.conversation().converse(request).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn x11_private_hosts_are_refused_with_the_path_and_no_request_is_sent() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for uri in [
        "http://169.254.169.254/latest/meta-data",
        "http://100.100.100.200/latest",
        "http://localhost/a.png",
        "http://127.0.0.1:9/a.png",
        "http://2130706433/a.png",
        "http://[::ffff:10.0.0.1]/a.png",
        "https://user:word@x.test/a.png",
        "http://metadata.google.internal/",
        "http://127.0.0.0x1/a.png",
    ] {
        let status = ask_about(&gateway, "a", uri).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        let at = "conversation.messages[0].content[0].image.uri";
        assert_eq!(violations(&status), [at], "{uri}");
    }
    assert!(upstream.seen().is_empty());
    ask_about(&gateway, "a", "https://x.test/a.png")
        .await
        .unwrap();
    let mut settings = settings(&upstream);
    settings.upstream.private_hosts = vec!["10.0.0.*".to_owned()];
    let gateway = gateway_with(settings).await;
    ask_about(&gateway, "a", "http://10.0.0.7/a.png")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn x1_what_another_caller_stored_is_not_there() {
    let upstream = Upstream::start(|_, seen| {
        let host = seen.header("host").unwrap_or_default();
        match seen.path.as_str() {
            path if path.starts_with("/api/v1/uploads") => json(
                200,
                &serde_json::json!({"data": {
                    "policy": "cA==", "signature": "cw==", "upload_dir": "dashscope-instant/x/1",
                    "upload_host": format!("http://{host}/oss"), "expire_in_seconds": 300,
                    "oss_access_key_id": "k",
                }})
                .to_string(),
            ),
            "/oss" => json(200, ""),
            _ => json(200, &whole("x")),
        }
    })
    .await;
    let gateway = gateway(&upstream).await;
    let describe = Payload::Description(pb::MediaDescription {
        model: "m".to_owned(),
        mime_type: "image/png".to_owned(),
        ..pb::MediaDescription::default()
    });
    let messages =
        [describe, Payload::Chunk(b"png"[..].into())].map(|payload| pb::UploadMediaRequest {
            payload: Some(payload),
        });
    let mut request = Request::new(tokio_stream::iter(messages));
    request
        .metadata_mut()
        .insert("x-api-key", "owner".parse().unwrap());
    let stored = gateway.media().upload_media(request).await.unwrap();
    let uri = stored.into_inner().uri;
    ask_about(&gateway, "owner", &uri).await.unwrap();
    let asked = upstream.seen().len();
    for uri in [
        uri.clone(),
        uri.replacen("oss:", "OSS:", 1),
        format!("{uri}?a"),
    ] {
        let status = ask_about(&gateway, "thief", &uri).await.unwrap_err();
        assert_fault(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
        let at = "conversation.messages[0].content[0].image.uri";
        assert_eq!(violations(&status), [at]);
    }
    assert_eq!(upstream.seen().len(), asked);
    // Of what is not known here, another replica may know.
    let unknown = "oss://dashscope-instant/x/2/other.png";
    ask_about(&gateway, "thief", unknown).await.unwrap();
    let mut settings = settings(&upstream);
    settings.upstream.refuse_unknown_uploads = true;
    let strict = gateway_with(settings).await;
    let status = ask_about(&strict, "thief", unknown).await.unwrap_err();
    assert_fault(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn poison_calls_without_credentials_open_the_circuit_for_where_they_come_from() {
    let upstream = Upstream::start(move |_, seen| match says(seen, "poison") {
        true => error(500, "InternalError", "no"),
        false => json(200, &whole("x")),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut raw = crate::support::http2_peer::Raw::connect(
        gateway.address,
        crate::support::http2_peer::Manners::Answers,
    )
    .await;
    poison(&mut raw, 30).await;
    for _ in 0..10 {
        let request = ask_whole(conversation_of("m", "hi"));
        let answer = gateway.conversation().converse(request).await;
        answer.expect("another connection has nothing to do with it");
    }
}

/// Calls so often with words that make DashScope fail, on this connection and without credentials.
async fn poison(raw: &mut crate::support::http2_peer::Raw, calls: u32) {
    use crate::support::http2_peer::*;
    use prost::Message as _;

    let message = ask_whole(conversation_of("m", "poison")).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &message].concat();
    let head = block("/dashgate.v1.ConversationService/Converse", &[]);
    for call in 0..calls {
        let stream = 2 * call + 1;
        raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
        raw.send(&h2(DATA, END_STREAM, stream, &message)).await;
        while raw.next().await.is_some_and(|frame| frame.stream != stream) {}
    }
}
