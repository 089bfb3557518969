//! Adds to an error about media or options which field it concerns, and whether the caller can fix
//! it.

use crate::chat::call::Prompt;
use crate::chat::data_uri;
use crate::chat::media::{Medium, Source, VideoSource};
use crate::chat::message::Body;
use crate::error::{Error, Reason, Violation};
use crate::upstream::Stored;

use super::texts::paths_of;

/// The maximum number of fields named.
const MAX_FIELDS: usize = 4;

/// The possible reasons why DashScope cannot read a URL in its storage.
const IN_STORAGE: &str = "is gone from DashScope's storage, which keeps files for 48 hours, or was \
                          uploaded for another model or account: upload the file again";

/// The error with the fields of the request.
pub(in crate::relay) fn explained(error: Error, prompt: &Prompt, stored: &Stored) -> Error {
    let of_medium = matches!(
        error.reason(),
        Reason::MediaUnreachable | Reason::MediaExpired
    );
    if of_medium {
        of_media(error, prompt, stored)
    } else {
        of_speech(error, prompt)
    }
}

/// Names the fields with URLs from the caller, wherever they are. If the caller sent only bytes,
/// which the gateway sent inline or uploaded, the caller cannot fix it. A call without media keeps
/// the error unchanged: no storage was involved.
fn of_media(error: Error, prompt: &Prompt, stored: &Stored) -> Error {
    let in_storage = |uri: &str| has_scheme(uri, "oss:");
    let given = addresses(prompt);
    if given.is_empty() && stored.is_empty() && !has_media(prompt) {
        return error;
    }
    let expired = error.reason() == Reason::MediaExpired;
    let of_gateway = expired && !stored.is_empty() && !given.iter().any(|(_, uri)| in_storage(uri));
    if given.is_empty() || of_gateway {
        let message = match stored.is_empty() {
            true => "DashScope could not read media that were sent inside the request",
            false => "DashScope could not read media that the gateway uploaded for this call",
        };
        let upstream = error.upstream().cloned().unwrap_or_default();
        return Error::new(Reason::UpstreamStorage, message)
            .with_sent(error.sent())
            .with_upstream(upstream);
    }
    if !error.violations().is_empty() {
        return error;
    }
    let of_kind = |(_, uri): &&(String, &str)| in_storage(uri) == expired;
    let named = match given.iter().any(|given| of_kind(&given)) {
        true => given.iter().filter(of_kind).take(MAX_FIELDS).collect(),
        false => given.iter().take(MAX_FIELDS).collect::<Vec<_>>(),
    };
    named.into_iter().fold(error, |error, (field, uri)| {
        let description = match in_storage(uri) {
            true => IN_STORAGE,
            false => "could not be fetched by DashScope",
        };
        error.with_violation(Violation {
            field: field.clone(),
            description: description.to_owned(),
        })
    })
}

/// DashScope uses one name for the voice of an answer and that of a text to speak.
fn of_speech(error: Error, prompt: &Prompt) -> Error {
    const SPOKEN: &str = "options.speech.voice";
    let options = &prompt.options;
    let is_spoken = options.speech.is_some() || options.audio.is_none();
    if is_spoken || !error.violations().iter().any(|v| v.field == SPOKEN) {
        return error;
    }
    error.map_fields(|field| match field == SPOKEN {
        true => "options.audio.voice".to_owned(),
        false => field,
    })
}

fn has_media(prompt: &Prompt) -> bool {
    let mut parts = prompt.turns.iter().flat_map(|turn| &turn.parts);
    parts.any(|part| part.body.media().next().is_some())
}

/// The URLs of media from the caller, and their fields: first the typed ones, then those in unknown
/// keys.
fn addresses(prompt: &Prompt) -> Vec<(String, &str)> {
    let is_address = |text: &str| {
        let mut schemes = ["https://", "http://", "oss://"].into_iter();
        schemes.any(|scheme| has_scheme(text, scheme))
    };
    // More are never named, and both kinds are searched.
    const MOST: usize = 2 * MAX_FIELDS;
    let mut given: Vec<_> = typed_addresses(prompt).collect();
    let mut add = |object, path: &str| given.extend(paths_of(object, path, MOST, &is_address));
    for (i, turn) in prompt.turns.iter().enumerate() {
        let at = format!("conversation.messages[{i}]");
        for (j, part) in turn.parts.iter().enumerate() {
            add(&part.extra, &format!("{at}.content[{j}].extra"));
        }
        add(&turn.extra, &format!("{at}.extra"));
    }
    let parameters = &prompt.options.extra_parameters;
    add(parameters, "options.extra_parameters");
    given
}

fn typed_addresses(prompt: &Prompt) -> impl Iterator<Item = (String, &str)> {
    let turns = prompt.turns.iter().enumerate();
    let parts = turns.flat_map(|(i, turn)| {
        let parts = turn.parts.iter().enumerate();
        parts.map(move |(j, part)| (i, j, &part.body))
    });
    parts.flat_map(|(i, j, body)| {
        let media = body.media().enumerate();
        media.filter_map(move |(k, medium)| {
            let field = format!("conversation.messages[{i}].content[{j}].{}", place(body, k));
            Some((field, address(medium)?))
        })
    })
}

fn address(medium: &Medium) -> Option<&str> {
    match &medium.source {
        Source::Uri(uri) if !data_uri::has_scheme(uri) => Some(uri),
        Source::Uri(_) | Source::Inline(_) => None,
    }
}

fn has_scheme(uri: &str, scheme: &str) -> bool {
    uri.get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// The path of a media item within a part.
pub(in crate::relay) fn place(body: &Body, medium: usize) -> String {
    let place = match body {
        Body::Audio(_) => "audio.uri",
        Body::Image(_) => "image.uri",
        Body::Video(video) => match &video.source {
            VideoSource::File(_) => "video.uri",
            VideoSource::Frames(_) => return format!("video.frames.frames[{medium}].uri"),
        },
        Body::Text(_) | Body::Other => "extra",
    };
    place.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::document::{Document, Object};
    use crate::chat::media::Image;
    use crate::chat::message::{AudioOutput, Part, Role, Speech, Turn};
    use crate::error::Sent;

    fn prompt(sources: Vec<Source>) -> Prompt {
        let image = |source| {
            Body::Image(Image {
                medium: Medium {
                    mime_type: String::new(),
                    source,
                },
                min_pixels: None,
                max_pixels: None,
                enable_rotate: None,
            })
        };
        let mut turn = Turn::new(Role::User);
        turn.parts = sources.into_iter().map(|s| image(s).into()).collect();
        Prompt {
            model: "m".into(),
            turns: vec![turn],
            tools: Vec::new(),
            tool_choice: None,
            options: Box::default(),
        }
    }

    fn uri(uri: &str) -> Source {
        Source::Uri(uri.to_owned())
    }

    fn fields(error: &Error) -> Vec<&str> {
        error.violations().iter().map(|v| &*v.field).collect()
    }

    #[test]
    fn a_medium_that_cannot_be_read_is_blamed_on_whoever_gave_it() {
        let error = |reason| Error::new(reason, "no").with_sent(Sent::Refused);
        let explained =
            |reason, sources| super::explained(error(reason), &prompt(sources), &Stored::default());
        let own = explained(
            Reason::MediaUnreachable,
            vec![Source::Inline(b"x"[..].into()), uri("data:;base64,AA==")],
        );
        assert_eq!(own.reason(), Reason::UpstreamStorage);
        assert_eq!(own.sent(), Sent::Refused);
        let mixed = || {
            vec![
                uri("https://x.test/a"),
                Source::Inline(b"x"[..].into()),
                uri("OSS://b/c"),
            ]
        };
        let at = |n: usize| format!("conversation.messages[0].content[{n}].image.uri");
        let unread = explained(Reason::MediaUnreachable, mixed());
        assert_eq!(unread.reason(), Reason::MediaUnreachable);
        assert_eq!(fields(&unread), [at(0)]);
        assert_eq!(fields(&explained(Reason::MediaExpired, mixed())), [at(2)]);
        let many = vec![uri("https://x.test/a"); 9];
        let many = explained(Reason::MediaUnreachable, many);
        assert_eq!(many.violations().len(), MAX_FIELDS);
    }

    #[test]
    fn urls_in_all_fields_belong_to_the_caller() {
        let object = |key: &str, value| Object(vec![(key.to_owned(), value)]);
        let text = |text: &str| Document::String(text.to_owned());
        let url = |uri: &str| object("image_url", Document::Object(object("url", text(uri))));
        let error = |reason| Error::new(reason, "no").with_sent(Sent::Refused);
        let explained =
            |reason, prompt: &Prompt| super::explained(error(reason), prompt, &Stored::default());
        let mut prompt = prompt(vec![Source::Inline(b"x"[..].into())]);
        prompt.turns[0].parts.push(Part {
            extra: url("https://x.test/a"),
            ..Body::Other.into()
        });
        prompt.turns[0].parts.push(Part {
            extra: object("list", Document::List(vec![text("a"), text("OSS://x/a")])),
            ..Body::Text("https://x.test/ is no medium".to_owned()).into()
        });
        let unread = explained(Reason::MediaUnreachable, &prompt);
        assert_eq!(unread.reason(), Reason::MediaUnreachable);
        let at = "conversation.messages[0].content";
        assert_eq!(fields(&unread), [format!("{at}[1].extra.image_url.url")]);
        let gone = explained(Reason::MediaExpired, &prompt);
        assert_eq!(gone.reason(), Reason::MediaExpired);
        assert_eq!(fields(&gone), [format!("{at}[2].extra.list[1]")]);
        prompt.turns[0].parts.clear();
        prompt.turns[0].extra = url("http://x.test/a");
        let unread = explained(Reason::MediaUnreachable, &prompt);
        let field = "conversation.messages[0].extra.image_url.url";
        assert_eq!(fields(&unread), [field]);
        prompt.turns[0].extra = Object::default();
        prompt.options.extra_parameters = url("https://x.test/a");
        let unread = explained(Reason::MediaUnreachable, &prompt);
        assert_eq!(fields(&unread), ["options.extra_parameters.image_url.url"]);
        prompt.options.extra_parameters = Object::default();
        for reason in [Reason::MediaUnreachable, Reason::MediaExpired] {
            let nothing = explained(reason, &prompt);
            assert_eq!(nothing.reason(), reason, "there is no storage to blame");
            assert!(nothing.violations().is_empty());
        }
    }

    #[test]
    fn a_voice_is_that_of_the_options_that_are_set() {
        let error = || {
            Error::new(Reason::UpstreamRejected, "no").with_violation(Violation {
                field: "options.speech.voice".to_owned(),
                description: "no".to_owned(),
            })
        };
        let mut prompt = prompt(vec![]);
        let field = |prompt: &Prompt| {
            let error = explained(error(), prompt, &Stored::default());
            error.violations()[0].field.clone()
        };
        assert_eq!(field(&prompt), "options.speech.voice");
        prompt.options.audio = Some(AudioOutput {
            voice: Some("Cherry".to_owned()),
            format: None,
        });
        assert_eq!(field(&prompt), "options.audio.voice");
        prompt.options.speech = Some(Speech {
            voice: None,
            language_type: None,
            instructions: None,
            optimize_instructions: None,
        });
        assert_eq!(field(&prompt), "options.speech.voice");
    }
}
