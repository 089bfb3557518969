//! How many tests run at a time, for the tests that `libtest_mimic` runs.

use std::thread::available_parallelism;

use libtest_mimic::Arguments;

/// Sets the number of threads, unless the command line does. A core has something to do while some
/// of its tests wait for answers, deadlines and downloads.
pub(crate) fn arguments(tests_per_core: usize) -> Arguments {
    let mut arguments = Arguments::from_args();
    let threads = cores() * tests_per_core;
    arguments.test_threads.get_or_insert(threads);
    arguments
}

/// The cores of this machine.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
