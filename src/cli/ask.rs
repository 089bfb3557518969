//! `dashgate ask`: one question and its answer, or a conversation.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dashgate_client::v1 as pb;

use crate::chat::sniffing::Modality;
use crate::config::{self, Client, Flags, ProcessEnvironment};

use super::attach::Attachment;
use super::conversations;
use super::error::Failure;
use super::exchange::{self, Manner};
use super::exit::Exit;
use super::file_arguments;
use super::gateway::Gateway;
use super::gateway_flags::{Choices, timeout};
use super::interactive;
use super::option;
use super::signals::Signals;
use super::speech;
use super::terminal::Terminal;
use super::usage_line;

/// The longest question read from stdin, far above every model's limit.
const MAX_QUESTION_BYTES: u64 = 1 << 20;

/// Text below the help of `ask`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate ask --audio talk.wav \"What is said in this audio?\"
  dashgate ask --image https://example.com/cat.png --image dog.png \"Which one is older?\"
  dashgate ask --json \"Say hello\" | jq -r .text
  dashgate ask --option temperature=0.2 --option max_tokens=100 \"Say hello\"
  dashgate ask -m qwen3-tts-flash --voice Cherry -o hi.wav \"Say hello\"
  ffmpeg -i talk.mkv -f wav - | dashgate ask --audio -
  dashgate ask < question.txt
  dashgate ask --conversation birds \"What is a wren?\"    a conversation that the gateway stores
  dashgate ask                     a conversation; /help lists its commands

The message has audio, then images, then videos, then the question. Files are sent as bytes, and
uploaded if they are too large for a message; - is stdin. URLs are fetched by DashScope.

Without --server, the gateway runs in this process; without a DashScope key, the embedded emulator
answers. Text goes to stdout; reasoning, usage and errors go to stderr. With --json, stdout has one
JSON object, on errors {\"error\": {...}}.";

/// Arguments of `ask`.
#[derive(Args, Debug, Default)]
pub(crate) struct Arguments {
    /// An audio file or URL; may be repeated
    #[arg(long, value_name = "FILE|URL")]
    audio: Vec<String>,
    /// An image file or URL; may be repeated
    #[arg(long, value_name = "FILE|URL")]
    image: Vec<String>,
    /// A video file or URL; may be repeated
    #[arg(long, value_name = "FILE|URL")]
    video: Vec<String>,
    /// The model [default: by attachment, see `client.default_models` in the settings]
    /// [env: DASHGATE_MODEL]
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// The stored conversation to continue, by its id; created if it does not exist. The gateway
    /// needs a store: `store.url`
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// The system instructions
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,
    /// The gateway: host:port, http://host:port, https://host:port or unix:/path. Its key is
    /// DASHGATE_API_KEY [default: a gateway in this process] [env: DASHGATE_ADDR]
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// The root certificates for https, as a PEM file [default: the system's]
    /// [env: DASHGATE_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Wait for the complete answer instead of streaming it
    #[arg(long)]
    no_stream: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// The deadline of the call, for example 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Enable the reasoning of the model
    #[arg(long)]
    thinking: bool,
    /// An option by its path in the schema, for example temperature=0.2 or
    /// asr_options.language=zh; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    option: Vec<String>,
    /// The voice of the answer, for example Cherry
    #[arg(long, value_name = "VOICE")]
    voice: Option<String>,
    /// Write the audio of the answer to this file: WAV, or raw samples if the name ends in .pcm
    #[arg(short, long, value_name = "FILE", conflicts_with = "no_stream")]
    output: Option<PathBuf>,
    #[command(flatten)]
    choices: Choices,
    /// The question [default: a conversation on a terminal, otherwise stdin]
    question: Vec<String>,
}

/// Runs the command. With `--json`, a failure is also an object on stdout.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let json = arguments.json;
    match start(arguments, terminal).await {
        Err(failure) if json && failure.exit() != Exit::Done => {
            let exit = failure.exit();
            terminal.answer(&format!("{}\n", failure.json()))?;
            Ok(exit)
        }
        done => done,
    }
}

async fn start(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let flags = flags(&arguments);
    let client = config::load_client(&flags, &ProcessEnvironment)?;
    file_arguments::refuse_files(&arguments.question, &given(&arguments))?;
    let options = options(&arguments)?;
    let attached = attached(&arguments)?;
    let question = question(&arguments, !attached.is_empty()).await?;
    let mut signals = Signals::of_command()
        .map_err(|error| Failure::usage(format!("cannot listen for signals: {error}")))?;
    let opened = tokio::select! {
        opened = Gateway::open(&flags, &client, arguments.timeout) => opened,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    let gateway = opened?;
    gateway.announce_emulator(terminal);
    let manner = Manner {
        timeout: arguments.timeout,
        whole: arguments.no_stream,
        options,
        shown: !arguments.json,
    };
    let done = match question {
        Some(text) => {
            let asking = Box::pin(once(
                &gateway, &arguments, &client, &attached, &text, &manner, terminal,
            ));
            tokio::select! {
                done = asking => done,
                _ = signals.next() => Err(Failure::cancelled()),
            }
        }
        None => {
            let opening = interactive::Opening {
                model: client.model.clone(),
                system: arguments.system.clone(),
                attached,
                manner,
                default_models: client.default_models.clone(),
                history: client.history.clone(),
            };
            interactive::run(&gateway, opening, &mut signals, terminal).await
        }
    };
    gateway.stop().await;
    done
}

fn flags(arguments: &Arguments) -> Flags {
    let mut flags = arguments
        .choices
        .flags()
        .with("--server", "client.server", arguments.server.as_deref())
        .with("--tls-ca", "client.tls.ca", arguments.tls_ca.as_deref())
        .with("--model", "client.model", arguments.model.as_deref())
        // The gateway of this process is private, whatever the settings say.
        .with("ask", "server.listen", Some("127.0.0.1:0"));
    // Failures are part of the output; the log would repeat them.
    flags.defaults.push(("log.level", "off"));
    // DashScope's message may only repeat this user's own content.
    flags.defaults.push(("upstream.show_messages", "true"));
    flags
}

/// The attachments as given.
fn given(arguments: &Arguments) -> Vec<(Modality, String)> {
    let of = |modality, list: &[String]| -> Vec<_> {
        list.iter().map(|text| (modality, text.clone())).collect()
    };
    let mut all = of(Modality::Audio, &arguments.audio);
    all.extend(of(Modality::Image, &arguments.image));
    all.extend(of(Modality::Video, &arguments.video));
    all
}

/// The generation options.
fn options(arguments: &Arguments) -> Result<pb::GenerationOptions, Failure> {
    let mut options = pb::GenerationOptions::default();
    if arguments.thinking {
        options.thinking.get_or_insert_default().enabled = Some(true);
    }
    for text in &arguments.option {
        option::set(&mut options, text).map_err(Failure::usage)?;
    }
    Ok(options)
}

/// Requests audio output: text-to-speech models speak the text, other models answer with audio
/// beside text.
fn speaking(options: &mut pb::GenerationOptions, arguments: &Arguments, model: &str) {
    if model.contains("tts") {
        let speech = options.speech.get_or_insert_default();
        if speech.voice.is_none() {
            speech.voice.clone_from(&arguments.voice);
        }
    } else if arguments.output.is_some() || arguments.voice.is_some() {
        if options.modalities.is_empty() {
            options.modalities = vec!["text".to_owned(), "audio".to_owned()];
        }
        if let Some(voice) = &arguments.voice {
            options.audio.get_or_insert_default().voice = Some(voice.clone());
        }
    }
}

fn attached(arguments: &Arguments) -> Result<Vec<Attachment>, Failure> {
    let given = given(arguments);
    if given.iter().filter(|(_, text)| text == "-").count() > 1 {
        return Err(Failure::usage("stdin can be attached once"));
    }
    given
        .iter()
        .map(|(modality, text)| Attachment::open(*modality, text))
        .collect()
}

/// The question, from the arguments or stdin; `None` starts a conversation.
async fn question(arguments: &Arguments, attached: bool) -> Result<Option<String>, Failure> {
    if !arguments.question.is_empty() {
        return Ok(Some(arguments.question.join(" ")));
    }
    if given(arguments).iter().any(|(_, text)| text == "-") {
        // Stdin is the medium, so there is no question.
        return Ok(Some(String::new()));
    }
    if arguments.conversation.is_some() && io::stdin().is_terminal() {
        return Err(Failure::usage("--conversation needs a question")
            .with_advice("dashgate ask --conversation birds \"What is a wren?\""));
    }
    if arguments.output.is_some() && io::stdin().is_terminal() {
        return Err(Failure::usage("-o needs a question")
            .with_advice("dashgate ask -m qwen3-tts-flash --voice Cherry -o hi.wav \"Hello\""));
    }
    if io::stdin().is_terminal() {
        return match arguments.json {
            true => Err(Failure::usage("--json needs a question")
                .with_advice("dashgate ask --json \"Say hello\"")),
            false => Ok(None),
        };
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        let limit = MAX_QUESTION_BYTES + 1;
        io::stdin().lock().take(limit).read_to_string(&mut text)?;
        Ok(text)
    });
    let read = read
        .await
        .unwrap_or_else(|_| Err(io::Error::other("reading failed")));
    let text = read
        .map_err(|error| Failure::usage(format!("cannot read the question from stdin: {error}")))?;
    if text.len() as u64 > MAX_QUESTION_BYTES {
        return Err(Failure::usage("the question on stdin is longer than 1 MiB"));
    }
    let text = text.trim_end();
    if text.is_empty() && !attached {
        return Err(
            Failure::usage("there is no question").with_advice("dashgate ask \"What can you do?\"")
        );
    }
    Ok(Some(text.to_owned()))
}

async fn once(
    gateway: &Gateway,
    arguments: &Arguments,
    client: &Client,
    attached: &[Attachment],
    text: &str,
    manner: &Manner,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let fitting = exchange::model_for(&client.default_models, &[], attached, text);
    let model = client.model.as_deref().unwrap_or(fitting).to_owned();
    let mut manner = manner.clone();
    speaking(&mut manner.options, arguments, &model);
    let manner = &manner;
    let recording = match &arguments.output {
        Some(path) => {
            let format = manner.options.audio.as_ref();
            let format = format.and_then(|audio| audio.format.as_deref());
            Some(speech::Recording::open(path, format).await?)
        }
        None => None,
    };
    let mut conversation = pb::Conversation {
        model,
        messages: exchange::system(arguments.system.as_deref())
            .into_iter()
            .collect(),
        ..pb::Conversation::default()
    };
    if let Some(id) = &arguments.conversation {
        let has_model = client.model.is_some() || !attached.is_empty();
        let stored = conversations::opened(gateway, id, &conversation.model).await?;
        conversation.name = stored.name;
        if !has_model && !stored.model.is_empty() {
            // That of the conversation.
            conversation.model = stored.model;
        }
    }
    let turn = exchange::turn(gateway, &conversation, attached, text, manner, terminal).await?;
    conversation.messages.push(turn);
    let asked = conversation.model.clone();
    let answer = exchange::ask(gateway, conversation, manner, terminal).await;
    let answer = answer.map_err(|failure| exchange::advised(failure, &asked, fitting))?;
    let saved = match recording {
        Some(recording) => recording.save(&answer).await.map(Some),
        None => Ok(None),
    };
    if let (Ok(Some((bytes, odd))), Some(path)) = (&saved, &arguments.output) {
        terminal.aside(&format!("{bytes} bytes of audio in {}\n", path.display()));
        odd.iter().for_each(|line| terminal.note(line));
    }
    if manner.shown {
        return saved.map(|_| Exit::Done);
    }
    // The answer was billed, so it is printed together with the later failure.
    let failure = saved.as_ref().err();
    terminal.answer(&format!("{}\n", usage_line::json(&answer, failure)))?;
    Ok(failure.map_or(Exit::Done, Failure::exit))
}
