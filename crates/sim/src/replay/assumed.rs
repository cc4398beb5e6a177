//! What is assumed where another policy meets a record: which of its orders are orders of then, what becomes of the
//! others, and whom a person meant.
//!
//! An order that was also given then, on the same target in the same case and with the same action, comes back as it
//! did: at the very same event when it was given at the same moment, else after the same time. Any other order is
//! assumed to be done, after the usual time of its action. It is never assumed to have helped.

use std::collections::{BTreeMap, BTreeSet};

use pitcrew_model::{
    Authority, CaseId, Effect, Event, Fact, Hold, Order, OrderId, Outcome, OutcomeKind, PersonAct,
    Record, Request, Saved, TargetId, Timestamp,
};

use super::{
    case::Stories,
    past::{Given, Past},
};

/// An order that waits for a person.
#[derive(Clone, Debug)]
struct Approvable {
    order: OrderId,
    digest: String,
    wanted: Option<String>,
}

/// Who is who, then and now.
#[derive(Debug, Default)]
pub(super) struct Counterparts {
    /// Orders of then by those of now that were given at the same moment.
    orders: BTreeMap<OrderId, OrderId>,
    /// Orders of then that have a counterpart.
    used: BTreeSet<(u32, OrderId)>,
    /// Outcomes to come: of which order of now.
    due: BTreeMap<(Timestamp, OrderId), (OutcomeKind, String)>,
    approvable_then: BTreeMap<OrderId, (TargetId, Approvable)>,
    approvable_now: BTreeMap<TargetId, Approvable>,
    cases_then: BTreeMap<CaseId, TargetId>,
}

impl Counterparts {
    /// Both policies go on from the same rows, and so with the same numbers.
    pub(super) fn begin_alike(&mut self, rows: &[Saved]) {
        *self = Self {
            used: std::mem::take(&mut self.used),
            ..Self::default()
        };
        for row in rows {
            match row {
                Saved::Order(state) => {
                    let order = &state.order;
                    self.orders.insert(order.id, order.id);
                    if !state.given {
                        let approvable = Approvable {
                            order: order.id,
                            digest: order.digest.clone(),
                            wanted: None,
                        };
                        let target = order.target.id.clone();
                        self.approvable_now
                            .insert(target.clone(), approvable.clone());
                        self.approvable_then.insert(order.id, (target, approvable));
                    }
                }
                Saved::Case(case) => {
                    self.cases_then.insert(case.id, case.target.clone());
                }
                _ => {}
            }
        }
    }

    pub(super) fn note_then(&mut self, record: &Record) {
        let Some(target) = &record.target else { return };
        if let Some(case) = record.case {
            self.cases_then.insert(case, target.clone());
        }
        if let Some(approvable) = approvable(record) {
            let asked = (target.clone(), approvable);
            self.approvable_then.insert(asked.1.order, asked);
        }
    }

    /// Finds out what becomes of each order in `effects`, which the other policy wants at `now`.
    pub(super) fn note_now(
        &mut self,
        now: Timestamp,
        effects: &[Effect],
        past: &Past,
        stories: &Stories,
    ) {
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    if let (Some(target), Some(approvable)) = (&record.target, approvable(record)) {
                        self.approvable_now.insert(target.clone(), approvable);
                    }
                }
                Effect::Give(order) => self.give(now, order, past, stories),
                _ => {}
            }
        }
    }

    fn give(&mut self, now: Timestamp, order: &Order, past: &Past, stories: &Stories) {
        let Some(given) = self.counterpart(now, order, past, stories) else {
            let usual = past.usual_time(&order.action);
            let words = "assumed: this order was not given then".to_owned();
            self.due
                .insert((now + usual, order.id), (OutcomeKind::Done, words));
            return;
        };
        self.used.insert((given.stretch, given.id));
        if given.at == now {
            self.orders.insert(given.id, order.id);
        } else if let Some((back_at, kind, detail)) = &given.outcome {
            let due = now + back_at.since(given.at);
            self.due.insert((due, order.id), (*kind, detail.clone()));
        }
    }

    /// The order of then that this one is: the nearest in time within the case.
    fn counterpart<'a>(
        &self,
        now: Timestamp,
        order: &Order,
        past: &'a Past,
        stories: &Stories,
    ) -> Option<&'a Given> {
        let stretch = stories.stretch();
        let story = order.case.and_then(|case| stories.case(stretch, case));
        let began = story.map_or(now, |story| story.began);
        let is_of_person = matches!(order.authority, Authority::Person { .. });
        let all = past.given.get(&order.target.id)?.iter();
        let same = all.filter(|given| {
            given.stretch == stretch
                && given.action == order.action
                && !self.used.contains(&(given.stretch, given.id))
        });
        let of_case = same.filter(|given| {
            if given.at == now {
                return true;
            }
            let then = given.case.and_then(|case| past.stories.case(stretch, case));
            let overlaps = then.is_some_and(|then| {
                then.began <= now && then.ended_at.is_none_or(|ended_at| began <= ended_at)
            });
            overlaps && !is_of_person
        });
        of_case.min_by_key(|given| given.at.since(now).max(now.since(given.at)))
    }

    /// When the next outcome comes that is not where it was.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn take_due(&mut self) -> Option<Event> {
        let ((at, order), (kind, detail)) = self.due.pop_first()?;
        Some(Event::Outcome(Outcome {
            order,
            kind,
            at,
            detail,
        }))
    }

    /// An event of then as it is for the other policy; `Err`: it means nothing there, and why, if that is worth words.
    pub(super) fn translate(
        &self,
        event: &Event,
        stories: &Stories,
    ) -> Result<Event, Option<String>> {
        match event {
            Event::Outcome(outcome) => {
                let order = *self.orders.get(&outcome.order).ok_or(None)?;
                Ok(Event::Outcome(Outcome {
                    order,
                    ..outcome.clone()
                }))
            }
            Event::LedgerFailed { not_given, error } => Ok(Event::LedgerFailed {
                not_given: not_given
                    .iter()
                    .filter_map(|order| self.orders.get(order).copied())
                    .collect(),
                error: error.clone(),
            }),
            Event::Person(request) => {
                let act = self.act(&request.act, stories);
                let act = act.ok_or_else(|| {
                    Some(format!(
                        "what {} did then ({}) means nothing here and is left out",
                        request.by, request.act
                    ))
                })?;
                Ok(Event::Person(Request {
                    by: request.by.clone(),
                    act,
                }))
            }
            other => Ok(other.clone()),
        }
    }

    fn act(&self, act: &PersonAct, stories: &Stories) -> Option<PersonAct> {
        Some(match act {
            PersonAct::Approve { order, digest } => {
                let (then, now) = self.approvable(*order)?;
                let is_for_it = *digest == then.digest;
                PersonAct::Approve {
                    order: now.order,
                    digest: if is_for_it { &now.digest } else { digest }.clone(),
                }
            }
            PersonAct::Deny { order } => PersonAct::Deny {
                order: self.approvable(*order)?.1.order,
            },
            PersonAct::Close { case, why } => {
                let target = self.cases_then.get(case)?;
                PersonAct::Close {
                    case: stories.open_case_of(target)?.case,
                    why: why.clone(),
                }
            }
            other => other.clone(),
        })
    }

    /// What waited for a person then, and the same on that target now.
    fn approvable(&self, order: OrderId) -> Option<(&Approvable, &Approvable)> {
        let (target, then) = self.approvable_then.get(&order)?;
        let now = self.approvable_now.get(target)?;
        let is_known = then.wanted.is_some() && now.wanted.is_some();
        (!is_known || then.wanted == now.wanted).then_some((then, now))
    }
}

fn approvable(record: &Record) -> Option<Approvable> {
    match &record.fact {
        Fact::Held {
            wanted,
            hold: Hold::AwaitingApproval { order, digest },
            ..
        } => Some(Approvable {
            order: *order,
            digest: digest.clone(),
            wanted: wanted.clone(),
        }),
        _ => None,
    }
}
