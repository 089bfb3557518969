//! The models that a server lists, for lists of models. No call waits for it.
//!
//! A list is kept for a minute, also if it could not be read, so that callers of the model service
//! cannot cause more requests than that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::Url;

use super::config::OpenAiConfig;
use super::wrong_path::of_path;
use crate::chat::call::{Delivery, Passing};
use crate::chat::document::Document;
use crate::dashscope::http;
use crate::dashscope::json_fields::Fields;
use crate::dashscope::json_tree;
use crate::dashscope::request::FixedHeaders;
use crate::dashscope::send::MethodUrl;
use crate::error::{Error, Reason};
use crate::http1::head::Request;

/// How long a list is kept.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// How long a server may take to send its list, connecting included.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum body. A server of its own models sends less than one kilobyte for each.
const MAX_BYTES: usize = 1024 * 1024;

/// The maximum number of models of a list.
const MAX_MODELS: usize = 1000;

/// The maximum length of a name. Names of repositories have less than a hundred bytes.
const MAX_NAME: usize = 256;

/// A model that a server lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// The name.
    pub name: Arc<str>,
    /// The tokens of input and output together.
    pub context_tokens: Option<u32>,
}

/// The list of one server.
pub(super) struct ModelList {
    models: MethodUrl,
    request: Request,
    server: &'static str,
    latest: Mutex<Option<(Instant, PendingModels)>>,
}

/// A list that was requested.
#[derive(Clone, Debug)]
pub struct PendingModels(watch::Receiver<Option<Arc<[ServedModel]>>>);

impl PendingModels {
    /// Waits for the list, for a few seconds at most. It is empty if it could not be read.
    pub async fn wait(mut self) -> Arc<[ServedModel]> {
        match self.0.wait_for(Option::is_some).await {
            Ok(models) => models.clone().unwrap_or_default(),
            Err(_) => Arc::default(),
        }
    }
}

impl ModelList {
    /// The list below this base URL. Nothing is requested yet.
    pub(super) fn new(base_url: &Url, config: &OpenAiConfig) -> Result<Self, Error> {
        let url = http::below(base_url, &["models"])?;
        let headers = FixedHeaders::new(
            ("GET", &url),
            config.api_key.as_ref(),
            None,
            None,
            config.network.proxies.of(&url),
        )?;
        let mut request = headers.common_head(&Passing::default(), Delivery::Whole, false)?;
        request.end(0);
        let models = MethodUrl::new(
            url,
            config.network.clone(),
            config.connect_timeout.min(TIMEOUT),
            config.max_connection_age,
        )?;
        Ok(Self {
            models,
            request,
            server: config.dialect.server,
            latest: Mutex::default(),
        })
    }

    /// The latest list, or a new one if that is too old.
    pub(super) fn ask(self: &Arc<Self>) -> PendingModels {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((since, models)) = &*latest
            && now.saturating_duration_since(*since) < KEPT_FOR
        {
            return models.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let pending = PendingModels(receiver);
        *latest = Some((now, pending.clone()));
        let list = Arc::clone(self);
        // A task of its own: a caller that goes away does not end the request of the others. The
        // timeout ends it.
        tokio::spawn(async move {
            let models = list.read().await;
            sender.send_replace(Some(models));
        });
        pending
    }

    async fn read(&self) -> Arc<[ServedModel]> {
        let read = timeout(TIMEOUT, self.request());
        let read = read.await.unwrap_or_else(|_| {
            Err(Error::new(
                Reason::UpstreamTimeout,
                "there was no list in time",
            ))
        });
        match read {
            Ok(models) => models.into(),
            Err(error) => {
                let error = error.of_server(self.server);
                let (host, port) = self.models.address();
                tracing::warn!(
                    server = format_args!("{host}:{port}"),
                    %error,
                    "listing the models of a server failed, using those of the configuration"
                );
                Arc::default()
            }
        }
    }

    async fn request(&self) -> Result<Vec<ServedModel>, Error> {
        let answer = self.models.get(&self.request).await.map_err(of_path)?;
        let body = http::read_body(answer.body, MAX_BYTES).await;
        let unreadable = || Error::new(Reason::UpstreamProtocol, "the list cannot be read");
        listed(&body).ok_or_else(unreadable)
    }
}

/// The models of a list, leniently: entries that have no name, or an impossible one, are skipped.
/// The list may be the whole body, and null.
fn listed(body: &[u8]) -> Option<Vec<ServedModel>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let (mut document, _) = json_tree::document(std::str::from_utf8(body).ok()?)?;
    if let Document::Object(answer) = document {
        let data = answer.0.into_iter().find(|(key, _)| key == "data");
        document = data?.1;
    }
    let entries = match document {
        Document::List(entries) => entries,
        Document::Null => Vec::new(),
        Document::Bool(_) | Document::Number(_) | Document::String(_) | Document::Object(_) => {
            return None;
        }
    };
    let models = entries.into_iter().filter_map(model);
    Some(models.take(MAX_MODELS).collect())
}

fn model(entry: Document) -> Option<ServedModel> {
    let mut entry = Fields::of(entry).ok()?;
    let name = entry.text("id")?.0;
    let is_possible = (1..=MAX_NAME).contains(&name.len())
        && !name.contains('*')
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() || !c.is_ascii() && !c.is_control());
    is_possible.then(|| ServedModel {
        name: name.as_ref().into(),
        context_tokens: entry.whole("max_model_len").filter(|tokens| *tokens > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_leniently() {
        let served = |name: &str, context_tokens| ServedModel {
            name: name.into(),
            context_tokens,
        };
        let body = r#"{"object": "list", "data": [
            {"id": "Qwen/Qwen2-Audio", "object": "model", "max_model_len": 8192},
            {"id": "lora", "parent": "Qwen/Qwen2-Audio", "max_model_len": null},
            {"id": "negative", "max_model_len": -1}, {"id": "text", "max_model_len": "32768"},
            {"id": "large", "max_model_len": 99999999999},
            {"id": ""}, {"id": "a*"}, {"id": "a\nb"}, {"id": "a b"}, {"name": "none"}, 7, null,
            {"id": "模型"}
        ]}"#;
        let expected = [
            served("Qwen/Qwen2-Audio", Some(8192)),
            served("lora", None),
            served("negative", None),
            served("text", Some(32768)),
            served("large", None),
            served("模型", None),
        ];
        assert_eq!(listed(body.as_bytes()).unwrap(), expected);
        for (body, count) in [
            ("[]", 0),
            ("{\"data\": null}", 0),
            ("[{\"id\": \"a\"}]", 1),
            ("\u{feff}{\"data\": [{\"id\": \"a\"}]}", 1),
        ] {
            assert_eq!(listed(body.as_bytes()).unwrap().len(), count, "{body}");
        }
        for odd in [
            "",
            "{}",
            "7",
            "{\"data\": {}}",
            "<html>",
            "{\"data\": [{\"id\": \"a\"}",
        ] {
            assert_eq!(listed(odd.as_bytes()), None, "{odd}");
        }
        let long = format!(
            "{{\"data\": [{{\"id\": \"{}\"}}]}}",
            "x".repeat(MAX_NAME + 1)
        );
        assert_eq!(listed(long.as_bytes()).unwrap(), []);
        let many = vec!["{\"id\": \"m\"}"; MAX_MODELS + 5].join(",");
        let many = listed(format!("{{\"data\": [{many}]}}").as_bytes()).unwrap();
        assert_eq!(many.len(), MAX_MODELS);
    }
}
