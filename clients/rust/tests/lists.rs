//! Lists that are fetched in pages.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

use std::future::poll_fn;
use std::task::Poll;

use dashgate_client::v1;
use futures_util::TryStreamExt as _;
use support::{Gateway, Reply};

/// A gateway with a model on each of three pages.
async fn pages() -> Gateway {
    Gateway::start(|number, _| {
        let model = v1::Model {
            name: format!("m{number}"),
            ..v1::Model::default()
        };
        Reply::of([v1::ListModelsResponse {
            models: vec![model],
            next_page_token: ["1", "2", ""][number].to_owned(),
        }])
    })
    .await
}

fn names(models: &[v1::Model]) -> Vec<&str> {
    models.iter().map(|model| model.name.as_str()).collect()
}

#[tokio::test]
async fn a_list_is_a_stream() {
    let gateway = pages().await;
    let models: Vec<_> = gateway.client().list_models().try_collect().await.unwrap();
    assert_eq!(names(&models), ["m0", "m1", "m2"]);
    let requests = gateway.seen().into_iter();
    let tokens = requests.map(|seen| seen.decoded::<v1::ListModelsRequest>().page_token);
    assert_eq!(tokens.collect::<Vec<_>>(), ["", "1", "2"]);
}

#[tokio::test]
async fn a_page_that_was_requested_is_not_lost() {
    let gateway = pages().await;
    let mut list = gateway.client().list_models();
    let mut models = Vec::new();
    loop {
        // The call has begun, and its future is dropped.
        let first = {
            let mut next = Box::pin(list.next());
            poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await
        };
        let item = match first {
            Poll::Ready(item) => item,
            Poll::Pending => list.next().await,
        };
        match item {
            Some(model) => models.push(model.unwrap()),
            None => break,
        }
    }
    assert_eq!(names(&models), ["m0", "m1", "m2"]);
    assert_eq!(gateway.seen().len(), 3);
}
