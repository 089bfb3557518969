//! The limits on the elements of a request, and the memory that each takes once decoded.
//!
//! An empty element is two bytes on the wire and hundreds in memory. So elements are counted before
//! they are decoded, by the [`Schema`] of the message, which is derived from the descriptors of
//! reflection.

use std::collections::HashMap;
use std::mem::size_of;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type as WireType};
use prost_types::{DescriptorProto, FileDescriptorSet, Struct, Value};

use crate::chat::document::Document;
use crate::chat::media::Medium;
use crate::chat::message::{self, Part, Turn};
use crate::error::{Error, Reason};

use super::pb;

/// The maximum number of elements in all lists of one field together: message, field, number. Each
/// is several times what DashScope accepts, or what fits into the longest context of a model. A
/// test finds fields without a row.
const LISTS: [(&str, &str, u32); 14] = [
    // A million tokens of context are 16 thousand short messages.
    ("dashgate.v1.Conversation", "messages", 16_384),
    ("dashgate.v1.Message", "content", 32_768),
    // DashScope accepts 128.
    ("dashgate.v1.Conversation", "tools", 1_024),
    ("dashgate.v1.Message", "tool_calls", 16_384),
    ("dashgate.v1.Message", "annotations", 16_384),
    // DashScope accepts 512 for a video.
    ("dashgate.v1.VideoFrames", "frames", 8_192),
    ("dashgate.v1.GenerationOptions", "stop", 1_024),
    ("dashgate.v1.GenerationOptions", "stop_token_ids", 1_024),
    ("dashgate.v1.TokenSequence", "token_ids", 16_384),
    ("dashgate.v1.GenerationOptions", "modalities", 64),
    ("dashgate.v1.SearchOptions", "assigned_site_list", 1_024),
    // The recognised words of a few hundred pages, each with its corners.
    ("google.protobuf.Struct", "fields", 65_536),
    ("google.protobuf.ListValue", "values", 131_072),
    // A stored conversation has at most 32.
    ("dashgate.v1.Conversation", "labels", 256),
];

/// The types that are a level of a document.
const LEVELS: [&str; 2] = ["google.protobuf.Struct", "google.protobuf.ListValue"];

/// The number of lists with a limit.
pub(super) const LIST_COUNT: usize = LISTS.len();

/// The limit of a list that is missing above. A test prevents its use.
const UNKNOWN_LIST: u32 = 1_024;

/// The entries of a leaf of `BTreeMap`, which is allocated whole for the first of them.
const MAP_LEAF: usize = 11;

/// The minimum overhead of an allocation.
const ALLOCATION: usize = 16;

/// The memory of an element of a list of strings: a list grows by doubling, and each string is
/// allocated.
const TEXT_WEIGHT: usize = 2 * size_of::<String>() + ALLOCATION;

/// The memory of a number in a list, in the message and in the call.
const NUMBER_WEIGHT: usize = 3 * size_of::<i32>();

/// The memory of a message of this type beside its strings: twice its size, because lists grow by
/// doubling, plus that of its form in the call. Types that are embedded in others have no weight of
/// their own.
fn weight(name: &str) -> usize {
    let grown = |message: usize, noun: usize| 2 * message + noun;
    match name {
        "dashgate.v1.Message" => grown(size_of::<pb::Message>(), size_of::<Turn>()),
        "dashgate.v1.Content" => grown(size_of::<pb::Content>(), size_of::<Part>()),
        "dashgate.v1.Tool" => grown(size_of::<pb::Tool>(), size_of::<message::Tool>()),
        "dashgate.v1.ToolCall" => grown(size_of::<pb::ToolCall>(), size_of::<message::ToolCall>()),
        "dashgate.v1.Annotation" => grown(size_of::<pb::Annotation>(), 0),
        "dashgate.v1.Image" => grown(size_of::<pb::Image>(), size_of::<Medium>()),
        "dashgate.v1.TokenSequence" => {
            grown(size_of::<pb::TokenSequence>(), size_of::<Vec<i32>>()) + ALLOCATION
        }
        "google.protobuf.Struct" => {
            MAP_LEAF * (size_of::<String>() + size_of::<Value>()) + size_of::<Struct>() + ALLOCATION
        }
        "google.protobuf.Struct.FieldsEntry" => {
            let entry = size_of::<String>() + size_of::<Value>();
            grown(entry, size_of::<(String, Document)>()) + ALLOCATION
        }
        "dashgate.v1.Conversation.LabelsEntry" => {
            grown(2 * size_of::<String>(), 2 * size_of::<String>()) + 2 * ALLOCATION
        }
        "google.protobuf.Value" => grown(size_of::<Value>(), size_of::<Document>()),
        _ => 0,
    }
}

/// The types of the requests, as far as counting requires them.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<String, usize>,
}

/// The type of a message.
#[derive(Debug, Default)]
pub(super) struct Type {
    /// By field number.
    fields: Vec<Option<Field>>,
}

/// A field with messages, or with elements that are counted.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: Box<str>,
    /// What it holds.
    pub(super) element: Element,
}

/// The element of a field, or of its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The type of its messages; `None` for strings and numbers.
    pub(super) message: Option<usize>,
    /// The index of the list, and the maximum number of its elements.
    pub(super) list: Option<(usize, u32)>,
    /// The memory of each element beside its strings.
    pub(super) weight: usize,
    /// Whether its elements are numbers, which may be packed.
    pub(super) is_number: bool,
    /// Whether each is a level of a document: a `Struct` or a list in one.
    pub(super) is_level: bool,
}

impl Schema {
    /// The schema of the gateway's own messages.
    pub fn new() -> Result<Self, Error> {
        let files = FileDescriptorSet::decode(pb::DESCRIPTORS).map_err(|error| {
            Error::new(Reason::GatewayBug, "the schema cannot be read").with_source(error)
        })?;
        let mut found = Vec::new();
        for file in &files.file {
            for message in &file.message_type {
                collect(file.package(), message, &mut found);
            }
        }
        let by_name: HashMap<_, _> = found
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (name.clone(), at))
            .collect();
        let types = found
            .iter()
            .map(|(name, message)| Type {
                fields: fields(name, message, &by_name),
            })
            .collect();
        Ok(Self { types, by_name })
    }

    /// The index of a type.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The type at an index.
    pub(super) fn message(&self, at: usize) -> Option<&Type> {
        self.types.get(at)
    }
}

impl Type {
    /// The field with a number, if anything in it is counted.
    pub(super) fn field(&self, number: u64) -> Option<&Field> {
        let number = usize::try_from(number).ok()?;
        self.fields.get(number)?.as_ref()
    }
}

fn collect<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    found: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, found);
    }
    found.push((name, message));
}

fn fields(
    name: &str,
    message: &DescriptorProto,
    by_name: &HashMap<String, usize>,
) -> Vec<Option<Field>> {
    let most = message.field.iter().map(|field| field.number()).max();
    let most = usize::try_from(most.unwrap_or_default()).unwrap_or_default();
    let mut fields = vec![None; most + 1];
    for field in &message.field {
        let type_name = field.type_name().trim_start_matches('.');
        let child = by_name.get(type_name);
        let repeated = field.label() == Label::Repeated;
        let is_message = field.r#type() == WireType::Message;
        let place = usize::try_from(field.number()).ok();
        let slot = place.and_then(|place| fields.get_mut(place));
        if let Some(slot) = slot
            && (repeated || is_message)
        {
            let is_text = matches!(field.r#type(), WireType::String | WireType::Bytes);
            *slot = Some(Field {
                name: field.name().into(),
                element: Element {
                    message: child.copied().filter(|_| is_message),
                    list: repeated.then(|| list(name, field.name())),
                    weight: match (is_message, is_text) {
                        (true, _) => weight(type_name),
                        (false, true) => TEXT_WEIGHT,
                        (false, false) => NUMBER_WEIGHT,
                    },
                    is_number: !is_message && !is_text,
                    is_level: is_message && LEVELS.contains(&type_name),
                },
            });
        }
    }
    fields
}

fn list(message: &str, field: &str) -> (usize, u32) {
    let mut lists = LISTS.iter().enumerate();
    let found = lists.find(|(_, (of, name, _))| *of == message && *name == field);
    found.map_or((LIST_COUNT, UNKNOWN_LIST), |(at, (_, _, most))| (at, *most))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_list_that_a_request_can_hold_has_a_limit_of_its_own() {
        let schema = Schema::new().unwrap();
        let requests = [
            "dashgate.v1.ConverseRequest",
            "dashgate.v1.ConverseStreamRequest",
            "dashgate.v1.UploadMediaRequest",
            "grpc.health.v1.HealthCheckRequest",
            "grpc.health.v1.HealthListRequest",
        ];
        let mut left: Vec<_> = requests.map(|name| schema.find(name).unwrap()).to_vec();
        let mut seen = BTreeSet::new();
        let mut lists = BTreeSet::new();
        while let Some(at) = left.pop() {
            if !seen.insert(at) {
                continue;
            }
            for field in schema.types[at].fields.iter().flatten() {
                let element = &field.element;
                if let Some((list, _)) = element.list {
                    assert!(list < LIST_COUNT, "{} has no row", field.name);
                    lists.insert(list);
                }
                if element.list.is_some() {
                    assert_ne!(element.weight, 0, "{} has no weight", field.name);
                }
                left.extend(element.message);
            }
        }
        assert_eq!(lists.len(), LIST_COUNT, "a row that no request needs");
    }
}
