//! What became of each case, gathered from records and notices: from those of then, and from those of another policy.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{
    Authority, CaseId, Ending, Fact, Notice, OrderId, Record, ServiceName, TargetId, TestName,
    Timestamp, Urgency,
};
use serde::Serialize;

/// One case as one policy treated it. Those that were only suspected are not compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseStory {
    pub case: CaseId,
    pub target: TargetId,
    pub service: Option<ServiceName>,
    /// The first failed round, as far as it is known; else the first that was heard of the case.
    pub began: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    pub tests: BTreeSet<TestName>,
    pub orders: Vec<Act>,
    /// Each time the reason changed.
    pub held: Vec<HeldBy>,
    pub handed_over: Option<Handed>,
    /// When somebody was told to act.
    pub called: Vec<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// As [`pitcrew_model::Ending`] writes itself.
    pub ending: Option<String>,
}

/// An order that was given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Act {
    pub at: Timestamp,
    pub order: OrderId,
    /// `restart`, ``command `flush` ``
    pub action: String,
    /// The person on whose word, if any.
    pub by: Option<String>,
}

/// What held a wanted order back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldBy {
    pub at: Timestamp,
    /// The limit's name as configuration writes it.
    pub limit: String,
    /// `max_in_flight 1: 1 in flight already`
    pub why: String,
    pub wanted: Option<String>,
}

/// To a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Handed {
    pub at: Timestamp,
    pub why: String,
}

impl CaseStory {
    fn new(case: CaseId, record: &Record, target: TargetId) -> Self {
        Self {
            case,
            target,
            service: record.service.clone(),
            began: record.at,
            confirmed_at: None,
            tests: BTreeSet::new(),
            orders: Vec::new(),
            held: Vec::new(),
            handed_over: None,
            called: Vec::new(),
            ended_at: None,
            ending: None,
        }
    }

    fn add(&mut self, record: &Record) {
        match &record.fact {
            Fact::Confirmed { findings } | Fact::Relapsed { findings } => {
                if matches!(record.fact, Fact::Confirmed { .. }) {
                    self.confirmed_at.get_or_insert(record.at);
                    let since = findings.iter().map(|finding| finding.since).min();
                    self.began = self.began.min(since.unwrap_or(record.at));
                }
                let tests = findings.iter().map(|finding| finding.test.clone());
                self.tests.extend(tests);
            }
            Fact::Intent { order } => self.orders.push(Act {
                at: record.at,
                order: order.id,
                action: order.action.to_string(),
                by: match &order.authority {
                    Authority::Policy => None,
                    Authority::Approval { by } | Authority::Person { by, .. } => Some(by.clone()),
                },
            }),
            Fact::Held { wanted, hold, .. } => self.held.push(HeldBy {
                at: record.at,
                limit: hold.name().to_owned(),
                why: hold.to_string(),
                wanted: wanted.clone(),
            }),
            Fact::HandedOver { why, .. } => {
                let handed = Handed {
                    at: record.at,
                    why: why.clone(),
                };
                self.handed_over.get_or_insert(handed);
            }
            Fact::Closed { ending, .. } => {
                self.ended_at = Some(record.at);
                self.ending = Some(ending.to_string());
            }
            _ => {}
        }
    }

    /// It was suspected and never believed: what else is in the ledger of it is that it was nothing.
    fn is_suspicion(&self) -> bool {
        self.confirmed_at.is_none()
            && self.orders.is_empty()
            && self.held.is_empty()
            && self.handed_over.is_none()
            && self.ending == Some(Ending::FalseAlarm.to_string())
    }

    /// What held it back last, or why a person had it.
    pub(super) fn why_not(&self) -> Option<(&str, &str)> {
        let held = self.held.last();
        let held = held.map(|held| (held.limit.as_str(), held.why.as_str()));
        held.or_else(|| {
            let handed = self.handed_over.as_ref()?;
            Some(("handed_over", handed.why.as_str()))
        })
    }
}

/// Stories by the stretch of the record in which they lie: where a new one begins, numbers of cases begin anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Stories {
    stretch: u32,
    cases: BTreeMap<(u32, CaseId), CaseStory>,
    /// What people asked for, and why it was refused.
    pub(super) people: Vec<Asked>,
    pub(super) orders: u64,
    pub(super) called: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) at: Timestamp,
    pub(super) by: String,
    pub(super) act: String,
    pub(super) refused: Option<String>,
}

impl Stories {
    pub(super) fn new_stretch(&mut self) {
        self.stretch += 1;
    }

    pub(super) fn record(&mut self, record: &Record) {
        if let Fact::Person { by, act, refused } = &record.fact {
            self.people.push(Asked {
                at: record.at,
                by: by.clone(),
                act: act.to_string(),
                refused: refused.clone(),
            });
        }
        if let Fact::Intent { .. } = &record.fact {
            self.orders += 1;
        }
        let (Some(case), Some(target)) = (record.case, &record.target) else {
            return;
        };
        let story = self
            .cases
            .entry((self.stretch, case))
            .or_insert_with(|| CaseStory::new(case, record, target.clone()));
        story.add(record);
    }

    pub(super) fn notice(&mut self, notice: &Notice) {
        if notice.urgency != Urgency::Page {
            return;
        }
        self.called += 1;
        let story = notice.case.map(|case| (self.stretch, case));
        if let Some(story) = story.and_then(|key| self.cases.get_mut(&key)) {
            story.called.push(notice.at);
        }
    }

    /// The ledger could not take them: they were not given.
    pub(super) fn strike(&mut self, not_given: &[OrderId]) {
        for ((stretch, _), story) in &mut self.cases {
            if *stretch == self.stretch {
                let before = story.orders.len();
                story.orders.retain(|act| !not_given.contains(&act.order));
                let struck = before - story.orders.len();
                self.orders -= u64::try_from(struck).unwrap_or(0);
            }
        }
    }

    pub(super) fn stretch(&self) -> u32 {
        self.stretch
    }

    pub(super) fn case(&self, stretch: u32, case: CaseId) -> Option<&CaseStory> {
        self.cases.get(&(stretch, case))
    }

    /// The newest that has not ended.
    pub(super) fn open_case_of(&self, target: &TargetId) -> Option<&CaseStory> {
        let of_now = self.cases.range((self.stretch, CaseId(0))..);
        of_now
            .rev()
            .map(|(_, story)| story)
            .find(|story| story.target == *target && story.ended_at.is_none())
    }

    /// Of what was believed, with the stretch of each.
    pub(super) fn believed(&self) -> impl Iterator<Item = (u32, &CaseStory)> {
        self.cases
            .iter()
            .filter(|(_, story)| !story.is_suspicion())
            .map(|((stretch, _), story)| (*stretch, story))
    }
}
