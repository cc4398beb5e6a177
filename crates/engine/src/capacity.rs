//! How many members of a service may be counted on right now, without looking at each of them for every decision.
//!
//! A member is *plain* when nothing at all is the matter with it: no case, no order, no hold, every observer's last
//! report a fresh pass. Whatever happens to a member takes that away at once ([`crate::fleet::Fleet::doubt`]), so a
//! plain one stays available until its oldest answer lapses, and that time is written down. A count then reads one
//! dense column and looks closely only at members that are not plain or have lapsed. It is exact: no member is
//! counted on after its answers have lapsed.

use std::{cell::Cell, time::Duration};

use pitcrew_model::{Health, TestKind, Timestamp};

use crate::{
    Engine,
    diagnose::{Opinion, freshness},
    guards::{Guard, holds},
};

/// The column is kept up for so long after somebody asked.
const COUNTED_FOR: Duration = Duration::from_secs(600);

/// Below this many members, looking at each costs less than keeping a column up with every answer. Every test goes
/// through the column, and each of its counts is checked against looking at each member.
const COUNTED_FROM: usize = if cfg!(debug_assertions) { 2 } else { 4_096 };

/// Until when a member is available if nothing happens to it; never, by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain {
    until: Timestamp,
    /// The one observer whose word that nothing changed extends it; `None`: it takes all of them.
    by: Option<u16>,
}

/// How far the observers' word that nothing changed carries the plain members of one service.
struct Vouched<'a> {
    unchanged: &'a [Timestamp],
    /// The oldest of them.
    by_all: Timestamp,
    /// An answer that was asked an interval before that word lapses so long after it.
    carries: Duration,
}

impl Plain {
    fn holds(self, now: Timestamp, vouched: &Vouched<'_>) -> bool {
        if self.until >= now {
            return true;
        }
        let at = match self.by {
            Some(observer) => vouched.unchanged[usize::from(observer)],
            None => vouched.by_all,
        };
        self.until > Timestamp::ZERO && at > Timestamp::ZERO && at + vouched.carries >= now
    }
}

impl Engine {
    /// Members of a service that are available at `now`; counted at most once for all cases that ask within one event.
    pub(crate) fn available_in(&self, now: Timestamp, service: usize) -> u32 {
        let mut counted = self.available.borrow_mut();
        *counted
            .entry(service)
            .or_insert_with(|| self.count_available(now, service))
    }

    fn count_available(&self, now: Timestamp, service: usize) -> u32 {
        let crew = &self.fleet.crews[service];
        let tests = crew.service.tests.iter();
        let vouched = Vouched {
            unchanged: &self.unchanged,
            by_all: self.unchanged.iter().copied().min().unwrap_or_default(),
            carries: tests
                .map(|test| test.interval + test.timeout)
                .min()
                .unwrap_or_default(),
        };
        let mut available = 0;
        for (place, member) in crew.members.iter().enumerate() {
            let column = crew.plain.get(place);
            if column.is_some_and(|plain| plain.get().holds(now, &vouched)) {
                available += 1;
                continue;
            }
            let plain = self.plain(now, *member);
            if let Some(column) = column {
                column.set(plain.unwrap_or_default());
            }
            available += u32::from(plain.is_some() || self.is_available(now, *member));
        }
        debug_assert_eq!(
            available,
            self.count_each(now, service),
            "the column counts what looking at each member of {} counts",
            crew.service.name
        );
        available
    }

    fn count_each(&self, now: Timestamp, service: usize) -> u32 {
        let members = self.fleet.crews[service].members.iter();
        let available = members.filter(|at| self.is_available(now, **at));
        u32::try_from(available.count()).unwrap_or(u32::MAX)
    }

    /// Counts as capacity: healthy, in use, and not under a person's hand.
    pub(crate) fn is_available(&self, now: Timestamp, at: usize) -> bool {
        let target = &self.fleet.member(at).target.id;
        self.health(now, at) == Health::Healthy
            && !self.is_out_of_use(target)
            && self
                .holds
                .get(target)
                .is_none_or(|hold| hold.until <= now || !holds(Guard::HeldIsUnavailable))
    }

    /// Stricter than [`Engine::is_available`]: nothing is the matter, and only time can change that.
    fn plain(&self, now: Timestamp, at: usize) -> Option<Plain> {
        let member = self.fleet.member(at);
        if member.case().is_some() || member.in_flight().is_some() {
            return None;
        }
        if self.host_in_flight(at).is_some() {
            return None;
        }
        let tests = &self.fleet.crew_of(at)?.service.tests;
        let mut until = Timestamp::from_millis(u64::MAX);
        for view in member.views.iter() {
            let test = &tests[usize::from(view.test)];
            let passes = view.is_steady() && view.opinion == Opinion::Passing && view.fails == 0;
            if !passes || !self.is_fresh(now, test, view) {
                return None;
            }
            let known_at = view.known_at_latest(test, self.unchanged_at(view));
            until = until.min(known_at + freshness(test));
        }
        let heard = tests.iter().enumerate().all(|(position, test)| {
            test.kind == TestKind::Push || member.views_of(position).next().is_some()
        });
        let first = member.views.first()?;
        let id = &member.target.id;
        if !heard || until < now || self.holds.contains_key(id) || self.leases.contains_key(id) {
            return None;
        }
        let alone = member
            .views
            .iter()
            .all(|view| view.observer == first.observer);
        let by = alone.then_some(first.observer);
        Some(Plain { until, by })
    }

    /// A member's answer came in: where its service is being counted, how long it is plain now.
    pub(crate) fn note_answer(&self, now: Timestamp, at: usize) {
        let Some(column) = self.fleet.plain(at) else {
            return;
        };
        column.set(self.plain(now, at).unwrap_or_default());
    }

    /// Whatever capacity the services have may be counted soon: from now on the column is kept up.
    pub(crate) fn expect_count(&mut self, now: Timestamp, at: usize) {
        let Some(service) = self.fleet.member(at).service() else {
            return;
        };
        let crew = &mut self.fleet.crews[service];
        if crew.members.len() < COUNTED_FROM {
            return;
        }
        crew.counted_at = now;
        if crew.plain.is_empty() {
            crew.plain = vec![Cell::default(); crew.members.len()];
            self.counted.push_back(service);
        }
    }

    /// Nobody has asked for long: the column of one service is given up.
    pub(crate) fn give_up_a_count(&mut self, now: Timestamp) {
        let Some(service) = self.counted.pop_front() else {
            return;
        };
        let Some(crew) = self.fleet.crews.get_mut(service) else {
            return;
        };
        if now.since(crew.counted_at) < COUNTED_FOR {
            self.counted.push_back(service);
        } else {
            crew.plain = Vec::new();
        }
    }

    /// Something changed for all members at once: each is looked at before it is counted on again.
    pub(crate) fn doubt_all(&mut self) {
        for service in &self.counted {
            if let Some(crew) = self.fleet.crews.get(*service) {
                crew.plain
                    .iter()
                    .for_each(|plain| plain.set(Plain::default()));
            }
        }
    }
}
