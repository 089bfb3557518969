//! The arithmetic of a limit that replicas share: what has been used, and how large a share of the
//! rest a replica gets. Pure computation; the time is the store's.
//!
//! At any time, what has been used and the shares of all replicas together are at most the limit.
//! Use of a rate decreases steadily, as a token bucket refills; use of a day ends with the day.

/// The fractions of `used` in a row: a rate per minute, in milliseconds, has no remainder in them.
const SCALE: i64 = 60_000;

/// The milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The largest part of a limit that a replica takes in advance is one in this many.
const SHARES: i64 = 16;

/// The largest part of the rest that a replica takes in advance is one in this many, so that shares
/// become small before the limit is reached.
const RESTS: i64 = 4;

/// How soon other replicas return what they do not use.
const RETURN: i64 = 1_000;

/// The highest limit and amount, so that no product overflows.
const MAX: i64 = 1_000_000_000_000;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// An amount per minute.
    Rate,
    /// An amount per day in UTC.
    Day,
    /// An amount that is held at the same time.
    Held,
}

/// What has been used of a limit by all replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The day since 1970, 0 unless the limit is one of a day.
    pub day: i64,
    /// The amount, in 60,000ths.
    pub scaled: i64,
    /// The time at which it was that much.
    pub at: i64,
}

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How the limit counts.
    pub kind: QuotaKind,
    /// The limit.
    pub limit: i64,
    /// The use since the last report; negative if less was used than reported.
    pub used: i64,
    /// The day of that use.
    pub day: i64,
    /// What the replica has and keeps.
    pub keep: i64,
    /// What the next call needs; 0 if no call is expected.
    pub need: i64,
}

/// What a replica gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Its whole share from now on.
    pub amount: i64,
    /// The day of the share.
    pub day: i64,
    /// What is in no share.
    pub rest: i64,
    /// The milliseconds until what it needs may be available; 0 if it is in the share.
    pub wait: i64,
    /// The milliseconds until the share ends.
    pub left: i64,
}

/// The day of this time for a limit of this kind.
pub fn day_of(kind: QuotaKind, now: i64) -> i64 {
    match kind {
        QuotaKind::Day => now.div_euclid(DAY),
        QuotaKind::Rate | QuotaKind::Held => 0,
    }
}

impl Used {
    /// The use at this time, with what was reported since.
    fn update(&mut self, ask: &Ask, is_new: bool, now: i64) {
        let day = day_of(ask.kind, now);
        if day != self.day {
            (self.day, self.scaled) = (day, 0);
        }
        if ask.kind == QuotaKind::Rate {
            // After a minute and a half of overuse there is nothing left to refill but the overuse.
            let passed = now.saturating_sub(self.at).clamp(0, DAY);
            let refilled = ask.limit.saturating_mul(passed);
            self.scaled = self.scaled.saturating_sub(refilled);
        }
        if is_new && ask.day == day {
            let used = ask.used.clamp(-MAX, MAX) * SCALE;
            self.scaled = self.scaled.saturating_add(used);
        }
        self.scaled = self.scaled.clamp(0, MAX * SCALE * 100);
        self.at = self.at.max(now);
    }
}

/// Counts what a replica reports, unless it is a repetition, and decides its share. `others` is the
/// sum of the shares of all other replicas.
pub fn grant(used: &mut Used, others: i64, ask: &Ask, is_new: bool, now: i64) -> Grant {
    let ask = Ask {
        limit: ask.limit.clamp(1, MAX),
        ..*ask
    };
    used.update(&ask, is_new, now);
    let others = others.clamp(0, MAX * 100);
    let spent = used.scaled.saturating_add(others * SCALE);
    let free = (ask.limit * SCALE - spent).div_euclid(SCALE);
    let advance = (free / RESTS).min(ask.limit / SHARES);
    let target = match ask.need {
        0 => 0,
        need if need <= free => need.max(advance),
        // Smaller calls may still fit.
        _ => advance.max(1),
    };
    let keep = match ask.day == used.day {
        true => ask.keep,
        false => 0,
    };
    let amount = target.max(keep).min(free).max(0);
    let left = match ask.kind {
        QuotaKind::Day => DAY - now.rem_euclid(DAY),
        QuotaKind::Rate | QuotaKind::Held => i64::MAX,
    };
    Grant {
        amount,
        day: used.day,
        rest: (free - amount).max(0),
        wait: match amount >= ask.need {
            true => 0,
            false => wait(&ask, used.scaled, others, left),
        },
        left,
    }
}

/// The milliseconds until what is needed may be available.
fn wait(ask: &Ask, used: i64, others: i64, left: i64) -> i64 {
    let missing = (ask.need.min(ask.limit) - ask.limit) * SCALE + used;
    if missing <= 0 && others > 0 {
        // Only the shares of other replicas are in the way.
        return RETURN.min(left);
    }
    match ask.kind {
        QuotaKind::Rate => {
            let missing = missing.saturating_add(others * SCALE);
            missing.max(0).div_euclid(ask.limit).saturating_add(1)
        }
        QuotaKind::Day => left,
        QuotaKind::Held => RETURN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: QuotaKind, limit: i64) -> Ask {
        Ask {
            kind,
            limit,
            used: 0,
            day: 0,
            keep: 0,
            need: 1,
        }
    }

    #[test]
    fn a_share_is_a_part_of_the_rest_and_never_more_than_the_rest() {
        let mut used = Used::default();
        let one = ask(QuotaKind::Rate, 1600);
        assert_eq!(grant(&mut used, 0, &one, true, 0).amount, 100);
        assert_eq!(grant(&mut used, 1560, &one, true, 0).amount, 10);
        assert_eq!(grant(&mut used, 1599, &one, true, 0).amount, 1);
        let none = grant(&mut used, 1600, &one, true, 0);
        assert_eq!((none.amount, none.wait), (0, RETURN));
        let large = Ask { need: 900, ..one };
        assert_eq!(grant(&mut used, 0, &large, true, 0).amount, 900);
        // Not available: others may use the rest.
        assert_eq!(grant(&mut used, 800, &large, true, 0).amount, 100);
        let idle = Ask { need: 0, ..one };
        assert_eq!(grant(&mut used, 0, &idle, true, 0).amount, 0);
    }

    #[test]
    fn a_replica_keeps_what_it_has() {
        let mut used = Used::default();
        let has = Ask {
            keep: 50,
            ..ask(QuotaKind::Rate, 100)
        };
        assert_eq!(grant(&mut used, 50, &has, true, 0).amount, 50);
        // Unless the limit was lowered.
        let lower = Ask { limit: 60, ..has };
        assert_eq!(grant(&mut used, 50, &lower, true, 0).amount, 10);
    }

    #[test]
    fn use_of_a_rate_decreases_and_its_wait_is_exact() {
        let mut used = Used::default();
        let full = Ask {
            used: 60,
            ..ask(QuotaKind::Rate, 60)
        };
        let none = grant(&mut used, 0, &full, true, 0);
        assert_eq!((none.amount, none.wait), (0, 1001));
        let next = ask(QuotaKind::Rate, 60);
        assert_eq!(grant(&mut used, 0, &next, true, 999).amount, 0);
        assert_eq!(grant(&mut used, 0, &next, true, 1000).amount, 1);
        assert_eq!(grant(&mut used, 0, &next, true, 61_000).rest, 57);
    }

    #[test]
    fn use_of_a_day_ends_with_it_and_a_late_report_does_not_count() {
        let mut used = Used::default();
        let day = 20_000;
        let evening = day * DAY + DAY - 5000;
        let first = Ask {
            used: 100,
            day,
            ..ask(QuotaKind::Day, 100)
        };
        let none = grant(&mut used, 0, &first, true, evening);
        assert_eq!((none.amount, none.wait, none.day), (0, 5000, day));
        // The same report again.
        grant(&mut used, 0, &first, false, evening);
        assert_eq!(used.scaled, 100 * SCALE);
        let late = grant(&mut used, 0, &first, true, evening + 5000);
        assert_eq!((late.amount, late.day, used.scaled), (6, day + 1, 0));
    }

    #[test]
    fn what_is_held_does_not_decrease() {
        let mut used = Used::default();
        let one = ask(QuotaKind::Held, 4);
        assert_eq!(grant(&mut used, 3, &one, true, 0).amount, 1);
        assert_eq!(grant(&mut used, 4, &one, true, DAY).amount, 0);
    }

    #[test]
    fn no_number_overflows() {
        for kind in [QuotaKind::Rate, QuotaKind::Day, QuotaKind::Held] {
            for number in [i64::MIN, -1, 0, 1, i64::MAX] {
                let mut used = Used {
                    day: 0,
                    scaled: number,
                    at: number,
                };
                let extreme = Ask {
                    kind,
                    limit: number,
                    used: number,
                    day: 0,
                    keep: number,
                    need: number.clamp(0, MAX),
                };
                let share = grant(&mut used, number, &extreme, true, 1_800_000_000_000);
                assert!(share.amount >= 0 && share.wait >= 0, "{kind:?} {number}");
            }
        }
    }
}
