//! Callers who try to read each other's answers by the request id, which each of them chooses.

use std::time::Duration;

use dashgate::grpc::pb::{self, content};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::support::*;

fn text_of(answer: &pb::ConverseResponse) -> String {
    let message = answer.choices[0].message.as_ref().unwrap();
    match message.content[0].kind.as_ref() {
        Some(content::Kind::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// A DashScope that answers each question with itself, after a while.
async fn echo() -> Upstream {
    Upstream::start(|_, request| {
        let text = &request.json()["input"]["messages"][0]["content"][0]["text"];
        let mut steps = vec![Step::Pause(Duration::from_secs(1))];
        steps.extend(json(200, &whole(text.as_str().unwrap())));
        steps
    })
    .await
}

/// A call of this caller, with this request id in the field or in the metadata.
fn call(
    caller: usize,
    request_id: &str,
    text: &str,
    in_field: bool,
) -> Request<pb::ConverseRequest> {
    let parts = vec![content::Kind::Text(text.to_owned())];
    let mut message = ask_whole(conversation("qwen-audio-turbo", parts));
    if in_field {
        message.request_id = request_id.to_owned();
    }
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    if !in_field {
        metadata.insert("x-request-id", request_id.parse().unwrap());
    }
    metadata.insert(
        "authorization",
        format!("Bearer key-{caller}").parse().unwrap(),
    );
    request
}

/// Twenty callers use the same twenty request ids at once, for the same question and for their own.
#[tokio::test(start_paused = true)]
async fn x18_x27_no_caller_reads_an_answer_by_the_request_id_of_another() {
    const CALLERS: usize = 20;
    let upstream = echo().await;
    let gateway = gateway(&upstream).await;
    for round in 0..2 {
        let mut all = JoinSet::new();
        for caller in 0..CALLERS {
            for id in 0..CALLERS {
                let mut client = gateway.conversation();
                all.spawn(async move {
                    let text = format!("secret of {caller}, {id}");
                    let request = call(caller, &format!("id-{id}"), &text, true);
                    let answer = client.converse(request).await.unwrap();
                    let replayed = answer.metadata().contains_key("idempotent-replay");
                    assert_eq!(text_of(answer.get_ref()), text);
                    replayed
                });
            }
        }
        let replayed = all
            .join_all()
            .await
            .into_iter()
            .filter(|replayed| *replayed)
            .count();
        // The second time each caller gets its own answers again, and DashScope is not asked.
        assert_eq!(replayed, round * CALLERS * CALLERS);
        assert_eq!(upstream.seen().len(), CALLERS * CALLERS);
    }
}

/// The refusal of a request id that was used for another question says nothing of that question,
/// and does not tell whether another caller uses the id.
#[tokio::test(start_paused = true)]
async fn c22_a_request_id_reveals_nothing_about_other_callers() {
    let upstream = echo().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    client
        .converse(call(1, "id", "secret one", true))
        .await
        .unwrap();
    let status = client
        .converse(call(1, "id", "another", true))
        .await
        .unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
    assert!(!format!("{status:?}").contains("secret"), "{status:?}");
    // To another caller it is a new one, while the first runs and after it.
    for text in ["secret one", "another"] {
        let caller = 2 + usize::from(text == "another");
        let answer = client
            .converse(call(caller, "id", text, true))
            .await
            .unwrap();
        assert!(!answer.metadata().contains_key("idempotent-replay"));
        assert_eq!(text_of(answer.get_ref()), text);
    }
    // Of a stream and of a whole answer too.
    let mut stream = Request::new(pb::ConverseStreamRequest {
        request_id: "id".to_owned(),
        ..ask_stream(question())
    });
    let key = "Bearer key-4".parse().unwrap();
    stream.metadata_mut().insert("authorization", key);
    let events = client.converse_stream(stream).await;
    let replayed = events.map(|answer| answer.metadata().contains_key("idempotent-replay"));
    assert!(!replayed.unwrap_or_default());
}
