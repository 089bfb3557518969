//! A proxy before PostgreSQL that cuts connections.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

/// The name of PostgreSQL's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";

/// When to cut a connection, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Instead of passing on the packet of this number, from 0.
    Before(usize),
    /// After the server has answered the packet of this number, and before its answer is passed on.
    After(usize),
    /// As `After`, at the next packet with this text; then no connection for this time.
    Outage(&'static str, Duration),
}

#[derive(Default)]
struct Plan {
    cut: Option<Cut>,
    packets: usize,
    down_until: Option<Instant>,
}

impl Plan {
    /// What to do with this packet of a client.
    fn next(&mut self, packet: &[u8]) -> Option<Cut> {
        let number = self.packets;
        self.packets += 1;
        let cut = self.cut?;
        let now = match cut {
            Cut::Before(at) | Cut::After(at) => number == at,
            Cut::Outage(text, time) => {
                let found = packet
                    .windows(text.len())
                    .any(|part| part == text.as_bytes());
                if found {
                    self.down_until = Some(Instant::now() + time);
                }
                found
            }
        };
        now.then(|| self.cut.take())?
    }
}

/// The proxy.
pub struct Proxy {
    folder: PathBuf,
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    /// Before the server whose socket is in this folder.
    pub fn start(server: &Path) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let folder = std::env::temp_dir().join(format!("dgpx-{}", &id[..12]));
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let plan = Arc::<Mutex<Plan>>::default();
        let (shared, server) = (Arc::clone(&plan), server.join(SOCKET));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let down = shared.lock().unwrap().down_until;
                if down.is_some_and(|until| Instant::now() < until) {
                    continue;
                }
                let server = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { folder, plan }
    }

    /// The URL of a database through it.
    pub fn url(&self, database: &str) -> String {
        let host = self.folder.display();
        format!("postgres://postgres@localhost/{database}?host={host}")
    }

    /// Cuts a connection once; packets are counted from now on.
    pub fn cut(&self, cut: Cut) {
        let mut plan = self.plan.lock().unwrap();
        plan.packets = 0;
        plan.cut = Some(cut);
    }

    /// Whether the cut is still to come. It does not come any more.
    pub fn spare(&self) -> bool {
        self.plan.lock().unwrap().cut.take().is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn pass(mut client: UnixStream, mut server: UnixStream, plan: Arc<Mutex<Plan>>) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(1..) = read else { return };
                let packet = &up[..read.unwrap()];
                let cut = plan.lock().unwrap().next(packet);
                match cut {
                    None => server.write_all(packet).await.unwrap(),
                    Some(Cut::Before(_)) => return,
                    Some(Cut::After(_) | Cut::Outage(..)) => {
                        server.write_all(packet).await.unwrap();
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
            }
            read = server.read(&mut down) => {
                let Ok(1..) = read else { return };
                let packet = &down[..read.unwrap()];
                if client.write_all(packet).await.is_err() {
                    return;
                }
            }
        }
    }
}
