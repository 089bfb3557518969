//! Asks about an audio file in several turns: `conversation RECORDING [LARGE_RECORDING]`.

use dashgate_client::{Client, Conversation, Media, audio, text};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut recordings = std::env::args().skip(1);
    let recording = recordings
        .next()
        .ok_or("usage: conversation RECORDING [LARGE_RECORDING]")?;
    let large_recording = recordings.next().unwrap_or_else(|| recording.clone());
    let client = Client::new()?;

    // region conversation
    let mut conversation = Conversation::new("qwen-audio-turbo");
    conversation.system("Answer in one sentence.");
    conversation.user([audio(recording).await?, text("What is said in this audio?")]);
    let answer = client.converse(&conversation).await?;
    println!("{}", answer.text());

    conversation.append(&answer);
    conversation.user("And how is it said?");
    println!("{}", client.converse(&conversation).await?.text());
    // endregion

    // region messages
    let messages = r#"[
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
        ]}
    ]"#;
    let imported = Conversation::from_messages("qwen3-vl-plus", messages)?;
    let restored = Conversation::from_json(&imported.to_json()?)?;
    assert_eq!(restored, imported);
    // endregion

    // region upload
    let uploaded = client.upload("qwen-audio-turbo", large_recording).await?;
    let mut conversation = Conversation::new("qwen-audio-turbo");
    conversation.user((audio(Media::uri(uploaded.uri)).await?, "What is this?"));
    println!("{}", client.converse(&conversation).await?.text());
    // endregion
    Ok(())
}
