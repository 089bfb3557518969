//! `--option KEY=VALUE`: any field of `GenerationOptions`, by its path in the schema.
//!
//! It uses the descriptors of server reflection, so that new fields of the schema can be set
//! without changes.

use std::collections::HashMap;
use std::mem;

use dashgate_client::v1 as pb;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::value::Kind;
use serde_json::value::RawValue;

use crate::config;

use super::json_values;
use super::schema::{STRUCT, Schema};

/// The message that paths start from.
const ROOT: &str = ".dashgate.v1.GenerationOptions";
/// A field with this name is a text with JSON.
const SCHEMA: &str = "schema";
/// The deepest nesting of messages in the schema.
const DEPTH: usize = 4;

/// Sets an option in the message.
///
/// # Errors
///
/// What is wrong with the key or the value, and what to write instead.
pub(crate) fn set(options: &mut pb::GenerationOptions, text: &str) -> Result<(), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    let path: Vec<&str> = key.trim().split('.').collect();
    let bytes = Schema::read().encode(ROOT, &path, key.trim(), value)?;
    let kind = |options: &pb::GenerationOptions| {
        let format = options.response_format.as_ref()?;
        format.kind.as_ref().map(mem::discriminant)
    };
    let before = kind(options);
    options
        .merge(&bytes[..])
        .map_err(|error| format!("{key} cannot be set: {error}"))?;
    if before.is_some() && before != kind(options) {
        return Err(format!(
            "{key}: response_format has another kind already; set only one"
        ));
    }
    Ok(())
}

impl Schema {
    fn encode(
        &self,
        message: &str,
        path: &[&str],
        key: &str,
        value: &str,
    ) -> Result<Vec<u8>, String> {
        let (first, rest) = path.split_first().ok_or_else(|| self.unknown(key))?;
        let field = self
            .field(message, first)
            .ok_or_else(|| self.unknown(key))?;
        if field.r#type() == Type::Message {
            return self.encode_message(field, rest, key, value);
        }
        if !rest.is_empty() {
            return Err(self.unknown(key));
        }
        match field.label() == Label::Repeated && value.trim_start().starts_with('[') {
            true => self.elements(field, key, value),
            false => self.scalar(field, key, value),
        }
    }

    fn field(&self, message: &str, name: &str) -> Option<&FieldDescriptorProto> {
        let mut fields = self.fields(message).iter();
        fields.find(|field| field.name() == name || field.json_name() == name)
    }

    fn encode_message(
        &self,
        field: &FieldDescriptorProto,
        rest: &[&str],
        key: &str,
        value: &str,
    ) -> Result<Vec<u8>, String> {
        let inner = field.type_name();
        let json = value.trim_start().starts_with(['{', '[']);
        let content = match rest {
            _ if inner == STRUCT => keys_of(rest, key, value)?,
            [] if json && field.label() == Label::Repeated => {
                return self.elements(field, key, value);
            }
            [] if json => self.message(inner, key, value)?,
            // A message without fields is present or absent.
            [] if value == "true" && self.fields(inner).is_empty() => Vec::new(),
            [] if field.label() == Label::Repeated => {
                return Err(format!(
                    "{key} takes a JSON list, as in {key}=[[1,2],[3]], not {value:?}"
                ));
            }
            [] => {
                let names = self.fields(inner).iter().map(FieldDescriptorProto::name);
                let names: Vec<_> = names.map(|name| format!("{key}.{name}")).collect();
                return Err(format!("{key} is a group: set {}", names.join(", ")));
            }
            _ => self.encode(inner, rest, key, value)?,
        };
        Ok(delimited(field, &content))
    }

    /// The elements of a JSON list.
    fn elements(
        &self,
        field: &FieldDescriptorProto,
        key: &str,
        value: &str,
    ) -> Result<Vec<u8>, String> {
        let elements: Vec<&RawValue> =
            serde_json::from_str(value).map_err(|error| broken(key, value, &error))?;
        let mut all = Vec::new();
        for (at, element) in elements.iter().enumerate() {
            all.extend(self.one(field, &format!("{key}[{at}]"), element.get())?);
        }
        Ok(all)
    }

    /// A message as a JSON object; one that has only a list may be given as that list.
    fn message(&self, name: &str, key: &str, value: &str) -> Result<Vec<u8>, String> {
        if let [only] = self.fields(name)
            && only.label() == Label::Repeated
            && value.trim_start().starts_with('[')
        {
            return self.elements(only, key, value);
        }
        let json_values::Fields(fields) =
            serde_json::from_str(value).map_err(|error| broken(key, value, &error))?;
        let mut all = Vec::new();
        let mut oneofs = HashMap::new();
        for (name_of, value) in fields {
            let member = format!("{key}.{name_of}");
            let field = self
                .field(name, &name_of)
                .ok_or_else(|| self.unknown(&member))?;
            let oneof = field
                .oneof_index
                .map(|index| oneofs.insert(index, name_of.clone()));
            if let Some(Some(other)) = oneof {
                return Err(format!("{key} has {other} and {name_of}: set only one"));
            }
            let key = member;
            let repeated = field.label() == Label::Repeated;
            all.extend(match repeated {
                true => self.elements(field, &key, value.get())?,
                false => self.one(field, &key, value.get())?,
            });
        }
        Ok(all)
    }

    /// One value of a field, from JSON.
    fn one(&self, field: &FieldDescriptorProto, key: &str, json: &str) -> Result<Vec<u8>, String> {
        let text = serde_json::from_str::<String>(json);
        let kind = field.r#type();
        if kind == Type::Message {
            let content = match field.type_name() {
                STRUCT => keys_of(&[], key, json)?,
                name => self.message(name, key, json)?,
            };
            return Ok(delimited(field, &content));
        }
        if kind == Type::String && text.is_err() {
            return Err(format!("{key} takes a text, not {json}"));
        }
        self.scalar(field, key, text.as_deref().unwrap_or(json))
    }

    /// The paths of all fields.
    fn paths(&self, message: &str, before: &str, depth: usize) -> Vec<String> {
        let mut paths = Vec::new();
        for field in self.fields(message) {
            let path = format!("{before}{}", field.name());
            let inner = field.type_name();
            let has_fields = inner != STRUCT && !self.fields(inner).is_empty();
            if field.r#type() == Type::Message && has_fields && depth < DEPTH {
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

    fn scalar(
        &self,
        field: &FieldDescriptorProto,
        key: &str,
        value: &str,
    ) -> Result<Vec<u8>, String> {
        let wrong = |wanted: &str| format!("{key} takes {wanted}, not {value:?}");
        let kind = field.r#type();
        let mut bytes = Vec::new();
        if kind == Type::String {
            if field.name() == SCHEMA {
                json_values::unique(value, key)?;
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
        } else if kind == Type::Enum {
            let chosen = self.choice(field.type_name(), value);
            let chosen = chosen.map_err(|names| wrong(&names))?;
            encode_key(number(field), WireType::Varint, &mut bytes);
            encode_varint(chosen, &mut bytes);
        } else if kind == Type::Double {
            let real: Result<f64, _> = value.parse();
            let real = real.ok().filter(|real| real.is_finite());
            let real = real.ok_or_else(|| wrong("a number"))?;
            encode_key(number(field), WireType::SixtyFourBit, &mut bytes);
            bytes.extend(real.to_le_bytes());
        } else {
            return Err(format!("{key} cannot be set on the command line"));
        }
        Ok(bytes)
    }

    /// The number of an enumeration value: by its name in the schema, with or without the common
    /// prefix. `Err`: the known names.
    fn choice(&self, name: &str, value: &str) -> Result<u64, String> {
        let values = self.values(name);
        // The names of all values have a common prefix; the first one is UNSPECIFIED.
        let unsaid = values.first().map_or("", |first| first.name());
        let prefix = unsaid.strip_suffix("UNSPECIFIED").unwrap_or_default();
        let own = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
        for one in values.iter().skip(1) {
            if value.eq_ignore_ascii_case(one.name())
                || value.eq_ignore_ascii_case(&own(one.name()))
            {
                return Ok(u64::try_from(one.number()).unwrap_or_default());
            }
        }
        let names: Vec<_> = values.iter().skip(1).map(|one| own(one.name())).collect();
        Err(names.join(" or "))
    }
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

fn broken(key: &str, value: &str, error: &serde_json::Error) -> String {
    format!(
        "{key}: {value:?} is invalid JSON: {error}; write a text that starts like JSON in \
         quotation marks"
    )
}

/// The keys of an open object, encoded: the value is JSON, or otherwise a text.
fn keys_of(path: &[&str], key: &str, value: &str) -> Result<Vec<u8>, String> {
    let value = json_values::value(value, key)?;
    let value = path.iter().rev().fold(value, |inner, name| {
        json_values::object([((*name).to_owned(), inner)])
    });
    match value.kind {
        Some(Kind::StructValue(fields)) => Ok(fields.encode_to_vec()),
        _ => Err(format!(
            "{key} takes a JSON object, or set {key}.NAME=VALUE"
        )),
    }
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
            "image_generation.size.width=1664",
            "image_generation.size.height=928",
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
        assert_eq!(options.audio.unwrap().voice.as_deref(), Some("Cherry"));
        let size = options.image_generation.unwrap().size.unwrap();
        assert_eq!((size.width, size.height), (1664, 928));
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
    fn every_field_of_the_schema_can_be_set() {
        let schema = Schema::read();
        let paths = schema.paths(ROOT, "", 0);
        assert!(paths.len() > 50, "{paths:?}");
        for path in paths {
            let values = ["1", "true", "warn", "{\"a\":1}"];
            let set = values.iter().find(|value| {
                let mut options = pb::GenerationOptions::default();
                set(&mut options, &format!("{path}={value}")).is_ok()
                    && options != pb::GenerationOptions::default()
            });
            assert!(set.is_some(), "{path}");
        }
    }

    #[test]
    fn lists_enumerations_and_groups_are_set_as_json_or_by_name() {
        let ids = |lists: &[&[i32]]| -> Vec<_> {
            let of = |ids: &&[i32]| pb::TokenSequence {
                token_ids: ids.to_vec(),
            };
            lists.iter().map(of).collect()
        };
        let options = with(&["stop_token_ids=[[1,2],[3]]", "stop_token_ids.token_ids=4"]);
        assert_eq!(options.stop_token_ids, ids(&[&[1, 2], &[3], &[4]]));
        let options = with(&["stop_token_ids=[{\"token_ids\":[5]}]"]);
        assert_eq!(options.stop_token_ids, ids(&[&[5]]));
        for name in ["fail", "FAIL", "LONG_AUDIO_FAIL"] {
            let options = with(&[&format!("long_audio={name}")]);
            assert_eq!(options.long_audio(), pb::LongAudio::Fail);
        }
        let options = with(&["asr_options={\"language\":\"zh\",\"enable_itn\":true}"]);
        let asr = options.asr_options.unwrap();
        assert_eq!(
            (asr.language.as_deref(), asr.enable_itn),
            (Some("zh"), Some(true))
        );
        assert_eq!(with(&["stop=[]"]).stop, [""; 0]);
    }

    #[test]
    fn a_second_kind_of_response_format_is_refused() {
        let name = "response_format.json_schema.name=n";
        let mut options = with(&[name, "response_format.json_schema.strict=true"]);
        let error = set(&mut options, "response_format={\"text\":{}}").unwrap_err();
        assert!(error.contains("another kind already"), "{error}");
        let mut options = with(&["response_format.text=true"]);
        assert!(set(&mut options, name).is_err());
        let both = "response_format={\"json_schema\":{\"name\":\"n\"},\"text\":{}}";
        let error = set(&mut pb::GenerationOptions::default(), both).unwrap_err();
        assert!(error.contains("has json_schema and text"), "{error}");
    }

    #[test]
    fn an_unknown_option_is_reported_with_the_known_ones() {
        for (text, words) in [
            ("temperature", "is not KEY=VALUE"),
            ("temperatur=1", "did you mean temperature"),
            ("language=zh", "did you mean asr_options.language"),
            (
                "asr_options.langage=zh",
                "did you mean asr_options.language",
            ),
            ("asr_options=zh", "is a group: set asr_options.language"),
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
                "extra_parameters.x: duplicate key \"a\"",
            ),
            (
                "response_format.json_schema.schema={\"a\":1,\"a\":2}",
                "schema: duplicate key \"a\"",
            ),
            (
                "extra_parameters={\"x\":[{\"b\":{},\"b\":1}]}",
                "duplicate key \"b\"",
            ),
            (
                "asr_options={\"language\":1,\"language\":1}",
                "asr_options: \"{",
            ),
            ("stop_token_ids=1", "as in stop_token_ids=[[1,2],[3]]"),
            (
                "stop_token_ids=[[1,\"x\"]]",
                "stop_token_ids[0][1] takes a whole number",
            ),
            ("stop=[\"a\"", "stop: \"[\\\"a\\\"\" is invalid JSON"),
            ("stop=[1]", "stop[0] takes a text, not 1"),
            (
                "long_audio=loud",
                "long_audio takes warn or fail, not \"loud\"",
            ),
            ("temperature=NaN", "temperature takes a number"),
            (
                "asr_options={\"langage\":1}",
                "did you mean asr_options.language",
            ),
            (
                "extra_parameters.n=9007199254740993",
                "extra_parameters.n: 9007199254740993 cannot be sent as it is",
            ),
            ("extra_parameters.n={\"a\":", "extra_parameters.n: "),
        ] {
            let told = set(&mut pb::GenerationOptions::default(), text).unwrap_err();
            assert!(told.contains(words), "{words} in {told}");
        }
    }
}
