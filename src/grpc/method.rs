//! The path of a call: `/package.Service/Method`.

/// The service and the method in a path.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix('/')?;
    // As bytes: characters are searched in ten times the time.
    let slash = path.bytes().position(|byte| byte == b'/')?;
    Some((path.get(..slash)?, path.get(slash + 1..)?))
}

/// The service in a path; empty if there is none.
pub fn service(path: &str) -> &str {
    split(path).map_or("", |(service, _)| service)
}
