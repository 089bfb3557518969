//! The connections of a client: another one is opened when all have as many calls as a gateway
//! takes at once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, Id};
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

use crate::log::Level;
use crate::transport::{Transport, Wrap};

/// How many calls a gateway takes at once on a connection.
const CALLS_PER_CONNECTION: usize = 100;
const MAX_CONNECTIONS: usize = 20;

/// A call in progress, as long as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    _calls: Arc<()>,
}

/// A channel with its own connection.
#[derive(Debug)]
pub(crate) struct Lane {
    channel: Channel,
    /// The channel with the layers of the client, which may have a state of their own.
    transport: Transport,
    calls: Arc<()>,
    /// The runtime that has the task of the channel. Calls of other runtimes do not use it, because it
    /// may end while theirs go on.
    runtime: Option<Id>,
}

impl Lane {
    fn calls(&self) -> usize {
        Arc::strong_count(&self.calls).saturating_sub(1)
    }

    fn taken(&self) -> (Transport, Counted) {
        let calls = Arc::clone(&self.calls);
        (self.transport.clone(), Counted { _calls: calls })
    }

    /// Whether the runtime has ended on which the channel was made: its task is gone with it.
    fn is_dead(&self) -> bool {
        let mut probe = self.channel.clone();
        let mut context = Context::from_waker(Waker::noop());
        let ready = GrpcService::<tonic::body::Body>::poll_ready(&mut probe, &mut context);
        matches!(ready, Poll::Ready(Err(_)))
    }
}

/// The connections of a client.
#[derive(Debug)]
pub(crate) enum Connections {
    /// A channel that its owner closes.
    Given(Channel, Transport),
    Own(Box<Pool>),
}

/// Connections that the client opens.
pub(crate) struct Pool {
    endpoint: Endpoint,
    target: String,
    /// The innermost first.
    layers: Vec<Wrap>,
    log: Level,
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    open: Vec<Lane>,
    opened: usize,
}

impl fmt::Debug for Pool {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pool")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Connections {
    /// Connections to an endpoint; the first of the layers is the outermost.
    pub(crate) fn to(endpoint: Endpoint, target: String, layers: &[Wrap], log: Level) -> Self {
        Self::Own(Box::new(Pool {
            endpoint,
            target,
            layers: layers.iter().rev().map(Arc::clone).collect(),
            log,
            lanes: Mutex::default(),
        }))
    }

    /// A channel that exists; the first of the layers is the outermost.
    pub(crate) fn given(channel: Channel, layers: &[Wrap]) -> Self {
        let transport = layered(&channel, layers.iter().rev());
        Self::Given(channel, transport)
    }

    /// Returns what a call is sent to. Must be called on a Tokio runtime.
    pub(crate) fn take(&self) -> (Transport, Counted) {
        match self {
            Self::Given(_, transport) => {
                let calls = Counted {
                    _calls: Arc::default(),
                };
                (transport.clone(), calls)
            }
            Self::Own(pool) => pool.lane(Lane::taken),
        }
    }

    /// Returns the channel with the fewest calls. Must be called on a Tokio runtime.
    pub(crate) fn channel(&self) -> Channel {
        match self {
            Self::Given(channel, _) => channel.clone(),
            Self::Own(pool) => pool.lane(|lane| lane.channel.clone()),
        }
    }
}

impl Pool {
    fn lane<T>(&self, of: impl FnOnce(&Lane) -> T) -> T {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.open.retain(|lane| !lane.is_dead());
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let own = lanes.open.iter().filter(|lane| lane.runtime == runtime);
        let fewest = own.clone().min_by_key(|lane| lane.calls());
        if let Some(lane) = fewest
            && (lane.calls() < CALLS_PER_CONNECTION || own.count() >= MAX_CONNECTIONS)
        {
            return of(lane);
        }
        let channel = self.endpoint.connect_lazy();
        let lane = Lane {
            transport: layered(&channel, self.layers.iter()),
            channel,
            calls: Arc::default(),
            runtime,
        };
        let result = of(&lane);
        lanes.open.push(lane);
        lanes.opened += 1;
        self.log.connection(lanes.opened, &self.target);
        result
    }
}

/// The channel with layers, the innermost first.
fn layered<'a>(channel: &Channel, layers: impl Iterator<Item = &'a Wrap>) -> Transport {
    let channel = Transport::new(channel.clone());
    layers.fold(channel, |transport, wrap| wrap(transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Connections {
        let endpoint = Endpoint::from_static("http://127.0.0.1:1");
        Connections::to(endpoint, String::new(), &[], Level::Off)
    }

    fn count(connections: &Connections) -> usize {
        match connections {
            Connections::Given(..) => 1,
            Connections::Own(pool) => pool.lanes.lock().unwrap().open.len(),
        }
    }

    #[tokio::test]
    async fn another_connection_is_opened_for_the_hundred_and_first_call() {
        let connections = connections();
        let mut calls: Vec<_> = (0..CALLS_PER_CONNECTION)
            .map(|_| connections.take())
            .collect();
        assert_eq!(count(&connections), 1);
        calls.push(connections.take());
        assert_eq!(count(&connections), 2);
        calls.clear();
        calls.push(connections.take());
        assert_eq!(count(&connections), 2);
        let most = CALLS_PER_CONNECTION * MAX_CONNECTIONS + 1;
        calls.extend((0..most).map(|_| connections.take()));
        assert_eq!(count(&connections), MAX_CONNECTIONS);
    }

    #[test]
    fn runtimes_do_not_share_a_connection() {
        let connections = connections();
        let runtimes = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
        for runtime in &runtimes {
            runtime.block_on(async { drop(connections.take()) });
        }
        assert_eq!(count(&connections), 2);
    }

    #[test]
    fn a_channel_is_replaced_after_the_end_of_its_runtime() {
        let connections = connections();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                drop(connections.take());
                let Connections::Own(pool) = &connections else {
                    panic!("given");
                };
                let lanes = pool.lanes.lock().unwrap();
                assert_eq!(lanes.open.len(), 1);
                assert!(!lanes.open[0].is_dead());
            });
        }
    }
}
