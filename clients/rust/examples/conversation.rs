//! Talks about a sound in several turns: `conversation SOUND [LARGE_SOUND]`.

use dashgate_client::{Client, Conversation, Media, audio, text};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sounds = std::env::args().skip(1);
    let sound = sounds
        .next()
        .ok_or("usage: conversation SOUND [LARGE_SOUND]")?;
    let large_sound = sounds.next().unwrap_or_else(|| sound.clone());
    let client = Client::new()?;

    // region conversation
    let mut conversation = Conversation::new("qwen-audio-turbo");
    conversation.system("Answer in one sentence.");
    conversation.user([audio(sound).await?, text("What is said in this audio?")]);
    let answer = client.converse(&conversation).await?;
    println!("{}", answer.text());

    conversation.append(&answer);
    conversation.user("And how is it said?");
    println!("{}", client.converse(&conversation).await?.text());
    // endregion

    // region upload
    let uploaded = client.upload("qwen-audio-turbo", large_sound).await?;
    let mut conversation = Conversation::new("qwen-audio-turbo");
    conversation.user((audio(Media::uri(uploaded.uri)).await?, "What is this?"));
    println!("{}", client.converse(&conversation).await?.text());
    // endregion
    Ok(())
}
