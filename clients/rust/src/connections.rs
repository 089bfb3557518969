//! The connections of a client: another one is opened when all have as many calls as a gateway
//! takes at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

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
    calls: Arc<()>,
}

impl Lane {
    fn calls(&self) -> usize {
        Arc::strong_count(&self.calls).saturating_sub(1)
    }

    fn taken(&self) -> (Channel, Counted) {
        let calls = Arc::clone(&self.calls);
        (self.channel.clone(), Counted { _calls: calls })
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
    Given(Channel),
    Own(Box<Endpoint>, Mutex<Vec<Lane>>),
}

impl Connections {
    pub(crate) fn to(endpoint: Endpoint) -> Self {
        Self::Own(Box::new(endpoint), Mutex::default())
    }

    /// Returns the channel for a call. Must be called on a Tokio runtime.
    pub(crate) fn take(&self) -> (Channel, Counted) {
        let (endpoint, lanes) = match self {
            Self::Given(channel) => {
                let calls = Counted {
                    _calls: Arc::default(),
                };
                return (channel.clone(), calls);
            }
            Self::Own(endpoint, lanes) => (endpoint, lanes),
        };
        let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| !lane.is_dead());
        let fewest = lanes.iter().min_by_key(|lane| lane.calls());
        match fewest {
            Some(lane) if lane.calls() < CALLS_PER_CONNECTION || lanes.len() >= MAX_CONNECTIONS => {
                lane.taken()
            }
            _ => {
                let lane = Lane {
                    channel: endpoint.connect_lazy(),
                    calls: Arc::default(),
                };
                let taken = lane.taken();
                lanes.push(lane);
                taken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Connections {
        Connections::to(Endpoint::from_static("http://127.0.0.1:1"))
    }

    fn count(connections: &Connections) -> usize {
        match connections {
            Connections::Given(_) => 1,
            Connections::Own(_, lanes) => lanes.lock().unwrap().len(),
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
    fn a_channel_is_replaced_after_the_end_of_its_runtime() {
        let connections = connections();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                drop(connections.take());
                let Connections::Own(_, lanes) = &connections else {
                    panic!("given");
                };
                let lanes = lanes.lock().unwrap();
                assert_eq!(lanes.len(), 1);
                assert!(!lanes[0].is_dead());
            });
        }
    }
}
