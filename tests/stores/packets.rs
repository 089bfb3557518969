//! The connection to PostgreSQL is cut at every packet, before and after the server has received
//! it.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use tonic::Status;

use crate::database;
use crate::kept::{Conversations, create, get, mine, say, text, turns};
use crate::live_kept::{Bench, content, message};
use crate::proxy::{Cut, Proxy};
use crate::replicas::replica;
use crate::shared_calls::{deltas, texts};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_connection_that_is_cut_at_any_packet_changes_no_answer,
        a_connection_that_is_cut_at_any_packet_changes_no_management,
        events_of_a_commit_without_answer_are_neither_lost_nor_doubled,
        the_end_of_a_call_whose_commit_has_no_answer_is_stored_once,
        a_connection_that_is_cut_at_any_packet_loses_and_doubles_no_turn_of_a_session,
    ]
}

/// The same store through a proxy.
fn through_a_proxy(store: &StoreSettings) -> (Proxy, StoreSettings) {
    let proxy = Proxy::start(postgres::shared().dir());
    let url = store.url.expose();
    let database = url.split(['/', '?']).nth(3).unwrap();
    let mut settings = store.clone();
    settings.url = Secret::new(proxy.url(database));
    // So that a packet has the same meaning each time.
    settings.max_connections = 1;
    (proxy, settings)
}

async fn a_connection_that_is_cut_at_any_packet_changes_no_answer(store: StoreSettings) {
    let (proxy, proxied) = through_a_proxy(&store);
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &proxied).await;
    let two = replica(&upstream, &store).await;
    one.conversation().converse(named("warm")).await.unwrap();
    let mut calls = 1;
    for cut in [Cut::Before, Cut::After] {
        let mut cuts = 0;
        for packet in 0..100 {
            let cut = cut(packet);
            let name = format!("{cut:?}");
            proxy.cut(cut);
            let answer = one.conversation().converse(named(&name)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
            assert_eq!(text(answer.get_ref()), format!("answer {calls}"), "{cut:?}");
            calls += 1;
            let again = two.conversation().converse(named(&name)).await.unwrap();
            assert_eq!(text(again.get_ref()), text(answer.get_ref()), "{cut:?}");
            assert_eq!(upstream.seen().len(), calls, "{cut:?}");
            if proxy.spare() {
                break;
            }
            cuts += 1;
        }
        // Begin and the end, each of which a new connection prepares first.
        assert!((2..99).contains(&cuts), "{cuts}");
    }
    let rows = database::number(&store, "SELECT count(*) FROM calls").await;
    assert_eq!(rows, i64::try_from(calls).unwrap());
}

/// What a caller does with conversations besides making turns.
#[derive(Clone, Copy, Debug)]
enum Management {
    Create,
    Fork,
    Update,
    DeleteTurn,
    CancelTurn,
    Delete,
}

impl Management {
    /// Does it with the conversation of this id.
    async fn run(self, client: &mut Conversations, id: &str) -> Result<(), Status> {
        let name = format!("conversations/{id}");
        match self {
            Self::Create => create_labelled(client, id).await,
            Self::Fork => {
                let request = pb::ForkConversationRequest {
                    name: crate::kept::NAME.to_owned(),
                    conversation_id: id.to_owned(),
                    ..pb::ForkConversationRequest::default()
                };
                let copy = client.fork_conversation(mine(request)).await?.into_inner();
                assert_eq!(copy.conversation.unwrap().turn_count, 1);
                Ok(())
            }
            Self::Update => {
                let conversation = pb::Conversation {
                    name,
                    model: "qwen-plus".to_owned(),
                    ..pb::Conversation::default()
                };
                let request = pb::UpdateConversationRequest {
                    conversation: Some(conversation),
                    update_mask: None,
                };
                client.update_conversation(mine(request)).await.map(drop)
            }
            Self::DeleteTurn => {
                let name = format!("{name}/turns/1");
                let request = pb::DeleteTurnRequest { name };
                client.delete_turn(mine(request)).await.map(drop)
            }
            Self::CancelTurn => {
                let request_id = String::new();
                let request = pb::CancelTurnRequest { name, request_id };
                let cancelled = client.cancel_turn(mine(request)).await?.into_inner();
                assert_eq!(cancelled.request_id, id);
                Ok(())
            }
            Self::Delete => {
                let request = pb::DeleteConversationRequest { name };
                client.delete_conversation(mine(request)).await.map(drop)
            }
        }
    }

    /// Makes the conversation that it needs.
    async fn prepare(self, client: &mut Conversations, id: &str) {
        match self {
            Self::Create | Self::Fork => {}
            Self::Update | Self::DeleteTurn | Self::Delete | Self::CancelTurn => {
                Self::Fork.run(client, id).await.unwrap();
            }
        }
    }
}

async fn create_labelled(client: &mut Conversations, id: &str) -> Result<(), Status> {
    let labels = [("a".to_owned(), "b".to_owned())].into_iter().collect();
    let conversation = pb::Conversation {
        labels,
        ..pb::Conversation::default()
    };
    let request = pb::CreateConversationRequest {
        conversation_id: id.to_owned(),
        conversation: Some(conversation),
    };
    client.create_conversation(mine(request)).await.map(drop)
}

async fn a_connection_that_is_cut_at_any_packet_changes_no_management(store: StoreSettings) {
    let (proxy, proxied) = through_a_proxy(&store);
    let upstream = Upstream::start(|number, _| {
        let pause = Duration::from_secs(if number == 0 { 0 } else { 60 });
        let mut steps = vec![Step::Pause(pause)];
        steps.extend(json(200, &whole("answer")));
        steps
    })
    .await;
    let one = replica(&upstream, &proxied).await;
    let two = replica(&upstream, &store).await;
    let mut direct = two.conversation();
    create(&mut direct).await;
    direct.converse(mine(say("one"))).await.unwrap();
    let mut turns = 1;
    use Management::*;
    for management in [Create, Fork, Update, DeleteTurn, CancelTurn, Delete] {
        for cut in [Cut::Before, Cut::After] {
            for packet in 0..100 {
                let id = format!("{management:?}-{:?}", cut(packet)).replace(['(', ')'], "-");
                management.prepare(&mut direct, &id).await;
                if matches!(management, CancelTurn) {
                    let mut call = crate::kept::say_once("two", &id);
                    call.conversation.as_mut().unwrap().name = format!("conversations/{id}");
                    let mut running = two.conversation();
                    tokio::spawn(async move { running.converse(mine(call)).await });
                    turns += 1;
                    upstream.wait_for_requests(turns).await;
                }
                proxy.cut(cut(packet));
                let done = management.run(&mut one.conversation(), &id).await;
                done.unwrap_or_else(|error| panic!("{id}: {error:?}"));
                if proxy.spare() {
                    break;
                }
            }
        }
    }
    let mut client = one.conversation();
    let error = create_labelled(&mut client, "Create-Before-0-").await;
    assert_eq!(error.unwrap_err().code(), tonic::Code::AlreadyExists);
}

async fn events_of_a_commit_without_answer_are_neither_lost_nor_doubled(store: StoreSettings) {
    let (proxy, proxied) = through_a_proxy(&store);
    let mut steps = vec![sse()];
    for number in 1..30 {
        steps.push(piece(frame(number, &format!("word {number}."), "null")));
        steps.push(Step::Pause(Duration::from_millis(60)));
    }
    steps.extend([piece(frame(30, "end", "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let one = replica(&upstream, &proxied).await;
    let two = replica(&upstream, &store).await;
    proxy.cut(Cut::Outage("word 8.", Duration::from_millis(900)));
    let mut first = one.conversation();
    let first = first.converse_stream(named_stream("s")).await.unwrap();
    let mut second = two.conversation();
    let second = second.converse_stream(named_stream("s")).await.unwrap();
    let (first, second) = tokio::join!(texts(first.into_inner()), texts(second.into_inner()));
    assert!(!proxy.spare());
    assert_eq!(first.len(), 30);
    assert_eq!(first, second);
    let three = replica(&upstream, &store).await;
    assert_eq!(deltas(&mut three.conversation(), "s").await, first);
    assert_eq!(upstream.seen().len(), 1);
}

async fn the_end_of_a_call_whose_commit_has_no_answer_is_stored_once(store: StoreSettings) {
    let (proxy, proxied) = through_a_proxy(&store);
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &proxied).await;
    proxy.cut(Cut::Outage("answer 0", Duration::from_millis(1500)));
    let answer = one.conversation().converse(named("a")).await.unwrap();
    assert!(!proxy.spare());
    let two = replica(&upstream, &store).await;
    let again = two.conversation().converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), text(again.get_ref()));
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_connection_that_is_cut_at_any_packet_loses_and_doubles_no_turn_of_a_session(
    store: StoreSettings,
) {
    let (proxy, proxied) = through_a_proxy(&store);
    let mut bench = Bench::new(&proxied).await;
    let mut live = bench.talk().await;
    let mut count = 1;
    assert_eq!(live.exchange("0").await.turn, Some(count));
    for cut in [Cut::Before, Cut::After] {
        let mut cuts = 0;
        for packet in 0..100 {
            proxy.cut(cut(packet));
            let turn = live.exchange(&count.to_string()).await.turn;
            count += 1;
            assert_eq!(turn, Some(count), "{:?}", cut(packet));
            if proxy.spare() {
                break;
            }
            cuts += 1;
        }
        assert!((2..99).contains(&cuts), "{cuts}");
    }
    assert_eq!(get(&mut bench.client).await.turn_count, count);
    let all = turns(&mut bench.client).await;
    for (index, turn) in all.iter().enumerate() {
        let question = message("user", &format!("question {index}"));
        let answer = message("assistant", &format!("answer {index}"));
        assert_eq!(content(turn), [question, answer]);
    }
}
