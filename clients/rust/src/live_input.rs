//! The sending side of a live session.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Code;

use crate::error::Error;

/// The messages of one stream.
#[derive(Debug)]
pub struct Messages<T> {
    pub(crate) first: Option<T>,
    pub(crate) rest: mpsc::Receiver<T>,
    /// Dropped with the rest, when the stream accepts no more.
    pub(crate) _open: oneshot::Sender<()>,
}

impl<T: Unpin> Stream for Messages<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.poll_recv(context),
        }
    }
}

/// Where messages go at present.
pub(crate) struct Outlet<T> {
    /// The messages of the newest stream.
    messages: Option<mpsc::Sender<T>>,
    is_finished: bool,
    /// Why nothing can be sent any more.
    over: Option<Error>,
}

/// The sending side of a session, of which there may be many.
pub(crate) struct Input<T>(Arc<watch::Sender<Outlet<T>>>);

impl<T> Clone for Input<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Input<T> {
    pub(crate) fn new() -> Self {
        let (outlet, _) = watch::channel(Outlet {
            messages: None,
            is_finished: false,
            over: None,
        });
        Self(Arc::new(outlet))
    }

    /// Waits until flow control accepts a message, also on a resumed stream.
    pub(crate) async fn send(&self, message: T) -> Result<(), Error> {
        let mut outlet = self.0.subscribe();
        loop {
            let messages = {
                let outlet = outlet.borrow_and_update();
                if let Some(over) = &outlet.over {
                    return Err(over.clone());
                }
                if outlet.is_finished {
                    return Err(of_program("nothing can be sent after `finish`"));
                }
                outlet.messages.clone()
            };
            tokio::select! {
                slot = slot(messages) => {
                    slot.send(message);
                    return Ok(());
                }
                _ = outlet.changed() => {}
            }
        }
    }

    /// Ends the input of this stream and of all that follow.
    pub(crate) fn finish(&self) {
        self.0.send_modify(|outlet| {
            outlet.is_finished = true;
            outlet.messages = None;
        });
    }

    /// Ends the session for all who send; the first reason is kept.
    pub(crate) fn end(&self, why: Error) {
        self.0.send_modify(|outlet| {
            outlet.messages = None;
            outlet.over.get_or_insert(why);
        });
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.borrow().is_finished
    }

    pub(crate) fn replace(&self, messages: mpsc::Sender<T>) {
        self.0.send_modify(|outlet| {
            let is_open = !outlet.is_finished && outlet.over.is_none();
            outlet.messages = is_open.then_some(messages);
        });
    }
}

/// Waits for space. A stream that has ended never has any.
async fn slot<T>(messages: Option<mpsc::Sender<T>>) -> mpsc::OwnedPermit<T> {
    if let Some(messages) = messages
        && let Ok(slot) = messages.reserve_owned().await
    {
        return slot;
    }
    pending().await
}

/// The error of a program that sends when it cannot.
pub(crate) fn of_program(message: &str) -> Error {
    Error::of_client(Code::FailedPrecondition, "", message, "")
}
