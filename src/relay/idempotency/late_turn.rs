//! Turns that begin after their callers left: the statement that begins a turn may be executed
//! after the call was left, or after the store was taken for down. Until such a turn ended, no
//! other could begin in its conversation.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::store::Store;
use crate::store::calls::CallKey;
use crate::store::turn::TurnEnd;

/// How many such turns are looked for at once. Others end with their leases.
const MAX_SOUGHT: usize = 64;

/// How long the store may not answer.
const MAX_OUTAGE: Duration = Duration::from_secs(300);

/// How long a turn is looked for in a store that answers. Longer than a statement waits there.
const TIME: Duration = Duration::from_secs(5);

/// The pause before the second look; it doubles up to the longest one.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

static SOUGHT: Semaphore = Semaphore::const_new(MAX_SOUGHT);

/// A turn that is beginning. Dropped before it is known whether it has begun, it is ended.
pub(super) struct BeginningTurn {
    sought: Option<Sought>,
}

struct Sought {
    store: Store,
    key: CallKey,
    owner: Arc<str>,
    conversation: Arc<str>,
}

impl BeginningTurn {
    /// Of this call, as this owner.
    pub(super) fn new(store: &Store, (key, owner): (&CallKey, &Arc<str>), of: &Arc<str>) -> Self {
        Self {
            sought: Some(Sought {
                store: store.clone(),
                key: key.clone(),
                owner: Arc::clone(owner),
                conversation: Arc::clone(of),
            }),
        }
    }

    /// It is known whether the turn has begun.
    pub(super) fn decided(mut self) {
        self.sought = None;
    }
}

impl Drop for BeginningTurn {
    fn drop(&mut self) {
        if let (Some(sought), Ok(runtime)) = (self.sought.take(), Handle::try_current())
            && let Ok(permit) = SOUGHT.try_acquire()
        {
            runtime.spawn(async move {
                sought.end().await;
                drop(permit);
            });
        }
    }
}

impl Sought {
    async fn end(self) {
        let (mut until, mut pause) = (Instant::now() + MAX_OUTAGE, PAUSE);
        let mut answers = false;
        while Instant::now() < until {
            let owner = (&self.key, &self.owner);
            if let Ok(begun) = self.store.begun_turn(owner, &self.conversation).await {
                if let Some(owned) = begun {
                    let end = (TurnEnd::Cancelled, [].as_slice());
                    if self.store.end(&owned, None, end).await.is_ok() {
                        return;
                    }
                }
                if !std::mem::replace(&mut answers, true) {
                    until = Instant::now() + TIME;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
