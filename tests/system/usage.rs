//! What a call used: every model counts other things.

use dashgate::grpc::pb;
use serde_json::{Value, json};

use crate::notation::message;
use crate::support::{self, *};

/// The usage that a caller gets when DashScope wrote this.
async fn told(written: &Value) -> pb::Usage {
    let body = json!({
        "output": {"choices": [{
            "message": {"role": "assistant", "content": [{"text": "a"}]},
            "finish_reason": "stop",
        }]},
        "usage": written,
        "request_id": "r",
    });
    let upstream = Upstream::always(json(200, &body.to_string())).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    let answer = client.converse(ask_whole(question())).await.unwrap();
    *answer.into_inner().usage.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lone_surrogate_beside_the_counts_loses_no_count_and_is_reported() {
    let usage = r#"{"input_tokens":5,"output_tokens":7,"note":"\ud83d"}"#;
    let choices = r#"[{"message":{"content":[{"text":"a"}]},"finish_reason":"stop"}]"#;
    let body = format!(r#"{{"output":{{"choices":{choices}}},"usage":{usage}}}"#);
    let upstream = Upstream::always(support::json(200, &body)).await;
    let gateway = gateway(&upstream).await;
    let answer = gateway.conversation().converse(ask_whole(question())).await;
    let answer = answer.unwrap().into_inner();
    let expected = json!({"input_tokens": 5, "output_tokens": 7, "extra": {"note": "\u{fffd}"}});
    assert_eq!(*answer.usage.unwrap(), message(&expected));
    let [warning] = &answer.warnings[..] else {
        panic!("{:?}", answer.warnings);
    };
    assert_eq!(
        (&*warning.code, &*warning.field),
        ("ANSWER_PART_DROPPED", "usage")
    );
}

#[tokio::test(start_paused = true)]
async fn usage_is_reported_while_the_model_counts() {
    for written in [
        // Qwen-Audio, where input has the sound in it, and later, where it has not.
        json!({"audio_tokens": 752, "output_tokens": 38, "input_tokens": 786}),
        json!({"input_tokens": 33, "output_tokens": 10, "audio_tokens": 85}),
        // Qwen-VL, with pictures and with films.
        json!({"input_tokens": 9, "output_tokens": 3, "image_tokens": 7}),
        json!({"input_tokens": 9, "output_tokens": 3, "video_tokens": 7}),
        // Qwen3-VL, which thinks.
        json!({
            "total_tokens": 12, "input_tokens": 9, "output_tokens": 3, "image_tokens": 7,
            "input_tokens_details": {"image_tokens": 7, "text_tokens": 2},
            "output_tokens_details": {"text_tokens": 1, "reasoning_tokens": 2},
            "prompt_tokens_details": {},
        }),
        // Qwen-Omni.
        json!({
            "total_tokens": 602, "input_tokens": 160, "output_tokens": 442,
            "input_tokens_details": {"audio_tokens": 152, "text_tokens": 8, "video_tokens": 0},
            "output_tokens_details": {"text_tokens": 442, "audio_tokens": 0},
        }),
        // Qwen3-TTS and Qwen-Image.
        json!({"characters": 195}),
        json!({"height": 928, "width": 1664, "image_count": 1}),
        // What is kept for later calls, and what was searched.
        json!({
            "input_tokens": 9, "cached_tokens": 4, "cache_creation_input_tokens": 5,
            "cache_type": "ephemeral", "plugins": {"search": {"count": 1, "strategy": "pro"}},
            "prompt_tokens_details": {
                "cached_tokens": 4, "cache_creation_input_tokens": 5, "cache_type": "ephemeral",
            },
        }),
    ] {
        assert_eq!(told(&written).await, message(&written));
    }
}

#[tokio::test(start_paused = true)]
async fn seconds_of_audio_are_reported_without_tokens() {
    let written = json!({
        "input_tokens_details": {"text_tokens": 0}, "output_tokens_details": {"text_tokens": 6},
        "seconds": 1.5,
    });
    let expected: pb::Usage = message(&json!({
        "input_tokens_details": {"text_tokens": 0}, "output_tokens_details": {"text_tokens": 6},
        "audio_seconds": 1.5,
    }));
    assert_eq!(told(&written).await, expected);
}

#[tokio::test(start_paused = true)]
async fn extra_has_the_keys_and_values_that_no_field_holds() {
    let written = json!({
        "input_tokens": "9", "output_tokens": 3_000_000_000_u32, "total_tokens": -1,
        "image_tokens": 0.5, "video_tokens": [1], "characters": 9_007_199_254_740_993_u64,
        "moon_tokens": 1, "input_tokens_details": null,
        "output_tokens_details": {"text_tokens": 2, "moon_tokens": 3},
        "plugins": {"search": {"count": 1, "pages": 4}, "maps": {"count": 5}},
    });
    let expected: pb::Usage = message(&json!({
        "input_tokens": 9, "output_tokens_details": {"text_tokens": 2},
        "plugins": {"search": {"count": 1}},
        "extra": {
            "output_tokens": 3_000_000_000_u32, "total_tokens": -1, "image_tokens": 0.5,
            "video_tokens": [1], "characters": "9007199254740993", "moon_tokens": 1,
            "output_tokens_details": {"moon_tokens": 3},
            "plugins": {"search": {"pages": 4}, "maps": {"count": 5}},
        },
    }));
    assert_eq!(told(&written).await, expected);
}
