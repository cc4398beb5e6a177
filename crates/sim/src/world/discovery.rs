//! Discovery's answers: a source that fails, answers with nothing, with less, or with others.
//!
//! What an answer means is decided as `pitcrew-find` decides it: a failing, an empty and a more than halved answer
//! keep the last good one and are told as the source's trouble; everything else is obeyed.

use std::{collections::BTreeSet, sync::Arc};

use pitcrew_model::{Event, SourceName, SourceTrouble, Target, TargetId};

use super::{World, chance::For, truth::Ended};
use crate::{Discovery, TargetIndex};

#[derive(Debug)]
pub(super) struct Inventory {
    source: SourceName,
    /// With the numbers of the mishaps that brought them.
    troubles: Vec<(usize, Discovery)>,
    /// What the last good answer lacked.
    gone: BTreeSet<TargetIndex>,
    told: Option<SourceTrouble>,
    /// How often a target's place was given to another one.
    generation: u32,
}

impl Inventory {
    pub(super) fn new(source: SourceName) -> Self {
        Self {
            source,
            troubles: Vec::new(),
            gone: BTreeSet::new(),
            told: None,
            generation: 1,
        }
    }
}

impl World<'_> {
    pub(super) fn trouble_discovery(&mut self, mishap: usize, how: Discovery) {
        match how {
            Discovery::Replaces(percent) => self.replace(mishap, percent),
            Discovery::Fails | Discovery::Empty | Discovery::Shrinks(_) => {
                self.inventory.troubles.push((mishap, how));
                self.ask_source();
            }
        }
    }

    pub(super) fn discovery_recovers(&mut self, mishap: usize) {
        let before = self.inventory.troubles.len();
        self.inventory
            .troubles
            .retain(|(which, _)| *which != mishap);
        if before != self.inventory.troubles.len() {
            self.ask_source();
        }
    }

    /// For a server that starts: what it remembers and finds again.
    pub(super) fn known_targets(&self) -> Vec<Arc<Target>> {
        let targets = (0..).zip(self.fleet.targets());
        let known = targets.filter(|(at, _)| !self.inventory.gone.contains(at));
        known.map(|(_, target)| Arc::clone(target)).collect()
    }

    pub(super) fn repeat_source_trouble(&mut self) {
        if let Some(trouble) = self.inventory.told.clone() {
            let source = self.inventory.source.clone();
            self.take(Event::Source {
                source,
                trouble: Some(trouble),
            });
        }
    }

    fn ask_source(&mut self) {
        let troubles = &self.inventory.troubles;
        let has = |wanted: Discovery| troubles.iter().any(|(_, how)| *how == wanted);
        let all = self.fleet.len() as usize;
        let last = all - self.inventory.gone.len();
        if has(Discovery::Fails) {
            let error = "connection refused".to_owned();
            return self.tell_source(Some(SourceTrouble::Failed { error }));
        }
        if has(Discovery::Empty) {
            return self.tell_source(Some(SourceTrouble::Empty { last }));
        }
        let shrunk = troubles.iter().filter_map(|(mishap, how)| match how {
            Discovery::Shrinks(percent) => Some((*mishap as u64, u64::from(*percent))),
            _ => None,
        });
        let shrunk: Vec<(u64, u64)> = shrunk.collect();
        let lacks = |target: &TargetIndex| {
            let of = |mishap| [mishap, u64::from(*target)];
            shrunk
                .iter()
                .any(|(mishap, percent)| self.chance.percent(*percent, For::Shard, &of(*mishap)))
        };
        let gone: BTreeSet<TargetIndex> = (0..self.fleet.len()).filter(lacks).collect();
        let now = all - gone.len();
        if now == 0 && last > 0 {
            return self.tell_source(Some(SourceTrouble::Empty { last }));
        }
        if now * 2 < last {
            return self.tell_source(Some(SourceTrouble::Shrank { last, now }));
        }
        self.believe(gone);
        self.tell_source(None);
    }

    fn believe(&mut self, gone: BTreeSet<TargetIndex>) {
        let before = std::mem::replace(&mut self.inventory.gone, gone);
        let gone = &self.inventory.gone;
        let target = |at: &TargetIndex| Arc::clone(&self.fleet.targets()[*at as usize]);
        let upserted: Vec<Arc<Target>> = before.difference(gone).map(target).collect();
        let removed: Vec<TargetId> = gone
            .difference(&before)
            .map(|at| target(at).id.clone())
            .collect();
        if !upserted.is_empty() || !removed.is_empty() {
            self.take(Event::Targets { upserted, removed });
        }
    }

    fn tell_source(&mut self, trouble: Option<SourceTrouble>) {
        if self.inventory.told != trouble {
            self.inventory.told.clone_from(&trouble);
            let source = self.inventory.source.clone();
            self.take(Event::Source { source, trouble });
        }
    }

    /// So many are truly no more, and as many new ones stand where they stood, well and with other names.
    fn replace(&mut self, mishap: usize, percent: u8) {
        self.inventory.generation += 1;
        let generation = self.inventory.generation;
        let (mut upserted, mut removed) = (Vec::new(), Vec::new());
        for at in 0..self.fleet.instances() {
            let of = [mishap as u64, u64::from(at)];
            if self.inventory.gone.contains(&at)
                || !self.chance.percent(percent.into(), For::Shard, &of)
            {
                continue;
            }
            let old = Arc::clone(&self.fleet.targets()[at as usize]);
            let name = match old.id.as_str().rsplit_once('~') {
                Some((name, _)) => name,
                None => old.id.as_str(),
            };
            // A name of the greatest length can't grow: then its target stays.
            let Ok(id) = TargetId::new(format!("{name}~{generation}")) else {
                continue;
            };
            let faults: Vec<u32> = self.truth.of(at).map(|(fault, _)| fault).collect();
            for fault in faults {
                self.relieve(fault, at, Ended::Healed);
            }
            self.unstop(at);
            self.server.forget(at);
            removed.push(old.id.clone());
            let new = Arc::new(Target {
                id,
                ..(*old).clone()
            });
            self.fleet.replace(at, Arc::clone(&new));
            upserted.push(new);
        }
        if !removed.is_empty() {
            self.take(Event::Targets { upserted, removed });
        }
    }
}
