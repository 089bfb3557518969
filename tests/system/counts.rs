//! What a call used: every model counts other things.

use dashgate::grpc::pb;
use serde_json::json;

use crate::notation::message;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn what_a_model_counts_is_told_as_it_counts() {
    let details = |text: i64| json!({"text_tokens": text});
    for (written, typed) in [
        (
            json!({"audio_tokens": 752, "output_tokens": 38, "input_tokens": 786}),
            json!({"audio_tokens": 752, "output_tokens": 38, "input_tokens": 786}),
        ),
        (
            json!({"input_tokens": 33, "output_tokens": 10, "audio_tokens": 85}),
            json!({"input_tokens": 33, "output_tokens": 10, "audio_tokens": 85}),
        ),
        (
            json!({"input_tokens": 9, "output_tokens": 3, "image_tokens": 7}),
            json!({"input_tokens": 9, "output_tokens": 3, "image_tokens": 7}),
        ),
        (
            json!({"input_tokens": 9, "output_tokens": 3, "video_tokens": 7}),
            json!({"input_tokens": 9, "output_tokens": 3, "video_tokens": 7}),
        ),
        (
            json!({
                "total_tokens": 12, "input_tokens": 9, "output_tokens": 3, "image_tokens": 7,
                "input_tokens_details": {"image_tokens": 7, "text_tokens": 2},
                "output_tokens_details": {"text_tokens": 1, "reasoning_tokens": 2},
                "prompt_tokens_details": {},
            }),
            json!({
                "total_tokens": 12, "input_tokens": 9, "output_tokens": 3, "image_tokens": 7,
                "input_tokens_details": {"image_tokens": 7, "text_tokens": 2},
                "output_tokens_details": {"text_tokens": 1, "reasoning_tokens": 2},
                "prompt_tokens_details": {},
            }),
        ),
        (
            json!({
                "total_tokens": 602, "input_tokens": 160, "output_tokens": 442,
                "input_tokens_details": {"audio_tokens": 152, "text_tokens": 8},
                "output_tokens_details": details(442),
            }),
            json!({
                "total_tokens": 602, "input_tokens": 160, "output_tokens": 442,
                "input_tokens_details": {"audio_tokens": 152, "text_tokens": 8},
                "output_tokens_details": details(442),
            }),
        ),
        (
            json!({
                "input_tokens_details": details(0), "output_tokens_details": details(6),
                "seconds": 1.5,
            }),
            json!({
                "input_tokens_details": details(0), "output_tokens_details": details(6),
                "audio_seconds": 1.5,
            }),
        ),
        (json!({"characters": 195}), json!({"characters": 195})),
        (
            json!({"height": 928, "width": 1664, "image_count": 1}),
            json!({"height": 928, "width": 1664, "image_count": 1}),
        ),
        (
            json!({
                "input_tokens": 9, "cached_tokens": 4, "cache_creation_input_tokens": 5,
                "cache_type": "ephemeral", "plugins": {"search": {"count": 1, "strategy": "pro"}},
            }),
            json!({
                "input_tokens": 9, "cached_tokens": 4, "cache_creation_input_tokens": 5,
                "cache_type": "ephemeral", "plugins": {"search": {"count": 1, "strategy": "pro"}},
            }),
        ),
        // A count that nobody knows, one that is none, and one that does not fit: all are kept raw.
        (
            json!({"input_tokens": "9", "output_tokens": 3_000_000_000_u32, "moon_tokens": 1}),
            json!({}),
        ),
    ] {
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
        let whole = gateway.conversation().converse(ask_whole(question())).await;
        let mut expected = typed;
        expected["raw"] = written;
        let expected: pb::Usage = message(&expected);
        assert_eq!(whole.unwrap().into_inner().usage, Some(expected));
    }
}
