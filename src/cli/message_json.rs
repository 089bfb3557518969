//! Messages of the schema as JSON, with the names of the schema.
//!
//! It follows the descriptors, so that new fields of the schema are included without changes.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::value::Kind;
use prost_types::{FieldDescriptorProto, Struct};
use serde::{Serialize, Serializer};

use super::schema::{STRUCT, Schema};

/// The field with the data of a medium, which is replaced by its size under this name.
const MEDIUM: (&str, &str) = ("data", "data_bytes");
/// Below this, doubles represent every integer exactly.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// Nothing.
    Null,
    /// A switch.
    Bool(bool),
    /// A whole number.
    Whole(i64),
    /// Another number.
    Real(f64),
    /// A text.
    Text(String),
    /// Values in their order.
    List(Vec<Shown>),
    /// Values by name.
    Object(Fields),
}

/// Values by name, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(pub(crate) Vec<(String, Shown)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Fields {
    /// The value of this name, which is made if there is none.
    fn entry(&mut self, name: &str, empty: Shown) -> Option<&mut Shown> {
        let at = self.0.iter().position(|(there, _)| there == name);
        let at = at.unwrap_or_else(|| {
            self.0.push((name.to_owned(), empty));
            self.0.len() - 1
        });
        self.0.get_mut(at).map(|(_, value)| value)
    }
}

/// The fields of a message that are set. `name` is that of its type, as in `Usage`.
pub(crate) fn fields(schema: &Schema, name: &str, message: &impl Message) -> Fields {
    let bytes = message.encode_to_vec();
    object(schema, &format!(".dashgate.v1.{name}"), &bytes)
}

/// The keys of an open object.
pub(crate) fn keys(open: &Struct) -> Shown {
    let fields = open.fields.iter();
    let fields = fields.map(|(key, value)| (key.clone(), any(value)));
    Shown::Object(Fields(fields.collect()))
}

fn any(value: &prost_types::Value) -> Shown {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Shown::Null,
        Some(Kind::BoolValue(on)) => Shown::Bool(*on),
        Some(Kind::StringValue(text)) => Shown::Text(text.clone()),
        Some(Kind::NumberValue(real)) => number(*real),
        Some(Kind::ListValue(list)) => Shown::List(list.values.iter().map(any).collect()),
        Some(Kind::StructValue(fields)) => keys(fields),
    }
}

fn number(real: f64) -> Shown {
    let whole = real.fract() == 0.0 && real.abs() < WHOLE;
    let whole = whole.then(|| format!("{real:.0}").parse::<i64>().ok());
    match whole.flatten() {
        Some(whole) => Shown::Whole(whole),
        None => Shown::Real(real),
    }
}

/// What is read here was written by this process a moment ago: it ends early only if it is broken.
fn object(schema: &Schema, name: &str, mut bytes: &[u8]) -> Fields {
    let mut all = Fields::default();
    while let Ok((tag, wire)) = decode_key(&mut bytes) {
        let field = schema.fields(name).iter();
        let field = field
            .into_iter()
            .find(|field| u32::try_from(field.number()) == Ok(tag));
        let Some(field) = field else {
            if skip_field(wire, tag, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        };
        let Some(values) = values(schema, field, wire, &mut bytes) else {
            break;
        };
        let name = match field.r#type() == Type::Bytes && field.name() == MEDIUM.0 {
            true => MEDIUM.1,
            false => field.name(),
        };
        if schema.is_map_entry(field.type_name()) {
            if let Some(Shown::Object(there)) = all.entry(name, Shown::Object(Fields::default())) {
                there.0.extend(values.into_iter().filter_map(entry));
            }
        } else if field.label() == Label::Repeated {
            if let Some(Shown::List(there)) = all.entry(name, Shown::List(Vec::new())) {
                there.extend(values);
            }
        } else if let Some(value) = values.into_iter().next_back()
            && let Some(there) = all.entry(name, Shown::Null)
        {
            *there = value;
        }
    }
    all
}

/// An entry of a map.
fn entry(value: Shown) -> Option<(String, Shown)> {
    let Shown::Object(Fields(fields)) = value else {
        return None;
    };
    let (mut key, mut value) = (String::new(), Shown::Text(String::new()));
    for (name, shown) in fields {
        match (name.as_str(), shown) {
            ("key", Shown::Text(text)) => key = text,
            (_, shown) => value = shown,
        }
    }
    Some((key, value))
}

/// The next value of a field; several where numbers are packed.
fn values(
    schema: &Schema,
    field: &FieldDescriptorProto,
    wire: WireType,
    bytes: &mut &[u8],
) -> Option<Vec<Shown>> {
    let kind = field.r#type();
    if wire != WireType::LengthDelimited {
        return Some(vec![plain(schema, field, wire, bytes)?]);
    }
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    let text = || String::from_utf8_lossy(content).into_owned();
    Some(match (kind, field.type_name()) {
        (Type::String, _) => vec![Shown::Text(text())],
        (Type::Bytes, _) if field.name() == MEDIUM.0 => {
            vec![Shown::Whole(i64::try_from(length).ok()?)]
        }
        // As DashScope writes the bytes of a token.
        (Type::Bytes, _) => {
            let bytes = content.iter().map(|byte| Shown::Whole((*byte).into()));
            vec![Shown::List(bytes.collect())]
        }
        (Type::Message, STRUCT) => vec![keys(&Struct::decode(content).ok()?)],
        (Type::Message, ".google.protobuf.Timestamp") => {
            let moment = prost_types::Timestamp::decode(content).ok()?;
            vec![Shown::Text(moment.to_string())]
        }
        (Type::Message, ".google.protobuf.Duration") => {
            let span = prost_types::Duration::decode(content).ok()?;
            vec![Shown::Text(span.to_string())]
        }
        (Type::Message, name) => vec![Shown::Object(object(schema, name, content))],
        _ => {
            let wire = match kind == Type::Double {
                true => WireType::SixtyFourBit,
                false => WireType::Varint,
            };
            let mut content = content;
            let mut all = Vec::new();
            while !content.is_empty() {
                all.push(plain(schema, field, wire, &mut content)?);
            }
            all
        }
    })
}

/// A number, a switch, or a value of an enumeration.
fn plain(
    schema: &Schema,
    field: &FieldDescriptorProto,
    wire: WireType,
    bytes: &mut &[u8],
) -> Option<Shown> {
    if wire == WireType::SixtyFourBit {
        let (eight, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        return Some(number(f64::from_le_bytes(*eight)));
    }
    let raw = decode_varint(bytes).ok()?;
    let whole = i64::from_ne_bytes(raw.to_ne_bytes());
    if field.r#type() == Type::Bool {
        return Some(Shown::Bool(raw != 0));
    }
    // No other kind has named values.
    let mut values = schema.values(field.type_name()).iter();
    let named = values.find(|value| i64::from(value.number()) == whole);
    Some(named.map_or(Shown::Whole(whole), |value| {
        Shown::Text(value.name().to_owned())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashgate_client::v1 as pb;

    fn shown(name: &str, message: &impl Message) -> String {
        serde_json::to_string(&fields(&Schema::read(), name, message)).unwrap()
    }

    #[test]
    fn every_kind_of_field_is_shown_under_its_name() {
        let choice = pb::Choice {
            index: -1,
            message: Some(pb::Message {
                role: pb::Role::Assistant.into(),
                content: vec![pb::Content {
                    kind: Some(pb::content::Kind::Audio(pb::Audio {
                        source: Some(pb::audio::Source::Data(vec![1, 2, 3].into())),
                        file: Some(pb::AudioFile {
                            expires_at: Some(prost_types::Timestamp {
                                seconds: 0,
                                nanos: 0,
                            }),
                            ..pb::AudioFile::default()
                        }),
                        ..pb::Audio::default()
                    })),
                    extra: Some(Struct {
                        fields: [("n", 1.0), ("r", 1.5)]
                            .map(|(key, value)| (key.to_owned(), value.into()))
                            .into(),
                    }),
                    ..pb::Content::default()
                }],
                ..pb::Message::default()
            }),
            logprobs: Some(pb::Logprobs {
                content: vec![pb::TokenLogprob {
                    bytes: vec![228, 189].into(),
                    logprob: Some(-0.5),
                    ..pb::TokenLogprob::default()
                }],
                extra: None,
            }),
            ..pb::Choice::default()
        };
        assert_eq!(
            shown("Choice", &choice),
            concat!(
                r#"{"index":-1,"message":{"role":"ROLE_ASSISTANT","content":[{"audio":{"#,
                r#""data_bytes":3,"file":{"expires_at":"1970-01-01T00:00:00Z"}},"#,
                r#""extra":{"n":1,"r":1.5}}]},"#,
                r#""logprobs":{"content":[{"bytes":[228,189],"logprob":-0.5}]}}"#
            )
        );
        let options = pb::GenerationOptions {
            stop_token_ids: vec![pb::TokenSequence {
                token_ids: vec![1, 300],
            }],
            long_audio: pb::LongAudio::Fail.into(),
            enable_search: Some(true),
            ..pb::GenerationOptions::default()
        };
        assert_eq!(
            shown("GenerationOptions", &options),
            concat!(
                r#"{"stop_token_ids":[{"token_ids":[1,300]}],"enable_search":true,"#,
                r#""long_audio":"LONG_AUDIO_FAIL"}"#
            )
        );
    }
}
