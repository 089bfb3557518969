//! Any answer that is not one of success, whatever its status, headers and body: it becomes an error
//! that keeps the rules of all errors, and is not waited for longer than a minute.
#![no_main]

use std::time::Duration;

use dashgate::dashscope::errors;
use dashgate::http1::headers::Headers;
use dashgate_fuzz::statuses;
use libfuzzer_sys::fuzz_target;

const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

fuzz_target!(|bytes: &[u8]| {
    let (lines, body) = split(bytes);
    let mut lines = lines.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let status = status.and_then(|line| line.parse().ok()).unwrap_or(500);
    let mut headers = Headers::default();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        if let (Some(name), Some(value)) = (parts.next(), parts.next())
            && let Ok(name) = std::str::from_utf8(name)
        {
            headers.add(name, value);
        }
    }
    let error = errors::of_answer(status, &headers, body);
    assert!(
        error
            .retry_after()
            .is_none_or(|wait| wait <= MAX_RETRY_AFTER)
    );
    assert!(error.upstream().is_some());
    statuses::check(&error);
});

/// The status and the headers, one a line, and the body, which an empty line divides.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (&[], bytes),
    }
}
