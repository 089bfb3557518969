//! Large conversations of one caller do not hold up the store for others, and forged input does not
//! make it look as if it were down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashgate::chat::call::Tenant;
use dashgate::chat::media::{Medium, Source};
use dashgate::config::StoreSettings;
use dashgate::conversations::ConversationsConfig;
use dashgate::conversations::management::TurnPage;
use dashgate::error::Error;
use dashgate::grpc::pb;
use dashgate::store::{Observer, Store, StoreConfig};
use tokio::time::Instant;
use tonic::Code;

use crate::database::{execute, number};
use crate::kept::*;
use crate::replicas::replica;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_large_conversation_is_deleted_while_others_call,
        a_large_conversation_that_has_expired_is_deleted,
        a_conversation_expires_although_the_replica_of_its_turn_is_gone,
        a_large_conversation_is_not_copied,
        a_history_that_does_not_fit_into_memory_is_not_read,
        a_medium_is_read_once_however_often_it_is_used,
        a_caller_who_lists_all_the_time_leaves_connections_to_others,
        a_forged_page_token_is_refused_and_the_store_stays_up,
        a_value_that_the_store_does_not_accept_is_no_failure_of_the_store,
    ]
}

/// Adds turns of about 400 MB, more than SQLite writes within the time that a transaction may take.
macro_rules! many {
    ($answer:literal) => {
        concat!(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO turns (tenant, conversation, number, request_id, fence, state, system,
               model, reason, tokens, bytes, media_bytes, created, ended, usage, messages, answer)
             SELECT tenant, conversation, i, '', 0, state, system, model, reason, tokens,
               bytes, media_bytes, created, ended, usage, messages, ",
            $answer,
            " FROM turns, n WHERE number = 1"
        )
    };
}

async fn fill(store: &StoreSettings) {
    let text = match store.url.expose().starts_with("sqlite:") {
        true => many!("zeroblob(100000)"),
        false => many!("convert_to(repeat('xy', 50000), 'UTF8')"),
    };
    fill_by(store, text).await;
}

async fn fill_by(store: &StoreSettings, text: &'static str) {
    execute(store, text).await;
    execute(
        store,
        "UPDATE conversations SET numbered = 4000, last_turn = 4000, turns = 4000",
    )
    .await;
}

fn config(store: &StoreSettings) -> StoreConfig {
    StoreConfig {
        url: store.url.clone(),
        max_connections: 1,
        migrate: false,
        lease: store.lease,
    }
}

/// A call with a request id of another caller.
async fn call_of_another(client: &mut Conversations, number: usize) {
    let mut call = say_once("two", &format!("call-{number}"));
    let conversation = call.conversation.as_mut().unwrap();
    conversation.name.clear();
    "qwen-audio-turbo".clone_into(&mut conversation.model);
    client.converse(with_key(call, "l")).await.unwrap();
}

async fn a_large_conversation_is_deleted_while_others_call(store: StoreSettings) {
    let (_upstream, one, mut client) = with_one_turn(&store).await;
    fill(&store).await;
    let mut deleting = one.conversation();
    let deletion =
        tokio::spawn(async move { deleting.delete_conversation(mine(deleted(NAME))).await });
    let (mut calls, mut longest) = (0, Duration::ZERO);
    while !deletion.is_finished() {
        let began = Instant::now();
        call_of_another(&mut client, calls).await;
        longest = longest.max(began.elapsed());
        calls += 1;
    }
    deletion.await.unwrap().unwrap();
    assert!(
        calls > 1 && longest < Duration::from_secs(2),
        "{calls} {longest:?}"
    );
    assert_eq!(number(&store, "SELECT count(*) FROM turns").await, 0);
    assert_eq!(
        number(&store, "SELECT count(*) FROM conversations").await,
        0
    );
}

async fn a_large_conversation_that_has_expired_is_deleted(store: StoreSettings) {
    let (_upstream, _one, mut client) = with_one_turn(&store).await;
    fill(&store).await;
    execute(&store, "UPDATE conversations SET expires = 1").await;
    let cleaner = Store::open(&config(&store)).await.unwrap();
    while cleaner.sweep().await.unwrap() {}
    assert_eq!(number(&store, "SELECT count(*) FROM turns").await, 0);
    create(&mut client).await;
    assert!(turns(&mut client).await.is_empty());
}

async fn a_conversation_expires_although_the_replica_of_its_turn_is_gone(store: StoreSettings) {
    let upstream = numbering(Duration::from_secs(30)).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let mut turn = one.conversation();
    let running = tokio::spawn(async move { turn.converse(mine(say("one"))).await });
    upstream.wait_for_requests(1).await;
    execute(&store, "UPDATE conversations SET expires = 1").await;
    let cleaner = Store::open(&config(&store)).await.unwrap();
    cleaner.sweep().await.unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM turns").await, 1);
    execute(
        &store,
        "UPDATE calls SET lease_until = 1, fence = fence + 1",
    )
    .await;
    cleaner.sweep().await.unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM turns").await, 0);
    running.abort();
}

async fn a_large_conversation_is_not_copied(store: StoreSettings) {
    let (_upstream, _one, mut client) = with_one_turn(&store).await;
    fill(&store).await;
    let fork = |last_turn, id: &str| {
        mine(pb::ForkConversationRequest {
            name: NAME.to_owned(),
            last_turn,
            conversation_id: id.to_owned(),
        })
    };
    let error = client.fork_conversation(fork(None, "d")).await.unwrap_err();
    assert_fault(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    let copy = client
        .fork_conversation(fork(Some(150), "d"))
        .await
        .unwrap();
    assert_eq!(copy.into_inner().conversation.unwrap().turn_count, 150);
}

async fn a_history_that_does_not_fit_into_memory_is_not_read(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let mut settings = settings(&upstream);
    settings.memory.limit = 64 << 20;
    settings.store = Some(store.clone());
    let one = gateway_with(settings).await;
    let mut client = one.conversation();
    create(&mut client).await;
    client.converse(mine(say("one"))).await.unwrap();
    fill_by(&store, many!("answer")).await;
    // Messages that cannot be decoded: to read them is another error.
    let large = "UPDATE turns SET bytes = 100000, messages = substr(messages, 2)";
    execute(&store, large).await;
    let with_turns = |max_turns| pb::ConverseRequest {
        history: Some(pb::HistoryPolicy {
            max_turns: Some(max_turns),
            ..pb::HistoryPolicy::default()
        }),
        ..say("two")
    };
    let error = client.converse(mine(with_turns(300))).await.unwrap_err();
    assert_fault(&error, Code::FailedPrecondition, "CONVERSATION_TOO_LONG");
    let error = client.converse(mine(with_turns(10))).await.unwrap_err();
    assert_fault(&error, Code::Internal, "STORE_DAMAGED");
    assert_eq!(upstream.seen().len(), 1);
}

/// Counts the media that are read.
#[derive(Default)]
struct MediaReads(AtomicUsize);

impl Observer for MediaReads {
    fn ended(&self, operation: &'static str, result: Result<(), &Error>, _: Duration) {
        result.unwrap();
        if operation == "medium" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn a_medium_is_read_once_however_often_it_is_used(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let wav = b"RIFF\x24\0\0\0WAVEfmt ".repeat(100);
    let parts = vec![audio(&wav), audio(&wav), audio(&wav)];
    client.converse(mine(say_parts(parts))).await.unwrap();
    let tenant = only_tenant(&store).await;
    let reads = Arc::new(MediaReads::default());
    let direct = Store::open(&config(&store)).await.unwrap();
    let direct = direct.observed_by(Arc::clone(&reads) as Arc<dyn Observer>);
    let kept = ConversationsConfig {
        ttl: Duration::from_secs(60),
        max_media_bytes: 1 << 20,
    };
    let page = TurnPage {
        from: 0,
        newest_first: false,
        limit: 10,
        include_media: true,
    };
    let direct = dashgate::conversations::Conversations::new(direct, kept);
    let (turns, _) = direct.turns((&tenant, "c"), page).await.unwrap();
    let parts = turns[0].messages[0].parts.iter();
    let media = parts.filter_map(|part| part.body.media().next());
    let inline =
        |medium: &&Medium| matches!(&medium.source, Source::Inline(bytes) if *bytes == wav);
    assert_eq!(media.filter(inline).count(), 3);
    assert_eq!(reads.0.load(Ordering::Relaxed), 1);
}

/// The tenant of the only conversation.
async fn only_tenant(store: &StoreSettings) -> Tenant {
    let mut connection = crate::database::connection(store).await;
    let query = sqlx::query_scalar::<_, Vec<u8>>("SELECT tenant FROM conversations");
    let tenant = query.fetch_one(&mut connection).await.unwrap();
    Tenant(tenant.try_into().unwrap())
}

async fn a_caller_who_lists_all_the_time_leaves_connections_to_others(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    let text = "one ".repeat(2500);
    client.converse(mine(say(&text))).await.unwrap();
    fill_by(&store, many!("answer")).await;
    let lists: Vec<_> = (0..200)
        .map(|_| {
            let mut client = one.conversation();
            tokio::spawn(async move {
                let request = pb::ListTurnsRequest {
                    name: NAME.to_owned(),
                    page_size: 100,
                    ..pb::ListTurnsRequest::default()
                };
                client.list_turns(mine(request)).await
            })
        })
        .collect();
    for number in 0..10 {
        call_of_another(&mut client, number).await;
    }
    for list in lists {
        list.await.unwrap().unwrap();
    }
}

async fn a_forged_page_token_is_refused_and_the_store_stays_up(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    let mut client = one.conversation();
    create(&mut client).await;
    for forged in ["5:\0", "5:a\0b", "5:ä", "5:", "5", ":c", "x:c", "5:a:b"] {
        let request = pb::ListConversationsRequest {
            page_size: 1,
            page_token: URL_SAFE_NO_PAD.encode(forged),
        };
        let error = client.list_conversations(mine(request)).await.unwrap_err();
        assert_eq!(violations(&error), ["page_token"], "{forged:?}");
    }
}

async fn a_value_that_the_store_does_not_accept_is_no_failure_of_the_store(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let _one = replica(&upstream, &store).await;
    let direct = Store::open(&config(&store)).await.unwrap();
    // PostgreSQL has no text with a zero byte, and no key of 10 KB that it cannot compress.
    let long: String = (0..10_000_u32)
        .map(|i| char::from(b'!' + u8::try_from(i.wrapping_mul(2_654_435_761) >> 16 & 63).unwrap()))
        .collect();
    let account = Tenant([7; 32]);
    for model in ["a\0b", long.as_str()] {
        let pause = Duration::from_secs(1);
        let done = direct
            .throttle(&account, (model, "RATE_LIMITED"), pause)
            .await;
        if let Err(error) = done {
            assert_eq!(error.reason().name(), "INVALID_REQUEST", "{error}");
        }
    }
}
