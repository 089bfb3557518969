//! Pages of lists: their size, and the token of the next one, which is the last item of the page
//! before. A token does not depend on the configuration, so that a reload between two pages repeats
//! and skips no item that was there before and after.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Error;

/// The number of items in a page: what was asked for, or the default, and at most the maximum.
pub(super) fn size(asked: i32, (default, most): (u32, u32)) -> Result<u32, Error> {
    match u32::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err(Error::field("page_size", "must not be negative")),
    }
}

/// The token of the page after this item; empty if there is none.
pub(super) fn token(last: Option<String>) -> String {
    last.map_or_else(String::new, |last| URL_SAFE_NO_PAD.encode(last))
}

/// The last item of the previous page, as `parse` reads it; `None` before the first page.
pub(super) fn after<T>(
    token: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let last = text.and_then(|text| parse(&text));
    last.map(Some).ok_or_else(|| {
        let fix = "is not a token of this method; send the next_page_token of the previous page";
        Error::field("page_token", fix)
    })
}
