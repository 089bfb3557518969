//! Reads a response as documented, without copying what JSON allows to borrow.
//!
//! The visitors are written by hand instead of using serde's `flatten` and `untagged`, which copy
//! every value into a tree first. Each object keeps unknown keys in `extra`; a value of an
//! undocumented type or a duplicate key is an error, and `lenient.rs` then reads the same body into
//! the same types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::answer_json::{
    Annotation, Audio, Body, Choice, Content, Function, Logprobs, Message, Output, Part,
    SearchInfo, SearchResult, TokenLogprob, ToolCall,
};
use super::json::{Gathered, Read};
use super::json_text::Text;
use crate::chat::document::{Document, Object};

/// An object with known keys, which keeps the others.
trait Keyed<'a>: Default {
    /// The name in type errors.
    const NAME: &'static str;

    /// Reads the value of a key. Returns whether the key is known.
    fn read<'de: 'a, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    /// Stores the unknown keys.
    fn keep(&mut self, extra: Object);
}

/// Reads a body as documented.
pub(super) fn read(json: &str) -> serde_json::Result<Body<'_>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut body = Body::default();
    reader.deserialize_map(Into(&mut body, PhantomData))?;
    reader.end()?;
    Ok(body)
}

/// Reads an object in place: a returned value would be moved at each level.
struct Into<'t, 'a, T>(&'t mut T, PhantomData<&'a ()>);

impl<'de: 'a, 'a, T: Keyed<'a>> Visitor<'de> for Into<'_, 'a, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(value, _) = self;
        let mut extra = Gathered::default();
        while let Some(Text(key)) = map.next_key()? {
            if !value.read(&key, &mut map)? {
                let Read(document) = map.next_value()?;
                if document != Document::Null {
                    extra.insert(key.into_owned(), document);
                }
            }
        }
        value.keep(extra.unique().ok_or_else(twice)?);
        Ok(())
    }
}

/// An object or null, read in place.
struct Optional<'t, 'a, T>(&'t mut Option<T>, PhantomData<&'a ()>);

impl<'de: 'a, 'a, T: Keyed<'a>> DeserializeSeed<'de> for Optional<'_, 'a, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de: 'a, 'a, T: Keyed<'a>> Visitor<'de> for Optional<'_, 'a, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Into(self.0.insert(T::default()), PhantomData))
    }
}

/// A list or null.
struct List<T>(Option<Vec<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: de::Error>(self) -> Result<List<T>, E> {
                Ok(List(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<List<T>, A::Error> {
                gather(items).map(|list| List(Some(list)))
            }
        }

        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// The items of a list. Most lists have one, and a list that grows from empty allocates four.
fn gather<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut items: A) -> Result<Vec<T>, A::Error> {
    let mut list = Vec::new();
    while let Some(item) = items.next_element()? {
        if list.is_empty() {
            list.reserve_exact(1);
        }
        list.push(item);
    }
    Ok(list)
}

/// The error of a duplicate key.
fn twice<E: de::Error>() -> E {
    E::custom("duplicate key")
}

/// The keys of an object; after `object`, those that hold objects, and after `list` that of a list.
macro_rules! keyed {
    (
        $type:ident, $name:literal,
        {
            $($key:literal => $field:ident),+
            $(; object $($inner:literal => $at:ident),+)?
            $(; list $items:literal => $list:ident)?
        }
    ) => {
        impl<'a> Keyed<'a> for $type<'a> {
            const NAME: &'static str = $name;

            fn read<'de: 'a, A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => {
                        if self.$field.is_some() {
                            return Err(twice());
                        }
                        self.$field = map.next_value()?;
                    })+
                    $($($inner => {
                        if self.$at.is_some() {
                            return Err(twice());
                        }
                        map.next_value_seed(Optional(&mut self.$at, PhantomData))?;
                    })+)?
                    $($items => {
                        if self.$list.is_some() {
                            return Err(twice());
                        }
                        let List(list) = map.next_value()?;
                        self.$list = list;
                    })?
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn keep(&mut self, extra: Object) {
                self.extra = extra;
            }
        }
    };
}

macro_rules! object {
    ($($type:ident),+) => {
        $(impl<'de: 'a, 'a> Deserialize<'de> for $type<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut value = Self::default();
                deserializer.deserialize_map(Into(&mut value, PhantomData))?;
                Ok(value)
            }
        })+
    };
}

keyed!(Body, "an answer", {
    "request_id" => request_id,
    "code" => code,
    "message" => message,
    "error" => error,
    "usage" => usage;
    object "output" => output
});

keyed!(Output, "an output object", {
    "text" => text,
    "finish_reason" => finish_reason,
    "audio" => audio,
    "finished" => finished;
    object "search_info" => search_info;
    list "choices" => choices
});

keyed!(Choice, "a choice", {
    "index" => index,
    "finish_reason" => finish_reason;
    object "message" => message, "logprobs" => logprobs
});

keyed!(Message, "a message", {
    "role" => role,
    "content" => content,
    "reasoning_content" => reasoning_content,
    "tool_calls" => tool_calls,
    "annotations" => annotations
});

keyed!(Part, "a part of a content", {
    "text" => text,
    "image" => image,
    "audio" => audio
});

keyed!(Audio, "an audio object", {
    "data" => data,
    "url" => url,
    "id" => id,
    "expires_at" => expires_at
});

keyed!(ToolCall, "a tool call", {
    "index" => index,
    "id" => id,
    "type" => kind;
    object "function" => function
});

keyed!(Function, "a function", { "name" => name, "arguments" => arguments });

keyed!(Annotation, "an annotation", {
    "type" => kind,
    "language" => language,
    "emotion" => emotion
});

keyed!(Logprobs, "a logprobs object", { "content" => content });

keyed!(TokenLogprob, "a token", {
    "token" => token,
    "bytes" => bytes,
    "logprob" => logprob,
    "top_logprobs" => top_logprobs
});

keyed!(SearchInfo, "a search info object", { "search_results" => results });

keyed!(SearchResult, "a search result", {
    "index" => index,
    "title" => title,
    "url" => url,
    "site_name" => site_name,
    "icon" => icon
});

object!(
    Choice,
    Part,
    ToolCall,
    Annotation,
    TokenLogprob,
    SearchResult
);

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

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content<'a>, A::Error> {
                gather(items).map(Content::Parts)
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
                f.write_str("audio: an address or an object")
            }

            fn visit_borrowed_str<E: de::Error>(self, url: &'de str) -> Result<Audio<'a>, E> {
                Ok(Audio::at(Text(Cow::Borrowed(url))))
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Audio<'a>, E> {
                Ok(Audio::at(Text(Cow::Owned(url.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Audio<'a>, A::Error> {
                let mut audio = Audio::default();
                Into(&mut audio, PhantomData).visit_map(map)?;
                Ok(audio)
            }
        }

        deserializer.deserialize_any(AudioVisitor(PhantomData))
    }
}
