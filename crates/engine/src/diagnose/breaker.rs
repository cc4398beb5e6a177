//! Mass failure: when much of a scope newly fails at once, repairing piecemeal makes it worse.
//!
//! A breaker counts what newly fails in its scope. It blocks new disruption only; nothing here can hold up a
//! verification, a recovery or a notice. BOSH's meltdown guard counts the same way.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pitcrew_model::{BreakerRule, CaseId, Release, Scope, Timestamp};

use crate::guards::{Guard, holds};

#[derive(Clone, Debug, Default)]
struct Breaker {
    /// Newly failing cases, by when that began: a relapse begins anew.
    failing: BTreeSet<(Timestamp, CaseId)>,
    since: BTreeMap<CaseId, Timestamp>,
    tripped_at: Option<Timestamp>,
    calm_since: Option<Timestamp>,
    old: Cell<Old>,
}

/// How many of a breaker's cases began before a time. Time mostly goes on, so that counting what newly fails looks
/// at each case once, and not at thousands of them for each decision about one.
#[derive(Clone, Copy, Debug, Default)]
struct Old {
    before: Timestamp,
    count: usize,
}

impl Breaker {
    fn expire(&mut self, now: Timestamp, within: Duration) {
        while let Some(&(since, case)) = self.failing.first()
            && now.since(since) > within
        {
            self.remove(case);
        }
    }

    fn insert(&mut self, since: Timestamp, case: CaseId) {
        self.remove(case);
        self.failing.insert((since, case));
        self.since.insert(case, since);
        let old = self.old.get_mut();
        old.count += usize::from(since < old.before);
    }

    fn remove(&mut self, case: CaseId) {
        if let Some(since) = self.since.remove(&case) {
            self.failing.remove(&(since, case));
            let old = self.old.get_mut();
            old.count -= usize::from(since < old.before);
        }
    }

    fn clear(&mut self) {
        self.failing.clear();
        self.since.clear();
        self.old.take();
    }

    /// Cases that began at `from` or later.
    fn count_from(&self, from: Timestamp) -> usize {
        let Old { before, count } = self.old.get();
        let between = |from, to| {
            self.failing
                .range((from, CaseId(0))..(to, CaseId(0)))
                .count()
        };
        let count = match before <= from {
            true => count + between(before, from),
            false => count - between(from, before),
        };
        self.old.set(Old {
            before: from,
            count,
        });
        self.failing.len() - count
    }
}

/// A breaker that has just tripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) scope: Scope,
    pub(crate) failing: u32,
    pub(crate) of: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Breakers {
    scopes: BTreeMap<Scope, Breaker>,
}

/// Failing targets at which a scope of `of` targets trips.
pub(crate) fn threshold(rule: &BreakerRule, of: u32) -> u32 {
    let share = (u64::from(of) * u64::from(rule.percent)).div_ceil(100);
    rule.count.max(u32::try_from(share).unwrap_or(u32::MAX))
}

impl Breakers {
    /// A case fails newly in `scope`; the trip is returned when this is what trips it.
    pub(crate) fn fails(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        rule: &BreakerRule,
        of: u32,
        case: CaseId,
    ) -> Option<Trip> {
        let breaker = self.scopes.entry(scope.clone()).or_default();
        breaker.expire(now, rule.within);
        breaker.insert(now, case);
        let failing = u32::try_from(breaker.failing.len()).unwrap_or(u32::MAX);
        if breaker.tripped_at.is_some() || failing < threshold(rule, of) {
            return None;
        }
        breaker.tripped_at = Some(now);
        breaker.calm_since = None;
        Some(Trip {
            scope: scope.clone(),
            failing,
            of,
        })
    }

    /// Counts a case of a former run. It trips nothing by itself: that run has told a person already.
    pub(crate) fn count(&mut self, scope: &Scope, since: Timestamp, case: CaseId) {
        let breaker = self.scopes.entry(scope.clone()).or_default();
        breaker.insert(since, case);
    }

    /// A case no longer fails.
    pub(crate) fn recovered(&mut self, scope: &Scope, case: CaseId) {
        if let Some(breaker) = self.scopes.get_mut(scope) {
            breaker.remove(case);
            if breaker.failing.is_empty() && breaker.tripped_at.is_none() {
                self.scopes.remove(scope);
            }
        }
    }

    pub(crate) fn is_tripped(&self, scope: &Scope) -> bool {
        self.scopes
            .get(scope)
            .is_some_and(|breaker| breaker.tripped_at.is_some())
    }

    /// What newly fails as of `now`: what has failed for longer than `within` is no longer new.
    pub(crate) fn failing(&self, now: Timestamp, scope: &Scope, within: Duration) -> u32 {
        self.scopes.get(scope).map_or(0, |breaker| {
            u32::try_from(breaker.count_from(now - within)).unwrap_or(u32::MAX)
        })
    }

    pub(crate) fn tripped(&self) -> impl Iterator<Item = &Scope> {
        self.scopes
            .iter()
            .filter(|(_, breaker)| breaker.tripped_at.is_some())
            .map(|(scope, _)| scope)
    }

    /// Takes over a trip that a former run saved.
    pub(crate) fn restore(&mut self, scope: Scope, tripped_at: Timestamp) {
        self.scopes.entry(scope).or_default().tripped_at = Some(tripped_at);
    }

    pub(crate) fn release(&mut self, scope: &Scope) -> bool {
        self.scopes.get_mut(scope).is_some_and(|breaker| {
            breaker.clear();
            breaker.tripped_at.take().is_some()
        })
    }

    /// Releases `scope` by itself when it has been below half its threshold for `within`. To be asked from time
    /// to time while it is tripped.
    pub(crate) fn calms(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        rule: &BreakerRule,
        of: u32,
    ) -> bool {
        let Some(breaker) = self
            .scopes
            .get_mut(scope)
            .filter(|breaker| breaker.tripped_at.is_some())
        else {
            return false;
        };
        breaker.expire(now, rule.within);
        let failing = u32::try_from(breaker.failing.len()).unwrap_or(u32::MAX);
        if failing.saturating_mul(2) >= threshold(rule, of) && holds(Guard::BreakerHalf) {
            breaker.calm_since = None;
            return false;
        }
        let calm_since = *breaker.calm_since.get_or_insert(now);
        let waits_for_person = rule.release == Release::Manual && holds(Guard::BreakerManual);
        let is_calm = now.since(calm_since) >= rule.within || !holds(Guard::BreakerCalmTime);
        if waits_for_person || !is_calm {
            return false;
        }
        breaker.tripped_at = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule {
        count: 5,
        percent: 20,
        within: Duration::from_secs(600),
        release: Release::Auto,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Cases opening at the given seconds in a scope of `of` targets; whether the last one trips it.
    fn trips(of: u32, opened: &[u64]) -> bool {
        let mut breakers = Breakers::default();
        let mut tripped = false;
        for (id, second) in opened.iter().enumerate() {
            let case = CaseId(id as u64);
            tripped = breakers
                .fails(at(*second), &Scope::Fleet, &RULE, of, case)
                .is_some();
        }
        tripped
    }

    #[test]
    fn it_trips_at_count_and_percent_together() {
        assert!(!trips(10, &[0, 0, 0, 0]), "four are too few");
        assert!(trips(10, &[0, 0, 0, 0, 0]));
        assert!(!trips(100, &[0, 0, 0, 0, 0]), "5% of the scope");
        assert!(trips(25, &[0, 0, 0, 0, 0]));
    }

    #[test]
    fn only_what_newly_fails_counts() {
        assert!(!trips(10, &[0, 0, 0, 601, 601]));
        assert!(trips(10, &[0, 0, 0, 600, 600]));
    }

    #[test]
    fn what_newly_fails_is_counted_at_any_time_in_any_order() {
        let mut breakers = Breakers::default();
        for id in 0..20 {
            breakers.count(&Scope::Fleet, at(id * 100), CaseId(id));
        }
        let newly = |breakers: &Breakers, now| {
            breakers.failing(at(now), &Scope::Fleet, Duration::from_secs(600))
        };
        assert_eq!(
            [1_900, 2_000, 600, 2_499, 2_501].map(|now| newly(&breakers, now)),
            [7, 6, 20, 1, 0]
        );
        for id in [0, 13, 19] {
            breakers.recovered(&Scope::Fleet, CaseId(id));
        }
        breakers.count(&Scope::Fleet, at(50), CaseId(7));
        assert_eq!([1_900, 600].map(|now| newly(&breakers, now)), [5, 17]);
    }

    #[test]
    fn it_releases_itself_after_a_calm_time_below_half() {
        let mut breakers = Breakers::default();
        for id in 0..5 {
            breakers.fails(at(0), &Scope::Fleet, &RULE, 10, CaseId(id));
        }
        assert!(breakers.is_tripped(&Scope::Fleet));
        for id in 0..2 {
            breakers.recovered(&Scope::Fleet, CaseId(id));
        }
        assert!(
            !breakers.calms(at(10), &Scope::Fleet, &RULE, 10),
            "three of a threshold of five still fail"
        );
        breakers.recovered(&Scope::Fleet, CaseId(2));
        assert!(!breakers.calms(at(20), &Scope::Fleet, &RULE, 10));
        assert!(!breakers.calms(at(619), &Scope::Fleet, &RULE, 10));
        assert!(breakers.calms(at(620), &Scope::Fleet, &RULE, 10));
        assert!(!breakers.is_tripped(&Scope::Fleet));
    }

    #[test]
    fn a_manual_one_waits_for_a_person() {
        let rule = BreakerRule {
            release: Release::Manual,
            ..RULE
        };
        let mut breakers = Breakers::default();
        for id in 0..5 {
            breakers.fails(at(0), &Scope::Fleet, &rule, 10, CaseId(id));
        }
        assert!(!breakers.calms(at(100_000), &Scope::Fleet, &rule, 10));
        assert!(!breakers.calms(at(200_000), &Scope::Fleet, &rule, 10));
        assert!(breakers.release(&Scope::Fleet));
    }
}
