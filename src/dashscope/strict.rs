//! Reads a response as documented; `lenient.rs` reads what deviates into the same types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::answer_json::{
    Annotation, Audio, Body, Choice, Content, Function, Logprobs, Message, Output, Part,
    SearchInfo, SearchResult, TokenLogprob, ToolCall,
};
use super::json_text::Text;
use super::strict_object::{Into, gather, keyed, object, read_object};

/// Reads a body as documented.
pub(super) fn read(json: &str) -> serde_json::Result<Body<'_>> {
    read_object(json)
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
