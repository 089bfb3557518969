//! Where bytes from a socket land first: one buffer for each thread.

use std::cell::RefCell;

/// As much as one read takes. A second of sound as base64 fits, and so do hundreds of small events.
const SIZE: usize = 64 * 1024;

thread_local! {
    // What is kept is copied out to its exact size, so that thousands of silent answers hold no
    // buffers: 8 KiB less each than with a buffer of their own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Lends the buffer. `use_it` must not lend it again.
pub(super) fn lend<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}
