//! Who there is, as discovery says it: the auditor's own view of the fleet, with what was answered of each target.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use pitcrew_model::{
    Observation, ObserverName, Production, Service, Target, TargetId, Timestamp, Verdict,
};

use super::answers::Answer;

/// With fixed keys; never iterated.
pub(super) type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

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
    /// In trouble when a former run ended: what is still so then has not just begun.
    troubled_before: BTreeMap<TargetId, Timestamp>,
    /// What runs on a target.
    children: Lookup<TargetId, Vec<usize>>,
    observers: Vec<ObserverName>,
    /// By observer: when it last said that what passed goes on passing.
    pub(super) unchanged_at: Vec<Timestamp>,
    /// By observer: whether it fails its own control test.
    pub(super) suspect: Vec<bool>,
    /// Nothing that was asked before proves anything.
    pub(super) trust_after: Timestamp,
}

pub(super) struct Entry {
    pub(super) target: Arc<Target>,
    pub(super) service: Option<usize>,
    place: usize,
    pub(super) answers: Vec<Answer>,
    /// When the last order on it landed: what was asked before proves nothing.
    pub(super) landed_at: Timestamp,
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
        let mut troubled_before = std::mem::take(&mut self.troubled_before);
        for (at, since) in self.troubled.iter().flatten() {
            troubled_before.insert(self.entry(*at).target.id.clone(), *since);
        }
        *self = Self {
            members: vec![Vec::new(); services.len()],
            troubled: vec![BTreeMap::new(); services.len()],
            troubled_before,
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
            let before = self.troubled_before.get(&seen.target);
            let since = before.copied().unwrap_or(now);
            self.troubled[service].entry(at).or_insert(since);
        } else if calm {
            self.troubled[service].remove(&at);
            self.troubled_before.remove(&seen.target);
        }
    }
}
