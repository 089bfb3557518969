//! Tool calls: their pieces joined, and one call told from another.

use serde_json::{Value, json};
use tonic::Code;

use crate::whole_or_error::{nothing, says, stream};

fn calls(calls: Value) -> Value {
    says(json!({"content": [], "tool_calls": calls}), json!("null"))
}

fn call(id: Value, index: Value, name: Value, arguments: Value) -> Value {
    json!({"index": index, "id": id, "type": "function",
        "function": {"name": name, "arguments": arguments}})
}

fn one(name: &str, arguments: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), arguments.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn tool_calls_are_joined_and_distinguished() {
    let none = Value::Null;
    let weather = |id: &str| {
        [
            calls(json!([call(
                json!("c"),
                json!(0),
                json!("get_"),
                json!("")
            )])),
            calls(json!([call(
                json!(id),
                json!(0),
                json!("weather"),
                json!("{\"a\"")
            )])),
            calls(json!([call(
                json!(id),
                json!(0),
                none.clone(),
                json!(":1}")
            )])),
            nothing("tool_calls"),
        ]
    };
    for id in ["c", ""] {
        assert_eq!(
            stream(&weather(id)).await.calls(),
            one("get_weather", "{\"a\":1}"),
            "{id}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whole_arguments_are_never_glued_together() {
    let none = Value::Null;
    let two = |arguments: [Value; 2], index: Value, name: &str| {
        let [first, second] = arguments;
        [
            calls(json!([call(
                none.clone(),
                index.clone(),
                json!("f"),
                first
            )])),
            calls(json!([call(none.clone(), index, json!(name), second)])),
            nothing("tool_calls"),
        ]
    };
    let texts = || [json!("{\"a\":1}"), json!("{\"a\":2}")];
    let objects = || [json!({"a": 1}), json!({"a": 2})];
    for bodies in [
        two(texts(), none.clone(), "f"),
        two(objects(), none.clone(), "f"),
        two(objects(), json!(0), "f"),
    ] {
        let both = [one("f", "{\"a\":1}"), one("f", "{\"a\":2}")].concat();
        assert_eq!(stream(&bodies).await.calls(), both);
    }
    let both = [one("f", "{\"a\":1}"), one("g", "{\"a\":2}")].concat();
    assert_eq!(
        stream(&two(objects(), none.clone(), "g")).await.calls(),
        both
    );
    // Said again it is the same call, if its index says which one it is.
    let again = || [json!("{\"a\":1}"), json!("{\"a\":1}")];
    assert_eq!(
        stream(&two(again(), json!(0), "f")).await.calls(),
        one("f", "{\"a\":1}")
    );
    for bodies in [
        two(again(), none.clone(), "f"),
        two(objects(), json!(0), ""),
    ] {
        stream(&bodies)
            .await
            .assert_fault(Code::Internal, "UPSTREAM_PROTOCOL");
    }
}
