//! Files for audio that is written while it arrives.

use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::error::Failure;
use super::wave_header;

/// What a file contains besides the audio as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Nothing.
    None,
    /// The header of a WAVE file.
    Wave,
}

/// Opens a file and keeps its content. Also returns whether the file was created.
pub(crate) async fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut fresh = OpenOptions::new();
    match fresh.write(true).create_new(true).open(path).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut old = OpenOptions::new();
            old.write(true).create(true).truncate(false);
            Ok((old.open(path).await?, false))
        }
        opened => Ok((opened?, true)),
    }
}

/// A file that receives audio. It is opened before the call, which is billed; its old content is
/// kept until audio arrives, and a file that was created for it is removed if none does.
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    container: Container,
    made: bool,
    /// The bytes of audio so far.
    bytes: usize,
}

impl OutputFile {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) async fn open(path: &Path, container: Container) -> Result<Self, Failure> {
        let opened = open(path).await;
        let (file, made) = opened
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            container,
            made,
            bytes: 0,
        })
    }

    /// Appends audio of this sample rate.
    pub(crate) async fn write(&mut self, audio: &[u8], rate: u32) -> Result<(), Failure> {
        let written = self.append(audio, rate).await;
        written.map_err(|error| self.unwritten(&error))
    }

    async fn append(&mut self, audio: &[u8], rate: u32) -> io::Result<()> {
        if self.bytes == 0 {
            // A pipe or a device cannot be truncated.
            if self.file.metadata().await?.is_file() {
                self.file.set_len(0).await?;
            }
            if self.container == Container::Wave {
                let header = wave_header::bytes(rate, wave_header::UNKNOWN);
                self.file.write_all(&header).await?;
            }
        }
        self.file.write_all(audio).await?;
        self.bytes = self.bytes.saturating_add(audio.len());
        Ok(())
    }

    /// Ends the file. Returns the number of bytes of audio.
    ///
    /// # Errors
    ///
    /// If there was no audio, or it cannot be written.
    pub(crate) async fn finish(&mut self, rate: u32) -> Result<usize, Failure> {
        if self.bytes == 0 {
            let message = format!("no audio was received: {} was not written", self.path());
            return Err(Failure::failed("NO_AUDIO", message));
        }
        let ended = self.end(rate).await;
        ended.map_err(|error| self.unwritten(&error))?;
        Ok(self.bytes)
    }

    async fn end(&mut self, rate: u32) -> io::Result<()> {
        if self.container == Container::Wave && self.file.metadata().await?.is_file() {
            self.file.seek(SeekFrom::Start(0)).await?;
            let header = wave_header::bytes(rate, self.bytes);
            self.file.write_all(&header).await?;
        }
        self.file.flush().await
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        Failure::failed("OUTPUT", format!("cannot write {}: {error}", self.path()))
    }

    /// The path as text.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.made && self.bytes == 0 {
            // An empty file that remains does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_has_its_header_after_its_audio_and_is_removed_without_any() {
        let folder = std::env::temp_dir().join(format!("dashgate-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("live.wav");
        std::fs::write(&path, [9; 500]).unwrap();
        let mut file = OutputFile::open(&path, Container::Wave).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 500);
        for _ in 0..3 {
            file.write(&[1, 2, 3, 4], 16_000).await.unwrap();
        }
        assert_eq!(file.finish(16_000).await.unwrap(), 12);
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written[..44], wave_header::bytes(16_000, 12));
        assert_eq!(written.len(), 56);
        let path = folder.join("none.pcm");
        let mut file = OutputFile::open(&path, Container::None).await.unwrap();
        assert!(path.exists());
        let failure = file.finish(16_000).await.unwrap_err();
        assert!(failure.text().contains("no audio was received"));
        drop(file);
        assert!(!path.exists());
    }
}
