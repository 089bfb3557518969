//! Every answer is right, or it is an error: none is OK with less than DashScope sent.

use dashgate::config::Settings;
use dashgate::grpc::pb::{self, content};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::support::*;

/// What a caller gets of these bodies: of the stream, its texts and how it ended, and the whole.
pub struct Got {
    texts: String,
    end: Option<Status>,
    pub whole: Result<pb::ConverseResponse, Status>,
}

impl Got {
    pub fn text(&self) -> String {
        let whole = self.whole.as_ref().unwrap();
        let parts = whole.choices[0].message.as_ref().unwrap().content.iter();
        let texts = parts.filter_map(|part| match part.kind.as_ref()? {
            content::Kind::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let text = texts.collect::<String>();
        assert_eq!(text, self.texts);
        assert!(self.end.is_none(), "{:?}", self.end);
        text
    }

    pub fn assert_fault(&self, code: Code, reason: &str) {
        assert_fault(self.end.as_ref().unwrap(), code, reason);
        assert_fault(self.whole.as_ref().unwrap_err(), code, reason);
    }

    fn warnings(&self) -> String {
        format!("{:?}", self.whole.as_ref().unwrap().warnings)
    }

    pub fn calls(&self) -> Vec<(String, String)> {
        let whole = self.whole.as_ref().unwrap();
        let message = whole.choices[0].message.as_ref().unwrap();
        let calls = message.tool_calls.iter();
        calls
            .map(|call| (call.name.clone(), call.arguments.clone()))
            .collect()
    }
}

pub async fn serve(steps: Vec<Step>) -> Got {
    serve_with(steps, |_| {}).await
}

async fn serve_with(steps: Vec<Step>, set: impl FnOnce(&mut Settings)) -> Got {
    let upstream = Upstream::always(steps).await;
    let mut settings = settings(&upstream);
    set(&mut settings);
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    let stream = client.converse_stream(ask_stream(question())).await;
    let events: Vec<_> = match stream {
        Ok(stream) => stream.into_inner().collect().await,
        Err(status) => vec![Err(status)],
    };
    let whole = client.converse(ask_whole(question())).await;
    Got {
        texts: texts(&events).concat(),
        end: events.into_iter().find_map(Result::err),
        whole: whole.map(tonic::Response::into_inner),
    }
}

pub async fn stream(bodies: &[Value]) -> Got {
    serve(stream_steps(bodies)).await
}

fn stream_steps(bodies: &[Value]) -> Vec<Step> {
    let event = |body: &Value| piece(format!("event:result\n:HTTP_STATUS/200\ndata:{body}\n\n"));
    let mut steps = vec![sse()];
    steps.extend(bodies.iter().map(event));
    steps.push(end());
    steps
}

async fn whole_body(body: &Value) -> Got {
    serve(json(200, &body.to_string())).await
}

pub fn says(message: Value, finish: Value) -> Value {
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    json!({"output": {"choices": [choice]}, "usage": {"input_tokens": 3}, "request_id": "r"})
}

fn text(text: &str, finish: &str) -> Value {
    says(
        json!({"role": "assistant", "content": [{"text": text}]}),
        json!(finish),
    )
}

pub fn nothing(finish: &str) -> Value {
    says(json!({"role": "assistant", "content": []}), json!(finish))
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

#[tokio::test(start_paused = true)]
async fn u20_what_cannot_be_decided_at_the_end_is_an_error() {
    let thought = |text: &str, finish: &str| {
        says(
            json!({"content": [], "reasoning_content": text}),
            json!(finish),
        )
    };
    let arguments = |text: &str, finish: &str| {
        let call = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": text}});
        says(json!({"content": [], "tool_calls": [call]}), json!(finish))
    };
    let yes = ["Yes,", "Yes, yes,", "Yes, yes, yes,", "Yes, yes, yes, yes."];
    for bodies in [
        vec![text("1", "null"), text("10", "stop")],
        vec![thought("1", "null"), thought("10", "stop")],
        vec![arguments("[1", "null"), arguments("[1", "stop")],
        vec![
            text("The cat", "null"),
            text("The cat sat", "null"),
            text("The cat sat on it", "null"),
            nothing("stop"),
        ],
        yes.iter()
            .map(|said| text(said, if said.ends_with('.') { "stop" } else { "null" }))
            .collect(),
    ] {
        let got = stream(&bodies).await;
        match &got.whole {
            // What repeats enough is known to be cumulative.
            Ok(_) => assert_eq!(got.text(), yes[3]),
            Err(_) => got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL"),
        }
    }
    let got = stream(&[text("1", "null"), text("10", "null"), nothing("stop")]).await;
    assert_eq!(got.text(), "110");
}

#[tokio::test(start_paused = true)]
async fn u27_an_error_beside_an_answer_is_that_error() {
    let blocked = |body: Value| {
        let body = with(body, "code", json!("DataInspectionFailed"));
        with(
            body,
            "message",
            json!("Output data may contain inappropriate content."),
        )
    };
    for bodies in [
        vec![text("a", "null"), blocked(text("b", "stop"))],
        vec![text("a", "null"), blocked(text("b", "null"))],
        vec![
            text("a", "null"),
            blocked(text("b", "null")),
            nothing("stop"),
        ],
        vec![text("ab", "null"), blocked(nothing("stop"))],
    ] {
        let got = stream(&bodies).await;
        assert_eq!(got.texts, "ab");
        got.assert_fault(Code::InvalidArgument, "CONTENT_BLOCKED");
    }
    let got = whole_body(&blocked(text("a", "stop"))).await;
    got.assert_fault(Code::InvalidArgument, "CONTENT_BLOCKED");
}

#[tokio::test(start_paused = true)]
async fn e1_a_fault_without_an_answer_is_that_fault() {
    for output in [
        json!(null),
        json!({}),
        json!({"choices": []}),
        json!({"task_status": "FAILED"}),
    ] {
        let body = json!({"code": "InvalidParameter", "message": "bad", "output": output});
        for got in [
            whole_body(&body).await,
            stream(std::slice::from_ref(&body)).await,
        ] {
            got.assert_fault(Code::InvalidArgument, "UPSTREAM_REJECTED");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_form_of_a_models_texts_can_be_set() {
    // The lists are incremental, cumulative and revised, in this order.
    let none: &[&str] = &[];
    let turbo: &[&str] = &["qwen-audio-turbo"];
    for (lists, expected) in [
        ([turbo, none, none], "110"),
        ([none, turbo, none], "10"),
        ([none, none, turbo], "10"),
        ([&["qwen-audio-*"], none, none], "110"),
        ([none, &["*"], none], "10"),
        ([&["other", "*"], turbo, none], "110"),
        ([&["other"], &["*"], turbo], "10"),
    ] {
        let [incremental, cumulative, revised] =
            lists.map(|list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect());
        let bodies = [text("1", "null"), text("10", "stop")];
        let got = serve_with(stream_steps(&bodies), |settings| {
            settings.upstream.incremental_models = incremental;
            settings.upstream.cumulative_models = cumulative;
            settings.upstream.revised_models = revised;
        })
        .await;
        assert_eq!(got.text(), expected, "{lists:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_of_no_known_fault_beside_an_answer_is_a_warning() {
    let noted = |body: Value| {
        let body = with(body, "code", json!("NewNote"));
        with(body, "message", json!("words-of-it"))
    };
    for got in [
        stream(&[text("a", "null"), noted(text("b", "stop"))]).await,
        stream(&[noted(text("a", "null")), text("b", "stop")]).await,
        stream(&[text("ab", "null"), nothing("stop"), noted(json!({}))]).await,
        whole_body(&noted(text("ab", "stop"))).await,
    ] {
        assert_eq!(got.text(), "ab");
        let warnings = got.warnings();
        assert!(
            warnings.contains("NewNote") && warnings.contains("words-of-it"),
            "{warnings}"
        );
    }
    let got = stream(&[text("a", "null"), noted(text("b", "null"))]).await;
    got.assert_fault(Code::Internal, "UPSTREAM_UNKNOWN");
    for code in [
        json!("200"),
        json!(200),
        json!(""),
        json!("Success"),
        json!("OK"),
    ] {
        let fine = |body: Value| {
            with(
                with(body, "code", code.clone()),
                "message",
                json!("success"),
            )
        };
        for got in [
            stream(&[
                fine(text("a", "null")),
                fine(json!({})),
                fine(text("b", "stop")),
            ])
            .await,
            whole_body(&fine(text("ab", "stop"))).await,
        ] {
            assert_eq!(got.text(), "ab", "{code}");
            assert_eq!(got.warnings(), "[]");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_odd_value_does_not_cost_the_answer() {
    let part = |part: Value| says(json!({"content": [part]}), json!("null"));
    let mut moved = text("b", "null");
    moved["output"]["choices"][0]["index"] = json!(-1);
    for (odd, is_text) in [
        (part(json!({"audio": {"data": "@@@"}})), false),
        (part(json!({"audio": {"data": 987_654}})), false),
        (
            json!({"output": "oops", "usage": {"input_tokens": 3}}),
            false,
        ),
        (moved, true),
    ] {
        let said = if is_text { "abc" } else { "ac" };
        let got = stream(&[
            text("a", "null"),
            odd.clone(),
            text("c", "null"),
            nothing("stop"),
        ])
        .await;
        assert_eq!(got.text(), said, "{odd}");
        let whole = got.whole.as_ref().unwrap();
        assert_eq!(whole.warnings.len(), 1, "{whole:?}");
        let held = format!("{whole:?}");
        let is_kept = ["@@@", "987654", "oops", "-1.0"]
            .iter()
            .any(|kept| held.contains(kept));
        assert!(is_kept, "{held}");
        // As the first event, too.
        let got = stream(&[odd.clone(), text("c", "null"), nothing("stop")]).await;
        assert_eq!(got.text(), &said[1..], "{odd}");
    }
    let mut whole = text("a", "stop");
    whole["output"]["choices"][0]["index"] = json!(-1);
    let got = whole_body(&whole).await;
    assert_eq!(got.text(), "a");
    assert_eq!(got.whole.unwrap().warnings.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_none_among_several_choices_is_an_error() {
    let mut second = text("b", "stop");
    second["output"]["choices"][0]["index"] = json!(1);
    let mut odd = text("c", "stop");
    odd["output"]["choices"][0]["index"] = json!(-1);
    let got = stream(&[text("a", "null"), second, odd]).await;
    got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
}

#[tokio::test(start_paused = true)]
async fn a_finish_reason_that_is_not_as_documented_ends_a_whole_body() {
    let renamed = || {
        let mut body = text("b", "null");
        let choice = body["output"]["choices"][0].as_object_mut().unwrap();
        choice.remove("finish_reason");
        choice.insert("finish_reason_x".to_owned(), json!("stop"));
        body
    };
    let message = json!({"content": [{"text": "b"}]});
    let no_choices =
        |text: &str, finish: Value| json!({"output": {"text": text, "finish_reason": finish}});
    for bodies in [
        [text("a", "null"), says(message.clone(), json!(["stop"]))],
        [
            text("a", "null"),
            says(message.clone(), json!({"why": "stop"})),
        ],
        [text("a", "null"), says(message.clone(), json!(true))],
        [text("a", "null"), renamed()],
        [
            no_choices("a", json!("null")),
            no_choices("b", json!(["stop"])),
        ],
    ] {
        let got = stream(&bodies).await;
        assert_eq!(got.text(), "ab", "{bodies:?}");
        let whole = got.whole.as_ref().unwrap();
        assert_eq!(whole.warnings.len(), 1, "{whole:?}");
        assert_eq!(
            whole.choices[0].finish_reason(),
            pb::FinishReason::Unspecified
        );
        let extra = whole.choices[0].extra.as_ref().unwrap();
        assert!(
            extra
                .fields
                .keys()
                .any(|key| key.starts_with("finish_reason"))
        );
        // A body that breaks off is cut, whatever its last event says.
        let event = |body: &Value| piece(format!("event:result\ndata:{body}\n\n"));
        let mut steps = vec![sse()];
        steps.extend(bodies.iter().map(event));
        steps.push(Step::Close);
        serve(steps)
            .await
            .assert_fault(Code::Internal, "STREAM_TRUNCATED");
    }
    // Only at the end: the event with the finish reason has the last word.
    let got = stream(&[says(message, json!(["stop"])), text("c", "stop")]).await;
    assert_eq!(got.text(), "bc");
    let got = stream(&[
        text("1", "null"),
        text("10", "null"),
        says(json!({}), json!(true)),
    ])
    .await;
    assert_eq!(got.text(), "110");
}
