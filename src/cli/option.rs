//! `--option KEY=VALUE`: any field of `GenerationOptions`, by its path in the schema.
//!
//! The descriptors that reflection serves say what there is, so a field that is added to the schema
//! can be set here at once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::value::Kind;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, Struct};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::config;
use crate::grpc::pb;

/// Where paths begin.
const ROOT: &str = ".dashgate.v1.GenerationOptions";
/// A field of this type takes any keys.
const STRUCT: &str = ".google.protobuf.Struct";
/// A field of this name is a text that holds JSON.
const SCHEMA: &str = "schema";
/// Messages of the schema are nested no deeper than this.
const DEPTH: usize = 4;

/// The messages of the schema, by their full names.
struct Schema(HashMap<String, DescriptorProto>);

/// Sets one option in the message.
///
/// # Errors
///
/// What is wrong with the key or with its value, and what to write instead.
pub(crate) fn set(options: &mut pb::GenerationOptions, text: &str) -> Result<(), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    let path: Vec<&str> = key.trim().split('.').collect();
    let bytes = Schema::read().encode(ROOT, &path, key.trim(), value)?;
    options
        .merge(&bytes[..])
        .map_err(|error| format!("{key} cannot be set: {error}"))
}

impl Schema {
    fn read() -> Self {
        // A test decodes them; without them there would be no fields.
        let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap_or_default();
        let mut messages = HashMap::new();
        for file in set.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                messages.insert(format!(".{package}.{}", message.name()), message);
            }
        }
        Self(messages)
    }

    fn fields(&self, message: &str) -> &[FieldDescriptorProto] {
        self.0.get(message).map_or(&[], |message| &message.field)
    }

    fn encode(
        &self,
        message: &str,
        path: &[&str],
        key: &str,
        value: &str,
    ) -> Result<Vec<u8>, String> {
        let (first, rest) = path.split_first().ok_or_else(|| self.unknown(key))?;
        let field = self
            .fields(message)
            .iter()
            .find(|field| field.name() == *first || field.json_name() == *first)
            .ok_or_else(|| self.unknown(key))?;
        let repeated = field.label() == Label::Repeated;
        if field.r#type() == Type::Message {
            let content = match field.type_name() {
                STRUCT => fields_of(rest, key, value)?.encode_to_vec(),
                _ if repeated => return Err(format!("{key} cannot be set on the command line")),
                inner if rest.is_empty() => {
                    let names = self.fields(inner).iter().map(FieldDescriptorProto::name);
                    let names: Vec<_> = names.map(|name| format!("{key}.{name}")).collect();
                    return Err(format!("{key} is a group: set one of {}", names.join(", ")));
                }
                inner => self.encode(inner, rest, key, value)?,
            };
            return Ok(delimited(field, &content));
        }
        if !rest.is_empty() {
            return Err(self.unknown(key));
        }
        match repeated {
            true => list(value).iter().try_fold(Vec::new(), |mut all, one| {
                all.extend(scalar(field, key, one)?);
                Ok(all)
            }),
            false => scalar(field, key, value),
        }
    }

    /// The paths of all fields.
    fn paths(&self, message: &str, before: &str, depth: usize) -> Vec<String> {
        let mut paths = Vec::new();
        for field in self.fields(message) {
            let path = format!("{before}{}", field.name());
            let inner = field.type_name();
            if field.r#type() == Type::Message && inner != STRUCT && depth < DEPTH {
                paths.extend(self.paths(inner, &format!("{path}."), depth + 1));
            } else {
                paths.push(path);
            }
        }
        paths
    }

    fn unknown(&self, key: &str) -> String {
        let paths = self.paths(ROOT, "", 0);
        let last = key.rsplit('.').next().unwrap_or(key);
        let inside = paths
            .iter()
            .find(|path| path.rsplit('.').next() == Some(last));
        let near = inside
            .map(String::as_str)
            .or_else(|| config::nearest(key, paths.iter().map(String::as_str)));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}"));
        format!(
            "there is no option {key:?}{hint}? A parameter that the schema does not have is set \
             as extra_parameters.{last}=VALUE"
        )
        .replace("\"?", "\".")
    }
}

/// A text, or several as a JSON list.
fn list(value: &str) -> Vec<String> {
    serde_json::from_str(value).unwrap_or_else(|_| vec![value.to_owned()])
}

fn scalar(field: &FieldDescriptorProto, key: &str, value: &str) -> Result<Vec<u8>, String> {
    let wrong = |wanted: &str| format!("{key} takes {wanted}, not {value:?}");
    let kind = field.r#type();
    let mut bytes = Vec::new();
    if kind == Type::String {
        if field.name() == SCHEMA {
            unique(key, value)?;
        }
        bytes = delimited(field, value.as_bytes());
    } else if kind == Type::Bool {
        let on: bool = value.parse().map_err(|_| wrong("true or false"))?;
        encode_key(number(field), WireType::Varint, &mut bytes);
        encode_varint(u64::from(on), &mut bytes);
    } else if [Type::Int32, Type::Int64].contains(&kind) {
        let whole: i64 = value.parse().map_err(|_| wrong("a whole number"))?;
        if kind == Type::Int32 && i32::try_from(whole).is_err() {
            return Err(wrong("a whole number of 32 bits"));
        }
        encode_key(number(field), WireType::Varint, &mut bytes);
        encode_varint(u64::from_ne_bytes(whole.to_ne_bytes()), &mut bytes);
    } else if kind == Type::Double {
        let real: f64 = value.parse().map_err(|_| wrong("a number"))?;
        encode_key(number(field), WireType::SixtyFourBit, &mut bytes);
        bytes.extend(real.to_le_bytes());
    } else {
        return Err(format!("{key} cannot be set on the command line"));
    }
    Ok(bytes)
}

fn number(field: &FieldDescriptorProto) -> u32 {
    u32::try_from(field.number()).unwrap_or_default()
}

fn delimited(field: &FieldDescriptorProto, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number(field), WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// A value of JSON, in which no key comes twice.
enum Open {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Open>),
    Object(BTreeMap<String, Open>),
}

impl<'de> Deserialize<'de> for Open {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OpenVisitor)
    }
}

struct OpenVisitor;

impl<'de> Visitor<'de> for OpenVisitor {
    type Value = Open;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Open, E> {
        Ok(Open::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Open, E> {
        Ok(Open::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Open, E> {
        Ok(Open::Number(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Open, E> {
        Ok(Open::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Open, E> {
        Ok(Open::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Open, E> {
        Ok(Open::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Open, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Open::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Open, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let message = format!("the key {key:?} comes more than once");
                return Err(de::Error::custom(message));
            }
            object.insert(key, entries.next_value()?);
        }
        Ok(Open::Object(object))
    }
}

/// The value of a JSON text; none if it is not JSON.
fn unique(key: &str, value: &str) -> Result<Option<Open>, String> {
    match serde_json::from_str(value) {
        Ok(value) => Ok(Some(value)),
        // JSON in every way but for a key that comes twice.
        Err(error) if error.is_data() => Err(format!("{key}: {error}")),
        Err(_) => Ok(None),
    }
}

/// The keys of an open object: the value is JSON, or else a text.
fn fields_of(path: &[&str], key: &str, value: &str) -> Result<Struct, String> {
    let value = unique(key, value)?.unwrap_or_else(|| Open::Text(value.to_owned()));
    let value = path.iter().rev().fold(value, |inner, name| {
        Open::Object([((*name).to_owned(), inner)].into())
    });
    match open(value).kind {
        Some(Kind::StructValue(fields)) => Ok(fields),
        _ => Err(format!(
            "{key} takes a JSON object, or set {key}.NAME=VALUE"
        )),
    }
}

fn open(value: Open) -> prost_types::Value {
    let kind = match value {
        Open::Null => Kind::NullValue(0),
        Open::Bool(on) => Kind::BoolValue(on),
        Open::Number(number) => Kind::NumberValue(number),
        Open::Text(text) => Kind::StringValue(text),
        Open::List(items) => Kind::ListValue(prost_types::ListValue {
            values: items.into_iter().map(open).collect(),
        }),
        Open::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, open(value)));
            Kind::StructValue(Struct {
                fields: fields.collect(),
            })
        }
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(texts: &[&str]) -> pb::GenerationOptions {
        let mut options = pb::GenerationOptions::default();
        for text in texts {
            set(&mut options, text).unwrap();
        }
        options
    }

    #[test]
    fn every_kind_of_field_is_set_by_its_path() {
        let options = with(&[
            "temperature=0.5",
            "max_tokens=100",
            "seed=-1",
            "enable_search=true",
            "stop=a,b",
            "stop=[\"c\", \"d\"]",
            "asr_options.language=zh",
            "asr_options.enable_itn=true",
            "asrOptions.enableLid=false",
            "audio.voice=Cherry",
            "size=1024*1024",
            "extra_parameters.deep.key=[1, \"x\"]",
            "extra_parameters.other=plain text",
        ]);
        assert_eq!(options.temperature, Some(0.5));
        assert_eq!((options.max_tokens, options.seed), (Some(100), Some(-1)));
        assert_eq!(options.enable_search, Some(true));
        assert_eq!(options.stop, ["a,b", "c", "d"]);
        let asr = options.asr_options.unwrap();
        assert_eq!(asr.language.as_deref(), Some("zh"));
        assert_eq!((asr.enable_itn, asr.enable_lid), (Some(true), Some(false)));
        assert_eq!(options.audio.unwrap().voice, "Cherry");
        assert_eq!(options.size.as_deref(), Some("1024*1024"));
        let extra = format!("{:?}", options.extra_parameters.unwrap());
        for part in [
            "deep",
            "NumberValue(1.0)",
            "StringValue(\"x\")",
            "plain text",
        ] {
            assert!(extra.contains(part), "{part} in {extra}");
        }
    }

    #[test]
    fn what_cannot_be_set_is_said_with_what_can() {
        for (text, words) in [
            ("temperature", "is not KEY=VALUE"),
            ("temperatur=1", "did you mean temperature"),
            ("language=zh", "did you mean asr_options.language"),
            (
                "asr_options.langage=zh",
                "did you mean asr_options.language",
            ),
            (
                "asr_options=zh",
                "is a group: set one of asr_options.language",
            ),
            ("nothing.like.this=1", "extra_parameters.this=VALUE"),
            (
                "temperature=warm",
                "temperature takes a number, not \"warm\"",
            ),
            ("max_tokens=9999999999", "a whole number of 32 bits"),
            ("logprobs=yes", "takes true or false"),
            ("temperature.more=1", "there is no option"),
            ("extra_parameters=1", "takes a JSON object"),
            (
                "extra_parameters.x={\"a\":1,\"a\":2}",
                "extra_parameters.x: the key \"a\" comes more than once",
            ),
            (
                "response_format.json_schema.schema={\"a\":1,\"a\":2}",
                "schema: the key \"a\" comes more than once",
            ),
            (
                "extra_parameters={\"x\":[{\"b\":{},\"b\":1}]}",
                "the key \"b\" comes more than once",
            ),
            ("stop_token_ids=1", "cannot be set on the command line"),
        ] {
            let told = set(&mut pb::GenerationOptions::default(), text).unwrap_err();
            assert!(told.contains(words), "{words} in {told}");
        }
    }
}
