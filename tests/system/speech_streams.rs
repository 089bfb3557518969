//! Streams of speech recognition, whose events have no choices and no finish reason: each is right
//! or an error.

use dashgate::grpc::pb;
use serde_json::{Value, json};
use tonic::Code;

use crate::notation::{counted, object};
use crate::support::*;
use crate::whole_or_error::{serve, stream};

/// The places of a sentence in an event.
fn placed(sentence: &Value) -> [Value; 4] {
    [
        json!({"output": {"sentence": sentence}}),
        json!({"output": {"result": {"sentence": sentence}}}),
        json!({"output": {"result": {"kind": "x", "sentence": sentence}}}),
        json!({"sentence": sentence}),
    ]
}

/// The streams of these sentences, one for each place.
fn streams(sentences: &[Value]) -> Vec<Vec<Value>> {
    let events: Vec<_> = sentences.iter().map(placed).collect();
    (0..4)
        .map(|place| events.iter().map(|event| event[place].clone()).collect())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn g1_the_last_text_is_the_answer_wherever_it_stands() {
    let usage = json!({"duration": 3});
    let mut streams = streams(&[json!({"text": "你好"}), json!({"text": "你好,百炼"})]);
    for place in [
        |text: &str| json!({"output": {"text": text}}),
        |text: &str| json!({"output": {"output": {"text": text}}}),
        |text: &str| json!({"text": text, "request_id": "r"}),
    ] {
        streams.push(vec![place("你好"), place("你好,百炼")]);
    }
    for mut bodies in streams {
        bodies[1]["usage"] = usage.clone();
        let got = stream(&bodies).await;
        assert_eq!(got.text(), "你好,百炼", "{bodies:?}");
        let whole = got.whole.unwrap();
        assert_eq!(
            whole.choices[0].finish_reason(),
            pb::FinishReason::Unspecified
        );
        assert_eq!(counted(whole.usage.as_deref().unwrap()), usage);
        assert!(whole.warnings.is_empty(), "{whole:?}");
        let event = |body: &Value| piece(format!("event:result\ndata:{body}\n\n"));
        let mut steps = vec![sse()];
        steps.extend(bodies.iter().map(event));
        steps.push(Step::Close);
        let got = serve(steps).await;
        got.assert_fault(Code::Internal, "STREAM_TRUNCATED");
    }
}

#[tokio::test(start_paused = true)]
async fn no_sentence_is_lost_however_it_is_identified() {
    let said = [("a", 0), ("ab,", 0), ("c", 1)];
    for ids in [
        [json!({"sentence_id": 1}), json!({"sentence_id": 2})],
        [json!({"sentence_id": "1"}), json!({"sentence_id": "2"})],
        [json!({"sentence_id": "x"}), json!({"sentence_id": "b"})],
        [json!({"sentence_id": 0.5}), json!({"sentence_id": 1.5})],
        [json!({"begin_time": 0}), json!({"begin_time": 900})],
        [
            json!({"begin_time": 0.5, "end_time": 1.0}),
            json!({"begin_time": 1.5, "end_time": 3.0}),
        ],
        [
            json!({"begin_time": 0, "end_time": 900}),
            json!({"begin_time": 900, "end_time": null}),
        ],
    ] {
        let sentence = |(text, at): (&str, usize)| {
            let mut sentence = ids[at].clone();
            sentence["text"] = json!(text);
            sentence["words"] = json!([{"text": text}]);
            sentence
        };
        let sentences = said.map(sentence);
        for mut bodies in streams(&sentences) {
            let got = stream(&bodies).await;
            assert_eq!(got.text(), "ab,c", "{bodies:?}");
            let whole = got.whole.unwrap();
            let kept = object(whole.extra_output.as_ref()).to_string();
            assert!(kept.contains("ab,") && kept.contains("\"c\""), "{kept}");
            assert!(whole.warnings.is_empty(), "{whole:?}");
            // With a documented end, or one that is not.
            for end in [json!("stop"), json!(["stop"])] {
                let last = bodies.last_mut().unwrap();
                match last.get_mut("output") {
                    Some(output) => output["finish_reason"] = end,
                    None => last["finish_reason"] = end,
                }
                assert_eq!(stream(&bodies).await.text(), "ab,c", "{bodies:?}");
            }
        }
        let lists: Vec<_> = sentences.iter().map(|one| json!([one])).collect();
        for bodies in streams(&lists) {
            assert_eq!(stream(&bodies).await.text(), "ab,c", "{bodies:?}");
        }
        let both = json!([sentences[1], sentences[2]]);
        for bodies in streams(&[json!([sentences[0]]), both]) {
            assert_eq!(stream(&bodies).await.text(), "ab,c", "{bodies:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sentences_that_cannot_be_distinguished_are_an_error() {
    let one = |id: i32, text: &str| json!({"sentence_id": id, "text": text});
    for sentences in [
        vec![
            json!({"text": "a"}),
            json!({"text": "ab,"}),
            json!({"text": "c"}),
        ],
        vec![
            json!([{"text": "a"}, {"text": "b"}]),
            json!([{"text": "c"}]),
        ],
        vec![one(1, "a"), json!({"text": "b"})],
        vec![json!({"begin_time": 0, "text": "a"}), one(1, "b")],
        vec![one(1, "a"), json!({"sentence_id": "x", "text": "b"})],
        vec![
            json!({"begin_time": 0, "text": "ha"}),
            json!({"begin_time": 9, "text": "haha"}),
        ],
        vec![
            json!({"begin_time": 0, "end_time": 20, "text": "ab"}),
            json!({"begin_time": 9, "end_time": 40, "text": "xb"}),
        ],
        vec![
            json!({"sentence_id": 1, "channel_id": 0, "text": "a"}),
            json!({"sentence_id": 1, "channel_id": 1, "text": "b"}),
        ],
        vec![
            json!({"sentence_id": 1, "speaker_id": 0, "text": "a"}),
            json!({"sentence_id": 1, "speaker_id": 1, "text": "b"}),
        ],
        vec![
            json!({"sentence_id": 1, "begin_time": 0, "end_time": 5, "text": "a"}),
            json!({"sentence_id": 1, "begin_time": 7, "end_time": 9, "text": "b"}),
        ],
        // An earlier start may be a revision.
        vec![
            json!({"begin_time": 100, "text": "hel"}),
            json!({"begin_time": 80, "text": "hello world"}),
        ],
        vec![
            json!({"begin_time": 0, "end_time": 5, "text": "a"}),
            json!({"begin_time": 20, "end_time": 30, "text": "c"}),
            json!({"begin_time": 18, "end_time": 31, "text": "cd"}),
        ],
    ] {
        for bodies in streams(&sentences) {
            let got = stream(&bodies).await;
            got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
        }
    }
    let two = json!({"output": {"a": {"sentence": one(1, "a")}, "b": {"sentence": one(1, "b")}}});
    let got = stream(&[two]).await;
    got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
    let text = |text: &str| json!({"output": {"text": text}});
    for bodies in [
        [text("ab,"), placed(&one(2, "c"))[0].clone()],
        [placed(&one(1, "ab,"))[0].clone(), text("c")],
    ] {
        let got = stream(&bodies).await;
        got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_without_text_takes_none_away() {
    let one = |text: &str| json!({"sentence_id": 1, "text": text});
    for last in [
        json!({"sentence_id": 1, "sentence_end": true}),
        json!({"sentence_id": 1, "text": "", "sentence_end": true}),
        json!({"sentence_id": 0, "text": "", "heartbeat": true}),
    ] {
        for bodies in streams(&[one("a"), one("ab"), last.clone()]) {
            let got = stream(&bodies).await;
            assert_eq!(got.text(), "ab", "{bodies:?}");
        }
    }
    let mut beside = placed(&one("ab"))[0].clone();
    beside["output"]["text"] = json!("another text");
    let got = stream(&[beside]).await;
    assert_eq!(got.text(), "ab");
    let kept = object(got.whole.unwrap().extra_output.as_ref());
    assert_eq!(kept["text"], "another text");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_replaces_another_is_warned_of() {
    let text = |text: &str| json!({"output": {"text": text}});
    let got = stream(&[text("你"), text("您好")]).await;
    assert_eq!(got.whole.as_ref().unwrap().warnings.len(), 1);
    assert_eq!(got.text(), "您好");
    // An end without text belongs to pieces.
    let stop = json!({"output": {"text": "", "finish_reason": "stop"}});
    let got = stream(&[text("1"), text("10"), stop.clone()]).await;
    got.assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
    assert_eq!(stream(&[text("1"), stop]).await.text(), "1");
}
