//! One source on the roll: what it last said that was believed, and what was not.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    sync::Arc,
};

use pitcrew_model::{Source, SourceTrouble, Target, TargetId};

use super::{Remembered, Roll};
use crate::{Answer, answer::Problems};

pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) good: HashMap<TargetId, Arc<Target>>,
    /// Ids of `good` as the source gave them, only until they are told.
    pub(super) order: Vec<TargetId>,
    /// Size of the last good answer; `None` before the first. `good` has fewer when only the size survived a restart.
    count: Option<usize>,
    /// The configuration changed what the source is, so that its next answer may have any size but none.
    redefined: bool,
    /// The answer that was not believed, should a person accept it.
    pub(super) refused: Option<Distinct>,
    pub(super) refusal: Option<SourceTrouble>,
    pub(super) problems: Option<String>,
    /// Ids that an earlier source gives too.
    pub(super) shadowed: BTreeSet<TargetId>,
    pub(super) told: Option<SourceTrouble>,
}

impl Entry {
    fn new(source: &Source) -> Self {
        Self {
            source: source.clone(),
            good: HashMap::new(),
            order: Vec::new(),
            count: None,
            redefined: false,
            refused: None,
            refusal: None,
            problems: None,
            shadowed: BTreeSet::new(),
            told: None,
        }
    }

    /// As a former run remembered it, if it did.
    pub(super) fn recall(source: &Source, remembered: &[Remembered]) -> Self {
        let mut entry = Self::new(source);
        if let Some(known) = remembered
            .iter()
            .find(|known| known.source.name == source.name)
        {
            entry.count = known.count;
            entry.redefined = known.source != *source;
            entry.good = known
                .targets
                .iter()
                .map(|target| (target.id.clone(), Arc::clone(target)))
                .collect();
        }
        entry
    }

    pub(super) fn remember(&self) -> Remembered {
        let mut targets = Vec::new();
        if self.good.len() <= Roll::TARGETS_KEPT_MAX {
            targets.extend(self.good.values().cloned());
            targets.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        }
        Remembered {
            source: self.source.clone(),
            count: self.count,
            targets,
        }
    }

    pub(super) fn redefined(mut self, source: &Source) -> Self {
        if self.source != *source {
            self.source = source.clone();
            self.redefined = true;
        }
        self
    }

    /// Why an answer of `now` targets is not believed.
    pub(super) fn objection(&self, now: usize) -> Option<SourceTrouble> {
        match self.count {
            None if now == 0 => Some(SourceTrouble::Empty { last: 0 }),
            Some(last) if now == 0 && last > 0 => Some(SourceTrouble::Empty { last }),
            Some(last) if now * 2 < last && !self.redefined => {
                Some(SourceTrouble::Shrank { last, now })
            }
            _ => None,
        }
    }

    pub(super) fn refuse(&mut self, trouble: SourceTrouble, answer: Option<Distinct>) {
        self.refusal = Some(trouble);
        self.refused = answer;
    }

    /// Takes the answer over and gives back what was good before.
    pub(super) fn believe(&mut self, answer: Distinct) -> HashMap<TargetId, Arc<Target>> {
        self.refusal = None;
        self.refused = None;
        self.redefined = false;
        self.count = Some(answer.targets.len());
        self.problems = (!answer.problems.is_empty()).then(|| answer.problems.to_string());
        self.order = answer.order;
        std::mem::replace(&mut self.good, answer.targets)
    }
}

/// An answer in which each id is given once.
pub(super) struct Distinct {
    pub(super) targets: HashMap<TargetId, Arc<Target>>,
    order: Vec<TargetId>,
    problems: Problems,
}

impl Distinct {
    /// The first of those with the same id; the same target said twice is no mistake.
    pub(super) fn of(answer: Answer) -> Self {
        let mut distinct = Self {
            targets: HashMap::with_capacity(answer.targets.len()),
            order: Vec::with_capacity(answer.targets.len()),
            problems: answer.problems,
        };
        for target in answer.targets {
            match distinct.targets.entry(target.id.clone()) {
                hash_map::Entry::Vacant(place) => {
                    distinct.order.push(target.id.clone());
                    place.insert(Arc::new(target));
                }
                hash_map::Entry::Occupied(first) if **first.get() == target => {}
                hash_map::Entry::Occupied(first) => distinct.problems.add(|| {
                    format!(
                        "`{}` is given twice, with {} and with {}; the first counts",
                        target.id,
                        first.get().labels,
                        target.labels
                    )
                }),
            }
        }
        distinct
    }
}
