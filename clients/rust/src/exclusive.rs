//! Futures that are kept in values that threads share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// A future that is polled with exclusive access only. The mutex, which is never locked, makes it
/// `Sync`.
pub(crate) struct Exclusive<T>(Mutex<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Exclusive<T> {
    pub(crate) fn new(future: Pin<Box<dyn Future<Output = T> + Send>>) -> Self {
        Self(Mutex::new(future))
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let future = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        future.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Exclusive<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a future")
    }
}
