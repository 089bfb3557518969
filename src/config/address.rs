//! Listen addresses: TCP or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The prefix of a Unix socket's path, as in gRPC's naming.
const UNIX: &str = "unix:";

/// The longest path of a Unix socket that every system accepts, including its NUL.
const MAX_SOCKET_PATH: usize = 104;

/// A listen address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether it is reachable only from this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "{UNIX}{}", path.display()),
        }
    }
}

/// The text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Tcp).map_err(|_| InvalidAddress);
        };
        // `unix:///path` is the same address in the form of a URL.
        let path = path.strip_prefix("//").unwrap_or(path);
        match (1..MAX_SOCKET_PATH).contains(&path.len()) && !path.ends_with('/') {
            true => Ok(Self::Unix(PathBuf::from(path))),
            false => Err(InvalidAddress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_and_unix_addresses_are_parsed() {
        for (text, expected) in [
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("[::1]:1", Some("[::1]:1")),
            ("unix:/run/d.sock", Some("unix:/run/d.sock")),
            ("unix:///run/d.sock", Some("unix:/run/d.sock")),
            ("unix:d.sock", Some("unix:d.sock")),
            ("unix:", None),
            ("unix:/run/", None),
            ("localhost:1", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            let read = text.parse::<Address>().ok().map(|read| read.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH));
        assert_eq!(long.parse::<Address>(), Err(InvalidAddress));
    }

    #[test]
    fn a_socket_is_reached_from_this_machine_only() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("unix:/run/d.sock", true),
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap().is_loopback(),
                expected,
                "{text}"
            );
        }
    }
}
