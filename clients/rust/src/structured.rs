//! Answers that are values of a type.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use crate::answer::Answer;
use crate::call::CallSettings;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::error::Error;
#[cfg(feature = "schema")]
use crate::parse_error::ParseError;
use crate::v1;
use crate::v1::{CallFailure, response_format};

type Fault = Box<dyn StdError + Send + Sync>;
type Parse<T> = Arc<dyn Fn(&str) -> Result<T, Fault> + Send + Sync>;

/// A JSON Schema, and the function that parses what conforms to it.
pub struct OutputFormat<T> {
    name: String,
    schema: String,
    parse: Parse<T>,
}

impl<T> OutputFormat<T> {
    /// Creates a format. `schema` is a JSON text; `name` has letters, digits, `_` and `-`.
    pub fn new<Wrong: Into<Fault>>(
        name: impl Into<String>,
        schema: impl Into<String>,
        parse: impl Fn(&str) -> Result<T, Wrong> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            schema: schema.into(),
            parse: Arc::new(move |text| parse(text).map_err(Into::into)),
        }
    }

    /// The format of a type.
    #[cfg(feature = "schema")]
    pub fn of_type() -> Self
    where
        T: serde::de::DeserializeOwned + schemars::JsonSchema,
    {
        let (name, schema) = (
            crate::schema::name::<T>(),
            crate::schema::json_schema::<T>(),
        );
        Self::new(name, schema, |text| {
            serde_json::from_str(text).map_err(|error| ParseError::of(&error))
        })
    }
}

impl<T> Clone for OutputFormat<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            schema: self.schema.clone(),
            parse: Arc::clone(&self.parse),
        }
    }
}

impl<T> fmt::Debug for OutputFormat<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("OutputFormat")
            .field("name", &self.name)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// A value, and the answer that it was parsed from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Structured<T> {
    /// The value.
    pub value: T,
    /// The answer.
    pub answer: Answer,
}

impl Client {
    /// Returns the next answer as a value of a type: its JSON Schema is the format of the answer. The
    /// conversation is not changed.
    ///
    /// ```no_run
    /// # async fn ask(client: dashgate_client::Client) -> Result<(), dashgate_client::Error> {
    /// # let conversation = dashgate_client::Conversation::new("qwen3.6-plus");
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct City {
    ///     name: String,
    ///     people: u64,
    /// }
    ///
    /// let city = client.converse_as::<City>(&conversation).repair(true).await?.value;
    /// println!("{} has {} people", city.name, city.people);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "schema")]
    pub fn converse_as<T>(&self, conversation: impl Into<Conversation>) -> StructuredCall<T>
    where
        T: serde::de::DeserializeOwned + schemars::JsonSchema,
    {
        self.converse_in(conversation, OutputFormat::of_type())
    }

    /// Returns the next answer as a value, with a schema and a function that parses. The conversation
    /// is not changed.
    pub fn converse_in<T>(
        &self,
        conversation: impl Into<Conversation>,
        format: OutputFormat<T>,
    ) -> StructuredCall<T> {
        StructuredCall {
            client: self.clone(),
            conversation: conversation.into(),
            format,
            settings: CallSettings::default(),
            repair: false,
        }
    }
}

/// A call whose answer is parsed, which is sent when it is awaited.
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct StructuredCall<T> {
    client: Client,
    conversation: Conversation,
    format: OutputFormat<T>,
    settings: CallSettings,
    repair: bool,
}

impl<T> StructuredCall<T> {
    /// Sets whether an answer that cannot be parsed is shown to the model with the error, once.
    /// Default: false.
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Sets the generation options, whose response format is replaced. Default: those of the model.
    pub fn options(mut self, options: v1::GenerationOptions) -> Self {
        self.settings.options = Some(options);
        self
    }

    /// Sets the request id of the first call. Default: a UUID.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.settings.request_id = Some(id.into());
        self
    }

    /// Sets the deadline of each call. Default: the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to each call; an `x-request-id` is that of the first.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.metadata.push((name.into(), value.into()));
        self
    }

    /// Sets how often each call is made again if it is throttled. Default: the client's.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = Some(retries);
        self
    }

    async fn run(mut self) -> Result<Structured<T>, Error> {
        let options = self.settings.options.get_or_insert_default();
        options.response_format = Some(v1::ResponseFormat {
            kind: Some(response_format::Kind::JsonSchema(v1::JsonSchema {
                name: self.format.name.clone(),
                schema: self.format.schema.clone(),
                strict: Some(true),
                ..v1::JsonSchema::default()
            })),
        });
        loop {
            let call = self.client.converse(&self.conversation);
            let answer = call.with(self.settings.clone()).await?;
            let fault = match (self.format.parse)(answer.text()) {
                Ok(value) => return Ok(Structured { value, answer }),
                Err(fault) => fault,
            };
            if !std::mem::take(&mut self.repair) {
                return Err(invalid(&answer, fault));
            }
            self.settings.next();
            self.conversation.append(&answer);
            self.conversation.user(format!(
                "The answer is invalid: {fault}. Answer again, with the corrected JSON only."
            ));
        }
    }
}

/// The error of an answer that cannot be parsed. The answer is billed.
fn invalid(answer: &Answer, fault: Fault) -> Error {
    let (message, id) = (fault.to_string(), answer.request_id());
    let error = Error::of_client(Code::Internal, "OUTPUT_INVALID", &message, id);
    let attempts = answer.timing().map_or(0, |timing| timing.attempts);
    let failure = CallFailure {
        usage: answer.usage().cloned(),
        model: answer.model().to_owned(),
        upstream_request_id: answer.upstream_request_id().to_owned(),
        output_started: true,
        attempts,
        ..CallFailure::default()
    };
    let error = error.with_failure(failure).with_headers(answer.headers());
    error.with_source(fault)
}

impl<T: 'static> IntoFuture for StructuredCall<T> {
    type Output = Result<Structured<T>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
