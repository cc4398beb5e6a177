//! Another policy on the same events.
//!
//! The policy of then runs beside it, for two things: to know when the server woke by itself, so that the other one
//! is woken besides only when it would have been, and to know when the two first decide something else. Until then
//! they are one, over restarts too; so a policy compared with itself is alike to the last record.

use std::{collections::BTreeSet, io::Read, sync::Arc};

use pitcrew_engine::Birth;
use pitcrew_model::{Effect, Event, Production, Saved, Timestamp};

use crate::{
    Brain, Ledger,
    record::{Entered, Entry, Reader, RecordError, Start},
};

use super::{
    assumed::Counterparts,
    case::Stories,
    comparison::Comparison,
    is_servers_own, made,
    past::{Past, goes_on},
    reproduce::as_written,
    tell, tell_again,
};

/// Runs a record through `policy` and compares with what was decided then. `past` is from the same record.
pub fn compare<R: Read>(
    reader: &mut Reader<R>,
    past: &Past,
    policy: Arc<Production>,
) -> Result<Comparison, RecordError> {
    let mut other = Other {
        past,
        policy,
        run: None,
        runs: 0,
        ledger: Ledger::default(),
        has_diverged: false,
        stories: Stories::default(),
        counterparts: Counterparts::default(),
        left_out: BTreeSet::new(),
    };
    for placed in reader.by_ref() {
        other.take(placed?.entry);
    }
    let left_out = other.left_out.into_iter().collect();
    Ok(Comparison::new(
        past,
        &other.stories,
        &other.policy,
        left_out,
    ))
}

struct Other<'a> {
    past: &'a Past,
    policy: Arc<Production>,
    run: Option<Run>,
    /// Begun so far.
    runs: usize,
    /// The other policy's own.
    ledger: Ledger,
    /// Since the last common start they have decided something else.
    has_diverged: bool,
    stories: Stories,
    counterparts: Counterparts,
    left_out: BTreeSet<String>,
}

struct Run {
    then: Brain,
    now: Brain,
    at: Timestamp,
    /// Discovery has told of targets, so that an outcome finds the one that it is about.
    knows_targets: bool,
}

impl Other<'_> {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Start(start) => self.start(*start),
            Entry::Event(entered) => self.event(&entered),
            Entry::Records(records) => {
                let counterparts = &mut self.counterparts;
                records.iter().for_each(|one| counterparts.note_then(one));
            }
            Entry::Notices(_) | Entry::Gap(_) | Entry::End => {}
        }
    }

    fn start(&mut self, start: Start) {
        let before = self
            .runs
            .checked_sub(1)
            .and_then(|at| self.past.runs.get(at));
        let follows = goes_on(before, &start.installation, start.fence);
        if self.runs > 0 && !follows {
            self.stories.new_stretch();
        }
        self.runs += 1;
        let (birth, rows) = if follows && self.has_diverged {
            let own = self.ledger.birth(&start.installation);
            let birth = Birth {
                fence: start.fence,
                last_case: own.last_case.max(start.last_case),
                last_order: own.last_order.max(start.last_order),
                installation: start.installation.clone(),
            };
            (birth, self.ledger.rows())
        } else {
            self.has_diverged = false;
            self.counterparts.begin_alike(&start.rows);
            self.ledger = Ledger::default();
            let rows = start.rows.iter().cloned().map(Effect::Save);
            self.ledger.commit(&rows.collect::<Vec<_>>());
            (start.birth(), start.rows.clone())
        };
        self.begin(&start, birth, rows);
    }

    fn begin(&mut self, start: &Start, birth: Birth, rows: Vec<Saved>) {
        self.run = Some(Run {
            then: Brain::start(start.at, start.birth(), start.rows.clone()),
            now: Brain::start(start.at, birth, rows),
            at: start.at,
            knows_targets: false,
        });
    }

    fn event(&mut self, entered: &Entered) {
        self.advance(entered.at, entered.draining);
        let Some(run) = &mut self.run else { return };
        run.knows_targets |=
            matches!(&entered.event, Event::Targets { upserted, .. } if !upserted.is_empty());
        let then = decisions(&tell_again(&mut run.then, entered));
        let event = match &entered.event {
            Event::Production(_) => Ok(Event::Production(Arc::clone(&self.policy))),
            event if !self.has_diverged => Ok(event.clone()),
            event => self.counterparts.translate(event, &self.stories),
        };
        let now = match event {
            Ok(event) => self.tell(entered.at, entered.draining, event),
            Err(why) => {
                self.left_out.extend(why);
                Vec::new()
            }
        };
        self.has_diverged |= then != now;
    }

    /// Whatever the other policy would have woken for, or heard of, before `until`.
    fn advance(&mut self, until: Timestamp, draining: bool) {
        while let Some((at, event)) = self.next_before(until) {
            let event = match event {
                Some(event) => event,
                None => match self.counterparts.take_due() {
                    Some(event) => event,
                    None => return,
                },
            };
            if !self.tell(at, draining, event).is_empty() {
                self.has_diverged = true;
            }
        }
    }

    /// `None` as the event: the next outcome that is due.
    fn next_before(&self, until: Timestamp) -> Option<(Timestamp, Option<Event>)> {
        let run = self.run.as_ref()?;
        let woken_then = run.then.engine.next_tick();
        let tick = run
            .now
            .engine
            .next_tick()
            .filter(|due| *due < until && woken_then.is_none_or(|woken_at| *due < woken_at));
        let due = self.counterparts.next_due();
        let due = due.filter(|due| *due <= until && run.knows_targets);
        match (tick, due) {
            (Some(tick), due) if due.is_none_or(|due| tick < due) => {
                Some((tick.max(run.at), Some(Event::Tick)))
            }
            (_, Some(due)) => Some((due.max(run.at), None)),
            (_, None) => None,
        }
    }

    /// What the other policy decided on it.
    fn tell(&mut self, at: Timestamp, draining: bool, event: Event) -> Vec<String> {
        let Some(run) = &mut self.run else {
            return Vec::new();
        };
        run.at = run.at.max(at);
        if let Event::LedgerFailed { not_given, .. } = &event {
            self.stories.strike(not_given);
        }
        let effects = tell(&mut run.now, at, draining, event);
        self.ledger.commit(&effects);
        let (records, notices) = made(&effects);
        records
            .iter()
            .for_each(|record| self.stories.record(record));
        notices
            .iter()
            .for_each(|notice| self.stories.notice(notice));
        self.counterparts
            .note_now(at, &effects, self.past, &self.stories);
        decisions(&effects)
    }
}

/// As they are written, without what only says which configuration it is.
fn decisions(effects: &[Effect]) -> Vec<String> {
    let (records, _) = made(effects);
    let decided = records
        .into_iter()
        .filter(|record| !is_servers_own(&record.fact));
    decided.map(as_written).collect()
}
