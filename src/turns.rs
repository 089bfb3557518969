//! How a task with more to do lets the others have their turn.

use std::pin::pin;
use std::task::{Context, Poll};

/// Yields: the task is polled again after all other ready tasks, and after the sockets were polled.
/// A task that wakes itself instead is polled up to 61 times between two polls of the sockets,
/// which is the interval of a busy runtime: a task with a millisecond of work per poll would delay
/// all others by the total.
pub fn give_way<T>(cx: &mut Context<'_>) -> Poll<T> {
    // Pending when first polled, after waking the task.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Somebody who always has more to do, on the thread of a connection. It does nothing until the
    /// other side has sent: how often it was polled until the connection noticed.
    #[tokio::test]
    async fn sockets_are_looked_at_between_two_turns() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ask) = std::sync::mpsc::sync_channel::<()>(1);
        let (sent, has_sent) = std::sync::mpsc::sync_channel(1);
        let peer = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            ask.recv().unwrap();
            stream.write_all(b"x").unwrap();
            // It is in the buffer of the other side now: this is loopback.
            sent.send(()).unwrap();
            stream
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        let served = tokio::spawn(async move {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut polled = 0;
        let busy = tokio::spawn(poll_fn(move |cx| {
            if polled == 0 {
                asked.send(()).unwrap();
                has_sent.recv().unwrap();
            }
            polled += 1;
            match served.is_finished() || polled == 1000 {
                true => Poll::Ready(polled),
                false => give_way(cx),
            }
        }));
        let polled = busy.await.unwrap();
        assert!(polled <= 5, "{polled}");
        drop(peer.join().unwrap());
    }
}
