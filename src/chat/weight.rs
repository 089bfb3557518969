//! The memory that an event holds, for buffers that keep it.
//!
//! Every type is destructured field by field, without `..`, so that a new field does not compile
//! until its weight is added.

use std::mem::size_of;

use super::document::{Document, Object, Real};
use super::event::{
    ChoiceEnd, Delta, End, Event, Logprobs, Piece, SearchInfo, SearchResult, Started, TokenLogprob,
};
use super::media::AudioFile;
use super::message::{Annotation, ToolCall};
use super::usage::{PluginUsage, SearchUsage, TokensDetails, Usage};
use super::warning::Warning;

/// The overhead of an allocation: allocators round up, by an eighth for medium sizes and to 16
/// bytes for small ones.
const ALLOCATION: usize = 16;

impl Event {
    /// The memory that it holds, itself included.
    pub fn weight(&self) -> usize {
        let held = match self {
            Self::Started(started) => of_started(started),
            Self::Delta(delta) => of_delta(delta),
            Self::End(end) => of_end(end),
        };
        size_of::<Self>() + held
    }
}

/// The size of an allocation of this many bytes; 0 if empty.
fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes + bytes / 8 + ALLOCATION,
    }
}

fn text(text: &String) -> usize {
    allocated(text.capacity())
}

fn optional(value: &Option<String>) -> usize {
    value.as_ref().map_or(0, text)
}

fn list<T>(list: &Vec<T>, each: impl Fn(&T) -> usize) -> usize {
    allocated(list.capacity() * size_of::<T>()) + list.iter().map(each).sum::<usize>()
}

fn object(Object(fields): &Object) -> usize {
    list(fields, |(key, value)| text(key) + document(value))
}

fn document(value: &Document) -> usize {
    match value {
        Document::Null | Document::Bool(_) | Document::Number(Real(_)) => 0,
        Document::String(value) => text(value),
        Document::List(values) => list(values, document),
        Document::Object(fields) => object(fields),
    }
}

fn of_started(
    Started {
        // Shared with the call and all others of that model.
        model: _,
        upstream_request_id,
    }: &Started,
) -> usize {
    text(upstream_request_id)
}

fn of_delta(
    Delta {
        choice: _,
        starts_part: _,
        piece,
    }: &Delta,
) -> usize {
    match piece {
        Piece::Text(value) | Piece::Reasoning(value) | Piece::Image(value) => text(value),
        Piece::Audio(bytes) => allocated(bytes.len()),
        Piece::ToolCall(call) => tool_call(call),
        Piece::Annotation(note) => annotation(note),
        Piece::AudioFile(file) => audio_file(file),
        Piece::Extra(fields) | Piece::MessageExtra(fields) => object(fields),
        Piece::Logprobs(Logprobs { content, extra }) => list(content, token) + object(extra),
        Piece::Search(info) => search_info(info),
    }
}

fn tool_call(
    ToolCall {
        index: _,
        id,
        kind,
        name,
        arguments,
        extra,
    }: &ToolCall,
) -> usize {
    text(id) + text(kind) + text(name) + text(arguments) + object(extra)
}

fn annotation(
    Annotation {
        kind,
        language,
        emotion,
        extra,
    }: &Annotation,
) -> usize {
    text(kind) + text(language) + text(emotion) + object(extra)
}

fn audio_file(
    AudioFile {
        uri,
        id,
        expires_at: _,
        extra,
    }: &AudioFile,
) -> usize {
    text(uri) + text(id) + object(extra)
}

fn token(
    TokenLogprob {
        token: value,
        bytes,
        logprob: _,
        top_logprobs,
        extra,
    }: &TokenLogprob,
) -> usize {
    text(value) + list(bytes, |_| 0) + list(top_logprobs, token) + object(extra)
}

fn search_info(SearchInfo { results, extra }: &SearchInfo) -> usize {
    list(results, search_result) + object(extra)
}

fn search_result(
    SearchResult {
        index: _,
        title,
        url,
        site_name,
        icon,
        extra,
    }: &SearchResult,
) -> usize {
    text(title) + text(url) + text(site_name) + text(icon) + object(extra)
}

fn of_end(
    End {
        choices,
        usage,
        extra_output,
        extra,
        warnings,
        history: _,
    }: &End,
) -> usize {
    let ends = list(
        choices,
        |ChoiceEnd {
             index: _,
             finish_reason,
             extra,
         }| text(finish_reason) + object(extra),
    );
    let warnings = list(
        warnings,
        |Warning {
             code: _,
             field,
             message,
         }| text(field) + text(message),
    );
    let used = usage.as_deref();
    let used = used.map_or(0, |used| allocated(size_of::<Usage>()) + of_usage(used));
    allocated(size_of::<End>()) + ends + warnings + used + object(extra_output) + object(extra)
}

fn of_usage(
    Usage {
        input_tokens: _,
        output_tokens: _,
        total_tokens: _,
        audio_tokens: _,
        image_tokens: _,
        video_tokens: _,
        cached_tokens: _,
        cache_creation_input_tokens: _,
        cache_type,
        input_tokens_details,
        output_tokens_details,
        prompt_tokens_details,
        seconds: _,
        characters: _,
        image_count: _,
        width: _,
        height: _,
        plugins,
        extra,
    }: &Usage,
) -> usize {
    let details = [
        input_tokens_details,
        output_tokens_details,
        prompt_tokens_details,
    ];
    let details: usize = details.into_iter().flatten().map(tokens_details).sum();
    optional(cache_type) + details + plugins.as_ref().map_or(0, plugin_usage) + object(extra)
}

fn tokens_details(
    TokensDetails {
        text_tokens: _,
        audio_tokens: _,
        image_tokens: _,
        video_tokens: _,
        reasoning_tokens: _,
        cached_tokens: _,
        cache_creation_input_tokens: _,
        cache_type,
    }: &TokensDetails,
) -> usize {
    optional(cache_type)
}

fn plugin_usage(PluginUsage { search }: &PluginUsage) -> usize {
    search
        .as_ref()
        .map_or(0, |SearchUsage { count: _, strategy }| optional(strategy))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TEXT: usize = 1_000_000;

    fn long() -> String {
        "x".repeat(TEXT)
    }

    fn numbers(count: usize) -> Object {
        let list = vec![Document::Number(Real(0.0)); count];
        Object(vec![("numbers".to_owned(), Document::List(list))])
    }

    fn piece(piece: Piece) -> Event {
        Event::Delta(Delta {
            choice: 0,
            starts_part: false,
            piece,
        })
    }

    fn end(change: impl FnOnce(&mut End)) -> Event {
        let mut end = End::default();
        change(&mut end);
        Event::End(Box::new(end))
    }

    fn usage(change: impl FnOnce(&mut Usage)) -> Event {
        let mut usage = Usage::default();
        change(&mut usage);
        end(|end| end.usage = Some(Arc::new(usage)))
    }

    /// Every field of an event that can hold a long text.
    fn with_long_texts() -> Vec<Event> {
        let extra = || Object(vec![("k".to_owned(), Document::String(long()))]);
        let call = |change: fn(&mut ToolCall)| {
            let mut call = ToolCall::default();
            change(&mut call);
            piece(Piece::ToolCall(call))
        };
        let note = |change: fn(&mut Annotation)| {
            let mut note = Annotation::default();
            change(&mut note);
            piece(Piece::Annotation(note))
        };
        let token = |change: fn(&mut TokenLogprob)| {
            let mut token = TokenLogprob::default();
            change(&mut token);
            piece(Piece::Logprobs(Logprobs {
                content: vec![token],
                extra: Object::default(),
            }))
        };
        vec![
            Event::Started(Started {
                upstream_request_id: long(),
                ..Started::default()
            }),
            piece(Piece::Text(long())),
            piece(Piece::Reasoning(long())),
            piece(Piece::Image(long())),
            piece(Piece::Audio(long().into())),
            piece(Piece::Extra(extra())),
            piece(Piece::MessageExtra(extra())),
            piece(Piece::Logprobs(Logprobs {
                content: Vec::new(),
                extra: extra(),
            })),
            piece(Piece::AudioFile(AudioFile {
                extra: extra(),
                ..AudioFile::default()
            })),
            end(|end| end.extra = extra()),
            end(|end| {
                let code = crate::chat::warning::Code::AudioTruncated;
                end.warnings.push(Warning::new(code, long(), ""));
            }),
            call(|call| call.id = long()),
            call(|call| call.kind = long()),
            call(|call| call.name = long()),
            call(|call| call.arguments = long()),
            note(|note| note.kind = long()),
            note(|note| note.language = long()),
            note(|note| note.emotion = long()),
            note(|note| note.extra.0.push((long(), Document::Null))),
            piece(Piece::AudioFile(AudioFile {
                uri: long(),
                ..AudioFile::default()
            })),
            piece(Piece::AudioFile(AudioFile {
                id: long(),
                ..AudioFile::default()
            })),
            token(|token| token.token = long()),
            token(|token| token.bytes = long().into_bytes()),
            token(|token| {
                token.top_logprobs.push(TokenLogprob {
                    token: long(),
                    ..TokenLogprob::default()
                });
            }),
        ]
    }

    /// The same, at the end of an answer and in search results.
    fn with_long_texts_at_the_end() -> Vec<Event> {
        let extra = || Object(vec![("k".to_owned(), Document::String(long()))]);
        let details = || TokensDetails {
            cache_type: Some(long()),
            ..TokensDetails::default()
        };
        let search = |change: fn(&mut SearchResult)| {
            let mut result = SearchResult::default();
            change(&mut result);
            piece(Piece::Search(SearchInfo {
                results: vec![result],
                extra: Object::default(),
            }))
        };
        vec![
            search(|result| result.title = long()),
            search(|result| result.url = long()),
            search(|result| result.site_name = long()),
            search(|result| result.icon = long()),
            piece(Piece::Search(SearchInfo {
                results: Vec::new(),
                extra: extra(),
            })),
            end(|end| end.extra_output = extra()),
            end(|end| {
                end.choices.push(ChoiceEnd {
                    finish_reason: long(),
                    ..ChoiceEnd::default()
                });
            }),
            usage(|usage| usage.cache_type = Some(long())),
            usage(|usage| usage.input_tokens_details = Some(details())),
            usage(|usage| usage.output_tokens_details = Some(details())),
            usage(|usage| usage.prompt_tokens_details = Some(details())),
            usage(|usage| usage.extra = extra()),
            usage(|usage| {
                let strategy = Some(long());
                let search = Some(SearchUsage {
                    count: None,
                    strategy,
                });
                usage.plugins = Some(PluginUsage { search });
            }),
        ]
    }

    #[test]
    fn a_long_text_counts_in_every_field() {
        for event in [with_long_texts(), with_long_texts_at_the_end()].concat() {
            let weight = event.weight();
            let most = TEXT + TEXT / 8 + 4096;
            assert!((TEXT..most).contains(&weight), "{weight}");
        }
    }

    #[test]
    fn many_small_values_count_by_their_memory() {
        let count = 100_000;
        let each = size_of::<Document>();
        let weight = end(|end| end.extra_output = numbers(count)).weight();
        assert!(
            (count * each..count * each * 5 / 4).contains(&weight),
            "{weight}"
        );
        let tokens = vec![TokenLogprob::default(); count];
        let weight = piece(Piece::Logprobs(Logprobs {
            content: tokens,
            extra: Object::default(),
        }))
        .weight();
        assert!(weight >= count * size_of::<TokenLogprob>(), "{weight}");
        let small = piece(Piece::Text("x".to_owned())).weight();
        assert!(small < 256, "{small}");
    }
}
