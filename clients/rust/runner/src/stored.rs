//! Stored conversations of a job.

use std::time::Duration;

use dashgate_client::{Client, Conversation};
use serde_json::{Value, json};

use crate::job::StoredStep;
use crate::over::Over;
use crate::result::{self, CaseResult};

/// Does the steps, and reports what each returned.
pub async fn stored(
    client: &Client,
    steps: Vec<StoredStep>,
    result: &mut CaseResult,
) -> Result<(), Over> {
    for step in steps {
        let returned = one(client, step).await?;
        result.stored.push(returned);
    }
    Ok(())
}

async fn one(client: &Client, step: StoredStep) -> Result<Value, Over> {
    let conversation = match step {
        StoredStep::Create {
            id,
            model,
            labels,
            ttl_seconds,
        } => {
            let mut call = client.create_conversation();
            if let Some(id) = id {
                call = call.id(id);
            }
            if let Some(model) = model {
                call = call.model(model);
            }
            for (key, value) in labels.into_iter().flatten() {
                call = call.label(key, value);
            }
            if let Some(seconds) = ttl_seconds {
                call = call.ttl(Duration::from_secs(seconds));
            }
            call.await?
        }
        StoredStep::Get { name } => client.get_conversation(name).await?,
        StoredStep::Update {
            name,
            model,
            labels,
            ttl_seconds,
        } => {
            let mut call = client.update_conversation(name);
            if let Some(model) = model {
                call = call.model(model);
            }
            if let Some(labels) = labels {
                call = call.labels(labels);
            }
            if let Some(seconds) = ttl_seconds {
                call = call.ttl(Duration::from_secs(seconds));
            }
            call.await?
        }
        StoredStep::Fork {
            name,
            last_turn,
            id,
        } => {
            let mut call = client.fork_conversation(name);
            if let Some(turn) = last_turn {
                call = call.last_turn(turn);
            }
            if let Some(id) = id {
                call = call.id(id);
            }
            call.await?
        }
        step => return other(client, step).await,
    };
    let conversation = result::json_of("Conversation", &conversation)?;
    Ok(json!({"conversation": conversation}))
}

/// The steps that return no conversation.
async fn other(client: &Client, step: StoredStep) -> Result<Value, Over> {
    Ok(match step {
        StoredStep::List { page_size } => {
            let list = client.list_conversations().page_size(page_size);
            let all = list.all().await?;
            let all = all.iter().map(|one| result::json_of("Conversation", one));
            json!({"conversations": all.collect::<Result<Vec<_>, _>>()?})
        }
        StoredStep::Turns {
            name,
            newest_first,
            include_media,
            page_size,
        } => {
            let list = client.list_turns(name).newest_first(newest_first);
            let list = list.include_media(include_media).page_size(page_size);
            let all = list.all().await?;
            let all = all.iter().map(|one| result::json_of("Turn", one));
            json!({"turns": all.collect::<Result<Vec<_>, _>>()?})
        }
        StoredStep::Converse {
            conversation,
            expected_turn,
            history,
        } => {
            let conversation: dashgate_client::v1::Conversation =
                result::message("Conversation", &conversation)?;
            let mut call = client.converse(Conversation::from(conversation));
            if let Some(turn) = expected_turn {
                call = call.expected_turn(turn);
            }
            if let Some(history) = history {
                call = call.history(result::message("HistoryPolicy", &history)?);
            }
            json!({"answer": result::answer(&call.await?)?})
        }
        StoredStep::CancelTurn { name, request_id } => {
            let mut call = client.cancel_turn(name);
            if let Some(id) = request_id {
                call = call.request_id(id);
            }
            json!({"cancelled": call.await?.request_id})
        }
        StoredStep::Delete { name } => {
            client.delete_conversation(name).await?;
            json!({"deleted": true})
        }
        StoredStep::DeleteTurn { name } => {
            client.delete_turn(name).await?;
            json!({"deleted": true})
        }
        step => return Err(Over::Broken(format!("unknown step: {step:?}").into())),
    })
}
