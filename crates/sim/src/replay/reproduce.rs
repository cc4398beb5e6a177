//! The same policy once more: what it decides must be what was decided.

use std::io::Read;

use pitcrew_model::{Event, Fact, OrderId, Record, Timestamp};
use serde::Serialize;

use crate::{
    Brain,
    record::{Entered, Entry, Reader, RecordError, Start, Tail},
};

use super::{is_servers_own, made, tell_again};

/// Differences that are kept: the first one explains the others.
const DIFFERING_MAX: usize = 100;

/// What reproducing a record came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reproduction {
    pub runs: Vec<RunSummary>,
    pub events: u64,
    pub observations: u64,
    /// Records of the ledger that the engine made, without facts that the server writes, too.
    pub decisions: u64,
    /// Events after which something else was decided; the first of them are in `differing`.
    pub differences: u64,
    pub differing: Vec<Differing>,
    /// The record's last frame is not whole: at which byte.
    pub torn_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    pub pitcrew: String,
    pub installation: String,
    pub fence: u64,
    pub from: Timestamp,
    pub to: Timestamp,
    pub end: RunEnd,
    pub decisions: u64,
    /// Events whose time lay before that of the event before: a server's own clock never goes back.
    pub times_back: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// The server stopped in good order.
    Stopped,
    /// It was killed, or it runs still.
    CutOff,
    /// It went on, and was no longer recorded.
    Gap { why: String },
}

/// After one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differing {
    /// Of the event in the record.
    pub at_byte: u64,
    pub at: Timestamp,
    /// Only what differs; as the ledger writes it.
    pub then: Vec<Record>,
    pub now: Vec<Record>,
    /// People were told something else.
    pub notices_differ: bool,
}

/// What one run decided, as its ledger has it, without the server's own facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Decisions {
    pub installation: String,
    pub fence: u64,
    pub records: Vec<Record>,
}

/// Tells an engine everything in `reader` once more. `each_run` gets what each run decided, when it ends.
pub fn reproduce<R: Read>(
    reader: &mut Reader<R>,
    each_run: &mut dyn FnMut(Decisions),
) -> Result<Reproduction, RecordError> {
    let mut again = Again::default();
    for placed in reader.by_ref() {
        let placed = placed?;
        again.take(placed.at, placed.entry, each_run);
    }
    again.end_run(each_run);
    if let Tail::Torn { at, .. } = reader.tail() {
        again.outcome.torn_at = Some(at);
    }
    Ok(again.outcome)
}

#[derive(Default)]
struct Again {
    run: Option<Run>,
    outcome: Reproduction,
}

struct Run {
    brain: Brain,
    summary: RunSummary,
    decided: Vec<Record>,
    /// What the last event made, until the record has said what it made then.
    open: Option<Open>,
}

struct Open {
    at_byte: u64,
    at: Timestamp,
    now: Vec<Record>,
    now_told: Vec<String>,
    then: Vec<Record>,
    then_told: Vec<String>,
}

impl Again {
    fn take(&mut self, at_byte: u64, entry: Entry, each_run: &mut dyn FnMut(Decisions)) {
        match entry {
            Entry::Start(start) => {
                self.end_run(each_run);
                self.run = Some(Run::start(*start));
            }
            Entry::Event(entered) => {
                self.close_event();
                self.outcome.events += 1;
                if let Event::Observations(seen) = &entered.event {
                    self.outcome.observations += u64::try_from(seen.len()).unwrap_or(u64::MAX);
                }
                if let Some(run) = &mut self.run {
                    run.tell(at_byte, &entered);
                }
            }
            Entry::Records(records) => {
                if let Some(open) = self.open() {
                    open.then.extend(records);
                }
            }
            Entry::Notices(notices) => {
                if let Some(open) = self.open() {
                    open.then_told.extend(notices.iter().map(as_written));
                }
            }
            Entry::Gap(why) => self.ended(RunEnd::Gap { why }),
            Entry::End => self.ended(RunEnd::Stopped),
        }
    }

    fn open(&mut self) -> Option<&mut Open> {
        self.run.as_mut().and_then(|run| run.open.as_mut())
    }

    fn ended(&mut self, end: RunEnd) {
        if let Some(run) = &mut self.run {
            run.summary.end = end;
        }
    }

    /// All is known about the last event now.
    fn close_event(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(open) = run.open.take() else { return };
        let of_engine = open.now.iter().filter(|one| !is_servers_own(&one.fact));
        let count = u64::try_from(of_engine.count()).unwrap_or(u64::MAX);
        run.summary.decisions += count;
        self.outcome.decisions += count;
        if let Some(differing) = open.differing() {
            self.outcome.differences += 1;
            if self.outcome.differing.len() < DIFFERING_MAX {
                self.outcome.differing.push(differing);
            }
        }
    }

    fn end_run(&mut self, each_run: &mut dyn FnMut(Decisions)) {
        self.close_event();
        let Some(run) = self.run.take() else { return };
        each_run(Decisions {
            installation: run.summary.installation.clone(),
            fence: run.summary.fence,
            records: run.decided,
        });
        self.outcome.runs.push(run.summary);
    }
}

impl Run {
    fn start(start: Start) -> Self {
        let summary = RunSummary {
            pitcrew: start.pitcrew.clone(),
            installation: start.installation.clone(),
            fence: start.fence,
            from: start.at,
            to: start.at,
            end: RunEnd::CutOff,
            decisions: 0,
            times_back: 0,
        };
        Self {
            brain: Brain::start(start.at, start.birth(), start.rows),
            summary,
            decided: Vec::new(),
            open: None,
        }
    }

    fn tell(&mut self, at_byte: u64, entered: &Entered) {
        if entered.at < self.summary.to {
            self.summary.times_back += 1;
        }
        self.summary.to = self.summary.to.max(entered.at);
        if let Event::LedgerFailed { not_given, .. } = &entered.event {
            strike(&mut self.decided, not_given);
        }
        let effects = tell_again(&mut self.brain, entered);
        let (records, notices) = made(&effects);
        let records: Vec<Record> = records.into_iter().cloned().collect();
        let of_engine = records.iter().filter(|one| !is_servers_own(&one.fact));
        self.decided.extend(of_engine.cloned());
        self.open = Some(Open {
            at_byte,
            at: entered.at,
            now: records,
            now_told: notices.into_iter().map(as_written).collect(),
            then: Vec::new(),
            then_told: Vec::new(),
        });
    }
}

/// What the ledger could not take was not given, and its intent is not in the ledger.
fn strike(records: &mut Vec<Record>, not_given: &[OrderId]) {
    records.retain(|record| match &record.fact {
        Fact::Intent { order } => !not_given.contains(&order.id),
        _ => true,
    });
}

impl Open {
    fn differing(self) -> Option<Differing> {
        let notices_differ = self.now_told != self.then_told;
        // Compared as they are written: some lengths of time lose what is below a millisecond there.
        let [then, now] = [&self.then, &self.now]
            .map(|records| records.iter().map(as_written).collect::<Vec<String>>());
        if then == now && !notices_differ {
            return None;
        }
        let same = then.iter().zip(&now).take_while(|(then, now)| then == now);
        let same = same.count();
        Some(Differing {
            at_byte: self.at_byte,
            at: self.at,
            then: self.then[same..].to_vec(),
            now: self.now[same..].to_vec(),
            notices_differ,
        })
    }
}

pub(super) fn as_written(thing: &impl Serialize) -> String {
    serde_json::to_string(thing).expect("records and notices are written as JSON every day")
}
