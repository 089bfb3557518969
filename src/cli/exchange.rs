//! One call: sends a conversation and prints the answer.

use std::time::Duration;

use dashgate_client::v1 as pb;
use dashgate_client::v1::content::Kind;
use dashgate_client::{Answer as Whole, Call, Error};
use prost::Message as _;

use crate::chat::sniffing::Modality;
use crate::config::DefaultModels;

use super::answer::Answer;
use super::attach::{Attachment, Source, content, too_large};
use super::error::Failure;
use super::gateway::{BROKE, Gateway, LOOK_EVERY};
use super::printer::Printer;
use super::terminal::Terminal;
use super::terminal_text::Piece;
use super::upload::{From, Upload, upload};

/// The most bytes of a message besides media and text: options, names, length prefixes.
const FRAME_BYTES: usize = 64 << 10;

/// How a call is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// The deadline. `None`: the gateway's.
    pub(crate) timeout: Option<Duration>,
    /// Whether to call the unary method.
    pub(crate) whole: bool,
    /// Generation options.
    pub(crate) options: pb::GenerationOptions,
    /// Whether to print the answer while it arrives.
    pub(crate) shown: bool,
}

/// The default model of a conversation, by its media and attachments.
pub(crate) fn model_for<'a>(
    defaults: &'a DefaultModels,
    messages: &[pb::Message],
    attached: &[Attachment],
    question: &str,
) -> &'a str {
    let parts = messages.iter().flat_map(|message| &message.content);
    let earlier = parts.filter_map(|part| match part.kind.as_ref()? {
        Kind::Audio(_) => Some(Modality::Audio),
        Kind::Image(_) => Some(Modality::Image),
        Kind::Video(_) => Some(Modality::Video),
        Kind::Text(_) => None,
    });
    let (mut heard, mut seen) = (false, false);
    for modality in earlier.chain(attached.iter().map(|attachment| attachment.modality)) {
        match modality {
            Modality::Audio => heard = true,
            Modality::Image | Modality::Video => seen = true,
        }
    }
    match (heard, seen) {
        (true, false) if messages.is_empty() && question.trim().is_empty() => &defaults.transcript,
        (true, false) => &defaults.audio,
        (false, true) => &defaults.vision,
        (true, true) => &defaults.omni,
        (false, false) => &defaults.text,
    }
}

/// Adds advice on the model to a failure that says that this one is not available.
pub(crate) fn advised(mut failure: Failure, asked: &str, fitting: &str) -> Failure {
    let elsewhere = failure.message.contains("url error, please check url")
        || failure.reason == "MODEL_NOT_FOUND";
    if elsewhere {
        let advice = match asked == fitting {
            true => "another model: `-m MODEL`, or for good `client.default_models`".to_owned(),
            false if failure.reason == "MODEL_NOT_FOUND" => {
                format!("check the spelling of {asked}, or use `-m {fitting}`")
            }
            false => format!("`-m {fitting}`: this interface does not serve {asked}"),
        };
        failure = failure.with_advice(advice);
    }
    failure
}

/// The system instructions as a message.
pub(crate) fn system(text: Option<&str>) -> Option<pb::Message> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(pb::Message {
        role: pb::Role::System.into(),
        content: vec![content(Kind::Text(text.to_owned()))],
        ..pb::Message::default()
    })
}

/// A user message: media first, then the text. Files that do not fit into a message together with
/// `before` are uploaded for `model`.
pub(crate) async fn turn(
    gateway: &Gateway,
    before: &pb::Conversation,
    attached: &[Attachment],
    text: &str,
    manner: &Manner,
    terminal: &mut Terminal,
) -> Result<pb::Message, Failure> {
    let taken = before.encoded_len() + text.len() + FRAME_BYTES;
    let room = gateway.max_request_bytes.saturating_sub(taken);
    let sizes: Vec<_> = attached.iter().map(Attachment::inline_bytes).collect();
    let mut parts = Vec::new();
    for (attachment, large) in attached.iter().zip(too_large(&sizes, room)) {
        let part = match &attachment.source {
            Source::File {
                path,
                bytes,
                mime_type,
            } if large => {
                let file = Upload {
                    from: From::Path(path),
                    bytes: *bytes,
                    mime_type,
                    model: &before.model,
                };
                attachment.linked(upload(gateway, file, manner.timeout, terminal).await?)
            }
            Source::Read { data, mime_type } if large => {
                let file = Upload {
                    from: From::Bytes(data.clone()),
                    bytes: data.len() as u64,
                    mime_type,
                    model: &before.model,
                };
                attachment.linked(upload(gateway, file, manner.timeout, terminal).await?)
            }
            Source::File { .. } | Source::Read { .. } | Source::Uri(_) => {
                attachment.inline(room).await?
            }
        };
        parts.push(part);
    }
    if !text.is_empty() {
        parts.push(content(Kind::Text(text.to_owned())));
    }
    Ok(pb::Message {
        role: pb::Role::User.into(),
        content: parts,
        ..pb::Message::default()
    })
}

/// Sends the conversation, prints the answer if requested, and returns it.
pub(crate) async fn ask(
    gateway: &Gateway,
    conversation: pb::Conversation,
    manner: &Manner,
    terminal: &mut Terminal,
) -> Result<Answer, Failure> {
    let mut printer = Printer::default();
    let asked = match manner.whole {
        true => Box::pin(whole(gateway, conversation, manner, &mut printer, terminal)).await,
        false => {
            Box::pin(stream(
                gateway,
                conversation,
                manner,
                &mut printer,
                terminal,
            ))
            .await
        }
    };
    match asked {
        Ok(answer) => {
            if manner.shown {
                printer.finish(&answer, terminal)?;
            }
            Ok(answer)
        }
        Err(failure) => {
            // The error is printed on a line of its own, after the output so far.
            printer.end(terminal)?;
            Err(gateway.explained(failure).await)
        }
    }
}

async fn stream(
    gateway: &Gateway,
    conversation: pb::Conversation,
    manner: &Manner,
    printer: &mut Printer,
    terminal: &mut Terminal,
) -> Result<Answer, Failure> {
    let call = gateway.client.stream(conversation);
    let opened = settings(call, manner).await;
    let mut events = opened.map_err(|error| failed(error, manner))?;
    let mut answer = Answer::default();
    let mut is_resuming = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(LOOK_EVERY), if !is_resuming => {
                is_resuming = events.resumes() > 0;
                let note = is_resuming.then(|| Piece::Note(BROKE.to_owned()));
                show(note, manner, printer, terminal)?;
                continue;
            }
        };
        let Some(event) = event else {
            break;
        };
        match event {
            Ok(event) => {
                show(answer.take(&event), manner, printer, terminal)?;
                if answer.audio_cut {
                    break;
                }
            }
            Err(error) => {
                let partial = events.partial();
                let rest = partial.map(|partial| answer.rest(partial.raw()));
                show(rest.into_iter().flatten(), manner, printer, terminal)?;
                return Err(failed(error, manner));
            }
        }
    }
    let whole = match answer.audio_cut {
        // Its rest is not requested.
        true => events.partial().map(Whole::into_raw).unwrap_or_default(),
        false => {
            let whole = events.finish().await;
            whole.map_err(|error| failed(error, manner))?.into_raw()
        }
    };
    let pieces = answer.complete(whole);
    show(pieces, manner, printer, terminal)?;
    Ok(answer)
}

async fn whole(
    gateway: &Gateway,
    conversation: pb::Conversation,
    manner: &Manner,
    printer: &mut Printer,
    terminal: &mut Terminal,
) -> Result<Answer, Failure> {
    let call = gateway.client.converse(conversation);
    let whole = settings(call, manner).await;
    let whole = whole.map_err(|error| failed(error, manner))?;
    let (answer, pieces) = Answer::whole(whole.into_raw());
    show(pieces, manner, printer, terminal)?;
    Ok(answer)
}

fn show(
    pieces: impl IntoIterator<Item = Piece>,
    manner: &Manner,
    printer: &mut Printer,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    if manner.shown {
        for piece in pieces {
            printer.show(&piece, terminal)?;
        }
    }
    Ok(())
}

/// Sets what the command line sets.
fn settings<Kind>(mut call: Call<Kind>, manner: &Manner) -> Call<Kind> {
    if manner.options != pb::GenerationOptions::default() {
        call = call.options(manner.options.clone());
    }
    match manner.timeout {
        Some(timeout) => call.timeout(timeout),
        None => call,
    }
}

/// The failure of a call; one without an answer of the gateway in time names the timeout.
fn failed(error: Error, manner: &Manner) -> Failure {
    let is_own = error.raw_reason() == "DEADLINE_EXCEEDED" && error.attempts().is_none();
    let mut failure = Failure::from(error);
    if let Some(timeout) = manner.timeout.filter(|_| is_own) {
        failure.message = format!("the call took longer than {timeout:?}");
    }
    failure
}

#[cfg(test)]
pub(crate) mod tests {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::super::gateway::stand_in::{StandIn, Then, completed, delta, says, started};
    use super::super::terminal::fake;
    use super::*;

    fn shown() -> Manner {
        Manner {
            shown: true,
            ..Manner::default()
        }
    }

    /// The default models of the settings.
    pub(crate) fn defaults() -> DefaultModels {
        DefaultModels {
            audio: "qwen-audio-turbo".into(),
            transcript: "qwen3-asr-flash".into(),
            vision: "qwen3-vl-plus".into(),
            omni: "qwen3-omni-flash".into(),
            text: "qwen3.6-plus".into(),
            live: "qwen3-omni-flash-realtime".into(),
            speech: "qwen3-tts-flash-realtime".into(),
        }
    }

    fn asked(text: &str) -> pb::Conversation {
        pb::Conversation {
            model: "m".into(),
            messages: system(Some(text)).into_iter().collect(),
            ..pb::Conversation::default()
        }
    }

    #[tokio::test]
    async fn an_answer_is_shown_as_it_arrives_unary_or_streamed() {
        for whole in [false, true] {
            let stand_in = StandIn::new([says("it is a dog")]);
            let gateway = stand_in.start().await;
            let (mut terminal, out, err) = fake::terminal(false, false);
            let manner = Manner {
                whole,
                options: pb::GenerationOptions {
                    enable_search: Some(true),
                    ..pb::GenerationOptions::default()
                },
                ..shown()
            };
            let answer = ask(&gateway, asked("hi"), &manner, &mut terminal).await;
            assert_eq!(answer.unwrap().text(), "it is a dog");
            assert_eq!(out.text(), "it is a dog\n");
            assert!(err.text().starts_with('['), "{}", err.text());
            let asked = stand_in.asked();
            assert_eq!(asked.keys, ["Bearer k-1"]);
            let options = asked.options[0].as_ref().unwrap();
            assert_eq!(options.enable_search, Some(true));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_shown_leaves_both_streams_alone() {
        let gateway = StandIn::new([says("x")]).start().await;
        let (mut terminal, out, err) = fake::terminal(false, false);
        let answer = ask(&gateway, asked("hi"), &Manner::default(), &mut terminal).await;
        assert_eq!(answer.unwrap().upstream_request_id, "up-1");
        assert_eq!((out.text(), err.text()), (String::new(), String::new()));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_ends_its_line_and_tells_the_reason() {
        let metadata = std::collections::HashMap::new();
        let details = ErrorDetails::with_error_info("STREAM_TRUNCATED", "dashgate", metadata);
        let status = Status::with_error_details(Code::Internal, "it broke", details);
        let events = vec![started(), delta("half a")];
        let gateway = StandIn::new([(events, Then::Fail(status))]).start().await;
        let (mut terminal, out, _) = fake::terminal(false, false);
        let failure = ask(&gateway, asked("hi"), &shown(), &mut terminal).await;
        let failure = failure.unwrap_err();
        assert_eq!(out.text(), "half a\n");
        assert_eq!(failure.reason, "STREAM_TRUNCATED");
        assert_eq!(failure.code, "INTERNAL");
    }

    #[tokio::test]
    async fn a_stream_without_its_last_event_is_a_failure() {
        let gateway = StandIn::new([(vec![started(), delta("x")], Then::End)])
            .start()
            .await;
        let (mut terminal, _, _) = fake::terminal(false, false);
        let failure = ask(&gateway, asked("hi"), &shown(), &mut terminal).await;
        assert_eq!(failure.unwrap_err().reason, "STREAM_TRUNCATED");
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_is_dropped_at_the_gateway() {
        let stand_in = StandIn::new([(vec![started(), delta("x")], Then::Hang)]);
        let gateway = stand_in.start().await;
        let (mut terminal, _, _) = fake::terminal(false, false);
        let manner = shown();
        let asking = ask(&gateway, asked("hi"), &manner, &mut terminal);
        let streaming = async {
            while stand_in.asked().conversations.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = asking => panic!("it hangs"),
            () = streaming => {}
        }
        stand_in.given_up().await;
    }

    #[tokio::test]
    async fn an_expired_deadline_is_reported_as_one() {
        let gateway = StandIn::new([(vec![], Then::Hang)]).start().await;
        let (mut terminal, _, _) = fake::terminal(false, false);
        tokio::time::pause();
        let manner = Manner {
            timeout: Some(Duration::from_secs(30)),
            ..shown()
        };
        let failure = ask(&gateway, asked("hi"), &manner, &mut terminal).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.code, "DEADLINE_EXCEEDED");
        assert!(failure.text().contains("longer than 30s"));
    }

    #[tokio::test]
    async fn a_closed_stdout_ends_the_call() {
        let events = vec![started(), delta("x"), delta("y"), completed()];
        let gateway = StandIn::new([(events, Then::End)]).start().await;
        let (mut terminal, err) = fake::gone();
        let failure = ask(&gateway, asked("hi"), &shown(), &mut terminal).await;
        assert_eq!(failure.unwrap_err().code, "CLOSED");
        assert_eq!(err.text(), "");
    }

    #[tokio::test]
    async fn media_come_first_and_what_does_not_fit_is_uploaded() {
        let folder = std::env::temp_dir().join(format!("dashgate-turn-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let open = |name: &str, bytes: usize| {
            let path = folder.join(name);
            std::fs::write(&path, vec![7; bytes]).unwrap();
            Attachment::open(Modality::Audio, path.to_str().unwrap()).unwrap()
        };
        let attached = [open("small.pcm", 1000), open("large.pcm", 300_000)];
        let stand_in = StandIn::new([]);
        let mut gateway = stand_in.start().await;
        gateway.max_request_bytes = FRAME_BYTES + 100_000;
        let (mut terminal, _, _) = fake::terminal(false, false);
        let manner = shown();
        let before = asked("");
        let message = turn(&gateway, &before, &attached, "why?", &manner, &mut terminal).await;
        let parts = message.unwrap().content;
        let [small, large, text] = &parts[..] else {
            panic!("{} parts", parts.len());
        };
        let source = |part: &pb::Content| match &part.kind {
            Some(Kind::Audio(audio)) => audio.source.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(source(small), pb::audio::Source::Data(vec![7; 1000].into()));
        assert_eq!(source(large), pb::audio::Source::Uri("oss://kept".into()));
        assert_eq!(text.kind, Some(Kind::Text("why?".into())));
        let asked = stand_in.asked();
        let (description, sizes) = &asked.uploads[0];
        assert_eq!(description.name, "large.pcm");
        assert_eq!(description.model, "m");
        assert_eq!(description.mime_type, "audio/pcm");
        assert_eq!(description.size_bytes, Some(300_000));
        assert_eq!(sizes, &[262_144, 37_856]);
    }

    #[test]
    fn the_model_follows_from_what_is_attached() {
        let message = |kinds: Vec<Kind>| pb::Message {
            content: kinds.into_iter().map(content).collect(),
            ..pb::Message::default()
        };
        let audio = || Kind::Audio(pb::Audio::default());
        let image = || Kind::Image(pb::Image::default());
        let video = || Kind::Video(pb::Video::default());
        let defaults = defaults();
        let model_for = |messages: &[pb::Message], attached: &[Attachment]| {
            model_for(&defaults, messages, attached, "what?").to_owned()
        };
        for (kinds, expected) in [
            (vec![audio()], "qwen-audio-turbo"),
            (vec![image()], "qwen3-vl-plus"),
            (vec![video()], "qwen3-vl-plus"),
            (vec![audio(), image()], "qwen3-omni-flash"),
            (vec![Kind::Text("hi".into())], "qwen3.6-plus"),
        ] {
            assert_eq!(model_for(&[message(kinds)], &[]), expected);
        }
        let attached = [Attachment::open(Modality::Image, "https://h/i.png").unwrap()];
        assert_eq!(model_for(&[], &attached), "qwen3-vl-plus");
        let turns = [message(vec![audio()])];
        assert_eq!(model_for(&turns, &attached), "qwen3-omni-flash");
        let alone = [Attachment::open(Modality::Audio, "https://h/a.wav").unwrap()];
        let found = super::model_for(&defaults, &[], &alone, " ");
        assert_eq!(found, "qwen3-asr-flash");
    }

    #[test]
    fn a_model_that_is_not_served_is_told_with_one_that_is() {
        let refused = || Failure::failed("INVALID_ARGUMENT", "url error, please check url!");
        let told = advised(refused(), "qwen-plus", "qwen3.6-plus").text();
        assert!(told.contains("`-m qwen3.6-plus`"), "{told}");
        let told = advised(refused(), "qwen3.6-plus", "qwen3.6-plus").text();
        assert!(told.contains("client.default_models"), "{told}");
        let other = advised(Failure::failed("X", "the audio is empty"), "a", "b");
        assert!(!other.text().contains("try"));
    }
}
