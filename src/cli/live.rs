//! `dashgate live`: a conversation by voice with a realtime model.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use dashgate_client::LiveSender;
use dashgate_client::v1 as pb;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{self, ProcessEnvironment};

use super::audio_pipe::AudioPipe;
use super::audio_sinks::AudioSinks;
use super::audio_source::AudioSource;
use super::conversations;
use super::dialogue::{Dialogue, Place};
use super::error::Failure;
use super::exit::Exit;
use super::gateway::Gateway;
use super::gateway_flags::Remote;
use super::live_json::EventJson;
use super::live_run::{self, Sending};
use super::live_view::LiveView;
use super::output_file::{Container, OutputFile};
use super::signals::Signals;
use super::terminal::Terminal;

/// The number of pieces of audio per second: 100 ms each.
const PIECES_PER_SECOND: u32 = 10;

/// The bytes of a sample.
const SAMPLE_BYTES: u32 = 2;

/// Text below the help of `live`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate live --audio question.wav
  dashgate live --audio question.wav --save answer.wav
  dashgate live --audio talk.wav --realtime --instructions \"Answer in one sentence.\"
  dashgate live --audio question.wav --conversation birds    a conversation that the gateway stores
  dashgate live --audio question.wav --json | jq -r '.input_transcript.text // empty'

A microphone and a loudspeaker, on Linux and on macOS:
  arecord -f S16_LE -r 16000 -c 1 -t raw | dashgate live --audio - --output - |
    aplay -f S16_LE -r 24000 -c 1
  ffmpeg -f avfoundation -i :0 -ac 1 -ar 16000 -f s16le - | dashgate live --audio - --output - |
    ffplay -f s16le -ar 24000 -nodisp -
  dashgate live --audio <(arecord -f S16_LE -r 16000 -c 1 -t raw) --save answer.wav

The audio is a WAVE file of 16 bits per sample, or raw 16-bit samples in one channel, at 16000 Hz
unless --rate names another rate; a file of them is named .pcm or .raw, or needs --rate. Channels
are mixed. Convert other files with ffmpeg:
  ffmpeg -i talk.mp3 -ac 1 -ar 16000 -f wav - | dashgate live --audio -

A file is sent as fast as the gateway takes it; a second question in it then interrupts the answer
to the first one. With --realtime it is sent as a microphone would send it. A pipe is sent as it
comes. The model answers when the speaker pauses, or with --manual at the end of the audio.

Both transcripts go to stdout, on stderr if stdout has the audio. When the user speaks, audio that
the player has not received is discarded. Ctrl-C ends the input, and the answer completes; a second
Ctrl-C stops at once. A session whose connection breaks is resumed.

Without --server, the gateway runs in this process; without a DashScope key, the embedded emulator
answers. With --json, stdout has one JSON object per event with the field names of
dashgate.v1.ConverseLiveResponse, and on errors {\"error\": {...}}.";

/// Arguments of `live`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The audio to send: a WAVE file, raw 16-bit samples, a named pipe, or - for stdin
    #[arg(long, value_name = "FILE|-")]
    audio: String,
    /// Write the audio of the answers to this file, as WAVE
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    save: Option<PathBuf>,
    /// Write the audio of the answers to this file, or - for stdout, as raw 16-bit samples
    #[arg(short, long, value_name = "FILE|-", conflicts_with = "text")]
    output: Option<PathBuf>,
    /// Answer with text, without audio
    #[arg(long)]
    text: bool,
    /// The voice of the answers, for example Cherry [default: the model's]
    #[arg(long, value_name = "VOICE")]
    voice: Option<String>,
    /// The model [default: `client.default_models.live` in the settings]
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT")]
    instructions: Option<String>,
    /// The stored conversation to continue, by its id; created if it does not exist. The gateway
    /// needs a store: `store.url`
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Answer at the end of the audio, not when the speaker pauses
    #[arg(long)]
    manual: bool,
    /// Send a file at the speed of a microphone, 100 ms each 100 ms
    #[arg(long)]
    realtime: bool,
    /// The sample rate of raw samples [default: 16000]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=48_000))]
    rate: Option<u32>,
    /// Print one JSON object per event instead of text
    #[arg(long)]
    json: bool,
    /// Include audio in the JSON objects, as base64
    #[arg(long, requires = "json")]
    json_audio: bool,
    /// Do not transcribe the audio that is sent
    #[arg(long)]
    no_transcript: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the command. With `--json`, a failure is also an object on stdout.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match start(&arguments, terminal).await {
        Err(failure) if arguments.json && failure.exit() != Exit::Done => {
            let exit = failure.exit();
            terminal.answer(&format!("{}\n", failure.json()))?;
            Ok(exit)
        }
        done => done,
    }
}

async fn start(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let flags = arguments.remote.flags("live");
    let client = config::load_client(&flags, &ProcessEnvironment)?;
    check_stdout(arguments, terminal)?;
    let mut signals = Signals::of_command()
        .map_err(|error| Failure::usage(format!("cannot listen for signals: {error}")))?;
    let source = tokio::select! {
        source = AudioSource::open(&arguments.audio, arguments.rate) => source?,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let sinks = sinks(arguments).await?;
    let opened = tokio::select! {
        opened = Gateway::open(&flags, &client, arguments.remote.timeout) => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let gateway = opened?;
    gateway.announce_emulator(terminal);
    let model = arguments.model.as_ref();
    let model = model.unwrap_or(&client.default_models.live);
    let setup = setup(arguments, model, source.rate);
    let done = match continued(&gateway, arguments, setup).await {
        Ok(setup) => {
            let with = (setup, source, sinks);
            let talking = talk(&gateway, arguments, with, &mut signals, terminal);
            Box::pin(talking).await
        }
        Err(failure) => Err(failure),
    };
    gateway.stop().await;
    done
}

/// Stdout has either text or audio.
fn check_stdout(arguments: &Arguments, terminal: &Terminal) -> Result<(), Failure> {
    if !is_stdout(arguments.output.as_deref()) {
        return Ok(());
    }
    if arguments.json {
        let message = "--json and --output - both write to stdout";
        return Err(Failure::usage(message).with_advice("--output FILE, or --json-audio"));
    }
    if terminal.shows_answers() {
        let message = "--output - writes raw audio to stdout, a terminal here";
        return Err(Failure::usage(message)
            .with_advice("--output - | aplay -f S16_LE -r 24000 -c 1")
            .with_advice("--save answer.wav"));
    }
    Ok(())
}

fn is_stdout(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path == "-")
}

async fn sinks(arguments: &Arguments) -> Result<AudioSinks, Failure> {
    let mut files = Vec::new();
    if let Some(path) = &arguments.save {
        let end = path.extension().unwrap_or_default().to_ascii_lowercase();
        if end != "wav" && end != "wave" && !end.is_empty() {
            let message = format!("{}: --save writes WAVE files", path.display());
            let advice = format!("--save {}", path.with_extension("wav").display());
            return Err(Failure::usage(message).with_advice(advice));
        }
        files.push(OutputFile::open(path, Container::Wave).await?);
    }
    let is_stdout = is_stdout(arguments.output.as_deref());
    if let Some(path) = arguments.output.as_ref().filter(|_| !is_stdout) {
        files.push(OutputFile::open(path, Container::None).await?);
    }
    let pipe = match is_stdout {
        true => Some(AudioPipe::start(Terminal::bytes())?),
        false => None,
    };
    Ok(AudioSinks::new(files, pipe))
}

fn setup(arguments: &Arguments, model: &str, rate: u32) -> pb::LiveSetup {
    let manual = pb::TurnDetection {
        kind: Some(pb::turn_detection::Kind::Manual(pb::ManualTurns {})),
    };
    let disabled = pb::InputTranscription {
        disabled: true,
        ..pb::InputTranscription::default()
    };
    pb::LiveSetup {
        model: model.to_owned(),
        instructions: arguments.instructions.clone().unwrap_or_default(),
        modalities: match arguments.text {
            true => vec!["text".to_owned()],
            false => Vec::new(),
        },
        voice: arguments.voice.clone().unwrap_or_default(),
        input_audio: Some(pb::AudioFormat {
            encoding: pb::AudioEncoding::Pcm.into(),
            sample_rate_hz: i32::try_from(rate).unwrap_or(i32::MAX),
        }),
        turn_detection: arguments.manual.then_some(manual),
        input_transcription: arguments.no_transcript.then_some(disabled),
        continue_after_limit: true,
        ..pb::LiveSetup::default()
    }
}

/// The setup with the stored conversation, which is created if there is none.
async fn continued(
    gateway: &Gateway,
    arguments: &Arguments,
    mut setup: pb::LiveSetup,
) -> Result<pb::LiveSetup, Failure> {
    if let Some(id) = &arguments.conversation {
        // Without a model: other calls need one of another kind.
        let stored = conversations::opened(gateway, id, "").await?;
        setup.conversation = Some(pb::LiveConversation {
            name: stored.name,
            ..pb::LiveConversation::default()
        });
    }
    Ok(setup)
}

async fn talk(
    gateway: &Gateway,
    arguments: &Arguments,
    (setup, source, sinks): (pb::LiveSetup, AudioSource, AudioSinks),
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let rate = source.rate;
    let mut opening = gateway.client.live(setup);
    if let Some(timeout) = arguments.remote.timeout {
        opening = opening.timeout(timeout);
    }
    let opened = tokio::select! {
        opened = opening.into_future() => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => return Err(advised(gateway.explained(error.into()).await, rate)),
    };
    let input = AudioInput {
        is_realtime: arguments.realtime,
        is_manual: arguments.manual,
        sender: session.sender(),
    };
    let sending = Sending::start(|stopped| input.send(source, stopped));
    let place = match is_stdout(arguments.output.as_deref()) {
        true => Place::Stderr,
        false => Place::Stdout,
    };
    let json = arguments.json.then(|| EventJson::new(arguments.json_audio));
    let mut view = LiveView::new(Dialogue::new(place), json, !arguments.no_transcript, sinks);
    let running = live_run::run(&mut session, &mut view, (sending, signals), terminal);
    let done = Box::pin(running).await;
    let done = match done {
        Ok(()) => Ok(()),
        Err(failure) => Err(advised(gateway.explained(failure).await, rate)),
    };
    let ended = view.end(done.is_ok(), terminal);
    done?;
    ended?;
    match view.summary.has_failed {
        true => Ok(Exit::Failed),
        false => Ok(Exit::Done),
    }
}

/// Adds how to convert audio of a rate that the model does not take.
fn advised(failure: Failure, rate: u32) -> Failure {
    let is_format = |field: &str| field.starts_with("setup.input_audio");
    match failure.fields.iter().any(|one| is_format(&one.field)) {
        true => failure.with_advice(format!(
            "convert from {rate} Hz: ffmpeg -i FILE -ac 1 -ar 16000 -f wav - | dashgate live \
             --audio -"
        )),
        false => failure,
    }
}

/// Sends audio.
struct AudioInput {
    is_realtime: bool,
    is_manual: bool,
    sender: LiveSender,
}

impl AudioInput {
    /// Sends audio until its end, or until it is stopped, and ends the input.
    async fn send(
        self,
        mut source: AudioSource,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        tokio::select! {
            sent = self.audio(&mut source) => sent?,
            _ = stop.changed() => {}
        }
        // A session that has ended says why.
        if self.is_manual && self.sender.commit().await.is_ok() {
            let _ = self.sender.create_response("", []).await;
        }
        self.sender.finish();
        Ok(())
    }

    /// Sends audio to its end, or to that of the session.
    async fn audio(&self, source: &mut AudioSource) -> Result<(), Failure> {
        let bytes_per_second = source.rate * SAMPLE_BYTES;
        let piece = usize::try_from(bytes_per_second / PIECES_PER_SECOND).unwrap_or(usize::MAX);
        let begun = Instant::now();
        let mut sent = 0_u64;
        while let Some(audio) = source.next(piece).await? {
            if self.is_realtime {
                let played = sent.saturating_mul(1_000) / u64::from(bytes_per_second);
                tokio::time::sleep_until(begun + Duration::from_millis(played)).await;
            }
            sent = sent.saturating_add(audio.len() as u64);
            if self.sender.send_audio(audio).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
