//! Interactive conversations on a terminal.

use std::path::PathBuf;

use dashgate_client::v1 as pb;

use crate::chat::sniffing::Modality;
use crate::config::DefaultModels;

use super::answer::Answer;
use super::attach::Attachment;
use super::error::Failure;
use super::exchange::{self, Manner};
use super::exit::Exit;
use super::gateway::Gateway;
use super::input_lines::{Keyboard, Line, Lines};
use super::signals::{Signal, Signals};
use super::slash_commands::{self, Slash};
use super::terminal::Terminal;

/// The start of a conversation.
pub(crate) struct Opening {
    /// The model, if one was given.
    pub(crate) model: Option<String>,
    /// System instructions.
    pub(crate) system: Option<String>,
    /// Attachments of the first message.
    pub(crate) attached: Vec<Attachment>,
    /// How calls are made.
    pub(crate) manner: Manner,
    /// The default models.
    pub(crate) default_models: DefaultModels,
    /// The history file of input lines.
    pub(crate) history: Option<PathBuf>,
}

/// Runs until the user quits.
pub(crate) async fn run(
    gateway: &Gateway,
    opening: Opening,
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut keyboard = Keyboard::open(opening.history.as_deref())
        .map_err(|error| Failure::usage(format!("cannot read from the terminal: {error}")))?;
    terminal.aside("/help lists the commands; Ctrl-D quits.\n");
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
                    terminal.aside("Ctrl-D quits.\n");
                    continue;
                }
                Line::End => return Ok(Exit::Done),
            };
            match slash_commands::read(&text) {
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
            Slash::Model(None) => terminal.note(&self.model("?")),
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
                "{} {}, {} tokens in, {} out",
                self.turns,
                if self.turns == 1 { "turn" } else { "turns" },
                self.input_tokens,
                self.output_tokens
            )),
            Slash::Help => terminal.note(slash_commands::HELP),
            Slash::Quit => {}
        }
    }

    fn attach(&mut self, modality: Modality, text: &str, terminal: &mut Terminal) {
        match Attachment::open(modality, text) {
            Ok(attachment) => self.opening.attached.push(attachment),
            Err(failure) => terminal.note(&failure.text()),
        }
    }

    /// Sends one message. Returns false if the process should end.
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
                    terminal.note("attachments are kept; /clear removes them");
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
            model: self.model(text),
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
        let asked = conversation.model.clone();
        let answer = exchange::ask(self.gateway, conversation, manner, terminal).await;
        let fitting = self.fitting(text);
        let answer = answer.map_err(|failure| exchange::advised(failure, &asked, fitting))?;
        Ok((question, answer))
    }

    /// A turn is added to the conversation only when it is complete.
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

    fn model(&self, question: &str) -> String {
        match &self.opening.model {
            Some(model) => model.clone(),
            None => self.fitting(question).to_owned(),
        }
    }

    /// The default model for the conversation and the pending attachments.
    fn fitting(&self, question: &str) -> &str {
        let defaults = &self.opening.default_models;
        exchange::model_for(defaults, &self.messages, &self.opening.attached, question)
    }
}

/// Whether the conversation contains a file in DashScope's storage.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tonic::Status;

    use super::super::gateway::stand_in::{StandIn, Then, delta, says, started};
    use super::super::terminal::fake;
    use super::*;

    struct Typed(VecDeque<Line>);

    impl Lines for Typed {
        async fn next(&mut self, prompt: &str) -> Line {
            assert!(prompt.ends_with("> "));
            self.0.pop_front().unwrap_or(Line::End)
        }
    }

    async fn talk(stand_in: &StandIn, lines: &[&str]) -> (Exit, String, String) {
        let gateway = stand_in.start().await;
        let lines = lines.iter().map(|line| Line::Text((*line).to_owned()));
        let (mut terminal, out, err) = fake::terminal(false, false);
        let opening = Opening {
            model: None,
            system: None,
            attached: Vec::new(),
            manner: Manner {
                shown: true,
                ..Manner::default()
            },
            default_models: exchange::tests::defaults(),
            history: None,
        };
        let mut signals = Signals::listen().unwrap();
        let exit = Talk::new(&gateway, opening)
            .run(&mut Typed(lines.collect()), &mut signals, &mut terminal)
            .await;
        (exit.unwrap(), out.text(), err.text())
    }

    fn roles(conversation: &pb::Conversation) -> Vec<pb::Role> {
        let messages = conversation.messages.iter();
        messages.map(pb::Message::role).collect()
    }

    #[tokio::test]
    async fn turns_add_up_and_files_go_with_one_question_only() {
        let stand_in = StandIn::new([says("one"), says("two"), says("three")]);
        let (exit, out, err) = talk(
            &stand_in,
            &[
                "/system be brief",
                "/audio https://h/a.wav",
                "first",
                "",
                "second",
                "/usage",
                "/clear",
                "/model m-2",
                "third",
            ],
        )
        .await;
        assert_eq!(exit, Exit::Done);
        assert_eq!(out, "one\ntwo\nthree\n");
        assert!(err.contains("2 turns, 14 tokens in, 4 out"), "{err}");
        let asked = stand_in.asked();
        let [first, second, third] = &asked.conversations[..] else {
            panic!("{} calls", asked.conversations.len());
        };
        use pb::Role::{Assistant, System, User};
        assert_eq!(roles(first), [System, User]);
        assert_eq!(first.messages[1].content.len(), 2);
        assert_eq!(first.model, "qwen-audio-turbo");
        assert_eq!(roles(second), [System, User, Assistant, User]);
        assert_eq!(second.messages[3].content.len(), 1);
        assert_eq!(second.model, "qwen-audio-turbo");
        assert_eq!(roles(third), [System, User]);
        assert_eq!(third.model, "m-2");
    }

    #[tokio::test]
    async fn a_turn_that_failed_is_not_kept_and_what_was_attached_is() {
        let broken = Then::Fail(Status::unavailable("not now"));
        let stand_in = StandIn::new([(vec![started(), delta("ha")], broken), says("now")]);
        let lines = ["/image https://h/i.png", "first", "/loud", "again", "/quit"];
        let (exit, out, err) = talk(&stand_in, &lines).await;
        assert_eq!(exit, Exit::Done);
        assert_eq!(out, "ha\nnow\n");
        assert!(
            err.contains("not now") && err.contains("attachments are kept"),
            "{err}"
        );
        assert!(err.contains("there is no /loud"), "{err}");
        let asked = stand_in.asked();
        assert_eq!(roles(&asked.conversations[1]), [pb::Role::User]);
        assert_eq!(asked.conversations[1].messages[0].content.len(), 2);
    }
}
