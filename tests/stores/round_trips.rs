//! How often the gateway asks PostgreSQL for a call: each statement is a round trip.

use std::sync::Arc;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;

use crate::faults::blocking;
use crate::kept::{create, mine, say, say_once};
use crate::replicas::replica;
use crate::shared_calls::texts;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_turn_is_two_statements_and_one_for_its_history_and_for_its_model,
        a_call_is_two_statements,
    ]
}

/// A server that logs all statements.
async fn server() -> (Arc<postgres::Postgres>, StoreSettings) {
    let server = blocking(|| postgres::Postgres::start("-c fsync=off -c log_statement=all")).await;
    let url = server.database();
    (Arc::new(server), store::settings(&url))
}

/// The statements since this part of the log, without those of every second.
fn statements(server: &postgres::Postgres, from: usize) -> Vec<String> {
    let log = server.log().split_off(from).replace("\n\t", " ");
    let statements = log.lines().filter_map(|line| {
        let (_, text) = line.split_once("LOG:  ")?;
        let (kind, text) = text.split_once(": ")?;
        let is_statement = kind == "statement" || kind.starts_with("execute ");
        is_statement.then(|| text.to_owned())
    });
    let others = ["cancelled = 1", "replicas", "throttles"];
    statements
        .filter(|text| !others.iter().any(|other| text.contains(other)))
        .collect()
}

async fn a_turn_is_two_statements_and_one_for_its_history_and_for_its_model(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream =
        Upstream::start(
            |number, seen| match seen.header("x-dashscope-sse") == Some("enable") {
                false => json(200, &whole(&format!("answer {number}"))),
                true => vec![
                    sse(),
                    piece(frame(1, "answer ", "null")),
                    piece(frame(2, &number.to_string(), "stop")),
                    end(),
                ],
            },
        )
        .await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let from = server.log().len();
    client.converse(mine(with_model(say("one")))).await.unwrap();
    let first = statements(&server, from);
    assert_eq!(first.len(), 2, "{first:#?}");
    let from = server.log().len();
    let second = with_model(say_once("two", "two"));
    client.converse(mine(second)).await.unwrap();
    let second = statements(&server, from);
    assert_eq!(second.len(), 3, "{second:#?}");
    let from = server.log().len();
    let streamed = pb::ConverseStreamRequest {
        conversation: say("three").conversation,
        ..pb::ConverseStreamRequest::default()
    };
    let stream = client.converse_stream(mine(streamed)).await.unwrap();
    assert_eq!(texts(stream.into_inner()).await, ["answer ", "2"]);
    let third = statements(&server, from);
    assert_eq!(third.len(), 4, "{third:#?}");
}

fn with_model(mut request: pb::ConverseRequest) -> pb::ConverseRequest {
    let conversation = request.conversation.as_mut().unwrap();
    conversation.model = "qwen-audio-turbo".to_owned();
    request
}

async fn a_call_is_two_statements(_: StoreSettings) {
    let (server, store) = server().await;
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    for name in ["a", "b"] {
        let from = server.log().len();
        one.conversation().converse(named(name)).await.unwrap();
        let all = statements(&server, from);
        assert_eq!(all.len(), 2, "{all:#?}");
    }
}
