//! Who there is and what was answered, as it entered: the auditor's own view of the fleet.
//!
//! Only raw answers are kept, one for each test and observer. An answer that only shows what an order is doing to
//! its target, one asked before an outcome, and one delivered twice prove nothing and feed no streak.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Observation, ObserverName, Production, Proves, Service, Target, TargetId, Test, TestKind,
    Timestamp, Verdict,
};

/// With fixed keys; never iterated.
pub(super) type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Whose answers count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Witnesses {
    All,
    /// Without the observers that fail their own control test.
    Trusted,
}

#[derive(Default)]
pub(super) struct Roster {
    pub(super) services: Vec<Arc<Service>>,
    index: Lookup<TargetId, usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    /// By service: positions of its targets.
    members: Vec<Vec<usize>>,
    /// By service: targets in trouble, and since when.
    troubled: Vec<BTreeMap<usize, Timestamp>>,
    /// What runs on a target.
    children: Lookup<TargetId, Vec<usize>>,
    observers: Vec<ObserverName>,
    /// By observer: when it last said that what passed goes on passing.
    unchanged_at: Vec<Timestamp>,
    /// By observer: whether it fails its own control test.
    suspect: Vec<bool>,
    /// Nothing that was asked before proves anything.
    pub(super) trust_after: Timestamp,
}

pub(super) struct Entry {
    pub(super) target: Arc<Target>,
    pub(super) service: Option<usize>,
    place: usize,
    answers: Vec<Answer>,
    /// When the last order on it landed: what was asked before proves nothing.
    landed_at: Timestamp,
}

#[derive(Clone, Copy)]
struct Answer {
    test: u16,
    observer: u16,
    /// Never `Unknown`, which only lets the last real answer grow old.
    verdict: Verdict,
    fails: u16,
    passes: u16,
    asked_at: Timestamp,
    answered_at: Timestamp,
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

impl Roster {
    pub(super) fn load(&mut self, production: &Production) {
        let before = std::mem::replace(&mut self.services, production.services.clone());
        self.members = vec![Vec::new(); self.services.len()];
        self.troubled = vec![BTreeMap::new(); self.services.len()];
        for at in 0..self.entries.len() {
            let Some(mut entry) = self.entries[at].take() else {
                continue;
            };
            let same = |was: usize, is: usize| before[was].tests == self.services[is].tests;
            let service = self.service_of(&entry.target);
            if !matches!((entry.service, service), (Some(was), Some(is)) if same(was, is)) {
                entry.answers.clear();
            }
            self.seat(at, entry, service);
        }
    }

    /// A run of the server ended: the next one is told everything anew.
    pub(super) fn forget_all(&mut self) {
        let services = std::mem::take(&mut self.services);
        *self = Self {
            members: vec![Vec::new(); services.len()],
            troubled: vec![BTreeMap::new(); services.len()],
            services,
            ..Self::default()
        };
    }

    /// The first service that selects it. An empty selector selects nothing.
    fn service_of(&self, target: &Target) -> Option<usize> {
        self.services.iter().position(|service| {
            let wanted = &service.select.0;
            !wanted.is_empty()
                && wanted
                    .iter()
                    .all(|(name, value)| target.labels.get(name) == Some(value))
        })
    }

    fn seat(&mut self, at: usize, mut entry: Entry, service: Option<usize>) {
        entry.service = service;
        if let Some(service) = service {
            entry.place = self.members[service].len();
            self.members[service].push(at);
        }
        self.entries[at] = Some(entry);
    }

    pub(super) fn put(&mut self, target: &Arc<Target>) {
        let service = self.service_of(target);
        let had = self.index.get(&target.id).copied();
        if let Some(at) = had
            && let Some(entry) = self.entries[at].as_mut()
            && entry.service == service
            && entry.target.run_on == target.run_on
        {
            entry.target = target.clone();
            return;
        }
        self.remove(&target.id);
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.index.insert(target.id.clone(), at);
        if let Some(host) = &target.run_on {
            self.children.entry(host.clone()).or_default().push(at);
        }
        let entry = Entry {
            target: target.clone(),
            service: None,
            place: 0,
            answers: Vec::new(),
            landed_at: Timestamp::ZERO,
        };
        self.seat(at, entry, service);
    }

    pub(super) fn remove(&mut self, id: &TargetId) {
        let Some(at) = self.index.remove(id) else {
            return;
        };
        let Some(entry) = self.entries[at].take() else {
            return;
        };
        self.free.push(at);
        if let Some(service) = entry.service {
            self.troubled[service].remove(&at);
            self.members[service].swap_remove(entry.place);
            if let Some(moved) = self.members[service].get(entry.place).copied()
                && let Some(moved) = self.entries[moved].as_mut()
            {
                moved.place = entry.place;
            }
        }
        if let Some(host) = &entry.target.run_on
            && let Some(children) = self.children.get_mut(host)
        {
            children.retain(|child| *child != at);
        }
    }

    pub(super) fn find(&self, id: &TargetId) -> Option<(usize, &Entry)> {
        let at = *self.index.get(id)?;
        Some((at, self.entries[at].as_ref()?))
    }

    pub(super) fn entry(&self, at: usize) -> &Entry {
        self.entries[at]
            .as_ref()
            .expect("positions come from the index or from a service's members")
    }

    pub(super) fn members(&self, service: usize) -> &[usize] {
        &self.members[service]
    }

    /// Targets in trouble of a service, and since when.
    pub(super) fn troubled(
        &self,
        service: usize,
    ) -> impl Iterator<Item = (&Entry, Timestamp)> + Clone {
        self.troubled[service]
            .iter()
            .map(|(at, since)| (self.entry(*at), *since))
    }

    /// The target and everything that runs on it, and so on down.
    pub(super) fn brought_down(&self, id: &TargetId) -> Vec<TargetId> {
        let mut down = vec![id.clone()];
        let mut looked_at = 0;
        while let Some(next) = down.get(looked_at).cloned() {
            looked_at += 1;
            for child in self.children.get(&next).into_iter().flatten() {
                let child = &self.entry(*child).target.id;
                if !down.contains(child) {
                    down.push(child.clone());
                }
            }
        }
        down
    }

    /// What the target runs on, and what that runs on, and so on up.
    pub(super) fn hosts(&self, target: &Target) -> Vec<TargetId> {
        let mut hosts = Vec::new();
        let mut next = target.run_on.clone();
        while let Some(host) = next.filter(|host| !hosts.contains(host)) {
            next = self
                .find(&host)
                .and_then(|(_, entry)| entry.target.run_on.clone());
            hosts.push(host);
        }
        hosts
    }

    fn observer(&mut self, name: &ObserverName) -> usize {
        let known = self.observers.iter().position(|have| have == name);
        known.unwrap_or_else(|| {
            self.observers.push(name.clone());
            self.unchanged_at.push(Timestamp::ZERO);
            self.suspect.push(false);
            self.observers.len() - 1
        })
    }

    pub(super) fn unchanged(&mut self, observer: &ObserverName, at: Timestamp) {
        let observer = self.observer(observer);
        let last = &mut self.unchanged_at[observer];
        *last = at.max(*last);
    }

    pub(super) fn suspect(&mut self, observer: &ObserverName, is_suspect: bool) {
        let observer = self.observer(observer);
        self.suspect[observer] = is_suspect;
    }

    /// An order on it took effect, or may have: its tests have to prove everything again.
    pub(super) fn landed(&mut self, id: &TargetId, at: Timestamp) {
        if let Some(entry) = self.index.get(id).and_then(|at| self.entries[*at].as_mut()) {
            entry.landed_at = entry.landed_at.max(at);
            for answer in &mut entry.answers {
                (answer.fails, answer.passes) = (0, 0);
            }
        }
    }

    /// `order_is_out`: an order is under way on the target or on what it runs on.
    pub(super) fn note(&mut self, now: Timestamp, seen: &Observation, order_is_out: bool) {
        let observer = narrow(self.observer(&seen.observer));
        let Some(at) = self.index.get(&seen.target).copied() else {
            return;
        };
        let trust_after = self.trust_after;
        let Some(entry) = self.entries[at].as_mut() else {
            return;
        };
        let Some(service) = entry.service else { return };
        let tests = &self.services[service].tests;
        let Some(test) = tests.iter().position(|test| test.name == seen.test) else {
            return;
        };
        if seen.verdict == Verdict::Unknown {
            return;
        }
        let proves = !order_is_out && seen.asked_at >= entry.landed_at;
        entry.take(seen, narrow(test), observer, trust_after, proves);
        let fails = entry.answers.iter().any(|answer| answer.fails > 0);
        let calm = entry.answers.iter().all(|answer| {
            let wanted = tests.get(usize::from(answer.test));
            answer.fails == 0
                && wanted.is_none_or(|test| answer.passes >= u16::from(test.success_threshold))
        });
        if fails {
            self.troubled[service].entry(at).or_insert(now);
        } else if calm {
            self.troubled[service].remove(&at);
        }
    }

    fn is_trusted(&self, answer: &Answer) -> bool {
        !self.suspect[usize::from(answer.observer)]
    }

    fn is_fresh(&self, now: Timestamp, answer: &Answer, test: &Test) -> bool {
        let unchanged_at = match answer.verdict {
            Verdict::Pass | Verdict::Warn => self.unchanged_at[usize::from(answer.observer)],
            Verdict::Fail | Verdict::Unknown => Timestamp::ZERO,
        };
        let known_at = answer.answered_at.max(unchanged_at);
        known_at > self.trust_after && now.since(known_at) <= counts_for(test)
    }

    /// Fresh answers to a target's test.
    fn fresh<'a>(
        &'a self,
        now: Timestamp,
        entry: &'a Entry,
        position: usize,
        test: &'a Test,
        by: Witnesses,
    ) -> impl Iterator<Item = &'a Answer> {
        entry.answers.iter().filter(move |answer| {
            usize::from(answer.test) == position
                && (by == Witnesses::All || self.is_trusted(answer))
                && self.is_fresh(now, answer, test)
        })
    }

    fn tests<'a>(&'a self, entry: &Entry) -> impl Iterator<Item = (usize, &'a Arc<Test>)> {
        let service = entry.service.map(|service| &self.services[service]);
        service
            .into_iter()
            .flat_map(|service| service.tests.iter().enumerate())
    }

    /// A majority of the witnesses who answered lately has seen a whole streak of failures of one test, all of it
    /// after whatever was done to the target. `proves`: only of tests that prove so much.
    pub(super) fn is_failing(
        &self,
        now: Timestamp,
        entry: &Entry,
        proves: Option<Proves>,
        by: Witnesses,
    ) -> bool {
        let counts = |test: &Test| proves.is_none_or(|wanted| wanted == test.proves);
        self.tests(entry)
            .filter(|(_, test)| counts(test))
            .any(|(position, test)| {
                let (mut all, mut failing) = (0, 0);
                for answer in self.fresh(now, entry, position, test, by) {
                    all += 1;
                    failing += usize::from(answer.fails >= u16::from(test.failure_threshold));
                }
                failing * 2 > all
            })
    }

    /// All tests answered lately, and nobody saw one fail.
    pub(super) fn is_passing(&self, now: Timestamp, entry: &Entry) -> bool {
        entry.service.is_some()
            && self.tests(entry).all(|(position, test)| {
                let mut of_test = entry
                    .answers
                    .iter()
                    .filter(|answer| usize::from(answer.test) == position);
                // A job that has never pushed a result is no part of the target yet.
                if test.kind == TestKind::Push && of_test.next().is_none() {
                    return true;
                }
                let mut fresh = self
                    .fresh(now, entry, position, test, Witnesses::Trusted)
                    .peekable();
                fresh.peek().is_some() && fresh.all(|answer| answer.verdict != Verdict::Fail)
            })
    }

    /// A test that proves the target up and that nobody has seen pass since the last order landed.
    pub(super) fn not_seen_passing(&self, entry: &Entry) -> Option<&Arc<Test>> {
        self.tests(entry).find_map(|(position, test)| {
            let proves_up = test.proves == Proves::Down && test.kind != TestKind::Push;
            let seen = entry.answers.iter().any(|answer| {
                let since = self.unchanged_at[usize::from(answer.observer)];
                usize::from(answer.test) == position
                    && answer.verdict != Verdict::Fail
                    && (answer.asked_at >= entry.landed_at
                        || since >= entry.landed_at + test.interval)
            });
            (proves_up && !seen).then_some(test)
        })
    }
}

/// How long an answer says something about now: two rounds and the wait for the second.
fn counts_for(test: &Test) -> Duration {
    test.interval * 2 + test.timeout
}

impl Entry {
    fn take(
        &mut self,
        seen: &Observation,
        test: u16,
        observer: u16,
        trust_after: Timestamp,
        proves: bool,
    ) {
        let known = self
            .answers
            .iter()
            .position(|have| (have.test, have.observer) == (test, observer));
        let at = known.unwrap_or_else(|| {
            self.answers.push(Answer {
                test,
                observer,
                verdict: seen.verdict,
                fails: 0,
                passes: 0,
                asked_at: Timestamp::ZERO,
                answered_at: Timestamp::ZERO,
            });
            self.answers.len() - 1
        });
        let answer = &mut self.answers[at];
        if seen.asked_at <= answer.asked_at || seen.asked_at < trust_after {
            return;
        }
        if answer.asked_at < trust_after {
            (answer.fails, answer.passes) = (0, 0);
        }
        (answer.asked_at, answer.answered_at) = (seen.asked_at, seen.answered_at);
        answer.verdict = seen.verdict;
        match seen.verdict {
            Verdict::Fail => {
                answer.passes = 0;
                answer.fails = answer.fails.saturating_add(u16::from(proves));
            }
            Verdict::Pass | Verdict::Warn => {
                answer.fails = 0;
                answer.passes = answer.passes.saturating_add(1);
            }
            Verdict::Unknown => {}
        }
    }
}
