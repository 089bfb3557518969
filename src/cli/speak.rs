//! `dashgate speak`: speech from text, while the text is written.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use clap::{Args, ValueEnum};
use dashgate_client::SpeechSender;
use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;
use dashgate_client::v1::response_delta::Part;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::config::{self, ProcessEnvironment};

use super::audio_pipe::AudioPipe;
use super::audio_sinks::AudioSinks;
use super::error::Failure;
use super::exit::Exit;
use super::gateway::Gateway;
use super::gateway_flags::Remote;
use super::live_run::{self, EventReceiver, Sending};
use super::live_summary::{self, Summary};
use super::output_file::{Container, OutputFile};
use super::signals::Signals;
use super::stdin;
use super::terminal::Terminal;
use super::wave_header;

/// The most bytes of text that are sent at once.
const PIECE_BYTES: usize = 4 << 10;

/// Text below the help of `speak`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate speak -o hi.wav \"Hello, how are you?\"
  dashgate speak -o hi.mp3 --voice Ethan \"Hello\"
  dashgate speak -o - \"Hello\" | aplay
  dashgate ask \"Write a story\" | dashgate speak -o - - | ffplay -nodisp -autoexit -

The text is the argument, or stdin for -, which is spoken while it is written: line by line from a
terminal, in the pieces in which it comes from a pipe.

The format follows from the name of the file: .wav, .pcm or .raw, .mp3, .opus. Stdout is WAVE unless
--format names another one. Raw samples have 16 bits and one channel.

Ctrl-C ends the text, and what was sent is spoken; a second Ctrl-C stops at once. Without --server,
the gateway runs in this process; without a DashScope key, the embedded emulator answers, which has
neither MP3 nor Opus.";

/// A format of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Raw 16-bit samples
    Pcm,
    /// WAVE
    Wav,
    /// MP3
    Mp3,
    /// Opus
    Opus,
}

/// Arguments of `speak`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Write the audio to this file, or - for stdout
    #[arg(short, long, value_name = "FILE|-")]
    output: PathBuf,
    /// The voice
    #[arg(long, value_name = "VOICE", default_value = "Cherry")]
    voice: String,
    /// The model [default: `client.default_models.speech` in the settings]
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// The format [default: by the name of the file, otherwise wav]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The sample rate [default: the model's]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=48_000))]
    rate: Option<u32>,
    #[command(flatten)]
    remote: Remote,
    /// The text, or - for stdin
    #[arg(required = true)]
    text: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let flags = arguments.remote.flags("speak");
    let client = config::load_client(&flags, &ProcessEnvironment)?;
    let format = format(&arguments)?;
    let text = text(&arguments)?;
    let mut signals = Signals::of_command()
        .map_err(|error| Failure::usage(format!("cannot listen for signals: {error}")))?;
    let sinks = sinks(&arguments, format, terminal).await?;
    let opened = tokio::select! {
        opened = Gateway::open(&flags, &client, arguments.remote.timeout) => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let gateway = opened?;
    gateway.announce_emulator(terminal);
    let model = arguments.model.as_ref();
    let setup = setup(
        &arguments,
        format,
        model.unwrap_or(&client.default_models.speech),
    );
    let speaking = speak(
        &gateway,
        &arguments,
        (setup, text, sinks),
        &mut signals,
        terminal,
    );
    let done = Box::pin(speaking).await;
    gateway.stop().await;
    done
}

/// The format by the flag, or by the name of the file.
fn format(arguments: &Arguments) -> Result<Format, Failure> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    let path = &arguments.output;
    let end = path.extension().unwrap_or_default().to_ascii_lowercase();
    match end.to_str() {
        Some("" | "wav" | "wave") => Ok(Format::Wav),
        Some("pcm" | "raw") => Ok(Format::Pcm),
        Some("mp3") => Ok(Format::Mp3),
        Some("opus" | "ogg") => Ok(Format::Opus),
        Some(_) | None => {
            let message = format!("{}: the format is not known by the name", path.display());
            Err(Failure::usage(message).with_advice("--format wav, pcm, mp3 or opus"))
        }
    }
}

/// The text; `None` is stdin.
fn text(arguments: &Arguments) -> Result<Option<String>, Failure> {
    let text = arguments.text.join(" ");
    if text == "-" {
        return Ok(None);
    }
    match text.trim().is_empty() {
        true => {
            Err(Failure::usage("there is no text")
                .with_advice("dashgate speak -o hi.wav \"Hello\""))
        }
        false => Ok(Some(text)),
    }
}

fn is_stdout(path: &Path) -> bool {
    path == "-"
}

async fn sinks(
    arguments: &Arguments,
    format: Format,
    terminal: &Terminal,
) -> Result<AudioSinks, Failure> {
    if is_stdout(&arguments.output) {
        if terminal.shows_answers() {
            let message = "-o - writes audio to stdout, a terminal here";
            return Err(Failure::usage(message).with_advice("-o - | aplay"));
        }
        let pipe = AudioPipe::start(Terminal::bytes())?;
        return Ok(AudioSinks::new(Vec::new(), Some(pipe)));
    }
    let container = match format {
        Format::Wav => Container::Wave,
        Format::Pcm | Format::Mp3 | Format::Opus => Container::None,
    };
    let file = OutputFile::open(&arguments.output, container).await?;
    Ok(AudioSinks::new(vec![file], None))
}

fn setup(arguments: &Arguments, format: Format, model: &str) -> pb::SynthesisSetup {
    // The header of a WAVE file is written here, where the length is known.
    let encoding = match format {
        Format::Pcm | Format::Wav => pb::AudioEncoding::Pcm,
        Format::Mp3 => pb::AudioEncoding::Mp3,
        Format::Opus => pb::AudioEncoding::Opus,
    };
    pb::SynthesisSetup {
        model: model.to_owned(),
        voice: arguments.voice.clone(),
        output_audio: Some(pb::AudioFormat {
            encoding: encoding.into(),
            sample_rate_hz: arguments
                .rate
                .and_then(|rate| i32::try_from(rate).ok())
                .unwrap_or_default(),
        }),
        ..pb::SynthesisSetup::default()
    }
}

async fn speak(
    gateway: &Gateway,
    arguments: &Arguments,
    (setup, text, sinks): (pb::SynthesisSetup, Option<String>, AudioSinks),
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let is_raw = setup.output_audio.as_ref().map(pb::AudioFormat::encoding);
    let is_raw = is_raw == Some(pb::AudioEncoding::Pcm);
    let mut opening = gateway.client.speak(setup);
    if let Some(timeout) = arguments.remote.timeout {
        opening = opening.timeout(timeout);
    }
    let opened = tokio::select! {
        opened = opening.into_future() => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => return Err(gateway.explained(error.into()).await),
    };
    let sender = session.sender();
    let sending = Sending::start(|stopped| send(text, stopped, sender));
    let wants_header = is_raw && arguments.format != Some(Format::Pcm);
    let mut progress = Progress {
        needs_header: wants_header && is_stdout(&arguments.output),
        is_raw,
        sinks,
        summary: Summary::default(),
    };
    let running = live_run::run(&mut session, &mut progress, (sending, signals), terminal);
    let done = Box::pin(running).await;
    terminal.progress("");
    if let Err(failure) = done {
        return Err(gateway.explained(failure).await);
    }
    terminal.aside(&format!("{}\n", progress.summary.line()));
    match progress.summary.has_failed {
        true => Ok(Exit::Failed),
        false => Ok(Exit::Done),
    }
}

/// Sends the text, or stdin while it is written, and ends the input.
async fn send(
    text: Option<String>,
    mut stop: watch::Receiver<bool>,
    sender: SpeechSender,
) -> Result<(), Failure> {
    let sending = async {
        match text {
            Some(text) => {
                send_whole(&text, &sender).await;
                Ok(())
            }
            None => send_stdin(&sender).await,
        }
    };
    tokio::select! {
        sent = sending => sent?,
        _ = stop.changed() => {}
    }
    sender.finish();
    Ok(())
}

/// Sends a text. `false`: the session has ended, and says why.
async fn send_whole(mut text: &str, sender: &SpeechSender) -> bool {
    while !text.is_empty() {
        let mut end = text.len().min(PIECE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        if sender.send_text(piece).await.is_err() {
            return false;
        }
        text = rest;
    }
    true
}

async fn send_stdin(sender: &SpeechSender) -> Result<(), Failure> {
    let unreadable = |error| Failure::usage(format!("cannot read the text from stdin: {error}"));
    let mut stdin = stdin::open().map_err(unreadable)?;
    let mut read = BytesMut::with_capacity(PIECE_BYTES);
    let mut is_empty = true;
    loop {
        read.reserve(PIECE_BYTES);
        let count = stdin.read_buf(&mut read).await;
        let count = count.map_err(unreadable)?;
        let text = whole_letters(&mut read, count == 0)?;
        is_empty &= text.trim().is_empty();
        if !send_whole(&text, sender).await {
            return Ok(());
        }
        if count == 0 {
            return match is_empty {
                true => Err(Failure::usage("there is no text on stdin")),
                false => Ok(()),
            };
        }
    }
}

/// Takes the text that has been read, without the first bytes of a letter whose rest has not.
fn whole_letters(read: &mut BytesMut, is_end: bool) -> Result<String, Failure> {
    let valid = match std::str::from_utf8(read) {
        Ok(text) => text.len(),
        Err(error) if error.error_len().is_none() && !is_end => error.valid_up_to(),
        Err(_) => return Err(Failure::usage("the text on stdin is not UTF-8")),
    };
    let bytes = read.split_to(valid);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the audio, and shows how much there is.
struct Progress {
    /// Whether the header of a WAVE file precedes the audio on stdout.
    needs_header: bool,
    /// Whether the audio has a known number of bytes per second.
    is_raw: bool,
    sinks: AudioSinks,
    summary: Summary,
}

impl EventReceiver for Progress {
    async fn take(
        &mut self,
        response: &pb::ConverseLiveResponse,
        terminal: &mut Terminal,
    ) -> Result<(), Failure> {
        let Some(event) = &response.event else {
            return Ok(());
        };
        self.summary.take(event);
        if let Event::SessionStarted(started) = event {
            self.sinks.start(started);
        } else if let Event::SessionWarning(warning) = event {
            self.note(&live_summary::warning(warning), terminal)?;
        } else if let Event::SessionEnding(ending) = event {
            self.note(&live_summary::ending(ending), terminal)?;
        } else if let Event::ResponseDelta(delta) = event
            && let Some(Part::Audio(audio)) = &delta.part
        {
            if std::mem::take(&mut self.needs_header) {
                let header = wave_header::bytes(self.sinks.rate(), wave_header::UNKNOWN);
                self.sinks.write(&header.into()).await?;
            }
            self.sinks.write(audio).await?;
            if terminal.is_watched() {
                terminal.progress(&self.line());
            }
        }
        Ok(())
    }

    fn note(&mut self, text: &str, terminal: &mut Terminal) -> Result<(), Failure> {
        terminal.progress("");
        terminal.note(text);
        Ok(())
    }

    fn sinks(&mut self) -> &mut AudioSinks {
        &mut self.sinks
    }
}

impl Progress {
    fn line(&self) -> String {
        let bytes = self.sinks.bytes;
        match self.is_raw {
            true => {
                let seconds = bytes as f64 / f64::from(self.sinks.rate().saturating_mul(2));
                format!("{seconds:.1} s of audio")
            }
            false => format!("{bytes} bytes of audio"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_sent_when_all_of_it_was_read() {
        let mut read = BytesMut::from(&"a\u{4f60}".as_bytes()[..3]);
        assert_eq!(whole_letters(&mut read, false).unwrap(), "a");
        read.extend(&"\u{4f60}".as_bytes()[2..]);
        assert_eq!(whole_letters(&mut read, false).unwrap(), "\u{4f60}");
        assert_eq!(whole_letters(&mut read, true).unwrap(), "");
        read.extend(&[0xe4]);
        assert!(whole_letters(&mut read, true).is_err());
        read.clear();
        read.extend(&[0xff, b'a']);
        assert!(whole_letters(&mut read, false).is_err());
    }
}
