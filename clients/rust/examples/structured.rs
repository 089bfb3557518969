//! Asks for a value of a type, and streams an answer that a typed tool helps with: `structured
//! [CITY]`.

use std::io::Write;

use dashgate_client::{Client, Conversation, Tool};
use schemars::JsonSchema;
use serde::Deserialize;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let city = std::env::args().nth(1).unwrap_or_else(|| "Oslo".into());
    let client = Client::new()?;

    // region structured
    #[derive(Deserialize, JsonSchema)]
    struct City {
        name: String,
        people: u64,
        /// The rivers that flow through it.
        rivers: Vec<String>,
    }
    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user(format!("Describe {city}."));
    match client.converse_as::<City>(&conversation).repair(true).await {
        Ok(found) => {
            let City {
                name,
                people,
                rivers,
            } = found.value;
            println!("{name} has {people} people and {} rivers", rivers.len());
        }
        Err(error) if error.raw_reason() == "OUTPUT_INVALID" => println!("{error}"),
        Err(error) => return Err(error.into()),
    }
    // endregion

    // region typed-tool
    #[derive(Deserialize, JsonSchema)]
    struct Place {
        /// The name of a city.
        city: String,
    }
    let weather = Tool::typed(
        "weather",
        "The weather in a city, now.",
        |place: Place| async move {
            Ok::<_, std::io::Error>(format!("clear, 21 degrees in {}", place.city))
        },
    );
    let tools = [weather];
    let mut conversation = Conversation::new("qwen3.6-plus");
    conversation.user(format!("How is the weather in {city}?"));
    let mut events = client
        .stream_tools(&mut conversation, &tools)
        .parallel(true);
    let mut texts = events.text_deltas();
    while let Some(text) = texts.next().await {
        print!("{}", text?);
        std::io::stdout().flush()?;
    }
    let answer = events.finish().await?;
    println!("\n{:?}", answer.finish_reason());
    // endregion
    Ok(())
}
