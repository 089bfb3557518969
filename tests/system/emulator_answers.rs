//! Answers that are data, played by the scripted DashScope.

use std::io::Write as _;

use serde_json::Value;

use crate::response_forms::OSS_PATH;
use crate::support::*;

/// Answers as the case says: the storage to uploads, then each answer once, the last one again.
pub async fn upstream(case: &Value) -> Upstream {
    let policy = case["upload"]["policy"]["served"].clone();
    let served = case["served"].as_array().unwrap().clone();
    let mut asked = 0;
    Upstream::start(move |_, request| {
        if request.path.starts_with("/api/v1/uploads") {
            let host = request.header("host").unwrap();
            let text = policy.to_string().replace("UPSTREAM", host);
            return steps(&serde_json::from_str(&text).unwrap());
        }
        if request.path == OSS_PATH {
            return http(200, "x-oss-request-id: 6870A0C9\r\n", b"");
        }
        let answer = &served[asked.min(served.len() - 1)];
        asked += 1;
        steps(answer)
    })
    .await
}

/// What is served, as steps.
fn steps(answer: &Value) -> Vec<Step> {
    let then = match answer["then"].as_str() {
        None => None,
        Some("reset") => Some(Step::Reset),
        Some("close") => Some(Step::Close),
        Some("hang") => Some(Step::Hang),
        Some(other) => panic!("nothing is called {other}"),
    };
    let Some(status) = answer["status"].as_u64() else {
        return vec![then.unwrap()];
    };
    let mut headers = String::new();
    for (name, value) in answer["headers"].as_object().unwrap() {
        headers.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    let gzip = answer["gzip"] == true;
    if gzip {
        headers.push_str("content-encoding: gzip\r\n");
    }
    if let Some(body) = answer["body"].as_str() {
        let body = if gzip { packed(body) } else { body.into() };
        return http(status as u16, &headers, &body);
    }
    let head = format!("HTTP/1.1 {status} X\r\n{headers}transfer-encoding: chunked\r\n\r\n");
    let mut steps = vec![Step::Write(head.into_bytes())];
    let chunks = words(&answer["chunks"]);
    if gzip {
        steps.extend(packed(&chunks.concat()).chunks(7).map(piece));
    } else {
        steps.extend(chunks.iter().map(piece));
    }
    steps.push(then.unwrap_or_else(end));
    steps
}

fn packed(text: &str) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The words of a list; none if there is no list.
pub fn words(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |item: &Value| item.as_str().unwrap().to_owned();
    items.iter().map(word).collect()
}
