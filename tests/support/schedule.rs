//! When a test of other programs runs: few builds at a time, and the rest side by side.
//!
//! For the tests that `libtest_mimic` runs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use libtest_mimic::Trial;

use super::threads::cores;

/// One trial of each group, then the next of each, so that what a group needs is made while others
/// run.
pub(crate) fn side_by_side(groups: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut groups: VecDeque<_> = groups.into_iter().map(Vec::into_iter).collect();
    let mut trials = Vec::new();
    while let Some(mut group) = groups.pop_front() {
        if let Some(trial) = group.next() {
            trials.push(trial);
            groups.push_back(group);
        }
    }
    trials
}

static BUILDS: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A compiler or an installer at work. There is one for each core at most: they are large and busy.
pub(crate) struct Build(());

impl Build {
    /// Waits until there is a core for it.
    pub(crate) fn begin() -> Self {
        let builds = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut builds = ENDED
            .wait_while(builds, |builds| *builds >= cores())
            .unwrap_or_else(PoisonError::into_inner);
        *builds += 1;
        Self(())
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        *BUILDS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
