//! Where the audio of a live session goes: files, and a player that reads stdout.

use bytes::Bytes;
use dashgate_client::v1 as pb;

use super::audio_pipe::AudioPipe;
use super::error::Failure;
use super::output_file::OutputFile;

/// The rate of audio if the gateway does not name one.
const DEFAULT_RATE: u32 = 24_000;

/// The receivers of audio.
pub(crate) struct AudioSinks {
    files: Vec<OutputFile>,
    pipe: Option<AudioPipe>,
    rate: u32,
    /// The bytes of audio so far.
    pub(crate) bytes: usize,
}

impl AudioSinks {
    /// Passes audio to these files and this player.
    pub(crate) fn new(files: Vec<OutputFile>, pipe: Option<AudioPipe>) -> Self {
        Self {
            files,
            pipe,
            rate: DEFAULT_RATE,
            bytes: 0,
        }
    }

    /// Takes the format of the session.
    pub(crate) fn start(&mut self, started: &pb::SessionStarted) {
        let rate = started.output_audio.as_ref();
        let rate = rate.and_then(|format| u32::try_from(format.sample_rate_hz).ok());
        self.rate = rate.filter(|rate| *rate > 0).unwrap_or(DEFAULT_RATE);
    }

    /// The sample rate in Hz.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Writes audio to the files, and adds it to the queue of the player.
    pub(crate) async fn write(&mut self, audio: &Bytes) -> Result<(), Failure> {
        if audio.is_empty() {
            return Ok(());
        }
        for file in &mut self.files {
            file.write(audio, self.rate).await?;
        }
        if let Some(pipe) = &self.pipe {
            pipe.push(audio.clone());
        }
        self.bytes = self.bytes.saturating_add(audio.len());
        Ok(())
    }

    /// Discards what the player has not received.
    pub(crate) fn interrupt(&self) -> bool {
        self.pipe.as_ref().is_some_and(AudioPipe::discard)
    }

    /// Whether more audio can be added.
    pub(crate) fn has_space(&self) -> bool {
        self.pipe.as_ref().is_none_or(AudioPipe::has_space)
    }

    /// Waits until the player has read something, or has ended.
    pub(crate) async fn changed(&self) {
        match &self.pipe {
            Some(pipe) => pipe.changed().await,
            None => std::future::pending().await,
        }
    }

    /// The failure of the player.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.pipe.as_ref().map_or(Ok(()), AudioPipe::check)
    }

    /// Ends the files, and waits until the player has read everything. Returns a line about each
    /// file.
    ///
    /// # Errors
    ///
    /// If something cannot be written, or there was no audio for a file.
    pub(crate) async fn finish(&mut self) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        for file in &mut self.files {
            let bytes = file.finish(self.rate).await?;
            lines.push(format!("{bytes} bytes of audio in {}\n", file.path()));
        }
        if let Some(pipe) = &self.pipe {
            pipe.finish().await?;
        }
        Ok(lines)
    }
}
