//! Any text as a script of the emulator: it is refused with the place of each fault, or a call is
//! answered by it.
#![no_main]

use std::cell::LazyCell;

use dashgate::emulator::Script;
use dashgate_fuzz::emulator::Emulator;
use libfuzzer_sys::{Corpus, fuzz_target};

const GENERATION: &str = "/api/v1/services/aigc/multimodal-generation/generation";

const QUESTION: &str = r#"{"model": "qwen-audio-turbo", "parameters": {},
    "input": {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}}"#;

thread_local! {
    static EMULATOR: LazyCell<Emulator> = LazyCell::new(Emulator::new);
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Corpus::Reject;
    };
    let script = match Script::parse(text) {
        Ok(script) => script,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Corpus::Keep;
        }
    };
    if script.is_empty() {
        return Corpus::Keep;
    }
    EMULATOR.with(|emulator| {
        let put = emulator.call("PUT", "/emulator/script", &[], bytes);
        assert_eq!(put.status, 204, "{put:?}");
        // A script may say anything here, and break anything off.
        emulator.call(
            "POST",
            GENERATION,
            &["x-dashscope-sse: enable"],
            QUESTION.as_bytes(),
        );
        let journal = emulator.call("GET", "/emulator/journal", &[], b"");
        assert_eq!(journal.status, 200, "{journal:?}");
    });
    Corpus::Keep
});
