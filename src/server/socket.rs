//! Listening sockets: a TCP port or a Unix socket, and their accepted connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::error::{Error, Reason};

/// The accept backlog. All callers of a replica that shut down arrive within a second or two.
const BACKLOG: u32 = 4096;

/// The byte stream of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listening socket.
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener, File),
}

/// The file of a Unix socket. Removed when this is dropped.
pub struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // It may have been removed already, which is fine.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An accepted connection.
pub struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The peer's address; `None` on a Unix socket.
    pub from: Option<IpAddr>,
}

/// A connection that is not registered with a runtime yet.
pub enum Socket {
    /// A TCP connection.
    Tcp(std::net::TcpStream),
    /// A Unix connection.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// The byte stream, registered with the current runtime.
    pub fn open(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

impl Listener {
    /// Listens on a TCP port.
    pub fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A restarted replica must not wait for connections of the previous one.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        bind().map(Self::Tcp).map_err(|error| {
            let message = format!("cannot listen on {address}: {error}; choose another address");
            Error::new(Reason::GatewayConfig, message)
        })
    }

    /// Listens on a Unix socket. Replaces a socket file without a listener. Access is controlled by
    /// the permissions of its folder.
    pub async fn unix(path: &Path) -> Result<Self, Error> {
        let bound = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                clear(path).await.and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        let listener = bound.map_err(|error| {
            let path = path.display();
            let message = format!("cannot listen on unix:{path}: {error}; choose another path");
            Error::new(Reason::GatewayConfig, message)
        })?;
        Ok(Self::Unix(listener, File(path.to_owned())))
    }

    /// The local address; `None` on a Unix socket.
    pub fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Small messages must not wait for the acknowledgement of the previous one.
                let _ = stream.set_nodelay(true);
                Ok(Accepted {
                    socket: Socket::Tcp(stream.into_std()?),
                    from: Some(from.ip().to_canonical()),
                })
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted {
                    socket: Socket::Unix(stream.into_std()?),
                    from: None,
                })
            }
        }
    }
}

/// Removes the socket file of a server that was killed. One with a listener is kept, and so is any
/// other file.
async fn clear(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
    }
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path)?.file_type().is_socket() {
        true => std::fs::remove_file(path),
        false => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let name = format!("dashgate-{}-{name}", std::process::id());
        std::env::temp_dir().join(name)
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let path = place("left.sock");
        let left = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(left);
        let listener = Listener::unix(&path).await.unwrap();
        let told = Listener::unix(&path).await.err().unwrap().to_string();
        assert!(told.contains("choose another path"), "{told}");
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let path = place("file");
        std::fs::write(&path, "mine").unwrap();
        assert!(Listener::unix(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();
    }
}
