//! What callers connect to: a TCP port or a Unix socket, and the bytes that come and go there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::error::{Error, Reason};

/// How many connections the system keeps until they are accepted. All callers of a replica that
/// went away come within a second or two.
const BACKLOG: u32 = 4096;

/// A connection's bytes, whatever carries them.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket that listens.
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A file.
    Unix(UnixListener, File),
}

/// The file of a Unix socket. Gone when this is dropped.
pub struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // It may have been taken away already; then there is nothing to take away.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection that was accepted.
pub struct Accepted {
    /// It.
    pub socket: Socket,
    /// Where it comes from; none on a Unix socket.
    pub from: Option<IpAddr>,
}

/// A connection that belongs to no runtime yet.
pub enum Socket {
    /// By a port.
    Tcp(std::net::TcpStream),
    /// By a file.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Its bytes, for the runtime that this is called in.
    pub fn open(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

impl Listener {
    /// Listens on a port.
    pub fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // A replica that starts again must not wait for the connections of the one before.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        bind().map(Self::Tcp).map_err(|error| {
            let message = format!("cannot listen on {address}: {error}; choose another address");
            Error::new(Reason::GatewayConfig, message)
        })
    }

    /// Listens on a Unix socket. Takes the place of one that nobody listens to any more. Who may
    /// connect is decided by the rights of its folder.
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

    /// The port that it listens on; none on a Unix socket.
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
                // Small messages must not wait for the peer's acknowledgement of the one before.
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

/// Takes away the socket of a server that was killed. One that answers stays, and so does a file
/// that is something else.
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
