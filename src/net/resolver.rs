//! From a host's name to its addresses, within bounds.
//!
//! The system's resolver is asked, so that hosts files, search lists and whatever else the machine
//! is set up with hold. It takes a thread for as long as it likes, ten seconds and more when no
//! name server answers. So a name is asked for once at a time, whoever waits for it; few names are
//! asked for at once; and when the resolver fails, the last good answer is used for a while.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// The most names that are asked for at once, and so the most threads that a resolver which does
/// not answer can hold. A gateway reaches a handful of hosts.
const MAX_LOOKUPS: usize = 8;

/// The most names that are remembered. DashScope names a host of its storage for each region.
const MAX_NAMES: usize = 64;

/// How long an answer is used without another question: connections are opened in bursts, and no
/// record of a cloud changes more often.
const FRESH: Duration = Duration::from_secs(5);

/// How long an answer is used when there is no newer one. Outages of resolvers are minutes; an
/// address that was given up longer ago may be somebody else's.
const STALE: Duration = Duration::from_secs(10 * 60);

/// The part of its time that a name is waited for when there is an older answer.
const SHARE_WITH_ANSWER: f64 = 0.25;

/// What the system answers.
type Answer = Result<Arc<[IpAddr]>, io::ErrorKind>;

/// Asks the system.
type Lookup =
    dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// Resolves names. Cheap to clone; clones share what they know.
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
    /// The last good answer, and when it came.
    good: Option<(Instant, Arc<[IpAddr]>)>,
    /// The question that is under way.
    asked: Option<watch::Receiver<Option<Answer>>>,
}

impl Name {
    fn good_for(&self, age: Duration) -> Option<Arc<[IpAddr]>> {
        let (since, addresses) = self.good.as_ref()?;
        (since.elapsed() < age).then(|| Arc::clone(addresses))
    }
}

impl Resolver {
    /// The one of this process: the system's resolver is one, too.
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

    /// The addresses of a host, within this time. Never none.
    pub async fn resolve(&self, host: &str, timeout: Duration) -> Answer {
        if let Ok(address) = host.parse() {
            return Ok(Arc::new([address]));
        }
        let (mut asked, old) = {
            let mut names = self.names();
            if !make_room(&mut names, host) {
                return Err(io::ErrorKind::ResourceBusy);
            }
            let name = names.entry(host.to_owned()).or_default();
            if let Some(fresh) = name.good_for(FRESH) {
                return Ok(fresh);
            }
            let under_way = name.asked.take();
            // One whose runtime has ended is closed, and never answers.
            let asked = match under_way.filter(|asked| asked.has_changed().is_ok()) {
                Some(asked) => asked,
                None => self.ask(host),
            };
            name.asked = Some(asked.clone());
            (asked, name.good_for(STALE))
        };
        let patience = match old {
            Some(_) => timeout.mul_f64(SHARE_WITH_ANSWER),
            None => timeout,
        };
        let answer = match tokio::time::timeout(patience, asked.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(io::ErrorKind::Other)),
            Ok(Err(_)) => Err(io::ErrorKind::Interrupted),
            Err(_) => Err(io::ErrorKind::TimedOut),
        };
        match (answer, old) {
            (Ok(addresses), _) | (Err(_), Some(addresses)) => Ok(addresses),
            (Err(kind), None) => Err(kind),
        }
    }

    /// Asks the system, and remembers what it says.
    fn ask(&self, host: &str) -> watch::Receiver<Option<Answer>> {
        let (answers, asked) = watch::channel(None);
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
                name.asked = None;
                if let Ok(addresses) = &answer {
                    name.good = Some((Instant::now(), Arc::clone(addresses)));
                }
            }
            answers.send_replace(Some(answer));
        });
        asked
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Name>> {
        let names = &self.inner.names;
        names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for `reqwest`.
    pub(super) fn within(self, timeout: Duration) -> Within {
        Within {
            resolver: self,
            timeout,
        }
    }
}

/// Whether there is room for this name. If there are too many, the one that was good longest ago is
/// forgotten, unless all of them are being asked for.
fn make_room(names: &mut HashMap<String, Name>, host: &str) -> bool {
    if names.len() < MAX_NAMES || names.contains_key(host) {
        return true;
    }
    let idle = names.iter().filter(|(_, name)| name.asked.is_none());
    let oldest = idle.min_by_key(|(_, name)| name.good.as_ref().map(|(since, _)| *since));
    let oldest = oldest.map(|(host, _)| host.clone());
    oldest.is_some_and(|oldest| names.remove(&oldest).is_some())
}

/// A resolver with its time.
pub(super) struct Within {
    resolver: Resolver,
    timeout: Duration,
}

/// A host has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved(pub io::ErrorKind);

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no address: {}", self.0)
    }
}

impl std::error::Error for Unresolved {}

impl reqwest::dns::Resolve for Within {
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

    /// A resolver that takes this long, and the number of questions that it was asked.
    fn resolver(takes: Duration, fails: bool) -> (Resolver, Arc<AtomicUsize>) {
        let (asked, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let resolver = Resolver::new(move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let running = Arc::clone(&running);
            Box::pin(async move {
                assert!(running.fetch_add(1, Ordering::SeqCst) < MAX_LOOKUPS);
                // The first answer is good and quick.
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
        (resolver, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_want_one_name_ask_once_and_give_up_in_time() {
        let (resolver, asked) = resolver(3600 * SECOND, false);
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
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        // Later ones wait for the same question.
        assert!(resolver.resolve("black.hole", SECOND).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_that_are_not_answered_hold_few_threads_and_little_memory() {
        let (resolver, asked) = resolver(3600 * SECOND, false);
        resolver.resolve("other", SECOND).await.unwrap();
        for number in 0..3 * MAX_NAMES {
            let host = format!("host-{number}");
            assert!(resolver.resolve(&host, SECOND).await.is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1 + MAX_LOOKUPS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_bridges_an_outage_and_ends() {
        for (takes, fails) in [(3600 * SECOND, false), (Duration::ZERO, true)] {
            let (resolver, _) = resolver(takes, fails);
            let good = resolver.resolve("a", SECOND).await.unwrap();
            tokio::time::sleep(FRESH).await;
            let started = Instant::now();
            assert_eq!(resolver.resolve("a", SECOND).await, Ok(good));
            assert!(started.elapsed() <= SECOND.mul_f64(SHARE_WITH_ANSWER) + SECOND / 100);
            tokio::time::sleep(STALE).await;
            assert!(resolver.resolve("a", SECOND).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_when_the_answer_is_no_longer_fresh() {
        let (resolver, asked) = resolver(Duration::ZERO, false);
        let first = resolver.resolve("a", SECOND).await.unwrap();
        assert_eq!(resolver.resolve("a", SECOND).await.unwrap(), first);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::sleep(FRESH).await;
        assert_ne!(resolver.resolve("a", SECOND).await.unwrap(), first);
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let (resolver, asked) = resolver(Duration::ZERO, false);
        for address in ["10.0.0.1", "::1"] {
            let found = resolver.resolve(address, SECOND).await.unwrap();
            assert_eq!(found[0].to_string(), address);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}
