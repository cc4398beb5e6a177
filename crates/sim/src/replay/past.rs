//! What a record says about its time, read before another policy is asked: the cases, the orders and what became of
//! them, and what was tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Action, CaseId, Event, Fact, OrderId, OutcomeKind, Production, Record, ServiceName, TargetId,
    TestName, Timestamp,
};

use crate::record::{Entered, Entry, Reader, RecordError, Tail};

use super::{
    case::Stories,
    reproduce::{RunEnd, RunSummary},
};

/// How long an action is assumed to take that was never seen to end.
const OUTCOME_AFTER: Duration = Duration::from_secs(1);

/// An order of then.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) stretch: u32,
    pub(super) id: OrderId,
    pub(super) case: Option<CaseId>,
    pub(super) action: Action,
    pub(super) at: Timestamp,
    /// When it came back, with what.
    pub(super) outcome: Option<(Timestamp, OutcomeKind, String)>,
}

/// All that is kept of a record between its two readings: in proportion to its decisions, not to its answers.
#[derive(Debug, Default)]
pub struct Past {
    pub(super) runs: Vec<RunSummary>,
    pub(super) stories: Stories,
    /// By target, in the order in which they were given.
    pub(super) given: BTreeMap<TargetId, Vec<Given>>,
    /// Which target's, while its outcome is awaited.
    awaited: BTreeMap<OrderId, TargetId>,
    /// What was in force from when on.
    pub(super) productions: Vec<(Timestamp, Arc<Production>)>,
    pub(super) asked: BTreeSet<TestName>,
    /// How long each action took, summed, and how often: by the words for it.
    lasted: BTreeMap<String, (Duration, u32)>,
    pub(super) events: u64,
    pub(super) observations: u64,
    pub(super) last_at: Timestamp,
    pub(super) torn_at: Option<u64>,
}

/// Reads a record for what it says about its time.
pub fn survey<R: Read>(reader: &mut Reader<R>) -> Result<Past, RecordError> {
    let mut past = Past::default();
    for placed in reader.by_ref() {
        past.take(placed?.entry);
    }
    if let Tail::Torn { at, .. } = reader.tail() {
        past.torn_at = Some(at);
    }
    Ok(past)
}

/// Whether the run that begins with `fence` goes on where the one before ended, nothing unrecorded between them.
pub(super) fn goes_on(before: Option<&RunSummary>, installation: &str, fence: u64) -> bool {
    before.is_some_and(|before| {
        before.installation == installation
            && before.fence + 1 == fence
            && !matches!(before.end, RunEnd::Gap { .. })
    })
}

impl Past {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Start(start) => {
                if !self.runs.is_empty()
                    && !goes_on(self.runs.last(), &start.installation, start.fence)
                {
                    self.stories.new_stretch();
                }
                self.runs.push(RunSummary {
                    pitcrew: start.pitcrew,
                    installation: start.installation,
                    fence: start.fence,
                    from: start.at,
                    to: start.at,
                    end: RunEnd::CutOff,
                    decisions: 0,
                    times_back: 0,
                });
            }
            Entry::Event(entered) => self.event(&entered),
            Entry::Records(records) => records.iter().for_each(|record| self.record(record)),
            Entry::Notices(notices) => notices
                .iter()
                .for_each(|notice| self.stories.notice(notice)),
            Entry::Gap(why) => self.ended(RunEnd::Gap { why }),
            Entry::End => self.ended(RunEnd::Stopped),
        }
    }

    fn ended(&mut self, end: RunEnd) {
        if let Some(run) = self.runs.last_mut() {
            run.end = end;
        }
    }

    fn event(&mut self, entered: &Entered) {
        self.events += 1;
        self.last_at = self.last_at.max(entered.at);
        if let Some(run) = self.runs.last_mut() {
            run.times_back += u64::from(entered.at < run.to);
            run.to = run.to.max(entered.at);
        }
        match &entered.event {
            Event::Observations(seen) => {
                self.observations += u64::try_from(seen.len()).unwrap_or(u64::MAX);
                for observation in seen {
                    if !self.asked.contains(&observation.test) {
                        self.asked.insert(observation.test.clone());
                    }
                }
            }
            Event::Production(production) => {
                self.productions.push((entered.at, Arc::clone(production)));
            }
            Event::Outcome(outcome) => {
                if let Some(given) = self.awaited(outcome.order) {
                    given.outcome = Some((entered.at, outcome.kind, outcome.detail.clone()));
                    let (words, took) = (given.action.to_string(), entered.at.since(given.at));
                    let lasted = self.lasted.entry(words).or_default();
                    *lasted = (lasted.0 + took, lasted.1 + 1);
                    self.awaited.remove(&outcome.order);
                }
            }
            Event::LedgerFailed { not_given, .. } => {
                self.stories.strike(not_given);
                for order in not_given {
                    if let Some(target) = self.awaited.remove(order)
                        && let Some(given) = self.given.get_mut(&target)
                    {
                        given.retain(|given| given.id != *order);
                    }
                }
            }
            _ => {}
        }
    }

    fn awaited(&mut self, order: OrderId) -> Option<&mut Given> {
        let target = self.awaited.get(&order)?;
        let given = self.given.get_mut(target)?;
        given.iter_mut().rev().find(|given| given.id == order)
    }

    fn record(&mut self, record: &Record) {
        self.stories.record(record);
        if let Some(run) = self.runs.last_mut() {
            run.decisions += 1;
        }
        if let Fact::Intent { order } = &record.fact {
            let target = order.target.id.clone();
            self.awaited.insert(order.id, target.clone());
            self.given.entry(target).or_default().push(Given {
                stretch: self.stories.stretch(),
                id: order.id,
                case: order.case,
                action: order.action.clone(),
                at: record.at,
                outcome: None,
            });
        }
    }

    /// What was in force at `at`.
    pub(super) fn production_at(&self, at: Timestamp) -> Option<&Arc<Production>> {
        let before = self.productions.iter().rev().find(|(from, _)| *from <= at);
        before
            .or_else(|| self.productions.first())
            .map(|(_, production)| production)
    }

    /// How long this action took then, on average; a second when it never came back.
    pub(super) fn usual_time(&self, action: &Action) -> Duration {
        let lasted = self.lasted.get(&action.to_string());
        let usual = lasted.and_then(|(sum, count)| sum.checked_div(*count));
        usual.unwrap_or(OUTCOME_AFTER)
    }

    /// Services by name, as last configured.
    pub(super) fn services(&self) -> BTreeMap<&ServiceName, &pitcrew_model::Service> {
        let last = self.productions.last();
        let services = last
            .into_iter()
            .flat_map(|(_, production)| &production.services);
        services
            .map(|service| (&service.name, &**service))
            .collect()
    }
}
