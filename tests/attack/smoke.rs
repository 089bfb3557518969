//! The suite itself works: a raw peer is answered by a gateway with default settings.

use crate::support::http2_peer::*;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_raw_peer_is_answered() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = block("/grpc.health.v1.Health/Check", &[]);
    raw.send(&h2(HEADERS, END_HEADERS, 1, &head)).await;
    raw.send(&h2(DATA, END_STREAM, 1, &[0; 5])).await;
    while let Some(frame) = raw.next().await {
        if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
            return;
        }
    }
    panic!("not answered");
}
