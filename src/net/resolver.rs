//! A DNS resolver with bounds and a cache.
//!
//! It calls the system's resolver, so that hosts files, search lists and other configuration of the
//! machine apply. A lookup blocks a thread for an unknown time, ten seconds and more if no name
//! server responds. So lookups of the same name are shared; the number of concurrent lookups is
//! limited; and when the resolver fails, the last good result is used for a while.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// The maximum number of concurrent lookups, and so of threads blocked by an unresponsive resolver.
/// A gateway connects to a handful of hosts.
const MAX_LOOKUPS: usize = 8;

/// The maximum number of cached names. DashScope has a storage host per region.
const MAX_NAMES: usize = 64;

/// How long a result is used without a new lookup: connections are opened in bursts, and DNS
/// records do not change more often.
const FRESH: Duration = Duration::from_secs(5);

/// How long a result is used if later lookups fail. Resolver outages last minutes; an address
/// released longer ago may belong to another host.
const STALE: Duration = Duration::from_secs(10 * 60);

/// The fraction of the timeout that a lookup may take if there is an older result.
const STALE_SHARE: f64 = 0.25;

/// The result of a lookup.
type LookupResult = Result<Arc<[IpAddr]>, io::ErrorKind>;

/// The lookup function of the system.
type Lookup =
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// Resolves names. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

struct Inner {
    lookup: Box<Lookup>,
    names: Mutex<HashMap<String, Name>>,
    slots: Arc<Semaphore>,
}

#[derive(Default)]
struct Name {
    /// The last good result, and its time.
    good: Option<(Instant, Arc<[IpAddr]>)>,
    /// The lookup in progress.
    pending: Option<watch::Receiver<Option<LookupResult>>>,
}

impl Name {
    fn good_for(&self, age: Duration) -> Option<Arc<[IpAddr]>> {
        let (since, addresses) = self.good.as_ref()?;
        (since.elapsed() < age).then(|| Arc::clone(addresses))
    }
}

impl Resolver {
    /// The resolver of this process: the system has only one, too.
    pub fn shared() -> Self {
        static SHARED: LazyLock<Resolver> = LazyLock::new(|| {
            Resolver::new(|name| {
                Box::pin(async move {
                    let found = tokio::net::lookup_host((name, 0)).await?;
                    Ok(found.map(|address| address.ip()).collect())
                })
            })
        });
        SHARED.clone()
    }

    fn new(
        lookup: impl Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                lookup: Box::new(lookup),
                names: Mutex::default(),
                slots: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            }),
        }
    }

    /// The addresses of a host, at least one, within this timeout.
    pub async fn resolve(&self, host: &str, timeout: Duration) -> LookupResult {
        if let Ok(address) = host.parse() {
            return Ok(Arc::new([address]));
        }
        let (mut pending, old) = {
            let mut names = self.names();
            if !evict_for(&mut names, host) {
                return Err(io::ErrorKind::ResourceBusy);
            }
            let name = names.entry(host.to_owned()).or_default();
            if let Some(fresh) = name.good_for(FRESH) {
                return Ok(fresh);
            }
            let under_way = name.pending.take();
            // The lookup of a runtime that ended is closed, and never completes.
            let pending = match under_way.filter(|pending| pending.has_changed().is_ok()) {
                Some(pending) => pending,
                None => self.start_lookup(host),
            };
            name.pending = Some(pending.clone());
            (pending, name.good_for(STALE))
        };
        let patience = match old {
            Some(_) => timeout.mul_f64(STALE_SHARE),
            None => timeout,
        };
        let answer = match tokio::time::timeout(patience, pending.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(io::ErrorKind::Other)),
            Ok(Err(_)) => Err(io::ErrorKind::Interrupted),
            Err(_) => Err(io::ErrorKind::TimedOut),
        };
        match (answer, old) {
            (Ok(addresses), _) | (Err(_), Some(addresses)) => Ok(addresses),
            (Err(kind), None) => Err(kind),
        }
    }

    /// Starts a lookup, and caches its result.
    fn start_lookup(&self, host: &str) -> watch::Receiver<Option<LookupResult>> {
        let (answers, pending) = watch::channel(None);
        let (this, host) = (self.clone(), host.to_owned());
        tokio::spawn(async move {
            let slots = Arc::clone(&this.inner.slots);
            let Ok(_slot) = slots.acquire_owned().await else {
                return;
            };
            let answer = match (this.inner.lookup)(host.clone()).await {
                Ok(found) if found.is_empty() => Err(io::ErrorKind::NotFound),
                Ok(found) => Ok(Arc::from(found)),
                Err(error) => Err(error.kind()),
            };
            if let Some(name) = this.names().get_mut(&host) {
                name.pending = None;
                if let Ok(addresses) = &answer {
                    name.good = Some((Instant::now(), Arc::clone(addresses)));
                }
            }
            answers.send_replace(Some(answer));
        });
        pending
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        let names = &self.inner.names;
        names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This resolver with a timeout, for `reqwest`.
    pub(super) fn within(self, timeout: Duration) -> TimedResolver {
        TimedResolver {
            resolver: self,
            timeout,
        }
    }
}

/// Whether this name can be cached. If the cache is full, the name with the oldest result is
/// evicted, unless all lookups are in progress.
fn evict_for(names: &mut HashMap<String, Name>, host: &str) -> bool {
    if names.len() < MAX_NAMES || names.contains_key(host) {
        return true;
    }
    let idle = names.iter().filter(|(_, name)| name.pending.is_none());
    let oldest = idle.min_by_key(|(_, name)| name.good.as_ref().map(|(since, _)| *since));
    let oldest = oldest.map(|(host, _)| host.clone());
    oldest.is_some_and(|oldest| names.remove(&oldest).is_some())
}

/// A resolver with a timeout.
pub(super) struct TimedResolver {
    resolver: Resolver,
    timeout: Duration,
}

/// The error of a host without an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved(pub io::ErrorKind);

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no address: {}", self.0)
    }
}

impl std::error::Error for Unresolved {}

impl reqwest::dns::Resolve for TimedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (resolver, timeout) = (self.resolver.clone(), self.timeout);
        Box::pin(async move {
            match resolver.resolve(name.as_str(), timeout).await {
                Ok(found) => {
                    let found: Vec<_> = found.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
                    Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
                }
                Err(kind) => Err(Unresolved(kind).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::task::JoinSet;

    const SECOND: Duration = Duration::from_secs(1);

    /// A resolver whose lookups take this long, and the number of its lookups.
    fn resolver(takes: Duration, fails: bool) -> (Resolver, Arc<AtomicUsize>) {
        let (pending, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&pending);
        let resolver = Resolver::new(move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let running = Arc::clone(&running);
            Box::pin(async move {
                assert!(running.fetch_add(1, Ordering::SeqCst) < MAX_LOOKUPS);
                // The first lookup succeeds at once.
                if number > 0 {
                    tokio::time::sleep(takes).await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                match fails && number > 0 {
                    true => Err(io::ErrorKind::Other.into()),
                    false => Ok(vec![[10, 0, 0, number as u8].into()]),
                }
            })
        });
        (resolver, pending)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_lookups_of_a_name_are_shared_and_time_out() {
        let (resolver, pending) = resolver(3600 * SECOND, false);
        resolver.resolve("other", SECOND).await.unwrap();
        let started = Instant::now();
        let mut waiting = JoinSet::new();
        for _ in 0..1000 {
            let resolver = resolver.clone();
            waiting.spawn(async move { resolver.resolve("black.hole", SECOND).await });
        }
        for answer in waiting.join_all().await {
            assert_eq!(answer, Err(io::ErrorKind::TimedOut));
        }
        assert_eq!(started.elapsed().as_secs(), 1);
        assert_eq!(pending.load(Ordering::SeqCst), 2);
        // Later callers share the lookup.
        assert!(resolver.resolve("black.hole", SECOND).await.is_err());
        assert_eq!(pending.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn unresponsive_lookups_are_bounded() {
        let (resolver, pending) = resolver(3600 * SECOND, false);
        resolver.resolve("other", SECOND).await.unwrap();
        for number in 0..3 * MAX_NAMES {
            let host = format!("host-{number}");
            assert!(resolver.resolve(&host, SECOND).await.is_err());
        }
        assert_eq!(pending.load(Ordering::SeqCst), 1 + MAX_LOOKUPS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_result_is_used_during_an_outage_until_it_expires() {
        for (takes, fails) in [(3600 * SECOND, false), (Duration::ZERO, true)] {
            let (resolver, _) = resolver(takes, fails);
            let good = resolver.resolve("a", SECOND).await.unwrap();
            tokio::time::sleep(FRESH).await;
            let started = Instant::now();
            assert_eq!(resolver.resolve("a", SECOND).await, Ok(good));
            assert!(started.elapsed() <= SECOND.mul_f64(STALE_SHARE) + SECOND / 100);
            tokio::time::sleep(STALE).await;
            assert!(resolver.resolve("a", SECOND).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_noticed_once_the_result_is_stale() {
        let (resolver, pending) = resolver(Duration::ZERO, false);
        let first = resolver.resolve("a", SECOND).await.unwrap();
        assert_eq!(resolver.resolve("a", SECOND).await.unwrap(), first);
        assert_eq!(pending.load(Ordering::SeqCst), 1);
        tokio::time::sleep(FRESH).await;
        assert_ne!(resolver.resolve("a", SECOND).await.unwrap(), first);
    }

    #[tokio::test]
    async fn an_ip_address_needs_no_lookup() {
        let (resolver, pending) = resolver(Duration::ZERO, false);
        for address in ["10.0.0.1", "::1"] {
            let found = resolver.resolve(address, SECOND).await.unwrap();
            assert_eq!(found[0].to_string(), address);
        }
        assert_eq!(pending.load(Ordering::SeqCst), 0);
    }
}
