//! A chat with tools.

use dashgate_client::v1::delta::Part;

use crate::support::{Gateway, Reply, events, tool_call};

// region
use std::io::Write;

use dashgate_client::{Client, Conversation, Tool, ToolError};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Place {
    /// The name of a city.
    city: String,
}

fn weather() -> Tool {
    Tool::typed(
        "weather",
        "The weather in a city, now.",
        |place: Place| async move {
            Ok::<_, std::io::Error>(format!("clear, 21 degrees in {}", place.city))
        },
    )
}

/// One turn of a chat: the answer is written as it comes, and appended to the conversation with the
/// calls of tools before it.
async fn turn(
    client: &Client,
    conversation: &mut Conversation,
    question: &str,
    screen: &mut impl Write,
) -> Result<(), ToolError> {
    conversation.user(question);
    let tools = [weather()];
    let mut events = client.stream_tools(conversation, &tools).parallel(true);
    let mut texts = events.text_deltas();
    while let Some(text) = texts.next().await {
        let text = text?;
        let _written = write!(screen, "{text}").and_then(|()| screen.flush());
    }
    Ok(())
}
// endregion

#[tokio::test]
async fn a_turn_calls_a_tool_and_is_remembered() {
    let gateway = Gateway::start(|number, _| match number {
        0 => Reply::of(events([Part::ToolCall(tool_call(
            0,
            "weather",
            r#"{"city": "Oslo"}"#,
        ))])),
        _ => Reply::of(events(
            ["It is ", "clear."].map(|text| Part::Text(text.to_owned())),
        )),
    })
    .await;
    let (mut conversation, mut screen) = (Conversation::new("m"), Vec::new());
    let client = gateway.client();
    turn(&client, &mut conversation, "How is Oslo?", &mut screen)
        .await
        .unwrap();
    turn(&client, &mut conversation, "And now?", &mut screen)
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8(screen).unwrap(),
        "It is clear.It is clear."
    );
    // Question, call, result, answer; question, answer.
    assert_eq!(conversation.raw().messages.len(), 6);
}
