//! An HTTP endpoint that streams to a browser.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Gateway, Reply, events};

// region
use std::convert::Infallible;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use dashgate_client::{Client, Conversation};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;

#[derive(Deserialize)]
struct Question {
    question: String,
}

/// `GET /ask?question=...` answers with server-sent events. When the browser leaves, axum drops the
/// stream, and that cancels the call at the gateway and at DashScope.
async fn ask(
    State(client): State<Client>,
    Query(Question { question }): Query<Question>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user(question);
    let call = client.stream(&conversation);
    let texts = stream::once(call.into_future()).flat_map(|opened| match opened {
        Ok(events) => events.into_text_deltas().boxed(),
        Err(error) => stream::once(async move { Err(error) }).boxed(),
    });
    let events = texts.map(|text| {
        Ok(match text {
            Ok(text) => Event::default().data(text),
            Err(error) => Event::default().event("error").data(error.raw_reason()),
        })
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn router(client: Client) -> Router {
    Router::new().route("/ask", get(ask)).with_state(client)
}
// endregion

#[tokio::test]
async fn a_browser_reads_the_answer_and_cancels_by_leaving() {
    use dashgate_client::v1::delta::Part::Text;
    let gateway = Gateway::start(|number, _| {
        let all = events(["It ", "is ", "salt."].map(|text| Text(text.to_owned())));
        match number {
            0 => Reply::of(all),
            _ => Reply::of(all[..2].to_vec()).hanging(),
        }
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(gateway.client());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let request = "GET /ask?question=Why HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut browser = tokio::net::TcpStream::connect(address).await.unwrap();
    browser.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).await.unwrap();
    let data = page.lines().filter_map(|line| line.strip_prefix("data: "));
    assert_eq!(data.collect::<Vec<_>>(), ["It ", "is ", "salt."]);

    let mut browser = tokio::net::TcpStream::connect(address).await.unwrap();
    browser.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1];
    browser.read_exact(&mut first).await.unwrap();
    drop(browser);
    gateway.left().await;
}
