//! What answers mean: pure, without clock or IO.
//!
//! The roll has each source's last good answer. A source that fails keeps it; one that turns empty or shrinks
//! by more than half in one answer is not believed and keeps it too, until it grows again, a person accepts it,
//! or the configuration changes what the source is. Whoever broke an inventory must not make production vanish
//! from under its repairs.
//!
//! One id given by two sources belongs to the first in the configuration's order; the other source says so.
//! An answer costs one look at each of its targets, and for each changed one a look at the other sources.

mod entry;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use pitcrew_model::{Event, Source, SourceName, SourceTrouble, Target, TargetId};
use serde::{Deserialize, Serialize};

use crate::Answer;
use entry::{Distinct, Entry};

/// In the order of the configuration.
#[derive(Default)]
pub struct Roll {
    sources: Vec<Entry>,
    /// From a snapshot, for sources that the configuration has not named yet.
    remembered: Vec<Remembered>,
}

/// What to tell the engine; empty when nothing changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub events: Vec<Event>,
}

/// What survives a restart, so that neither a restart nor a source that is down then makes targets vanish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    sources: Vec<Remembered>,
}

/// `targets` is empty where there were more than [`Roll::TARGETS_KEPT_MAX`]; `count` still guards the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    source: Source,
    count: Option<usize>,
    targets: Vec<Arc<Target>>,
}

impl Roll {
    /// More are not written into a [`Snapshot`]: they are found again, and their number still guards the source.
    pub const TARGETS_KEPT_MAX: usize = 100_000;

    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With what a former run knew; [`Roll::set`] then brings back the targets of the sources that are still there.
    #[must_use]
    pub fn restore(snapshot: Snapshot) -> Self {
        Self {
            sources: Vec::new(),
            remembered: snapshot.sources,
        }
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let known = self.sources.iter().map(Entry::remember);
        Snapshot {
            sources: known.chain(self.remembered.iter().cloned()).collect(),
        }
    }

    /// The configuration's sources, in its order. What a source gave goes with it; a source that is now
    /// something else may answer with fewer.
    pub fn set(&mut self, sources: &[Source]) -> Change {
        let before = self.effective();
        let mut old = std::mem::take(&mut self.sources);
        let remembered = std::mem::take(&mut self.remembered);
        let mut change = Change::default();
        for source in sources {
            let had = old
                .iter()
                .position(|entry| entry.source.name == source.name);
            self.sources.push(match had {
                Some(at) => old.swap_remove(at).redefined(source),
                None => Entry::recall(source, &remembered),
            });
        }
        for gone in old.into_iter().filter(|entry| entry.told.is_some()) {
            change.trouble(gone.source.name, None);
        }
        change.targets(difference(&before, &self.effective()));
        self.reshadow_all();
        self.tell_troubles(&mut change);
        change
    }

    /// What an answer of a source, or its failure, changes. A source that is not [`Roll::set`] is not heard:
    /// it may have gone while it was asked.
    pub fn answer(&mut self, name: &SourceName, answer: Result<Answer, String>) -> Change {
        let mut change = Change::default();
        let Some(at) = self.position(name) else {
            return change;
        };
        match answer {
            Err(error) => self.sources[at].refuse(SourceTrouble::Failed { error }, None),
            Ok(answer) => {
                let distinct = Distinct::of(answer);
                match self.sources[at].objection(distinct.targets.len()) {
                    Some(trouble) => self.sources[at].refuse(trouble, Some(distinct)),
                    None => self.believe(at, distinct, &mut change),
                }
            }
        }
        self.tell_troubles(&mut change);
        change
    }

    /// A source is no more: its targets go.
    pub fn forget(&mut self, name: &SourceName) -> Change {
        let left: Vec<Source> = self
            .sources
            .iter()
            .map(|entry| entry.source.clone())
            .filter(|source| source.name != *name)
            .collect();
        self.set(&left)
    }

    /// A person says that the answer that was not believed is right. Without such an answer nothing changes.
    pub fn accept(&mut self, name: &SourceName) -> Change {
        let mut change = Change::default();
        if let Some(at) = self.position(name)
            && let Some(distinct) = self.sources[at].refused.take()
        {
            self.believe(at, distinct, &mut change);
            self.tell_troubles(&mut change);
        }
        change
    }

    /// Whether this very source, as it is defined, is on the roll.
    pub(crate) fn has(&self, source: &Source) -> bool {
        self.sources.iter().any(|entry| entry.source == *source)
    }

    fn position(&self, name: &SourceName) -> Option<usize> {
        self.sources
            .iter()
            .position(|entry| entry.source.name == *name)
    }

    fn believe(&mut self, at: usize, answer: Distinct, change: &mut Change) {
        let before = self.sources[at].believe(answer);
        let now = &self.sources[at];
        let mut changed: Vec<TargetId> = now
            .order
            .iter()
            .filter(|id| before.get(*id) != now.good.get(*id))
            .cloned()
            .collect();
        let mut gone: Vec<TargetId> = before
            .keys()
            .filter(|id| !now.good.contains_key(*id))
            .cloned()
            .collect();
        gone.sort_unstable();
        changed.append(&mut gone);

        let (mut upserted, mut removed) = (Vec::new(), Vec::new());
        for id in changed {
            self.reshadow(&id);
            if self.first_with(&id, 0..at).is_some() {
                continue;
            }
            let later = self.first_with(&id, at + 1..self.sources.len());
            let had = before.get(&id).or(later);
            match self.sources[at].good.get(&id).or(later) {
                None => removed.push(id),
                has if has == had => {}
                Some(target) => upserted.push(Arc::clone(target)),
            }
        }
        self.sources[at].order = Vec::new();
        change.targets((upserted, removed));
    }

    fn first_with(&self, id: &TargetId, sources: std::ops::Range<usize>) -> Option<&Arc<Target>> {
        self.sources[sources]
            .iter()
            .find_map(|entry| entry.good.get(id))
    }

    /// All targets, each from the first source that gives it.
    fn effective(&self) -> HashMap<TargetId, Arc<Target>> {
        let mut all = HashMap::new();
        for target in self.sources.iter().flat_map(|entry| entry.good.values()) {
            all.entry(target.id.clone())
                .or_insert_with(|| Arc::clone(target));
        }
        all
    }

    fn reshadow(&mut self, id: &TargetId) {
        let mut given = false;
        for entry in &mut self.sources {
            let gives = entry.good.contains_key(id);
            if gives && given {
                entry.shadowed.insert(id.clone());
            } else {
                entry.shadowed.remove(id);
            }
            given |= gives;
        }
    }

    fn reshadow_all(&mut self) {
        for entry in &mut self.sources {
            entry.shadowed.clear();
        }
        let ids: Vec<TargetId> = self
            .sources
            .iter()
            .skip(1)
            .flat_map(|entry| entry.good.keys().cloned())
            .collect();
        for id in ids {
            self.reshadow(&id);
        }
    }

    fn tell_troubles(&mut self, change: &mut Change) {
        for at in 0..self.sources.len() {
            let trouble = self.trouble(at);
            let entry = &mut self.sources[at];
            if entry.told != trouble {
                entry.told.clone_from(&trouble);
                change.trouble(entry.source.name.clone(), trouble);
            }
        }
    }

    fn trouble(&self, at: usize) -> Option<SourceTrouble> {
        let entry = &self.sources[at];
        if entry.refusal.is_some() {
            return entry.refusal.clone();
        }
        let doubles = entry.shadowed.first().and_then(|id| {
            let first = self.sources[..at]
                .iter()
                .find(|earlier| earlier.good.contains_key(id))?;
            Some(format!(
                "{} of its targets are also given by `{}`, which comes first and counts, such as `{id}`",
                entry.shadowed.len(),
                first.source.name
            ))
        });
        let parts: Vec<String> = entry.problems.clone().into_iter().chain(doubles).collect();
        (!parts.is_empty()).then(|| SourceTrouble::Failed {
            error: parts.join("; "),
        })
    }
}

fn difference(
    before: &HashMap<TargetId, Arc<Target>>,
    after: &HashMap<TargetId, Arc<Target>>,
) -> (Vec<Arc<Target>>, Vec<TargetId>) {
    let mut upserted: Vec<Arc<Target>> = after
        .values()
        .filter(|target| before.get(&target.id) != Some(target))
        .cloned()
        .collect();
    let mut removed: Vec<TargetId> = before
        .keys()
        .filter(|id| !after.contains_key(*id))
        .cloned()
        .collect();
    upserted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    removed.sort_unstable();
    (upserted, removed)
}

impl Change {
    fn targets(&mut self, (upserted, removed): (Vec<Arc<Target>>, Vec<TargetId>)) {
        if !upserted.is_empty() || !removed.is_empty() {
            self.events.push(Event::Targets { upserted, removed });
        }
    }

    fn trouble(&mut self, source: SourceName, trouble: Option<SourceTrouble>) {
        self.events.push(Event::Source { source, trouble });
    }
}
