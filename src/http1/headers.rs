//! The headers of a response.

/// Headers in order. They take two allocations, however many there are, and headers that are not
/// read cost nothing: a map costs four times as much per response.
#[derive(Clone, Default)]
pub struct Headers {
    /// Names and values, concatenated.
    text: Vec<u8>,
    /// Where each name and each value ends in `text`.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Reserves capacity for this many headers and bytes.
    pub fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(headers),
        }
    }

    /// Adds a header.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.text.extend_from_slice(name.as_bytes());
        let name_end = self.text.len();
        self.text.extend_from_slice(value);
        self.ends.push((name_end, self.text.len()));
    }

    /// All values of a name, in order.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let lines = self.ends.iter().map(move |&(name_end, value_end)| {
            let found = self.text.get(from..name_end).unwrap_or_default();
            from = value_end;
            let value = self.text.get(name_end..value_end).unwrap_or_default();
            (found, value)
        });
        let is_it = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        lines.filter_map(move |(found, value)| is_it(found).then_some(value))
    }

    /// The first value of a name, if it is printable ASCII.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        let value = self.all(name).next()?;
        let printable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let text = std::str::from_utf8(value).ok()?;
        value.iter().all(printable).then_some(text)
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(map: &http::HeaderMap) -> Self {
        let mut headers = Self::default();
        for (name, value) in map {
            headers.add(name.as_str(), value.as_bytes());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_insensitive_and_values_keep_their_order() {
        let mut headers = Headers::with_capacity(3, 16);
        headers.add("X-A", b"1");
        headers.add("x-ab", b"");
        headers.add("x-a", b"2");
        assert!(headers.all("x-a").eq([b"1", b"2"]));
        assert_eq!(headers.text("x-ab"), Some(""));
        assert_eq!(headers.text("x"), None);
    }

    #[test]
    fn only_printable_values_are_text() {
        for (value, expected) in [
            (&b"a b\tc~"[..], Some("a b\tc~")),
            ("é".as_bytes(), None),
            (b"\xff", None),
            (b"a\x7f", None),
        ] {
            let mut headers = Headers::default();
            headers.add("n", value);
            assert_eq!(headers.text("n"), expected, "{value:?}");
        }
    }
}
