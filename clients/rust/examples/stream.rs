//! Prints a streamed answer: `stream [QUESTION]`.

use std::io::Write;
use std::time::Duration;

use dashgate_client::v1::{ErrorReason, GenerationOptions};
use dashgate_client::{Client, Conversation};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = std::env::args().nth(1);
    let client = Client::new()?;
    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user(question.unwrap_or_else(|| "Why is the sea salt?".into()));

    // region stream
    let mut events = client.stream(&conversation).await?;
    let mut texts = events.text_deltas();
    while let Some(text) = texts.next().await {
        print!("{}", text?);
        std::io::stdout().flush()?;
    }
    let answer = events.finish().await?;
    println!("\n{:?}, {:?}", answer.finish_reason(), answer.usage());
    // endregion

    // region failed
    let mut events = client.stream(&conversation).await?;
    while let Some(event) = events.next().await {
        if let Err(error) = event {
            // Billed even though the answer is incomplete.
            let tokens = error.usage().and_then(|usage| usage.output_tokens);
            eprintln!("{}: {tokens:?} tokens out", error.raw_reason());
            if error.reason() == ErrorReason::ContentBlocked {
                eprintln!("DashScope blocked the answer");
            }
        }
    }
    // endregion

    // region deadline
    let answer = client
        .converse(&conversation)
        .timeout(Duration::from_secs(30))
        .options(GenerationOptions {
            temperature: Some(0.2),
            ..GenerationOptions::default()
        })
        .await?;
    println!("{}", answer.text());
    // endregion
    Ok(())
}
