//! Accepts connections, within bounds, and lets them go in order.
//!
//! tonic's own server has no timer for a connection that says nothing, no bound on connections, no
//! bound on its drain, and advertises no limit on streams. So the loop is here, on hyper.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::connection::{self, Door};
use super::health::Phase;
use super::socket::Listener;
use super::workers::Workers;

/// How long to wait after a failed accept. It fails when descriptors run out, and then again at
/// once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// All together.
    pub connections: usize,
    /// From one IP address; none: as many as all together.
    pub connections_per_address: Option<usize>,
}

/// Serves until the phase is `Closing`; then lets every connection end its calls, and returns.
pub async fn serve(
    listener: Listener,
    door: Door,
    (capacity, workers): (Capacity, Workers),
    phase: watch::Receiver<Phase>,
) {
    let tls = door.tls.clone();
    let freshness = async move {
        match tls {
            Some(tls) => tls.keep_fresh().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept(listener, door, capacity, workers, phase) => {}
        () = freshness => {}
    }
}

async fn accept(
    listener: Listener,
    door: Door,
    capacity: Capacity,
    workers: Workers,
    mut phase: watch::Receiver<Phase>,
) {
    let places = Places::new(capacity);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
        };
        while connections.try_join_next().is_some() {}
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the bound a connection is closed at once, which its peer sees as a refusal.
        let metrics = &door.router.telemetry().metrics;
        let Some(place) = places.take(accepted.from) else {
            tracing::debug!("there are too many connections, one more was closed");
            metrics.refused.inc();
            continue;
        };
        let present = metrics.connection();
        let (door, phase) = (door.clone(), phase.clone());
        workers.spawn(&mut connections, async move {
            match accepted.socket.open() {
                Ok(stream) => connection::run(stream, door, phase).await,
                Err(error) => tracing::warn!(%error, "a connection could not be opened"),
            }
            drop((place, present));
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// How many connections an address has. One without any has no entry.
type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Places for connections.
struct Places {
    all: Arc<Semaphore>,
    each: Option<usize>,
    taken: Taken,
}

/// A place that is taken until this is dropped.
struct Place {
    _one_of_all: OwnedSemaphorePermit,
    counted: Option<(IpAddr, Taken)>,
}

impl Places {
    fn new(capacity: Capacity) -> Self {
        Self {
            all: Arc::new(Semaphore::new(capacity.connections)),
            each: capacity.connections_per_address,
            taken: Arc::default(),
        }
    }

    fn take(&self, from: Option<IpAddr>) -> Option<Place> {
        let one_of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let counted = match (self.each, from) {
            (Some(each), Some(from)) => {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                let count = taken.entry(from).or_default();
                if *count >= each {
                    return None;
                }
                *count += 1;
                Some((from, Arc::clone(&self.taken)))
            }
            _ => None,
        };
        Some(Place {
            _one_of_all: one_of_all,
            counted,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((from, taken)) = &self.counted else {
            return;
        };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(from) {
            *count -= 1;
            if *count == 0 {
                taken.remove(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let places = Places::new(Capacity {
            connections: 3,
            connections_per_address: Some(2),
        });
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let first = places.take(one).unwrap();
        let second = places.take(one).unwrap();
        assert!(places.take(one).is_none());
        let third = places.take(other).unwrap();
        assert!(places.take(None).is_none(), "all places are taken");
        drop(first);
        assert!(places.take(one).is_some());
        drop((second, third));
        assert!(places.taken.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), 3);
    }
}
