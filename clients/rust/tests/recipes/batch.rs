//! A batch of questions.

use crate::support::{Gateway, Reply, answer};

// region
use dashgate_client::{Client, Conversation, Error};
use futures_util::{StreamExt as _, stream};

/// Asks all questions, `limit` at the same time. Results are in the order of the questions;
/// `progress` is called after each with the number that are done.
async fn batch(
    client: &Client,
    questions: Vec<String>,
    limit: usize,
    mut progress: impl FnMut(usize),
) -> Vec<Result<String, Error>> {
    let calls = questions.into_iter().enumerate().map(|(at, question)| {
        let mut conversation = Conversation::new("qwen3.6-plus");
        conversation.user(question);
        let call = client.converse(&conversation).max_retries(5);
        async move { (at, call.await.map(|answer| answer.text().to_owned())) }
    });
    let mut running = stream::iter(calls).buffer_unordered(limit);
    let mut results = Vec::new();
    while let Some(result) = running.next().await {
        results.push(result);
        progress(results.len());
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
// endregion

#[tokio::test]
async fn a_batch_reports_its_progress_and_keeps_errors_apart() {
    use dashgate_client::{Code, v1};
    let gateway = Gateway::start(|_, seen| {
        let request: v1::ConverseRequest = seen.decoded();
        let text = format!("{:?}", request.conversation.unwrap().messages);
        match text.contains("question 3") {
            true => Reply::status(Code::InvalidArgument, "no"),
            false => Reply::of([answer(if text.contains("question 7") {
                "seven"
            } else {
                "other"
            })]),
        }
    })
    .await;
    let questions = (0..10).map(|number| format!("question {number}"));
    let mut done = Vec::new();
    let client = gateway.client();
    let results = batch(&client, questions.collect(), 4, |count| done.push(count)).await;
    assert_eq!(done, (1..=10).collect::<Vec<_>>());
    assert_eq!(results[7].as_deref().unwrap(), "seven");
    let failed = results.iter().filter(|result| result.is_err());
    assert_eq!(failed.count(), 1);
    assert_eq!(
        results[3].as_ref().unwrap_err().code(),
        Code::InvalidArgument
    );
}
