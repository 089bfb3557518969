//! Has a conversation that the gateway stores: `stored`. The gateway needs a store:
//! `DASHGATE_STORE_URL=sqlite:conversations.db dashgate serve`.

use dashgate_client::v1::{ErrorReason, HistoryPolicy};
use dashgate_client::{Client, Conversation};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new()?;

    // region stored
    let created = client.create_conversation().model("qwen3.6-plus").await?;
    let mut conversation = Conversation::stored(&created.name);
    conversation.user("My name is Ada.");
    let answer = client.converse(&conversation).await?;
    conversation.append(&answer);

    // Only this message is sent; the gateway has the others.
    conversation.user("What is my name?");
    let call = client.converse(&conversation).history(HistoryPolicy {
        max_turns: Some(20),
        ..HistoryPolicy::default()
    });
    match call.await {
        Ok(answer) => println!("{}", answer.text()),
        // Another process has made a turn since then.
        Err(error) if error.reason() == ErrorReason::StaleConversation => println!("{error}"),
        Err(error) => return Err(error.into()),
    }

    let mut turns = client.list_turns(&created.name).newest_first(true);
    while let Some(turn) = turns.next().await {
        println!("{}", turn?.number);
    }
    client.delete_conversation(&created.name).await?;
    // endregion
    Ok(())
}
