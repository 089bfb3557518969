//! A conversation of many turns on a terminal.

use crate::grpc::pb;

use super::answer::Answer;
use super::attach::{Attachment, Modality};
use super::exchange::{self, Manner};
use super::exit::Exit;
use super::failure::Failure;
use super::gateway::Gateway;
use super::lines::{Keyboard, Line, Lines};
use super::signals::{Signal, Signals};
use super::slash::{self, Slash};
use super::terminal::Terminal;

/// What a conversation begins with.
pub(crate) struct Opening {
    /// The model, if somebody named one.
    pub(crate) model: Option<String>,
    /// Instructions for it.
    pub(crate) system: Option<String>,
    /// What is attached to the first question.
    pub(crate) attached: Vec<Attachment>,
    /// How to ask.
    pub(crate) manner: Manner,
}

/// Talks until the person leaves.
pub(crate) async fn run(
    gateway: &Gateway,
    opening: Opening,
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut keyboard = Keyboard::open()
        .map_err(|error| Failure::usage(format!("cannot read from the terminal: {error}")))?;
    terminal.aside("/help says what can be done; Ctrl-D leaves.\n");
    Talk::new(gateway, opening)
        .run(&mut keyboard, signals, terminal)
        .await
}

struct Talk<'a> {
    gateway: &'a Gateway,
    opening: Opening,
    messages: Vec<pb::Message>,
    turns: u32,
    input_tokens: i64,
    output_tokens: i64,
}

impl<'a> Talk<'a> {
    fn new(gateway: &'a Gateway, opening: Opening) -> Self {
        Self {
            gateway,
            opening,
            messages: Vec::new(),
            turns: 0,
            input_tokens: 0,
            output_tokens: 0,
        }
    }

    async fn run(
        mut self,
        lines: &mut impl Lines,
        signals: &mut Signals,
        terminal: &mut Terminal,
    ) -> Result<Exit, Failure> {
        loop {
            let prompt = match self.opening.attached.len() {
                0 => "> ".to_owned(),
                count => format!("[{count} attached] > "),
            };
            let line = tokio::select! {
                line = lines.next(&prompt) => line,
                _ = signals.next() => return Ok(Exit::Cancelled),
            };
            let text = match line {
                Line::Text(text) => text,
                Line::Stop => {
                    terminal.aside("Ctrl-D leaves.\n");
                    continue;
                }
                Line::End => return Ok(Exit::Done),
            };
            match slash::read(&text) {
                Some(Ok(Slash::Quit)) => return Ok(Exit::Done),
                Some(Ok(command)) => self.obey(command, terminal),
                Some(Err(wrong)) => terminal.note(&wrong),
                None if text.trim().is_empty() => {}
                None => {
                    if !self.turn(&text, signals, terminal).await? {
                        return Ok(Exit::Cancelled);
                    }
                }
            }
        }
    }

    fn obey(&mut self, command: Slash, terminal: &mut Terminal) {
        match command {
            Slash::Attach(modality, text) => self.attach(modality, &text, terminal),
            Slash::System(text) => self.opening.system = text,
            Slash::Model(None) => terminal.note(&self.model()),
            Slash::Model(Some(model)) => {
                if uploaded(&self.messages) {
                    terminal
                        .note("uploaded files are tied to their model: /clear, then attach again");
                }
                self.opening.model = Some(model);
            }
            Slash::Clear => {
                self.messages.clear();
                self.opening.attached.clear();
            }
            Slash::Usage => terminal.note(&format!(
                "{} turns, {} tokens in, {} out",
                self.turns, self.input_tokens, self.output_tokens
            )),
            Slash::Help => terminal.note(slash::HELP),
            Slash::Quit => {}
        }
    }

    fn attach(&mut self, modality: Modality, text: &str, terminal: &mut Terminal) {
        match Attachment::open(modality, text) {
            Ok(attachment) => self.opening.attached.push(attachment),
            Err(failure) => terminal.note(&failure.text()),
        }
    }

    /// Asks one question. False: the process should end.
    async fn turn(
        &mut self,
        text: &str,
        signals: &mut Signals,
        terminal: &mut Terminal,
    ) -> Result<bool, Failure> {
        let asked = tokio::select! {
            asked = Box::pin(self.ask(text, terminal)) => asked,
            signal = signals.next() => match signal {
                Signal::Terminate => return Ok(false),
                Signal::Interrupt => Err(Failure::cancelled()),
            },
        };
        match asked {
            Ok((question, answer)) => self.keep(question, &answer),
            Err(failure) if failure.exit() == Exit::Done => return Err(failure),
            Err(failure) if failure.exit() == Exit::Cancelled => {
                terminal.note("\nstopped; this turn is not kept");
            }
            Err(failure) => {
                terminal.note(&failure.text());
                if !self.opening.attached.is_empty() {
                    terminal.note("what was attached is still attached; /clear lets go of it");
                }
            }
        }
        Ok(true)
    }

    async fn ask(
        &self,
        text: &str,
        terminal: &mut Terminal,
    ) -> Result<(pb::Message, Answer), Failure> {
        let mut conversation = pb::Conversation {
            model: self.model(),
            ..pb::Conversation::default()
        };
        let system = exchange::system(self.opening.system.as_deref());
        conversation.messages.extend(system);
        conversation.messages.extend(self.messages.iter().cloned());
        let (attached, manner) = (&self.opening.attached, &self.opening.manner);
        let question = exchange::turn(
            self.gateway,
            &conversation,
            attached,
            text,
            manner,
            terminal,
        )
        .await?;
        conversation.messages.push(question.clone());
        let answer = exchange::ask(self.gateway, conversation, manner, terminal).await?;
        Ok((question, answer))
    }

    /// A turn becomes part of the conversation only when it is whole.
    fn keep(&mut self, question: pb::Message, answer: &Answer) {
        self.messages.push(question);
        self.messages.push(answer.message());
        self.opening.attached.clear();
        self.turns += 1;
        if let Some(usage) = &answer.usage {
            self.input_tokens += i64::from(usage.input_tokens.unwrap_or_default());
            self.output_tokens += i64::from(usage.output_tokens.unwrap_or_default());
        }
    }

    fn model(&self) -> String {
        match &self.opening.model {
            Some(model) => model.clone(),
            None => exchange::model_for(&self.messages, &self.opening.attached).to_owned(),
        }
    }
}

/// Whether a file of the conversation lies in DashScope's storage.
fn uploaded(messages: &[pb::Message]) -> bool {
    use pb::content::Kind;
    let stored = |uri: &str| uri.starts_with("oss://");
    messages
        .iter()
        .flat_map(|message| &message.content)
        .any(|part| match &part.kind {
            Some(Kind::Audio(audio)) => {
                matches!(&audio.source, Some(pb::audio::Source::Uri(uri)) if stored(uri))
            }
            Some(Kind::Image(image)) => {
                matches!(&image.source, Some(pb::image::Source::Uri(uri)) if stored(uri))
            }
            Some(Kind::Video(video)) => {
                matches!(&video.source, Some(pb::video::Source::Uri(uri)) if stored(uri))
            }
            Some(Kind::Text(_)) | None => false,
        })
}
