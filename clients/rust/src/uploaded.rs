//! Uploads the large files of a message before its call.

use std::time::{Duration, Instant, SystemTime};

use crate::error::Error;
use crate::large_files::{self, Attached, NotSent};
use crate::media::named;
use crate::terms::Terms;
use crate::upload::{self, UploadSource};
use crate::uploads::{Key, Stored};
use crate::v1;
use crate::v1::content::Kind;
use crate::v1::{GetConversationRequest, MediaDescription, audio, image, video};

/// An upload is not used in the last hour before it expires.
const MARGIN: Duration = Duration::from_secs(3600);

/// Uploads the large files of a conversation, and replaces their URIs.
pub(crate) async fn replace(
    terms: &Terms,
    conversation: &mut v1::Conversation,
) -> Result<(), Error> {
    let (name, mut model) = (conversation.name.clone(), conversation.model.clone());
    let mut files = Vec::new();
    for (uri, mime_type) in sources(conversation) {
        let Some(file) = large_files::find(uri) else {
            let message = format!(
                "{uri} is a file of another process, or of long ago: attach the file again"
            );
            return Err(Error::of_argument(message));
        };
        files.push((uri, mime_type, file));
    }
    if files.is_empty() {
        return Ok(());
    }
    if model.is_empty() && !name.is_empty() {
        model = stored_model(terms, name).await?;
    }
    for (uri, mime_type, file) in files {
        *uri = uploaded(terms, &model, file, mime_type).await?;
    }
    Ok(())
}

/// The model of a stored conversation, to which its uploads belong.
async fn stored_model(terms: &Terms, name: String) -> Result<String, Error> {
    let (service, _counted) = terms.after_others(terms.client.conversations()).await?;
    let send = |request| {
        let mut service = service.clone();
        async move { service.get_conversation(request).await }
    };
    let answered = terms.attempt(GetConversationRequest { name }, send).await?;
    let conversation = answered.response.into_inner().conversation;
    Ok(conversation.unwrap_or_default().model)
}

async fn uploaded(
    terms: &Terms,
    model: &str,
    file: Attached,
    mime_type: String,
) -> Result<String, Error> {
    // A call that waits for another one holds no open file.
    drop(file.open().await.map_err(|error| not_sent(&file, error))?);
    let came = Instant::now();
    let slot = terms.client.uploads().slot(Key {
        file: file.clone(),
        mime_type: mime_type.clone(),
        model: model.to_owned(),
    });
    let mut stored = terms.after_others(slot.lock()).await?;
    if let Some(stored) = stored.as_ref().filter(|stored| stored.is_for(came)) {
        return Ok(stored.uri.clone());
    }
    let opened = file.open().await;
    let (open, size) = opened.map_err(|error| not_sent(&file, error))?;
    let unreadable = |error| upload::unreadable(named(&file.path, &error));
    let kept = open.try_clone().await.map_err(unreadable)?;
    let description = MediaDescription {
        model: model.to_owned(),
        mime_type,
        ..MediaDescription::default()
    };
    let mut metadata = terms.metadata.clone();
    metadata.remove("x-request-id");
    let source = UploadSource::open_file(open, size, &file.path);
    let response =
        upload::send(&terms.client, metadata, terms.deadline, description, source).await?;
    if !file.is_still(&kept).await {
        // It was written while it was read.
        return Err(not_sent(&file, NotSent::Changed));
    }
    let expires_at = response
        .expires_at
        .and_then(|at| SystemTime::try_from(at).ok());
    *stored = Some(Stored {
        uri: response.uri.clone(),
        until: expires_at.and_then(|at| at.checked_sub(MARGIN)),
        ended: Instant::now(),
    });
    Ok(response.uri)
}

/// The error of a file that is not sent.
fn not_sent(file: &Attached, error: NotSent) -> Error {
    match error {
        NotSent::Unreadable(error) => upload::unreadable(named(&file.path, &error)),
        NotSent::Changed => Error::of_argument(format!(
            "{} is not the file that was attached any more: attach the file again",
            file.path.display()
        )),
    }
}

/// The URIs of large files in a conversation, with the MIME types of their parts.
fn sources(conversation: &mut v1::Conversation) -> Vec<(&mut String, String)> {
    let mut found = Vec::new();
    let contents = conversation.messages.iter_mut();
    for part in contents.flat_map(|message| &mut message.content) {
        match &mut part.kind {
            Some(Kind::Audio(audio)) => {
                if let Some(audio::Source::Uri(uri)) = &mut audio.source {
                    found.push((uri, audio.mime_type.clone()));
                }
            }
            Some(Kind::Image(image)) => found.extend(image_source(image)),
            Some(Kind::Video(video)) => match &mut video.source {
                Some(video::Source::Uri(uri)) => found.push((uri, video.mime_type.clone())),
                Some(video::Source::Frames(frames)) => {
                    found.extend(frames.frames.iter_mut().filter_map(image_source));
                }
                Some(video::Source::Data(_)) | None => {}
            },
            Some(Kind::Text(_)) | None => {}
        }
    }
    found.retain(|(uri, _)| large_files::is_file(uri));
    found
}

fn image_source(image: &mut v1::Image) -> Option<(&mut String, String)> {
    match &mut image.source {
        Some(image::Source::Uri(uri)) => Some((uri, image.mime_type.clone())),
        Some(image::Source::Data(_)) | None => None,
    }
}
