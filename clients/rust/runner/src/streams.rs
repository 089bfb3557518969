//! The streamed calls of a job.

use std::future::IntoFuture;
use std::time::Duration;

use dashgate_client::{Client, Events};
use tokio::time::{sleep, timeout};

use crate::calls::{conversation, options};
use crate::job::{Cancel, Turn};
use crate::over::Over;
use crate::result::{self, CaseResult};

async fn open(client: &Client, turn: &Turn) -> Result<Events, Over> {
    let mut call = client.stream(conversation(turn)?);
    if let Some(resume) = turn.resume {
        call = call.resume(resume);
    }
    if let Some(options) = options(turn.options.as_ref())? {
        call = call.options(options);
    }
    if let Some(id) = &turn.request_id {
        call = call.request_id(id);
    }
    if let Some(ms) = turn.timeout_ms {
        call = call.timeout(Duration::from_millis(ms));
    }
    for (name, value) in &turn.metadata {
        call = call.metadata(name, value);
    }
    if let Some(retries) = turn.max_retries {
        call = call.max_retries(retries);
    }
    if let Some(number) = turn.expected_turn {
        call = call.expected_turn(number);
    }
    if let Some(history) = &turn.history {
        call = call.history(result::message("HistoryPolicy", history)?);
    }
    Ok(call.await?)
}

/// One stream, read as events.
pub async fn stream(client: &Client, turn: Turn, result: &mut CaseResult) -> Result<(), Over> {
    let (cancel, mut opened) = (turn.cancel, None);
    let read = async {
        let events = opened.insert(open(client, &turn).await?);
        while let Some(event) = events.next().await {
            let event = result::json_of("ConverseStreamResponse", &event?)?;
            result.events.push(event);
            if matches!(cancel, Some(Cancel::AfterEvents(count)) if result.events.len() >= count) {
                return Err(Over::Cancelled);
            }
        }
        let answer = events.finish().await?;
        result.answers.push(result::answer(&answer)?);
        Ok(())
    };
    let ended = until(cancel, read).await;
    left(ended, opened, result).await
}

/// One stream, read as texts.
pub async fn deltas(client: &Client, turn: Turn, result: &mut CaseResult) -> Result<(), Over> {
    let (cancel, mut opened) = (turn.cancel, None);
    let read = async {
        let events = opened.insert(open(client, &turn).await?);
        let mut texts = events.text_deltas();
        while let Some(text) = texts.next().await {
            result.deltas.push(text?);
            if matches!(cancel, Some(Cancel::AfterEvents(count)) if result.deltas.len() >= count) {
                return Err(Over::Cancelled);
            }
        }
        let answer = events.finish().await?;
        result.answers.push(result::answer(&answer)?);
        Ok(())
    };
    let ended = until(cancel, read).await;
    left(ended, opened, result).await
}

/// Many streams at the same time.
pub async fn many(
    client: &Client,
    count: usize,
    turn: &Turn,
    result: &mut CaseResult,
) -> Result<(), Over> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let (client, turn) = (client.clone(), turn.clone());
        calls.push(tokio::spawn(async move {
            let mut part = CaseResult::default();
            let ended = stream(&client, turn, &mut part).await;
            (part.answers, ended)
        }));
    }
    for call in calls {
        let (answers, ended) = call.await.map_err(|error| Over::Broken(error.into()))?;
        result.answers.extend(answers);
        ended?;
    }
    Ok(())
}

/// Leaves a stream that has ended, failed, or is cancelled.
async fn left(
    ended: Result<(), Over>,
    opened: Option<Events>,
    result: &mut CaseResult,
) -> Result<(), Over> {
    if ended.is_err()
        && let Some(partial) = opened.as_ref().and_then(Events::partial)
    {
        result.partial = Some(result::partial(&partial)?);
    }
    drop(opened);
    if matches!(ended, Err(Over::Cancelled)) {
        sent().await;
    }
    ended
}

/// Waits until what was dropped is cancelled: the connection is a task of the runtime; it sends its
/// last frames before that ends.
pub async fn sent() {
    sleep(Duration::from_millis(100)).await;
}

/// Drops the future after the time that a job names.
pub async fn until<T>(
    cancel: Option<Cancel>,
    future: impl IntoFuture<Output = Result<T, Over>>,
) -> Result<T, Over> {
    match cancel {
        Some(Cancel::AfterMs(ms)) => timeout(Duration::from_millis(ms), future)
            .await
            .unwrap_or(Err(Over::Cancelled)),
        Some(Cancel::AfterEvents(_)) | None => future.await,
    }
}
