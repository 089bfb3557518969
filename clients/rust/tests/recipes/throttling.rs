//! Throttling.

use crate::support::{Gateway, Reply, answer};

// region
use std::time::Duration;

use dashgate_client::{Client, Conversation, Error};

/// Waits as long as DashScope or the gateway asks, up to five times, but for two minutes in all.
async fn patient(client: &Client, conversation: &Conversation) -> Result<String, Error> {
    let call = client.converse(conversation).max_retries(5);
    match call.timeout(Duration::from_secs(120)).await {
        Ok(answer) => Ok(answer.text().to_owned()),
        Err(error) => {
            // Put it back into the queue; without a time, the gateway was not reached.
            if error.retryable() {
                eprintln!("try again in {:?}", error.retry_after());
            }
            Err(error)
        }
    }
}
// endregion

#[tokio::test]
async fn throttled_calls_are_made_again_with_the_same_request_id() {
    use dashgate_client::{Code, v1};
    let gateway = Gateway::start(|number, _| match number {
        0 | 1 => {
            Reply::status(Code::ResourceExhausted, "slow").trailer("grpc-retry-pushback-ms", "10")
        }
        _ => Reply::of([answer("at last")]),
    })
    .await;
    let conversation = crate::support::question();
    let text = patient(&gateway.client(), &conversation).await.unwrap();
    assert_eq!(text, "at last");
    let ids = gateway.seen().into_iter();
    let ids = ids.map(|seen| seen.decoded::<v1::ConverseRequest>().request_id);
    let mut ids: Vec<_> = ids.collect();
    assert_eq!(ids.len(), 3);
    ids.dedup();
    assert_eq!(ids.len(), 1);
}
