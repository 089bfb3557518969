//! How many tests run at a time, for the tests that `libtest_mimic` runs.

use std::thread::available_parallelism;

use libtest_mimic::Arguments;

/// How many tests a core is given. They wait for answers, deadlines and downloads; with one more
/// for each core, it has something to do meanwhile.
const TESTS_PER_CORE: usize = 2;

/// Sets the number of threads, unless the command line does.
pub(crate) fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let threads = cores() * TESTS_PER_CORE;
    arguments.test_threads.get_or_insert(threads);
    arguments
}

/// The cores of this machine.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
