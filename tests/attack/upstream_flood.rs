//! A DashScope that never stops to send: the deadline holds all the same.
//!
//! Real time, because a paused clock stands still as long as anything can be done.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::support::*;

/// What each call is allowed, and what it may take on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(1);
const AT_MOST: Duration = Duration::from_secs(3);

async fn stream(gateway: &Running) -> Result<(), Status> {
    let mut request = Request::new(ask_stream(question()));
    request.set_timeout(DEADLINE);
    let mut events = gateway
        .conversation()
        .converse_stream(request)
        .await?
        .into_inner();
    while events.message().await?.is_some() {}
    Ok(())
}

async fn whole_answer(gateway: &Running) -> Result<(), Status> {
    let mut request = Request::new(ask_whole(question()));
    request.set_timeout(DEADLINE);
    gateway.conversation().converse(request).await.map(|_| ())
}

/// Pieces of one body that have no end.
fn flood(first: &str, again: impl Fn(u32) -> String) -> Vec<Step> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let many: String = (0..64).map(|id| chunk(&again(id))).collect();
    vec![sse(), piece(first), Step::Flood(many.into_bytes())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_a_deadline_is_kept_while_events_flood_in() {
    for (name, again) in [
        (
            "events",
            (|id| frame(id, &format!("{id}"), "null")) as fn(u32) -> String,
        ),
        ("comments", |_| ": nothing\n\n".to_owned()),
        ("empty events", |id| frame(id, "", "null")),
        ("blank lines", |_| "\n\n\n\n".to_owned()),
    ] {
        let upstream = Upstream::always(flood(&frame(1, "x", "null"), again)).await;
        let gateway = gateway(&upstream).await;
        for whole in [false, true] {
            let start = Instant::now();
            let outcome = match whole {
                true => whole_answer(&gateway).await,
                false => stream(&gateway).await,
            };
            let passed = start.elapsed();
            let status = outcome.unwrap_err();
            assert!(passed < AT_MOST, "{name}: {passed:?} {status:?}");
            // A bound of the decoder's may come first where nothing is said.
            if name == "events" && !whole {
                assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_complete_is_not_kept_back_by_what_floods_in_after_it() {
    for again in [
        (|id| frame(id, "more", "null")) as fn(u32) -> String,
        |_| ": nothing\n\n".to_owned(),
    ] {
        let upstream = Upstream::always(flood(&frame(1, "x", "stop"), again)).await;
        let gateway = gateway(&upstream).await;
        let start = Instant::now();
        stream(&gateway).await.unwrap();
        whole_answer(&gateway).await.unwrap();
        assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
    }
}
