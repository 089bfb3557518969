//! The connections of a client: another one is opened when all have as many calls as a gateway
//! takes at once. Calls beyond all of them wait, in their order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, Id};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

use crate::log::Level;
use crate::reach::{Reach, connected_channel, lazy_channel};
use crate::transport::{Transport, Wrap};

/// How many calls a gateway takes at once on a connection.
const CALLS_PER_CONNECTION: usize = 100;
const MAX_CONNECTIONS: usize = 20;

/// A call in progress, as long as it is kept.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    _calls: Arc<()>,
    /// Given back last, to the call that waits longest: its connection takes another call then.
    _place: Option<OwnedSemaphorePermit>,
}

/// The service for a call that is counted.
pub(crate) type Counting<Service> = (Service, Counted);

/// A channel with its own connection.
#[derive(Debug)]
pub(crate) struct Lane {
    channel: Channel,
    /// The channel with the layers of the client, which may have a state of their own.
    transport: Transport,
    calls: Arc<()>,
    reach: Reach,
    /// The runtime that has the task of the channel. Calls of other runtimes do not use it, because it
    /// may end while theirs go on.
    runtime: Option<Id>,
    /// A place for each call of the connections of the runtime.
    places: Arc<Semaphore>,
}

impl Lane {
    fn calls(&self) -> usize {
        Arc::strong_count(&self.calls).saturating_sub(1)
    }

    fn taken(&self, place: Option<OwnedSemaphorePermit>) -> (Transport, Counted) {
        let counted = Counted {
            _calls: Arc::clone(&self.calls),
            _place: place,
        };
        (self.transport.clone(), counted)
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
    /// The path of a Unix socket, instead of the address of the endpoint.
    socket: Option<String>,
    target: String,
    /// The innermost first.
    layers: Vec<Wrap>,
    log: Level,
    limits: Limits,
    lanes: Mutex<Lanes>,
}

/// How many calls and connections there are at once.
#[derive(Clone, Copy, Debug)]
struct Limits {
    calls: usize,
    connections: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    open: Vec<Lane>,
    /// For the calls that end others while all of a runtime are full.
    spare: Vec<Lane>,
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
    pub(crate) fn to(
        (endpoint, socket): (Endpoint, Option<String>),
        target: String,
        layers: &[Wrap],
        log: Level,
    ) -> Self {
        Self::Own(Box::new(Pool {
            endpoint,
            socket,
            target,
            layers: layers.iter().rev().map(Arc::clone).collect(),
            log,
            limits: Limits {
                calls: CALLS_PER_CONNECTION,
                connections: MAX_CONNECTIONS,
            },
            lanes: Mutex::default(),
        }))
    }

    /// A channel that exists; the first of the layers is the outermost.
    pub(crate) fn given(channel: Channel, layers: &[Wrap]) -> Self {
        let transport = layered(Transport::new(channel.clone()), layers.iter().rev());
        Self::Given(channel, transport)
    }

    /// Opens the first connection of this runtime, if it has none.
    pub(crate) async fn connect(&self) -> Result<(), Option<tonic::transport::Error>> {
        match self {
            Self::Given(..) => Ok(()),
            Self::Own(pool) => pool.connect().await,
        }
    }

    /// Returns what a call is sent to, when there is a place for it. Must be called on a Tokio
    /// runtime.
    pub(crate) async fn take(&self) -> (Transport, Counted) {
        match self {
            Self::Given(_, transport) => (transport.clone(), Counted::default()),
            Self::Own(pool) => pool.take().await,
        }
    }

    /// Returns what a call is sent to that ends another one. It does not wait for what it ends. Must
    /// be called on a Tokio runtime.
    pub(crate) fn take_ending(&self) -> (Transport, Counted) {
        match self {
            Self::Given(_, transport) => (transport.clone(), Counted::default()),
            Self::Own(pool) => pool.try_take().unwrap_or_else(|_| pool.spare()),
        }
    }

    /// Whether no connection to the gateway is open, although there are calls. Must be called on a
    /// Tokio runtime.
    pub(crate) fn are_unreached(&self) -> bool {
        match self {
            Self::Given(..) => false,
            Self::Own(pool) => pool.are_unreached(),
        }
    }

    /// Returns what a call is sent to that does not count. Must be called on a Tokio runtime.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Given(_, transport) => transport.clone(),
            Self::Own(pool) => pool.lane(|lane| lane.transport.clone()),
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
    /// Sets how many calls a connection has, and how many connections there are.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, calls: usize, connections: usize) {
        self.limits = Limits { calls, connections };
    }

    /// How many connections were opened so far.
    #[cfg(test)]
    pub(crate) fn opened(&self) -> usize {
        self.lanes().opened
    }

    fn are_unreached(&self) -> bool {
        let lanes = self.lanes();
        let runtime = current();
        let mut own = lanes.open.iter().filter(|lane| lane.runtime == runtime);
        own.clone().next().is_some() && own.all(|lane| !lane.reach.is_reached())
    }

    async fn take(&self) -> (Transport, Counted) {
        match self.try_take() {
            Ok(taken) => taken,
            Err(places) => {
                // It is never closed.
                let place = places.acquire_owned().await.ok();
                self.lane(|lane| lane.taken(place))
            }
        }
    }

    /// Returns the places if none is free.
    fn try_take(&self) -> Result<(Transport, Counted), Arc<Semaphore>> {
        self.lane(|lane| {
            let place = Arc::clone(&lane.places).try_acquire_owned();
            let taken = place.map(|place| lane.taken(Some(place)));
            taken.map_err(|_| Arc::clone(&lane.places))
        })
    }

    fn spare(&self) -> (Transport, Counted) {
        let mut lanes = self.lanes();
        let runtime = current();
        if let Some(lane) = lanes.spare.iter().find(|lane| lane.runtime == runtime) {
            return lane.taken(None);
        }
        let lane = self.open(&mut lanes, runtime, Arc::new(Semaphore::new(0)));
        let taken = lane.taken(None);
        lanes.spare.push(lane);
        taken
    }

    /// Those whose runtimes go on.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.open.retain(|lane| !lane.is_dead());
        lanes.spare.retain(|lane| !lane.is_dead());
        lanes
    }

    /// Uses the connection with the fewest calls.
    fn lane<T>(&self, of: impl FnOnce(&Lane) -> T) -> T {
        let mut lanes = self.lanes();
        let runtime = current();
        let own = lanes.open.iter().filter(|lane| lane.runtime == runtime);
        let fewest = own.clone().min_by_key(|lane| lane.calls());
        if let Some(lane) = fewest
            && (lane.calls() < self.limits.calls || own.count() >= self.limits.connections)
        {
            return of(lane);
        }
        let Limits { calls, connections } = self.limits;
        let places = fewest.map_or_else(
            || Arc::new(Semaphore::new(calls.saturating_mul(connections))),
            |lane| Arc::clone(&lane.places),
        );
        let lane = self.open(&mut lanes, runtime, places);
        let result = of(&lane);
        lanes.open.push(lane);
        result
    }

    /// Opens the first connection of a runtime, if it has none.
    async fn connect(&self) -> Result<(), Option<tonic::transport::Error>> {
        let runtime = current();
        let has_lane = |lanes: &Lanes| lanes.open.iter().any(|lane| lane.runtime == runtime);
        if has_lane(&self.lanes()) {
            return Ok(());
        }
        let reach = Reach::default();
        let channel = connected_channel(&self.endpoint, self.socket.as_deref(), &reach).await?;
        let mut lanes = self.lanes();
        // A call may have been faster.
        if !has_lane(&lanes) {
            let Limits { calls, connections } = self.limits;
            let places = Arc::new(Semaphore::new(calls.saturating_mul(connections)));
            let lane = self.lane_of(&mut lanes, (channel, reach), runtime, places);
            lanes.open.push(lane);
        }
        Ok(())
    }

    fn open(&self, lanes: &mut Lanes, runtime: Option<Id>, places: Arc<Semaphore>) -> Lane {
        let reach = Reach::default();
        let channel = lazy_channel(&self.endpoint, self.socket.as_deref(), &reach);
        self.lane_of(lanes, (channel, reach), runtime, places)
    }

    fn lane_of(
        &self,
        lanes: &mut Lanes,
        (channel, reach): (Channel, Reach),
        runtime: Option<Id>,
        places: Arc<Semaphore>,
    ) -> Lane {
        lanes.opened += 1;
        self.log.connection(lanes.opened, &self.target);
        let transport = Transport::watched(channel.clone(), reach.clone());
        Lane {
            transport: layered(transport, self.layers.iter()),
            channel,
            calls: Arc::default(),
            reach,
            runtime,
            places,
        }
    }
}

fn current() -> Option<Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

/// A transport with layers, the innermost first.
fn layered<'a>(transport: Transport, layers: impl Iterator<Item = &'a Wrap>) -> Transport {
    layers.fold(transport, |transport, wrap| wrap(transport))
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;

    use super::*;

    fn connections() -> Connections {
        let endpoint = Endpoint::from_static("http://127.0.0.1:1");
        Connections::to((endpoint, None), String::new(), &[], Level::Off)
    }

    fn limited(calls: usize, connections: usize) -> Connections {
        let mut own = self::connections();
        if let Connections::Own(pool) = &mut own {
            pool.limit(calls, connections);
        }
        own
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
        let mut calls = Vec::new();
        for _ in 0..CALLS_PER_CONNECTION {
            calls.push(connections.take().await);
        }
        assert_eq!(count(&connections), 1);
        calls.push(connections.take().await);
        assert_eq!(count(&connections), 2);
        calls.clear();
        calls.push(connections.take().await);
        assert_eq!(count(&connections), 2);
        for _ in 1..CALLS_PER_CONNECTION * MAX_CONNECTIONS {
            calls.push(connections.take().await);
        }
        assert_eq!(count(&connections), MAX_CONNECTIONS);
    }

    #[tokio::test]
    async fn calls_beyond_all_connections_wait_in_their_order() {
        let connections = limited(1, 2);
        let first = connections.take().await;
        let _second = connections.take().await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(connections.take())).collect();
        let mut context = Context::from_waker(Waker::noop());
        for call in &mut waiting {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        // One that leaves the queue, and one that leaves it with the place it has just got.
        drop(waiting.remove(1));
        drop(first);
        drop(waiting.remove(0));
        let mut latest = Box::pin(connections.take());
        assert!(latest.as_mut().poll(&mut context).is_pending());
        let taken = waiting.remove(0).await;
        drop(taken);
        drop(latest.await);
        assert_eq!(count(&connections), 2);
        let Connections::Own(pool) = &connections else {
            panic!("given");
        };
        let lanes = pool.lanes.lock().unwrap();
        let calls: Vec<_> = lanes.open.iter().map(Lane::calls).collect();
        assert_eq!(calls.iter().sum::<usize>(), 1);
        assert_eq!(lanes.open[0].places.available_permits(), 1);
    }

    #[test]
    fn runtimes_do_not_share_a_connection() {
        let connections = connections();
        let runtimes = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
        for runtime in &runtimes {
            runtime.block_on(async { drop(connections.take().await) });
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
                drop(connections.take().await);
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
