//! The interlock's own books: raw answers, orders in flight, who is where. Nothing is damped here; the last
//! answer counts, so its view of capacity is the more careful one.

mod answers;
mod choice;
mod finder;
mod flights;
mod leases;
mod roll;

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Observation, ObserverName, Proves, Service, Target, TargetId, Test, TestKind, Timestamp,
    Verdict,
};

pub(crate) use choice::Choice;
pub(crate) use flights::Flights;
pub(crate) use leases::Leases;
pub(crate) use roll::{Entry, Roll, Steady};

use crate::{
    Interlock,
    guards::{Guard, holds},
};

/// Answers whose entries are asked of memory together.
const LOOKED_UP_AHEAD: usize = 64;

/// How long an answer says something about now: two rounds and the wait for the second.
fn counts_for(test: &Test) -> Duration {
    test.interval * 2 + test.timeout
}

/// The last answer of one observer to one test.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) test: u16,
    pub(crate) observer: u16,
    pub(crate) verdict: Verdict,
    pub(crate) fails_in_row: u16,
    pub(crate) asked_at: Timestamp,
    pub(crate) answered_at: Timestamp,
    /// The last question had no answer; `verdict` is of the last one that had.
    pub(crate) unanswered: bool,
}

impl Answer {
    pub(crate) const fn none(test: u16, observer: u16) -> Self {
        Self {
            test,
            observer,
            verdict: Verdict::Unknown,
            fails_in_row: 0,
            asked_at: Timestamp::ZERO,
            answered_at: Timestamp::ZERO,
            unanswered: true,
        }
    }

    pub(crate) fn passes(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Warn) && !self.unanswered
    }

    /// `own`, or later where its observer vouches for it: at `unchanged_at` it had asked again within the test's
    /// interval and heard the same. Nobody vouches for a failure or for no answer.
    pub(crate) fn vouched(
        &self,
        own: Timestamp,
        test: &Test,
        unchanged_at: Timestamp,
    ) -> Timestamp {
        let earliest = match holds(Guard::VouchesAnInterval) {
            true => unchanged_at - test.interval,
            false => unchanged_at,
        };
        match self.verdict {
            Verdict::Pass | Verdict::Warn if !self.unanswered => own.max(earliest),
            _ if !holds(Guard::VouchesForPasses) => own.max(earliest),
            Verdict::Pass | Verdict::Warn | Verdict::Fail | Verdict::Unknown => own,
        }
    }
}

impl Interlock {
    pub(crate) fn put(&mut self, target: &Arc<Target>) {
        let service = self.choice.of(&self.services, &target.labels);
        if let Some(slot) = self.entries.slot_of(&target.id)
            && self.entries.at(slot).service() == service
            && self.entries.at(slot).target.run_on == target.run_on
        {
            self.count_out(slot);
            self.entries.at_mut(slot).target = target.clone();
            self.count_in(slot);
            return;
        }
        self.remove(&target.id);
        if let Some(host) = &target.run_on {
            let children = self.children.entry(host.clone()).or_default();
            children.insert(target.id.clone());
        }
        let mut entry = Entry::new(target);
        entry.assign(service);
        let slot = self.entries.insert(entry);
        self.count_in(slot);
        self.recount_flights(&target.id);
        self.in_flight.stir(&target.id);
    }

    pub(crate) fn remove(&mut self, id: &TargetId) {
        let Some(slot) = self.entries.slot_of(id) else {
            return;
        };
        self.count_out(slot);
        let Some((_, entry)) = self.entries.remove(id) else {
            return;
        };
        if let (Some(service), Some(since)) = (entry.service(), entry.failing_since()) {
            self.failing[service].remove(&(since, slot));
        }
        self.recount_flights(id);
        if let Some(host) = &entry.target.run_on
            && let Some(children) = self.children.get_mut(host)
        {
            children.remove(id);
            if children.is_empty() {
                self.children.remove(host);
            }
        }
        self.in_flight.stir(id);
    }

    /// The entry is one of its service's, and one of those with its values of the domain labels.
    fn count_in(&mut self, slot: u32) {
        let entry = self.entries.at(slot);
        let Some(at) = entry.service() else { return };
        self.members[at].insert(slot);
        let labels = self.services[at].domains.iter();
        for (label, sizes) in labels.zip(&mut self.sizes[at]) {
            if let Some(value) = entry.target.labels.get(label) {
                *sizes.entry(value.clone()).or_default() += 1;
            }
        }
    }

    fn count_out(&mut self, slot: u32) {
        let entry = self.entries.at(slot);
        let Some(at) = entry.service() else { return };
        self.members[at].remove(&slot);
        let labels = self.services[at].domains.iter();
        for (label, sizes) in labels.zip(&mut self.sizes[at]) {
            if let Some(value) = entry.target.labels.get(label)
                && let Some(size) = sizes.get_mut(value)
            {
                *size -= 1;
                if *size == 0 {
                    sizes.remove(value);
                }
            }
        }
    }

    /// A new configuration. Answers to a test that is the same as before still count.
    pub(crate) fn reassign(&mut self, before: &[Arc<Service>]) {
        self.choice = Choice::among(&self.services);
        let services = self.services.iter().enumerate();
        self.service_named = services
            .map(|(at, service)| (service.name.clone(), at))
            .collect();
        self.failing = vec![BTreeSet::new(); self.services.len()];
        self.members = vec![BTreeSet::new(); self.services.len()];
        let labels = self.services.iter().map(|service| service.domains.len());
        self.sizes = labels.map(|labels| vec![BTreeMap::new(); labels]).collect();
        let kept = self.kept_tests(before);
        let mut present = Vec::new();
        for (slot, entry) in self.entries.iter_mut() {
            let new = self.choice.of(&self.services, &entry.target.labels);
            let old = entry.service();
            let kept = old
                .zip(new)
                .and_then(|(old, new)| (kept[old].0 == Some(new)).then_some(&kept[old].1));
            let mut answers = entry.answers().to_vec();
            answers.retain_mut(|answer| {
                let test = kept.and_then(|tests| tests[usize::from(answer.test)]);
                answer.test = test.unwrap_or(answer.test);
                test.is_some()
            });
            entry.keep(answers);
            entry.assign(new);
            entry.weigh(new.map_or(&[], |at| &self.services[at].tests));
            let failed = |answer: &Answer| answer.verdict == Verdict::Fail;
            if !entry.answers().iter().any(failed) {
                entry.fails_since(None);
            }
            if let (Some(service), Some(since)) = (new, entry.failing_since()) {
                self.failing[service].insert((since, slot));
            }
            present.push(slot);
        }
        for slot in present {
            self.count_in(slot);
        }
        self.recount_all_flights();
        self.in_flight.stir_all();
    }

    /// For each former service where it is now, and where each of its tests is now if it is the same.
    fn kept_tests(&self, before: &[Arc<Service>]) -> Vec<(Option<usize>, Vec<Option<u16>>)> {
        let any = !holds(Guard::AnswersOfOldTest);
        let kept = before.iter().map(|old| {
            let now = self.service_named.get(&old.name).copied();
            let place = |test: &Arc<Test>| {
                let mut tests = self.services[now?].tests.iter();
                let same = |is: &Arc<Test>| is == test || any && is.name == test.name;
                tests.position(same).map(narrow)
            };
            (now, old.tests.iter().map(place).collect())
        });
        kept.collect()
    }

    /// Some answers are looked up ahead of where they are taken in: memory is then waited for once for all of them.
    pub(crate) fn note_observations(&mut self, now: Timestamp, seen: &[Observation]) {
        for some in seen.chunks(LOOKED_UP_AHEAD) {
            let mut slots = std::mem::take(&mut self.slots);
            self.entries
                .slots_of(some.iter().map(|seen| &seen.target), &mut slots);
            let tests = || {
                let entries = slots.iter().flatten().map(|slot| self.entries.at(*slot));
                entries.filter_map(|entry| Some(&self.services[entry.service()?].tests))
            };
            black_box(tests().map(Vec::len).max());
            black_box(tests().flatten().map(|test| test.failure_threshold).max());
            for (seen, slot) in some.iter().zip(&slots) {
                let observer = self.position_of(&seen.observer);
                if let Some(slot) = slot {
                    self.note_observation(now, *slot, observer, seen);
                }
            }
            self.slots = slots;
        }
    }

    fn position_of(&mut self, observer: &ObserverName) -> u16 {
        let known = self.observers.iter().position(|name| name == observer);
        narrow(known.unwrap_or_else(|| {
            self.observers.push(observer.clone());
            self.unchanged.push(Timestamp::ZERO);
            self.observers.len() - 1
        }))
    }

    fn note_observation(&mut self, now: Timestamp, slot: u32, observer: u16, seen: &Observation) {
        let entry = self.entries.at_mut(slot);
        let Some(service) = entry.service() else {
            return;
        };
        let tests = &self.services[service].tests;
        let Some(test) = tests.iter().position(|test| test.name == seen.test) else {
            return;
        };
        let answer = entry.answer_of(narrow(test), observer);
        // Two questions within one millisecond are taken for one, too: the more careful of two mistakes.
        let again = (seen.verdict, seen.asked_at, seen.answered_at)
            == (answer.verdict, answer.asked_at, answer.answered_at);
        let is_late = seen.asked_at < answer.asked_at && holds(Guard::LateAnswer);
        if is_late || again && holds(Guard::AnswerOnce) {
            return;
        }
        answer.asked_at = seen.asked_at;
        answer.unanswered = seen.verdict == Verdict::Unknown;
        match seen.verdict {
            // No answer proves nothing; what was known before grows old by itself.
            Verdict::Unknown => return entry.weigh(tests),
            Verdict::Fail => answer.fails_in_row = answer.fails_in_row.saturating_add(1),
            Verdict::Pass | Verdict::Warn => answer.fails_in_row = 0,
        }
        (answer.verdict, answer.answered_at) = (
            seen.verdict,
            seen.answered_at.max(Timestamp::from_millis(1)),
        );
        entry.weigh(tests);
        let fails = entry
            .answers()
            .iter()
            .any(|answer| answer.verdict == Verdict::Fail);
        match (fails, entry.failing_since()) {
            (true, None) => {
                entry.fails_since(Some(now));
                self.failing[service].insert((now, slot));
            }
            (false, Some(since)) => {
                entry.fails_since(None);
                self.failing[service].remove(&(since, slot));
            }
            (true, Some(_)) | (false, None) => {}
        }
        if self.entries.at(slot).flights > 0 {
            self.in_flight.stir(&seen.target);
        }
    }

    /// One time for all that the observer last reported as passing. It vouches for nothing that is still to come,
    /// and whoever never reported vouches for nothing at all.
    pub(crate) fn note_unchanged(
        &mut self,
        now: Timestamp,
        observer: &ObserverName,
        at: Timestamp,
    ) {
        let mut known = self.observers.iter().zip(&mut self.unchanged);
        if let Some((_, latest)) = known.find(|(name, _)| *name == observer) {
            let at = match holds(Guard::VouchesForNoFuture) {
                true => at.min(now),
                false => at,
            };
            *latest = at.max(*latest);
            self.in_flight.stir_all();
        }
    }

    pub(crate) fn unchanged_at(&self, answer: &Answer) -> Timestamp {
        let at = self.unchanged.get(usize::from(answer.observer));
        at.copied().unwrap_or_default()
    }

    pub(crate) fn tests_of<'a>(
        &'a self,
        entry: &Entry,
    ) -> impl Iterator<Item = (usize, &'a Arc<Test>)> {
        entry
            .service()
            .into_iter()
            .flat_map(|service| self.services[service].tests.iter().enumerate())
    }

    /// Fresh answers of trusted observers to one test.
    fn fresh<'a>(
        &'a self,
        now: Timestamp,
        entry: &'a Entry,
        position: usize,
        test: &'a Test,
    ) -> impl Iterator<Item = &'a Answer> {
        self.trusted(entry, position)
            .filter(move |answer| self.is_fresh(now, answer, test))
    }

    fn trusted<'a>(
        &'a self,
        entry: &'a Entry,
        position: usize,
    ) -> impl Iterator<Item = &'a Answer> {
        entry.answers().iter().filter(move |answer| {
            usize::from(answer.test) == position
                && self
                    .observers
                    .get(usize::from(answer.observer))
                    .is_some_and(|observer| {
                        !self.suspects.contains(observer) || !holds(Guard::SuspectHasNoSay)
                    })
        })
    }

    fn is_fresh(&self, now: Timestamp, answer: &Answer, test: &Test) -> bool {
        let answered_at = answer.vouched(answer.answered_at, test, self.unchanged_at(answer));
        answered_at > self.trust_after
            && (now.since(answered_at) <= counts_for(test) || !holds(Guard::Freshness))
    }

    /// Whether the observer lately reported that it can't tell.
    fn can_not_tell(&self, now: Timestamp, answer: &Answer, test: &Test) -> bool {
        answer.unanswered
            && answer.asked_at > self.trust_after
            && now.since(answer.asked_at) <= counts_for(test)
            && holds(Guard::CannotTell)
    }

    /// A majority of fresh answers to some test is a streak of failures; `proves`: only tests that prove so much.
    pub(crate) fn is_failing(&self, now: Timestamp, id: &TargetId, proves: Option<Proves>) -> bool {
        let Some(entry) = self.entries.get(id) else {
            return false;
        };
        self.tests_of(entry).any(|(position, test)| {
            if proves.is_some_and(|wanted| test.proves != wanted) {
                return false;
            }
            let (mut all, mut failing) = (0, 0);
            for answer in self.trusted(entry, position) {
                if !self.is_fresh(now, answer, test) {
                    all += usize::from(self.can_not_tell(now, answer, test));
                    continue;
                }
                all += 1;
                let streak = match holds(Guard::FailureThreshold) {
                    true => u16::from(test.failure_threshold),
                    false => 1,
                };
                failing += usize::from(answer.fails_in_row >= streak);
            }
            failing * 2 > all || failing > 0 && !holds(Guard::Majority)
        })
    }

    /// Whether what it runs on has an order in flight.
    fn is_carried(&self, entry: &Entry) -> bool {
        let mut flying = self.in_flight.wide().peekable();
        if flying.peek().is_none() {
            return false;
        }
        let hosts = self.hosts_of(&entry.target);
        flying.any(|order| hosts.contains(&order.acts_on().id))
    }

    /// Whether it may be counted on: every test passes, freshly, and nothing is being done to it.
    pub(crate) fn is_up(
        &self,
        now: Timestamp,
        id: &TargetId,
        entry: &Entry,
        service: &Service,
    ) -> bool {
        let on_probation = self.proving.get(id).is_some_and(|until| now < *until);
        let held = self.held.get(id).is_some_and(|(until, _)| now < *until);
        let flying = entry.flights > 0;
        let untested = service.tests.is_empty();
        let is_out = on_probation && holds(Guard::ProbationIsNotUp)
            || held && holds(Guard::HeldIsNotUp)
            || flying && holds(Guard::FlyingIsNotUp)
            || self.is_carried(entry) && holds(Guard::CarriedIsNotUp)
            || self.leases.is_out_of_use(id)
            || untested && holds(Guard::UntestedIsNotUp);
        !is_out
            && self.tests_of(entry).all(|(position, test)| {
                if test.kind == TestKind::Push
                    && !entry
                        .answers()
                        .iter()
                        .any(|answer| usize::from(answer.test) == position)
                {
                    return true;
                }
                let mut fresh = self.fresh(now, entry, position, test).peekable();
                let is_known = fresh.peek().is_some() || !holds(Guard::UnknownIsNotUp);
                let mut passes =
                    fresh.map(|answer| matches!(answer.verdict, Verdict::Pass | Verdict::Warn));
                is_known && passes.all(|passes| passes || !holds(Guard::FailedIsNotUp))
            })
    }

    /// How many of a service may be counted on without those in `lost`. Nearly all are steady, which one look at
    /// each tells; the others, and those to which something is being done, are looked at closely.
    pub(crate) fn count_up(&self, now: Timestamp, at: usize, lost: &[TargetId]) -> u32 {
        let (service, members) = (&self.services[at], &self.members[at]);
        let is_up = |slot: u32| {
            let entry = self.entries.at(slot);
            self.is_up(now, &entry.target.id, entry, service)
        };
        let vouched: Vec<bool> = self
            .unchanged
            .iter()
            .map(|unchanged| self.carries(now, service, *unchanged))
            .collect();
        let counts_for = service
            .tests
            .iter()
            .map(|test| test.interval * 2 + test.timeout);
        let steady = Steady {
            now,
            until_min: self.trust_after + counts_for.max().unwrap_or_default(),
            by_all: !vouched.is_empty() && vouched.iter().all(|vouched| *vouched),
            vouched: &vouched,
        };
        // A suspect's answers count for nothing, so all are looked at.
        let looks = |slot: u32| {
            self.suspects.is_empty() && self.entries.at(slot).is_steady(&steady) || is_up(slot)
        };
        let up = members.iter().filter(|slot| looks(**slot)).count();
        let proving = self.proving.iter().filter(|(_, until)| now < **until);
        let held = self.held.iter().filter(|(_, (until, _))| now < *until);
        let machines = self.in_flight.wide();
        let carried: Vec<TargetId> = machines
            .flat_map(|order| self.brought_down(order))
            .collect();
        let busy: BTreeSet<u32> = lost
            .iter()
            .chain(&carried)
            .chain(proving.map(|(id, _)| id))
            .chain(held.map(|(id, _)| id))
            .chain(self.in_flight.targets())
            .chain(self.leases.targets())
            .filter_map(|id| self.entries.slot_of(id))
            .filter(|slot| members.contains(slot))
            .collect();
        let is_lost = |slot: u32| lost.contains(&self.entries.at(slot).target.id);
        let (counted, stay) = busy.iter().fold((0, 0), |(counted, stay), slot| {
            let stays = !is_lost(*slot) && is_up(*slot);
            (
                counted + usize::from(looks(*slot)),
                stay + usize::from(stays),
            )
        });
        let left = up - counted + stay;
        debug_assert_eq!(
            left,
            members
                .iter()
                .filter(|slot| !is_lost(**slot) && is_up(**slot))
                .count(),
            "{}: one look at each tells what a close look tells",
            service.name
        );
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Whether an observer's word that nothing changed keeps its passes counting until now.
    fn carries(&self, now: Timestamp, service: &Service, unchanged: Timestamp) -> bool {
        service.tests.iter().all(|test| {
            unchanged > self.trust_after + test.interval
                && unchanged + test.interval + test.timeout >= now
        })
    }
}

fn narrow(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}
