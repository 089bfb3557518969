//! DashScope's answers as they stand on the wire. Texts are borrowed wherever JSON allows it.
//!
//! The shapes are read by hand-written visitors, not by serde's `flatten` and `untagged`: those
//! copy every value into a tree first.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Gathered, Read};
use super::text::Text;
use crate::chat::document::{Document, Object};

/// The body of an answer, or the data of one event.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) request_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) output: Option<Output<'a>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
}

/// `output`.
#[derive(Debug, Default)]
pub(super) struct Output<'a> {
    pub(super) choices: Option<Vec<Choice<'a>>>,
    /// The answer of models that do not speak in choices.
    pub(super) text: Option<Text<'a>>,
    pub(super) finish_reason: Option<Text<'a>>,
    pub(super) audio: Option<Audio<'a>>,
    pub(super) search_info: Option<SearchInfo<'a>>,
    pub(super) extra: Object,
}

impl Output<'_> {
    /// Whether there is an answer in it. Faults come with an empty object at times.
    pub(super) fn says_something(&self) -> bool {
        self.choices
            .as_ref()
            .is_some_and(|choices| !choices.is_empty())
            || self.text.is_some()
            || self.finish_reason.is_some()
            || self.audio.is_some()
            || self.search_info.is_some()
            || !self.extra.is_empty()
    }
}

/// One of `output.choices`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub(super) index: Option<i32>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<Logprobs<'a>>,
}

/// `message`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    pub(super) annotations: Option<Vec<Annotation<'a>>>,
}

/// `content`: a list of parts, or a text alone.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

/// One part of `content`.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) text: Option<Text<'a>>,
    pub(super) image: Option<Text<'a>>,
    pub(super) audio: Option<Audio<'a>>,
    pub(super) extra: Object,
}

/// A sound: an object, or the address alone.
#[derive(Debug, Default)]
pub(super) struct Audio<'a> {
    pub(super) data: Option<Text<'a>>,
    pub(super) url: Option<Text<'a>>,
    pub(super) id: Option<Text<'a>>,
    pub(super) expires_at: Option<i64>,
}

/// One of `tool_calls`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: Option<i32>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

/// `function` of a tool call.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) arguments: Option<Text<'a>>,
}

/// One of `annotations`.
#[derive(Debug, Default)]
pub(super) struct Annotation<'a> {
    pub(super) kind: Option<Text<'a>>,
    pub(super) language: Option<Text<'a>>,
    pub(super) emotion: Option<Text<'a>>,
    pub(super) extra: Object,
}

/// `logprobs`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Logprobs<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Vec<TokenLogprob<'a>>>,
}

/// One token of `logprobs`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct TokenLogprob<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) logprob: Option<f64>,
    #[serde(borrow)]
    pub(super) top_logprobs: Option<Vec<TokenLogprob<'a>>>,
}

/// `search_info`.
#[derive(Debug, Default)]
pub(super) struct SearchInfo<'a> {
    pub(super) results: Option<Vec<SearchResult<'a>>>,
    pub(super) extra: Object,
}

/// One of `search_results`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct SearchResult<'a> {
    pub(super) index: Option<i32>,
    #[serde(borrow)]
    pub(super) title: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) url: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) site_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) icon: Option<Text<'a>>,
}

/// The other form of a fault: `{"error": {...}}`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct ErrorObject<'a> {
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) param: Option<Text<'a>>,
}

/// An object with some known keys and the rest kept.
trait Keyed<'a>: Default {
    /// What it is, for the fault that says that it is not.
    const NAME: &'static str;

    /// Reads the value of a key, or says that the key is not known.
    fn read<'de: 'a, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    /// Where the other keys go.
    fn keep(&mut self, extra: Object);
}

struct KeyedVisitor<T>(PhantomData<T>);

impl<'de: 'a, 'a, T: Keyed<'a>> Visitor<'de> for KeyedVisitor<(T, &'a ())> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        let mut extra = Gathered::default();
        while let Some(Text(key)) = map.next_key()? {
            if !value.read(&key, &mut map)? {
                let Read(document) = map.next_value()?;
                if document != Document::Null {
                    extra.insert(key.into_owned(), document);
                }
            }
        }
        value.keep(extra.finish());
        Ok(value)
    }
}

macro_rules! keyed {
    ($type:ident, $name:literal, { $($key:literal => $field:ident),+ }, $extra:ident) => {
        impl<'a> Keyed<'a> for $type<'a> {
            const NAME: &'static str = $name;

            fn read<'de: 'a, A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => self.$field = map.next_value()?,)+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn keep(&mut self, extra: Object) {
                self.$extra = extra;
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $type<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map(KeyedVisitor::<(Self, &'a ())>(PhantomData))
            }
        }
    };
}

keyed!(Output, "an output object", {
    "choices" => choices,
    "text" => text,
    "finish_reason" => finish_reason,
    "audio" => audio,
    "search_info" => search_info
}, extra);

keyed!(Part, "a part of a content", {
    "text" => text,
    "image" => image,
    "audio" => audio
}, extra);

keyed!(Annotation, "an annotation", {
    "type" => kind,
    "language" => language,
    "emotion" => emotion
}, extra);

keyed!(SearchInfo, "a search info object", { "search_results" => results }, extra);

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for ContentVisitor<'a> {
            type Value = Content<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a content: a text or a list of parts")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content<'a>, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = items.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }

        deserializer.deserialize_any(ContentVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Audio<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudioVisitor<'a>(PhantomData<&'a str>);

        impl<'de: 'a, 'a> Visitor<'de> for AudioVisitor<'a> {
            type Value = Audio<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sound: an address or an object")
            }

            fn visit_borrowed_str<E: de::Error>(self, url: &'de str) -> Result<Audio<'a>, E> {
                Ok(Audio::at(Text(Cow::Borrowed(url))))
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Audio<'a>, E> {
                Ok(Audio::at(Text(Cow::Owned(url.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Audio<'a>, A::Error> {
                let mut audio = Audio::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "data" => audio.data = map.next_value()?,
                        "url" => audio.url = map.next_value()?,
                        "id" => audio.id = map.next_value()?,
                        "expires_at" => audio.expires_at = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(audio)
            }
        }

        deserializer.deserialize_any(AudioVisitor(PhantomData))
    }
}

impl<'a> Audio<'a> {
    fn at(url: Text<'a>) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }
}
