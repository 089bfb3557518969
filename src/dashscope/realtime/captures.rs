//! Recorded frames of `tests/captures/realtime_*.json`: those of clients are what DashScope's SDKs
//! send, those of the server what its documentation shows.

use serde_json::Value;

/// All cases.
pub(super) fn cases() -> Vec<Value> {
    let names = [
        "omni",
        "omni_v38",
        "qwen_audio",
        "livetranslate",
        "tts",
        "asr",
    ];
    let read = |name| {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/captures/realtime_{name}.json");
        let cases: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        cases
    };
    names.into_iter().flat_map(read).collect()
}

/// The case with this number.
pub(super) fn case(number: &str) -> Value {
    let mut cases = cases().into_iter();
    let found = cases.find(|case| case["case"].as_str().unwrap().starts_with(number));
    found.unwrap()
}

/// The client's frames of a case, those of this type only.
pub(super) fn sent(number: &str, kind: &str) -> Vec<Value> {
    let case = case(number);
    let frames = case["frames"].as_array().unwrap().iter();
    let frames = frames.filter_map(|frame| frame.get("client"));
    let frames = frames.filter(|frame| frame["type"] == kind);
    frames.cloned().collect()
}
