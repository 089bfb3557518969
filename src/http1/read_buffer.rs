//! A read buffer per thread, for data from sockets.

use std::cell::RefCell;

/// The size of one read. It fits a second of audio as base64, and hundreds of small events.
const SIZE: usize = 64 * 1024;

thread_local! {
    // Data are copied out at their exact size, so that thousands of idle responses hold no buffers:
    // 8 KiB less each than with a buffer of their own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Calls `use_it` with the buffer. Calls must not be nested.
pub(super) fn lend<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| use_it(scratch))
}
