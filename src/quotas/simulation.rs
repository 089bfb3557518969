//! Replicas, and the arithmetic of the store, in paused time and without a store.

use std::time::Duration;

use tokio::time::Instant;

use super::share::Share;
use crate::store::allowance::{Ask, Grant, QuotaKind, Used, grant};

const LEASE: Duration = Duration::from_secs(15);

/// The store's clock at the start: 10 s before midnight.
const EVENING: i64 = 20_000 * 86_400_000 + 86_390_000;

/// What a replica has in the store.
#[derive(Clone, Copy, Default)]
struct Row {
    amount: i64,
    day: i64,
    report: i64,
    until: i64,
}

/// Replicas that share one limit.
struct Simulation {
    start: Instant,
    kind: QuotaKind,
    limit: i64,
    used: Used,
    rows: Vec<Row>,
    shares: Vec<Share>,
    reports: i64,
}

impl Simulation {
    fn new(kind: QuotaKind, limit: i64, replicas: usize) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            kind,
            limit,
            used: Used {
                day: -1,
                ..Used::default()
            },
            rows: vec![Row::default(); replicas],
            shares: (0..replicas).map(|_| Share::new(kind, now)).collect(),
            reports: 0,
        }
    }

    fn count(&self) -> i64 {
        i64::try_from(self.shares.len()).unwrap()
    }

    fn clock(&self) -> i64 {
        EVENING + i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// What the store does with a request. Returns its answer.
    fn store(&mut self, at: usize, (report, ask): (i64, Ask)) -> Grant {
        let now = self.clock();
        let day = crate::store::allowance::day_of(self.kind, now);
        let is_live = |row: &&Row| row.until > now && row.day == day;
        let others = self
            .rows
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        let others = others.map(|(_, row)| row).filter(is_live);
        let others = others.map(|row| row.amount).sum();
        let is_new = report > self.rows[at].report;
        let answer = grant(&mut self.used, others, &ask, is_new, now);
        self.rows[at] = Row {
            amount: answer.amount,
            day: answer.day,
            report,
            until: now + i64::try_from(LEASE.as_millis()).unwrap(),
        };
        answer
    }

    fn ask(&mut self, at: usize) -> (i64, Ask) {
        self.reports += 1;
        self.shares[at].ask(self.reports, false, Instant::now())
    }

    fn exchange(&mut self, at: usize) {
        let ask = self.ask(at);
        let answer = self.store(at, ask);
        self.shares[at].receive(&answer, Instant::now());
    }

    /// A call. Returns whether it was accepted.
    fn call(&mut self, at: usize, amount: i64) -> bool {
        let now = Instant::now();
        if self.shares[at].is_missing(self.limit, now) {
            self.exchange(at);
        }
        let replicas = self.count();
        let is_accepted = self.shares[at]
            .wait(amount, self.limit, replicas, now)
            .is_zero();
        if is_accepted {
            self.shares[at].take(amount, self.limit, now);
        }
        if self.shares[at].is_low(now) {
            self.exchange(at);
        }
        is_accepted
    }

    /// The regular exchanges.
    fn round(&mut self) {
        for at in 0..self.shares.len() {
            if self.shares[at].is_due(LEASE, Instant::now()) {
                self.exchange(at);
            }
        }
    }

    /// Calls at all replicas in turn, this many a second each, for this long.
    async fn run(&mut self, seconds: u64, per_second: u64) -> i64 {
        let mut accepted = 0;
        for step in 0..seconds * per_second {
            for at in 0..self.shares.len() {
                accepted += i64::from(self.call(at, 1));
            }
            tokio::time::advance(Duration::from_secs(1) / u32::try_from(per_second).unwrap()).await;
            if step % (per_second / 4).max(1) == 0 {
                self.round();
            }
        }
        accepted
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_together_accept_the_rate_and_one_minutes_burst() {
    for limit in [60, 600, 6000] {
        let mut simulation = Simulation::new(QuotaKind::Rate, limit, 3);
        let accepted = simulation.run(120, 100).await;
        let right = limit + 2 * limit;
        let tolerance = right / 50 + limit / 16 + 3;
        assert!(
            (right - accepted).abs() <= tolerance,
            "{accepted} of {right}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_the_limit_use_all_of_it() {
    let mut simulation = Simulation::new(QuotaKind::Rate, 6000, 3);
    let accepted = simulation.run(20, 333).await;
    let right = 6000 + 6000 / 3;
    assert!(
        (right - accepted).abs() <= right / 100,
        "{accepted} of {right}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_gets_all_calls_gets_the_whole_limit() {
    let mut simulation = Simulation::new(QuotaKind::Rate, 1000, 3);
    // The others have shares, which they return.
    for at in [1, 2] {
        assert!(simulation.call(at, 1));
    }
    let mut accepted = 2;
    for _ in 0..5 {
        for _ in 0..400 {
            accepted += i64::from(simulation.call(0, 1));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        simulation.round();
    }
    let right = 1000 + 1000 * 5 / 60;
    assert!(
        (right - accepted).abs() <= right / 50,
        "{accepted} of {right}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_daily_limit_is_exact_and_starts_again_at_midnight() {
    let mut simulation = Simulation::new(QuotaKind::Day, 1000, 3);
    assert_eq!(simulation.run(5, 100).await, 1000);
    assert_eq!(simulation.run(4, 100).await, 0);
    assert_eq!(simulation.run(6, 100).await, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_dead_replicas_share_comes_back_after_its_lease() {
    let mut simulation = Simulation::new(QuotaKind::Day, 1000, 2);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert!(simulation.call(1, 1));
    let lost = simulation.rows[1].amount;
    // From here on, only the first one runs; the call of the other was never reported.
    let mut accepted = 0;
    while simulation.call(0, 1) {
        accepted += 1;
    }
    assert_eq!(accepted, 1000 - lost);
    tokio::time::advance(LEASE).await;
    while simulation.call(0, 1) {
        accepted += 1;
    }
    assert_eq!(accepted, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_answer_was_lost_counts_once() {
    let mut simulation = Simulation::new(QuotaKind::Day, 1000, 1);
    tokio::time::advance(Duration::from_secs(20)).await;
    for _ in 0..10 {
        assert!(simulation.call(0, 1));
    }
    let lost = simulation.ask(0);
    simulation.store(0, lost);
    for _ in 0..3 {
        let again = simulation.ask(0);
        assert_eq!(again.0, lost.0);
        simulation.store(0, again);
    }
    simulation.exchange(0);
    simulation.exchange(0);
    assert_eq!(simulation.used.scaled, 10 * 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_call_larger_than_a_share_takes_the_rest_once_it_is_free() {
    let mut simulation = Simulation::new(QuotaKind::Rate, 1000, 3);
    // At most this replica's part at once.
    assert!(!simulation.call(0, 900));
    assert!(simulation.call(0, 900));
    assert!(!simulation.call(1, 900));
    assert!(simulation.call(2, 20));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_bounded_over_all_replicas_and_returned() {
    let mut simulation = Simulation::new(QuotaKind::Held, 4, 3);
    let mut held = Vec::new();
    for at in [0, 1, 2, 0, 1, 2, 0] {
        if simulation.call(at, 1) {
            held.push(at);
        }
    }
    assert_eq!(held.len(), 4);
    for at in held {
        simulation.shares[at].take(-1, 4, Instant::now());
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    simulation.round();
    for _ in 0..4 {
        assert!(simulation.call(1, 1));
    }
    assert!(!simulation.call(0, 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_replica_has_its_part() {
    let mut simulation = Simulation::new(QuotaKind::Rate, 600, 3);
    simulation.run(70, 20).await;
    // The limit is used up, and the store is gone.
    let mut accepted = 0;
    for _ in 0..600 {
        for share in &mut simulation.shares {
            let now = Instant::now();
            share.refill_alone(600, 3, now);
            if share.wait(1, 600, 3, now).is_zero() {
                share.take(1, 600, now);
                accepted += 1;
            }
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!((570..=640).contains(&accepted), "{accepted}");
}
