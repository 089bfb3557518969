//! Asks about an audio file, and prints the answer: `ask [RECORDING]`.

// region five-lines
use dashgate_client::{Client, Conversation, audio, text};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recording = std::env::args().nth(1).unwrap_or_else(|| WELCOME.into());
    let mut conversation = Conversation::new("qwen-audio-turbo");
    conversation.user([audio(recording).await?, text("What is said in this audio?")]);
    let answer = Client::new()?.converse(&conversation).await?;
    println!("{}", answer.text());
    Ok(())
}

const WELCOME: &str = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3";
// endregion
