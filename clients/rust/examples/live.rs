//! Talks to a model with a recording, and has a text spoken: `live RECORDING`.

use std::io::Write;

use dashgate_client::v1::converse_live_response::Event;
use dashgate_client::v1::response_delta::Part;
use dashgate_client::{Client, v1};

/// 100 ms of 16-bit PCM at 16 kHz.
const PIECE: usize = 3200;
/// The header of a WAV file.
const HEADER: usize = 44;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recording = std::env::args().nth(1).ok_or("usage: live RECORDING")?;
    let mut audio = tokio::fs::read(recording).await?;
    // The silence after it ends the turn.
    audio.resize(audio.len() + 12 * PIECE, 0);
    let mut speech = Vec::new();

    // region live
    let client = Client::new()?;
    let mut session = client.live("qwen3-omni-flash-realtime").await?;
    let sender = session.sender();
    let speaking = tokio::spawn(async move {
        // 16-bit PCM at 16 kHz, usually from a microphone.
        for piece in audio.get(HEADER..).unwrap_or_default().chunks(PIECE) {
            sender.send_audio(piece.to_vec()).await?;
        }
        sender.finish();
        Ok::<_, dashgate_client::Error>(())
    });
    while let Some(event) = session.next().await {
        match event?.event {
            // Stop playing: the running answer is cancelled.
            Some(Event::SpeechStarted(_)) => {}
            Some(Event::InputTranscript(said)) if said.r#final => println!("You: {}", said.text),
            Some(Event::ResponseStarted(_)) => print!("Model: "),
            Some(Event::ResponseDelta(delta)) => match delta.part {
                Some(Part::Transcript(words)) => print!("{words}"),
                // PCM at 24 kHz: play it.
                Some(Part::Audio(piece)) => speech.extend(piece),
                _ => {}
            },
            Some(Event::ResponseCompleted(_)) => println!(),
            _ => {}
        }
        std::io::stdout().flush()?;
    }
    speaking.await??;
    // endregion
    println!("{} bytes of speech", speech.len());

    // region speak
    let mut session = client
        .speak(v1::SynthesisSetup {
            model: "qwen3-tts-flash-realtime".into(),
            voice: "Cherry".into(),
            ..v1::SynthesisSetup::default()
        })
        .await?;
    for text in ["The text is spoken ", "while it is written."] {
        session.send_text(text).await?;
    }
    session.finish();
    let mut audio = session.audio();
    while let Some(piece) = audio.next().await {
        speech.extend(piece?);
    }
    // endregion
    println!("{} bytes of speech", speech.len());
    Ok(())
}
