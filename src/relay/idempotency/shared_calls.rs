//! Idempotent calls in a store: done once over all replicas, also if one of them stops.
//!
//! The record of a call is durable before anything is sent to DashScope. Its owner writes the
//! events in batches, and the end of a successful call is passed on only once it is stored.
//! Replicas that do not own the call read its events from the store. An owner that is gone loses
//! its lease; then a reader that has passed nothing on runs the call itself, and others fail.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use crate::chat::call::{Call, Caller};
use crate::chat::event::Event;
use crate::conversations::Conversations;
use crate::conversations::errors::refused;
use crate::error::{Error, Reason, Sent};
use crate::memory::{Kind, Share};
use crate::relay::reply::{Reply, Unstarted};
use crate::store::Store;
use crate::store::calls::{Begun, CallKey, Found, Owned};
use crate::store::turn::{Answered, NewTurn};

use super::late_turn::BeginningTurn;
use super::ownership::Ownership;
use super::refusals::{self, key_reused, no_such_events, owner_gone, too_long};
use super::replay_log::ReplayLog;
use super::running_turn::RunningTurn;
use super::table::{self, Idempotency, Key};
use super::unwritten::{BATCH_TIME, Unwritten};
use super::{fingerprint, stored_error, stored_events};

/// The part of a lease after which it is renewed, so that two renewals may fail.
const RENEWALS: u32 = 3;

/// How often the lease of a turn is renewed at least: then its replica notices that the turn was
/// cancelled, or deleted.
const TURN_RENEWAL: Duration = Duration::from_secs(1);

/// How long an answer is attempted to be stored.
pub(in crate::relay) const FINISH_TIME: Duration = Duration::from_secs(5);

/// The pause between two such attempts.
pub(in crate::relay) const FINISH_PAUSE: Duration = Duration::from_millis(200);

/// One call in the store, on this replica.
pub(super) struct SharedCall {
    conversations: Conversations,
    store: Store,
    key: CallKey,
    /// Its name in the store. A call that was given up may begin while its successor runs.
    owner: Arc<str>,
    /// Empty until it runs: media take a while to hash.
    fingerprint: Vec<u8>,
    keep: Duration,
    /// The pause between two records that it is read here.
    follow_pause: Duration,
    once: Weak<Idempotency>,
    share: Caller,
    log: Arc<ReplayLog>,
    /// Whether its caller wants only what is there: then it is not started.
    resumed: bool,
    /// Whether it is a turn of a stored conversation.
    is_turn: bool,
}

/// What this replica has to do for a call.
enum Role {
    /// To run it.
    Owner(Box<Ownership>),
    /// Nothing more: its events have been read to their end.
    Reader,
}

impl SharedCall {
    /// This call, whose events are written to this log. Of the same request id, the calls must be
    /// created one after the other.
    pub(super) fn new(
        once: &Arc<Idempotency>,
        conversations: &Conversations,
        (call, share): (&Call, Caller),
        log: Arc<ReplayLog>,
    ) -> Self {
        Self {
            owner: conversations.store().next_owner(),
            store: conversations.store().clone(),
            conversations: conversations.clone(),
            key: CallKey {
                tenant: call.tenant,
                request_id: Arc::clone(&call.request_id),
            },
            fingerprint: Vec::new(),
            keep: once.settings.keep,
            follow_pause: once.settings.follow_pause(),
            once: Arc::downgrade(once),
            share,
            log,
            resumed: call.joining.after > 0,
            is_turn: call.stored.is_some(),
        }
    }

    /// Runs the call, or reads what another replica has made of it.
    pub(super) async fn run(mut self, key: Key, unstarted: Unstarted, cancel: Arc<Notify>) {
        self.fingerprint = fingerprint::of(&unstarted.call);
        let end = self.execute(unstarted, &cancel).await;
        // The answer of a turn can be deleted at every replica, which a copy in memory would miss.
        table::end(&self.once, key, &self.log, (end, !self.is_turn));
    }

    async fn execute(&self, mut unstarted: Unstarted, cancel: &Arc<Notify>) -> Result<(), Error> {
        let new_turn = self.conversations.new_turn(&unstarted.call)?;
        let mut claimed = match self.claim(cancel, new_turn.as_ref()).await? {
            Role::Reader => return Ok(()),
            Role::Owner(ownership) => ownership,
        };
        drop(new_turn);
        let memory = self.memory();
        let turn = RunningTurn::begin(
            &self.conversations,
            &mut unstarted.call,
            claimed.owned(),
            memory,
        );
        let mut turn = match turn.await {
            Ok(turn) => turn,
            Err(error) => {
                claimed.failed(&error).await;
                return Err(error);
            }
        };
        let mut events = unstarted.start(self.log.attempts());
        self.log.counted_by(events.usage_so_far());
        claimed.counted_by(events.usage_so_far());
        // Dropped before the events, because it reads their usage.
        let mut ownership = claimed;
        let mut end = self.own(&mut ownership, &mut events, turn.as_mut()).await;
        if let Err(error) = &mut end {
            if let Some(turn) = &turn {
                *error = turn.of_call(error.clone());
            }
            ownership.failed(error).await;
        }
        end
    }

    fn memory(&self) -> Option<Share> {
        let once = self.once.upgrade();
        once.map(|once| once.memory.share(Kind::Kept))
    }

    /// Becomes the owner of the call, or reads it to its end.
    async fn claim(&self, cancel: &Arc<Notify>, turn: Option<&NewTurn>) -> Result<Role, Error> {
        loop {
            let begun = match self.resumed {
                true => {
                    let (found, theirs) = self.store.find(&self.key).await?;
                    Begun::Found(found, theirs)
                }
                false => {
                    let call = (&self.key, &self.owner);
                    let beginning =
                        turn.map(|turn| BeginningTurn::new(&self.store, call, &turn.conversation));
                    let begun = self.store.begin(call, &self.fingerprint, self.keep, turn);
                    let begun = begun.await?;
                    if let Some(beginning) = beginning {
                        beginning.decided();
                    }
                    begun
                }
            };
            let (found, theirs) = match begun {
                Begun::Owned(owned) => {
                    // Nothing was written before this replica wrote it.
                    self.log.caught_up();
                    let ownership = Ownership::new(&self.store, &self.once, owned, cancel);
                    return Ok(Role::Owner(Box::new(ownership)));
                }
                Begun::Found(found, theirs) => (found, theirs),
                Begun::Refused(refusal) => return Err(refused(refusal)),
            };
            let exists = found != Found::Gone;
            if exists && fingerprint::contradict(&self.fingerprint, &theirs) {
                return Err(key_reused());
            }
            let fence = match found {
                Found::TooLong => return Err(too_long()),
                Found::Gone if self.resumed => return Err(no_such_events(0)),
                Found::Gone => {
                    tokio::time::sleep(FINISH_PAUSE).await;
                    continue;
                }
                // Only a call that is resumed finds it: others are begun again.
                Found::Failed(_, error) => return Err(self.failed(&error)),
                Found::Running(fence) | Found::Complete(fence) => fence,
            };
            self.log.replayed();
            if self.follow(fence).await? {
                return Ok(Role::Reader);
            }
        }
    }

    /// Reads the events of an owner to their end. Returns `false` if the owner is gone before it
    /// had written any.
    async fn follow(&self, fence: i64) -> Result<bool, Error> {
        let mut next = 0;
        let mut followed = None;
        let caught_up = Instant::now() + 3 * BATCH_TIME;
        loop {
            // First the state: a call that is complete has all its events.
            let (found, _) = self.store.find(&self.key).await?;
            if matches!(found, Found::Running(_)) {
                self.record_reader(&mut followed).await;
            }
            let ended = self.read(fence, &mut next).await?;
            match found {
                Found::Complete(of) if of == fence && ended => return Ok(true),
                Found::Complete(of) if of == fence => {
                    let message = "the stored answer of this call has no end";
                    return Err(Error::new(Reason::StoreDamaged, message));
                }
                Found::Running(of) if of == fence => {}
                Found::Failed(of, error) if of == fence => {
                    return Err(self.failed(&error));
                }
                Found::TooLong => return Err(too_long()),
                _ if next == 0 => return Ok(false),
                Found::Gone | Found::Running(_) | Found::Complete(_) | Found::Failed(..) => {
                    return Err(owner_gone());
                }
            }
            if Instant::now() >= caught_up {
                self.log.caught_up();
            }
            tokio::time::sleep(BATCH_TIME).await;
        }
    }

    /// Records from time to time that the call is read here, so that its owner goes on. A call that
    /// is only held here must not cause that.
    async fn record_reader(&self, last: &mut Option<Instant>) {
        let due = last.is_none_or(|last| last.elapsed() >= self.follow_pause);
        if due && self.log.is_read() {
            // A store that can be read is enough to read.
            let _ = self.store.follow(&self.key).await;
            *last = Some(Instant::now());
        }
    }

    /// Reads the events that an owner has written after the first `next`. Returns whether the last
    /// one is the end of the answer.
    async fn read(&self, fence: i64, next: &mut i64) -> Result<bool, Error> {
        let mut ended = false;
        loop {
            let batches = self.store.events(&self.key, fence, *next).await?;
            if batches.is_empty() {
                return Ok(ended);
            }
            for batch in batches {
                let events = stored_events::decode(&batch.events)?;
                *next = batch.first + i64::try_from(events.len()).unwrap_or_default();
                for event in events {
                    ended = matches!(event, Event::End(_));
                    self.write(event).await;
                }
            }
        }
    }

    /// The error of a call that another replica has run.
    fn failed(&self, stored: &[u8]) -> Error {
        let error = stored_error::decode(stored);
        self.log
            .attempts()
            .store(error.attempts(), Ordering::Relaxed);
        error
    }

    async fn write(&self, event: Event) {
        let make_room = |bytes| {
            if let Some(once) = self.once.upgrade() {
                once.relieve(bytes, Some(self.share));
            }
        };
        self.log.write(event, make_room).await;
    }

    /// Runs the call and stores its events.
    async fn own(
        &self,
        ownership: &mut Ownership,
        events: &mut Reply,
        mut turn: Option<&mut RunningTurn>,
    ) -> Result<(), Error> {
        let mut unwritten = Unwritten::new(self.memory());
        let usage = events.usage_so_far();
        let mut renewal = self.store.lease() / RENEWALS;
        if turn.is_some() {
            renewal = renewal.min(TURN_RENEWAL);
        }
        let mut renew_at = Instant::now() + renewal;
        let Some(owned) = ownership.owned().cloned() else {
            return Err(owner_gone());
        };
        loop {
            let due = unwritten.due.map_or(renew_at, |due| due.min(renew_at));
            let event = tokio::select! {
                event = events.next() => event,
                () = ownership.cancelled() => Some(Err(events.end(refusals::cancelled()))),
                () = tokio::time::sleep_until(due) => {
                    renew_at = Instant::now() + renewal;
                    if !self.persist(&owned, &mut unwritten).await {
                        let lost = ownership.lost().await.unwrap_or_else(owner_gone);
                        return Err(lost.with_usage(usage()));
                    }
                    continue;
                }
            };
            let Some(event) = event else {
                return Err(crate::relay::retry::silent());
            };
            let event = match &mut turn {
                Some(turn) => turn.add(event?)?,
                None => event?,
            };
            unwritten.add(&event);
            if let Event::End(end) = &event {
                let answered = turn.as_mut().and_then(|turn| turn.answered.take());
                let finished = self.finish(&owned, &mut unwritten, answered.as_ref());
                let finished = finished.await;
                if !finished.map_err(|error| error.with_usage(end.usage.clone()))? {
                    let lost = ownership.lost().await.unwrap_or_else(owner_gone);
                    return Err(lost.with_usage(end.usage.clone()));
                }
                ownership.leave();
                self.write(event).await;
                return Ok(());
            }
            self.write(event).await;
            if self.log.is_cut() {
                unwritten.drop_all();
            }
        }
    }

    /// Writes the events so far and renews the lease. An error of the store is no reason to end the
    /// call: until its lease has ended, no other replica may run it, and the next attempt may
    /// succeed.
    async fn persist(&self, owned: &Owned, unwritten: &mut Unwritten) -> bool {
        let written = match unwritten.batches() {
            [] => self.store.renew(owned).await,
            batches => self.store.append(owned, batches).await,
        };
        match written {
            Ok(true) => {
                unwritten.written();
                true
            }
            Ok(false) => false,
            Err(error) => {
                let cause = error.cause().unwrap_or_default();
                tracing::warn!(cause, "the events of a call cannot be stored yet");
                unwritten.retry();
                true
            }
        }
    }

    /// Stores the end of the call, if this replica still owns it. The model has answered, so it is
    /// attempted for a while.
    async fn finish(
        &self,
        owned: &Owned,
        unwritten: &mut Unwritten,
        answered: Option<&Answered>,
    ) -> Result<bool, Error> {
        let batches = unwritten.batches();
        let until = Instant::now() + FINISH_TIME;
        loop {
            let done = self.store.complete(owned, batches, self.keep, answered);
            match done.await {
                Ok(is_owner) => return Ok(is_owner),
                Err(error) if Instant::now() >= until => {
                    let message = "the answer cannot be stored, so it is not certain that a retry \
                                   would return it";
                    let failed = Error::new(Reason::AnswerNotSaved, message);
                    return Err(failed.with_sent(Sent::Begun).with_source(error));
                }
                Err(_) => tokio::time::sleep(FINISH_PAUSE).await,
            }
        }
    }
}
