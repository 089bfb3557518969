//! The reasons of errors in the schema are those of the code and of the page of errors.

use dashgate::error::{Kind, Reason};
use dashgate::grpc::pb::ErrorReason;
use dashgate::grpc::status::code;
use tonic::Code;

use super::{page, read};

/// The zero value, which no error has.
const UNSPECIFIED: &str = "ERROR_REASON_UNSPECIFIED";

/// The values of the enumeration in the schema, each with its comment.
fn values() -> Vec<(String, String)> {
    let schema = read("proto/dashgate/v1/error.proto");
    let (_, inside) = schema.split_once("enum ErrorReason {").expect("the enum");
    let (inside, _) = inside.split_once("\n}").expect("its end");
    let (mut values, mut comment) = (Vec::new(), Vec::new());
    for line in inside.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push(text);
        } else if let Some((name, _)) = line.split_once(" = ") {
            values.push((name.to_owned(), comment.join(" ")));
            comment.clear();
        }
    }
    values
}

/// The name of a code in the documents of gRPC.
fn name(kind: Kind) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", code(kind)).chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn codes_have_the_names_of_grpc() {
    assert_eq!(name(Kind::Invalid), "INVALID_ARGUMENT");
    assert_eq!(code(Kind::TimedOut), Code::DeadlineExceeded);
    assert_eq!(name(Kind::TimedOut), "DEADLINE_EXCEEDED");
}

#[test]
fn the_schema_has_every_reason_of_the_code_with_its_meaning_and_its_code() {
    let values = values();
    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected = vec![UNSPECIFIED];
    expected.extend(Reason::ALL.iter().map(|reason| reason.name()));
    assert_eq!(names, expected);
    for (reason, (name, comment)) in Reason::ALL.iter().zip(values.iter().skip(1)) {
        let start = format!("{} {}. ", reason.meaning(), self::name(reason.kind()));
        let todo = comment.strip_prefix(&start);
        assert!(
            todo.is_some_and(|todo| todo.ends_with('.')),
            "{name}: {comment}"
        );
        let generated = ErrorReason::from_str_name(name).expect("it is generated");
        assert_eq!(generated.as_str_name(), *name);
    }
}

#[test]
fn the_page_has_a_row_for_every_value_of_the_schema() {
    let page = page();
    for (name, _) in values().iter().skip(1) {
        assert!(page.contains(&format!("\n| `{name}` |")), "{name}");
    }
}
