//! Sanitises text of an upstream for statuses, logs and metrics: bounded, printable, and without
//! anything that looks like a credential.

/// The longest error code. DashScope's longest has 49 characters.
pub const MAX_CODE: usize = 64;

/// The longest request id: two UUIDs and a prefix.
pub const MAX_ID: usize = 128;

/// The longest message: with the text around it, below 1 KiB of `grpc-message`.
pub const MAX_MESSAGE: usize = 512;

/// The factor by which more text is read than is kept: masking shortens it.
const READ_AHEAD: usize = 4;

/// Replaces a credential.
const MASK: &str = "****";

/// Prefixes of credentials: DashScope API keys and temporary keys, keys of callers, access keys of
/// Alibaba Cloud, JWTs.
const PREFIXES: &[&str] = &["sk-", "st-", "dg_", "LTAI", "eyJ"];

/// An error code, of letters, digits and `._:/-`.
pub fn code(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    masked(text, MAX_CODE, plain)
}

/// A request id, of visible ASCII.
pub fn id(text: &str) -> String {
    masked(text, MAX_ID, |c| c.is_ascii_graphic())
}

/// A message in any language, without control characters and without characters that change how the
/// text around them is displayed.
pub fn message(text: &str) -> String {
    masked(text, MAX_MESSAGE, is_printable)
}

fn masked(text: &str, most: usize, may: fn(char) -> bool) -> String {
    let (mut out, mut word) = (String::new(), String::new());
    let mut after_bearer = false;
    // Text beyond the bound cannot be part of the result.
    for c in text.chars().take(READ_AHEAD * most) {
        if is_of_word(c) {
            word.push(c);
            continue;
        }
        push_word(&mut out, &mut word, &mut after_bearer, may);
        out.push(replaced(c, may));
        if out.len() > most {
            break;
        }
    }
    push_word(&mut out, &mut word, &mut after_bearer, may);
    out.truncate(out.floor_char_boundary(most));
    out
}

/// Ends a word: it is kept, or masked if it looks like a credential or follows `Bearer`.
fn push_word(out: &mut String, word: &mut String, after_bearer: &mut bool, may: fn(char) -> bool) {
    if word.is_empty() {
        return;
    }
    match *after_bearer || looks_secret(word) {
        true => out.push_str(MASK),
        false => out.extend(word.chars().map(|c| replaced(c, may))),
    }
    *after_bearer = word.eq_ignore_ascii_case("bearer");
    word.clear();
}

/// Whether a character may be part of a credential.
fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.+/=~".contains(c)
}

/// Whether a word contains a credential. It may follow a separator, as in `key=sk-1`.
fn looks_secret(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            let before = word.get(..at).and_then(|before| before.chars().next_back());
            let begins = before.is_none_or(|c| !c.is_ascii_alphanumeric());
            begins && word.len() - at > prefix.len()
        })
    })
}

fn replaced(c: char, may: fn(char) -> bool) -> char {
    match may(c) {
        true => c,
        false => '?',
    }
}

fn is_printable(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_dashscope_writes_passes_as_it_is() {
        for text in [
            "Throttling.RateQuota",
            "InternalError.Algo.InvalidParameter",
            "invalid_api_key",
            "limit_requests",
            "",
        ] {
            assert_eq!(code(text), text);
        }
        let uuid = "bb6ab962-af57-99f1-9af8-eb7016ebc18e";
        assert_eq!(id(uuid), uuid);
        for text in [
            "Range of input length should be [1, 30720]",
            "输入的音频为空, 请检查。",
            "Incorrect API key provided. ",
            "the task-id is risk-free: disk-1",
        ] {
            assert_eq!(message(text), text);
        }
    }

    #[test]
    fn what_looks_like_a_credential_is_masked_wherever_it_stands() {
        for secret in [
            "sk-canary",
            "sk-0123456789abcdef",
            "st-0123",
            "dg_0123456789ab_0123",
            "LTAI5tCanary",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln",
        ] {
            for text in [
                secret.to_owned(),
                format!("Invalid.{secret}"),
                format!("the key {secret} is wrong"),
                format!("key={secret}&x"),
                format!("\"{secret}\""),
                format!("(Bearer {secret})"),
            ] {
                for shown in [code(&text), id(&text), message(&text)] {
                    assert!(!shown.contains(secret), "{text}: {shown}");
                    assert!(shown.contains("****") || shown.contains("????"), "{shown}");
                }
            }
        }
        assert_eq!(
            message("authorization: Bearer anything"),
            "authorization: Bearer ****"
        );
    }

    #[test]
    fn what_is_not_printable_is_replaced() {
        assert_eq!(code("A\r\nB: c"), "A??B:?c");
        assert_eq!(code("a\u{202e}b\u{0}"), "a?b?");
        assert_eq!(message("a\r\nb\u{1b}[31m\u{202e}c"), "a??b?[31m?c");
        assert_eq!(id("a b"), "a?b");
    }

    proptest! {
        #[test]
        fn the_bounds_hold_for_any_text(text in "\\PC{0,400}|.{0,3000}") {
            for (shown, most) in [
                (code(&text), MAX_CODE),
                (id(&text), MAX_ID),
                (message(&text), MAX_MESSAGE),
            ] {
                prop_assert!(shown.len() <= most);
                prop_assert!(shown.chars().all(is_printable));
            }
        }

        #[test]
        fn a_key_is_masked_whatever_stands_around_it(
            before in ".{0,80}[^a-zA-Z0-9]|",
            after in "[^a-zA-Z0-9]?",
        ) {
            let shown = message(&format!("{before}sk-canary0{after}"));
            prop_assert!(!shown.contains("sk-canary0"), "{shown}");
        }
    }
}
