//! Detection of used-up file descriptors.

use std::io;

/// EMFILE (process limit) and ENFILE (system limit), with the same numbers on every Unix.
const USED_UP: [i32; 2] = [24, 23];

/// Advice for the operator.
pub const ADVICE: &str = "raise `ulimit -n` (LimitNOFILE=, the container's ulimits), \
                          or lower server.max_connections and server.max_in_flight";

/// Whether an error means that file descriptors are used up.
pub fn are_used_up(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| USED_UP.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_two_errors_are_meant() {
        for code in 0..200 {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(are_used_up(&error), [23, 24].contains(&code), "{error}");
        }
        assert!(!are_used_up(&io::ErrorKind::Other.into()));
    }
}
