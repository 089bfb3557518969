//! The JSON form of the schema, for conversations and answers.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::answer::Answer;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::parse_error::ParseError;
use crate::v1;

/// The descriptors of the schema.
static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| {
    let text = include_str!("v1/descriptors.base64");
    let text: String = text.lines().collect();
    DescriptorPool::decode(STANDARD.decode(text).ok()?.as_slice()).ok()
});

fn descriptor(kind: &str) -> Result<MessageDescriptor, String> {
    let name = format!("dashgate.v1.{kind}");
    let found = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(&name));
    found.ok_or_else(|| format!("the schema has no {name}"))
}

/// Converts a message of this kind for serde.
pub(crate) fn dynamic(kind: &str, message: &impl Message) -> Result<DynamicMessage, String> {
    let bytes = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor(kind)?, bytes.as_slice());
    message.map_err(|error| error.to_string())
}

impl Conversation {
    /// Returns the conversation in the JSON form of the schema. It has the media as base64, and the
    /// latest turn that is known as `lastTurn`.
    ///
    /// # Errors
    ///
    /// A number is not finite.
    pub fn to_json(&self) -> Result<String, Error> {
        text(self)
    }

    /// Reads a conversation in the JSON form of the schema.
    ///
    /// ```
    /// use dashgate_client::Conversation;
    ///
    /// # fn read() -> Result<(), dashgate_client::Error> {
    /// let mut conversation = Conversation::new("qwen3.6-plus");
    /// conversation.user("Good morning!");
    /// let json = conversation.to_json()?;
    /// assert_eq!(Conversation::from_json(&json)?, conversation);
    /// # Ok(())
    /// # }
    /// # read().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The text is not JSON, or has fields that the schema does not define.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|error| {
            let error = ParseError::of(&error);
            Error::caused(format!("the JSON of a conversation: {error}"), error)
        })
    }
}

impl Answer {
    /// Returns the answer in the JSON form of the schema: a `ConverseResponse`.
    ///
    /// # Errors
    ///
    /// A number is not finite.
    pub fn to_json(&self) -> Result<String, Error> {
        text(self)
    }
}

fn text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::caused(format!("not possible as JSON: {error}"), error))
}

impl Serialize for Conversation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = self.raw().clone();
        raw.last_turn = self.last_turn().unwrap_or_default();
        let message = dynamic("Conversation", &raw).map_err(S::Error::custom)?;
        message.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = descriptor("Conversation").map_err(D::Error::custom)?;
        let message = DynamicMessage::deserialize(kind, deserializer)?;
        let bytes = message.encode_to_vec();
        let raw = v1::Conversation::decode(bytes.as_slice()).map_err(D::Error::custom)?;
        Ok(Self::from(raw))
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = dynamic("ConverseResponse", self.raw()).map_err(S::Error::custom)?;
        message.serialize(serializer)
    }
}
