//! The form that carries a file to DashScope's storage, read part by part.

use crate::support::*;

/// Where the scripted storage takes files.
pub const OSS_PATH: &str = "/oss";

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub file_name: Option<String>,
    pub value: Vec<u8>,
}

/// A form, its parts in the order in which they came.
#[derive(Clone, Debug)]
pub struct Form {
    pub parts: Vec<Part>,
}

impl Form {
    /// The text of a part.
    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        let part = self.parts.iter().find(|part| part.name == name).unwrap();
        std::str::from_utf8(&part.value).unwrap()
    }

    /// The bytes of the file, which must be the last part.
    pub fn file(&self) -> &[u8] {
        let last = self.parts.last().unwrap();
        assert_eq!(last.name, "file");
        assert!(last.file_name.is_some());
        &last.value
    }
}

/// Reads a form by its boundary.
#[track_caller]
pub fn form(request: &Seen) -> Form {
    let kind = request.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap_or_else(|| panic!("no form: {kind}"));
    let (first, next) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let mut rest = request.body.strip_prefix(first.as_bytes()).unwrap();
    let mut parts = Vec::new();
    loop {
        let head_end = find(rest, b"\r\n\r\n").unwrap();
        let (head, body) = (&rest[..head_end], &rest[head_end + 4..]);
        let end = find(body, next.as_bytes()).unwrap();
        parts.push(part(std::str::from_utf8(head).unwrap(), &body[..end]));
        rest = &body[end + next.len()..];
        match rest.strip_prefix(b"\r\n") {
            Some(more) => rest = more,
            None => {
                assert_eq!(rest, b"--\r\n", "the form ends");
                return Form { parts };
            }
        }
    }
}

fn part(head: &str, value: &[u8]) -> Part {
    let disposition = head
        .lines()
        .find_map(|line| line.split_once(": ").filter(is_disposition))
        .unwrap()
        .1;
    let field = |key: &str| {
        let (_, rest) = disposition.split_once(&format!("; {key}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    Part {
        name: field("name").unwrap(),
        file_name: field("filename"),
        value: value.to_vec(),
    }
}

fn is_disposition((name, _): &(&str, &str)) -> bool {
    name.eq_ignore_ascii_case("content-disposition")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
