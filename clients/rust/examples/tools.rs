//! Runs a tool that the model calls, prints an error, and uses the generated client: `tools
//! [QUESTION]`.

use dashgate_client::v1::ConverseRequest;
use dashgate_client::{Client, Conversation, Tool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = std::env::args().nth(1);
    let question = question.unwrap_or_else(|| "How is the weather in Oslo?".into());
    let client = Client::new()?;

    // region tools
    let weather = Tool::new(
        "weather",
        "The weather in a city, now.",
        r#"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#,
        |arguments: String| async move {
            eprintln!("weather({arguments})");
            Ok::<_, std::io::Error>(r#"{"sky": "clear", "celsius": 21}"#.to_owned())
        },
    );
    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user(question);
    let answer = client.run_tools(&mut conversation, &[weather]).await?;
    println!("{}", answer.text());
    // endregion

    // region errors
    let mut wrong = Conversation::new("no-such-model");
    wrong.user("Hello?");
    if let Err(error) = client.converse(&wrong).await {
        println!("{:?}: {}", error.reason(), error.message());
        for violation in error.field_violations() {
            println!("  {}: {}", violation.field, violation.description);
        }
        match (error.retryable(), error.retry_after()) {
            (true, Some(pause)) => println!("  retry in {pause:?}"),
            (true, None) => println!("  retry later"),
            (false, _) => println!("  do not retry; request id {}", error.request_id()),
        }
    }
    // endregion

    // region raw
    let mut service = client.conversation_service();
    let response = service
        .converse(ConverseRequest {
            conversation: Some(conversation.into()),
            ..ConverseRequest::default()
        })
        .await?;
    println!("{:?}", response.into_inner().timing);
    // endregion
    Ok(())
}
