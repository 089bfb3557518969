//! The rules of `form` on trial: each on a small text that breaks it, and on one that does not.

use super::fault::names;
use super::form;
use super::source::{self, Source};

/// The rules that one file breaks; a module doc is put above it.
fn form_of(path: &str, code: &str) -> Vec<&'static str> {
    let text = format!("//! A file.\n{code}\n");
    names(&form::faults(
        &Source::parse(path, &text).expect("it is Rust"),
    ))
}

#[test]
fn a_long_file_is_seen_and_its_tests_are_not_counted() {
    let long = "const A: u8 = 1;\n".repeat(400);
    assert_eq!(form_of("src/error.rs", &long), ["file-length"]);
    let tests = "mod tests {\n".to_owned() + &"const A: u8 = 1;\n".repeat(400) + "}";
    assert!(form_of("src/error.rs", &format!("#[cfg(test)]\n{tests}")).is_empty());
    assert_eq!(
        form_of("src/error.rs", &format!("#[cfg(not(test))]\n{tests}")),
        ["file-length"]
    );
}

#[test]
fn a_long_function_is_seen_wherever_it_stands() {
    let body = |lines: usize| "call();\n".repeat(lines);
    let short = format!("fn a() {{\n{}// a comment\n\n}}", body(70));
    assert!(form_of("src/error.rs", &short).is_empty());
    let long = format!("fn a() {{\n{}}}", body(71));
    assert_eq!(form_of("src/error.rs", &long), ["function-length"]);
    let hidden = format!("macro_rules! m {{ () => {{ impl X {{ {long} }} }} }}");
    assert_eq!(form_of("src/error.rs", &hidden), ["function-length"]);
    assert_eq!(form_of("tests/one.rs", &long), ["function-length"]);
    assert!(
        form_of(
            "src/error.rs",
            &format!("#[cfg(test)]\nmod tests {{ {long} }}")
        )
        .is_empty()
    );
}

#[test]
fn a_file_of_tests_is_not_counted() {
    let parse = |path, text: &str| Source::parse(path, text).expect("it is Rust");
    let tests = "//! A.\nfn a() { b.unwrap(); }\n".to_owned() + &"fn c() {}\n".repeat(400);
    for (above, broken) in [("#[cfg(test)]\nmod d;", 0), ("mod d;", 2)] {
        let mut both = [
            parse("src/chat/mod.rs", above),
            parse("src/chat/d.rs", &tests),
        ];
        source::leave_out_test_files(&mut both);
        assert_eq!(form::faults(&both[1]).len(), broken, "{above}");
    }
}

#[test]
fn a_wide_line_is_seen_and_counted_in_letters() {
    let wide = |letter: &str| format!("// {}", letter.repeat(98));
    assert_eq!(form_of("src/error.rs", &wide("a")), ["line-width"]);
    let chinese = format!("// {}", "音".repeat(97));
    assert!(form_of("src/error.rs", &chinese).is_empty());
    assert_eq!(names(&form::widths("a.proto", &wide("a"))), ["line-width"]);
}

#[test]
fn a_folder_in_a_group_is_seen() {
    assert!(form_of("src/chat/message.rs", "").is_empty());
    assert!(form_of("src/chat/turn/part.rs", "").is_empty());
    assert_eq!(form_of("src/chat/turn/part/text.rs", ""), ["folder-depth"]);
}

#[test]
fn what_has_no_document_is_seen() {
    let bare = Source::parse("src/error.rs", "fn a() {}").expect("it is Rust");
    assert_eq!(names(&form::faults(&bare)), ["module-doc"]);
    for code in [
        "pub fn a() {}",
        "pub(crate) struct A;",
        "#[derive(Debug)]\npub struct A;",
        "/// A.\npub struct A {\n    pub b: u8,\n}",
        "pub mod a {}",
        "impl A { pub(crate) const B: u8 = 1; }",
    ] {
        assert_eq!(form_of("src/error.rs", code), ["pub-doc"], "{code}");
    }
    for code in [
        "/// A.\n#[derive(Debug)]\npub struct A(pub u8);",
        "pub mod a;\npub use a::B;",
        "impl A { pub(super) const B: u8 = 1; }",
        "macro_rules! m { ($(#[$meta:meta])*) => { $(#[$meta])* pub struct A; } }",
        "/// A.\n#[expect(missing_docs, reason = \"x\")]\npub struct A { pub b: u8 }",
    ] {
        assert!(form_of("src/error.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn what_may_panic_is_seen() {
    for code in [
        "fn a() { b.unwrap(); }",
        "fn a() { b.expect(\"c\"); }",
        "fn a() { b.expect_err(\"c\"); }",
        "fn a() { panic!(); }",
        "fn a() { unreachable!(); }",
        "macro_rules! m { ($a:expr) => { $a.unwrap() } }",
    ] {
        let broken = form_of("src/error.rs", code);
        assert!(broken.contains(&"no-panic"), "{code}: {broken:?}");
        assert!(form_of("tests/one.rs", code).is_empty(), "{code}");
        let test = format!("#[cfg(test)]\nmod tests {{ {code} }}");
        assert!(form_of("src/error.rs", &test).is_empty(), "{code}");
        let proved = "#[expect(clippy::unwrap_used, clippy::panic, reason = \"b is there\")]";
        assert!(form_of("src/error.rs", &format!("{proved}\n{code}")).is_empty());
    }
    for code in ["fn a() { b.unwrap_or(c); d::expect(e); }", "fn panic() {}"] {
        assert!(form_of("src/error.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn an_exception_is_narrow_and_has_its_reason() {
    for code in [
        "#[allow(clippy::unwrap_used, reason = \"x\")]\nfn a() {}",
        "#![allow(dead_code, reason = \"x\")]",
        "#![expect(clippy::indexing_slicing, reason = \"x\")]",
    ] {
        assert_eq!(
            form_of("src/error.rs", code),
            ["expect-not-allow"],
            "{code}"
        );
    }
    let bare = "#[expect(clippy::unwrap_used)]\nfn a() { b.unwrap() }";
    assert_eq!(form_of("src/error.rs", bare), ["no-panic"]);
    let other = "#[expect(clippy::unwrap_used, reason = \"x\")]\nfn a() {}\nfn b() { c.unwrap() }";
    assert_eq!(form_of("src/error.rs", other), ["no-panic"]);
}

#[test]
fn names_that_say_nothing_are_seen() {
    assert_eq!(form_of("src/chat/utils.rs", ""), ["names"]);
    assert_eq!(
        form_of("src/chat/message.rs", "fn get_part() {}"),
        ["names"]
    );
    assert!(form_of("src/chat/message.rs", "fn forget_part() {}").is_empty());
    assert!(form_of("src/grpc/models.rs", "fn get_model() {}").is_empty());
}

#[test]
fn untyped_json_is_seen_outside_the_wire() {
    for code in [
        "use serde_json::Value;",
        "use serde_json::{self, Map};",
        "fn a() { serde_json::json!({}); }",
        "struct A(serde_json::Value);",
    ] {
        assert_eq!(form_of("src/cli/ask.rs", code), ["json-value"], "{code}");
        assert!(
            form_of("src/dashscope/answer_json.rs", code).is_empty(),
            "{code}"
        );
    }
    for code in [
        "use serde_json::value_of;",
        "use serde_json::value::RawValue;",
    ] {
        assert!(form_of("src/cli/ask.rs", code).is_empty(), "{code}");
    }
}
