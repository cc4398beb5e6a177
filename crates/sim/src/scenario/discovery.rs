//! Discovery's one source: its last good answer, which neither a crash nor a bad answer makes the server forget.
//!
//! What is doubted is what the finders doubt: an answer that is empty, or that shrank by more than half.

use std::{collections::BTreeMap, sync::Arc};

use pitcrew_model::{Event, SourceTrouble, Target, TargetId};

use super::{names::source, server::Server};

type Answer = BTreeMap<TargetId, Arc<Target>>;

#[derive(Default)]
pub(super) struct Discovery {
    /// What it would answer now.
    is: Answer,
    believed: Answer,
    trouble: Option<SourceTrouble>,
    /// The answer that is not believed.
    refused: Option<Answer>,
}

impl Discovery {
    pub(super) fn of(targets: Answer) -> Self {
        Self {
            believed: targets.clone(),
            is: targets,
            ..Self::default()
        }
    }

    pub(super) fn believed(&self) -> Vec<Arc<Target>> {
        self.believed.values().cloned().collect()
    }

    pub(super) fn target(&self, id: &TargetId) -> Option<&Arc<Target>> {
        self.is.get(id).or_else(|| self.believed.get(id))
    }
}

impl Server {
    pub(super) fn loses(&mut self, targets: &[TargetId]) {
        self.discovery.is.retain(|id, _| !targets.contains(id));
        self.ask_discovery();
    }

    pub(super) fn gives(&mut self, targets: &[Arc<Target>]) {
        let given = targets.iter();
        self.discovery
            .is
            .extend(given.map(|target| (target.id.clone(), target.clone())));
        self.ask_discovery();
    }

    /// An answer that is empty or shrank by more than half is not believed, as `find` has it.
    pub(super) fn ask_discovery(&mut self) {
        let answer = self.discovery.is.clone();
        let (last, now) = (self.discovery.believed.len(), answer.len());
        if now == 0 && last > 0 {
            self.refuse(SourceTrouble::Empty { last }, answer);
        } else if now * 2 < last {
            self.refuse(SourceTrouble::Shrank { last, now }, answer);
        } else {
            self.believe(answer);
        }
    }

    fn believe(&mut self, answer: Answer) {
        self.discovery.refused = None;
        if self.discovery.trouble.take().is_some() {
            self.source(None);
        }
        let before = std::mem::replace(&mut self.discovery.believed, answer);
        let is = &self.discovery.believed;
        let changed = is
            .iter()
            .filter(|(id, target)| before.get(*id) != Some(target));
        let upserted: Vec<Arc<Target>> = changed.map(|(_, target)| target.clone()).collect();
        let gone = before.keys().filter(|id| !is.contains_key(*id));
        let removed: Vec<TargetId> = gone.cloned().collect();
        if !upserted.is_empty() || !removed.is_empty() {
            self.events.push_back(Event::Targets { upserted, removed });
        }
    }

    pub(super) fn answers_nothing(&mut self) {
        let last = self.discovery.believed.len();
        self.refuse(SourceTrouble::Empty { last }, BTreeMap::new());
    }

    fn refuse(&mut self, trouble: SourceTrouble, answer: Answer) {
        self.discovery.refused = Some(answer);
        self.doubt(trouble);
    }

    pub(super) fn accept_discovery(&mut self) {
        if let Some(answer) = self.discovery.refused.take() {
            self.believe(answer);
        }
    }

    pub(super) fn doubt(&mut self, trouble: SourceTrouble) {
        self.discovery.trouble = Some(trouble.clone());
        self.source(Some(trouble));
    }

    fn source(&mut self, trouble: Option<SourceTrouble>) {
        self.events.push_back(Event::Source {
            source: source(),
            trouble,
        });
    }
}
