//! DashScope's temporary storage, played: certificates, and sockets that take a file as slowly as a
//! test wants.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::response_forms::OSS_PATH;
use crate::support::*;

/// The folder that every certificate is for.
pub const FOLDER: &str = "dashscope-instant/0123/2026-01-02/b744";

/// A certificate for the storage at this address.
pub fn certificate(storage: &str) -> Value {
    json!({
        "data": {
            "policy": "cG9saWN5",
            "signature": "n3dNX/aD3+WAly0QgzsURfiIk00=",
            "upload_dir": FOLDER,
            "upload_host": format!("http://{storage}{OSS_PATH}"),
            "expire_in_seconds": 300,
            "max_file_size_mb": 1024,
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": "LTAI",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        },
        "request_id": "b744",
    })
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Certificate,
    Storage,
    Model,
}

/// What a request asks for.
pub fn asked(request: &Seen) -> Asked {
    if request
        .path
        .starts_with("/api/v1/uploads?action=getPolicy&model=")
    {
        Asked::Certificate
    } else if request.path == OSS_PATH {
        Asked::Storage
    } else {
        Asked::Model
    }
}

/// What was asked for, in its order.
pub fn order(upstream: &Upstream) -> Vec<Asked> {
    upstream.seen().iter().map(asked).collect()
}

/// A DashScope whose storage takes all and whose model always answers, but where the test says
/// otherwise: it is told what is asked for, and how often that was asked for before.
pub async fn dashscope(
    mut otherwise: impl FnMut(Asked, usize) -> Option<Vec<Step>> + Send + 'static,
) -> Upstream {
    let mut counts = [0; 3];
    Upstream::start(move |_, request| {
        let asked = asked(request);
        let count = &mut counts[asked as usize];
        *count += 1;
        if let Some(steps) = otherwise(asked, *count - 1) {
            return steps;
        }
        match asked {
            Asked::Certificate => {
                let storage = request.header("host").unwrap();
                json(200, &certificate(storage).to_string())
            }
            Asked::Storage => http(200, "", b""),
            Asked::Model => json(200, &whole("好")),
        }
    })
    .await
}

/// The storage's refusal, as XML.
pub fn refusal(status: u16, code: &str, message: &str) -> Vec<Step> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}\
         </Message><RequestId>6870</RequestId></Error>"
    );
    http(status, "content-type: application/xml\r\n", body.as_bytes())
}

/// What came to a [`Socket`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// How many bytes, the head included.
    pub bytes: usize,
    /// Whether the other side went away.
    pub gone: bool,
    /// Whether the form was whole by then.
    pub whole: bool,
}

/// A storage that never answers: it reads what comes, or no more than the first bytes of it.
pub struct Socket {
    pub address: SocketAddr,
    pub came: watch::Receiver<Came>,
    task: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Socket {
    /// Reads at most this much.
    pub async fn that_reads(limit: usize) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // So that the kernel does not take for us what we do not read.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (told, came) = watch::channel(Came::default());
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            read(stream, limit, told).await;
        });
        Self {
            address,
            came,
            task,
        }
    }

    /// Waits until the other side went away, and tells what had come.
    pub async fn gone(&mut self) -> Came {
        *self.came.wait_for(|came| came.gone).await.unwrap()
    }
}

async fn read(mut stream: TcpStream, limit: usize, told: watch::Sender<Came>) {
    let (mut tail, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let mut bytes = 0;
    while bytes < limit {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        bytes += count;
        tail.extend_from_slice(&buffer[..count]);
        tail.drain(..tail.len().saturating_sub(16));
        // The end of a form, and of the chunks that carry it.
        let whole = tail.ends_with(b"--\r\n\r\n0\r\n\r\n") || tail.ends_with(b"--\r\n");
        told.send_modify(|came| {
            *came = Came {
                bytes,
                gone: count == 0,
                whole: came.whole || whole,
            };
        });
        if count == 0 {
            return;
        }
    }
    // Reading no more, only looking whether the other side is still there.
    std::future::pending::<()>().await;
}
