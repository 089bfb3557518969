//! Counts the elements of a message while it arrives, before any of it is decoded.
//!
//! A [`Scan`] is fed the bytes of one message in pieces of any size. It buffers no bytes, only its
//! position: a message of 16 MiB that is one image is skipped at the cost of its header.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::chat::document::MAX_LEVELS;
use crate::error::{Error, Reason};

use super::count_limits::{Element, LIST_COUNT, Schema};

/// The shift of the longest varint: 64 bits in groups of seven.
const MAX_SHIFT: u32 = 63;

/// The maximum number of nested groups. The schema has none; prost skips them.
const MAX_GROUPS: u32 = 64;

/// The maximum number of fields of a message and of all in it, known or not: skipping takes time
/// too. The limits of lists allow two thirds of it, and half a million take 50 ms to decode.
const MAX_FIELDS: u32 = 512 * 1024;

/// The count of one message.
#[derive(Debug)]
pub struct Scan {
    schema: Arc<Schema>,
    /// The number of bytes scanned.
    at: u64,
    state: State,
    /// The current varint.
    varint: u64,
    shift: u32,
    /// The current message.
    top: Open,
    /// The enclosing messages, the outermost first.
    open: Vec<Open>,
    levels: u32,
    fields: u32,
    counts: [u32; LIST_COUNT + 1],
    weight: usize,
    max_weight: usize,
    /// Whether it is not valid protobuf of its type. That is reported at its end: it may prove to
    /// be too large, or incomplete, and these errors are actionable.
    is_malformed: bool,
}

/// A message that has not ended.
#[derive(Debug)]
struct Open {
    message: usize,
    end: u64,
    /// The current field, its element if counted, how many of it are consecutive, and open groups.
    field: u64,
    element: Option<Element>,
    run: u32,
    groups: u32,
    is_level: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A tag, or the end of the message.
    Tag,
    /// The value of a number.
    Number,
    /// A length.
    Length,
    /// This many bytes to skip.
    Skip(u64),
    /// This many bytes of packed numbers.
    Packed(u64),
}

impl Open {
    /// A message of this type that ends here.
    fn new(message: usize, end: u64, is_level: bool) -> Self {
        Self {
            message,
            end,
            field: 0,
            element: None,
            run: 0,
            groups: 0,
            is_level,
        }
    }
}

impl Scan {
    /// A scan of a message of this type, whose elements may take this much memory.
    pub fn new(schema: Arc<Schema>, message: usize, max_weight: usize) -> Self {
        Self {
            schema,
            at: 0,
            state: State::Tag,
            varint: 0,
            shift: 0,
            top: Open::new(message, u64::MAX, false),
            open: Vec::new(),
            levels: 0,
            fields: 0,
            counts: [0; LIST_COUNT + 1],
            weight: 0,
            max_weight,
            is_malformed: false,
        }
    }

    /// The memory of the elements so far once they are decoded, beside their strings.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Counts the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_malformed {
            return Ok(());
        }
        match self.read(bytes) {
            Err(error) if error.reason() == Reason::MalformedMessage => {
                self.is_malformed = true;
                Ok(())
            }
            read => read,
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        loop {
            match self.state {
                // A tag that has begun is incomplete.
                State::Tag if self.at == self.top.end && self.shift == 0 => {
                    self.close()?;
                }
                // Nearly all fields are strings and messages with a byte each of tag and length.
                State::Tag
                    if let [key @ ..0x80, length @ ..0x80, rest @ ..] = bytes
                        && key & 7 == 2
                        && self.shift == 0
                        && self.top.end - self.at > 1 =>
                {
                    self.tag(u64::from(*key))?;
                    self.at += 2;
                    self.delimited(u64::from(*length))?;
                    bytes = rest;
                }
                State::Skip(left) => {
                    let (_, rest) = self.pass(bytes, left);
                    let passed = (bytes.len() - rest.len()) as u64;
                    self.state = match left - passed {
                        0 => State::Tag,
                        left => State::Skip(left),
                    };
                    bytes = rest;
                }
                State::Packed(left) => {
                    let (numbers, rest) = self.pass(bytes, left);
                    let ends = numbers.iter().filter(|byte| **byte < 0x80).count();
                    self.state = match left - numbers.len() as u64 {
                        0 => State::Tag,
                        left => State::Packed(left),
                    };
                    self.count(u32::try_from(ends).unwrap_or(u32::MAX))?;
                    bytes = rest;
                }
                State::Tag | State::Number | State::Length => {
                    let Some((value, rest)) = self.varint(bytes)? else {
                        return Ok(());
                    };
                    bytes = rest;
                    self.take(value)?;
                }
            }
            if bytes.is_empty() && !matches!(self.state, State::Tag) {
                return Ok(());
            }
        }
    }

    /// Ends the message. Fails if it is incomplete.
    pub fn finish(&mut self) -> Result<(), Error> {
        let whole = !self.is_malformed && matches!(self.state, State::Tag) && self.shift == 0;
        match whole && self.open.is_empty() && self.top.groups == 0 {
            true => Ok(()),
            false => Err(malformed()),
        }
    }

    /// At most this many of the bytes, and the rest.
    fn pass<'a>(&mut self, bytes: &'a [u8], most: u64) -> (&'a [u8], &'a [u8]) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let (passed, rest) = bytes.split_at(most.min(bytes.len()));
        self.at += passed.len() as u64;
        (passed, rest)
    }

    /// Reads a varint, if it is complete.
    fn varint<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(u64, &'a [u8])>, Error> {
        let end = self.top.end;
        // Nearly all are one byte.
        if let [byte @ ..0x80, rest @ ..] = bytes
            && self.shift == 0
            && self.at < end
        {
            self.at += 1;
            return Ok(Some((u64::from(*byte), rest)));
        }
        let mut bytes = bytes;
        while let Some((byte, rest)) = bytes.split_first() {
            if self.at == end || self.shift > MAX_SHIFT {
                return Err(malformed());
            }
            bytes = rest;
            self.at += 1;
            self.varint |= u64::from(byte & 0x7f) << self.shift;
            self.shift += 7;
            if *byte < 0x80 {
                self.shift = 0;
                return Ok(Some((std::mem::take(&mut self.varint), bytes)));
            }
        }
        Ok(None)
    }

    /// Handles a varint by the state.
    fn take(&mut self, value: u64) -> Result<(), Error> {
        match self.state {
            State::Number => {
                self.state = State::Tag;
                match self.top.element {
                    Some(element) if element.is_number => self.count(1),
                    _ => Ok(()),
                }
            }
            State::Length => self.delimited(value),
            State::Tag | State::Skip(_) | State::Packed(_) => self.tag(value),
        }
    }

    fn tag(&mut self, key: u64) -> Result<(), Error> {
        let (number, wire) = (key >> 3, key & 7);
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(malformed());
        }
        self.fields = self.fields.saturating_add(1);
        if self.fields > MAX_FIELDS {
            return Err(self.too_many_fields());
        }
        let open = &mut self.top;
        if open.field != number {
            let fields = self.schema.message(open.message);
            let field = fields.and_then(|fields| fields.field(number));
            (open.field, open.run) = (number, 0);
            open.element = field.map(|field| field.element);
        }
        self.state = match wire {
            0 => State::Number,
            1 => self.fixed(8)?,
            2 => State::Length,
            3 if open.groups < MAX_GROUPS => {
                open.groups += 1;
                State::Tag
            }
            4 if open.groups > 0 => {
                open.groups -= 1;
                State::Tag
            }
            5 => self.fixed(4)?,
            _ => return Err(malformed()),
        };
        Ok(())
    }

    /// Passes over a number of a fixed width, which must end within its message.
    fn fixed(&self, width: u64) -> Result<State, Error> {
        match self.top.end - self.at >= width {
            true => Ok(State::Skip(width)),
            false => Err(malformed()),
        }
    }

    fn delimited(&mut self, length: u64) -> Result<(), Error> {
        let end = self.at.checked_add(length).ok_or_else(malformed)?;
        if end > self.top.end {
            return Err(malformed());
        }
        let passed_over = match length {
            0 => State::Tag,
            length => State::Skip(length),
        };
        // prost skips groups, with all that is in them.
        let element = self.top.element.filter(|_| self.top.groups == 0);
        let Some(element) = element else {
            self.state = passed_over;
            return Ok(());
        };
        if element.is_number {
            self.state = match length {
                0 => State::Tag,
                length => State::Packed(length),
            };
            return Ok(());
        }
        self.count(1)?;
        let Some(message) = element.message else {
            self.state = passed_over;
            return Ok(());
        };
        let inner = Open::new(message, end, element.is_level);
        self.open.push(std::mem::replace(&mut self.top, inner));
        self.state = State::Tag;
        self.levels += u32::from(element.is_level);
        if self.levels > MAX_LEVELS {
            let what = format!("is nested more than {MAX_LEVELS} levels deep; make it flatter");
            return Err(Error::field(self.path(), what));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        match self.open.pop() {
            Some(around) if self.top.groups == 0 => {
                self.levels -= u32::from(self.top.is_level);
                self.top = around;
                Ok(())
            }
            _ => Err(malformed()),
        }
    }

    /// Counts elements of the current field.
    fn count(&mut self, elements: u32) -> Result<(), Error> {
        let open = &mut self.top;
        let Some(element) = open.element.filter(|_| open.groups == 0) else {
            return Ok(());
        };
        open.run = open.run.saturating_add(elements);
        let weight = element.weight.saturating_mul(elements as usize);
        self.weight = self.weight.saturating_add(weight);
        if let Some((list, most)) = element.list
            && let Some(count) = self.counts.get_mut(list)
        {
            *count = count.saturating_add(elements);
            if *count > most {
                let what = format!("has more than {most} elements, the limit of one request");
                return Err(Error::field(self.path(), what));
            }
        }
        if self.weight > self.max_weight {
            let limit = self.max_weight;
            let what = format!(
                "has so many elements that the request takes more than {limit} bytes once it is \
                 decoded; send fewer"
            );
            return Err(Error::field(self.path(), what));
        }
        Ok(())
    }

    fn too_many_fields(&self) -> Error {
        let path = self.path();
        let path = match path.is_empty() {
            true => "request".to_owned(),
            false => path,
        };
        let what = format!("the request has more than {MAX_FIELDS} fields, counting each in each");
        Error::field(path, what)
    }

    /// The path of the current field, as `conversation.messages[3].content`.
    fn path(&self) -> String {
        let mut path = String::new();
        let mut index = None;
        for open in self.open.iter().chain([&self.top]) {
            let message = self.schema.message(open.message);
            let Some(field) = message.and_then(|message| message.field(open.field)) else {
                break;
            };
            if let Some(index) = index {
                let _ = write!(path, "[{index}]");
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&field.name);
            index = field.element.list.map(|_| open.run.saturating_sub(1));
        }
        path
    }
}

/// The error of a message that is not valid protobuf of its type.
pub(super) fn malformed() -> Error {
    Error::new(
        Reason::MalformedMessage,
        "the message is not valid protobuf of its type",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    use super::super::pb::{self, content, video};
    use super::*;

    const REQUEST: &str = "dashgate.v1.ConverseRequest";

    #[test]
    fn a_fixed_number_that_exceeds_its_message_is_malformed() {
        // conversation (2 bytes): a field with 8 bytes; then field 3, empty.
        let bytes = [10, 2, 233, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26, 0];
        assert!(scanned(&bytes).is_err());
        for width in [1, 5] {
            assert!(scanned(&[10, 1, 8 | width, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0]).is_err());
        }
    }

    #[test]
    fn a_tag_that_exceeds_its_message_is_malformed_wherever_it_is_cut() {
        let bytes = [10, 2, 0xe9, 0xe9, 0, 0, 0, 0, 0, 0, 0, 0, 8, 48, 0];
        for size in 1..=bytes.len() {
            let mut scan = scan_with(usize::MAX);
            let fed = bytes.chunks(size).try_for_each(|piece| scan.feed(piece));
            assert!(fed.and_then(|()| scan.finish()).is_err(), "{size}");
        }
    }

    fn scan_with(max_weight: usize) -> Scan {
        let schema = Arc::new(Schema::new().unwrap());
        let message = schema.find(REQUEST).unwrap();
        Scan::new(schema, message, max_weight)
    }

    fn scanned(bytes: &[u8]) -> Result<Scan, Error> {
        let mut scan = scan_with(usize::MAX);
        scan.feed(bytes)?;
        scan.finish()?;
        Ok(scan)
    }

    /// The lists of a decoded message, in the order of the table.
    #[derive(Debug, Default, PartialEq)]
    struct Counted {
        messages: usize,
        content: usize,
        frames: usize,
        fields: usize,
        values: usize,
        tokens: usize,
        stops: usize,
    }

    impl Counted {
        fn of(request: &pb::ConverseRequest) -> Self {
            let mut counted = Self::default();
            let conversation = request.conversation.as_ref();
            for message in conversation.iter().flat_map(|c| &c.messages) {
                counted.messages += 1;
                counted.all(message.extra.as_ref());
                for content in &message.content {
                    counted.content += 1;
                    counted.all(content.extra.as_ref());
                    if let Some(content::Kind::Video(video)) = &content.kind
                        && let Some(video::Source::Frames(list)) = &video.source
                    {
                        counted.frames += list.frames.len();
                    }
                }
            }
            if let Some(options) = &request.options {
                counted.stops += options.stop.len();
                let sequences = options.stop_token_ids.iter();
                counted.tokens += sequences.map(|one| one.token_ids.len()).sum::<usize>();
            }
            counted
        }

        fn all(&mut self, fields: Option<&Struct>) {
            for value in fields.iter().flat_map(|fields| fields.fields.values()) {
                self.fields += 1;
                self.value(value);
            }
        }

        fn value(&mut self, value: &Value) {
            match &value.kind {
                Some(Kind::StructValue(fields)) => self.all(Some(fields)),
                Some(Kind::ListValue(list)) => {
                    self.values += list.values.len();
                    list.values.iter().for_each(|value| self.value(value));
                }
                _ => {}
            }
        }

        fn seen(scan: &Scan) -> Self {
            let of = |at: usize| scan.counts[at] as usize;
            Self {
                messages: of(0),
                content: of(1),
                frames: of(5),
                stops: of(6),
                tokens: of(8),
                fields: of(11),
                values: of(12),
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(None),
            any::<f64>().prop_map(|number| Some(Kind::NumberValue(number))),
            ".{0,8}".prop_map(|text| Some(Kind::StringValue(text))),
        ];
        let leaf = leaf.prop_map(|kind| Value { kind });
        leaf.prop_recursive(4, 24, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4);
            let fields = proptest::collection::btree_map("[a-z]{0,3}", inner, 0..4);
            prop_oneof![
                list.prop_map(|values| Kind::ListValue(ListValue { values })),
                fields.prop_map(|fields| Kind::StructValue(Struct { fields })),
            ]
            .prop_map(|kind| Value { kind: Some(kind) })
        })
    }

    fn part() -> impl Strategy<Value = pb::Content> {
        let image = pb::Image {
            mime_type: "image/png".to_owned(),
            ..pb::Image::default()
        };
        let frames = (0_usize..4).prop_map(move |count| {
            let frames = vec![image.clone(); count];
            let source = Some(video::Source::Frames(pb::VideoFrames { frames }));
            content::Kind::Video(pb::Video {
                source,
                fps: Some(2.0),
                ..pb::Video::default()
            })
        });
        let text = ".{0,300}".prop_map(content::Kind::Text);
        let kind = proptest::option::of(prop_oneof![text, frames]);
        let extra = proptest::option::of(proptest::collection::btree_map("[a-z]", value(), 0..3));
        (kind, extra).prop_map(|(kind, extra)| pb::Content {
            kind,
            extra: extra.map(|fields| Struct { fields }),
            ..pb::Content::default()
        })
    }

    fn request() -> impl Strategy<Value = pb::ConverseRequest> {
        let message = proptest::collection::vec(part(), 0..4).prop_map(|content| pb::Message {
            role: 2,
            content,
            ..pb::Message::default()
        });
        let messages = proptest::collection::vec(message, 0..4);
        let tokens = proptest::collection::vec(any::<i32>(), 0..9);
        let stops = proptest::collection::vec("[a-z]{0,4}", 0..4);
        (messages, tokens, stops).prop_map(|(messages, token_ids, stop)| pb::ConverseRequest {
            conversation: Some(pb::Conversation {
                model: "m".to_owned(),
                messages,
                ..pb::Conversation::default()
            }),
            options: Some(Box::new(pb::GenerationOptions {
                stop,
                stop_token_ids: vec![pb::TokenSequence { token_ids }],
                ..pb::GenerationOptions::default()
            })),
            request_id: "name".to_owned(),
            ..pb::ConverseRequest::default()
        })
    }

    proptest! {
        #[test]
        fn it_counts_what_prost_decodes_however_it_is_cut(
            request in request(),
            cut in 1_usize..50,
        ) {
            let bytes = request.encode_to_vec();
            let mut scan = scan_with(usize::MAX);
            for piece in bytes.chunks(cut) {
                scan.feed(piece).unwrap();
            }
            scan.finish().unwrap();
            let decoded = pb::ConverseRequest::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(Counted::seen(&scan), Counted::of(&decoded));
        }

        /// What passes the scan is never more than it counted, even if generated at random.
        #[test]
        fn what_prost_decodes_was_counted(
            request in request(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = request.encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(decoded) = pb::ConverseRequest::decode(bytes.as_slice()) {
                let scan = scanned(&bytes);
                prop_assert!(scan.is_ok(), "refused what prost takes");
                let (seen, real) = (Counted::seen(&scan.unwrap()), Counted::of(&decoded));
                prop_assert!(seen.content >= real.content && seen.messages >= real.messages);
                prop_assert!(seen.fields >= real.fields && seen.values >= real.values);
                prop_assert!(seen.frames >= real.frames && seen.tokens >= real.tokens);
            }
        }

        #[test]
        fn any_bytes_end_well_or_in_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = scanned(&bytes);
        }
    }

    #[test]
    fn a_path_names_the_list_that_is_too_long() {
        let empty = pb::Message {
            content: vec![pb::Content::default(); 40_000],
            ..pb::Message::default()
        };
        let mut request = pb::ConverseRequest::default();
        let conversation = request.conversation.get_or_insert_default();
        conversation.messages = vec![pb::Message::default(), empty];
        let error = scanned(&request.encode_to_vec()).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidRequest);
        assert_eq!(
            error.message(),
            "conversation.messages[1].content: has more than 32768 elements, the limit of one \
             request"
        );
        let mut scan = scan_with(1 << 20);
        let error = scan.feed(&request.encode_to_vec()).unwrap_err();
        let told = error.message();
        assert!(
            told.starts_with("conversation.messages[1].content: has so many"),
            "{told}"
        );
        assert!(told.contains("1048576 bytes"), "{told}");
    }

    #[test]
    fn a_document_may_be_as_deep_as_the_limit_and_prost_still_reads_it() {
        let nested = |levels: u32| {
            let mut value = Value::default();
            for _ in 1..levels {
                let fields = BTreeMap::from([("k".to_owned(), value)]);
                value = Value {
                    kind: Some(Kind::StructValue(Struct { fields })),
                };
            }
            let fields = BTreeMap::from([("k".to_owned(), value)]);
            let part = pb::Content {
                extra: Some(Struct { fields }),
                ..pb::Content::default()
            };
            let message = pb::Message {
                content: vec![part],
                ..pb::Message::default()
            };
            let mut request = pb::ConverseRequest::default();
            request.conversation.get_or_insert_default().messages = vec![message];
            request.encode_to_vec()
        };
        let deepest = nested(MAX_LEVELS);
        scanned(&deepest).unwrap();
        pb::ConverseRequest::decode(deepest.as_slice()).unwrap();
        let error = scanned(&nested(MAX_LEVELS + 1)).unwrap_err();
        assert!(
            error.message().contains("nested more than 24 levels"),
            "{error}"
        );
    }

    #[test]
    fn lists_that_are_merged_are_counted_together() {
        let mut request = pb::ConverseRequest::default();
        request.conversation.get_or_insert_default().messages = vec![pb::Message::default(); 9_000];
        let once = request.encode_to_vec();
        scanned(&once).unwrap();
        let twice = [once.as_slice(), once.as_slice()].concat();
        let error = scanned(&twice).unwrap_err();
        assert!(error.message().contains("16384"), "{error}");
    }

    #[test]
    fn elements_weigh_at_least_what_they_take() {
        let mut request = pb::ConverseRequest::default();
        let parts = vec![pb::Content::default(); 1_000];
        let message = pb::Message {
            content: parts,
            ..pb::Message::default()
        };
        request.conversation.get_or_insert_default().messages = vec![message];
        let scan = scanned(&request.encode_to_vec()).unwrap();
        assert!(scan.weight() > 1_000 * std::mem::size_of::<pb::Content>());
    }
}
